"""From the syntax tree of an expression to steps that run one after the other on columns.

There is no recursion, and each part is looked at once: an expression may have thousands of terms.
"""

import ast
import functools
import operator
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from difftune.data import arithmetic, lists, momenta
from difftune.data.arithmetic import alike, number, truth
from difftune.data.kinds import Kind, depth, element, within_lists
from difftune.data.lists import Part, Unequal
from difftune.errors import nearest

Function = Callable[..., np.ndarray]

_NO_TEXT = ast.Constant(True)
CONSTANTS = {"pi": np.pi, "nan": np.nan, "inf": np.inf}


class Unfit(ValueError):
    """An operation that does not fit what it is applied to."""


def _doubles(function: Function) -> Function:
    return lambda *v: np.asarray(function(*(number(a).astype(np.float64) for a in v)))


def _numbers(function: Function) -> Function:
    return lambda *v: np.asarray(function(*(number(a) for a in v)))


def _same_type(function: Function) -> Function:
    return lambda *v: np.asarray(function(*alike(*(number(a) for a in v))))


def _unless_integer(function: Function) -> Function:
    """For roundings, which leave integers as they are."""
    return lambda a: number(a) if a.dtype.kind != "f" else function(number(a))


def _where(test: np.ndarray, yes: np.ndarray, no: np.ndarray) -> np.ndarray:
    return np.where(truth(test), *alike(number(yes), number(no)))


def _contains(text: np.ndarray, part: np.ndarray) -> np.ndarray:
    return np.asarray(np.char.find(text, part) >= 0)


def _logic(operation: Function, a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if "b" in (a.dtype.kind, b.dtype.kind):
        return operation(truth(a), truth(b))
    return arithmetic.bitwise(operation, number(a), number(b))


def _invert(a: np.ndarray) -> np.ndarray:
    return ~a if a.dtype.kind == "b" else arithmetic.bitwise(operator.invert, number(a))


_DOUBLES = ["exp", "expm1", "log", "log10", "log1p", "log2", "sqrt", "sin", "cos", "tan"]
_DOUBLES += ["arcsin", "arccos", "arctan", "sinh", "cosh", "tanh", "arcsinh", "arccosh", "arctanh"]
_TESTS = ("isnan", "isinf", "isfinite", "signbit")
FUNCTIONS: dict[str, tuple[int, Function, Kind]] = {
    **{name: (1, _doubles(getattr(np, name)), "number") for name in _DOUBLES},
    **{name: (1, _doubles(getattr(np, name)), "bool") for name in _TESTS},
    **{n: (2, _doubles(getattr(np, n)), "number") for n in ("arctan2", "copysign", "hypot")},
    **{n: (2, _same_type(getattr(np, n)), "number") for n in ("maximum", "minimum")},
    **{n: (1, _unless_integer(getattr(np, n)), "number") for n in ("ceil", "floor", "trunc")},
    "round": (1, _unless_integer(np.rint), "number"),
    "sign": (1, _numbers(np.sign), "number"),
    "abs": (1, _numbers(arithmetic.absolute), "number"),
    "fmod": (2, _doubles(np.fmod), "number"),
    "pow": (2, _numbers(arithmetic.power), "number"),
    "where": (3, _where, "number"),
    "contains": (2, _contains, "bool"),
}
"""By name: how many arguments, what is done, and the kind of the result."""

_OF_PARTS: dict[str, Callable[..., Part]] = {
    "where": functools.partial(lists.chosen, _where),
    "isnan": functools.partial(lists.tested, FUNCTIONS["isnan"][1], blank=True),
    "isfinite": functools.partial(lists.tested, FUNCTIONS["isfinite"][1], blank=False),
    "isinf": functools.partial(lists.tested, FUNCTIONS["isinf"][1], blank=False),
}
"""Functions that have a value where an argument has none."""
_OF_LISTS: dict[str, tuple[Callable[[Part], Part], Kind]] = {
    "max": (functools.partial(lists.extreme, np.maximum), "number"),
    "min": (functools.partial(lists.extreme, np.minimum), "number"),
    "argmax": (functools.partial(lists.place_of, np.maximum), "number"),
    "argmin": (functools.partial(lists.place_of, np.minimum), "number"),
    "sum": (lists.total, "number"),
    "mean": (lists.mean, "number"),
    "count": (lists.count, "number"),
    "any": (functools.partial(lists.holds, np.logical_or), "bool"),
    "all": (functools.partial(lists.holds, np.logical_and), "bool"),
}
"""What reduces a list, by name: what is done, and the kind of the result."""
KEYWORDS = {"sort": ("by",), "p4": momenta.COORDINATES}
"""Functions that have keywords."""
ARITIES = {name: arity for name, (arity, _, _) in FUNCTIONS.items()}
ARITIES |= dict.fromkeys(_OF_LISTS, 1) | {"sort": 1, "delta_phi": 2, "delta_r": 2}
"""How many arguments functions have; `p4` has one or none."""
P4 = "p4"

_BINARY: dict[type[ast.operator], Function] = {
    ast.Add: _numbers(arithmetic.add),
    ast.Sub: _numbers(arithmetic.subtract),
    ast.Mult: _numbers(arithmetic.multiply),
    ast.Div: _numbers(arithmetic.divide),
    ast.FloorDiv: _numbers(arithmetic.floor_divide),
    ast.Mod: _numbers(arithmetic.remainder),
    ast.Pow: _numbers(arithmetic.power),
    ast.LShift: _numbers(functools.partial(arithmetic.shift, operator.lshift)),
    ast.RShift: _numbers(functools.partial(arithmetic.shift, operator.rshift)),
    ast.BitAnd: functools.partial(_logic, operator.and_),
    ast.BitOr: functools.partial(_logic, operator.or_),
}
_UNARY: dict[type[ast.unaryop], tuple[Function, Kind | None]] = {
    ast.Not: (lambda a: ~truth(a), "bool"),
    ast.Invert: (_invert, None),
    ast.USub: (_numbers(arithmetic.negative), "number"),
    ast.UAdd: (number, "number"),
}
_COMPARE: dict[type[ast.cmpop], Callable[..., Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Step(NamedTuple):
    """Takes `arity` values off the stack and puts one on it.

    Attributes:
        function: Of arrays of numpy; None for what works on lists or momenta alone.
        arity: How many values.
        kind: Of an element of the result, None for that of the operands (a condition if one of
            them is).
        node: The part of the expression.
        of_parts: Does the same with lists and values that are absent, where that is more than
            applying the function to each element.
        operands: The parts of the expression that the values are from.
    """

    function: Function | None
    arity: int
    kind: Kind | None
    node: ast.expr
    of_parts: Callable[..., Part] | None = None
    operands: tuple[ast.expr, ...] = ()


@dataclass(frozen=True)
class Code:
    """An expression that is ready to run.

    Attributes:
        steps: Names of columns and constants go on the stack; a `Step` works on it.
        kind: Of the result.
        flat: Whether there are no lists and no momenta on the way.
    """

    steps: tuple[str | np.ndarray | Step, ...]
    kind: Kind
    flat: bool

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it uses, each once."""
        return tuple(dict.fromkeys(step for step in self.steps if isinstance(step, str)))

    def run(self, value_of: Callable[[str], np.ndarray], rows: int) -> np.ndarray:
        """Evaluates what is flat, where no value is absent.

        Args:
            value_of: Values [rows] of a column.
            rows: How many rows there are, which a constant cannot tell.

        Raises:
            Beyond: An integer does not fit.
        """
        stack: list[np.ndarray] = []
        with np.errstate(all="ignore"):
            for step in self.steps:
                if isinstance(step, Step):
                    operands = stack[-step.arity :]
                    del stack[-step.arity :]
                    stack.append(np.asarray(step.function(*operands)))  # type: ignore[misc]
                else:
                    stack.append(value_of(step) if isinstance(step, str) else step)
        return np.broadcast_to(stack.pop(), (rows,))

    def run_parts(self, part_of: Callable[[str], Part], rows: int) -> Part:
        """Evaluates anything.

        Args:
            part_of: A column.
            rows: How many rows there are.

        Raises:
            Beyond: An integer does not fit.
            Unequal: Lists that are brought together differ in length.
        """
        stack: list[Part] = []
        with np.errstate(all="ignore"):
            for step in self.steps:
                if isinstance(step, Step):
                    operands = stack[-step.arity :]
                    del stack[-step.arity :]
                    work = step.of_parts or functools.partial(lists.applied, step.function)  # type: ignore[arg-type]
                    try:
                        stack.append(work(*operands))
                    except Unequal as error:
                        one, other = (source(step.operands[i]) for i in error.arguments)
                        error.add_note(f"`{one}` and `{other}`")
                        raise
                else:
                    stack.append(part_of(step) if isinstance(step, str) else Part(step))
        result = stack.pop()
        if isinstance(result.values, np.ndarray):
            return Part(np.broadcast_to(result.values, (rows,)), result.absent)
        return result


def compile_tree(
    body: ast.expr,
    name_of: Callable[[str], str | None],
    kind_of: Callable[[str], Kind],
    known: Collection[str],
) -> Code:
    """Code of a syntax tree.

    Args:
        body: The tree.
        name_of: The column that a name stands for; None for a constant of mathematics.
        kind_of: Kind of a column; raises for one that does not exist.
        known: Names of all columns.

    Raises:
        Unfit: An operation that does not fit the kinds.
    """
    steps: list[str | np.ndarray | Step] = []
    kinds: list[Kind] = []
    nodes: list[ast.expr] = []
    todo: list[ast.expr | Step | str] = [body]
    flat = True
    while todo:
        item = todo.pop()
        if isinstance(item, Step):
            operands = list(zip(nodes[-item.arity :], kinds[-item.arity :], strict=True))
            del nodes[-item.arity :], kinds[-item.arity :]
            step, kind = _fitted(item, operands)
            flat &= step.function is not None
            steps.append(step)
            kinds.append(kind)
            nodes.append(item.node)
            continue
        name = item if isinstance(item, str) else _column_of(item, name_of, known)
        if name is not None:
            kind = kind_of(name)
            flat &= depth(kind) == 0 and kind != P4
            steps.append(name)
            kinds.append(kind)
            nodes.append(ast.Name(name) if isinstance(item, str) else item)
        elif isinstance(item, ast.Name):
            steps.append(np.array(CONSTANTS[item.id]))
            kinds.append("number")
            nodes.append(item)
        elif isinstance(item, ast.Constant):
            value, kind = _literal(item)
            steps.append(value)
            kinds.append(kind)
            nodes.append(item)
        else:
            todo.extend(reversed(_expanded(item, known)))  # type: ignore[arg-type]
    return Code(tuple(steps), kinds.pop(), flat)


def path_of(node: ast.AST, name_of: Callable[[str], str | None] = lambda name: name) -> str | None:
    """What is written like the name of a member or of a branch in another: `a.b`, `a/b.c`.

    Args:
        node: Part of an expression.
        name_of: The column that a name stands for; None for a constant.
    """
    behind = ""
    # Branches are not in one another without end.
    for _ in range(16):
        match node:
            case ast.Name(id=name):
                first = name_of(name)
                return None if first is None else first + behind
            case ast.Attribute(value=value, attr=name):
                node, behind = value, f".{name}{behind}"
            case ast.BinOp(left=left, op=ast.Div(), right=right):
                below = path_of(right, name_of)
                if below is None or "/" in below:
                    return None
                node, behind = left, f"/{below}{behind}"
            case _:
                return None
    return None


def _column_of(
    node: ast.expr, name_of: Callable[[str], str | None], known: Collection[str]
) -> str | None:
    """The column that a part of an expression stands for; None if it is more than that."""
    path = path_of(node, name_of)
    if path is None or isinstance(node, ast.Name):
        return path
    if path in known:
        return path
    if isinstance(node, ast.Attribute):
        # `a.b.pt`, where `a` or `a.b` is a four-momentum.
        below = node.value
        while isinstance(below, ast.Attribute) and path_of(below, name_of) not in known:
            below = below.value
        return None if path_of(below, name_of) in known else path
    return None


def source(node: ast.expr) -> str:
    """The text of a part of an expression, for messages."""
    try:
        text = ast.unparse(node)
    except RecursionError:
        return "..."
    return text if len(text) < 100 else text[:100] + "..."


def _literal(node: ast.Constant) -> tuple[np.ndarray, Kind]:
    match node.value:
        case bool(value):
            return np.array(value), "bool"
        case int(value) | float(value):
            return arithmetic.constant(value), "number"
        case str(value):
            return np.array(value.encode()), "string"
        case bytes(value):
            return np.array(value), "string"
    raise Unfit(f"`{source(node)}` is not understood here.")


def _expanded(node: ast.expr, known: Collection[str]) -> list[ast.expr | Step | str]:
    """Operands of a node, and the steps that work on them, in their order."""
    match node:
        case ast.UnaryOp(op=op, operand=operand):
            function, kind = _UNARY[type(op)]
            return [operand, Step(function, 1, kind, node)]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            kind = None if isinstance(op, ast.BitAnd | ast.BitOr) else "number"
            return [left, right, Step(_BINARY[type(op)], 2, kind, node)]
        case ast.BoolOp(op=op, values=[first, *others]):
            join = operator.and_ if isinstance(op, ast.And) else operator.or_
            known_part = functools.partial(lists.joined, join)
            step = Step(lambda a, b: join(truth(a), truth(b)), 2, "bool", node, known_part)
            return [first, *(item for value in others for item in (value, step))]
        case ast.Compare():
            return _comparison(node)
        case ast.Call(func=ast.Name(id="p4")):
            return _momenta(node, known)
        case ast.Call(func=ast.Name(id="sort"), args=[values], keywords=keywords):
            return [values, *(k.value for k in keywords), Step(None, 1 + len(keywords), None, node)]
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in FUNCTIONS:
            arity, function, kind = FUNCTIONS[name]
            return [*arguments, Step(function, arity, kind, node, _OF_PARTS.get(name))]
        case ast.Call(args=arguments):
            return [*arguments, Step(None, len(arguments), None, node)]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return [test, body, orelse, Step(_where, 3, "number", node, _OF_PARTS["where"])]
        case ast.Subscript(value=value):
            places = [place for place in _places(node) if isinstance(place, ast.expr)]
            return [value, *places, Step(None, 1 + len(places), None, node)]
        case ast.Attribute(value=value):
            return [value, Step(None, 1, None, node)]
    raise Unfit(f"`{source(node)}` is not understood here.")


def _momenta(node: ast.Call, known: Collection[str]) -> list[ast.expr | Step | str]:
    """Columns and values that make a four-momentum, and the step that does."""
    given: dict[str, str | ast.expr] = {}
    collection = ""
    if node.args:
        collection = str(node.args[0].value)  # type: ignore[attr-defined]
        given |= momenta.members_of(collection, known)
    given |= {str(keyword.arg): keyword.value for keyword in node.keywords}
    coordinates = momenta.complete_set(given)
    if coordinates is None:
        found = {name: v if isinstance(v, str) else source(v) for name, v in given.items()}
        if collection and not found:
            raise Unfit(
                f"there is nothing like `{collection}_pt`: `p4` takes what the names of the "
                f"branches of a collection begin with, as in `p4(\"Jet\")` for `Jet_pt`, "
                "`Jet_eta`, `Jet_phi` and `Jet_mass`; or all of it, as in `p4(pt=a, eta=b, phi=c, "
                "mass=d)`."
            )
        lacking = momenta.lacking(found)
        written = [f"{name}={value}" for name, value in found.items()]
        written += [f"{name}={'0.106' if name == 'mass' else '...'}" for name in lacking]
        raise Unfit(
            f"`{source(node)}` has {', '.join(found.values()) or 'nothing'}, which lacks "
            f"{' and '.join(lacking)}: say it, as in `p4({', '.join(written)})`, in the unit of "
            "the others."
        )
    build = lambda *parts: momenta.made(coordinates, parts)  # noqa: E731
    return [*(given[name] for name in coordinates), Step(None, 4, P4, node, build)]


_Place = int | tuple[int | None, int | None] | ast.expr


def _places(node: ast.Subscript) -> list[_Place]:
    """What stands in brackets: fixed places, ranges, and values.

    Raises:
        Unfit: It is none of these.
    """
    several = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    places = [_place(each, node) for each in several]
    if len(places) == 1:
        return places
    if places[:1] != [(None, None)]:
        raise Unfit(
            f"`{source(node)}`: every event has a list of its own, so that one place takes one "
            "element of each: write `x[0]`, or `x[0][1]` for lists in lists."
        )
    if any(isinstance(place, ast.expr) for place in places):
        raise Unfit(f"`{source(node)}`: write what is in brackets one behind the other.")
    return places[1:]


def _place(node: ast.expr, where: ast.expr) -> _Place:
    match node:
        case ast.Slice(lower=lower, upper=upper, step=None):
            bounds = [None if bound is None else _integer(bound) for bound in (lower, upper)]
            if (bounds[0] is None) == (lower is None) and (bounds[1] is None) == (upper is None):
                return bounds[0], bounds[1]
            raise Unfit(f"`{source(where)}`: the ends of a range are written numbers: `x[:3]`.")
        case ast.Slice():
            raise Unfit(f"`{source(where)}`: a range has no third number: `x[:3]`.")
        case ast.Constant(value=str() | bool() | float() | None) | ast.Tuple() | ast.List():
            raise Unfit(f"`{source(where)}`: in brackets there is a place, or a condition.")
    fixed = _integer(node)
    return node if fixed is None else fixed


def _integer(node: ast.expr) -> int | None:
    match node:
        case ast.Constant(value=int(value)) if not isinstance(value, bool):
            return value
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int(value))):
            return -value
    return None


def _comparison(node: ast.Compare) -> list[ast.expr | Step | str]:
    """All operands, each once, and a step that compares neighbours (or the first with a list)."""
    if any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):
        elements = node.comparators[0]
        listed = isinstance(elements, ast.Tuple | ast.List | ast.Set)
        if len(node.ops) > 1 or not listed or not elements.elts:  # type: ignore[attr-defined]
            raise Unfit("`in` is followed by a list, as in `x in (1, 2)`.")
        elts: list[ast.expr] = elements.elts  # type: ignore[attr-defined]
        step = Step(_any_equal, 1 + len(elts), "bool", node)
        invert = [Step(operator.invert, 1, "bool", _NO_TEXT)]
        return [node.left, *elts, step, *(invert if isinstance(node.ops[0], ast.NotIn) else [])]
    for op in node.ops:
        if type(op) not in _COMPARE:
            raise Unfit("write `==` or `!=` for `is`.")
    comparisons = [_COMPARE[type(op)] for op in node.ops]

    def chain(*values: np.ndarray) -> np.ndarray:
        pairs = zip(comparisons, values, values[1:], strict=False)
        return functools.reduce(operator.and_, (arithmetic.compare(*pair) for pair in pairs))

    operands = [node.left, *node.comparators]
    return [*operands, Step(chain, len(operands), "bool", node)]


def _any_equal(value: np.ndarray, *elements: np.ndarray) -> np.ndarray:
    found = (arithmetic.compare(operator.eq, value, element) for element in elements)
    return functools.reduce(operator.or_, found)


def _fitted(step: Step, operands: Sequence[tuple[ast.expr, Kind]]) -> tuple[Step, Kind]:
    """A step for operands of these kinds, and the kind of its result.

    Raises:
        Unfit: There is none.
    """
    step = step._replace(operands=tuple(node for node, _ in operands))
    node, kinds = step.node, [kind for _, kind in operands]
    match node:
        case ast.Subscript():
            return _taking(step, node, kinds)
        case ast.Attribute(attr=name):
            return _of_momenta(step, name, kinds[0])
        case ast.Call(func=ast.Name(id=name)) if name in _OF_LISTS:
            return _reducing(step, name, kinds[0])
        case ast.Call(func=ast.Name(id="sort")):
            return _sorting(step, kinds)
        case ast.Call(func=ast.Name(id="delta_r" | "delta_phi" as name)):
            angles = name == "delta_phi"
            for (operand, kind) in operands:
                if element(kind) != P4 and not (angles and element(kind) == "number"):
                    raise Unfit(
                        f"`{source(operand)}` is no four-momentum{' and no angle' * angles}: "
                        f"write `{name}(p4(\"Jet\")[0], p4(\"Muon\")[0])`."
                    )
            work = momenta.delta_phi if angles else momenta.delta_r
            return step._replace(of_parts=work), within_lists("number", max(map(depth, kinds)))
        case ast.BinOp(op=ast.Add() | ast.Sub() as op) if {element(kind) for kind in kinds} == {P4}:
            sign = np.add if isinstance(op, ast.Add) else np.subtract
            work = functools.partial(momenta.combined, sign)
            return step._replace(function=None, of_parts=work), within_lists(P4, max(map(depth, kinds)))
    return step, _kind_of_result(step, operands)


def _taking(step: Step, node: ast.Subscript, kinds: Sequence[Kind]) -> tuple[Step, Kind]:
    """Takes elements of a list: in a place, in a range, by a condition or by numbers."""
    kind, level = kinds[0], 0
    text = source(node)
    work: list[Callable[..., Part]] = []
    for place in _places(node):
        if depth(kind) <= level:
            raise Unfit(
                f"`{text}`: `{source(node.value)}` has {_said(kinds[0])} for each event"
                + (", not a list. A column whose name has brackets stands in backquotes." if not depth(kinds[0]) else ".")
            )
        fewer = within_lists(element(kind), depth(kind) - 1)
        if isinstance(place, int):
            take = functools.partial(_element, place)
            work.append(functools.partial(lists.within, level, take))
            kind = fewer
        elif isinstance(place, tuple):
            if place != (None, None):
                cut = functools.partial(_slice, *place)
                work.append(functools.partial(lists.within, level, cut))
            level += 1
        else:
            by = kinds[1]
            if element(by) == "bool" and 0 < depth(by) <= depth(kind):
                work.append(lists.kept)
            elif element(by) == "number" and depth(by) <= 1:
                work.append(lists.taken)
                kind = kind if depth(by) else fewer
            else:
                raise Unfit(
                    f"`{text}`: `{source(place)}` is {_said(by)} for each event; in brackets "
                    "there is a place, or a condition for each element, as in `x[x > 30]`."
                )

    def taking(part: Part, *by: Part) -> Part:
        for each in work:
            part = each(part, *by)
        return part

    return step._replace(of_parts=taking), kind


def _element(place: int, part: Part) -> Part:
    return lists.element(part, place)


def _slice(begin: int | None, end: int | None, part: Part) -> Part:
    return lists.sliced(part, begin, end)


def _reducing(step: Step, name: str, kind: Kind) -> tuple[Step, Kind]:
    """Makes one value of a list, of the innermost where there are lists in lists."""
    work, of_result = _OF_LISTS[name]
    if depth(kind) == 0:
        other = f"; for two numbers there is `{name}imum(a, b)`" if name in ("max", "min") else ""
        raise Unfit(
            f"`{source(step.operands[0])}` has {_said(kind)} for each event, and `{name}` takes a "
            f"list, such as the momenta of all jets{other}."
        )
    if element(kind) == P4:
        if name not in ("sum", "count"):
            raise Unfit(
                f"`{name}` takes numbers: say which, as in `{source(step.operands[0])}.pt`."
            )
        work, of_result = (momenta.added, P4) if name == "sum" else (work, of_result)
    inside = functools.partial(lists.within, depth(kind) - 1, work)
    return step._replace(of_parts=inside), within_lists(of_result, depth(kind) - 1)


def _sorting(step: Step, kinds: Sequence[Kind]) -> tuple[Step, Kind]:
    """Orders a list by its elements or by other ones."""
    text = source(step.operands[0])
    if depth(kinds[0]) == 0:
        raise Unfit(f"`{text}` has {_said(kinds[0])} for each event, and `sort` takes a list.")
    by = kinds[-1]
    if element(by) not in ("number", "bool") or depth(by) != 1:
        raise Unfit(
            f"`{source(step.operands[-1])}` has {_said(by)} for each event: `sort` needs a number "
            f"for each element, as in `sort({text}, by=-Jet_btag)`."
        )
    work = lists.ordered if len(kinds) == 2 else lambda part: lists.ordered(part, part)
    return step._replace(of_parts=work), kinds[0]


def _of_momenta(step: Step, name: str, kind: Kind) -> tuple[Step, Kind]:
    """What a four-momentum has."""
    text = source(step.operands[0])
    if element(kind) != P4:
        raise Unfit(
            f"there is no column `{text}.{name}`, and `{text}` has {_said(kind)} for each event, "
            "no four-momentum."
        )
    if name not in momenta.COORDINATES:
        raise Unfit(
            f"a four-momentum has no `{name}`{nearest(name, momenta.COORDINATES).rstrip('.')}; it "
            f"has {', '.join(momenta.COORDINATES)}."
        )
    work = functools.partial(momenta.member, name)
    return step._replace(of_parts=work), within_lists("number", depth(kind))


def _said(kind: Kind) -> str:
    """A kind in words."""
    one = {"number": "a number", "bool": "a condition", "string": "a string"}
    inner = one.get(element(kind), "a four-momentum")
    if not depth(kind):
        return inner.replace("a ", "one ", 1)
    several = {"number": "numbers", "bool": "conditions", "string": "strings"}
    return "a list of " * depth(kind) + several.get(element(kind), "four-momenta")


def _kind_of_result(step: Step, operands: Sequence[tuple[ast.expr, Kind]]) -> Kind:
    """That of a function of elements."""
    for node, kind in operands:
        if element(kind) == P4 and step.kind != P4:
            raise Unfit(
                f"`{source(node)}` is a four-momentum: say what of it, as in `{source(node)}.pt`."
            )
    deep = max(depth(kind) for _, kind in operands)
    texts = [element(kind) == "string" for _, kind in operands]
    if isinstance(step.node, ast.Compare):
        if any(texts) != all(texts):
            other = operands[texts.index(not texts[0])]
            names = f"`{source(operands[0][0])}` and `{source(other[0])}`"
            raise Unfit(f"{names}: a string and a number cannot be compared.")
    elif step.function is _contains:
        if not all(texts):
            raise Unfit("contains takes two strings.")
    elif any(texts):
        raise Unfit(
            f"`{source(operands[texts.index(True)][0])}` is a string; it can only be compared with "
            "a string, as in `label == 's'`."
        )
    if step.kind is not None:
        return within_lists(step.kind, deep)
    conditions = any(element(kind) == "bool" for _, kind in operands)
    return within_lists("bool" if conditions else "number", deep)

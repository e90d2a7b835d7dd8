"""From the syntax tree of an expression to steps that run one after the other on columns.

There is no recursion, and each part is looked at once: an expression may have thousands of terms.
"""

import ast
import functools
import operator
from collections.abc import Callable, Collection

import numpy as np

from difftune.data import arithmetic, corrections, lists, maps, momenta
from difftune.data.arithmetic import truth
from difftune.data.fitting import fitted, places_of
from difftune.data.functions import (
    BINARY,
    COMPARE,
    CONSTANTS,
    FUNCTIONS,
    OF_PARTS,
    P4,
    UNARY,
    where,
)
from difftune.data.kinds import Kind, depth
from difftune.data.steps import Code, Step, Unfit, source

_NO_TEXT = ast.Constant(True)


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
            step, kind = fitted(item, operands)
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
            function, kind = UNARY[type(op)]
            return [operand, Step(function, 1, kind, node)]
        case ast.BinOp(left=left, op=op, right=right) if type(op) in BINARY:
            kind = None if isinstance(op, ast.BitAnd | ast.BitOr) else "number"
            return [left, right, Step(BINARY[type(op)], 2, kind, node)]
        case ast.BoolOp(op=op, values=[first, *others]):
            join = operator.and_ if isinstance(op, ast.And) else operator.or_
            known_part = functools.partial(lists.joined, join)
            step = Step(lambda a, b: join(truth(a), truth(b)), 2, "bool", node, known_part)
            return [first, *(item for value in others for item in (value, step))]
        case ast.Compare():
            return _comparison(node)
        case ast.Call(func=ast.Name(id="p4")):
            return _momenta(node, known)
        case ast.Call(func=ast.Name(id="correction" | "field" as kind)):
            tabled = corrections if kind == "correction" else maps
            try:
                arguments, evaluate = tabled.prepared(node)
            except corrections.Unusable as error:
                raise Unfit(str(error)) from error
            parts = functools.partial(corrections.of_parts, evaluate)
            return [*arguments, Step(evaluate, len(arguments), "number", node, parts)]
        case ast.Call(func=ast.Name(id="sort"), args=[values], keywords=keywords):
            return [values, *(k.value for k in keywords), Step(None, 1 + len(keywords), None, node)]
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in FUNCTIONS:
            arity, function, kind = FUNCTIONS[name]
            return [*arguments, Step(function, arity, kind, node, OF_PARTS.get(name))]
        case ast.Call(args=arguments):
            return [*arguments, Step(None, len(arguments), None, node)]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return [test, body, orelse, Step(where, 3, "number", node, OF_PARTS["where"])]
        case ast.Subscript(value=value):
            places = [place for place in places_of(node) if isinstance(place, ast.expr)]
            return [value, *places, Step(None, 1 + len(places), None, node)]
        case ast.Attribute(value=value):
            return [value, Step(None, 1, None, node)]
        case ast.List(elts=[_, *_] as elements):
            return [*elements, Step(None, len(elements), None, node)]
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
                f'branches of a collection begin with, as in `p4("Jet")` for `Jet_pt`, '
                "`Jet_eta`, `Jet_phi` and `Jet_mass`; or all of it, as in `p4(pt=a, eta=b, phi=c, "
                "mass=d)`."
            )
        lacking = momenta.lacking(found)
        written = [f"{name}={'0.106' if name == 'mass' else '...'}" for name in lacking]
        if collection:
            written.insert(0, repr(collection))
        else:
            written = [*(f"{name}={value}" for name, value in found.items()), *written]
        raise Unfit(
            f"`{source(node)}` has {', '.join(found.values()) or 'nothing'}, which lacks "
            f"{' and '.join(lacking)}: say it, as in `p4({', '.join(written)})`, in the unit of "
            "the others."
        )
    build = lambda *parts: momenta.made(coordinates, parts)  # noqa: E731
    return [*(given[name] for name in coordinates), Step(None, 4, P4, node, build)]


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
        if type(op) not in COMPARE:
            raise Unfit("write `==` or `!=` for `is`.")
    comparisons = [COMPARE[type(op)] for op in node.ops]

    def chain(*values: np.ndarray) -> np.ndarray:
        pairs = zip(comparisons, values, values[1:], strict=False)
        return functools.reduce(operator.and_, (arithmetic.compare(*pair) for pair in pairs))

    operands = [node.left, *node.comparators]
    return [*operands, Step(chain, len(operands), "bool", node)]


def _any_equal(value: np.ndarray, *elements: np.ndarray) -> np.ndarray:
    found = (arithmetic.compare(operator.eq, value, element) for element in elements)
    return functools.reduce(operator.or_, found)

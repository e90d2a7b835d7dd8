"""From the syntax tree of an expression to steps that run one after the other on columns.

There is no recursion, and each part is looked at once: an expression may have thousands of terms.
"""

import ast
import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from difftune.data import arithmetic
from difftune.data.arithmetic import alike, number, truth
from difftune.data.kinds import Kind

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

    `kind` is that of the result, None for that of the operands (a condition if one of them is).
    """

    function: Function
    arity: int
    kind: Kind | None
    node: ast.expr


@dataclass(frozen=True)
class Code:
    """An expression that is ready to run.

    Attributes:
        steps: Names of columns and constants go on the stack; a `Step` works on it.
        kind: Of the result.
    """

    steps: tuple[str | np.ndarray | Step, ...]
    kind: Kind

    def run(self, value_of: Callable[[str], np.ndarray], rows: int) -> np.ndarray:
        """Evaluates.

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
                    stack.append(np.asarray(step.function(*operands)))
                else:
                    stack.append(value_of(step) if isinstance(step, str) else step)
        return np.broadcast_to(stack.pop(), (rows,))


def compile_tree(
    body: ast.expr, name_of: Callable[[str], str | None], kind_of: Callable[[str], Kind]
) -> Code:
    """Code of a syntax tree.

    Args:
        body: The tree.
        name_of: The column that a name stands for; None for a constant of mathematics.
        kind_of: Kind of a column; raises for one that does not exist.

    Raises:
        Unfit: An operation that does not fit the kinds.
    """
    steps: list[str | np.ndarray | Step] = []
    kinds: list[Kind] = []
    nodes: list[ast.expr] = []
    todo: list[ast.expr | Step] = [body]
    while todo:
        item = todo.pop()
        if isinstance(item, Step):
            operands = list(zip(nodes[-item.arity :], kinds[-item.arity :], strict=True))
            del nodes[-item.arity :], kinds[-item.arity :]
            steps.append(item)
            kinds.append(_kind_of_result(item, operands))
            nodes.append(item.node)
        elif isinstance(item, ast.Name):
            name = name_of(item.id)
            steps.append(np.array(CONSTANTS[item.id]) if name is None else name)
            kinds.append("number" if name is None else kind_of(name))
            nodes.append(item)
        elif isinstance(item, ast.Constant):
            value, kind = _literal(item)
            steps.append(value)
            kinds.append(kind)
            nodes.append(item)
        else:
            todo.extend(reversed(_expanded(item)))
    return Code(tuple(steps), kinds.pop())


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


def _expanded(node: ast.expr) -> list[ast.expr | Step]:
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
            step = Step(lambda a, b: join(truth(a), truth(b)), 2, "bool", node)
            return [first, *(item for value in others for item in (value, step))]
        case ast.Compare():
            return _comparison(node)
        case ast.Call(func=ast.Name(id=name), args=arguments):
            arity, function, kind = FUNCTIONS[name]
            return [*arguments, Step(function, arity, kind, node)]
        case ast.IfExp(test=test, body=body, orelse=orelse):
            return [test, body, orelse, Step(_where, 3, "number", node)]
        case ast.Subscript():
            raise Unfit(
                f"`{source(node)}`: elements of arrays cannot be taken. Write a flat branch (or "
                "put a name that has brackets into backquotes)."
            )
    raise Unfit(f"`{source(node)}` is not understood here.")


def _comparison(node: ast.Compare) -> list[ast.expr | Step]:
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


def _kind_of_result(step: Step, operands: Sequence[tuple[ast.expr, Kind]]) -> Kind:
    texts = [kind == "string" for _, kind in operands]
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
        return step.kind
    return "bool" if any(kind == "bool" for _, kind in operands) else "number"

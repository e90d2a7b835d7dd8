"""Expressions over named columns: read as Python, type-checked, evaluated by numexpr.

The syntax is Python's: arithmetic, comparisons (also chained, also `in`), `and`/`or`/`not` or
`&`/`|`/`~`, and the functions of numexpr. A column whose name is no Python name stands in
backquotes. An integer or float where a condition is needed counts as true unless it is 0; a
condition in arithmetic counts as 0 or 1.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numexpr
import numpy as np

from difftune.errors import InputError, nearest

Kind = Literal["number", "bool", "string", "array", "other"]

_TESTS = {"isnan", "isinf", "isfinite", "signbit"}
_UNARY = {"abs", "ceil", "exp", "expm1", "floor", "log", "log10", "log1p", "log2", "round", "sign"}
_UNARY |= {"sqrt", "trunc", "sin", "cos", "tan", "arcsin", "arccos", "arctan", "sinh", "cosh"}
_UNARY |= {"tanh", "arcsinh", "arccosh", "arctanh"}
_BINARY = {"arctan2", "contains", "copysign", "fmod", "hypot", "maximum", "minimum"}
_FUNCTIONS = dict.fromkeys(_UNARY | _TESTS, 1) | dict.fromkeys(_BINARY, 2) | {"where": 3}
_ARITHMETIC: dict[type[ast.operator], str] = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Mod: "%",
    ast.Pow: "**",
    ast.LShift: "<<",
    ast.RShift: ">>",
}
_LOGIC: dict[type[ast.operator], str] = {
    ast.BitAnd: "&",
    ast.BitOr: "|",
    ast.BitXor: "^",
}
_COMPARE: dict[type[ast.cmpop], str] = {
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}


@dataclass(frozen=True)
class Expression:
    """A syntactically sound expression.

    Attributes:
        text: As the user wrote it.
        where: What it is for, for messages: "weight of process 'ttbar'".
        columns: Names that it uses, in the order of their first use.
    """

    text: str
    where: str
    columns: tuple[str, ...]
    _body: ast.expr
    _names: Mapping[str, str]

    def typed(self, kind_of: Callable[[str], Kind]) -> tuple[str, Kind]:
        """The code for numexpr, in which column i is called `c{i}`, and the kind of the result.

        Args:
            kind_of: Kind of a column; raises for one that does not exist.

        Raises:
            InputError: An operation that does not fit the kinds.
        """
        return _Compiler(self, kind_of).compile(self._body)

    def error(self, problem: str) -> InputError:
        """An error that names this expression."""
        return InputError(f"{self.where}: `{self.text}`: {problem}")


def column(name: str, where: str) -> Expression:
    """The expression that is just this column, whatever its name looks like."""
    return Expression(name, where, (name,), ast.Name("_0"), {"_0": name})


def parse(text: object, where: str) -> Expression:
    """Reads an expression.

    Raises:
        InputError: It is no expression, or uses what is not allowed in one.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f"{where}: {text!r} is not an expression, which is a text such as 'x > 1'."
        )
    return _parse(text, where)


@functools.lru_cache(maxsize=4096)
def _parse(text: str, where: str) -> Expression:
    names: dict[str, str] = {}

    def quoted(match: re.Match[str]) -> str:
        key = f"_quoted{len(names)}_"
        names[key] = match[1]
        return key

    source = re.sub(r"`([^`]+)`", quoted, text.strip())
    for wrong, right in (("&&", "and"), ("||", "or")):
        if wrong in source:
            raise InputError(f"{where}: `{text}`: write `{right}` for `{wrong}`.")
    try:
        body = ast.parse(source, mode="eval").body
    except (SyntaxError, ValueError) as error:
        hint = " A comparison is written `==`." if re.search(r"[^=!<>]=[^=]", source) else ""
        hint = hint or (" Write `not` for `!`." if re.search(r"!(?!=)", source) else "")
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"{where}: `{text}` is not an expression: {reason}.{hint}") from None
    expression = Expression(text, where, (), body, names)
    _check_parentheses(expression, source)
    used = [
        node
        for node in ast.walk(body)
        if isinstance(node, ast.Name) and not _is_function(node, body)
    ]
    used.sort(key=lambda node: (node.lineno, node.col_offset))
    columns = tuple(dict.fromkeys(names.get(node.id, node.id) for node in used))
    expression = Expression(text, where, columns, body, names)
    for node in ast.walk(body):
        if isinstance(node, ast.Attribute):
            raise expression.error(
                f"a column with a dot in its name is written in backquotes: `{ast.unparse(node)}`."
            )
        if isinstance(node, ast.Call):
            _check_call(expression, node)
    return expression


def evaluate(
    code: str,
    columns: tuple[str, ...],
    value_of: Callable[[str], np.ndarray],
    rows: int,
) -> np.ndarray:
    """Evaluates the code that `Expression.typed` made.

    Args:
        code: What to evaluate, in terms of `c0`, `c1`, ...
        columns: The names of these columns.
        value_of: Values [rows] of a column.
        rows: How many rows there are, which a constant cannot tell.
    """
    values = {f"c{i}": _widened(value_of(name)) for i, name in enumerate(columns)}
    result = numexpr.evaluate(code, local_dict=values, global_dict={}, sanitize=False)
    return np.broadcast_to(result, (rows,))


def _widened(values: np.ndarray) -> np.ndarray:
    # Products of 32-bit integers would wrap around silently.
    if values.dtype.kind in "iu" and values.dtype.itemsize < 8:
        return values.astype(np.int64)
    return values


def _is_function(node: ast.Name, body: ast.expr) -> bool:
    return any(isinstance(call, ast.Call) and call.func is node for call in ast.walk(body))


def _check_parentheses(expression: Expression, source: str) -> None:
    """Refuses `a > 1 & b > 2`, which Python reads as `a > (1 & b) > 2`."""
    raw = source.encode()
    for node in ast.walk(expression._body):
        if not isinstance(node, ast.Compare) or "\n" in source:
            continue
        for operand in (node.left, *node.comparators):
            if isinstance(operand, ast.BinOp) and type(operand.op) in _LOGIC:
                before = raw[: operand.col_offset].rstrip()
                after = raw[operand.end_col_offset or 0 :].lstrip()
                if not (before.endswith(b"(") and after.startswith(b")")):
                    raise expression.error(
                        "`&` and `|` bind closer than comparisons: write `(a > 1) & (b > 2)`, or "
                        "`a > 1 and b > 2`."
                    )


def _check_call(expression: Expression, node: ast.Call) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else ast.unparse(node.func)
    if name in ("min", "max"):
        raise expression.error(f"write `{name}imum(a, b)` for the {name}imum of two values.")
    if name not in _FUNCTIONS:
        raise expression.error(
            f"there is no function {name!r}.{nearest(name, _FUNCTIONS)} "
            f"Known: {', '.join(sorted(_FUNCTIONS))}."
        )
    if node.keywords or len(node.args) != _FUNCTIONS[name]:
        raise expression.error(f"{name} takes {_FUNCTIONS[name]} argument(s).")


class _Compiler:
    """Turns the syntax tree into numexpr's dialect, with the kinds of the columns known."""

    def __init__(self, expression: Expression, kind_of: Callable[[str], Kind]) -> None:
        self.expression = expression
        self.kind_of = kind_of

    def compile(self, node: ast.expr) -> tuple[str, Kind]:
        match node:
            case ast.Name():
                return self.name(node)
            case ast.Constant(value=bool(value)):
                return str(value), "bool"
            case ast.Constant(value=int(value) | float(value)):
                return repr(value), "number"
            case ast.Constant(value=str(value)):
                return repr(value.encode()), "string"
            case ast.Constant(value=bytes(value)):
                return repr(value), "string"
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return f"(~{self.condition(operand)})", "bool"
            case ast.UnaryOp(op=ast.Invert(), operand=operand):
                code, kind = self.compile(operand)
                self.refuse_string(operand, kind)
                return f"(~{code})", kind
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return f"(-{self.number(operand)})", "number"
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self.number(operand), "number"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
                symbol = _ARITHMETIC[type(op)]
                return f"({self.number(left)} {symbol} {self.number(right)})", "number"
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _LOGIC:
                return self.logic(left, _LOGIC[type(op)], right)
            case ast.BoolOp(op=op, values=values):
                symbol = " & " if isinstance(op, ast.And) else " | "
                return (
                    f"({symbol.join(self.condition(value) for value in values)})",
                    "bool",
                )
            case ast.Compare(left=left, ops=ops, comparators=comparators):
                operands = [left, *comparators]
                parts = [self.compare(operands[i], op, operands[i + 1]) for i, op in enumerate(ops)]
                return f"({' & '.join(parts)})", "bool"
            case ast.Call():
                return self.call(node)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                args = (self.condition(test), self.number(body), self.number(orelse))
                return f"where({', '.join(args)})", "number"
            case ast.Subscript():
                raise self.expression.error(
                    f"`{ast.unparse(node)}`: elements of arrays cannot be taken. Write a flat "
                    "branch (or put a name that has brackets into backquotes)."
                )
        raise self.expression.error(f"`{ast.unparse(node)}` is not understood here.")

    def name(self, node: ast.Name) -> tuple[str, Kind]:
        name = self.expression._names.get(node.id, node.id)
        kind = self.kind_of(name)
        if kind in ("array", "other"):
            what = "an array for each event" if kind == "array" else "neither number nor text"
            raise self.expression.error(
                f"column {name!r} holds {what}. Write a flat branch with one number an event."
            )
        return f"c{self.expression.columns.index(name)}", kind

    def refuse_string(self, node: ast.expr, kind: Kind) -> None:
        if kind == "string":
            raise self.expression.error(
                f"`{ast.unparse(node)}` is a text; it can only be compared with a text, as in "
                "`label == 's'`."
            )

    def number(self, node: ast.expr) -> str:
        code, kind = self.compile(node)
        self.refuse_string(node, kind)
        return f"where({code}, 1, 0)" if kind == "bool" else code

    def condition(self, node: ast.expr) -> str:
        code, kind = self.compile(node)
        self.refuse_string(node, kind)
        return code if kind == "bool" else f"({code} != 0)"

    def logic(self, left: ast.expr, symbol: str, right: ast.expr) -> tuple[str, Kind]:
        kinds = {self.compile(left)[1], self.compile(right)[1]}
        if "bool" in kinds:
            return f"({self.condition(left)} {symbol} {self.condition(right)})", "bool"
        return f"({self.number(left)} {symbol} {self.number(right)})", "number"

    def compare(self, left: ast.expr, op: ast.cmpop, right: ast.expr) -> str:
        if isinstance(op, ast.In | ast.NotIn):
            if not isinstance(right, ast.Tuple | ast.List | ast.Set) or not right.elts:
                raise self.expression.error("`in` is followed by a list, as in `x in (1, 2)`.")
            parts = [self.compare(left, ast.Eq(), element) for element in right.elts]
            joined = f"({' | '.join(parts)})"
            return f"(~{joined})" if isinstance(op, ast.NotIn) else joined
        if type(op) not in _COMPARE:
            raise self.expression.error("write `==` or `!=` for `is`.")
        kinds = (self.compile(left)[1], self.compile(right)[1])
        if (kinds[0] == "string") != (kinds[1] == "string"):
            texts = f"`{ast.unparse(left)}` and `{ast.unparse(right)}`"
            raise self.expression.error(f"{texts}: a text and a number cannot be compared.")
        if kinds[0] == "string":
            codes = (self.compile(left)[0], self.compile(right)[0])
        else:
            codes = (self.number(left), self.number(right))
        return f"({codes[0]} {_COMPARE[type(op)]} {codes[1]})"

    def call(self, node: ast.Call) -> tuple[str, Kind]:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        if name == "contains":
            parts = [self.compile(argument) for argument in node.args]
            if any(kind != "string" for _, kind in parts):
                raise self.expression.error("contains takes two texts.")
            return f"contains({parts[0][0]}, {parts[1][0]})", "bool"
        if name == "where":
            test, yes, no = node.args
            return (
                f"where({self.condition(test)}, {self.number(yes)}, {self.number(no)})",
                "number",
            )
        arguments = ", ".join(self.number(argument) for argument in node.args)
        return f"{name}({arguments})", "bool" if name in _TESTS else "number"

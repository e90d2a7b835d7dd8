"""Expressions over named columns: read as Python, type-checked, evaluated by numpy.

The syntax is Python's: arithmetic, comparisons (also chained, also `in`), `and`/`or`/`not` or
`&`/`|`/`~`, functions of numpy by name, and `pi`, `nan`, `inf`. A column whose name is no Python
name stands in backquotes. An integer or float where a condition is needed counts as true unless it
is 0; a condition in arithmetic counts as 0 or 1. Integers are exact, or refused.
"""

import ast
import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from difftune.data.arithmetic import Beyond
from difftune.data.compiling import (
    CONSTANTS,
    FUNCTIONS,
    Code,
    Unfit,
    compile_tree,
    source,
)
from difftune.data.kinds import Kind, depth
from difftune.errors import InputError, nearest

# What C++ and ROOT's formulas write otherwise.
_FOREIGN = {
    r"&&": "write `and` for `&&`",
    r"\|\|": "write `or` for `||`",
    r"!(?!=)": "write `not` for `!`",
    r"\?": "write `b if a else c`, or `where(a, b, c)`, for `a ? b : c`",
    r"\^": "write `**` for a power, which `^` is not (and `!=` where just one of two conditions "
    "shall hold)",
    r"#": "leave comments out, and put a column with `#` in its name into backquotes",
    r"::": "write functions without a namespace, as in `abs(x)`, and a column with colons in its "
    "name in backquotes",
}


@dataclass(frozen=True, eq=False)
class Expression:
    """A syntactically sound expression.

    Attributes:
        text: As the user wrote it.
        where: What it is for, for messages: "weight of process 'ttbar'".
        columns: Names that it uses, in the order of their first use.
        constants: Names of mathematics that it uses, such as pi.
    """

    text: str
    where: str
    columns: tuple[str, ...]
    constants: tuple[str, ...]
    _body: ast.expr
    _names: Mapping[str, str]

    def typed(self, kind_of: Callable[[str], Kind]) -> Code:
        """What is to be done, and the kind of the result.

        Args:
            kind_of: Kind of a column; raises for one that does not exist.

        Raises:
            InputError: An operation that does not fit the kinds.
        """

        def known(name: str) -> Kind:
            kind = kind_of(name)
            if depth(kind) or kind == "other":
                what = "an array for each event" if depth(kind) else "neither number nor string"
                raise self.error(
                    f"column {name!r} holds {what}. Write a flat branch with one number per event."
                )
            return kind

        try:
            return compile_tree(self._body, self._column, known)
        except (Unfit, Beyond) as error:
            raise self.error(str(error)) from error

    def values(self, code: Code, value_of: Callable[[str], np.ndarray], rows: int) -> np.ndarray:
        """Values of the expression [rows]: bool, number or bytes.

        Args:
            code: From `typed`.
            value_of: Values [rows] of a column.
            rows: How many rows there are.

        Raises:
            InputError: An integer does not fit, or bits are asked of what is none.
        """
        try:
            return code.run(value_of, rows)
        except Beyond as error:
            raise self.error(f"{error}.") from error

    def error(self, problem: str) -> InputError:
        """An error that names this expression."""
        shown = self.text if len(self.text) < 1000 else f"{self.text[:1000]}..."
        return InputError(f"{self.where}: `{shown}`: {problem}")

    def _column(self, name: str) -> str | None:
        return None if name in self.constants else self._names.get(name, name)


def column(name: str, where: str) -> Expression:
    """The expression that is just this column, whatever its name looks like."""
    return Expression(name, where, (name,), (), ast.Name("_0"), {"_0": name})


def parse(text: object, where: str) -> Expression:
    """Reads an expression.

    Raises:
        InputError: It is no expression, or uses what is not allowed in one.
    """
    if not isinstance(text, str) or not text.strip():
        raise InputError(
            f"{where}: {text!r} is not an expression, which is a string such as 'x > 1'."
        )
    return _parse(text, where)


@functools.lru_cache(maxsize=4096)
def _parse(text: str, where: str) -> Expression:
    names: dict[str, str] = {}

    def quoted(match: re.Match[str]) -> str:
        key = f"_quoted{len(names)}_"
        names[key] = match[1]
        return key

    code = re.sub(r"`([^`]+)`", quoted, " ".join(text.split("\n")).strip())
    expression = Expression(text, where, (), (), ast.Constant(True), names)
    bare = re.sub(r"'[^']*'|\"[^\"]*\"", "''", code)
    for foreign, remedy in _FOREIGN.items():
        if re.search(foreign, bare):
            raise expression.error(f"{remedy}.")
    try:
        body = ast.parse(code, mode="eval").body
    except (RecursionError, MemoryError):
        raise expression.error(
            "too long or too deep for Python: make `derived` columns of parts of it, and join them."
        ) from None
    except (SyntaxError, ValueError) as error:
        hint = " A comparison is written `==`." if re.search(r"[^=!<>]=[^=]", bare) else ""
        reason = error.msg if isinstance(error, SyntaxError) else str(error)
        raise InputError(f"{where}: `{text}` is not an expression: {reason}.{hint}") from None
    expression = Expression(text, where, (), (), body, names)
    nodes = list(ast.walk(body))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    functions = {id(call.func) for call in calls}
    used = [node for node in nodes if isinstance(node, ast.Name) and id(node) not in functions]
    used.sort(key=lambda node: (node.lineno, node.col_offset))
    constants = {node.id: None for node in used if node.id in CONSTANTS}
    columns = {names.get(n.id, n.id): None for n in used if n.id not in constants}
    expression = Expression(text, where, tuple(columns), tuple(constants), body, names)
    _check_parentheses(expression, code, nodes)
    for call in calls:
        _check_call(expression, call)
    for node in nodes:
        if isinstance(node, ast.Attribute):
            raise expression.error(
                f"a column with a dot in its name is written in backquotes: `{source(node)}`."
            )
    return expression


def _check_parentheses(expression: Expression, code: str, nodes: list[ast.AST]) -> None:
    """Refuses `a > 1 & b > 2`, which Python reads as `a > (1 & b) > 2`."""
    raw = code.encode()
    for node in nodes:
        if not isinstance(node, ast.Compare):
            continue
        for operand in (node.left, *node.comparators):
            if isinstance(operand, ast.BinOp) and isinstance(operand.op, ast.BitAnd | ast.BitOr):
                before = raw[max(0, operand.col_offset - 100) : operand.col_offset].rstrip()
                end = operand.end_col_offset or 0
                after = raw[end : end + 100].lstrip()
                if not (before.endswith(b"(") and after.startswith(b")")):
                    raise expression.error(
                        "`&` and `|` bind closer than comparisons: write `(a > 1) & (b > 2)`, or "
                        "`a > 1 and b > 2`."
                    )


def _check_call(expression: Expression, node: ast.Call) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else source(node.func)
    if name in ("min", "max"):
        raise expression.error(f"write `{name}imum(a, b)` for the {name}imum of two values.")
    if name not in FUNCTIONS:
        raise expression.error(
            f"there is no function {name!r}.{nearest(name, FUNCTIONS)} "
            f"Known: {', '.join(sorted(FUNCTIONS))}."
        )
    arguments = FUNCTIONS[name][0]
    if node.keywords or len(node.args) != arguments:
        raise expression.error(f"{name} takes {arguments} argument(s).")

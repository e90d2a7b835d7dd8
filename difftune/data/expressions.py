"""Expressions over named columns: read as Python, type-checked, evaluated by numpy.

The syntax is Python's: arithmetic, comparisons (also chained, also `in`), `and`/`or`/`not` or
`&`/`|`/`~`, functions of numpy by name, and `pi`, `nan`, `inf`. A column whose name is no Python
name stands in backquotes, unless it is one of a member or of a branch in another, such as `jets.pt`
or `MET/fX`. An integer or float where a condition is needed counts as true unless it is 0; a
condition in arithmetic counts as 0 or 1. Integers are exact, or refused.

A column may have a list for each event. What is done to lists is done to their elements; brackets
take elements, `max(x)` and its like make one value of a list, `sort` orders it, and `p4` makes
four-momenta. `[a, b]` makes a list of columns of one value. What is not there is absent, and so is
what is made from it.
"""

import ast
import functools
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from difftune.data.arithmetic import Beyond
from difftune.data.compiling import compile_tree, path_of
from difftune.data.fitting import check_condition
from difftune.data.functions import ARITIES, CONSTANTS, KEYWORDS
from difftune.data.kinds import Kind, element
from difftune.data.lists import Part
from difftune.data.steps import Code, Unfit, source
from difftune.errors import InputError, nearest

# What C++ and ROOT's formulas write otherwise.
_FOREIGN = {
    r"&&": "write `and` for `&&`",
    r"\|\|": "write `or` for `||`",
    r"!(?!=)": "write `not` for `!`",
    r"\?": "write `b if a else c`, or `where(a, b, c)`, for `a ? b : c`",
    r"\^": "write `**` for a power, which `^` is not (and `!=` where just one of two conditions "
    "shall hold)",
    r"\$": "write `sum(x)`, `max(x)`, `count(x)` for `Sum$(x)`, `Max$(x)`, `Length$(x)`",
    r"#": "leave comments out, and put a column with `#` in its name into backquotes",
    r"(?<=\w)::": "write functions without a namespace, as in `abs(x)`, and a column with colons "
    "in its name in backquotes",
}


# What other libraries call it.
_OTHERWISE = {
    "argsort": "write `sort(x, by=key)[0]` for `x[argsort(key)][0]`",
    "len": "write `count(x)` for the length of a list",
    "num": "write `count(x)` for the length of a list",
    "firsts": "write `x[0]` for the first element of a list",
    "concatenate": "write `[a, b]` for a list of columns of one value each",
    "zip": "write `[a, b]` for a list of columns of one value each",
    "fill_none": "write `where(isnan(x), value, x)` for a value where there is none",
    "pad_none": "write `x[2]`, which is missing where there is none",
    "deltaR": "write `delta_r(a, b)`",
    "DeltaR": "write `delta_r(a, b)`",
    "deltaPhi": "write `delta_phi(a, b)`",
    "DeltaPhi": "write `delta_phi(a, b)`",
}


_MODULES = ("ak", "awkward", "np", "numpy")


@dataclass(frozen=True, eq=False)
class Expression:
    """A syntactically sound expression.

    Attributes:
        text: As the user wrote it.
        where: What it is for, for messages: "weight of process 'ttbar'".
        columns: Names that it uses, in the order of their first use. Which of `a/b`, `a` and `b`
            are columns, and of what a four-momentum is made, a table must tell.
        constants: Names of mathematics that it uses, such as pi.
        collections: What the names of the columns of four-momenta begin with.
    """

    text: str
    where: str
    columns: tuple[str, ...]
    constants: tuple[str, ...]
    collections: tuple[str, ...]
    _body: ast.expr
    _names: Mapping[str, str]

    def typed(self, kind_of: Callable[[str], Kind], known: Collection[str] = ()) -> Code:
        """What is to be done, and the kind of the result.

        Args:
            kind_of: Kind of a column; raises for one that does not exist.
            known: Names of all columns, which tell what `a.b`, `a/b` and `p4("a")` are.

        Raises:
            InputError: An operation that does not fit the kinds.
        """

        def usable(name: str) -> Kind:
            kind = kind_of(name)
            if element(kind) == "other":
                members = [n for n in known if n.startswith((f"{name}.", f"{name}/"))]
                raise self.error(
                    f"column {name!r} holds objects, neither numbers nor strings. "
                    + (
                        f"Write one of its members: {', '.join(map(quoted, members[:4]))}."
                        if members
                        else "Write a branch of numbers."
                    )
                )
            if kind.startswith("string["):
                raise self.error(
                    f"column {name!r} holds a list of strings for each event, which no expression "
                    "can use. Write a branch of numbers, or one string per event."
                )
            return kind

        try:
            return compile_tree(self._body, self._column, usable, known)
        except (Unfit, Beyond) as error:
            raise self.error(str(error)) from error

    def values(self, code: Code, part_of: Callable[[str], Part], rows: int) -> Part:
        """Values of the expression [rows]: bool, number or bytes; lists; or momenta.

        Args:
            code: From `typed`.
            part_of: A column.
            rows: How many rows there are.

        Raises:
            InputError: An integer does not fit, or bits are asked of what is none.
            Unequal: Lists that are brought together differ in length.
        """
        try:
            if code.flat:
                columns = {name: part_of(name) for name in code.columns}
                if all(part.absent is None for part in columns.values()):
                    return Part(code.run(lambda name: columns[name].values, rows))
            return code.run_parts(part_of, rows)
        except Beyond as error:
            raise self.error(f"{error}.") from error

    def check_condition(self, kind: Kind) -> None:
        """Refuses what is no condition but looks like one, where one is needed.

        Args:
            kind: Of the result.

        Raises:
            InputError: It is `~x` of a number.
        """
        try:
            check_condition(self._body, kind)
        except Unfit as error:
            raise self.error(str(error)) from error

    def error(self, problem: str) -> InputError:
        """An error that names this expression."""
        shown = self.text if len(self.text) < 1000 else f"{self.text[:1000]}..."
        for key, name in self._names.items():
            problem = problem.replace(key, quoted(name))
        return InputError(f"{self.where}: `{shown}`: {problem}")

    def _column(self, name: str) -> str | None:
        return None if name in self.constants else self._names.get(name, name)


def column(name: str, where: str) -> Expression:
    """The expression that is just this column, whatever its name looks like."""
    return Expression(name, where, (name,), (), (), ast.Name("_0"), {"_0": name})


def is_name(text: str) -> bool:
    """Whether this is the name of a column rather than an expression: `met`, `jets.pt`, `a b`."""
    try:
        tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError):
        return not re.search(r"[][()<>=+*`]", text)
    return path_of(tree) is not None


def quoted(name: str) -> str:
    """A name of a column as an expression has it: in backquotes if need be."""
    try:
        tree = ast.parse(name, mode="eval").body
    except (SyntaxError, ValueError):
        return f"`{name}`"
    return name if path_of(tree) == name and name not in CONSTANTS else f"`{name}`"


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

    def replaced(match: re.Match[str]) -> str:
        key = f"_quoted{len(names)}_"
        names[key] = match[1]
        return key

    code = re.sub(r"`([^`]+)`", replaced, " ".join(text.split("\n")).strip())
    expression = Expression(text, where, (), (), (), ast.Constant(True), names)
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
    expression = Expression(text, where, (), (), (), body, names)
    nodes = list(ast.walk(body))
    calls = [node for node in nodes if isinstance(node, ast.Call)]
    functions = {id(call.func) for call in calls}
    used = [node for node in nodes if isinstance(node, ast.Name) and id(node) not in functions]
    constants = {node.id: None for node in used if node.id in CONSTANTS}
    expression = Expression(text, where, (), tuple(constants), (), body, names)
    _check_parentheses(expression, code, nodes)
    for call in calls:
        _check_call(expression, call)
    columns = _mentioned(nodes, functions, expression._column)
    collections = {
        call.args[0].value: None  # type: ignore[attr-defined]
        for call in calls
        if isinstance(call.func, ast.Name) and call.func.id == "p4" and call.args
    }
    return replace(expression, columns=columns, collections=tuple(collections))


def _mentioned(
    nodes: list[ast.AST], functions: set[int], name_of: Callable[[str], str | None]
) -> tuple[str, ...]:
    """The names that may be columns, in the order of their first use."""
    paths = [
        (node.lineno, node.col_offset, -(node.end_col_offset or 0), path)
        for node in nodes
        if isinstance(node, ast.Name | ast.Attribute | ast.BinOp)
        and id(node) not in functions
        and (path := path_of(node, name_of)) is not None
    ]
    return tuple(dict.fromkeys(path for *_, path in sorted(paths)))


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


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _check_call(expression: Expression, node: ast.Call) -> None:
    name = node.func.id if isinstance(node.func, ast.Name) else source(node.func)
    if name in ("min", "max") and len(node.args) > 1:
        raise expression.error(f"write `{name}imum(a, b)` for the {name}imum of two values.")
    known = sorted([*ARITIES, "correction", "field", "p4"])
    module, _, last = name.rpartition(".")
    remedy = _OTHERWISE.get(last if module in _MODULES else name)
    if remedy is not None:
        raise expression.error(f"{remedy}.")
    if name in ("correction", "field"):
        return  # what it takes, its file says
    if module and last in known:
        argument = "x" if module in _MODULES else module
        raise expression.error(
            f"write `{last}({argument})` for `{name}({'x' * (argument == 'x')})`."
        )
    if name not in known:
        raise expression.error(
            f"there is no function {name!r}.{nearest(name, known)} Known: {', '.join(known)}."
        )
    for keyword in node.keywords:
        if keyword.arg not in KEYWORDS.get(name, ()):
            allowed = ", ".join(f"{each}=..." for each in KEYWORDS.get(name, ()))
            raise expression.error(
                f"{name} has no argument {keyword.arg!r}. "
                + (f"It takes {allowed}." if allowed else f"Write `{name}(x)`.")
            )
    if name == "p4":
        first = node.args[0] if node.args else ast.Constant("")
        if (
            len(node.args) > 1
            or not isinstance(first, ast.Constant)
            or not isinstance(first.value, str)
        ):
            raise expression.error(
                "p4 takes what the names of the branches of a collection begin with, as a string: "
                '`p4("Jet")`; or `p4(pt=a, eta=b, phi=c, mass=d)`.'
            )
    elif len(node.args) != ARITIES[name]:
        raise expression.error(f"{name} takes {ARITIES[name]} argument(s).")

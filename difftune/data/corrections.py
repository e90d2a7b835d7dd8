"""Correction factors from JSON files of correctionlib, in expressions.

`correction("sf.json.gz", "electron_id", eta, pt, "nominal")` has the arguments of the correction in
their order, or by their names: strings as they are, numbers as expressions of columns.
"""

import ast
import functools
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from difftune.data import lists
from difftune.data.arithmetic import Beyond, number
from difftune.data.lists import Part
from difftune.errors import InputError, nearest

FILES = re.compile(r"""(\b(?:correction|field)\(\s*)(["'])(.+?)\2""")
"""The files of corrections, and of maps of fields, in an expression."""
_FORM = '`correction("sf.json.gz", "electron_id", eta, pt, "nominal")`'


class Unusable(ValueError):
    """A correction that is not there, or is used wrongly."""


def with_files(text: str, place: Callable[[str], str]) -> str:
    """An expression whose files of corrections are elsewhere.

    Args:
        text: The expression.
        place: The new path of a file.
    """
    return FILES.sub(lambda m: f"{m[1]}{m[2]}{place(m[3])}{m[2]}", text)


def prepared(node: ast.Call) -> tuple[list[ast.expr], Callable[..., np.ndarray]]:
    """The arguments of a correction that are expressions, and the function of their values.

    Args:
        node: The call, as it stands in an expression.

    Raises:
        Unusable: The correction is not there, or has other arguments.
    """
    texts = [a.value if isinstance(a, ast.Constant) else None for a in node.args[:2]]
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts):
        raise Unusable(f"correction takes a file and the name of a correction first: {_FORM}.")
    file, name = str(texts[0]), str(texts[1])
    found = _loaded(file, name)
    names = [each.name for each in found.inputs]
    given = _by_name(name, names, node)
    fixed: dict[str, Any] = {}
    varying: list[ast.expr] = []
    kinds: list[str] = []
    for each in found.inputs:
        value = given[each.name]
        text = isinstance(value, ast.Constant) and isinstance(value.value, str)
        if text != (each.type == "string"):
            wanted = "a string" if each.type == "string" else "a number"
            raise Unusable(
                f"{name!r} takes {wanted} as {each.name}"
                + (f" ({each.description})" if each.description else "")
                + ", and strings are written in quotes."
            )
        if text:
            fixed[each.name] = value.value  # type: ignore[attr-defined]
        else:
            varying.append(value)
            kinds.append(each.type)
    if not varying:
        raise Unusable(f"{name!r} has no argument that is a number of the event.")

    def evaluate(*values: np.ndarray) -> np.ndarray:
        columns = np.broadcast_arrays(*(number(np.asarray(value)) for value in values))
        shape = columns[0].shape
        numbers = iter(
            _as_kind(np.ravel(column), kind, name)
            for column, kind in zip(columns, kinds, strict=True)
        )
        arguments = [fixed[key] if key in fixed else next(numbers) for key in names]
        try:
            result = found.evaluate(*arguments)
        except (RuntimeError, IndexError, ValueError) as error:
            raise Beyond(
                f"correction {name!r} of {file} has no value for some event ({error}); keep its "
                "arguments within its bins, as by minimum(pt, 499), or select such events away"
            ) from error
        return np.reshape(np.asarray(result, np.float64), shape)

    return varying, evaluate


def of_parts(evaluate: Callable[..., np.ndarray], *parts: Part) -> Part:
    """A correction of lists, and of values of which some are absent: these are not looked up."""
    values = [part.values for part in parts]
    frame = lists.elementwise(lambda *v: np.broadcast_arrays(*v)[0], *values)
    gone = lists.united(frame, *(part.absent for part in parts))
    if gone is None:
        return Part(lists.elementwise(evaluate, *values))

    def present(absent: np.ndarray, *columns: np.ndarray) -> np.ndarray:
        there, *given = np.broadcast_arrays(~absent, *columns)
        result = np.full(there.shape, np.nan)
        result[there] = evaluate(*(column[there] for column in given))
        return result

    return Part(lists.elementwise(present, gone, *values), gone)


def _by_name(name: str, names: Sequence[str], node: ast.Call) -> dict[str, ast.expr]:
    """The arguments of a call by the names that the correction has for them."""
    plain = node.args[2:]
    given = dict(zip(names, plain, strict=False))
    takes = f"{name!r} takes {', '.join(names)}"
    for keyword in node.keywords:
        key = str(keyword.arg)
        if key not in names:
            raise Unusable(f"{takes}, and no {key!r}.{nearest(key, names)}")
        if key in given:
            raise Unusable(f"{takes}; {key} is given twice.")
        given[key] = keyword.value
    absent = [each for each in names if each not in given]
    if absent or len(plain) > len(names):
        lacks = f"{', '.join(absent)} is not given" if absent else f"{len(plain)} are given"
        raise Unusable(f"{takes}; {lacks}.")
    return given


def _as_kind(values: np.ndarray, kind: str, name: str) -> np.ndarray:
    if kind == "real":
        return values.astype(np.float64)
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        raise Beyond(f"correction {name!r} takes whole numbers where it is given others")
    return values.astype(np.int64)


def _loaded(file: str, name: str) -> Any:
    # Late, since what opens files uses expressions.
    from difftune.data.sources import resolve

    try:
        (path, *_) = resolve(file, "correction")
        changed = Path(path).stat().st_mtime_ns
    except (InputError, OSError) as error:
        raise Unusable(f"{error}") from error
    return _correction(path, name, changed)


@functools.lru_cache(maxsize=64)
def _correction(path: str, name: str, _changed: int) -> Any:
    try:
        import correctionlib
    except ImportError as error:
        raise InputError(
            f"{path}: corrections need correctionlib: pip install 'difftune[corrections]'."
        ) from error
    try:
        found = correctionlib.CorrectionSet.from_file(path)
    except (RuntimeError, ValueError, OSError) as error:
        raise Unusable(f"{path!r} is no file of correctionlib: {error}.") from error
    known = [*found.keys(), *found.compound.keys()]
    if name not in known:
        raise Unusable(
            f"{path!r} has no correction {name!r}.{nearest(name, known)} It has {', '.join(known)}."
        )
    return found[name] if name in found else found.compound[name]

"""What users write for files, expressions and names, as what is plainly meant."""

import os
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from difftune.arguments import is_number, said, texts
from difftune.errors import InputError


def as_files(given: Any) -> Any:
    """Files as a path or a tuple of paths, also from anything that gives them one by one."""
    if given is None or isinstance(given, str | os.PathLike):
        return given
    if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
        raise InputError(f'files = {said(given)}: give paths or globs, as in files="data/*.root".')
    paths = tuple(given)
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise InputError(f'files: {said(path)} is no path; write files=["a.root", "b.root"].')
    return paths


def as_expression(given: Any, what: str, *, needed: bool = False) -> Any:
    """An expression, which may be a plain number; None stays, unless it is needed."""
    if isinstance(given, str) or (given is None and not needed):
        return given
    if is_number(given):
        return repr(float(given)) if float(given) != int(given) else str(int(given))
    hint = ' Join several with " and ".' if isinstance(given, list | tuple) else ""
    raise InputError(
        f"{what} = {said(given)}: give an expression of columns as a text, such as "
        f'"mtw > 50".{hint}'
    )


def as_names(given: Any, what: str) -> Any:
    """One or several names; None stays."""
    return None if given is None else texts(given, what, f'{what}=["a", "b"]')


def as_role(given: Any) -> Any:
    """A role as a text; which ones there are the process knows."""
    if not isinstance(given, str):
        raise InputError(f'role = {said(given)}: give "signal", "background" or "data".')
    return given


def as_name(given: Any, what: str) -> str:
    """A name."""
    if not isinstance(given, str) or not given:
        raise InputError(f'{what}(name={said(given)}): give a text, such as name="ttbar".')
    return given


PROCESSES: dict[str, Any] = {"processes": partial(as_names, what="processes")}
"""Of what applies to some processes."""
PROCESS: dict[str, Any] = {
    "name": partial(as_name, what="Process"),
    "role": as_role,
    "files": as_files,
    "selection": partial(as_expression, what="selection"),
    "weight": partial(as_expression, what="weight"),
}
"""Of `Process`."""

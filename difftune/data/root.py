"""Trees and RNTuples of ROOT files, through uproot."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import uproot

from difftune.data.compiling import Kind
from difftune.data.table import Chunk, Table
from difftune.errors import InputError, nearest

_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
_NUMBERS = ("int", "float", "double", "real", "char", "short", "long")


def open_root(file: str, tree: str | None, where: str) -> Table:
    """The metadata of one tree.

    Raises:
        InputError: The file cannot be opened, or the tree is not there.
    """
    try:
        with uproot.open(file) as handle:
            tree = _find(handle, file, tree, where)
            found = handle[tree]
            kinds, rows = _kinds(found), int(found.num_entries)
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{where}: {file!r} cannot be opened as ROOT file: {type(error).__name__}: {reason}"
        ) from error

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        with uproot.open(file) as again:
            yield from _chunks(again[tree], columns, step, rows)

    return Table(file, tree, kinds, rows, read)


def _find(handle: Any, file: str, tree: str | None, where: str) -> str:
    classes = handle.classnames(cycle=False)
    trees = [name for name, kind in classes.items() if kind in _CLASSES]
    if tree is None:
        if len(trees) != 1:
            found = f"has the trees {', '.join(trees)}" if trees else "has no tree"
            raise InputError(f"{where}: {file!r} {found}; say which one with `tree`.")
        return trees[0]
    if tree.split(";")[0] not in trees:
        raise InputError(
            f"{where}: {file!r} has no tree {tree!r}.{nearest(tree, trees)} "
            f"Trees in it: {', '.join(trees) or 'none'}."
        )
    return tree


def _is_ntuple(tree: Any) -> bool:
    return tree.classname == "ROOT::RNTuple"


def _kinds(tree: Any) -> dict[str, Kind]:
    if _is_ntuple(tree):
        return {f.name: _kind_of_type(f.typename) for f in tree.fields}
    # Of two branches with one name (in different parents) the first is the outer one.
    kinds: dict[str, Kind] = {}
    for branch in tree.itervalues(recursive=True):
        kinds.setdefault(branch.name, _kind_of_branch(branch))
    return kinds


def _kind_of_branch(branch: Any) -> Kind:
    try:
        form = branch.interpretation
    except Exception:
        return "other"
    if isinstance(form, uproot.interpretation.numerical.AsDtype):
        dtype = form.to_dtype
        if dtype.shape:
            return "array"
        return "bool" if dtype.kind == "b" else "number" if dtype.kind in "iuf" else "other"
    if isinstance(form, uproot.interpretation.strings.AsStrings):
        return "string"
    jagged = isinstance(form, uproot.interpretation.jagged.AsJagged)
    return "array" if jagged or "vector<" in str(branch.typename) else "other"


def _kind_of_type(name: str) -> Kind:
    plain = name.replace("std::", "").strip()
    if plain == "bool":
        return "bool"
    if plain == "string":
        return "string"
    if "<" in plain or "[" in plain:
        return "array"
    number = plain.removesuffix("_t").rstrip("0123456789").removeprefix("u")
    return "number" if number in _NUMBERS else "other"


def _chunks(tree: Any, columns: Sequence[str], step: int, rows: int) -> Iterator[Chunk]:
    wanted = set(columns)
    if _is_ntuple(tree):
        chosen: dict[str, Any] = {"filter_name": lambda name: name in wanted}
    else:
        chosen = {"filter_branch": lambda branch: branch.name in wanted}
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        arrays = tree.arrays(entry_start=start, entry_stop=stop, library="np", **chosen)
        yield start, {name: _flat(arrays[name]) for name in columns}


def _flat(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "OU":
        return np.char.encode(values.astype(str), "utf-8")
    return values

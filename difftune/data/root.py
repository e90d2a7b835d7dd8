"""Trees and RNTuples of ROOT files, through uproot."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import awkward as ak
import numpy as np
import uproot

from difftune.data.kinds import Kind
from difftune.data.names import Chunk, DataTable
from difftune.errors import InputError, nearest

_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")


def open_root(file: str, tree: str | None, where: str) -> DataTable:
    """The metadata of one tree.

    Raises:
        InputError: The file cannot be opened, or the tree is not there.
    """
    with _opened(file, where) as handle:
        tree = _find(handle, file, tree, where)
        found = handle[tree]
        kinds, rows = _kinds(found), int(found.num_entries)

    def read(columns: Sequence[str], step: int) -> Iterator[Chunk]:
        with uproot.open(file) as again:
            yield from _chunks(again[tree], columns, step, rows)

    return DataTable(file, tree, kinds, rows, read)


def trees_in(file: str, where: str) -> list[str]:
    """Names of all trees and ntuples of a file.

    Raises:
        InputError: The file cannot be opened.
    """
    with _opened(file, where) as handle:
        return _trees(handle)


@contextmanager
def _opened(file: str, where: str) -> Iterator[Any]:
    try:
        with uproot.open(file) as handle:
            yield handle
    except InputError:
        raise
    except Exception as error:
        reason = (str(error).strip().splitlines() or [""])[0]
        raise InputError(
            f"{where}: {file!r} cannot be opened as ROOT file: {type(error).__name__}: {reason}. "
            "If it is one, it is damaged or cut short: copy it again."
        ) from error


def _trees(handle: Any) -> list[str]:
    classes = handle.classnames(cycle=False)
    return [name for name, kind in classes.items() if kind in _CLASSES]


def _find(handle: Any, file: str, tree: str | None, where: str) -> str:
    trees = _trees(handle)
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
    kinds: dict[str, Kind] = {}
    if _is_ntuple(tree):
        for name, form in _forms(tree):
            kinds |= _kinds_of_form(name, form)
        return kinds
    # Of two branches with one name (in different parents) the first is the outer one.
    for branch in tree.itervalues(recursive=True):
        for name, kind in _kinds_of_branch(branch).items():
            kinds.setdefault(name, kind)
    return kinds


def _kinds_of_branch(branch: Any) -> dict[str, Kind]:
    """The kind of a branch; of a list of leaves also those of `branch.leaf`."""
    name = _shown(branch.name)
    try:
        form = branch.interpretation
    except Exception:
        return {name: "other"}
    # Also `Double32_t` and `Float16_t`, which are stored in fewer bits.
    if isinstance(form, uproot.interpretation.numerical.Numerical):
        dtype = np.dtype(form.numpy_dtype)
        kinds: dict[str, Kind] = {name: _kind_of_dtype(dtype)}
        for leaf in dtype.names or ():
            kinds[f"{name}.{_shown(leaf)}"] = _kind_of_dtype(dtype[leaf])
        return kinds
    if isinstance(form, uproot.interpretation.strings.AsStrings):
        return {name: "string"}
    jagged = isinstance(form, uproot.interpretation.jagged.AsJagged)
    return {name: "array" if jagged or "vector<" in str(branch.typename) else "other"}


def _kind_of_dtype(dtype: np.dtype) -> Kind:
    if dtype.shape:
        return "array"
    return "bool" if dtype.kind == "b" else "number" if dtype.kind in "iuf" else "other"


def _forms(ntuple: Any) -> Iterator[tuple[str, Any]]:
    """The awkward form of each field, from the metadata; None for one that uproot cannot read."""

    def form(**chosen: Any) -> Any:
        made = ntuple.to_akform(**chosen)
        return made[0] if isinstance(made, tuple) else made

    names = [field.name for field in ntuple.fields]
    try:
        whole = form()
        yield from [(name, whole.content(name)) for name in names]
    except Exception:
        for name in names:
            try:
                yield name, form(filter_name=[name]).content(name)
            except Exception:
                yield name, None


def _kinds_of_form(name: str, form: Any) -> dict[str, Kind]:
    """The kind of a field, and those of its own fields as `name.field`."""
    while getattr(form, "is_option", False) or getattr(form, "is_indexed", False):
        form = form.content
    if getattr(form, "is_numpy", False):
        shaped = np.dtype((form.primitive, form.inner_shape))
        return {name: _kind_of_dtype(shaped)}
    if getattr(form, "is_list", False):
        return {name: "string" if form.parameter("__array__") == "string" else "array"}
    kinds: dict[str, Kind] = {name: "other"}
    if getattr(form, "is_record", False):
        for field in form.fields:
            kinds |= _kinds_of_form(f"{name}.{field}", form.content(field))
    return kinds


def _chunks(tree: Any, columns: Sequence[str], step: int, rows: int) -> Iterator[Chunk]:
    for start in range(0, rows, step):
        stop = min(start + step, rows)
        found = _fields if _is_ntuple(tree) else _branches
        yield start, found(tree, columns, start, stop)


def _fields(ntuple: Any, columns: Sequence[str], start: int, stop: int) -> dict[str, np.ndarray]:
    wanted = list(columns)
    arrays = ntuple.arrays(filter_name=wanted, entry_start=start, entry_stop=stop)
    found = {}
    for name in wanted:
        values = arrays
        for part in (name,) if name in arrays.fields else name.split("."):
            values = values[part]
        if "?" in str(values.type):
            # Only a float can say that there is no value.
            values = ak.fill_none(ak.values_astype(values, np.float64), np.nan)
        found[name] = _flat(ak.to_numpy(values))
    return found


def _branches(tree: Any, columns: Sequence[str], start: int, stop: int) -> dict[str, np.ndarray]:
    wanted = set(columns)

    def chosen(branch: Any) -> bool:
        name = _shown(branch.name)
        return name in wanted or any(one.startswith(f"{name}.") for one in wanted)

    read = tree.arrays(entry_start=start, entry_stop=stop, library="np", filter_branch=chosen)
    arrays = {_shown(name): values for name, values in read.items()}
    found = {}
    for name in columns:
        branch, _, leaf = (name, "", "") if name in arrays else name.rpartition(".")
        values = arrays[branch]
        if leaf:
            leaves = values.dtype.names or ()
            values = values[next(own for own in leaves if _shown(own) == leaf)]
        found[name] = _flat(values)
    return found


def _shown(name: str) -> str:
    """A name as a string: what is not UTF-8 in the file is read as Latin-1."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")


def _flat(values: np.ndarray) -> np.ndarray:
    if values.dtype.kind in "OU":
        return np.char.encode(values.astype(str), "utf-8", "surrogateescape")
    return values

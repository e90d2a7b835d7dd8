"""Trees and RNTuples of ROOT files, through uproot."""

import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, NamedTuple

import awkward as ak
import numpy as np
import uproot

from difftune.data.jagged import texts, without_options
from difftune.data.kinds import Kind, depth, within_lists
from difftune.data.names import Chunk, DataTable
from difftune.errors import InputError, nearest

_CLASSES = ("TTree", "TNtuple", "TNtupleD", "ROOT::RNTuple")
_KEPT = 40_000
"""So many branches stay in memory between looking at files and reading them."""
_WORKERS = min(4, os.cpu_count() or 1)
"""Threads that unpack what is read of a file; what they call leaves Python to others meanwhile."""


class _Place(NamedTuple):
    """Where a column is.

    Attributes:
        source: The path of its branch, or the name of its field.
        way: To the column in what that holds, by names of members.
        kind: Of the column.
    """

    source: str
    way: tuple[str, ...]
    kind: Kind


class _Columns(Mapping[str, Kind]):
    """The kinds of the columns of a tree.

    Names are those of branches; a second branch of one name is known by its path, and so is every
    other if it is asked for. Members of objects that are no branches of their own are looked up
    when they are asked for.
    """

    def __init__(
        self, places: dict[str, _Place], form_of: Callable[[str], Any], paths: Mapping[str, str]
    ) -> None:
        """Takes what is known at once, what tells the form of a source, and names by path."""
        self._places = places
        self._form_of = form_of
        self._paths = paths
        self._absent: set[str] = set()

    def __iter__(self) -> Iterator[str]:
        return iter(list(self._places))

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, name: str) -> Kind:
        return self.place(name).kind

    def place(self, name: str) -> _Place:
        """Where a column is.

        Raises:
            KeyError: There is none of that name.
        """
        if name in self._places:
            return self._places[name]
        if name in self._paths:
            return self._places[self._paths[name]]
        parts = name.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            owner = self._places.get(".".join(parts[:cut]))
            if owner is not None and owner.kind == "other" and name not in self._absent:
                form = self._form_of(owner.source)
                found = {} if form is None else _places_of_form(owner.source, form)
                member = found.get(".".join([owner.source, *parts[cut:]]))
                if member is not None:
                    self._places[name] = member
                    return member
        self._absent.add(name)
        raise KeyError(name)


class _Open:
    """A tree that stays open until it is read; too many are closed, and opened again then."""

    branches = 0

    def __init__(self, file: str, tree: str, found: Any) -> None:
        self._file, self._tree, self._found = file, tree, None
        # A file costs something too.
        size = max(100, len(found) if _is_ntuple(found) else len(found.branches))
        if _Open.branches + size <= _KEPT:
            _Open.branches += size
            self._found = found
            self._gone = weakref.finalize(self, _Open._release, size)

    @staticmethod
    def _release(size: int) -> None:
        _Open.branches -= size

    def see(self) -> Any:
        """The tree, which stays open if it is."""
        return uproot.open(self._file)[self._tree] if self._found is None else self._found

    def take(self) -> Any:
        """The tree, for the one who closes it."""
        found = self.see()
        if self._found is not None:
            self._found = None
            self._gone()
        return found


def open_root(file: str, tree: str | None, where: str) -> DataTable:
    """The metadata of one tree.

    Raises:
        InputError: The file cannot be opened, or the tree is not there.
    """
    with _opened(file, where) as handle:
        tree = _find(handle, file, tree, where)
        found = handle[tree]
        if _is_ntuple(found):
            places = _places_of_fields(found)
            paths: dict[str, str] = {}
        else:
            places, paths = _places_of_branches(found)
        rows = int(found.num_entries)
    opened = _Open(file, tree, found)
    columns = _Columns(places, lambda source: _form_of(opened.see(), source), paths)

    def read(names: Sequence[str], step: int) -> Iterator[Chunk]:
        found = opened.take()
        try:
            yield from _chunks(found, {name: columns.place(name) for name in names}, step, rows)
        finally:
            found.file.close()

    return DataTable(file, tree, columns, rows, read)


def trees_in(file: str, where: str) -> list[str]:
    """Names of all trees and ntuples of a file.

    Raises:
        InputError: The file cannot be opened.
    """
    with _opened(file, where) as handle, handle:
        return _trees(handle)


@contextmanager
def _opened(file: str, where: str) -> Iterator[Any]:
    try:
        yield uproot.open(file)
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


def _places_of_branches(tree: Any) -> tuple[dict[str, _Place], dict[str, str]]:
    """Columns by name, and names by path."""
    places: dict[str, _Place] = {}
    paths: dict[str, str] = {}
    for path, branch in tree.iteritems(recursive=True):
        # Of two branches with one name (in different parents) the first is the outer one.
        taken = _shown(branch.name) in places
        name = _shown(path if taken else branch.name)
        for each, place in _places_of_branch(branch, path, name).items():
            places.setdefault(each, place)
        if path != branch.name:
            paths.setdefault(_shown(path), name)
    return places, paths


def _places_of_branch(branch: Any, path: str, name: str) -> dict[str, _Place]:
    """A branch; of a list of leaves also those as `branch.leaf`."""
    try:
        form = branch.interpretation
    # A class that uproot does not know. It is an error only where the branch is asked for.
    except Exception:
        return {name: _Place(path, (), "other")}
    deep = 0
    while isinstance(form, uproot.interpretation.jagged.AsJagged):
        form, deep = form.content, deep + 1
    # Also `Double32_t` and `Float16_t`, which are stored in fewer bits.
    if isinstance(form, uproot.interpretation.numerical.Numerical):
        dtype = np.dtype(form.numpy_dtype)
        places = {name: _Place(path, (), _kind_of_dtype(dtype, deep))}
        for leaf in dtype.names or ():
            kind = _kind_of_dtype(dtype[leaf], deep)
            places[f"{name}.{_shown(leaf)}"] = _Place(path, (leaf,), kind)
        return places
    if isinstance(form, uproot.interpretation.strings.AsStrings):
        return {name: _Place(path, (), within_lists("string", deep))}
    return {name: _Place(path, (), _kind_of_model(getattr(form, "model", None)))}


def _kind_of_model(model: Any) -> Kind:
    """The kind of vectors of vectors (of vectors ...) of numbers or strings."""
    deep = 0
    while isinstance(model, uproot.containers.AsVector | uproot.containers.AsArray):
        model, deep = model.values, deep + 1
    if isinstance(model, uproot.containers.AsString):
        return within_lists("string", deep)
    return _kind_of_dtype(model, deep) if isinstance(model, np.dtype) else "other"


def _kind_of_dtype(dtype: np.dtype, deep: int = 0) -> Kind:
    """The kind of so many lists of a type of numpy, which may be an array itself."""
    kind = dtype.base.kind
    if kind not in "biuf":
        return "other"
    return within_lists("bool" if kind == "b" else "number", deep + len(dtype.shape))


def _places_of_fields(ntuple: Any) -> dict[str, _Place]:
    """The fields of an RNTuple and, as `field.member`, what they hold."""
    places: dict[str, _Place] = {}
    for name, form in _forms(ntuple):
        found = {} if form is None else _places_of_form(name, form)
        # Collections without a name, which projected fields have the members of.
        unnamed = name.startswith("_collection") or form is None
        places |= {name: _Place(name, (), "other")} if unnamed else found
    return places


def _forms(ntuple: Any) -> list[tuple[str, Any]]:
    """The awkward form of each field, from the metadata; None for one that uproot cannot read."""
    names = [field.name for field in ntuple.fields]
    try:
        whole = _akform(ntuple)
        forms = [whole.content(name) for name in names]
    # One field that uproot cannot read, for whatever reason, makes it fail for all of them.
    except Exception:
        forms = [_form_of(ntuple, name) for name in names]
    return list(zip(names, forms, strict=True))


def _akform(ntuple: Any, **chosen: Any) -> Any:
    made = ntuple.to_akform(**chosen)
    return made[0] if isinstance(made, tuple) else made


def _form_of(tree: Any, source: str) -> Any:
    """The awkward form of a branch or field; None for one that uproot cannot read."""
    try:
        if _is_ntuple(tree):
            return _akform(tree, filter_name=[source]).content(source)
        branch = _branches(tree, {source})[source]
        return branch.interpretation.awkward_form(branch.file)
    # The same: without a form, a column is refused where it is asked for.
    except Exception:
        return None


def _places_of_form(name: str, form: Any) -> dict[str, _Place]:
    """What a form holds, by name: itself, and members of records and of lists of them."""
    places: dict[str, _Place] = {}
    todo: list[tuple[tuple[str, ...], Any, int]] = [((), form, 0)]
    while todo:
        way, inner, deep = todo.pop(0)
        here = ".".join((name, *way))
        inner = _bare(inner)
        kind: Kind = "other"
        while inner.is_list and not _is_text(inner):
            inner, deep = _bare(inner.content), deep + 1
        if _is_text(inner):
            kind = within_lists("string", deep)
        elif inner.is_numpy:
            shaped = np.dtype((inner.primitive, inner.inner_shape))
            kind = _kind_of_dtype(shaped, deep)
        elif inner.is_record and not inner.is_tuple:
            todo += [((*way, each), inner.content(each), deep) for each in inner.fields]
        places[here] = _Place(name, way, kind)
    return places


def _bare(form: Any) -> Any:
    """The form without options and indices."""
    while form.is_option or form.is_indexed:
        form = form.content
    return form


def _is_text(form: Any) -> bool:
    return bool(form.is_list) and form.parameter("__array__") in ("string", "bytestring")


def _branches(tree: Any, paths: set[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for path, branch in tree.iteritems(recursive=True):
        if path in paths:
            found.setdefault(path, branch)
    return found


def _chunks(tree: Any, places: Mapping[str, _Place], step: int, rows: int) -> Iterator[Chunk]:
    sources = {place.source for place in places.values()}
    start = 0
    for arrays in _read(tree, sources, step, rows):
        columns = {}
        for name, (source, way, kind) in places.items():
            values = arrays[source]
            for part in way:
                values = values[part]
            columns[name] = values if depth(kind) else _flat(values)
        yield start, columns
        start += step


def _read(tree: Any, sources: set[str], step: int, rows: int) -> Iterator[dict[str, Any]]:
    """Chunks of branches or fields, by their path."""
    if _is_ntuple(tree):
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            arrays = tree.arrays(filter_name=sorted(sources), entry_start=start, entry_stop=stop)
            yield {name: without_options(arrays[name]) for name in sources}
        return
    found = _branches(tree, sources)
    path_of = {branch.name: path for path, branch in found.items()}
    together = {id(found[path]) for path in path_of.values()}
    # uproot calls them by their names, so two of one name are read one by one.
    alone = {path: branch for path, branch in found.items() if id(branch) not in together}
    start = 0
    with ThreadPoolExecutor(_WORKERS, thread_name_prefix="difftune unpacking") as pool:
        for arrays in tree.iterate(
            filter_branch=lambda branch: id(branch) in together,
            step_size=step,
            how=dict,
            decompression_executor=pool,
        ):
            stop = min(start + step, rows)
            chunk = {path_of[name]: values for name, values in arrays.items()}
            for path, branch in alone.items():
                chunk[path] = branch.array(entry_start=start, entry_stop=stop)
            yield chunk
            start = stop


def _flat(values: Any) -> np.ndarray:
    """Numbers, bools, or strings as bytes."""
    if ak.parameters(values).get("__array__") in ("string", "bytestring"):
        return texts(values)
    return np.asarray(ak.to_numpy(values))


def _shown(name: str) -> str:
    """A name as a string: what is not UTF-8 in the file is read as Latin-1."""
    try:
        name.encode()
        return name
    except UnicodeEncodeError:
        return name.encode("utf-8", "surrogateescape").decode("latin-1")

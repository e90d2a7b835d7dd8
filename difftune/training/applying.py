"""The score of a network for every entry of files, written beside them."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import uproot
from jaxtyping import Float32

from difftune.arguments import takes
from difftune.data import (
    DataTable,
    Friend,
    Objects,
    Reading,
    as_defaults,
    as_files,
    as_friends,
    as_objects,
    collections_of,
    completed,
    entries,
    program_of,
    resolve,
    tables_of,
)
from difftune.errors import InputError, nearest
from difftune.files import unwritable
from difftune.training.applicable import Applicable
from difftune.training.cross_fitted import AnyNetwork, CrossFitted, as_network
from difftune.training.trees import BoostedTrees

logger = logging.getLogger("difftune")


@takes(
    files=as_files,
    objects=lambda given: None if given is None else as_objects(given),
    friends=lambda given: None if given is None else as_friends(given),
    defaults=lambda given: None if given is None else as_defaults(given),
)
def apply(
    network: Applicable | Sequence[Applicable],
    files: str | Path | Sequence[str | Path],
    output: str | Path,
    *,
    trees: str | Sequence[str] | None = None,
    event_number: str | Sequence[str] | None = None,
    derived: Mapping[str, str] | None = None,
    selection: str | None = None,
    missing: Any = None,
    folds: int | None = None,
    branch: str | None = None,
    varied: Mapping[str, Mapping[str, str]] | None = None,
    objects: Mapping[str, Objects] | None = None,
    friends: Sequence[Friend] | Friend | None = None,
    defaults: Mapping[str, Any] | None = None,
    form: str | None = None,
    chunk_size: str | int = "100 MB",
) -> tuple[Path, ...]:
    """Scores every entry of files, and writes the scores beside them.

    For each input file there is a file in `output` with one row for each entry, in the same order:
    a friend. Of ROOT files each tree has a friend tree of the same name; trees without the columns
    that the network needs are left out, with a message. Entries that the selection does not keep
    have NaN, and so do their varied copies in other trees. Cross-fitted networks score each event
    by the network of its fold.

    What is not said of the reading of the files is as `read` was told for the events of the
    training, which the network remembers; so it is with its variations of features, each of which
    has a branch of its own.

    Args:
        network: A trained network, an ensemble, cross-fitted networks, or what `tune` returned.
        files: Paths, globs or addresses of ROOT, Parquet or CSV files.
        output: The folder to write to; files of the same name are replaced.
        trees: Only these trees, which then must have the columns.
        event_number: As in `read`; needed where the networks are cross-fitted.
        derived: As in `read`; `{}` for none.
        selection: As in `read`; `"True"` for all entries.
        missing: As in `read`; `[]` for no such value.
        folds: As in `read`; that of cross-fitted networks by default.
        branch: Name of the branch or column with the scores, `score` by default. Networks that
            predict targets give one for each prediction, of its name; with a branch, this and an
            underscore stand before it.
        varied: Further scores, of varied features: by what stands behind the name of the branch,
            expressions in place of columns, as in `{"jer_up": {"jet_pt": "jet_pt_jer_up"}}`;
            `{}` for none. A tree without these columns has no such branch.
        objects: As in `read`.
        friends: As in `read`; `[]` for none. Those of the training, whose files are named by a
            pattern with `{name}` or are other trees of the same files, are found beside others,
            too.
        defaults: As in `read`; `{}` for none.
        form: "root" or "parquet"; by default as the input is, Parquet where it is text.
        chunk_size: As in `read`.

    Returns:
        The files that were written.

    Raises:
        InputError: A file or tree has not what is needed, nothing has, or it cannot be written.
    """
    if form not in (None, "root", "parquet"):
        raise InputError(f"form={form!r}: there are 'root' and 'parquet'.")
    trained = as_network(network)
    known = trained.reading or Reading(features=trained.feature_names)
    given: dict[str, Any] = {
        "event_number": event_number,
        "derived": derived,
        "selection": selection,
        "missing": missing,
        "varied": varied,
        "objects": objects,
        "friends": friends,
        "defaults": defaults,
    }
    known = replace(known, **{name: value for name, value in given.items() if value is not None})
    crossed = isinstance(trained, CrossFitted)
    if crossed and known.event_number is None:
        raise InputError(
            "apply: these networks are cross-fitted, and the event number says which of them has "
            "not seen an event: give event_number."
        )
    columns = {n for each in collections_of(known.objects, 0) for n in each.columns}
    reading = replace(
        known,
        features=tuple(name for name in trained.feature_names if name not in columns),
        # What is not needed need not be in the files.
        event_number=known.event_number if crossed else None,
        folds=folds or (len(trained.networks) if isinstance(trained, CrossFitted) else 1),
    )
    wanted = [trees] if isinstance(trees, str) else trees
    refused: list[str] = []
    sources = {file: _usable(file, wanted, reading, refused) for file in resolve(files, "apply")}
    if not any(sources.values()):
        reasons = list(dict.fromkeys(refused))
        raise InputError(
            f"apply: no tree of {', '.join(sources)} has what the network needs. "
            + " ".join(reasons[:3])
            + (f" ({len(reasons) - 3} more are in the log.)" if len(reasons) > 3 else "")
        )
    said = () if isinstance(trained, BoostedTrees) else trained.predictions
    names = tuple(f"{branch}_{name}" if branch else name for name in said) or (branch or "score",)
    wanted_branches = {names: reading} | {
        tuple(f"{own}_{name}" for own in names): replace(reading, replaced=replaced)
        for name, replaced in known.varied.items()
    }

    def scored(table: DataTable, own: Reading) -> Iterator[Float32[np.ndarray, "rows names"]]:
        return _scores(trained, table, own, chunk_size, len(names))

    folder = Path(output)
    written: dict[Path, str] = {}
    for file, tables in sources.items():
        for path, own in _targets(folder, file, tables, form):
            if path in written:
                raise InputError(
                    f"{file} and {written[path]} would both be written to {path}: apply to one of "
                    "them at a time, each with an output of its own."
                )
            if _same(path, file):
                raise InputError(f"{path} is the input itself: choose another output folder.")
            written[path] = file
            _write(path, own, lambda table: _branches(table, wanted_branches), scored)
            logger.info("wrote %s", path)
    return tuple(written)


def _same(path: Path, file: str) -> bool:
    return path.exists() and os.path.exists(file) and os.path.samefile(path, file)


def _usable(
    file: str, wanted: Sequence[str] | None, reading: Reading, refused: list[str]
) -> list[DataTable]:
    """The tables of a file that have all columns that are needed; why others are refused."""
    tables, usable = tables_of(file, "apply"), []
    if wanted is not None:
        known = {table.tree: table for table in tables if table.tree is not None}
        for name in wanted:
            if name not in known:
                raise InputError(f"apply: {file} has no tree {name!r}.{nearest(name, known)}")
        tables = [known[name] for name in wanted]
    for plain in tables:
        try:
            table = completed(plain, reading, "apply")
            program_of(reading, table)
        except InputError as error:
            # Counters and metadata stand beside the events; a file that is one table is meant.
            if wanted is not None or len(tables) == 1:
                raise
            logger.info("left out: %s", error)
            refused.append(str(error))
        else:
            usable.append(table)
    return usable


def _targets(
    folder: Path, file: str, tables: Sequence[DataTable], form: str | None
) -> Iterator[tuple[Path, Sequence[DataTable]]]:
    """Files to write, and the tables that each is for."""
    name = file.rpartition("/")[2].partition(".")[0]
    if not tables:
        return
    if form == "root" or (form is None and tables[0].tree is not None):
        yield folder / f"{name}.root", tables
        return
    for table in tables:
        tree = "" if table.tree is None else "_" + table.tree.replace("/", "_")
        yield folder / f"{name}{tree if len(tables) > 1 else ''}.parquet", [table]


def _scores(
    network: AnyNetwork, table: DataTable, reading: Reading, chunk_size: str | int, columns: int
) -> Iterator[Float32[np.ndarray, "rows columns"]]:
    """Chunk by chunk, NaN where the selection does not keep an entry."""
    for kept, events in entries(table, reading, chunk_size=chunk_size):
        scores = np.full((len(kept), columns), np.nan, np.float32)
        if len(events):
            scores[kept] = network.score(events).reshape(-1, columns)
        yield scores


def _branches(
    table: DataTable, wanted: Mapping[tuple[str, ...], Reading]
) -> dict[tuple[str, ...], Reading]:
    """The branches that a table has the columns for; the first ones have been looked at."""
    first, *varied = wanted
    usable = {first: wanted[first]}
    for name in varied:
        try:
            program_of(wanted[name], table)
        except InputError as error:
            logger.info("no %s: %s", ", ".join(name), error)
        else:
            usable[name] = wanted[name]
    return usable


def _write(
    path: Path,
    tables: Sequence[DataTable],
    branches: Callable[[DataTable], dict[tuple[str, ...], Reading]],
    scores: Callable[[DataTable, Reading], Iterator[Float32[np.ndarray, "rows names"]]],
) -> None:
    """Writes a file, which appears under its name when it is complete."""

    def chunks(table: DataTable) -> tuple[list[str], Iterator[dict[str, np.ndarray]]]:
        own = branches(table)
        each = zip(*(scores(table, reading) for reading in own.values()), strict=True)
        names = [name for together in own for name in together]

        def named(arrays: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
            columns = [column for array in arrays for column in array.T]
            return dict(zip(names, columns, strict=True))

        return names, map(named, each)

    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            stack.callback(partial.unlink, missing_ok=True)
            if path.suffix == ".root":
                with uproot.recreate(partial) as file:
                    for table in tables:
                        names, content = chunks(table)
                        types = dict.fromkeys(names, np.float32)
                        tree = file.mktree(table.tree or "events", types)
                        for chunk in content:
                            tree.extend(chunk)
            else:
                _write_parquet(partial, *chunks(tables[0]))
            os.replace(partial, path)
    except OSError as error:
        raise unwritable(path, error) from error


def _write_parquet(
    path: Path, names: Sequence[str], chunks: Iterator[dict[str, np.ndarray]]
) -> None:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise InputError("Parquet needs pyarrow: pip install 'difftune[arrow]'.") from error
    schema = pa.schema([(name, pa.float32()) for name in names])
    with pq.ParquetWriter(path, schema) as writer:
        for chunk in chunks:
            writer.write_table(pa.table(chunk, schema))

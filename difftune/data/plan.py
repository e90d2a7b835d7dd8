"""What there is to read: checked against the files' metadata before anything is read."""

import logging
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field

from difftune.data.events import Process
from difftune.data.expressions import Expression, column, parse
from difftune.data.names import DataTable, Names
from difftune.data.program import UNTOUCHED, Program, RegionRule, WeightKey
from difftune.data.regions import Region
from difftune.data.sources import open_table, resolve
from difftune.data.transform import Missing
from difftune.data.variations import (
    Direction,
    FeatureVariation,
    Files,
    TreeVariation,
    Variation,
    WeightVariation,
)
from difftune.errors import InputError, nearest

logger = logging.getLogger("difftune")

SampleKey = tuple[str, Direction] | None
"""A varied sample; None for the nominal one."""


@dataclass(frozen=True)
class Request:
    """The arguments of `read`, syntactically sound."""

    processes: tuple[Process, ...]
    files: Files | None
    features: tuple[str, ...]
    weight: str
    number: tuple[Expression, ...]
    derived: Mapping[str, Expression]
    selection: str | None
    missing: Missing
    folds: int
    variations: tuple[Variation, ...]
    regions: tuple[Region, ...]

    def touched(self, variation: Variation) -> list[Process]:
        """The processes that a variation applies to."""
        if variation.processes is None:
            return [p for p in self.processes if p.role != "data"]
        return [p for p in self.processes if p.name in variation.processes]


@dataclass(frozen=True)
class Job:
    """One program, and where its result goes."""

    process: int
    sample: SampleKey
    program: Program
    columns: tuple[str, ...]


@dataclass
class Stream:
    """A table that is read once, for all that need it."""

    table: DataTable
    jobs: list[Job] = field(default_factory=list)

    @property
    def columns(self) -> list[str]:
        """All columns that are needed of it."""
        return sorted({name for job in self.jobs for name in job.columns})


class Plan:
    """Collects the streams of a request; opens every file, reads no events."""

    def __init__(self, request: Request) -> None:
        """Makes the plan.

        Raises:
            InputError: Something in the files is not as the request wants it.
        """
        self.request = request
        self.streams: dict[tuple[str, str | None], Stream] = {}
        self._tables_open: dict[tuple[str, str | None], DataTable] = {}
        self._columns: dict[Hashable, tuple[str, ...]] = {}
        for index, process in enumerate(request.processes):
            self._add_nominal(index, process)
        for variation in request.variations:
            for process in request.touched(variation):
                self._add_touched(request.processes.index(process), process, variation)
        for stream in self.streams.values():
            _check_definitions(stream, request.processes)
        self._check_missing()

    def _open(self, file: str, tree: str | None, where: str) -> DataTable:
        if (file, tree) not in self._tables_open:
            self._tables_open[file, tree] = open_table(file, tree, where)
        return self._tables_open[file, tree]

    def _tables(self, files: Files | None, tree: str | None, where: str) -> list[DataTable]:
        if files is None:
            raise InputError(f"{where} has no files: give `files` to it, or to all processes.")
        tables = [self._open(file, tree, where) for file in resolve(files, where)]
        empty = [table.place for table in tables if table.rows == 0]
        if len(empty) == len(tables):
            raise InputError(f"{where}: {', '.join(empty)}: empty, there is not one event in it.")
        if empty:
            logger.warning("%s: no events in %s", where, ", ".join(empty))
        return tables

    def _add_nominal(self, index: int, process: Process) -> None:
        where = f"process {process.name!r}"
        files = self.request.files if process.files is None else process.files
        for table in self._tables(files, process.tree, where):
            names = Names(table, self.request.derived, {}, self.request.missing)
            self._add(index, None, table, self._program(process, names, "", weights=True))

    def _add_touched(self, index: int, process: Process, variation: Variation) -> None:
        try:
            self._add_varied(index, process, variation)
        except InputError as error:
            if variation.processes is None:
                raise InputError(f"{error} {UNTOUCHED}") from error
            raise

    def _check_missing(self) -> None:
        known = set(self.request.derived)
        for stream in self.streams.values():
            known.update(stream.table.kinds)
        for name in self.request.missing.special:
            if name not in known:
                raise InputError(
                    f"missing: there is no column or derived feature {name!r}."
                    + nearest(name, sorted(known))
                )

    def _add_varied(self, index: int, process: Process, variation: Variation) -> None:
        if isinstance(variation, WeightVariation):
            return
        nominal = self.request.files if process.files is None else process.files
        for direction in _directions(variation):
            sample = f"variation {variation.name!r} {direction}"
            where = f"process {process.name!r} ({sample})"
            if isinstance(variation, FeatureVariation):
                tables = self._tables(nominal, process.tree, where)
                given = variation.up if direction == "up" else (variation.down or {})
                replaced = {n: parse(e, f"{where}: {n!r}") for n, e in given.items()}
            else:
                up = direction == "up"
                other = variation.files_up if up else variation.files_down
                files = nominal if other is None else other
                tree = (variation.up if up else variation.down) or "{tree}"
                tables = self._tables(files, self._varied_tree(process, tree, where), where)
                replaced = {}
            for table in tables:
                for name in replaced:
                    plain = Names(table, self.request.derived, {}, self.request.missing)
                    plain.kind(name, column(name, where))
                names = Names(table, self.request.derived, replaced, self.request.missing)
                program = self._program(process, names, sample, weights=False)
                self._add(index, (variation.name, direction), table, program)

    def _varied_tree(self, process: Process, pattern: str, where: str) -> str | None:
        if "{tree}" not in pattern:
            return pattern
        tree = process.tree
        if tree is None:
            files = self.request.files if process.files is None else process.files
            tree = self._tables(files, None, where)[0].tree
        return tree if tree is None else pattern.replace("{tree}", tree)

    def _program(self, process: Process, names: Names, sample: str, *, weights: bool) -> Program:
        request, where = self.request, f"process {process.name!r}"
        selections = [
            parse(text, f"{who}selection")
            for text, who in (
                (request.selection, ""),
                (process.selection, f"{where}: "),
            )
            if text is not None
        ]
        nominal = weight_of(process, request.weight)
        varied: dict[WeightKey, Expression] = {}
        for variation in request.variations if weights else ():
            if isinstance(variation, WeightVariation) and process in request.touched(variation):
                for direction in _directions(variation):
                    text = variation.up if direction == "up" else variation.down
                    text = (text or "").replace("{weight}", f"({nominal})")
                    who = f"{where}: variation {variation.name!r} {direction}"
                    varied[variation.name, direction] = parse(text, who)
        return Program(
            names=names,
            process=process.name,
            sample=sample,
            selection=tuple(selections),
            features=request.features,
            weight=parse(nominal, f"{where}: weight"),
            weights=varied,
            regions=tuple(_rule(region) for region in request.regions),
            number=request.number,
            folds=request.folds,
        )

    def _add(self, process: int, sample: SampleKey, table: DataTable, program: Program) -> None:
        stream = self.streams.setdefault((table.file, table.tree), Stream(table))
        # Files of one make are checked once: a chain can have thousands.
        make = (process, sample, tuple(table.kinds.items()))
        if make not in self._columns:
            self._columns[make] = program.columns
        stream.jobs.append(Job(process, sample, program, self._columns[make]))


def _rule(region: Region) -> RegionRule:
    where, observable = f"region {region.name!r}", region.expression
    return RegionRule(
        region,
        parse(region.selection, f"{where}: selection"),
        None if observable is None else parse(observable, f"{where}: observable"),
    )


def weight_of(process: Process, common: str) -> str:
    """The weight expression of a process; data do not take the common one."""
    if process.weight is not None:
        return process.weight
    return "1" if process.role == "data" else common


def _directions(variation: Variation) -> list[Direction]:
    one_sided = variation.down is None
    if isinstance(variation, TreeVariation):
        one_sided &= variation.files_down is None
    return ["up"] if one_sided else ["up", "down"]


def _check_definitions(stream: Stream, processes: Sequence[Process]) -> None:
    """Refuses two processes that are the same by definition."""
    seen: dict[tuple[SampleKey, bool, str], int] = {}
    for job in stream.jobs:
        process = processes[job.process]
        selection = (process.selection or "").strip()
        key = (job.sample, process.role == "data", selection)
        other = seen.setdefault(key, job.process)
        if other != job.process:
            named = f"selection `{selection}`" if selection else "no selection of their own"
            raise InputError(
                f"processes {processes[other].name!r} and {process.name!r} overlap: both are "
                f"{stream.table.place} with {named}. Give each its own tree, files or selection."
            )

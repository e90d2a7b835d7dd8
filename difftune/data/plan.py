"""What there is to read: checked against the files' metadata before anything is read."""

import logging
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from difftune.data.events import Process
from difftune.data.expressions import Expression, column, parse
from difftune.data.fitting import said
from difftune.data.friends import with_defaults, with_friend
from difftune.data.functions import P4
from difftune.data.kinds import depth, element
from difftune.data.names import DataTable, Names, with_features
from difftune.data.normalisation import sum_of_weights
from difftune.data.program import UNTOUCHED, Program, RegionRule, WeightKey
from difftune.data.regions import Region
from difftune.data.request import Portion, Request, check_luminosities, portions, whole
from difftune.data.sources import open_table, resolve, trees_of
from difftune.data.sums import Normalisation, SumOfWeights
from difftune.data.variations import (
    Direction,
    FeatureVariation,
    Files,
    Trees,
    TreeVariation,
    Variation,
    WeightVariation,
)
from difftune.errors import InputError, nearest

logger = logging.getLogger("difftune")

SampleKey = tuple[str, Direction] | None
"""A varied sample; None for the nominal one."""


@dataclass(frozen=True)
class Job:
    """One program, and where its result goes."""

    process: int
    part: int
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
        self._lacked: list[set[str]] = []
        self._tables_open: dict[tuple[str, str | None], DataTable] = {}
        self._columns: dict[Hashable, tuple[str, ...]] = {}
        self._fitting: dict[tuple[str, str | None], str] = {}
        self._plain_names: dict[tuple[str, str | None], Names] = {}
        self.normalisations: dict[tuple[int, int], Normalisation] = {}
        self._sums: dict[Hashable, float] = {}
        check_luminosities(request)
        for process in request.processes:
            for portion in portions(request, process):
                self._add_nominal(portion)
        for variation in request.variations:
            for process in request.touched(variation):
                self._add_touched(process, variation)
        for stream in self.streams.values():
            _check_definitions(stream, request.processes)
        self._check_missing()
        everywhere = set.intersection(*self._lacked) if self._lacked else set()
        if everywhere:
            names = [name for stream in self.streams.values() for name in stream.table.kinds]
            absent = min(everywhere)
            others = [name for name in names if name not in everywhere]
            raise InputError(
                f"defaults: no file has {absent!r}, for which there is a default."
                + nearest(absent, others)
            )

    def _open(self, file: str, tree: str | None, where: str) -> DataTable:
        if (file, tree) not in self._tables_open:
            table = open_table(file, tree, where)
            for friend in self.request.friends:
                table = with_friend(table, friend, where)
            self._lacked.append({n for n in self.request.defaults if n not in table.kinds})
            table = with_defaults(table, self.request.defaults)
            self._tables_open[file, tree] = table
        return self._tables_open[file, tree]

    def _tables(self, files: Files | None, tree: Trees | None, where: str) -> list[DataTable]:
        if files is None:
            raise InputError(f"{where} has no files: give `files` to it, or to all processes.")
        tables = []
        for file in resolve(files, where):
            names = trees_of(file, tree, where)
            own = [self._open(file, name, where) for name in names]
            if names != [tree]:
                listed = ", ".join(str(each.tree) for each in own)
                for each in own:
                    self._fitting[each.file, each.tree] = (
                        f"Of {each.file!r}, tree = {tree!r} takes {listed}: name those that "
                        "have the events."
                    )
            tables += own
        empty = [table.place for table in tables if table.rows == 0]
        if len(empty) == len(tables):
            raise InputError(f"{where}: {', '.join(empty)}: empty, there is not one event in it.")
        if empty:
            logger.warning("%s: no events in %s", where, ", ".join(empty))
        return tables

    def _add_nominal(self, portion: Portion) -> None:
        tables = self._tables(portion.files, portion.tree, portion.where)
        if portion.cross_section is not None:
            assert portion.luminosity is not None, "it was checked"
            self.normalisations[portion.index, portion.number] = Normalisation(
                process=portion.process.name,
                part=portion.part,
                files=len({table.file for table in tables}),
                sum_of_weights=self._sum(portion.sum_of_weights, portion, tables, portion.where),
                cross_section=portion.cross_section,
                k_factor=portion.k_factor,
                luminosity=portion.luminosity,
            )
        factor, factors = self._factors(portion, tables)
        for table in tables:
            names = self._names(table, {})
            program = self._program(portion, names, "", weights=True)
            try:
                self._add(portion, None, table, replace(program, factor=factor, factors=factors))
            except InputError as error:
                if table is tables[0]:
                    raise
                raise InputError(
                    f"{error} It is otherwise in {tables[0].place}, which {portion.where} begins "
                    "with: a branch of one value for each event that some files lack gets one by "
                    "`defaults`, as in defaults = { HLT_IsoMu27 = false }."
                ) from error

    def _sum(
        self,
        source: float | SumOfWeights | None,
        portion: Portion,
        tables: Sequence[DataTable],
        where: str,
    ) -> float:
        """The sum of generated weights of the files of these tables; each is found once."""
        if source is None:
            raise InputError(
                f"{where} has a cross_section and no sum_of_weights: give the sum of the generated "
                "weights of all its files, or where it is written, as in sum_of_weights = "
                '{ tree = "Runs", branch = "genEventSumw" }; where no event has been left out of '
                "the files, the tree of the events has it too."
            )
        files = tuple(dict.fromkeys(table.file for table in tables))
        if (source, files) not in self._sums:
            self._sums[source, files] = sum_of_weights(source, files, where)
        return self._sums[source, files]

    def _factors(
        self, portion: Portion, tables: Sequence[DataTable]
    ) -> tuple[float, dict[WeightKey, float]]:
        """What weights are multiplied by, and those varied weights whose sum is another one."""
        if portion.cross_section is None:
            return 1.0, {}
        factors = {}
        for variation in self.request.variations:
            if not isinstance(variation, WeightVariation):
                continue
            if portion.process not in self.request.touched(variation):
                continue
            for direction in _directions(variation):
                own = variation.sums[direction]
                if own is None:
                    continue
                where = f"{portion.where}: variation {variation.name!r} {direction}"
                if isinstance(own, float) and self._normalised(variation) > 1:
                    raise InputError(
                        f"{where}: sum_of_weights_{direction} is one number for several samples: "
                        "say in which tree and branch it is written, or list one process."
                    )
                factors[variation.name, direction] = portion.expected / self._sum(
                    own, portion, tables, where
                )
        return self.normalisations[portion.index, portion.number].factor, factors

    def _normalised(self, variation: Variation) -> int:
        """How many samples with a cross-section a variation touches."""
        found = [
            portion
            for process in self.request.touched(variation)
            for portion in portions(self.request, process)
        ]
        return sum(portion.cross_section is not None for portion in found)

    def _names(self, table: DataTable, replaced: Mapping[str, Expression]) -> Names:
        key = (table.file, table.tree)
        if key not in self._plain_names:
            derived = with_features(self.request.derived, self.request.features, table)
            self._plain_names[key] = Names(table, derived, {}, self.request.missing)
        plain = self._plain_names[key]
        return replace(plain, replaced=replaced, _codes={}) if replaced else plain

    def _add_touched(self, process: Process, variation: Variation) -> None:
        try:
            self._add_varied(process, variation)
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

    def _add_varied(self, process: Process, variation: Variation) -> None:
        if isinstance(variation, WeightVariation):
            return
        for direction in _directions(variation):
            sample = f"variation {variation.name!r} {direction}"
            for portion in self._varied_portions(process, variation, direction):
                where = f"{portion.where} ({sample})"
                replaced = {}
                tree, files = portion.tree, portion.files
                if isinstance(variation, FeatureVariation):
                    given = variation.up if direction == "up" else (variation.down or {})
                    replaced = {n: parse(e, f"{where}: {n!r}") for n, e in given.items()}
                else:
                    pattern = (variation.up if direction == "up" else variation.down) or "{tree}"
                    tree = self._varied_tree(process, portion, pattern, where)
                tables = self._tables(files, tree, where)
                factor = self._varied_factor(portion, variation, direction, tables, where)
                for table in tables:
                    plain, names = self._names(table, {}), self._names(table, replaced)
                    for name, expression in replaced.items():
                        _check_replacement(name, plain, expression, where)
                    program = self._program(portion, names, sample, weights=False)
                    key = (variation.name, direction)
                    self._add(portion, key, table, replace(program, factor=factor))

    def _varied_portions(
        self, process: Process, variation: Variation, direction: Direction
    ) -> list[Portion]:
        """The parts of a process; other files are those of the whole process."""
        files = variation.files[direction] if isinstance(variation, TreeVariation) else None
        if files is None:
            return portions(self.request, process)
        own = replace(whole(self.request, process), files=files)
        nominal = portions(self.request, process)
        if own.cross_section is None and nominal[0].cross_section is not None:
            raise InputError(
                f"variation {variation.name!r} {direction}: process {process.name!r} has a "
                "cross_section for each part, and these files are of the whole: give one to the "
                "process, too."
            )
        if own.luminosity is None and own.cross_section is not None:
            periods = {each.luminosity for each in nominal if each.luminosity is not None}
            own = replace(own, luminosity=math.fsum(periods))
        return [own]

    def _varied_factor(
        self,
        portion: Portion,
        variation: Variation,
        direction: Direction,
        tables: Sequence[DataTable],
        where: str,
    ) -> float:
        """What the weights of a varied sample are multiplied by."""
        if portion.cross_section is None:
            return 1.0
        own = None
        if isinstance(variation, TreeVariation):
            own = variation.sums[direction]
            if own is None and variation.files[direction] is not None:
                if isinstance(portion.sum_of_weights, float):
                    raise InputError(
                        f"{where}: its files are others than the nominal ones, whose "
                        f"sum_of_weights is a number: give sum_of_weights_{direction}."
                    )
                own = portion.sum_of_weights
            elif isinstance(own, float) and self._normalised(variation) > 1:
                raise InputError(
                    f"{where}: sum_of_weights_{direction} is one number for several samples: say "
                    "in which tree and branch it is written, or list one process."
                )
        if own is None:
            return self.normalisations[portion.index, portion.number].factor
        return portion.expected / self._sum(own, portion, tables, where)

    def _varied_tree(
        self, process: Process, portion: Portion, pattern: str, where: str
    ) -> Trees | None:
        if "{tree}" not in pattern:
            return pattern
        tree = portion.tree
        if tree is None:
            nominal = portions(self.request, process)[portion.number]
            tree = self._tables(nominal.files, None, where)[0].tree
        if tree is None or isinstance(tree, str):
            return tree if tree is None else pattern.replace("{tree}", tree)
        return tuple(pattern.replace("{tree}", each) for each in tree)

    def _program(self, portion: Portion, names: Names, sample: str, *, weights: bool) -> Program:
        request, where, process = self.request, portion.where, portion.process
        selections = [] if request.selection is None else [parse(request.selection, "selection")]
        selections += [parse(text, f"{where}: selection") for text in portion.selections]
        nominal = portion.weight
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
            part=portion.part,
            sample=sample,
            selection=tuple(selections),
            features=request.features,
            weight=parse(nominal, f"{where}: weight"),
            weights=varied,
            regions=tuple(_rule(region) for region in request.regions),
            number=request.number,
            folds=request.folds,
            collections=request.rules,
            # What was observed has no truth.
            targets={} if process.role == "data" else request.targets,
        )

    def _add(self, portion: Portion, sample: SampleKey, table: DataTable, program: Program) -> None:
        # A file by another path or a link is the same file.
        file = table.file if "://" in table.file else os.path.realpath(table.file)
        stream = self.streams.setdefault((file, table.tree), Stream(table))
        # Files of one make are checked once: a chain can have thousands.
        make = (portion.index, portion.number, sample, tuple(table.kinds.items()))
        if make not in self._columns:
            try:
                self._columns[make] = program.columns
            except InputError as error:
                if fitting := self._fitting.get((table.file, table.tree)):
                    raise InputError(f"{error} {fitting}") from error
                raise
        job = Job(portion.index, portion.number, sample, program, self._columns[make])
        stream.jobs.append(job)


def _check_replacement(name: str, names: Names, expression: Expression, where: str) -> None:
    """Refuses one number in place of a list, and the other way round."""
    old, new = names.kind(name, column(name, where)), names.code(expression).kind
    if depth(old) != depth(new) or (element(old) == P4) != (element(new) == P4):
        raise expression.error(
            f"is {said(new)} for each event, and {name!r}, in whose place it is, {said(old)}."
        )


def _rule(region: Region) -> RegionRule:
    where, observable = f"region {region.name!r}", region.expression
    return RegionRule(
        region,
        parse(region.selection, f"{where}: selection"),
        None if observable is None else parse(observable, f"{where}: observable"),
    )


def _directions(variation: Variation) -> list[Direction]:
    one_sided = variation.down is None
    if isinstance(variation, TreeVariation):
        one_sided &= variation.files_down is None
    return ["up"] if one_sided else ["up", "down"]


def _check_definitions(stream: Stream, processes: Sequence[Process]) -> None:
    """Refuses two processes, or parts of one, that are the same by definition."""
    seen: dict[tuple[SampleKey, bool, tuple[str, ...]], Job] = {}
    for job in stream.jobs:
        process = processes[job.process]
        # The common selection is the first, and the same for all.
        own = tuple(text.text.strip() for text in job.program.selection)
        key = (job.sample, process.role == "data", own)
        other = seen.setdefault(key, job)
        if other is not job:
            named = own_selection(job, processes)
            named = f"selection `{named}`" if named else "no selection of their own"
            raise InputError(
                f"{same(other, job, processes)} overlap: both are "
                f"{stream.table.place} with {named}. Give each its own tree, files or selection."
            )


def own_selection(job: Job, processes: Sequence[Process]) -> str:
    """The selections of its process and part, joined."""
    process = processes[job.process]
    part = process.parts[job.part].selection if process.parts else None
    return " and ".join(text.strip() for text in (process.selection, part) if text)


def same(one: Job, other: Job, processes: Sequence[Process]) -> str:
    """How messages name two jobs that overlap."""
    first, second = processes[one.process], processes[other.process]
    if one.process != other.process:
        return f"processes {first.name!r} and {second.name!r}"
    names = f"{first.parts[one.part].name!r} and {first.parts[other.part].name!r}"
    return f"parts {names} of process {first.name!r}"

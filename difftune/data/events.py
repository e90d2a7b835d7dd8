"""Events as columns: features, processes, weights, folds and their variations."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int32, Integer, Shaped

from difftune.arguments import takes
from difftune.data.describing import whole_text
from difftune.data.keys import fold_of, key_of, running_number
from difftune.data.objects import Collection, as_objects, collections_of
from difftune.data.objects import from_arrays as objects_from_arrays
from difftune.data.parameters import Law, uniform
from difftune.data.parts import NORMALISED, Part, as_parts
from difftune.data.reading import Reading
from difftune.data.regions import Region, as_regions
from difftune.data.sums import Normalisation, SumOfWeights
from difftune.data.variations import PROCESS, Direction, Files, Trees
from difftune.errors import InputError, nearest
from difftune.pytrees import register

Array = np.ndarray | jax.Array
Role = Literal["signal", "background", "data"]


@takes(**PROCESS, **NORMALISED, parts=as_parts)
@dataclass(frozen=True, kw_only=True)
class Process:
    """One physics process, and where its events are.

    Attributes:
        name: Its name in tables, templates and the workspace.
        role: What it is: signal, background or (observed) data.
        files: Globs or addresses of its files; None for those given to `read`.
        tree: Name of the tree (ROOT only); None if the files hold just one. A pattern such as
            `"*/CollectionTree"`, or several names or patterns, for several trees of each file; they
            are read one after the other, in the order of the file.
        selection: Expression that its events fulfil, besides the common selection.
        weight: Expression for the weight instead of the common one. Data do not take the common
            weight: theirs is 1 unless it is given here.
        cross_section: Cross-section in pb of what was generated, branching fractions and filter
            efficiencies included. With it, the weights are generated ones: they are multiplied by
            luminosity, cross-section and `k_factor`, and divided by `sum_of_weights`.
        k_factor: Factor on the cross-section.
        sum_of_weights: Sum of the generated weights of all files of the process: a number, or
            where it is written, as `{"tree": "Runs", "branch": "genEventSumw"}` or
            `{"histogram": "CutBookkeeper_*_NOSYS", "bin": 2}` (see `SumOfWeights`). By default that
            of `read`.
        parts: Slices, periods or streams that the process consists of, each with files, selection,
            weight and normalisation of its own where it says so.
    """

    name: str
    role: str = "background"
    files: Files | None = None
    tree: Trees | None = None
    selection: str | None = None
    weight: str | None = None
    cross_section: float | None = None
    k_factor: float = 1.0
    sum_of_weights: float | SumOfWeights | None = None
    parts: Sequence[Part] = ()

    def __post_init__(self) -> None:
        """Makes the process hashable, and refuses an unknown role."""
        if self.role not in ("signal", "background", "data"):
            raise InputError(
                f"process {self.name!r}: role {self.role!r} is none of signal, background, data."
                + nearest(self.role, ("signal", "background", "data"))
            )
        if isinstance(self.files, os.PathLike):
            object.__setattr__(self, "files", os.fspath(self.files))
        elif self.files is not None and not isinstance(self.files, str):
            object.__setattr__(self, "files", tuple(os.fspath(name) for name in self.files))


@register(static=("processes",))
@dataclass(frozen=True, kw_only=True)
class VariedWeights:
    """Other weights for the same events; those of untouched processes are the nominal ones."""

    up: Float32[Array, " events"]
    down: Float32[Array, " events"] | None
    processes: tuple[str, ...]


@register(static=("processes",))
@dataclass(frozen=True, kw_only=True)
class VariedSample:
    """Samples of their own, which hold the events of the touched processes only."""

    up: "Events"
    down: "Events | None"
    processes: tuple[str, ...]


@register(
    static=(
        "feature_names",
        "processes",
        "regions",
        "folds",
        "sentinels",
        "reading",
        "collections",
        "normalisations",
        "target_names",
    )
)
@dataclass(frozen=True, kw_only=True, repr=False)
class Events:
    """Columns of events, a jax pytree whose leaves are the arrays.

    Attributes:
        features: Input variables; NaN where a value is missing.
        process: Index into `processes`.
        weight: Physics weight, whose sum is the expected yield; may be negative.
        fold: Number of the fold, 0 ... folds - 1, from the event number.
        number: Number of the event, by which `paired` finds it again in a varied sample; None where
            it is not known.
        region: Index into `regions`; None where there are none: all are in one signal region.
        observable: Value of the observable of the event's region; NaN where that is the score of a
            network, and inside the one bin where events are counted. None where `region` is.
        variations: Varied weights or samples by the name of the uncertainty.
        feature_names: Names of the variables.
        processes: All processes, also those without an event here.
        regions: All regions, also those without an event here.
        folds: How many folds there are.
        sentinels: By name of a feature the values that were called missing, and are NaN here.
        reading: How `read` made them of files, for new files; None where it did not.
        collections: Which of the features are those of objects, such as jets.
        normalisations: How processes with a cross-section became expected events.
        target: What a regression learns of each event, in the unit of the data; NaN where it is not
            known, as in data. None where there are no targets.
        target_names: Names of the targets.
    """

    features: Float32[Array, "events variables"]
    process: Int32[Array, " events"]
    weight: Float32[Array, " events"]
    fold: Int32[Array, " events"]
    number: Integer[Array, " events"] | None = None
    region: Int32[Array, " events"] | None = None
    observable: Float[Array, " events"] | None = None
    variations: Mapping[str, VariedWeights | VariedSample] = field(default_factory=dict)
    feature_names: tuple[str, ...]
    processes: tuple[Process, ...]
    folds: int
    regions: tuple[Region, ...] = ()
    sentinels: tuple[tuple[str, tuple[float, ...]], ...] = ()
    reading: Reading | None = None
    collections: tuple[Collection, ...] = ()
    normalisations: tuple[Normalisation, ...] = ()
    target: Float[Array, "events targets"] | None = None
    target_names: tuple[str, ...] = ()

    def __repr__(self) -> str:
        """A table of processes and features."""
        return whole_text(self)

    def __len__(self) -> int:
        """How many events there are."""
        return int(self.features.shape[0])

    @classmethod
    def from_arrays(
        cls,
        features: Float[Array, "events variables"],
        process: Integer[Array, " events"],
        weight: Float[Array, " events"],
        *,
        feature_names: Sequence[str],
        processes: Sequence[Process],
        event_number: Shaped[Array, " numbers *columns"] | None = None,
        folds: int = 5,
        variations: Mapping[str, Any] | None = None,
        regions: Sequence[Region] = (),
        region: Integer[Array, " regions"] | None = None,
        observable: Float[Array, " values"] | None = None,
        objects: Mapping[str, Any] | None = None,
        target: Float[Array, " events *targets"] | None = None,
        target_names: str | Sequence[str] = ("target",),
    ) -> "Events":
        """Events from arrays that are in memory already.

        Args:
            features: Input variables; NaN where a value is missing.
            process: Index of each event into `processes`.
            weight: Physics weight.
            feature_names: Names of the variables.
            processes: The processes; only their names and roles matter here.
            event_number: Decides the fold, and tells which event of a varied sample is the same;
                a column for each part of a key of several, such as run, section and event. Without
                it the running number in the process decides the fold.
            folds: How many folds there are.
            variations: By name `(up, down)`, where both are weights [events], or both are
                `Events`, and `down` may be None; or `VariedWeights` and `VariedSample` objects.
            regions: The regions; their selections are said to be done.
            region: Index of each event into `regions`.
            observable: Value of the observable of its region, for events of regions that have an
                expression for one; the others' do not matter.
            objects: Collections of objects by name, with their arrays (`difftune.Objects`): they
                become further features, `max` times those of an object.
            target: What a regression learns of each event, one number or several; NaN where it is
                not known.
            target_names: Names of the targets, with which predictions are named.

        Raises:
            InputError: Shapes or names do not fit, or a value is not finite.
        """
        x = np.asarray(features, np.float32)
        index = np.asarray(process, np.int32)
        w = np.asarray(weight, np.float32)
        if x.ndim != 2 or index.shape != x.shape[:1] or w.shape != x.shape[:1]:
            raise InputError(
                f"features {x.shape}, process {index.shape} and weight {w.shape} do not fit: "
                "they are [events, variables], [events], [events]."
            )
        if x.shape[1] != len(feature_names):
            raise InputError(
                f"{x.shape[1]} columns of features, but {len(feature_names)} feature_names."
            )
        given = as_objects(objects)
        collections = collections_of(given, x.shape[1])
        blocks = [objects_from_arrays(name, each, len(x)) for name, each in given.items()]
        x = np.concatenate([x, *blocks], axis=1) if blocks else x
        feature_names = (*feature_names, *(name for each in collections for name in each.columns))
        check_distinct("feature", feature_names)
        check_distinct("process", [p.name for p in processes])
        if len(index) and not (index.min() >= 0 and index.max() < len(processes)):
            raise InputError(
                f"process runs from {index.min()} to {index.max()}, but there are "
                f"{len(processes)} processes, numbered from 0."
            )
        for i, name in enumerate(feature_names):
            _check_finite(f"feature {name!r}", x[:, i], missing=True)
        _check_finite("weight", w)
        numbers = running_number(index) if event_number is None else np.asarray(event_number)
        if numbers.dtype.kind not in "iu":
            raise InputError(
                f"event_number is of the type {numbers.dtype}: give whole numbers, such as int64."
            )
        if numbers.ndim == 2:
            numbers = key_of(list(numbers.T))
        if numbers.shape != index.shape:
            raise InputError(
                f"event_number {numbers.shape} does not fit: there are {len(index)} events."
            )
        number, value = _in_regions(as_regions(regions), region, observable, len(index))
        goals, goal_names = _targets(target, target_names, len(index))
        events = cls(
            features=x,
            process=index,
            weight=w,
            fold=fold_of(numbers, folds),
            number=None if event_number is None else numbers.astype(np.int64),
            region=number,
            observable=value,
            feature_names=tuple(feature_names),
            processes=tuple(processes),
            regions=as_regions(regions),
            folds=folds,
            collections=collections,
            target=goals,
            target_names=goal_names,
        )
        varied = {n: _variation(events, n, v) for n, v in (variations or {}).items()}
        return dataclasses.replace(events, variations=varied)

    @property
    def label(self) -> Int32[Array, " events"]:
        """1 for the events of signal processes, 0 for all others."""
        signal = np.array([p.role == "signal" for p in self.processes], np.int32)
        if isinstance(self.process, jax.Array):
            return jnp.asarray(signal)[self.process]
        return signal[self.process]

    @property
    def simulated(self) -> "Events":
        """The events of signal and background processes."""
        return self._with_role("signal", "background")

    @property
    def observed(self) -> "Events":
        """The events of data processes."""
        return self._with_role("data")

    def names(self, role: Role) -> tuple[str, ...]:
        """Names of the processes of this role."""
        return tuple(p.name for p in self.processes if p.role == role)

    def yields(self) -> Float64[np.ndarray, " processes"]:
        """Sum of weights of each process."""
        weight = np.asarray(self.weight, np.float64)
        return np.bincount(np.asarray(self.process), weight, minlength=len(self.processes))

    def select(
        self,
        mask: Bool[Array, " events"] | Callable[["Events"], Bool[Array, " _"]],
    ) -> "Events":
        """The events where the mask is true.

        Args:
            mask: A mask of these events: varied weights follow, and varied samples are left out,
                since it says nothing about their events. Or a function that makes the mask of any
                `Events`: it is asked for each varied sample too.
        """
        if callable(mask):
            chosen = np.asarray(mask(self), bool)
            follow: Callable[[Events], Events] | None = lambda e: e.select(mask)  # noqa: E731
        else:
            chosen, follow = np.asarray(mask, bool), None
        everything = bool(chosen.all())

        def cut(array: Array) -> Array:
            return array if everything else array[chosen]

        variations: dict[str, VariedWeights | VariedSample] = {}
        for name, v in self.variations.items():
            if isinstance(v, VariedWeights):
                down = None if v.down is None else cut(v.down)
                variations[name] = dataclasses.replace(v, up=cut(v.up), down=down)
            elif follow is not None:
                down_sample = None if v.down is None else follow(v.down)
                variations[name] = dataclasses.replace(v, up=follow(v.up), down=down_sample)
        return dataclasses.replace(
            self,
            features=cut(self.features),
            process=cut(self.process),
            weight=cut(self.weight),
            fold=cut(self.fold),
            number=None if self.number is None else cut(self.number),
            region=None if self.region is None else cut(self.region),
            observable=None if self.observable is None else cut(self.observable),
            target=None if self.target is None else cut(self.target),
            variations=variations,
        )

    def in_folds(self, folds: Sequence[int]) -> "Events":
        """The events of these folds, nominal and varied, with their weights as they are."""
        wrong = [f for f in folds if not 0 <= f < self.folds]
        if wrong:
            raise InputError(f"fold {wrong[0]} does not exist: there are 0 to {self.folds - 1}.")
        return self.select(lambda e: np.isin(np.asarray(e.fold), np.asarray(folds, np.int32)))

    def in_regions(self, *names: str) -> "Events":
        """The events of these regions, nominal and varied.

        Args:
            names: Names of regions, or the role of several.

        Raises:
            InputError: For a region that is not there.
        """
        index = self._regions_called(names)
        if len(index) == len(self.regions):
            return self
        return self.select(lambda e: np.isin(np.asarray(e.region), index))

    def _regions_called(self, names: Sequence[str]) -> list[int]:
        """Numbers of the regions of these names or roles."""
        known = [region.name for region in self.regions]
        wanted = set()
        for name in names:
            found = [r.name for r in self.regions if name in (r.name, r.role)]
            if not found:
                raise InputError(
                    f"there is no region {name!r}.{nearest(name, known)} "
                    f"Known: {', '.join(known) or 'none'}."
                )
            wanted.update(found)
        return [i for i, name in enumerate(known) if name in wanted]

    def parametrised(self, name: str, *, at: float | None = None, seed: int = 0) -> "Events":
        """Events for a network that a parameter of the signal, such as a mass, is an input of.

        Signal events keep their own value of the feature. All others get one that is drawn from the
        weighted distribution of the signal in their fold, so that the parameter alone tells nothing
        of the class (arXiv 1601.07913). What an event gets depends on its number, its process and
        the seed alone; in varied samples it is the same.

        With `at`, all events have this value, and of the signal those of another one are left out:
        the events that a measurement at this value is made of.

        Args:
            name: Of the feature.
            at: The value; None to draw.
            seed: Another one draws others.

        Raises:
            InputError: There is no such feature, a signal event has no value, or none has this one.
        """
        if name not in self.feature_names:
            raise InputError(
                f"parametrised({name!r}): there is no such feature."
                f"{nearest(name, self.feature_names)} Read it as one; events that have none may "
                f"have any value, as by defaults = {{{name!r}: 0}}."
            )
        column = self.feature_names.index(name)
        signal = np.asarray(self.label) == 1
        own = np.asarray(self.features)[signal, column]
        if not np.isfinite(own).all() or not len(own):
            raise InputError(
                f"parametrised({name!r}): {int(np.isnan(own).sum())} of {len(own)} signal events "
                "have no value of it; it is that of the signal that others are drawn from."
            )
        if at is not None:
            value = np.float32(at)
            if not np.any(own == value):
                there = np.unique(own)
                shown = ", ".join(f"{each:g}" for each in there[:12])
                raise InputError(
                    f"parametrised({name!r}, at={at:g}): no signal event has this value; there are "
                    f"{shown}{', ...' if len(there) > 12 else ''}."
                )
            kept = self.select(
                lambda e: (np.asarray(e.label) == 0) | (np.asarray(e.features)[:, column] == value)
            )
            return kept.in_each_sample(lambda e: e._with_column(column, np.full(len(e), value)))
        fold, weight = np.asarray(self.fold)[signal], np.asarray(self.weight)[signal]
        laws = {
            number: Law(own[fold == number], weight[fold == number])
            for number in np.unique(np.asarray(self.fold)).tolist()
        }

        def drawn(events: "Events") -> "Events":
            values = np.array(np.asarray(events.features)[:, column])
            number = None if events.number is None else np.asarray(events.number)
            share = uniform(number, np.asarray(events.process), seed)
            for fold, law in laws.items():
                mine = (np.asarray(events.fold) == fold) & (np.asarray(events.label) == 0)
                values[mine] = law.at(share[mine])
            return events._with_column(column, values)

        return self.in_each_sample(drawn)

    def _with_column(self, column: int, values: Float[np.ndarray, " events"]) -> "Events":
        """Other values of one feature."""
        features = np.array(self.features)
        features[:, column] = values
        return dataclasses.replace(self, features=features)

    def in_each_sample(self, change: Callable[["Events"], "Events"]) -> "Events":
        """What is made of the events, and of those of each varied sample.

        Args:
            change: Makes events of events, as many in the same order; leaves variations alone.
        """
        varied: dict[str, VariedWeights | VariedSample] = {}
        for name, each in self.variations.items():
            if isinstance(each, VariedSample):
                down = None if each.down is None else change(each.down)
                each = dataclasses.replace(each, up=change(each.up), down=down)
            varied[name] = each
        return dataclasses.replace(change(self), variations=varied)

    def weighted_in(self, *names: str) -> "Events":
        """All events, of which only those of these regions have a weight, nominal and varied.

        Args:
            names: Names of regions, or the role of several.

        Raises:
            InputError: For a region that is not there.
        """
        index = self._regions_called(names)
        return self._times(lambda e: np.isin(np.asarray(e.region), index).astype(np.float32))

    def scaled(self, factors: Float[Array, " processes"]) -> "Events":
        """All weights, nominal and varied, times the factor of the event's process."""
        if len(factors) != len(self.processes):
            raise InputError(f"{len(factors)} factors for {len(self.processes)} processes.")
        return self._times(lambda e: _take(factors, e.process))

    def _times(self, factor: Callable[["Events"], Float[Array, " events"]]) -> "Events":
        """All weights, nominal and varied, times a factor of each event."""
        own = factor(self)

        def times(v: VariedWeights | VariedSample) -> VariedWeights | VariedSample:
            if isinstance(v, VariedWeights):
                down = None if v.down is None else v.down * own
                return dataclasses.replace(v, up=v.up * own, down=down)
            sample = None if v.down is None else v.down._times(factor)
            return dataclasses.replace(v, up=v.up._times(factor), down=sample)

        varied = {name: times(v) for name, v in self.variations.items()}
        return dataclasses.replace(self, weight=self.weight * own, variations=varied)

    def scaled_to(self, wanted: Float[np.ndarray, " processes"]) -> "Events":
        """All weights scaled such that each process has the yield that is wanted.

        A process without a yield, or with one of the other sign, stays as it is.

        Args:
            wanted: Expected number of events of each process.
        """
        return self.scaled(yield_factors(wanted, self.yields()))

    def varied(self, name: str, direction: Direction) -> "Events | None":
        """The alternative sample of one variation, only of the processes that it touches.

        Args:
            name: Name of the variation.
            direction: "up" or "down".

        Returns:
            Events without variations of their own; None for the direction that a one-sided
            variation does not have.
        """
        if name not in self.variations:
            raise InputError(
                f"there is no variation {name!r}.{nearest(name, self.variations)} "
                f"Known: {', '.join(self.variations) or 'none'}."
            )
        if direction not in ("up", "down"):
            raise InputError(f"direction {direction!r} is neither 'up' nor 'down'.")
        variation = self.variations[name]
        varied = variation.up if direction == "up" else variation.down
        if varied is None or isinstance(varied, Events):
            return varied
        touched = [i for i, p in enumerate(self.processes) if p.name in variation.processes]
        events = dataclasses.replace(self, weight=varied, variations={})
        return events.select(np.isin(np.asarray(self.process), touched))

    def _with_role(self, *roles: Role) -> "Events":
        wanted = [i for i, p in enumerate(self.processes) if p.role in roles]
        return self.select(lambda e: np.isin(np.asarray(e.process), wanted))


def check_distinct(what: str, names: Sequence[str]) -> None:
    """Refuses a name that stands twice."""
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice:
        raise InputError(f"{what} {twice[0]!r} is given more than once: names must be distinct.")


def _take(factors: Array, process: Array) -> Array:
    if isinstance(factors, jax.Array) or isinstance(process, jax.Array):
        return jnp.asarray(factors, jnp.float32)[process]
    return np.asarray(factors, np.float32)[process]


def _check_finite(what: str, values: Float[np.ndarray, " n"], *, missing: bool = False) -> None:
    bad = np.isinf(values) if missing else ~np.isfinite(values)
    if bad.any():
        first = int(np.argmax(bad))
        raise InputError(
            f"{what}: {int(bad.sum())} of {len(values)} values are not finite, the first one "
            f"({values[first]}) at event {first}."
        )


def _targets(
    target: Float[Array, " events *targets"] | None, names: str | Sequence[str], events: int
) -> tuple[Float64[np.ndarray, "events targets"] | None, tuple[str, ...]]:
    """Targets as `Events` have them, and their names."""
    if target is None:
        return None, ()
    values = np.asarray(target, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    named = (names,) if isinstance(names, str) else tuple(names)
    if values.shape != (events, len(named)):
        raise InputError(
            f"target {np.shape(target)} does not fit: there are {events} events, and "
            f"target_names = {list(named)}. Give a number for each event, or [events, targets] "
            "with a name for each target."
        )
    check_distinct("target", named)
    for name, column in zip(named, values.T, strict=True):
        _check_finite(f"target {name!r}", column, missing=True)
    return values, named


def _in_regions(
    regions: tuple[Region, ...],
    region: Integer[Array, " regions"] | None,
    observable: Float[Array, " values"] | None,
    events: int,
) -> tuple[Int32[np.ndarray, " events"] | None, Float[np.ndarray, " events"] | None]:
    """Number of the region and value of its observable, as `Events` have them."""
    if not regions:
        if region is not None or observable is not None:
            raise InputError("region and observable are of regions: give `regions`, too.")
        return None, None
    if region is None:
        raise InputError(
            f"there are {len(regions)} regions: give `region`, which each event is in."
        )
    index = np.asarray(region, np.int32)
    if index.shape != (events,) or not np.isin(index, np.arange(len(regions))).all():
        raise InputError(
            f"region {index.shape}: give numbers of the {len(regions)} regions, counted from 0, "
            f"for {events} events."
        )
    value = np.full(events, np.nan) if observable is None else np.array(observable, np.float64)
    if value.shape != (events,):
        raise InputError(f"observable {value.shape} does not fit: there are {events} events.")
    for i, each in enumerate(regions):
        if each.expression is None:
            value[index == i] = each.constant
        _check_finite(f"observable of region {each.name!r}", value[index == i], missing=each.scored)
    return index, value


def _variation(events: Events, name: str, value: Any) -> VariedWeights | VariedSample:
    if isinstance(value, VariedWeights | VariedSample):
        return value
    up, down = value
    if isinstance(up, Events):
        if any(sample.regions != events.regions for sample in (up, down) if sample is not None):
            raise InputError(f"variation {name!r}: its events have other regions. Give the same.")
        if any(s.collections != events.collections for s in (up, down) if s is not None):
            raise InputError(
                f"variation {name!r}: its events have other collections of objects. Give the same, "
                "with the same features and `max`."
            )
        present = np.unique(np.concatenate([s.process for s in (up, down) if s is not None]))
        touched = tuple(events.processes[i].name for i in present)
        return VariedSample(up=up, down=down, processes=touched)
    columns = [None if w is None else np.asarray(w, np.float32) for w in (up, down)]
    changed = np.zeros(len(events), bool)
    for column in columns:
        if column is None:
            continue
        if column.shape != (len(events),):
            raise InputError(f"variation {name!r}: weights {column.shape}, not ({len(events)},).")
        _check_finite(f"variation {name!r}", column)
        changed |= column != events.weight
    touched = tuple(
        events.processes[i].name for i in np.unique(np.asarray(events.process)[changed])
    )
    return VariedWeights(up=columns[0], down=columns[1], processes=touched)  # type: ignore[arg-type]


def yield_factors(
    wanted: Float[np.ndarray, " processes"], have: Float[np.ndarray, " processes"]
) -> Float[np.ndarray, " processes"]:
    """What makes the yields that there are those that are wanted; 1 where no scale can.

    A process that has no events, or whose few negative weights outweigh the others by chance, stays
    as it is: a negative factor would turn all of its weights round.

    Args:
        wanted: Yield of each process.
        have: The yields that there are.
    """
    able = (have != 0.0) & (np.asarray(wanted) * have >= 0.0)
    return np.divide(wanted, have, out=np.ones_like(have), where=able)

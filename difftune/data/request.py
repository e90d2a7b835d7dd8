"""What is asked of a reading, and the portions of events that are read alike."""

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from difftune.data.events import Process
from difftune.data.expressions import Expression
from difftune.data.friends import Friend
from difftune.data.object_rules import CollectionRule, collection_rules
from difftune.data.objects import Objects
from difftune.data.regions import Region
from difftune.data.sums import PB_IN_FB, SumOfWeights
from difftune.data.transform import Missing
from difftune.data.variations import Files, Trees, Variation
from difftune.errors import InputError


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
    friends: tuple[Friend, ...] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    luminosity: float | None = None
    sum_of_weights: float | SumOfWeights | None = None
    objects: Mapping[str, Objects] = field(default_factory=dict)
    targets: Mapping[str, Expression] = field(default_factory=dict)

    @functools.cached_property
    def rules(self) -> tuple[CollectionRule, ...]:
        """The collections of objects, behind the features."""
        return collection_rules(self.objects, len(self.features))

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, those of objects among them."""
        of_objects = (name for rule in self.rules for name in rule.collection.columns)
        return (*self.features, *of_objects)

    def touched(self, variation: Variation) -> list[Process]:
        """The processes that a variation applies to."""
        if variation.processes is None:
            return [p for p in self.processes if p.role != "data"]
        return [p for p in self.processes if p.name in variation.processes]


@dataclass(frozen=True, kw_only=True)
class Portion:
    """Events that are read alike: those of a process, or of a part of one.

    Attributes:
        process: The process.
        index: Its number.
        number: Number of the part.
        part: Name of the part; "" for a whole process.
        files: Its files.
        tree: Its tree.
        selections: Of the process and of the part.
        weight: The weight expression.
        cross_section: In pb; None where weights are in expected events.
        k_factor: Factor on it.
        sum_of_weights: Where the generated weights add up.
        luminosity: In 1/fb.
    """

    process: Process
    index: int
    number: int = 0
    part: str = ""
    files: Files | None
    tree: Trees | None
    selections: tuple[str, ...]
    weight: str
    cross_section: float | None
    k_factor: float
    sum_of_weights: float | SumOfWeights | None
    luminosity: float | None

    @property
    def where(self) -> str:
        """How messages name it."""
        return f"process {self.process.name!r}" + (f", part {self.part!r}" if self.part else "")

    @property
    def expected(self) -> float:
        """Expected events before any selection: L σ k."""
        assert self.luminosity is not None, "it was checked"
        assert self.cross_section is not None, "it is normalised"
        return PB_IN_FB * self.luminosity * self.cross_section * self.k_factor


def whole(request: Request, process: Process) -> Portion:
    """A process as it is without its parts."""
    return Portion(
        process=process,
        index=request.processes.index(process),
        files=request.files if process.files is None else process.files,
        tree=process.tree,
        selections=() if process.selection is None else (process.selection,),
        weight=weight_of(process, request.weight),
        cross_section=process.cross_section,
        k_factor=process.k_factor,
        sum_of_weights=_first(process.sum_of_weights, request.sum_of_weights),
        luminosity=request.luminosity,
    )


def portions(request: Request, process: Process) -> list[Portion]:
    """What a process consists of: its parts, or itself."""
    own = whole(request, process)
    return [
        replace(
            own,
            number=number,
            part=part.name,
            files=_first(part.files, own.files),
            tree=_first(part.tree, own.tree),
            selections=own.selections + (() if part.selection is None else (part.selection,)),
            weight=_first(part.weight, own.weight),
            cross_section=_first(part.cross_section, own.cross_section),
            k_factor=_first(part.k_factor, own.k_factor),
            sum_of_weights=_first(part.sum_of_weights, own.sum_of_weights),
            luminosity=_first(part.luminosity, own.luminosity),
        )
        for number, part in enumerate(process.parts)
    ] or [own]


def _first(own: Any, other: Any) -> Any:
    return other if own is None else own


def weight_of(process: Process, common: str) -> str:
    """The weight expression of a process; data do not take the common one."""
    if process.weight is not None:
        return process.weight
    return "1" if process.role == "data" else common


def check_luminosities(request: Request) -> None:
    """Checks what is said of cross-sections and luminosities, before any file is opened.

    Raises:
        InputError: A cross-section without a luminosity or the other way round; of a process not
            all parts are normalised; luminosities differ.
    """
    total = request.luminosity
    periods: dict[str, set[float]] = {}
    normalised = False
    for process in request.processes:
        own = portions(request, process)
        for portion in own:
            _check_stated(request, portion)
        several = {portion.cross_section is not None for portion in own}
        if len(several) > 1:
            without = next(portion for portion in own if portion.cross_section is None)
            raise InputError(
                f"{without.where} has no cross_section, and other parts have: give it one."
            )
        normalised |= True in several
        given = {part.luminosity for part in process.parts}
        if given - {None}:
            if None in given:
                part = next(part for part in process.parts if part.luminosity is None)
                raise InputError(
                    f"process {process.name!r}, part {part.name!r}: has no luminosity, and other "
                    "parts have: give one to each."
                )
            periods[process.name] = {value for value in given if value is not None}
    if total is not None and not normalised:
        raise InputError(
            f"luminosity = {total:g} has no effect: no process has a cross_section. Give them "
            "theirs, or leave luminosity out where weights are in expected events."
        )
    sums = {name: math.fsum(values) for name, values in periods.items()}
    if not sums:
        return
    first, reference = next(iter(sums.items()))
    sources = [(f"the parts of process {name!r}", value) for name, value in sums.items()]
    if total is not None:
        sources.append(("luminosity", total))
    for what, value in sources:
        if not math.isclose(value, reference, rel_tol=1e-3):
            raise InputError(
                f"different luminosities: the parts of process {first!r} are of {reference:g} "
                f"1/fb together, {what} of {value:g}. All simulated events stand for one "
                "luminosity: correct them."
            )


def _check_stated(request: Request, portion: Portion) -> None:
    """Refuses what normalises nothing, and a cross-section that lacks what it needs."""
    process, where = portion.process, portion.where
    part = process.parts[portion.number] if process.parts else None
    stated = {
        "cross_section": portion.cross_section,
        "k_factor": None if portion.k_factor == 1 else portion.k_factor,
        "sum_of_weights": _first(part and part.sum_of_weights, process.sum_of_weights),
        "luminosity": part and part.luminosity,
    }
    said = [name for name, value in stated.items() if value is not None]
    if not said:
        return
    if process.role == "data":
        raise InputError(f"{where}: {said[0]} is of simulated events; data are what they are.")
    if portion.cross_section is None:
        raise InputError(
            f"{where} has {' and '.join(said)}, but no cross_section: give it in pb, or leave "
            f"{said[0]} out where the weights are in expected events."
        )
    if portion.luminosity is None:
        raise InputError(
            f"{where} has a cross_section, and there is no luminosity: give it in 1/fb, as in "
            "luminosity = 140."
        )

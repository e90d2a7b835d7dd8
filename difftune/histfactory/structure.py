"""What of a HistFactory model does not change while its numbers do: names, order, indices.

`ModelConfig` is the view of it that users of pyhf know: `model.config`.
"""

import hashlib
import json
from dataclasses import astuple, dataclass, fields
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from difftune.errors import InputError, nearest
from difftune.later import AnyArray as Array

Key = tuple[str, ...]

FROM_YIELDS = -1
"""In place of an index: the number follows from yields and their uncertainties."""


class Entry(NamedTuple):
    """A run of numbers of the spec in the flat vector.

    Attributes:
        key: `(channel, sample)` for nominal yields; `(channel, sample, modifier type, modifier,
            field)` for a modifier's, the field being `"hi_data"`, `"lo_data"`, `"hi"`, `"lo"` or
            `"data"`; `("parameter", name, "auxdata", "sigmas" or "factors")` for what a
            measurement says.
        start: Place of the first number.
        stop: One beyond the last.
        path: The way to them in the spec.
    """

    key: Key
    start: int
    stop: int
    path: tuple[str | int, ...]


class ParameterSet(NamedTuple):
    """Parameters that share a name: one, or one per bin.

    Attributes:
        name: Its name in the spec.
        start: Index of the first.
        size: How many.
        scalar: Whether it is a single parameter without an index.
        constraint: "none", "gaussian" or "poisson".
    """

    name: str
    start: int
    size: int
    scalar: bool
    constraint: str


@dataclass(frozen=True, eq=False, kw_only=True)
class Layout:
    """Where each term of the likelihood finds its numbers and parameters.

    Indices into the numbers may also be those of a 0 and a 1 that stand behind the last number;
    indices into the parameters that of a 1 behind the last parameter.

    Attributes:
        nominal: Nominal yields.
        channel: Channel of each bin.
        histosys: Parameter of each additive variation.
        histosys_up: Its templates at +1; the nominal where it has no effect.
        histosys_down: Its templates at -1.
        normsys: Parameter of each relative variation.
        normsys_up: Its factors at +1; 1 where it has no effect.
        normsys_down: Its factors at -1.
        factors: Parameters that multiply the yield: normfactor, lumi, shapefactor, shapesys and
            staterror are one thing.
        staterror: Parameter of each bin's statistical uncertainty.
        staterror_nominal: Yields of the samples that share it.
        staterror_uncertainty: Their uncertainties.
        shapesys: Parameter of each bin's uncorrelated uncertainty.
        shapesys_nominal: The yield.
        shapesys_uncertainty: Its uncertainty.
        auxiliary: Parameter of each auxiliary measurement, in the order of the auxiliary data.
        poisson: Whether it is a count and not a Gaussian measurement.
        center: Its result as the spec gives it, or `FROM_YIELDS`.
        sigma: Its width, or a count's expectation for a parameter of 1, as the spec gives it, or
            `FROM_YIELDS`.
        fixed: Parameters that the spec fixes.
        pinned: Parameters that are fixed where their uncertainty is 0, as the spec does not say.
        init: Suggested start values, those of the spec.
        start: Where fits start: the same, unless yields are negative there.
        lower: Lower bounds.
        upper: Upper bounds.
    """

    nominal: Int[np.ndarray, "samples bins"]
    channel: Int[np.ndarray, " bins"]
    histosys: Int[np.ndarray, " histosys"]
    histosys_up: Int[np.ndarray, "histosys samples bins"]
    histosys_down: Int[np.ndarray, "histosys samples bins"]
    normsys: Int[np.ndarray, " normsys"]
    normsys_up: Int[np.ndarray, "normsys samples channels"]
    normsys_down: Int[np.ndarray, "normsys samples channels"]
    factors: Int[np.ndarray, "factors samples bins"]
    staterror: Int[np.ndarray, " staterror"]
    staterror_nominal: Int[np.ndarray, "staterror samples"]
    staterror_uncertainty: Int[np.ndarray, "staterror samples"]
    shapesys: Int[np.ndarray, " shapesys"]
    shapesys_nominal: Int[np.ndarray, " shapesys"]
    shapesys_uncertainty: Int[np.ndarray, " shapesys"]
    auxiliary: Int[np.ndarray, " auxiliary"]
    poisson: Bool[np.ndarray, " auxiliary"]
    center: Int[np.ndarray, " auxiliary"]
    sigma: Int[np.ndarray, " auxiliary"]
    fixed: Bool[np.ndarray, " parameters"]
    pinned: Bool[np.ndarray, " parameters"]
    init: Float[np.ndarray, " parameters"]
    start: Float[np.ndarray, " parameters"]
    lower: Float[np.ndarray, " parameters"]
    upper: Float[np.ndarray, " parameters"]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Structure:
    """The static part of a model. Two are equal if everything in them is.

    Attributes:
        channels: Names, sorted.
        bins: Number of bins of each channel.
        samples: Names, sorted.
        modifiers: Names and types, sorted by name.
        parameter_sets: In pyhf's order.
        poi: Name of the parameter of interest; None without one.
        histosys_code: Interpolation of additive variations.
        normsys_code: Interpolation of relative variations.
        entries: Where the numbers come from, in the order of the flat vector.
        parameters_path: The way to the parameters' configuration in the spec.
        skeleton: The spec as JSON, with zeros for the numbers.
        layout: Where the likelihood finds them.
    """

    channels: tuple[str, ...]
    bins: tuple[int, ...]
    samples: tuple[str, ...]
    modifiers: tuple[tuple[str, str], ...]
    parameter_sets: tuple[ParameterSet, ...]
    poi: str | None
    histosys_code: str
    normsys_code: str
    entries: tuple[Entry, ...]
    parameters_path: tuple[str | int, ...]
    skeleton: str
    layout: Layout

    @cached_property
    def digest(self) -> str:
        """A fingerprint of all of it."""
        summary = hashlib.sha256()
        for field in fields(self):
            if field.name != "layout":
                summary.update(repr(getattr(self, field.name)).encode())
        for array in astuple(self.layout):
            summary.update(repr((array.shape, array.dtype.str)).encode() + array.tobytes())
        return summary.hexdigest()

    def __repr__(self) -> str:
        return f"Structure({len(self.channels)} channels, {len(self.names)} parameters)"

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Structure) and self.digest == other.digest

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, with the bin's index where a name stands for several."""
        found: list[str] = []
        for group in self.parameter_sets:
            several = [f"{group.name}[{index}]" for index in range(group.size)]
            found += [group.name] if group.scalar else several
        return tuple(found)

    @cached_property
    def poi_index(self) -> int | None:
        """Index of the parameter of interest."""
        return None if self.poi is None else self.index(self.poi)

    def indices(self, name: str) -> list[int]:
        """Indices of a parameter, or of all that a name stands for.

        Args:
            name: `"x"`, which for one parameter per bin is all of them, or `"x[0]"`.

        Raises:
            InputError: There is none of that name.
        """
        if name in self.names:
            return [self.names.index(name)]
        for group in self.parameter_sets:
            if group.name == name:
                return list(range(group.start, group.start + group.size))
        known = [*self.names, *(group.name for group in self.parameter_sets)]
        raise InputError(f"No parameter {name!r}.{nearest(str(name), known)}")

    def index(self, name: str) -> int:
        """Index of one parameter; a name with one value per bin stands for one if there is one bin.

        Raises:
            InputError: There is none of that name, or it stands for several.
        """
        found = self.indices(name)
        if len(found) > 1:
            first, last = self.names[found[0]], self.names[found[-1]]
            raise InputError(
                f"{name!r} is one parameter per bin: choose one of {first!r} to {last!r}."
            )
        return found[0]

    @cached_property
    def entry(self) -> dict[Key, Entry]:
        """The entries by their key."""
        return {entry.key: entry for entry in self.entries}

    @property
    def size(self) -> int:
        """How many numbers the spec has."""
        return self.entries[-1].stop

    @property
    def n_bins(self) -> int:
        """Bins of all channels together."""
        return sum(self.bins)

    @cached_property
    def bin_places(self) -> tuple[tuple[str, int], ...]:
        """Channel, and number within it, of each bin."""
        pairs = zip(self.channels, self.bins, strict=True)
        return tuple((channel, index) for channel, count in pairs for index in range(count))

    def spec(self, numbers: Float[np.ndarray, " numbers"]) -> dict[str, Any]:
        """The spec with these numbers."""
        spec = json.loads(self.skeleton)
        for entry in self.entries:
            values = numbers[entry.start : entry.stop].tolist()
            place = spec
            for step in entry.path[:-1]:
                place = place[step]
            scalar = not isinstance(place[entry.path[-1]], list)
            place[entry.path[-1]] = values[0] if scalar else values
        return spec

    def configured(self, spec: dict[str, Any]) -> list[dict[str, Any]]:
        """The configuration of parameters in a spec of this structure."""
        place: Any = spec
        for step in self.parameters_path[:-1]:
            place = place[step]
        return place.get(self.parameters_path[-1], [])


class ModelConfig(NamedTuple):
    """Names, order and suggestions of a model's parameters, under pyhf's names.

    Attributes:
        structure: Where the names are from.
        auxdata: Nominal auxiliary data.
        fixed: Which parameters are fixed.
    """

    structure: Structure
    auxdata: list[float] | Array
    fixed: list[bool] | Array

    @property
    def par_names(self) -> list[str]:
        """Names of all parameters, with the bin's index where there is one per bin."""
        return list(self.structure.names)

    @property
    def par_order(self) -> list[str]:
        """Names of the parameter sets in order."""
        return [group.name for group in self.structure.parameter_sets]

    @property
    def npars(self) -> int:
        """Number of parameters."""
        return len(self.structure.names)

    @property
    def poi_name(self) -> str | None:
        """Name of the parameter of interest."""
        return self.structure.poi

    @property
    def poi_index(self) -> int | None:
        """Its index."""
        return self.structure.poi_index

    @property
    def channels(self) -> list[str]:
        """Channels, sorted."""
        return list(self.structure.channels)

    @property
    def channel_nbins(self) -> dict[str, int]:
        """Bins of each channel."""
        return dict(zip(self.structure.channels, self.structure.bins, strict=True))

    @property
    def channel_slices(self) -> dict[str, slice]:
        """Place of each channel's bins in the data."""
        found, start = {}, 0
        for channel, count in self.channel_nbins.items():
            found[channel] = slice(start, start + count)
            start += count
        return found

    @property
    def samples(self) -> list[str]:
        """Samples, sorted."""
        return list(self.structure.samples)

    @property
    def modifiers(self) -> list[tuple[str, str]]:
        """Name and type of each modifier."""
        return list(self.structure.modifiers)

    @property
    def nmaindata(self) -> int:
        """Number of bins."""
        return self.structure.n_bins

    @property
    def nauxdata(self) -> int:
        """Number of auxiliary measurements."""
        return len(self.auxdata)

    @property
    def auxdata_order(self) -> list[str]:
        """Names of the parameter sets with auxiliary measurements, in their order."""
        return [g.name for g in self.structure.parameter_sets if g.constraint != "none"]

    def par_slice(self, name: str) -> slice:
        """Place of a parameter set.

        Raises:
            InputError: There is none of that name.
        """
        for group in self.structure.parameter_sets:
            if group.name == name:
                return slice(group.start, group.start + group.size)
        raise InputError(f"No parameter {name!r}.{nearest(name, self.par_order)}")

    def suggested_init(self) -> list[float]:
        """Start values."""
        return self.structure.layout.init.tolist()

    def suggested_bounds(self) -> list[tuple[float, float]]:
        """Bounds."""
        layout = self.structure.layout
        return list(zip(layout.lower.tolist(), layout.upper.tolist(), strict=True))

    def suggested_fixed(self) -> list[bool] | Array:
        """Whether a parameter is fixed."""
        return self.fixed

"""What a spec has: channels, samples, modifiers, and the parameters that these need, as in pyhf.

The order of parameters, their suggested values and their constraints are pyhf's, which the tests
compare. To ask pyhf itself would take half a second, for its imports, and would have it write down
every variation for every sample and bin.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory.structure import ParameterSet

Spec = Mapping[str, Any]


class _Kind(NamedTuple):
    """What the parameters of a type of modifier are, unless the measurement says otherwise."""

    constraint: str
    init: float
    bounds: tuple[float, float]
    scalar: bool


# In the order in which pyhf lists their parameters.
_KINDS = {
    "histosys": _Kind("gaussian", 0.0, (-5.0, 5.0), scalar=True),
    "lumi": _Kind("gaussian", 1.0, (0.0, 10.0), scalar=True),
    "normfactor": _Kind("none", 1.0, (0.0, 10.0), scalar=True),
    "normsys": _Kind("gaussian", 0.0, (-5.0, 5.0), scalar=True),
    "shapefactor": _Kind("none", 1.0, (0.0, 10.0), scalar=False),
    "shapesys": _Kind("poisson", 1.0, (1e-10, 10.0), scalar=False),
    "staterror": _Kind("gaussian", 1.0, (1e-10, 10.0), scalar=False),
}
# The two may have a parameter in common: an effect on the yield, and one on the shape.
_SHARE = {"histosys", "normsys"}


@dataclass(frozen=True, eq=False)
class Contents:
    """Names, sizes and suggested values.

    Attributes:
        bins: How many, by channel; channels are sorted.
        samples: Names, sorted.
        modifiers: Names and types, sorted by name.
        carriers: For each staterror the samples that carry it, by channel.
        parameter_sets: By name, in pyhf's order.
        init: Suggested start values.
        bounds: Lower and upper ones.
    """

    bins: dict[str, int]
    samples: tuple[str, ...]
    modifiers: tuple[tuple[str, str], ...]
    carriers: dict[str, dict[str, list[str]]]
    parameter_sets: dict[str, ParameterSet]
    init: Float[np.ndarray, " parameters"]
    bounds: Float[np.ndarray, "parameters 2"]

    @cached_property
    def bin_slices(self) -> dict[str, slice]:
        """Place of each channel's bins in the data."""
        stops = np.cumsum(list(self.bins.values())).tolist()
        return {
            name: slice(stop - size, stop)
            for (name, size), stop in zip(self.bins.items(), stops, strict=True)
        }

    @cached_property
    def kinds(self) -> dict[str, set[str]]:
        """Types of the modifiers of a name."""
        found: dict[str, set[str]] = {}
        for name, kind in self.modifiers:
            found.setdefault(name, set()).add(kind)
        return found

    def places(self, name: str) -> slice:
        """Place of a parameter set."""
        group = self.parameter_sets[name]
        return slice(group.start, group.start + group.size)


def contents_of(channels: Sequence[Spec], parameters: Sequence[Spec]) -> Contents:
    """What a spec has.

    Args:
        channels: Of the spec, all bins of one length.
        parameters: What the measurement says of them.

    Raises:
        InputError: Modifiers do not fit together, or the measurement says more or less of a
            parameter set than it has.
    """
    ordered = _by_name(channels)
    sizes: dict[str, dict[str, int]] = {kind: {} for kind in _KINDS}
    carriers: dict[str, dict[str, list[str]]] = {}
    modifiers: set[tuple[str, str]] = set()
    for channel in ordered:
        for sample in _by_name(channel["samples"]):
            own = [(modifier["name"], modifier["type"]) for modifier in sample["modifiers"]]
            modifiers.update(own)
            for name, kind in sorted(set(own)):
                if kind == "shapesys" and (name in sizes[kind] or own.count((name, kind)) > 1):
                    raise InputError(
                        f"Channel {channel['name']!r}, sample {sample['name']!r}: there is a "
                        f"second shapesys {name!r}. Each has parameters of its own: rename one."
                    )
                sizes[kind].setdefault(name, 1 if _KINDS[kind].scalar else len(sample["data"]))
                if kind == "staterror":
                    there = carriers.setdefault(name, {})
                    there.setdefault(channel["name"], []).append(sample["name"])
    bins = {channel["name"]: len(channel["samples"][0]["data"]) for channel in ordered}
    sizes["staterror"] = {name: sum(bins[c] for c in carriers[name]) for name in sorted(carriers)}
    _check_carriers(carriers)
    said = {options["name"]: options for options in parameters}
    sets, init, bounds = _parameter_sets(sizes, said)
    return Contents(
        bins=bins,
        samples=tuple(sorted({s["name"] for c in channels for s in c["samples"]})),
        modifiers=tuple(sorted(modifiers)),
        carriers=carriers,
        parameter_sets=sets,
        init=np.asarray(init, float),
        bounds=np.asarray(bounds, float).reshape(-1, 2),
    )


def _by_name(items: Sequence[Spec]) -> list[Spec]:
    return sorted(items, key=lambda item: item["name"])


def _check_carriers(carriers: Mapping[str, Mapping[str, Sequence[str]]]) -> None:
    """Refuses a staterror of different channels in different samples, as pyhf does."""
    for name, there in carriers.items():
        if len({tuple(sorted(samples)) for samples in there.values()}) > 1:
            raise InputError(
                f"The staterror {name!r} acts on different channels in different samples. Give "
                "each channel a staterror with a name of its own."
            )


def _parameter_sets(
    sizes: Mapping[str, Mapping[str, int]], said: Mapping[str, Spec]
) -> tuple[dict[str, ParameterSet], list[Any], list[Any]]:
    """All of them, with suggested values and bounds."""
    found: dict[str, ParameterSet] = {}
    first: dict[str, str] = {}
    init: list[Any] = []
    bounds: list[Any] = []
    for kind, names in sizes.items():
        given = _KINDS[kind]
        for name, size in names.items():
            before = first.setdefault(name, kind)
            if {before, kind} == _SHARE:
                continue
            if before != kind:
                raise InputError(
                    f"{name!r} is the name of a {before} and of a {kind}, which cannot have a "
                    "parameter in common: rename one. Only a histosys and a normsys can."
                )
            _check_counts(said.get(name, {}), size)
            found[name] = ParameterSet(name, len(init), size, given.scalar, given.constraint)
            init += said.get(name, {}).get("inits", [given.init] * size)
            bounds += said.get(name, {}).get("bounds", [given.bounds] * size)
    if not found:
        raise InputError(
            "The model has no parameters. Give a sample a modifier, such as a normfactor of the "
            "signal."
        )
    return found, init, bounds


def _check_counts(options: Spec, wanted: int) -> None:
    """Refuses more or fewer numbers than parameters."""
    for field in ("inits", "bounds", "auxdata", "sigmas", "factors"):
        if field in options and len(options[field]) != wanted:
            raise InputError(
                f"Parameter {options['name']!r}, {field}: {len(options[field])} entries, where "
                f"the model has {wanted} of that name."
            )

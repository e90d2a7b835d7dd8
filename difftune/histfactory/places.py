"""Which number and which parameter stands where in the terms of the likelihood."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from difftune.errors import InputError
from difftune.histfactory.contents import Contents
from difftune.histfactory.structure import FROM_YIELDS, Entry, Key, Layout

Spec = Mapping[str, Any]

_MULTIPLY = ("normfactor", "lumi", "shapefactor", "shapesys", "staterror")


class Places:
    """Finds the index of every number and parameter that a term of the likelihood needs.

    Args:
        spec: As pyhf reads it.
        contents: What it has.
        entries: Which number is which.
        overrides: What the measurement says of parameters, by their name.
    """

    def __init__(
        self,
        spec: Spec,
        contents: Contents,
        entries: Sequence[Entry],
        overrides: Mapping[str, Spec],
    ) -> None:
        self.spec, self.contents, self.overrides = spec, contents, overrides
        self.start = {entry.key: entry.start for entry in entries}
        self.zero = entries[-1].stop
        self.n_bins, self.size = sum(contents.bins.values()), len(contents.init)
        self.one = self.zero + 1
        self.samples = {name: index for index, name in enumerate(contents.samples)}
        self.channels = {name: index for index, name in enumerate(contents.bins)}
        self.of_type: dict[str, list[str]] = {}
        for name, kind in contents.modifiers:
            self.of_type.setdefault(kind, []).append(name)

    def layout(self) -> Layout:
        """All of it.

        Raises:
            InputError: A shapefactor acts on more bins than it has parameters.
        """
        contents = self.contents
        fixed, pinned = self._fixed()
        return Layout(
            nominal=self._nominal(),
            channel=np.repeat(
                np.arange(len(contents.bins), dtype=np.int32), list(contents.bins.values())
            ),
            factors=self._factors(),
            fixed=fixed,
            pinned=pinned,
            init=contents.init,
            start=contents.init.copy(),
            lower=contents.bounds[:, 0],
            upper=contents.bounds[:, 1],
            **self._histosys(),
            **self._normsys(),
            **self._staterror(),
            **self._shapesys(),
            **self._auxiliary(),
        )

    def _cells(self) -> Iterator[tuple[str, str, int, slice, Spec]]:
        """Channel, sample, its index, its bins, and its spec."""
        for channel in self.spec["channels"]:
            bins = self.contents.bin_slices[channel["name"]]
            for sample in channel["samples"]:
                yield channel["name"], sample["name"], self.samples[sample["name"]], bins, sample

    def _run(self, key: Key, bins: slice) -> np.ndarray:
        return self.start[key] + np.arange(bins.stop - bins.start, dtype=np.int32)

    def _parameters(self, kind: str) -> np.ndarray:
        names = self.of_type.get(kind, [])
        return np.asarray([self.contents.places(name).start for name in names], np.int32)

    def _nominal(self) -> np.ndarray:
        found = np.full((len(self.samples), self.n_bins), self.zero, np.int32)
        for channel, sample, row, bins, _ in self._cells():
            found[row, bins] = self._run((channel, sample), bins)
        return found

    def _histosys(self) -> dict[str, np.ndarray]:
        names = {name: i for i, name in enumerate(self.of_type.get("histosys", []))}
        up = np.repeat(self._nominal()[None], len(names), axis=0)
        down = up.copy()
        for channel, sample, row, bins, spec in self._cells():
            for modifier in spec["modifiers"]:
                if modifier["type"] == "histosys":
                    key, index = (channel, sample, "histosys", modifier["name"]), modifier["name"]
                    up[names[index], row, bins] = self._run((*key, "hi_data"), bins)
                    down[names[index], row, bins] = self._run((*key, "lo_data"), bins)
        return {
            "histosys": self._parameters("histosys"),
            "histosys_up": up,
            "histosys_down": down,
        }

    def _normsys(self) -> dict[str, np.ndarray]:
        names = {name: i for i, name in enumerate(self.of_type.get("normsys", []))}
        up = np.full((len(names), len(self.samples), len(self.channels)), self.one, np.int32)
        down = up.copy()
        for channel, sample, row, _, spec in self._cells():
            for modifier in spec["modifiers"]:
                if modifier["type"] == "normsys":
                    key = (channel, sample, "normsys", modifier["name"])
                    place = names[modifier["name"]], row, self.channels[channel]
                    up[place], down[place] = self.start[*key, "hi"], self.start[*key, "lo"]
        return {"normsys": self._parameters("normsys"), "normsys_up": up, "normsys_down": down}

    def _factors(self) -> np.ndarray:
        """For each sample and bin the parameters that multiply it, as deep as needed."""
        nothing = self.size
        columns: dict[tuple[int, int], dict[tuple[str, str], int]] = {}
        for channel, sample, row, bins, spec in self._cells():
            for modifier in spec["modifiers"]:
                name, kind = modifier["name"], modifier["type"]
                if kind not in _MULTIPLY:
                    continue
                first = self.contents.places(name).start
                if kind == "shapefactor":
                    self._check_shapefactor(name, channel, sample)
                if kind == "staterror":
                    first += self._staterror_offset(name, channel)
                for index, bin_ in enumerate(range(bins.start, bins.stop)):
                    own = first + (0 if kind in ("normfactor", "lumi") else index)
                    columns.setdefault((row, bin_), {})[kind, name] = own
        depth = max((len(found) for found in columns.values()), default=0)
        result = np.full((depth, len(self.samples), self.n_bins), nothing, np.int32)
        for (row, bin_), found in columns.items():
            result[: len(found), row, bin_] = list(found.values())
        return result

    def _check_shapefactor(self, name: str, channel: str, sample: str) -> None:
        """Refuses what pyhf 0.7 multiplies by whatever parameter comes first."""
        size = self.contents.parameter_sets[name].size
        bins = self.contents.bins[channel]
        if bins > size:
            raise InputError(
                f"Channel {channel!r}, sample {sample!r}, shapefactor {name!r}: {bins} bins, but "
                f"pyhf gives it the {size} of the first channel that has it, in the order of their "
                "names. Give this channel a shapefactor of its own, or rename the channel with "
                "the most bins so that it comes first."
            )

    def _staterror_offset(self, name: str, channel: str) -> int:
        """Parameters of a staterror that belong to channels before this one."""
        there, bins = self.contents.carriers[name], self.contents.bins
        return sum(bins[c] for c in there if self.channels[c] < self.channels[channel])

    def _staterror(self) -> dict[str, np.ndarray]:
        parameters, nominal, uncertainty = [], [], []
        for name in self.of_type.get("staterror", []):
            for channel, samples in self.contents.carriers[name].items():
                first = self.contents.places(name).start + self._staterror_offset(name, channel)
                for index in range(self.contents.bins[channel]):
                    yields = np.full(len(self.samples), self.zero, np.int32)
                    errors = yields.copy()
                    for sample in samples:
                        key = (channel, sample, "staterror", name, "data")
                        yields[self.samples[sample]] = self.start[channel, sample] + index
                        errors[self.samples[sample]] = self.start[key] + index
                    parameters.append(first + index)
                    nominal.append(yields)
                    uncertainty.append(errors)
        shape = (len(parameters), len(self.samples))
        return {
            "staterror": np.asarray(parameters, np.int32),
            "staterror_nominal": np.asarray(nominal, np.int32).reshape(shape),
            "staterror_uncertainty": np.asarray(uncertainty, np.int32).reshape(shape),
        }

    def _shapesys(self) -> dict[str, np.ndarray]:
        parameters, nominal, uncertainty = [], [], []
        for channel, sample, _, bins, spec in self._cells():
            for modifier in spec["modifiers"]:
                if modifier["type"] == "shapesys":
                    where = self.contents.places(modifier["name"])
                    key = (channel, sample, "shapesys", modifier["name"], "data")
                    parameters.append(np.arange(where.start, where.stop, dtype=np.int32))
                    nominal.append(self._run((channel, sample), bins))
                    uncertainty.append(self._run(key, bins))
        empty = [np.zeros(0, np.int32)]
        return {
            "shapesys": np.concatenate(parameters or empty),
            "shapesys_nominal": np.concatenate(nominal or empty),
            "shapesys_uncertainty": np.concatenate(uncertainty or empty),
        }

    def _auxiliary(self) -> dict[str, np.ndarray]:
        parameters: list[int] = []
        poisson: list[bool] = []
        center: list[int] = []
        sigma: list[int] = []
        for name, first, count, _, constraint in self.contents.parameter_sets.values():
            if constraint == "none":
                continue
            follows = self.contents.kinds[name] & {"shapesys", "staterror"}
            width = FROM_YIELDS if follows else self.one
            middle = self.one if "staterror" in follows else self.zero
            middle = FROM_YIELDS if "shapesys" in follows else middle
            is_poisson = constraint == "poisson"
            parameters += range(first, first + count)
            poisson += [is_poisson] * count
            center += self._override(name, "auxdata", count) or [middle] * count
            field = "factors" if is_poisson else "sigmas"
            sigma += self._override(name, field, count) or [width] * count
        return {
            "auxiliary": np.asarray(parameters, np.int32),
            "poisson": np.asarray(poisson, bool),
            "center": np.asarray(center, np.int32),
            "sigma": np.asarray(sigma, np.int32),
        }

    def _override(self, name: str, field: str, count: int) -> list[int] | None:
        first = self.start.get(("parameter", name, field))
        return None if first is None else list(range(first, first + count))

    def _fixed(self) -> tuple[np.ndarray, np.ndarray]:
        """Parameters that the spec fixes, and those that a vanishing uncertainty fixes."""
        fixed = np.zeros(self.size, bool)
        pinned = fixed.copy()
        for kind in ("staterror", "shapesys"):
            for name in self.of_type.get(kind, []):
                pinned[self.contents.places(name)] = True
        for name, options in self.overrides.items():
            if "fixed" in options and name in self.contents.parameter_sets:
                fixed[self.contents.places(name)] = options["fixed"]
                pinned[self.contents.places(name)] = False
        return fixed, pinned

"""The view of a model that users of pyhf know: `model.config`."""

from typing import NamedTuple

from jax import Array

from difftune.errors import InputError, nearest
from difftune.histfactory.structure import Structure


class Config(NamedTuple):
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
        """Names of all parameters, with the bin's index where there is one a bin."""
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

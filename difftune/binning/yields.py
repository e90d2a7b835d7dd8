"""What a binning is judged by: expected yields of its bins."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from difftune.errors import InputError
from difftune.histograms import histogram

Column = Array | np.ndarray


class Yields(NamedTuple):
    """Sums over the events of each bin; leading axes are other binnings.

    Attributes:
        signal: Expected signal, `Σw`.
        background: Expected background, `Σw`.
        signal_variance: Variance of the simulated signal, `Σw²`.
        background_variance: Variance of the simulated background, `Σw²`.
        varied_signal: Expected signal under each systematic variation, in their order.
        varied_background: Expected background, likewise.
    """

    signal: Float[Column, "*batch bins"]
    background: Float[Column, "*batch bins"]
    signal_variance: Float[Column, "*batch bins"]
    background_variance: Float[Column, "*batch bins"]
    varied_signal: Float[Column, "variations *batch bins"]
    varied_background: Float[Column, "variations *batch bins"]

    @classmethod
    def of_rows(cls, rows: Float[Column, "rows *batch bins"]) -> "Yields":
        """From one array: the four nominal rows, then signal and background of each variation."""
        return cls(rows[0], rows[1], rows[2], rows[3], rows[4::2], rows[5::2])


@dataclass(frozen=True, eq=False)
class Scored:
    """Events with a score of any origin.

    Args:
        score: Whatever is binned; larger is more signal-like, in any range.
        weight: Physics weights, scaled to the full expected yield; may be negative.
        signal: Whether an event is signal; the others are background.

    Raises:
        InputError: The columns differ in length, hold NaN or infinities, or have no events.
    """

    score: Float[np.ndarray, "_"]
    weight: Float[np.ndarray, "_"]
    signal: Bool[np.ndarray, "_"]

    def __post_init__(self) -> None:
        """In float64, checked."""
        for name, kind in (("score", np.float64), ("weight", np.float64), ("signal", np.bool_)):
            object.__setattr__(self, name, np.asarray(getattr(self, name), kind))
        lengths = {name: len(getattr(self, name)) for name in ("score", "weight", "signal")}
        if len(set(lengths.values())) > 1:
            raise InputError(f"The columns differ in length: {lengths}. Give one entry an event.")
        if not len(self.score):
            raise InputError("A binning cannot be chosen from 0 events: loosen the selection.")
        for name in ("score", "weight"):
            bad = ~np.isfinite(getattr(self, name))
            if bad.any():
                raise InputError(
                    f"{name} is infinite or NaN for {bad.sum()} of {len(bad)} events: remove these "
                    "events or repair their input."
                )

    def __getitem__(self, chosen: np.ndarray) -> "Scored":
        """Some of the events, by a mask or by indices."""
        return Scored(self.score[chosen], self.weight[chosen], self.signal[chosen])


def binned(
    edges: Float[Column, " edges"],
    nominal: Scored,
    variations: Mapping[str, Scored] | None = None,
) -> Yields:
    """Yields of the events in hard bins, in float64.

    Args:
        edges: Bin edges; what lies outside is counted in the outer bins.
        nominal: The events.
        variations: Events of each systematic variation, by its name.
    """
    rows = []
    for events in (nominal, *(variations or {}).values()):
        split = (events.signal, ~events.signal)
        filled = [histogram(events.score[m], events.weight[m], edges) for m in split]
        rows += [each.sumw for each in filled]
        if events is nominal:
            rows += [each.sumw2 for each in filled]
    return Yields.of_rows(np.stack(rows))

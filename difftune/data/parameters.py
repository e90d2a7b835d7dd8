"""Parameters of a signal as inputs of a network: what they are for events that have none."""

import numpy as np
from jaxtyping import Float, Float64

from difftune.data.keys import mixed, running_number
from difftune.errors import InputError


class Law:
    """The weighted distribution of a parameter over signal events.

    Args:
        values: Of the signal events.
        weight: Their weights.

    Raises:
        InputError: When the weights have no positive sum.
    """

    def __init__(
        self, values: Float[np.ndarray, " events"], weight: Float[np.ndarray, " events"]
    ) -> None:
        order = np.argsort(values, kind="stable")
        self.values = values[order]
        # Where negative weights let the sum fall, it waits for what makes up for them.
        self.below = np.maximum.accumulate(np.cumsum(np.asarray(weight, np.float64)[order]))
        if not len(values) or not self.below[-1] > 0:
            raise InputError(
                f"{len(values)} signal events of a total weight of "
                f"{np.sum(weight):g} have no distribution that others could be drawn from."
            )

    def at(self, share: Float64[np.ndarray, " events"]) -> Float[np.ndarray, " events"]:
        """The values below which these shares of the weight lie; each is that of a signal event.

        Args:
            share: In [0, 1).
        """
        place = np.searchsorted(self.below, share * self.below[-1], side="right")
        return self.values[np.minimum(place, len(self.values) - 1)]


def uniform(
    number: np.ndarray | None, process: np.ndarray, seed: int
) -> Float64[np.ndarray, " events"]:
    """A number in [0, 1) for each event, which its number, its process and the seed decide.

    Args:
        number: Of the event; None for the running one in its process.
        process: Of the event.
        seed: Another one gives other numbers.
    """
    known = running_number(process) if number is None else np.asarray(number)
    stream = mixed(np.asarray(process).astype(np.uint64) ^ mixed(np.array([seed], np.uint64)))
    bits = mixed(known.astype(np.int64).view(np.uint64) ^ stream)
    return (bits >> np.uint64(11)) * 2.0**-53

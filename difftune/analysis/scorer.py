"""Scores that no network of this library gives: of another classifier, or in a column."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from difftune.data import Events
from difftune.errors import InputError
from difftune.training import AnyNetwork


@dataclass(frozen=True)
class Scorer:
    """A function of events, measured as a network is.

    For all events of a `CrossFit` it is up to the function to score each by a classifier that has
    not seen it: `events.fold` says which.

    Args:
        function: Gives each event a score, the larger the more like signal.
    """

    function: Callable[[Events], Float[np.ndarray, " events"]]

    @property
    def edges(self) -> None:
        """There are no trained ones."""
        return None

    def score(self, events: Events) -> Float[np.ndarray, " events"]:
        """What the function gives.

        Args:
            events: Any of them.

        Raises:
            InputError: That is not one finite number for each event.
        """
        scores = np.asarray(self.function(events))
        if scores.shape != (len(events),) or not np.isfinite(scores).all():
            raise InputError(
                f"the score function gives an array of shape {scores.shape} for {len(events)} "
                "events, or values that are not finite: give one number for each."
            )
        return scores


Scoring = AnyNetwork | Scorer
"""Whatever can be measured."""

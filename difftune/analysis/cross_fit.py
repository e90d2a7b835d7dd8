"""Cross-fitting: each event is measured by a network that has not seen it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Float

from difftune.analysis.split import Split
from difftune.arguments import takes
from difftune.data import Events, as_events
from difftune.errors import InputError


@takes(events=as_events)
@dataclass(frozen=True, kw_only=True)
class CrossFit:
    """As many analyses as there are folds, of which each measures the events of its own fold.

    For fold k, networks learn from all other folds but the next one, choices rest on that next one,
    and the events of fold k are scored. So every simulated event counts in the templates, with the
    score of a network that neither it nor a choice on it has shaped (arXiv 1608.00060 calls it
    cross-fitting).

    Attributes:
        events: All events, simulated and observed, in three folds or more.

    Raises:
        InputError: There are fewer folds, or a process has no events in one.
    """

    events: Events

    def __post_init__(self) -> None:
        if self.events.folds < 3:
            raise InputError(
                f"CrossFit: the events are in {self.events.folds} folds, and each network needs "
                "one to be tested on, one for choices, and others to learn from: read them with "
                "folds=5."
            )
        for number in range(self.folds):
            self.rotation(number)

    @property
    def folds(self) -> int:
        """How many folds, and so networks, there are."""
        return self.events.folds

    def rotation(self, fold: int) -> Split:
        """What the network of a fold may see when.

        Args:
            fold: The one that it measures.
        """
        return self._rotations[fold]

    @cached_property
    def _rotations(self) -> tuple[Split, ...]:
        return tuple(
            Split(
                events=self.events,
                validation_folds=((fold + 1) % self.events.folds,),
                test_folds=(fold,),
            )
            for fold in range(self.events.folds)
        )

    @property
    def rotations(self) -> Iterator[Split]:
        """All of them, in the order of the folds."""
        return iter(self._rotations)

    def in_regions(self, *names: str) -> "CrossFit":
        """The same of the events of some regions.

        Args:
            names: Names of regions, or the role of several.
        """
        return replace(self, events=self.events.in_regions(*names))

    @property
    def full_yields(self) -> Float[np.ndarray, " processes"]:
        """Expected events of each process."""
        return self.events.yields()

    @property
    def test(self) -> Events:
        """What the result rests on: all simulated events, with their weights as they are."""
        return self.events.simulated

"""Which events a network may see when."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.arguments import is_number, said, takes, whole
from difftune.data import Events, as_events
from difftune.errors import InputError, nearest

PARTS = ("train", "validation", "test")


def as_folds(given: Any, what: str) -> tuple[int, ...]:
    """One or several numbers of folds."""
    if is_number(given):
        given = (given,)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"{what}={said(given)}: give numbers of folds, as in {what}=(3,).")
    return tuple(whole(fold, f"{what}: {said(fold)}") for fold in given)


@takes(
    events=as_events,
    validation_folds=partial(as_folds, what="validation_folds"),
    test_folds=partial(as_folds, what="test_folds"),
)
@dataclass(frozen=True, kw_only=True)
class Split:
    """Training, validation and test events by fold.

    The network learns from the training events; hyperparameters, the best epoch and bin edges are
    chosen with the validation events; the test events serve for the final figures alone.

    Attributes:
        events: All events, simulated and observed.
        validation_folds: Folds that the choices rest on.
        test_folds: Folds that the result rests on.
    """

    events: Events
    validation_folds: tuple[int, ...] = (3,)
    test_folds: tuple[int, ...] = (4,)

    def __post_init__(self) -> None:
        held_out = self.validation_folds + self.test_folds
        if len(set(held_out)) < len(held_out) or not set(held_out) < set(range(self.events.folds)):
            raise InputError(
                f"validation_folds={self.validation_folds} and test_folds={self.test_folds} must "
                f"be different folds of 0 to {self.events.folds - 1}, and leave one to train on."
            )
        simulated = [p.role != "data" for p in self.events.processes]
        if self.events.regions:
            # A process need not be in each region.
            present = np.bincount(np.asarray(self.events.process), minlength=len(simulated))
            simulated = [s and bool(p) for s, p in zip(simulated, present, strict=True)]
        for name, folds in (
            ("training", self.train_folds),
            ("validation", self.validation_folds),
            ("test", self.test_folds),
        ):
            yields = self.events.in_folds(folds).yields()
            for process, total, matters in zip(
                self.events.processes, yields, simulated, strict=True
            ):
                if matters and not total > 0.0:
                    raise InputError(
                        f"process {process.name!r} has a total weight of {total:g} in the {name} "
                        f"folds {list(folds)}: it needs positive yields there. Give it more "
                        "events, use fewer folds, or merge it with another process."
                    )

    @property
    def train_folds(self) -> tuple[int, ...]:
        """The folds that are neither validation nor test."""
        held_out = {*self.validation_folds, *self.test_folds}
        return tuple(fold for fold in range(self.events.folds) if fold not in held_out)

    @property
    def full_yields(self) -> Float[np.ndarray, " processes"]:
        """Expected events of each process, over all folds."""
        return self.events.yields()

    def part(self, *folds: Any) -> Events:
        """Simulated events of these folds, weighted such that each process has its full yield.

        Args:
            folds: Numbers of folds, or `"train"`, `"validation"`, `"test"`.

        Raises:
            InputError: For a fold that is not there, or none.
        """
        numbers = [number for fold in folds for number in self._folds(fold)]
        if not numbers:
            raise InputError(f"split.part(): give folds, or one of {', '.join(PARTS)}.")
        return self.events.in_folds(numbers).simulated.scaled_to(self.full_yields)

    def _folds(self, given: Any) -> tuple[int, ...]:
        """Numbers of folds of what a user names."""
        if isinstance(given, str):
            name = {"training": "train"}.get(given, given)
            if name not in PARTS:
                raise InputError(
                    f"split.part({given!r}): there is no such part.{nearest(name, PARTS)} Give "
                    f"folds, or one of {', '.join(PARTS)}."
                )
            return getattr(self, f"{name}_folds")
        numbers = as_folds(given, "split.part")
        for number in numbers:
            if not 0 <= number < self.events.folds:
                raise InputError(
                    f"split.part({number}): there are the folds 0 to {self.events.folds - 1}."
                )
        return numbers

    def in_regions(self, *names: str) -> "Split":
        """The same split of the events of some regions.

        Args:
            names: Names of regions, or the role of several.
        """
        return replace(self, events=self.events.in_regions(*names))

    @property
    def train(self) -> Events:
        """What networks learn from."""
        return self.part(*self.train_folds)

    @property
    def validation(self) -> Events:
        """What choices rest on."""
        return self.part(*self.validation_folds)

    @property
    def test(self) -> Events:
        """What the result rests on."""
        return self.part(*self.test_folds)

"""Networks of which each scores the events that it has not seen."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.arguments import said
from difftune.data import Events, Reading
from difftune.errors import InputError
from difftune.models import Architecture
from difftune.objectives import Link
from difftune.training.applicable import Applicable
from difftune.training.ensemble import (
    Ensemble,
    classes_of,
    count_of,
    load_member,
    write_each,
)
from difftune.training.network import CROSS_FITTED, ENSEMBLE, TrainedNetwork
from difftune.training.trees import BoostedTrees


@dataclass(frozen=True)
class CrossFitted(Applicable):
    """One network, ensemble or set of trees for each fold: it scores the events of that fold.

    Args:
        networks: In the order of the folds.

    Raises:
        InputError: There are fewer than two, or their features differ.
    """

    networks: Sequence[TrainedNetwork | Ensemble | BoostedTrees]

    def __post_init__(self) -> None:
        if len(self.networks) < 2:
            raise InputError("CrossFitted: give the networks of all folds, two or more.")
        for number, network in enumerate(self.networks):
            if network.feature_names != self.feature_names:
                raise InputError(
                    f"CrossFitted: the network of fold {number} has the features "
                    f"{list(network.feature_names)}, the first one {list(self.feature_names)}; "
                    "give networks with the same ones."
                )

    @property
    def link(self) -> Link | None:
        """That of the first network, where they predict targets: all say the same of them."""
        first = self.networks[0]
        return None if isinstance(first, BoostedTrees) else first.link

    @property
    def predictions(self) -> tuple[str, ...]:
        """Names of what `score` gives, where it is predictions of targets; else none."""
        return () if self.link is None else self.link.names

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns that they want, in this order."""
        return self.networks[0].feature_names

    @property
    def reading(self) -> Reading | None:
        """How the events of their training were read."""
        return self.networks[0].reading

    @property
    def edges(self) -> None:
        """Each network may have trained edges of its own, and there are none of all of them."""
        return None

    def score(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, " events *predictions"]:
        """Discriminant of events, or predictions, of each by the network of its fold.

        Args:
            events: With the features that the networks were trained on, and as many folds, by the
                same event number.

        Raises:
            InputError: When the events have other features, or another number of folds.
        """
        return self._of_each_fold(events, lambda network, own: network.score(own))

    def class_probabilities(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, "events processes"]:
        """How probable each process is, said of each event by the network of its fold.

        Args:
            events: As for `score`.

        Raises:
            InputError: As `score`, and when the networks have no such outputs.
        """
        return self._of_each_fold(events, classes_of)

    def _of_each_fold(
        self, events: Any, said: Callable[[Any, Events], Float[np.ndarray, " events *more"]]
    ) -> Float[np.ndarray, " events *more"]:
        """What the network of each fold says of its events, in their order."""
        if not isinstance(events, Events):
            raise InputError(
                "CrossFitted.score wants Events, whose folds say which network has not seen which "
                "event: make them with dt.read(..., event_number=...)."
            )
        if events.folds != len(self.networks):
            raise InputError(
                f"CrossFitted: there are networks for {len(self.networks)} folds, and the events "
                f"are in {events.folds}: read them with folds={len(self.networks)} and the event "
                "number of the training."
            )
        fold = np.asarray(events.fold)
        places = [np.flatnonzero(fold == number) for number in range(len(self.networks))]
        each = [
            said(network, events.select(fold == number))
            for number, network in enumerate(self.networks)
        ]
        return np.concatenate(each)[np.argsort(np.concatenate(places))]

    def save(self, folder: Path) -> None:
        """Writes each network into a folder of its own, `0`, `1`, ..., and `cross_fitted.json`."""
        write_each(self.networks, Path(folder) / CROSS_FITTED, key="folds")

    @classmethod
    def load(cls, folder: Path, *, model: Architecture | None = None) -> "CrossFitted":
        """Reads what `save` wrote.

        Args:
            folder: Holds `cross_fitted.json`.
            model: Makes each network; needed where it is not an `MLP`.

        Raises:
            InputError: When files are missing, the model is needed, or does not fit the numbers.
        """
        path = Path(folder) / CROSS_FITTED
        count = count_of(path, key="folds", least=2, made_by="CrossFitted.save()")

        def one(number: int) -> TrainedNetwork | Ensemble | BoostedTrees:
            place = path.parent / str(number)
            if (place / ENSEMBLE).is_file():
                return Ensemble.load(place, model=model)
            return load_member(place, model=model)

        return cls(tuple(one(number) for number in range(count)))


AnyNetwork = TrainedNetwork | Ensemble | CrossFitted | BoostedTrees
"""Whatever gives events a score; boosted trees count as networks."""


def load_network(folder: Path, *, model: Architecture | None = None) -> AnyNetwork:
    """What was saved in a folder: a network, an ensemble, or those of all folds.

    Args:
        folder: That of a network, as `network` of a run directory.
        model: Makes each network; needed where it is not an `MLP`.

    Raises:
        InputError: When files are missing, the model is needed, or does not fit the numbers.
    """
    if (Path(folder) / CROSS_FITTED).is_file():
        return CrossFitted.load(folder, model=model)
    if (Path(folder) / ENSEMBLE).is_file():
        return Ensemble.load(folder, model=model)
    return load_member(folder, model=model)


def as_network(given: Any) -> AnyNetwork:
    """A network: that of what `tune` returned; several are an `Ensemble`.

    Raises:
        InputError: For anything else.
    """
    if isinstance(given, AnyNetwork):
        return given
    own = getattr(given, "network", None)
    if isinstance(own, AnyNetwork):
        return own
    if isinstance(given, list | tuple) and given:
        networks: list[TrainedNetwork | BoostedTrees] = []
        weights: list[float] = []
        for one in map(as_network, given):
            if isinstance(one, CrossFitted):
                raise InputError("network: cross-fitted networks cannot be averaged with others.")
            several = one if isinstance(one, Ensemble) else Ensemble((one,))
            networks += several.networks
            weights += (several.shares * len(several.networks)).tolist()
        return Ensemble(tuple(networks), None if len(set(weights)) == 1 else tuple(weights))
    if isinstance(given, str | os.PathLike):
        raise InputError(
            f"network = {given!r} is a path: read it with dt.TrainedNetwork.load({given!r})."
        )
    hint = ""
    if hasattr(given, "events") or hasattr(given, "feature_names"):
        hint = " The network comes first, then the events: measure(network, split)."
    raise InputError(
        f"network = {said(given)} is no trained network; give `network` of what tune "
        f"returned.{hint}"
    )

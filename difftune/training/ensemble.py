"""Networks that decide together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.data import Events, Reading
from difftune.errors import InputError
from difftune.files import read_json, writing
from difftune.models import Architecture
from difftune.training.applicable import Applicable
from difftune.training.network import ENSEMBLE, TrainedNetwork
from difftune.training.trees import TREES, BoostedTrees


@dataclass(frozen=True)
class Ensemble(Applicable):
    """The mean score of several networks, in [0, 1] as each of them.

    Trainings differ in their start values, their order of events, or the fold that they do without.
    What they owe to these is different in each and shrinks in the mean (deep ensembles, arXiv
    1612.01474).

    Args:
        networks: With the same features. The executions of a trial (`Tuned.trial`), or the networks
            of `Tuned.retrain`, say.

    Raises:
        InputError: When there are none, or their features differ.
    """

    networks: Sequence[TrainedNetwork | BoostedTrees]

    def __post_init__(self) -> None:
        if not self.networks:
            raise InputError("Ensemble: there is no network in it; give one or more.")
        for number, network in enumerate(self.networks):
            if network.feature_names != self.feature_names:
                raise InputError(
                    f"Ensemble: network {number} has the features {list(network.feature_names)}, "
                    f"the first one {list(self.feature_names)}; give networks with the same ones."
                )

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns that it wants, in this order."""
        return self.networks[0].feature_names

    @property
    def reading(self) -> Reading | None:
        """How the events of its training were read."""
        return self.networks[0].reading

    @property
    def edges(self) -> tuple[float, ...] | None:
        """Bin edges that were trained with it: only a single network can have some."""
        return self.networks[0].edges if len(self.networks) == 1 else None

    def score(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, " events"]:
        """Mean discriminant of events.

        Args:
            events: As for `TrainedNetwork.score`.

        Raises:
            InputError: When the events have other features, or the same in another order.
        """
        return np.mean([network.score(events) for network in self.networks], axis=0)

    def save(self, folder: Path) -> None:
        """Writes each network into a folder of its own, `0`, `1`, ..., and `ensemble.json`."""
        write_each(self.networks, Path(folder) / ENSEMBLE, key="networks")

    @classmethod
    def load(cls, folder: Path, *, model: Architecture | None = None) -> "Ensemble":
        """Reads what `save` wrote.

        Args:
            folder: Holds `ensemble.json`.
            model: Makes each network; needed where it is not an `MLP`.

        Raises:
            InputError: When files are missing, the model is needed, or does not fit the numbers.
        """
        path = Path(folder) / ENSEMBLE
        count = count_of(path, key="networks", least=1, made_by="Ensemble.save()")
        return cls(tuple(load_member(path.parent / str(i), model=model) for i in range(count)))


def load_member(
    folder: Path, *, model: Architecture | None = None
) -> TrainedNetwork | BoostedTrees:
    """What one member of an ensemble, or one fold, has in its folder.

    Args:
        folder: That `save` made.
        model: Makes the network; needed where it is not an `MLP`.

    Raises:
        InputError: As `TrainedNetwork.load` and `BoostedTrees.load`.
    """
    if (Path(folder) / TREES).is_file():
        return BoostedTrees.load(folder)
    return TrainedNetwork.load(folder, model=model)


def write_each(networks: Sequence[Any], path: Path, *, key: str) -> None:
    """Writes networks into folders `0`, `1`, ..., and beside them how many there are.

    Args:
        networks: Whatever has `save(folder)`.
        path: The file that says so.
        key: The name of the number in it.
    """
    for number, network in enumerate(networks):
        network.save(path.parent / str(number))
    with writing(path) as stream:
        stream.write(json.dumps({key: len(networks)}, indent=2) + "\n")


def count_of(path: Path, *, key: str, least: int, made_by: str) -> int:
    """How many networks `write_each` wrote.

    Args:
        path: The file that says so.
        key: The name of the number in it.
        least: Fewest that there can be.
        made_by: Who makes such a folder, for messages.

    Raises:
        InputError: The file is missing, or says no such number.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist; give a folder that {made_by} made.")
    content = read_json(path)
    count = content.get(key) if isinstance(content, dict) else None
    if type(count) is not int or count < least:
        raise InputError(
            f"{path} does not say how many networks there are (found {str(content)[:60]!r}): "
            f'write {{"{key}": N}} for the folders 0 to N - 1, or save them again.'
        )
    return count

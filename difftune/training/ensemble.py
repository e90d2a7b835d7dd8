"""Networks that decide together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float

from difftune.data import Events
from difftune.errors import InputError
from difftune.files import read_json, writing
from difftune.models import Architecture
from difftune.training.network import ENSEMBLE, TrainedNetwork


@dataclass(frozen=True)
class Ensemble:
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

    networks: Sequence[TrainedNetwork]

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
        folder = Path(folder)
        for number, network in enumerate(self.networks):
            network.save(folder / str(number))
        facts = {"networks": len(self.networks)}
        with writing(folder / ENSEMBLE) as stream:
            stream.write(json.dumps(facts, indent=2) + "\n")

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
        if not path.is_file():
            raise InputError(f"{path} does not exist; give a folder that Ensemble.save() made.")
        content = read_json(path)
        count = content.get("networks") if isinstance(content, dict) else None
        if type(count) is not int or count < 1:
            raise InputError(
                f"{path} does not say how many networks there are (found {str(content)[:60]!r}): "
                'write {"networks": N} for the folders 0 to N - 1, or save the ensemble again.'
            )
        return cls(
            tuple(TrainedNetwork.load(path.parent / str(i), model=model) for i in range(count))
        )

"""Networks that decide together."""

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from difftune.data import Events, Reading
from difftune.errors import InputError
from difftune.files import read_json, writing
from difftune.models import Architecture
from difftune.objectives import Column, Link
from difftune.precision import numbers_as_they_come
from difftune.training.applicable import Applicable
from difftune.training.network import ENSEMBLE, TrainedNetwork
from difftune.training.trees import TREES, BoostedTrees


@dataclass(frozen=True)
class Ensemble(Applicable):
    """The mean score of several networks, in [0, 1] as each of them; or their mean prediction.

    Trainings differ in their start values, their order of events, or the fold that they do without.
    What they owe to these is different in each and shrinks in the mean (deep ensembles, arXiv
    1612.01474).

    Args:
        networks: With the same features: those of a search (`Tuned.ensemble`), or the networks of
            `Tuned.retrain`, say.
        weights: What each counts in the mean, in any unit; None for all alike.

    Raises:
        InputError: When there are none, their features differ, or there is not a positive weight
            for each.
    """

    networks: Sequence[TrainedNetwork | BoostedTrees]
    weights: Sequence[int | float] | None = None

    def __post_init__(self) -> None:
        if not self.networks:
            raise InputError("Ensemble: there is no network in it; give one or more.")
        if self.weights is not None:
            _check_weights(self.weights, len(self.networks), "Ensemble(weights=...)")
        for number, network in enumerate(self.networks):
            if network.feature_names != self.feature_names:
                raise InputError(
                    f"Ensemble: network {number} has the features {list(network.feature_names)}, "
                    f"the first one {list(self.feature_names)}; give networks with the same ones."
                )
            if _said(network) != self.predictions:
                raise InputError(
                    f"Ensemble: network {number} predicts {list(_said(network)) or 'classes'}, the "
                    f"first one {list(self.predictions) or 'classes'}; give networks of one kind."
                )

    @property
    def link(self) -> Link | None:
        """That of the first network, where they predict targets: all say the same of them."""
        first = self.networks[0]
        return first.link if isinstance(first, TrainedNetwork) else None

    @property
    def predictions(self) -> tuple[str, ...]:
        """Names of what `score` gives, where it is predictions of targets; else none."""
        return _said(self.networks[0])

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Columns that it wants, in this order."""
        return self.networks[0].feature_names

    @property
    def reading(self) -> Reading | None:
        """How the events of its training were read."""
        return self.networks[0].reading

    @property
    def shares(self) -> Float[np.ndarray, " networks"]:
        """What each network counts in the mean; one in all."""
        given = np.ones(len(self.networks)) if self.weights is None else np.asarray(self.weights)
        return given / given.sum()

    @property
    def edges(self) -> tuple[float, ...] | None:
        """Bin edges that were trained with it: only a single network can have some."""
        return self.networks[0].edges if len(self.networks) == 1 else None

    def score(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, " events *predictions"]:
        """Mean discriminant of events, or mean predictions; a sigma is that of the mixture.

        Args:
            events: As for `TrainedNetwork.score`.

        Raises:
            InputError: When the events have other features, or the same in another order.
        """
        scores = [network.score(events) for network in self.networks]
        if self.link is not None:
            return self.link.together(scores, self.shares.tolist()).astype(np.float32)
        # As many networks as one likes, in the precision of a score.
        return np.average(scores, axis=0, weights=self.shares).astype(np.float32)

    def class_probabilities(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, "events processes"]:
        """How probable each process is in the mean, as `TrainedNetwork.class_probabilities`.

        Args:
            events: As for `score`.

        Raises:
            InputError: When a network has no such outputs.
        """
        each = [classes_of(network, events) for network in self.networks]
        return np.average(each, axis=0, weights=self.shares).astype(np.float32)

    def save(self, folder: Path) -> None:
        """Writes each network into a folder of its own, `0`, `1`, ..., and `ensemble.json`."""
        weights = None if self.weights is None else list(map(float, self.weights))
        write_each(self.networks, Path(folder) / ENSEMBLE, key="networks", weights=weights)

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
        weights = read_json(path).get("weights")
        if weights is not None:
            _check_weights(weights, count, f"{path}: weights")
        members = tuple(load_member(path.parent / str(i), model=model) for i in range(count))
        return cls(members, weights)


def classes_of(
    network: TrainedNetwork | Ensemble | BoostedTrees, events: Any
) -> Float[np.ndarray, "events processes"]:
    """Class probabilities of a network.

    Args:
        network: With one output for each process.
        events: As for `score`.

    Raises:
        InputError: It has no such outputs.
    """
    if isinstance(network, BoostedTrees):
        raise InputError(
            "boosted trees tell signal from background, and have no probability of each process: "
            "train a network with objective='categorical_cross_entropy'."
        )
    return network.class_probabilities(events)


def _said(network: TrainedNetwork | BoostedTrees) -> tuple[str, ...]:
    return network.predictions if isinstance(network, TrainedNetwork) else ()


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


def _check_weights(given: Any, count: int, where: str) -> None:
    """Refuses what is not a positive number for each network."""
    numbers = list(given) if isinstance(given, list | tuple | np.ndarray) else [None]
    right = [
        isinstance(one, int | float | np.number)
        and not isinstance(one, bool)
        and math.isfinite(one)
        and one > 0
        for one in numbers
    ]
    if not all(right) or len(numbers) != count:
        raise InputError(
            f"{where} = {str(given)[:60]}: give a positive number for each of the {count} networks."
        )


@numbers_as_they_come()
def greedy(
    candidates: PyTree[Float[Column, "candidates ..."]],
    figure: Callable[[PyTree[Float[Array, "..."]]], Float[Array, ""]],
    *,
    size: int,
) -> Int[np.ndarray, " candidates"]:
    """How often each candidate is in the mean that a greedy choice makes.

    To the mean of what is chosen so far the candidate is added with which it is best, also one that
    is in it already; of all these means the best one counts, and of equally good ones the smallest.
    So it is never worse than the best candidate alone (R. Caruana et al., "Ensemble selection from
    libraries of models", ICML 2004).

    Args:
        candidates: What is averaged: arrays with an axis of candidates in front.
        figure: A function of such a mean, in jax, of which larger is better; one that is not finite
            is never chosen.
        size: Most candidates in the mean, each as often as it is in it.

    Returns:
        Counts, whose sum is `size` at most.

    Raises:
        InputError: The figure is finite of no candidate, or there is no room for one.
    """
    if size < 1:
        raise InputError(f"greedy(size={size}): give at least 1.")

    @jax.jit
    def figures(candidates: PyTree, total: PyTree, count: Array) -> Array:
        def joined(own: PyTree) -> Array:
            return figure(jax.tree.map(lambda sum_, one: (sum_ + one) / count, total, own))

        found = jax.lax.map(joined, candidates)
        return jnp.where(jnp.isfinite(found), found, -jnp.inf)

    total = jax.tree.map(lambda leaf: jnp.zeros_like(leaf[0]), candidates)
    counts = np.zeros(len(jax.tree.leaves(candidates)[0]), int)
    best, chosen = -math.inf, counts.copy()
    for number in range(1, size + 1):
        worth = np.asarray(figures(candidates, total, jnp.float32(number)))
        added = int(np.argmax(worth))
        if not np.isfinite(worth[added]):
            break
        counts[added] += 1
        total = jax.tree.map(lambda sum_, leaf, i=added: sum_ + leaf[i], total, candidates)
        if worth[added] > best:
            best, chosen = float(worth[added]), counts.copy()
    if not chosen.any():
        raise InputError(
            "greedy: the figure is finite of no candidate alone, so there is nothing to choose by."
        )
    return chosen


def write_each(
    networks: Sequence[Any], path: Path, *, key: str, weights: list[float] | None = None
) -> None:
    """Writes networks into folders `0`, `1`, ..., and beside them how many there are.

    Args:
        networks: Whatever has `save(folder)`.
        path: The file that says so.
        key: The name of the number in it.
        weights: What each counts, where they do not count alike.
    """
    for number, network in enumerate(networks):
        network.save(path.parent / str(number))
    facts = {key: len(networks)} | ({} if weights is None else {"weights": weights})
    with writing(path) as stream:
        stream.write(json.dumps(facts, indent=2) + "\n")


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

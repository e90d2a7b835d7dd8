"""A trained network and the events that it is judged by, as pure functions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from difftune.errors import InputError, nearest
from difftune.objectives import (
    Batch,
    Function,
    Objective,
    as_objective,
    signal_logit,
    signal_probability,
)
from difftune.selection.study import Networks, Study
from difftune.training import (
    ModuleDef,
    Snapshot,
    Weights,
    all_features,
    apart,
    bootstrap_count,
    evaluation_samples,
    masked,
)


@dataclass(frozen=True)
class NetworkOnFold:
    """One network with the events of the fold that it was validated on.

    Attributes:
        module_def: Structure of the network.
        weights: Its numbers.
        hyperparameters: The values that it was trained with.
        batch: The events, with 0 in place of inputs that the network does not use.
        objective: What is asked about.
        parameters: Of the objective.
        chosen: 1 for events that the question is about, `[rows]`, else 0.
    """

    module_def: ModuleDef
    weights: Weights
    hyperparameters: Mapping[str, Array]
    batch: Batch
    objective: Objective
    parameters: PyTree
    chosen: Float[Array, " rows"]

    @property
    def features(self) -> Float[Array, "rows inputs"]:
        """Network inputs of the events and, after them, of their variations with other inputs."""
        return jnp.asarray(all_features(self.batch))

    def logits(self, features: Float[Array, "rows inputs"]) -> Array:
        """Scores of the network, `[rows]` or `[rows, classes]`."""
        return self.module_def.evaluate(self.weights, self.hyperparameters, features)

    def discriminant(self, features: Float[Array, "rows inputs"]) -> Float[Array, " rows"]:
        """The logit of the signal probability."""
        logits = self.logits(features)
        if logits.ndim == 1:
            return logits
        processes = self.batch.signal_process.shape[-1]
        if logits.shape[-1] != processes:
            raise InputError(
                f"the network has {logits.shape[-1]} outputs that are not the {processes} "
                "processes, and so no signal probability: ask by 'gate', 'conditional gate', "
                "'slope', 'permutation' or 'leave one out'."
            )
        return signal_logit(logits, self.batch)

    def loss(self, scores: Array, replica: Array | int = 0) -> Float[Array, ""]:
        """The objective of scores of all rows.

        Args:
            scores: `[rows]` or `[rows, classes]`.
            replica: Number of a bootstrap replica of the events; 0 is the sample itself.
        """
        own, batch = apart(scores, self.batch)
        number = jnp.asarray(replica)
        count = bootstrap_count(number, jnp.arange(own.shape[0]))
        batch = batch.counted(count)
        return self.objective(own, batch, self.hyperparameters, self.parameters)

    def mean(self, values: Float[Array, " rows *more"]) -> Float[Array, " *more"]:
        """Mean over the chosen nominal events, each with the size of its training weight."""
        count = self.batch.weight.shape[0]
        weight = jnp.abs(self.batch.training_weight) * self.chosen[:count]
        return jnp.tensordot(weight, values[:count], 1) / jnp.maximum(jnp.sum(weight), 1e-12)


@dataclass(frozen=True, kw_only=True)
class EventFilter:
    """The events that a question is about; all of them by default.

    Attributes:
        processes: Names of the processes; None for all.
        region: Lowest and highest signal probability; None for all.
    """

    processes: Sequence[str] | None = None
    region: tuple[float, float] | None = None

    def check(self, study: Study) -> None:
        """Refuses names and numbers that do not fit.

        Raises:
            InputError: For an unknown process, or a region without width.
        """
        known = [process.name for process in study.events.processes]
        for name in self.processes or ():
            if name not in known:
                raise InputError(
                    f"there is no process {name!r}.{nearest(name, known)} "
                    f"There are: {', '.join(known)}."
                )
        if self.region is not None and not self.region[0] < self.region[1]:
            raise InputError(f"region={self.region}: the lower end comes first.")

    def rows(self, study: Study, batch: Batch, scores: Array, rows: int) -> Array:
        """1 for the rows that are meant; variations of an event go with it."""
        chosen = jnp.ones(batch.weight.shape[0])
        if self.processes is not None:
            known = [process.name for process in study.events.processes]
            meant = jnp.asarray([float(name in self.processes) for name in known])
            chosen = chosen * meant[batch.process]
        if self.region is not None:
            own = scores[: batch.weight.shape[0]]
            probability = signal_probability(own, batch)
            low, high = self.region
            chosen = chosen * ((probability >= low) & (probability <= high))
        return jnp.tile(chosen, rows // batch.weight.shape[0])


class Evaluator:
    """A function of a view, asked of all networks of a set of variables.

    It is compiled once, and can be asked of one set after the other.

    Args:
        study: What the networks were trained for.
        function: `(view, *arrays) -> tree of arrays`.
        objective: What the loss is; that of the study by default.
        which: Events that it is about.
    """

    def __init__(
        self,
        study: Study,
        function: Callable[..., PyTree],
        *,
        objective: Objective | Function | None = None,
        which: EventFilter | None = None,
    ):
        self.study = study
        which = which or EventFilter()
        which.check(study)
        other = None if objective is None else as_objective(objective)
        asked = study.bound.objective if other is None else other.bound_to(study.events.processes)
        if asked.outputs != study.bound.objective.outputs:
            raise InputError(
                f"objective={objective!r} wants a network with other outputs than "
                f"{study.bound.objective!r} has trained."
            )
        parameters = asked.init(jax.random.key(study.seed))
        # Made here: what is made within a trace must not outlive it.
        module_def = study.module_def

        @jax.jit
        def one(best: Snapshot, batch: Batch, *arrays: Any) -> Any:
            batch = masked(batch, best.inputs)
            view = NetworkOnFold(
                module_def=module_def,
                weights=best.weights,
                hyperparameters=best.hyperparameters,
                batch=batch,
                objective=asked,
                parameters=best.objective if other is None else parameters,
                chosen=jnp.ones(batch.weight.shape[0]),
            )
            features = view.features
            scores = view.logits(features)
            chosen = which.rows(study, batch, scores, features.shape[0])
            return function(replace(view, chosen=chosen), *arrays)

        self._one = one
        seen = study.columns if asked.varied else study.columns._replace(variations={})
        self._batches = evaluation_samples(seen, None, seed=study.seed)[0]

    def __call__(self, networks: Networks, number: int, *arrays: Any) -> PyTree:
        """Answers `[seeds, folds, ...]`.

        Args:
            networks: Trained networks.
            number: Which of their sets is meant.
            arrays: Further arguments of the function, the same for all networks.
        """
        seeds, folds = networks.score.shape[1:]
        answers = []
        for member in range(seeds * folds):
            slot = number * seeds * folds + member
            best = jax.tree.map(lambda leaf, slot=slot: jnp.asarray(leaf)[slot], networks.best)
            fold = member % folds
            batch = jax.tree.map(lambda leaf, fold=fold: np.asarray(leaf[fold]), self._batches)
            answers.append(jax.device_get(self._one(best, batch, *arrays)))
        return jax.tree.map(
            lambda *each: np.reshape(np.stack(each), (seeds, folds, *np.shape(each[0]))), *answers
        )


def unit_matrix(inputs: Bool[np.ndarray, "units inputs"]) -> Float[np.ndarray, "inputs units"]:
    """1 where an input belongs to a unit."""
    return np.asarray(inputs, np.float32).T

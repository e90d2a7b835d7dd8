"""Selection and network trained together: gates that are learned."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from difftune.errors import InputError
from difftune.models import Gated, open_probability
from difftune.selection.study import Study
from difftune.training import Replicas, diverged


@dataclass(frozen=True, kw_only=True, eq=False)
class LearnedGates:
    """Gates learned for several penalties.

    Attributes:
        names: Variables and groups.
        penalty: Cost of an open gate, in units of the objective, `[penalties]`.
        probability: That the gate of a unit is open: the largest of its inputs, mean over seeds
            and folds, `[penalties, units]`.
        score: Validation score, `[penalties, seeds, folds]`; NaN where a training diverged.
    """

    names: tuple[str, ...]
    penalty: Float[np.ndarray, " penalties"]
    probability: Float[np.ndarray, "penalties units"]
    score: Float[np.ndarray, "penalties seeds folds"]

    def chosen(self, number: int) -> tuple[str, ...]:
        """Units whose gates are rather open than closed, for one of the penalties."""
        kept = self.probability[number] > 0.5
        return tuple(name for name, k in zip(self.names, kept, strict=True) if k)


def learn_gates(study: Study, penalties: Sequence[float]) -> LearnedGates:
    """Trains networks with hard-concrete gates (arXiv 1712.01312), for several penalties at once.

    The gates are those of the last epoch, not of the best: a gate takes its time to close, and the
    best score is that of open ones.

    Args:
        study: Events, network and training.
        penalties: What an open gate costs, in units of the objective.

    Raises:
        InputError: For a penalty below 0, or none at all.
    """
    if not len(penalties) or min(penalties) < 0:
        raise InputError(f"learn_gates(penalties={list(penalties)}): give some, none below 0.")
    recipe = replace(study.recipe, model=Gated(model=study.recipe.model))
    gated = replace(study, recipe=recipe)
    everything = np.ones((len(penalties), gated.columns.features.shape[1]), bool)
    replicas = Replicas.crossed(inputs=everything, seeds=study.seeds, folds=study.folds)
    members = len(penalties) * study.trainings
    population = gated.population(replicas, members)
    penalty = np.repeat(np.asarray(penalties, np.float32), study.trainings)
    state, _ = population.run({"gate_penalty": penalty}, epochs=study.epochs)
    state = jax.device_get(state)
    leaves = nnx.to_flat_state(state.weights.parameters)
    (log_alpha,) = (leaf[...] for path, leaf in leaves if path[-1] == "log_alpha")
    probability = np.asarray(open_probability(jnp.asarray(log_alpha)))
    shape = (len(penalties), study.trainings, -1)
    of_inputs = probability.reshape(shape)[..., None, :]
    of_units = np.max(np.where(study.units.inputs, of_inputs, 0.0), axis=-1)
    score = np.where(diverged(np.asarray(state.status)), np.nan, state.best.score)
    return LearnedGates(
        names=study.units.names,
        penalty=np.asarray(penalties, float),
        probability=of_units.mean(axis=1),
        score=score.reshape(len(penalties), study.seeds, study.folds),
    )

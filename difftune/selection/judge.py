"""What sets of variables are worth on events that nobody has seen."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from difftune.errors import InputError
from difftune.objectives import Significance
from difftune.objectives.base import Function
from difftune.selection.study import Study, Trainer
from difftune.training import columns
from difftune.training.batches import as_batch
from difftune.training.member import all_features, apart, masked

# Trainings of their own: neither those that chose nor those that the choice was made between.
_FRESH = 2000


def on_test_events(
    study: Study,
    kept: Bool[np.ndarray, "sets units"],
    *,
    metric: Function | None = None,
    seeds: int | None = None,
) -> Float[np.ndarray, "sets seeds folds"]:
    """Scores of sets of variables on the test folds, for the result.

    The networks are trained anew, with seeds that were used for nothing else, for each seed and
    each fold to be left out; those of equal seed and fold may be compared in pairs.

    Args:
        study: Events, network and training.
        kept: Units that each set holds.
        metric: The score; larger is better. Stat-only significance by default.
        seeds: How many; those of the study by default.

    Raises:
        InputError: When the study has no test folds.
    """
    if not study.test_folds:
        raise InputError("Study(test_folds=()): there are no test events to judge by.")
    study = replace(study, seeds=seeds or study.seeds)
    networks = Trainer(study, len(kept))(np.asarray(kept, bool), first_seed=_FRESH)
    events = study.events.in_folds(tuple(study.test_folds)).simulated
    data = columns(events, study.events.yields(), study.transform, negative=study.negative_weights)
    judge = metric or Significance()
    if not getattr(judge, "varied", False):
        data = data._replace(variations={})
    batch = jax.tree.map(np.asarray, as_batch(data, np.arange(len(data.weight)), 1.0))

    @jax.jit
    def score(best, batch):
        own = masked(batch, best.inputs)
        logits = study.blueprint.evaluate(best.weights, best.hyperparameters, all_features(own))
        return judge(*apart(logits, own), best.hyperparameters, best.objective)

    found = [
        score(jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf)[i], networks.best), batch)
        for i in range(networks.score.size)
    ]
    return np.asarray(found).reshape(networks.score.shape)

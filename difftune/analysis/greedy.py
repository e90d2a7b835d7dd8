"""A greedy choice among the networks of a search, on the events that they were validated on."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.analysis.preparation import Preparation
from difftune.models import PlainOutputs
from difftune.objectives import Batch, geometric_mean
from difftune.precision import numbers_as_they_come
from difftune.search import Replicated, Strategy
from difftune.training import (
    ModuleDef,
    Snapshot,
    as_batch,
    directions_of,
    greedy,
    infinitesimal_jackknife,
    masked,
)

_CHUNK = 65536


@numbers_as_they_come()
def greedy_members(
    preparation: Preparation,
    strategy: Strategy,
    module_def: ModuleDef,
    best: Snapshot,
    *,
    winner: int,
    size: int,
) -> dict[int, int]:
    """Members whose mean has the largest validation score less its error, chosen greedily.

    The error is as in the selection score: so many standard errors as the recipe's `SelectionRule`
    takes off. Executions that are validated on folds of their own go together: a trial has for each
    event the score of the execution that did not train on it, and the figure is the mean over the
    folds.

    Args:
        preparation: The events and the recipe.
        strategy: Of the search.
        module_def: Structure of the networks.
        best: The best network of each member.
        winner: The chosen member, whose hyperparameters and objective the score is given, if it
            wants them; and whose trial counts where none has all of its executions.
        size: Most networks (trials) in the mean, each as often as it is in it.

    Returns:
        How often each member is in the mean; those that are not in it are left out.
    """
    able = np.isfinite(np.asarray(best.score))
    samples = _samples(preparation, strategy)
    if len(samples) == 1:
        groups = np.flatnonzero(able)[:, None]
    else:
        trials = np.arange(len(able)).reshape(-1, len(samples))
        groups = trials[able[trials].all(axis=1)]
        if not len(groups):
            only = trials[winner // len(samples)]
            return {int(member): 1 for member in only[able[only]]}
    means = [
        [
            _probabilities(module_def, best, own, np.asarray(features))
            for features in directions_of(sample)
        ]
        for own, sample in zip(groups.T, samples, strict=True)
    ]
    recipe = preparation.recipe.bound_to(preparation.split.events.processes)
    chosen = jax.tree.map(lambda leaf: jnp.asarray(leaf)[winner], best)
    n_sigma = recipe.selection_rule.n_sigma

    def worth(scores: list[Array], sample: Batch) -> tuple[Array, Array]:
        own, *others = scores

        def score(batch: Batch) -> tuple[Array, Array]:
            measured = recipe.metric(own, batch, chosen.hyperparameters, chosen.objective)
            return geometric_mean(measured), measured

        sample = sample.scored(others)
        if not recipe.selection_rule.wants_errors:
            return score(sample)[0], jnp.float32(0.0)
        value, _, error = infinitesimal_jackknife(score, sample)
        return value, jnp.where(jnp.isfinite(error), error, 0.0)

    def figure(means: list[list[Array]]) -> Array:
        each = [
            worth(
                [_logits(mean, module_def.outputs) for mean in own],
                masked(sample, chosen.inputs),
            )
            for own, sample in zip(means, samples, strict=True)
        ]
        values, errors = (jnp.stack(parts) for parts in zip(*each, strict=True))
        # The folds have no event in common.
        return values.mean() - n_sigma * jnp.sqrt(jnp.sum(jnp.square(errors))) / len(samples)

    counts = greedy(means, figure, size=size)
    return {
        int(member): int(count)
        for group, count in zip(groups, counts, strict=True)
        if count
        for member in group
    }


def _samples(preparation: Preparation, strategy: Strategy) -> list[Batch]:
    """The validation events; of each execution, where these have folds of their own."""
    split, recipe = preparation.sample, preparation.recipe
    parts: Sequence[Sequence[int]] = [split.validation_folds]
    if isinstance(strategy, Replicated) and strategy.folds:
        parts = [[fold] for fold in sorted((*split.train_folds, *split.validation_folds))]
    found = []
    for part in parts:
        # What the training treats, as negative weights, is not looked at here.
        columns = preparation.columns(recipe, split.part(*part), varied=recipe.metric.varied)
        found.append(jax.tree.map(jnp.asarray, as_batch(columns, None, 1.0)))
    return found


def _probabilities(
    module_def: ModuleDef,
    best: Snapshot,
    members: Int[np.ndarray, " some"],
    features: Float[np.ndarray, "events inputs"],
) -> Float[np.ndarray, "some events classes"]:
    """What the networks of members give for each event: how probable each class is, or values.

    Args:
        module_def: Structure of the networks.
        best: The best network of each member.
        members: Which of them.
        features: Network inputs.
    """

    def one(member: Snapshot, features: Array) -> Array:
        features = features if member.inputs is None else features * member.inputs
        logits = module_def.evaluate(member.weights, member.hyperparameters, features)
        if isinstance(module_def.outputs, PlainOutputs):
            return logits
        if logits.ndim == 1:
            # Both, so that the logit of a mean near 1 is exact, too.
            return jax.nn.sigmoid(jnp.stack([-logits, logits], axis=1))
        return jax.nn.softmax(logits, axis=1)

    @jax.jit
    def every(own: Snapshot, features: Array) -> Array:
        return jax.lax.map(lambda member: one(member, features), own)

    own = jax.tree.map(lambda leaf: np.asarray(leaf)[members], best)
    parts = []
    for start in range(0, len(features), _CHUNK):
        part = np.asarray(features[start : start + _CHUNK])
        # Equal shapes, so that it is compiled once; a small sample is a shape of its own.
        rows = min(_CHUNK, len(features))
        padded = np.zeros((rows, part.shape[1]), np.float32)
        padded[: len(part)] = part
        parts.append(np.asarray(every(own, padded))[:, : len(part)])
    return np.concatenate(parts, axis=1)


def _logits(mean: Float[Array, "events classes"], outputs: int) -> Array:
    """Logits of mean probabilities, in the form that a network with so many outputs has.

    The mean of values is what it is.
    """
    if isinstance(outputs, PlainOutputs):
        return mean
    logarithm = jnp.log(jnp.maximum(mean, jnp.finfo(mean.dtype).tiny))
    return logarithm[:, 1] - logarithm[:, 0] if outputs == 1 else logarithm

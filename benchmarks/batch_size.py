"""What a batch knows of the objective of all events: bias of value and gradient, on single top.

A network is trained with cross-entropy for a few epochs. Then, at its weights, the objective and
its gradient are taken from all training events, and from stratified batches that stand for them.
Objectives that count events are no means over events, so what the batches give on average is not
what all events give.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.table import Row
from difftune.histfactory.variants import TemplateYields
from difftune.objectives import AsimovLLR, Batch, FitModel, Objective, PoiUncertainty
from difftune.training import Columns, Population
from difftune.training.batches import as_batch, stratified_order
from difftune.training.member import all_features, apart

SIZES = (512, 2048, 8192)
BINS, BANDWIDTH = 12, (0.02, 0.02)


def network(train: Columns, validation: Columns, recipe: dt.Recipe, epochs: int):
    """Of cross-entropy: its parameters, and scores as a function of them and of features."""
    population = Population(recipe=recipe, train=train, validation=validation, members=1)
    state, _ = population.run({"learning_rate": np.array([3e-3])}, epochs=epochs)
    weights = jax.tree.map(lambda leaf: leaf[0], jax.device_get(state.weights))
    hyperparameters = {n: v[0] for n, v in population.hyperparameters({}).items()}

    def scores(parameters, features):
        own = weights._replace(parameters=parameters)
        return population.module_def.evaluate(own, hyperparameters, features)

    return weights.parameters, scores


def flat(tree) -> jax.Array:
    """All numbers of a gradient."""
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


def through(objective: PoiUncertainty, b: Batch) -> Callable:
    """Value and slopes of an objective in the histograms: the part that takes long to compile."""
    fill = objective.model.filling(b)
    compiled = jax.jit(jax.value_and_grad(lambda yields: objective.of_model(fill(yields))))

    def call(yields: TemplateYields) -> tuple[jax.Array, TemplateYields]:
        with jax.enable_x64(True):
            exact = jax.tree.map(lambda each: each.astype(jnp.float64), yields)
            value, slope = compiled(exact)
            return value, jax.tree.map(lambda each: each.astype(jnp.float32), slope)

    return call


def estimates(
    objective: Objective,
    fit: Callable | None,
    data: Columns,
    scores: Callable,
    parameters,
    size: int,
    batches: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Values and gradients of so many batches of a size."""
    rng, found = np.random.default_rng(size), []

    def summary(parameters, b: Batch):
        own, b = apart(scores(parameters, all_features(b)), b)
        return objective(own, b, {}, {}) if fit is None else objective.model.yields(own, b, {}, {})

    @jax.jit
    def backwards(b: Batch, slope):
        return flat(jax.vjp(partial(summary, b=b), parameters)[1](slope)[0])

    forwards = jax.jit(partial(summary, parameters))
    while len(found) < batches:
        order = stratified_order(data.process, rng)
        for begin in range(0, len(order) - size + 1, size):
            b = jax.tree.map(jnp.asarray, as_batch(data, order[begin : begin + size], 0.5))
            value, slope = forwards(b), jnp.float32(1.0)
            if fit is not None:
                value, slope = fit(value)
            found.append((float(value), np.asarray(backwards(b, slope))))
    values, gradients = zip(*found[:batches], strict=True)
    return np.array(values), np.stack(gradients)


def run(*, quick: bool) -> list[Row]:
    """For each objective and size the excess of value, gradient's share and noise."""
    one_in, epochs, batches = (16, 1, 8) if quick else (1, 5, 32)
    events = samples.single_top().select(lambda sample: sample.number % one_in == 0)
    recipe = samples.every_epoch(model=dt.models.MLP(hidden=(32, 32)))
    split = dt.analysis.Split(events=events)
    transform = recipe.transform(split.train)
    train, validation = (
        recipe.columns(part, split.full_yields, transform, varied=True)
        for part in (split.train, split.validation)
    )
    parameters, scores = network(train, validation, recipe, epochs)
    model = {"bins": BINS, "bandwidth": BANDWIDTH, "processes": events.processes}
    plain = FitModel(mc_statistics=False, **model)
    # What a figure is that -ln gives, and in which sense.
    objectives = {
        "q0 (AsimovLLR)": (AsimovLLR(bins=BINS, bandwidth=BANDWIDTH), -1.0),
        "σ(μ) (PoiUncertainty)": (PoiUncertainty(model=FitModel(**model)), 1.0),
        "σ(μ) without mc_statistics": (PoiUncertainty(model=plain), 1.0),
    }
    rows = []
    for name, (objective, sign) in list(objectives.items())[: 2 if quick else 3]:
        data = train if objective.varied else train._replace(variations={})
        some = as_batch(data, np.arange(8), 0.5)
        fit = through(objective, some) if isinstance(objective, PoiUncertainty) else None
        given = objective, fit, data, scores, parameters
        (truth,), (slope,) = estimates(*given, len(data.weight), 1)
        whole = np.exp(sign * truth)
        rows.append(Row(f"{name}, all {len(data.weight)} events", whole))
        for size in SIZES[: 1 if quick else None]:
            values, slopes = estimates(*given, size, batches)
            ratio = np.exp(sign * values) / whole
            share = slopes @ slope / (slope @ slope)
            noise = np.linalg.norm(slopes - slopes.mean(axis=0), axis=1) / np.linalg.norm(slope)
            text = f"± {100 * error(ratio):.2g}; gradient along the true one {share.mean():.3f} ± "
            text += f"{error(share):.2g} of it, noise {np.sqrt(np.mean(noise**2)):.2f} times it"
            what = f"  excess in batches of {size}, %"
            rows.append(Row(what, 100 * (ratio.mean() - 1), "", text))
    return rows


def error(values: np.ndarray) -> float:
    """Of their mean."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))

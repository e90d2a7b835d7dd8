"""What a loss through the fit teaches a network: the demonstration of neos."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyhf
import pytest

from difftune.histfactory import build_workspace
from difftune.histograms import Template, Templates, histogram
from difftune.objectives import Batch, CrossEntropy, ExpectedCLs, FitModel, Variation, Varied
from tests.objectives.samples import NONE


def events(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signal and background of neos' four blobs, unit Gaussians in a plane."""
    rng = np.random.default_rng(seed)
    centers = np.repeat([[1.0, -1.0], [-1.0, 1.0]], count, axis=0)
    x = rng.normal(centers).astype(np.float32)
    return x, np.repeat([0, 1], count)


def blobs(x, label, progress) -> Batch:
    """A batch: 20 signal and 100 background events expected; the background may be elsewhere."""
    up, down = (
        Varied(features=x + (1 - label[:, None]) * np.float32(shift))
        for shift in ([1.5, 3.0], [-3.5, -0.5])
    )
    weight = np.where(label == 1, 20.0, 100.0).astype(np.float32) / (len(label) // 2)
    return Batch(
        features=x,
        process=label,
        label=label,
        weight=weight,
        training_weight=np.ones_like(weight),
        signal_process=np.array([0.0, 1.0], np.float32),
        progress=progress,
        variations={"place": Variation(up=up, down=down)},
    )


def network(weights, features):
    hidden = features
    for w, b in weights[:-1]:
        hidden = jnp.tanh(hidden @ w + b)
    return (hidden @ weights[-1][0] + weights[-1][1])[:, 0]


def train(objective, *, steps=150, size=500):
    """A small network in plain JAX: a loop of Adam's steps."""
    x, label = events(steps * size, 1)
    shape = (2, steps, size)
    xs = jnp.asarray(x.reshape(*shape, 2)).swapaxes(0, 1).reshape(steps, 2 * size, 2)
    label = np.repeat([0, 1], size)
    keys = jax.random.split(jax.random.key(4), 3)
    sizes = [(2, 12), (12, 12), (12, 1)]
    weights = [
        (jax.random.normal(key, shape) * shape[0] ** -0.5, jnp.zeros(shape[1]))
        for key, shape in zip(keys, sizes, strict=True)
    ]
    optimizer = optax.adam(0.015)

    def step(carry, now):
        weights, state = carry
        x, progress = now

        def loss(weights):
            b = blobs(x, label, progress)
            b = b.scored([network(weights, features) for features in b.varied_features])
            return objective(network(weights, x), b, NONE, NONE)

        updates, state = optimizer.update(jax.grad(loss)(weights), state)
        return (optax.apply_updates(weights, updates), state), None

    begin = weights, optimizer.init(weights)
    progress = jnp.arange(steps) / steps
    return jax.jit(lambda c: jax.lax.scan(step, c, (xs, progress))[0])(begin)[0]


def median_cls(weights) -> float:
    """By pyhf, in four hard bins of events of its own."""
    x, label = events(50_000, 77)
    b = blobs(x, label, np.asarray(1.0, np.float32))
    edges = np.linspace(0, 1, 5)

    def filled(features, cls):
        score = np.asarray(jax.nn.sigmoid(network(weights, features)), float)
        return histogram(score[label == cls], b.weight[label == cls], edges)

    place = b.variations["place"]
    pair = filled(place.up.features, 0), filled(place.down.features, 0)
    templates = {
        "background": Template(filled(x, 0), {"place": pair}),
        "signal": Template(filled(x, 1)),
    }
    region = Templates(channel="region", edges=edges, processes=templates, signal=("signal",))
    model = pyhf.Workspace(build_workspace([region], mc_statistics=False)).model()
    point = model.config.suggested_init()
    point[model.config.poi_index] = 0.0
    data = model.expected_data(point).tolist()
    return float(pyhf.infer.hypotest(1.0, data, model, return_expected=True)[1])


@pytest.mark.slow
def test_a_network_learns_what_cross_entropy_cannot(minuit):
    """neos' demonstration (arXiv 2203.05570) ends at a CLs of about 1e-6."""
    model = FitModel(bins=4, bandwidth=(0.2, 0.03), mc_statistics=False)
    plain, through = (train(each) for each in (CrossEntropy(), ExpectedCLs(model=model)))
    assert {leaf.dtype for leaf in jax.tree.leaves(through)} == {jnp.dtype("float32")}
    without, found = median_cls(plain), median_cls(through)
    assert found < 2e-6
    assert found < without / 3

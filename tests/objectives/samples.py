"""A batch with every awkward thing in it that a batch may have."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from difftune.objectives import Batch

NONE: dict = {}


@functools.partial(jax.jit, static_argnums=0)
def evaluate(objective, scores, batch, hyperparameters=NONE, parameters=NONE):
    return objective(scores, batch, hyperparameters, parameters)


@functools.partial(jax.jit, static_argnums=0)
def value_and_gradient(objective, scores, batch, hyperparameters=NONE, parameters=NONE):
    return jax.value_and_grad(objective)(scores, batch, hyperparameters, parameters)


def batch(events: int = 60, *, dtype=jnp.float32, progress: float = 0.5, **replaced) -> Batch:
    """Signal is process 1 of three; some weights are negative, one is zero."""
    rng = np.random.default_rng(events)
    process = np.arange(events) % 3
    columns = {
        "features": rng.normal(size=(events, 2)),
        "weight": np.where(np.arange(events) % 11 == 5, -0.3, rng.uniform(0.5, 2.0, events)),
        "training_weight": np.where(np.arange(events) % 11 == 5, -0.2, rng.uniform(0.1, 3, events)),
        "signal_process": np.array([0.0, 1.0, 0.0]),
        "progress": progress,
    }
    columns["weight"][7] = 0.0
    columns |= {name: value for name, value in replaced.items() if name in columns}
    label = replaced.get("label", process == 1)
    return Batch(
        process=jnp.asarray(process, jnp.int32),
        label=jnp.asarray(label, jnp.int32),
        **{name: jnp.asarray(value, dtype) for name, value in columns.items()},
    )


def logits(events: int = 60, classes: int | None = None, *, dtype=jnp.float32):
    rng = np.random.default_rng([events, 1])
    return jnp.asarray(rng.normal(size=events if classes is None else (events, classes)), dtype)

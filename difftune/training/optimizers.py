"""Optimizers whose settings are hyperparameters of a member, and schedules of its learning rate."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from difftune.errors import InputError, nearest
from difftune.registry import Entry, Registry
from difftune.training.evolution import SIGMA, CoordinateParabola, EvolutionStrategy

Optimizer = Callable[[Mapping[str, Array]], optax.GradientTransformation]
"""Makes an optax optimizer of one member's hyperparameters."""


class Moments(NamedTuple):
    """One state for all kinds, so that a member may change its kind and be copied by another."""

    steps: Array
    first: PyTree
    second: PyTree


COEFFICIENTS = {
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "weight_decay": 1e-2,
    "momentum": 0.9,
    "rms_decay": 0.9,
    "sigma": SIGMA,
}
"""Values where neither the user nor the search gives one."""


def _value(hyperparameters: Mapping[str, Array], name: str) -> Array | float:
    return hyperparameters.get(name, COEFFICIENTS[name])


def _adam(
    h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree
) -> tuple[PyTree, Moments]:
    del parameters
    b1, b2, eps = (_value(h, name) for name in ("beta1", "beta2", "epsilon"))
    before = optax.ScaleByAdamState(count=state.steps, mu=state.first, nu=state.second)
    updates, after = optax.scale_by_adam(b1=b1, b2=b2, eps=eps).update(gradient, before)
    return updates, Moments(after.count, after.mu, after.nu)


def _adamw(
    h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree
) -> tuple[PyTree, Moments]:
    updates, state = _adam(h, gradient, state, parameters)
    # Weight matrices alone, as with L1 and L2.
    decay = _value(h, "weight_decay")
    shrunk = jax.tree.map(lambda u, w: u + decay * w if w.ndim >= 2 else u, updates, parameters)
    return shrunk, state


def _sgd(
    h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree
) -> tuple[PyTree, Moments]:
    del parameters
    rule = optax.trace(decay=_value(h, "momentum"))
    updates, after = rule.update(gradient, optax.TraceState(state.first))
    return updates, Moments(state.steps + 1, after.trace, state.second)


def _rmsprop(
    h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree
) -> tuple[PyTree, Moments]:
    del parameters
    rule = optax.scale_by_rms(decay=_value(h, "rms_decay"), eps=_value(h, "epsilon"))
    updates, after = rule.update(gradient, optax.ScaleByRmsState(nu=state.second))
    return updates, Moments(state.steps + 1, state.first, after.nu)


KINDS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd, "rmsprop": _rmsprop}


@dataclass(frozen=True)
class _OfKinds:
    """An optimizer, or one of several for each member; it is equal to one of the same kinds."""

    kinds: tuple[str, ...]

    def __call__(self, hyperparameters: Mapping[str, Array]) -> optax.GradientTransformation:
        rules = [KINDS[kind] for kind in self.kinds]

        def init(parameters: PyTree) -> Moments:
            return Moments(
                jnp.zeros((), jnp.int32),
                jax.tree.map(jnp.zeros_like, parameters),
                jax.tree.map(jnp.zeros_like, parameters),
            )

        def update(
            gradient: PyTree, state: PyTree, parameters: PyTree | None = None
        ) -> tuple[PyTree, PyTree]:
            branches = [lambda g, s, p, rule=rule: rule(hyperparameters, g, s, p) for rule in rules]
            if len(branches) == 1:
                updates, state = branches[0](gradient, state, parameters)
            else:
                kind = jnp.round(hyperparameters.get("optimizer", 0.0)).astype(jnp.int32)
                updates, state = jax.lax.switch(kind, branches, gradient, state, parameters)
            rate = hyperparameters["learning_rate"]
            return jax.tree.map(lambda u: -rate * u, updates), state

        return optax.GradientTransformation(init, update)


def optimizer(*kinds: str) -> Optimizer:
    """An optimizer; of several kinds, each member has its own.

    Adam (arXiv 1412.6980), AdamW (arXiv 1711.05101, decaying weight matrices alone), SGD with
    momentum, RMSprop. The hyperparameters are `learning_rate`, `beta1`, `beta2`, `epsilon`,
    `weight_decay`, `momentum`, `rms_decay`; and with several kinds `optimizer`, the number of the
    kind in the order given, 0 by default.

    Args:
        kinds: Of `"adam"`, `"adamw"`, `"sgd"`, `"rmsprop"`.

    Raises:
        InputError: For an unknown kind, or none.
    """
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(
                f"optimizer({kind!r}) is unknown.{nearest(kind, KINDS)} "
                f"Choose of {', '.join(KINDS)}."
            )
    if not kinds:
        raise InputError(f"optimizer() needs a kind: {', '.join(KINDS)}.")

    return _OfKinds(kinds)


adam = optimizer("adam")
"""Adam, the optimizer that is taken by default."""
_BY_GRADIENT = "Steps along the gradient; their hyperparameters stand in `[hyperparameters]`."
OPTIMIZERS = Registry(
    "optimizer",
    "a function of hyperparameters that makes an optimizer of optax",
    {kind: Entry(partial(optimizer, kind), says=_BY_GRADIENT) for kind in KINDS}
    | {"evolution": EvolutionStrategy, "parabola": CoordinateParabola},
)
"""By the name that they have in the analysis file."""


CONSTANT, COSINE, ONE_CYCLE = range(3)
SCHEDULES = ("constant", "cosine", "one-cycle")
"""Values of the hyperparameter `"schedule"`, by number."""

# Of the one-cycle schedule: share of the rise, and the factors at its start and at the very end.
_RISE, _FIRST, _LAST = 0.3, 1 / 25, 1e-4 / 25


def rate_factor(
    hyperparameters: Mapping[str, Array], done: Float[Array, "*steps"]
) -> Float[Array, "*steps"]:
    """What the learning rate is multiplied with.

    - constant: 1.
    - cosine: half a period of a cosine, from 1 to 0 (arXiv 1608.03983, without restarts).
    - one-cycle: along half periods from 1/25 up to 1 in the first 30 %, then down to 4e-6 (arXiv
      1708.07120, with the usual shares).

    Args:
        hyperparameters: `"schedule"` is read where it is given: 0, 1 or 2 in this order.
        done: Fraction of the training that is behind, from 0 to 1.
    """
    if "schedule" not in hyperparameters:
        return jnp.ones_like(done)

    def between(start: float, end: float, share: Array) -> Array:
        return end + (start - end) * (1.0 + jnp.cos(jnp.pi * share)) / 2.0

    rise = between(_FIRST, 1.0, done / _RISE)
    fall = between(1.0, _LAST, (done - _RISE) / (1.0 - _RISE))
    kind = jnp.round(hyperparameters["schedule"])
    one_cycle = jnp.where(done < _RISE, rise, fall)
    cosine = between(1.0, 0.0, done)
    return jnp.where(kind == COSINE, cosine, jnp.where(kind == ONE_CYCLE, one_cycle, 1.0))


def penalised(gradient: PyTree, parameters: PyTree, hyperparameters: Mapping[str, Array]) -> PyTree:
    """Adds the gradient of `l1 Σ|w| + l2 Σw²` over weight matrices (biases are not penalised)."""
    if "l1" not in hyperparameters and "l2" not in hyperparameters:
        return gradient
    l1, l2 = hyperparameters.get("l1", 0.0), hyperparameters.get("l2", 0.0)
    return jax.tree.map(
        lambda g, w: g + l1 * jnp.sign(w) + 2.0 * l2 * w if w.ndim >= 2 else g, gradient, parameters
    )


def clipped(gradient: PyTree, hyperparameters: Mapping[str, Array]) -> PyTree:
    """Scales the gradient such that its norm is `gradient_clip` at most (arXiv 1211.5063)."""
    if "gradient_clip" not in hyperparameters:
        return gradient
    norm = jnp.sqrt(sum(jnp.sum(jnp.square(leaf)) for leaf in jax.tree.leaves(gradient)))
    limit = hyperparameters["gradient_clip"]
    factor = jnp.where(norm > limit, limit / jnp.where(norm > 0, norm, 1.0), 1.0)
    return jax.tree.map(lambda leaf: leaf * factor, gradient)

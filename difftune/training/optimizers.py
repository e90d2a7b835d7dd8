"""Optimizers whose kind may differ from member to member."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from difftune.errors import InputError, nearest
from difftune.registry import Registry

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
}
"""Values where neither the user nor the search gives one."""


def _value(hyperparameters: Mapping[str, Array], name: str) -> Array | float:
    return hyperparameters.get(name, COEFFICIENTS[name])


def _adam(h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree):
    del parameters
    b1, b2, eps = (_value(h, name) for name in ("beta1", "beta2", "epsilon"))
    before = optax.ScaleByAdamState(count=state.steps, mu=state.first, nu=state.second)
    updates, after = optax.scale_by_adam(b1=b1, b2=b2, eps=eps).update(gradient, before)
    return updates, Moments(after.count, after.mu, after.nu)


def _adamw(h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree):
    updates, state = _adam(h, gradient, state, parameters)
    # Weight matrices alone, as with L1 and L2.
    decay = _value(h, "weight_decay")
    shrunk = jax.tree.map(lambda u, w: u + decay * w if w.ndim >= 2 else u, updates, parameters)
    return shrunk, state


def _sgd(h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree):
    del parameters
    rule = optax.trace(decay=_value(h, "momentum"))
    updates, after = rule.update(gradient, optax.TraceState(state.first))
    return updates, Moments(state.steps + 1, after.trace, state.second)


def _rmsprop(h: Mapping[str, Array], gradient: PyTree, state: Moments, parameters: PyTree):
    del parameters
    rule = optax.scale_by_rms(decay=_value(h, "rms_decay"), eps=_value(h, "epsilon"))
    updates, after = rule.update(gradient, optax.ScaleByRmsState(nu=state.second))
    return updates, Moments(state.steps + 1, state.first, after.nu)


KINDS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd, "rmsprop": _rmsprop}


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

    def make(hyperparameters: Mapping[str, Array]) -> optax.GradientTransformation:
        rules = [KINDS[kind] for kind in kinds]

        def init(parameters: PyTree) -> Moments:
            return Moments(
                jnp.zeros((), jnp.int32),
                jax.tree.map(jnp.zeros_like, parameters),
                jax.tree.map(jnp.zeros_like, parameters),
            )

        def update(gradient: PyTree, state: PyTree, parameters: PyTree | None = None):
            branches = [lambda g, s, p, rule=rule: rule(hyperparameters, g, s, p) for rule in rules]
            if len(branches) == 1:
                updates, state = branches[0](gradient, state, parameters)
            else:
                kind = jnp.round(hyperparameters.get("optimizer", 0.0)).astype(jnp.int32)
                updates, state = jax.lax.switch(kind, branches, gradient, state, parameters)
            rate = hyperparameters["learning_rate"]
            return jax.tree.map(lambda u: -rate * u, updates), state

        return optax.GradientTransformation(init, update)

    return make


adam = optimizer("adam")
OPTIMIZERS = Registry(
    "optimizer",
    "a function of hyperparameters that makes an optimizer of optax",
    {kind: partial(optimizer, kind) for kind in KINDS},
)
"""By the name that they have in the analysis file."""

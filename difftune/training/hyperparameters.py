"""The hyperparameters that the training itself reads, and the optimizer made of them."""

from collections.abc import Callable, Iterable, Mapping

import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from difftune.errors import InputError, nearest

DEFAULTS: dict[str, float] = {
    "learning_rate": 1e-3,
    "beta1": 0.9,
    "beta2": 0.999,
    "epsilon": 1e-8,
    "l1": 0.0,
    "l2": 0.0,
    "signal_weight": 1.0,
}
"""Values where neither the user nor the search gives one. `batch_size` defaults to the largest."""

Values = Mapping[str, Float[np.ndarray | Array, " members"]]
"""Some hyperparameters, for each one value a member."""

Optimizer = Callable[[Mapping[str, Array]], optax.GradientTransformation]


def adam(hyperparameters: Mapping[str, Array]) -> optax.GradientTransformation:
    """Adam (arXiv 1412.6980) with one member's rate and coefficients."""
    return optax.chain(
        optax.scale_by_adam(
            b1=hyperparameters["beta1"],
            b2=hyperparameters["beta2"],
            eps=hyperparameters["epsilon"],
        ),
        optax.scale_by_learning_rate(hyperparameters["learning_rate"]),
    )


class Recorder(dict):
    """Hyperparameters that remember which of them were asked for."""

    def __init__(self, values: Mapping[str, Array]):
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name):
        """The value, noted as read."""
        self.read.add(name)
        if not super().__contains__(name):
            raise InputError(
                f"hyperparameter {name!r} is read, by the objective, the optimizer or the "
                f"network, but neither searched nor given.{nearest(name, self)} Add it to the "
                "space or to the fixed hyperparameters."
            )
        return super().__getitem__(name)

    def get(self, name, default=None):
        """The value or a default, noted as read."""
        self.read.add(name)
        return super().get(name, default)

    def __contains__(self, name):
        """Whether the value is given; noted as read."""
        self.read.add(name)
        return super().__contains__(name)


def check_known(given: Iterable[str], read: set[str]) -> None:
    """Refuses hyperparameters that nothing reads.

    Raises:
        InputError: With the nearest name that is read.
    """
    for name in given:
        if name not in read:
            raise InputError(
                f"hyperparameter {name!r} is read by nothing: neither by the training, nor by the "
                f"network, nor by the objective.{nearest(name, read)} "
                f"What can be set here: {', '.join(sorted(read))}."
            )


def complete(
    given: Values, members: int, *, batch_size: int
) -> dict[str, Float[Array, " members"]]:
    """One value a member for every hyperparameter of the training.

    Args:
        given: Arrays `[members]`.
        members: Size of the population.
        batch_size: The largest batch, which is the default.
    """
    defaults = {**DEFAULTS, "batch_size": float(batch_size)}
    full = {name: jnp.full(members, value, jnp.float32) for name, value in defaults.items()}
    return full | {name: jnp.asarray(value, jnp.float32) for name, value in given.items()}

"""The hyperparameters that the training itself reads, and a record of what reads them."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from difftune.errors import InputError, nearest

DEFAULTS: dict[str, float] = {"learning_rate": 1e-3, "signal_weight": 1.0}
"""Values where neither the user nor the search gives one; `batch_size` is the first of the sizes.

Also read where they are given: `l1`, `l2`, `gradient_clip`, `schedule`, `averaged_steps`,
`plateau_factor` with `plateau_patience`, and what optimizer, network and objective declare.
"""

TOGETHER = (("plateau_factor", "plateau_patience"),)
"""Hyperparameters that mean something with the other alone."""

Values = Mapping[str, Float[np.ndarray | Array, " members"]]
"""Some hyperparameters, for each one value per member."""


class UsageTracker(dict[str, Any]):
    """Hyperparameters that remember which of them were asked for."""

    def __init__(self, values: Mapping[str, Array]):
        super().__init__(values)
        self.read: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        """The value, noted as read."""
        self.read.add(name)
        if not super().__contains__(name):
            raise InputError(
                f"hyperparameter {name!r} is read, by the objective, the optimizer or the "
                f"network, but neither searched nor given.{nearest(name, self)} Add it to the "
                "space or to the fixed hyperparameters."
            )
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        """The value or a default, noted as read."""
        self.read.add(name)
        return super().get(name, default)

    def __or__(self, others: Any) -> Any:
        """A copy with other values that shares the record of what was read."""
        joined = UsageTracker(dict(self) | others)
        joined.read = self.read
        return joined

    def __contains__(self, name: object) -> bool:
        """Whether the value is given; noted as read."""
        self.read.add(str(name))
        return super().__contains__(name)


def check_known(given: Iterable[str], read: set[str]) -> None:
    """Refuses hyperparameters that nothing reads.

    Raises:
        InputError: With the nearest name that is read.
    """
    # What begins with an underscore is between the engine and a network.
    read = {name for name in read if not name.startswith("_")}
    for name in given:
        if name not in read:
            raise InputError(
                f"hyperparameter {name!r} is read by nothing: neither by the training, nor by the "
                f"network, nor by the objective.{nearest(name, read)} "
                f"What can be set here: {', '.join(sorted(read))}."
            )


def complete(
    given: Values, members: int, *, sizes: Sequence[int]
) -> dict[str, Float[Array, " members"]]:
    """One value per member for every hyperparameter of the training.

    Args:
        given: Arrays `[members]`.
        members: Size of the population.
        sizes: Batch sizes that there are.

    Raises:
        InputError: For another batch size, or one of two values that belong together.
    """
    for pair in TOGETHER:
        missing = [name for name in pair if name not in given]
        if len(missing) == 1:
            raise InputError(
                f"hyperparameter {missing[0]!r} is missing: {' and '.join(pair)} belong together."
            )
    wanted = np.unique(np.asarray(given.get("batch_size", sizes[0])))
    for size in wanted[~np.isin(wanted, sizes)].tolist():
        raise InputError(
            f"batch_size {size:g} is none of the sizes that are compiled, {list(sizes)}: give all "
            "that may occur, Population(batch_size=(256, 1024)), and search among them with "
            "choice(256, 1024)."
        )
    defaults = {**DEFAULTS, "batch_size": float(sizes[0])}
    full = {name: jnp.full(members, value, jnp.float32) for name, value in defaults.items()}
    return full | {name: jnp.asarray(value, jnp.float32) for name, value in given.items()}

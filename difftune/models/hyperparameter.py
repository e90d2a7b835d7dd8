"""Values inside a network that the search sets, member by member."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
from flax import nnx


class Hyperparameter(nnx.Variable):
    """A number in a network that is tuned, not trained.

    A network declares one with `self.rate = Hyperparameter.named("dropout", 0.1)` and reads it as
    `self.rate[...]`. Whatever the search proposes under that name takes its place, for each member
    of a population its own value; where nothing is proposed, the default stays.
    """

    @classmethod
    def named(cls, name: str, default: int | float, *, inherited: bool = False) -> "Hyperparameter":
        """A hyperparameter called `name` in the search space.

        Args:
            name: Name in the space, for example `"dropout"`.
            default: Value without a search.
            inherited: Whether whoever takes over the weights takes over the value, as that of a
                width: a search then tries others in members that begin afresh alone.
        """
        return cls(jnp.float32(default), hyperparameter=name, inherited=inherited)


def fill(state: nnx.State, values: Mapping[str, Any]) -> nnx.State:
    """Puts one member's values in the place of the defaults.

    Args:
        state: The `Hyperparameter` variables of a network.
        values: One scalar a hyperparameter; names that the network does not declare are ignored.

    Returns:
        The same state with the values of this member.
    """
    leaves = nnx.to_flat_state(state)
    filled = [
        (path, leaf.replace(jnp.asarray(values[name], jnp.float32)))
        if (name := leaf.get_metadata()["hyperparameter"]) in values
        else (path, leaf)
        for path, leaf in leaves
    ]
    return nnx.from_flat_state(filled)

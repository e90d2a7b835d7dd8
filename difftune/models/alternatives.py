"""A choice among networks of different architecture that differs from member to member."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.models.hyperparameter import Hyperparameter
from difftune.models.mlp import Model, whole


class Either(nnx.Module):
    """All of the networks, of which one is used; the weights of the others get no gradient."""

    def __init__(self, networks: Sequence[nnx.Module]):
        self.networks = nnx.List(networks)
        self.choice = Hyperparameter.named("model", 0, inherited=True)

    def start_weights(self, rngs: nnx.Rngs, inputs: Float[Array, " inputs"] | None = None) -> None:
        """Lets those draw theirs that can, from the same key each.

        Args:
            rngs: Source of one key (its stream `params`).
            inputs: Not 0 for each input that is used; None for all.
        """
        key = rngs.params()
        for network in self.networks:
            if hasattr(network, "start_weights"):
                network.start_weights(nnx.Rngs(key), inputs)

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "events outputs"]:
        """Logits of the network that is chosen."""
        index = whole(self.choice[...], 0, len(self.networks) - 1)
        if isinstance(index, int):
            return self.networks[index](x)
        branches = [lambda networks, x, i=i: networks[i](x) for i in range(len(self.networks))]
        return nnx.switch(index, branches, self.networks, jnp.asarray(x))


@takes()
@dataclass(frozen=True, kw_only=True)
class Alternatives:
    """A recipe for one of several networks, to be searched as the hyperparameter `"model"`.

    It is the place in `models`, from 0 (the default); a member that takes over weights takes it
    over too. On a CPU a member costs what its own network costs; side by side on an accelerator it
    costs what all of them do, so a few networks are better searched one after the other there.

    Hyperparameters of one name mean the same in all of the networks that have them.

    Args:
        models: Recipes, such as `MLP(...)`, and Flax module classes.

    Raises:
        InputError: For fewer than two.
    """

    models: Sequence[Model]

    def __post_init__(self):
        object.__setattr__(self, "models", tuple(self.models))
        if len(self.models) < 2:
            raise InputError(f"Alternatives(models={self.models}): give at least two.")

    @property
    def event_by_event(self) -> bool:
        """Whether in none of them an event knows of the others."""
        return all(getattr(model, "event_by_event", False) for model in self.models)

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Either:
        """Makes all of them; `inputs` features in, `outputs` logits out."""
        return Either([model(inputs, outputs, rngs=rngs) for model in self.models])

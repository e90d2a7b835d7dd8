"""Networks around others: gates on the inputs, and a choice among architectures."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.models.mlp import Architecture, rounded
from difftune.models.parts import Hyperparameter, hash_uniform

# Of the paper: temperature, and the interval that the gate is stretched to.
_BETA, _GAMMA, _ZETA = 2 / 3, -0.1, 1.1


@jax.custom_vjp
def _penalised(x: Array, penalty: Array) -> Array:
    """Gives x; the gradient is that of whatever becomes of it, plus the penalty."""
    return x


def _forward(x: Array, penalty: Array) -> tuple[Array, None]:
    return x, None


def _backward(_: None, gradient: Array) -> tuple[Array, Array]:
    return gradient, jnp.ones((), gradient.dtype)


_penalised.defvjp(_forward, _backward)


class GatedNetwork(nnx.Module):
    """A network behind hard-concrete gates (arXiv 1712.01312).

    In training mode a gate is the stretched and clipped sigmoid of a logistic random number, the
    same for all events of a batch; in evaluation mode it is what it is without the randomness. The
    expected number of open gates, times the penalty, is added to whatever is minimised.
    """

    def __init__(
        self, network: nnx.Module, inputs: int, *, penalty: float, start: float, rngs: nnx.Rngs
    ):
        self.network = network
        self.log_alpha = nnx.Param(jnp.full(inputs, start, jnp.float32))
        self.penalty = Hyperparameter.named("gate_penalty", penalty)
        self.deterministic = False
        self.stream = rngs["gates"].fork()

    def start_weights(self, rngs: nnx.Rngs, inputs: Float[Array, " inputs"] | None = None) -> None:
        """Draws the start values of what is behind the gates."""
        if hasattr(self.network, "start_weights"):
            self.network.start_weights(rngs, inputs)

    @property
    def open_probability(self) -> Float[Array, " inputs"]:
        """Probability that a gate is not closed."""
        return open_probability(self.log_alpha[...])

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "*logits outputs"]:
        """Logits of the events."""
        log_alpha = self.log_alpha[...]
        if self.deterministic:
            return self.network(x * _stretched(jax.nn.sigmoid(log_alpha)))
        seed = jax.random.key_data(self.stream()).astype(jnp.uint32)[:2]
        u = jnp.clip(hash_uniform(seed, log_alpha.shape), 1e-6, 1 - 1e-6)
        gate = _stretched(jax.nn.sigmoid((jnp.log(u) - jnp.log1p(-u) + log_alpha) / _BETA))
        penalty = self.penalty[...] * jnp.sum(open_probability(log_alpha))
        return self.network(_penalised(x * gate, penalty))


def _stretched(s: Array) -> Array:
    return jnp.clip(s * (_ZETA - _GAMMA) + _GAMMA, 0.0, 1.0)


def open_probability(log_alpha: Float[Array, "..."]) -> Float[Array, "..."]:
    """Probability that a hard-concrete gate is not closed: equation 12 of arXiv 1712.01312.

    Args:
        log_alpha: Parameter of the gate.
    """
    return jax.nn.sigmoid(log_alpha - _BETA * jnp.log(-_GAMMA / _ZETA))


@dataclass(frozen=True, kw_only=True)
class Gated:
    """A recipe for a network with a learned gate on each input.

    The hyperparameter `"gate_penalty"` is what an open gate costs, in units of the objective: a
    population with different ones has networks of few and of many variables.

    Args:
        model: Makes the network behind the gates.
        penalty: Default of the penalty of an open gate.
        start: Parameter of the gates at the start; 2 is open with a probability of 0.97.

    Raises:
        InputError: For a negative penalty.
    """

    model: Architecture
    penalty: float = 1e-3
    start: float = 2.0

    def __post_init__(self) -> None:
        if self.penalty < 0:
            raise InputError(f"Gated(penalty={self.penalty}): must not be negative.")

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> GatedNetwork:
        """Makes the network; `inputs` features in, `outputs` logits out."""
        network = self.model(inputs, outputs, rngs=rngs)
        return GatedNetwork(network, inputs, penalty=self.penalty, start=self.start, rngs=rngs)


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

    def __call__(self, x: Float[Array, "events inputs"]) -> Float[Array, "*logits outputs"]:
        """Logits of the network that is chosen."""
        index = rounded(self.choice[...], 0, len(self.networks) - 1)
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

    models: Sequence[Architecture]

    def __post_init__(self) -> None:
        object.__setattr__(self, "models", tuple(self.models))
        if len(self.models) < 2:
            raise InputError(f"Alternatives(models={self.models}): give at least two.")

    @property
    def event_by_event(self) -> bool:
        """Whether in none of them an event knows of the others."""
        return all(getattr(model, "event_by_event", False) for model in self.models)

    def rows_of_event(self, inputs: int) -> int:
        """How many rows of a layer an event is, of the network that has most."""
        rows = [getattr(model, "rows_of_event", None) for model in self.models]
        return max(1 if each is None else each(inputs) for each in rows)

    def __call__(self, inputs: int, outputs: int, *, rngs: nnx.Rngs) -> Either:
        """Makes all of them; `inputs` features in, `outputs` logits out.

        Raises:
            InputError: For networks of different numbers of submodels.
        """
        counts = [getattr(model, "submodels", 1) for model in self.models]
        if len(set(counts)) > 1:
            raise InputError(
                f"Alternatives(models={self.models}) have submodels={counts}: one program needs "
                "as many of each; search them one after the other."
            )
        return Either([model(inputs, outputs, rngs=rngs) for model in self.models])

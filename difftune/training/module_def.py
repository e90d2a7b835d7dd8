"""A Flax module taken apart into pure functions of arrays."""

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from difftune.errors import InputError
from difftune.forks import refuse_fork
from difftune.models import Architecture, Hyperparameter, Inputs, PlainOutputs, fill, together
from difftune.objectives import Column
from difftune.sharing import may_share
from difftune.training.traced import users_code


class Weights(NamedTuple):
    """What a network consists of: trained parameters, and buffers such as batch statistics."""

    parameters: nnx.State
    buffers: nnx.State


def fitting(given: Weights, wanted: Weights) -> Weights:
    """Weights that are to take the place of others.

    Args:
        given: Of all members, for instance of another training.
        wanted: What the networks have now.

    Raises:
        InputError: When they are those of other networks.
    """

    def shapes(weights: Weights) -> dict[str, tuple[int, ...]]:
        named = jax.tree_util.tree_leaves_with_path(weights)
        return {jax.tree_util.keystr(path): np.shape(leaf) for path, leaf in named}

    ours, theirs = shapes(wanted), shapes(given)
    if ours != theirs:
        differ = {name for name in ours.keys() | theirs if ours.get(name) != theirs.get(name)}
        name = sorted(differ)[0]
        raise InputError(
            f"start weights of other networks: {name} is {theirs.get(name, 'missing')} where the "
            f"population has {ours.get(name, 'nothing')}. Give weights of as many members of the "
            "same module definition."
        )
    return given


def _parts(network: nnx.Module) -> Any:
    return nnx.split(network, nnx.Param, Hyperparameter, nnx.RngState, ...)


@dataclass(init=False, unsafe_hash=True)
class ModuleDef:
    """The structure of a network; its parameters are kept outside.

    Equal are those of the same model of difftune's, inputs and outputs.

    Args:
        model: Makes the network.
        inputs: Features per event; an `Inputs` also says which of them are of objects.
        outputs: Logits per event; `PlainOutputs` where they are values.

    Attributes:
        plain: Whether the outputs are values.
        submodels: How many logits of an event it gives in training mode, where it then gives those
            of submodels, `[events, submodels, outputs]`; 0 where it gives the ones that it gives
            in evaluation mode.
        rows: How many rows of a layer an event is, as the recipe's `rows_of_event(inputs)` says.

    Raises:
        InputError: When the model does not make an `nnx.Module` that maps `[events, inputs]` to
            `[events, outputs]`; or in a process that was forked after JAX had started.
    """

    model: Architecture
    inputs: Inputs
    outputs: int
    plain: bool

    def __init__(self, model: Architecture, *, inputs: int, outputs: int):
        refuse_fork()
        inputs = Inputs(inputs) if not isinstance(inputs, Inputs) else inputs
        self.model, self.inputs, self.outputs = model, inputs, outputs
        self.plain = isinstance(outputs, PlainOutputs)

        def made() -> tuple[Weights, Any, Any]:
            network = model(inputs, outputs, rngs=nnx.Rngs(0))
            if not isinstance(network, nnx.Module):
                raise InputError(
                    f"model={model!r} made a {type(network).__name__}, not a flax.nnx.Module."
                )
            network.train()
            self._train, parameters, hyper, random, buffers = _parts(network)
            network.eval()
            self._eval = _parts(network)[0]
            return Weights(parameters, buffers), hyper, random

        # Traced, not run: a network that is made has dozens of operations to compile one by one,
        # and of all its numbers only those of hyperparameters and random streams are needed here.
        probe = jax.ShapeDtypeStruct((2, int(inputs)), jnp.float32)
        with users_code("the network"):
            weights = jax.eval_shape(made)[0]
            self._hyper, self._random = jax.jit(lambda: made()[1:])()
            logits = jax.eval_shape(self._apply, self._eval, weights, {}, probe)[0]
            trained = jax.eval_shape(
                self._apply,
                self._train,
                weights,
                {},
                probe,
                jax.tree.map(jnp.asarray, self._random),
            )[0]
        shape = getattr(logits, "shape", None)
        if shape != (2, outputs):
            given = f"a {type(logits).__name__}" if shape is None else list(shape)
            raise InputError(
                f"model={model!r} maps features [2, {inputs}] to {given}, but logits "
                f"[2, {outputs}] are needed."
            )
        of_event = getattr(model, "rows_of_event", None)
        self.rows = 1 if of_event is None else int(of_event(inputs))
        self.submodels = trained.shape[1] if trained.ndim == 3 else 0
        wanted = (2, self.submodels, outputs) if self.submodels else (2, outputs)
        if trained.shape != wanted:
            raise InputError(
                f"model={model!r} maps features [2, {inputs}] to {list(trained.shape)} in training "
                f"mode: logits [2, {outputs}] are needed, or [2, submodels, {outputs}]."
            )

    def __eq__(self, other: object) -> bool:
        """Whether they do the same; a user's model may have changed with what it depends on."""
        if self is other or not isinstance(other, ModuleDef) or not may_share(self.model):
            return self is other
        both = ((each.model, each.inputs, each.outputs, each.plain) for each in (self, other))
        return operator.eq(*both)

    def _apply(
        self,
        graph: Any,
        weights: Weights,
        hyperparameters: Mapping[str, Any],
        features: Any,
        random: Any = None,
    ) -> tuple[Any, Any, Any]:
        network = nnx.merge(
            graph,
            weights.parameters,
            fill(self._hyper, hyperparameters),
            self._random if random is None else random,
            weights.buffers,
            copy=True,
        )
        logits = network(features)
        _, _, _, random, buffers = _parts(network)
        return logits, buffers, random

    def _logits(self, logits: Float[Array, "*events outputs"]) -> Array:
        return logits[..., 0] if self.outputs == 1 else logits

    def init(
        self,
        key: Array,
        hyperparameters: Mapping[str, Array] | None = None,
        *,
        inputs: Float[Array, " inputs"] | None = None,
    ) -> Weights:
        """Start values, from a random key.

        Args:
            key: Random key.
            hyperparameters: Of the member, where its start values depend on them: those of a
                network that has a method `start_weights(rngs, inputs)`, as the `MLP` has. None
                leaves the defaults.
            inputs: 1 for each input that the member uses, 0 for the others; None for all.
        """
        network = self.model(self.inputs, self.outputs, rngs=nnx.Rngs(key))
        if hyperparameters is not None and hasattr(network, "start_weights"):
            nnx.update(network, fill(self._hyper, hyperparameters))
            network.start_weights(nnx.Rngs(key), inputs)
        network.train()
        _, parameters, _, _, buffers = _parts(network)
        return Weights(parameters, buffers)

    @cached_property
    def inherited(self) -> frozenset[str]:
        """Hyperparameters that a network keeps for life, as its shape."""
        facts = [leaf.get_metadata() for _, leaf in nnx.to_flat_state(self._hyper)]
        return frozenset(each["hyperparameter"] for each in facts if each["inherited"])

    def random_state(self, key: Array) -> nnx.State:
        """The network's random streams (dropout), started anew from a key."""
        leaves = nnx.to_flat_state(self._random)
        fresh = [
            (
                path,
                leaf.replace(
                    jax.random.fold_in(key, number)
                    if isinstance(leaf, nnx.RngKey)
                    else jnp.zeros_like(leaf[...])
                ),
            )
            for number, (path, leaf) in enumerate(leaves)
        ]
        return nnx.from_flat_state(fresh)

    def train(
        self,
        weights: Weights,
        hyperparameters: Mapping[str, Array],
        features: Float[Column, "events inputs"],
        random: nnx.State,
    ) -> tuple[Array, nnx.State, nnx.State]:
        """Logits in training mode, with the updated buffers and random streams.

        Where there are submodels, they are those of each, `[events, submodels, ...]`.
        """
        logits, buffers, random = self._apply(
            self._train, weights, hyperparameters, features, random
        )
        return self._logits(logits), buffers, random

    def evaluate(
        self,
        weights: Weights,
        hyperparameters: Mapping[str, Array],
        features: Float[Column, "events inputs"],
    ) -> Array:
        """Logits in evaluation mode: no dropout, averaged batch statistics."""
        return self._logits(self._apply(self._eval, weights, hyperparameters, features)[0])

    def together(self, logits: Float[Array, "events k ..."]) -> Float[Array, "events ..."]:
        """What submodels that gave this in training mode say as one, as in evaluation mode."""
        return together(logits, plain=self.plain)

    @cached_property
    def evaluate_jit(self) -> Callable[..., Array]:
        """`evaluate`, compiled once."""
        return jax.jit(self.evaluate)

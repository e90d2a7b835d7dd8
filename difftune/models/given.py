"""What users write for a model and for its parts, as what is plainly meant."""

import inspect
from collections.abc import Iterable
from typing import Any

from flax import nnx

from difftune.arguments import called_with, is_number, made, said, whole
from difftune.errors import InputError

EXAMPLE = "MLP(hidden=(64, 64))"


def as_hidden(given: Any) -> tuple[int, ...]:
    """Widths of hidden layers, of which there may be one alone."""
    if is_number(given):
        given = (given,)
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise InputError(f"MLP(hidden={said(given)}): give widths of layers, as in {EXAMPLE}.")
    return tuple(whole(width, f"MLP(hidden=...): {said(width)}") for width in given)


def as_activation(given: Any) -> Any:
    """An activation, or several, by name; a function of JAX has one."""
    if isinstance(given, str):
        return given
    if callable(given):
        return getattr(given, "__name__", repr(given))
    if isinstance(given, Iterable):
        return tuple(as_activation(one) for one in given)
    raise InputError(f'MLP(activation={said(given)}): give a name, as in activation="relu".')


def as_probability(given: Any) -> float:
    """A number; the range is checked by who wants it."""
    if not is_number(given):
        raise InputError(f"MLP(dropout={said(given)}): give a number, at least 0 and below 1.")
    return float(given)


def as_model(given: Any) -> Any:
    """A recipe of networks: that of a class without brackets, or `MLP()` for None.

    Raises:
        InputError: For what makes no network.
    """
    from difftune.models.mlp import MLP

    if given is None:
        return MLP()
    wanted = f"give a model such as {EXAMPLE}, or a class of a Flax module (flax.nnx)"
    if isinstance(given, nnx.Module):
        name = type(given).__name__
        raise InputError(
            f"model={name}(...): this is one network, and each member has its own; give the class "
            f"model={name}, or a function (inputs, outputs, *, rngs) that makes it."
        )
    if inspect.isclass(given) and not issubclass(given, nnx.Module):
        if "nn.Module" in str(given.__mro__) or given.__module__.startswith("flax.linen"):
            raise InputError(f"model={given.__name__} is no module of flax.nnx; {wanted}.")
        given = made(given, "model")
    if not callable(given):
        hint = ""
        if is_number(given) or (isinstance(given, list | tuple) and all(map(is_number, given))):
            widths = tuple(given) if isinstance(given, list | tuple) else (given,)
            hint = f" For these widths write MLP(hidden={widths})."
        raise InputError(f"model={said(given)} makes no network; {wanted}.{hint}")
    if not isinstance(given, MLP):
        example = "a class with __init__(self, inputs, outputs, *, rngs)"
        called_with(given, ("inputs", "outputs", "*", "rngs"), "model", example)
    return given


MLP_FORMS = {
    "hidden": as_hidden,
    "activation": as_activation,
    "dropout": as_probability,
}
"""Of `MLP`."""

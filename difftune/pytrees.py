"""Dataclasses as pytrees. It knows nothing else, so that a likelihood need not load the events."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

import jax

T = TypeVar("T")


def register(*, static: tuple[str, ...] = ()) -> Callable[[type[T]], type[T]]:
    """Registers a dataclass as a pytree; the fields in `static` are no leaves, all others are.

    Rebuilding goes past `__init__`: jax puts tracers, axes and other placeholders in the place of
    arrays, which the checks of a constructor must not see.
    """

    def decorate(cls: type[T]) -> type[T]:
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        leaves = [name for name in names if name not in static]

        def flatten_with_keys(value: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            children = tuple((jax.tree_util.GetAttrKey(n), getattr(value, n)) for n in leaves)
            return children, tuple(getattr(value, name) for name in static)

        def flatten(value: T) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
            children = tuple(getattr(value, name) for name in leaves)
            return children, tuple(getattr(value, name) for name in static)

        def unflatten(aux: tuple[Any, ...], children: Any) -> T:
            value = object.__new__(cls)
            for name, child in zip((*leaves, *static), (*children, *aux), strict=True):
                object.__setattr__(value, name, child)
            return value

        jax.tree_util.register_pytree_with_keys(cls, flatten_with_keys, unflatten, flatten)
        return cls

    return decorate

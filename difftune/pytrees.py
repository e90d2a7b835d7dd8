"""Dataclasses as pytrees. It knows nothing else, so that a likelihood need not load the events."""

import dataclasses
from collections.abc import Callable
from typing import Any, TypeVar

from difftune.later import jax, once_loaded

T = TypeVar("T")

_leaves_of: dict[type, list[str]] = {}


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

        _leaves_of[cls] = leaves
        once_loaded(
            lambda: jax.tree_util.register_pytree_with_keys(
                cls, flatten_with_keys, unflatten, flatten
            )
        )
        return cls

    return decorate


def mapped(function: Callable[[Any], Any], tree: Any) -> Any:
    """As `jax.tree.map` of one tree, without JAX; what has no leaf that changes stays what it is.

    Args:
        function: Of a leaf.
        tree: Tuples, lists, dicts and registered dataclasses; anything else is a leaf.
    """
    kind = type(tree)
    if tree is None:
        return None
    if kind is tuple or kind is list:
        return kind([mapped(function, each) for each in tree])
    if isinstance(tree, dict):
        return {name: mapped(function, each) for name, each in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return kind(*[mapped(function, each) for each in tree])
    if kind not in _leaves_of:
        return function(tree)
    changed = {}
    for name in _leaves_of[kind]:
        value = getattr(tree, name)
        new = mapped(function, value)
        if new is not value:
            changed[name] = new
    if not changed:
        return tree
    value = object.__new__(kind)
    for field in dataclasses.fields(tree):
        object.__setattr__(value, field.name, changed.get(field.name, getattr(tree, field.name)))
    return value

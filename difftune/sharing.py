"""Whether what is compiled for one object serves an equal one, too.

Equal objects of difftune do the same. A user's function may depend on what it finds outside of
itself, which can change between two trainings: what is made of one is compiled anew.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum

import numpy as np

_PLAIN = (type(None), bool, int, float, str, bytes, Enum, np.ndarray)


def may_share(value: object) -> bool:
    """Whether a value can be compared, and is made of difftune's classes and plain values alone.

    Args:
        value: Such as a recipe, with all that is in it.
    """
    try:
        hash(value)
    except TypeError:
        return False
    return _is_ours(value)


def _is_ours(value: object) -> bool:
    if isinstance(value, Mapping):
        return _is_ours(tuple(value.items()))
    if isinstance(value, (tuple, list, frozenset)):
        return all(map(_is_ours, value))
    if isinstance(value, type):
        return _of_difftune(value)
    if is_dataclass(value):
        return _of_difftune(type(value)) and all(
            _is_ours(getattr(value, each.name)) for each in fields(value)
        )
    return isinstance(value, _PLAIN)


def _of_difftune(named: object) -> bool:
    return str(getattr(named, "__module__", "")).partition(".")[0] == "difftune"

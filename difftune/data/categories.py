"""Features that are categories: one column for each of their values, which is 1 where it holds."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from difftune.arguments import is_number, said
from difftune.data.events import Events
from difftune.errors import InputError, nearest

logger = logging.getLogger("difftune")
Categories = Mapping[str, Sequence[int | float | str]]
"""By name of a feature the values that are told apart."""


def as_categories(given: Any) -> dict[str, tuple[Any, ...]]:
    """Values by feature; none for None.

    Raises:
        InputError: They are none, or a value stands twice.
    """
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise InputError(
            f"categories = {said(given)}: give the values of each, as in "
            'categories={"n_jets": [2, 3, 4]}.'
        )
    found = {}
    for name, values in given.items():
        values = values.tolist() if isinstance(values, np.ndarray) else values
        plain = isinstance(values, Sequence) and not isinstance(values, str)
        if not plain or not len(values):
            raise InputError(
                f"categories: {name!r} = {said(values)}: give its values, as in [2, 3, 4] or "
                '["e", "mu"].'
            )
        for value in values:
            if not (isinstance(value, str | bool) or is_number(value)):
                raise InputError(
                    f"categories: {name!r}: {said(value)} is neither number nor string."
                )
        if len(set(values)) < len(values):
            raise InputError(f"categories: {name!r} = {list(values)} has a value twice.")
        found[str(name)] = tuple(values)
    return found


def with_categories(
    features: Sequence[str], derived: Mapping[str, str], categories: Categories
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Features and derived ones, with a column for each value in the place of a category.

    Args:
        features: Names of features, those of the categories among them.
        derived: Expressions of derived features.
        categories: Values by feature; of `flavour` with `["e", "mu"]`, the features are `flavour_e`
            and `flavour_mu`.

    Raises:
        InputError: A category is no feature.
    """
    for name in categories:
        if name not in features:
            raise InputError(
                f"categories: {name!r} is none of the features.{nearest(name, features)} Name it "
                "among them; each of its values becomes one."
            )
    expanded: list[str] = []
    made = dict(derived)
    for name in features:
        if name not in categories:
            expanded.append(name)
            continue
        for value in categories[name]:
            column = f"{name}_{value}"
            if column in derived or column in features:
                raise InputError(
                    f"categories: {column!r} is the column of {name!r} for {value!r}, and another "
                    "feature is called so: give that one another name."
                )
            made[column] = f"`{name}` == {value!r}"
            expanded.append(column)
    return tuple(expanded), made


def warn_of_absent(events: Events, categories: Categories) -> None:
    """Warns of values that no event has, which may be misspelt."""
    absent = []
    for name, values in categories.items():
        for value in values:
            column = events.feature_names.index(f"{name}_{value}")
            if not np.any(np.asarray(events.features)[:, column]):
                absent.append(f"{name} == {value!r}")
    if absent:
        logger.warning("categories: no event has %s", ", ".join(absent))

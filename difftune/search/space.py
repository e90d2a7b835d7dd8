"""The space of hyperparameters: what may be tried, all at once."""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from difftune.arguments import is_number, said
from difftune.errors import InputError, nearest
from difftune.search.dimensions import Conditional, Dimension, Values
from difftune.search.kinds import KINDS, choice, integer, log_uniform, uniform, when


class Space(Mapping[str, Dimension]):
    """Named hyperparameters and what they may be.

    Example:
        >>> space = Space(learning_rate=log_uniform(1e-4, 1e-2), dropout=uniform(0.0, 0.5))
        >>> sorted(space)
        ['dropout', 'learning_rate']

    Args:
        given: The same as a mapping by name.
        dimensions: What each hyperparameter may be; also as in the analysis file,
            `{"uniform": [0.0, 0.5]}`.

    Raises:
        InputError: When a value is not a dimension, or a condition is upon a hyperparameter that
            is not there, has a condition itself, or cannot have the value.
    """

    def __init__(self, given: Any = None, /, **dimensions: Any):
        if given is not None and not isinstance(given, Mapping):
            raise InputError(
                f"Space({said(given)}): name what is searched, as in "
                "Space(learning_rate=log_uniform(1e-4, 1e-2))."
            )
        every = {**(given or {}), **dimensions}
        self._dimensions = {name: _dimension(name, value) for name, value in every.items()}
        for name, dimension in self._dimensions.items():
            if isinstance(dimension, Conditional):
                self._dimensions[name] = self._bound(name, dimension)

    @classmethod
    def of(cls, given: Any) -> "Space":
        """The space itself, that of a mapping, or an empty one of None.

        Raises:
            InputError: For anything else.
        """
        return given if isinstance(given, Space) else cls(given)

    def _bound(self, name: str, conditional: Conditional) -> Conditional:
        other = self.get(conditional.on)
        if other is None or isinstance(other, Conditional):
            what = "is not in the space" if other is None else "has a condition itself"
            raise InputError(
                f"Space({name}=when({conditional.on!r}, ...)): {conditional.on!r} {what}."
                f"{nearest(conditional.on, self) if other is None else ''}"
            )
        values = ", ".join(map(repr, conditional.values))
        return conditional.upon(other, f"Space({name}=when({conditional.on!r}, {values}))")

    def __getitem__(self, name: str) -> Dimension:
        return self._dimensions[name]

    def __iter__(self):
        return iter(self._dimensions)

    def __len__(self) -> int:
        return len(self._dimensions)

    def __repr__(self) -> str:
        inside = ", ".join(f"{name}={dimension}" for name, dimension in self.items())
        return f"Space({inside})"

    def sample(self, rng: np.random.Generator, count: int) -> dict[str, Values]:
        """Independent draws of all hyperparameters, `[count]` each."""
        return {name: dimension.sample(rng, count) for name, dimension in self.items()}

    def settled(self, values: Mapping[str, Values]) -> dict[str, Values]:
        """The same with those that do not count at the middle of their ranges.

        Args:
            values: Hyperparameters, of which some may be in no space.
        """

        def settle(name: str, own: Values) -> Values:
            dimension = self.get(name)
            if not isinstance(dimension, Conditional):
                return own
            return dimension.settled(own, values[dimension.on])

        return {name: settle(name, own) for name, own in values.items()}


def _dimension(name: Any, value: Any) -> Dimension:
    """What a user gave as a dimension.

    Raises:
        InputError: With what to write instead.
    """
    if not isinstance(name, str):
        raise InputError(f"Space({{{said(name)}: ...}}): names of hyperparameters are texts.")
    if isinstance(value, Dimension):
        return value
    where = f"Space({name}={said(value)})"
    if isinstance(value, Mapping) and len(value) == 1:
        ((kind, options),) = value.items()
        if kind in KINDS:
            return KINDS[kind](*(options if isinstance(options, Sequence) else (options,)))
        raise InputError(
            f"{where}: there is no {kind!r}.{nearest(str(kind), KINDS)} Choose one of "
            f"{', '.join(KINDS)}."
        )
    if is_number(value):
        raise InputError(
            f"{where}: one number is not searched; give it as "
            f"hyperparameters={{{name!r}: {value}}}, or a range such as uniform(low, high)."
        )
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str) and len(value):
        inside = ", ".join(map(said, value))
        if all(isinstance(option, str) for option in value):
            raise InputError(f"{where}: write category({inside}) for one of these.")
        between = f", or uniform({inside}) for all between" if len(value) == 2 else ""
        raise InputError(f"{where}: write choice({inside}) for one of these{between}.")
    brackets = (
        " It is a function: write its numbers in brackets." if inspect.isroutine(value) else ""
    )
    raise InputError(
        f"{where}: give a dimension such as uniform(low, high), log_uniform(low, high), "
        f"integer(low, high) or choice(a, b, ...).{brackets}"
    )


def dense_space(
    *, layers: int = 3, width: int = 64, batch_sizes: Sequence[int] = (256, 512, 1024)
) -> Space:
    """All that is commonly searched for a dense network trained with Adam, in one call.

    Number of layers, neurons of each layer, dropout, L1, L2, batch size, learning rate, both
    decays and epsilon of Adam, and the weight of signal events: the free parameters of the
    same-sign WW analysis that this library's search began with. It goes with
    `MLP(hidden=(width,) * layers)`.

    Args:
        layers: Largest number of hidden layers.
        width: Largest number of neurons of a layer.
        batch_sizes: Sizes of batches.
    """
    widths: dict[str, Dimension] = {"width_1": integer(max(1, width // 4), width)}
    for number in range(2, layers + 1):
        deep = range(number, layers + 1)
        widths[f"width_{number}"] = when("depth", *deep, then=widths["width_1"])
    return Space(
        **({"depth": integer(1, layers)} if layers > 1 else {}),
        **widths,
        dropout=uniform(0.0, 0.5),
        l1=log_uniform(1e-7, 1e-3),
        l2=log_uniform(1e-7, 1e-3),
        batch_size=choice(*batch_sizes),
        learning_rate=log_uniform(1e-4, 3e-2),
        beta1=uniform(0.8, 0.99),
        beta2=uniform(0.9, 0.9999),
        epsilon=log_uniform(1e-9, 1e-5),
        signal_weight=log_uniform(0.3, 3.0),
    )

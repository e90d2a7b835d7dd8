"""Edges as trainable parameters: ordered and in range whatever the parameters are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from difftune.arguments import takes
from difftune.errors import InputError


@takes()
@dataclass(frozen=True, kw_only=True)
class LearnedEdges:
    """Bin edges that are made of parameters, to be trained together with a network.

    The parameters are the logarithms of the bins' widths: a softmax makes them positive and of
    fixed sum, their running sums are the edges. So the edges are always in order and span the
    range, and any optimizer may move the parameters freely.

    Args:
        bins: Number of bins.
        low: Lowest edge.
        high: Highest edge.
        start: Edges to begin with, from `low` to `high`; equidistant ones where empty.
        jitter: Standard deviation of a random factor on the start widths (of its logarithm), which
            differs between the members of a population.
        min_width: Least width of a bin, as a part of the range.
        pace: How many times faster than the raw parameter the logarithm of a width moves. Edges
            are few and share the learning rate of the network's many weights.

    Raises:
        InputError: For fewer than two bins, a range or start edges that do not increase, or a
            least width that the bins do not fit with.
    """

    bins: int
    low: float = 0.0
    high: float = 1.0
    start: Sequence[float] = ()
    jitter: float = 0.0
    min_width: float = 1e-3
    pace: float = 10.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "start", tuple(float(edge) for edge in self.start))
        if self.bins < 2:
            raise InputError(f"LearnedEdges(bins={self.bins}): one bin has no edge to learn.")
        if not self.low < self.high:
            raise InputError(f"LearnedEdges(low={self.low}, high={self.high}): low is below high.")
        if not 0 <= self.min_width * self.bins < 1:
            raise InputError(
                f"LearnedEdges(min_width={self.min_width}): {self.bins} bins of this part of the "
                f"range do not fit in it; give less than {1 / self.bins:.3g}."
            )
        if not self.pace > 0 or not self.jitter >= 0:
            raise InputError(
                f"LearnedEdges(pace={self.pace}, jitter={self.jitter}): pace is positive and "
                "jitter is not negative."
            )
        if self.start:
            widths = np.diff(self.start) / (self.high - self.low)
            ends = np.isclose(self.start[0], self.low) and np.isclose(self.start[-1], self.high)
            if len(widths) != self.bins or not ends or widths.min() <= self.min_width:
                raise InputError(
                    f"LearnedEdges(start={list(self.start)}): give {self.bins + 1} edges from "
                    f"{self.low} to {self.high} that are more than min_width="
                    f"{self.min_width:g} of the range apart."
                )

    def init(self, key: Array) -> dict[str, Float[Array, " bins"]]:
        """Parameters of the start edges.

        Args:
            key: Random key of the jitter.
        """
        widths = np.diff(self.start) / (self.high - self.low) if self.start else None
        if widths is None:
            widths = np.full(self.bins, 1 / self.bins)
        logits = jnp.asarray(np.log((widths - self.min_width) / (1 - self.bins * self.min_width)))
        logits = logits + self.jitter * jax.random.normal(key, (self.bins,), logits.dtype)
        return {"log_widths": logits / self.pace}

    def __call__(
        self, parameters: dict[str, Float[Array | np.ndarray, " bins"]]
    ) -> Float[Array, " edges"]:
        """The edges, strictly increasing from `low` to `high`.

        Args:
            parameters: What `init` gave, trained since.
        """
        share = jax.nn.softmax(self.pace * jnp.asarray(parameters["log_widths"]))
        widths = self.min_width + (1 - self.bins * self.min_width) * share
        inner = self.low + (self.high - self.low) * jnp.cumsum(widths[:-1])
        ends = jnp.asarray([self.low, self.high], inner.dtype)
        return jnp.concatenate([ends[:1], inner, ends[1:]])


def trained_edges(objective: Any, parameters: PyTree) -> tuple[float, ...] | None:
    """The edges that an objective has trained; None unless it trains just one set of them.

    Args:
        objective: Has `LearnedEdges` somewhere among its fields.
        parameters: Of the objective, trained.
    """
    shapes = list(learned_in(objective))
    values = [each for each in jax.tree.leaves(parameters, is_leaf=_is_edges) if _is_edges(each)]
    if len(shapes) != 1 or len(values) != 1:
        return None
    return tuple(np.asarray(shapes[0](values[0]), np.float64).tolist())


def learned_in(objective: Any) -> Iterator[LearnedEdges]:
    """All edges that an objective trains, wherever they are in it."""
    if isinstance(objective, LearnedEdges):
        yield objective
    elif isinstance(objective, tuple | list):
        for part in objective:
            yield from learned_in(part)
    elif is_dataclass(objective) and not isinstance(objective, type):
        for field in fields(objective):
            yield from learned_in(getattr(objective, field.name))


def _is_edges(parameters: Any) -> bool:
    """Whether these are what `LearnedEdges.init` makes."""
    return isinstance(parameters, dict) and set(parameters) == {"log_widths"}

"""Histograms: hard ones, which are reported, exported and fitted, and differentiable ones."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.later import Array, jax, jnp


class Traits(NamedTuple):
    """What a plotting library asks of an axis (UHI PlottableTraits)."""

    circular: bool = False
    discrete: bool = False


@dataclass(frozen=True, eq=False)
class Axis:
    """The axis of a histogram as UHI's PlottableAxis.

    Attributes:
        edges: Bin edges, strictly increasing.
        label: What a plot writes next to the axis.
    """

    edges: Float[np.ndarray, " edges"]
    label: str = ""

    @property
    def traits(self) -> Traits:
        """Neither circular nor discrete."""
        return Traits()

    def __len__(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1

    def __getitem__(self, index: int) -> tuple[float, float]:
        """Lower and upper edge of a bin."""
        return float(self.edges[:-1][index]), float(self.edges[1:][index])

    def __iter__(self) -> Iterator[tuple[float, float]]:
        """The bins' (lower, upper) edges in order."""
        return (self[i] for i in range(len(self)))

    def __eq__(self, other: object) -> bool:
        """Equal edges."""
        return isinstance(other, Axis) and np.array_equal(self.edges, other.edges)

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Histogram:
    """A weighted one-dimensional histogram; a UHI PlottableHistogram.

    `uproot`, `mplhep` and `hist` take it as it is. There are no flow bins: what lies outside the
    edges is counted in the outer bins.

    Attributes:
        edges: Bin edges, strictly increasing.
        sumw: Sum of the weights in each bin: the expected yield.
        sumw2: Sum of the squared weights in each bin: its variance.
    """

    edges: Float[np.ndarray, " edges"]
    sumw: Float[np.ndarray, " bins"]
    sumw2: Float[np.ndarray, " bins"]

    def __post_init__(self) -> None:
        """Refuses edges that are no edges and contents of another length."""
        check_edges(self.edges)
        bins = len(self.edges) - 1
        if np.shape(self.sumw) != (bins,) or np.shape(self.sumw2) != (bins,):
            raise InputError(
                f"Histogram with {bins + 1} edges needs {bins} values of sumw and sumw2, "
                f"got shapes {np.shape(self.sumw)} and {np.shape(self.sumw2)}."
            )

    @classmethod
    def empty(cls, edges: Float[np.ndarray, " edges"]) -> "Histogram":
        """A histogram of zeros."""
        zeros = np.zeros(len(edges) - 1)
        return cls(np.asarray(edges, dtype=np.float64), zeros, zeros)

    @property
    def axes(self) -> tuple[Axis]:
        """The one axis."""
        return (Axis(self.edges),)

    @property
    def kind(self) -> str:
        """Counts, not means."""
        return "COUNT"

    def values(self, flow: bool = False) -> Float[np.ndarray, "..."]:
        """The bins' sums of weights; with two empty flow bins around them if asked."""
        return np.pad(self.sumw, int(flow))

    def variances(self, flow: bool = False) -> Float[np.ndarray, "..."]:
        """The bins' sums of squared weights, likewise."""
        return np.pad(self.sumw2, int(flow))

    def counts(self) -> Float[np.ndarray, " bins"]:
        """Effective number of entries, `sumw**2 / sumw2`; 0 in an empty bin."""
        return np.divide(
            self.sumw**2, self.sumw2, out=np.zeros_like(self.sumw), where=self.sumw2 > 0
        )

    def __add__(self, other: "Histogram") -> "Histogram":
        """Sum with a histogram of the same edges."""
        if not np.array_equal(self.edges, other.edges):
            raise InputError("Histograms with different edges cannot be added.")
        return Histogram(self.edges, self.sumw + other.sumw, self.sumw2 + other.sumw2)

    def __mul__(self, factor: float) -> "Histogram":
        """All weights times a factor."""
        return Histogram(self.edges, self.sumw * factor, self.sumw2 * factor**2)

    __rmul__ = __mul__

    def to_dict(self) -> dict[str, list[float]]:
        """Edges, sumw and sumw2 as lists, for JSON."""
        return {name: getattr(self, name).tolist() for name in ("edges", "sumw", "sumw2")}

    @classmethod
    def from_dict(cls, content: dict[str, list[float]]) -> "Histogram":
        """The inverse of `to_dict`."""
        return cls(*(np.asarray(content[name], np.float64) for name in ("edges", "sumw", "sumw2")))

    def _to_uhi_(self) -> dict[str, Any]:
        axis = {
            "type": "variable",
            "edges": self.edges,
            "underflow": False,
            "overflow": False,
            "circular": False,
        }
        storage = {"type": "weighted", "values": self.sumw, "variances": self.sumw2}
        return {"uhi_schema": 1, "axes": [axis], "storage": storage}


def check_edges(edges: Float[np.ndarray, " edges"]) -> None:
    """Refuses anything but two or more finite, strictly increasing numbers.

    Raises:
        InputError: `edges` cannot be bin edges.
    """
    if np.ndim(edges) != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
        raise InputError(
            f"Bin edges must be two or more strictly increasing numbers, got {np.asarray(edges)}."
        )
    if not np.all(np.isfinite(edges)):
        raise InputError(
            f"Bin edges must be finite, got {np.asarray(edges)}: what lies outside the outer edges "
            "is counted in the outer bins anyway."
        )


def histogram(
    x: Float[np.ndarray | Array, " events"],
    weight: Float[np.ndarray | Array, " events"],
    edges: Float[np.ndarray | Array, " edges"],
) -> Histogram:
    """Fills a hard histogram in float64.

    A value on an edge belongs to the bin above; values outside the edges to the outer bins.

    Args:
        x: What is histogrammed.
        weight: Weights of the events; may be negative.
        edges: Bin edges.

    Returns:
        The histogram with sums of weights and of squared weights.

    Raises:
        InputError: The edges do not increase, or `x` or `weight` holds NaN.
    """
    values, weights = np.asarray(x, dtype=np.float64), np.asarray(weight, dtype=np.float64)
    borders = np.asarray(edges, dtype=np.float64)
    check_edges(borders)
    for name, array in (("x", values), ("weight", weights)):
        if np.isnan(array).any():
            raise InputError(
                f"histogram({name}=...) holds NaN for {np.isnan(array).sum()} of {len(array)} "
                "events: remove these events or repair their input."
            )
    bins = len(borders) - 1
    index = np.searchsorted(borders[1:-1], values, side="right")
    return Histogram(
        borders,
        np.bincount(index, weights, minlength=bins).astype(np.float64),
        np.bincount(index, weights**2, minlength=bins).astype(np.float64),
    )


def yields(
    x: Float[Array, " events"],
    weight: Float[Array, "*columns events"],
    edges: Float[Array, " edges"],
) -> Float[Array, "*columns bins"]:
    """Hard histogram on the device, with the convention of `histogram`.

    It can be traced, jitted and vmapped, edges included, and has no gradient in `x` and `edges`.
    Values are compared in the precision of `x`.

    Args:
        x: What is histogrammed. A NaN makes every bin NaN, so that it cannot pass unseen.
        weight: Weights of the events; leading axes (weights of several processes, squared
            weights) are kept.
        edges: Bin edges.

    Returns:
        Sums of weights.
    """
    above = (x >= edges[1:-1, None].astype(x.dtype)).astype(x.dtype)
    weight = jnp.where(jnp.isnan(x), jnp.nan, weight.astype(x.dtype))
    return summed(shares_of(above), weight)


def shares_of(above: Float[Array, "inner events"]) -> Float[Array, "bins events"]:
    """Which share of each event lies in each bin, given to which degree it lies above each edge.

    Args:
        above: 1 for an event above the inner edge, 0 below, or between; falling along the first
            axis.
    """
    ones = jnp.ones((1, above.shape[1]), above.dtype)
    return jnp.concatenate([ones, above]) - jnp.concatenate([above, jnp.zeros_like(ones)])


def summed(
    share: Float[Array, "bins events"], weight: Float[Array, "*columns events"]
) -> Float[Array, "*columns bins"]:
    """Sums weights over bins.

    Shares are summed, not differences of sums taken: these would leave rounding noise of the large
    bins in the empty ones. Events run along the last axis, which is twice as fast on a CPU as along
    the first.

    Args:
        share: Of each event in each bin; they add up to 1.
        weight: Weights of the events.

    Returns:
        Sums of weights; over all bins they add up to the sum of `weight`.
    """
    # The default precision of an accelerator's matrix product rounds weights to ten bits.
    return jnp.matmul(weight, share.T, precision="highest")


KERNELS = ("logistic", "normal", "softmax")


def soft_histogram(
    x: Float[Array, " events"],
    weight: Float[Array, "*columns events"],
    edges: Float[Array, " edges"],
    *,
    bandwidth: float | Float[Array, ""],
    kernel: str = "logistic",
    straight_through: bool = False,
) -> Float[Array, "*columns bins"]:
    """Histogram that is differentiable in values, weights, edges and bandwidth.

    Each event is spread over the bins. With a kernel around its value a bin gets the kernel's
    probability between its edges (the histogram of neos, arXiv 2203.05570). With `"softmax"` the
    shares are a softmax over the bins (arXiv 1806.06988) in which those of two neighbours differ by
    the factor `exp((x - edge) / bandwidth)`. The outer bins are open, so the sum of the weights is
    conserved, and the outer edges have no influence.

    Args:
        x: What is histogrammed; sets the precision of the result.
        weight: Weights of the events; leading axes (one row per process, say) are kept.
        edges: Bin edges, increasing.
        bandwidth: Scale of the kernel in units of `x`; towards 0 the histogram becomes hard (an
            event exactly on an edge then belongs half to each side).
        kernel: "logistic" (its distribution function is the sigmoid, variance
            `(pi * bandwidth)**2 / 3`), "normal" (variance `bandwidth**2`) or "softmax".
        straight_through: Whether the value is that of the hard histogram, and only the
            derivatives in `x`, edges and bandwidth are those of the soft one (arXiv 1308.3432).
            They are then not the derivatives of the value.

    Returns:
        Sums of weights.

    Raises:
        InputError: The kernel is unknown.
    """
    inner = edges[1:-1].astype(x.dtype)
    # Below this the derivative with respect to the bandwidth overflows and 0 * inf is NaN.
    scale = jnp.maximum(jnp.asarray(bandwidth, x.dtype), jnp.finfo(x.dtype).eps ** 2)
    # Products with one over it: XLA makes them of divisions in some programs and not in others, and
    # a population would depend on the number of its devices.
    distance = (x - inner[:, None]) * (1.0 / scale)
    match kernel:
        case "logistic":
            share = shares_of(jax.nn.sigmoid(distance))
        case "normal":
            share = shares_of(jax.scipy.special.ndtr(distance))
        case "softmax":
            first = jnp.zeros((1, *x.shape), x.dtype)
            heights = jnp.cumsum(jnp.concatenate([first, distance]), axis=0)
            e = jnp.exp(heights - jax.lax.stop_gradient(jnp.max(heights, axis=0)))
            share = e * (1.0 / jnp.sum(e, axis=0))
        case _:
            raise InputError(
                f"soft_histogram(kernel={kernel!r}) must be 'logistic', 'normal' or 'softmax'."
            )
    if straight_through:
        hard = shares_of((x >= inner[:, None]).astype(x.dtype))
        share = hard + (share - jax.lax.stop_gradient(share))
    return summed(share, weight.astype(x.dtype))


def in_blocks(
    function: Callable[..., Array], *columns: Float[Array, "... events"], block: int = 4096
) -> Array:
    """Sum of a function over blocks of events, in the memory of one of them.

    The derivatives compute each block anew instead of keeping what they need of all.

    Args:
        function: Of the columns of a block; what it gives is summed.
        *columns: Arrays whose last axis is that of the events.
        block: Events of a block.
    """
    events = columns[0].shape[-1]
    if events <= block:
        return function(*columns)
    full = events // block * block

    def cut(start: Any, length: int) -> list[Array]:
        return [jax.lax.dynamic_slice_in_dim(c, start, length, axis=-1) for c in columns]

    @jax.checkpoint
    def add(total: Array, start: Array) -> tuple[Array, None]:
        return total + function(*cut(start, block)), None

    rest = function(*cut(full, events - full)) if full < events else None
    shape = jax.eval_shape(function, *cut(0, block))
    total, _ = jax.lax.scan(add, jnp.zeros(shape.shape, shape.dtype), jnp.arange(0, full, block))
    return total if rest is None else total + rest

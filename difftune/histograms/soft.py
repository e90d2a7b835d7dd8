"""Differentiable histograms: hard ones with every event smeared by a kernel."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histograms.hard import shares_of, summed

KERNELS = ("logistic", "normal", "softmax")


def soft_histogram(
    x: Float[Array, "events"],
    weight: Float[Array, "*columns events"],
    edges: Float[Array, "edges"],
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
            share = shares_of(ndtr(distance))
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
    function: Callable[..., Array], *columns: Float[Array, "... events"], block: int = 16384
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

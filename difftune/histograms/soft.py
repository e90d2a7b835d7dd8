"""Differentiable histograms: hard ones with every event smeared by a kernel."""

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histograms.hard import weighted_bins


def soft_histogram(
    x: Float[Array, "events"],
    weight: Float[Array, "*columns events"],
    edges: Float[Array, "edges"],
    *,
    bandwidth: float | Float[Array, ""],
    kernel: str = "logistic",
) -> Float[Array, "*columns bins"]:
    """Histogram that is differentiable in values, weights, edges and bandwidth.

    Each event is spread by a kernel around its value; a bin gets the kernel's probability between
    its edges (the histogram of neos, arXiv 2203.05570). The outer bins are open, so the sum of the
    weights is conserved, and the outer edges have no influence.

    Args:
        x: What is histogrammed; sets the precision of the result.
        weight: Weights of the events; leading axes (one row a process, say) are kept.
        edges: Bin edges, increasing.
        bandwidth: Scale of the kernel in units of `x`; towards 0 the histogram becomes hard (an
            event exactly on an edge then belongs half to each side).
        kernel: "logistic" (its distribution function is the sigmoid, variance
            `(pi * bandwidth)**2 / 3`) or "normal" (variance `bandwidth**2`).

    Returns:
        Sums of weights.

    Raises:
        InputError: The kernel is unknown.
    """
    inner = edges[1:-1].astype(x.dtype)
    # Below this the derivative with respect to the bandwidth overflows and 0 * inf is NaN.
    scale = jnp.maximum(jnp.asarray(bandwidth, x.dtype), jnp.finfo(x.dtype).eps ** 2)
    distance = (x - inner[:, None]) / scale
    match kernel:
        case "logistic":
            above = jax.nn.sigmoid(distance)
        case "normal":
            above = ndtr(distance)
        case _:
            raise InputError(f"soft_histogram(kernel={kernel!r}) must be 'logistic' or 'normal'.")
    return weighted_bins(above, weight.astype(x.dtype))

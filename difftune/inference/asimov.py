"""Expected discovery significance of a counting experiment, in closed form."""

import jax.numpy as jnp
import numpy as np
from jax import Array
from jaxtyping import Float

# Below this |x| the closed form of `_chi` loses digits to cancellation and the series, cut after
# twelve terms, has none to lose even in float64.
_SERIES_BELOW = 0.05
_SERIES_TERMS = 12


def _chi(x: Float[Array, "*bins"]) -> Float[Array, "*bins"]:
    """((1 + x) ln(1 + x) - x) / x = x/2 - x²/6 + x³/12 - ... for x >= 0, accurate near 0."""
    small = x < _SERIES_BELOW
    near = jnp.where(small, x, 0.0)
    series = jnp.zeros_like(near)
    for k in range(_SERIES_TERMS + 1, 1, -1):
        series = near * ((-1) ** k / (k * (k - 1)) + series)
    far = jnp.where(small, 1.0, x)
    return jnp.where(small, series, (1 + 1 / far) * jnp.log1p(far) - 1)


def asimov_llr(
    signal: Float[Array | np.ndarray, "*batch bins"],
    background: Float[Array | np.ndarray, "*batch bins"],
    uncertainty: Float[Array | np.ndarray, "*batch bins"] | None = None,
) -> Float[Array, "*batch"]:
    """Discovery test statistic q0 on the Asimov data of signal plus background.

    Without uncertainty `2 Σ [(s + b) ln(1 + s/b) - s]` (arXiv 1007.1727, eq. 97). With an
    independent Gaussian-like uncertainty σ of each bin's background it is the profiled form

        2 Σ [(s + b) ln((s + b)(b + σ²) / (b² + (s + b)σ²)) - b²/σ² ln(1 + σ² s / (b (b + σ²)))]

    (Li and Ma, ApJ 272 (1983) 317; G. Cowan, "Discovery sensitivity for a counting experiment with
    background uncertainty", 2012), where σ = 0 is the form without. Both are evaluated as
    `2 Σ s [χ(s/b) - χ(w)]`, `w = (s/b) v / (1 + v)`, `v = σ²/b`, with the χ of this module: equal,
    and without cancellation in bins of small s/b, so good in float32.

    A bin whose signal or background is not positive (or below 1e-15) contributes 0, in value and
    gradient: the closed form is infinite or undefined there, and such yields come from a lack of
    events. Whoever wants a slope there raises the background to a floor first. NaN stays NaN.

    Args:
        signal: Expected signal in each bin.
        background: Expected background in each bin.
        uncertainty: Absolute uncertainty of the background in each bin, uncorrelated.

    Returns:
        q0, summed over the bins.
    """
    signal, background = jnp.asarray(signal), jnp.asarray(background)
    # The derivative of s / b has an intermediate 1 / b², which must not overflow.
    least = jnp.finfo(jnp.result_type(signal, background)).tiny ** 0.4
    # Not "s > 0 and b > least": a NaN must not count as an empty bin, and so pass unseen.
    filled = ~((signal <= 0) | (background <= least))
    s, b = jnp.where(filled, signal, 0.0), jnp.where(filled, background, 1.0)
    ratio = s / b
    term = _chi(ratio)
    if uncertainty is not None:
        # Not σ²/b: its derivative overflows where both are tiny.
        relative = jnp.square(jnp.where(filled, uncertainty, 0.0) / b) * b
        term = term - _chi(ratio * relative / (1 + relative))
    return 2 * jnp.sum(s * term, axis=-1)


def asimov_significance(
    signal: Float[Array | np.ndarray, "*batch bins"],
    background: Float[Array | np.ndarray, "*batch bins"],
    uncertainty: Float[Array | np.ndarray, "*batch bins"] | None = None,
) -> Float[Array, "*batch"]:
    """Expected discovery significance Z = sqrt(q0), in standard deviations.

    Args:
        signal: Expected signal in each bin.
        background: Expected background in each bin.
        uncertainty: Absolute uncertainty of the background in each bin, uncorrelated.

    Returns:
        The root of `asimov_llr`; 0 with gradient 0 where that is 0.
    """
    q0 = asimov_llr(signal, background, uncertainty)
    zero = q0 <= 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, q0)))

"""The Poisson distribution for counts from 0 to 1e300, without cancellation.

In `n ln λ - λ - ln n!` the terms grow with n and their sum does not: of a count of 1e20, as the
auxiliary measurement of a tiny shapesys is one, no digit is left. So its value is put together from
`D = n (t - ln(1 + t))`, `t = (λ - n) / n`, which vanishes at λ = n, and what does not depend on λ,
by Stirling's series where n is large.
"""

import numpy as np
from jaxtyping import Float

from difftune.histfactory import arrays as xp
from difftune.histfactory.arrays import AnyArray as Array

Counts = Float[Array, " counts"]

# Where the series of t - ln(1 + t), cut after so many terms, is exact to float64.
_NEAR, _TERMS = 0.02, 9
# From where on so is Stirling's.
_LARGE = 16.0


def excess(count: Counts, rate: Counts) -> Counts:
    """-ln of a Poisson probability less its least value, which is that of a rate like the count.

    Args:
        count: Positive.
        rate: Positive.
    """
    t = (rate - count) / count
    near = xp.abs(t) < _NEAR
    x = xp.where(near, t, 0.0)
    series = xp.zeros_like(x)
    for k in range(_TERMS + 1, 1, -1):
        series = (-1) ** k / k + x * series
    far_rate = xp.where(near, count, rate)
    far = (far_rate - count) - count * (xp.log(far_rate) - xp.log(count))
    return xp.where(near, count * x * x * series, far)


def log_probability(count: Counts, rate: Counts) -> Counts:
    """Logarithm of the Poisson probability, continued to counts that are no integers as in pyhf.

    Args:
        count: Not negative.
        rate: Where it is not positive, -λ without counts, else -∞ or NaN.
    """
    there, allowed = ~(count == 0), rate > 0
    n, x = xp.where(there, count, 1.0), xp.where(allowed, rate, 1.0)
    large = n >= _LARGE
    few, many = xp.where(large, 1.0, n), xp.where(large, n, _LARGE)
    square = 1 / (many * many)
    stirling = (1 / 12 + square * (-1 / 360 + square * (1 / 1260 - square / 1680))) / many
    least = xp.where(
        large,
        0.5 * xp.log(2 * np.pi * many) + stirling,
        xp.gammaln(few + 1) - few * xp.log(few) + few,
    )
    impossible = xp.where(rate == 0, -xp.inf, xp.nan)
    value = xp.where(allowed, -excess(n, x) - least, impossible)
    return xp.where(there, value, -rate)

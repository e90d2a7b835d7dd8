"""How the effect of a variation grows between and beyond its one standard deviation templates.

HistFactory's interpolation codes (CERN-OPEN-2012-016 and pyhf's documentation). Of one variation
with templates I⁺, I⁰, I⁻ an additive code depends on two combinations only,

    S = (I⁺ - I⁻) / 2        A = (I⁺ + I⁻ - 2 I⁰) / 16

and its change of the yield is `s(α) S + a(α) A`: a sum over variations is two matrix products.
A multiplicative code is kept as the logarithm of its factor, so that a product is a sum.
"""

from jaxtyping import Bool, Float

from difftune.histfactory import arrays as xp
from difftune.histfactory.arrays import AnyArray as Array

ADDITIVE = ("code0", "code2", "code4p")
MULTIPLICATIVE = ("code1", "code4")

# Values, first and second derivatives at ±1 give the six coefficients of code4's polynomial.
_CODE4 = (
    (15 / 16, -15 / 16, -7 / 16, -7 / 16, 1 / 16, -1 / 16),
    (3 / 2, 3 / 2, -9 / 16, 9 / 16, 1 / 16, 1 / 16),
    (-5 / 8, 5 / 8, 5 / 8, 5 / 8, -1 / 8, 1 / 8),
    (-3 / 2, -3 / 2, 7 / 8, -7 / 8, -1 / 8, -1 / 8),
    (3 / 16, -3 / 16, -3 / 16, -3 / 16, 1 / 16, -1 / 16),
    (1 / 2, 1 / 2, -5 / 16, 5 / 16, 1 / 16, 1 / 16),
)


def additive(
    code: str, alpha: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Coefficients s(α) and a(α) of a histosys code.

    Args:
        code: One of `ADDITIVE`.
        alpha: Nuisance parameters.
    """
    if code == "code0":
        return alpha, 8 * xp.abs(alpha)
    square = xp.square(alpha)
    if code == "code2":
        # As pyhf has it: below -1 it is not shifted, and jumps.
        above, below = alpha > 1, alpha < -1
        s = xp.where(above, alpha - 1, alpha)
        return s, xp.where(above, 16 * (alpha - 1), xp.where(below, -16 * alpha, 8 * square))
    inside = square * (square * (3 * square - 10) + 15)
    return alpha, xp.where(xp.abs(alpha) <= 1, inside, 8 * xp.abs(alpha))


def additive_derivatives(
    code: str, alpha: Float[Array, "*shape"]
) -> tuple[
    tuple[Float[Array, "*shape"], Float[Array, "*shape"]],
    tuple[Float[Array, "*shape"], Float[Array, "*shape"]],
]:
    """First and second derivatives of s(α) and a(α).

    Args:
        code: One of `ADDITIVE`.
        alpha: Nuisance parameters.
    """
    one, none = xp.ones_like(alpha), xp.zeros_like(alpha)
    if code == "code0":
        return (one, 8 * xp.sign(alpha)), (none, none)
    if code == "code2":
        above, below = alpha > 1, alpha < -1
        first = xp.where(above, 16.0, xp.where(below, -16.0, 16 * alpha))
        return (one, first), (none, xp.where(above | below, 0.0, 16.0))
    inner, square = xp.abs(alpha) <= 1, xp.square(alpha)
    first = alpha * (square * (18 * square - 40) + 30)
    second = square * (90 * square - 120) + 30
    return (
        (one, xp.where(inner, first, 8 * xp.sign(alpha))),
        (none, xp.where(inner, second, 0.0)),
    )


def polynomial(
    log_up: Float[Array, "*shape"], log_down: Float[Array, "*shape"]
) -> Float[Array, " 6 *shape"]:
    """Coefficients of α to α⁶ in code4's polynomial, from the logarithms of its two factors."""
    up, down = xp.exp(log_up), xp.exp(log_down)
    conditions = (
        xp.expm1(log_up),
        xp.expm1(log_down),
        log_up * up,
        -log_down * down,
        xp.square(log_up) * up,
        xp.square(log_down) * down,
    )
    return xp.stack([sum(c * b for c, b in zip(row, conditions, strict=True)) for row in _CODE4])


def log_factor(
    alpha: Float[Array, "*#shape"],
    log_up: Float[Array, "*shape"],
    log_down: Float[Array, "*shape"],
    coefficients: Float[Array, " 6 *shape"] | None,
) -> tuple[Float[Array, "*shape"], Bool[Array, "*shape"]]:
    """Logarithm of the size of a normsys factor, and whether the factor is negative.

    Code4's polynomial can be negative between very different factors (7.5 and 0.01 occur in
    published models).

    Args:
        alpha: Nuisance parameters, for instance one for the factors of several cells.
        log_up: Logarithm of the factor at +1.
        log_down: The same at -1.
        coefficients: From `polynomial` for code4; None for code1.
    """
    outside = xp.where(alpha >= 0, alpha * log_up, -alpha * log_down)
    if coefficients is None:
        return outside, xp.zeros(outside.shape, bool)
    inner = xp.abs(alpha) < 1
    x = xp.where(inner, alpha, 0.0)
    value = xp.zeros_like(coefficients[0])
    for coefficient in coefficients[::-1]:
        value = x * (coefficient + value)
    # Around 1 by log1p; where the polynomial is negative by the logarithm of its size.
    negative = value < -1
    near = xp.log1p(xp.where(negative, 0.0, value))
    size = xp.where(negative, xp.log(xp.where(negative, -1 - value, 1.0)), near)
    return xp.where(inner, size, outside), inner & negative


def log_factor_derivatives(
    alpha: Float[Array, "*#shape"],
    log_up: Float[Array, "*shape"],
    log_down: Float[Array, "*shape"],
    coefficients: Float[Array, " 6 *shape"] | None,
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """First and second derivative of the logarithm that `log_factor` gives.

    Args:
        alpha: Nuisance parameters.
        log_up: Logarithm of the factor at +1.
        log_down: The same at -1.
        coefficients: From `polynomial` for code4; None for code1.
    """
    outside = xp.where(alpha >= 0, log_up, -log_down)
    if coefficients is None:
        return outside, xp.zeros_like(outside)
    inner = xp.abs(alpha) < 1
    x = xp.where(inner, alpha, 0.0)
    value = first = second = xp.zeros_like(coefficients[0])
    for coefficient in (*coefficients[::-1], 0.0):
        second = x * second + 2 * first
        first = x * first + value
        value = x * value + coefficient
    slope = first / (1 + value)
    bend = second / (1 + value) - xp.square(slope)
    return xp.where(inner, slope, outside), xp.where(inner, bend, 0.0)

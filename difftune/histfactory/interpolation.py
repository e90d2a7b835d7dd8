"""How the effect of a variation grows between and beyond its one standard deviation templates.

HistFactory's interpolation codes (CERN-OPEN-2012-016 and pyhf's documentation). Of one variation
with templates I⁺, I⁰, I⁻ an additive code depends on two combinations only,

    S = (I⁺ - I⁻) / 2        A = (I⁺ + I⁻ - 2 I⁰) / 16

and its change of the yield is `s(α) S + a(α) A`: a sum over variations is two matrix products.
A multiplicative code is kept as the logarithm of its factor, so that a product is a sum.
"""

import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float

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
        return alpha, 8 * jnp.abs(alpha)
    square = jnp.square(alpha)
    if code == "code2":
        # As pyhf has it: below -1 it is not shifted, and jumps.
        above, below = alpha > 1, alpha < -1
        s = jnp.where(above, alpha - 1, alpha)
        return s, jnp.where(above, 16 * (alpha - 1), jnp.where(below, -16 * alpha, 8 * square))
    inside = square * (square * (3 * square - 10) + 15)
    return alpha, jnp.where(jnp.abs(alpha) <= 1, inside, 8 * jnp.abs(alpha))


def polynomial(
    log_up: Float[Array, "*shape"], log_down: Float[Array, "*shape"]
) -> Float[Array, "6 *shape"]:
    """Coefficients of α to α⁶ in code4's polynomial, from the logarithms of its two factors."""
    up, down = jnp.exp(log_up), jnp.exp(log_down)
    conditions = (
        jnp.expm1(log_up),
        jnp.expm1(log_down),
        log_up * up,
        -log_down * down,
        jnp.square(log_up) * up,
        jnp.square(log_down) * down,
    )
    return jnp.stack([sum(c * b for c, b in zip(row, conditions, strict=True)) for row in _CODE4])


def log_factor(
    alpha: Float[Array, "*#shape"],
    log_up: Float[Array, "*shape"],
    log_down: Float[Array, "*shape"],
    coefficients: Float[Array, "6 *shape"] | None,
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
    outside = jnp.where(alpha >= 0, alpha * log_up, -alpha * log_down)
    if coefficients is None:
        return outside, jnp.zeros(outside.shape, bool)
    inner = jnp.abs(alpha) < 1
    x = jnp.where(inner, alpha, 0.0)
    value = jnp.zeros_like(coefficients[0])
    for coefficient in coefficients[::-1]:
        value = x * (coefficient + value)
    # Around 1 by log1p; where the polynomial is negative by the logarithm of its size.
    negative = value < -1
    near = jnp.log1p(jnp.where(negative, 0.0, value))
    size = jnp.where(negative, jnp.log(jnp.where(negative, -1 - value, 1.0)), near)
    return jnp.where(inner, size, outside), inner & negative

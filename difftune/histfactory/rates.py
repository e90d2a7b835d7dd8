"""Expected yields and the likelihood, from a structure and a vector of numbers.

Dense arrays over (variation, sample, bin), few operations, and derivatives with respect to the
parameters by hand where automatic ones would cost a pass per parameter.

Poisson probabilities are those of counts from 0 to 1e300, without cancellation. In
`n ln λ - λ - ln n!` the terms grow with n and their sum does not: of a count of 1e20, as the
auxiliary measurement of a tiny shapesys is one, no digit is left. So its value is put together from
`D = n (t - ln(1 + t))`, `t = (λ - n) / n`, which vanishes at λ = n, and what does not depend on λ,
by Stirling's series where n is large.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from difftune.histfactory import arrays as xp
from difftune.histfactory import interpolation
from difftune.histfactory.arrays import AnyArray as Array
from difftune.histfactory.structure import FROM_YIELDS, Structure

Counts = Float[Array, "*counts"]

# Where the series of t - ln(1 + t) is exact to float64.
_NEAR = 0.02
# Up to here log1p is better than the difference of two logarithms.
_FAR = 0.5
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
    if not xp.in_jax(t):
        return _excess_in_numpy(count, rate, t, near)
    x = xp.where(near, t, 0.0)
    series = _series(x)
    # A difference of two logarithms of large numbers would cost the digits of their size.
    middle = ~near & (xp.abs(t) < _FAR)
    y = xp.where(middle, t, _NEAR)
    far_rate = xp.where(near | middle, count, rate)
    far = (far_rate - count) - count * (xp.log(far_rate) - xp.log(count))
    return xp.where(near, count * x * x * series, xp.where(middle, count * (y - xp.log1p(y)), far))


def _excess_in_numpy(
    count: Counts, rate: Counts, t: Counts, near: Bool[np.ndarray, "*counts"]
) -> Counts:
    """The same, with each formula where it is used."""
    if near.all():
        return count * t * t * _series(t)
    found = count * (t - np.log1p(t))
    if near.any():
        x = t[near]
        found[near] = count[near] * x * x * _series(x)
    far = ~(np.abs(t) < _FAR)
    if far.any():
        n, rate = count[far], rate[far]
        found[far] = (rate - n) - n * (np.log(rate) - np.log(n))
    return found


def _series(x: Counts) -> Counts:
    """(t - ln(1 + t)) / t² where t is small, by ln(1 + t) = 2 artanh(t / (2 + t))."""
    inverse = 1 / (2 + x)
    v = x * inverse
    square = v * v
    series = 1 / 3 + square * (1 / 5 + square * (1 / 7 + square * (1 / 9)))
    return inverse - 2 * inverse * inverse * v * series


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


Parameters = Float[Array, " parameters"]
Bins = Float[Array, " bins"]
Cells = Float[Array, "samples bins"]


class Terms(NamedTuple):
    """What the likelihood needs of the numbers, so that it is computed once a fit.

    Attributes:
        nominal: Nominal yields.
        s: Odd part of each additive variation.
        a: Even part.
        log_up: Logarithms of the relative variations at +1.
        log_down: At -1.
        polynomial: Coefficients between; None for code1.
        center: Nominal auxiliary data.
        scale: Widths of Gaussian auxiliary measurements; of Poisson ones the count expected for a
            parameter of 1.
        fixed: Parameters that are fixed.
        bending: The systematics whose variations move yields most in one direction, up and down.
    """

    nominal: Cells
    s: Float[Array, "bins histosys samples"]
    a: Float[Array, "bins histosys samples"]
    log_up: Float[Array, "normsys samples channels"]
    log_down: Float[Array, "normsys samples channels"]
    polynomial: Float[Array, "6 normsys samples channels"] | None
    center: Float[Array, " auxiliary"]
    scale: Float[Array, " auxiliary"]
    fixed: Bool[Array, " parameters"]
    bending: Int[Array, " few"]


# So many of the systematics that bend yields are looked at.
_FEW = 8


def terms(structure: Structure, numbers: Float[Array, " numbers"]) -> Terms:
    """The parts of the likelihood that depend on the numbers alone.

    The width of a staterror is `sqrt(Σ u²) / Σ y` over the samples that share it; the count of a
    shapesys `(y / u)²`. Where there is none the parameter is fixed, with a width or count of 1.
    """
    layout = structure.layout
    known = xp.concatenate([numbers, np.array([0.0, 1.0], numbers.dtype)])
    nominal = known[layout.nominal]
    up, down = known[layout.histosys_up], known[layout.histosys_down]
    log_up, log_down = xp.log(known[layout.normsys_up]), xp.log(known[layout.normsys_down])
    with_polynomial = structure.normsys_code == "code4"

    fixed = layout.fixed
    scale_of = xp.ones(len(structure.names), numbers.dtype)
    if len(layout.staterror):
        total = xp.sum(known[layout.staterror_nominal], axis=-1)
        square = xp.sum(xp.square(known[layout.staterror_uncertainty]), axis=-1)
        there = (total > 0) & (square > 0)
        # Two steps, so that the slope of the root at 0 does not reach the gradient.
        ratio = xp.where(there, square, 1.0) / xp.square(xp.where(there, total, 1.0))
        scale_of = xp.put(scale_of, layout.staterror, xp.sqrt(ratio))
        none = xp.put(xp.zeros(fixed.shape, bool), layout.staterror, ~there)
        fixed = fixed | (none & layout.pinned)
    if len(layout.shapesys):
        content, error = known[layout.shapesys_nominal], known[layout.shapesys_uncertainty]
        there = (content > 0) & (error > 0)
        count = xp.square(xp.where(there, content, 1.0) / xp.where(there, error, 1.0))
        scale_of = xp.put(scale_of, layout.shapesys, count)
        none = xp.put(xp.zeros(fixed.shape, bool), layout.shapesys, ~there)
        fixed = fixed | (none & layout.pinned)
    follows = scale_of[layout.auxiliary]
    scale = xp.where(layout.sigma == FROM_YIELDS, follows, known[layout.sigma])
    center = xp.where(layout.center == FROM_YIELDS, follows, known[layout.center])
    return Terms(
        nominal=nominal,
        s=xp.transpose((up - down) / 2, (2, 0, 1)),
        a=xp.transpose((up + down - 2 * nominal) / 16, (2, 0, 1)),
        log_up=log_up,
        log_down=log_down,
        polynomial=interpolation.polynomial(log_up, log_down) if with_polynomial else None,
        center=center,
        scale=scale,
        fixed=fixed,
        bending=_bending(structure, nominal, up, down, xp.exp(log_up), xp.exp(log_down)),
    )


def _bending(
    structure: Structure, nominal: Cells, up: Array, down: Array, high: Array, low: Array
) -> Int[Array, " few"]:
    """A few systematics in the order of what both variations do to the yields in one direction.

    It counts in units of the statistical uncertainty, and as far as it exceeds what they do in
    opposite directions.
    """
    layout = structure.layout
    every = np.unique(np.concatenate([layout.histosys, layout.normsys])).astype(int)
    total = xp.sum(nominal, axis=0)
    per_bin = xp.where(total > 0, 1 / xp.where(total > 0, total, 1.0), 0.0)

    def effect(sign: int) -> Array:
        bins = xp.zeros((len(structure.names), len(total)), nominal.dtype)
        if len(layout.histosys):
            shift = xp.sum((up - nominal) + sign * (down - nominal), axis=1)
            bins = xp.add_at(bins, layout.histosys, shift)
        if len(layout.normsys):
            factor = ((high - 1) + sign * (low - 1))[:, :, layout.channel]
            bins = xp.add_at(bins, layout.normsys, xp.sum(factor * nominal, axis=1))
        return xp.sum(xp.square(bins[every]) * per_bin, axis=-1)

    same, opposite = effect(1), effect(-1)
    both = same + opposite
    score = same * xp.where(both > 0, same / xp.where(both > 0, both, 1.0), 0.0)
    chosen = xp.largest(xp.stop_gradient(score), min(_FEW, len(every)))
    return xp.take(every, chosen)


class _Pieces(NamedTuple):
    """Yields of the cells and what their derivatives are made of."""

    base: Cells
    relative: Cells
    chosen: Float[Array, "factors samples bins"]


def _pieces(structure: Structure, given: Terms, parameters: Parameters) -> _Pieces:
    layout = structure.layout
    base = given.nominal
    if len(layout.histosys):
        s, a = interpolation.additive(structure.histosys_code, parameters[layout.histosys])
        base = base + (xp.einsum("bhs,h->sb", given.s, s) + xp.einsum("bhs,h->sb", given.a, a))
    relative = xp.ones_like(base)
    if len(layout.normsys):
        alpha = parameters[layout.normsys][:, None, None]
        size, negative = interpolation.log_factor(
            alpha, given.log_up, given.log_down, given.polynomial
        )
        odd = xp.sum(negative, axis=0) % 2 == 1
        factor = xp.exp(xp.sum(size, axis=0))
        relative = xp.where(odd, -factor, factor)[:, layout.channel]
    padded = xp.concatenate([parameters, xp.ones(1, parameters.dtype)])
    return _Pieces(base, relative, padded[layout.factors])


def by_sample(structure: Structure, given: Terms, parameters: Parameters) -> Cells:
    """Expected yields of each sample in each bin."""
    base, relative, chosen = _pieces(structure, given, parameters)
    for factor in chosen:
        relative = relative * factor
    return base * relative


def rates(structure: Structure, given: Terms, parameters: Parameters) -> Bins:
    """Expected yields in each bin."""
    return xp.sum(by_sample(structure, given, parameters), axis=0)


class Slopes(NamedTuple):
    """Expected yields and their derivatives in one point.

    Attributes:
        value: Expected yields of the bins.
        cells: First derivatives of the yields of each sample.
        first: First derivatives of their sum.
        second: The second derivatives, summed over bins with a weight: a function of the weights.
    """

    value: Bins
    cells: Float[Array, "parameters samples bins"]
    first: Float[Array, "parameters bins"]
    second: Callable[[Bins], Float[Array, "parameters parameters"]]


def slopes(structure: Structure, given: Terms, parameters: Parameters) -> Slopes:
    """Expected yields and their derivatives with respect to all parameters.

    A cell's yield is A Q, the sum A of nominal and additive variations times the product Q of
    normsys factors exp(Σ L) and parameters G. So with dA, dL, dG for first derivatives

        d(AQ)   = exp(L) [dA G + A (dL G + dG)]
        d²(AQ)  = exp(L) [d²A G + 2 dA (dL G + dG) + A (d²L G + dL dL G + 2 dL dG + d²G)]

    and what is summed over cells is a matrix product.
    """
    layout, count, bins = structure.layout, len(structure.names), structure.n_bins
    base, relative, chosen = _pieces(structure, given, parameters)
    samples, dtype = len(structure.samples), base.dtype
    # Rows of parameters, columns of cells; the last row takes what belongs to no parameter.
    d_product = xp.zeros((count + 1, samples, bins), dtype)
    where_sample, where_bin = np.indices((samples, bins))
    for index in range(len(chosen)):
        others = _product(chosen, index) * xp.ones_like(base)
        where = layout.factors[index], where_sample, where_bin
        d_product = xp.add_at(d_product, where, others, unique=True)
    d_product = d_product[:count]
    product = _product(chosen) * xp.ones_like(base)
    d_factor, d_yield = d_product, base * d_product
    # Only the rows that histosys and normsys have are computed with: they are few.
    if len(layout.normsys):
        alpha = parameters[layout.normsys][:, None, None]
        both = interpolation.log_factor_derivatives(
            alpha, given.log_up, given.log_down, given.polynomial
        )
        d_log, dd_log = (x[:, :, layout.channel] for x in both)
        d_factor = xp.add_at(d_factor, layout.normsys, d_log * product, unique=True)
        d_yield = base * d_factor
    if len(layout.histosys):
        s, a = xp.moveaxis(given.s, 0, 2), xp.moveaxis(given.a, 0, 2)
        (s1, a1), (s2, a2) = interpolation.additive_derivatives(
            structure.histosys_code, parameters[layout.histosys]
        )
        d_base = s * s1[:, None, None] + a * a1[:, None, None]
        dd_base = s * s2[:, None, None] + a * a2[:, None, None]
        d_yield = xp.add_at(d_yield, layout.histosys, d_base * product, unique=True)
    cells = relative * d_yield

    def second(weight: Bins) -> Array:
        def flat(cells: Array) -> Array:
            return cells.reshape(len(cells), -1)

        w = weight * relative
        half = xp.zeros((count + 1, count + 1), dtype)
        for i, j in itertools.combinations(range(len(chosen)), 2):
            both = w * base * _product(chosen, i, j)
            half = xp.add_at(half, (layout.factors[i], layout.factors[j]), both)
        half = half[:count, :count]
        if len(layout.histosys):
            mixed = flat(w * d_base) @ flat(d_factor).T
            diagonal = xp.sum(dd_base * w * product, axis=(1, 2)) / 2
            half = xp.add_at(half, layout.histosys, mixed, unique=True)
            half = xp.add_at(half, (layout.histosys, layout.histosys), diagonal, unique=True)
        if len(layout.normsys):
            rest = xp.add_at(d_factor, layout.normsys, -d_log * product / 2, unique=True)
            mixed = flat(w * base * d_log) @ flat(rest).T
            diagonal = xp.sum(dd_log * w * base * product, axis=(1, 2)) / 2
            half = xp.add_at(half, layout.normsys, mixed, unique=True)
            half = xp.add_at(half, (layout.normsys, layout.normsys), diagonal, unique=True)
        return half + half.T

    value = xp.sum(base * relative * product, axis=0)
    return Slopes(value, cells, xp.sum(cells, axis=1), second)


def _product(chosen: Float[Array, "factors samples bins"], *without: int) -> Any:
    """Product of the factors but some."""
    kept = [factor for index, factor in enumerate(chosen) if index not in without]
    return math.prod(kept, start=1.0)


def expected_auxiliary(
    structure: Structure, given: Terms, parameters: Float[Array, "*points parameters"]
) -> Float[Array, "*points auxiliary"]:
    """Expected results of the auxiliary measurements."""
    value = parameters[..., structure.layout.auxiliary]
    return xp.where(structure.layout.poisson, value * given.scale, value)


def log_likelihood(
    structure: Structure, given: Terms, parameters: Parameters, data: Float[Array, " data"]
) -> Float[Array, ""]:
    """Logarithm of the density of main and auxiliary data, as pyhf defines it."""
    main, auxiliary = data[: structure.n_bins], data[structure.n_bins :]
    result = xp.sum(log_probability(main, rates(structure, given, parameters)))
    poisson = structure.layout.poisson
    mean = expected_auxiliary(structure, given, parameters)
    if poisson.any():
        result = result + xp.sum(log_probability(auxiliary[poisson], mean[poisson]))
    if not poisson.all():
        width = given.scale[~poisson]
        pull = (auxiliary[~poisson] - mean[~poisson]) / width
        result = result - xp.sum(xp.square(pull) / 2 + xp.log(width))
        result = result - (~poisson).sum() * 0.5 * xp.log(2 * xp.pi)
    return result

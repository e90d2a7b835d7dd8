"""Expected yields and the likelihood, from a structure and a vector of numbers.

Dense arrays over (variation, sample, bin), few operations, and derivatives with respect to the
parameters by hand where automatic ones would cost a pass a parameter.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.scipy.special import gammaln, xlogy
from jaxtyping import Bool, Float

from difftune.histfactory import interpolation
from difftune.histfactory.structure import FROM_YIELDS, Structure

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


def terms(structure: Structure, numbers: Float[Array, " numbers"]) -> Terms:
    """The parts of the likelihood that depend on the numbers alone.

    The width of a staterror is `sqrt(Σ u²) / Σ y` over the samples that share it; the count of a
    shapesys `(y / u)²`. Where there is none the parameter is fixed, with a width or count of 1.
    """
    layout = structure.layout
    known = jnp.concatenate([numbers, jnp.array([0.0, 1.0], numbers.dtype)])
    nominal = known[layout.nominal]
    up, down = known[layout.histosys_up], known[layout.histosys_down]
    log_up, log_down = jnp.log(known[layout.normsys_up]), jnp.log(known[layout.normsys_down])
    with_polynomial = structure.normsys_code == "code4"

    fixed = jnp.asarray(layout.fixed)
    scale_of = jnp.ones(len(structure.names), numbers.dtype)
    if len(layout.staterror):
        total = jnp.sum(known[layout.staterror_nominal], axis=-1)
        square = jnp.sum(jnp.square(known[layout.staterror_uncertainty]), axis=-1)
        there = (total > 0) & (square > 0)
        # Two steps, so that the slope of the root at 0 does not reach the gradient.
        ratio = jnp.where(there, square, 1.0) / jnp.square(jnp.where(there, total, 1.0))
        scale_of = scale_of.at[layout.staterror].set(jnp.sqrt(ratio), unique_indices=True)
        none = jnp.zeros(fixed.shape, bool).at[layout.staterror].set(~there)
        fixed = fixed | (none & layout.pinned)
    if len(layout.shapesys):
        content, error = known[layout.shapesys_nominal], known[layout.shapesys_uncertainty]
        there = (content > 0) & (error > 0)
        count = jnp.square(jnp.where(there, content, 1.0) / jnp.where(there, error, 1.0))
        scale_of = scale_of.at[layout.shapesys].set(count, unique_indices=True)
        none = jnp.zeros(fixed.shape, bool).at[layout.shapesys].set(~there)
        fixed = fixed | (none & layout.pinned)
    follows = scale_of[layout.auxiliary]
    scale = jnp.where(layout.sigma == FROM_YIELDS, follows, known[layout.sigma])
    center = jnp.where(layout.center == FROM_YIELDS, follows, known[layout.center])
    return Terms(
        nominal=nominal,
        s=jnp.transpose((up - down) / 2, (2, 0, 1)),
        a=jnp.transpose((up + down - 2 * nominal) / 16, (2, 0, 1)),
        log_up=log_up,
        log_down=log_down,
        polynomial=interpolation.polynomial(log_up, log_down) if with_polynomial else None,
        center=center,
        scale=scale,
        fixed=fixed,
    )


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
        base = base + (
            jnp.einsum("bhs,h->sb", given.s, s) + jnp.einsum("bhs,h->sb", given.a, a)
        )
    relative = jnp.ones_like(base)
    if len(layout.normsys):
        alpha = parameters[layout.normsys][:, None, None]
        size, negative = interpolation.log_factor(
            alpha, given.log_up, given.log_down, given.polynomial
        )
        odd = jnp.sum(negative, axis=0) % 2 == 1
        factor = jnp.exp(jnp.sum(size, axis=0))
        relative = jnp.where(odd, -factor, factor)[:, layout.channel]
    padded = jnp.concatenate([parameters, jnp.ones(1, parameters.dtype)])
    return _Pieces(base, relative, padded[layout.factors])


def by_sample(structure: Structure, given: Terms, parameters: Parameters) -> Cells:
    """Expected yields of each sample in each bin."""
    base, relative, chosen = _pieces(structure, given, parameters)
    for factor in chosen:
        relative = relative * factor
    return base * relative


def rates(structure: Structure, given: Terms, parameters: Parameters) -> Bins:
    """Expected yields in each bin."""
    return jnp.sum(by_sample(structure, given, parameters), axis=0)


def rates_and_slopes(
    structure: Structure, given: Terms, parameters: Parameters
) -> tuple[Bins, Float[Array, "parameters bins"]]:
    """Expected yields and their derivatives with respect to all parameters."""
    layout = structure.layout
    base, relative, chosen = _pieces(structure, given, parameters)
    depth = len(chosen)
    product = jnp.ones_like(base)
    for factor in chosen:
        product = product * factor
    rest = relative * product
    cells = base * rest
    count = len(structure.names)
    slopes = jnp.zeros((count + 1, structure.n_bins), cells.dtype)
    if len(layout.histosys):
        alpha = parameters[layout.histosys]
        _, (ds, da) = jax.jvp(
            lambda x: interpolation.additive(structure.histosys_code, x),
            (alpha,),
            (jnp.ones_like(alpha),),
        )
        rows = jnp.einsum("bhs,sb->hb", given.s, rest) * ds[:, None]
        rows = rows + jnp.einsum("bhs,sb->hb", given.a, rest) * da[:, None]
        slopes = slopes.at[layout.histosys].add(rows, unique_indices=True)
    if len(layout.normsys):
        alpha = parameters[layout.normsys][:, None, None]
        alpha = jnp.broadcast_to(alpha, given.log_up.shape)
        _, dlog = jax.jvp(
            lambda x: interpolation.log_factor(x, given.log_up, given.log_down, given.polynomial)[
                0
            ],
            (alpha,),
            (jnp.ones_like(alpha),),
        )
        rows = jnp.einsum("nsb,sb->nb", dlog[:, :, layout.channel], cells)
        slopes = slopes.at[layout.normsys].add(rows, unique_indices=True)
    for index in range(depth):
        others = base * relative
        for other in range(depth):
            if other != index:
                others = others * chosen[other]
        columns = jnp.broadcast_to(jnp.arange(structure.n_bins), others.shape)
        slopes = slopes.at[layout.factors[index], columns].add(others)
    return jnp.sum(cells, axis=0), slopes[:count]


def expected_auxiliary(
    structure: Structure, given: Terms, parameters: Parameters
) -> Float[Array, " auxiliary"]:
    """Expected results of the auxiliary measurements."""
    value = parameters[structure.layout.auxiliary]
    return jnp.where(structure.layout.poisson, value * given.scale, value)


def log_likelihood(
    structure: Structure, given: Terms, parameters: Parameters, data: Float[Array, " data"]
) -> Float[Array, ""]:
    """Logarithm of the density of main and auxiliary data, as pyhf defines it."""
    main, auxiliary = data[: structure.n_bins], data[structure.n_bins :]
    result = jnp.sum(_log_poisson(main, rates(structure, given, parameters)))
    poisson = structure.layout.poisson
    mean = expected_auxiliary(structure, given, parameters)
    if poisson.any():
        result = result + jnp.sum(_log_poisson(auxiliary[poisson], mean[poisson]))
    if not poisson.all():
        width = given.scale[~poisson]
        pull = (auxiliary[~poisson] - mean[~poisson]) / width
        result = result - jnp.sum(jnp.square(pull) / 2 + jnp.log(width))
        result = result - (~poisson).sum() * 0.5 * jnp.log(2 * jnp.pi)
    return result


def _log_poisson(
    count: Float[Array, " counts"], rate: Float[Array, " counts"]
) -> Float[Array, " counts"]:
    return xlogy(count, rate) - rate - gammaln(count + 1)

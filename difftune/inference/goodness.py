"""Whether a model describes the data: the best fit beside a perfect description."""

import logging
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import arrays as xp
from difftune.histfactory.kernel import Kernel, prepared
from difftune.histfactory.rates import expected_auxiliary
from difftune.inference.fits import centers_and_widths
from difftune.inference.given import asks
from difftune.inference.hypotest import pseudo_data
from difftune.inference.minima import in_batches, minimum
from difftune.inference.problems import Bounds, FitError, Fixed, Limits, limits, make_problem
from difftune.inference.solver import (
    MESSAGES,
    Problem,
    Status,
    deviance_of_constraints,
    deviance_of_counts,
    poisson_weights,
)
from difftune.later import jax
from difftune.precision import compiled, compiled_if_many, in_numpy

logger = logging.getLogger("difftune")

# Least eigenvalue of Fisher's information of unit diagonal for a direction that is determined.
_LEAST = 1e-10


class ChannelFit(NamedTuple):
    """How well one channel agrees with what all others say of it.

    Attributes:
        contribution: What its bins add to -2 ln of the likelihood ratio at the best fit of all.
        q: By how much -2 ln L falls if this channel is described perfectly, whatever the
            parameters.
        dof: Its bins, less the parameters that nothing else determines.
        p_value: Of `q`, from a χ² distribution; NaN without degrees of freedom.
        toys_p_value: The same from pseudo-experiments; None without any.
    """

    contribution: float
    q: float
    dof: int
    p_value: float
    toys_p_value: float | None


class GoodnessOfFit(NamedTuple):
    """The best fit beside the saturated model, which expects what is observed.

    Attributes:
        q: -2 ln of the ratio of their likelihoods, auxiliary measurements included.
        dof: Bins, less the free parameters without a constraint.
        p_value: Of `q`, from a χ² distribution; NaN without degrees of freedom.
        toys_p_value: The same from pseudo-experiments; None without any.
        constraints: What the auxiliary measurements add to `q`: the squares of the pulls.
        channels: Each channel by itself.
        toys: `q` of each pseudo-experiment; NaN where its fit failed, empty without any.
    """

    q: float
    dof: int
    p_value: float
    toys_p_value: float | None
    constraints: float
    channels: dict[str, ChannelFit]
    toys: Float[np.ndarray, " toys"]


@asks
def goodness_of_fit(
    model: Model,
    data: Any = None,
    *,
    toys: int = 0,
    seed: int = 0,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> GoodnessOfFit:
    """Tests whether the model describes the data (R. D. Cousins, "Generalization of χ²", 2013).

    The likelihood of the best fit is compared with that of the saturated model, of which each bin
    expects what it observes and each auxiliary measurement is met. -2 ln of their ratio follows a
    χ² distribution where counts are large; where they are not, ask for `toys`.

    A channel's own test saturates that channel alone. So it asks whether the channel agrees with
    what the other channels and the constraints make of the parameters.

    Args:
        model: The model; it needs no parameter of interest.
        data: Main data, or main and auxiliary data; by default the observations.
        toys: Number of pseudo-experiments at the best fit, auxiliary data included.
        seed: Of the pseudo-experiments.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: Data or names are wrong, or there are several rows of data.
        FitError: A fit does not converge.
    """
    structure, values = model.structure, model.data(data)
    if values.ndim > 1 or np.ndim(model.numbers) > 1:
        raise InputError("goodness_of_fit tests one fit: give one model and one row of data.")
    given = limits(structure, bounds=bounds, fixed=fixed, start=start)
    kept = _kept(structure)
    points, least, status = _fits(model, values, given, kept)
    for name, ended in zip(("all channels", *structure.channels), status, strict=True):
        if ended != Status.CONVERGED:
            what = name if name == "all channels" else f"all channels but {name!r}"
            raise FitError(f"The fit of {what} {MESSAGES[Status(int(ended))]}.")
    main, constraints, ranks, unconstrained, empty = _parts(model, values, given, kept, points[0])
    # Less one another these are tests: what a channel's bins cost beyond what they could.
    q = np.append(2 * least[0], 2 * np.maximum(least[0] - least[1:], 0.0))
    bins = np.array([structure.n_bins, *structure.bins])
    dof = bins - np.append(unconstrained, ranks[0] - ranks[1:])
    ratios, failed = np.empty((0, len(q))), 0
    if toys:
        at = given._replace(start=points[0])
        ratios = _toys(model, values, at, kept, np.uint32(seed), toys=toys)
        failed = int(np.isnan(ratios).any(axis=1).sum())
    if failed:
        logger.warning(
            "The fits of %d of %d pseudo-experiments failed; these are left out.", failed, toys
        )
    if empty.any():
        logger.warning(
            "%d of %d bins expect nothing. They count as degrees of freedom, as in cabinetry, "
            "though they test nothing, so p-values from χ² are too large: leave them out, or ask "
            "for toys.",
            empty.sum(),
            structure.n_bins,
        )
    if dof[0] <= 0:
        logger.warning(
            "There are %d bins and %d free parameters without a constraint, so χ² gives no p-value "
            "of the fit.",
            structure.n_bins,
            unconstrained,
        )
    from_chi2 = [
        float(scipy.special.chdtrc(n, x)) if n > 0 else np.nan for x, n in zip(q, dof, strict=True)
    ]
    from_toys = [_p_value(*each) if toys else None for each in zip(ratios.T, q, strict=True)]
    return GoodnessOfFit(
        q=float(q[0]),
        dof=int(dof[0]),
        p_value=from_chi2[0],
        toys_p_value=from_toys[0],
        constraints=float(constraints),
        channels={
            name: ChannelFit(float(main[i - 1]), float(q[i]), int(dof[i]), chi2, from_toys[i])
            for i, (name, chi2) in enumerate(zip(structure.channels, from_chi2[1:], strict=True), 1)
        },
        toys=ratios[:, 0],
    )


def _p_value(sample: Float[np.ndarray, " toys"], q: float) -> float:
    """How many are as large; NaN where all failed."""
    good = sample[~np.isnan(sample)]
    # The rounding of a fit is no difference.
    return float((good >= q - 1e-9).mean()) if good.size else np.nan


def _kept(structure: Structure) -> Bool[np.ndarray, "cases bins"]:
    """Bins that count: all of them, and all but those of each channel."""
    channel = np.repeat(np.arange(len(structure.bins)), structure.bins)
    without = channel[None, :] != np.arange(len(structure.bins))[:, None]
    return np.vstack([np.ones((1, structure.n_bins), bool), without])


def _without(structure: Structure, problem: Problem, kept: Bool[Array, " bins"]) -> Problem:
    """The problem without some bins: these expect nothing, and observe nothing."""
    terms = problem.terms
    terms = terms._replace(
        nominal=terms.nominal * kept,
        s=terms.s * kept[:, None, None],
        a=terms.a * kept[:, None, None],
    )
    main, auxiliary = problem.data[: structure.n_bins], problem.data[structure.n_bins :]
    counts = xp.concatenate([xp.where(kept, main, 0.0), auxiliary])
    kernel = None if problem.kernel is None else Kernel(structure, terms)
    return problem._replace(terms=terms, data=counts, kernel=kernel)


def _best(
    structure: Structure, problem: Problem, kept: Bool[Array, " bins"]
) -> tuple[Array, Array, Array]:
    """Parameters, -ln of the likelihood ratio to the saturated model, and status of one fit."""
    everything = not xp.in_jax(kept) and kept.all()
    chosen = problem if everything else _without(structure, problem, kept)
    found = minimum(structure, chosen)
    return found.parameters, found.deviance, found.status


def _best_of_each(
    structure: Structure, problem: Problem, kept: Bool[Array, "cases bins"]
) -> tuple[Array, Array, Array]:
    """The same of all bins, and without each channel."""
    if len(structure.channels) > 1:
        return in_batches(partial(_best, structure, problem), kept)
    # Without the only channel each constraint is met, as far as bounds allow.
    found = _best(structure, problem, kept[0])
    center = xp.clip(centers_and_widths(structure, problem)[0], problem.lower, problem.upper)
    center = xp.where(problem.fixed, problem.start, center)
    alone = center, deviance_of_constraints(structure, problem, center), found[2]
    return xp.stacked([found, alone])


@compiled_if_many(rows="kept", few=5_000)
def _fits(
    model: Model, data: Array, given: Limits, kept: Bool[Array, "cases bins"]
) -> tuple[Array, Array, Array]:
    return _best_of_each(model.structure, make_problem(model, data, given), kept)


@in_numpy
def _parts(
    model: Model,
    data: Array,
    given: Limits,
    kept: Bool[Array, "cases bins"],
    point: Float[Array, " parameters"],
) -> tuple[Array, Array, Array, Array, Array]:
    """What channels and constraints add, ranks of the information, how many are free, and empty.

    Empty are bins that expect nothing, at the point and at the nominal one.
    """
    structure, problem = model.structure, make_problem(model, data, given)
    terms, layout, count = problem.terms, structure.layout, structure.n_bins
    expected, slopes = np.empty(count), np.zeros((len(point), count))
    _, kernel = prepared(structure, model.numbers)
    for block in kernel.blocks:
        at = block.slopes(point)
        expected[block.bins] = at.value
        slopes[np.ix_(block.parameters, block.bins)] = at.first
    main = 2 * deviance_of_counts(data[:count], expected, problem.wall)
    constraints = 2 * deviance_of_constraints(structure, problem, point)
    empty = (expected == 0) & (kernel.rates(layout.init) == 0)
    # Fisher's information: of the bins, and of the constraints.
    weight = poisson_weights(data[:count], expected, problem.wall)[2]
    mean = expected_auxiliary(structure, terms, point)
    counted = poisson_weights(data[count:], mean, problem.wall)[2] * np.square(terms.scale)
    on_diagonal = np.zeros_like(point)
    on_diagonal[layout.auxiliary] = np.where(layout.poisson, counted, 1 / np.square(terms.scale))
    free = ~np.asarray(problem.fixed)

    def rank(bins: Bool[Array, " bins"]) -> int:
        own = slopes[np.ix_(free, bins)] * np.sqrt(weight[bins])
        matrix = own @ own.T + np.diag(on_diagonal[free])
        scale = np.sqrt(np.where(np.diag(matrix) > 0, np.diag(matrix), 1.0))
        return int((np.linalg.eigvalsh(matrix / np.outer(scale, scale)) > _LEAST).sum())

    constrained = np.isin(np.arange(len(free)), layout.auxiliary)
    ranks = np.array([rank(bins) for bins in kept])
    per_channel = np.add.reduceat(main, np.cumsum([0, *structure.bins[:-1]]))
    return per_channel, constraints, ranks, (free & ~constrained).sum(), empty


@compiled("toys")
def _toys(
    model: Model,
    data: Array,
    given: Limits,
    kept: Bool[Array, "cases bins"],
    seed: Array,
    toys: int,
) -> Float[Array, "toys cases"]:
    """-2 ln of the likelihood ratios of pseudo-experiments at the start values."""
    structure, problem = model.structure, make_problem(model, data, given)
    pseudo = pseudo_data(structure, problem, problem.start, jax.random.key(seed), toys)

    def one(counts: Array) -> Array:
        _, least, status = _best_of_each(structure, problem._replace(data=counts), kept)
        less = xp.maximum(least[:1] - least[1:], 0.0)
        good = (status == Status.CONVERGED).all()
        return xp.where(good, 2 * xp.concatenate([least[:1], less]), xp.nan)

    return in_batches(one, pseudo)

"""Test statistics, CLs and significance in the asymptotic formulae of arXiv 1007.1727, and toys."""

import logging
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float, Inexact, Int

from difftune.errors import InputError
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import arrays as xp
from difftune.histfactory import rates as likelihood
from difftune.inference.fits import SignificanceTest
from difftune.inference.given import asks
from difftune.inference.minima import at_value, envelope, implicit, in_batches, lower, minima, worst
from difftune.inference.problems import (
    Bounds,
    Fixed,
    Limits,
    check_steps,
    make_problem,
    over,
    poi_index,
    report,
)
from difftune.inference.solver import Minimum, Problem, Status, minimise
from difftune.inference.tested import (
    TestStatistic,
    contains,
    for_test,
    never_negative,
    outside,
    tested_limits,
    tested_values,
    warn_of_bounds,
)
from difftune.later import jax
from difftune.precision import compiled, compiled_if_many, traced
from difftune.pytrees import mapped

logger = logging.getLogger("difftune")

SIGMAS = np.array([-2.0, -1.0, 0.0, 1.0, 2.0])


class HypoTest(NamedTuple):
    """A test of a signal strength; with a batch, arrays have its axis in front.

    Attributes:
        observed: CLs on the data; for q0 the p-value of the background.
        expected: The same on the Asimov data, median and bands in the order -2, -1, 0, 1, 2
            standard deviations, as pyhf prints them.
        clsb: p-value of signal plus background.
        clb: p-value of the background.
        q: The test statistic.
        q_asimov: The same on the Asimov data.
        status: 0, or why a fit failed.
    """

    observed: Any
    expected: Any
    clsb: Any
    clb: Any
    q: Any
    q_asimov: Any
    status: Any


@asks
def hypotest(
    mu: Any,
    model: Model,
    data: Any = None,
    *,
    test_stat: TestStatistic = "qtilde",
    toys: int = 0,
    seed: int = 0,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
    steps: int | None = None,
) -> HypoTest:
    """Tests a value of the parameter of interest: what `pyhf.infer.hypotest` does.

    As in pyhf the Asimov data belong to the background (for q0: the signal) fitted to the data. An
    array of values is tested in one program.

    The bounds of the parameter of interest are made for fits. A test takes a best fit below 0 for 0
    (q̃), lets it go down to the lower bound (q), and never stops at the upper bound, with a warning
    where that matters. A parameter of interest that the measurement fixes is left free.

    Args:
        mu: Tested value, or values.
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        test_stat: "qtilde" or "q" for upper limits, "q0" for discovery (with `mu=0`).
        toys: Number of pseudo-experiments for each hypothesis, in place of the asymptotic formulae.
        seed: Of the pseudo-experiments.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of nuisance parameters that stay, or their names.
        start: Start values, by name or of all parameters.
        steps: So many steps of each fit, neither less nor more, for use in the training of a
            network: a population's members do not wait for the slowest fit. The numbers are then
            those of the last step whatever the status; on Asimov data 4 are enough, unless they
            exclude the tested value by far.

    Returns:
        Observed and expected CLs (p-values for q0), differentiable with respect to everything.

    Raises:
        InputError: There is no parameter of interest, its bounds do not suit the statistic, or
            the tested value is no number.
        FitError: A fit does not converge.
    """
    if test_stat not in ("qtilde", "q", "q0"):
        raise InputError(f"test_stat={test_stat!r}: there are 'qtilde', 'q' and 'q0'.")
    given = tested_limits(
        model, "hypotest", bounds=bounds, fixed=fixed, start=start, test_stat=test_stat
    )
    index = poi_index(model, "hypotest")
    name = model.structure.names[index]
    tested = tested_values(mu, name, given, index, test_stat)
    check_steps(steps)
    if toys and steps is not None:
        raise InputError(
            "hypotest(toys=..., steps=...): the fits of toys take the steps they need."
        )
    values = model.data(data)
    if toys:
        if tested.ndim or values.ndim > 1 or np.ndim(model.numbers) > 1:
            raise InputError(
                "hypotest(toys=...) tests one value of one model with one row of data: call it for "
                "each."
            )
        key = np.uint32(seed)
        found, best, failed = _toys(
            tested, model, values, given, key, test_stat=test_stat, toys=toys
        )
        _warn_of_failed(failed, 2 * toys)
    else:
        found, best = _asymptotic(tested, model, values, given, test_stat=test_stat, steps=steps)
    if steps is None:
        report(f"A fit for {name} = {mu}", found.status)
    warn_of_bounds("hypotest", name, best, given, index)
    return found


def _warn_of_failed(failed: Any, total: int) -> None:
    if not traced(failed) and failed:
        logger.warning(
            "The fits of %d of %d pseudo-experiments failed; these are left out.", failed, total
        )


@compiled_if_many("test_stat", "steps")
def _asymptotic(
    mu: Array,
    model: Model,
    data: Array,
    given: Limits,
    test_stat: TestStatistic,
    steps: int | None,
) -> tuple[HypoTest, Array]:
    def each(problem: Problem) -> tuple[HypoTest, Array]:
        def one(value: Array) -> tuple[HypoTest, Array]:
            return _one_test(model.structure, problem, value, test_stat, steps)

        return in_batches(one, mu) if mu.ndim else one(mu)

    found = over(each, model, data, given)
    batched = data.ndim > 1 or np.ndim(model.numbers) > 1
    return mapped(lambda each: xp.swapaxes(each, 0, 1), found) if batched and mu.ndim else found


def _one_test(
    structure: Structure,
    problem: Problem,
    mu: Float[Array, ""],
    test_stat: TestStatistic,
    steps: int | None,
) -> tuple[HypoTest, Array]:
    """One test in the asymptotic formulae, and the best fit of the parameter of interest."""
    index = structure.poi_index or 0
    beyond = outside(problem, structure, test_stat, mu)
    problem = for_test(problem, structure, test_stat, mu)
    none = at_value(problem, index, 1.0 if test_stat == "q0" else 0.0)
    nominal = tested = at_value(problem, index, mu)
    on_none, free, on_tested = minima(structure, none, problem, tested, steps=steps)
    if steps is None and test_stat != "q0":
        free = contains(free, on_none)
    on_data = likelihood_ratio(structure, problem, free, tested, on_tested, test_stat)
    # The best fit to Asimov data is where they were made, with a deviance of 0: no fit is needed.
    tested = at_value(asimov_problem(structure, none, on_none), index, mu)
    if steps is None:
        # Where variations bend yields back there are several minima; pyhf starts from the nominal.
        at_tested = lower(
            *minima(structure, tested, tested._replace(start=nominal.start), nearest=True)
        )
    else:
        at_tested = minimise(structure, tested, steps=steps)
    on_asimov = 2 * envelope(structure, tested, at_tested)
    # On its other side they do not speak against the tested value, as in `likelihood_ratio`.
    opposite = mu > 1 if test_stat == "q0" else mu < 0
    on_asimov = xp.where(opposite, 0.0, on_asimov)
    status = worst(beyond, on_none.status, on_data.status, at_tested.status)
    numbers = [xp.exp(value) for value in log_p_values(on_data.q, on_asimov, test_stat)]
    good = (status == Status.CONVERGED) | (steps is not None)
    result, expected, clsb, clb, q, q_asimov = (
        xp.where(good, number, xp.nan) for number in (*numbers, on_data.q, on_asimov)
    )
    found = HypoTest(result, expected, clsb, clb, q, q_asimov, status)
    return found, free.parameters[index]


def log_p_values(
    q: Inexact[Array, ""], q_asimov: Inexact[Array, ""], test_stat: TestStatistic
) -> tuple[Array, Array, Array, Array]:
    """Logarithms of the observed and expected result, of CLs+b and of CLb.

    Equations 57, 65 and 66 of arXiv 1007.1727; the bands are -2 to 2 standard deviations.
    """
    observed, asimov = root(q), root(q_asimov)
    shift = observed - asimov
    if test_stat == "qtilde":
        # Beyond the Asimov value the distribution of q̃ is another one.
        beyond = (q - q_asimov) / (2 * xp.where(asimov > 0, asimov, 1.0))
        shift = xp.where((observed > asimov) & (asimov > 0), beyond, shift)
    sigmas = SIGMAS
    log_clsb, log_clb = xp.log_ndtr(-(shift + asimov)), xp.log_ndtr(-shift)
    bands = xp.log_ndtr(sigmas - asimov)
    if test_stat == "q0":
        return log_clsb, bands, log_clsb, log_clb
    return log_clsb - log_clb, bands - xp.log_ndtr(sigmas), log_clsb, log_clb


def asimov_problem(structure: Structure, problem: Problem, found: Minimum) -> Problem:
    """Asimov data of a hypothesis fitted to the data; fits to them start where they were made."""
    values = implicit(structure, problem, found)
    main = likelihood.rates(structure, problem.terms, values)
    auxiliary = likelihood.expected_auxiliary(structure, problem.terms, values)
    return problem._replace(data=xp.concatenate([main, auxiliary]), start=values)


class Statistic(NamedTuple):
    """A test statistic, and how its fits ended."""

    q: Float[Array, ""]
    status: Int[Array, ""]


def root(q: Inexact[Array, "*shape"]) -> Inexact[Array, "*shape"]:
    """Square root with slope 0 at 0, where that of the root is infinite; NaN stays NaN."""
    there = ~(q <= 0)
    return xp.where(there, xp.sqrt(xp.where(there, q, 1.0)), 0.0)


def likelihood_ratio(
    structure: Structure,
    problem: Problem,
    free: Minimum,
    tested: Problem,
    found: Minimum,
    test_stat: TestStatistic,
) -> Statistic:
    """-2 ln of the ratio of a fit at a tested value to the best one; 0 on its other side."""
    index = structure.poi_index or 0
    here, best = envelope(structure, tested, found), envelope(structure, problem, free)
    mu, best_mu = tested.start[index], free.parameters[index]
    q, negative = never_negative(2 * (here - best), best)
    none = best_mu < mu if test_stat == "q0" else best_mu > mu
    return Statistic(xp.where(none, 0.0, q), worst(free.status, found.status, negative))


@compiled("test_stat", "toys")
def _toys(
    mu: Array,
    model: Model,
    data: Array,
    given: Limits,
    seed: Array,
    test_stat: TestStatistic,
    toys: int,
) -> tuple[HypoTest, Array, Array]:
    structure, index = model.structure, model.structure.poi_index or 0
    problem = make_problem(model, data, given)
    beyond = outside(problem, structure, test_stat, mu)
    problem = for_test(problem, structure, test_stat, mu)
    none = at_value(problem, index, 1.0 if test_stat == "q0" else 0.0)
    both = at_value(problem, index, mu)

    def statistic(problem: Problem) -> tuple[Statistic, Array]:
        tested = at_value(problem, index, mu)
        free, on_tested = minima(structure, problem, tested)
        found = likelihood_ratio(structure, problem, free, tested, on_tested, test_stat)
        return found, free.parameters[index]

    observed, best = statistic(problem)
    samples, status = [], worst(beyond, observed.status)
    keys = jax.random.split(jax.random.key(seed), 2)
    for key, hypothesis, found in zip(
        keys, (both, none), minima(structure, both, none), strict=True
    ):
        start = implicit(structure, hypothesis, found)
        pseudo = pseudo_data(structure, problem, start, key, toys)
        from_there = problem._replace(start=start)
        ended = in_batches(
            lambda one, there=from_there: statistic(there._replace(data=one))[0], pseudo
        )
        samples.append(xp.where(ended.status == Status.CONVERGED, ended.q, xp.nan))
        status = worst(status, found.status)

    def p_value(sample: Array, q: Array) -> Array:
        good = ~xp.isnan(sample)
        return xp.sum(good & (sample >= q)) / xp.sum(good)

    signal, background = samples
    clsb, clb = p_value(signal, observed.q), p_value(background, observed.q)
    each_sb = xp.each(lambda q: p_value(signal, q), background)
    each_b = xp.each(lambda q: p_value(background, q), background)
    ratios = each_sb if test_stat == "q0" else each_sb / each_b
    percentiles = 100 * xp.exp(xp.log_ndtr(SIGMAS))
    result = HypoTest(
        observed=clsb if test_stat == "q0" else clsb / clb,
        expected=xp.nanpercentile(ratios, percentiles),
        clsb=clsb,
        clb=clb,
        q=observed.q,
        q_asimov=xp.nanmedian(background),
        status=status,
    )
    return result, best, xp.sum(xp.isnan(xp.stack(samples)))


def pseudo_data(
    structure: Structure,
    problem: Problem,
    point: Float[Array, " parameters"],
    key: Array,
    count: int,
) -> Float[Array, "toys data"]:
    """Fluctuated main and auxiliary data of a point."""
    counts, widths = jax.random.split(key)
    main = likelihood.rates(structure, problem.terms, point)
    auxiliary = likelihood.expected_auxiliary(structure, problem.terms, point)
    rate = xp.maximum(xp.concatenate([main, auxiliary]), 0.0)
    poisson = np.concatenate([np.ones(len(main), bool), structure.layout.poisson])
    rate = xp.where(poisson, rate, 1.0)
    drawn = jax.random.poisson(counts, rate, (count, len(poisson))).astype(rate.dtype)
    noise = jax.random.normal(widths, (count, len(auxiliary)), rate.dtype)
    gauss = auxiliary + problem.terms.scale * noise
    return xp.concatenate(
        [
            drawn[:, : len(main)],
            xp.where(structure.layout.poisson, drawn[:, len(main) :], gauss),
        ],
        axis=1,
    )


@asks
def expected_significance(
    model: Model,
    *,
    toys: int = 0,
    seed: int = 0,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> SignificanceTest:
    """Discovery significance of the signal at its nominal strength, and of the data.

    Args:
        model: The model; its nominal point has the parameter of interest at 1.
        toys: Number of pseudo-experiments for each hypothesis, in place of the asymptotic formulae:
            the expected significance is that of the median pseudo-experiment with signal. It takes
            some hundred beyond the significance, so ten thousands for 3 standard deviations.
        seed: Of the pseudo-experiments.
        bounds: Other bounds, by name of the parameter; that of the parameter of interest does not
            limit a significance.
        fixed: Values of nuisance parameters that stay, in the Asimov data too, or their names.
        start: Start values, by name or of all parameters.

    Returns:
        Expected significance; observed, where there are data.

    Raises:
        InputError: There is no parameter of interest, or a name is unknown.
        FitError: A fit does not converge.
    """
    index = poi_index(model, "expected_significance")
    given = tested_limits(
        model, "expected_significance", bounds=bounds, fixed=fixed, start=start, test_stat="q0"
    )
    nominal = np.where(given.fixed, given.start, model.structure.layout.init)
    nominal[index] = 1.0
    asimov = model.asimov(nominal)
    asked: dict[str, Any] = {"test_stat": "q0", "bounds": bounds, "fixed": fixed, "start": start}
    asked |= {"toys": toys, "seed": seed}

    def deviations(found: HypoTest, p_value: Any) -> float:
        return _of_toys(float(p_value), toys) if toys else float(np.sqrt(found.q))

    found = hypotest(0.0, model, asimov, **asked)
    expected = deviations(found, found.expected[2])
    if model.observed is None or np.allclose(model.data(), asimov, rtol=1e-9, atol=0):
        return SignificanceTest(expected=expected, observed=None)
    found = hypotest(0.0, model, **asked)
    return SignificanceTest(expected=expected, observed=deviations(found, found.observed))


def _of_toys(p_value: float, toys: int) -> float:
    """Standard deviations of a p-value that was counted."""
    if p_value == 0:
        logger.warning(
            "None of %d pseudo-experiments of the background is like this: the significance is "
            "above %.2g and is given as infinite. Take more toys.",
            toys,
            -scipy.special.ndtri(1 / toys),
        )
    return max(float(-scipy.special.ndtri(p_value)), 0.0)

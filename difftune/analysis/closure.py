"""Closure: whether a measurement gains from noise of the simulation that its templates are made of.

Pseudo-experiments of events that the templates do not hold. For each one the simulation is cut into
two random halves, of all of whose weights are doubled. One half gives the templates; the data are
drawn from what the other one expects. What is only noise in the templates is not in such data, so
that a fit which takes it for information claims too small an uncertainty, and this shows.
"""

from collections.abc import Set
from dataclasses import dataclass
from functools import cached_property, partial

import jax
import numpy as np
from jaxtyping import Bool, Float

from difftune.analysis.bootstrap import filled_by, replica_yields
from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.measurement import Measurement
from difftune.analysis.resampling import uniform
from difftune.analysis.split import Split
from difftune.data import Events
from difftune.errors import InputError
from difftune.histfactory import Model, Structure, TemplateYields
from difftune.histfactory import rates as likelihood
from difftune.inference import fit
from difftune.precision import in_float64

# Apart from the words of the bootstrap's replicas.
_HALVES = 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Closure:
    """What the pseudo-experiments found; of those whose fit converged.

    The other half is no more the truth than the templates are: its own statistics shifts the
    results as much as theirs. `expected` has both, and is what the results should spread by.

    Attributes:
        strength: The best fit of the signal strength of each, made with a strength of 1.
        claimed: Its uncertainty according to the fit.
        expected: The same with the statistics of the other half.
        failed: How many fits did not converge.
    """

    strength: Float[np.ndarray, " experiments"]
    claimed: Float[np.ndarray, " experiments"]
    expected: Float[np.ndarray, " experiments"]
    failed: int = 0

    @cached_property
    def bias(self) -> tuple[float, float]:
        """Mean of the strength less 1, and its error."""
        error = np.std(self.strength, ddof=1) / len(self.strength) ** 0.5
        return float(np.mean(self.strength) - 1.0), float(error)

    @cached_property
    def spread(self) -> tuple[float, float]:
        """Standard deviation of the strength over what is expected, and the error of this ratio."""
        ratio = np.std(self.strength, ddof=1) / np.sqrt(np.mean(self.expected**2))
        # Of values that need not be Gaussian: the variance of a variance is the fourth moment's.
        deviation = self.strength - np.mean(self.strength)
        excess = np.mean(deviation**4) / np.mean(deviation**2) ** 2 - 1.0
        return float(ratio), float(ratio * np.sqrt(excess / len(deviation)) / 2)

    @cached_property
    def coverage(self) -> tuple[float, float]:
        """Share of the intervals of one `expected` around the strength that hold 1, and its error.

        It should be 68.3 %.
        """
        share = np.mean(np.abs(self.strength - 1.0) < self.expected)
        return float(share), float(np.sqrt(share * (1 - share) / len(self.strength)))

    def __str__(self) -> str:
        """All of it in a line."""
        (bias, error), (ratio, ratio_error) = self.bias, self.spread
        share, share_error = self.coverage
        failed = f"; {self.failed} fits failed" if self.failed else ""
        return (
            f"{len(self.strength)} pseudo-experiments: mean of μ - 1 {bias:+.4f} ± {error:.4f}, "
            f"spread over expected {ratio:.3f} ± {ratio_error:.3f}, "
            f"68.3 % intervals cover {share:.1%} ± {share_error:.1%} "
            f"(claimed σ(μ) {np.mean(self.claimed):.4f}){failed}"
        )


def closure(
    measurement: Measurement, split: Split | CrossFit, *, experiments: int = 500, seed: int = 0
) -> Closure:
    """Fits templates of one half of the simulation to data drawn from the other half.

    In each pseudo-experiment the halves are others, events are in the same half in the nominal and
    in every varied sample, counts and auxiliary data fluctuate, and the nuisance parameters of the
    systematic uncertainties have true values of their own. Network and bins stay as they are.

    Args:
        measurement: Gives scores, bins and the statistical model.
        split: What it was measured on.
        experiments: How many pseudo-experiments.
        seed: Another one gives others.

    Raises:
        InputError: For fewer than two experiments.
    """
    if experiments < 2:
        raise InputError(f"closure(experiments={experiments}): give two or more, such as 500.")
    fill = filled_by(measurement)

    @in_float64
    @jax.jit
    def numbers(yields: tuple[TemplateYields, ...]) -> jax.Array:
        return jax.lax.map(lambda each: fill(each).numbers, yields)

    def half(side: bool) -> Model:
        """Models of one half, in a batch."""
        halves = partial(_half, seed=seed, side=side)
        yields = replica_yields(measurement, split, range(experiments), copies=halves)
        doubled = tuple(
            TemplateYields(2 * each.nominal, 4 * each.sumw2, 2 * each.up, 2 * each.down)
            for each in yields
        )
        return fill.model.replace(numbers=np.asarray(numbers(doubled)), observed=None)

    mine, other = half(True), half(False)
    stays = {f"staterror_{templates.channel}" for templates in measurement.fitted}
    found = fit(mine, _drawn(other, np.random.default_rng([seed, experiments]), stays))
    structure = fill.model.structure
    poi = structure.index(str(structure.poi))
    # How far one standard deviation of each bin's simulation shifts the strength.
    bins = [
        i
        for s in structure.parameter_sets
        if s.name in stays
        for i in range(s.start, s.start + s.size)
    ]
    covariance, widths = np.asarray(found.covariance), np.asarray(found.widths)
    with np.errstate(invalid="ignore"):
        shifts = covariance[:, poi, bins] / widths[:, bins]
    strength = np.asarray(found.values)[:, poi]
    claimed = np.asarray(found.uncertainties)[:, poi]
    good = np.isfinite(claimed) & (claimed > 0)
    expected = np.sqrt(claimed**2 + np.nansum(shifts**2, axis=1))
    return Closure(
        strength=strength[good],
        claimed=claimed[good],
        expected=expected[good],
        failed=int(np.sum(~good)),
    )


def _half(events: Events, number: int, *, seed: int, side: bool) -> Bool[np.ndarray, " events"]:
    """Events of one half or the other."""
    return (uniform(events, number, seed, _HALVES) < 0.5) == side


def _drawn(
    models: Model, rng: np.random.Generator, stays: Set[str]
) -> Float[np.ndarray, "experiments data"]:
    """Counts and auxiliary data of pseudo-experiments, one of each model of a batch.

    Args:
        models: Expect the counts.
        rng: Draws.
        stays: Parameters whose auxiliary data are those of the fit's templates, and not drawn.
    """
    structure: Structure = models.structure
    layout = structure.layout
    drawn = np.array([structure.names[i].split("[")[0] not in stays for i in layout.auxiliary])
    init = np.asarray(layout.init, np.float64)

    @in_float64
    @jax.jit
    def expected(values: jax.Array, parameters: jax.Array) -> jax.Array:
        def one(each: tuple[jax.Array, jax.Array]) -> jax.Array:
            given = likelihood.terms(structure, each[0])
            return likelihood.rates(structure, given, each[1])

        return jax.lax.map(one, (values, parameters))

    count = len(models.numbers)
    terms = likelihood.terms(structure, np.asarray(models.numbers[0]))
    width = np.where(drawn, np.asarray(terms.scale), 0.0)
    truth = np.tile(init, (count, 1))
    truth[:, layout.auxiliary] += width * rng.standard_normal((count, len(width)))
    auxiliary = truth[:, layout.auxiliary] + width * rng.standard_normal((count, len(width)))
    rates = np.asarray(expected(models.numbers, truth))
    # Far from the nominal an additive variation may take more than there is.
    return np.concatenate([rng.poisson(np.maximum(rates, 0.0)), auxiliary], axis=1)

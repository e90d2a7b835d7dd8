"""Limits and intervals from pseudo-experiments, against exact sums of Poisson probabilities."""

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm, poisson

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import expected_significance, feldman_cousins, hypotest, limit_from_toys
from tests.histfactory import specs
from tests.inference import on_off


def counting(signal: float, background: float, observed: float) -> Model:
    """One bin whose background is known."""
    content = specs.workspace(
        [
            specs.channel(
                "region",
                specs.sample("signal", [signal], specs.MU),
                specs.sample("background", [background]),
            )
        ]
    )
    content["observations"] = [{"name": "region", "data": [observed]}]
    return Model.from_spec(content)


@pytest.mark.parametrize(
    ("observed", "low", "high"),
    # Table IV of physics/9711021: 90 % intervals of the signal on a background of 3 events.
    [(0, 0.00, 1.08), (4, 0.00, 5.60), (8, 1.51, 10.99)],
)
def test_intervals_are_those_of_feldman_and_cousins(observed, low, high):
    values = np.linspace(0.0, 14.0, 57)
    found = feldman_cousins(counting(1.0, 3.0, observed), None, values, level=0.9, toys=1500)
    assert found.low == pytest.approx(low, abs=0.3)
    assert found.high == pytest.approx(high, abs=0.4)


def p_values(observed: int, background: float, values: np.ndarray) -> np.ndarray:
    """Of the likelihood ratio with a best fit that is not negative, summed over all counts."""
    n = np.arange(80)
    best = np.maximum(n - background, 0.0) + background
    found = []
    for value in values:
        rate = value + background
        ratio = poisson.logpmf(n, rate) - poisson.logpmf(n, best)
        as_rare = ratio <= ratio[observed] + 1e-9
        found.append(poisson.pmf(n, rate)[as_rare].sum())
    return np.array(found)


def test_p_values_are_sums_of_poisson_probabilities():
    values = np.array([0.0, 0.5, 2.0, 5.0, 8.0, 12.0])
    found = feldman_cousins(counting(1.0, 3.0, 6.0), None, values, level=0.9, toys=2000)
    expected = p_values(6, 3.0, values)
    error = np.sqrt(expected * (1 - expected) / 2000)
    assert (np.abs(found.p_values - expected) < 5 * error + 1e-3).all()


@pytest.mark.slow
def test_limit_is_where_cls_of_counts_is_the_level():
    """Without uncertainties q̃ orders the counts, so CLs is a ratio of Poisson probabilities."""
    found = limit_from_toys(counting(2.0, 4.0, 3.0), toys=4000)

    def cls(mu: float) -> float:
        return poisson.cdf(3, 2 * mu + 4) / poisson.cdf(3, 4) - 0.05

    assert found.observed == pytest.approx(brentq(cls, 0.1, 20), rel=0.08)
    assert (np.diff(found.expected) >= 0).all()


@pytest.mark.slow
def test_with_an_uncertain_background_it_is_near_the_asymptotic_one():
    """Counts are large."""
    model = Model.from_spec(on_off.workspace(30.0, 200.0, 10.0, 205.0))
    exact = on_off.OnOff(30.0, 200.0, 10.0).limit(205.0)
    values = exact * np.array([0.7, 0.9, 1.1, 1.4])
    found = limit_from_toys(model, values=values, toys=1500)
    assert found.observed == pytest.approx(exact, rel=0.1)
    cls = hypotest(float(found.observed), model, toys=1500, seed=5).observed
    assert float(cls) == pytest.approx(0.05, abs=0.03)


@pytest.mark.slow
def test_what_is_outside_of_the_values_is_refused():
    model = counting(1.0, 3.0, 8.0)
    with pytest.raises(InputError, match="does not end at 4"):
        feldman_cousins(model, None, [0.0, 2.0, 4.0], toys=50)
    with pytest.raises(InputError, match="the observed limit is not between them"):
        limit_from_toys(model, values=[0.1, 0.2], toys=50)
    with pytest.raises(InputError, match=r"from the lower bound on, 0"):
        feldman_cousins(model, None, [-1.0, 2.0, 40.0], toys=50)


@pytest.mark.slow
def test_significance_from_pseudo_experiments_is_that_of_poisson():
    """Of a counting experiment without uncertainties, where q0 rises with the count."""
    signal, background, seen = 10.0, 20.0, 28
    content = specs.workspace(
        [
            specs.channel(
                "one", specs.sample("s", [signal], specs.MU), specs.sample("b", [background])
            )
        ]
    )
    content["observations"] = [{"name": "one", "data": [float(seen)]}]
    found = expected_significance(Model.from_spec(content), toys=5000, seed=3)
    median = poisson.median(signal + background)
    for value, count in ((found.expected, median), (found.observed, seen)):
        p = poisson.sf(count - 1, background)
        spread = np.sqrt(p * (1 - p) / 5000)
        assert abs(norm.sf(value) - p) < 4 * spread


def test_a_significance_beyond_the_pseudo_experiments_says_so(caplog):
    content = specs.workspace(
        [specs.channel("one", specs.sample("s", [90.0], specs.MU), specs.sample("b", [10.0]))]
    )
    content["observations"] = [{"name": "one", "data": [100.0]}]
    found = expected_significance(Model.from_spec(content), toys=50)
    assert np.isinf(found.expected)
    assert "above 2.1 and is given as infinite. Take more toys" in caplog.text

import numpy as np
import pytest
from scipy import stats

from difftune.report.panels import divided, poisson_errors


def test_poisson_errors_are_garwoods_interval():
    counts = np.array([0.0, 1.0, 3.5, 20.0, 1e6])
    below, above = poisson_errors(counts)
    level = 2 * stats.norm.sf(1)
    np.testing.assert_allclose(
        counts + above, stats.chi2.isf(level / 2, 2 * counts + 2) / 2, rtol=1e-9
    )
    np.testing.assert_allclose(
        (counts - below)[1:], stats.chi2.ppf(level / 2, 2 * counts[1:]) / 2, rtol=1e-9
    )
    assert below[0] == 0
    assert above[0] == pytest.approx(1.841, abs=1e-3)  # PDG, statistics


def test_poisson_errors_of_a_negative_count_are_those_of_none():
    np.testing.assert_array_equal(poisson_errors(np.array([-2.0])), poisson_errors(np.zeros(1)))


def test_division_by_nothing_is_nan():
    result = divided(np.array([1.0, 2.0, 3.0]), np.array([2.0, 0.0, -1.0]))
    assert result[0] == 0.5
    assert np.isnan(result[1:]).all()

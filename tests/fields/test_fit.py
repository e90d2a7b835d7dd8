"""Posteriors of fields: against scikit-learn's Gaussian process, closed forms and sampling."""

import jax
import numpy as np
import pytest
import scipy.stats
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern

from difftune.errors import InputError
from difftune.fields import Circle, FieldMap, Line, Measurements, Prior, Sphere, fit

KNOWN = {"length_factor": 1, "smoothness_factor": 1}


def known(*domains, std=1.0, offset=0.0, offset_std=0.5):
    return Prior(domains=domains, std=std, std_factor=1, offset=offset, offset_std=offset_std)


@pytest.fixture(scope="module")
def one_dimension():
    rng = np.random.default_rng(1)
    x = rng.uniform(0, 1, (30, 1))
    y = np.sin(6 * x[:, 0]) + rng.normal(0, 0.1, 30)
    line = Line(lower=0.0, upper=1.0, waves=256, padding=4, length=0.3, smoothness=2.5, **KNOWN)
    judge = GaussianProcessRegressor(
        ConstantKernel(1.0) * Matern(0.3, nu=2.5) + ConstantKernel(0.25), alpha=0.01, optimizer=None
    ).fit(x, y)
    found = fit(Measurements(values=y, lower=x, errors=0.1), known(line))
    return found, judge, np.linspace(0, 1, 40)[:, None]


def test_exact_as_scikit_learn(one_dimension):
    found, judge, points = one_dimension
    mean, covariance = judge.predict(points, return_cov=True)
    np.testing.assert_allclose(found.mean(points), mean, atol=1e-6)
    np.testing.assert_allclose(found.covariance(points), covariance, atol=1e-6)
    np.testing.assert_allclose(found.std(points) ** 2, np.diag(covariance), atol=1e-6)
    np.testing.assert_allclose(found.covariance(points, points[:3]), covariance[:, :3], atol=1e-6)
    assert found.evidence == pytest.approx(judge.log_marginal_likelihood_value_, abs=1e-5)


def test_samples_of_the_whole_prior_have_its_moments():
    """A log-normal standard deviation has a closed form, and makes the tails longer."""
    circle = Circle(waves=4, **KNOWN)
    prior = Prior(domains=circle, std=2.0, std_factor=1.5, offset=1.0, offset_std=0.1)
    where, width = np.array([0.3]), np.log(1.5)
    median = prior.samples(where, 4000, seed=1)[:, 0]
    varied = prior.samples(where, 4000, seed=1, vary=True)[:, 0]
    variances = np.array([4.0, 4.0 * np.exp(2 * width**2)]) + 0.1**2
    np.testing.assert_allclose([median.var(), varied.var()], variances, rtol=0.15)
    np.testing.assert_allclose([median.mean(), varied.mean()], 1.0, atol=0.15)
    fourth = np.mean((varied - 1) ** 4) / varied.var() ** 2
    assert fourth > np.mean((median - 1) ** 4) / median.var() ** 2 + 0.5


def test_samples_and_modes_have_the_covariance(one_dimension):
    found, judge, points = one_dimension
    _, covariance = judge.predict(points, return_cov=True)
    drawn = found.samples(points, 300, seed=2)
    pulls = (drawn - found.mean(points)) / found.std(points)
    assert scipy.stats.kstest(pulls[:, ::20].ravel(), "norm").pvalue > 1e-3
    field = found.modes(share=0.9999)
    modes = np.stack([field.mode(i + 1, points) for i in range(len(field.modes))])
    np.testing.assert_allclose(modes.T @ modes, covariance, atol=1e-4)
    few = found.modes(3)
    assert 0.3 < few.share < field.share
    # At points themselves there is nothing better: those of numpy hold as much.
    some = found.modes(3, at=points)
    values = np.linalg.eigvalsh(covariance)[::-1]
    assert some.share == pytest.approx(values[:3].sum() / values.sum(), rel=1e-5)
    held = sum((some.mode(i + 1, points) ** 2).sum() for i in range(3))
    assert held == pytest.approx(values[:3].sum(), rel=1e-5)


def test_differentiable_by_values_and_points(one_dimension):
    found, _, points = one_dimension
    values = np.linspace(-1, 1, 30)
    with jax.enable_x64(True):
        slope = jax.grad(lambda v: found.given(v).mean(points)[7])(values)
        along = jax.grad(lambda x: found.mean(x[None, None])[0])(0.4)
    step = 1e-3 * np.eye(30)[4]
    change = found.given(values + step).mean(points) - found.given(values - step).mean(points)
    assert slope[4] == pytest.approx(change[7] / 2e-3, rel=1e-6)
    ends = found.mean(np.array([0.4 - 1e-5, 0.4 + 1e-5]))
    assert along == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-5)


def test_correlated_errors_are_those_of_a_common_shift():
    """A common error is like a field that is constant: the sum of both is known."""
    x, y = np.linspace(0, 1, 8), np.ones(8)
    line = Line(lower=0.0, upper=1.0, **KNOWN)
    common = Measurements(values=y, lower=x, errors=0.1, covariance=np.full((8, 8), 0.5**2))
    one = fit(common, known(line, offset_std=1.0)).mean(x)
    # Both are constant functions, so the field takes 1² of 1² + 0.5².
    whole = fit(Measurements(values=y, lower=x, errors=0.1), known(line, offset_std=1.25**0.5))
    slow = whole.mean(x)
    assert (one < slow).all()
    assert (fit(common, known(line, offset_std=1.0)).std(x) > 0.3).all()


def test_bins_are_means_of_the_field():
    """A mean over a bin has the covariance of many points in it, averaged."""
    line = Line(lower=0.0, upper=1.0, waves=16, length=0.4, **KNOWN)
    edges = np.linspace(0, 1, 6)
    y = np.array([1.0, 0.4, 0.2, 0.3, 0.9])
    bins = Measurements(values=y, lower=edges[:-1], upper=edges[1:], errors=0.01)
    found = fit(bins, known(line), order=6)
    fine = found.mean((np.arange(500) + 0.5) / 500).reshape(5, 100).mean(axis=1)
    inside = np.linspace(0.005, 0.195, 20)
    points = (edges[:-1, None] + inside).ravel()
    prior = found.prior
    with jax.enable_x64(True):
        features = prior.features(points[:, None])
        kernel = np.asarray(prior.kernel(np.zeros(3), features, features))
    averaged = np.kron(np.eye(5), np.full((1, 20), 1 / 20))
    inner = averaged @ kernel @ averaged.T
    expected = inner @ np.linalg.solve(inner + 1e-4 * np.eye(5), y)
    np.testing.assert_allclose(fine, expected, atol=2e-3)


def test_what_is_learned_is_near_the_truth():
    truth = Line(lower=0.0, upper=1.0, length=0.15, smoothness=2.0, **KNOWN)
    x = np.linspace(0, 1, 120)
    far = fit(Measurements(values=[0.0, 0.0], lower=[0.0, 1.0], errors=1e3), known(truth, std=2.0))
    rng = np.random.default_rng(0)
    y = far.samples(x, 1, seed=4)[0] + rng.normal(0, 0.02, 120)
    measured = Measurements(values=y, lower=x, errors=0.02)
    found = fit(measured, Line())
    assert found.learned["length"][0] == pytest.approx(0.15, rel=0.5)
    assert found.learned["std"] == pytest.approx(2.0, rel=0.6)
    spread = fit(measured, Line(), learn="posterior")
    assert sum(spread.shares) == pytest.approx(1)
    np.testing.assert_allclose(spread.mean(x), found.mean(x), atol=0.03)
    # The evidence is as large nowhere around.
    for factor in (0.5, 2.0):
        other = Line(length=factor * found.learned["length"][0], length_factor=1)
        assert fit(measured, other).evidence < found.evidence + 0.5


def test_positive_fields_by_mgvi_against_exact_sampling():
    """Few unknowns: the posterior by importance sampling from the prior."""
    line = Line(lower=0.0, upper=1.0, waves=2, length=1.0, **KNOWN)
    prior = known(line, std=0.5, offset_std=0.3)
    x, errors = np.array([0.1, 0.4, 0.9]), np.array([0.2, 0.2, 0.3])
    y = np.array([1.4, 1.0, 0.7])
    found = fit(Measurements(values=y, lower=x, errors=errors), prior, positive=True)
    points = np.array([0.1, 0.4, 0.65, 0.9])[:, None]
    with jax.enable_x64(True):
        features = prior.features(points)
        kernel = np.asarray(prior.kernel(np.zeros(3), features, features))
    drawn = np.exp(np.random.default_rng(0).multivariate_normal(np.zeros(4), kernel, 400_000))
    chi2 = (((drawn[:, [0, 1, 3]] - y) / errors) ** 2).sum(axis=1)
    weights = np.exp(-chi2 / 2)
    mean = np.average(drawn, axis=0, weights=weights)
    std = np.sqrt(np.average((drawn - mean) ** 2, axis=0, weights=weights))
    np.testing.assert_allclose(found.mean(points), mean, atol=0.15 * std.min())
    np.testing.assert_allclose(found.std(points), std, rtol=0.1)
    assert (found.samples(points, 50) > 0).all()
    np.testing.assert_allclose(np.diag(found.covariance(points)) ** 0.5, found.std(points))


def test_product_of_sphere_and_line(tmp_path):
    rng = np.random.default_rng(2)
    points = np.stack(
        [np.arccos(rng.uniform(-1, 1, 60)), rng.uniform(0, 6.28, 60), rng.uniform(1, 2, 60)], axis=1
    )
    y = np.cos(points[:, 0]) * points[:, 2]
    found = fit(
        Measurements(values=y, lower=points, errors=0.02),
        (Sphere(degree=8), Line(lower=1.0, upper=2.0, waves=8)),
    )
    np.testing.assert_allclose(found.mean(points), y, atol=0.1)
    # Both ends of a meridian are one point each, whatever the azimuth.
    pole = np.array([[0.0, 0.0, 1.5], [0.0, 3.0, 1.5]])
    assert np.ptp(found.mean(pole)) < 1e-6
    field = found.modes(2, at=points)
    field.write(tmp_path / "map.json")
    again = FieldMap.read(tmp_path / "map.json")
    np.testing.assert_allclose(again(points), field(points), rtol=1e-12)
    np.testing.assert_allclose(again.ratio(2, -1.0, points), field.ratio(2, -1.0, points))


@pytest.mark.parametrize(
    ("given", "domain", "says"),
    [
        ({"values": [1.0, 2.0], "lower": [0.0, 3.0], "errors": 0.1}, Line(lower=0.0, upper=1.0),
         "row 1 is at"),
        ({"values": [1.0, 2.0], "lower": [0.0, 3.0], "errors": 0.1}, Sphere(), "1 coordinates"),
        ({"values": [1.0, 2.0], "lower": [0.0, 1.0], "errors": [0.1, 0.0]}, Circle(), "no error"),
        ({"values": [1.0, np.nan], "lower": [0.0, 1.0], "errors": 0.1}, Circle(), "not finite"),
        ({"values": [1.0, 1.0], "lower": [0.0, 1.0], "upper": [1.0, 0.5], "errors": 0.1},
         Circle(), "bin 1 ends"),
        ({"values": [1.0, 1.0], "lower": [0.0, 1.0]}, Circle(), "give errors"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_is_refused(given, domain, says):
    with pytest.raises(InputError, match=says):
        fit(Measurements(**given), domain)


def test_a_positive_field_takes_no_negative_value():
    measured = Measurements(values=[1.0, -2.0], lower=[0.0, 1.0], errors=0.1)
    with pytest.raises(InputError, match="of row 1 is below 0"):
        fit(measured, Circle(), positive=True)

"""Bases and spectra of domains, against scipy, closed forms and scikit-learn."""

import jax
import numpy as np
import pytest
import scipy.special
from sklearn.gaussian_process.kernels import Matern

from difftune.errors import InputError
from difftune.fields import Circle, Line, Plane, Sphere


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def kernel(domain, one, other, length=0.3, smoothness=2.5):
    left, right = (np.asarray(domain.features(domain.inner(each))) for each in (one, other))
    return (left * np.asarray(domain.spectrum(length, smoothness))) @ right.T


def angles(count, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack([np.arccos(rng.uniform(-1, 1, count)), rng.uniform(0, 6.28, count)], axis=1)


def test_spherical_harmonics_are_those_of_scipy():
    sphere, points = Sphere(degree=12), angles(40)
    found = np.asarray(sphere.features(points))
    degree, order = sphere.numbers
    theta, phi = points[:, :1], points[:, 1:]
    expected = scipy.special.sph_harm_y(degree, abs(order), theta, phi)
    both = np.where(order < 0, expected.imag, expected.real) * np.where(order == 0, 1, 2**0.5)
    np.testing.assert_allclose(found, both, atol=1e-12)


def test_the_kernel_of_the_sphere_depends_on_the_angle_alone():
    """The addition theorem: a sum of Legendre polynomials."""
    sphere, one, other = Sphere(degree=16), angles(20), angles(15, 1)

    def directions(points):
        theta, phi = points.T
        x, y = np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi)
        return np.stack([x, y, np.cos(theta)], axis=1)

    degrees = np.arange(17)
    power = (1 + degrees * (degrees + 1) * 0.3**2 / 5) ** -3.5
    weights = (2 * degrees + 1) * power
    cosine = directions(one) @ directions(other).T
    expected = np.polynomial.legendre.legval(cosine, weights / weights.sum())
    np.testing.assert_allclose(kernel(sphere, one, other), expected, atol=1e-12)


def test_the_poles_are_points_like_others():
    sphere = Sphere(degree=16)
    poles = np.array([[0.0, 0.0], [0.0, 2.0], [np.pi, 1.0], [np.pi, 5.0]])
    values = np.asarray(sphere.features(poles))
    np.testing.assert_allclose(values[::2], values[1::2], atol=1e-5)
    # Along a meridian over the pole the derivative goes on.
    slope = jax.jacfwd(lambda x: sphere.features(x[None])[0])
    np.testing.assert_allclose(
        slope(poles[0])[:, 0], -np.asarray(slope(np.array([0.0, np.pi])))[:, 0], atol=1e-4
    )
    assert np.isfinite(np.asarray(slope(poles[2]))).all()


def test_a_line_has_the_matern_covariance_of_scikit_learn():
    line = Line(lower=-1.0, upper=1.0, waves=300, padding=3.0)
    x = np.linspace(-1, 1, 30)[:, None]
    expected = Matern(0.3, nu=2.5)(x)
    np.testing.assert_allclose(kernel(line, x, x), expected, atol=1e-7)


def test_a_plane_has_one_length_in_all_directions():
    plane = Plane(lower=(0, 0), upper=(1, 2), waves=40, padding=2.0)
    points = np.random.default_rng(0).uniform((0, 0), (1, 2), (25, 2))
    expected = Matern(0.3, nu=2.5)(points)
    np.testing.assert_allclose(kernel(plane, points, points), expected, atol=2e-4)


def test_a_circle_has_no_seam():
    circle = Circle(period=360.0, waves=40)
    one = np.array([[359.0], [10.0], [100.0]])
    found = kernel(circle, one, one + 2, length=40.0)
    np.testing.assert_allclose(np.diag(found), found[0, 0], rtol=1e-12)
    np.testing.assert_allclose(found, kernel(circle, one + 360, one + 2, length=40.0), atol=1e-12)


@pytest.mark.parametrize("domain", [Line(lower=1.0, upper=9.0, log=True), Circle(), Sphere()])
def test_variance_is_one_everywhere(domain):
    points = domain.grid(60)
    features = np.asarray(domain.features(points))
    variance = (features**2) @ np.asarray(domain.spectrum(0.4, 1.3))
    np.testing.assert_allclose(variance, 1, atol=1e-12)


def test_means_over_bins_are_integrals():
    line = Line(lower=1.0, upper=9.0, log=True)
    nodes = line.nodes(np.array([[2.0]]), np.array([[4.0]]), 6)
    # Over the logarithm, in which the field lives: of x it is (4 - 2) / ln 2.
    mean = np.exp(nodes[0, :, 0]) @ line.weights(6)
    assert mean == pytest.approx(2 / np.log(2), rel=1e-9)
    sphere = Sphere()
    nodes = sphere.nodes(np.array([[0.0, 0.0]]), np.array([[np.pi / 2, np.pi / 2]]), 8)
    x = np.sin(nodes[0, :, 0]) * np.cos(nodes[0, :, 1])
    # Of x over an octant.
    assert x @ sphere.weights(8) == pytest.approx(0.5, rel=1e-3)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Line(lower=0.0, upper=1.0, log=True), "above 0, which has a logarithm"),
        (lambda: Line(lower=2.0, upper=1.0), "above lower = 2"),
        (lambda: Sphere(length=-1.0), "a number above 0"),
        (lambda: Circle(smoothness_factor=0.5), "a factor of 1 or more"),
        (lambda: Plane(lower=(0.0,)), "two numbers"),
        (lambda: Sphere(degre=3), "degree"),
    ],
)
def test_what_cannot_be_is_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()

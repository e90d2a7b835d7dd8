import numpy as np
import pytest
from scipy import stats

from difftune.errors import InputError
from difftune.search import (
    Space,
    category,
    choice,
    integer,
    log_integer,
    log_uniform,
    uniform,
    when,
)

DIMENSIONS = {
    "uniform": uniform(-2.0, 3.0),
    "log_uniform": log_uniform(1e-4, 1e-1),
    "choice": choice(64, 256, 128),
    "integer": integer(-1, 3),
}
COUNT = 5000


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_samples_have_the_distribution():
    drawn = Space(**DIMENSIONS).sample(rng(), COUNT)
    for name, distribution in (
        ("uniform", stats.uniform(-2.0, 5.0)),
        ("log_uniform", stats.loguniform(1e-4, 1e-1)),
    ):
        assert stats.kstest(drawn[name], distribution.cdf).pvalue > 1e-4
    for name, options in (("choice", [64, 128, 256]), ("integer", [-1, 0, 1, 2, 3])):
        values, counts = np.unique(drawn[name], return_counts=True)
        assert values.tolist() == options
        assert stats.chisquare(counts).pvalue > 1e-4
    # Hyperparameters are independent of each other.
    correlations = np.corrcoef([drawn[name] for name in DIMENSIONS]) - np.eye(4)
    assert np.abs(correlations).max() * np.sqrt(COUNT) < 5.0


@pytest.mark.parametrize("name", DIMENSIONS)
def test_unit_interval_round_trip(name):
    dimension = DIMENSIONS[name]
    values = dimension.sample(rng(), 100)
    np.testing.assert_allclose(dimension.from_unit(dimension.to_unit(values)), values, rtol=1e-12)
    ends = dimension.from_unit(np.array([0.0, 1.0]))
    for value in (*values, *ends):
        assert dimension.contains(value)
    lowest, highest = values.min(), values.max()
    assert not dimension.contains(lowest - 100.0)
    assert not dimension.contains(highest + 300.0)


def test_logarithmic_ones_are_known_to_pictures():
    space = Space(
        **DIMENSIONS,
        steps=choice(1, 2, 3),
        units=log_integer(16, 512),
        kind=category("a", "b"),
        rate=when("kind", "a", then=log_uniform(1e-3, 1)),
    )
    assert space.logarithmic == ("log_uniform", "choice", "units", "rate")


def test_choice_takes_its_options_only():
    assert not choice(64, 256).contains(128)
    assert not integer(1, 3).contains(2.5)


@pytest.mark.parametrize(
    ("name", "value", "neighbours"),
    [
        ("uniform", 0.5, [0.0, 1.0]),
        ("uniform", 2.9, [2.4, 2.6]),  # 3.4, reflected at 3
        ("uniform", -2.0, [-1.5]),
        ("log_uniform", 1e-2, [1e-2 * 10**-0.3, 1e-2 * 10**0.3]),
        ("log_uniform", 1e-1, [1e-1 * 10**-0.3]),
        ("log_uniform", 1e-4, [1e-4 * 10**0.3]),
        ("choice", 256.0, [64.0, 128.0]),
        ("choice", 64.0, [64.0, 256.0]),
        ("choice", 128.0, [128.0, 256.0]),
        ("integer", 1.0, [0.0, 2.0]),
    ],
)
def test_perturbation_goes_one_step_up_or_down_and_reflects(name, value, neighbours):
    moved = DIMENSIONS[name].perturb(np.full(400, value), 0.1, rng())
    found, counts = np.unique(np.round(moved, 12), return_counts=True)
    np.testing.assert_allclose(found, sorted(neighbours), rtol=1e-6)
    assert counts.min() > 150 or len(counts) == 1


@pytest.mark.parametrize("name", DIMENSIONS)
@pytest.mark.parametrize("scale", [0.1, 0.7, 1.0])
def test_a_walk_of_perturbations_never_leaves_the_bounds(name, scale):
    dimension, generator = DIMENSIONS[name], rng()
    values = dimension.sample(generator, 200)
    for _ in range(30):
        values = dimension.perturb(values, scale, generator)
        assert all(dimension.contains(value) for value in values)
    # Reflection keeps the distribution, where clipping would pile values up at the bounds.
    if name == "uniform":
        assert stats.kstest(values, stats.uniform(-2.0, 5.0).cdf).pvalue > 1e-4


def test_one_option_stays():
    np.testing.assert_array_equal(choice(7).perturb(np.full(5, 7.0), 0.3, rng()), 7.0)


def test_space_is_a_mapping():
    space = Space(**DIMENSIONS)
    assert list(space) == list(DIMENSIONS)
    assert len(space) == 4
    assert space["uniform"] == uniform(-2.0, 3.0)
    assert "learning_rate" not in space
    assert "low=-2.0" in repr(space)
    assert Space().sample(rng(), 3) == {}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: uniform(1.0, 1.0), r"uniform\(1.0, 1.0\): low must be below high"),
        (lambda: uniform(float("nan"), 1.0), r"low must be below high"),
        (lambda: log_uniform(0.0, 1.0), r"log_uniform\(0.0, 1.0\): low must be positive"),
        (lambda: log_uniform(1.0, 0.1), r"log_uniform\(1.0, 0.1\).*below high"),
        (lambda: choice(1.0, 2.0, 1.0), r"choice\(\[1.0, 2.0, 1.0\]\): give different numbers"),
        (lambda: choice(), r"choice\(\[\]\).*at least one"),
        (lambda: integer(3, 2), r"integer\(3, 2\): low must not be above"),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()

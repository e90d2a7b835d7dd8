"""Pseudo-experiments of one half of the simulation, against the closed form of a counting one."""

import numpy as np
import pytest

import difftune as dt
from difftune.analysis import CrossFit, closure
from difftune.analysis.closure import _half
from difftune.errors import InputError
from tests.analysis.test_bootstrap import sample

EXPERIMENTS = 400


def score(events):
    return np.asarray(events.features[:, 0])


def counted(*, mc_statistics):
    """A count of as much signal as background, and its measurement."""
    rng = np.random.default_rng(5)
    size = 6000
    process = rng.integers(0, 2, size)
    weight = rng.uniform(0.5, 1.5, size)
    events = dt.Events.from_arrays(
        rng.uniform(size=(size, 1)),
        process,
        weight,
        feature_names=["score"],
        processes=[dt.Process(name="signal", role="signal"), dt.Process(name="background")],
        event_number=np.arange(size),
        folds=5,
    )
    split = CrossFit(events=events)
    templates = dt.analysis.fill_templates(score, split, np.array([0.0, 1.0]))
    workspace = dt.histfactory.build_workspace([templates], mc_statistics=mc_statistics)
    measurement = dt.analysis.Measurement(
        templates=templates,
        workspace=workspace,
        stat_only=0.0,
        expected=0.0,
        figure=dt.analysis.FIGURES["precision"],
        value=0.0,
        score=score,
    )
    signal = np.sum(weight[process == 0])
    return split, measurement, np.sum(weight), np.sum(weight**2), signal


@pytest.mark.slow
def test_a_count_closes_with_the_uncertainty_of_the_closed_form():
    split, measurement, total, squares, signal = counted(mc_statistics=True)
    found = closure(measurement, split, experiments=EXPERIMENTS)
    # μ = (n - b) / s; a half has twice the variance, the other half as much again.
    assert np.mean(found.claimed) == pytest.approx(np.sqrt(total + 2 * squares) / signal, rel=0.02)
    assert np.mean(found.expected) == pytest.approx(np.sqrt(total + 4 * squares) / signal, rel=0.02)
    bias, error = found.bias
    assert abs(bias) < 3 * error
    assert found.spread[0] == pytest.approx(1.0, abs=3 * found.spread[1])
    assert found.spread[1] == pytest.approx(1 / np.sqrt(2 * EXPERIMENTS), rel=0.3)
    assert found.coverage[0] == pytest.approx(0.683, abs=3 * found.coverage[1])
    assert found.failed == 0
    assert f"{EXPERIMENTS} pseudo-experiments" in str(found)


@pytest.mark.slow
def test_what_a_fit_leaves_out_shows():
    split, measurement, total, squares, signal = counted(mc_statistics=False)
    found = closure(measurement, split, experiments=EXPERIMENTS)
    assert np.mean(found.claimed) == pytest.approx(np.sqrt(total) / signal, rel=0.02)
    ratio, error = found.spread
    assert ratio == pytest.approx(np.sqrt(1 + 4 * squares / total), abs=3 * error)
    assert ratio - 1.0 > 10 * error
    assert found.coverage[0] < 0.5


def test_halves_share_no_event_and_are_those_of_the_varied_sample():
    events = sample()
    one, other = (_half(events, 3, seed=0, side=side) for side in (True, False))
    np.testing.assert_array_equal(one, ~other)
    assert one.mean() == pytest.approx(0.5, abs=4 * 0.5 / len(events) ** 0.5)
    shifted = events.varied("shift", "up")
    np.testing.assert_array_equal(one, _half(shifted, 3, seed=0, side=True))
    again = _half(events, 4, seed=0, side=True)
    assert np.mean(one == again) == pytest.approx(0.5, abs=4 * 0.5 / len(events) ** 0.5)


@pytest.mark.slow
def test_variations_are_drawn_and_fitted():
    """A variation of weights has no noise of its own, and closes as well."""
    events = sample()
    split = CrossFit(events=events)
    edges = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
    templates = dt.analysis.fill_templates(score, split, edges)
    measurement = dt.analysis.Measurement(
        templates=templates,
        workspace=dt.histfactory.build_workspace([templates], poi_bounds=(-10.0, 10.0)),
        stat_only=0.0,
        expected=0.0,
        figure=dt.analysis.FIGURES["precision"],
        value=0.0,
        score=score,
    )
    found = closure(measurement, split, experiments=EXPERIMENTS)
    assert abs(found.bias[0]) < 3 * found.bias[1]
    assert found.spread[0] == pytest.approx(1.0, abs=0.2)
    other = closure(measurement, split, experiments=20, seed=1)
    assert not np.isin(other.strength, found.strength).any()


def test_one_experiment_is_refused():
    split, measurement, *_ = counted(mc_statistics=True)
    with pytest.raises(InputError, match="give two or more"):
        closure(measurement, split, experiments=1)


@pytest.mark.slow
def test_halves_are_those_of_all_regions():
    """Two counts determine one strength, each with its own share of the simulation."""
    rng = np.random.default_rng(6)
    size = 6000
    process, region = rng.integers(0, 2, size), rng.integers(0, 2, size)
    weight = np.where((process == 1) & (region == 1), 2.0, 1.0) * rng.uniform(0.5, 1.5, size)
    events = dt.Events.from_arrays(
        rng.uniform(size=(size, 1)),
        process,
        weight,
        feature_names=["score"],
        processes=[dt.Process(name="signal", role="signal"), dt.Process(name="background")],
        event_number=np.arange(size),
        folds=5,
        regions=[
            dt.Region(name=name, selection="1", observable="count") for name in ("one", "two")
        ],
        region=region,
    )
    split = CrossFit(events=events)
    found = closure(dt.measure(score, split), split, experiments=EXPERIMENTS)
    information = 0.0
    for place in (0, 1):
        here = region == place
        signal = np.sum(weight[here & (process == 0)])
        information += signal**2 / (np.sum(weight[here]) + 2 * np.sum(weight[here] ** 2))
    assert np.mean(found.claimed) == pytest.approx(information**-0.5, rel=0.03)
    assert found.spread[0] == pytest.approx(1.0, abs=3 * found.spread[1])
    assert abs(found.bias[0]) < 3 * found.bias[1]

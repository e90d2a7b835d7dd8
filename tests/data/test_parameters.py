"""Parameters of the signal as inputs: what backgrounds draw, and what a network makes of it."""

from dataclasses import replace

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import roc_auc_score

import difftune as dt
from difftune.data import VariedSample
from difftune.errors import InputError
from difftune.models import MLP

PROCESSES = [dt.Process(name="signal", role="signal"), dt.Process(name="background")]


def sample(n=4000, masses=(-2.0, -1.0, 1.0, 2.0), *, seed=1, negative=0.0):
    """A bump at the mass on a flat background, half of the events each."""
    rng = np.random.default_rng(seed)
    process = np.arange(n) % 2
    mass = np.where(process == 0, rng.choice(masses, n), -99.0)
    x = np.where(process == 0, mass + 0.4 * rng.normal(size=n), rng.uniform(-3.5, 3.5, n))
    weight = np.where(process == 0, 1.0 + (mass > 0), rng.uniform(0.5, 1.5, n))
    weight = np.where(rng.random(n) < negative, -0.4, weight)
    return dt.Events.from_arrays(
        np.stack([x, mass], axis=1),
        process,
        weight,
        feature_names=["x", "mass"],
        processes=PROCESSES,
        event_number=rng.permutation(10 * n)[:n],
    )


@pytest.mark.parametrize("negative", [0.0, 0.1])
def test_background_has_the_distribution_of_the_signal_in_each_fold(negative):
    events = sample(20000, negative=negative)
    made = events.parametrised("mass")
    mass, signal = np.asarray(made.features)[:, 1], np.asarray(made.label) == 1
    np.testing.assert_array_equal(mass[signal], np.asarray(events.features)[signal, 1])
    for fold in range(5):
        mine = np.asarray(events.fold) == fold
        weight = np.asarray(events.weight, float)
        for value in (-2, -1, 1, 2):
            of_value = mine & (mass == value)
            wanted = weight[of_value & signal].sum() / weight[mine & signal].sum()
            drawn = np.mean(mass[mine & ~signal] == value)
            error = np.sqrt(wanted * (1 - wanted) / np.sum(mine & ~signal))
            assert abs(drawn - wanted) < 4 * error + 1e-3
    # Nothing else of an event decides what it draws.
    x = np.asarray(made.features)[~signal, 0]
    assert scipy.stats.spearmanr(x, mass[~signal]).pvalue > 1e-3


def test_a_draw_is_that_of_the_event_in_any_order_and_in_variations():
    events = sample()
    shifted = events._with_column(0, np.asarray(events.features)[:, 0] + 0.1)
    names = ("signal", "background")
    varied = replace(
        events, variations={"shift": VariedSample(up=shifted, down=None, processes=names)}
    )
    made = varied.parametrised("mass")
    order = np.random.default_rng(0).permutation(len(events))
    shuffled = replace(
        events,
        **{
            name: np.asarray(getattr(events, name))[order]
            for name in ("features", "process", "weight", "fold", "number")
        },
    )
    column = np.asarray(made.features)[:, 1]
    np.testing.assert_array_equal(
        np.asarray(shuffled.parametrised("mass").features)[:, 1], column[order]
    )
    np.testing.assert_array_equal(np.asarray(made.variations["shift"].up.features)[:, 1], column)
    other = np.asarray(events.parametrised("mass", seed=5).features)[:, 1]
    assert 0.2 < np.mean(other != column) < 0.6


def test_at_a_value():
    events = sample()
    made = events.parametrised("mass", at=1.0)
    assert (np.asarray(made.features)[:, 1] == 1.0).all()
    own = np.asarray(events.features)[:, 1]
    assert made.yields()[0] == pytest.approx(np.asarray(events.weight)[own == 1.0].sum())
    assert made.yields()[1] == pytest.approx(events.yields()[1])
    with pytest.raises(InputError, match=r"at=0\.5.*there are -2, -1, 1, 2"):
        events.parametrised("mass", at=0.5)
    with pytest.raises(InputError, match=r"'mas'.*Did you mean 'mass'"):
        events.parametrised("mas")
    holes = events._with_column(1, np.where(own == 1.0, np.nan, own))
    with pytest.raises(InputError, match="of 2000 signal events have no value"):
        holes.parametrised("mass")


def test_between_masses_it_is_as_good_as_a_network_of_that_mass():
    """As in arXiv 1601.07913: trained without the mass that it is asked about."""
    options = {"model": MLP(hidden=(32, 32)), "epochs": 12, "batch_size": 128, "refit": False}
    rate = {"hyperparameters": {"learning_rate": 3e-3}}
    network = dt.train(sample(12000).parametrised("mass"), **options, **rate)
    there = sample(6000, masses=(0.0,), seed=2)
    dedicated = dt.train(there.parametrised("mass"), **options, **rate)
    fresh = sample(8000, masses=(0.0,), seed=3).parametrised("mass", at=0.0)

    def area(own, events):
        return roc_auc_score(events.label, own.score(events), sample_weight=events.weight)

    best = area(dedicated, fresh)
    assert best > 0.9
    assert area(network, fresh) > best - 0.02
    # The same network, told another mass, is worse: it does use it.
    assert area(network, fresh._with_column(1, np.full(len(fresh), 2.0))) < best - 0.2

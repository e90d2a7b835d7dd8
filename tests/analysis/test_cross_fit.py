"""Cross-fitting: every event is measured, by a network that has not seen it."""

import jax.numpy as jnp
import numpy as np
import pytest

import difftune as dt
from difftune.analysis import binned_score
from difftune.errors import InputError
from difftune.training import CrossFitted

PROCESSES = [dt.Process(name="signal", role="signal"), dt.Process(name="background")]
FOLDS = 3


def sample(*, size=3000, shift=1.0, seed=1):
    """Two processes in four features, which separate them by so much."""
    rng = np.random.default_rng(seed)
    process = rng.integers(0, 2, size)
    features = rng.normal(size=(size, 4)) + shift * (process == 0)[:, None]
    weight = np.where(process == 0, 0.1, 1.0)
    return dt.Events.from_arrays(
        features,
        process,
        weight,
        feature_names=["a", "b", "c", "d"],
        processes=PROCESSES,
        event_number=rng.permutation(size),
        folds=FOLDS,
        variations={"scale": (weight * 1.1, weight * 0.9)},
    )


def networks(events, *, epochs=8, hidden=(16,), metric=None):
    crossed = dt.CrossFit(events=events)
    return CrossFitted(
        tuple(
            dt.train(
                rotation,
                model=dt.models.MLP(hidden=hidden),
                epochs=epochs,
                batch_size=100,
                patience=epochs,
                overtraining=dt.training.ScoreGap(limit=np.inf),
                metric=metric,
                hyperparameters={"learning_rate": 1e-2},
            )
            for rotation in crossed.rotations
        )
    ), crossed


@pytest.fixture(scope="module")
def trained():
    return networks(sample())


def test_templates_hold_all_events_each_with_its_own_network(trained):
    network, crossed = trained
    edges = [0.0, 0.3, 0.6, 1.0]
    found = dt.measure(network, crossed, binning=edges, figure="precision")
    events = crossed.events
    for index, process in enumerate(PROCESSES):
        expected, squares = np.zeros(3), np.zeros(3)
        for fold, own in enumerate(network.networks):
            mine = events.select((events.fold == fold) & (events.process == index))
            place = np.digitize(own.score(mine), edges[1:-1])
            expected += np.bincount(place, mine.weight.astype(float), 3)
            squares += np.bincount(place, mine.weight.astype(float) ** 2, 3)
        nominal = found.templates.processes[process.name].nominal
        np.testing.assert_allclose(nominal.sumw, expected, rtol=1e-6)
        np.testing.assert_allclose(nominal.sumw2, squares, rtol=1e-6)
        up, _ = found.templates.processes[process.name].variations["scale"]
        np.testing.assert_allclose(up.sumw, 1.1 * expected, rtol=1e-5)
    assert found.value == pytest.approx(1 / found.merit)


def test_each_network_has_bins_of_its_own_and_no_event_changes_its_bin(trained):
    network, crossed = trained
    found = binned_score(network, crossed, binning=dt.binning.EqualSignal(bins=6))
    scores = found.score(crossed.events)
    every = []
    for fold, (own, rotation) in enumerate(zip(network.networks, crossed.rotations, strict=True)):
        seen = rotation.part("train", "validation")
        rule = dt.binning.EqualSignal(bins=6)
        edges = rule(own.score(seen), seen.weight, seen.label == 1)
        every.append(edges)
        mine = crossed.events.select(crossed.events.fold == fold)
        np.testing.assert_array_equal(
            np.digitize(scores[crossed.events.fold == fold], found.edges[1:-1]),
            np.digitize(own.score(mine), edges[1:-1]),
        )
    np.testing.assert_allclose(found.edges, np.mean(every, axis=0))


def test_networks_have_as_many_bins(trained):
    network, crossed = trained
    # So much background that the networks get different numbers of bins.
    for least in (20.0, 60.0, 120.0):
        found = binned_score(
            network, crossed, binning=dt.binning.EqualSignal(bins=12, min_background=least)
        )
        assert np.all(np.diff(found.edges) > 0)

    def unequal(scores, weight, signal):
        return np.linspace(0, 1, 3 + int(scores.mean() * 1e6) % 7)

    with pytest.raises(InputError, match="need as many"):
        binned_score(network, crossed, binning=unequal)


@pytest.mark.slow
def test_a_network_is_not_measured_on_events_that_it_has_seen(trained):
    network, crossed = trained
    with pytest.raises(InputError, match="which has seen most"):
        dt.measure(network.networks[0], crossed)
    with pytest.raises(InputError, match="measured on all events"):
        dt.measure(network, crossed.rotation(0))
    assert dt.measure(network, crossed.events).stat_only > 0


@pytest.mark.slow
def test_noise_separates_nothing():
    """Features without a difference: large networks learn their events by heart, and gain nothing.

    What all events together would give with one bin is the bound; a network that scores its own
    training events is above it by far.
    """

    def later(scores, batch, hyperparameters, parameters):
        """A score that the last epoch wins, so that networks know their events by heart."""
        return jnp.mean(jnp.abs(scores))

    events = sample(size=1500, shift=0.0)
    network, crossed = networks(events, epochs=40, hidden=(128, 128), metric=later)
    binning = np.linspace(0, 1, 7)
    found = dt.measure(network, crossed, binning=binning)
    counted = dt.measure(network, crossed, binning=[0.0, 1.0])
    rotation = crossed.rotation(0)
    cheated = dt.analysis.fill_templates(
        network.networks[0].score,
        dt.analysis.Split(events=rotation.events, validation_folds=(0,), test_folds=(2,)),
        binning,
    )
    s, b = (cheated.total(role).sumw for role in ("signal", "background"))
    seen = float(dt.inference.asimov_significance(s, b))
    assert found.stat_only < 1.06 * counted.stat_only
    assert seen > 1.5 * counted.stat_only


@pytest.mark.slow
def test_a_function_of_events_is_measured_as_networks_are(trained):
    network, crossed = trained
    edges = [0.0, 0.3, 0.6, 1.0]
    by_network = dt.measure(network, crossed, binning=edges, figure="precision")
    by_function = dt.measure(network.score, crossed, binning=edges, figure="precision")
    assert by_function.workspace == by_network.workspace
    rotation = crossed.rotation(1)
    own = network.networks[1]
    one = dt.measure(own, rotation, bins=4)
    assert dt.measure(lambda events: own.score(events), rotation, bins=4).value == one.value


def test_bins_of_a_function_come_from_the_other_folds(trained):
    _, crossed = trained

    def score(events):
        return 1 / (1 + np.exp(-np.asarray(events.features[:, 0], np.float64)))

    found = binned_score(score, crossed, binning=dt.binning.EqualSignal(bins=4))
    inside = np.digitize(found.score(crossed.events), found.edges[1:-1])
    for fold, rotation in enumerate(crossed.rotations):
        others = rotation.part(*rotation.train_folds, *rotation.validation_folds)
        rule = dt.binning.EqualSignal(bins=4)
        edges = rule(score(others), others.weight, others.label == 1)
        mine = crossed.events.fold == fold
        expected = np.digitize(score(crossed.events)[mine], edges[1:-1])
        np.testing.assert_array_equal(inside[mine], expected)


def test_a_function_gives_a_finite_number_for_each_event(trained):
    _, crossed = trained
    for wrong in (lambda events: np.zeros(3), lambda events: np.full(len(events), np.nan)):
        with pytest.raises(InputError, match="give one number for each"):
            dt.measure(wrong, crossed)

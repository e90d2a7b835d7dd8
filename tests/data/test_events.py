import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.data import Events, Process, VariedSample, VariedWeights
from difftune.errors import InputError

PROCESSES = (
    Process(name="higgs", role="signal"),
    Process(name="ttbar"),
    Process(name="observed", role="data"),
)


def sample(events=200, seed=0, only=None, **options):
    rng = np.random.default_rng(seed)
    process = rng.integers(0, 3, events) if only is None else np.full(events, only)
    return Events.from_arrays(
        rng.normal(size=(events, 2)),
        process,
        rng.normal(1, 0.7, events),
        feature_names=["x", "y"],
        processes=PROCESSES,
        event_number=rng.integers(0, 10**12, events),
        folds=4,
        **options,
    )


def varied_sample():
    nominal = sample()
    up = np.where(nominal.process == 1, nominal.weight * 1.5, nominal.weight)
    return sample(
        variations={
            "isr": (up, nominal.weight),
            "mass": (sample(30, 1, only=0), None),
        }
    )


def test_yields_are_sums_of_weights_by_process():
    events = sample()
    expected = [np.sum(events.weight[events.process == i], dtype=float) for i in range(3)]
    np.testing.assert_allclose(events.yields(), expected)
    assert events.yields().dtype == np.float64
    assert len(events) == 200


def test_roles():
    events = sample()
    assert events.names("signal") == ("higgs",)
    assert events.names("data") == ("observed",)
    np.testing.assert_array_equal(events.label, events.process == 0)
    assert set(events.simulated.process) == {0, 1}
    assert set(events.observed.process) == {2}
    assert events.observed.processes == PROCESSES


def test_folds_are_event_numbers_modulo_folds():
    number = np.array([3, 2**63 + 5, 10, 11], np.uint64)
    events = Events.from_arrays(
        np.zeros((4, 1)),
        np.zeros(4, int),
        np.ones(4),
        feature_names=["x"],
        processes=PROCESSES,
        event_number=number,
        folds=3,
    )
    np.testing.assert_array_equal(events.fold, [int(n) % 3 for n in number])


def test_without_event_number_folds_run_in_each_process():
    events = Events.from_arrays(
        np.zeros((6, 1)),
        np.array([0, 1, 0, 0, 1, 0]),
        np.ones(6),
        feature_names=["x"],
        processes=PROCESSES,
        folds=3,
    )
    np.testing.assert_array_equal(events.fold, [0, 0, 1, 2, 1, 0])


def test_in_folds_takes_nominal_and_varied_events():
    events = varied_sample()
    parts = [events.in_folds([0, 2]), events.in_folds([1]), events.in_folds([3])]
    assert set(parts[0].fold) == {0, 2}
    np.testing.assert_allclose(sum(p.yields() for p in parts), events.yields(), rtol=1e-6)
    for name in ("isr", "mass"):
        whole = events.varied(name, "up")
        split = [p.varied(name, "up") for p in parts]
        assert set(split[1].fold) == {1}
        np.testing.assert_allclose(sum(p.yields() for p in split), whole.yields(), rtol=1e-6)


def test_a_mask_carries_weights_along_and_a_function_also_samples():
    events = varied_sample()
    masked = events.select(events.features[:, 0] > 0)
    assert set(masked.variations) == {"isr"}
    np.testing.assert_array_equal(
        masked.variations["isr"].up, events.variations["isr"].up[events.features[:, 0] > 0]
    )
    chosen = events.select(lambda e: e.features[:, 0] > 0)
    assert set(chosen.variations) == {"isr", "mass"}
    for e in (chosen, chosen.varied("isr", "up"), chosen.varied("mass", "up")):
        assert (e.features[:, 0] > 0).all()


def test_varied_holds_only_touched_processes():
    events = varied_sample()
    up = events.varied("isr", "up")
    assert events.variations["isr"].processes == ("ttbar",)
    assert set(up.process) == {1}
    np.testing.assert_allclose(up.yields()[1], 1.5 * events.yields()[1], rtol=1e-6)
    np.testing.assert_array_equal(up.features, events.features[events.process == 1])
    assert events.variations["mass"].processes == ("higgs",)
    assert events.varied("mass", "down") is None
    assert up.variations == {}


def test_scaled_multiplies_nominal_and_varied_weights():
    events = varied_sample()
    factors = np.array([2.0, 3.0, 0.5])
    scaled = events.scaled(factors)
    np.testing.assert_allclose(scaled.yields(), factors * events.yields(), rtol=1e-6)
    for name in ("isr", "mass"):
        expected = factors * events.varied(name, "up").yields()
        np.testing.assert_allclose(scaled.varied(name, "up").yields(), expected, rtol=1e-6)


def test_scaled_to_gives_each_process_its_yield():
    """A negative one too, as of an interference; what has none stays without."""
    events = sample().scaled(np.array([1.0, -2.0, 0.0]))
    wanted = np.array([30.0, -7.0, 5.0])
    np.testing.assert_allclose(events.scaled_to(wanted).yields(), [30.0, -7.0, 0.0], rtol=1e-6)
    # No scale turns the sign round.
    same = events.scaled_to(-wanted)
    np.testing.assert_array_equal(same.weight, events.weight)


def test_events_are_a_pytree_of_their_arrays():
    events = varied_sample()
    leaves = jax.tree.leaves(events)
    # Five columns, two varied weights, and the five columns of the sample.
    assert len(leaves) == 12
    stacked = jax.tree.map(lambda a: jnp.stack([a, a]), events)

    @jax.jit
    @jax.vmap
    def signal_yield(e):
        return jnp.sum(e.weight * e.label), e.scaled(jnp.array([2.0, 1.0, 1.0])).weight.sum()

    signal, scaled = signal_yield(stacked)
    np.testing.assert_allclose(signal, 2 * [events.yields()[0]], rtol=1e-5)
    np.testing.assert_allclose(scaled, 2 * [events.yields() @ [2, 1, 1]], rtol=1e-5)


def test_processes_are_static_and_hashable():
    process = Process(name="a", files=["x.root", "y.root"])
    assert process == Process(name="a", files=("x.root", "y.root"))
    assert hash(process) == hash(dataclasses.replace(process))


def test_variations_can_be_given_as_objects():
    events = sample()
    weights = VariedWeights(up=events.weight, down=None, processes=("ttbar",))
    other = VariedSample(up=sample(20, 3, only=1), down=None, processes=("ttbar",))
    events = sample(variations={"a": weights, "b": other})
    np.testing.assert_allclose(events.varied("a", "up").yields()[1], events.yields()[1])
    assert len(events.varied("b", "up")) == 20


def arguments(**changes):
    return {
        "features": np.zeros((4, 2)),
        "process": np.array([0, 1, 1, 0]),
        "weight": np.ones(4),
        "feature_names": ["x", "y"],
        "processes": PROCESSES,
    } | changes


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"feature_names": ["x", "x"]}, "feature 'x' is given more than once"),
        ({"feature_names": ["x"]}, "2 columns of features, but 1 feature_names"),
        ({"processes": [PROCESSES[0], PROCESSES[0]]}, "process 'higgs' is given more than once"),
        ({"process": np.array([0, 1, 3, 0])}, "runs from 0 to 3, but there are 3 processes"),
        ({"weight": np.array([1, 1, np.nan, np.inf])}, r"weight: 2 of 4 .* \(nan\) at event 2"),
        ({"features": np.array([[0, 0]] * 3 + [[0, np.inf]])}, r"feature 'y': 1 of 4 .* event 3"),
        ({"variations": {"a": (np.ones(4) * np.nan, None)}}, "variation 'a': 4 of 4"),
        ({"variations": {"a": (np.ones(3), None)}}, "variation 'a': weights"),
        ({"folds": 0}, "folds = 0"),
        ({"event_number": np.arange(3)}, r"event_number \(3,\) does not fit: there are 4 events"),
        ({"event_number": np.arange(4.0)}, "of the type float64: give whole numbers"),
    ],
)
def test_wrong_arrays_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        Events.from_arrays(**arguments(**changes))


def test_nan_features_are_missing_values():
    features = np.array([[0, np.nan]] * 4)
    assert np.isnan(Events.from_arrays(**arguments(features=features)).features[:, 1]).all()


def test_unknown_names_are_refused():
    events = varied_sample()
    with pytest.raises(InputError, match=r"no variation 'isrr'\. Did you mean 'isr'"):
        events.varied("isrr", "up")
    with pytest.raises(InputError, match="fold 4 does not exist: there are 0 to 3"):
        events.in_folds([4])
    with pytest.raises(InputError, match="2 factors for 3 processes"):
        events.scaled(np.ones(2))

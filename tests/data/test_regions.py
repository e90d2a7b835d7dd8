"""Regions, against selections that numpy makes of the columns that were written."""

import dataclasses

import jax
import numpy as np
import pytest

import difftune as dt
from difftune.data import (
    Events,
    FeatureVariation,
    Process,
    Region,
    TreeVariation,
    VariedSample,
    WeightVariation,
    paired,
    read,
)
from difftune.errors import InputError
from tests.data.files import columns, write_root

SIGNAL, TTBAR, TTBAR_UP, DATA = (columns(n, n) for n in (300, 400, 390, 150))
REGIONS = (
    Region(name="sr", selection="n_jets >= 4"),
    Region(
        name="cr",
        selection="(n_jets == 2) | (n_jets == 3)",
        role="control",
        observable="jet_pt / 10",
        edges=[0, 2, 5, 10],
    ),
    Region(name="vr", selection="n_jets == 1", role="validation"),
)
PROCESSES = (
    Process(name="higgs", role="signal", tree="signal"),
    Process(name="ttbar", tree="ttbar"),
    Process(name="observed", role="data", tree="data"),
)


def region_of(data, n_jets=None):
    """Number of the region of each row, -1 for none."""
    n = data["n_jets"] if n_jets is None else n_jets
    return np.select([n >= 4, n >= 2, n == 1], [0, 1, 2], -1)


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return write_root(
        tmp_path_factory.mktemp("regions") / "all.root",
        signal=SIGNAL,
        ttbar=TTBAR,
        ttbar_jes_up=TTBAR_UP,
        data=DATA,
    )


def read_in_regions(file, **options):
    given = {
        "processes": PROCESSES,
        "features": ["x", "jet_pt"],
        "weight": "weight",
        "event_number": "event",
        "folds": 3,
        "regions": REGIONS,
        "variations": [
            WeightVariation("isr", "weight_isr_up", processes=["ttbar"]),
            TreeVariation("jes", "{tree}_jes_up", processes=["ttbar"]),
            FeatureVariation(
                "jer",
                {"n_jets": "n_jets + (jet_pt > 50)", "jet_pt": "1.1 * jet_pt"},
                processes=["higgs"],
            ),
        ],
    }
    return read(file, **(given | options))


def check(events, index, data, weight, region, observable):
    """The events of a process are the rows in a region, in their order."""
    mine, kept = events.process == index, region >= 0
    np.testing.assert_array_equal(events.region[mine], region[kept])
    np.testing.assert_array_equal(events.weight[mine], weight[kept].astype(np.float32))
    np.testing.assert_array_equal(events.features[mine, 0], data["x"][kept])
    expected = np.where(region == 1, observable, np.where(region == 0, np.nan, 0.5))
    np.testing.assert_allclose(events.observable[mine], expected[kept])


def test_events_know_region_and_observable_in_every_sample(file):
    events = read_in_regions(file)
    for index, data in enumerate((SIGNAL, TTBAR)):
        check(events, index, data, data["weight"], region_of(data), data["jet_pt"] / 10)
    check(events, 2, DATA, np.ones(150), region_of(DATA), DATA["jet_pt"] / 10)

    isr = events.varied("isr", "up")
    check(isr, 1, TTBAR, TTBAR["weight_isr_up"], region_of(TTBAR), TTBAR["jet_pt"] / 10)
    jes = events.varied("jes", "up")
    check(jes, 1, TTBAR_UP, TTBAR_UP["weight"], region_of(TTBAR_UP), TTBAR_UP["jet_pt"] / 10)
    jer, more = events.varied("jer", "up"), SIGNAL["n_jets"] + (SIGNAL["jet_pt"] > 50)
    assert np.any(region_of(SIGNAL, more) != region_of(SIGNAL))
    check(jer, 0, SIGNAL, SIGNAL["weight"], region_of(SIGNAL, more), 0.11 * SIGNAL["jet_pt"])


@pytest.mark.slow
@pytest.mark.parametrize("chunk_size", [7, "1 kB"])
def test_chunks_change_nothing(file, chunk_size):
    whole, chunked = read_in_regions(file), read_in_regions(file, chunk_size=chunk_size)
    np.testing.assert_array_equal(chunked.region, whole.region)
    np.testing.assert_array_equal(chunked.observable, whole.observable)


def test_selecting_and_scaling_keep_regions(file):
    events = read_in_regions(file)
    control = events.in_regions("cr")
    assert set(control.region) == {1}
    assert {name: set(control.varied(name, "up").region) for name in events.variations} == {
        "isr": {1},
        "jes": {1},
        "jer": {1},
    }
    assert events.in_regions("signal", "validation").regions == REGIONS
    assert set(events.in_regions("signal", "validation").region) == {0, 2}
    assert events.in_regions("sr", "cr", "vr") is events

    fold = events.in_folds([1])
    kept = (SIGNAL["event"] % 3 == 1) & (region_of(SIGNAL) >= 0)
    np.testing.assert_array_equal(fold.region[fold.process == 0], region_of(SIGNAL)[kept])
    scaled = fold.scaled_to(events.yields())
    np.testing.assert_array_equal(scaled.region, fold.region)
    # A fold stands for the yields of all regions together, not for those of each.
    np.testing.assert_allclose(scaled.yields(), events.yields(), rtol=1e-5)
    by_region = [e.in_regions("cr").yields()[0] for e in (fold, scaled)]
    factor = events.yields()[0] / fold.yields()[0]
    np.testing.assert_allclose(by_region[1], factor * by_region[0], rtol=1e-5)


def test_events_with_regions_are_a_pytree(file):
    events = read_in_regions(file)
    leaves, tree = jax.tree.flatten(events)
    again = jax.tree.unflatten(tree, leaves)
    assert again.regions == REGIONS
    np.testing.assert_array_equal(again.region, events.region)


def test_variables_are_studied_in_signal_regions(file):
    study = dt.selection.Study(read_in_regions(file, folds=5))
    assert set(study.events.region) == {0}


def test_a_row_that_changes_region_is_in_that_of_its_sample(file):
    events = read_in_regions(file)
    rows = paired(events)
    for name, variation in rows.variations.items():
        if not isinstance(variation, VariedSample):
            continue
        original = events.varied(name, "up")
        touched = np.isin(
            rows.process,
            [i for i, p in enumerate(rows.processes) if p.name in variation.processes],
        )
        for region in range(3):
            for edge in (-np.inf, 0.4, 2, 5):
                here = (variation.up.region == region) & touched
                mine = original.region == region
                if region == 1:
                    here &= variation.up.observable >= edge
                    mine &= original.observable >= edge
                np.testing.assert_allclose(
                    variation.up.weight[here].sum(dtype=float),
                    original.weight[mine].sum(dtype=float),
                    rtol=1e-5,
                )
    for region in range(3):
        np.testing.assert_allclose(
            rows.weight[rows.region == region].sum(dtype=float),
            events.weight[events.region == region].sum(dtype=float),
            rtol=1e-5,
        )


def test_from_arrays():
    rng = np.random.default_rng(1)
    region = rng.integers(0, 3, 50)
    options = {"feature_names": ["x"], "processes": PROCESSES[:2], "regions": REGIONS}
    events = Events.from_arrays(
        rng.normal(size=(50, 1)),
        rng.integers(0, 2, 50),
        np.ones(50),
        region=region,
        observable=np.arange(50.0),
        **options,
    )
    np.testing.assert_array_equal(events.region, region)
    expected = np.select([region == 0, region == 2], [np.nan, 0.5], np.arange(50.0))
    np.testing.assert_array_equal(events.observable, expected)
    other = dataclasses.replace(events, regions=REGIONS[:2])
    with pytest.raises(InputError, match="variation 'jes': its events have other regions"):
        Events.from_arrays(
            events.features,
            events.process,
            events.weight,
            region=region,
            observable=np.arange(50.0),
            variations={"jes": (other, None)},
            **options,
        )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"region": None}, "there are 3 regions: give `region`"),
        ({"region": [3, 0]}, "numbers of the 3 regions, counted from 0"),
        ({"region": [0, 1]}, "observable of region 'cr': 1 of 1 values are not finite"),
        ({"region": [0, 1], "observable": [1.0]}, r"observable \(1,\) does not fit"),
        ({"region": [0, 1], "regions": ()}, "give `regions`, too"),
    ],
)
def test_arrays_that_do_not_fit(options, message):
    given = {"feature_names": ["x"], "processes": PROCESSES[:2], "regions": REGIONS}
    given |= {k: np.array(v) if isinstance(v, list) else v for k, v in options.items()}
    with pytest.raises(InputError, match=message):
        Events.from_arrays(np.zeros((2, 1)), np.array([0, 1]), np.ones(2), **given)


def test_regions_that_overlap_are_refused_with_names_and_count(file):
    overlapping = [REGIONS[0], Region(name="cr", selection="n_jets in (3, 4)", role="control")]
    shared = (SIGNAL["n_jets"] == 4).sum()
    first = np.argmax(SIGNAL["n_jets"] == 4)
    with pytest.raises(InputError) as caught:
        read_in_regions(file, regions=overlapping)
    assert (
        "process 'higgs': regions 'sr' and 'cr' overlap: `n_jets >= 4` and `n_jets in (3, 4)` "
        f"share {shared} of the entries 0 to 299 of {file}:signal, the first one at entry {first}. "
        "Make the selections exclude each other."
    ) == str(caught.value)
    # What the common selection leaves out is in no region.
    events = read_in_regions(file, regions=overlapping, selection="n_jets != 4", variations=())
    kept = [(SIGNAL["n_jets"] == n).sum() for n in (5, 3)]
    np.testing.assert_array_equal(np.bincount(events.region[events.process == 0]), kept)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"role": "controll"}, "region 'cr': role 'controll' is none of .*'control'"),
        ({"edges": None}, "region 'cr': observable 'jet_pt / 10' needs edges"),
        ({"edges": [0, 2, 2]}, r"region 'cr': edges \[0.0, 2.0, 2.0\] do not increase"),
        ({"edges": [0]}, r"edges = \[0\]: give two or more finite numbers"),
        ({"edges": 3}, "edges = 3: give two or more finite numbers"),
        ({"observable": "count"}, "region 'cr' has edges, but counts its events in one bin"),
        ({"name": ""}, r"Region\(name=''\): give a string"),
        ({"selection": None}, "selection = None: give an expression"),
    ],
)
def test_regions_that_cannot_be(changes, message):
    with pytest.raises(InputError, match=message):
        dataclasses.replace(REGIONS[1], **changes)


@pytest.mark.parametrize(
    ("regions", "message"),
    [
        (REGIONS[1:], "no region has role 'signal'"),
        ((REGIONS[0], REGIONS[0]), "region 'sr' is given more than once"),
        ("n_jets > 2", "regions = 'n_jets > 2': give a list, as in"),
        (
            (*REGIONS, Region(name="more", selection="n_jetz == 0", role="control")),
            "region 'more': selection: .* no branch 'n_jetz'.*'n_jets'",
        ),
        (
            (*REGIONS, Region(name="more", selection="n_jets == 77", role="control")),
            "region 'more': its selection `n_jets == 77` keeps no simulated events",
        ),
        (
            (dataclasses.replace(REGIONS[1], role="signal", observable="log(x)"), REGIONS[2]),
            r"process 'higgs': region 'cr': observable `log\(x\)`: .* NaN or infinite",
        ),
        (
            (Region(name="sr", selection="event < 9 and n_jets > 3"), *REGIONS[1:]),
            "of 3 .* without signal events: signal events of signal regions in each fold",
        ),
        (
            (Region(name="sr", selection="n_jets == 78"),),
            "process 'higgs': the selection those of the regions keeps no events",
        ),
    ],
)
def test_regions_that_do_not_fit_the_file(file, regions, message):
    with pytest.raises(InputError, match=message):
        read_in_regions(file, regions=regions)

"""Several regions in one fit, against histograms of the ROOT file by numpy, and against pyhf."""

from pathlib import Path

import numpy as np
import pyhf
import pytest
import uproot

import difftune as dt
from difftune.analysis.preparation import Preparation
from difftune.errors import InputError
from difftune.histfactory import FreeNormalisation, Model, NormalisationUncertainty
from difftune.inference import fit, hypotest

pytestmark = pytest.mark.slow

FILE = Path(__file__).parents[2] / "examples" / "single_top" / "single_top.root"
PROCESSES = ("tchannel", "schannel", "ttbar", "wjets", "zjets")
FEATURES = ["lightjet_abs_eta", "top_mass", "mtw", "ht"]
EDGES = [0.0, 60.0, 90.0, 120.0, 200.0]
REGIONS = (
    dt.Region(
        name="cr",
        selection="(n_jets == 3) & (n_bjets == 2)",
        role="control",
        observable="mass_lb",
        edges=EDGES,
    ),
    dt.Region(name="sr", selection="(n_jets == 2) & (n_bjets == 1)"),
    dt.Region(name="vr", selection="(n_jets == 3) & (n_bjets == 1)", role="validation"),
)
# Number of the region by numbers of jets and b jets.
NUMBER = {(3, 2): 0, (2, 1): 1, (3, 1): 2}
NUISANCES = {
    "normalisation": [NormalisationUncertainty("xsec_wjets", 0.2, processes=("wjets",))],
    "free": [FreeNormalisation("k_ttbar", ("ttbar",))],
}


def read_single_top(**options):
    given = {
        "processes": [
            dt.Process(name=n, role="signal" if n == "tchannel" else "background", tree=n)
            for n in PROCESSES
        ],
        "features": FEATURES,
        "weight": "weight",
        "event_number": "event_number",
        "regions": REGIONS,
        "variations": [
            dt.WeightVariation("btag", "weight_btag_up", "weight_btag_down"),
            dt.TreeVariation("jes", "{tree}_jes_up", "{tree}_jes_down"),
        ],
    }
    return dt.read(FILE, **(given | options))


@pytest.fixture(scope="module")
def events():
    return read_single_top()


@pytest.fixture(scope="module")
def tuned(events):
    return dt.tune(
        events,
        model=dt.models.MLP(hidden=(8,)),
        search=dt.search.Random(population=1, rounds=1, epochs_per_round=2),
        overtraining=dt.training.ScoreGap(limit=np.inf),
        seed=3,
    )


@pytest.fixture(scope="module")
def measured(tuned):
    return dt.measure(tuned, tuned.split, bins=4, **NUISANCES)


@pytest.fixture(scope="module")
def rows():
    """Of each tree that is read: region (-1: none), test fold, weights and columns."""
    with uproot.open(FILE) as file:
        found = {}
        for tree in [f"{n}{s}" for n in PROCESSES for s in ("", "_jes_up", "_jes_down")]:
            data = file[tree].arrays(library="np")
            jets = zip(data["n_jets"], data["n_bjets"], strict=True)
            data["region"] = np.array([NUMBER.get(pair, -1) for pair in jets])
            data["test"] = data["event_number"] % 5 == 4
            found[tree] = data
        return found


def templates_by_hand(rows, process, region, values, edges):
    """Nominal, up and down of each variation, of the test fold for the yields of all regions."""
    inner = np.asarray(edges)[1:-1]

    def filled(data, weight):
        kept = (data["region"] >= 0) & data["test"]
        scale = weight[data["region"] >= 0].sum(dtype=float) / weight[kept].sum(dtype=float)
        mine = kept & (data["region"] == region)
        place = np.searchsorted(inner, values(data)[mine], side="right")
        return scale, np.bincount(place, weight[mine], len(inner) + 1)

    data = rows[process]
    scale, nominal = filled(data, data["weight"])
    found = {"nominal": scale * nominal}
    for side in ("up", "down"):
        found[f"btag_{side}"] = scale * filled(data, data[f"weight_btag_{side}"])[1]
        varied = rows[f"{process}_jes_{side}"]
        found[f"jes_{side}"] = scale * filled(varied, varied["weight"])[1]
    return found


def check_templates(templates, rows, region, values):
    for process in PROCESSES:
        expected = templates_by_hand(rows, process, region, values, templates.edges)
        template = templates.processes[process]
        found = {"nominal": template.nominal.sumw}
        for name, sides in template.variations.items():
            found |= {f"{name}_{s}": h.sumw for s, h in zip(("up", "down"), sides, strict=True)}
        assert found.keys() == expected.keys()
        for name, yields in expected.items():
            np.testing.assert_allclose(found[name], yields, rtol=2e-5, atol=1e-3)


def test_templates_are_histograms_of_the_file(measured, tuned, rows):
    (control,), (validation,) = measured.others, measured.validation
    assert [t.channel for t in (*measured.fitted, validation)] == ["sr", "cr", "vr"]
    np.testing.assert_array_equal(control.edges, EDGES)
    check_templates(control, rows, 0, lambda data: data["mass_lb"])
    check_templates(validation, rows, 2, lambda data: np.full(len(data["weight"]), 0.5))

    def score(data):
        return tuned.network.score(np.stack([data[name] for name in FEATURES], axis=1))

    assert len(measured.templates.edges) > 3
    check_templates(measured.templates, rows, 1, score)


def test_networks_are_trained_in_signal_regions(tuned, events, rows):
    x, w = [], []
    for process in PROCESSES:
        data = rows[process]
        train = (data["event_number"] % 5 < 3) & (data["region"] == 1)
        mine = data["region"] == 1
        scale = data["weight"][mine].sum(dtype=float) / data["weight"][train].sum(dtype=float)
        x.append(np.stack([data[name][train] for name in FEATURES], axis=1))
        w.append(np.abs(scale * data["weight"][train]))
    mean = np.average(np.concatenate(x), axis=0, weights=np.concatenate(w))
    np.testing.assert_allclose(tuned.network.transform.center, mean, rtol=1e-4)

    everywhere = dt.analysis.Preparation(
        split=tuned.split, regions=("signal", "control", "validation")
    )
    assert everywhere.sample.events is events
    with pytest.raises(InputError, match=r"there is no region 'srr'.*'sr'"):
        dt.train(events, regions=["srr"], epochs=1)
    plain = read_single_top(regions=(), variations=())
    with pytest.raises(InputError, match=r"there is no region 'sr'\. Known: none"):
        dt.train(plain, regions=["sr"], epochs=1)


@pytest.fixture
def _minuit():
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-3))
    yield
    pyhf.set_backend("numpy")


@pytest.mark.usefixtures("_minuit")
def test_all_fitted_regions_are_one_fit_as_pyhf_makes_it(measured):
    workspace = pyhf.Workspace(measured.workspace)
    assert workspace.channel_slices.keys() == {"sr", "cr"}
    theirs = workspace.model()
    ours = Model.from_spec(measured.workspace)
    data = workspace.data(theirs)
    start = np.array(theirs.config.suggested_init())
    moved = start * np.random.default_rng(1).uniform(0.99, 1.01, len(start))
    np.testing.assert_allclose(ours.logpdf(moved), theirs.logpdf(moved, data)[0], rtol=1e-9)

    best, value = pyhf.infer.mle.fit(data, theirs, return_fitted_val=True)
    found = fit(ours)
    assert found.twice_nll == pytest.approx(float(value), abs=1e-3)
    names = list(found.names)
    assert found.parameter("k_ttbar")[0] == pytest.approx(best[names.index("k_ttbar")], abs=1e-3)

    # A strength that is neither sure nor excluded.
    tested = 1 + 1.5 * found.parameter("mu")[1]
    observed, expected = pyhf.infer.hypotest(tested, data, theirs, return_expected=True)
    cls = hypotest(tested, ours)
    assert float(cls.observed) == pytest.approx(float(observed), rel=5e-3)
    assert float(cls.expected[2]) == pytest.approx(float(expected), rel=5e-3)


def observed_and_simulated(events, factor):
    """The events with observed ones: of each simulated one as many as the ttbar yield, scaled."""
    processes = (*events.processes, dt.Process(name="observed", role="data"))
    names = [process.name for process in events.processes]
    weight = np.asarray(events.weight) * np.where(events.process == names.index("ttbar"), factor, 1)
    twice = {
        name: np.concatenate([getattr(events, name)] * 2)
        for name in ("features", "number", "region", "observable")
    }
    return dt.Events.from_arrays(
        twice["features"],
        np.concatenate([events.process, np.full(len(events), len(names))]),
        np.concatenate([events.weight, weight]),
        feature_names=FEATURES,
        processes=processes,
        event_number=twice["number"],
        regions=REGIONS,
        region=twice["region"],
        observable=twice["observable"],
    )


@pytest.mark.usefixtures("_minuit")
def test_signal_regions_stay_blinded_and_follow_what_control_regions_say(tuned, events):
    split = dt.analysis.Split(events=observed_and_simulated(events, 1.2))
    free = {"free": NUISANCES["free"], "bins": 4}
    blind = dt.measure(tuned.network, split, **free)
    assert blind.blinded == ("sr",)
    assert blind.data == "observed data (cr) and Asimov data (sr, blinded)"
    (control,), (validation,) = blind.others, blind.validation
    assert blind.templates.data is None
    assert validation.data is not None
    np.testing.assert_allclose(
        control.data.sumw.sum(), split.events.observed.in_regions("cr").yields()[-1], rtol=1e-6
    )

    # The control region alone, in pyhf: its parameters are what the signal region is expected with.
    spec = blind.workspace
    alone = pyhf.Workspace(
        spec | {k: [c for c in spec[k] if c["name"] == "cr"] for k in ("channels", "observations")}
    )
    model = alone.model()
    names = model.config.par_names
    fixed = [name == "mu" for name in names]
    best = pyhf.infer.mle.fit(alone.data(model), model, fixed_params=fixed)
    values = dict(zip(names, best, strict=True))
    assert values["k_ttbar"] == pytest.approx(1.2, abs=0.1)
    everything = pyhf.Workspace(spec).model()
    start = everything.config.suggested_init()
    point = [values.get(n, s) for n, s in zip(everything.config.par_names, start, strict=True)]
    main = everything.expected_actualdata(point)
    expected = main[everything.config.channel_slices["sr"]]
    (asimov,) = [o["data"] for o in spec["observations"] if o["name"] == "sr"]
    np.testing.assert_allclose(asimov, expected, rtol=1e-3)
    # So the fit finds no tension between the two.
    assert fit(Model.from_spec(spec)).parameter("mu")[0] == pytest.approx(1, abs=0.02)

    seen = dt.measure(tuned.network, split, unblind=True, **free)
    assert seen.data == "observed data"
    assert seen.blinded == ()
    scores = tuned.network.score(split.events.observed.in_regions("sr"))
    weight = split.events.observed.in_regions("sr").weight.astype(float)
    counts = np.histogram(scores, [-1, *seen.templates.edges[1:-1], 2], weights=weight)[0]
    np.testing.assert_allclose(seen.templates.data.sumw, counts, rtol=1e-5)
    assert seen.expected == blind.expected

    share = {
        t.channel: np.max(t.total("signal").sumw / t.total().sumw) for t in (control, validation)
    }
    assert min(share.values()) > 0.01
    assert max(share.values()) < 0.1
    for above, hidden, data in (
        (share["cr"] + 1e-6, {"sr"}, blind.data),
        (share["cr"] - 1e-6, {"sr", "cr"}, "Asimov data, blinded"),
        (share["vr"] + 1e-6, {"sr"}, None),
        (share["vr"] - 1e-6, {"sr", "vr"}, None),
    ):
        found = dt.measure(tuned.network, split, blind_above=above, **free)
        assert hidden <= set(found.blinded)
        assert data in (None, found.data)
    assert set(dt.measure(tuned.network, split, blind_above=0.3, **free).blinded) == {"sr"}


def test_the_control_region_determines_what_is_free(tuned, measured):
    without = dict(measured.workspace)
    for key in ("channels", "observations"):
        without[key] = [each for each in without[key] if each["name"] == "sr"]
    together, alone = (
        fit(Model.from_spec(spec)).parameter("k_ttbar")[1] for spec in (measured.workspace, without)
    )
    assert together < 0.7 * alone


def test_bins_of_the_score_in_each_region(tuned):
    split = tuned.split
    events = split.events
    regions = (
        dt.Region(name="low", selection="mtw < 60"),
        dt.Region(name="high", selection="mtw >= 60", role="signal", edges=[0, 0.3, 1]),
        dt.Region(name="check", selection="", role="validation", observable="score"),
    )
    # The regions of the file anew, by a feature.
    index = np.where(events.region == 2, 2, np.asarray(events.features)[:, 2] >= 60)
    split = dt.analysis.Split(
        events=dt.Events.from_arrays(
            events.features,
            events.process,
            events.weight,
            feature_names=FEATURES,
            processes=events.processes,
            event_number=events.number,
            regions=regions,
            region=index,
        )
    )
    result = dt.measure(tuned.network, split, binning={"low": dt.binning.EqualSignal(bins=3)})
    low, (high,), (check,) = result.templates, result.others, result.validation
    assert [low.channel, high.channel, check.channel] == ["low", "high", "check"]
    assert len(low.edges) == 4
    np.testing.assert_array_equal(high.edges, [0, 0.3, 1])
    np.testing.assert_array_equal(check.edges, low.edges)
    inside = split.in_regions("low")
    scores = tuned.network.score(inside.part("train", "validation"))
    edges = dt.binning.EqualSignal(bins=3)(
        scores,
        inside.part("train", "validation").weight,
        inside.part("train", "validation").label == 1,
    )
    np.testing.assert_array_equal(low.edges, edges)

    one = dt.analysis.fill_templates(tuned.network, split, channel="high")
    np.testing.assert_array_equal(one.total().sumw, high.total().sumw)
    with pytest.raises(InputError, match=r"binning: no region 'lou' is binned.*'low'"):
        dt.measure(tuned.network, split, binning={"lou": "exact"})
    with pytest.raises(InputError, match="channel 'low': the score has no bins; give edges"):
        dt.analysis.fill_templates(tuned.network, split, channel="low")
    with pytest.raises(InputError, match=r"there is no region 'hight'.*'high'"):
        dt.analysis.fill_templates(tuned.network, split, channel="hight")


def test_a_region_needs_bins_of_the_score_to_share(tuned):
    regions = (
        dt.Region(name="sr", selection="", observable="count"),
        dt.Region(name="vr", selection="", role="validation", observable="score"),
    )
    events = tuned.split.events
    split = dt.analysis.Split(
        events=dt.Events.from_arrays(
            events.features,
            events.process,
            events.weight,
            feature_names=FEATURES,
            processes=events.processes,
            event_number=events.number,
            regions=regions,
            region=np.asarray(events.region == 2, int),
        )
    )
    with pytest.raises(InputError, match="region 'vr' is binned in the score as the signal"):
        dt.measure(tuned.network, split)


def test_cross_fitted_networks_measure_all_regions(events, rows):
    events = read_single_top(variations=(), folds=3)
    crossed = dt.analysis.CrossFit(events=events)
    network = dt.CrossFitted(
        [
            dt.train(rotation, model=dt.models.MLP(hidden=(4,)), epochs=1, seed=1)
            for rotation in crossed.rotations
        ]
    )
    result = dt.measure(network, crossed, bins=3)
    (control,) = result.others
    for process in PROCESSES:
        data = rows[process]
        for templates, region in ((result.templates, 1), (control, 0)):
            total = data["weight"][data["region"] == region].sum(dtype=float)
            found = templates.processes[process].nominal.sumw.sum()
            assert found == pytest.approx(total, rel=1e-5)
    # All simulated events count.
    assert control.processes["ttbar"].nominal.counts().sum() > 4000


def test_too_few_events_of_a_region_are_refused_before_the_training(events):
    """Of Z + jets there are three in the region, and so none in some folds."""
    regions = (
        dt.Region(name="sr", selection="(n_jets == 2) & (n_bjets == 1)"),
        dt.Region(name="rare", selection="(n_jets == 3) & (n_bjets == 2) & (met > 80)"),
    )
    few = read_single_top(regions=regions, variations=())
    zjets = np.asarray(few.process) == PROCESSES.index("zjets")
    assert np.count_nonzero(zjets & (np.asarray(few.region) == 1)) < few.folds
    crossed = dt.analysis.CrossFit(events=few)
    with pytest.raises(InputError, match=r"signal region 'rare': process 'zjets' has .* of 0 in"):
        dt.analysis.check_model(crossed, channel="sr")
    dt.analysis.check_model(dt.analysis.CrossFit(events=events), channel="sr")


def test_what_is_learned_from_control_regions_does_not_fill_the_bins_of_the_score(tuned):
    """Physics weights, varied ones too, are those of the signal region alone."""
    alone = Preparation(split=tuned.split)
    both = Preparation(
        split=tuned.split, regions=("signal", "control"), given_transform=alone.transform
    )
    recipe = dt.Recipe()
    want = alone.columns(recipe, alone.sample.validation, varied=True)
    found = both.columns(recipe, both.sample.validation, varied=True)
    assert len(found.weight) > len(want.weight)
    assert np.count_nonzero(found.training_weight) > np.count_nonzero(found.weight)

    def rows(columns, weight):
        filled = np.column_stack([weight, columns.process, columns.features])[weight != 0]
        return filled[np.lexsort(filled.T)]

    np.testing.assert_allclose(rows(found, found.weight), rows(want, want.weight), rtol=1e-5)
    for name in ("btag", "jes"):
        ours, theirs = (each.variations[name].up for each in (found, want))
        for process in range(len(PROCESSES)):
            sums = [
                each.weight[columns.process == process].sum()
                for each, columns in ((ours, found), (theirs, want))
            ]
            np.testing.assert_allclose(*sums, rtol=1e-3)

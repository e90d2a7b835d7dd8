"""Normalisation to expected events: against sums that numpy and uproot make of the same files."""

from pathlib import Path

import numpy as np
import pytest
import uproot

import difftune as dt
from difftune.errors import InputError
from tests.data.files import write_root

RUNS = {"tree": "Runs", "branch": "genEventSumw"}


def sample(folder: Path, name: str, *, events=400, seed=0, first=0, sums=(300.0, 700.0)) -> str:
    rng = np.random.default_rng(seed)
    columns = {
        "event": np.arange(events) + first,
        "x": rng.normal(size=events),
        "w": rng.normal(2.0, 0.5, events),
        "up": rng.normal(1.1, 0.1, events),
        "trigger": rng.random(events) < 0.5,
    }
    sums_ = np.array(sums, float)
    runs = {"genEventSumw": sums_, "scale": np.linspace(0.9, 1.2, len(sums_))}
    file = write_root(folder / f"{name}.root", Events=columns, Runs=runs)
    with uproot.update(file) as opened:
        counts, edges = np.array([10.0, 4000.0, 3.0]), np.arange(4.0)
        opened["CutBookkeeper_123_NOSYS"] = (counts, edges)
    return file


@pytest.fixture
def files(tmp_path):
    return {
        "signal": [sample(tmp_path, "signal", seed=1)],
        "top": [
            sample(tmp_path, "top_a", seed=2),
            sample(tmp_path, "top_b", seed=3, first=400, sums=(50.0,)),
        ],
    }


def read(files, *, signal=None, top=None, **options):
    processes = [
        dt.Process(
            name="signal",
            role="signal",
            files=files["signal"],
            tree="Events",
            **{"cross_section": 2.0} | (signal or {}),
        ),
        dt.Process(
            name="top", files=files["top"], tree="Events", **{"cross_section": 830.0} | (top or {})
        ),
    ]
    given = {"features": ["x"], "weight": "w", "event_number": "event", "luminosity": 0.5}
    given |= {"sum_of_weights": RUNS}
    return dt.read(processes=processes, **given | options)


def summed(files, branch="w", tree="Events"):
    return sum(uproot.open(file)[tree][branch].array(library="np").sum() for file in files)


def test_sum_of_a_metadata_tree_over_all_files(files):
    events = read(files, top={"k_factor": 1.5})
    expected = [
        summed(files["signal"]) * 1000 * 0.5 * 2.0 / 1000,
        summed(files["top"]) * 1000 * 0.5 * 830 * 1.5 / 1050,
    ]
    np.testing.assert_allclose(events.yields(), expected, rtol=1e-5)
    one, other = events.normalisations
    assert (one.sum_of_weights, other.sum_of_weights) == (1000.0, 1050.0)
    assert (other.files, other.entries) == (2, 800)
    # Events of one weight w each stand for L / w times as many at another luminosity.
    weight = events.weight[events.process == 1].astype(float)
    assert other.effective_luminosity == pytest.approx(0.5 * weight.sum() / (weight**2).sum())


def test_equal_weights_have_the_luminosity_that_was_generated(files):
    """400 events of 2 pb are worth 0.2 / fb, whatever they are scaled to."""
    for luminosity in (0.1, 140.0):
        events = read(files, weight="1", signal={"sum_of_weights": 400}, luminosity=luminosity)
        assert events.normalisations[0].effective_luminosity == pytest.approx(0.2, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "total"),
    [
        (4000, 4000.0),
        ({"histogram": "CutBookkeeper_*_NOSYS", "bin": 2}, 4000.0),
        ({"tree": "Runs", "branch": "genEventSumw * scale"}, 300 * 0.9 + 700 * 1.2),
        (dt.SumOfWeights(tree="Events", branch="w"), None),
    ],
)
def test_forms_of_the_sum(files, given, total):
    events = read(files, signal={"sum_of_weights": given})
    total = summed(files["signal"]) if total is None else total
    assert events.normalisations[0].sum_of_weights == pytest.approx(total)
    expected = 1000 * 0.5 * 2.0 * summed(files["signal"]) / total
    assert events.yields()[0] == pytest.approx(expected, rel=1e-5)


def test_a_label_of_a_bin(files, tmp_path):
    import hist

    counts = hist.Hist(hist.axis.StrCategory(["all", "sum of weights"], name="cut"))
    counts.fill(["all", "sum of weights", "sum of weights"])
    with uproot.recreate(tmp_path / "labelled.root") as file:
        file["cuts"] = counts
        file.mktree("Events", {"x": "f8", "w": "f8", "event": "i8"})
        ones = np.ones(400)
        file["Events"].extend({"x": ones, "w": ones, "event": np.arange(400)})
    files["signal"] = str(tmp_path / "labelled.root")
    found = {"histogram": "cuts", "bin": "sum of weights"}
    events = read(files, signal={"sum_of_weights": found})
    assert events.normalisations[0].sum_of_weights == 2.0
    with pytest.raises(InputError, match=r"no bin 'sum'.*labels are all, sum of weights"):
        read(files, signal={"sum_of_weights": found | {"bin": "sum"}})


def test_varied_weights_follow_and_may_have_their_own_sum(files):
    own = {"tree": "Runs", "branch": "genEventSumw * scale"}
    plain = dt.WeightVariation("isr", "{weight} * up")
    scaled = dt.WeightVariation("isr", "{weight} * up", sum_of_weights_up=own)
    nominal, varied = (read(files, variations=[each]) for each in (plain, scaled))
    ratio = 1000 / (300 * 0.9 + 700 * 1.2)
    signal = nominal.process == 0
    up, other = nominal.variations["isr"].up[signal], varied.variations["isr"].up[signal]
    np.testing.assert_allclose(other, up * ratio, rtol=1e-5)
    with uproot.open(files["signal"][0]) as file:
        w, factor = (file["Events"][name].array(library="np") for name in ("w", "up"))
    np.testing.assert_allclose(up, w * factor * 1000 * 0.5 * 2.0 / 1000, rtol=1e-5)


def test_other_files_have_sums_of_their_own(files, tmp_path):
    other = sample(tmp_path, "other", seed=5, sums=(10.0, 20.0))
    generator = dt.TreeVariation("generator", files_up=other, processes="signal")
    events = read(files, variations=[generator])
    expected = summed([other]) * 1000 * 0.5 * 2.0 / 30
    assert events.variations["generator"].up.yields()[0] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match=r"'signal' \(variation.*give sum_of_weights_up"):
        read(files, variations=[generator], signal={"sum_of_weights": 1000.0})


PARTS = [{"name": "a", "cross_section": 10.0}, {"name": "b", "cross_section": 3.0}]


def in_parts(files, *, of=PARTS, **more):
    parts = [{"files": file} | part | more for file, part in zip(files["top"], of, strict=True)]
    return {"cross_section": None, "parts": parts}


def test_parts_are_one_process_with_a_normalisation_each(files):
    events = read(files, top=in_parts(files))
    expected = 500 * (10 * summed(files["top"][:1]) / 1000 + 3 * summed(files["top"][1:]) / 50)
    assert events.yields()[1] == pytest.approx(expected, rel=1e-5)
    assert [each.part for each in events.normalisations] == ["", "a", "b"]
    assert [p.name for p in events.processes] == ["signal", "top"]


def test_parts_select_and_weigh_for_themselves(files):
    file = files["top"][0]
    parts = [
        dt.Part(name="fired", files=file, selection="trigger", weight="2 * w"),
        dt.Part(name="not", files=file, selection="not trigger"),
    ]
    events = read(files, top={"parts": parts})
    with uproot.open(file) as opened:
        w, trigger = (opened["Events"][name].array(library="np") for name in ("w", "trigger"))
    expected = np.where(trigger, 2 * w, w).sum() * 500 * 830 / 1000
    assert events.yields()[1] == pytest.approx(expected, rel=1e-5)
    parts[1] = dt.Part(name="not", files=file, selection="x < 0")
    with pytest.raises(InputError, match=r"parts 'fired' and 'not' of process 'top' overlap"):
        read(files, top={"parts": parts})


def test_periods_have_luminosities_of_their_own(files):
    periods = [{"name": "2017", "luminosity": 0.3}, {"name": "2018", "luminosity": 0.2}]
    top = in_parts(files, of=periods) | {"cross_section": 830.0}
    events = read(files, top=top)
    expected = 830e3 * (0.3 * summed(files["top"][:1]) / 1000 + 0.2 * summed(files["top"][1:]) / 50)
    assert events.yields()[1] == pytest.approx(expected, rel=1e-5)
    with pytest.raises(InputError, match=r"different luminosities: .*'top' are of 0.5.*0.6"):
        read(files, top=top, luminosity=0.6)


def streams(files, role, *parts, **options):
    return dt.read(
        processes=[
            dt.Process(name="signal", role="signal", files=files["signal"], tree="Events"),
            dt.Process(name="top", files=files["top"], tree="Events"),
            dt.Process(name="shared", role=role, tree="Events", parts=parts),
        ],
        features=["x"],
        weight="w",
        event_number="event",
        **options,
    )


def test_parts_that_share_events_are_refused_with_the_first_key(files, tmp_path):
    egamma = dt.Part(name="egamma", files=sample(tmp_path, "egamma", seed=7))
    # Numbers from 250 on are in both, with other features.
    muon = dt.Part(name="muon", files=sample(tmp_path, "muon", seed=7, first=250))
    with pytest.raises(InputError, match=r"'egamma' and 'muon' overlap.* 150 events.*event = 250 "):
        streams(files, "data", egamma, muon)
    assert len(streams(files, "data", egamma, muon, duplicates="allow")) == 400 + 800 + 800
    # Generated samples number their events alike: the same event has the same features.
    assert len(streams(files, "background", egamma, muon)) == 400 + 800 + 800
    copy = dt.Part(name="copy", files=sample(tmp_path, "copy", seed=7), weight="2 * w")
    with pytest.raises(InputError, match=r"'egamma' and 'copy' overlap.* 400 events.*event = 0 "):
        streams(files, "background", egamma, copy)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"luminosity": None}, r"'signal' has a cross_section, and there is no luminosity"),
        ({"sum_of_weights": None}, r"'signal' has a cross_section and no sum_of_weights"),
        (
            {"signal": {"cross_section": None}, "top": {"cross_section": None}},
            r"luminosity = 0.5 has no effect",
        ),
        (
            {"signal": {"cross_section": None, "k_factor": 1.2}},
            r"'signal' has k_factor, but no cross_section",
        ),
        (
            {"sum_of_weights": {"tree": "Run", "branch": "genEventSumw"}},
            r"signal.root' has no tree 'Run'.*cannot be normalised",
        ),
        (
            {"sum_of_weights": {"tree": "Runs", "branch": "genEventSum"}},
            r"signal.root:Runs has no branch 'genEventSum'. Did you mean 'genEventSumw'",
        ),
        (
            {"sum_of_weights": {"tree": "Runs", "branch": "0 * genEventSumw"}},
            r"`0 \* genEventSumw` of Runs, is 0 in .*signal.root \(0\)",
        ),
        (
            {"sum_of_weights": {"histogram": "cuts", "bin": 1}},
            r"no histogram 'cuts'. Histograms in it: CutBookkeeper_123_NOSYS",
        ),
        (
            {"sum_of_weights": {"histogram": "CutBookkeeper_123_NOSYS", "bin": 4}},
            r"has the bins 1 to 3, and no bin 4",
        ),
        ({"sum_of_weights": {"tree": "Runs"}}, r"has tree: give tree and branch"),
        ({"sum_of_weights": 0}, r"sum_of_weights = 0: events cannot be normalised"),
        ({"signal": {"cross_section": -1}}, r"cross_section = -1: give a number above 0"),
        ({"luminosity": 0}, r"luminosity = 0: give a number above 0"),
    ],
)
def test_what_cannot_be_normalised(files, change, said):
    with pytest.raises(InputError, match=said):
        read(files, **change)


def test_data_are_not_normalised(files):
    with pytest.raises(InputError, match="cross_section is of simulated events"):
        dt.read(
            processes=[
                dt.Process(name="s", role="signal", files=files["signal"], tree="Events"),
                dt.Process(name="b", files=files["top"], tree="Events"),
                dt.Process(
                    name="d", role="data", files=files["top"], tree="Events", cross_section=1.0
                ),
            ],
            features=["x"],
        )


def test_one_part_without_a_cross_section(files):
    top = in_parts(files, of=[PARTS[0], {"name": "b"}])
    with pytest.raises(InputError, match=r"part 'b' has no cross_section, and other parts have"):
        read(files, top=top)

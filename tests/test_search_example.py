"""The search example: its second file, and what the analysis file makes of both, by uproot."""

import json
from pathlib import Path

import numpy as np
import pytest
import uproot

from difftune import job

FOLDER = Path(__file__).parents[1] / "examples"
FILES = (
    FOLDER / "schannel" / "both_tagged.root",
    FOLDER / "single_top" / "single_top.root",
)
PROCESSES = ("schannel", "tchannel", "ttbar", "wjets")
# Tree of each sample, and with how many b tags: W + jets is two of them.
SAMPLES = {name: (name, (1, 2)) for name in PROCESSES} | {
    "wjets": ("wjets", (1,)),
    "wbb": ("wjets", (2,)),
}
# Jets and b jets of each region.
REGIONS = {"signal_2j2t": (2, 2), "signal_3j2t": (3, 2), "control_2j1t": (2, 1)}


@pytest.fixture(scope="module")
def trees():
    """Of each file the trees that the search reads."""
    found = []
    for path in FILES:
        with uproot.open(path) as file:
            names = [f"{p}{s}" for p in PROCESSES for s in ("", "_jes_up", "_jes_down")]
            found.append({name: file[name].arrays(library="np") for name in names})
    return found


@pytest.mark.slow
def test_yields_of_regions_are_those_of_the_files(trees):
    config = job.load(FOLDER / "schannel" / "schannel.toml", ["systematics=[]"])
    events = job.build.events(config)
    assert [process.name for process in events.processes] == list(SAMPLES)
    for region, (jets, tags) in REGIONS.items():
        expected = []
        for process, numbers in SAMPLES.values():
            mine = [
                (tree["n_jets"] == jets) & (tree["n_bjets"] == tags) & (tags in numbers)
                for tree in (file[process] for file in trees)
            ]
            pairs = zip(trees, mine, strict=True)
            expected.append(sum(f[process]["weight"][kept].sum(dtype=float) for f, kept in pairs))
        np.testing.assert_allclose(events.in_regions(region).yields(), expected, rtol=1e-5)


def test_the_second_file_is_one_more_region_of_the_first(trees):
    second, first = trees
    with uproot.open(FILES[0]) as file:
        metadata = json.loads(str(file["metadata"]))
    for name, tree in second.items():
        assert set(tree) == set(first[name])
        assert all(np.isfinite(values).all() for values in tree.values())
        # Only what the other file leaves out, and no event of it.
        assert set(tree["n_jets"]) == {2}
        assert set(tree["n_bjets"]) == {2}
        assert not np.isin(tree["event_number"], first[name]["event_number"]).any()
        assert len(np.unique(tree["event_number"])) == len(tree["event_number"])
        # The jet that would be the untagged one is the tagged one of lower pT.
        assert (tree["lightjet_pt"] <= tree["bjet_pt"]).all()
        assert (tree["lightjet_abs_eta"] <= 2.5).all()
    for process in PROCESSES:
        # Nothing is drawn or thinned out in the cutflow.
        weight = second[process]["weight"].astype(float)
        expected = metadata["processes"][process]["cutflow"]["b-tag"]
        assert abs(weight.sum() - expected) < 4 * np.sqrt((weight**2).sum())


def test_the_signal_is_where_both_jets_are_tagged(trees):
    """Two b quarks of the hard process: the share of the signal is several times that elsewhere."""
    share = []
    for file, (jets, tags) in zip(trees, ((2, 2), (2, 1)), strict=True):
        yields = {}
        for process in PROCESSES:
            tree = file[process]
            mine = (tree["n_jets"] == jets) & (tree["n_bjets"] == tags)
            yields[process] = tree["weight"][mine].sum(dtype=float)
        share.append(yields["schannel"] / sum(yields.values()))
    assert share[0] > 3 * share[1]

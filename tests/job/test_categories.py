"""A region for each sample from the analysis file to the workspace, against counts and pyhf."""

import json

import numpy as np
import pyhf
import pytest
import uproot

from difftune.errors import InputError
from difftune.job import from_dict, load, run
from difftune.job.stages import Job
from difftune.training import load_network

NAMES = ("tchannel", "ttbar", "wjets")
CONFIG = """
[data]
files = "events.root"
features = ["a", "b"]
weight = "weight"
event_number = "number"
validation_folds = [3]
test_folds = [4]

[[samples]]
name = "tchannel"
role = "signal"
tree = "tchannel"

[[samples]]
name = "ttbar"
tree = "ttbar"

[[samples]]
name = "wjets"
tree = "wjets"

[[systematics]]
name = "btag"
type = "weight"
up = "{weight} * (1 + 0.1 * (a > 0))"

[[norm_factors]]
name = "mu_ttbar"
samples = ["ttbar"]

[fit]
categories = true
bins = 3

[[objective]]
name = "categorical_cross_entropy"

[model]
hidden = [8]

[hyperparameters]
learning_rate = 0.01

[training]
batch_size = 256
score = "significance"

[search]
strategy = "random"
population = 2
rounds = 2
epochs_per_round = 2

[comparison]
seeds = 1
replicas = 5
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Three processes around three points."""
    folder = tmp_path_factory.mktemp("categories")
    rng = np.random.default_rng(1)
    points = [[2.0, 0.0], [-1.0, 1.7], [-1.0, -1.7]]
    with uproot.recreate(folder / "events.root") as file:
        for number, (name, point) in enumerate(zip(NAMES, points, strict=True)):
            x = point + rng.normal(size=(2000, 2))
            file[name] = {
                "a": x[:, 0],
                "b": x[:, 1],
                "weight": np.full(2000, [0.2, 0.3, 0.5][number]),
                "number": np.arange(2000),
            }
    (folder / "categories.toml").write_text(CONFIG)
    return folder


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_each_sample_has_a_channel_of_the_events_most_like_it(folder):
    outcome = run(load(folder / "categories.toml"), folder / "run")
    workspace = json.loads((folder / "run" / "workspace.json").read_text())
    assert [channel["name"] for channel in workspace["channels"]] == list(NAMES)
    network = load_network(folder / "run" / "network")
    for number, name in enumerate(NAMES):
        with uproot.open(folder / "events.root") as file:
            test = file[name].arrays(library="np")
        kept = test["number"] % 5 == 4
        events = outcome.stages[-1].split.test
        events = events.select(np.asarray(events.process) == number)
        most = np.argmax(network.class_probabilities(events), axis=1)
        for place, channel in enumerate(workspace["channels"]):
            (sample,) = [each for each in channel["samples"] if each["name"] == name]
            # The test events stand for all.
            expected = 5 * test["weight"][kept][most == place].sum()
            assert sum(sample["data"]) == pytest.approx(expected, rel=1e-4)
    # pyhf finds the same precision, with the yield of a background that its own region determines.
    model = pyhf.Workspace(workspace).model()
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer())
    found = pyhf.infer.mle.fit(
        pyhf.Workspace(workspace).data(model), model, return_uncertainties=True
    )
    fit = json.loads((folder / "run" / "results.json").read_text())["fit"]
    for name in ("mu", "mu_ttbar"):
        own = dict(zip(fit["names"], fit["uncertainties"], strict=True))[name]
        assert own == pytest.approx(found[model.config.par_slice(name).start, 1], rel=0.02)
    assert len(outcome.ladder.rungs) == 2
    drawn = {path.stem for path in (folder / "run" / "plots").glob("*.png")}
    assert any("wjets" in name for name in drawn)


def raw(**changes):
    given = {
        "data": {"files": "a.root", "features": ["x"]},
        "samples": [{"name": "a", "role": "signal"}, {"name": "b"}],
        "fit": {"categories": True},
        "objective": [{"name": "categorical_cross_entropy"}],
    }
    return given | changes


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regions": [{"name": "r", "selection": "x > 0"}]}, r"and the file has \[\[regions\]\]"),
        ({"stage": [{}]}, "without an objective a stage trains one score"),
        (
            {"objective": [{"name": "cross_entropy"}]},
            "CrossEntropy does not learn each sample as a class",
        ),
    ],
)
def test_what_makes_no_categories_is_refused(changes, said):
    with pytest.raises(InputError, match=said):
        Job.from_config(from_dict(raw(**changes)))

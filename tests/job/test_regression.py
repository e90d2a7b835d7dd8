"""A regression from its analysis file to its report, on energies whose law is known."""

import json
import re

import numpy as np
import pytest
import scipy.stats
import uproot
from sklearn.linear_model import LinearRegression

from difftune.analysis import Split
from difftune.errors import InputError
from difftune.job import apply, check, compare, from_dict, load, measured_again, run
from difftune.job.build import events as events_of
from difftune.job.build import metric
from difftune.job.stages import Job
from difftune.objectives import Precision, Quantile

CONFIG = """
[general]
name = "energies"
titles = { energy = "Energy [GeV]" }

[data]
files = "showers.root"
features = ["log_sum", "depth", "dead_share"]
target = { energy = "energy / 1000" }
target_scaling = "log"
weight = "weight"
event_number = "number"
cross_fit = false

[[samples]]
name = "pions"

[[objective]]
name = "quantile"

[model]
hidden = [16]

[hyperparameters]
schedule = 1

[training]
batch_size = 64

[search]
strategy = "random"
population = 3
rounds = 2
epochs_per_round = 4

[space]
learning_rate = { log_uniform = [3e-3, 2e-2] }

[comparison]
seeds = 2
replicas = 20
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A calorimeter whose response bends with the depth of a shower."""
    folder = tmp_path_factory.mktemp("regression")
    rng = np.random.default_rng(1)
    log_sum, depth = rng.uniform(np.log(20e3), np.log(500e3), 6000), rng.beta(3, 2, 6000)
    dead = rng.beta(1.5, 6, 6000)
    law = log_sum + 0.6 * np.sin(5 * depth) + 0.8 * dead**2 / (0.2 + depth)
    with uproot.recreate(folder / "showers.root") as file:
        file["showers"] = {
            "log_sum": log_sum,
            "depth": depth,
            "dead_share": dead,
            "energy": np.exp(law + (0.04 + 0.25 * dead) * rng.normal(size=6000)),
            "weight": rng.uniform(0.5, 1.5, 6000),
            "number": np.arange(6000),
        }
    (folder / "energies.toml").write_text(CONFIG)
    return folder


@pytest.fixture(scope="module")
def outcome(folder, undrawn):
    return run(load(folder / "energies.toml"), folder / "run")


def columns(folder):
    with uproot.open(folder / "showers.root") as file:
        return file["showers"].arrays(library="np")


@pytest.mark.slow
def test_numbers_of_the_run_are_those_of_what_apply_writes(folder, outcome):
    (written,) = apply(folder / "run", folder / "showers.root")
    events = columns(folder)
    with uproot.open(written) as file:
        said = file["showers"].arrays(library="np")
    assert set(said) == {"energy_q16", "energy_q50", "energy_q84"}
    test = events["number"] % 5 == 4
    truth, weight = events["energy"][test] / 1000, events["weight"][test]
    low, middle, high = (np.float64(said[f"energy_q{q}"][test]) for q in (16, 50, 84))
    stored = json.loads((folder / "run" / "results.json").read_text())["targets"]["energy"]
    inside = np.average((low <= truth) & (truth <= high), weights=weight)
    assert stored["whole"]["coverage"]["value"] == pytest.approx(inside, abs=1e-3)
    residual = middle / truth - 1
    copies = np.repeat(residual, np.round(100 * weight).astype(int))
    ends = np.quantile(copies, scipy.stats.norm.cdf([-1, 0, 1]))
    half = (ends[2] - ends[0]) / 2
    assert stored["whole"]["resolution"]["value"] == pytest.approx(half, rel=0.02)
    assert stored["resolution"]["tuned"] == [stored["whole"]["resolution"]["value"]]
    assert len(stored["resolution"]["default"]) == 2
    assert stored["bias_in_bins"]["value"] == pytest.approx(
        np.sqrt(np.mean([each["bias"]["value"] ** 2 for each in stored["bins"]]))
    )
    # Better than a line through the logarithms.
    x = np.column_stack([events[name] for name in ("log_sum", "depth", "dead_share")])
    line = LinearRegression().fit(x[~test], np.log(events["energy"][~test]))
    of_line = np.exp(line.predict(x[test])) / events["energy"][test] - 1
    low, high = np.quantile(of_line, scipy.stats.norm.cdf([-1, 1]))
    assert half < 0.9 * (high - low) / 2


@pytest.mark.slow
def test_report_has_the_figures_and_the_summary_says_them(folder, outcome):
    page = (folder / "run" / "report.html").read_text()
    for title in ("Predictions: Energy [GeV]", "Coverage", "Search", "hyperparameters tuned"):
        assert title in page
    drawn = {path.stem for path in (folder / "run" / "plots").glob("*.png")}
    assert drawn >= {
        *("bias_and_resolution", "residuals", "predicted_against_true", "calibration"),
        *("history", "correlations"),
    }
    assert not (folder / "run" / "workspace.json").exists()
    assert "relative resolution of energy" in outcome.summary
    value = outcome.residuals["energy"].whole.resolution.value
    assert re.search(rf"hyperparameters tuned +{value:.4f}", outcome.summary)
    assert "Coverage of 68.0%" in outcome.summary
    assert "targets energy bias_in_bins value" in compare([folder / "run"])


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_a_finished_regression_is_drawn_again_but_not_at_another_luminosity(folder, outcome):
    again = measured_again(folder / "run", ["general.figures=main"])
    assert again.residuals["energy"].whole == outcome.residuals["energy"].whole
    with pytest.raises(InputError, match=r"\[fit\] is about the measurement of a signal"):
        measured_again(folder / "run", ["fit.luminosity_scale=2"])


@pytest.mark.slow
@pytest.mark.usefixtures("undrawn")
def test_cross_fitted_with_two_targets_and_two_scores(folder):
    config = load(
        folder / "energies.toml",
        [
            "data.cross_fit=true",
            "data.folds=3",
            "data.target=['energy', 'depth + dead_share']",
            "data.target_scaling='standard'",
            "objective=[{name='huber'}]",
            "training.score=['resolution', 'bias']",
            "search.population=2",
            "search.rounds=1",
            "search.epochs_per_round=2",
            "comparison={seeds=0, replicas=0}",
        ],
    )
    found = run(config, folder / "crossed")
    assert list(found.ladders) == ["energy", "depth + dead_share"]
    assert [rung.name for rung in found.ladders["energy"].rungs] == ["hyperparameters tuned"]
    assert len(found.residuals["energy"].truth) == 6000
    assert found.residuals["depth + dead_share"].whole.coverage is None
    page = (folder / "crossed" / "report.html").read_text()
    assert "Predictions: depth + dead_share" in page
    assert "figure of merit" not in page


def test_variables_are_chosen_and_stages_trained_by_the_loss(folder):
    config = load(
        folder / "energies.toml",
        ["selection={epochs=1}", "stage=[{name='more', objective=[{name='quantile'}]}]"],
    )
    job = Job.from_config(config)
    split = Split(events=events_of(config))
    assert job.of(split).elimination.metric is None
    assert isinstance(job.of(split).recipe.metric, Precision)
    assert isinstance(job.of(split).stages[0].recipe.objective, Quantile)
    assert job.default_recipe.objective == Quantile()


def raw(**changes):
    given = {
        "data": {"files": "a.root", "features": ["x"], "target": "energy"},
        "samples": [{"name": "pions"}],
    }
    for key, value in changes.items():
        section, _, name = key.partition("__")
        if name:
            given[section] = {**given.get(section, {}), name: value}
        else:
            given[section] = value
    return given


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"fit": {"bins": 5}}, r"\[fit\] is about the measurement .* leave this table out"),
        ({"regions": [{"name": "r", "selection": "x > 0"}]}, r"\[\[regions\]\] is about"),
        (
            {"systematics": [{"name": "s", "type": "weight", "up": "w"}]},
            r"\[\[systematics\]\] is about",
        ),
        ({"norm_factors": [{"name": "n", "samples": ["pions"]}]}, r"\[\[norm_factors\]\] is"),
        ({"training": {"regions": ["control"]}}, "a regression has no regions"),
        ({"stage": [{}]}, r"'through the fit': without an objective .* \[\[stage.objective\]\]"),
        ({"data__target": None}, "samples has one sample: give a signal and a background"),
        ({"data__target": []}, "data.target"),
        ({"data__target_scaling": "logs"}, "Did you mean 'log'"),
    ],
)
def test_what_a_regression_has_not_is_refused_by_its_table(changes, said):
    with pytest.raises(InputError, match=said):
        from_dict(raw(**changes))


def test_losses_of_the_other_kind_are_refused(folder):
    for objective, target, said in (
        ("cross_entropy", "'energy'", r"objective: CrossEntropy tells classes apart, and \[data\]"),
        ("huber", "'energ'", "energ.*Did you mean 'energy'"),
        ("huber", "'nan + energy'", "target 'nan \\+ energy': 3600 of 3600 simulated events"),
    ):
        with pytest.raises(InputError, match=said):
            check(
                load(
                    folder / "energies.toml",
                    [f"objective=[{{name='{objective}'}}]", f'data.target="{target[1:-1]}"'],
                )
            )
    two = [{"name": "a", "role": "signal"}, {"name": "b"}]
    classes = from_dict(raw(data__target=None, samples=two, objective=[{"name": "huber"}]))
    with pytest.raises(InputError, match="Huber learns targets of the events, and none is named"):
        Job.from_config(classes)


def test_the_loss_is_hubers_where_none_is_said_and_bias_is_a_score():
    config = from_dict(raw())
    assert [each.name for each in config.objective] == ["huber"]
    assert metric(config) is None
    scored = from_dict(raw(training={"score": {"name": "bias", "bins": 4, "relative": True}}))
    assert (metric(scored).bins, metric(scored).relative) == (4, True)

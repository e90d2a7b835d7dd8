"""HS3: the document says what the standard's formulas say, and comes back with its likelihood."""

import copy
import json
import logging

import numpy as np
import pyhf
import pytest
from scipy import stats

import difftune as dt
from difftune.errors import InputError
from tests.histfactory import specs
from tests.shared_data import path

PUBLIC = [
    "SH4b_50bins.json",
    "single_channel_big.json",
    "ttbar_ljets_xsec.json",
]


def log_likelihood(document: dict, point: dict[str, float]) -> float:
    """The formulas of the standard, for constrained parameters of size 1 or more."""
    parts = {part: {e["name"]: e for e in document[part]} for part in ("distributions", "data")}
    (likelihood,) = document["likelihoods"]
    (nominal,) = document["parameter_points"]
    values = {each["name"]: each["value"] for each in nominal["parameters"]} | point
    fixed = {each["name"] for each in nominal["parameters"] if each.get("const")}
    total, alphas = 0.0, set()
    for name, data in zip(likelihood["distributions"], likelihood["data"], strict=True):
        channel = parts["distributions"][name]
        observed = np.asarray(parts["data"][data]["contents"])
        rates = np.zeros(len(observed))
        statistics = np.zeros((2, len(observed)))
        gammas: list[str] = []
        for sample in channel["samples"]:
            yields = np.asarray(sample["data"]["contents"], float)
            added, factor = np.zeros(len(observed)), np.ones(len(observed))
            for modifier in sample["modifiers"]:
                kind, change = modifier["type"], modifier.get("data")
                if kind == "normfactor":
                    factor = factor * values[modifier["parameter"]]
                    continue
                if kind in ("normsys", "histosys"):
                    alpha = values[modifier["parameter"]]
                    assert abs(alpha) >= 1
                    assert modifier["constraint"] == "Gauss"
                    alphas.add(modifier["parameter"])
                    side = change["hi"] if alpha > 0 else change["lo"]
                    if kind == "normsys":
                        factor = factor * side ** abs(alpha)
                    else:
                        added = added + abs(alpha) * (np.asarray(side["contents"]) - yields)
                    continue
                factor = factor * [values[p] for p in modifier["parameters"]]
                if kind == "shapesys":
                    tau = (yields / np.asarray(change["vals"])) ** 2
                    gamma = np.array([values[p] for p in modifier["parameters"]])
                    total += np.sum(tau * np.log(gamma * tau) - gamma * tau)
                elif kind == "staterror":
                    statistics += [yields, np.square(sample["data"]["errors"])]
                    gammas = modifier["parameters"]
            rates += (yields + added) * factor
        total += np.sum(observed * np.log(rates) - rates)
        for parameter, (yields, variance) in zip(gammas, statistics.T, strict=False):
            if parameter not in fixed:
                total += stats.norm.logpdf(1.0, values[parameter], np.sqrt(variance) / yields)
    for name in likelihood.get("aux_distributions", ()):
        gauss = parts["distributions"][name]
        total += stats.norm.logpdf(values[gauss["x"]], values[gauss["mean"]], gauss["sigma"])
    return total + sum(stats.norm.logpdf(values[alpha]) for alpha in alphas)


def test_the_document_means_what_pyhf_means():
    workspace = dt.Workspace(specs.everything()).drop(modifiers="pdf")
    document = json.loads(json.dumps(workspace.to_hs3()))
    judge = pyhf.Workspace(dict(workspace))
    model = judge.model()
    rng = np.random.default_rng(5)
    ours, theirs = [], []
    scalars = {"jes": 1.2, "xs_ttbar": -1.0, "tune": 1.4, "lumi": 1.02, "mu": 0.8}
    for _ in range(4):
        point, values = dict(scalars), []
        for name, start in zip(model.config.par_names, model.config.suggested_init(), strict=True):
            if name in scalars:
                point[name] = scalars[name] * rng.uniform(1.0, 1.1)
                values.append(point[name])
            else:
                value = start * rng.uniform(0.9, 1.1)
                where = name.replace("[", "_bin_").rstrip("]")
                point[f"gamma_{where}" if "[" in name else name] = value
                values.append(value)
        ours.append(log_likelihood(document, point))
        theirs.append(float(model.logpdf(values, judge.data(model))[0]))
    # Factorials of the data are constants.
    assert np.diff(ours) == pytest.approx(np.diff(theirs), rel=1e-9)


@pytest.mark.parametrize("name", PUBLIC)
def test_public_workspaces_come_back(name):
    workspace = dt.Workspace.read(path(f"workspaces/{name}"))
    again = dt.Workspace.from_hs3(json.loads(json.dumps(workspace.to_hs3())))
    before, after = workspace.model(poi=None), again.model(poi=None)
    assert after.config.par_names == before.config.par_names
    assert after.config.suggested_bounds() == before.config.suggested_bounds()
    assert after.config.suggested_init() == before.config.suggested_init()
    assert list(after.config.suggested_fixed()) == list(before.config.suggested_fixed())
    lower, upper = np.transpose(before.config.suggested_bounds())
    start = np.array(before.config.suggested_init())
    fixed = np.array(before.config.suggested_fixed())
    step = np.clip(start + np.where(fixed, 0.0, 0.05), lower, upper)
    for point in (start, step):
        wanted = float(before.logpdf(point))
        assert float(after.logpdf(point)) == pytest.approx(wanted, rel=1e-10)


def test_everything_comes_back_with_its_measurements():
    spec = specs.everything()
    spec["measurements"][0]["config"]["parameters"].pop()
    second = copy.deepcopy(spec["measurements"][0])
    second["name"] = "second"
    second["config"]["poi"] = "norm_ttbar"
    second["config"]["parameters"][1]["fixed"] = True
    spec["measurements"].append(second)
    spec["channels"][0]["edges"] = [0.0, 1.0, 2.0, 5.0]
    workspace = dt.Workspace(spec)
    again = dt.Workspace.from_hs3(workspace.to_hs3())
    assert again.measurements == ("first", "second")
    assert again.to_dict()["channels"][0]["edges"] == [0.0, 1.0, 2.0, 5.0]
    assert again["observations"] == spec["observations"]
    for name in again.measurements:
        judge = pyhf.Workspace(dict(workspace)).model(measurement_name=name)
        made = pyhf.Workspace(dict(again)).model(measurement_name=name)
        assert made.config.poi_name == judge.config.poi_name
        assert made.config.suggested_fixed() == judge.config.suggested_fixed()
        assert np.array_equal(made.config.suggested_bounds(), judge.config.suggested_bounds())
        assert made.spec["channels"] == judge.spec["channels"]


def foreign() -> dict:
    """A document as ROOT writes it: names of its own, and constraints apart."""
    return {
        "metadata": {"hs3_version": "0.2", "packages": [{"name": "ROOT", "version": "6.36"}]},
        "distributions": [
            {
                "name": "model_SR",
                "type": "histfactory_dist",
                "axes": [{"name": "obs_x_SR", "min": 0.0, "max": 2.0, "nbins": 2}],
                "samples": [
                    {
                        "name": "signal",
                        "data": {"contents": [5.0, 10.0], "errors": [0.0, 0.0]},
                        "modifiers": [
                            {"name": "SigXsec", "type": "normfactor", "parameter": "SigXsec"},
                            {"name": "Lumi", "type": "normfactor", "parameter": "Lumi"},
                        ],
                    },
                    {
                        "name": "top",
                        "data": {"contents": [50.0, 40.0], "errors": [5.0, 2.0]},
                        "modifiers": [
                            {
                                "name": "xs",
                                "type": "normsys",
                                "parameter": "alpha_xs",
                                "data": {"hi": 1.1, "lo": 0.9},
                            },
                            {
                                "name": "mcstat",
                                "type": "staterror",
                                "parameters": ["gamma_stat_SR_bin_0", "gamma_stat_SR_bin_1"],
                                "constraint": "Poisson",
                            },
                        ],
                    },
                ],
            },
            {
                "name": "lumiConstraint",
                "type": "gaussian_dist",
                "x": "Lumi",
                "mean": "nominalLumi",
                "sigma": 0.1,
            },
        ],
        "data": [{"name": "obsData_SR", "type": "binned", "contents": [60.0, 45.0], "axes": []}],
        "likelihoods": [
            {
                "name": "all",
                "distributions": ["model_SR"],
                "data": ["obsData_SR"],
                "aux_distributions": ["lumiConstraint"],
            }
        ],
        "domains": [
            {
                "name": "default_domain",
                "type": "product_domain",
                "axes": [
                    {"name": "SigXsec", "min": 0.0, "max": 3.0},
                    {"name": "Lumi", "min": 0.5, "max": 1.5},
                ],
            }
        ],
        "parameter_points": [
            {
                "name": "default_values",
                "parameters": [
                    {"name": "SigXsec", "value": 1.0},
                    {"name": "Lumi", "value": 1.0},
                    {"name": "nominalLumi", "value": 1.0, "const": True},
                    {"name": "gamma_stat_SR_bin_0", "value": 1.0},
                    {"name": "gamma_stat_SR_bin_1", "value": 1.0, "const": True},
                ],
            }
        ],
        "analyses": [
            {
                "name": "measurement",
                "likelihood": "all",
                "domains": ["default_domain"],
                "init": "default_values",
                "parameters_of_interest": ["SigXsec"],
            }
        ],
    }


def test_documents_of_others_are_read(caplog):
    with caplog.at_level(logging.WARNING, logger="difftune"):
        workspace = dt.Workspace.from_hs3(foreign())
    assert "Poisson constraints" in caplog.text
    kinds = dict(workspace.modifiers)
    assert kinds == {
        "SigXsec": "normfactor",
        "lumi": "lumi",
        "alpha_xs": "normsys",
        "mcstat": "staterror",
    }
    # A constant parameter of one bin has no uncertainty.
    (data,) = [
        modifier["data"]
        for sample in workspace["channels"][0]["samples"]
        for modifier in sample["modifiers"]
        if modifier["name"] == "mcstat"
    ]
    assert data == [5.0, 0.0]
    options = {p["name"]: p for p in workspace["measurements"][0]["config"]["parameters"]}
    assert options["lumi"] == {
        "name": "lumi",
        "inits": [1.0],
        "bounds": [[0.5, 1.5]],
        "auxdata": [1.0],
        "sigmas": [0.1],
    }
    model = workspace.model()
    assert model.structure.poi == "SigXsec"
    point = dict(zip(model.config.par_names, model.config.suggested_init(), strict=True))
    point |= {"SigXsec": 2.0, "lumi": 1.1, "mcstat[0]": 1.2, "alpha_xs": 1.0}
    values = [point[name] for name in model.config.par_names]
    rates = [2.0 * 1.1 * 5 + 1.1 * 1.2 * 50, 2.0 * 1.1 * 10 + 1.1 * 40]
    assert np.asarray(model.expected(values)) == pytest.approx(rates)
    wanted = (
        stats.poisson.logpmf([60, 45], rates).sum()
        + stats.norm.logpdf(1.0, 1.1, 0.1)
        + stats.norm.logpdf(1.0)
        + stats.norm.logpdf(1.0, 1.2, 0.1)
    )
    found = float(model.logpdf(values))
    # pyhf counts the normalisation of the fixed bin, too; it has the width 1.
    assert found - stats.norm.logpdf(0.0) == pytest.approx(wanted, rel=1e-10)


def test_what_has_no_counterpart_is_named():
    def changed(change) -> dict:
        document = foreign()
        change(document)
        return document

    top = 1
    for change, words in (
        (lambda d: d["distributions"][0].update(type="gaussian_dist"), "Only histfactory_dist"),
        (lambda d: d["analyses"].clear(), "no analysis"),
        (lambda d: d["likelihoods"][0].update(data=["obs"]), "'obs', which is not among the data"),
        (
            lambda d: d["distributions"][0]["samples"][top]["modifiers"][0].update(
                constraint="LogNormal"
            ),
            "normsys 'xs': pyhf has Gaussian constraints",
        ),
        (
            lambda d: d["distributions"][0]["samples"][top]["modifiers"].append(
                {"name": "s", "type": "shapesys", "parameters": ["a", "b"], "data": {"vals": [1]}}
            ),
            "versions of ROOT mean different things",
        ),
        (
            lambda d: d["distributions"][0]["samples"][top]["modifiers"].append(
                {"name": "s", "type": "magic", "parameter": "a"}
            ),
            "magic 's': this type of modifier is not read",
        ),
        (
            lambda d: d["distributions"][1].update(type="poisson_dist"),
            "'lumiConstraint' is a poisson_dist",
        ),
    ):
        with pytest.raises(InputError, match=words):
            dt.Workspace.from_hs3(changed(change))
    shifted = dt.Workspace(specs.everything())
    with pytest.raises(InputError, match=r"auxdata \[0.2\] for the normsys 'pdf'"):
        shifted.to_hs3()

import json
import logging

import cabinetry
import numpy as np
import pyhf
import pyhf.cli
import pytest
from click.testing import CliRunner

from difftune.errors import InputError
from difftune.histfactory import (
    FreeNormalisation,
    Luminosity,
    NormalisationUncertainty,
    build_workspace,
)
from difftune.histograms import Histogram, Template, Templates, histogram
from tests.histfactory import samples

EDGES = np.array([0.0, 0.5, 1.0])


def of(*sumw: float) -> Histogram:
    return Histogram(EDGES, np.array(sumw), np.abs(np.array(sumw)) / 4)


def small(**changes: Template) -> Templates:
    processes = {
        "signal": Template(of(2.0, 6.0)),
        "tt": Template(of(80.0, 20.0), {"jes": (of(90.0, 30.0), of(75.0, 13.0))}),
        "W": Template(of(10.0, 10.0), {"jes": (of(11.0, 11.0), of(9.0, 9.0))}),
    }
    return Templates(channel="SR", edges=EDGES, processes=processes | changes, signal=("signal",))


def model_of(workspace: dict) -> pyhf.Model:
    return pyhf.Workspace(workspace).model()


def expected(model: pyhf.Model, **parameters: float) -> dict[str, np.ndarray]:
    """Expected yields of each process at some parameters, the others nominal."""
    values = np.array(model.config.suggested_init(), float)
    for name, value in parameters.items():
        values[model.config.par_slice(name)] = value
    by_sample = model.main_model.expected_data(list(values), return_by_sample=True)
    return dict(zip(model.config.samples, by_sample, strict=True))


def test_pyhf_gives_back_every_template():
    templates = small()
    model = model_of(build_workspace([templates]))
    for name, template in templates.processes.items():
        np.testing.assert_allclose(expected(model)[name], template.nominal.sumw, rtol=1e-12)
        for variation, pair in template.variations.items():
            for alpha, varied in zip((1.0, -1.0), pair, strict=True):
                ours = expected(model, **{variation: alpha})[name]
                np.testing.assert_allclose(ours, varied.sumw, rtol=1e-12)
    np.testing.assert_allclose(expected(model, mu=0.5)["signal"], [1, 3])
    assert model.config.poi_name == "mu"


def test_all_types_of_modifier_do_what_they_say():
    workspace = build_workspace(
        [small()],
        poi="xsec",
        normalisation=[
            NormalisationUncertainty("tt_xs", 0.06, -0.05, ("tt",)),
            NormalisationUncertainty("eff", 0.02),
        ],
        luminosity=Luminosity(0.017, processes=("signal", "W")),
        free=[FreeNormalisation("norm_W", ("W",), (0.2, 3.0))],
    )
    model = model_of(workspace)
    nominal = expected(model)
    for parameters, factors in (
        ({"tt_xs": 1.0}, {"tt": 1.06}),
        ({"tt_xs": -1.0}, {"tt": 0.95}),
        ({"eff": 1.0}, {"tt": 1.02, "W": 1.02, "signal": 1.02}),
        ({"lumi": 1.1}, {"W": 1.1, "signal": 1.1}),
        ({"norm_W": 2.0}, {"W": 2.0}),
        ({"xsec": 3.0}, {"signal": 3.0}),
    ):
        for name, values in expected(model, **parameters).items():
            np.testing.assert_allclose(values, nominal[name] * factors.get(name, 1.0), rtol=1e-12)
    lumi = model.config.param_set("lumi")
    assert (lumi.auxdata, lumi.sigmas) == ([1.0], [0.017])
    bounds = dict(zip(model.config.par_names, model.config.suggested_bounds(), strict=True))
    assert bounds["norm_W"] == [0.2, 3.0]
    assert bounds["lumi"] == pytest.approx([0.83, 1.17])
    assert bounds["xsec"][0] == 0
    sigmas = model.config.param_set("staterror_SR").sigmas
    total = np.array([92.0, 36.0])
    np.testing.assert_allclose(sigmas, np.sqrt(total / 4) / total, rtol=1e-12)


def test_agrees_with_cabinetry_on_its_tutorial(tmp_path):
    config = samples.toy_cabinetry_config(tmp_path)
    cabinetry.templates.build(config, method="uproot")
    theirs = cabinetry.workspace.build(config)
    ours = samples.toy_workspace()

    def modifiers(workspace: dict) -> dict:
        return {
            (sample["name"], modifier["type"], modifier["name"]): modifier["data"]
            for sample in workspace["channels"][0]["samples"]
            for modifier in sample["modifiers"]
        }

    for one, other in zip(
        ours["channels"][0]["samples"], theirs["channels"][0]["samples"], strict=True
    ):
        assert one["name"] == other["name"]
        np.testing.assert_allclose(one["data"], other["data"], rtol=1e-6, atol=2e-6)
    np.testing.assert_allclose(ours["observations"][0]["data"], theirs["observations"][0]["data"])
    mine, his = (
        {
            (sample, kind, name.replace("-", "_")): data
            for (sample, kind, name), data in modifiers(workspace).items()
        }
        for workspace in (ours, theirs)
    )
    assert mine.keys() == his.keys()
    for key, data in mine.items():
        if isinstance(data, dict):
            for side, values in data.items():
                np.testing.assert_allclose(values, his[key][side], rtol=1e-5, err_msg=str(key))
        elif data is not None:
            np.testing.assert_allclose(data, his[key], rtol=1e-6)


def test_pyhf_command_line_reads_it(tmp_path):
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(samples.toy_workspace()))
    inspected = CliRunner().invoke(
        pyhf.cli.cli, ["inspect", str(path), "--output-file", "/dev/null"]
    )
    assert inspected.exit_code == 0, inspected.output
    result = CliRunner().invoke(pyhf.cli.cli, ["cls", str(path)])
    assert result.exit_code == 0, result.output
    assert 0 < json.loads(result.output)["CLs_obs"] < 1


def test_real_templates_in_two_channels():
    templates = samples.agc()
    workspace = build_workspace(templates, luminosity=Luminosity(0.03))
    model = model_of(workspace)
    assert model.config.channels == ["4j1b", "4j2b"]
    data = pyhf.Workspace(workspace).data(model)
    assert np.isfinite(model.logpdf(model.config.suggested_init(), data)).all()
    main = np.concatenate([channel.total().sumw for channel in templates])
    ours = model.expected_actualdata(model.config.suggested_init())
    np.testing.assert_allclose(ours, main, rtol=1e-9)
    assert {"btag_var_0", "ME_var", "scale"} <= set(model.config.par_order)


def test_observes_data_or_the_expectation():
    templates = small()
    assert build_workspace([templates])["observations"][0]["data"] == [92.0, 36.0]
    with pytest.raises(InputError, match="'SR' has no data"):
        build_workspace([templates], asimov=False)
    observed = Templates(
        channel="SR",
        edges=EDGES,
        processes=templates.processes,
        signal=("signal",),
        data=of(90.0, 41.0),
    )
    workspace = build_workspace([observed], asimov=False)
    assert workspace["observations"][0]["data"] == [90.0, 41.0]


def test_without_simulation_statistics():
    kinds = {
        kind
        for _, kind in model_of(build_workspace([small()], mc_statistics=False)).config.modifiers
    }
    assert kinds == {"normsys", "histosys", "normfactor"}


def modifiers_of(workspace: dict, process: str) -> dict[tuple[str, str], dict]:
    (sample,) = (s for s in workspace["channels"][0]["samples"] if s["name"] == process)
    return {(m["name"], m["type"]): m["data"] for m in sample["modifiers"]}


def test_effects_that_are_none_or_small_are_left_out():
    # The W's jes changes its yield by 10 % and not its shape.
    full = modifiers_of(build_workspace([small()]), "W")
    assert ("jes", "normsys") in full
    assert ("jes", "histosys") not in full
    # 120/100 and 88/100 in yield; up to 25 % in shape.
    assert ("jes", "histosys") in modifiers_of(build_workspace([small()], prune=0.2), "tt")
    assert ("jes", "normsys") not in modifiers_of(build_workspace([small()], prune=0.21), "tt")
    assert not [
        name
        for name, kind in modifiers_of(build_workspace([small()], prune=0.5), "tt")
        if name == "jes"
    ]


def test_empty_and_negative_bins_are_floored_and_said(caplog):
    bad = Template(of(-3.0, 20.0), {"jes": (of(-4.0, 22.0), of(5.0, -18.0))})
    with caplog.at_level(logging.DEBUG, logger="difftune"):
        workspace = build_workspace([small(tt=bad, W=Template(of(0.0, 10.0)))])
    assert "channel 'SR', process 'tt': bins [0] hold [-3.0] events" in caplog.text
    assert "process 'W': bins [0] hold [0.0] events" in caplog.text
    levels = {"tt" if "'tt'" in r.getMessage() else "W": r.levelname for r in caplog.records}
    assert levels == {"tt": "WARNING", "W": "DEBUG"}
    model = model_of(workspace)
    data = pyhf.Workspace(workspace).data(model)
    for alpha in (-1.0, 0.0, 1.0):
        yields = expected(model, jes=alpha)
        assert all((y > 0).all() for y in yields.values())
        parameters = np.array(model.config.suggested_init())
        parameters[model.config.par_slice("jes")] = alpha
        assert np.isfinite(model.logpdf(list(parameters), data)).all()


def test_a_variation_without_events_is_bounded_and_said(caplog):
    gone = Template(of(80.0, 20.0), {"jes": (of(90.0, 30.0), of(0.0, 0.0))})
    with caplog.at_level(logging.WARNING, logger="difftune"):
        model = model_of(build_workspace([small(tt=gone)]))
    assert "process 'tt', jes down: the variation leaves 0 of 100 events" in caplog.text
    np.testing.assert_allclose(expected(model, jes=-1.0)["tt"], [0.8, 0.2])


def test_bounds_of_the_poi_hold_a_weak_signal():
    def upper(scale: float) -> float:
        signal = Template(Histogram(EDGES, scale * np.array([2.0, 6.0]), np.zeros(2)))
        parameters = build_workspace([small(signal=signal)])["measurements"][0]["config"]
        return parameters["parameters"][0]["bounds"][0][1]

    # The statistical uncertainty of mu is 0.98 for a scale of 1.
    assert upper(1.0) == 100
    assert upper(0.001) == 90_000
    assert upper(1000.0) == 10
    config = model_of(build_workspace([small()], poi_bounds=(-5.0, 5.0))).config
    assert config.suggested_bounds()[config.poi_index] == [-5.0, 5.0]


def test_signal_scales_with_mu_in_every_channel():
    other = Templates(channel="CR", edges=EDGES, processes=small().processes, signal=("signal",))
    model = model_of(build_workspace([small(), other]))
    yields = model.expected_actualdata(model.config.suggested_init())
    parameters = np.array(model.config.suggested_init())
    parameters[model.config.poi_index] = 2.0
    doubled = model.expected_actualdata(list(parameters))
    np.testing.assert_allclose(doubled - yields, [2, 6, 2, 6])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"normalisation": [NormalisationUncertainty("x", 0.1, None, ("ttt",))]}, "mean 'tt'"),
        ({"free": [FreeNormalisation("mu", ("tt",))]}, "'mu' is the name of the parameter of"),
        ({"normalisation": [NormalisationUncertainty("mu", 0.1)]}, "'mu' is the name of"),
        ({"luminosity": Luminosity(0.1, name="jes")}, "'jes' is the name of the luminosity and"),
        ({"normalisation": [NormalisationUncertainty("jes", 0.1)]}, "changes the yield twice"),
        ({"normalisation": [NormalisationUncertainty("staterror_SR", 0.1)]}, "statistics of the"),
    ],
)
def test_names_that_do_not_fit_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        build_workspace([small()], **options)


def test_templates_that_make_no_model_are_refused():
    with pytest.raises(InputError, match="different names"):
        build_workspace([small(), small()])
    with pytest.raises(InputError, match="different names"):
        build_workspace([])
    with pytest.raises(InputError, match="no expected signal"):
        build_workspace([small(signal=Template(of(0.0, 0.0)))])


def test_templates_of_events_keep_their_sums():
    rng = np.random.default_rng(0)
    x, weight = rng.random(1000), rng.normal(1, 0.5, 1000)
    filled = histogram(x, weight, EDGES)
    workspace = build_workspace([small(tt=Template(filled))])
    np.testing.assert_allclose(workspace["channels"][0]["samples"][1]["data"], filled.sumw)
    errors = modifiers_of(workspace, "tt")["staterror_SR", "staterror"]
    by_hand = [np.sum(weight[x < 0.5] ** 2), np.sum(weight[x >= 0.5] ** 2)]
    np.testing.assert_allclose(errors, np.sqrt(by_hand))

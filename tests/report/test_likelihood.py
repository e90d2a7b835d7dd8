"""The verb `fit`, and the page and files that it writes."""

import csv
import json

import cabinetry
import numpy as np
import pyhf
import pytest
from click.testing import CliRunner

from difftune.cli import cli
from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import examine
from difftune.report import likelihood_report
from tests.histfactory import samples


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    file = tmp_path_factory.mktemp("fit") / "workspace.json"
    file.write_text(json.dumps(samples.toy_workspace()))
    return file


def fitted(*words) -> str:
    result = CliRunner().invoke(cli, ["fit", *map(str, words)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_verb_prints_what_pyhf_and_cabinetry_find(workspace):
    found = json.loads(fitted(workspace, "fit", "gof", "limit", "--json"))
    parsed = pyhf.Workspace(json.loads(workspace.read_text()))
    model = parsed.model()
    data = parsed.data(model)
    theirs = cabinetry.fit.fit(model, data, goodness_of_fit=True)
    np.testing.assert_allclose(found["fit"]["values"], theirs.bestfit, atol=2e-3)
    assert found["fit"]["names"] == theirs.labels
    assert found["goodness"]["p_value"] == pytest.approx(theirs.goodness_of_fit, rel=2e-2)
    limit = found["limit"]["observed"]
    observed = pyhf.infer.hypotest(limit, data, model)
    assert observed == pytest.approx(0.05, abs=2e-3)
    assert len(found["cls"]["observed"]) == len(found["cls"]["values"])
    assert "impacts" not in found
    prediction = cabinetry.model_utils.prediction(model, fit_results=theirs)
    (channel,) = found["channels"].values()
    total = np.sum(prediction.model_yields[0], axis=0)
    np.testing.assert_allclose(channel["postfit"]["total"]["values"], total, rtol=1e-3)


def test_everything_on_one_page(workspace, tmp_path):
    said = fitted(workspace, "--output", tmp_path / "out")
    assert "Signal_norm = " in said
    assert "goodness of fit: p = " in said
    page = (tmp_path / "out" / "report.html").read_text()
    for section in ("Fit", "Limit", "Uncertainties", "Goodness of fit", "Yields"):
        assert f"<h2>{section}</h2>" in page
    figures = {file.stem for file in (tmp_path / "out" / "figures").glob("*.pdf")}
    assert {"pulls", "profile", "cls", "ranking", "groups", "prefit_0", "postfit_0"} <= figures
    assert "composition" in figures
    with (tmp_path / "out" / "tables" / "effects_postfit_0.csv").open() as stream:
        assert next(csv.reader(stream))[0] == "Systematic"
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    with (tmp_path / "out" / "tables" / "yields_postfit.csv").open() as stream:
        rows = {row[0]: row[1:] for row in csv.reader(stream)}
    ((name, channel),) = results["channels"].items()
    assert rows["Sample"] == [name, f"{name} uncertainty"]
    total = channel["postfit"]["total"]
    assert [float(cell) for cell in rows["Total"]] == [total["total"], total["total_uncertainty"]]
    assert float(rows["Data"][0]) == sum(channel["observed"])
    assert r"\toprule" in (tmp_path / "out" / "tables" / "bins_prefit_0.tex").read_text()


def test_a_best_fit_at_its_bound_is_ranked_beyond_it(caplog):
    spec = samples.toy_workspace()
    spec["observations"][0]["data"] = [0.5 * n for n in spec["observations"][0]["data"]]
    found = examine(Model.from_spec(spec), ["impacts"])
    assert found.fit.at_bound[found.model.structure.poi_index]
    assert found.bounds["Signal_norm"][0] < 0
    assert found.groups.value < 0
    assert "at a bound: Signal_norm" in "\n".join(found.lines())


def test_without_a_signal_there_is_a_fit_and_no_limit(workspace, tmp_path):
    spec = json.loads(workspace.read_text())
    found = examine(Model.from_spec(spec, poi=None))
    assert found.goodness is not None
    assert found.limit is None
    likelihood_report(found, tmp_path)
    assert "<h2>Limit</h2>" not in (tmp_path / "report.html").read_text()
    with pytest.raises(InputError, match="needs a parameter of interest"):
        examine(Model.from_spec(spec, poi=None), ["limit"])


def test_options_reach_the_fit(workspace):
    words = ["--fixed", "Luminosity=0.5", "--bounds", "Signal_norm=-3:3", "--group", "mc=stat*"]
    found = json.loads(fitted(workspace, "impacts", "--json", *words))
    place = found["fit"]["names"].index("Luminosity")
    assert found["fit"]["values"][place] == 0.5
    assert found["fit"]["uncertainties"][place] == 0
    groups = {group["name"]: group for group in found["groups"]["groups"]}
    assert len(groups["mc"]["parameters"]) == 4
    assert "Luminosity" not in found["impacts"]["names"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["fit", "lmit"], "There is no part 'lmit'"),
        (["--bounds", "mu"], "NAME=LOW:HIGH"),
        (["--bounds", "mu=a:3"], "'a' is no number"),
        (["--poi", "nothing"], "nothing"),
    ],
)
def test_what_is_refused(workspace, words, message):
    result = CliRunner().invoke(cli, ["fit", str(workspace), *words])
    assert result.exit_code != 0
    assert message in result.output + str(result.exception)

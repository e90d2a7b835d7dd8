"""A model is the same whatever it is made from; pyhf reads the same sources."""

import json
from pathlib import Path

import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.objectives.fit_model import FitModel
from tests.histfactory import specs
from tests.inference.on_off import workspace


def test_paths_workspaces_and_models_of_pyhf(tmp_path):
    given = workspace(5.0, 50.0, 7.0, 57.0)
    path = tmp_path / "workspace.json"
    # As editors on Windows write it.
    path.write_text(json.dumps(given), encoding="utf-8-sig")
    parsed = pyhf.Workspace(given)
    model = Model.from_spec(given)
    for source in (str(path), path, parsed):
        other = Model.from_spec(source)
        assert other.structure == model.structure
        np.testing.assert_array_equal(other.numbers, model.numbers)
        np.testing.assert_array_equal(other.observed, model.observed)
    judge = parsed.model()
    data = parsed.data(judge)
    bare = Model.from_spec(judge)
    assert bare.structure.poi == "mu"
    np.testing.assert_allclose(bare.logpdf([1.3, 0.9], data), judge.logpdf([1.3, 0.9], data)[0])


def test_a_model_of_pyhf_keeps_its_parameter_of_interest_and_codes():
    given = pyhf.Workspace(specs.everything())
    settings = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code0"}}
    judge = given.model(poi_name="norm_ttbar", modifier_settings=settings)
    found = Model.from_spec(judge).structure
    assert (found.poi, found.normsys_code, found.histosys_code) == ("norm_ttbar", "code1", "code0")


def test_arrays_of_numpy_are_lists():
    given = workspace(5.0, 50.0, 7.0, 57.0)
    plain = Model.from_spec(given)
    signal, background = given["channels"][0]["samples"]
    signal["data"] = np.array([5.0])
    background["modifiers"][0]["data"] = (np.float32(7.0),)
    assert Model.from_spec(given).spec() == plain.spec()


def test_a_training_fills_a_workspace_from_a_file(tmp_path):
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(specs.everything()))
    assert FitModel.from_spec(path, channel="SR") == FitModel.from_spec(
        specs.everything(), channel="SR"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("{", "is no JSON file"),
        ("[1, 2]", "A list is no spec"),
        ("[" * 100_000, "is no JSON file"),
        ('{"channels": ' + "9" * 5000 + "}", "is no JSON file"),
        (b"\xff\xfe\x00", "is no JSON file"),
    ],
)
def test_what_is_no_spec(tmp_path: Path, content: str | bytes | None, said: str):
    path = tmp_path / "workspace.json"
    if content is not None:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(InputError, match=said):
        Model.from_spec(path)
    with pytest.raises(InputError, match="is no spec"):
        Model.from_spec(None)

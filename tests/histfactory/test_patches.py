"""Patches in every form, verified where they can be; pyhf applies the same ones."""

import copy
import json
import logging

import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from tests.inference.on_off import workspace


def background_only() -> dict:
    given = workspace(5.0, 50.0, 7.0, 57.0)
    given["channels"][0]["samples"].pop(0)
    return given


def operations(signal: float) -> list[dict]:
    modifier = {"name": "mu", "type": "normfactor", "data": None}
    sample = {"name": "s", "data": [signal], "modifiers": [modifier]}
    return [{"op": "add", "path": "/channels/0/samples/0", "value": sample}]


def patch_set(base: dict) -> dict:
    return {
        "metadata": {
            "references": {"hepdata": "ins1234567"},
            "description": "a search for nothing",
            "digests": {"sha256": pyhf.utils.digest(base), "md5": pyhf.utils.digest(base, "md5")},
            "labels": ["mass"],
        },
        "patches": [
            {"metadata": {"name": f"mass_{m}", "values": [m]}, "patch": operations(500.0 / m)}
            for m in (100, 200)
        ],
        "version": "1.0.0",
    }


def test_every_form_of_a_patch_is_what_pyhf_applies(tmp_path):
    base = background_only()
    content = patch_set(base)
    judge = pyhf.PatchSet(content)
    wanted = Model.from_spec(judge.apply(pyhf.Workspace(base), "mass_200")).spec()
    one = content["patches"][1]
    for name, value in (("set", content), ("one", one), ("operations", one["patch"])):
        (tmp_path / f"{name}.json").write_text(json.dumps(value))
    forms = [
        one["patch"],
        [one["patch"]],
        one,
        [one],
        judge["mass_200"],
        (judge, "mass_200"),
        [(judge, "mass_200")],
        [(judge, (200,))],
        [(content, "mass_200")],
        [(tmp_path / "set.json", "mass_200")],
        (str(tmp_path / "set.json"), "mass_200"),
        str(tmp_path / "one.json"),
        [tmp_path / "operations.json"],
    ]
    for patches in forms:
        assert Model.from_spec(base, patches=patches).spec() == wanted
    assert base == background_only()


def test_patches_come_one_after_the_other():
    replaced = [{"op": "replace", "path": "/channels/0/samples/0/data/0", "value": 9.0}]
    model = Model.from_spec(background_only(), patches=[operations(5.0), replaced])
    np.testing.assert_array_equal(model.get("SR", "s"), [9.0])


def test_a_patch_set_of_another_analysis_is_refused_with_both_digests():
    other, base = workspace(1.0, 40.0, 3.0, 41.0), background_only()
    patches = pyhf.PatchSet(patch_set(other))
    with pytest.raises(pyhf.exceptions.PatchSetVerificationError):
        patches.verify(base)
    with pytest.raises(InputError, match="a search for nothing") as error:
        Model.from_spec(base, patches=[(patches, "mass_100")])
    assert pyhf.utils.digest(base) in str(error.value)
    assert pyhf.utils.digest(other) in str(error.value)
    assert "ins1234567" in str(error.value)
    # On purpose.
    assert Model.from_spec(base, patches=patches["mass_100"]).structure.poi == "mu"


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        (patch_set(background_only()), r"Say which patch: .*'mass_100', 'mass_200'"),
        ((patch_set(background_only()), "mass_20"), r"no patch 'mass_20'.*Did you mean 'mass_200'"),
        ([patch_set(background_only()) | {"version": "3"}], "no patch set that pyhf reads"),
        ("missing.json", "missing.json cannot be read"),
        (3, r"patches=3\. A patch is"),
        ([3], r"patches\[0\] is 3\. A patch is"),
        ([[{"path": "/a"}]], r"patches\[0\] is .*A patch is"),
        ([[{"op": "add", "path": "/no/way", "value": 1}]], r"patches\[0\] does not fit"),
        ([[{"op": "jump", "path": "/version"}]], r"patches\[0\] does not fit"),
        ([[{"op": "add", "path": 3, "value": 1}]], r"patches\[0\] does not fit"),
        ([[{"op": "replace", "path": "", "value": 1}]], "leaves no spec"),
    ],
)
def test_what_is_no_patch(patches, said):
    with pytest.raises(InputError, match=said):
        Model.from_spec(background_only(), patches=patches)


def test_a_patch_says_what_it_was_made_for(caplog):
    base = background_only()
    with caplog.at_level(logging.INFO, "difftune"):
        Model.from_spec(base, patches=pyhf.PatchSet(patch_set(base))["mass_100"])
    assert "name mass_100, values [100]" in caplog.text
    wrong = copy.deepcopy(patch_set(base)["patches"][0])
    wrong["patch"][0]["path"] = "/channels/4/samples/0"
    with pytest.raises(InputError, match=r"patches\[0\] \(mass_100\) does not fit"):
        Model.from_spec(base, patches=wrong)

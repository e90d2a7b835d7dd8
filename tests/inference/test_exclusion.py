"""Grids of signals, each point compared with pyhf alone."""

import copy
import json

import jsonpatch
import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import SignalGrid, discovery, exclusion, signal_grid
from difftune.workspaces import Patches, Workspace
from tests.histfactory import specs
from tests.shared_data import path as shared

MASSES = {(200.0, 50.0): 9.0, (300.0, 50.0): 6.0, (300.0, 150.0): 4.0, (400.0, 50.0): 1.5}


def background() -> dict:
    channel = specs.channel(
        "region",
        specs.sample(
            "background",
            [50.0, 20.0],
            specs.factors("scale", 1.1, 0.92),
            specs.templates("shape", [52.0, 19.0], [48.0, 21.0]),
        ),
    )
    content = specs.workspace([channel])
    content["observations"] = [{"name": "region", "data": [52.0, 19.0]}]
    return content


def patch_set(content: dict) -> dict:
    """Of all masses; the lightest signal has a systematic of its own."""
    patches = []
    for masses, size in MASSES.items():
        modifiers = [specs.MU]
        if masses[0] == 200:
            modifiers.append(specs.factors("signal_xs", 1.1, 0.9))
        signal = specs.sample("signal", [size, 2 * size], *modifiers)
        operation = {"op": "add", "path": "/channels/0/samples/1", "value": signal}
        name = "_".join(f"{mass:.0f}" for mass in masses)
        metadata = {"name": f"signal_{name}", "values": list(masses)}
        patches.append({"metadata": metadata, "patch": [operation]})
    return {
        "metadata": {
            "references": {"hepdata": "ins1234567"},
            "description": "two masses",
            "digests": {"sha256": pyhf.utils.digest(content)},
            "labels": ["m_parent", "m_child"],
        },
        "patches": patches,
        "version": "1.0.0",
    }


def test_every_point_is_what_pyhf_says_of_it_alone(tmp_path):
    content = background()
    path = tmp_path / "patchset.json"
    path.write_text(json.dumps(patch_set(content)))
    grid = signal_grid(content, path)
    found = exclusion(grid, limits=True)
    assert found.labels == ("m_parent", "m_child")
    np.testing.assert_array_equal(found.points, list(MASSES))

    workspace, patches = pyhf.Workspace(content), pyhf.PatchSet(patch_set(content))
    for index, name in enumerate(found.names):
        model = workspace.model(patches=[patches[name]])
        data = workspace.data(model)
        bounds = model.config.suggested_bounds()
        bounds[model.config.poi_index] = (0.0, 100.0)
        asked = {"par_bounds": bounds, "return_expected_set": True}
        observed, expected = pyhf.infer.hypotest(1.0, data, model, **asked)
        np.testing.assert_allclose(found.observed[index], observed, rtol=2e-3)
        np.testing.assert_allclose(found.expected[index], expected, rtol=2e-3)
        at_limit, _ = pyhf.infer.hypotest(float(found.limit[index]), data, model, **asked)
        np.testing.assert_allclose(at_limit, 0.05, rtol=1e-2)
        assert found.excluded[index] == (observed < 0.05) == (found.limit[index] < 1)
    assert found.excluded.tolist() == [True, True, False, False]


def published(stem: str, signal: str, labels: list[str]) -> tuple[dict, dict]:
    """The background-only workspace and the patch set of published likelihoods with signals."""
    files = sorted(shared("workspaces").glob(f"{stem}_*.json"))
    spaces = {file.stem.rsplit(f"{signal}_", 1)[1]: json.loads(file.read_text()) for file in files}
    base = copy.deepcopy(next(iter(spaces.values())))
    for channel in base["channels"]:
        channel["samples"] = [s for s in channel["samples"] if not s["name"].startswith(signal)]
    patches = []
    for name, content in spaces.items():
        metadata = {"name": f"signal_{name}", "values": [float(v) for v in name.split("_")]}
        patches.append({"metadata": metadata, "patch": list(jsonpatch.make_patch(base, content))})
    given = {"references": {"hepdata": "ins1748602"}, "description": stem, "labels": labels}
    digests = {"sha256": pyhf.utils.digest(base)}
    metadata = {**given, "digests": digests}
    return base, {"metadata": metadata, "patches": patches, "version": "1.0.0"}


@pytest.mark.slow
def test_signals_of_a_published_search():
    """ATLAS-SUSY-2018-31, region A: a signal that is excluded and one that is not, by pyhf."""
    labels = ["m_sbottom", "m_N2", "m_N1"]
    base, patches = published("susy-2018-31_sbottom-A", "sbottom", labels)
    found = exclusion(signal_grid(base, patches))
    assert found.names == ("signal_1000_131_1", "signal_1300_850_60", "signal_600_280_150")
    assert found.points.tolist() == [[1000, 131, 1], [1300, 850, 60], [600, 280, 150]]
    assert found.excluded.tolist() == [False, True, True]
    workspace, given = pyhf.Workspace(base), pyhf.PatchSet(patches)
    codes = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
    for index in (0, 1):
        model = workspace.model(patches=[given[found.names[index]]], modifier_settings=codes)
        bounds = model.config.suggested_bounds()
        bounds[model.config.poi_index] = (0.0, 20.0)
        observed, expected = pyhf.infer.hypotest(
            1.0, workspace.data(model), model, par_bounds=bounds, return_expected_set=True
        )
        np.testing.assert_allclose(found.observed[index], observed, rtol=2e-3)
        np.testing.assert_allclose(found.expected[index], expected, rtol=2e-3)


def test_local_p_values_are_those_of_pyhf():
    content = background()
    content["observations"] = [{"name": "region", "data": [56.0, 31.0]}]
    grid = signal_grid(content, patch_set(content))
    found = discovery(grid)
    workspace, patches = pyhf.Workspace(content), pyhf.PatchSet(patch_set(content))
    for index, name in enumerate(found.names):
        model = workspace.model(patches=[patches[name]])
        bounds = model.config.suggested_bounds()
        bounds[model.config.poi_index] = (0.0, 100.0)
        observed, expected = pyhf.infer.hypotest(
            0.0,
            workspace.data(model),
            model,
            test_stat="q0",
            par_bounds=bounds,
            return_expected_set=True,
        )
        np.testing.assert_allclose(found.observed[index], observed, rtol=5e-3)
        np.testing.assert_allclose(found.expected[index], expected, rtol=5e-3)
    assert found.significance.max() > 1.5


def test_workspaces_paths_and_patches_are_taken_alike(tmp_path):
    content = background()
    patches = patch_set(content)
    files = tmp_path / "bkg.json", tmp_path / "patchset.json"
    for file, each in zip(files, (content, patches), strict=True):
        file.write_text(json.dumps(each))
    space = Workspace(content)
    wanted = exclusion(signal_grid(content, patches)).observed
    of_set = Patches(space, patches)
    for grid in (signal_grid(space, str(files[1])), signal_grid(files[0], of_set), of_set):
        found = exclusion(grid)
        np.testing.assert_array_equal(found.observed, wanted)
        assert found.labels == ("m_parent", "m_child")


def test_signals_that_share_their_structure_are_one_batch():
    content = background()
    grid = signal_grid(content, patch_set(content), names=["signal_300_50", "signal_400_50"])
    assert len({model.structure for model in grid.models.values()}) == 1
    alone = [exclusion({name: model}).observed[0] for name, model in grid.models.items()]
    np.testing.assert_allclose(exclusion(grid).observed, alone, rtol=1e-12)


def test_a_point_whose_fit_fails_is_left_out_and_named(caplog):
    content = background()
    models = dict(signal_grid(content, patch_set(content), names=["signal_300_50"]).models)
    impossible = specs.workspace([specs.channel("a", specs.sample("s", [0.0], specs.MU))])
    models["nothing"] = Model.from_spec(impossible).replace(observed=np.array([3.0]))
    found = exclusion(models)
    assert np.isfinite(found.observed[0])
    assert np.isnan(found.observed[1])
    assert found.status[1] != 0
    assert "nothing is left out" in caplog.text


def test_mistakes_are_named():
    content = background()
    patches = patch_set(content)
    with pytest.raises(InputError, match=r"no patch 'signal_200_5'.*signal_200_50"):
        signal_grid(content, patches, names=["signal_200_5"])
    changed = background()
    changed["observations"][0]["data"] = [1.0, 2.0]
    with pytest.raises(InputError, match="made for another workspace"):
        signal_grid(changed, patches)
    models = signal_grid(content, patches).models
    with pytest.raises(InputError, match="has 1 coordinates, where there are 2 labels"):
        SignalGrid(models=models, points=dict.fromkeys(models, (1.0,)), labels=("a", "b"))
    with pytest.raises(InputError, match="must lie between 0 and 1"):
        exclusion(models, level=5.0)

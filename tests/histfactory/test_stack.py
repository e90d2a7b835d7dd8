"""Mass points in one batch, each compared with itself alone."""

import copy
import json

import numpy as np
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model, stack
from difftune.inference import hypotest, upper_limit
from tests import shared_data
from tests.histfactory import samples


@pytest.mark.slow
def test_mass_points_of_a_published_analysis():
    paths = sorted((shared_data.path("workspaces")).glob("susy-2018-31_sbottom-A_*.json"))
    models = [Model.from_spec(json.loads(path.read_text())) for path in paths]
    assert len(models) == 3
    together = hypotest(1.0, stack(models))
    for index, model in enumerate(models):
        alone = hypotest(1.0, model)
        np.testing.assert_allclose(together.observed[index], alone.observed, rtol=1e-6)
        np.testing.assert_allclose(together.expected[index], alone.expected, rtol=1e-6)


@pytest.mark.slow
def test_points_with_different_systematics_keep_their_limits():
    one = samples.toy_workspace()
    other = copy.deepcopy(one)
    channel = other["channels"][0]
    signal = next(
        sample
        for sample in channel["samples"]
        if any(modifier["type"] == "normfactor" for modifier in sample["modifiers"])
    )
    signal["data"] = [1.3 * value for value in signal["data"]]
    signal["modifiers"].insert(
        0, {"name": "signal_xs", "type": "normsys", "data": {"hi": 1.2, "lo": 0.85}}
    )
    models = [Model.from_spec(one), Model.from_spec(other)]
    assert models[0].structure != models[1].structure
    together = upper_limit(stack(models))
    for index, model in enumerate(models):
        alone = upper_limit(model)
        np.testing.assert_allclose(together.expected[index], alone.expected, rtol=1e-6)
        np.testing.assert_allclose(together.observed[index], alone.observed, rtol=1e-6)
    assert together.expected[0, 2] != pytest.approx(together.expected[1, 2], rel=1e-3)


def test_models_that_differ_in_more_are_refused():
    one = samples.toy_workspace()
    other = copy.deepcopy(one)
    for sample in other["channels"][0]["samples"]:
        sample["modifiers"] = [m for m in sample["modifiers"] if m["type"] != "staterror"]
    with pytest.raises(InputError, match=r"staterror.*may come and go"):
        stack([Model.from_spec(one), Model.from_spec(other)])

"""The picture of smoothing has the templates before and after, relative to nominal."""

import numpy as np
import pytest

import difftune as dt
from difftune.errors import InputError
from difftune.report import smoothed_variations
from tests.histfactory import specs


def noisy() -> dt.Workspace:
    rng = np.random.default_rng(4)
    nominal = np.linspace(120.0, 40.0, 12)
    change = 1 + np.linspace(-0.1, 0.1, 12)
    up, down = (nominal * factor + 3 * rng.normal(size=12) for factor in (change, 2 - change))
    background = specs.sample(
        "b",
        nominal.tolist(),
        specs.templates("JES", up.tolist(), down.tolist()),
        specs.modifier("staterror", "stat", [4.0] * 12),
    )
    signal = specs.sample(
        "s", [1.0] * 12, specs.MU, specs.templates("other", [1.1] * 12, [0.9] * 12)
    )
    content = specs.workspace([specs.channel("SR", background, signal)])
    content["observations"] = [{"name": "SR", "data": nominal.tolist()}]
    return dt.Workspace(content)


def test_what_changed_is_drawn_with_its_numbers(tmp_path):
    before = noisy()
    after, table = before.smooth("JES")
    (figure,) = smoothed_variations(before, after)
    assert list(figure.numbers) == ["JES, b, SR"]
    numbers = figure.numbers["JES, b, SR"]
    for space, key in ((before, "before"), (after, "after")):
        own = space["channels"][0]["samples"][0]
        nominal, data = np.asarray(own["data"]), own["modifiers"][0]["data"]
        wanted = [100 * (np.asarray(data[side]) / nominal - 1) for side in ("hi_data", "lo_data")]
        np.testing.assert_allclose(numbers[key], wanted, atol=1e-9)
    np.testing.assert_allclose(numbers["statistical_uncertainty"], 400 / nominal)
    relative = np.abs(np.subtract(numbers["after"], numbers["before"])).max() / 100
    assert relative == pytest.approx(table[0].change)
    assert smoothed_variations(before, before) == []
    dt.report.save(figure, tmp_path, "smoothing")
    assert (tmp_path / "smoothing.png").stat().st_size > 10_000


def test_what_is_no_pair_of_workspaces_is_refused():
    before = noisy()
    with pytest.raises(InputError, match="12 bins before and 6 after"):
        smoothed_variations(before, before.rebin({"SR": 2}))
    with pytest.raises(InputError, match="after=dict"):
        smoothed_variations(before, {})

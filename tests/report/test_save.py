import json

import numpy as np
import pytest
from PIL import Image

from difftune.report import loss_history, region, save, style, to_json
from difftune.report.html import png
from tests.report import samples


def test_picture_and_numbers_are_written(tmp_path):
    templates = samples.toy_templates()
    files = save(region(templates), tmp_path / "plots", "region", dpi=50)
    assert [f.name for f in files] == ["region.pdf", "region.png", "region.json"]
    assert files[0].read_bytes().startswith(b"%PDF")
    with Image.open(files[1]) as picture:
        assert picture.size == (340, 350)
    numbers = json.loads(files[2].read_text())
    np.testing.assert_allclose(numbers["total"], templates.total().sumw)
    assert numbers["edges"] == templates.edges.tolist()


@pytest.mark.slow
def test_numbers_can_be_given_and_files_are_reproducible(tmp_path, monkeypatch, settings_of_users):
    monkeypatch.setattr(style, "settings", settings_of_users)
    history = samples.search(members=2, rounds=1, epochs=3)
    first, second = (
        save(loss_history(history), tmp_path / name, "loss", {"x": 1}) for name in ("a", "b")
    )
    assert json.loads(first[2].read_text()) == {"x": 1}
    assert [f.read_bytes() for f in first] == [f.read_bytes() for f in second]


def test_png_is_a_picture():
    assert png(region(samples.toy_templates())).startswith(b"\x89PNG")


def test_json_of_everything_that_is_not_json():
    content = {
        "array": np.array([[1.0, np.nan], [np.inf, 2.0]]),
        3: np.float32(0.5),
        "flags": np.array([True, False]),
        "nested": [np.int64(4), (np.bool_(True), None, {"a": float("-inf")})],
    }
    assert json.loads(to_json(content)) == {
        "array": [[1.0, None], [None, 2.0]],
        "3": 0.5,
        "flags": [True, False],
        "nested": [4, [True, None, {"a": None}]],
    }

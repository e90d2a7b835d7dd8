"""Curves and contours of excluded signals, and the verb and page that make them."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy.stats import norm

from difftune.cli import cli
from difftune.errors import InputError
from difftune.inference import Discovery, Exclusion
from difftune.report import discovery_scan, exclusion_contour, exclusion_curve
from tests.inference.test_exclusion import background, patch_set
from tests.report.readable import assert_readable, texts


def grid(points: np.ndarray, significance: np.ndarray) -> Exclusion:
    """What is known of it is how many standard deviations each signal is excluded by."""
    expected = norm.sf(significance[:, None] + np.array([2.0, 1.0, 0.0, -1.0, -2.0]))
    names = tuple(f"signal {i}" for i in range(len(points)))
    observed = norm.sf(significance)
    status = np.zeros(len(points), int)
    return Exclusion(names, ("a", "b"), points, observed, expected, None, None, 0.05, status)


def test_the_contour_of_a_plane_is_a_line():
    x, y = (each.ravel() for each in np.meshgrid(np.arange(5.0), np.arange(4.0)))
    found = grid(np.stack([x, y], axis=1), 4.0 - x - 0.5 * y)
    figure = exclusion_contour(found)
    assert_readable(figure)
    (line,) = figure.numbers["contours"]["observed"]
    crossed = np.array(line)
    np.testing.assert_allclose(4.0 - crossed[:, 0] - 0.5 * crossed[:, 1], 1.6448536, atol=1e-6)
    assert {"Observed 95 % CL", "Expected 95 % CL", "a", "b"} <= set(texts(figure))


def test_a_curve_has_the_bands_in_the_order_of_the_masses():
    points = np.array([[300.0, 0.0], [100.0, 0.0], [200.0, 0.0]])
    found = grid(points, np.array([0.5, 3.0, 2.0]))
    limits = np.array([3.0, 0.5, 1.1])
    bands = limits[:, None] * np.array([0.5, 0.7, 1.0, 1.4, 2.0])
    figure = exclusion_curve(found._replace(limit=1.1 * limits, expected_limit=bands))
    assert_readable(figure)
    median, observed = figure.axes[0].lines[:2]
    np.testing.assert_allclose(median.get_xydata(), [[100, 0.5], [200, 1.1], [300, 3.0]])
    np.testing.assert_allclose(observed.get_ydata(), [0.55, 1.21, 3.3])
    drawn = exclusion_curve(found, against="a")
    np.testing.assert_allclose(drawn.numbers["observed"], found.observed[[1, 2, 0]])


def test_p_values_have_their_standard_deviations_beside_them():
    points = np.array([[300.0], [100.0], [200.0]])
    expected = np.full((3, 5), 1e-4)
    found = Discovery(
        ("x", "y", "z"), ("m",), points, norm.sf([1.0, 2.5, 3.2]), expected, np.zeros(3, int)
    )
    figure = discovery_scan(found)
    assert_readable(figure)
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), norm.sf([2.5, 3.2, 1.0]))
    assert {r"1$\sigma$", r"2$\sigma$", r"3$\sigma$", "m"} <= set(texts(figure))
    np.testing.assert_allclose(found.significance, [1.0, 2.5, 3.2])


def test_what_cannot_be_drawn_is_refused():
    line = grid(np.array([[0.0, 0.0], [1.0, 1.0], [2.0, 2.0]]), np.array([3.0, 2.0, 1.0]))
    with pytest.raises(InputError, match="span no plane"):
        exclusion_contour(line)
    with pytest.raises(InputError, match="no axis 'mass'; there are a, b"):
        exclusion_curve(line, against="mass")
    twice = grid(np.zeros((2, 2)), np.array([3.0, 2.0]))
    with pytest.raises(InputError, match="Several signals have the same a"):
        exclusion_curve(twice)


@pytest.mark.slow
def test_the_verb_tests_a_whole_patch_set(tmp_path):
    files = tmp_path / "bkg.json", tmp_path / "patchset.json"
    for file, content in zip(files, (background(), patch_set(background())), strict=True):
        file.write_text(json.dumps(content))
    words = ["fit", str(files[0]), "exclusion", "--patch", str(files[1])]
    result = CliRunner().invoke(cli, [*words, "--output", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    assert "signal_200_50" in result.output
    written = json.loads((tmp_path / "out" / "results.json").read_text())
    assert written["excluded"] == [True, True, False, False]
    assert (tmp_path / "out" / "figures" / "contour.pdf").exists()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "2 of 4" in page
    wrong = CliRunner().invoke(cli, [*words, "limit"])
    assert wrong.exit_code == 2
    assert "exclusion stands alone" in wrong.output

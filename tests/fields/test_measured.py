"""Measurements from files: CSV, JSON, histograms of ROOT; what is wrong with them is said."""

import json

import hist
import numpy as np
import pytest
import uproot

from difftune.errors import InputError
from difftune.fields import read_measurements

BINS = """pt_low, pt_high, eta, value, error, correlated_luminosity
20, 30, 0.5, 0.95, 0.02, 0.01
30, 60, 0.5, 0.97, 0.01, 0.02
"""


def test_bins_and_points_of_a_table(tmp_path):
    path = tmp_path / "sf.csv"
    path.write_text(BINS)
    found = read_measurements(path, ["eta", "pt"])
    np.testing.assert_array_equal(found.lower, [[0.5, 20], [0.5, 30]])
    np.testing.assert_array_equal(found.upper, [[0.5, 30], [0.5, 60]])
    np.testing.assert_allclose(
        found.covariance, [[0.02**2 + 0.01**2, 0.0002], [0.0002, 0.01**2 + 0.02**2]]
    )


def test_json_with_a_covariance(tmp_path):
    path = tmp_path / "sf.json"
    content = {"pt": [1, 2], "value": [3, 4], "covariance": [[2, 1], [1, 2]]}
    path.write_text(json.dumps(content))
    found = read_measurements(path, ["pt"])
    np.testing.assert_array_equal(found.covariance, [[2, 1], [1, 2]])
    np.testing.assert_allclose(found.errors, 2**0.5)


def test_a_histogram_of_root(tmp_path):
    made = hist.Hist.new.Var([20, 40, 100], name="pt").Reg(3, -1, 2, name="eta").Weight()
    made.fill(pt=[25, 25, 50], eta=[-0.5, 0.5, 1.5], weight=[0.9, 0.8, 1.1])
    with uproot.recreate(tmp_path / "sf.root") as file:
        file["tight"] = made
    found = read_measurements(f"{tmp_path}/sf.root:tight", ["pt", "eta"])
    np.testing.assert_array_equal(found.lower, [[20, -1], [20, 0], [40, 1]])
    np.testing.assert_array_equal(found.upper, [[40, 0], [40, 1], [100, 2]])
    np.testing.assert_allclose(found.values, [0.9, 0.8, 1.1])
    with pytest.raises(InputError, match="has 2 axes; there are 1 coordinates"):
        read_measurements(f"{tmp_path}/sf.root:tight", ["pt"])
    with pytest.raises(InputError, match="no histogram"):
        read_measurements(f"{tmp_path}/sf.root:loose", ["pt", "eta"])


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", BINS.replace("value", "val"), "no column 'value'.*'val'"),
        ("a.csv", BINS.replace("0.97", "x"), "line 3, column 'value': 'x' is no number"),
        ("a.csv", BINS.replace("0.97,", ""), "line 3: 5 values under 6 names"),
        ("a.csv", BINS.replace("0.97", "nan"), "value: nan is not finite"),
        ("a.csv", BINS.replace("60", "10"), "the bin 1 ends at"),
        ("a.json", "[]", "holds a list"),
        ("a.json", "{", "is no JSON"),
    ],
)
def test_what_is_wrong_is_said(tmp_path, name, text, says):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(InputError, match=says) as error:
        read_measurements(path, ["pt", "eta"])
    assert name in str(error.value)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_measurements(tmp_path / "none.csv", ["pt"])

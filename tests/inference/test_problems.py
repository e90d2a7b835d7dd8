"""What a user may ask of a fit, by the names of parameters, which pyhf knows too."""

import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory.compile import compile_spec
from difftune.inference.problems import limits
from tests.histfactory import specs


@pytest.fixture(scope="module")
def structure():
    return compile_spec(specs.everything()).structure


@pytest.fixture(scope="module")
def where():
    return pyhf.Workspace(specs.everything()).model().config.par_slice("stat_SR")


def test_a_name_of_one_parameter_a_bin_is_all_of_them(structure, where):
    found = limits(
        structure,
        bounds={"stat_SR": (0.5, 1.5), "stat_CR": [(0.1, 2.0), (0.2, 3.0)], "stat_SR[1]": (0, 9)},
        fixed={"stat_SR": 1.1, "fakes_CR": [0.9, 1.2], "stat_CR[1]": 1.0},
    )
    assert found.lower[where].tolist() == [0.5, 0.0, 0.5]
    assert found.upper[where].tolist() == [1.5, 9.0, 1.5]
    assert found.start[where].tolist() == [1.1] * 3
    fixed = [name for name, is_fixed in zip(structure.names, found.fixed, strict=True) if is_fixed]
    assert fixed == sorted(
        [*(f"stat_SR[{i}]" for i in range(3)), "fakes_CR[0]", "fakes_CR[1]", "stat_CR[1]"],
        key=structure.names.index,
    )
    assert found.start[structure.names.index("fakes_CR[1]")] == 1.2
    assert found.upper[structure.names.index("stat_CR[1]")] == 3.0


@pytest.mark.parametrize("fixed", [{"jes"}, ["jes"], ("jes",), "jes", {"jes": None}])
def test_names_alone_stay_where_they_start(structure, fixed):
    index = structure.names.index("jes")
    found = limits(structure, fixed=fixed, start={"jes": 0.4})
    assert found.fixed[index]
    assert found.start[index] == 0.4
    assert found.fixed.sum() == limits(structure).fixed.sum() + 1


def test_start_values_by_name_or_of_all(structure):
    init = structure.layout.init
    found = limits(structure, start={"norm_fakes": 2.0, "stat_CR": [1.1, 0.9]})
    changed = np.flatnonzero(found.start != init)
    assert [structure.names[i] for i in changed] == ["norm_fakes", "stat_CR[0]", "stat_CR[1]"]
    np.testing.assert_array_equal(limits(structure, start=list(init)).start, init)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"fixed": {"stat_SR": [1.0, 2.0]}}, r"fixed\['stat_SR'\].*3 of them; 'stat_SR\[0\]'"),
        ({"fixed": {"stat_SR[3]": 1.0}}, r"No parameter 'stat_SR\[3\]'.*Did you mean 'stat_SR"),
        ({"fixed": {"jess"}}, "No parameter 'jess'.*Did you mean 'jes'"),
        ({"fixed": {"jes": "x"}}, r"fixed\['jes'\] is 'x': give a number"),
        ({"fixed": {"jes": 10**400}}, r"fixed\['jes'\] is .*: give a number"),
        ({"fixed": {"jes": np.nan}}, "finite"),
        ({"fixed": 3}, r"fixed=3: give \{name: value\}"),
        ({"bounds": {"mu": 3.0}}, r"bounds\['mu'\] is 3\.0: give \(lower, upper\)"),
        ({"bounds": {"mu": (3.0, 1.0)}}, r"3\.0 is not below 1\.0"),
        ({"bounds": {"mu": (np.nan, 1.0)}}, r"bounds\['mu'\]"),
        ({"bounds": {"stat_SR": [(0, 1)] * 2}}, r"bounds\['stat_SR'\]"),
        ({"bounds": [(0, 1)]}, "give a dict by name"),
        ({"start": [1.0, 2.0]}, r"start has the shape \(2,\)"),
        ({"start": {"mu": -3.0}}, r"'mu' starts at -3\.0, outside its bounds"),
        ({"start": ["x"]}, r"start is \['x'\]"),
    ],
)
def test_what_cannot_be_asked(structure, asked, said):
    with pytest.raises(InputError, match=said):
        limits(structure, **asked)


def test_one_parameter_of_several_is_named_by_its_bin(structure):
    with pytest.raises(InputError, match=r"choose one of 'stat_SR\[0\]' to 'stat_SR\[2\]'"):
        structure.index("stat_SR")

"""Several trees of a file, by pattern or by their names, as one process."""

import numpy as np
import pytest
import uproot

from difftune.data import Process, TreeVariation, read
from difftune.errors import InputError
from difftune.job.measured_sections import Sample
from tests.data.files import columns

NAMES = ["mu/CollectionTree", "el/CollectionTree", "el/Metadata"]


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "events.root"
    with uproot.recreate(path) as opened:
        for seed, name in enumerate(NAMES):
            data = columns(40 + seed, seed) if "Meta" not in name else {"sum": np.ones(3)}
            opened.mktree(name, {key: values.dtype for key, values in data.items()})
            opened[name].extend(data)
        for seed, name in enumerate(("mu/CollectionTree_up", "el/CollectionTree_up")):
            data = columns(30 + seed, 10 + seed)
            opened.mktree(name, {key: values.dtype for key, values in data.items()})
            opened[name].extend(data)
    return str(path)


def of(file, tree, **options):
    process = Process(name="signal", role="signal", tree=tree, **options.pop("process", {}))
    given = {"features": ["x", "n_jets"], "weight": "abs(weight)", "duplicates": "allow"}
    return read(file, processes=process, **(given | options))


def of_trees(file, *names):
    with uproot.open(file) as opened:
        return np.concatenate([opened[name]["x"].array(library="np") for name in names])


@pytest.mark.parametrize(
    "tree", ["*/CollectionTree", ["mu/CollectionTree", "el/CollectionTree"], ["[me]*/Coll*Tree"]]
)
def test_they_are_read_one_after_the_other(file, tree):
    events = of(file, tree)
    np.testing.assert_array_equal(events.features[:, 0], of_trees(file, *NAMES[:2]))
    np.testing.assert_array_equal(events.number, np.arange(40 + 41))


def test_names_come_in_the_order_of_the_file(file):
    events = of(file, ("el/CollectionTree", "mu/CollectionTree"))
    np.testing.assert_array_equal(events.features[:, 0], of_trees(file, *NAMES[:2]))


def test_the_file_is_one_file_in_the_normalisation(file):
    sample = {"cross_section": 2.0, "sum_of_weights": 1e4}
    events = of(file, "*/CollectionTree", luminosity=3.0, process=sample)
    (found,) = events.normalisations
    assert (found.files, found.entries) == (1, 81)


def test_variations_have_a_tree_of_each(file):
    varied = TreeVariation("jes", up="{tree}_up")
    events = of(
        file, ["*/CollectionTree"], event_number="event", variations=[varied], duplicates="allow"
    )
    up = events.variations["jes"].up
    expected = of_trees(file, "mu/CollectionTree_up", "el/CollectionTree_up")
    np.testing.assert_array_equal(up.features[:, 0], expected)


@pytest.mark.parametrize("tree", ["*/Nothing*", ["mu/CollectionTree", "tau/CollectionTree"]])
def test_what_fits_nothing_is_refused_with_the_trees(file, tree):
    with pytest.raises(InputError, match="has no tree") as refused:
        of(file, tree)
    assert all(name in str(refused.value) for name in NAMES)


def test_what_fits_and_has_other_columns_is_named(file):
    with pytest.raises(InputError) as refused:
        of(file, "el/*")
    message = str(refused.value)
    assert f"{file}:el/Metadata has no branch" in message
    assert "tree = 'el/*' takes el/CollectionTree, el/Metadata" in message


def test_what_is_no_name_is_refused(file):
    with pytest.raises(InputError, match=r"tree = \[\]"):
        of(file, [])
    with pytest.raises(InputError, match="tree"):
        of(file, 3)


def test_the_analysis_file_takes_one_and_several():
    assert Sample(name="a", tree="*/CollectionTree").tree == "*/CollectionTree"
    assert Sample(name="a", tree=["x", "y"]).tree == ["x", "y"]

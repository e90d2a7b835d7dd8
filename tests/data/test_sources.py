import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import uproot

from difftune.data.sources import open_table, resolve, rows_in
from difftune.errors import InputError
from tests.data.files import columns, write_root
from tests.shared_data import path

KINDS = dict.fromkeys(["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"], "number")


def joined(table, names, step):
    chunks = list(table.read(names, step))
    assert [start for start, _ in chunks] == list(range(0, table.rows or 10**9, step))[
        : len(chunks)
    ]
    return {name: np.concatenate([chunk[name] for _, chunk in chunks]) for name in names}


@pytest.mark.parametrize("form", ["tree", "ntuple", "parquet"])
def test_kinds_and_values_of_all_number_types(tmp_path, form):
    data = {dtype: np.arange(20).astype(dtype) for dtype in KINDS} | {"b": np.arange(20) % 3 == 0}
    file = tmp_path / ("a.parquet" if form == "parquet" else "a.root")
    if form == "tree":
        write_root(file, t=data)
    elif form == "ntuple":
        with uproot.recreate(file) as opened:
            opened.mkrntuple("t", data)
    else:
        pyarrow.parquet.write_table(pa.table(data), file)
    table = open_table(str(file), None if form == "parquet" else "t", "test")
    assert dict(table.kinds) == KINDS | {"b": "bool"}
    assert table.rows == 20
    read = joined(table, list(data), 7)
    for name, values in data.items():
        np.testing.assert_array_equal(read[name], values)
        assert read[name].dtype == values.dtype


@pytest.mark.parametrize("form", ["ntuple", "parquet"])
def test_texts_and_arrays(tmp_path, form):
    lists = [[1.0], [], [2.0, 3.0]]
    data = {"s": ["a", "Zττ", "b"], "jets": lists, "x": [1.0, 2.0, 3.0]}
    if form == "ntuple":
        file = tmp_path / "a.root"
        with uproot.recreate(file) as opened:
            opened.mkrntuple("t", pa_to_awkward(data))
    else:
        file = tmp_path / "a.parquet"
        pyarrow.parquet.write_table(pa.table(data), file)
    table = open_table(str(file), None, "test")
    assert dict(table.kinds) == {"s": "string", "jets": "array", "x": "number"}
    assert joined(table, ["s"], 2)["s"].tolist() == [b"a", "Zττ".encode(), b"b"]


def pa_to_awkward(data):
    import awkward as ak

    return {name: ak.Array(values) for name, values in data.items()}


def test_strings_in_trees():
    table = open_table(str(path("events/atlas_dilepton_weightsys.root")), "WtLoop_meta", "test")
    assert table.kinds["initialState"] == "string"
    assert joined(table, ["initialState"], 5)["initialState"].tolist() == [b"Wt"]


def test_branches_with_strange_names_and_folders(tmp_path):
    data = {"jet.pt": np.arange(5.0), "class": np.arange(5, dtype=np.int32)}
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mktree("nominal/events", {name: values.dtype for name, values in data.items()})
        file["nominal/events"].extend(data)
    table = open_table(str(tmp_path / "a.root"), "nominal/events", "test")
    read = joined(table, ["class", "jet.pt"], 3)
    np.testing.assert_array_equal(read["jet.pt"], data["jet.pt"])
    np.testing.assert_array_equal(read["class"], data["class"])


def test_integers_in_csv_may_become_floats_later(tmp_path):
    (tmp_path / "a.csv").write_text("n\n" + "1\n" * 700_000 + "1.5\n")
    table = open_table(str(tmp_path / "a.csv"), None, "test")
    values = np.concatenate([chunk["n"] for _, chunk in table.read(["n"], 10_000)])
    assert len(values) == 700_001
    assert values[-1] == 1.5


def test_csv_with_a_name_twice(tmp_path):
    (tmp_path / "a.csv").write_text("x,y,x\n1,2,3\n")
    with pytest.raises(InputError, match=r"a\.csv' has two columns 'x'"):
        open_table(str(tmp_path / "a.csv"), None, "test")


def test_resolve_sorts_globs_and_drops_doubles(tmp_path, monkeypatch):
    for name in ("b2.csv", "b10.csv", "a.csv"):
        (tmp_path / name).write_text("x\n")
    (tmp_path / "link.csv").symlink_to(tmp_path / "a.csv")
    monkeypatch.chdir(tmp_path)
    assert resolve(["b*.csv", "a.csv", tmp_path / "a.csv", "link.csv"], "test") == [
        "b10.csv",
        "b2.csv",
        "a.csv",
    ]
    assert resolve("root://host//a.root", "test") == ["root://host//a.root"]


def test_names_with_brackets_are_files_first(tmp_path):
    (tmp_path / "a[1].csv").write_text("x\n")
    assert resolve(tmp_path / "a[1].csv", "test") == [str(tmp_path / "a[1].csv")]


@pytest.mark.parametrize(
    ("size", "rows"),
    [
        (17, 17),
        ("100 MB", 1_000_000),
        ("1MiB", 10485),
        ("2 kB", 20),
        ("1 B", 1),
        ("0.5gb", 5 * 10**6),
    ],
)
def test_rows_in(size, rows):
    assert rows_in(size, 100) == rows


def test_events_of_a_tree_are_those_of_uproot(tmp_path):
    data = columns(100)
    table = open_table(write_root(tmp_path / "a.root", t=data), None, "test")
    with uproot.open(tmp_path / "a.root") as file:
        expected = file["t"].arrays(library="np")
    for name, values in joined(table, list(data), 9).items():
        np.testing.assert_array_equal(values, expected[name])


def test_without_pyarrow_the_message_says_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.csv").write_text("x\n1\n")
    monkeypatch.delattr("difftune.data.arrow", raising=False)
    monkeypatch.setitem(sys.modules, "difftune.data.arrow", None)
    with pytest.raises(InputError, match=r"needs pyarrow: pip install 'difftune\[arrow\]'"):
        open_table(str(tmp_path / "a.csv"), None, "process 'a'")

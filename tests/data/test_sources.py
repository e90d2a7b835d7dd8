import sys

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import uproot
from uproot.interpretation.numerical import AsDouble32, AsDtype, AsFloat16

from difftune.data import root
from difftune.data.sources import open_table, resolve, rows_in
from difftune.errors import InputError
from tests import public_files
from tests.data.files import columns, write_root
from tests.shared_data import path

INTEGERS = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]
PRIMITIVES = ["bool", "float32", "float64", *INTEGERS]
FILES = (
    "atlas_tW_dilepton.root",
    "atlas_dilepton_weightsys.root",
    "cabinetry_toy_data.root",
    "cabinetry_toy_prediction.root",
    "sherpa_ztautau_emu_1.root",
)
KINDS = dict.fromkeys(["f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8"], "number")


def joined(table, names, step):
    chunks = list(table.read(names, step))
    assert [start for start, _ in chunks] == list(range(0, table.rows or 10**9, step))[
        : len(chunks)
    ]
    return {name: _concatenated([chunk[name] for _, chunk in chunks]) for name in names}


def _concatenated(parts):
    return np.concatenate(parts) if isinstance(parts[0], np.ndarray) else ak.concatenate(parts)


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
    assert dict(table.kinds) == {"s": "string", "jets": "number[]", "x": "number"}
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


INNER = pa.StructArray.from_arrays([pa.array([4.0, 5, 6])], ["y"])
STRUCT = pa.StructArray.from_arrays([pa.array([1, 2, 3]), INNER], ["run", "more"])
ARROW = {
    "view": (pa.array(["a", "b", "c"], pa.string_view()), [b"a", b"b", b"c"]),
    "large": (pa.array(["a", "b", "c"], pa.large_string()), [b"a", b"b", b"c"]),
    "null": (pa.nulls(3), [np.nan] * 3),
    "half": (pa.array([1.0, 2.5, 3.0], pa.float16()), [1, 2.5, 3]),
    "decimal": (pa.array([1.0, 2.5, 3.0]).cast(pa.decimal128(10, 2)), [1, 2.5, 3]),
    "blank": (pa.array([2**60, None, 1]), [2**60, np.nan, 1]),
    "large id": (pa.array([2**60 + 1, 2**63 + 5, 1], pa.uint64()), [2**60 + 1, 2**63 + 5, 1]),
    "category": (pa.array([7, 8, 7]).dictionary_encode(), [7, 8, 7]),
    "event.run": (STRUCT, [1, 2, 3]),
    "event.more.y": (STRUCT, [4, 5, 6]),
}


@pytest.mark.parametrize("form", ["a.parquet", "a.feather", "a.arrow"])
@pytest.mark.parametrize("name", ARROW)
def test_one_value_an_event_is_a_column_whatever_arrow_calls_it(tmp_path, form, name):
    values, wanted = ARROW[name]
    table = pa.table({name.split(".")[0]: values, "x": [1.0, 2.0, 3.0]})
    file = str(tmp_path / form)
    if form == "a.parquet":
        pyarrow.parquet.write_table(table, file)
    elif form == "a.feather":
        pyarrow.feather.write_feather(table, file, compression="zstd")
    else:
        with pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table, max_chunksize=2)
    opened = open_table(file, None, "test")
    assert opened.kinds[name] == ("string" if isinstance(wanted[0], bytes) else "number")
    assert opened.rows == 3
    np.testing.assert_array_equal(joined(opened, [name, "x"], 2)[name], wanted)


def test_runs_and_extensions_in_arrow(tmp_path):
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([2, 3], pa.int32()), pa.array([1.5, 2.5]))
    pyarrow.feather.write_feather(pa.table({"r": runs}), tmp_path / "a.feather", "uncompressed")
    table = open_table(str(tmp_path / "a.feather"), None, "test")
    np.testing.assert_array_equal(joined(table, ["r"], 3)["r"], [1.5, 1.5, 2.5])


def test_a_folder_of_parquet_files_is_its_files(tmp_path):
    folder = tmp_path / "set"
    for name in ("year=2022/part-1.parquet", "year=2023/part-0.parquet", "_common/m.parquet"):
        (folder / name).parent.mkdir(parents=True)
        pyarrow.parquet.write_table(pa.table({"x": [1.0]}), folder / name)
    (folder / "_SUCCESS").write_text("")
    assert resolve(folder, "test") == [
        str(folder / "year=2022/part-1.parquet"),
        str(folder / "year=2023/part-0.parquet"),
    ]
    (folder / "notes.txt").write_text("")
    with pytest.raises(InputError, match="is a folder; add a pattern"):
        resolve(folder, "test")


def test_what_a_file_is_its_content_says(tmp_path):
    pyarrow.parquet.write_table(pa.table({"x": [1.0]}), tmp_path / "parquet.csv")
    write_root(tmp_path / "tree.dat", t=columns(3))
    assert list(open_table(str(tmp_path / "parquet.csv"), None, "test").kinds) == ["x"]
    assert open_table(str(tmp_path / "tree.dat"), None, "test").tree == "t"


def test_fields_of_ntuples(tmp_path):
    data = {
        "x": np.arange(5.0),
        "event": ak.Array([{"run": i, "pv": {"z": i * 1.5}, "t": [i]} for i in range(5)]),
        "maybe": ak.Array([1, None, 2, None, 3]),
        "jets": ak.Array([[1.0], [], [2.0, 3.0], [], [4.0]]),
    }
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple("t", data)
    table = open_table(str(tmp_path / "a.root"), "t", "test")
    kinds = {"x": "number", "maybe": "number", "jets": "number[]", "event": "other"}
    kinds |= {"event.run": "number", "event.pv": "other", "event.pv.z": "number"}
    assert dict(table.kinds) == kinds | {"event.t": "number[]"}
    read = joined(table, ["event.pv.z", "maybe", "event.run", "x"], 2)
    np.testing.assert_array_equal(read["event.run"], np.arange(5))
    np.testing.assert_array_equal(read["event.pv.z"], 1.5 * np.arange(5))
    np.testing.assert_array_equal(read["maybe"], [1, np.nan, 2, np.nan, 3])


def test_counters_of_ntuples(tmp_path, monkeypatch):
    """As `nMuon` in NanoAOD: the lengths of a collection, in a field that ROOT projects on it.

    uproot reads such fields and writes none. So it is told that the field of the collection is one:
    both have the same column.
    """
    muons = ak.Array([[1.0, 2.0], [], [3.0], [], [4.0, 5.0, 6.0], [7.0]])
    with uproot.recreate(tmp_path / "a.root") as file:
        file.mkrntuple("t", {"x": np.arange(6.0), "nMuon": muons})
    with uproot.open(tmp_path / "a.root") as file:
        kind = type(file["t"])
    records = kind.field_records.fget

    def told(ntuple):
        found = records(ntuple)
        for record in found:
            if record.field_name == "nMuon":
                record.type_name = "ROOT::RNTupleCardinality<std::uint32_t>"
                record.struct_role = uproot.const.RNTupleFieldRole.LEAF
        return found

    monkeypatch.setattr(kind, "field_records", property(told))
    table = open_table(str(tmp_path / "a.root"), "t", "test")
    assert table.kinds["nMuon"] == "number"
    for step in (2, 6):
        read = joined(table, ["nMuon", "x"], step)
        np.testing.assert_array_equal(read["nMuon"], ak.num(muons))
        np.testing.assert_array_equal(read["x"], np.arange(6))


class Stored:
    """Stands for a branch or a field of types that uproot reads but cannot write."""

    def __init__(self, name, interpretation):
        self.name, self.interpretation, self.typename = name, interpretation, "?"


@pytest.mark.parametrize(
    ("interpretation", "kinds"),
    [
        (AsDouble32(0.0, 100.0, 16), {"b": "number"}),
        (AsFloat16(0.0, 0.0, 12), {"b": "number"}),
        (AsDouble32(0.0, 100.0, 16, to_dims=(3,)), {"b": "number[]"}),
        (AsDtype(">f4"), {"b": "number"}),
        (AsDtype(np.dtype((">f4", (2,)))), {"b": "number[]"}),
        (
            AsDtype([("x", ">f4"), ("n", ">i4", (2,))]),
            {"b": "other", "b.x": "number", "b.n": "number[]"},
        ),
    ],
)
def test_numbers_in_few_bits_and_lists_of_leaves(interpretation, kinds):
    places = root._places_of_branch(Stored("b", interpretation), "b", "b")
    assert {name: place.kind for name, place in places.items()} == kinds


LISTS = {
    "x": np.arange(7, dtype=np.float32),
    "ok": ak.Array([[True], [], [False, True], [], [], [True, True], []]),
    "jets": ak.values_astype([[1, 2], [], [3], [4, 5, 6], [], [7], []], np.float32),
    "fixed": np.arange(35, dtype=np.int32).reshape(7, 5),
    "cells": ak.to_regular(
        ak.Array(
            [
                np.ones((n, 2)) * n + [[0, 1]] if n else np.ones((0, 2))
                for n in (2, 0, 1, 3, 0, 0, 1)
            ]
        ),
        axis=2,
    ),
}
NESTED = {
    "deep": ak.Array([[[1.5], []], [], [[2.5, 3.5]], [], [[]], [[4.5]], []]),
    "muon": ak.Array(
        [[{"pt": 1.0, "hits": [1, 2]}], [], [{"pt": 2.0, "hits": []}], [], [], [], []]
    ),
}


@pytest.mark.parametrize("form", ["tree", "ntuple", "parquet", "feather"])
def test_lists_come_as_awkward_arrays(tmp_path, form):
    """What uproot or awkward themselves read back."""
    file = str(tmp_path / "a") + (".root" if form in ("tree", "ntuple") else f".{form}")
    data = LISTS | NESTED
    if form == "tree":
        # uproot writes no lists of lists.
        data = {name: values for name, values in LISTS.items() if name != "cells"}
    if form == "tree":
        with uproot.recreate(file) as opened:
            opened.mktree("t", {name: ak.type(values).content for name, values in data.items()})
            opened["t"].extend(data)
    elif form == "ntuple":
        data = {n: v for n, v in data.items() if n not in ("fixed", "cells")}
        with uproot.recreate(file) as opened:
            opened.mkrntuple("t", data)
    else:
        stored = ak.to_arrow_table(ak.zip(data, depth_limit=1), extensionarray=False)
        if form == "parquet":
            pyarrow.parquet.write_table(stored, file)
        else:
            pyarrow.feather.write_feather(stored, file)
    table = open_table(file, None, "test")
    wanted = {name: data[name] for name in data if name not in ("x", "muon")}
    if "muon" in data:
        assert table.kinds["muon"] == "other"
        wanted |= {"muon.pt": data["muon"].pt, "muon.hits": data["muon"].hits}
    kinds = {
        "ok": "bool[]",
        "fixed": "number[]",
        "jets": "number[]",
        "cells": "number[][]",
        "deep": "number[][]",
        "muon.pt": "number[]",
        "muon.hits": "number[][]",
    }
    assert {n: table.kinds[n] for n in wanted} == {n: kinds[n] for n in wanted}
    assert table.kinds["x"] == "number"
    for step in (3, 7):
        read = joined(table, list(wanted), step)
        for name, values in wanted.items():
            assert ak.to_list(read[name]) == ak.to_list(values), name


def test_members_of_objects_and_paths():
    file = str(public_files.path("PHYSLITE_example.root"))
    table = open_table(file, "CollectionTree", "test")
    members = {
        "AnalysisJetsAuxDyn.pt": "number[]",
        "METAssoc_AnalysisMETAux.calpx": "number[][]",
    }
    with uproot.open(file) as opened:
        tree = opened["CollectionTree"]
        for name, kind in members.items():
            path = next(p for p, b in tree.iteritems(recursive=True) if b.name == name)
            assert table.kinds[name] == table.kinds[path] == kind
            wanted = tree[path].array(entry_stop=8)
            assert ak.to_list(joined(table, [path], 5)[path][:8]) == ak.to_list(wanted)


def test_names_that_are_latin_1(tmp_path):
    write_root(tmp_path / "a.root", t={"mXss": np.arange(5.0), "x": np.arange(5.0)})
    content = (tmp_path / "a.root").read_bytes()
    (tmp_path / "a.root").write_bytes(content.replace(b"mXss", "mßss".encode("latin-1")))
    table = open_table(str(tmp_path / "a.root"), None, "test")
    assert list(table.kinds) == ["mßss", "x"]
    np.testing.assert_array_equal(joined(table, ["mßss"], 2)["mßss"], np.arange(5))


@pytest.mark.parametrize("file", [f"events/{name}" for name in FILES])
def test_every_flat_branch_of_real_files_is_a_column(file):
    """Whatever uproot itself gives as one number per event."""
    found = 0
    with uproot.open(path(file)) as opened:
        for name, kind in opened.classnames(cycle=False).items():
            if kind != "TTree" or not opened[name].num_entries:
                continue
            arrays = opened[name].arrays(entry_stop=20)
            table = open_table(str(path(file)), name, "test")
            flat = [n for n in arrays.fields if str(arrays[n].type.content) in PRIMITIVES]
            found += len(flat)
            assert {table.kinds[n] for n in flat} <= {"number", "bool"}
            for _, chunk in table.read(flat, 20) if flat else ():
                for column in flat:
                    values = ak.to_numpy(arrays[column])
                    np.testing.assert_array_equal(chunk[column][: len(values)], values)
                break
    assert found

"""Text files as people have them: what is in them is read, or the message says what to do."""

import bz2
import gzip
import lzma

import numpy as np
import pyarrow as pa
import pytest

from difftune.data import Process, read
from difftune.data.sources import open_table
from difftune.errors import InputError

ID = 2**60 + 1
PLAIN = f"EventId,x,mß\n{ID},1.5,2\n{ID + 2},-2.5e1,3\n"
UTF8 = PLAIN.encode()


def read_all(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    table = open_table(str(tmp_path / name), None, "process 'a'")
    names = list(table.kinds)
    chunks = [chunk for _, chunk in table.read(names, 10_000)]
    return {n: np.concatenate([chunk[n] for chunk in chunks]) for n in names}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", UTF8),
        ("a.csv", UTF8.replace(b"\n", b"\r\n")),
        ("a.csv", b"\xef\xbb\xbf" + UTF8),
        ("a.csv", PLAIN.encode("utf-16")),
        ("a.csv", PLAIN.encode("latin-1")),
        ("a.csv", gzip.compress(UTF8, mtime=0)),
        ("a.csv.gz", gzip.compress(UTF8, mtime=0)),
        ("a.csv.gz", UTF8),
        ("a.csv.bz2", bz2.compress(UTF8)),
        ("a.csv.xz", lzma.compress(UTF8)),
        ("a.csv.zst", pa.Codec("zstd").compress(UTF8, asbytes=True)),
        ("a.txt.lz4", pa.Codec("lz4").compress(UTF8, asbytes=True)),
        ("a.csv", UTF8.replace(b",", b";")),
        ("a.csv", UTF8.replace(b",", b";").replace(b".", b",")),
        ("a.csv", UTF8.replace(b",", b" , ")),
        ("a.tsv", UTF8.replace(b",", b"\t")),
        ("a.txt", UTF8.replace(b",", b"|")),
        ("a.dat", UTF8),
        ("a.csv", b"# made by us\n#\n\n" + UTF8.replace(b"\n", b"\n# more\n")),
        ("a.csv", b"#" + UTF8),
        ("a.csv", b"# with numpy\n# " + UTF8),
        ("a.csv", UTF8.replace(b"EventId", b'"EventId"')),
    ],
)
def test_what_is_plainly_meant_is_read(tmp_path, name, content):
    values = read_all(tmp_path, name, content)
    assert list(values) == ["EventId", "x", "mß"]
    assert values["EventId"].tolist() == [ID, ID + 2]
    assert values["x"].tolist() == [1.5, -25]
    assert values["mß"].tolist() == [2, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"1,1.5,2\n2,2.5,3\n", "has no names of columns: its first line is `1,1.5,2`. Put a line"),
        (b"1,1.5,signal\n2,2.5,top\n", "no names of columns: its first line is `1,1.5,signal`"),
        (UTF8.replace(b",", b"  "), "columns that blanks separate: put commas"),
        (b"", "is empty, it has not one byte"),
        (b"\n# nothing\n", "is empty: it has no line with the names"),
        (b"x,y\n1,\0\n", "is no text"),
        (b"x,y\n1,2\n1,2,3\n", "Expected 2 columns, got 3: 1,2,3"),
        (gzip.compress(UTF8 * 100, mtime=0)[:50], "Truncated"),
        (b"PK\x03\x04 and so on", "is a zip archive"),
        (b"\x89HDF\r\n\x1a\n", "is HDF5: write it as Parquet"),
        (b"\x93NUMPY\x01\x00", "is a numpy array: give it to difftune.Events.from_arrays"),
    ],
)
def test_what_is_not_has_its_remedy(tmp_path, content, message):
    with pytest.raises(InputError, match=r"process 'a': '.*a\.csv' ") as caught:
        read_all(tmp_path, "a.csv", content)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    "numbers",
    [
        [2**63 + 5, 2**64 - 1],
        [-(2**63), 2**63 - 1],
        [1, 2**64 - 1],
        [1, *[7] * 300_000, 2**60 + 1],
    ],
)
def test_integers_are_exact(tmp_path, numbers):
    content = "n\n" + "\n".join(map(str, numbers)) + "\n"
    assert read_all(tmp_path, "a.csv", content.encode())["n"].tolist() == numbers


def test_integers_that_turn_out_to_be_none(tmp_path):
    start = "n,m\n" + "1,\n" * 500_000
    values = read_all(tmp_path, "a.csv", (start + "nan,2\n 2.5 ,NA\n").encode())
    np.testing.assert_array_equal(values["n"][-2:], [np.nan, 2.5])
    np.testing.assert_array_equal(values["m"][[0, -2, -1]], [np.nan, 2, np.nan])
    with pytest.raises(InputError, match="column 'n' has 'abc' where there are numbers elsewhere"):
        read_all(tmp_path, "a.csv", (start + "abc,2\n").encode())


@pytest.mark.parametrize(
    ("selection", "left"),
    [
        ("ev > 0", [2**63 + 5, 2**63, 2**63 - 1, 1]),
        ("ev > 9223372036854775808", [2**63 + 5]),
        ("ev == 9223372036854775807", [2**63 - 1]),
        ("ev <= 9223372036854775808 and x > -1", [2**63, 2**63 - 1, 1]),
        ("ev > 9.3e18 or ev == 1", [1]),
    ],
)
def test_selections_of_large_numbers(tmp_path, selection, left):
    numbers = [2**63 + 5, 2**63, 2**63 - 1, 1]
    rows = "".join(f"{n},{i}\n" for i, n in enumerate(numbers * 5))
    (tmp_path / "a.csv").write_text("ev,x\n" + rows)
    (tmp_path / "b.csv").write_text("ev,x\n" + rows)
    processes = [
        Process(name="s", role="signal", selection=selection),
        Process(name="b", files=str(tmp_path / "b.csv")),
    ]
    events = read(
        str(tmp_path / "a.csv"),
        processes=processes,
        features=["x"],
        event_number="x // 4",
    )
    wanted = [i for i, n in enumerate(numbers * 5) if n in left]
    assert events.features[events.process == 0, 0].tolist() == wanted

"""Columns on disk that were cut, changed or made up."""

import io
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftune.errors import InputError
from difftune.training import Columns, store, stored
from tests.training import toy

DATA = toy.columns(64)._replace(fold=np.arange(64, dtype=np.int32) % 2)


def contents() -> tuple[dict[str, bytes], list[bytes]]:
    with TemporaryDirectory() as folder:
        columns = store(DATA, Path(folder) / "columns")
        files = {file.name: file.read_bytes() for file in (Path(folder) / "columns").iterdir()}
        return files, everything(columns)


def everything(columns: Columns) -> list[bytes]:
    return [b"" if each is None else np.asarray(each).tobytes() for each in columns[:-1]]


def read(files: dict[str, bytes]) -> list[bytes] | str:
    """All that the columns of these files hold, or why there are none."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            return everything(stored(folder))
        except InputError as error:
            message = str(error)
    assert ".npy" in message or "columns.json" in message
    assert "store(columns, folder)" in message or "no whole JSON file" in message
    return message


GOOD, ORIGINAL = contents()


@st.composite
def damaged(draw) -> dict[str, bytes]:
    name = draw(st.sampled_from(sorted(GOOD)))
    content = bytearray(GOOD[name])
    at = draw(st.integers(0, len(content) - 1))
    match draw(st.sampled_from(["cut", "flip", "replace"])):
        case "cut":
            del content[at:]
        case "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        case "replace":
            content[at : at + 8] = draw(st.binary(max_size=12))
    return GOOD | {name: bytes(content)}


@given(damaged())
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_damage_is_noticed(files):
    found = read(files)
    # Without its checksums a folder is one of an earlier version, and the bytes are what they were.
    assert isinstance(found, str) or found[:7] == ORIGINAL[:7]


def test_a_good_folder_is_read():
    assert read(GOOD) == ORIGINAL


def npy(array: np.ndarray) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array)
    return stream.getvalue()


FACTS = {"signal_process": [1.0, 0.0, 0.0], "fold": True}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("columns.json", b"", "no whole JSON"),
        ("columns.json", b"[]", "holds no JSON object"),
        ("columns.json", json.dumps(FACTS | {"fold": 1}).encode(), "fold: "),
        ("columns.json", json.dumps(FACTS | {"signal_process": [1.0]}).encode(), "1 processes"),
        ("process.npy", npy(np.full(64, 3, np.int32)), "3 processes"),
        ("process.npy", npy(np.zeros(64, np.float32)), r"is float32 \[64\]"),
        ("weight.npy", npy(np.zeros(63, np.float32)), "does not fit 64 events"),
        ("features.npy", npy(np.zeros(64, np.float32)), "does not fit"),
        ("features.npy", b"PK\x03\x04", "cannot be read"),
        ("label.npy", b"", "cannot be read"),
    ],
)
def test_what_does_not_fit_is_refused(name, content, message):
    # Without checksums: it is the content that is looked at.
    files = GOOD | {"columns.json": json.dumps(FACTS).encode()} | {name: content}
    found = read(files)
    assert isinstance(found, str)
    assert re.search(message, found)


def test_objects_are_never_unpickled():
    stream = io.BytesIO()
    np.save(stream, np.array([print] * 64, object), allow_pickle=True)
    files = GOOD | {"columns.json": json.dumps(FACTS).encode(), "weight.npy": stream.getvalue()}
    assert "cannot be read" in read(files)


def test_a_place_that_takes_nothing_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/columns/features\.npy cannot be written"):
        store(DATA, tmp_path / "file" / "columns")

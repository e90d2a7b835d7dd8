"""Files are there whole or not at all."""

import errno
import os

import pytest

from difftune import files
from difftune.errors import InputError


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "new" / "file.txt"
    files.write(path, "ä\n")
    files.write(path, b"bytes")
    assert path.read_bytes() == b"bytes"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_what_was_there_stays_where_writing_fails(tmp_path, monkeypatch):
    path = tmp_path / "file.json"
    files.write(path, "old")

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        files.write(path, "new")
    assert path.read_text() == "old"
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'{"a": [1, 2', "damaged or cut short"),
        (b"\xff\xfe{}", "damaged or cut short"),
        (b"[" * 100_000, "damaged or cut short"),
        (b"[1]", "holds no JSON object"),
        (None, "cannot be read"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(tmp_path, content, said):
    path = tmp_path / "facts.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=rf"facts\.json.*{said}.*Write it again"):
        files.read_json(path, remedy="Write it again.")

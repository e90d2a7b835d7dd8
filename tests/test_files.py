import errno
import json
import os
import subprocess
import sys

import pytest

from difftune import files
from difftune.errors import InputError
from difftune.files import read_json, writing


def write(path, text, error=None):
    with writing(path) as stream:
        stream.write(text)
        if error is not None:
            raise error


def test_a_file_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "new" / "file.txt"
    write(path, "first ü")
    with pytest.raises(ZeroDivisionError):
        write(path, "second", ZeroDivisionError())
    assert path.read_text(encoding="utf-8") == "first ü"
    assert [file.name for file in path.parent.iterdir()] == ["file.txt"]
    files.write(path, b"bytes")
    assert path.read_bytes() == b"bytes"


def test_two_processes_that_write_the_same_file(tmp_path):
    """Each appears whole, and the one that ends last stays."""
    path = tmp_path / "file.txt"
    other = (
        f"from difftune import files; import pathlib; files.write(pathlib.Path({str(path)!r}), 'b')"
    )
    with writing(path) as stream:
        stream.write("a" * 9)
        subprocess.run([sys.executable, "-c", other], check=True)
        assert path.read_text() == "b"
    assert path.read_text() == "a" * 9
    assert [file.name for file in tmp_path.iterdir()] == ["file.txt"]


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


def test_what_the_system_refuses_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere" / "x")
    for path in ("file/below", "x" * 300, "folder", "dangling/below"):
        place = tmp_path / path
        with pytest.raises(InputError, match=r"cannot be written \(.+\)\. Make room"):
            write(place, "text")
    # A disk that fills up on the way.
    full = OSError(errno.ENOSPC, "No space left on device")
    with pytest.raises(InputError, match=r"full cannot be written \(No space left"):
        write(tmp_path / "full", "text", full)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dangling", "file", "folder"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\xff", b"[" * 10**5, b'{"a": 1e', b"1" * 10**5, b'"\\u12"', b"[1]"]
)
def test_what_is_no_json_object_is_named(tmp_path, content):
    path = tmp_path / "facts.json"
    path.write_bytes(content)
    said = r"facts\.json (is no whole JSON file|holds no JSON object).*Write it again\."
    with pytest.raises(InputError, match=said):
        read_json(path, remedy="Write it again.")


def test_json_is_read(tmp_path):
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({"ü": [1, None, 0.5]}))
    assert read_json(path) == {"ü": [1, None, 0.5]}
    with pytest.raises(InputError, match="cannot be read: No such file"):
        read_json(tmp_path / "other.json")

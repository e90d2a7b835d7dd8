"""The one place where tests, examples and benchmarks find the shared data."""

from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def path(name: str) -> Path:
    """The file `name` of the shared data; skips the test where it is absent."""
    file = FOLDER / name
    if not file.exists():
        pytest.skip(f"shared data file {name} is not on this machine")
    return file

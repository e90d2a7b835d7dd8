"""The table of docs/pictures.md names what there is."""

import re
from pathlib import Path

import pytest

import difftune as dt

PAGE = Path(__file__).parents[2] / "docs" / "pictures.md"
ROWS = [
    [cell.strip() for cell in line.strip("| \n").split("|")]
    for line in PAGE.read_text().splitlines()
    if line.startswith("| ") and "`" in line
]
CALLS = sorted({call for row in ROWS for call in re.findall(r"`([\w.]+)`", row[2])})


def test_there_are_rows():
    assert len(CALLS) > 30


@pytest.mark.parametrize("call", CALLS)
def test_what_it_calls_is_there(call):
    found = dt if call.startswith("dt.") else dt.report
    for part in call.removeprefix("dt.").split("."):
        found = getattr(found, part)
    assert callable(found)

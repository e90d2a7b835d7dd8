"""The one place where tests find the files of public origin that are not part of the repository.

`DIFFTUNE_PUBLIC_FILES` is a folder that holds `tests/samples` of the source distribution of coffea.
"""

import os
from pathlib import Path

import pytest

VARIABLE = "DIFFTUNE_PUBLIC_FILES"


def path(name: str) -> Path:
    """The file `name` of the folder; skips the test where there is none."""
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(
            f"{VARIABLE} names no folder with tests/samples of coffea's source distribution"
        )
    file = Path(folder) / name
    if not file.exists():
        pytest.skip(f"{VARIABLE}={folder} has no file {name}")
    return file

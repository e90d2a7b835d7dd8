"""Files that were damaged are read, or refused with a message of ours; nothing else comes."""

import gzip
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
import uproot
from hypothesis import given, settings
from hypothesis import strategies as st

from difftune.data import Process, read
from difftune.errors import InputError
from tests.data.files import write_root

EVENTS = 40
DATA = {
    "event": np.arange(EVENTS),
    "x": np.random.default_rng(1).normal(size=EVENTS).astype("f4"),
    "n": np.arange(EVENTS, dtype="i4") % 5,
}
FORMS = ["a.csv", "a.csv.gz", "a.parquet", "a.feather", "a.root", "ntuple.root"]
PLACE = st.floats(0, 1, exclude_max=True)
DAMAGE = st.one_of(
    st.tuples(st.just("cut"), PLACE, st.none()),
    st.tuples(st.just("put"), PLACE, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), PLACE, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("blank"), PLACE, st.integers(1, 300)),
    st.tuples(st.just("flip"), PLACE, st.integers(0, 7)),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made = tmp_path_factory.mktemp("damage")
    pyarrow.parquet.write_table(pa.table(DATA), made / "a.parquet")
    pyarrow.feather.write_feather(pa.table(DATA), made / "a.feather", compression="zstd")
    rows = [",".join(map(str, row)) for row in zip(*DATA.values(), strict=True)]
    text = "\n".join([",".join(DATA), *rows, ""])
    (made / "a.csv").write_text(text)
    (made / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
    write_root(made / "a.root", t=DATA)
    with uproot.recreate(made / "ntuple.root") as file:
        file.mkrntuple("t", DATA)
    return made


def damaged(content: bytes, kind: str, place: float, what) -> bytes:
    at = int(place * len(content))
    match kind:
        case "cut":
            return content[:at]
        case "put":
            return content[:at] + what + content[at + len(what) :]
        case "insert":
            return content[:at] + what + content[at:]
        case "blank":
            return content[:at] + bytes(len(content[at : at + what])) + content[at + what :]
    return content[:at] + bytes([content[at] ^ 1 << what]) + content[at + 1 :]


def read_from(file: Path):
    return read(
        str(file),
        processes=[
            Process(name="s", role="signal", selection="event < 20"),
            Process(name="b", selection="event >= 20"),
        ],
        features=["x", "n"],
        event_number="event",
    )


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25, derandomize=True, deadline=None)
@given(damage=DAMAGE)
def test_damaged_files(folder, form, damage):
    (folder / "damaged").mkdir(exist_ok=True)
    file = folder / "damaged" / form
    file.write_bytes(damaged((folder / form).read_bytes(), *damage))
    try:
        events = read_from(file)
    except InputError as error:
        assert form in str(error) or "process" in str(error) or "fold" in str(error)  # noqa: PT017
    else:
        assert events.features.shape[1] == 2


@pytest.mark.parametrize("form", FORMS)
def test_undamaged_files(folder, form):
    events = read_from(folder / form)
    np.testing.assert_array_equal(events.features[:, 0], DATA["x"])
    np.testing.assert_array_equal(events.number, DATA["event"])

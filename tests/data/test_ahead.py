"""Chains of files, whose chunks threads read ahead."""

import logging
import re
import time

import numpy as np
import pytest

from difftune import heartbeat
from difftune.data import Process, read
from difftune.errors import InputError
from tests.data.files import columns, write_root

SIZES = [40, 3, 77, 1, 25, 60, 8]
PROCESSES = [
    Process(name="s", role="signal", selection="n_jets < 2"),
    Process(name="b", selection="n_jets >= 2"),
]


@pytest.fixture
def chain(tmp_path):
    parts = [columns(size, seed) for seed, size in enumerate(SIZES)]
    for i, part in enumerate(parts):
        write_root(tmp_path / f"{i}.root", t=part)
    return tmp_path, parts


def read_chain(folder, **options):
    given = {"features": ["x", "jet_pt"], "weight": "abs(weight)", "folds": 2}
    return read(folder / "*.root", processes=PROCESSES, duplicates="allow", **(given | options))


def test_events_come_in_the_order_of_the_files(chain):
    folder, parts = chain
    seen = []
    events = read_chain(
        folder, chunk_size=10, event_number="event", progress=lambda *now: seen.append(now)
    )
    x, jets = (np.concatenate([part[name] for part in parts]) for name in ("x", "n_jets"))
    for process, mine in enumerate((jets < 2, jets >= 2)):
        np.testing.assert_array_equal(events.features[events.process == process, 0], x[mine])
    assert seen[-1] == (sum(SIZES), sum(SIZES))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_running_numbers_go_on_from_file_to_file(chain):
    folder, parts = chain
    events = read_chain(folder, chunk_size=10)
    signal = np.concatenate([part["n_jets"] for part in parts]) < 2
    np.testing.assert_array_equal(events.number[events.process == 0], np.flatnonzero(signal))


def test_a_file_that_breaks_off_is_named(chain):
    folder, _ = chain
    content = (folder / "4.root").read_bytes()
    # The baskets come first, and what tells of them last.
    (folder / "4.root").write_bytes(content[:300] + bytes(200) + content[500:])
    with pytest.raises(InputError, match=r"4\.root:t: reading .* failed"):
        read_chain(folder, chunk_size=10)


def test_how_far_and_how_fast_it_is_is_said_to_whoever_waits(chain, monkeypatch, caplog):
    folder, _ = chain
    monkeypatch.setattr(heartbeat, "EVERY", 0.01)
    caplog.set_level(logging.INFO, logger="difftune")
    pattern = re.compile(
        r"reading the events: (\d+) of 214, [\d,]+ a second, file (\d) of 7 \(\d+ s\)"
    )
    said = []

    def slow(done, _total):
        deadline = time.monotonic() + 20
        while len(said) < 1 and done > 50 and time.monotonic() < deadline:
            time.sleep(0.01)
            said.extend(match for text in caplog.messages if (match := pattern.fullmatch(text)))

    read_chain(folder, chunk_size=10, progress=slow)
    # The files hold 40, 3, 77 events and so on.
    assert int(said[0][1]) <= 43 + 77
    assert (int(said[0][1]) > 43) == (int(said[0][2]) == 3)

"""What a person sees of a search while it runs."""

import logging

from difftune.analysis import progress
from difftune.analysis.progress import RoundLog


def test_a_long_round_says_how_far_it_is(monkeypatch, caplog):
    clock = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock[0])
    log = RoundLog("search")
    with caplog.at_level(logging.INFO, "difftune"):
        log.begin(8, epochs=5, rounds=3)
        for number in range(6, 11):
            clock[0] += 4.0
            log.epoch(number, epochs=5, rounds=3)
    assert [record.getMessage() for record in caplog.records] == [
        "search: 8 members, 3 rounds of 5 epochs; the first one is compiled",
        "search: round 2/3, epoch 3 of 5",
    ]

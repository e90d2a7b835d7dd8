"""What a person sees of a search while it runs."""

import logging

from difftune.analysis.progress import RoundLog
from difftune.heartbeat import _heart, heartbeat


def test_the_heartbeat_knows_how_far_a_search_is(caplog):
    log, told = RoundLog("search"), []
    with caplog.at_level(logging.INFO, "difftune"), heartbeat("reading"):
        log.begin(8, epochs=2, rounds=2)
        told.append(_heart.get().what)
        for number in range(1, 5):
            log.epoch(number, epochs=2, rounds=2)
            told.append(_heart.get().what)
    assert [record.getMessage() for record in caplog.records] == [
        "search: 8 members, 2 rounds of 2 epochs; the first one is compiled",
    ]
    assert told == [
        "search: compiling its programs, and the first epoch",
        "search: round 1/2, epoch 2 of 2",
        "search: round 1/2, keeping the best networks",
        "search: round 2/2, epoch 2 of 2",
        "search: round 2/2, keeping the best networks",
    ]

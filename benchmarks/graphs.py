"""Training a population of graph networks: difftune against PyTorch, one model after the other.

All train a ParticleNet (16 places for objects, 8 neighbours, two blocks of width 32) on the same
events with the same steps of Adam. What is compared is events times members a second. PyTorch has
the network as it is usually written, on pairs of neighbours side by side. Each contestant has
processes of its own; all take turns, and figures are medians over the turns.

What padding costs is measured on events of which few have many objects. Their time is compared with
that of the arithmetic alone: of events of one number of objects each, with no more places.
"""

import numpy as np

from benchmarks.common import running
from benchmarks.common.running import installed, sizes
from benchmarks.common.table import Row, median, named, ratio
from benchmarks.peers.arena import Contestant, Stage, best, compete
from benchmarks.peers.graph_networks import jets

UNIT = "thousand events·members/s"


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` is tiny."""
    size = sizes(
        quick,
        members=(16, 2),
        events=(4_096, 256),
        batch=(512, 128),
        places=(16, 6),
        neighbours=(8, 3),
        width=(32, 8),
        blocks=(2, 1),
        repeats=(3, 1),
        least=(2.0, 0.0),
    )
    network = {
        "events": size.events,
        "batch": size.batch,
        "places": size.places,
        "neighbours": size.neighbours,
        "width": size.width,
        "blocks": size.blocks,
    }
    failures: dict[str, str] = {}
    cores = running.cores()
    with Stage() as stage:
        ours = Contestant(
            f"difftune, {size.members} members",
            stage.group("graph_networks"),
            {"who": "difftune", "members": size.members, **network},
            size.members * size.events,
            True,
        )
        peers = [
            Contestant(
                f"PyTorch, {count} process{'es' if count > 1 else ''} of {cores // count} threads",
                stage.group("graph_networks", count=count, **running.threads(cores // count)),
                {"who": "pytorch", **network},
                size.events,
            )
            for count in (sorted({1, cores}) if installed("torch") else ())
        ]
        took_part = compete(
            [ours, *peers], repeats=size.repeats, least=size.least, failures=failures
        )
    rows = [median(f"{one.name}, {UNIT}", [rate / 1e3 for rate in one.rates]) for one in took_part]
    if ready := [one for one in peers if one in took_part]:
        peer = best(ready)
        what = f"{ours.name} / PyTorch, one by one"
        rows.append(ratio(what, ours.rates, peer.rates, ">= 2", note=f"({peer.name})"))
    rows += _padding(members=size.members, failures=failures, repeats=size.repeats, **network)
    rows.append(named("peers that are not installed", [] if installed("torch") else ["torch"]))
    rows.append(named("peers that failed", [f"{k}: {v}" for k, v in failures.items()]))
    return rows


def _padding(
    *, members: int, places: int, failures: dict[str, str], repeats: int, **network
) -> list[Row]:
    """Rows about events that have different numbers of objects."""
    counts = jets(network["events"], places)
    numbers = sorted({int(counts.min()), places, *range(4, places, 4)})
    with Stage() as stage:

        def contestant(name: str, places: int, numbers: str | int) -> Contestant:
            options = {"who": "difftune", "members": members, "places": places, "numbers": numbers}
            group = stage.group("graph_networks")
            return Contestant(name, group, options | network, members * network["events"], True)

        mixed = contestant(f"up to {places} objects", places, "jets")
        equal = [contestant(f"{number} objects", number, number) for number in numbers]
        took_part = compete([mixed, *equal], repeats=repeats, least=0.0, failures=failures)
    rows = [median(f"{one.name}, {UNIT}", [rate / 1e3 for rate in one.rates]) for one in took_part]
    if len(took_part) < 1 + len(equal):
        return rows
    # Seconds of an event and member in each turn, of every number of objects.
    seconds = 1.0 / np.array([one.rates for one in equal])
    bare = [float(np.interp(counts, numbers, each).mean()) for each in seconds.T]
    own = [1.0 / rate for rate in mixed.rates]
    what = f"time with {counts.mean():.1f} of {places} objects on average / without padding"
    rows.append(ratio(what, own, bare, "<= 1.3"))
    rows.append(ratio("the same with room for all everywhere", list(seconds[-1]), bare))
    return rows

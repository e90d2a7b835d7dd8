"""Training a population of graph networks: difftune against PyTorch, one model after the other.

All train a ParticleNet (16 places for objects, 8 neighbours, two blocks of width 32) on the same
events with the same steps of Adam. What is compared is events times members a second. PyTorch has
the network as it is usually written, on pairs of neighbours side by side. Each contestant has
processes of its own; all take turns, and figures are medians over the turns.
"""

from benchmarks.common import running
from benchmarks.common.running import installed, sizes
from benchmarks.common.table import Row, median, named, ratio
from benchmarks.peers.arena import Contestant, Stage, best, compete

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
        repeats=(3, 1),
        least=(2.0, 0.0),
    )
    network = {
        "events": size.events,
        "batch": size.batch,
        "places": size.places,
        "neighbours": size.neighbours,
        "width": size.width,
        "blocks": 2,
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
    rows.append(named("peers that are not installed", [] if installed("torch") else ["torch"]))
    rows.append(named("peers that failed", [f"{k}: {v}" for k, v in failures.items()]))
    return rows

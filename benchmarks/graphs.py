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
from benchmarks.common.running import sizes, taking_part
from benchmarks.common.table import Row, ratio
from benchmarks.peers.arena import Contestant, Stage, against, best, compete, rate, workers
from benchmarks.peers.graph_networks import jets


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` is tiny."""
    size = sizes(quick, members=(16, 2), repeats=(3, 1), least=(2.0, 0.0))
    network = sizes(quick, places=(16, 6), neighbours=(8, 3), width=(32, 8), blocks=(2, 1))
    network = vars(sizes(quick, events=(4_096, 256), batch=(512, 128))) | vars(network)
    events, peers = network["events"], []
    with Stage() as stage:
        options = {"who": "difftune", "members": size.members, **network}
        group, name = stage.group("graph_networks"), f"difftune, {size.members} members"
        ours = Contestant(name, group, options, size.members * events, True)
        for count in sorted({1, running.cores()}) if taking_part("PyTorch", "torch") else ():
            limits, words = workers(count)
            group = stage.group("graph_networks", count=count, **limits)
            options = {"who": "pytorch", **network}
            peers.append(Contestant(f"PyTorch, {words}", group, options, events))
        took_part = compete([ours, *peers], repeats=size.repeats, least=size.least)
    rows = [rate(one.name, one, "thousand") for one in took_part]
    if ready := [one for one in peers if one in took_part]:
        rows.append(against(f"{name} / PyTorch, one by one", ours, best(ready), ">= 2"))
    return rows + _padding(members=size.members, repeats=size.repeats, **network)


def _padding(*, members: int, places: int, repeats: int, **network) -> list[Row]:
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
        compete([mixed, *equal], repeats=repeats, least=0.0)
    # Seconds of an event and member in each turn, of every number of objects.
    seconds = 1.0 / np.array([one.rates for one in equal])
    bare = [float(np.interp(counts, numbers, each).mean()) for each in seconds.T]
    own = [1.0 / rate for rate in mixed.rates]
    what = f"time with {counts.mean():.1f} of {places} objects on average / without padding"
    return [
        *(rate(one.name, one, "thousand") for one in (mixed, *equal)),
        ratio(what, own, bare, "<= 1.3"),
        ratio("the same with room for all everywhere", list(seconds[-1]), bare),
    ]

"""Training a population: difftune against PyTorch, `torch.func`, Keras, Ray Tune and naive JAX.

All train one network (30 inputs, two hidden layers of 64 ReLU units, a logit) on the same weighted
events, with the same steps of Adam on weighted cross-entropy. Figures are of events times members a
second, medians over turns. The peers are spared what is in difftune's besides: random rows of each
epoch, validation, the choice of the best epoch. Those that are not installed (`pip install
'difftune[bench]'`) are left out, and named.
"""

import statistics
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from benchmarks.common import running
from benchmarks.common.running import clocked, devices, in_turns, sizes, taking_part
from benchmarks.common.table import Row, median, ratio
from benchmarks.peers import task
from benchmarks.peers.arena import Contestant, Stage, against, best, compete, rate, workers

BATCHES = (1024, 256)

# What members can differ in, from even numbers in [0, 1) to values. A new hyperparameter of the
# engine gets a line here, and its mask in `peers/naive.py`.
EVERYTHING: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "learning_rate": lambda u: 3e-4 * 10**u,
    "schedule": lambda u: np.floor(3 * u),
    "plateau_factor": lambda u: 0.5 + 0.5 * u,
    "plateau_patience": lambda u: np.floor(2 + 8 * u),
    "optimizer": lambda u: np.floor(len(task.OPTIMIZERS) * u),
    "beta1": lambda u: 0.85 + 0.1 * u,
    "beta2": lambda u: 0.99 + 0.0099 * u,
    "epsilon": lambda u: 1e-9 * 100**u,
    "weight_decay": lambda u: 1e-4 * 100**u,
    "momentum": lambda u: 0.5 + 0.4 * u,
    "rms_decay": lambda u: 0.8 + 0.19 * u,
    "gradient_clip": lambda u: 0.1 * 100**u,
    "batch_size": lambda u: np.asarray(BATCHES)[np.floor(2 * u).astype(int)],
    "l1": lambda u: 1e-6 * 10**u,
    "l2": lambda u: 1e-6 * 100**u,
    "signal_weight": lambda u: 0.5 + 1.5 * u,
    "label_smoothing": lambda u: 0.1 * u,
    "dropout": lambda u: 0.5 * u,
    "width_1": lambda u: np.floor(16 + 49 * u),
    "width_2": lambda u: np.floor(16 + 49 * u),
    # A member's choice, but the same for all: a skipped layer is work that nobody is spared here.
    "depth": lambda u: np.full_like(u, 2.0),
    "activation": lambda u: np.floor(len(task.ACTIVATIONS) * u),
}

# One device with the threads of all cores is what JAX does when it is told nothing.
USES: tuple[tuple[str, dict[str, str]], ...] = (
    ("one device", devices(1, threads=True)),
    ("a device a core", {}),
)


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` is tiny, and leaves out what PyTorch compiles."""
    size = sizes(
        quick,
        repeats=(3, 1),  # turns of every contestant
        uses=(2, 1),  # of the cores
        least=(2.0, 0.0),  # seconds of a measurement
        batches=(BATCHES, (256,)),
        # A smoke run has equal sizes where it can, so that programs are compiled once.
        events=(100_000, 1_000),
        few=(25_000, 1_000),  # events of what would take too long with all
        general=(50_000, 1_000),  # events of members that differ in everything
        wide=(12_500, 1_000),  # events of the network of width 256
        populations=((1, 8, 32, 128), (4,)),
        main=(128, 4),  # the population that the requirements speak of
        dropout=(32, 4),  # the one that dropout is timed with
        huge=(512, 8),  # the largest one, on few events
        forms=(("eager", "fused", "compiled loss", "compiled step"), ("eager", "fused")),
        functional=(("torch.func eager", "torch.func compiled"), ("torch.func eager",)),
        squares=([1024, 2048, 3072, 4096], [256, 512]),  # matrices whose product is the peak
        job=(  # a whole search
            {"members": 8, "rounds": 4, "epochs": 4, "events": 100_000},
            {"members": 8, "rounds": 3, "epochs": 1, "events": 1_000},
        ),
        jobs=(3, 1),  # turns of it
        rounds=(8, 3),  # of the search whose compilations are counted
    )
    rows = [row for batch in size.batches for row in _competition(size, batch)]
    return [*rows, *_generality(size), *_jobs(size)]


def values_of(names: list[str], members: int) -> dict[str, list[float]]:
    """Hyperparameters in which all members differ."""
    draw = np.random.default_rng(11)
    even = (np.arange(members) + 0.5) / members
    return {name: EVERYTHING[name](draw.permutation(even)).tolist() for name in names}


def equal(members: int, **more: float) -> dict[str, list[float]]:
    """The same values for all members: their learning rate, and what else is given."""
    given = {"learning_rate": task.LEARNING_RATE} | more
    return {name: [value] * members for name, value in given.items()}


def difftune(group: list, name: str, members: int, batch, events: int, **options) -> Contestant:
    """A population of difftune; `options` are those of `peers.ours.population`, and `values`."""
    options |= {"members": members, "batch": batch, "events": events}
    values = options.setdefault("values", equal(members))
    own = [batch] * members if isinstance(batch, int) else values["batch_size"]
    work = sum(task.trained_events(events, int(size)) for size in own)
    return Contestant(f"difftune, {name}", group, options, work, True)


def torch(
    group: list, form: str, batch: int, events: int, words: str, *, members: int = 1, **options
) -> Contestant:
    """PyTorch in a form of `peers.pytorch`; processes share the models that train at once."""
    many = form.startswith("torch.func")
    name = f"{form}, {members} models" if many else f"PyTorch {form}"
    own = members // len(group) if many else 1
    options |= {"form": form, "batch": batch, "events": events, "members": own}
    return Contestant(f"{name}, {words}", group, options, own * task.trained_events(events, batch))


def peers(stage: Stage, size: SimpleNamespace, batch: int) -> tuple[list[Contestant], ...]:
    """One model after the other by PyTorch and Keras, and `torch.func`, in all uses of the cores.

    Those are one process with a thread for each core, and a process of one thread for each.
    """
    single, mapped, cores = [], [], running.cores()
    pytorch = taking_part("PyTorch", "torch")
    backends = [b for b in ("jax", "torch") if taking_part(f"Keras on {b}", "keras", b)]
    for count in sorted({1, cores}):
        limits, words = workers(count)
        if pytorch:
            group = stage.group("pytorch", count=count, **limits)
            single += [torch(group, form, batch, size.events, words) for form in size.forms]
            # Those that can share the models.
            for form in size.functional if size.main % count == 0 else ():
                mapped.append(torch(group, form, batch, size.few, words, members=size.main))
        for backend in backends:
            more = limits | devices(1, threads=count < cores) | {"KERAS_BACKEND": backend}
            group = stage.group("keras_fit", count=count, **more)
            options = {"batch": batch, "events": size.events}
            work = task.trained_events(size.events, batch)
            single.append(Contestant(f"Keras on {backend}, {words}", group, options, work))
    return single, mapped


def _competition(size: SimpleNamespace, batch: int) -> list[Row]:
    """Rates of all, and what they are to each other and to the machine's peak."""
    where, main = f"batch {batch}:", size.main
    with Stage() as stage:
        group = stage.group("ours")

        def ours(members: int, events: int, words: str = "", **options) -> Contestant:
            name = f"{members} members{words}"
            name += f", {events} events" if events < size.events else ""
            return difftune(group, name, members, batch, events, **options)

        populations = {members: ours(members, size.events) for members in size.populations}
        values = equal(size.dropout, dropout=0.2)
        dropout = ours(size.dropout, size.events, " with dropout 0.2", dropout=0.2, values=values)
        # On as many events as the largest, and as `torch.func`, so that times and losses compare.
        few, huge = ours(main, size.few), ours(size.huge, size.few)
        wide = ours(main, size.wide, " of width 256", width=256)
        squares = {"kind": "peak", "sizes": size.squares}
        groups = {words: stage.group("ours", **more) for words, more in USES[-size.uses :]}
        peaks = [
            Contestant(f"matrix products, {words}", each, squares, essential=True)
            for words, each in groups.items()
        ]
        single, mapped = peers(stage, size, batch)
        everybody = [*populations.values(), wide, *peaks, dropout, few, huge, *single, *mapped]
        took_part = compete(everybody, repeats=size.repeats, least=size.least)
    rows = [rate(f"{where} {one.name}", one) for one in took_part if one not in peaks]
    full = populations[main]
    for kind, one, some, required in (
        ("PyTorch and Keras, one by one", full, single, {1024: ">= 3", 256: ">= 4"}[batch]),
        ("torch.func compiled", few, [p for p in mapped if "compiled" in p.name], ">= 1.5"),
    ):
        if some := [peer for peer in some if peer in took_part]:
            what = f"{where} {one.name} / best of {kind}"
            rows.append(against(what, one, best(some), required))
            # Whether all do the same work.
            worst = max(some, key=lambda peer: abs(peer.value / one.value - 1.0))
            note = f"({worst.value:.4f} of {worst.name}, ours {one.value:.4f})"
            what = f"{where} loss of the second epoch, {kind}, furthest from ours, %"
            rows.append(Row(what, 100.0 * abs(worst.value / one.value - 1.0), "<= 5", note))
    peak = [max(pair) for pair in zip(*(one.values for one in peaks), strict=True)]
    what = f"{where} peak of the float32 matrix product, all cores, Gflop/s"
    rows.append(median(what, [value / 1e9 for value in peak]))
    for width, one, bound in ((64, full, ">= 0.55"), (256, wide, ">= 0.7")):
        done = [rate * task.flops(width) for rate in one.rates]
        what = f"{where} {main} members, width {width}, fraction of the peak"
        # The requirement is of the larger batch, which is the default of a population.
        rows.append(ratio(what, done, peak, bound if batch == max(BATCHES) else ""))
    what = f"{where} {size.dropout} members with dropout 0.2 / without, time"
    rows.append(against(what, populations[size.dropout], dropout, "<= 1.25"))
    what = f"{where} {size.huge} members / {size.huge // main} x {main}, {size.few} events, time"
    # Of rates, which have the members in them already.
    rows.append(against(what, few, huge, "<= 1.1"))
    return rows


def _generality(size: SimpleNamespace) -> list[Row]:
    """What it costs that members differ in everything; growth with events; compilations.

    Half of the members have the one batch size, half the other, so their time is compared with the
    mean of two populations that differ in the learning rate alone.
    """
    members, events, largest = size.main, size.general, max(BATCHES)
    everything, alone = (values_of(n, members) for n in (list(EVERYTHING), ["learning_rate"]))
    differ = f"{members} members that differ in"
    with Stage() as stage:
        group = stage.group("ours")
        words = f"{differ} the learning rate, batch"
        plain = [
            difftune(group, f"{words} {batch}", members, batch, events, values=alone)
            for batch in BATCHES
        ]
        options = {"values": everything, "general": True}
        general = difftune(group, f"{differ} everything", members, list(BATCHES), events, **options)
        options = {"members": members, "batch": largest, "events": events, "values": everything}
        # Events that a mask hides are worked on, but train nobody.
        trained = task.batches(events, largest) * int(sum(everything["batch_size"]))
        naive = [
            Contestant(f"naive vmap, {words}", stage.group("naive", **more), options, trained)
            for words, more in USES[-size.uses :]
        ]
        two = [
            difftune(group, f"8 members, {count} events", 8, largest, count)
            for count in (size.events, 10 * size.events)
        ]
        options = {"kind": "recompiled", "rounds": size.rounds, "members": 8, "dropout": 0.1}
        options["events"] = size.few
        again = Contestant("compilations", group, options, essential=True)
        everybody = [*plain, general, *naive, *two, again]
        took_part = compete(everybody, repeats=size.repeats, least=size.least)
    means = [sum(pair) / 2.0 for pair in zip(*(one.seconds for one in plain), strict=True)]
    what = f"{members} members: differ in everything / in the learning rate alone, time"
    rows = [ratio(what, general.seconds, means, "<= 1.6")]
    if naive := [one for one in naive if one in took_part]:
        what = f"{differ} everything: difftune / naive vmap"
        rows.append(against(what, general, best(naive), ">= 6"))
    for one in (*plain, general):
        compiling = one.first - statistics.median(one.seconds)
        rows.append(Row(f"{one.name}: compile an epoch, s", compiling, "<= 10"))
    ten = [10.0 * seconds for seconds in two[0].seconds]
    what = f"8 members: {10 * size.events} events / 10 x {size.events}, time"
    rows.append(ratio(what, two[1].seconds, ten, "<= 1.1"))
    what = f"programs compiled in rounds 3 to {size.rounds} of a search with PBT"
    return [*rows, Row(what, again.value, "<= 0")]


def _jobs(size: SimpleNamespace) -> list[Row]:
    """A whole search, from the start of a process to its end, against Ray Tune."""
    # Ray would send statistics of its use.
    options = {"batch": max(BATCHES), "variables": {"RAY_USAGE_STATS_ENABLED": "0"}, **size.job}

    def whole(function: str, **more) -> Callable[[], float]:
        return lambda: clocked(lambda: running.call(function, **options, **more))[1]

    who = {"difftune": whole("benchmarks.peers.ours:job", dropout=0.1)}
    if taking_part("Ray Tune", "ray", "torch"):
        who["Ray Tune"] = whole("benchmarks.peers.ray_tune:job")
    seconds = in_turns(who, size.jobs)
    job = "PBT, {members} members, {rounds} rounds of {epochs} epochs, whole job".format(**size.job)
    rows = [median(f"{job}: {name}, s", times) for name, times in seconds.items()]
    if theirs := seconds.get("Ray Tune"):
        what = f"{job}: Ray Tune with PyTorch / difftune"
        rows.append(ratio(what, theirs, seconds["difftune"], ">= 8"))
    return rows

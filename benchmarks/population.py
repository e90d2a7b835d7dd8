"""Training a population: difftune against PyTorch, `torch.func`, Keras, Ray Tune and naive JAX.

All train the same network (30 inputs, two hidden layers of 64 ReLU units, one logit) on the same
weighted events with the same steps of Adam on the same weighted cross-entropy. What is compared is
events times members a second. Each contestant has processes of its own, with thread pools of its
own; all take turns, and figures are medians over the turns. The peers are spared what difftune's
figures contain besides: random rows of each epoch, validation, the choice of the best epoch.

Peers that are not installed (`pip install 'difftune[bench]'`) are left out, and named.
"""

import importlib.util
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.peers import arena, task
from benchmarks.peers.arena import Contestant, Stage, compete, ratios, say, spread
from benchmarks.table import Row

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

BATCHES = (1024, 256)
# One device with the threads of all cores: what JAX does when it is told nothing.
ONE_DEVICE = {"XLA_FLAGS": "--xla_force_host_platform_device_count=1"}
ONE_THREAD = {
    "XLA_FLAGS": "--xla_force_host_platform_device_count=1 --xla_cpu_multi_thread_eigen=false"
}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    Attributes:
        repeats: Turns of every contestant.
        least: Seconds of a measurement, at least.
        batches: Events of a batch.
        events: Training events.
        few: Training events of what would take too long with all.
        general: Training events of members that differ in everything.
        wide: Training events of the network of width 256.
        validation: Validation events of difftune.
        populations: Sizes of population.
        main: The population that the requirements speak of.
        dropout: The population that dropout is timed with.
        huge: The largest population; on few events.
        mapped: Models at once in `torch.func`; on few events.
        forms: Of PyTorch, one model after the other.
        functional: Of `torch.func`.
        squares: Sizes of the matrices whose product is the peak.
        job: Options of a whole search.
        jobs: Turns of whole searches.
        rounds: Of the search whose compilations are counted.
    """

    repeats: int
    least: float
    batches: tuple[int, ...]
    events: int
    few: int
    general: int
    wide: int
    validation: int
    populations: tuple[int, ...]
    main: int
    dropout: int
    huge: int
    mapped: tuple[int, ...]
    forms: tuple[str, ...]
    functional: tuple[str, ...]
    squares: tuple[int, ...]
    job: dict[str, Any]
    jobs: int
    rounds: int


FULL = Size(
    repeats=3,
    least=2.0,
    batches=BATCHES,
    events=100_000,
    few=25_000,
    general=50_000,
    wide=12_500,
    validation=2_000,
    populations=(1, 8, 32, 128),
    main=128,
    dropout=32,
    huge=512,
    mapped=(32, 128),
    forms=("eager", "fused", "compiled loss", "compiled step"),
    functional=("eager", "compiled"),
    squares=(1024, 2048, 3072, 4096),
    job={"members": 8, "rounds": 4, "epochs": 4, "events": 100_000},
    jobs=3,
    rounds=8,
)
QUICK = Size(
    repeats=1,
    least=0.0,
    batches=(256,),
    events=2_000,
    few=1_000,
    general=1_000,
    wide=1_000,
    validation=500,
    populations=(4,),
    main=4,
    dropout=4,
    huge=8,
    mapped=(4,),
    forms=("eager", "fused"),
    functional=("eager",),
    squares=(256, 512),
    job={"members": 4, "rounds": 2, "epochs": 1, "events": 1_000},
    jobs=1,
    rounds=3,
)


def installed(name: str) -> bool:
    """Whether a package is there, without importing it."""
    return importlib.util.find_spec(name) is not None


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` is tiny, and leaves out what PyTorch compiles."""
    size = QUICK if quick else FULL
    failures: dict[str, str] = {}
    rows = []
    for batch in size.batches:
        rows += _competition(size, batch, failures)
    for part in (_generality, _growth, _compilations):
        rows += part(size, failures)
    rows += _jobs(size)
    missing = [name for name in ("torch", "keras", "ray") if not installed(name)]
    rows.append(_named("peers that are not installed", missing))
    rows.append(_named("peers that failed", [f"{k}: {v}" for k, v in failures.items()]))
    return rows


def _named(what: str, names: list[str]) -> Row:
    note = f"({'; '.join(names)})" if names else ""
    return Row(what=what, required="", measured=len(names), spread=note)


# ---- contestants -------------------------------------------------------------------------------


def values_of(names: list[str], members: int) -> dict[str, list[float]]:
    """Hyperparameters in which all members differ.

    Args:
        names: Of the hyperparameters.
        members: Size of the population.
    """
    draw = np.random.default_rng(11)
    even = (np.arange(members) + 0.5) / members
    return {name: EVERYTHING[name](draw.permutation(even)).tolist() for name in names}


def equal(members: int, **more: float) -> dict[str, list[float]]:
    """The same values for all members: their learning rate, and what else is given."""
    given = {"learning_rate": task.LEARNING_RATE} | more
    return {name: [value] * members for name, value in given.items()}


def difftune(
    stage: Stage,
    size: Size,
    name: str,
    *,
    members: int,
    batch: int | list[int],
    events: int,
    width: int = 64,
    dropout: float = 0.0,
    values: dict[str, list[float]] | None = None,
    general: bool = False,
) -> Contestant:
    """A population of difftune, on all cores."""
    values = values or equal(members)
    options = {
        "kind": "train",
        "members": members,
        "batch": batch,
        "events": events,
        "validation": size.validation,
        "width": width,
        "dropout": dropout,
        "values": values,
        "general": general,
    }
    sizes = [batch] * members if isinstance(batch, int) else values["batch_size"]
    work = sum(task.trained_events(events, int(own)) for own in sizes)
    return Contestant(f"difftune, {name}", stage.group("ours"), options, work, True)


def layouts(cores: int) -> list[tuple[str, int, int]]:
    """Ways to use all cores: in words, number of processes, threads of each."""
    if cores == 1:
        return [("1 thread", 1, 1)]
    return [(f"1 process of {cores} threads", 1, cores), (f"{cores} processes of 1", cores, 1)]


def one_model_peers(stage: Stage, size: Size, batch: int) -> list[Contestant]:
    """PyTorch and Keras, one model after the other in each process."""
    work = task.trained_events(size.events, batch)
    options = {"batch": batch, "events": size.events, "width": 64}
    found = []
    for words, count, threads in layouts(arena.cores()):
        limits = arena.threads(threads)
        if installed("torch"):
            group = stage.group("pytorch", count=count, **limits)
            found += [
                Contestant(f"PyTorch {form}, {words}", group, options | {"form": form}, work)
                for form in size.forms
            ]
        for backend in ("jax", "torch"):
            if installed("keras") and installed(backend):
                flags = ONE_THREAD if threads == 1 else ONE_DEVICE
                more = limits | flags | {"KERAS_BACKEND": backend}
                group = stage.group("keras_fit", count=count, **more)
                found.append(Contestant(f"Keras on {backend}, {words}", group, options, work))
    return found


def mapped_peers(stage: Stage, size: Size, batch: int) -> dict[int, list[Contestant]]:
    """`torch.func`, by the number of models at once; models are shared out over processes."""
    found: dict[int, list[Contestant]] = {models: [] for models in size.mapped}
    for words, count, threads in layouts(arena.cores()) if installed("torch") else ():
        group = stage.group("pytorch", count=count, **arena.threads(threads))
        for models in size.mapped:
            if models % count:
                continue
            options = {"members": models // count, "batch": batch, "events": size.few, "width": 64}
            work = options["members"] * task.trained_events(size.few, batch)
            found[models] += [
                Contestant(
                    f"torch.func {form}, {models} models, {words}",
                    group,
                    options | {"form": f"torch.func {form}"},
                    work,
                )
                for form in size.functional
            ]
    return found


# ---- what is measured --------------------------------------------------------------------------


def _best(peers: list[Contestant]) -> Contestant:
    return max(peers, key=lambda peer: peer.rate)


def _against(
    what: str,
    upper: Contestant,
    lower: Contestant,
    *,
    required: str = "",
    note: str = "",
) -> Row:
    """How many times as fast `upper` is as `lower`: the ratio of two that took turns.

    Args:
        what: Is measured.
        upper: Whose rate is the numerator.
        lower: Whose rate is the denominator.
        required: The bound.
        note: What else to say.
    """
    ratio, words = ratios(upper.rates, lower.rates)
    return Row(what=what, required=required, measured=ratio, spread=f"{words} {note}".strip())


def _competition(size: Size, batch: int, failures: dict[str, str]) -> list[Row]:
    """Rates of all, and what they are to each other and to the machine's peak."""
    say(f"batch {batch}: the competition")

    def ours(members: int, events: int, words: str = "", **options: Any) -> Contestant:
        name = f"{members} members{words}" + (f", {events} events" if events < size.events else "")
        return difftune(stage, size, name, members=members, batch=batch, events=events, **options)

    squares = {"kind": "peak", "sizes": list(size.squares)}
    with Stage() as stage:
        populations = {members: ours(members, size.events) for members in size.populations}
        dropout = ours(
            size.dropout,
            size.events,
            " with dropout 0.2",
            dropout=0.2,
            values=equal(size.dropout, dropout=0.2),
        )
        # On as many events as the largest, and as `torch.func`, so that times and losses compare.
        few = ours(size.main, size.few)
        huge = ours(size.huge, size.few)
        wide = ours(size.main, size.wide, " of width 256", width=256)
        peaks = [
            Contestant(f"matrix products, {words}", group, squares, essential=True)
            for words, group in (
                ("many threads", stage.group("naive", **ONE_DEVICE)),
                ("a device a core", stage.group("ours")),
            )
        ]
        single, mapped = one_model_peers(stage, size, batch), mapped_peers(stage, size, batch)
        took_part = compete(
            [
                *populations.values(),
                *(wide, *peaks),
                *(dropout, few, huge),
                *single,
                *(one for ones in mapped.values() for one in ones),
            ],
            repeats=size.repeats,
            least=size.least,
            failures=failures,
        )
    single = [one for one in single if one in took_part]
    mapped = {m: [one for one in ones if one in took_part] for m, ones in mapped.items()}
    main = populations[size.main]
    rows = [
        Row(
            what=f"batch {batch}: {one.name}, million events·members/s",
            required="",
            measured=one.rate / 1e6,
            spread=spread([rate / 1e6 for rate in one.rates]),
        )
        for one in took_part
        if one not in peaks
    ]
    rows += _against_peers(size, batch, {**populations, size.huge: huge}, single, mapped)
    rows += _losses(batch, main, single, few, [one for ones in mapped.values() for one in ones])
    rows += _peak(size, batch, peaks, {64: main, 256: wide})
    what = f"batch {batch}: {size.dropout} members with dropout 0.2 / without, time"
    rows.append(_against(what, populations[size.dropout], dropout, required="<= 1.25"))
    times = size.huge // size.main
    what = f"batch {batch}: {size.huge} members / {times} x {size.main}, {size.few} events, time"
    # Of rates, which have the members in them already.
    rows.append(_against(what, few, huge, required="<= 1.1"))
    return rows


def _against_peers(
    size: Size,
    batch: int,
    ours: dict[int, Contestant],
    single: list[Contestant],
    mapped: dict[int, list[Contestant]],
) -> list[Row]:
    """Populations of each size against the fastest peers."""
    rows = []
    for members, one in ours.items() if single else ():
        best = _best(single)
        required = {1024: ">= 3", 256: ">= 4"}[batch] if members == size.main else ""
        what = f"batch {batch}: {one.name} / best of PyTorch and Keras, one by one"
        rows.append(_against(what, one, best, required=required, note=f"({best.name})"))
    # Each kind of peer too: what is ordinary in one library is rare in another.
    for kind in dict.fromkeys(peer.name.split(",")[0] for peer in single):
        best = _best([peer for peer in single if peer.name.split(",")[0] == kind])
        what = f"batch {batch}: {ours[size.main].name} / {kind}"
        rows.append(_against(what, ours[size.main], best, note=f"({best.name})"))
    for models, peers in mapped.items():
        for how in ("eager", "compiled"):
            some = [peer for peer in peers if how in peer.name]
            if some:
                best = _best(some)
                required = ">= 1.5" if how == "compiled" and models == size.main else ""
                what = f"batch {batch}: {ours[models].name} / torch.func {how}"
                note = f"({best.name})"
                rows.append(_against(what, ours[models], best, required=required, note=note))
    return rows


def _losses(
    batch: int,
    full: Contestant,
    single: list[Contestant],
    short: Contestant,
    mapped: list[Contestant],
) -> list[Row]:
    """How far the peers' losses are from ours: whether all do the same work."""
    rows = []
    for what, judge, peers in (("one by one", full, single), ("torch.func", short, mapped)):
        if peers:
            worst = max(peers, key=lambda peer: abs(peer.value / judge.value - 1.0))
            note = f"({worst.value:.4f} of {worst.name}, ours {judge.value:.4f})"
            rows.append(
                Row(
                    what=f"batch {batch}: loss of the second epoch, {what}, furthest from ours, %",
                    required="<= 5",
                    measured=100.0 * abs(worst.value / judge.value - 1.0),
                    spread=note,
                )
            )
    return rows


def _generality(size: Size, failures: dict[str, str]) -> list[Row]:
    """What it costs that members differ in everything, in difftune and in the naive form.

    Half of the members have the one batch size, half the other, so their time is compared with the
    mean of two populations that differ in the learning rate alone.
    """
    say("the price of generality")
    members, events = size.main, size.general
    everything = values_of(list(EVERYTHING), members)
    alone = values_of(["learning_rate"], members)
    with Stage() as stage:
        plain = [
            difftune(
                stage,
                size,
                f"{members} members that differ in the learning rate, batch {batch}",
                members=members,
                batch=batch,
                events=events,
                values=alone,
            )
            for batch in BATCHES
        ]
        general = difftune(
            stage,
            size,
            f"{members} members that differ in everything",
            members=members,
            batch=list(BATCHES),
            events=events,
            values=everything,
            general=True,
        )
        options = {"kind": "train", "members": members, "batch": max(BATCHES), "events": events}
        options |= {"width": 64, "values": everything}
        # Events that a mask hides are worked on, but train nobody.
        steps = task.batches(events, max(BATCHES))
        trained = steps * sum(int(size) for size in everything["batch_size"])
        naive = [
            Contestant(f"naive vmap, {words}", group, options, trained)
            for words, group in (
                ("one device", stage.group("naive", **ONE_DEVICE)),
                ("a device a core", stage.group("naive")),
            )
        ]
        took_part = compete(
            [*plain, general, *naive], repeats=size.repeats, least=size.least, failures=failures
        )
    means = [sum(pair) / 2.0 for pair in zip(*(one.seconds for one in plain), strict=True)]
    price, words = ratios(general.seconds, means)
    what = f"{members} members: differ in everything / in the learning rate alone, time"
    rows = [Row(what=what, required="<= 1.6", measured=price, spread=words)]
    if naive := [one for one in naive if one in took_part]:
        best = _best(naive)
        what = f"{members} members that differ in everything: difftune / naive vmap"
        rows.append(_against(what, general, best, required=">= 6", note=f"({best.name})"))
        rows += [
            Row(
                what=f"{members} members that differ in everything: {one.name}, "
                "million events·members/s",
                required="",
                measured=one.rate / 1e6,
                spread=spread([rate / 1e6 for rate in one.rates]),
            )
            for one in (general, *naive)
        ]
    for one in (*plain, general):
        what = f"{one.name}: compile an epoch, s"
        rows.append(Row(what=what, required="<= 10", measured=one.first - one.time))
    return rows


def _peak(
    size: Size, batch: int, peaks: list[Contestant], ours: dict[int, Contestant]
) -> list[Row]:
    """The fraction of the machine's float32 matrix product that training reaches, by width."""
    best = [max(pair) for pair in zip(*(one.values for one in peaks), strict=True)]
    rows = [
        Row(
            what=f"batch {batch}: peak of the float32 matrix product, all cores, Gflop/s",
            required="",
            measured=statistics.median(best) / 1e9,
            spread=spread([value / 1e9 for value in best]),
        )
    ]
    for width, bound in ((64, ">= 0.55"), (256, ">= 0.7")):
        done = [rate * task.flops(width) for rate in ours[width].rates]
        fraction, words = ratios(done, best)
        what = f"batch {batch}: {size.main} members, width {width}, fraction of the peak"
        # The requirement is of the larger batch, which is the default of a population.
        required = bound if batch == max(BATCHES) else ""
        rows.append(Row(what=what, required=required, measured=fraction, spread=words))
    return rows


def _growth(size: Size, failures: dict[str, str]) -> list[Row]:
    """Whether ten times the events take ten times as long."""
    say("growth")
    with Stage() as stage:
        few, many = (
            difftune(stage, size, f"{count} events", members=8, batch=max(BATCHES), events=count)
            for count in (size.events, 10 * size.events)
        )
        compete([few, many], repeats=size.repeats, least=size.least, failures=failures)
    what = f"8 members: {10 * size.events} events / 10 x {size.events}, time"
    ratio, words = ratios(many.seconds, few.seconds, times=10.0)
    return [Row(what=what, required="<= 1.1", measured=ratio, spread=words)]


def _compilations(size: Size, failures: dict[str, str]) -> list[Row]:
    """Whether a later round of a search compiles anything."""
    say("compilations")
    options = {
        "kind": "recompiled",
        "rounds": size.rounds,
        "members": 8,
        "batch": max(BATCHES),
        "events": size.few,
        "validation": size.validation,
        "width": 64,
        "dropout": 0.1,
    }
    with Stage() as stage:
        one = Contestant("compilations", stage.group("ours"), options, essential=True)
        compete([one], repeats=1, least=0.0, failures=failures)
    what = f"programs compiled in rounds 3 to {size.rounds} of a search with PBT"
    return [Row(what=what, required="<= 0", measured=one.value)]


def _jobs(size: Size) -> list[Row]:
    """A whole search, from the start of a process to its end, against Ray Tune."""
    say("whole jobs")
    options = size.job | {
        "batch": max(BATCHES),
        "validation": size.validation,
        "width": 64,
        "dropout": 0.1,
    }
    who = ["difftune", *(["ray"] if installed("ray") and installed("torch") else [])]
    seconds: dict[str, list[float]] = {name: [] for name in who}
    for turn in range(size.jobs):
        for name in who:
            command = [sys.executable, "-m", "benchmarks.peers.jobs", name, json.dumps(options)]
            # Ray would send statistics of its use.
            variables = {"RAY_USAGE_STATS_ENABLED": "0"}
            began = time.perf_counter()
            subprocess.run(
                command,
                check=True,
                stdout=subprocess.DEVNULL,
                cwd=arena.ROOT,
                env=arena.environment(**variables),
            )
            seconds[name].append(time.perf_counter() - began)
        say(f"turn {turn + 1} of {size.jobs}")
    job = "PBT, {members} members, {rounds} rounds of {epochs} epochs, whole job".format(**size.job)
    rows = [
        Row(
            what=f"{job}: {name}, s",
            required="",
            measured=statistics.median(times),
            spread=spread(times),
        )
        for name, times in seconds.items()
    ]
    if "ray" in seconds:
        ratio, words = ratios(seconds["ray"], seconds["difftune"])
        what = f"{job}: Ray Tune with PyTorch / difftune"
        rows.append(Row(what=what, required=">= 8", measured=ratio, spread=words))
    return rows

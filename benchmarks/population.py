"""Training a population: difftune against PyTorch, `torch.func`, Keras, Ray Tune and naive JAX.

All train the same network (30 inputs, two hidden layers of 64 ReLU units, one logit) on the same
weighted events with the same steps of Adam on the same weighted cross-entropy. What is compared is
events times members a second. Each contestant has processes of its own, with thread pools of its
own; all take turns, and figures are medians over the turns. The peers are spared what difftune's
figures contain besides: random rows of each epoch, validation, the choice of the best epoch.

Peers that are not installed (`pip install 'difftune[bench]'`) are left out, and named.
"""

from collections.abc import Callable
from types import SimpleNamespace

import numpy as np

from benchmarks.common import running
from benchmarks.common.running import clocked, devices, in_turns, installed, say, sizes
from benchmarks.common.table import Row, median, named, ratio
from benchmarks.peers import task
from benchmarks.peers.arena import Contestant, Stage, best, compete

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

# One device with the threads of all cores: what JAX does when it is told nothing.
ONE_DEVICE = devices(1, threads=True)

UNIT = "million events·members/s"


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` is tiny, and leaves out what PyTorch compiles."""
    size = sizes(
        quick,
        repeats=(3, 1),  # turns of every contestant
        least=(2.0, 0.0),  # seconds of a measurement
        batches=(BATCHES, (256,)),
        # A smoke run has equal sizes where it can, so that programs are compiled once.
        events=(100_000, 1_000),
        few=(25_000, 1_000),  # events of what would take too long with all
        general=(50_000, 1_000),  # events of members that differ in everything
        wide=(12_500, 1_000),  # events of the network of width 256
        validation=(2_000, 500),
        populations=((1, 8, 32, 128), (4,)),
        main=(128, 4),  # the population that the requirements speak of
        dropout=(32, 4),  # the one that dropout is timed with
        huge=(512, 8),  # the largest one, on few events
        mapped=((32, 128), (4,)),  # models at once in `torch.func`, on few events
        forms=(("eager", "fused", "compiled loss", "compiled step"), ("eager", "fused")),
        functional=(("eager", "compiled"), ("eager",)),  # forms of `torch.func`
        squares=([1024, 2048, 3072, 4096], [256, 512]),  # matrices whose product is the peak
        job=(  # a whole search
            {"members": 8, "rounds": 4, "epochs": 4, "events": 100_000},
            {"members": 8, "rounds": 3, "epochs": 1, "events": 1_000},
        ),
        jobs=(3, 1),  # turns of it
        rounds=(8, 3),  # of the search whose compilations are counted
    )
    failures: dict[str, str] = {}
    rows = []
    for batch in size.batches:
        rows += _competition(size, batch, failures)
    for part in (_generality, _growth, _compilations):
        rows += part(size, failures)
    rows += _jobs(size)
    missing = [name for name in ("torch", "keras", "ray") if not installed(name)]
    rows.append(named("peers that are not installed", missing))
    rows.append(named("peers that failed", [f"{k}: {v}" for k, v in failures.items()]))
    return rows


# ---- contestants ---------------------------------------------------------------------------------


def values_of(names: list[str], members: int) -> dict[str, list[float]]:
    """Hyperparameters in which all members differ."""
    draw = np.random.default_rng(11)
    even = (np.arange(members) + 0.5) / members
    return {name: EVERYTHING[name](draw.permutation(even)).tolist() for name in names}


def equal(members: int, **more: float) -> dict[str, list[float]]:
    """The same values for all members: their learning rate, and what else is given."""
    given = {"learning_rate": task.LEARNING_RATE} | more
    return {name: [value] * members for name, value in given.items()}


def difftune(
    group: list, name: str, members: int, batch: int | list[int], events: int, **options
) -> Contestant:
    """A population of difftune; `options` are those of `peers.ours.population`, and `values`."""
    options |= {"members": members, "batch": batch, "events": events}
    values = options.setdefault("values", equal(members))
    own = [batch] * members if isinstance(batch, int) else values["batch_size"]
    work = sum(task.trained_events(events, int(size)) for size in own)
    return Contestant(f"difftune, {name}", group, options, work, True)


def layouts() -> list[tuple[str, int, int]]:
    """Ways to use all cores: in words, number of processes, threads of each."""
    cores = running.cores()
    if cores == 1:
        return [("1 thread", 1, 1)]
    return [(f"1 process of {cores} threads", 1, cores), (f"{cores} processes of 1", cores, 1)]


def one_model_peers(stage: Stage, size: SimpleNamespace, batch: int) -> list[Contestant]:
    """PyTorch and Keras, one model after the other in each process."""
    work = task.trained_events(size.events, batch)
    options = {"batch": batch, "events": size.events, "width": 64}
    found = []
    for words, count, threads in layouts():
        limits = running.threads(threads)
        for form in size.forms if installed("torch") else ():
            group = stage.group("pytorch", count=count, **limits)
            name = f"PyTorch {form}, {words}"
            found.append(Contestant(name, group, options | {"form": form}, work))
        for backend in ("jax", "torch"):
            if installed("keras", backend):
                more = limits | devices(1, threads=threads > 1) | {"KERAS_BACKEND": backend}
                group = stage.group("keras_fit", count=count, **more)
                found.append(Contestant(f"Keras on {backend}, {words}", group, options, work))
    return found


def mapped_peers(
    stage: Stage, size: SimpleNamespace, batch: int
) -> list[tuple[int, str, Contestant]]:
    """`torch.func`, with its number of models at once, which processes share, and its form."""
    found = []
    for words, count, threads in layouts() if installed("torch") else ():
        group = stage.group("pytorch", count=count, **running.threads(threads))
        for models in size.mapped:
            for form in size.functional if models % count == 0 else ():
                own = {"members": models // count, "form": f"torch.func {form}", "batch": batch}
                own |= {"events": size.few, "width": 64}
                work = own["members"] * task.trained_events(size.few, batch)
                name = f"torch.func {form}, {models} models, {words}"
                found.append((models, form, Contestant(name, group, own, work)))
    return found


# ---- what is measured ----------------------------------------------------------------------------


def rate(what: str, one: Contestant, note: str = "") -> Row:
    """Events times members a second."""
    return median(f"{what}, {UNIT}", [rate / 1e6 for rate in one.rates], note=note)


def against(
    what: str, upper: Contestant, lower: Contestant, required: str = "", *, peer: bool = False
) -> Row:
    """How many times as fast `upper` is as `lower`, a peer perhaps, with which it took turns."""
    note = f"({lower.name})" if peer else ""
    return ratio(what, upper.rates, lower.rates, required, note=note)


def _competition(size: SimpleNamespace, batch: int, failures: dict[str, str]) -> list[Row]:
    """Rates of all, and what they are to each other and to the machine's peak."""
    say(f"batch {batch}: the competition")
    where, main = f"batch {batch}:", size.main
    with Stage() as stage:
        group = stage.group("ours")

        def ours(members: int, events: int, words: str = "", **options) -> Contestant:
            few = f", {events} events" if events < size.events else ""
            options["validation"] = size.validation
            return difftune(
                group, f"{members} members{words}{few}", members, batch, events, **options
            )

        populations = {members: ours(members, size.events) for members in size.populations}
        values = equal(size.dropout, dropout=0.2)
        dropout = ours(size.dropout, size.events, " with dropout 0.2", dropout=0.2, values=values)
        # On as many events as the largest, and as `torch.func`, so that times and losses compare.
        few, huge = ours(main, size.few), ours(size.huge, size.few)
        wide = ours(main, size.wide, " of width 256", width=256)
        squares = {"kind": "peak", "sizes": size.squares}
        peaks = [
            Contestant(f"matrix products, {words}", processes, squares, essential=True)
            for words, processes in (
                ("many threads", stage.group("naive", **ONE_DEVICE)),
                ("a device a core", group),
            )
        ]
        single, mapped = one_model_peers(stage, size, batch), mapped_peers(stage, size, batch)
        everybody = [*populations.values(), wide, *peaks, dropout, few, huge]
        everybody += [*single, *(one for *_, one in mapped)]
        took_part = compete(everybody, repeats=size.repeats, least=size.least, failures=failures)
    single = [one for one in single if one in took_part]
    mapped = [entry for entry in mapped if entry[-1] in took_part]
    rows = [rate(f"{where} {one.name}", one) for one in took_part if one not in peaks]
    populations[size.huge] = huge
    full = populations[main]
    for members, one in populations.items() if single else ():
        required = {1024: ">= 3", 256: ">= 4"}[batch] if members == main else ""
        what = f"{where} {one.name} / best of PyTorch and Keras, one by one"
        rows.append(against(what, one, best(single), required, peer=True))
    # Each kind of peer too: what is ordinary in one library is rare in another.
    kinds: dict[str, list[Contestant]] = {}
    for peer in single:
        kinds.setdefault(peer.name.split(",")[0], []).append(peer)
    for kind, peers in kinds.items():
        rows.append(against(f"{where} {full.name} / {kind}", full, best(peers), peer=True))
    forms: dict[tuple[int, str], list[Contestant]] = {}
    for models, form, peer in mapped:
        forms.setdefault((models, form), []).append(peer)
    for (models, form), peers in forms.items():
        one = populations[models]
        required = ">= 1.5" if form == "compiled" and models == main else ""
        what = f"{where} {one.name} / torch.func {form}"
        rows.append(against(what, one, best(peers), required, peer=True))
    # Whether all do the same work.
    for what, judge, peers in (
        ("one by one", full, single),
        ("torch.func", few, [one for *_, one in mapped]),
    ):
        if peers:
            away = {abs(peer.value / judge.value - 1.0): peer for peer in peers}
            worst = away[max(away)]
            note = f"({worst.value:.4f} of {worst.name}, ours {judge.value:.4f})"
            what = f"{where} loss of the second epoch, {what}, furthest from ours, %"
            rows.append(Row(what, 100.0 * max(away), "<= 5", note))
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


def _generality(size: SimpleNamespace, failures: dict[str, str]) -> list[Row]:
    """What it costs that members differ in everything, in difftune and in the naive form.

    Half of the members have the one batch size, half the other, so their time is compared with the
    mean of two populations that differ in the learning rate alone.
    """
    say("the price of generality")
    members, events = size.main, size.general
    everything, alone = (values_of(n, members) for n in (list(EVERYTHING), ["learning_rate"]))
    differ = f"{members} members that differ in"
    with Stage() as stage:

        def ours(words: str, batch: int | list[int], **options) -> Contestant:
            options["validation"] = size.validation
            name = f"{differ} {words}"
            return difftune(stage.group("ours"), name, members, batch, events, **options)

        plain = [ours(f"the learning rate, batch {b}", b, values=alone) for b in BATCHES]
        general = ours("everything", list(BATCHES), values=everything, general=True)
        options = {"members": members, "batch": max(BATCHES), "events": events}
        options |= {"width": 64, "values": everything}
        # Events that a mask hides are worked on, but train nobody.
        trained = task.batches(events, max(BATCHES)) * int(sum(everything["batch_size"]))
        naive = [
            Contestant(f"naive vmap, {words}", group, options, trained)
            for words, group in (
                ("one device", stage.group("naive", **ONE_DEVICE)),
                ("a device a core", stage.group("naive")),
            )
        ]
        everybody = [*plain, general, *naive]
        took_part = compete(everybody, repeats=size.repeats, least=size.least, failures=failures)
    means = [sum(pair) / 2.0 for pair in zip(*(one.seconds for one in plain), strict=True)]
    what = f"{members} members: differ in everything / in the learning rate alone, time"
    rows = [ratio(what, general.seconds, means, "<= 1.6")]
    if naive := [one for one in naive if one in took_part]:
        what = f"{differ} everything: difftune / naive vmap"
        rows.append(against(what, general, best(naive), ">= 6", peer=True))
        rows += [rate(f"{differ} everything: {one.name}", one) for one in (general, *naive)]
    for one in (*plain, general):
        rows.append(Row(f"{one.name}: compile an epoch, s", one.first - one.time, "<= 10"))
    return rows


def _growth(size: SimpleNamespace, failures: dict[str, str]) -> list[Row]:
    """Whether ten times the events take ten times as long."""
    say("growth")
    few, many = size.events, 10 * size.events
    with Stage() as stage:
        two = [
            difftune(
                stage.group("ours"), f"{n} events", 8, max(BATCHES), n, validation=size.validation
            )
            for n in (few, many)
        ]
        compete(two, repeats=size.repeats, least=size.least, failures=failures)
    ten = [10.0 * seconds for seconds in two[0].seconds]
    return [ratio(f"8 members: {many} events / 10 x {few}, time", two[1].seconds, ten, "<= 1.1")]


def _compilations(size: SimpleNamespace, failures: dict[str, str]) -> list[Row]:
    """Whether a later round of a search compiles anything."""
    say("compilations")
    options = {"kind": "recompiled", "rounds": size.rounds, "members": 8, "events": size.few}
    options |= {"validation": size.validation, "dropout": 0.1}
    with Stage() as stage:
        one = Contestant("compilations", stage.group("ours"), options, essential=True)
        compete([one], repeats=1, least=0.0, failures=failures)
    what = f"programs compiled in rounds 3 to {size.rounds} of a search with PBT"
    return [Row(what, one.value, "<= 0")]


def _jobs(size: SimpleNamespace) -> list[Row]:
    """A whole search, from the start of a process to its end, against Ray Tune."""
    say("whole jobs")
    options = size.job | {"batch": max(BATCHES), "validation": size.validation}

    def whole(function: str, **more) -> Callable[[], float]:
        # Ray would send statistics of its use.
        quiet = {"RAY_USAGE_STATS_ENABLED": "0"}
        return lambda: clocked(lambda: running.call(function, variables=quiet, **options, **more))[
            1
        ]

    who = {"difftune": whole("benchmarks.peers.ours:job", dropout=0.1)}
    if installed("ray", "torch"):
        who["ray"] = whole("benchmarks.peers.ray_tune:job")
    seconds = in_turns(who, size.jobs)
    job = "PBT, {members} members, {rounds} rounds of {epochs} epochs, whole job".format(**size.job)
    rows = [median(f"{job}: {name}, s", times) for name, times in seconds.items()]
    if "ray" in seconds:
        what = f"{job}: Ray Tune with PyTorch / difftune"
        rows.append(ratio(what, seconds["ray"], seconds["difftune"], ">= 8"))
    return rows

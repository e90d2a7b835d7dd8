"""How fast files become events, what memory they and a search take, and how soon a second start is.

The files are made here: flat branches alone, flat branches among 1500 others as in NanoAOD, and
lists of jets. Beside `dt.read` a bare `uproot.iterate` of the same branches, which keeps nothing,
and what one writes by hand with awkward: features of selected events as one array. All take turns
in one process; the files are in the memory of the system by then.

Memory is the peak of a process, less what it holds after the same with a few events: Python,
libraries, and most of what compiling takes.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import running
from benchmarks.common.table import Row, median, ratio

FEATURES = [f"x{i}" for i in range(30)]
FLAT = [*FEATURES, "weight", "weight_up", "weight_down", "label", "event"]
JAGGED = ["Jet_pt", "Jet_eta", "weight", "label", "event"]
OF_JETS = {
    "lead": "Jet_pt[0]",
    "ht": "sum(Jet_pt[Jet_pt > 30])",
    "central": "count(abs(Jet_eta) < 2.5)",
}
PARTS = ("files", "search")


def run(*, quick: bool, parts: Sequence[str] = PARTS) -> list[Row]:
    """Rates beside those of uproot and awkward, memory, and the second start."""
    size = running.sizes(
        quick,
        flat=(1_000_000, 5_000),
        wide=(50_000, 2_000),
        others=(1500, 40),
        jets=(500_000, 5_000),
        second=(100_000, 5_000),
        medium=(500_000, 10_000),
        large=(5_000_000, 20_000),
        searched=(5_000_000, 300_000),
        devices=((1, 2), (2,)),
        turns=(3, 1),
    )
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        if "files" in parts:
            for name, count, more in (
                ("flat", size.flat, {}),
                ("wide", size.wide, {"others": size.others}),
                ("jets", size.jets, {"jets": True}),
            ):
                file = made(Path(folder) / f"{name}.root", count, **more)
                rows += rates(name, file, count, size.turns)
                file.unlink()
            file = made(Path(folder) / "again.root", size.second)
            rows += second_start(file, size.second, size.turns)
            file = made(Path(folder) / "medium.root", size.medium)
            rows += memory_of_reading(file, size.medium, "<= 2.5")[:1]
            file = made(Path(folder) / "large.root", size.large)
            rows += memory_of_reading(file, size.large, "<= 2")
            what = f"{size.large:,} events, read, tuned (two networks) and measured"
            _, whole = memory("peak", file=str(file), epochs=1)
            rows.append(Row(f"{what}: peak of the process, GiB", whole, "<= 16"))
    if "search" in parts:
        rows += memory_of_search(size.searched, size.devices, epochs=1 if quick else 2)
    return rows


def rates(name: str, file: Path, count: int, turns: int) -> list[Row]:
    """Events a second of all three."""
    contestants = {
        "uproot.iterate": _bare,
        "awkward by hand": _by_hand,
        "dt.read": _ours_of_jets if name == "jets" else _ours,
    }
    for action in contestants.values():
        action(file)  # imports, and the file into memory
    running.say(f"{name}: {count:,} events")
    rate = {
        who: lambda action=action: count / running.clocked(lambda: action(file))[1]
        for who, action in contestants.items()
    }
    found, what = running.in_turns(rate, turns), f"{name}: {count:,} events"
    pair, over = (found["dt.read"], found["uproot.iterate"]), "rate of dt.read over that of uproot"
    return [
        ratio(f"{what}: {over}.iterate", *pair, ">= 0.7"),
        *(median(f"{what}: {who}, events a second", found[who]) for who in contestants),
    ]


def second_start(file: Path, count: int, turns: int) -> list[Row]:
    """Seconds until events of an unchanged file are there, from the cache."""
    from difftune.data import cache

    folder = file.parent / "cache"
    cache._WORTH = 0.0  # the file is read in less than a second
    _ours(file, cache=folder)
    again = [running.clocked(lambda: _ours(file, cache=folder))[1] for _ in range(turns)]
    assert list(folder.glob("*.npz")), "nothing was kept"
    return [median(f"second start of {count:,} events, seconds", again, "<= 1")]


def memory(function: str, **options: Any) -> tuple[float, float]:
    """The peak of a process of its own: in sizes of the events that it has, and in GiB."""
    found = running.call(f"benchmarks.reading:{function}", **options)
    return (found["peak"] - found["before"]) / found["events"], found["peak"] / 2**30


def memory_of_reading(file: Path, count: int, target: str) -> list[Row]:
    """The peak of reading."""
    over, whole = memory("peak", file=str(file), epochs=0)
    return [
        Row(f"reading {count:,} events: peak over their size, times", over, target),
        Row("reading: peak of the whole process, GiB", whole, "<= 16"),
    ]


def memory_of_search(count: int, devices: Sequence[int], *, epochs: int) -> list[Row]:
    """Peak of a random search over two members, of events that are in memory already."""
    rows = []
    for number in devices:
        variables = running.devices(number, threads=False)
        over, whole = memory("searched", variables=variables, count=count, epochs=epochs)
        where = f"2 members on {number} CPU device{'s' * (number > 1)}"
        rows += [
            Row(f"{where}: peak over the size of {count:,} events, times", over, "<= 3"),
            Row(f"{where}: peak of the whole process, GiB", whole),
        ]
    return rows


def peak(file: str, epochs: int) -> None:
    """In a process of its own: bytes of the events, of it before them, and of its peak."""
    import difftune as dt

    with tempfile.TemporaryDirectory() as folder:
        _ours(made(Path(folder) / "small.root", 2_000))
    before = running.peak_memory()
    events = _ours(Path(file))
    if epochs:
        tuned = _tuned(events, epochs)
        dt.measure(tuned, tuned)
    _leave(events, before)


def searched(count: int, epochs: int) -> None:
    """The same of a search of events that are made in the memory that they need, and no more."""
    import numpy as np

    import difftune as dt

    def tuned(count: int) -> dt.Events:
        features = np.random.default_rng(0).standard_normal(
            (count, len(FEATURES)), dtype=np.float32
        )
        process = (np.arange(count) % 2).astype(np.int32)
        features[:, 0] += process
        events = dt.Events.from_arrays(
            features,
            process,
            np.full(count, 1e-3, np.float32),
            feature_names=FEATURES,
            processes=[dt.Process(name="b"), dt.Process(name="s", role="signal")],
        )
        _tuned(events, epochs)
        return events

    tuned(20_000)
    before = running.peak_memory()
    _leave(tuned(count), before)


def _tuned(events: Any, epochs: int) -> Any:
    import difftune as dt

    strategy = dt.search.Random(population=2, rounds=1, epochs_per_round=epochs)
    return dt.tune(events, search=strategy, batch_size=4096)


def _leave(events: Any, before: int) -> None:
    import jax

    held = sum(leaf.nbytes for leaf in jax.tree.leaves(events))
    running.leave({"events": held, "before": before, "peak": running.peak_memory()})


def _iterate(file: Path, library: str) -> Iterator[Any]:
    import uproot

    names = JAGGED if file.stem == "jets" else FLAT
    return uproot.iterate(f"{file}:t", filter_name=names, library=library, step_size="100 MB")


def _bare(file: Path) -> int:
    return sum(len(chunk) for chunk in _iterate(file, "ak"))


def _by_hand(file: Path) -> list[Any]:
    import awkward as ak
    import numpy as np

    parts: dict[int, list[Any]] = {0: [], 1: []}
    for chunk in _iterate(file, "ak"):
        for label, kept in parts.items():
            own = chunk[chunk["label"] == label]
            columns = _of_jets(own) if file.stem == "jets" else [own[name] for name in FEATURES]
            kept.append(
                np.stack([ak.to_numpy(c).astype("f4", copy=False) for c in columns], axis=1)
            )
    return [np.concatenate(kept) for kept in parts.values()]


def _of_jets(own: Any) -> list[Any]:
    import awkward as ak
    import numpy as np

    pt = own["Jet_pt"]
    lead, central = ak.fill_none(ak.firsts(pt), np.nan), abs(own["Jet_eta"]) < 2.5
    return [lead, ak.sum(pt[pt > 30], axis=1), ak.sum(central, axis=1)]


def _ours(file: Path, **options: Any) -> Any:
    import difftune as dt

    varied = dt.WeightVariation("w", up="weight_up", down="weight_down")
    return _read(file, features=FEATURES, variations=[varied], **options)


def _ours_of_jets(file: Path) -> Any:
    return _read(file, features=list(OF_JETS), derived=OF_JETS)


def _read(file: Path, **options: Any) -> Any:
    import difftune as dt

    processes = [
        dt.Process(name="signal", role="signal", selection="label == 1"),
        dt.Process(name="background", selection="label == 0"),
    ]
    return dt.read(file, processes=processes, weight="weight", event_number="event", **options)


def made(file: Path, count: int, *, others: int = 0, jets: bool = False) -> Path:
    """A file with a tree `t`, whose branches zlib has packed."""
    import uproot

    if file.exists():
        return file
    running.say(f"making {file.name} of {count:,} events")
    step = min(count, 100_000)
    block: Callable[..., dict[str, Any]] = _jets if jets else _flat
    with uproot.recreate(file, compression=uproot.ZLIB(1)) as opened:
        for first in range(0, count, step):
            chunk = block(step, first, others)
            if not first:
                opened.mktree("t", {name: _type(values) for name, values in chunk.items()})
            opened["t"].extend(chunk)
    return file


def _type(values: Any) -> Any:
    return getattr(values, "dtype", None) or values.type.content


def _flat(count: int, first: int, others: int) -> dict[str, Any]:
    import numpy as np

    rng = np.random.default_rng(first)
    columns: dict[str, Any] = {}
    for name in [*FEATURES, *(f"other{i}" for i in range(others))]:
        columns[name] = rng.standard_normal(count, dtype=np.float32)
    weight = rng.uniform(0.5, 1.5, count).astype(np.float32)
    columns |= {"weight": weight, "weight_up": 1.1 * weight, "weight_down": 0.9 * weight}
    columns["label"] = (rng.random(count) < 0.3).astype(np.int8)
    columns["event"] = np.arange(first, first + count)
    columns["x0"] += columns["label"]
    return columns


def _jets(count: int, first: int, others: int) -> dict[str, Any]:
    import awkward as ak
    import numpy as np

    rng = np.random.default_rng(first)
    number = 1 + rng.poisson(4, count)
    pt = rng.exponential(40, number.sum()).astype(np.float32) + np.float32(20)
    eta = rng.normal(0, 2, number.sum()).astype(np.float32)
    flat = _flat(count, first, others)
    return {
        "Jet_pt": ak.unflatten(pt, number),
        "Jet_eta": ak.unflatten(eta, number),
        **{name: flat[name] for name in ("weight", "label", "event")},
    }

"""A population on an accelerator: a thousand members against PyTorch on the same device.

The task is that of `benchmarks.population`: 30 inputs, two hidden layers of 64 ReLU units, one
logit, 100 000 weighted events, Adam. Rates are events times members a second, medians over turns.
What the device can do is measured in the same run: the float32 matrix product, in full precision
and in the device's own (TF32 on an NVIDIA one), and a stream through its memory.

A step that writes every activation to memory, and reads it back wherever it is needed, moves
twelve times the activations of one hidden layer: they are written once, read by the next layer, by
the derivative of the activation and by the gradient of the next weights, and their gradients are
written once and read twice. The fraction of the bandwidth counts these bytes; a program that fuses
more would exceed one.

Where there is no accelerator, only the smoke run (`--quick`) does anything.
"""

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

from benchmarks.peers import task
from benchmarks.peers.arena import Contestant, Stage, compete, ratios, say, spread
from benchmarks.population import equal, installed, values_of
from benchmarks.table import Row

# JAX's names of precisions of the matrix product: what is multiplied as float32, and as TF32.
PRECISIONS = {"float32": "float32", "TF32": "tensorfloat32"}
PASSES = 12


@dataclass(frozen=True, kw_only=True)
class Size:
    """How much is done.

    Attributes:
        repeats: Turns of every contestant.
        least: Seconds of a measurement, at least.
        events: Training events.
        batches: Events of a batch.
        main: The population that the page speaks of.
        populations: The others.
        wide: Members of width 256.
        mapped: Models at once in `torch.func`.
        forms: Of PyTorch, one model after the other.
        functional: Of `torch.func`.
        squares: Sizes of the matrices whose product is the peak.
        stream: Floats of the array whose copy is the bandwidth.
    """

    repeats: int = 3
    least: float = 1.0
    events: int = 100_000
    batches: tuple[int, ...] = (1024, 256)
    main: int = 1000
    populations: tuple[int, ...] = (1, 32, 128)
    wide: int = 128
    mapped: tuple[int, ...] = (128, 1000)
    forms: tuple[str, ...] = ("eager", "fused", "graph")
    functional: tuple[str, ...] = ("eager", "compiled")
    squares: tuple[int, ...] = (4096, 8192)
    stream: int = 2**29


QUICK = Size(
    repeats=2,
    least=0.0,
    events=2_000,
    batches=(1024,),
    main=2,
    populations=(),
    wide=2,
    mapped=(2,),
    forms=("eager", "fused"),
    functional=("eager",),
    squares=(256,),
    stream=2**16,
)


def platform() -> tuple[str, str]:
    """JAX's default backend and the kind of its device, from a process that ends."""
    script = "import jax; d = jax.devices()[0]; print(d.platform, d.device_kind, sep=';')"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    name, kind = found.stdout.strip().split(";")
    return ("cuda" if name == "gpu" else name), kind


def run(*, quick: bool) -> list[Row]:
    """All rows."""
    name, kind = platform()
    if name == "cpu" and not quick:
        say("no accelerator here: only --quick does anything")
        return [Row(what="accelerators", required="", measured=0)]
    size = QUICK if quick else Size()
    failures: dict[str, str] = {}
    rows = [Row(what=f"device: {kind}", required="", measured=1)]
    rows += _rates(name, size, failures)
    rows += _same(name, size, failures)
    note = f"({json.dumps(failures)})" if failures else ""
    rows.append(
        Row(what="contestants that failed", required="", measured=len(failures), spread=note)
    )
    return rows


def _rates(name: str, size: Size, failures: dict[str, str]) -> list[Row]:
    with Stage() as stage:
        # All processes share the device, so none may take its memory in advance.
        common = {"JAX_PLATFORMS": f"{name},cpu", "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
        groups = {
            words: stage.group("ours", JAX_DEFAULT_MATMUL_PRECISION=value, **common)
            for words, value in PRECISIONS.items()
        }

        def ours(words: str, members: int, batch: int, what: str = "", **options: Any):
            given: dict[str, Any] = {
                "kind": "train",
                "members": members,
                "batch": batch,
                "events": size.events,
                "validation": 2_000,
                "width": 64,
                "dropout": 0.0,
                "values": equal(members),
            }
            work = members * task.trained_events(size.events, batch)
            title = f"difftune, {members} members{what}, batch {batch}, {words}"
            return Contestant(title, groups[words], given | options, work)

        main = {
            (words, batch): ours(words, size.main, batch)
            for words in PRECISIONS
            for batch in size.batches
        }
        fewer = [ours("TF32", members, 1024) for members in size.populations]
        wide = ours("TF32", size.wide, 1024, " of width 256", width=256)
        dropout = ours(
            "TF32",
            size.main,
            1024,
            " with dropout 0.2",
            dropout=0.2,
            values=equal(size.main, dropout=0.2),
        )
        names = ["learning_rate", "schedule", "optimizer", "beta1", "beta2", "weight_decay"]
        names += ["momentum", "gradient_clip", "l1", "l2", "signal_weight", "label_smoothing"]
        names += ["dropout", "width_1", "width_2", "activation"]
        general = ours(
            "TF32",
            size.main,
            1024,
            " that differ in 16 hyperparameters",
            values=values_of(names, size.main),
            general=True,
        )
        peaks = {
            words: Contestant(
                f"matrix product, {words}",
                group,
                {"kind": "peak", "sizes": list(size.squares)},
                essential=True,
            )
            for words, group in groups.items()
        }
        stream = Contestant(
            "stream through the memory",
            groups["TF32"],
            {"kind": "stream", "floats": size.stream},
            essential=True,
        )
        torch = []
        if not installed("torch"):
            say("PyTorch is left out: torch is not installed")
        else:
            group = stage.group("pytorch", **common)
            where = {"device": "cuda" if name == "cuda" else "cpu", "width": 64}
            for batch in size.batches:
                options = where | {"batch": batch, "events": size.events}
                work = task.trained_events(size.events, batch)
                torch += [
                    Contestant(
                        f"PyTorch {form}, batch {batch}", group, options | {"form": form}, work
                    )
                    for form in size.forms
                ]
            options = where | {"batch": 1024, "events": size.events}
            torch += [
                Contestant(
                    f"torch.func {form}, {models} models, batch 1024",
                    group,
                    options | {"form": f"torch.func {form}", "members": models},
                    models * task.trained_events(size.events, 1024),
                )
                for models in size.mapped
                for form in size.functional
            ]
        contestants = [*main.values(), *fewer, wide, dropout, general, *peaks.values(), stream]
        took_part = compete(
            [*contestants, *torch], repeats=size.repeats, least=size.least, failures=failures
        )

    rows = [
        Row(
            what=f"{one.name}, million events·members/s",
            required="",
            measured=one.rate / 1e6,
            spread=f"{spread([rate / 1e6 for rate in one.rates])} first epoch {one.first:.0f} s",
        )
        for one in took_part
        if one.events
    ]
    for words, one in peaks.items():
        measured = statistics.median(one.values) / 1e12
        rows.append(Row(what=f"matrix product, {words}, Tflop/s", required="", measured=measured))
    measured = statistics.median(stream.values) / 1e12
    rows.append(Row(what="stream through the memory, TB/s", required="", measured=measured))
    for one, width in [*((one, 64) for one in main.values()), (wide, 256)]:
        if one not in took_part:
            continue
        words = "TF32" if "TF32" in one.name else "float32"
        done = [rate * task.flops(width) for rate in one.rates]
        fraction, note = ratios(done, peaks[words].values)
        rows.append(
            Row(
                what=f"{one.name}: fraction of the peak",
                required="",
                measured=fraction,
                spread=note,
            )
        )
        moved = [rate * PASSES * 4 * width for rate in one.rates]
        fraction, note = ratios(moved, stream.values)
        what = f"{one.name}: fraction of the bandwidth"
        rows.append(Row(what=what, required="", measured=fraction, spread=note))
    for batch in size.batches:
        for kind in ("PyTorch", "torch.func"):
            some = [p for p in torch if p in took_part and p.name.startswith(kind)]
            some = [p for p in some if p.name.endswith(f"batch {batch}")]
            if some:
                best = max(some, key=lambda peer: peer.rate)
                ratio, note = ratios(main["TF32", batch].rates, best.rates)
                what = f"batch {batch}: {size.main} members / {kind}"
                note = f"{note} ({best.name})"
                rows.append(Row(what=what, required="", measured=ratio, spread=note))
    for what, one in (
        ("with dropout 0.2", dropout),
        ("that differ in 16 hyperparameters", general),
    ):
        if one in took_part:
            price, note = ratios(one.seconds, main["TF32", 1024].seconds)
            what = f"{size.main} members {what} / without, time"
            rows.append(Row(what=what, required="", measured=price, spread=note))
    return rows


def _same(name: str, size: Size, failures: dict[str, str]) -> list[Row]:
    """Whether the accelerator trains what a CPU trains, in full precision."""
    say("the same on the CPU")
    members = min(size.main, 32)
    names = ["learning_rate", "optimizer", "l2", "signal_weight", "width_1", "width_2"]
    options = {
        "kind": "scored",
        "members": members,
        "batch": 1024,
        "events": min(size.events, 20_000),
        "validation": 2_000,
        "width": 64,
        "dropout": 0.2,
        "values": values_of([*names, "dropout", "activation"], members),
        "general": True,
    }
    with Stage() as stage:
        common = {
            "JAX_DEFAULT_MATMUL_PRECISION": "float32",
            "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        }
        both = [
            Contestant(
                f"two epochs on {where}",
                stage.group("ours", JAX_PLATFORMS=f"{where},cpu", **common),
                options,
                essential=True,
            )
            for where in dict.fromkeys((name, "cpu"))
        ]
        compete(both, repeats=1, least=0.0, failures=failures)
    # The sum over the members of the validation loss of each.
    measured = abs(both[0].value / both[-1].value - 1.0)
    what = f"{members} members that differ: validation loss on {name} / on the CPU, less 1"
    return [Row(what=what, required="<= 1e-3", measured=measured)]

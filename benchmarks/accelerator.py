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

import statistics
import subprocess
import sys
from types import SimpleNamespace

from benchmarks.common.running import say, sizes, taking_part
from benchmarks.common.table import Row, named, ratio
from benchmarks.peers import task
from benchmarks.peers.arena import Contestant, Stage, best, compete
from benchmarks.population import against, difftune, equal, rate, values_of

# JAX's names of precisions of the matrix product: what is multiplied as float32, and as TF32.
PRECISIONS = {"float32": "float32", "TF32": "tensorfloat32"}
PASSES = 12
# All processes share the device, so none may take its memory in advance.
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def run(*, quick: bool) -> list[Row]:
    """All rows."""
    name, kind = platform()
    if name == "cpu" and not quick:
        say("no accelerator here: only --quick does anything")
        return [Row("accelerators", 0)]
    size = sizes(
        quick,
        repeats=(3, 2),  # turns of every contestant
        least=(1.0, 0.0),  # seconds of a measurement
        events=(100_000, 2_000),
        batches=((1024, 256), (1024,)),
        main=(1000, 2),  # the population that the page speaks of
        populations=((1, 32, 128), ()),
        wide=(128, 2),  # members of width 256
        mapped=((128, 1000), (2,)),  # models at once in `torch.func`
        forms=(("eager", "fused", "graph"), ("eager", "fused")),
        functional=(("eager", "compiled"), ("eager",)),  # forms of `torch.func`
        squares=([4096, 8192], [256]),  # matrices whose product is the peak
        stream=(2**29, 2**16),  # floats of the array whose copy is the bandwidth
    )
    failures: dict[str, str] = {}
    rows = [Row(f"device: {kind}", 1), *_rates(name, size, failures), _same(name, size, failures)]
    rows.append(named("contestants that failed", [f"{k}: {v}" for k, v in failures.items()]))
    return rows


def platform() -> tuple[str, str]:
    """JAX's default backend and the kind of its device, from a process that ends."""
    script = "import jax; d = jax.devices()[0]; print(d.platform, d.device_kind, sep=';')"
    found = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    name, kind = found.stdout.strip().split(";")
    return ("cuda" if name == "gpu" else name), kind


def _rates(name: str, size: SimpleNamespace, failures: dict[str, str]) -> list[Row]:
    with Stage() as stage:
        groups = {
            words: stage.group(
                "ours", JAX_PLATFORMS=f"{name},cpu", JAX_DEFAULT_MATMUL_PRECISION=value, **SHARED
            )
            for words, value in PRECISIONS.items()
        }
        tf32 = groups["TF32"]

        def ours(members: int, what: str = "", words: str = "TF32", batch: int = 1024, **more):
            title = f"{members} members{what}, batch {batch}, {words}"
            one = difftune(groups[words], title, members, batch, size.events, **more)
            one.essential = False
            return one

        main = {
            (words, batch): ours(size.main, words=words, batch=batch)
            for words in PRECISIONS
            for batch in size.batches
        }
        plain = main["TF32", 1024]
        fewer = [ours(members) for members in size.populations]
        wide = ours(size.wide, " of width 256", width=256)
        values = equal(size.main, dropout=0.2)
        dropout = ours(size.main, " with dropout 0.2", dropout=0.2, values=values)
        names = ["learning_rate", "schedule", "optimizer", "beta1", "beta2", "weight_decay"]
        names += ["momentum", "gradient_clip", "l1", "l2", "signal_weight", "label_smoothing"]
        names += ["dropout", "width_1", "width_2", "activation"]
        values = values_of(names, size.main)
        words = " that differ in 16 hyperparameters"
        general = ours(size.main, words, values=values, general=True)
        squares = {"kind": "peak", "sizes": size.squares}
        peaks = {
            words: Contestant(f"matrix product, {words}", group, squares, essential=True)
            for words, group in groups.items()
        }
        copied = {"kind": "stream", "floats": size.stream}
        stream = Contestant("stream through the memory", tf32, copied, essential=True)
        torch = _torch(stage, name, size) if taking_part("PyTorch", "torch") else []
        everybody = [*main.values(), *fewer, wide, dropout, general, *peaks.values(), stream]
        took_part = compete(
            [*everybody, *torch], repeats=size.repeats, least=size.least, failures=failures
        )
    rows = [
        rate(one.name, one, f"first epoch {one.first:.0f} s") for one in took_part if one.events
    ]
    for words, one in peaks.items():
        measured = statistics.median(one.values) / 1e12
        rows.append(Row(f"matrix product, {words}, Tflop/s", measured))
    rows.append(Row("stream through the memory, TB/s", statistics.median(stream.values) / 1e12))
    for one, width in [*((one, 64) for one in main.values()), (wide, 256)]:
        if one in took_part:
            words = "TF32" if "TF32" in one.name else "float32"
            done = [rate * task.flops(width) for rate in one.rates]
            rows.append(ratio(f"{one.name}: fraction of the peak", done, peaks[words].values))
            moved = [rate * PASSES * 4 * width for rate in one.rates]
            rows.append(ratio(f"{one.name}: fraction of the bandwidth", moved, stream.values))
    for batch in size.batches:
        for kind in ("PyTorch", "torch.func"):
            some = [one for one in torch if one in took_part and one.name.startswith(kind)]
            if some := [one for one in some if one.name.endswith(f"batch {batch}")]:
                what = f"batch {batch}: {size.main} members / {kind}"
                rows.append(against(what, main["TF32", batch], best(some), peer=True))
    for what, one in (
        ("with dropout 0.2", dropout),
        ("that differ in 16 hyperparameters", general),
    ):
        if one in took_part:
            what = f"{size.main} members {what} / without, time"
            rows.append(ratio(what, one.seconds, plain.seconds))
    return rows


def _torch(stage: Stage, name: str, size: SimpleNamespace) -> list[Contestant]:
    """PyTorch on the same device: one model after the other, and many at once."""
    group = stage.group("pytorch", JAX_PLATFORMS=f"{name},cpu", **SHARED)
    where = {"device": "cuda" if name == "cuda" else "cpu", "width": 64, "events": size.events}
    found = []
    for batch in size.batches:
        work = task.trained_events(size.events, batch)
        for form in size.forms:
            options = where | {"batch": batch, "form": form}
            found.append(Contestant(f"PyTorch {form}, batch {batch}", group, options, work))
    work = task.trained_events(size.events, 1024)
    for models in size.mapped:
        for form in size.functional:
            options = where | {"batch": 1024, "form": f"torch.func {form}", "members": models}
            title = f"torch.func {form}, {models} models, batch 1024"
            found.append(Contestant(title, group, options, models * work))
    return found


def _same(name: str, size: SimpleNamespace, failures: dict[str, str]) -> Row:
    """Whether the accelerator trains what a CPU trains, in full precision."""
    say("the same on the CPU")
    members = min(size.main, 32)
    names = ["learning_rate", "optimizer", "l2", "signal_weight", "width_1", "width_2"]
    options = {"kind": "scored", "members": members, "events": min(size.events, 20_000)}
    options |= {"dropout": 0.2, "general": True}
    options["values"] = values_of([*names, "dropout", "activation"], members)
    precise = {"JAX_DEFAULT_MATMUL_PRECISION": "float32", **SHARED}
    with Stage() as stage:
        both = [
            Contestant(
                f"two epochs on {where}",
                stage.group("ours", JAX_PLATFORMS=f"{where},cpu", **precise),
                options,
                essential=True,
            )
            for where in dict.fromkeys((name, "cpu"))
        ]
        compete(both, repeats=1, least=0.0, failures=failures)
    # The sum over the members of the validation loss of each.
    measured = abs(both[0].value / both[-1].value - 1.0)
    what = f"{members} members that differ: validation loss on {name} / on the CPU, less 1"
    return Row(what, measured, "<= 1e-3")

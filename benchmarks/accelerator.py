"""A population on an accelerator: a thousand members against PyTorch on the same device.

The task is that of `benchmarks.population`. What the device can do is measured in the same run: the
float32 matrix product, in full precision and in the device's own (TF32 on an NVIDIA one), and a
stream through its memory. A step that writes every activation to memory, and reads it back wherever
it is needed, moves twelve times the activations of a hidden layer: they are written once, read by
the next layer, by the derivative of the activation and by the gradient of the next weights, and
their gradients are written once and read twice. The fraction of the bandwidth counts these bytes; a
program that fuses more would exceed one.

Where there is no accelerator, only the smoke run (`--quick`) does anything.
"""

import statistics
from types import SimpleNamespace

from benchmarks.common.running import Child, call, say, sizes, taking_part
from benchmarks.common.table import Row, ratio
from benchmarks.peers import task
from benchmarks.peers.arena import Contestant, Stage, against, best, compete, rate
from benchmarks.population import difftune, torch

# JAX's names of precisions of the matrix product: what is multiplied as float32, and as TF32.
PRECISIONS = {"float32": "float32", "TF32": "tensorfloat32"}
PASSES = 12
# All processes share the device, so none may take its memory in advance.
SHARED = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}


def run(*, quick: bool) -> list[Row]:
    """All rows."""
    asked = {"JAX_PLATFORMS": "", **SHARED}
    name, kind = call("benchmarks.accelerator:platform", variables=asked)
    if name == "cpu" and not quick:
        say("no accelerator here: only --quick does anything")
        return [Row("accelerators", 0)]
    size = sizes(
        quick,
        repeats=(3, 2),  # turns of every contestant
        least=(1.0, 0.0),  # seconds of a measurement
        events=(100_000, 2_000),
        batches=((1024, 256), (1024,)),
        main=(1000, 2),  # the population that the page speaks of, and models of `torch.func`
        populations=((1, 32, 128), ()),
        forms=(("eager", "fused", "graph"), ("eager", "fused")),
        functional=(("torch.func eager", "torch.func compiled"), ("torch.func eager",)),
        squares=([4096, 8192], [256]),  # matrices whose product is the peak
        stream=(2**29, 2**16),  # floats of the array whose copy is the bandwidth
    )
    return [Row(f"device: {kind}", 1), *_rates(name, size)]


def platform() -> tuple[str, str]:
    """JAX's default backend and the kind of its device, for a process that ends."""
    import jax

    device = jax.devices()[0]
    return ("cuda" if device.platform == "gpu" else device.platform), device.device_kind


def _rates(name: str, size: SimpleNamespace) -> list[Row]:
    """Rates of all, and what they are of what the device can do."""
    with Stage() as stage:

        def group(module: str, **more: str) -> list[Child]:
            return stage.group(module, JAX_PLATFORMS=f"{name},cpu", **SHARED, **more)

        groups = {
            words: group("ours", JAX_DEFAULT_MATMUL_PRECISION=value)
            for words, value in PRECISIONS.items()
        }

        def ours(members: int, words: str = "TF32", batch: int = 1024) -> Contestant:
            title = f"{members} members, batch {batch}, {words}"
            one = difftune(groups[words], title, members, batch, size.events)
            # What does not fit into the memory of a device is left out.
            one.essential = False
            return one

        def theirs(form: str, batch: int, members: int = 1) -> Contestant:
            options = {"members": members, "device": "cuda" if name == "cuda" else "cpu"}
            return torch(group("pytorch"), form, batch, size.events, f"batch {batch}", **options)

        main = {
            (words, batch): ours(size.main, words, batch)
            for words in PRECISIONS
            for batch in size.batches
        }
        fewer = [ours(members) for members in size.populations]
        squares = {"kind": "peak", "sizes": size.squares}
        peaks = {
            words: Contestant(f"matrix product, {words}", processes, squares, essential=True)
            for words, processes in groups.items()
        }
        copied = {"kind": "stream", "floats": size.stream}
        stream = Contestant("stream through the memory", groups["TF32"], copied, essential=True)
        peers = []
        if taking_part("PyTorch", "torch"):
            peers += [theirs(form, batch) for batch in size.batches for form in size.forms]
            peers += [theirs(form, 1024, size.main) for form in size.functional]
        everybody = [*main.values(), *fewer, *peaks.values(), stream, *peers]
        took_part = compete(everybody, repeats=size.repeats, least=size.least)
    rows = [rate(one.name, one) for one in took_part if one.events]
    units = {**dict.fromkeys(peaks.values(), "Tflop/s"), stream: "TB/s"}
    for one, unit in units.items():
        rows.append(Row(f"{one.name}, {unit}", statistics.median(one.values) / 1e12))
    for (words, _), one in [(kind, one) for kind, one in main.items() if one in took_part]:
        done = [rate * task.flops(64) for rate in one.rates]
        rows.append(ratio(f"{one.name}: fraction of the peak", done, peaks[words].values))
        moved = [rate * PASSES * 4 * 64 for rate in one.rates]
        rows.append(ratio(f"{one.name}: fraction of the bandwidth", moved, stream.values))
    for batch in size.batches:
        for kind in ("PyTorch", "torch.func"):
            some = [one for one in peers if one in took_part and one.name.startswith(kind)]
            if some := [one for one in some if one.name.endswith(f"batch {batch}")]:
                what = f"batch {batch}: {size.main} members / {kind}"
                rows.append(against(what, main["TF32", batch], best(some)))
    return rows

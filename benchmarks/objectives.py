"""What a training step through the fit costs, in batches and with all events.

With all events of the single-top sample in a step every event goes through the network once for
each direction that moves its features, nominal, up and down, and once more when the gradient comes
back.
"""

from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.running import clocked, in_turns
from benchmarks.common.table import Row, ratio
from difftune import objectives
from difftune.models import MLP
from difftune.training import Columns, Epochs, Population, training_weights
from difftune.training.devices import tile_of
from difftune.training.state import EpochClock, MemberInputs

THROUGH_THE_FIT = ("PoiUncertainty", "ExpectedCLs", "DiscoverySignificance", "ExpectedLimit")
BATCH, BINS, NUISANCES, INPUTS = 4096, 20, 10, 30
# The step of all events: what the batches of cross-entropy are that it is compared with.
WIDTHS, SIZE, CHUNK = (64, 128), 2048, 8192


def run(*, quick: bool) -> list[Row]:
    """Costs of steps."""
    return [*costs(quick=quick), *all_events(quick=quick)]


def sample(events: int) -> Columns:
    """Signal and background in thirty variables, with ten systematic variations of weights."""
    rng = np.random.default_rng(events)
    label = (rng.random(events) < 0.3).astype(np.int32)
    x = rng.normal(size=(events, INPUTS)).astype(np.float32)
    x[:, :3] += 0.7 * label[:, None]
    weight = np.where(label == 1, 100.0 / label.sum(), 5000.0 / (1 - label).sum())
    weight, variations = weight.astype(np.float32), {}
    for i in range(NUISANCES):
        tilt = 0.1 * np.tanh(x[:, i])
        up, down = (objectives.Varied(weight=weight * (1 + sign * tilt)) for sign in (1, -1))
        variations[f"systematic {i}"] = objectives.Variation(up=up, down=down)
    balanced = training_weights(weight, label)
    return samples.columns(x, label, weight, training_weight=balanced, variations=variations)


class Trained:
    """The engine's own steps of one member, many in one compiled call."""

    def __init__(self, objective, data: Columns, *, width=64, size=BATCH, **more):
        if not objective.varied:
            data = data._replace(variations={})
        model = MLP(hidden=(width, width))
        recipe = dt.Recipe(model=model, objective=objective, batch_size=size, patience=1)
        population = Population(recipe=recipe, train=data, validation=data, members=1)
        training = replace(population.programs.trainer, **{"tile": None} | more)
        values = {name: value[0] for name, value in population.hyperparameters({}).items()}
        self.own = MemberInputs(values, jax.random.key(0), jnp.int32(0))
        (part,) = Epochs(data=data, sizes=(size,), seed=0).parts_of(0, progress=0.0)
        self.steps = part.starts[0].shape[1]
        self.shared = jax.device_put((part, EpochClock(jnp.int32(0), jnp.int32(100))))
        self.train = jax.jit(training.train, donate_argnums=0)
        self.member = jax.jit(training.start)(self.own)
        self.compiled_in = clocked(self.milliseconds)[1]

    def milliseconds(self) -> float:
        """Of one step, in the mean over a call."""
        self.member, took = clocked(
            lambda: jax.block_until_ready(self.train(self.member, self.own, *self.shared))
        )
        return 1e3 * took / self.steps


def costs(*, quick: bool) -> Iterator[Row]:
    """A step of each objective over one of cross-entropy, the contestants taking turns."""
    model, fits = objectives.FitModel(bins=BINS), () if quick else THROUGH_THE_FIT
    through = {name: getattr(objectives, name)(model=model) for name in fits}
    through["AsimovLLR"] = objectives.AsimovLLR(bins=BINS)
    data = sample(BATCH * (2 if quick else 16))
    trained = {name: Trained(each, data) for name, each in through.items()}
    trained["plain"] = Trained(objectives.CrossEntropy(), data)
    times = in_turns({n: each.milliseconds for n, each in trained.items()}, 3 if quick else 9)
    for name in through:
        note = f"(compiled in {trained[name].compiled_in:.0f} s)"
        what = f"step of {name} / of cross-entropy"
        yield ratio(what, times[name], times["plain"], "<= 3.0", note=note)


def all_events(*, quick: bool) -> Iterator[Row]:
    """Events through the network a second, each direction counted, over those of cross-entropy."""
    events, turns = samples.single_top(one_in=16 if quick else 1), 3 if quick else 9
    split, recipe = dt.analysis.Split(events=events), dt.Recipe()
    transform = recipe.transform(split.train)
    data = recipe.columns(split.train, split.full_yields, transform, varied=True)
    count = len(data.weight)
    moved = [side for each in data.variations.values() for side in (each.up, each.down)]
    passes = 1 + sum(side is not None and side.features is not None for side in moved)
    fit = objectives.PoiUncertainty(model=objectives.FitModel(bins=12, processes=events.processes))
    entropy, tile = objectives.CrossEntropy(), tile_of(jax.local_devices())
    for width in WIDTHS[: 1 if quick else None]:
        same = {"width": width, "tile": tile}
        trained = {
            "through": Trained(fit, data, size=count, chunk=CHUNK, **same),
            "plain": Trained(entropy, data, size=min(SIZE, count), **same),
        }
        times = in_turns({name: each.milliseconds for name, each in trained.items()}, turns)
        through = [each / (passes * count) for each in times["through"]]
        plain = [each / min(SIZE, count) for each in times["plain"]]
        what = f"all {count} events of single top in a step, {passes} directions, {width} units: "
        what += f"rate / that of cross-entropy in batches of {SIZE}"
        yield ratio(what, plain, through, ">= 0.5")

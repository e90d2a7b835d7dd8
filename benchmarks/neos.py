"""neos' four blobs: its network and settings in difftune, and neos itself on difftune's models.

The demonstration of neos (arXiv 2203.05570): unit Gaussians in a plane, 10 000 events each of the
signal at (-1, 1), the background at (1, -1), and the same at (2.5, 2) and (-2.5, -1.5) for a
systematic variation up and down; 20 and 100 expected events, a network of 1024 x 1024, four bins
whose edges are trained, Adam with 1e-3. What counts is the median CLs that pyhf finds in the hard
bins of events that the training has not seen. An update of neos takes all 40 000 events, one of
difftune a stratified batch of them. neos' own losses do not run with today's JAX and relaxed, so
its update is that of `neos.hists_from_nn` and `neos.loss_from_model` with difftune's fits, where
neos is installed; its authors' time for one is 2.4 s.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyhf

from benchmarks.common import samples
from benchmarks.common.running import clocked, seconds, taking_part
from benchmarks.common.table import Row
from difftune.binning import LearnedEdges
from difftune.histfactory import Model
from difftune.models import MLP
from difftune.objectives import ExpectedCLs, FitModel, Variation, Varied, loss_from_model
from difftune.precision import float64_region
from difftune.training import Columns, ModuleDef, Population, Replicas

CENTERS = {"signal": (-1, 1), "background": (1, -1), "up": (2.5, 2), "down": (-2.5, -1.5)}
EXPECTED = dict.fromkeys(CENTERS, 100.0) | {"signal": 20.0}
THEIR_SECONDS, THEIR_CLS = 2.4, 1e-6
BATCH = 400


def blobs(count: int, seed: int) -> dict[str, np.ndarray]:
    """So many events of each blob."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(at, 1.0, (count, 2)) for name, at in CENTERS.items()}


def columns(x: dict[str, np.ndarray]) -> Columns:
    """Signal and background, which has the events of two more blobs as variations."""
    count = len(x["signal"])
    label = np.repeat([1, 0], count).astype(np.int32)

    def features(background: str) -> np.ndarray:
        return np.concatenate([x["signal"], x[background]]).astype(np.float32)

    weight = np.where(label, EXPECTED["signal"], EXPECTED["background"]) / count
    up, down = (Varied(features=features(side)) for side in ("up", "down"))
    variations = {"place": Variation(up=up, down=down)}
    return samples.columns(features("background"), label, weight, variations=variations)


def objective(*bandwidth: float) -> ExpectedCLs:
    """The median CLs in four bins whose edges are trained."""
    bins = LearnedEdges(bins=4)
    return ExpectedCLs(model=FitModel(bins=bins, bandwidth=bandwidth, mc_statistics=False))


def model_of(yields: Mapping[str, Sequence[float]]) -> pyhf.Model:
    """Two processes, one of which moves to the other two blobs."""
    return pyhf.simplemodels.correlated_background(*(list(yields[name]) for name in CENTERS))


def hard_cls(score: Callable[[np.ndarray], np.ndarray], edges: np.ndarray, count: int) -> float:
    """pyhf's, from events of its own in hard bins."""
    drawn = blobs(count, 3).items()
    model = model_of(
        {name: EXPECTED[name] / count * np.histogram(score(x), edges)[0] for name, x in drawn}
    )
    point = model.config.suggested_init()
    point[model.config.poi_index] = 0.0
    data = model.expected_data(point)
    return float(pyhf.infer.hypotest(1.0, data, model, return_expected=True)[1])


def ours(starts: int, epochs: int, *, hidden: int, count: int, test: int) -> tuple:
    """Seconds of an update, the number of updates, and the CLs of each start."""
    members = Population(
        recipe=samples.every_epoch(
            model=MLP(hidden=(hidden, hidden)),
            objective=objective(0.1, 0.02),
            batch_size=BATCH,
            metric=-1.0 * objective(1e-3, 1e-3),
        ),
        train=columns(blobs(count, 1)),
        validation=columns(blobs(count // 10, 2)),
        members=starts,
        replicas=Replicas.crossed(seeds=starts),
    )
    given, steps = {"learning_rate": np.full(starts, 1e-3)}, 2 * count // BATCH
    members.check(set(given))
    state, took = members.init(given), []
    for epoch in range(epochs):
        # The validation is part of it; the first epoch compiles.
        train = partial(members.epoch, state, given, epoch=epoch, epochs=epochs)
        (state, _), each = clocked(lambda train=train: jax.block_until_ready(train()))
        took.append(each / (starts * steps))
    learned = jax.device_get(state.best).objective

    def cls(member: int) -> float:
        own = jax.tree.map(lambda leaf: leaf[member], learned)
        edges = np.array(LearnedEdges(bins=4)(own["edges"]))

        def score(x: np.ndarray) -> np.ndarray:
            pieces = np.array_split(x.astype(np.float32), 10)
            logits = [np.asarray(members.scores(state.best, piece))[member] for piece in pieces]
            return np.asarray(jax.nn.sigmoid(np.concatenate(logits)), float)

        return hard_cls(score, edges, test)

    updates = epochs * steps
    return float(np.median(took[1:])), updates, [cls(member) for member in range(starts)]


def theirs(hidden: int, count: int) -> float:
    """Seconds of an update of neos, with difftune's fits."""
    import neos

    module_def = ModuleDef(MLP(hidden=(hidden, hidden)), inputs=2, outputs=1)
    data = {name: jnp.asarray(part, jnp.float32) for name, part in blobs(count, 1).items()}
    # The structure of the model; `neos.hists_from_nn` gives the yields.
    model = Model.from_spec(model_of(dict.fromkeys(data, [1.0] * 4)).spec, poi="mu")
    keys = {name: ("single_channel", name) for name in ("signal", "background")}
    moved = (*keys["background"], "histosys", "correlated_bkg_uncertainty")
    keys |= {"up": (*moved, "hi_data"), "down": (*moved, "lo_data")}

    def network(weights, x: jax.Array) -> jax.Array:
        return jax.nn.sigmoid(module_def.evaluate(weights, {}, x))

    @float64_region
    def cls(hists: dict[str, jax.Array]) -> jax.Array:
        filled = model.with_numbers({keys[name]: each for name, each in hists.items()})
        return loss_from_model(filled)

    def loss(parameters) -> jax.Array:
        weights, bins = parameters
        return cls(neos.hists_from_nn(weights, data, network, 0.1, bins, scale_factors=EXPECTED))

    optimizer = optax.adam(1e-3)

    @jax.jit
    def step(parameters, moments):
        updates, moments = optimizer.update(jax.grad(loss)(parameters), moments)
        return optax.apply_updates(parameters, updates), moments

    parameters = module_def.init(jax.random.key(1)), jnp.linspace(0.0, 1.0, 5)
    state = jax.block_until_ready(step(parameters, optimizer.init(parameters)))
    return seconds(lambda: jax.block_until_ready(step(*state)), 3)


def run(*, quick: bool) -> list[Row]:
    """CLs and times."""
    hidden, count, test = (64, 1000, 2000) if quick else (1024, 10_000, 50_000)
    starts, epochs = (1, 2) if quick else (3, 4)
    update, updates, cls = ours(starts, epochs, hidden=hidden, count=count, test=test)
    low, median, high = np.quantile(cls, [0, 0.5, 1])
    took, source = THEIR_SECONDS, "stated by its authors"
    if taking_part("neos itself", "neos"):
        took, source = theirs(hidden, count), "in this run, with difftune's fits"
    words = f"({low:.2g} to {high:.2g} of {len(cls)} starts)"
    what = "times that an update of a batch takes less than neos'"
    return [
        Row("CLs in hard bins of other events, by pyhf", float(median), f"<= {THEIR_CLS:g}", words),
        Row(f"update with a batch of {BATCH} events, s", update, "", f"({updates} updates)"),
        Row(f"neos: update with all {4 * count} events, s", took, "", source),
        Row(what, took / update, ">= 20"),
    ]

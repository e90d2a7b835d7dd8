"""Input variables: known truth, agreement with retraining, speed of a round, a whole elimination.

Keras, PyTorch, Captum and shap take part where they are installed (`pip install
'difftune[bench]'`); those that are not are named. HiggsML is left out where the shared data are
absent.
"""

import importlib
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import spearmanr

import difftune as dt
from benchmarks.common import running, samples
from benchmarks.common.running import clocked, in_turns, say, sizes, taking_part
from benchmarks.common.table import Row
from benchmarks.peers import task, truth
from difftune import selection
from difftune.training import Replicas

FAST = {"seeds": 1, "epochs": 2}


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` trains next to nothing."""
    dt.use_cpu_cores()
    rows = [*known_truth(quick=quick), *attributions(), *round_speed(quick=quick)]
    rows += agreement("single top", single_top(quick=quick), quick=quick)
    if not samples.HIGGSML.exists():
        say(f"HiggsML is left out: {samples.HIGGSML} is not on this machine")
    elif not quick:  # it is the same code as for single top
        rows += agreement("HiggsML", study(samples.higgsml(), 512, 2e-3, epochs=15), quick=quick)
    return [*rows, *elimination(quick=quick)]


def known_truth(*, quick: bool) -> list[Row]:
    """How often the true set is found, and whether noise is ranked above what is real."""
    rows, count = [], 1 if quick else 10
    for name in ("XOR",) if quick else truth.SAMPLES:
        found, above, pairs = [], [], []
        for seed in range(count):
            case = truth.case(name, seed, 800 if quick else truth.EVENTS)
            study = case.study(**FAST if quick else {})
            networks = selection.train(study)
            gate = selection.importance(study, networks, methods=("gate",)).methods["gate"].value
            number = study.units.names.index
            noise = max(gate[number(n)] for n in case.noise)
            above.append(min(gate[number(n)] for n in case.real) < noise)
            chosen = selection.eliminate(study, candidates=3)
            found.append(case.right(set(chosen.variables)))
            pairs.append(case.together <= set(chosen.variables))
            say(f"{name}, seed {seed}: {', '.join(chosen.variables)}")
        bound = f">= {int(np.ceil(0.9 * count))}"
        rows.append(Row(f"{name}: true set found, of {count}", sum(found), bound))
        what = f"{name}: noise above a real variable by the gate, of {count}"
        rows.append(Row(what, sum(above), "<= 0"))
        if name == "XOR":
            rows.append(Row(f"XOR: partners both kept, of {count}", sum(pairs), f">= {count}"))
    return rows


def study(events: dt.Events, batch: int, rate: float, **networks) -> selection.Study:
    """How networks of both samples are trained."""
    # Other trainings than those that the gates were developed with.
    networks = {"epochs": 10, "seeds": 4, "seed": 7} | networks
    recipe = dt.Recipe(
        model=dt.models.MLP(hidden=(32, 32)),
        hyperparameters={"learning_rate": rate},
        batch_size=batch,
        patience=networks["epochs"],
    )
    return selection.Study(events, recipe, **networks)


def single_top(*, quick: bool, **more) -> selection.Study:
    """The sample of the README."""
    if quick:
        events = samples.single_top(samples.FEW_VARIABLES, one_in=12)
        return study(events, 512, 4e-3, **FAST)
    return study(samples.single_top(), 2048, 4e-3, **more)


def agreement(name: str, study: selection.Study, *, quick: bool) -> list[Row]:
    """Spearman's coefficient of gates and retraining, and what each costs."""
    networks, baseline, _ = _timed(lambda: selection.train(study))
    retrained, retraining, compiled = _timed(lambda: selection.leave_one_out(study, networks))
    matter = retrained.value > 2 * retrained.uncertainty
    rows = [_repeated(name, retrained, matter)]
    methods = ("conditional gate", "gate", "slope", "sensitivity", "permutation")
    for method in methods[:2] if quick else methods:
        asked = partial(selection.importance, study, networks, methods=(method,))
        found, seconds, compiling = _timed(asked)
        value = found.methods[method].value
        every = spearmanr(value, retrained.value)[0]
        rank = spearmanr(value[matter], retrained.value[matter])[0] if matter.sum() > 2 else np.nan
        required = method == "conditional gate"
        words = f"({matter.sum()} variables that matter; {every:.2f} over all)"
        what = f"{name}: Spearman of {method} and retraining"
        rows.append(Row(what, float(rank), ">= 0.8" if required else "", words))
        if required:
            over = (seconds - compiling) / (retraining - compiled)
            words = f"({seconds:.1f} s and {retraining:.1f} s in all, {compiling:.1f} s and "
            words += f"{compiled:.1f} s of these to compile; {baseline:.1f} s to train the "
            words += "networks with all variables, once)"
            what = f"{name}: time of gates / retraining, less what compiling takes"
            rows.append(Row(what, over, "<= 0.05", words))
    return rows


def _timed(function: Callable) -> tuple[Any, float, float]:
    """The result, seconds, and how many of these JAX took to trace and compile."""
    compiling = 0.0

    def listener(event: str, seconds: float, **_) -> None:
        nonlocal compiling
        compiling += seconds if event.startswith("/jax/core/compile") else 0.0

    jax.monitoring.register_event_duration_secs_listener(listener)
    result, took = clocked(function)
    jax.monitoring.unregister_event_duration_listener(listener)
    return result, took, compiling


def _repeated(name: str, retrained: selection.Ranking, matter: np.ndarray) -> Row:
    """How well retraining would agree with itself: what a perfect method can hope for."""
    value, error = retrained.value[matter], retrained.uncertainty[matter]
    again = value + error * np.random.default_rng(0).normal(size=(2000, len(value)))
    found = [spearmanr(value, each)[0] for each in again] if len(value) > 2 else [np.nan]
    low, high = np.percentile(found, [16, 84])
    words = f"({low:.2f} to {high:.2f}, from its own uncertainties)"
    what = f"{name}: Spearman of retraining and a repetition of it"
    return Row(what, float(np.mean(found)), "", words)


def round_speed(*, quick: bool) -> list[Row]:
    """30 variables, 5 folds: 150 trainings, of which peers make some one after the other."""
    size = vars(sizes(quick, events=(50_000, 2_000), epochs=(10, 1), batch=(512, 256)))

    def whole(function: str, trainings: int, **more) -> Callable[[], float]:
        """Seconds of all trainings, by those that are made in a fresh process."""
        options = size | {"trainings": 6 if quick else trainings} | more
        function, variables = f"benchmarks.selection:{function}", {"KERAS_BACKEND": "jax"}
        return lambda: 150 * running.call(function, variables=variables, **options)

    contestants = {
        "difftune": whole("ours", 150, together=True),
        "difftune, one by one": whole("ours", 3, together=False),
    }
    if taking_part("PyTorch", "torch"):
        contestants["PyTorch"] = whole("peer", 3, module="pytorch", form="fused")
    if taking_part("Keras", "keras"):
        contestants["Keras"] = whole("peer", 3, module="keras_fit")
    seconds = in_turns(contestants, 1 if quick else 3)
    medians = {name: float(np.median(each)) for name, each in seconds.items()}
    best = min(medians.keys() - {"difftune"}, key=medians.__getitem__)
    what = "a round of 150 trainings: best of the others / difftune"
    rows = [Row(what, medians[best] / medians["difftune"], ">= 5", f"({best})")]
    return rows + [Row(f"a round of 150 trainings, {n}, s", took) for n, took in medians.items()]


def peer(*, module: str, trainings: int, events: int, epochs: int, batch: int, **more) -> float:
    """Seconds of a training of a round by another package, one after the other."""
    make = importlib.import_module(f"benchmarks.peers.{module}").make

    def train() -> None:
        make(batch=batch, events=events * 4 // 5, **more)(epochs)

    train()
    return clocked(lambda: [train() for _ in range(trainings)])[1] / trainings


def ours(*, trainings: int, events: int, epochs: int, batch: int, together: bool) -> float:
    """The same of difftune, compiling and validation included where all are one population."""
    # One after the other may use all cores for each, as JAX does when it is told nothing.
    if together:
        dt.use_cpu_cores()
    drawn = task.events(events)
    study = selection.Study(
        dt.Events.from_arrays(
            drawn.features,
            1 - drawn.label,
            drawn.weight,
            feature_names=[f"x{i}" for i in range(task.INPUTS)],
            processes=[dt.Process(name="s", role="signal"), dt.Process(name="b")],
        ),
        dt.Recipe(model=dt.models.MLP(hidden=task.HIDDEN), batch_size=batch, patience=1000),
        epochs=epochs,
        seeds=1,
        test_folds=(),
    )
    _ = study.columns
    without = ~np.eye(task.INPUTS, dtype=bool)
    if together:
        some = without[: max(trainings // study.folds, 1)]
        return clocked(lambda: selection.train(study, some))[1] / trainings
    numbers, folds = np.arange(1 + trainings)[:, None], study.folds
    alone = [Replicas(inputs=without[:1], fold=number % folds, seed=number) for number in numbers]
    population = study.population(alone[0], 1)
    # The program is compiled once, by a training that does not count.
    population.run({}, epochs=epochs)

    def train() -> None:
        for each in alone[1:]:
            population.again(replicas=each).run({}, epochs=epochs)

    return clocked(train)[1] / trainings


def elimination(*, quick: bool) -> list[Row]:
    """On the single-top sample, steered by gradients, and what the test events say."""
    study = single_top(quick=quick, seeds=1)
    eliminate = partial(selection.eliminate, study, candidates=4, patience=1 if quick else 6)
    chosen, seconds = clocked(eliminate)
    kept = np.ones((2, len(study.units)), bool)
    kept[1] = [name in chosen.units for name in study.units.names]
    found = selection.on_test_events(study, kept, seeds=2 if quick else 3)
    full, reduced = found.reshape(2, -1)
    each = reduced - full
    difference, error = each.mean(), each.std(ddof=1) / np.sqrt(len(each))
    variables = f"({len(chosen.variables)} of {len(study.units)} variables kept)"
    deviation = full.std(ddof=1)
    words = f"(Z {full.mean():.3f} ± {deviation:.3f} with all, {reduced.mean():.3f} ± "
    words += f"{reduced.std(ddof=1):.3f} reduced, difference {difference:+.4f} ± {error:.4f})"
    what = "single top, test Z reduced - full, in standard deviations of a training"
    return [
        Row("single top, elimination, s", seconds, "<= 900"),
        Row("single top, trainings", chosen.trainings, "", variables),
        Row(what, difference / deviation, ">= -1", words),
    ]


def attributions() -> list[Row]:
    """Integrated and expected gradients against Captum and shap."""
    peers = [name for name in ("Captum", "shap") if taking_part(name, "torch", name.lower())]
    if not peers:
        return []
    import torch

    from benchmarks.peers import pytorch

    rows, rng = [], np.random.default_rng(0)
    x, sample = (rng.normal(size=(count, 8)).astype(np.float32) for count in (30, 300))
    net = pytorch.network((32,), inputs=8)
    first, second = (net[i].weight.detach().numpy() for i in (0, 2))

    def score(features):
        return (jax.nn.relu(features @ first.T) @ second.T)[:, 0]

    if "Captum" in peers:
        from captum.attr import IntegratedGradients

        # Not 0, on the way from which no unit of a network without biases is switched.
        base = sample[:1]
        method = IntegratedGradients(lambda features: net(features)[:, 0])
        theirs = method.attribute(torch.from_numpy(x), torch.from_numpy(base), n_steps=50)
        ours = selection.integrated_gradients(score, jnp.asarray(x), jnp.asarray(base), steps=50)
        away = float(np.abs(np.asarray(ours) - theirs.numpy()).max())
        what = "integrated gradients, 50 steps: largest difference to Captum's"
        rows.append(Row(what, away, "<= 1e-4"))
    if "shap" in peers:
        import shap

        np.random.seed(0)
        explainer = shap.GradientExplainer(net, torch.from_numpy(sample))
        given = score, jnp.asarray(x), jnp.asarray(sample)
        parts, own = [], []
        for i in range(12):
            values = explainer.shap_values(torch.from_numpy(x), nsamples=200)
            parts.append(np.reshape(values, x.shape))
            expected = selection.expected_gradients(*given, jax.random.key(i), draws=200)
            own.append(np.asarray(expected))
        error = np.sqrt((np.var(parts, axis=0, ddof=1) + np.var(own, axis=0, ddof=1)) / 12)
        pull = (np.mean(parts, axis=0) - np.mean(own, axis=0)) / error
        what = "expected gradients: rms difference to shap's over its sampling error"
        # Errors from 12 + 12 draws: a Student's t of 22 degrees, deviation 1.05.
        rows.append(Row(what, float(np.sqrt(np.mean(pull**2))), "<= 1.2"))
    return rows

"""Adversarial training: how much of the systematics in the score goes for how much separation.

    python examples/adversarial.py [--quick | --full] [--output PICTURE]

The single-top sample and its jet energy scale. One population has a few seeds for each strength λ
of the adversary, so the whole trade-off is one training. The last epoch is what counts: the best
one by the significance would be that with the weakest adversary.
"""

# %% Set up
import argparse
from pathlib import Path

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import difftune as dt
from difftune.analysis import Preparation, Split
from difftune.inference import asimov_significance
from difftune.models import MLP
from difftune.objectives import Adversarial, CrossEntropy
from difftune.search import FixedSchedule, Replicated, Space
from difftune.training import AS_SCORED, Recipe, ScoreGap, TrainedNetwork

FILE = Path(__file__).parent / "single_top" / "single_top.toml"
STRENGTHS = np.array([0.0, 3.0, 10.0, 30.0, 100.0, 300.0])
BINS = 12


# %% Training
def trained(split, *, seeds, epochs):
    """All strengths with all seeds, as one population; the networks of the last epoch."""
    recipe = Recipe(
        model=MLP(hidden=(64, 64)),
        objective=CrossEntropy()
        + Adversarial(
            strength="lambda",
            learning_rate="adversary_rate",
            variations=["jes"],
            among="background",
        ),
        hyperparameters={"learning_rate": 2e-3, "adversary_rate": 1e-2},
        batch_size=1024,
        patience=epochs,
        overtraining=ScoreGap(limit=1.0),
        selection_rule=AS_SCORED,
    )
    one = FixedSchedule(population=len(STRENGTHS), rounds=1, epochs_per_round=epochs, schedule={})
    preparation = Preparation(split=split, recipe=recipe)
    population = preparation.population(Replicated(strategy=one, executions=seeds), 1, Space())
    state, _ = population.run({"lambda": np.repeat(STRENGTHS, seeds)}, epochs=epochs)
    last = jax.device_get(state.best._replace(weights=state.weights))
    return [
        TrainedNetwork.from_snapshot(
            last,
            member,
            population.module_def,
            preparation.transform,
            feature_names=split.events.feature_names,
            signal_process=preparation.signal_process,
        )
        for member in range(population.members)
    ]


# %% What became of it
def quantile_edges(score, weight):
    """Bins of equal background, so that the shapes of different networks can be compared."""
    order = np.argsort(score)
    share = np.cumsum(weight[order]) / weight.sum()
    inner = score[order][np.searchsorted(share, np.arange(1, BINS) / BINS)]
    return np.concatenate([[0.0], inner, [1.0]])


def looked_at(test, network):
    """Relative changes of the background's shape by the variation, and the stat-only Z."""
    score, background = network.score(test), test.label == 0
    edges = quantile_edges(score[background], test.weight[background])
    shapes = []
    for sample in (test, test.varied("jes", "up"), test.varied("jes", "down")):
        mine = sample.label == 0
        counts, _ = np.histogram(network.score(sample)[mine], edges, weights=sample.weight[mine])
        shapes.append(counts / counts.sum())
    signal, rest = (
        np.histogram(score[mine], edges, weights=test.weight[mine])[0]
        for mine in (~background, background)
    )
    return np.array(shapes[1:]) / shapes[0] - 1, float(asimov_significance(signal, rest))


# %% Picture
def draw(changes, significance, output):
    """The change of the shape without and with an adversary, and the trade-off."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.6), layout="constrained")
    number = np.arange(BINS + 1)
    for place, color in ((0, "#94a4a2"), (len(STRENGTHS) - 1, "#bd1f01")):
        for direction, style in ((0, "-"), (1, "--")):
            mean = 100 * changes[place, :, direction].mean(axis=0)
            label = f"λ = {STRENGTHS[place]:g}, jet energy scale {('up', 'down')[direction]}"
            left.stairs(mean, number, color=color, linestyle=style, linewidth=2, label=label)
    left.axhline(0.0, color="black", linewidth=0.8)
    left.set_xlim(0, BINS)
    left.set_xlabel("Bin of the score, of equal background each", fontsize=13)
    left.set_ylabel("Change of the background's shape, %", fontsize=13)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=10)
    size = 100 * np.sqrt(np.mean(np.square(changes), axis=(2, 3)))
    base = significance[0].mean()
    for place, strength in enumerate(STRENGTHS):
        x, y = significance[place] / base, size[place]
        right.errorbar(
            x.mean(), y.mean(), xerr=x.std(), yerr=y.std(), fmt="o", color="#bd1f01", capsize=2
        )
        right.annotate(
            f"λ = {strength:g}", (x.mean(), y.mean()), (6, 6), textcoords="offset points"
        )
    right.set_xlabel("Stat-only significance, relative to λ = 0", fontsize=13)
    right.set_ylabel("Root mean square of the change, %", fontsize=13)
    right.set_ylim(bottom=0)
    right.margins(x=0.15)  # for the names of the points
    for axes in (left, right):
        axes.tick_params(labelsize=12)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=130)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few events, one epoch: it works")
    size.add_argument("--full", action="store_true", help="5 seeds and 15 epochs; else 2 and 5")
    parser.add_argument("--output", type=Path, default=Path("adversarial.png"))
    given = parser.parse_args()
    seeds, epochs = (5, 15) if given.full else (2, 1 if given.quick else 5)
    events = dt.job.build.events(dt.job.load(FILE))
    if given.quick:  # one event in eight: in all variations, or in none
        events = events.select(lambda sample: sample.number % 8 == 0)
    split = Split(events=events)
    test, networks = split.test, trained(split, seeds=seeds, epochs=epochs)
    found = [looked_at(test, network) for network in networks]
    changes = np.array([each for each, _ in found]).reshape(len(STRENGTHS), seeds, 2, BINS)
    significance = np.array([each for _, each in found]).reshape(len(STRENGTHS), seeds)
    for place, strength in enumerate(STRENGTHS):
        size = 100 * np.sqrt(np.mean(np.square(changes[place]), axis=(1, 2)))
        print(
            f"λ = {strength:5g}: shape changes by {size.mean():.2f} ± {size.std():.2f} %, "
            f"stat-only Z = {significance[place].mean():.1f} ± {significance[place].std():.1f}"
        )
    draw(changes, significance, given.output)
    print(f"picture in {given.output}")

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
from systematics_aware import hard, scored, sides, single_top

from difftune.inference import asimov_significance
from difftune.models import MLP
from difftune.objectives import Adversarial, CrossEntropy
from difftune.training import AS_SCORED, Population, Recipe, Replicas, ScoreGap

STRENGTHS = np.array([0.0, 3.0, 10.0, 30.0, 100.0, 300.0])
BINS = 12


# %% Training
def trained(analysis, *, seeds, epochs):
    """All strengths with all seeds, as one population; the networks of the last epoch."""
    members = len(STRENGTHS) * seeds
    population = Population(
        recipe=Recipe(
            model=MLP(hidden=(64, 64)),
            objective=CrossEntropy()
            + Adversarial(
                strength="lambda",
                learning_rate="adversary_rate",
                variations=["jes"],
                among="background",
            ),
            batch_size=1024,
            patience=epochs,
            overtraining=ScoreGap(limit=1.0),
            selection_rule=AS_SCORED,
        ),
        train=analysis.train,
        validation=analysis.validation,
        members=members,
        replicas=Replicas(seed=np.tile(np.arange(seeds), len(STRENGTHS))),
        seed=1,
    )
    given = {
        "lambda": np.repeat(STRENGTHS, seeds),
        "learning_rate": np.full(members, 2e-3),
        "adversary_rate": np.full(members, 1e-2),
    }
    state, _ = population.run(given, epochs=epochs)
    return population, jax.device_get(state.best._replace(weights=state.weights))


# %% What became of it
def quantile_edges(score, weight):
    """Bins of equal background, so that the shapes of different networks can be compared."""
    order = np.argsort(score)
    share = np.cumsum(weight[order]) / weight.sum()
    inner = score[order][np.searchsorted(share, np.arange(1, BINS) / BINS)]
    return np.concatenate([[0.0], inner, [1.0]])


def looked_at(analysis, scores):
    """Relative changes of the background's shape by the variation, and the stat-only Z."""
    data = analysis.test
    background = data.label == 0
    edges = quantile_edges(scores[0][background], data.weight[background])
    shapes = []
    for score, weight in ((scores[0], data.weight), *sides(data, scores)["jes"]):
        place = np.searchsorted(edges, score[background], side="right") - 1
        counts = np.bincount(np.clip(place, 0, BINS - 1), weight[background], BINS)
        shapes.append(counts / counts.sum())
    signal = data.signal_process == 1
    nominal = hard(data, scores, edges).nominal
    significance = asimov_significance(nominal[signal].sum(axis=0), nominal[~signal].sum(axis=0))
    return np.array(shapes[1:]) / shapes[0] - 1, float(significance)


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
    analysis = single_top(one_in=8 if given.quick else 1)
    population, networks = trained(analysis, seeds=seeds, epochs=epochs)
    found = [looked_at(analysis, scores) for scores in scored(population, networks, analysis.test)]
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

"""Boosting on errors: what it does to a network, round by round, next to plain training.

    python examples/boosting.py [--quick] [--output boosting.png]

Between rounds the training weights of events that the network gets wrong (signal below 0.4,
background above) are multiplied by 1.3. Both trainings have the same start values, batches and
epochs; the sample is the single-top example's, and all curves are of validation events.
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
from difftune.analysis.split import Split
from difftune.data import FeatureTransform
from difftune.job import build, load
from difftune.objectives import AUC, CrossEntropy, Significance
from difftune.training import AS_SCORED, Population, Recipe, ScoreGap, boosted, columns
from difftune.training.batches import as_batch

CONFIG = Path(__file__).parent / "single_top" / "single_top.toml"
EPOCHS = 2  # of a round
COLORS = {"plain": "#3f90da", "boosted on errors": "#bd1f01"}


# %% Events
def single_top(one_in):
    events = build.events(load(CONFIG))
    split = Split(events=events.select(np.arange(len(events)) % one_in == 0))
    transform = FeatureTransform.fit(split.train.features, split.train.weight)
    return [columns(part, split.full_yields, transform) for part in (split.train, split.validation)]


# %% Training
def curves(train, validation, *, seeds, rounds):
    """Figures of both trainings, `[seeds, rounds]` each, and scores at the end."""
    first = Population(
        recipe=Recipe(
            model=dt.models.MLP(hidden=(64, 64)),
            objective=CrossEntropy(),
            overtraining=ScoreGap(limit=1e9),
            patience=10**6,
            selection_rule=AS_SCORED,
        ),
        train=train._replace(variations={}),
        validation=validation._replace(variations={}),
        members=1,
    )
    given = {"learning_rate": np.array([1e-3])}
    everything = as_batch(validation, np.arange(len(validation.weight)), 1.0)
    everything = jax.tree.map(jax.numpy.asarray, everything)

    @jax.jit
    def judged(logits):
        loss = CrossEntropy()(logits, everything, {}, {})
        figures = [metric(logits, everything, {}, {}) for metric in (Significance(bins=12), AUC())]
        return loss, *figures

    figures = {name: np.zeros((3, seeds, rounds)) for name in COLORS}
    scores = {}
    for name in COLORS:
        for seed in range(seeds):
            population = first.again(seed=seed)
            state = population.init(given)
            for number in range(rounds):
                for epoch in range(number * EPOCHS, (number + 1) * EPOCHS):
                    state, _ = population.epoch(state, given, epoch=epoch, epochs=rounds * EPOCHS)
                now = state.best._replace(weights=state.weights)
                logits = np.asarray(population.scores(now, validation.features))[0]
                figures[name][:, seed, number] = judged(logits)
                if name != "plain":
                    seen = np.asarray(population.scores(now, train.features))[0]
                    before = population.train
                    weight = boosted(before.training_weight, before.label, 1 / (1 + np.exp(-seen)))
                    population = population.again(train=before._replace(training_weight=weight))
            scores[name] = 1 / (1 + np.exp(-logits))
        spread = population.train.training_weight.max() / first.train.training_weight.max()
        print(f"{name}: largest training weight {spread:.2f} times that at the start")
    return figures, scores


# %% Picture
def draw(figures, scores, validation, output):
    figure, axes = plt.subplots(2, 2, figsize=(11, 7.6), layout="constrained")
    names = ("Cross-entropy", "Stat-only significance, 12 bins", "Area under the ROC curve")
    for place, title, values in zip(axes.flat, names, range(3), strict=False):
        for name, color in COLORS.items():
            each = figures[name][values]
            rounds = np.arange(1, each.shape[1] + 1)
            place.plot(rounds, each.mean(axis=0), "o-", color=color, label=name)
            spread = each.std(axis=0, ddof=1)
            low, high = each.mean(axis=0) - spread, each.mean(axis=0) + spread
            place.fill_between(rounds, low, high, color=color, alpha=0.2, linewidth=0)
        place.set_xlabel("Round", fontsize=12)
        place.xaxis.get_major_locator().set_params(integer=True)
        place.set_ylabel(title, fontsize=12)
    last = axes.flat[3]
    edges = np.linspace(0, 1, 26)
    for name, color in COLORS.items():
        for label, style in ((1, "-"), (0, "--")):
            mine = validation.label == label
            weight = validation.training_weight[mine]
            content = np.histogram(scores[name][mine], edges, weights=weight / weight.sum())[0]
            kind = "signal" if label else "background"
            last.stairs(content, edges, color=color, linestyle=style, label=f"{name}, {kind}")
    last.axvline(0.4, color="black", linewidth=0.8, linestyle=":")
    last.set_xlabel("Score", fontsize=12)
    last.set_ylabel("Share of events", fontsize=12)
    last.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=9)
    title = f"mean and spread of {figures['plain'].shape[1]} seeds"
    axes.flat[0].legend(frameon=False, fontsize=11, title=title)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=100)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few events and rounds: it works")
    parser.add_argument("--output", type=Path, default=Path("boosting.png"))
    given = parser.parse_args()
    size = {"seeds": 2, "rounds": 2} if given.quick else {"seeds": 5, "rounds": 8}
    train, validation = single_top(one_in=8 if given.quick else 1)
    figures, scores = curves(train, validation, **size)
    for name, values in figures.items():
        mean, error = values[..., -1].mean(axis=1), values[..., -1].std(axis=1, ddof=1)
        text = ", ".join(f"{m:.4f} ± {e:.4f}" for m, e in zip(mean, error, strict=True))
        print(f"{name}: cross-entropy, significance, area: {text} (spread of seeds)")
    draw(figures, scores, validation, given.output)
    print(f"picture in {given.output}")

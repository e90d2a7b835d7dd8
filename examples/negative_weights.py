"""Treatments of negative weights in the training, where the truth is known and on real events.

    python examples/negative_weights.py [--quick] [--sherpa FILE FILE --other FILE] [--output DIR]

The synthetic background has negative weights more often on one side, so that its net density is
known and that of the magnitudes is another. With --sherpa (Z to tau tau in the files of a WtLoop
tree, a third of whose weights are negative) and --other (tW in the same format), networks learn to
tell the two apart. What is drawn is always of the true weights.
"""

# %% Set up
import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from scipy.special import expit
from scipy.stats import norm

import difftune as dt
from difftune.analysis.split import Split
from difftune.data import FeatureTransform, Process
from difftune.histograms.compare import auc
from difftune.objectives import AUC, CrossEntropy
from difftune.training import (
    AS_SCORED,
    Columns,
    Population,
    Recipe,
    ScoreGap,
    columns,
    training_weights,
    treated_weights,
)

SEEDS, INPUTS = 8, 5
COLORS = {"keep": "#3f90da", "absolute": "#ffa90e", "resample": "#bd1f01"}
FEATURES = [
    *("pT_lep1", "pT_lep2", "pT_jet1", "met", "sumet", "deltaR_lep1_lep2"),
    *("mass_lep1jet1", "mass_lep2jet1", "pTsys_lep1lep2jet1met", "njets"),
]


def trained(datasets, validation, *, epochs):
    """For each treatment a population that has learned with it; programs are compiled once."""
    first = None
    for name, train in datasets.items():
        if first is None:
            first = Population(
                recipe=Recipe(
                    model=dt.models.MLP(hidden=(32, 32)),
                    objective=CrossEntropy(),
                    batch_size=256,
                    overtraining=ScoreGap(limit=1e9),
                    metric=AUC(),
                    patience=10**6,
                    selection_rule=AS_SCORED,
                ),
                train=train,
                validation=validation,
                members=SEEDS,
            )
        population = first.again(train=train)
        state, _ = population.run({"learning_rate": np.full(SEEDS, 3e-3)}, epochs=epochs)
        yield name, population, state


def with_treatments(plain):
    """The same events with each treatment's training weights."""
    return {
        name: plain._replace(
            training_weight=training_weights(
                treated_weights(plain.weight, plain.features, plain.process, negative=name),
                plain.label,
            )
        )
        for name in COLORS
    }


# %% Where the truth is known
def negative_fraction(x):
    return 0.45 * expit(2 * x[:, 0])


def synthetic(events, seed):
    """Background of a normal density, of which so many events at each place are negative."""
    rng = np.random.default_rng(seed)
    label = np.arange(events) % 2
    x = rng.normal(size=(events, INPUTS))
    x[:, 0] += 0.8 * label
    negative = (label == 0) & (rng.random(events) < negative_fraction(x))
    weight = np.where(negative, -1.0, 1.0).astype(np.float32)
    return Columns(
        features=x.astype(np.float32),
        process=label.astype(np.int32),
        label=label.astype(np.int32),
        weight=weight,
        training_weight=training_weights(weight, label),
        signal_process=np.array([0.0, 1.0], np.float32),
    )


def true_logit(x):
    """Of balanced classes; the net background is the normal density times 1 - 2 f."""
    grid = np.linspace(-8, 8, 4001)
    net = norm.pdf(grid) * (1 - 2 * negative_fraction(grid[:, None]))
    total = np.sum(net) * (grid[1] - grid[0])
    signal, background = norm.logpdf(x[:, 0], 0.8), norm.logpdf(x[:, 0])
    return signal - background - np.log((1 - 2 * negative_fraction(x)) / total)


def cross_entropy(logit, label, weight):
    return np.sum(weight * np.logaddexp(0, np.where(label == 1, -logit, logit))) / np.sum(weight)


def where_truth_is_known(output, *, epochs):
    # The judges need no negative weights: the background of the normal density counts 1 - 2 f.
    test = synthetic(60_000, 9)
    weight = np.where(test.label == 1, 1.0, 1 - 2 * negative_fraction(test.features))
    weight = training_weights(weight, test.label)
    truth = true_logit(test.features.astype(float))
    best = cross_entropy(truth, test.label, weight)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    edges = np.linspace(-2.5, 2.5, 26)
    place = np.digitize(test.features[:, 0], edges)
    for number, (name, population, state) in enumerate(
        trained(with_treatments(synthetic(6000, 1)), synthetic(6000, 2), epochs=epochs)
    ):
        logits = np.asarray(population.scores(state.best, test.features))
        excess = [cross_entropy(each, test.label, weight) - best for each in logits]
        off = np.array(
            [[np.mean((each - truth)[place == b]) for b in range(1, 26)] for each in logits]
        )
        middle = (edges[1:] + edges[:-1]) / 2
        left.plot(middle, off.mean(axis=0), color=COLORS[name], label=name)
        spread = off.std(axis=0, ddof=1)
        low, high = off.mean(axis=0) - spread, off.mean(axis=0) + spread
        left.fill_between(middle, low, high, color=COLORS[name], alpha=0.2, linewidth=0)
        right.plot(np.full(SEEDS, number), excess, "o", color=COLORS[name], alpha=0.6)
        right.plot(number, np.mean(excess), "_", color="black", markersize=24)
        print(f"synthetic, {name}: {np.mean(excess):.4f} ± {np.std(excess, ddof=1):.4f} above best")
    left.axhline(0, color="black", linewidth=0.8)
    left.set_xlabel("First feature", fontsize=12)
    left.set_ylabel("Learned less true logit", fontsize=12)
    left.legend(frameon=False, fontsize=11, title=f"mean and spread of {SEEDS} seeds")
    right.set_xticks(range(len(COLORS)), list(COLORS), fontsize=12)
    right.set_xlim(-0.6, len(COLORS) - 0.4)
    right.set_ylim(bottom=0)
    right.set_ylabel("Cross-entropy above the least possible", fontsize=12)
    figure.savefig(output / "negative_weights_synthetic.png", dpi=100)


# %% Real events
def on_sherpa(sherpa, other, output, *, epochs):
    tree = "WtLoop_nominal"
    events = dt.read(
        processes=[
            Process(name="tW", role="signal", files=other, tree=tree),
            Process(name="ztautau", files=[str(file) for file in sherpa], tree=tree),
        ],
        features=FEATURES,
        weight="weight_nominal",
        event_number="eventNumber",
    )
    split = Split(events=events)
    transform = FeatureTransform.fit(split.train.features, split.train.weight)
    train, validation, test = (
        columns(part, split.full_yields, transform)
        for part in (split.train, split.validation, split.test)
    )
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.6), layout="constrained")
    # Closure: the densities that the loss sees, against those of the true weights.
    mine = train.label == 0
    sets = with_treatments(train)
    variable = split.train.features[mine, FEATURES.index("pT_lep1")]
    edges = np.quantile(variable, np.linspace(0, 0.995, 9))
    true = np.histogram(variable, edges, weights=train.weight[mine])[0]
    error = np.sqrt(np.histogram(variable, edges, weights=train.weight[mine] ** 2)[0])
    scale = train.weight[mine].sum()
    middle = (edges[1:] + edges[:-1]) / 2
    left.errorbar(middle, np.ones(8), error / true, fmt="ko", label="true weights")
    for name in ("absolute", "resample"):
        weight = sets[name].training_weight[mine]
        content = np.histogram(variable, edges, weights=weight * scale / weight.sum())[0]
        left.stairs(
            content / true, edges, baseline=None, color=COLORS[name], linewidth=2, label=name
        )
        print(f"Sherpa, {name}: χ² {np.sum(((content - true) / error) ** 2):.1f} of 8 bins")
    left.set_xlabel("Leading lepton pT in GeV (Z → ττ)", fontsize=12)
    left.set_ylabel("Yield over that of the true weights", fontsize=12)
    left.legend(frameon=False, fontsize=11)
    rng = np.random.default_rng(3)
    draws = rng.poisson(1.0, (200, len(test.weight)))
    reference = None
    for number, (name, population, state) in enumerate(trained(sets, validation, epochs=epochs)):
        logits = np.asarray(population.scores(state.best, test.features))
        area = np.array([_area(each, test, 1.0) for each in logits])
        mean = logits.mean(axis=0)
        resampled = np.array([_area(mean, test, draw) for draw in draws])
        reference = resampled if reference is None else reference
        change = resampled - reference
        right.plot(np.full(SEEDS, number), area, "o", color=COLORS[name], alpha=0.6)
        right.plot(number, area.mean(), "_", color="black", markersize=24)
        print(
            f"Sherpa, {name}: area {area.mean():.4f} ± {area.std(ddof=1):.4f} (seeds) "
            f"± {resampled.std():.4f} (test events); less that of keep, mean networks: "
            f"{change.mean():.4f} ± {change.std():.4f}"
        )
    right.set_xticks(range(len(COLORS)), list(COLORS), fontsize=12)
    right.set_xlim(-0.6, len(COLORS) - 0.4)
    right.set_ylabel("Area under the ROC curve, true weights, test", fontsize=12)
    figure.savefig(output / "negative_weights_sherpa.png", dpi=100)


def _area(logit, test, factor):
    return auc(logit, test.weight * factor, test.label == 1).value


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two epochs: shows that it works")
    parser.add_argument("--sherpa", type=Path, nargs="+", help="files of Z to tau tau")
    parser.add_argument("--other", type=Path, help="file of tW")
    parser.add_argument("--output", type=Path, default=Path("."), help="folder of the pictures")
    given = parser.parse_args()
    if (given.sherpa is None) != (given.other is None):
        parser.error("--sherpa and --other belong together")
    given.output.mkdir(parents=True, exist_ok=True)
    epochs = 2 if given.quick else 20
    where_truth_is_known(given.output, epochs=epochs)
    if given.sherpa:
        on_sherpa(given.sherpa, given.other, given.output, epochs=epochs)

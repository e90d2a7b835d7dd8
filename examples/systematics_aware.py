"""Trainings that know of systematic uncertainties, on one axis: what each costs and what it gains.

    python examples/systematics_aware.py [--quick | --full] [--seeds N] [--output PICTURE]

The single-top sample. Every training is one population of a few seeds; bins and the best epoch are
chosen on training and validation events, and the test events are scored once, in hard bins, with
the full fit. By default it is small, in equidistant bins; `--full` takes more seeds and epochs, and
optimises the bins; `--quick` only shows that it works.
"""

# %% Set up
import argparse
import functools
from dataclasses import dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from difftune import binning, job, objectives
from difftune.analysis import Split
from difftune.data import FeatureTransform
from difftune.histfactory.variants import TemplateYields
from difftune.inference import asimov_significance
from difftune.inference.expected import asimov_at, covariance, likelihood_ratio_at
from difftune.job import build
from difftune.models import MLP
from difftune.precision import in_float64
from difftune.training import AS_SCORED, Population, Recipe, Replicas, ScoreGap, columns
from difftune.training.batches import as_batch
from difftune.training.member import (
    all_features,
)

FILE = Path(__file__).parent / "single_top" / "single_top.toml"
BINS = 12
QUICK = ("cross-entropy", "through the fit: σ(μ)")


# %% The analysis: events, uncertainties, and what a set of templates is worth
class Analysis:
    """Events by purpose, with all variations in the same rows, and the model of the fit."""

    def __init__(self, events, nuisances, *, bins=BINS, constraints=None):
        self.events, self.bins = events, bins
        self.split = Split(events=events)
        self.nuisances = {key: value for key, value in nuisances.items() if key != "poi"}
        self.constraints = constraints or binning.Constraints(10.0, 0.05)
        train = self.split.train
        self.transform = FeatureTransform.fit(
            train.features, train.weight, impute="median", names=train.feature_names
        )
        self.train, self.validation, self.test = (
            columns(part, self.split.full_yields, self.transform)
            for part in (train, self.split.validation, self.split.test)
        )
        # What the templates of the measurement are made of: it limits how well a fit can do.
        self.simulated = np.count_nonzero(self.test.weight)

    def model(self, **options):
        """The statistical model that a batch fills."""
        model = objectives.FitModel(**{"bins": self.bins, **self.nuisances, **options})
        return model.bound_to(self.events.processes)

    def metric(self, outputs):
        """What decides on the best epoch of a training: the precision on validation events."""
        width = 0.01 / self.bins
        model = self.model(bandwidth=(width, width))
        if isinstance(outputs, int):
            model = self.model(bins=objectives.Regions(regions=outputs, hard=True))
        return objectives.MetricOf(objective=objectives.PoiUncertainty(model=model), power=1.0)

    @functools.cached_property
    def _worth(self):
        return functools.cache(self._compiled)

    def _compiled(self, bins):
        fill = self.model(bins=bins).filling(as_batch(self.test, np.arange(8), 1.0))

        @in_float64
        @jax.jit
        def worth(yields):
            asimov = asimov_at(fill(yields), 1.0)
            q0 = likelihood_ratio_at(asimov, 0.0, steps=40)
            return jnp.sqrt(covariance(asimov, [asimov.poi])[0, 0]), jnp.sqrt(q0)

        return worth

    def expected(self, yields):
        """σ(μ) and expected significance of hard-binned templates: full fit, and stat-only."""
        sigma, significance = (float(each) for each in self._worth(yields.nominal.shape[1])(yields))
        is_signal = self.test.signal_process == 1
        s, b = (yields.nominal[mine].sum(axis=0) for mine in (is_signal, ~is_signal))
        return {
            "sigma": sigma,
            "significance": significance,
            "stat-only sigma": float(np.sum(s**2 / np.where(s + b > 0, s + b, 1.0)) ** -0.5),
            "stat-only significance": float(asimov_significance(s, b)),
        }


def single_top(*, one_in=1, bins=BINS):
    """The sample that comes with difftune, with the uncertainties of its analysis file.

    One event in so many is taken: in all variations, or in none.
    """
    settings = job.load(FILE)
    events = build.events(settings).select(lambda sample: sample.number % one_in == 0)
    return Analysis(events, build.nuisances(settings), bins=bins)


# %% Trainings
@dataclass(frozen=True, kw_only=True)
class Training:
    """How a population trains; `start` names the training whose weights it starts from."""

    objective: objectives.Objective
    batch_size: int
    epochs: int
    learning_rate: float
    hyperparameters: dict = None
    start: str | None = None
    activation: str = "relu"


def recipes(analysis, *, epochs, more=10):
    """The trainings that are compared; those through the fit take so many times more epochs."""
    entropy = objectives.CrossEntropy()
    plain = {"batch_size": 1024, "epochs": epochs, "learning_rate": 2e-3}
    # Batches of some thousand events know next to nothing of the gradient of a fit, whose templates
    # are all of them. So all events make one step, from weights that can classify already.
    events = len(analysis.train.weight)
    whole = {"batch_size": events, "epochs": more * epochs}
    tuned = {**whole, "learning_rate": 1e-3, "start": "cross-entropy"}
    penalty = objectives.HistogramVariation(bins=analysis.bins, bandwidth=(0.05, 0.05))
    adversary = objectives.Adversarial(strength="lambda", learning_rate="adversary_rate")
    correlation = objectives.NuisanceCorrelation()
    # As uncertain as the templates of the measurement, which has fewer simulated events.
    statistics = {"mc_statistics": events / analysis.simulated}
    model = analysis.model(bandwidth=(0.03, 0.01), **statistics)
    regions = analysis.model(bins=objectives.Regions(regions=analysis.bins), **statistics)
    return {
        "cross-entropy": Training(objective=entropy, **plain),
        "+ penalty": Training(
            objective=entropy + "lambda" * penalty, hyperparameters={"lambda": 10.0}, **plain
        ),
        "+ adversary": Training(
            objective=entropy + adversary,
            hyperparameters={"lambda": 30.0, "adversary_rate": 5e-3},
            **plain,
        ),
        "+ distance correlation": Training(
            objective=entropy + "lambda" * correlation, hyperparameters={"lambda": 10.0}, **plain
        ),
        "through the fit: σ(μ)": Training(
            objective=objectives.PoiUncertainty(model=model), **tuned
        ),
        "through the fit: σ(μ), regions": Training(
            objective=objectives.PoiUncertainty(model=regions),
            activation="gelu",
            **{**whole, "epochs": 2 * more * epochs, "learning_rate": 1e-2},
        ),
        "through the fit: Z": Training(
            objective=objectives.DiscoverySignificance(model=model), **tuned
        ),
        "through the fit: CLs": Training(
            objective=0.01 * objectives.ExpectedCLs(model=model), **tuned
        ),
    }


def trained(analysis, recipe, *, seeds, hidden=(64, 64), seed=1, start=None):
    """A population of seeds, and its best networks by the precision on validation events."""
    outputs = recipe.objective.outputs
    population = Population(
        recipe=Recipe(
            model=MLP(hidden=hidden, activation=recipe.activation),
            objective=recipe.objective,
            batch_size=recipe.batch_size,
            chunk=8192,
            patience=recipe.epochs,
            metric=analysis.metric(outputs),
            # σ(μ) hangs on the statistics of the simulation: half a sample is another measurement.
            overtraining=ScoreGap(limit=1.0, sigmas=0),
            selection_rule=AS_SCORED,
        ),
        train=analysis.train,
        validation=analysis.validation,
        members=seeds,
        replicas=Replicas.crossed(seeds=seeds),
        seed=seed,
    )
    given = {"learning_rate": recipe.learning_rate, **(recipe.hyperparameters or {})}
    state, records = population.run(
        {name: np.full(seeds, value) for name, value in given.items()},
        epochs=recipe.epochs,
        start=start,
    )
    return population, jax.device_get(state.best), records


# %% Hard bins
def scored(population, best, data):
    """Scores of the rows by all members: nominal, and of each variation with its own features.

    The score of a region is the middle of its bin among as many equidistant ones.
    """
    batch = as_batch(data, np.arange(len(data.weight)), 1.0)
    logits = np.asarray(population.scores(best, all_features(batch)))
    if logits.ndim == 3:
        every = (np.argmax(logits, axis=-1) + 0.5) / logits.shape[-1]
    else:
        every = 1 / (1 + np.exp(-logits.astype(float)))
    return every.reshape(len(every), -1, len(data.weight))


def sides(data, scores):
    """Score and weight of each variation up and down, by name; `scores` as of one member."""
    rest = iter(scores[1:])
    found = {}
    for name, variation in sorted(data.variations.items()):
        pair = []
        for side in (variation.up, variation.down):
            own = scores[0] if side is None or side.features is None else next(rest)
            pair.append(None if side is None else (own, side.weight))
        found[name] = pair
    return found


def hard(data, scores, edges):
    """Templates of every process and variation."""
    processes, bins = len(data.signal_process), len(edges) - 1

    def filled(score, weight):
        place = np.searchsorted(edges[1:-1], score, side="right") + bins * data.process
        total = np.bincount(place, np.asarray(weight, float), processes * bins)
        return total.reshape(processes, bins)

    every = [filled(scores[0], data.weight), filled(scores[0], np.square(data.weight))]
    pairs = sides(data, scores).values()
    up, down = (np.stack([filled(*pair[i]) for pair in pairs]) for i in (0, 1))
    return TemplateYields(*every, up, down)


def chosen_edges(analysis, on_train, on_validation, *, optimised):
    """Edges of one member: what validation events find better of two choices.

    Equidistant ones; and, if asked for, those that training events find best for the precision
    with all uncertainties.
    """
    candidates = {"equidistant": np.linspace(0.0, 1.0, analysis.bins + 1)}
    if optimised:
        candidates["optimised"] = optimised_edges(analysis, on_train)
    worth = {
        name: analysis.expected(hard(analysis.validation, on_validation, edges))["sigma"]
        for name, edges in candidates.items()
    }
    best = min(worth, key=worth.get)
    return best, candidates[best]


def optimised_edges(analysis, scores):
    """Edges that maximise the precision of training events, with all their uncertainties."""
    data, signal = analysis.train, analysis.train.label == 1
    varied = {name: binning.Scored(*up, signal) for name, (up, _) in sides(data, scores).items()}
    names = [process.name for process in analysis.events.processes]
    for norm in analysis.nuisances.get("normalisation", ()):
        touched = np.isin(data.process, [names.index(name) for name in norm.processes])
        factor = np.where(touched, 1 + norm.up, 1.0)
        varied[norm.name] = binning.Scored(scores[0], data.weight * factor, signal)
    found = binning.optimise_edges(
        scores[0],
        data.weight,
        signal,
        bins=analysis.bins,
        variations=varied,
        figure_of_merit=binning.Profiled(strength=1.0),
        constraints=analysis.constraints,
        candidates=100,
    )
    return found.edges


def measured(analysis, population, best, *, optimised=True):
    """What each member is worth on test events, and the kind of edges that it got."""
    optimised = optimised and population.recipe.objective.outputs == "binary"
    on_train, on_validation, on_test = (
        scored(population, best, data)
        for data in (analysis.train, analysis.validation, analysis.test)
    )
    found = []
    for member in range(population.members):
        kind, edges = chosen_edges(
            analysis, on_train[member], on_validation[member], optimised=optimised
        )
        worth = analysis.expected(hard(analysis.test, on_test[member], edges))
        found.append({"edges": kind, **worth})
    return found


def compare(analysis, recipes, *, optimised=True, tell=lambda name, found: None, **options):
    """Trains and measures by name, each from the weights of the training that it starts from."""
    found, weights = {}, {None: None}
    for name, recipe in recipes.items():
        population, best, _ = trained(analysis, recipe, start=weights[recipe.start], **options)
        weights[name] = best.weights
        found[name] = measured(analysis, population, best, optimised=optimised)
        tell(name, found[name])
    return found


# %% Picture
FIGURES = {
    "stat-only significance": "Stat-only significance",
    "significance": "Significance with systematics",
    "sigma": "σ(μ) with systematics",
}


def draw(results, output):
    """Each training a row; mean and standard deviation over the seeds."""
    names = list(results)
    figure, panels = plt.subplots(
        1, 3, figsize=(12, 1.5 + 0.45 * len(names)), sharey=True, layout="constrained"
    )
    reference = results["cross-entropy"]
    for axes, (key, label) in zip(panels, FIGURES.items(), strict=True):
        base = np.mean([each[key] for each in reference])
        for row, name in enumerate(names):
            values = np.array([each[key] for each in results[name]]) / base
            color = "#bd1f01" if name.startswith("through") else "#3f90da"
            axes.plot(values, np.full(len(values), row), ".", color=color, alpha=0.35)
            axes.errorbar(values.mean(), row, xerr=values.std(ddof=1), fmt="o", color=color)
        axes.axvline(1.0, color="#94a4a2", linewidth=1, zorder=0)
        better = "smaller" if key == "sigma" else "larger"
        axes.set_xlabel(f"{label},\nrelative to cross-entropy\n({better} is better)", fontsize=12)
    panels[0].set_yticks(range(len(names)), names, fontsize=12)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=130)


def line(name, found):
    """Mean and spread of one training, for the terminal."""
    cells = []
    for key in ("stat-only significance", "significance", "sigma"):
        values = np.array([each[key] for each in found])
        cells.append(f"{values.mean():10.5g} ± {values.std(ddof=1):<9.2g}")
    return f"{name:<24}" + " ".join(cells)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--quick", action="store_true", help="few events and epochs: it works")
    size.add_argument("--full", action="store_true", help="10 seeds, and trainings to the end")
    parser.add_argument("--seeds", type=int, help="networks of each training (default: 3, or 10)")
    parser.add_argument("--output", type=Path, default=Path("systematics_aware.png"))
    given = parser.parse_args()
    analysis = single_top(one_in=8, bins=4) if given.quick else single_top()
    seeds = given.seeds or (10 if given.full else 2 if given.quick else 3)
    length = {"epochs": 1, "more": 2} if given.quick else {"epochs": 12 if given.full else 5}
    every = recipes(analysis, **length)
    header = ("stat-only Z", "Z with systematics", "σ(μ) with systematics")
    print(" " * 24 + " ".join(f"{each:<23}" for each in header))
    results = compare(
        analysis,
        {name: each for name, each in every.items() if name in QUICK or not given.quick},
        seeds=seeds,
        optimised=given.full,
        tell=lambda name, found: print(line(name, found), flush=True),
    )
    draw(results, given.output)
    print(f"picture in {given.output}")

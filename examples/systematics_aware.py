"""Ways of facing systematic uncertainties, on one axis: what each costs and what it gains.

    python examples/systematics_aware.py [--quick] [--epochs N] [--output PICTURE]

The single-top sample, cross-fitted: each event is measured by a network that has not seen it. What
trains through the fit starts from cross-entropy's networks. Every epoch is judged, and everything
is measured, with all uncertainties and the statistics of the simulation. Error bars are those of
bootstrapped events, the same for all ways, so that ratios are known better than each figure.
"""

# %% Set up
import argparse
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import difftune as dt
from difftune import objectives
from difftune.analysis import FIGURES, bootstrapped, fit_model, statistics
from difftune.search import FixedSchedule
from difftune.training import AS_SCORED, ScoreGap

FILE = Path(__file__).parent / "single_top" / "single_top.toml"
QUICK = ("cross-entropy", "through the fit: σ(μ)")


def once(epochs):
    """A single network, for so many epochs."""
    return FixedSchedule(population=1, rounds=1, epochs_per_round=epochs, schedule={})


def spread(values):
    """Half the interval that holds 68 %: a replica with an empty bin says little of the others."""
    return np.subtract(*np.quantile(values, [0.84, 0.16])) / 2 if len(values) else 0.0


# %% The ways: what is minimised, with which hyperparameters, and what figure comes afterwards
def ways(bins):
    """By name."""
    entropy, correlation = objectives.CrossEntropy(), objectives.NuisanceCorrelation()
    penalty = objectives.HistogramVariation(bins=bins, bandwidth=(0.05, 0.05))
    adversary = objectives.Adversarial(strength="lambda", learning_rate="adversary_rate")
    return {
        "cross-entropy": (entropy, {}, None),
        "+ penalty": (entropy + "lambda" * penalty, {"lambda": 10.0}, None),
        "+ adversary": (entropy + adversary, {"lambda": 30.0, "adversary_rate": 5e-3}, None),
        "+ distance correlation": (entropy + "lambda" * correlation, {"lambda": 10.0}, None),
        "through the fit: σ(μ)": (entropy, {}, "precision"),
        "through the fit: Z": (entropy, {}, "discovery"),
    }


def tuned(crossed, way, *, bins, epochs, steps, nuisances):
    """The networks of one way."""
    (objective, hyperparameters, figure), split = way, crossed.rotation(0)

    def model(part, **options):
        # As uncertain as the measurement, whose templates are made of all events.
        own = statistics(part, crossed.test)
        return fit_model(bins=bins, mc_statistics=own, **options, **nuisances)

    recipe = dt.Recipe(
        model=dt.models.MLP(hidden=(64, 64)),
        objective=objective,
        hyperparameters={"learning_rate": 2e-3, **hyperparameters},
        batch_size=1024,
        patience=max(epochs, steps),
        metric=FIGURES["precision"].metric(model(split.validation)),
        # σ(μ) hangs on the statistics of the simulation: half a sample is another measurement.
        overtraining=ScoreGap(limit=1.0, sigmas=0),
        selection_rule=AS_SCORED,
    )
    if figure is None:
        return dt.tune(crossed, recipe, search=once(epochs))
    # A batch knows next to nothing of the gradient of a fit: all events make one step.
    through = replace(
        recipe,
        objective=FIGURES[figure].objective(model(split.train, bandwidth=(0.03, 0.01))),
        hyperparameters={"learning_rate": 1e-3},
        batch_size=len(crossed.events),
        chunk=8192,
    )
    stage = dt.Stage(name=figure, recipe=through, search=once(steps))
    return dt.tune(crossed, recipe, search=once(epochs), stages=[stage])


# %% Picture
def draw(results, output):
    """Each way a row, each figure a panel, relative to cross-entropy."""
    names, reference = list(results), results["cross-entropy"]
    figure, panels = plt.subplots(
        1, 3, figsize=(12, 1.5 + 0.45 * len(names)), sharey=True, layout="constrained"
    )
    for axes, (what, base) in zip(panels, reference.items(), strict=True):
        for row, name in enumerate(names):
            # The sample as it is, and its replicas.
            value, *replicas = results[name][what] / base
            color = "#bd1f01" if name.startswith("through") else "#3f90da"
            axes.errorbar(value, row, xerr=spread(replicas), fmt="o", color=color)
        axes.axvline(1.0, color="#94a4a2", linewidth=1, zorder=0)
        axes.set_xlabel(f"{what},\nrelative to cross-entropy\n(larger is better)", fontsize=12)
    panels[0].set_yticks(range(len(names)), names, fontsize=12)
    panels[0].set_ylim(len(names) - 0.5, -0.5)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=130)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few events and epochs: it works")
    parser.add_argument("--epochs", type=int, default=5, help="of cross-entropy, in batches")
    parser.add_argument("--output", type=Path, default=Path("systematics_aware.png"))
    given = parser.parse_args()
    config = dt.job.load(FILE)
    events, nuisances = dt.job.build.events(config), dt.job.build.nuisances(config)
    if given.quick:  # one event in eight: in all variations, or in none
        events = events.select(lambda sample: sample.number % 8 == 0)
    bins, epochs, steps, replicas = (4, 1, 2, 4) if given.quick else (12, given.epochs, 50, 200)
    crossed, results = dt.CrossFit(events=events), {}
    for name, way in ways(bins).items():
        if given.quick and name not in QUICK:
            continue
        networks = tuned(crossed, way, bins=bins, epochs=epochs, steps=steps, nuisances=nuisances)
        edges = np.linspace(0, 1, bins + 1)
        found = dt.measure(networks, crossed, figure="precision", binning=edges, **nuisances)
        discovery = replace(found, figure=FIGURES["discovery"])
        z, precision = (bootstrapped(f, crossed, replicas=replicas) for f in (discovery, found))
        results[name] = {
            "Stat-only significance": np.array([found.stat_only]),
            "Significance with systematics": np.array([found.expected, *z]),
            "1 / σ(μ) with systematics": np.array([found.merit, *precision]),
        }
        words = f"stat-only Z = {found.stat_only:.4g}, Z = {found.expected:.3g} ± {spread(z):.2g}"
        sigma = f"σ(μ) = {found.value:.4f} ± {spread(1 / precision):.2g}"
        print(f"{name:<24} {words}, {sigma}", flush=True)
    draw(results, given.output)
    print(f"picture in {given.output}")

"""Training through the fit against cross-entropy on the single-top sample, with all uncertainties.

One population of seeds for each training. The bins of every network are chosen on training events,
or are equidistant if validation events find these better; they also choose the best epoch. Test
events are scored once, in hard bins, with the fit and all its uncertainties.
"""

from collections import Counter
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.running import sizes
from benchmarks.common.table import Row
from difftune.analysis import FIGURES, Split, fit_model, statistics
from difftune.binning import Gradient, Profiled
from difftune.data import Events
from difftune.objectives import CrossEntropy, Objective, Regions
from difftune.training import TrainedNetwork

FIT = "through the fit: σ(μ)"
REGIONS = "through the fit: σ(μ), regions"


def run(*, quick: bool) -> list[Row]:
    """All trainings."""
    size = sizes(quick, seeds=(10, 2), bins=(12, 4), epochs=(12, 1), regions=(240, 2))
    settings = [samples.FEW_VARIABLES, samples.ONE_SYSTEMATIC] if quick else []
    nuisances = dt.job.build.nuisances(dt.job.load(samples.SINGLE_TOP, settings))
    split = Split(events=samples.single_top(*settings, one_in=8 if quick else 1))
    study = Study(split, size.seeds, size.bins, nuisances)
    relu, gelu = (dt.models.MLP(hidden=(64, 64), activation=name) for name in ("relu", "gelu"))
    entropy = study.recipe(CrossEntropy(), 2e-3, model=relu, batch_size=1024)
    # Batches of some thousand events know next to nothing of the gradient of a fit, whose templates
    # are all of them. So all events make one step, from weights that can classify.
    whole = {"batch_size": len(split.train)}
    objective = study.through_the_fit(bins=Regions(regions=study.bins))
    regions = study.recipe(objective, 1e-2, model=gelu, **whole)
    found = {
        "cross-entropy": study.trained(entropy, size.epochs),
        REGIONS: study.trained(regions, size.regions),
    }
    if not quick:
        loss = study.through_the_fit(bandwidth=(0.03, 0.01))
        score = study.recipe(loss, 1e-3, model=relu, **whole)
        then = dt.Stage(name="then", recipe=score, search=samples.once(study.seeds, 120))
        found[FIT] = study.trained(entropy, size.epochs, then)
    plain = found["cross-entropy"]
    rows = [Row("σ(μ), cross-entropy, stat-only", plain["stat-only σ(μ)"].mean())]
    rows += [*compared("σ(μ)", found), *compared("Z", found)]
    for name in list(found)[1:]:
        what = f"stat-only Z, {name} over cross-entropy"
        rows.append(Row(what, found[name]["stat-only Z"].mean() / plain["stat-only Z"].mean()))
    return rows


class Study(NamedTuple):
    """Events by purpose, and what the fit knows of them."""

    split: Split
    seeds: int  # networks of each training
    bins: int  # of the measurement; fewer where optimised edges need it
    nuisances: Mapping[str, Any]  # uncertainties besides variations

    def model(self, part: Events, **options: Any) -> Any:
        """The fit of a part of the events, as uncertain as the measurement."""
        own = statistics(part, self.split.test)
        return fit_model(**{"bins": self.bins, "mc_statistics": own, **self.nuisances, **options})

    def recipe(self, objective: Objective, learning_rate: float, **parts: Any) -> dt.Recipe:
        """A training of which the best epoch is that of the best precision."""
        bins = self.bins
        if isinstance(objective.outputs, int):
            bins = Regions(regions=bins, hard=True)
        metric = FIGURES["precision"].metric(self.model(self.split.validation, bins=bins))
        parts |= {"hyperparameters": {"learning_rate": learning_rate}, "chunk": 8192}
        return samples.every_epoch(objective=objective, metric=metric, patience=1000, **parts)

    def through_the_fit(self, **options: Any) -> Objective:
        """The precision, of the events that networks learn from."""
        return FIGURES["precision"].objective(self.model(self.split.train, **options))

    def trained(self, recipe: dt.Recipe, epochs: int, *stages: dt.Stage) -> dict[str, np.ndarray]:
        """What all seeds are worth, trained in one way, or from its best in further ones."""
        search = samples.once(self.seeds, epochs)
        tuned = dt.tune(self.split, recipe, search=search, stages=stages)
        each = [self.measured(network) for network in tuned.networks]
        return {name: np.array([one[name] for one in each]) for name in each[0]}

    def measured(self, network: TrainedNetwork) -> dict[str, Any]:
        """What a network is worth on test events, in the bins that validation events prefer.

        Equidistant ones, or those that training events find best with all uncertainties.
        """
        rules, score = {"equidistant": np.linspace(0.0, 1.0, self.bins + 1)}, network.score
        if network.module_def.outputs > 1:
            score = partial(region_of, network)
        else:
            best = {"figure_of_merit": Profiled(strength=1.0), "max_mc_uncertainty": 0.05}
            rules["optimised"] = Gradient(bins=self.bins, candidates=100, **best)
        # Validation events in place of test events, and none of these.
        inside = Split(
            events=self.split.part("train", "validation"),
            validation_folds=(2,),
            test_folds=self.split.validation_folds,
        )
        same = {"figure": "precision", **self.nuisances}
        seen = {n: dt.measure(score, inside, binning=rule, **same) for n, rule in rules.items()}
        best = min(seen, key=lambda name: seen[name].value)
        found = dt.measure(score, self.split, binning=seen[best].templates.edges, **same)
        s, b = (found.templates.total(role).sumw for role in ("signal", "background"))
        return {
            "edges": best,
            "σ(μ)": found.value,
            "Z": found.expected,
            "stat-only σ(μ)": np.sum(s**2 / np.where(s + b > 0, s + b, 1.0)) ** -0.5,
            "stat-only Z": found.stat_only,
        }


def region_of(network: TrainedNetwork, events: Events) -> np.ndarray:
    """The region of events: the middle of its bin, among as many equidistant ones."""
    logits = network.module_def.evaluate_jit(
        network.weights, network.hyperparameters, network.transform(events.features)
    )
    return (np.argmax(np.asarray(logits), axis=-1) + 0.5) / logits.shape[-1]


def compared(what: str, found: Mapping[str, Mapping[str, np.ndarray]]) -> list[Row]:
    """The trainings, and their differences to the first one in units of the spread over seeds."""
    plain, rows = found["cross-entropy"][what], []
    for name, results in found.items():
        x = results[what]
        # Which edges validation events preferred, and how often.
        edges = ", ".join(f"{n} × {kind}" for kind, n in Counter(results["edges"].tolist()).items())
        spread = f"± {x.std(ddof=1):.2g} (bins: {edges})"
        rows.append(Row(f"{what}, {name}", float(x.mean()), "", spread))
        if name != "cross-entropy":
            gain = (plain.mean() - x.mean()) * (1 if what == "σ(μ)" else -1)
            # The best of them is what is offered.
            bound = ">= 1" if name == REGIONS else ""
            units = gain / np.hypot(plain.std(ddof=1), x.std(ddof=1))
            rows.append(Row("  gain in units of its spread over seeds", units, bound))
    return rows

"""Training through the fit against cross-entropy on the single-top sample, with all uncertainties.

One population of seeds for each training. The bins of every network are chosen on training events,
or are equidistant if validation events find these better; they also choose the best epoch. Test
events are scored once, in hard bins, with the fit and all its uncertainties.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.table import Row
from difftune.analysis import FIGURES, Split, binned_score, fill_templates, fit_model, statistics
from difftune.binning import Gradient, Profiled
from difftune.data import Events
from difftune.histfactory import Model, build_workspace
from difftune.inference import asimov_significance
from difftune.objectives import CrossEntropy, Objective, Regions
from difftune.precision import in_float64
from difftune.search import FixedSchedule
from difftune.training import TrainedNetwork

FIT = "through the fit: σ(μ)"
REGIONS = "through the fit: σ(μ), regions"
# A smoke run's file.
BTAG = '{name = "btag", type = "weight", up = "weight_btag_up", down = "weight_btag_down"}'
FEW = [samples.FEW_VARIABLES, f"systematics=[{BTAG}]"]

MERITS = {name: in_float64(jax.jit(FIGURES[name].merit)) for name in ("precision", "discovery")}
"""One compiled program for all models of one structure."""


def run(*, quick: bool) -> list[Row]:
    """All trainings."""
    config = dt.job.load(samples.SINGLE_TOP, FEW if quick else [])
    events = dt.job.build.events(config)
    if quick:
        # One in eight: in all variations, or in none.
        events = events.select(lambda sample: sample.number % 8 == 0)
    study = Study(
        split=Split(events=events),
        seeds=2 if quick else 10,
        bins=4 if quick else 12,
        nuisances=dt.job.build.nuisances(config),
    )
    relu, gelu = (dt.models.MLP(hidden=(64, 64), activation=name) for name in ("relu", "gelu"))
    entropy = study.recipe(CrossEntropy(), 2e-3, model=relu, batch_size=1024)
    # Batches of some thousand events know next to nothing of the gradient of a fit, whose templates
    # are all of them. So all events make one step, from weights that can classify.
    whole = {"batch_size": len(study.split.train)}
    regions = study.through_the_fit(bins=Regions(regions=study.bins))
    found = {
        "cross-entropy": study.trained(entropy, 1 if quick else 12),
        REGIONS: study.trained(
            study.recipe(regions, 1e-2, model=gelu, **whole), 2 if quick else 240
        ),
    }
    if not quick:
        loss = study.through_the_fit(bandwidth=(0.03, 0.01))
        score = study.recipe(loss, 1e-3, model=relu, **whole)
        found[FIT] = study.trained(entropy, 12, then=score, steps=120)
    stat_only = {
        name: values(each, "stat-only significance").mean() for name, each in found.items()
    }
    rows = [
        Row(
            "σ(μ), cross-entropy, stat-only",
            values(found["cross-entropy"], "stat-only sigma").mean(),
        ),
        *compared("σ(μ)", found, "sigma"),
        *compared("Z", found, "significance"),
    ]
    for name in list(found)[1:]:
        what = f"stat-only Z, {name} over cross-entropy"
        rows.append(Row(what, stat_only[name] / stat_only["cross-entropy"]))
    return rows


@dataclass(frozen=True, kw_only=True)
class Study:
    """Events by purpose, and what the fit knows of them.

    Attributes:
        split: The events.
        seeds: Networks of each training.
        bins: Of the measurement; fewer where optimised edges need it.
        nuisances: Uncertainties besides variations.
    """

    split: Split
    seeds: int
    bins: int
    nuisances: Mapping[str, Any]

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
        return samples.every_epoch(
            objective=objective,
            metric=metric,
            hyperparameters={"learning_rate": learning_rate},
            chunk=8192,
            patience=1000,
            **parts,
        )

    def through_the_fit(self, **options: Any) -> Objective:
        """The precision, of the events that networks learn from."""
        return FIGURES["precision"].objective(self.model(self.split.train, **options))

    def trained(
        self, recipe: dt.Recipe, epochs: int, *, then: dt.Recipe | None = None, steps: int = 0
    ) -> list[dict]:
        """What all seeds are worth, trained in one way, or from its best in a second one."""
        first, second = (
            FixedSchedule(population=self.seeds, rounds=1, epochs_per_round=length, schedule={})
            for length in (epochs, max(1, steps))
        )
        stages = [] if then is None else [dt.Stage(name="then", recipe=then, search=second)]
        tuned = dt.tune(self.split, recipe, search=first, stages=stages)
        return [self.measured(network) for network in tuned.networks]

    def worth(self, score: Callable, split: Split, edges: Sequence[float]) -> dict[str, float]:
        """Figures of hard-binned test events: full fit, and stat-only."""
        templates = fill_templates(score, split, np.asarray(edges))
        model = Model.from_spec(build_workspace([templates], **self.nuisances))
        s, b = (templates.total(role).sumw for role in ("signal", "background"))
        return {
            "sigma": 1.0 / float(MERITS["precision"](model)),
            "significance": float(MERITS["discovery"](model)),
            "stat-only sigma": float(np.sum(s**2 / np.where(s + b > 0, s + b, 1.0)) ** -0.5),
            "stat-only significance": float(asimov_significance(s, b)),
        }

    def measured(self, network: TrainedNetwork) -> dict[str, Any]:
        """What a network is worth on test events, in the bins that validation events prefer.

        Equidistant ones, or those that training events find best with all uncertainties.
        """
        split, score = self.split, network.score
        equidistant = np.linspace(0.0, 1.0, self.bins + 1)
        if network.module_def.outputs > 1:
            found = self.worth(region_of(network), split, equidistant)
            return {"edges": "equidistant", **found}
        # Validation events in place of test events, and none of these.
        inside = Split(
            events=split.part("train", "validation"),
            validation_folds=(2,),
            test_folds=split.validation_folds,
        )
        rule = Gradient(
            bins=self.bins,
            max_mc_uncertainty=0.05,
            figure_of_merit=Profiled(strength=1.0),
            candidates=100,
        )
        known = {"normalisation": (), "luminosity": None} | self.nuisances
        known = {name: known[name] for name in ("normalisation", "luminosity")}
        optimised = binned_score(network, inside, binning=rule, **known).edges
        candidates = {"equidistant": equidistant, "optimised": optimised}
        sigma = {k: self.worth(score, inside, v)["sigma"] for k, v in candidates.items()}
        best = min(sigma, key=lambda name: sigma[name])
        return {"edges": best, **self.worth(score, split, candidates[best])}


def region_of(network: TrainedNetwork) -> Callable[[Events], np.ndarray]:
    """The region of events: the middle of its bin, among as many equidistant ones."""

    def score(events: Events) -> np.ndarray:
        logits = network.module_def.evaluate_jit(
            network.weights, network.hyperparameters, network.transform(events.features)
        )
        return (np.argmax(np.asarray(logits), axis=-1) + 0.5) / logits.shape[-1]

    return score


def compared(what: str, found: dict[str, list[dict]], key: str) -> list[Row]:
    """The trainings, and their differences to the first one in units of the spread over seeds."""
    sign = -1 if key == "sigma" else 1
    plain = values(found["cross-entropy"], key)
    rows = []
    for name, results in found.items():
        x = values(results, key)
        # Which edges validation events preferred, and how often.
        kinds, counts = np.unique([each["edges"] for each in results], return_counts=True)
        edges = ", ".join(f"{n} × {kind}" for kind, n in zip(kinds, counts, strict=True))
        spread = f"± {x.std(ddof=1):.2g} (bins: {edges})"
        rows.append(Row(f"{what}, {name}", float(x.mean()), "", spread))
        if name == "cross-entropy":
            continue
        gain = sign * (x.mean() - plain.mean())
        # The best of them is what is offered.
        bound = ">= 1" if name == REGIONS else ""
        units = gain / np.hypot(plain.std(ddof=1), x.std(ddof=1))
        rows.append(Row("  gain, %", 100 * gain / plain.mean()))
        rows.append(Row("  gain in units of its spread over seeds", units, bound))
    return rows


def values(found: list[dict], key: str) -> np.ndarray:
    """One figure of all seeds."""
    return np.array([each[key] for each in found])

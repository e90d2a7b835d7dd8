"""Training through the fit against cross-entropy where systematic uncertainties count.

Two studies, each with one population of seeds a training. The bins of every network are chosen on
training events, or are equidistant if validation events find these better; they also choose the
best epoch. Test events are scored once, in hard bins, with the fit and all its uncertainties.

1. *A known truth.* Signal and background are Gaussians in two variables, and the scale of the first
   one is uncertain for all events. What cannot be beaten is the unbinned Fisher information of the
   true densities (as in INFERNO, arXiv 1806.04743); what cross-entropy can reach is the same of the
   likelihood ratio, which is its optimum.
2. *The single-top sample* that comes with difftune, with all uncertainties of its analysis file.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.table import Row
from difftune.analysis import FIGURES, Split, binned_score, fill_templates, fit_model, statistics
from difftune.binning import Gradient, Profiled
from difftune.data import Events, Process
from difftune.histfactory import Model, build_workspace
from difftune.inference import asimov_significance
from difftune.objectives import CrossEntropy, Objective, Regions
from difftune.precision import in_float64
from difftune.search import FixedSchedule
from difftune.training import TrainedNetwork

FIT = "through the fit: σ(μ)"
REGIONS = "through the fit: σ(μ), regions"

EXPECTED = {"signal": 1000.0, "background": 10_000.0}
MEANS = {"signal": np.array([1.0, 1.0]), "background": np.array([0.0, 0.0])}
SHIFT = 0.3
"""By how much one standard deviation of the nuisance parameter moves the first variable."""


def gaussians(simulated: int, seed: int = 0) -> Events:
    """So many events of each process, and both variations as samples with the same numbers."""
    rng = np.random.default_rng(seed)
    processes = (Process(name="signal", role="signal"), Process(name="background"))
    index = np.repeat([0, 1], simulated)
    x = rng.normal(size=(2 * simulated, 2)) + np.array(list(MEANS.values()))[index]
    weight = np.array(list(EXPECTED.values()))[index] / simulated

    def sample(shift: float, **more) -> Events:
        return Events.from_arrays(
            x + np.array([shift, 0.0]),
            index,
            weight,
            feature_names=["x", "y"],
            processes=processes,
            event_number=np.arange(2 * simulated),
            **more,
        )

    return sample(0.0, variations={"scale": (sample(SHIFT), sample(-SHIFT))})


def truth() -> dict[str, float]:
    """σ(μ) of the true densities: unbinned, and of the likelihood ratio in fine bins."""
    axis = np.linspace(-6.0, 8.0, 701)
    x, y = np.meshgrid(axis, axis, indexing="ij")
    area = (axis[1] - axis[0]) ** 2

    def density(name: str, shift: float) -> np.ndarray:
        away = (x - MEANS[name][0] - shift) ** 2 + (y - MEANS[name][1]) ** 2
        return EXPECTED[name] * np.exp(-away / 2) / (2 * np.pi) * area

    def uncertainty(signal: np.ndarray, moved: np.ndarray, total: np.ndarray) -> float:
        there = total > 1e-12
        rows = np.stack([signal, moved])[:, there] / np.sqrt(total[there])
        return float(np.linalg.inv(rows @ rows.T + np.diag([0.0, 1.0]))[0, 0] ** 0.5)

    signal, background = (density(name, 0.0) for name in EXPECTED)
    up, down = (sum(density(name, side * SHIFT) for name in EXPECTED) for side in (1, -1))
    columns = [each.ravel() for each in (signal, (up - down) / 2, signal + background)]
    ratio = (x * MEANS["signal"][0] + y * MEANS["signal"][1]).ravel()
    fine = np.digitize(ratio, np.linspace(-8.0, 12.0, 401))
    binned = [np.bincount(fine, each) for each in columns]
    return {
        "floor": uncertainty(*columns),
        "cross-entropy": uncertainty(*binned),
        "stat-only": float(np.sum(columns[0] ** 2 / np.maximum(columns[2], 1e-300)) ** -0.5),
    }


MERITS = {name: in_float64(jax.jit(FIGURES[name].merit)) for name in ("precision", "discovery")}
"""One compiled program for all models of one structure."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Events by purpose, and what the fit knows of them.

    Attributes:
        split: The events.
        seeds: Networks of each training.
        bins: Of the measurement; fewer where optimised edges need it.
        max_mc_uncertainty: Of a bin, for optimised edges.
        mc_statistics: Whether the statistics of the simulation are uncertain.
        nuisances: Uncertainties besides variations.
    """

    split: Split
    seeds: int
    bins: int = 12
    max_mc_uncertainty: float = 0.05
    mc_statistics: bool = True
    nuisances: Mapping[str, Any] = field(default_factory=dict)

    def model(self, part: Events, **options: Any) -> Any:
        """The fit of a part of the events, as uncertain as the measurement."""
        own = self.mc_statistics and statistics(part, self.split.test)
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
        workspace = build_workspace([templates], mc_statistics=self.mc_statistics, **self.nuisances)
        model = Model.from_spec(workspace)
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
        candidates = {"equidistant": np.linspace(0.0, 1.0, self.bins + 1)}
        if network.module_def.outputs == 1:
            # Validation events in place of test events, and none of these.
            inside = Split(
                events=split.part("train", "validation"),
                validation_folds=(2,),
                test_folds=split.validation_folds,
            )
            rule = Gradient(
                bins=self.bins,
                max_mc_uncertainty=self.max_mc_uncertainty,
                figure_of_merit=Profiled(strength=1.0),
                candidates=100,
            )
            candidates["optimised"] = binned_score(
                network,
                inside,
                binning=rule,
                normalisation=self.nuisances.get("normalisation", ()),
                luminosity=self.nuisances.get("luminosity"),
            ).edges
            sigma = {k: self.worth(score, inside, v)["sigma"] for k, v in candidates.items()}
            best = min(sigma, key=lambda name: sigma[name])
        else:
            best, score = "equidistant", region_of(network)
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


def known_truth(*, quick: bool) -> list[Row]:
    """The Gaussians."""
    study = Study(
        split=Split(events=gaussians(4_000 if quick else 60_000)),
        seeds=2 if quick else 10,
        max_mc_uncertainty=0.2,
        mc_statistics=False,
    )
    relu, gelu = (dt.models.MLP(hidden=(32, 32), activation=name) for name in ("relu", "gelu"))
    entropy = study.recipe(CrossEntropy(), 2e-3, model=relu, batch_size=1024)
    regions = study.recipe(
        study.through_the_fit(bins=Regions(regions=study.bins)),
        1e-2,
        model=gelu,
        batch_size=2048 if quick else 24_000,
    )
    found = {
        "cross-entropy": study.trained(entropy, 2 if quick else 15),
        REGIONS: study.trained(regions, 4 if quick else 60),
    }
    true = truth()
    rows = [
        Row(f"known truth: σ(μ), {what}", true[key])
        for key, what in (
            ("stat-only", "without uncertainties"),
            ("floor", "unbinned, true densities"),
            ("cross-entropy", "likelihood ratio in fine bins"),
        )
    ]
    rows += compared("known truth: σ(μ)", found, "sigma")
    over = values(found[REGIONS], "sigma").mean() / true["floor"]
    return [*rows, Row("  over the floor", over, "<= 1.03")]


def single_top(*, quick: bool) -> list[Row]:
    """The shipped sample."""
    config = dt.job.load(samples.SINGLE_TOP)
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
    found = {"cross-entropy": study.trained(entropy, 1 if quick else 12)}
    # What trains through the fit, a smoke run has seen with the Gaussians.
    if not quick:
        # Batches of some thousand events know next to nothing of the gradient of a fit, whose
        # templates are all of them. So all events make one step, from weights that can classify.
        whole = {"batch_size": len(study.split.train)}
        score = study.recipe(
            study.through_the_fit(bandwidth=(0.03, 0.01)), 1e-3, model=relu, **whole
        )
        regions = study.recipe(
            study.through_the_fit(bins=Regions(regions=study.bins)), 1e-2, model=gelu, **whole
        )
        found[FIT] = study.trained(entropy, 12, then=score, steps=120)
        found[REGIONS] = study.trained(regions, 240)
    stat_only = values(found["cross-entropy"], "stat-only sigma").mean()
    rows = [Row("single top: σ(μ), cross-entropy, stat-only", stat_only)]
    for what, key in (("σ(μ)", "sigma"), ("Z", "significance")):
        rows += compared(f"single top: {what}", found, key)
    worth = {name: values(each, "stat-only significance").mean() for name, each in found.items()}
    for name in list(found)[1:]:
        what = f"single top: stat-only Z, {name} over cross-entropy"
        rows.append(Row(what, worth[name] / worth["cross-entropy"]))
    return rows


PARTS: dict[str, Callable[..., list[Row]]] = {"known truth": known_truth, "single top": single_top}
"""What can be run alone."""


def run(*, quick: bool, parts: Sequence[str] = ()) -> list[Row]:
    """Both studies, or one."""
    return [row for name in parts or PARTS for row in PARTS[name](quick=quick)]

"""Training through the fit against cross-entropy where systematic uncertainties count.

Two studies, each with one population of seeds a training. The bins of every network are chosen on
training events, or are equidistant if validation events find these better; they also choose the
best epoch. Test events are scored once, in hard bins, with the fit and all its uncertainties; the
code is that of `examples/systematics_aware.py`.

1. *A known truth.* Signal and background are Gaussians in two variables, and the scale of the first
   one is uncertain for all events. What cannot be beaten is the unbinned Fisher information of the
   true densities (as in INFERNO, arXiv 1806.04743); what cross-entropy can reach is the same of the
   likelihood ratio, which is its optimum.
2. *The single-top sample* that comes with difftune, with all uncertainties of its analysis file.
"""

import numpy as np

from benchmarks.common.table import Row
from difftune.binning import Constraints
from difftune.data import Events, Process
from difftune.objectives import CrossEntropy, PoiUncertainty, Regions
from examples import systematics_aware as example

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
    seeds, epochs = (2, 2) if quick else (10, 15)
    analysis = example.Analysis(
        gaussians(4_000 if quick else 60_000),
        {"mc_statistics": False},
        constraints=Constraints(10.0, 0.2),
    )
    many = {"epochs": 4 if quick else 60, "batch_size": 2048 if quick else 24_000}
    regions = analysis.model(bins=Regions(regions=analysis.bins))
    recipes = {
        "cross-entropy": example.Training(
            objective=CrossEntropy(), batch_size=1024, epochs=epochs, learning_rate=2e-3
        ),
        REGIONS: example.Training(
            objective=PoiUncertainty(model=regions), activation="gelu", learning_rate=1e-2, **many
        ),
    }
    found = example.compare(analysis, recipes, seeds=seeds, hidden=(32, 32))
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
    seeds, epochs = (2, 1) if quick else (10, 12)
    analysis = example.single_top(one_in=8, bins=4) if quick else example.single_top()
    recipes = example.recipes(analysis, epochs=epochs)
    # What trains through the fit, a smoke run has seen with the Gaussians.
    chosen = ("cross-entropy", *(() if quick else ("through the fit: σ(μ)", REGIONS)))
    found = example.compare(analysis, {name: recipes[name] for name in chosen}, seeds=seeds)
    stat_only = values(found["cross-entropy"], "stat-only sigma").mean()
    rows = [Row("single top: σ(μ), cross-entropy, stat-only", stat_only)]
    for what, key in (("σ(μ)", "sigma"), ("Z", "significance")):
        rows += compared(f"single top: {what}", found, key)
    worth = {name: values(each, "stat-only significance").mean() for name, each in found.items()}
    for name in list(found)[1:]:
        what = f"single top: stat-only Z, {name} over cross-entropy"
        rows.append(Row(what, worth[name] / worth["cross-entropy"]))
    return rows


def run(*, quick: bool) -> list[Row]:
    """Both studies."""
    return known_truth(quick=quick) + single_top(quick=quick)

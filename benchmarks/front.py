"""Significance against robustness: the Pareto front that one search finds, on test events.

The Gaussians of `benchmarks systematics`: signal and background in two variables; the scale
of the first is uncertain. Cross-entropy separates best and sees nothing of the uncertainty; a loss
through the fit avoids it, and pays in separation. How much of it there is in the loss is a
hyperparameter, and the search has two scores: the stat-only significance, and the robustness, which
is sigma(mu) if the scale were known over sigma(mu).

The front is chosen on validation events. What counts is the area that it covers on test events:
the share of all pairs of scores, up to the best significance of cross-entropy alone and a
robustness of 1, that a network of the front reaches in both.
"""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np

import difftune as dt
from benchmarks.common.running import compiled_once, say
from benchmarks.common.table import Row, mean, median
from benchmarks.search import default, judge, strategies
from benchmarks.systematics import gaussians
from difftune.objectives import FitModel, MetricOf, PoiUncertainty, Robustness, Significance


def task(count: int) -> dt.analysis.Preparation:
    """What is trained, and its two scores."""
    trained = FitModel(bins=8, bandwidth=(0.1, 0.02), mc_statistics=False)
    judged = FitModel(bins=10, bandwidth=(1e-3, 1e-3), mc_statistics=False)
    robustness = Robustness(model=judged, parameters=("scale",))
    scores = {
        "significance": Significance(bins=10),
        "robustness": MetricOf(objective=robustness, power=1.0),
    }
    recipe = dt.Recipe(
        model=dt.models.MLP(hidden=(32, 32)),
        objective=dt.objectives.CrossEntropy() + "fit" * PoiUncertainty(model=trained),
        batch_size=2000,
        patience=10_000,
        metric=dt.objectives.MultiObjective(scores),
    )
    return dt.analysis.Preparation(split=dt.analysis.Split(events=gaussians(count)), recipe=recipe)


def area(scores: np.ndarray) -> float:
    """What a front covers, by its points."""
    height, total = 0.0, 0.0
    for first, second in scores[np.argsort(-scores[:, 0])]:
        total += first * max(second - height, 0.0)
        height = max(second, height)
    return total


def run(*, quick: bool) -> list[Row]:
    """Fronts of searches of equal length, and the best of cross-entropy alone."""
    seeds, members, rounds, epochs, count = (1, 2, 2, 1, 2000) if quick else (5, 16, 8, 4, 20_000)
    dt.use_cpu_cores()
    job = task(count)
    space = dt.Space(learning_rate=dt.log_uniform(1e-3, 3e-2), fit=dt.log_uniform(1e-2, 1e2))
    size = SimpleNamespace(seeds=seeds, members=members, rounds=rounds, epochs=epochs)
    competing = strategies(size)
    if quick:
        # It takes the programs of PBT, and no others.
        del competing["random"]
    rows, areas = [], {}
    with compiled_once():
        plain = default(
            replace(job, recipe=replace(job.recipe, objective=dt.objectives.CrossEntropy())),
            size,
            learning_rate=3e-3,
        )
        # Compiled once: through the fit, each operation on its own would take far longer.
        measure = judge(plain, job.split.test)
        reference = np.array([measure(plain, slot) for slot in range(seeds)])
        say(f"cross-entropy alone: {seeds} networks")
        best = reference[:, 0].max()
        for number, what in enumerate(("significance", "robustness")):
            rows.append(mean(f"cross-entropy alone: {what}", reference[:, number].tolist()))
        for name, strategy in competing.items():
            found: dict[str, list[float]] = {}
            for seed in range(1, seeds + 1):
                tuned = dt.analysis.search_networks(job, strategy, space, seed=seed)
                front = tuned.pareto_front
                promised = np.array([list(rank.scores.values()) for rank in front])
                held = np.array([measure(tuned, rank.member) for rank in front])
                say(f"{name}, seed {seed}: {len(front)} networks")
                covered = area(held / [best, 1.0])
                areas.setdefault(name, []).append(covered)
                beaten = np.mean(dt.search.proposal.dominated(held))
                for key, value in {
                    "networks of the front": len(front),
                    "area on test events": covered,
                    "area, validation / test": area(promised / [best, 1.0]) / covered,
                    "most significant: significance": held[0, 0],
                    "most significant: robustness": held[0, 1],
                    "most robust: significance": held[-1, 0],
                    "most robust: robustness": held[-1, 1],
                    "still not beaten on test events": 1.0 - beaten,
                }.items():
                    found.setdefault(key, []).append(float(value))
            rows += [mean(f"{name}: {key}", values) for key, values in found.items()]
    alone = area(reference / [best, 1.0])
    rows.append(Row("cross-entropy alone: area", alone))
    gain = [each / alone for each in areas["PBT"]]
    rows.append(median("PBT's front / cross-entropy alone, area", gain, ">= 1.05"))
    return rows

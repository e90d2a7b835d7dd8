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

import importlib.util
import statistics
from dataclasses import replace

import numpy as np

from benchmarks.peers.arena import compiled_once, say
from benchmarks.search import judge
from benchmarks.systematics import gaussians
from benchmarks.table import Row


def task(count: int):
    """What is trained, and its two scores."""
    import difftune as dt
    from difftune.objectives import FitModel, MetricOf, PoiUncertainty, Robustness, Significance

    trained = FitModel(bins=8, bandwidth=(0.1, 0.02), mc_statistics=False)
    judged = FitModel(bins=10, bandwidth=(1e-3, 1e-3), mc_statistics=False)
    return dt.analysis.Preparation(
        split=dt.analysis.Split(events=gaussians(count)),
        recipe=dt.Recipe(
            model=dt.models.MLP(hidden=(32, 32)),
            objective=dt.objectives.CrossEntropy() + "fit" * PoiUncertainty(model=trained),
            batch_size=2000,
            patience=10_000,
            metric=dt.objectives.MultiObjective(
                {
                    "significance": Significance(bins=10),
                    "robustness": MetricOf(
                        objective=Robustness(model=judged, parameters=("scale",)), power=1.0
                    ),
                }
            ),
        ),
    )


def area(scores: np.ndarray) -> float:
    """What a front covers, by its points."""
    height, total = 0.0, 0.0
    for first, second in scores[np.argsort(-scores[:, 0])]:
        total += first * max(second - height, 0.0)
        height = max(second, height)
    return total


def run(*, quick: bool) -> list[Row]:
    """Fronts of searches of equal length, and the best of cross-entropy alone."""
    import difftune as dt

    seeds, members, rounds, epochs, count = (1, 2, 2, 1, 2000) if quick else (5, 16, 8, 4, 20_000)
    dt.training.use_cpu_cores()
    job = task(count)
    space = dt.Space(learning_rate=dt.log_uniform(1e-3, 3e-2), fit=dt.log_uniform(1e-2, 1e2))
    length = rounds * epochs
    strategies = {
        "PBT": dt.search.PBT(population=members, rounds=rounds, epochs_per_round=epochs),
        "random": dt.search.Random(population=members, rounds=1, epochs_per_round=length),
    }
    if quick:
        # It takes the programs of PBT, and no others.
        del strategies["random"]
    if not importlib.util.find_spec("optuna"):
        say("TPE is left out: optuna is not installed")
    else:
        batch = max(2, members // 4)
        strategies["TPE"] = dt.search.Optuna(
            population=batch, rounds=members // batch, epochs_per_round=length
        )
    rows = []
    with compiled_once():
        plain = replace(job, objective=dt.objectives.CrossEntropy()).search(
            dt.search.FixedSchedule(
                population=seeds,
                rounds=1,
                epochs_per_round=length,
                schedule={"learning_rate": np.array([3e-3])},
            ),
            dt.Space(),
            seed=1,
        )
        # Compiled once: through the fit, each operation on its own would take far longer.
        measure = judge(plain, job.split.test)
        reference = np.array([measure(plain, slot) for slot in range(seeds)])
        say(f"cross-entropy alone: {seeds} networks")
        best = reference[:, 0].max()
        for number, what in enumerate(("significance", "robustness")):
            rows.append(_row(f"cross-entropy alone: {what}", reference[:, number]))
        areas: dict[str, list[float]] = {}
        for name, strategy in strategies.items():
            found: dict[str, list[float]] = {}
            for seed in range(1, seeds + 1):
                tuned = dt.analysis.search_networks(job, strategy, space, seed=seed)
                front = tuned.pareto_front
                promised = np.array([list(rank.scores.values()) for rank in front])
                held = np.array([measure(tuned, rank.member) for rank in front])
                say(f"{name}, seed {seed}: {len(front)} networks")
                areas.setdefault(name, []).append(area(held / [best, 1.0]))
                for key, value in {
                    "networks of the front": len(front),
                    "area on test events": areas[name][-1],
                    "area, validation / test": area(promised / [best, 1.0]) / areas[name][-1],
                    "most significant: significance": held[0, 0],
                    "most significant: robustness": held[0, 1],
                    "most robust: significance": held[-1, 0],
                    "most robust: robustness": held[-1, 1],
                    "still not beaten on test events": 1.0
                    - np.mean(dt.search.front.dominated(held)),
                }.items():
                    found.setdefault(key, []).append(float(value))
            rows += [_row(f"{name}: {key}", np.array(values)) for key, values in found.items()]
    alone = area(reference / [best, 1.0])
    rows.append(Row(what="cross-entropy alone: area", required="", measured=alone))
    ratios = [each / alone for each in areas["PBT"]]
    rows.append(
        Row(
            what="PBT's front / cross-entropy alone, area",
            required=">= 1.05",
            measured=statistics.median(ratios),
            spread=f"({min(ratios):.3f} to {max(ratios):.3f})",
        )
    )
    return rows


def _row(what: str, values: np.ndarray) -> Row:
    deviation = np.std(values, ddof=1) if len(values) > 1 else 0.0
    spread = f"± {deviation:.3g} over {len(values)} seeds"
    return Row(what=what, required="", measured=float(np.mean(values)), spread=spread)

"""Writes what a run found into its run directory."""

import csv
import io
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from difftune.analysis import Measurement, Residuals, Spread, Variables
from difftune.files import write
from difftune.job.config import Config
from difftune.job.outcome import Outcome, Trained
from difftune.job.regression import Regressed
from difftune.job.rundir import write_json
from difftune.report import Measured
from difftune.training import History

logger = logging.getLogger("difftune")


Writers = Sequence[tuple[str, Callable[[], object]]]
"""What is written, with what writes it."""


def save(outcome: Trained, folder: Path) -> None:
    """Writes everything that was found; what cannot be written costs nothing of the rest."""

    def report() -> None:
        # Late, since it brings matplotlib.
        from difftune.job.report import write_report

        write_report(outcome, folder)

    # The numbers first: the report can be drawn again from them.
    writers: Writers = (
        ("results.json", lambda: write_json(folder / "results.json", results(outcome))),
        ("network", lambda: outcome.network.save(folder / "network")),
        *(_writers_of_measurement(outcome, folder) if isinstance(outcome, Outcome) else ()),
        ("history.csv", lambda: write_histories(outcome, folder)),
        ("report.html", report),
    )
    for what, writes in writers:
        try:
            writes()
        # A full disk; a name that somebody's library has no picture or place for.
        except (OSError, ValueError) as error:
            logger.error(
                "%s of the run in %s could not be written: %s. The rest is there; make room, and "
                "run again with --resume, which trains nothing anew.",
                *(what, folder, error),
            )


def _writers_of_measurement(outcome: Outcome, folder: Path) -> Writers:
    """Of workspaces and templates."""
    own, places = outcome.measurement, folder / "templates"
    regions = [*own.fitted, *own.validation]

    def write_root() -> None:
        for number, templates in enumerate(regions):
            templates.write_root(places / "templates.root", append=number > 0)

    return (
        (
            "workspace.json",
            lambda: write_json(folder / "workspace.json", outcome.measurement.workspace),
        ),
        *(
            [
                (
                    "workspace_with_validation.json",
                    lambda: write_json(folder / "workspace_with_validation.json", own.extended),
                )
            ]
            if own.validation
            else []
        ),
        (
            "templates.json",
            lambda: write_json(
                places / "templates.json",
                own.templates.to_dict()
                if len(regions) == 1
                else {"channels": [each.to_dict() for each in regions]},
            ),
        ),
        ("templates.root", write_root),
    )


def save_variables(variables: Variables, config: Config, folder: Path) -> None:
    """Writes `selection.json`, with plots and tables of each selection."""
    from difftune.job.report_search import draw_variables

    write_json(folder / "selection.json", variables.to_dict())
    draw_variables(variables, config, folder)


def results(outcome: Trained) -> dict[str, Any]:
    """The numbers that were found, for JSON."""
    if isinstance(outcome, Regressed):
        found = _of_regression(outcome)
    else:
        assert isinstance(outcome, Outcome), "it is one of these"
        found = _of_measurement(outcome)
    return {
        **found,
        "normalisations": [asdict(each) for each in outcome.sample.events.normalisations],
        "selection": None if outcome.variables is None else outcome.variables.to_dict(),
        # Of each fold, where they are cross-fitted.
        "searches": [
            {
                "ranking": [asdict(rank) for rank in tuned.ranking],
                "schedule": {k: v.tolist() for k, v in tuned.result.schedule.items()},
            }
            for tuned in outcome.searches
        ],
        "seconds": outcome.seconds,
    }


def _of_regression(outcome: Regressed) -> dict[str, Any]:
    """Resolution, bias and coverage of each target."""

    def number(own: Measured | None) -> dict[str, float] | None:
        return None if own is None else {"value": own.value, "uncertainty": own.uncertainty}

    def spread(own: Spread) -> dict[str, Any]:
        return {
            "low": own.low,
            "high": own.high,
            "events": own.events,
            "bias": number(own.bias),
            "resolution": number(own.resolution),
            "coverage": number(own.coverage),
        }

    def figures(own: Residuals) -> dict[str, Any]:
        return {
            "relative": own.relative,
            "whole": spread(own.whole),
            "bias_in_bins": number(own.bias),
            "bins": [spread(each) for each in own.bins],
        }

    return {
        "targets": {
            name: {
                **figures(own),
                "resolution": {
                    "default": [each[name].whole.resolution.value for each in outcome.defaults],
                    "tuned": [
                        each[name].whole.resolution.value
                        for each in (outcome.residuals, *outcome.repeated)
                    ],
                    "uncertainties": outcome.steps[name].sources,
                },
                "ladder": [asdict(rung) for rung in outcome.steps[name].rungs],
            }
            for name, own in outcome.residuals.items()
        }
    }


def _of_measurement(outcome: Outcome) -> dict[str, Any]:
    """The fitted numbers."""

    def significances(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
        return {
            "stat_only": [m.stat_only for m in measurements],
            "expected": [m.expected for m in measurements],
        }

    result = outcome.fit
    return {
        "figure": {
            "name": outcome.job.figure.name,
            "symbol": outcome.job.figure.symbol,
            "smaller_is_better": outcome.job.figure.inverse,
            "value": outcome.measurement.value,
            "default": [m.value for m in outcome.default_measurements],
            "tuned": [m.value for m in outcome.tuned_measurements],
            "uncertainties": outcome.ladder.sources,
        },
        "data": outcome.measurement.data,
        "blinded": list(outcome.measurement.blinded),
        "pruned": [
            {
                "variation": each.variation,
                "process": each.process,
                "region": each.region,
                "what": each.what,
                "why": each.reason,
            }
            for each in outcome.measurement.treatments
        ],
        "ladder": [asdict(rung) for rung in outcome.ladder.rungs],
        "significance": {
            "default": significances(outcome.default_measurements),
            "tuned": significances(outcome.tuned_measurements),
        },
        "cls": {
            "poi": 1.0,
            "observed": float(outcome.cls.observed),
            "expected": outcome.cls.expected.tolist(),
        },
        "fit": {
            "names": list(result.names),
            "values": [float(v) for v in result.values],
            "uncertainties": [float(v) for v in result.uncertainties],
            "correlation": np.asarray(result.correlation).tolist(),
            "twice_nll": float(result.twice_nll),
        },
    }


def write_histories(outcome: Trained, folder: Path) -> None:
    """Writes `history.csv`, of each fold where they are cross-fitted: `history_fold_0.csv`, ..."""
    searches = outcome.searches
    for number, tuned in enumerate(searches):
        name = "history.csv" if len(searches) == 1 else f"history_fold_{number}.csv"
        write(folder / name, history_csv(tuned.history))


def history_csv(history: History) -> str:
    """One row per epoch and member: losses, scores, hyperparameters, parent."""
    measured = {
        name: getattr(history, name)
        for name in (
            "loss",
            "validation_loss",
            "hard_loss",
            "score",
            "selection_score",
            "train_score",
        )
    }
    for number, name in enumerate(history.score_names):
        assert history.scores is not None, "it has names"
        measured[name] = history.scores[..., number]
    from difftune.report import as_text

    names = sorted(history.hyperparameters)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [
            "epoch",
            "round",
            "member",
            *map(as_text, measured),
            "parent",
            "restart",
            *map(as_text, names),
        ]
    )
    for row, (epoch, number) in enumerate(zip(history.epoch, history.round, strict=True)):
        for member in range(history.score.shape[1]):
            table.writerow(
                [
                    epoch,
                    number,
                    member,
                    *(f"{values[row, member]:.7g}" for values in measured.values()),
                    history.parents[number, member],
                    int(history.restart[number, member]),
                    *(f"{history.hyperparameters[name][number, member]:.7g}" for name in names),
                ]
            )
    return text.getvalue()

"""The searches of a run in its report: of hyperparameters, and of variables."""

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from difftune import report
from difftune.analysis import Tuned, Variables
from difftune.job.config import Config
from difftune.job.outcome import Trained, said_of
from difftune.job.report_output import Output
from difftune.report import Block, Cell, Section, Text


def search_section(outcome: Trained, output: Output) -> Section:
    """All searches, that of the first fold in front.

    Args:
        outcome: What the run found.
        output: Where figures and tables go.
    """
    first, *others = outcome.searches
    blocks = _one_search(outcome, first, output)
    if others:
        below = "; those of the others are below" if output.everything else ""
        blocks.insert(0, Text(f"The search of the first fold{below}."))
    for number, tuned in enumerate(others, 1):
        blocks += output.folded(
            f"The search of fold {number}",
            partial(_short_search, outcome, tuned, output.under(f"fold_{number}_")),
        )
    return Section("Search", blocks)


def _score_name(outcome: Trained) -> str:
    score = outcome.config.training.score
    if score == "figure" and outcome.job.regression:
        return "Validation score (1 / loss)"
    if score == "figure":
        inverse = outcome.job.figure.inverse
        return f"Validation {'1 / ' if inverse else ''}{outcome.job.figure.symbol}"
    own = "significance" if score in ("significance", "discovery_significance") else "score"
    return f"Validation {own}" if isinstance(score, str) else "Mean of the scores"


def _chosen(tuned: Tuned) -> tuple[int, int]:
    """Epoch, of all stages, and slot of the chosen network."""
    result = tuned.result
    passed = len(tuned.history.epoch) - len(result.history.epoch)
    return passed + int(result.best.epoch[result.winner]), int(result.best.slot[result.winner])


def _logarithmic(tuned: Tuned) -> set[str]:
    """Hyperparameters that are searched in the logarithm, in any stage."""
    before = set() if tuned.before is None else _logarithmic(tuned.before)
    return before | set(tuned.space.logarithmic)


def _short_search(outcome: Trained, tuned: Tuned, output: Output) -> list[Block]:
    """Losses, scores and members of one of several searches."""
    best = _chosen(tuned)
    return [
        output.picture(
            report.loss_history(
                tuned.history, best=best, score_name=_score_name(outcome), label=output.label
            ),
            "history",
            "Loss and validation score of every member; the chosen network along its descent.",
        ),
        output.table(report.members_table(tuned.history, best=best), "members"),
    ]


def _one_search(outcome: Trained, tuned: Tuned, output: Output) -> list[Block]:
    """Everything of a search."""
    result, history, best = tuned.result, tuned.history, _chosen(tuned)
    score_name = _score_name(outcome)
    common: dict[str, Any] = {"best": best, "score_name": score_name, "label": output.label}
    log = _logarithmic(tuned)
    blocks: list[Block] = [
        output.picture(
            report.loss_history(history, **common),
            "history",
            "Loss and validation score of every member; the chosen network along its descent. The "
            "training loss has the dropout and the signal weight of the member in it.",
        ),
        *output.pictures(
            report.hyperparameter_history(history, **common, log=log),
            "hyperparameters",
            "Hyperparameters of every member, round by round.",
        ),
        *output.pictures(
            report.score_against_hyperparameters(history, **common, log=log),
            "score_against_hyperparameters",
            "Best validation score in a round against each hyperparameter.",
        ),
    ]
    if pairs := report.score_against_pairs(history, **common, log=log):
        blocks.append(
            output.picture(
                pairs,
                "score_against_pairs",
                "The same in the plane of two, for those that the score depends on most.",
                width=100,
            )
        )
    if history.hyperparameters:
        blocks.append(report.ParallelCoordinates(history, best, score_name, log=log))
    if condition := report.score_against_condition(history, **common):
        blocks.append(
            output.picture(
                condition,
                "score_against_condition",
                "What the overtraining condition excludes: members and epochs right of the line.",
            )
        )
    if history.scores is not None:
        front = np.array([list(rank.scores.values()) for rank in tuned.pareto_front])
        chosen = np.asarray(result.best.scores)[result.winner]
        blocks.append(
            output.picture(
                report.pareto_front(history, front, chosen=chosen, label=output.label),
                "front",
                "The scores of every member and epoch, and the networks that no other one beats in "
                "all of them. The chosen one has the largest geometric mean.",
            )
        )
    blocks.append(output.table(report.members_table(history, best=best), "members"))
    # The table shows the first; the file has all.
    output.table(report.members_table(history, best=best, most=len(history.status)), "leaderboard")
    diverged = sum(status.startswith("diverged") for status in history.status)
    if diverged:
        blocks.append(Text(f"{diverged} members diverged and were set aside."))
    return blocks


def draw_variables(variables: Variables, config: Config, folder: Path) -> list[Block]:
    """Which variables are kept, and how they were chosen: plots, tables, and what says so.

    Args:
        variables: The choice.
        config: The resolved configuration.
        folder: The run directory.
    """
    output = Output.of(config, folder)
    several = len(variables.selections) > 1
    section = config.selection
    by_figure = section is not None and section.score == "figure" and config.data.target is None
    score = "Score by the figure of merit" if by_figure else "Minus the loss"
    blocks: list[Block] = [
        Text(said_of(variables)),
        output.table(variables_table(variables), "variables"),
    ]
    for fold, selection in enumerate(variables.selections):
        each = output.under(f"fold_{fold}_" if several else "")
        own: list[Block] = [
            each.picture(
                report.selection_path(selection, score=score, label=output.label),
                "selection",
                "Score of each set of variables on the path, trained once more with other seeds.",
            ),
            each.table(report.selection_table(selection), "selection"),
        ]
        name = f"The elimination for fold {fold}, without its events"
        blocks += [report.Collapsible(name, own)] if several else own
    return blocks


def variables_table(variables: Variables) -> report.Table:
    """By how many selections each variable is kept, as a table."""
    every = len(variables.selections)
    rows: list[tuple[Cell, ...]] = [
        (name, f"{votes} of {every}" if every > 1 else "yes" if votes else "no")
        for name, votes in variables.votes.items()
    ]
    return report.Table(
        columns=("Variable", "Kept for folds" if every > 1 else "Kept"),
        rows=tuple(rows),
        caption="Variables by how many selections keep them, then by how long they stayed.",
    )

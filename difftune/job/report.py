"""The report of a run: which pictures, which tables, in which order."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from difftune import report
from difftune.files import write
from difftune.job.outcome import Outcome
from difftune.report import Block, Picture, PlotFigure, Section, Text
from difftune.training import Ensemble


class _Plots:
    """Saves each figure under a name, and hands it to the report."""

    def __init__(self, folder: Path):
        self.folder = folder

    def one(self, figure: PlotFigure, name: str, caption: str, *, width: int = 70) -> Picture:
        _, picture, _ = report.save(figure, self.folder, name)
        return Picture(picture.read_bytes(), caption, width)

    def pages(self, figures: Sequence[PlotFigure], name: str, caption: str) -> list[Block]:
        return [
            self.one(figure, f"{name}_{i}" if len(figures) > 1 else name, caption, width=100)
            for i, figure in enumerate(figures, 1)
        ]


class _Tables:
    """Writes each table as CSV and LaTeX too."""

    def __init__(self, folder: Path):
        self.folder = folder

    def __call__(self, table: report.Table, name: str) -> report.Table:
        write(self.folder / f"{name}.csv", table.csv())
        write(self.folder / f"{name}.tex", table.latex())
        return table


def write_report(outcome: Outcome, folder: Path) -> None:
    """Makes all plots and tables of a run, and `report.html` from them.

    Args:
        outcome: What the run found.
        folder: The run directory.
    """
    config = outcome.config
    label = report.Label(status=config.general.label, detail=config.general.detail)
    plots, tables = _Plots(folder / "plots"), _Tables(folder / "tables")
    sections = [
        _headline(outcome, tables),
        _inputs(outcome, plots, tables, label),
        _search(outcome, plots, tables, label),
        _network(outcome, plots, label),
        _region(outcome, plots, tables, label),
        _fit(outcome, plots, label),
        _record(folder),
    ]
    strategy = type(outcome.tuned.strategy).__name__
    subtitle = (
        f"{strategy}, {outcome.tuned.strategy.population} members, "
        f"{outcome.tuned.strategy.rounds} rounds, seed {config.general.seed}"
    )
    write(folder / "report.html", report.render(config.general.name, subtitle, sections))


def _headline(outcome: Outcome, tables: _Tables) -> Section:
    results = {
        name: {
            "Stat-only": [m.stat_only for m in measurements],
            outcome.measurement.uncertainties.capitalize(): [m.expected for m in measurements],
        }
        for name, measurements in (
            ("Tuned, the network of this run", [outcome.measurement]),
            ("Tuned, searches with different seeds", outcome.tuned_measurements),
            ("Cross-entropy, default settings", outcome.default_measurements),
        )
    }
    own = outcome.measurement
    network = outcome.network
    whole = len(outcome.tuned.executions)
    chosen = (
        f"is the mean of {len(network.networks)} trainings of the trial with the largest "
        "selection score"
        + (
            f" (of {whole}; no epoch of the others was allowed)"
            if len(network.networks) < whole
            else ""
        )
        if isinstance(network, Ensemble)
        else "is the one with the largest selection score"
    )
    return Section(
        "Result",
        [
            report.Numbers(
                [
                    (f"{own.expected:.2f}", f"expected significance, {own.uncertainties}"),
                    (f"{own.stat_only:.1f}", "expected significance, stat-only"),
                    (outcome.poi_text, f"{outcome.config.fit.poi}, {own.data}"),
                ]
            ),
            tables(report.significance_table(results), "significance"),
            Text(
                "All figures come from hard bins of the test events, which neither the training "
                "nor the choice of hyperparameters, epoch or bin edges has seen. The tuned "
                f"network {chosen}: its validation score less what may be luck. The whole search "
                "was made again with other seeds, and the default network trained with several, "
                "so that the spread shows what is chance."
            ),
        ],
    )


def _inputs(outcome: Outcome, plots: _Plots, tables: _Tables, label) -> Section:
    split = outcome.tuned.split
    events, train = split.events, split.train
    features, weight = np.asarray(train.features), np.asarray(train.weight)
    signal = np.asarray(train.label) == 1
    names = events.feature_names
    samples = report.samples_table(
        np.asarray(events.process),
        np.asarray(events.weight),
        [p.name for p in events.processes],
        [p.role for p in events.processes],
    )
    folds = (
        f"Of {events.folds} folds (event number modulo {events.folds}), "
        f"{_list(split.train_folds)} train, {_list(split.validation_folds)} validate, "
        f"{_list(split.test_folds)} test; each part is weighted to the full expected yield."
    )
    return Section(
        "Events",
        [
            tables(samples, "samples"),
            Text(folds),
            report.Collapsible(
                f"Distributions of the {len(names)} features (training events)",
                plots.pages(
                    report.feature_distributions(features, weight, signal, names, label=label),
                    "features",
                    "Features of signal and background, normalised.",
                ),
            ),
            report.Collapsible(
                "Correlations of the features (training events)",
                [
                    plots.one(
                        report.feature_correlations(features, weight, signal, names, label=label),
                        "correlations",
                        "Weighted linear correlations.",
                        width=100,
                    )
                ],
            ),
        ],
    )


def _search(outcome: Outcome, plots: _Plots, tables: _Tables, label) -> Section:
    result = outcome.tuned.result
    history = result.history
    best = (int(result.best.epoch[result.winner]), int(result.best.slot[result.winner]))
    score = outcome.config.training.score
    own = "significance" if score in ("significance", "discovery_significance") else "score"
    score_name = f"Validation {own}" if isinstance(score, str) else "Mean of the scores"
    common = {"best": best, "score_name": score_name, "label": label}
    blocks: list[Block] = [
        plots.one(
            report.loss_history(history, **common),
            "history",
            "Loss and validation score of every member; the chosen network along its descent. The "
            "training loss has the dropout and the signal weight of the member in it.",
        ),
        *plots.pages(
            report.hyperparameter_history(history, **common),
            "hyperparameters",
            "Hyperparameters of every member, round by round.",
        ),
        *plots.pages(
            report.score_against_hyperparameters(history, **common),
            "score_against_hyperparameters",
            "Best validation score in a round against each hyperparameter.",
        ),
    ]
    if pairs := report.score_against_pairs(history, **common):
        blocks.append(
            plots.one(
                pairs,
                "score_against_pairs",
                "The same in the plane of two, for those that the score depends on most.",
                width=100,
            )
        )
    if history.hyperparameters:
        blocks.append(report.ParallelCoordinates(history, best, score_name))
    if condition := report.score_against_condition(history, **common):
        blocks.append(
            plots.one(
                condition,
                "score_against_condition",
                "What the overtraining condition excludes: members and epochs right of the line.",
            )
        )
    if history.scores is not None:
        front = np.array([list(rank.scores.values()) for rank in outcome.tuned.pareto_front])
        chosen = np.asarray(result.best.scores)[result.winner]
        blocks.append(
            plots.one(
                report.pareto_front(history, front, chosen=chosen, label=label),
                "front",
                "The scores of every member and epoch, and the networks that no other one beats in "
                "all of them. The chosen one has the largest geometric mean.",
            )
        )
    blocks.append(tables(report.members_table(history, best=best), "members"))
    # The table shows the first; the file has all.
    tables(report.members_table(history, best=best, most=len(history.status)), "leaderboard")
    diverged = sum(status.startswith("diverged") for status in history.status)
    if diverged:
        blocks.append(Text(f"{diverged} members diverged and were set aside."))
    return Section("Search", blocks)


def _network(outcome: Outcome, plots: _Plots, label) -> Section:
    split = outcome.tuned.split
    train, test = split.train, split.test
    network, default = outcome.network, outcome.default.network
    test_score, signal = network.score(test), np.asarray(test.label) == 1
    return Section(
        "Network",
        [
            plots.one(
                report.score_distributions(
                    network.score(train),
                    np.asarray(train.weight),
                    np.asarray(train.label) == 1,
                    test_score,
                    np.asarray(test.weight),
                    signal,
                    label=label,
                ),
                "score",
                "Score of training and test events; a difference would be overtraining.",
            ),
            plots.one(
                report.roc(
                    {"Tuned": test_score, "Default": default.score(test)},
                    np.asarray(test.weight),
                    signal,
                    label=label,
                ),
                "roc",
                "Background rejection against signal efficiency, test events.",
            ),
        ],
    )


def _region(outcome: Outcome, plots: _Plots, tables: _Tables, label) -> Section:
    templates = outcome.measurement.templates
    normalisation = outcome.job.nuisances["normalisation"]
    varied = report.systematic_variations(templates, label=label)
    hidden = report.negligible(templates, varied)
    note = f"Negligible, and not shown: {', '.join(hidden)}." if hidden else "None is negligible."
    systematics = any(process.variations for process in templates.processes.values())
    both = systematics or bool(normalisation)
    return Section(
        "Signal region and systematics" if both else "Signal region",
        [
            plots.one(
                report.region(templates, normalisation=normalisation, label=label),
                "signal_region",
                "Expected events before the fit, with their statistical "
                f"{'and systematic ' if both else ''}uncertainty, and {outcome.measurement.data}.",
            ),
            tables(report.yields_table([templates], normalisation=normalisation), "yields"),
            *(
                [
                    report.Collapsible(
                        "Systematic variations",
                        [*plots.pages(varied, "systematics", "Nominal, up and down."), Text(note)],
                    )
                ]
                if systematics
                else []
            ),
        ],
    )


def _fit(outcome: Outcome, plots: _Plots, label) -> Section:
    result, poi = outcome.fit, outcome.config.fit.poi
    names = list(result.names)
    expected = outcome.cls.expected
    return Section(
        "Fit",
        [
            Text(
                f"Fit of workspace.json to its {outcome.measurement.data}: {poi} = "
                f"{outcome.poi_text}. Expected CLs of {poi} = 1: {expected[2]:.3g} (one "
                f"standard deviation: {expected[1]:.3g} to {expected[3]:.3g}), which "
                "`pyhf cls --optimizer minuit workspace.json` confirms."
            ),
            *plots.pages(
                report.pulls(
                    names,
                    np.asarray(result.values),
                    np.asarray(result.uncertainties),
                    centers=np.asarray(result.centers),
                    widths=np.asarray(result.widths),
                    label=label,
                ),
                "pulls",
                "Fitted parameters in units of their uncertainty before the fit.",
            ),
            report.Collapsible(
                "Correlations of the parameters",
                [
                    plots.one(
                        report.parameter_correlations(
                            np.asarray(result.correlation), names, label=label
                        ),
                        "parameter_correlations",
                        "Parameters with a correlation worth showing.",
                        width=100,
                    )
                ],
            ),
        ],
    )


def _record(folder: Path) -> Section:
    return Section(
        "Record",
        [
            report.Collapsible(name, [report.Code(_pretty(folder / file))])
            for name, file in (
                ("Configuration", "config.json"),
                ("Environment", "environment.json"),
            )
        ],
    )


def _pretty(file: Path) -> str:
    return json.dumps(json.loads(file.read_text()), indent=2)


def _list(folds: Sequence[int]) -> str:
    words = [str(fold) for fold in folds]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"

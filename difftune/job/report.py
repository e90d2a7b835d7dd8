"""The report of a run: which pictures, which tables, in which order."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from difftune import report
from difftune.analysis import CrossFit, CrossTuned, Ladder, Treatment, Tuned, Variables
from difftune.files import write
from difftune.job.config import Config
from difftune.job.outcome import Outcome, said_of
from difftune.job.regions_report import regions_section, said_of_data
from difftune.report import Block, Picture, PlotFigure, Section, Text
from difftune.report.tables import Cell
from difftune.training import CrossFitted, Ensemble


class _Plots:
    """Saves each figure under a name, and hands it to the report."""

    def __init__(self, folder: Path, prefix: str = ""):
        self.folder, self.prefix = folder, prefix

    def of(self, prefix: str) -> "_Plots":
        """The same with names that begin so."""
        return _Plots(self.folder, prefix)

    def one(self, figure: PlotFigure, name: str, caption: str, *, width: int = 70) -> Picture:
        _, picture, _ = report.save(figure, self.folder, self.prefix + name)
        return Picture(picture.read_bytes(), caption, width)

    def pages(self, figures: Sequence[PlotFigure], name: str, caption: str) -> list[Block]:
        return [
            self.one(figure, f"{name}_{i}" if len(figures) > 1 else name, caption, width=100)
            for i, figure in enumerate(figures, 1)
        ]


def _folded(outcome: Outcome, title: str, blocks: Callable[[], Sequence[Block]]) -> list[Block]:
    """What a reader folds out: a section of its own, where all figures are wanted."""
    if outcome.config.general.figures == "main":
        return []
    return [report.Collapsible(title, list(blocks()))]


class _Tables:
    """Writes each table as CSV and LaTeX too."""

    def __init__(self, folder: Path, prefix: str = ""):
        self.folder, self.prefix = folder, prefix

    def of(self, prefix: str) -> "_Tables":
        """The same with names that begin so."""
        return _Tables(self.folder, prefix)

    def __call__(self, table: report.Table, name: str) -> report.Table:
        write(self.folder / f"{self.prefix}{name}.csv", table.csv())
        write(self.folder / f"{self.prefix}{name}.tex", table.latex())
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
        *(
            [Section("Variables", draw_variables(outcome.variables, config, folder))]
            if outcome.variables is not None
            else []
        ),
        _search(outcome, plots, tables, label),
        _network(outcome, plots, label),
        _region(outcome, plots, tables, label),
        *(
            [regions_section(outcome, plots.one, tables, label)]
            if outcome.sample.events.regions
            else []
        ),
        _fit(outcome, plots, label),
        _record(folder),
    ]
    strategy = outcome.tuned.strategy
    first = outcome.stages[0]
    searches = first.folds if isinstance(first, CrossTuned) else (first,)
    strategy = searches[0].strategy
    each = " for each fold" if isinstance(first, CrossTuned) else ""
    subtitle = (
        f"{type(strategy).__name__}, {strategy.population} members{each}, "
        f"{strategy.rounds} rounds, seed {config.general.seed}"
    )
    write(folder / "report.html", report.render(config.general.name, subtitle, sections))


def _headline(outcome: Outcome, tables: _Tables) -> Section:
    own, ladder = outcome.measurement, outcome.ladder
    last = ladder.rungs[-1]
    numbers = [
        (
            report.written(report.Measured(last.value, last.uncertainty)),
            f"{outcome.job.figure.symbol}, {own.uncertainties}",
        ),
        (f"{own.stat_only:.1f}", "expected significance, stat-only"),
        (outcome.poi_text, f"{outcome.config.fit.poi}, {own.data}"),
    ]
    if outcome.job.figure.name != "discovery":
        numbers.insert(1, (f"{own.expected:.2f}", f"expected significance, {own.uncertainties}"))
    crossed = isinstance(outcome.sample, CrossFit)
    return Section(
        "Result",
        [
            report.Numbers(numbers),
            Text(ladder.verdict),
            tables(ladder_table(ladder), "ladder"),
            Text(
                f"Uncertainties: {ladder.sources}. The gain is that over the line before; chance "
                "is the probability of such a gain, or a larger one, where there is none. "
                + (
                    "Every simulated event is in the templates, in hard bins of the score of the "
                    "network of its fold, which neither its training nor any choice of "
                    "hyperparameters, epoch or bin edges has seen."
                    if crossed
                    else "All figures come from hard bins of the test events, which neither the "
                    "training nor the choice of hyperparameters, epoch or bin edges has seen."
                )
            ),
            Text(_which(outcome)),
        ],
    )


def ladder_table(ladder: Ladder) -> report.Table:
    """What each step brings, as a table."""
    rows: list[tuple[Cell, ...]] = []
    for rung in ladder.rungs:
        value: Cell = rung.value
        if rung.uncertainty > 0:
            value = report.Measured(rung.value, rung.uncertainty)
        if rung.gain is None:
            rows.append((rung.name, value, None, None))
            continue
        gain = report.Measured(100 * rung.gain, 100 * (rung.gain_uncertainty or 0.0))
        rows.append((rung.name, value, gain, rung.luck))
    return report.Table(
        columns=("Step", ladder.figure.symbol, "Gain in %", "Chance"),
        rows=tuple(rows),
        caption=f"{ladder.figure.symbol} step by step.",
        emphasised=(len(rows) - 1,),
    )


def _which(outcome: Outcome) -> str:
    """Which network was chosen."""
    if not outcome.config.search.ensemble:
        own = "network of each fold" if isinstance(outcome.sample, CrossFit) else "tuned network"
        return (
            f"The {own} is the one with the largest selection score: its validation score less "
            "what may be luck."
        )
    network = outcome.network
    several = network.networks if isinstance(network, CrossFitted) else (network,)
    sizes = sorted({len(each.networks) for each in several if isinstance(each, Ensemble)})
    many = " to ".join(str(size) for size in dict.fromkeys((sizes[0], sizes[-1])))
    which = {
        "trial": "trainings of the trial with the largest selection score: its validation score "
        "less what may be luck",
        "trials": "trainings of the trials with the largest selection scores: the validation score "
        "less what may be luck",
        "greedy": "networks of the search, chosen one after the other, also repeatedly, by the "
        "validation score of their mean less what may be luck",
    }[outcome.config.search.ensemble]
    own = "network of each fold" if isinstance(network, CrossFitted) else "tuned network"
    return f"The {own} is the mean of {many} {which}."


def _inputs(outcome: Outcome, plots: _Plots, tables: _Tables, label) -> Section:
    sample = outcome.sample
    events = sample.events
    crossed = isinstance(sample, CrossFit)
    trained = outcome.training_sample
    train = trained.events.simulated if isinstance(trained, CrossFit) else trained.train
    what = "simulated" if crossed else "training"
    features, weight = np.asarray(train.features), np.asarray(train.weight)
    signal = np.asarray(train.label) == 1
    names = events.feature_names
    samples = report.samples_table(
        np.asarray(events.process),
        np.asarray(events.weight),
        [p.name for p in events.processes],
        [p.role for p in events.processes],
    )
    if isinstance(sample, CrossFit):
        folds = (
            f"There are {events.folds} folds (event number modulo {events.folds}). For each, "
            "networks learn from all others but the next one, choices rest on that next one, and "
            "its own events are measured."
        )
    else:
        folds = (
            f"Of {events.folds} folds (event number modulo {events.folds}), "
            f"{_list(sample.train_folds)} train, {_list(sample.validation_folds)} validate, "
            f"{_list(sample.test_folds)} test; each part is weighted to the full expected yield."
        )
    return Section(
        "Events",
        [
            tables(samples, "samples"),
            Text(folds),
            *_folded(
                outcome,
                f"Distributions of the {len(names)} features ({what} events)",
                lambda: plots.pages(
                    report.feature_distributions(features, weight, signal, names, label=label),
                    "features",
                    "Features of signal and background, normalised.",
                ),
            ),
            *_folded(
                outcome,
                f"Correlations of the features ({what} events)",
                lambda: [
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


def draw_variables(variables: Variables, config: Config, folder: Path) -> list[Block]:
    """Which variables are kept, and how they were chosen: plots, tables, and what says so.

    Args:
        variables: The choice.
        config: The resolved configuration.
        folder: The run directory.
    """
    label = report.Label(status=config.general.label, detail=config.general.detail)
    plots, tables = _Plots(folder / "plots"), _Tables(folder / "tables")
    several = len(variables.selections) > 1
    section = config.selection
    by_figure = section is not None and section.score == "figure"
    score = "Score by the figure of merit" if by_figure else "Minus the loss"
    blocks: list[Block] = [
        Text(said_of(variables)),
        tables(variables_table(variables), "variables"),
    ]
    for fold, selection in enumerate(variables.selections):
        prefix = f"fold_{fold}_" if several else ""
        own: list[Block] = [
            plots.of(prefix).one(
                report.selection_path(selection, score=score, label=label),
                "selection",
                "Score of each set of variables on the path, trained once more with other seeds.",
            ),
            tables.of(prefix)(report.selection_table(selection), "selection"),
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


def _search(outcome: Outcome, plots: _Plots, tables: _Tables, label) -> Section:
    first, *others = outcome.searches
    blocks = _one_search(outcome, first, plots, tables, label)
    if others:
        below = "; those of the others are below" if outcome.config.general.figures == "all" else ""
        blocks.insert(0, Text(f"The search of the first fold{below}."))
    for number, tuned in enumerate(others, 1):
        own, rows = plots.of(f"fold_{number}_"), tables.of(f"fold_{number}_")
        blocks += _folded(
            outcome,
            f"The search of fold {number}",
            partial(_short_search, outcome, tuned, own, rows, label),
        )
    return Section("Search", blocks)


def _score_name(outcome: Outcome) -> str:
    score = outcome.config.training.score
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


def _short_search(
    outcome: Outcome, tuned: Tuned, plots: _Plots, tables: _Tables, label
) -> list[Block]:
    """Losses, scores and members of one of several searches."""
    best = _chosen(tuned)
    return [
        plots.one(
            report.loss_history(
                tuned.history, best=best, score_name=_score_name(outcome), label=label
            ),
            "history",
            "Loss and validation score of every member; the chosen network along its descent.",
        ),
        tables(report.members_table(tuned.history, best=best), "members"),
    ]


def _one_search(
    outcome: Outcome, tuned: Tuned, plots: _Plots, tables: _Tables, label
) -> list[Block]:
    """Everything of a search."""
    result, history, best = tuned.result, tuned.history, _chosen(tuned)
    score_name = _score_name(outcome)
    common = {"best": best, "score_name": score_name, "label": label}
    log = _logarithmic(tuned)
    blocks: list[Block] = [
        plots.one(
            report.loss_history(history, **common),
            "history",
            "Loss and validation score of every member; the chosen network along its descent. The "
            "training loss has the dropout and the signal weight of the member in it.",
        ),
        *plots.pages(
            report.hyperparameter_history(history, **common, log=log),
            "hyperparameters",
            "Hyperparameters of every member, round by round.",
        ),
        *plots.pages(
            report.score_against_hyperparameters(history, **common, log=log),
            "score_against_hyperparameters",
            "Best validation score in a round against each hyperparameter.",
        ),
    ]
    if pairs := report.score_against_pairs(history, **common, log=log):
        blocks.append(
            plots.one(
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
            plots.one(
                condition,
                "score_against_condition",
                "What the overtraining condition excludes: members and epochs right of the line.",
            )
        )
    if history.scores is not None:
        front = np.array([list(rank.scores.values()) for rank in tuned.pareto_front])
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
    return blocks


def _network(outcome: Outcome, plots: _Plots, label) -> Section:
    sample = outcome.training_sample
    test, score = sample.test, outcome.measurement.score
    networks = {"Tuned": outcome.network}
    if outcome.default is not None:
        networks["Default"] = outcome.default.network
    signal, test_score = np.asarray(test.label) == 1, score(test)
    seen = _seen(outcome)
    return Section(
        "Network",
        [
            plots.one(
                report.score_distributions(
                    *seen,
                    test_score,
                    np.asarray(test.weight),
                    signal,
                    label=label,
                ),
                "score",
                "Score of training and test events; a difference would be overtraining."
                + (
                    " Each event counts once as a test event, of the network of its fold, and once "
                    "as a training event of each network that has learned from it."
                    if isinstance(sample, CrossFit)
                    else ""
                ),
            ),
            plots.one(
                report.roc(
                    {name: network.score(test) for name, network in networks.items()},
                    np.asarray(test.weight),
                    signal,
                    label=label,
                ),
                "roc",
                "Background rejection against signal efficiency, test events.",
            ),
        ],
    )


def _seen(outcome: Outcome) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores, weights and labels of training events, of each network those that it has seen."""
    sample, network = outcome.training_sample, outcome.network
    if not isinstance(sample, CrossFit):
        train = sample.train
        score = outcome.measurement.score(train)
        return score, np.asarray(train.weight), np.asarray(train.label) == 1
    assert isinstance(network, CrossFitted), "of cross-fitted events"
    parts = []
    for fold, rotation in enumerate(sample.rotations):
        train = rotation.train
        # As if they were of the fold, so that its network scores them.
        mine = replace(train, fold=np.full(len(train), fold, np.int32))
        weight = np.asarray(train.weight) / sample.folds
        parts.append((outcome.measurement.score(mine), weight, np.asarray(train.label) == 1))
    score, weight, signal = (np.concatenate(each) for each in zip(*parts, strict=True))
    return score, weight, signal


_OF_NOISE = {
    "keep": 'They are in the fit as they are; [fit] noise = "smooth" or "prune" changes that.',
    "prune": "They are dropped, as the table says.",
    "smooth": "Shapes are smoothed or dropped, as the table says; yields stay.",
}


def pruned_table(treatments: Sequence[Treatment]) -> report.Table:
    """What was dropped and smoothed, of which process and region, and why.

    Args:
        treatments: What became of variations.
    """
    return report.Table(
        columns=("Variation", "Process", "Region", "What", "Why"),
        rows=tuple(
            (each.variation, each.process, each.region, each.what, each.reason)
            for each in treatments
        ),
        caption="Variations that are not in the fit as they are in the simulation.",
    )


def _region(outcome: Outcome, plots: _Plots, tables: _Tables, label) -> Section:
    templates = outcome.measurement.templates
    normalisation = outcome.job.nuisances["normalisation"]
    done = outcome.measurement.treatments
    systematics = any(process.variations for process in templates.processes.values())
    both = systematics or bool(normalisation)
    return Section(
        "Signal region and systematics" if both else "Signal region",
        [
            plots.one(
                report.region(templates, normalisation=normalisation, label=label),
                "signal_region",
                "Expected events before the fit, with their statistical "
                f"{'and systematic ' if both else ''}uncertainty, and "
                f"{said_of_data(outcome.measurement, templates)}.",
            ),
            tables(report.yields_table([templates], normalisation=normalisation), "yields"),
            *([tables(pruned_table(done), "pruned")] if done else []),
            *(
                _folded(
                    outcome,
                    "Systematic variations",
                    lambda: _variations(outcome, plots, label),
                )
                if systematics
                else []
            ),
        ],
    )


def _variations(outcome: Outcome, plots: _Plots, label) -> list[Block]:
    """The templates of each variation, and what is not worth to be seen."""
    templates = outcome.measurement.templates
    varied = report.systematic_variations(templates, label=label)
    hidden = report.negligible(templates, varied)
    note = f"Negligible, and not shown: {', '.join(hidden)}." if hidden else "None is negligible."
    if noisy := [str(each) for each in outcome.noise if each.noisy]:
        note += (
            f" Of these the statistical error exceeds the effect: {'; '.join(noisy)}. "
            + _OF_NOISE[outcome.config.fit.noise]
        )
    return [*plots.pages(varied, "systematics", "Nominal, up and down."), Text(note)]


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
            *_folded(
                outcome,
                "Correlations of the parameters",
                lambda: [
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

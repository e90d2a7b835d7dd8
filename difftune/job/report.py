"""The report of a run: which pictures, which tables, in which order."""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from difftune import report
from difftune.analysis import CrossFit, CrossTuned, Ladder
from difftune.analysis.ladder import Rung
from difftune.data import Normalisation
from difftune.files import write
from difftune.job.outcome import Outcome
from difftune.job.report_fit import fit_section
from difftune.job.report_output import Output
from difftune.job.report_regions import regions_section, signal_region_section
from difftune.job.report_search import draw_variables, search_section
from difftune.report import Cell, Section, Text
from difftune.training import CrossFitted, Ensemble


def write_report(outcome: Outcome, folder: Path) -> None:
    """Makes all plots and tables of a run, and `report.html` from them.

    Args:
        outcome: What the run found.
        folder: The run directory.
    """
    config = outcome.config
    output = Output.of(config, folder)
    sections = [
        _headline(outcome, output),
        _inputs(outcome, output),
        *(
            [Section("Variables", draw_variables(outcome.variables, config, folder))]
            if outcome.variables is not None
            else []
        ),
        search_section(outcome, output),
        _network(outcome, output),
        signal_region_section(outcome, output),
        *([regions_section(outcome, output)] if outcome.sample.events.regions else []),
        fit_section(outcome, output),
        _record(folder),
    ]
    first = outcome.stages[0]
    searches = first.folds if isinstance(first, CrossTuned) else (first,)
    strategy = searches[0].strategy
    each = " for each fold" if isinstance(first, CrossTuned) else ""
    subtitle = (
        f"{type(strategy).__name__}, population of {strategy.population}{each}, "
        f"{strategy.rounds} rounds, seed {config.general.seed}"
    )
    write(folder / "report.html", report.render(config.general.name, subtitle, sections))


def _headline(outcome: Outcome, output: Output) -> Section:
    own, ladder = outcome.measurement, outcome.ladder
    last = ladder.rungs[-1]
    numbers = [
        (
            report.written(_value(last)),
            f"{outcome.job.figure.symbol}, {own.uncertainties}",
        ),
        (f"{own.stat_only:.1f}", "expected significance, stat-only"),
        (outcome.poi_text, f"{outcome.config.fit.poi}, {own.data}"),
    ]
    if outcome.job.figure.name != "discovery":
        numbers.insert(1, (f"{own.expected:.2f}", f"expected significance, {own.uncertainties}"))
    crossed = isinstance(outcome.sample, CrossFit)
    scaled = outcome.scale_text
    return Section(
        "Result",
        [
            report.Numbers(numbers),
            *([Text(f"All simulated events are taken {scaled}.")] if scaled else []),
            Text(ladder.verdict),
            output.table(ladder_table(ladder), "ladder"),
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


def _value(rung: Rung) -> Cell:
    """What a step gives, with its uncertainty where one was estimated."""
    return report.Measured(rung.value, rung.uncertainty) if rung.uncertainty > 0 else rung.value


def ladder_table(ladder: Ladder) -> report.Table:
    """What each step brings, as a table."""
    rows: list[tuple[Cell, ...]] = []
    for rung in ladder.rungs:
        value = _value(rung)
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


def _inputs(outcome: Outcome, output: Output) -> Section:
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
            output.table(samples, "samples"),
            *(
                [output.table(normalisations_table(events.normalisations), "normalisations")]
                if events.normalisations
                else []
            ),
            Text(folds),
            *output.folded(
                f"Distributions of the {len(names)} features ({what} events)",
                lambda: output.pictures(
                    report.feature_distributions(
                        features, weight, signal, names, label=output.label
                    ),
                    "features",
                    "Features of signal and background, normalised.",
                ),
            ),
            *output.folded(
                f"Correlations of the features ({what} events)",
                lambda: [
                    output.picture(
                        report.feature_correlations(
                            features, weight, signal, names, label=output.label
                        ),
                        "correlations",
                        "Weighted linear correlations.",
                        width=100,
                    )
                ],
            ),
        ],
    )


def normalisations_table(normalisations: Sequence[Normalisation]) -> report.Table:
    """From generated to expected events, as a table."""
    rows: list[tuple[Cell, ...]] = [
        (
            f"{each.process}, {each.part}" if each.part else each.process,
            each.files,
            each.entries,
            f"{each.sum_of_weights:.6g}",
            f"{each.cross_section * each.k_factor:.5g}",
            f"{each.luminosity:.4g}",
            f"{each.effective_luminosity:.4g}",
        )
        for each in normalisations
    ]
    return report.Table(
        columns=("Sample", "Files", "Entries", "Σw", "σ k in pb", "L in 1/fb", "Effective L"),
        rows=tuple(rows),
        caption="How generated events became expected ones. The effective luminosity is that of as "
        "many events of equal weight as the selected ones are worth.",
    )


def _network(outcome: Outcome, output: Output) -> Section:
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
            output.picture(
                report.score_distributions(
                    *seen,
                    test_score,
                    np.asarray(test.weight),
                    signal,
                    label=output.label,
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
            output.picture(
                report.roc(
                    {name: network.score(test) for name, network in networks.items()},
                    np.asarray(test.weight),
                    signal,
                    label=output.label,
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

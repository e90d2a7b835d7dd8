"""The report of a run: which pictures, which tables, in which order."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from difftune import report
from difftune.analysis import CrossFit
from difftune.files import write
from difftune.job.outcome import Outcome, Trained
from difftune.job.regression import Regressed
from difftune.job.report_common import (
    events_blocks,
    ladder_table,
    record_section,
    subtitle,
    value_cell,
    variables_sections,
    which_text,
)
from difftune.job.report_fit import fit_section
from difftune.job.report_output import Output
from difftune.job.report_regions import regions_section, signal_region_section
from difftune.job.report_regression import regression_sections
from difftune.job.report_search import search_section
from difftune.report import Section, Text
from difftune.training import CrossFitted


def write_report(outcome: Trained, folder: Path) -> None:
    """Makes all plots and tables of a run, and `report.html` from them.

    Args:
        outcome: What the run found.
        folder: The run directory.
    """
    config = outcome.config
    output = Output.of(config, folder)
    if isinstance(outcome, Regressed):
        sections = regression_sections(outcome, output)
    else:
        assert isinstance(outcome, Outcome), "it is one of these"
        sections = _sections(outcome, output)
    sections.append(record_section(folder))
    write(folder / "report.html", report.render(config.general.name, subtitle(outcome), sections))


def _sections(outcome: Outcome, output: Output) -> list[Section]:
    """Those of a run that measures a signal."""
    return [
        _headline(outcome, output),
        _inputs(outcome, output),
        *variables_sections(outcome, output),
        search_section(outcome, output),
        _network(outcome, output),
        signal_region_section(outcome, output),
        regions_section(outcome, output),
        fit_section(outcome, output),
    ]


def _headline(outcome: Outcome, output: Output) -> Section:
    own, ladder = outcome.measurement, outcome.ladder
    last = ladder.rungs[-1]
    numbers = [
        (
            report.written(value_cell(last)),
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
            Text(which_text(outcome)),
        ],
    )


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
    return Section(
        "Events",
        [
            *events_blocks(sample, output),
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

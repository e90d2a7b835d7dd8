"""What reports of all kinds of runs say: events, steps, variables, which network was chosen."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from difftune import report
from difftune.analysis import CrossFit, CrossTuned, Ladder, Split
from difftune.analysis.ladder import Rung
from difftune.data import Normalisation
from difftune.job.outcome import Trained
from difftune.job.report_output import Output
from difftune.job.report_search import draw_variables
from difftune.report import Block, Cell, Section, Text
from difftune.training import CrossFitted, Ensemble


def subtitle(outcome: Trained) -> str:
    """How the networks were searched, in a line."""
    first = outcome.stages[0]
    searches = first.folds if isinstance(first, CrossTuned) else (first,)
    strategy = searches[0].strategy
    each = " for each fold" if isinstance(first, CrossTuned) else ""
    return (
        f"{type(strategy).__name__}, population of {strategy.population}{each}, "
        f"{strategy.rounds} rounds, seed {outcome.config.general.seed}"
    )


def value_cell(rung: Rung) -> Cell:
    """What a step gives, with its uncertainty where one was estimated."""
    return report.Measured(rung.value, rung.uncertainty) if rung.uncertainty > 0 else rung.value


def ladder_table(ladder: Ladder) -> report.Table:
    """What each step brings, as a table."""
    rows: list[tuple[Cell, ...]] = []
    for rung in ladder.rungs:
        value = value_cell(rung)
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


def which_text(outcome: Trained) -> str:
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


def folds_text(sample: Split | CrossFit) -> str:
    """Which events serve for what."""
    events = sample.events
    if isinstance(sample, CrossFit):
        return (
            f"There are {events.folds} folds (event number modulo {events.folds}). For each, "
            "networks learn from all others but the next one, choices rest on that next one, and "
            "its own events are measured."
        )
    return (
        f"Of {events.folds} folds (event number modulo {events.folds}), "
        f"{_list(sample.train_folds)} train, {_list(sample.validation_folds)} validate, "
        f"{_list(sample.test_folds)} test; each part is weighted to the full expected yield."
    )


def events_blocks(sample: Split | CrossFit, output: Output) -> list[Block]:
    """Tables of the samples, and which events serve for what."""
    events = sample.events
    samples = report.samples_table(
        np.asarray(events.process),
        np.asarray(events.weight),
        [p.name for p in events.processes],
        [p.role for p in events.processes],
    )
    blocks: list[Block] = [output.table(samples, "samples")]
    if events.normalisations:
        blocks.append(output.table(normalisations_table(events.normalisations), "normalisations"))
    return [*blocks, Text(folds_text(sample))]


def variables_sections(outcome: Trained, output: Output) -> list[Section]:
    """The choice of variables, where there was one."""
    if outcome.variables is None:
        return []
    return [Section("Variables", draw_variables(outcome.variables, outcome.config, output.folder))]


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


def record_section(folder: Path) -> Section:
    """Settings and environment of the run."""
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

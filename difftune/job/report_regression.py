"""The report of a run that learns targets: its steps, and predictions against the truth."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from difftune import report
from difftune.analysis import CrossFit, Residuals, Spread, residuals
from difftune.histograms import weighted_correlation
from difftune.job.regression import Regressed
from difftune.job.report_common import (
    events_blocks,
    ladder_table,
    value_cell,
    variables_sections,
    which_text,
)
from difftune.job.report_output import Output
from difftune.job.report_search import search_section
from difftune.report import Block, Cell, ResidualsOf, Section, Text


def regression_sections(outcome: Regressed, output: Output) -> list[Section]:
    """All sections but the record.

    Args:
        outcome: What the run found.
        output: Where figures and tables go.
    """
    return [
        _headline(outcome, output),
        _events(outcome, output),
        *variables_sections(outcome, output),
        search_section(outcome, output),
        *(_predictions(outcome, name, output) for name in outcome.residuals),
    ]


def _headline(outcome: Regressed, output: Output) -> Section:
    numbers = []
    for name, own in outcome.residuals.items():
        kind, last = "relative " if own.relative else "", outcome.steps[name].rungs[-1]
        numbers.append((report.written(value_cell(last)), f"{kind}resolution of {name}"))
        numbers.append((report.written(own.bias), f"{kind}bias of {name}, in bins of the truth"))
        if own.whole.coverage is not None:
            said = f"of the true {name} in the predicted interval of {own.level:.1%}"
            numbers.append((report.written(own.whole.coverage), said))
    blocks: list[Block] = [report.Numbers(numbers)]
    for name, ladder in outcome.steps.items():
        blocks += [
            Text(ladder.verdict),
            output.table(ladder_table(ladder), _named("ladder", name, outcome)),
        ]
    sources = " ".join(
        dict.fromkeys(
            f"Uncertainties of the steps: {ladder.sources}." for ladder in outcome.steps.values()
        )
    )
    return Section(
        "Result",
        [
            *blocks,
            output.table(figures_table(outcome), "figures"),
            Text(
                f"{sources} The resolution is half of the central 68.3 % interval of the "
                "residuals, the bias the root mean square of their medians in bins of the truth, "
                "what chance gives each bin included. "
                + (
                    "Every simulated event counts, as predicted by the network of its fold, which "
                    "neither its training nor any choice of hyperparameters or epoch has seen."
                    if isinstance(outcome.sample, CrossFit)
                    else "All figures are of the test events, which neither the training nor the "
                    "choice of hyperparameters or epoch has seen."
                )
            ),
            Text(which_text(outcome)),
        ],
    )


def _named(what: str, target: str, outcome: Regressed) -> str:
    """Name of a file that is there for each target."""
    number = list(outcome.residuals).index(target)
    return what if len(outcome.residuals) == 1 else f"{what}_{number + 1}"


def _networks(outcome: Regressed, target: str) -> dict[str, Residuals]:
    """Of the tuned network, and of one to compare with where there is one."""
    default = {"Default": outcome.defaults[0][target]} if outcome.defaults else {}
    return {"Tuned": outcome.residuals[target], **default}


def figures_table(outcome: Regressed) -> report.Table:
    """Resolution, bias and coverage of the networks, as a table.

    Args:
        outcome: What the run found.
    """
    rows: list[tuple[Cell, ...]] = []
    strong = []
    for target in outcome.residuals:
        for name, own in reversed(_networks(outcome, target).items()):
            strong += [len(rows)] if name == "Tuned" else []
            whole = own.whole
            rows.append((target, name, whole.resolution, own.bias, whole.bias, whole.coverage))
    covered = any(own.whole.coverage is not None for own in outcome.residuals.values())
    relative = next(iter(outcome.residuals.values())).relative
    resolution = "Relative resolution" if relative else "Resolution"
    columns = ("Target", "Network", resolution, "Bias in bins", "Median residual", "Coverage")
    return report.Table(
        columns=columns if covered else columns[:-1],
        rows=tuple(row if covered else row[:-1] for row in rows),
        caption="Predictions of one training of each network against the truth, with statistical "
        "errors.",
        emphasised=tuple(strong),
    )


def _events(outcome: Regressed, output: Output) -> Section:
    sample = outcome.sample
    train = sample.events.simulated if isinstance(sample, CrossFit) else sample.train
    values = np.column_stack([train.features, np.asarray(train.target)])
    return Section(
        "Events",
        [
            *events_blocks(sample, output),
            *output.folded(
                "Correlations of features and targets",
                lambda: [
                    output.picture(
                        report.clustered_correlations(
                            weighted_correlation(values, np.asarray(train.weight)),
                            [*train.feature_names, *train.target_names],
                            label=output.label,
                        ),
                        "correlations",
                        "Weighted linear correlations; what is alike stands together.",
                    )
                ],
            ),
        ],
    )


def _predictions(outcome: Regressed, target: str, output: Output) -> Section:
    """Predictions of a target against its truth."""
    networks = _networks(outcome, target)
    own = networks["Tuned"]
    others = {k: ResidualsOf(r.residual, r.weight) for k, r in networks.items() if r is not own}
    bins: dict[str, Sequence[Spread]] = {name: each.bins for name, each in networks.items()}

    def named(what: str) -> str:
        return _named(what, target, outcome)

    blocks: list[Block] = [
        output.picture(
            report.bias_and_resolution(bins, target, relative=own.relative, label=output.label),
            named("bias_and_resolution"),
            "Median and half of the central 68.3 % interval of the residuals, in bins of the truth "
            "of equal weight. A bias towards the middle is no fault of a network: where the "
            "features tell little, the best prediction is near the mean.",
        ),
        output.table(own.table, named("residuals")),
        output.picture(
            report.residual_distribution(
                _seen(outcome, target),
                ResidualsOf(own.residual, own.weight),
                others,
                name=target,
                relative=own.relative,
                label=output.label,
            ),
            named("residuals"),
            "Residuals of training and test events; a difference would be overtraining.",
        ),
        output.picture(
            report.predicted_against_true(
                own.truth, own.predicted, own.weight, target, label=output.label
            ),
            named("predicted_against_true"),
            "How predictions of the same truth are spread.",
        ),
    ]
    if own.levels:
        blocks.append(
            output.picture(
                report.quantile_calibration(
                    own.truth, own.quantiles, own.levels, own.weight, target, label=output.label
                ),
                named("calibration"),
                "How often the truth is below each predicted quantile, in bins of the middle one; "
                "the dashed lines are what the quantiles claim.",
            )
        )
    title = output.label.titles.get(target, target)
    return Section(f"Predictions: {target if '$' in title else title}", blocks)


def _seen(outcome: Regressed, target: str) -> ResidualsOf:
    """Residuals of training events, of each network those that it has seen."""
    sample, relative = outcome.sample, outcome.residuals[target].relative
    if not isinstance(sample, CrossFit):
        own = residuals(outcome.network, sample.train, target=target, bins=1, relative=relative)
        return ResidualsOf(own.residual, own.weight)
    parts = []
    for fold, rotation in enumerate(sample.rotations):
        train = rotation.train
        # As if they were of the fold, so that its network predicts them.
        mine = replace(train, fold=np.full(len(train), fold, np.int32))
        parts.append(residuals(outcome.network, mine, target=target, bins=1, relative=relative))
    return ResidualsOf(
        np.concatenate([each.residual for each in parts]),
        np.concatenate([each.weight for each in parts]) / sample.folds,
    )

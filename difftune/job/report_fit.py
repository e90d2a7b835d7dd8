"""The fit of a run in its report: what it finds, what moves it, and whether it describes data."""

import re

import numpy as np
from jaxtyping import Bool

from difftune import report
from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import (
    FitError,
    contours,
    goodness_of_fit,
    grouped_impacts,
    impacts,
    moved_far,
)
from difftune.job.outcome import Outcome
from difftune.job.report_output import Output
from difftune.report import Block, Cell, Section, Text

_SINGLE_BIN = re.compile(r"\[\d+\]$")


def fit_section(outcome: Outcome, output: Output) -> Section:
    """The fit of the workspace of a run.

    Args:
        outcome: What the run found.
        output: Where figures and tables go.
    """
    result, poi = outcome.fit, outcome.config.fit.poi
    names = list(result.names)
    expected = outcome.cls.expected
    model = Model.from_spec(outcome.measurement.workspace)
    return Section(
        "Fit",
        [
            Text(
                f"Fit of workspace.json to its {outcome.measurement.data}: {poi} = "
                f"{outcome.poi_text}. Expected CLs of {poi} = 1: {expected[2]:.3g} (one "
                f"standard deviation: {expected[1]:.3g} to {expected[3]:.3g}); to "
                "compare with: `pyhf cls --optimizer minuit workspace.json`."
            ),
            *_goodness(outcome, model, output),
            *_what_moves_it(outcome, model, output),
            *_pulls(outcome, output),
            *output.folded(
                "Contours of two free parameters", lambda: _contours(outcome, model, output)
            ),
            *output.folded(
                "Correlations of the parameters",
                lambda: [
                    output.picture(
                        report.parameter_correlations(
                            np.asarray(result.correlation), names, label=output.label
                        ),
                        "parameter_correlations",
                        "Parameters with a correlation worth showing.",
                        width=100,
                    )
                ],
            ),
        ],
    )


def _pulls(outcome: Outcome, output: Output) -> list[Block]:
    """Fitted parameters; those of single bins, which are many and of one kind, by themselves."""
    result = outcome.fit
    single = np.array([_SINGLE_BIN.search(name) is not None for name in result.names], bool)

    def drawn(chosen: Bool[np.ndarray, " parameters"]) -> list[report.PlotFigure]:
        columns = (result.values, result.uncertainties, result.centers, result.widths)
        values, uncertainties, centers, widths = (np.asarray(each)[chosen] for each in columns)
        return report.pulls(
            [name for name, there in zip(result.names, chosen, strict=True) if there],
            values,
            uncertainties,
            centers=centers,
            widths=widths,
            label=output.label,
        )

    said = "Fitted parameters in units of their uncertainty before the fit"
    far = moved_far(result)
    return [
        *([Text(f"Parameters {far}.")] if far else []),
        *output.pictures(drawn(~single), "pulls", f"{said}."),
        *output.pictures(drawn(single), "gammas", f"{said}: one for each bin."),
    ]


def _goodness(outcome: Outcome, model: Model, output: Output) -> list[Block]:
    """Whether the model describes observed data; Asimov data it describes by themselves."""
    own = outcome.measurement
    if all(templates.data is None for templates in own.fitted):
        return []
    found = goodness_of_fit(model)
    said = (
        f"Goodness of fit with the saturated model: q = {found.q:.1f} for {found.dof} degrees "
        f"of freedom, p = {found.p_value:.2g} (χ²)."
    )
    said += " Blinded regions hold Asimov data." if own.blinded else ""
    return [Text(said), output.table(report.goodness_table(found), "goodness_of_fit")]


def _contours(outcome: Outcome, model: Model, output: Output) -> list[Block]:
    """The parameter of interest and the free normalisation that it correlates with most."""
    result, poi = outcome.fit, outcome.config.fit.poi
    index = result.names.index(poi)
    free = np.isnan(np.asarray(result.widths)) & (np.asarray(result.uncertainties) > 0)
    free[index] = False
    if not free.any():
        return [Text(f"{poi} is the only free parameter without a measurement of its own.")]
    size = np.abs(np.nan_to_num(np.asarray(result.correlation)[index]))
    other = result.names[int(np.argmax(np.where(free, size, -1.0)))]
    try:
        found = contours(model, poi, other)
    except (InputError, FitError) as error:
        return [Text(f"No contours: {error}")]
    titles = output.label.titled(poi), output.label.titled(other)
    figure = report.likelihood_contours(found, titles=titles, label=output.label)
    said = f"Contours of {poi} and {other}, all other parameters profiled."
    return [output.picture(figure, "contours", said)]


def _what_moves_it(outcome: Outcome, model: Model, output: Output) -> list[Block]:
    """Impacts of groups and of single parameters on the parameter of interest."""
    poi = outcome.config.fit.poi
    # At a bound a fit moves to one side alone.
    bounds = {poi: (-10.0, 10.0 + 2 * abs(outcome.fit.parameter(poi)[0]))}
    try:
        groups, single = grouped_impacts(model, bounds=bounds), impacts(model, bounds=bounds)
    except (InputError, FitError) as error:
        return [Text(f"No impacts: {error}")]
    if not single.names:
        return []
    rows: list[tuple[Cell, ...]] = [
        (group.name, group.shifted, 100 * (group.shifted / groups.total) ** 2, group.held)
        for group in groups.groups
    ]
    rows.append(("total", groups.total, 100.0, groups.total))
    return [
        output.table(
            report.Table(
                columns=("Source", f"On {poi}", "Share of the variance in %", "When held"),
                rows=tuple(rows),
                caption=f"What the uncertainty of {poi} is made of: the shift of its best fit when "
                "counts or auxiliary measurements move by one standard deviation (these add up in "
                "quadrature), and what the uncertainty falls by, in quadrature, when the "
                "parameters are held.",
                emphasised=(len(rows) - 1,),
            ),
            "grouped_impacts",
        ),
        output.picture(
            report.ranking(single, label=output.label),
            "ranking",
            f"The parameters that move {poi} most: shifts of {poi} by one standard deviation of "
            "each, before and after the fit (bars), and pulls (points).",
        ),
    ]

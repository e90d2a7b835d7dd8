"""The tables of a likelihood: yields before and after its fit, parameters, ranking, fit quality."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from difftune.inference import (
    Effects,
    Exclusion,
    FitResult,
    GoodnessOfFit,
    GroupedImpacts,
    Impacts,
    MinosErrors,
    Prediction,
    Yields,
)
from difftune.report.given import checked
from difftune.report.tables import Cell, Measured, Table

# A pull and a constraint after three columns.
_PULLS = (None, None, None, 2, 2)


def _total(yields: Yields) -> Measured:
    return Measured(yields.total, yields.total_uncertainty)


@checked
def fitted_yields_table(
    predictions: Mapping[str, Prediction],
    observed: Mapping[str, Float[np.ndarray, " bins"]] | None = None,
    *,
    caption: str = "",
) -> Table:
    """Yields of every sample in every channel, with the covariance of all parameters.

    Args:
        predictions: From `inference.predictions`, by name of the channel.
        observed: Counts of each channel, for a last row.
        caption: Caption of the table.
    """
    names = list(dict.fromkeys(name for one in predictions.values() for name in one.names))
    each = list(predictions.values())
    rows: list[tuple[Cell, ...]] = [
        (name, *(_total(one.of(name)) if name in one.names else None for one in each))
        for name in names
    ]
    strong = [len(rows)]
    rows.append(("Total", *(_total(one.of()) for one in each)))
    if observed is not None:
        strong.append(len(rows))
        rows.append(("Data", *(_count(np.sum(observed[name])) for name in predictions)))
    columns = ("Sample", *predictions)
    return Table(columns=columns, rows=tuple(rows), caption=caption, emphasised=tuple(strong))


@checked
def bin_yields_table(
    prediction: Prediction,
    observed: Float[np.ndarray, " bins"] | None = None,
    *,
    caption: str = "",
) -> Table:
    """Yields of every sample in every bin of a channel, with the covariance of all parameters.

    Args:
        prediction: Of the channel.
        observed: Its counts, for a last row.
        caption: Caption of the table.
    """

    def cells(name: str, yields: Yields) -> tuple[Cell, ...]:
        pairs = zip(yields.values.tolist(), yields.uncertainties.tolist(), strict=True)
        return (name, *(Measured(*pair) for pair in pairs), _total(yields))

    rows = [cells(name, prediction.of(name)) for name in prediction.names]
    strong = [len(rows)]
    rows.append(cells("Total", prediction.of()))
    if observed is not None:
        strong.append(len(rows))
        counts = np.append(observed, np.sum(observed))
        rows.append(("Data", *(_count(count) for count in counts)))
    bins = (f"Bin {i}" for i in range(1, prediction.values.shape[1] + 1))
    columns = ("Sample", *bins, "Sum")
    return Table(columns=columns, rows=tuple(rows), caption=caption, emphasised=tuple(strong))


@checked
def parameters_table(fit: FitResult, errors: MinosErrors | None = None) -> Table:
    """Best fits beside what was known before; parameters at a bound say so.

    Args:
        fit: The fit.
        errors: Asymmetric errors of some or all parameters.
    """
    rows: list[tuple[Cell, ...]] = []
    for i, name in enumerate(fit.names):
        value, sigma = float(fit.values[i]), float(fit.uncertainties[i])
        center, width = float(fit.centers[i]), float(fit.widths[i])
        known = np.isfinite(width) and width > 0
        place = errors.names.index(name) if errors is not None and name in errors.names else None
        sides: tuple[Cell, Cell] = (None, None)
        if errors is not None and place is not None:
            sides = float(errors.up[place]), float(errors.down[place])
        state = "at a bound" if fit.at_bound[i] else ("fixed" if sigma == 0 else "")
        rows.append(
            (
                name,
                Measured(center, width) if known else center,
                Measured(value, sigma),
                *sides,
                (value - center) / width if known else None,
                sigma / width if known else None,
                state,
            )
        )
    columns: tuple[str, ...]
    columns = ("Parameter", "Before", "After", "Up", "Down", "Pull", "Constraint", "")
    caption = "Parameters before and after the fit"
    if errors is None:
        columns, rows = columns[:3] + columns[5:], [row[:3] + row[5:] for row in rows]
        return Table(columns=columns, rows=tuple(rows), caption=f"{caption}.", decimals=_PULLS)
    caption += "; up and down are of the profile likelihood."
    decimals = (*_PULLS[:3], None, None, *_PULLS[3:])
    return Table(columns=columns, rows=tuple(rows), caption=caption, decimals=decimals)


@checked
def ranking_table(impacts: Impacts) -> Table:
    """Impacts after and before the fit, pulls and constraints, the largest impact first.

    Args:
        impacts: From `inference.impacts`.
    """
    columns = ("Parameter", "Up", "Down", "Up, pre-fit", "Down, pre-fit", "Pull", "Constraint")
    numbers = np.stack(
        [
            impacts.up,
            impacts.down,
            impacts.prefit_up,
            impacts.prefit_down,
            impacts.pulls,
            impacts.constraints,
        ],
        axis=1,
    )
    rows = tuple(
        (name, *(value if np.isfinite(value) else None for value in row))
        for name, row in zip(impacts.names, numbers.tolist(), strict=True)
    )
    decimals = (*[None] * 5, 2, 2)
    caption = f"Change of {impacts.fit.poi}."
    return Table(columns=columns, rows=rows, caption=caption, decimals=decimals)


@checked
def groups_table(impacts: GroupedImpacts) -> Table:
    """What each group contributes to the uncertainty of the parameter of interest.

    Args:
        impacts: From `inference.grouped_impacts`.
    """
    rows: list[tuple[Cell, ...]] = [
        (group.name, len(group.parameters) or None, group.shifted, group.held)
        for group in impacts.groups
    ]
    rows.append(("Added in quadrature", None, impacts.added, None))
    rows.append(("Total", None, impacts.total, impacts.total))
    columns = ("Group", "Parameters", "Measurements shifted", "Group held")
    caption = f"Uncertainty of {impacts.poi} by its sources."
    strong = (len(rows) - 1,)
    return Table(columns=columns, rows=tuple(rows), caption=caption, emphasised=strong)


@checked
def goodness_table(found: GoodnessOfFit) -> Table:
    """The test of the model, and of each channel against all others.

    Args:
        found: From `inference.goodness_of_fit`.
    """

    def p(value: float | None) -> Cell:
        return value if value is not None and np.isfinite(value) else None

    rows: list[tuple[Cell, ...]] = [
        (name, each.contribution, each.q, each.dof, p(each.p_value), p(each.toys_p_value))
        for name, each in found.channels.items()
    ]
    rows.append(("Constraints", found.constraints, None, None, None, None))
    rows.append(
        ("All", found.q, found.q, found.dof, p(found.p_value), p(found.toys_p_value)),
    )
    columns: tuple[str, ...]
    columns = ("Channel", "Part of χ²", "Own χ²", "Degrees", "p-value", "p-value (toys)")
    caption = (
        "Goodness of fit with the saturated model. The own test of a channel asks whether it "
        "agrees with all others."
    )
    strong = (len(rows) - 1,)
    if found.toys_p_value is None:
        columns, rows = columns[:-1], [row[:-1] for row in rows]
    decimals = (None, 2, 2)
    return Table(
        columns=columns, rows=tuple(rows), caption=caption, emphasised=strong, decimals=decimals
    )


@checked
def exclusion_table(found: Exclusion) -> Table:
    """Every signal of a grid: where it is, CLs, limits if there are any, and whether it is out.

    Args:
        found: From `inference.exclusion`.
    """

    def cells(values: Float[np.ndarray, " numbers"]) -> tuple[Cell, ...]:
        return tuple(value if np.isfinite(value) else None for value in values.tolist())

    columns = ["Signal", *found.labels, "CLs", "Expected CLs", "−1 σ", "+1 σ"]
    limits = found.limit is not None and found.expected_limit is not None
    if limits:
        columns += ["Limit", "Expected limit", "−1 σ of it", "+1 σ of it"]
    rows: list[tuple[Cell, ...]] = []
    for i, name in enumerate(found.names):
        row: tuple[Cell, ...] = (name, *found.points[i].tolist())
        row += cells(np.append(found.observed[i], found.expected[i, [2, 1, 3]]))
        if found.limit is not None and found.expected_limit is not None:
            row += cells(np.append(found.limit[i], found.expected_limit[i, [2, 1, 3]]))
        said = "failed" if found.status[i] else ("excluded" if found.excluded[i] else "allowed")
        rows.append((*row, said))
    caption = f"Signals that CLs below {found.level:g} excludes."
    return Table(columns=(*columns, ""), rows=tuple(rows), caption=caption)


# What two decimals of a percentage show.
_LEAST = 5e-5


@checked
def effects_table(found: Effects, *, caption: str = "") -> Table:
    """What each systematic does to each sample of a channel in percent, up and down.

    Changes below 0.005 % are left out, and systematics that do nothing else in this channel.

    Args:
        found: From `inference.effects`, of one channel.
        caption: Caption of the table.
    """

    def pair(up: float, down: float) -> Cell:
        if not (np.isfinite(up) and np.isfinite(down)):
            return None
        if max(abs(up), abs(down)) < _LEAST:
            return None
        # What rounds to zero has no sign.
        sides = [f"{100 * side:+.2f}" if abs(side) >= _LEAST else "0" for side in (up, down)]
        return " / ".join(sides).replace("-", "−")

    rows: list[tuple[Cell, ...]] = []
    for i, name in enumerate(found.names):
        each = zip(found.up[i].tolist(), found.down[i].tolist(), strict=True)
        cells = [pair(*both) for both in each]
        cells.append(pair(float(found.total_up[i]), float(found.total_down[i])))
        if any(cells):
            rows.append((name, *cells))
    said = caption or (
        f"Change of the yields in {found.channel} by one standard deviation, in %; below 0.005 % "
        "there is nothing."
    )
    return Table(columns=("Systematic", *found.samples, "Total"), rows=tuple(rows), caption=said)


def _count(observed: float) -> int | float:
    """Events that were observed, a whole number where they are one; Asimov data need not be."""
    count = round(float(observed), 6)
    return int(count) if count.is_integer() else count

"""Tables of a selection of variables, for the analysis note."""

from collections.abc import Sequence

from difftune.report.tables import Cell, Measured, Table
from difftune.selection import Importance, Selection


def importance_table(importance: Importance, *, methods: Sequence[str] | None = None) -> Table:
    """Importance of each variable by each method, in the order of the first.

    Args:
        importance: From `difftune.selection.importance`.
        methods: Methods to show; all that it has if None.
    """
    chosen = list(methods or importance.methods)
    rows: list[tuple[Cell, ...]] = []
    for name in importance.order(chosen[0]):
        number = importance.names.index(name)
        note = "constant" if name in importance.issues.constant else ""
        twins = [a for a, b in importance.issues.duplicates if b == name]
        note = f"copy of {twins[0]}" if twins else note
        values = (importance.methods[method] for method in chosen)
        cells = [Measured(float(r.value[number]), float(r.uncertainty[number])) for r in values]
        rows.append((name, *cells, note))
    noted = any(row[-1] for row in rows)
    columns = ("Variable", *(method.capitalize() for method in chosen), "Note")
    return Table(
        columns=columns if noted else columns[:-1],
        rows=tuple(row if noted else row[:-1] for row in rows),
        caption="Importance of the input variables",
    )


def selection_table(selection: Selection) -> Table:
    """The path of a selection: what came or went, and the score of each set.

    Args:
        selection: From `difftune.selection.eliminate` or `forward`.
    """
    backward = selection.direction == "backward"
    rows: list[tuple[Cell, ...]] = []
    for number, units in enumerate(selection.sets):
        step = (
            selection.steps[number - 1 if backward else number] if number or not backward else None
        )
        gain = None
        if step is not None and step.before:
            at = step.tried.index(step.taken)
            gain = Measured(100 * step.improvement[at], 100 * step.uncertainty[at])
        mean, error = float(selection.mean[number]), float(selection.uncertainty[number])
        # The best one is what the others differ from.
        score = Measured(mean, error) if error else mean
        chosen = "chosen" if number == selection.chosen else ""
        rows.append((step.taken if step else "(all)", len(units), gain, score, chosen))
    moved = "Left out" if backward else "Added"
    return Table(
        columns=(moved, "Units left" if backward else "Units", "Improvement in %", "Score", ""),
        rows=tuple(rows),
        caption=f"{'Backward elimination' if backward else 'Forward selection'} of variables",
    )

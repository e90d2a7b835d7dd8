"""The tables of a run and of an analysis note: events, yields, significances, members, inputs."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, Int

from difftune.histograms import Templates, effective_count
from difftune.inference import Prediction
from difftune.report.given import checked
from difftune.report.lineage import best_network
from difftune.report.style import signed
from difftune.report.tables import Cell, Measured, Table
from difftune.report.uncertainty import Normalisation, uncertainty
from difftune.selection import Importance, Selection
from difftune.training import History


@checked
def samples_table(
    process: Int[np.ndarray, " events"],
    weight: Float[np.ndarray, " events"],
    names: Sequence[str],
    roles: Sequence[str],
    *,
    caption: str = "Simulated events and their expected yield; statistical uncertainties.",
) -> Table:
    """What was read: events, negative weights, effective events and yield of each process.

    Args:
        process: Process of each event.
        weight: Physics weights.
        names: Name of each process.
        roles: Role of each process.
        caption: Caption of the table.
    """
    rows: list[tuple[Cell, ...]] = []
    for number, (name, role) in enumerate(zip(names, roles, strict=True)):
        w = np.asarray(weight[process == number], np.float64)
        total = Measured(float(w.sum()), float(np.sqrt(np.sum(w**2))))
        negative = f"{100 * np.mean(w < 0):.1f} %" if len(w) else ""
        rows.append((name, role, len(w), negative, round(effective_count(w)), total))
    columns = ("Process", "Role", "Events", "Negative", "Effective", "Yield")
    return Table(columns=columns, rows=tuple(rows), caption=caption)


@checked
def yields_table(
    templates: Sequence[Templates],
    *,
    normalisation: Sequence[Normalisation] = (),
    predictions: Mapping[str, Prediction] | None = None,
    caption: str | None = None,
) -> Table:
    """Yields of every process in every channel, with statistical and systematic uncertainties.

    The systematic uncertainty is the mean of up and down; sources are added in quadrature, and one
    source moves all processes together.

    Args:
        templates: Templates of each channel.
        normalisation: Uncertainties of yields that no template holds.
        predictions: Yields after a fit by name of the channel, in the place of those before it.
        caption: Caption of the table; by default it says which uncertainties there are.
    """
    names = list(dict.fromkeys(p for t in templates for p in t.processes))
    signals = [p for p in names if any(p in t.signal for t in templates)]
    backgrounds = [p for p in names if p not in signals]
    groups: list[tuple[str, list[str]]] = [(p, [p]) for p in backgrounds]
    strong = []
    if len(backgrounds) > 1:
        strong.append(len(groups))
        groups.append(("Background", backgrounds))
    groups += [(p, [p]) for p in signals]
    if signals and backgrounds:
        strong.append(len(groups))
        groups.append(("Signal + background", backgrounds + signals))

    def yields(channel: Templates, members: Sequence[str]) -> Measured | None:
        if predictions is None:
            return _yield(channel, members, normalisation)
        present = [name for name in members if name in channel.processes]
        found = predictions[channel.channel].of(*present)
        return Measured(found.total, found.total_uncertainty) if present else None

    rows: list[tuple[Cell, ...]] = [
        (title, *(yields(t, members) for t in templates)) for title, members in groups
    ]
    if any(t.data is not None for t in templates):
        strong.append(len(rows))
        observed = (None if t.data is None else round(float(t.data.sumw.sum())) for t in templates)
        rows.append(("Data", *observed))
    columns = ("Process", *(t.channel for t in templates))
    cells = [cell for row in rows for cell in row if isinstance(cell, Measured)]
    systematics = " ± systematics" if any(cell.systematic is not None for cell in cells) else ""
    said = f"Expected events before the fit, ± simulation statistics{systematics}."
    if predictions is not None:
        said = "Expected events after the fit, ± uncertainty with correlations of all parameters."
    caption = caption or said
    return Table(columns=columns, rows=tuple(rows), caption=caption, emphasised=tuple(strong))


def _yield(
    templates: Templates,
    processes: Sequence[str],
    normalisation: Sequence[Normalisation],
) -> Measured | None:
    """Yield of a sum of processes in one channel; None where it has none of them."""
    present = [p for p in processes if p in templates.processes]
    if not present:
        return None
    total = sum(float(templates.processes[p].nominal.sumw.sum()) for p in present)
    error = uncertainty(templates, present, normalisation=normalisation, total=True)
    systematic = float(error.up[0] + error.down[0]) / 2
    return Measured(total, float(error.statistical[0]), systematic or None)


@checked
def significance_table(
    results: Mapping[str, Mapping[str, Sequence[float]]],
    *,
    reference: str | None = None,
    caption: str = "Expected significance; the uncertainty is the standard deviation over seeds.",
) -> Table:
    """Expected significances of several networks, e.g. with and without systematics.

    Args:
        results: For each network, for each kind of significance, its value for every seed.
        reference: Network that the gain is relative to; by default the last.
        caption: Caption of the table.

    Example:
        `significance_table({"Tuned": {"Full": [2.1, 2.2]}, "Default": {"Full": [1.8, 1.9]}})`
    """
    names = list(results)
    reference = names[-1] if reference is None else reference
    kinds = list(dict.fromkeys(kind for values in results.values() for kind in values))
    rows: list[tuple[Cell, ...]] = []
    for name in names:
        row: list[Cell] = [name, max((len(v) for v in results[name].values()), default=0)]
        for kind in kinds:
            row.append(over_seeds(results[name].get(kind, ())))
        row.append(None if name == reference else _gain(row[-1], results[reference].get(kinds[-1])))
        rows.append(tuple(row))
    columns = ("Network", "Seeds", *kinds, f"Gain over {reference}")
    return Table(columns=columns, rows=tuple(rows), caption=caption, emphasised=(0,))


def _gain(ours: Cell, reference: Sequence[float] | None) -> str | None:
    """How much a mean over seeds lies above that of the reference, None if either is missing."""
    theirs = over_seeds(reference or ())
    values = [m.value if isinstance(m, Measured) else m for m in (ours, theirs)]
    known = [value for value in values if isinstance(value, float) and value > 0]
    if len(known) < 2:
        return None
    return f"{signed(100 * (known[0] / known[1] - 1), 1)} %"


@checked
def over_seeds(values: Sequence[float]) -> Measured | float | None:
    """Mean and standard deviation of the finite values; the value itself if there is one."""
    finite = np.asarray(values, float)[np.isfinite(np.asarray(values, float))]
    if len(finite) < 2:
        return float(finite[0]) if len(finite) else None
    return Measured(float(finite.mean()), float(finite.std(ddof=1)))


@checked
def members_table(
    history: History,
    *,
    best: tuple[int, int] | None = None,
    most: int = 15,
    caption: str = "Members by the selection score of their best epoch: the validation score "
    "less what may be luck. With the hyperparameters of that time.",
) -> Table:
    """The ranking of the population.

    Args:
        history: The record of the search.
        best: Epoch and member of the chosen network, which is emphasised; by default the first.
        most: Largest number of rows.
        caption: Caption of the table.
    """
    epoch, chosen = best_network(history) if best is None else best
    selection_score = np.where(
        np.isfinite(history.selection_score), history.selection_score, -np.inf
    )
    members = history.parents.shape[1]
    if len(history.epoch) == 0:
        selection_score = np.full((1, members), -np.inf)
    top = selection_score.max(axis=0)
    order = np.argsort(-top, kind="stable")[:most]
    rows: list[tuple[Cell, ...]] = []
    strong = []
    for rank, member in enumerate(order):
        at = int(np.argmax(selection_score[:, member]))
        if int(member) == chosen:
            strong.append(rank)
            at = int(np.argmax(history.epoch == epoch)) if epoch in history.epoch else at
        row_of = int(history.round[at]) if len(history.round) else 0
        value = float(selection_score[at, member])
        known = np.isfinite(value)
        rows.append(
            (
                str(rank + 1),
                int(member),
                float(history.score[at, member]) if known else None,
                value if known else None,
                int(history.epoch[at]) if known else None,
                "trained to the end"
                if history.status[member] == "running"
                else history.status[member],
                *(float(v[row_of, member]) for v in history.hyperparameters.values()),
            )
        )
    columns = (
        "Rank",
        "Member",
        "Score",
        "Selection score",
        "Epoch",
        "Slot at the end",
        *history.hyperparameters,
    )
    return Table(columns=columns, rows=tuple(rows), caption=caption, emphasised=tuple(strong))


@checked
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


@checked
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

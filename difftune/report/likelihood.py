"""What was asked of a likelihood as numbers, pictures, tables and one page."""

import json
from collections.abc import Mapping
from dataclasses import replace
from itertools import cycle
from pathlib import Path

import numpy as np
from matplotlib.colors import to_hex, to_rgb
from matplotlib.ticker import MaxNLocator, NullLocator

from difftune.files import writing
from difftune.heartbeat import doing
from difftune.histfactory import Model
from difftune.histograms import Histogram, Template, Templates
from difftune.inference import Examination, Exclusion, FitResult, Prediction, effects
from difftune.report.fit_tables import (
    bin_yields_table,
    effects_table,
    exclusion_table,
    fitted_yields_table,
    goodness_table,
    groups_table,
    parameters_table,
    ranking_table,
)
from difftune.report.given import checked
from difftune.report.html import (
    Block,
    Collapsible,
    Numbers,
    Picture,
    Section,
    Text,
    render,
    save,
    to_json,
)
from difftune.report.plots.contour import cls_scan, likelihood_profile
from difftune.report.plots.exclusion import exclusion_contour, exclusion_curve
from difftune.report.plots.features import parameter_correlations
from difftune.report.plots.fit_overview import composition
from difftune.report.plots.ranking import grouped_ranking, ranking
from difftune.report.plots.region import region
from difftune.report.plots.systematics import pulls
from difftune.report.style import STACK, Label, PlotFigure
from difftune.report.tables import Table

# So many channels are drawn, and so many pulls: those that moved or are constrained most.
_CHANNELS, _PULLS = 12, 40


def _paler(color: tuple[float, float, float]) -> tuple[float, float, float]:
    red, green, blue = (0.5 + 0.5 * part for part in color)
    return red, green, blue


# Those of a stack without the grey of what is summed up, and paler ones.
_PALETTE = (
    *STACK[:-1],
    *(to_hex(_paler(to_rgb(color))) for color in STACK[:-1]),
)

# Whether there are data or simulation in a workspace, its owner knows.
_LABEL = Label(status="")


@checked
def likelihood_report(
    found: Examination,
    folder: str | Path,
    *,
    title: str = "Likelihood",
    label: Label = _LABEL,
) -> Path:
    """Writes `results.json`, `report.html`, and folders of figures and tables.

    Args:
        found: From `inference.examine`.
        folder: Where to; made if absent.
        title: Of the page.
        label: What stands above each figure.

    Returns:
        The page.

    Raises:
        InputError: When they cannot be written there.
    """
    doing("drawing the report")
    page = _Page(Path(folder), replace(label, colors={**_colours(found), **label.colors}))
    with writing(page.folder / "results.json") as stream:
        stream.write(to_json(found.to_dict()) + "\n")
    sections = [
        Section("Result", _headline(found)),
        Section("Fit", _fit(page, found)),
        Section("Limit", _limit(page, found)),
        Section("Uncertainties", _uncertainties(page, found)),
        Section("Goodness of fit", _goodness(page, found)),
        Section("Yields", _yields(page, found)),
    ]
    structure = found.model.structure
    sizes = {
        "channel": len(structure.channels),
        "bin": structure.n_bins,
        "sample": len(structure.samples),
        "parameter": len(structure.names),
    }
    subtitle = ", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in sizes.items())
    file = page.folder / "report.html"
    with writing(file) as stream:
        stream.write(render(title, subtitle, sections))
    return file


@checked
def exclusion_report(
    found: Exclusion,
    folder: str | Path,
    *,
    title: str = "Exclusion",
    label: Label = _LABEL,
) -> Path:
    """Writes `results.json`, `report.html`, and folders of figures and tables of a signal grid.

    Signals in a plane are drawn with their contours, those on a line with bands.

    Args:
        found: From `inference.exclusion`.
        folder: Where to; made if absent.
        title: Of the page.
        label: What stands above each figure.

    Returns:
        The page.

    Raises:
        InputError: When they cannot be written there.
    """
    page = _Page(Path(folder), label)
    content = found._asdict() | {"excluded": found.excluded}
    with writing(page.folder / "results.json") as stream:
        stream.write(to_json(content) + "\n")
    good = found.points[np.isfinite(found.observed)]
    varied = [i for i in range(len(found.labels)) if len(np.unique(good[:, i])) > 1]
    blocks: list[Block] = []
    if len(varied) >= 2:
        names = found.labels[varied[0]], found.labels[varied[1]]
        if np.linalg.matrix_rank(good[:, varied[:2]] - good[0, varied[:2]]) == 2:
            figure = exclusion_contour(found, axes=names, label=label)
            caption = "Signals to the side of the filled points are excluded."
            blocks.append(page.picture(figure, "contour", caption))
    elif varied and len(np.unique(good[:, varied[0]])) == len(good):
        figure = exclusion_curve(found, against=found.labels[varied[0]], label=label)
        blocks.append(page.picture(figure, "curve"))
    blocks.append(page.table(exclusion_table(found), "exclusion"))
    numbers = Numbers([(f"{int(found.excluded.sum())} of {len(found.names)}", "signals excluded")])
    file = page.folder / "report.html"
    with writing(file) as stream:
        stream.write(render(title, "", [Section("Exclusion", [numbers, *blocks])]))
    return file


class _Page:
    """Where figures and tables go."""

    def __init__(self, folder: Path, label: Label) -> None:
        self.folder, self.label = folder, label

    def picture(self, figure: PlotFigure, name: str, caption: str = "") -> Picture:
        """Saves a figure, and shows it."""
        _, png, _ = save(figure, self.folder / "figures", name)
        return Picture(png.read_bytes(), caption)

    def table(self, table: Table, name: str) -> Table:
        """Saves a table, and shows it."""
        for kind, text in (("csv", table.csv()), ("tex", table.latex() + "\n")):
            with writing(self.folder / "tables" / f"{name}.{kind}") as stream:
                stream.write(text)
        return table


def _headline(found: Examination) -> list[Block]:
    numbers, poi = [], found.model.structure.poi
    if found.fit is not None and poi is not None:
        value, sigma = found.fit.parameter(poi)
        numbers.append((f"{value:.3g} ± {sigma:.2g}", poi))
    if found.limit is not None:
        numbers.append((f"{float(found.limit.observed):.3g}", f"upper limit on {poi}, 95 % CL"))
    if found.significance is not None and found.significance.observed is not None:
        numbers.append((f"{found.significance.observed:.2f} σ", "significance"))
    if found.goodness is not None:
        p = found.goodness.toys_p_value
        p = found.goodness.p_value if p is None else p
        if np.isfinite(p):
            numbers.append((f"{p:.2g}", "p-value of the fit"))
    return [*([Numbers(numbers)] if numbers else []), Text("\n\n".join(found.lines()))]


def _fit(page: _Page, found: Examination) -> list[Block]:
    if found.fit is None:
        return []
    best, blocks = found.fit, []
    shown = _moved(best)
    pages = pulls(
        [best.names[i] for i in shown],
        best.values[shown],
        best.uncertainties[shown],
        centers=best.centers[shown],
        widths=best.widths[shown],
        per_page=_PULLS,
        label=page.label,
    )
    if pages:
        many = int((best.uncertainties > 0).sum())
        caption = f"Pulls: the {len(shown)} of {many} parameters that the data moved most."
        blocks.append(page.picture(pages[0], "pulls", caption))
    if found.scan is not None:
        alone = found.statistics_scan
        others = {} if alone is None else {"Statistics only": alone}
        figure = likelihood_profile(found.scan, others=others, label=page.label)
        blocks.append(page.picture(figure, "profile", "Profile likelihood."))
    free = np.flatnonzero(best.uncertainties > 0)
    if len(free) > 1:
        correlation = np.asarray(best.correlation)[np.ix_(free, free)]
        # Of hundreds of parameters those that correlate most.
        size = np.abs(correlation - np.eye(len(free))).max(axis=1)
        least = max(0.2, float(np.sort(size)[-min(30, len(size))]))
        figure = parameter_correlations(
            correlation, [best.names[i] for i in free], minimum=least, label=page.label
        )
        blocks.append(page.picture(figure, "correlations", "Correlations of the parameters."))
    table = page.table(parameters_table(best, found.errors), "parameters")
    return [*blocks, Collapsible(f"All {len(best.names)} parameters", [table])]


def _moved(best: FitResult) -> list[int]:
    """Free parameters without a constraint, and those that the data moved or constrain most."""
    free = np.asarray(best.uncertainties) > 0
    pull = (best.values - best.centers) / best.widths
    told = np.maximum(np.abs(pull), np.abs(best.uncertainties / best.widths - 1))
    rank = np.where(free, np.nan_to_num(told, nan=np.inf), -1.0)
    return np.argsort(-rank, kind="stable")[: min(_PULLS, int(free.sum()))].tolist()


def _limit(page: _Page, found: Examination) -> list[Block]:
    if found.tested is None or found.cls is None:
        return []
    poi = found.model.structure.poi or ""
    figure = cls_scan(found.tested, found.cls, title=poi, label=page.label)
    return [page.picture(figure, "cls", "CLs; the limit is where it crosses 0.05.")]


def _uncertainties(page: _Page, found: Examination) -> list[Block]:
    blocks: list[Block] = []
    if found.groups is not None:
        figure = grouped_ranking(found.groups, label=page.label)
        blocks.append(page.picture(figure, "groups"))
        blocks.append(page.table(groups_table(found.groups), "groups"))
    if found.impacts is not None and found.impacts.names:
        figure = ranking(found.impacts, label=page.label)
        caption = "Ranking: impacts as bars (upper axis), pulls as points (lower axis)."
        blocks.append(page.picture(figure, "ranking", caption))
        table = page.table(ranking_table(found.impacts), "ranking")
        blocks.append(Collapsible("All nuisance parameters", [table]))
    return blocks


def _goodness(page: _Page, found: Examination) -> list[Block]:
    if found.goodness is None:
        return []
    return [page.table(goodness_table(found.goodness), "goodness")]


def _yields(page: _Page, found: Examination) -> list[Block]:
    blocks: list[Block] = []
    signals = _signals(found.model)
    for when, said, predictions in (
        ("prefit", "before the fit", found.before),
        ("postfit", "after the fit", found.after),
    ):
        if predictions is None:
            continue
        caption = f"Events {said}, ± uncertainty with the covariance of all parameters."
        table = fitted_yields_table(predictions, found.observed, caption=caption)
        blocks.append(page.table(table, f"yields_{when}"))
        some = dict(list(predictions.items())[:_CHANNELS])
        if when == "prefit":
            names = tuple(sorted({name for channel, name in signals if channel in some}))
            figure = composition(some, signal=names, label=page.label)
            blocks.append(page.picture(figure, "composition", f"What is expected {said}."))
        result = found.fit if when == "postfit" else None
        changes = effects(found.model, result)
        tables = [
            page.table(effects_table(one), f"effects_{when}_{number}")
            for number, one in enumerate(changes.values())
            if one.names
        ]
        if tables:
            blocks.append(Collapsible(f"What systematics do to each sample {said}", list(tables)))
        folded: list[Block] = []
        for number, (channel, prediction) in enumerate(predictions.items()):
            observed = found.observed[channel]
            if number < _CHANNELS:
                figure = _stack(channel, prediction, observed, signals, when, page.label)
                folded.append(page.picture(figure, f"{when}_{number}", f"{channel}, {said}."))
            bins = bin_yields_table(prediction, observed, caption=f"{channel}, {said}.")
            folded.append(page.table(bins, f"bins_{when}_{number}"))
        blocks.append(Collapsible(f"Every channel and bin {said}", folded))
    return blocks


def _signals(model: Model) -> set[tuple[str, str]]:
    """Channel and name of the samples that the parameter of interest scales."""
    content = json.loads(model.structure.skeleton)
    return {
        (channel["name"], sample["name"])
        for channel in content["channels"]
        for sample in channel["samples"]
        if model.structure.poi in [modifier["name"] for modifier in sample["modifiers"]]
    }


def _colours(found: Examination) -> Mapping[str, str]:
    """A colour for each background, the same in all channels, before and after the fit."""
    total: dict[str, float] = {}
    signals = {name for _, name in _signals(found.model)}
    for prediction in (found.before or {}).values():
        for name in prediction.names:
            if name not in signals:
                total[name] = total.get(name, 0.0) + prediction.of(name).total
    return dict(zip(sorted(total, key=lambda name: -total[name]), cycle(_PALETTE), strict=False))


def _stack(
    channel: str,
    prediction: Prediction,
    observed: np.ndarray,
    signals: set[tuple[str, str]],
    when: str,
    label: Label,
) -> PlotFigure:
    """Samples of a channel stacked, with the data; numbers of bins stand in their middle."""
    edges = np.arange(len(observed) + 1) + 0.5
    none = np.zeros(len(observed))
    templates = Templates(
        channel=channel,
        edges=edges,
        processes={
            name: Template(Histogram(edges, np.asarray(prediction.of(name).values), none))
            for name in prediction.names
        },
        signal=tuple(name for name in prediction.names if (channel, name) in signals),
        data=Histogram(edges, np.asarray(observed, float), none),
    )
    note = f"{channel}\n{'Pre-fit' if when == 'prefit' else 'Post-fit'}"
    figure = region(templates, prediction=prediction, axis="Bin", note=note, label=label)
    for axes in figure.axes:
        axes.xaxis.set_major_locator(MaxNLocator(12, integer=True))
        axes.xaxis.set_minor_locator(NullLocator())
    return figure

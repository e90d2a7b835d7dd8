"""The one call: events in, edges out, and what they are worth."""

import logging
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from jax import Array
from jaxtyping import Bool, Float, Int

from difftune.arguments import said, takes, whole
from difftune.binning.cells import Cells
from difftune.binning.edges import as_signal
from difftune.binning.exact import exact_edges
from difftune.binning.figures import (
    Additive,
    Asimov,
    Constraints,
    FigureOfMerit,
    Scored,
    Yields,
    binned,
)
from difftune.binning.gradient import gradient_edges
from difftune.errors import InputError
from difftune.precision import in_float64

logger = logging.getLogger("difftune")

Samples = tuple[Scored, Mapping[str, Scored]]
"""The nominal events, and those of the variations by their names."""

METHODS = ("auto", "exact", "gradient")


def _as_bins(given: Any) -> Any:
    """A number of bins, or several to choose from."""
    if isinstance(given, Iterable) and not isinstance(given, str):
        return tuple(_as_bins(number) for number in given)
    return whole(given, f"optimise_edges(bins={said(given)})")


@dataclass(frozen=True, eq=False)
class Binning:
    """Chosen edges, and the figures of merit that led to them.

    Attributes:
        edges: The bin edges, strictly increasing.
        yields: Yields of the given events in these hard bins.
        figure: Figure of merit of `yields`. The edges were chosen on the same events, so it is
            a little optimistic.
        curve: The same for each number of bins that was searched on all events, and that the
            constraints allow.
        held_out: For each number of bins, the figure on events that the edges were not chosen on,
            a mean over the folds; empty where one number of bins was asked for.
        method: `"exact"` or `"gradient"`.
    """

    edges: Float[np.ndarray, " edges"]
    yields: Yields
    figure: float
    curve: dict[int, float]
    held_out: dict[int, float]
    method: str

    @property
    def bins(self) -> int:
        """Number of bins."""
        return len(self.edges) - 1


@dataclass(frozen=True, eq=False)
class _Task:
    """What is asked for, whatever the events."""

    figure: FigureOfMerit
    constraints: Constraints
    method: str
    candidates: int
    seed: int

    def indices(self, cells: Cells, numbers: list[int]) -> dict[int, Int[np.ndarray, " edges"]]:
        """Edges for each number of bins, or for the largest below it that the constraints allow."""
        chosen: dict[int, np.ndarray] = {}
        if self.method == "exact":
            found = exact_edges(cells, max(numbers), self.figure, self.constraints)
            allowed = [max((n for n in found if n <= wanted), default=0) for wanted in numbers]
            return {number: found[number] for number in allowed if number}
        for number in numbers:
            edges = gradient_edges(cells, number, self.figure, self.constraints, seed=self.seed)
            if edges is not None:
                chosen.setdefault(len(edges) - 1, edges)
        return chosen


@takes(signal=as_signal, bins=_as_bins)
def optimise_edges(
    score: Float[np.ndarray | Array, " _"],
    weight: Float[np.ndarray | Array, " _"],
    signal: Bool[np.ndarray | Array, " _"],
    *,
    bins: int | Iterable[int],
    variations: Mapping[str, Scored] | None = None,
    figure_of_merit: FigureOfMerit | None = None,
    constraints: Constraints | None = None,
    method: str = "auto",
    candidates: int = 1000,
    folds: int = 2,
    tolerance: float = 0.01,
    seed: int = 0,
) -> Binning:
    """Bin edges of a given score that maximise a figure of merit.

    Give it training and validation events, not those that the result is computed with. Where
    `bins` offers several numbers, each is tried on folds: edges are chosen on the other folds and
    judged on the one left out, where more bins than the simulated events can carry bring nothing.
    The smallest number within `tolerance` of the best is taken, and its edges are chosen again on
    all events.

    Args:
        score: The score, of any origin and in any range; larger is more signal-like.
        weight: Physics weights, scaled to the full expected yield; may be negative.
        signal: Whether an event is signal; the others are background.
        bins: Number of bins (fewer where the constraints want it), or numbers to choose from.
        variations: Scored events of each systematic variation, by its name, also with the weights
            of the full yield. No bin will be empty in any of them, and the figure of merit sees
            them.
        figure_of_merit: What is maximised: an `Additive`, or any function of `Yields` that JAX can
            differentiate. `Asimov()` by default.
        constraints: What every bin must have; `Constraints()` by default.
        method: `"exact"` for an `Additive`, `"gradient"` for anything; `"auto"` takes the exact one
            where it can.
        candidates: Number of cells that edges are chosen from.
        folds: Number of folds that decide on the number of bins.
        tolerance: Relative loss of the figure of merit that fewer bins are worth.
        seed: Of the folds and the starts of the descents.

    Returns:
        The edges with their yields and figures.

    Raises:
        InputError: Events or options that no edges can come from, or constraints that not even a
            single bin meets.
    """
    nominal = Scored(np.asarray(score), np.asarray(weight), np.asarray(signal))
    events = (nominal, dict(variations or {}))
    numbers = sorted({int(n) for n in bins} if isinstance(bins, Iterable) else [int(bins)])
    if not numbers or numbers[0] < 1:
        raise InputError(f"bins={bins!r}: give a number of bins from 1, or several such numbers.")
    figure = Asimov() if figure_of_merit is None else figure_of_merit
    task = _Task(
        figure,
        Constraints() if constraints is None else constraints,
        _method(method, figure),
        candidates,
        seed,
    )
    held_out = _held_out(events, numbers, task, folds) if len(numbers) > 1 else {}
    number = numbers[-1]
    if held_out:
        best = max(held_out.values())
        number = min(n for n, each in held_out.items() if each >= best - tolerance * abs(best))
    cells = Cells.of(*events, candidates=candidates)
    # An exact search has all smaller numbers on the way.
    found = task.indices(cells, numbers if task.method == "exact" else [number])
    if not found:
        raise InputError(
            f"Not even one bin over all events meets {task.constraints}: give more events, or "
            "relax the constraints."
        )
    chosen = max(n for n in found if n <= number)
    if chosen < number:
        logger.info(
            "optimise_edges: %d bins of the %d asked for: the constraints allow no more, or no "
            "more pay; loosen Constraints(...) for more.",
            chosen,
            number,
        )
    worth, yields = _figure(cells.edges[found[chosen]], events, figure)
    curve = {n: _hard(cells, index, figure) for n, index in sorted(found.items())}
    return Binning(
        edges=cells.edges[found[chosen]],
        yields=yields,
        figure=float(worth),
        curve=curve,
        held_out=held_out,
        method=task.method,
    )


def _method(method: str, figure: FigureOfMerit) -> str:
    """Which of the two it is."""
    if method not in METHODS:
        raise InputError(f"method={method!r} must be one of {', '.join(map(repr, METHODS))}.")
    if method == "auto":
        return "exact" if isinstance(figure, Additive) else "gradient"
    return method


@in_float64
def _hard(cells: Cells, edges: Int[np.ndarray, " edges"], figure: FigureOfMerit) -> Any:
    """Figure of merit of a binning of the cells."""
    return jax.jit(figure)(cells.between(edges[:-1], edges[1:])).item()


@in_float64
def _figure(
    edges: np.ndarray, events: Samples, figure: FigureOfMerit, fraction: float = 1.0
) -> tuple[Any, Yields]:
    """Figure of merit and yields in hard bins.

    Where the events are a fraction of all, their variance is made that of all.
    """
    yields = binned(edges, *events)
    yields = yields._replace(
        signal_variance=yields.signal_variance * fraction,
        background_variance=yields.background_variance * fraction,
    )
    return jax.jit(figure)(yields), yields


def _held_out(events: Samples, numbers: list[int], task: _Task, folds: int) -> dict[int, float]:
    """Mean figure of merit on the fold left out, for each number that every fold allows."""
    if not 2 <= folds <= len(events[0].score):
        raise InputError(f"folds={folds} must be from 2 to the number of events.")
    figures: dict[int, list[float]] = {}
    for chosen, judged, fraction in _folds(events, folds, task.seed):
        cells = Cells.of(*chosen, candidates=task.candidates)
        scale = np.ones((len(cells.sums), 1))
        scale[2:4] = 1 - fraction
        cells = replace(cells, sums=cells.sums * scale)
        for number, index in task.indices(cells, numbers).items():
            value, _ = _figure(cells.edges[index], judged, task.figure, fraction)
            figures.setdefault(number, []).append(float(value))
    return {n: float(np.mean(each)) for n, each in sorted(figures.items()) if len(each) == folds}


def _folds(events: Samples, folds: int, seed: int) -> Iterator[tuple[Samples, Samples, float]]:
    """Events to choose on, events to judge on, and the fraction that the latter are.

    Samples of equal length are taken for the same events, varied, and are split alike.
    """
    nominal, variations = events

    def part(sample: Scored, fold: int, inside: bool) -> Scored:
        draw = np.random.default_rng(seed).permutation(len(sample.score)) % folds
        chosen = (draw == fold) == inside
        weight = np.zeros_like(sample.weight)
        for mask in (sample.signal, ~sample.signal):
            total = sample.weight[mask & chosen].sum()
            if not total > 0:
                raise InputError(
                    f"A fold of {folds} has no net signal or background, or a variation has not: "
                    "the number of bins cannot be chosen from so few events. Give one number."
                )
            weight[mask] = sample.weight[mask] * sample.weight[mask].sum() / total
        return Scored(sample.score, weight, sample.signal)[chosen]

    for fold in range(folds):
        both = [
            (part(nominal, fold, inside), {n: part(v, fold, inside) for n, v in variations.items()})
            for inside in (False, True)
        ]
        yield both[0], both[1], 1 / folds

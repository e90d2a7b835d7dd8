"""Events summed over fine cells: all that a search for edges looks at, and judges binnings by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from difftune.binning.figures import Constraints, FigureOfMerit, Scored, Yields, binned
from difftune.errors import InputError

# Differences of running sums are exact to rounding; what is below this part of all is empty.
_NOISE = 1e-11


@dataclass(frozen=True, eq=False)
class Cells:
    """Fine cells of the score, of which bins are made.

    A binning of the cells is a list of indices of `edges`, from 0 to the last. Its yields are
    differences of running sums, so they cost the same however many events there are.

    Attributes:
        edges: Edges of the cells, strictly increasing; every bin edge is one of them.
        sums: Running sums at each edge: the rows of `Yields.of_rows`.
        noise: What is left of a yield by rounding, for each row.
    """

    edges: Float[np.ndarray, " edges"]
    sums: Float[np.ndarray, "rows edges"]
    noise: Float[np.ndarray, " rows"]

    @classmethod
    def of(
        cls,
        nominal: Scored,
        variations: Mapping[str, Scored] | None = None,
        *,
        candidates: int = 1000,
    ) -> "Cells":
        """Cells with an equal share of the signal or of the background in each.

        Half of the edges are quantiles of the signal and half of the background (by `|w|`), so
        both the bulk of the events and the signal-like end are finely divided.

        Args:
            nominal: The events.
            variations: Events of each systematic variation, by its name.
            candidates: Largest number of cells.

        Raises:
            InputError: The net signal or background is not positive, or all scores are equal.
        """
        if candidates < 2:
            raise InputError(f"candidates={candidates} must be at least 2; 1000 is usual.")
        for name, mask in (("signal", nominal.signal), ("background", ~nominal.signal)):
            total = nominal.weight[mask].sum()
            if not total > 0:
                raise InputError(
                    f"The total weight of the {name} is {total:g}, not positive. Give events of "
                    "signal and background with their physics weights."
                )
        borders, last = separating_edges(nominal.score)
        if not len(borders):
            raise InputError(
                f"All {len(nominal.score)} scores are {nominal.score[0]:g}, so there is nothing to "
                "bin: check that the column is the score and that it was filled."
            )
        if len(borders) >= candidates:
            order = np.argsort(nominal.score, kind="stable")
            chosen = []
            for mask, count in (
                (nominal.signal, (candidates - 1) // 2),
                (~nominal.signal, candidates // 2),
            ):
                size = np.where(mask, np.abs(nominal.weight), 0.0)[order]
                below = np.cumsum(size)[last]
                wanted = np.arange(1, count + 1) / (count + 1) * size.sum()
                chosen.append(np.searchsorted(below, wanted))
            index = np.unique(np.concatenate(chosen))
            borders = borders[index[index < len(borders)]]
        edges = with_ends(borders, nominal.score)
        rows = np.concatenate(
            [
                part if part.ndim == 2 else part[None]
                for part in _interleaved(binned(edges, nominal, variations))
            ]
        )
        sums = np.concatenate([np.zeros((len(rows), 1)), np.cumsum(rows, axis=1)], axis=1)
        return cls(edges, sums, _NOISE * np.abs(rows).sum(axis=1))

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.edges) - 1

    @property
    def contents(self) -> Float[np.ndarray, "rows cells"]:
        """Yields of each cell."""
        return np.diff(self.sums, axis=1)

    def between(
        self,
        low: Int[np.ndarray | Array, "*batch bins"],
        high: Int[np.ndarray | Array, "*batch bins"],
    ) -> Yields:
        """Yields between two edges, given by index; traced indices are fine.

        Args:
            low: Index of the lower edge of each bin.
            high: Index of the upper edge.
        """
        sums = jnp.asarray(self.sums)
        rows = sums[:, high] - sums[:, low]
        noise = jnp.asarray(self.noise).reshape(-1, *(1,) * (rows.ndim - 1))
        return Yields.of_rows(jnp.where(jnp.abs(rows) > noise, rows, 0.0))

    def nearest(self, score: Float[np.ndarray, " edges"]) -> Int[np.ndarray, " edges"]:
        """Indices of the inner edges nearest to given ones, between the outer two, increasing."""
        inner = np.asarray(score, np.float64)[1:-1]
        middle = 0.5 * (self.edges[1:] + self.edges[:-1])
        return distinct(np.searchsorted(middle, inner), len(self))


def distinct(inner: Int[np.ndarray, " inner"], cells: int) -> Int[np.ndarray, " edges"]:
    """Indices of edges, the outer ones added, moved apart where they coincide.

    Args:
        inner: Indices of the inner edges, not decreasing.
        cells: Number of cells; at least one more than inner edges.
    """
    count = len(inner)
    steps = np.arange(count)
    up = np.maximum.accumulate(np.maximum(inner, 1) - steps) + steps
    upper = cells - count + steps
    return np.concatenate([[0], np.minimum(up, upper), [cells]])


def _interleaved(yields: Yields) -> list[np.ndarray]:
    """The rows that `Yields.of_rows` takes."""
    nominal = [np.asarray(part) for part in yields[:4]]
    pairs = zip(yields.varied_signal, yields.varied_background, strict=True)
    return nominal + [np.asarray(part) for pair in pairs for part in pair]


def separating_edges(
    values: Float[np.ndarray, " events"],
) -> tuple[Float[np.ndarray, " borders"], np.ndarray]:
    """All edges that separate two values, and the sorted index of the last event below each.

    An edge is a float32 number where one fits between, so that float32 code on a device and
    float64 code on the host put every event into the same bin.
    """
    ordered = np.sort(values, kind="stable")
    last = np.flatnonzero(np.diff(ordered) > 0)
    lower, upper = ordered[last], ordered[last + 1]
    middle = (0.5 * (lower + upper)).astype(np.float32).astype(np.float64)
    return np.where((lower < middle) & (middle <= upper), middle, upper), last


def with_ends(
    inner: Float[np.ndarray, " inner"], values: Float[np.ndarray, " events"]
) -> Float[np.ndarray, " edges"]:
    """Adds outer edges that span the values and [0, 1]."""
    low, high = min(0.0, values.min()), max(1.0, values.max())
    if len(inner) and inner[-1] >= high:
        high = np.nextafter(np.float32(inner[-1]), np.float32(np.inf))
    return np.concatenate([[low], inner, [high]]).astype(np.float64)


Judge = Callable[
    [Int[np.ndarray, "binnings edges"]],
    tuple[Float[np.ndarray, " binnings"], Float[np.ndarray, " binnings"]],
]


def judge(cells: Cells, figure: FigureOfMerit, constraints: Constraints) -> Judge:
    """A function of edges (indices, one binning a row): figure and summed shortfall of each.

    A figure that is not a number counts as minus infinity. It is compiled for each shape that it
    is called with, and expects float64.

    Args:
        cells: The cells.
        figure: The figure of merit.
        constraints: What every bin must have.
    """

    def one(edges: Int[Array, " edges"]) -> tuple[Array, Array]:
        yields = cells.between(edges[:-1], edges[1:])
        value = jnp.asarray(figure(yields))
        if value.ndim:
            raise InputError(
                f"The figure of merit {figure!r} returned an array {list(value.shape)}; a figure "
                "of merit is one number for the bins of one binning: take a sum."
            )
        return jnp.where(jnp.isnan(value), -jnp.inf, value), constraints.shortfall(yields).sum()

    compiled = jax.jit(jax.vmap(one))

    def judged(edges: Int[np.ndarray, "binnings edges"]) -> tuple[np.ndarray, np.ndarray]:
        value, short = compiled(edges)
        return np.asarray(value), np.asarray(short)

    return judged


def best(value: Float[np.ndarray, " n"], short: Float[np.ndarray, " n"]) -> int:
    """Index of the largest figure among those with the least shortfall."""
    least = short <= short.min() + 1e-12
    return int(np.argmax(np.where(least, value, -np.inf)))

"""Edges by gradient descent on an annealed histogram, for any figure of merit."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from difftune.binning.cells import Cells, Judge, best, distinct, judge
from difftune.binning.figures import Constraints, FigureOfMerit, Yields
from difftune.binning.learned import LearnedEdges
from difftune.histograms import soft_histogram
from difftune.precision import in_float64

_SWEEPS = 200


def polished(cells: Cells, edges: Int[np.ndarray, " edges"], judged: Judge) -> np.ndarray:
    """Moves edges, one or two neighbours at a time, until nothing gains.

    Steps are powers of two of cells, up to an eighth of all. A binning with less shortfall of the
    constraints is better whatever its figure.

    Args:
        cells: The cells.
        edges: Indices to begin with.
        judged: Figure and shortfall of binnings.
    """
    count = len(edges) - 2
    if count < 1:
        return edges
    reach = max(int(np.log2(max(len(cells) / 8, 1))), 0) + 1
    sizes = np.concatenate([2 ** np.arange(reach), -(2 ** np.arange(reach))])
    one = np.eye(count, dtype=np.int64)
    directions = np.concatenate([one, one[:-1] + one[1:]])
    moves = (directions[:, None, :] * sizes[:, None]).reshape(-1, count)
    moves = np.concatenate([np.zeros_like(moves[:1]), moves])
    for _ in range(_SWEEPS):
        tried = np.tile(edges, (len(moves), 1))
        tried[:, 1:-1] += moves
        ordered = (np.diff(tried, axis=1) > 0).all(axis=1)
        # What is no binning stays the present one, which gains nothing.
        tried[~ordered] = edges
        value, short = judged(tried)
        chosen = best(value, short)
        gain = value[chosen] - value[0]
        if short[chosen] >= short[0] - 1e-12 and not gain > 1e-10 * abs(value[0]):
            break
        edges = tried[chosen]
    return edges


def repaired(edges: Int[np.ndarray, " edges"], judged: Judge) -> Int[np.ndarray, " fewer_edges"]:
    """Takes edges away, the best choice each time, until the constraints are met or none is left.

    Args:
        edges: Indices of the edges.
        judged: Figure and shortfall of binnings.
    """
    short = judged(edges[None])[1][0]
    while short > 0 and len(edges) > 2:
        fewer = np.stack([np.delete(edges, index) for index in range(1, len(edges) - 1)])
        value, shorts = judged(fewer)
        chosen = best(value, shorts)
        edges, short = fewer[chosen], shorts[chosen]
    return edges


# How many of the descents are polished.
_KEPT = 3
# Into how many cells the descent looks, at most.
_RESOLUTION = 250


@in_float64
def gradient_edges(
    cells: Cells,
    bins: int,
    figure: FigureOfMerit,
    constraints: Constraints,
    *,
    starts: int = 16,
    steps: int = 300,
    learning_rate: float = 0.05,
    penalty: float = 3.0,
    polish: bool = True,
    seed: int = 0,
) -> Int[np.ndarray, " edges"] | None:
    """Edges by gradient descent from several starts at once, made hard and polished.

    The edges move in the coordinate that counts cells, in which half of signal and half of
    background are flat; there a step of the same size is worth about the same anywhere. The
    histogram is smeared by a kernel whose width goes from half a bin down to half a cell; the
    constraints are a penalty that grows meanwhile. Then the edges are hard: the best few descents
    are polished by a local search (`polished`) that puts the constraints first, and as long as
    they are not met, a bin is merged with a neighbour.

    Args:
        cells: The cells.
        bins: Number of bins.
        figure: What is maximised; anything that JAX can differentiate.
        constraints: What every bin must have.
        starts: Number of descents; the first begins with equal bins, the others at random.
        steps: Steps of each.
        learning_rate: Of Adam, for the logarithms of the widths; falls to 1 % along a cosine.
        penalty: What a bin that misses its constraints entirely costs at the end, as a multiple of
            the figure of merit.
        polish: Whether to search locally at the end; without, the descent alone is seen.
        seed: Of the random starts.

    Returns:
        Indices of the edges, fewer than `bins + 1` where the constraints want it; None where not
        even a single bin meets them.
    """
    bins = min(bins, len(cells))
    judged = judge(cells, figure, constraints)
    candidates = _descend(
        cells, bins, figure, constraints, starts, steps, learning_rate, penalty, seed
    )
    value, short = judged(candidates)
    order = np.lexsort([-value, short])[: _KEPT if polish else 1]
    results: list[tuple[bool, float, int, np.ndarray]] = []
    for edges in candidates[order]:
        if polish:
            edges = polished(cells, edges, judged)
        fewer = repaired(edges, judged)
        if polish and len(fewer) < len(edges):
            fewer = polished(cells, fewer, judged)
        edges = fewer
        (here,), (missing,) = judged(edges[None])
        results.append((bool(missing > 0), -float(here), len(results), edges))
    bad, *_, edges = min(results, key=lambda result: result[:3])
    return None if bad else edges


def _descend(
    cells: Cells,
    bins: int,
    figure: FigureOfMerit,
    constraints: Constraints,
    starts: int,
    steps: int,
    learning_rate: float,
    penalty: float,
    seed: int,
) -> Int[np.ndarray, "starts edges"]:
    """Where each descent ends, as indices."""
    size = len(cells)
    if bins < 2:
        return np.tile([0, size], (starts, 1))
    shape = LearnedEdges(bins=bins, min_width=min(1 / size, 0.5 / bins), pace=1.0)
    # The smeared histogram needs no more than this; what is finer is left to the local search.
    coarse = min(size, _RESOLUTION)
    borders = np.rint(np.linspace(0, size, coarse + 1)).astype(np.int64)
    first, last = 0.5 / bins, 0.5 / coarse
    optimizer = optax.adam(optax.cosine_decay_schedule(learning_rate, steps, 0.01))
    centres = 0.5 * (borders[1:] + borders[:-1]) / size
    contents = np.diff(cells.sums[:, borders], axis=1)

    def yields(log_widths: Float[Array, " bins"], bandwidth: Array | float) -> Yields:
        edges = shape({"log_widths": log_widths})
        rows = soft_histogram(
            jnp.asarray(centres), jnp.asarray(contents), edges, bandwidth=bandwidth
        )
        return Yields.of_rows(rows)

    # One program, compiled as a whole.
    @jax.jit
    def descend(starts: Float[Array, "starts bins"]) -> Float[Array, "starts edges"]:
        scale = jnp.abs(figure(yields(starts[0], first))) + 1e-12

        def loss(log_widths: Float[Array, " bins"], progress: Array) -> Array:
            soft = yields(log_widths, first * (last / first) ** progress)
            short = jnp.sum(constraints.shortfall(soft))
            return -figure(soft) / scale + penalty * progress * short

        def descent(log_widths: Float[Array, " bins"]) -> Float[Array, " edges"]:
            def step(state: Any, progress: Array) -> tuple[Any, None]:
                log_widths, moments = state
                slope = jax.grad(loss)(log_widths, progress)
                # A figure without a slope somewhere must not end a descent.
                slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
                updates, moments = optimizer.update(slope, moments)
                return (optax.apply_updates(log_widths, updates), moments), None

            state = log_widths, optimizer.init(log_widths)
            (log_widths, _), _ = jax.lax.scan(step, state, jnp.linspace(0.0, 1.0, steps))
            return shape({"log_widths": log_widths})

        return jax.vmap(descent)(starts)

    widths = np.random.default_rng(seed).dirichlet(np.ones(bins), starts - 1)
    widths = np.concatenate([np.full((1, bins), 1 / bins), widths])
    edges = descend(jnp.asarray(np.log(np.maximum(widths, 1e-3))))
    inner = np.rint(np.asarray(edges)[:, 1:-1] * size).astype(np.int64)
    return np.stack([distinct(row, size) for row in inner])

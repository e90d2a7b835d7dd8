"""Fits of a small model side by side in numpy: a step of many costs little more than one of one.

What numpy takes for a fit of a few parameters is the overhead of its operations. So the fits of a
scan, a ranking or a limit take their Newton steps together. A fit that is not that simple, because
a step does not lower the deviance as it promises or leaves the bounds, goes its own way: it starts
again by itself, with all that `minimise` can do.
"""

import numpy as np
from jaxtyping import Bool, Float

from difftune.histfactory import Structure
from difftune.histfactory import arrays as xp
from difftune.inference.solver import (
    Minimum,
    Problem,
    Status,
    deviances,
    held_parameters,
    minimise,
    poisson_weights,
    solve_free,
)

# Parameters times cells: beyond, what is computed takes as long as the overhead. Rankings of 57
# parameters and 120 cells are still a third faster, those of 181 and 40 an eighth slower.
_SMALL = 7_000
# So many fits at a time.
_MOST = 64
_STEPS = 12

Rows = Float[np.ndarray, "rows parameters"]


def fits_side_by_side(problem: Problem) -> bool:
    """Whether a problem is computed in numpy, and so small that its fits are quicker together."""
    kernel = problem.kernel
    if kernel is None or len(kernel.blocks) != 1 or xp.in_jax(problem.data, problem.start):
        return False
    where = kernel.blocks[0].where
    return len(problem.start) * len(where.sample) <= _SMALL


def minimise_each(
    structure: Structure,
    problem: Problem,
    data: Float[np.ndarray, "rows data"],
    start: Rows,
    fixed: Bool[np.ndarray, "rows parameters"],
) -> Minimum:
    """`minimise` of many problems that differ in data, start values and fixed parameters.

    Args:
        structure: Of the model.
        problem: What they have in common.
        data: Of each.
        start: Of each.
        fixed: Of each.
    """
    parts = [
        _minimise_some(
            structure, problem, data[i : i + _MOST], start[i : i + _MOST], fixed[i : i + _MOST]
        )
        for i in range(0, len(start), _MOST)
    ]
    found = Minimum(
        *(np.concatenate(each) for each in zip(*(part[0] for part in parts), strict=True))
    )
    done = np.concatenate([part[1] for part in parts])
    for row in np.flatnonzero(~done).tolist():
        own = problem._replace(data=data[row], start=start[row], fixed=fixed[row])
        for array, value in zip(found, minimise(structure, own), strict=True):
            array[row] = value
    return found


def _minimise_some(
    structure: Structure,
    problem: Problem,
    data: Float[np.ndarray, "rows data"],
    start: Rows,
    fixed: Bool[np.ndarray, "rows parameters"],
) -> tuple[Minimum, Bool[np.ndarray, " rows"]]:
    """Those that are simple, and which these are."""
    points = np.where(fixed, start, np.clip(start, problem.lower, problem.upper))
    value = deviances(structure, problem._replace(data=data), points)
    slope, curvature = np.zeros_like(points), np.zeros_like(points)
    held, done = fixed.copy(), np.zeros(len(points), bool)
    distance, steps = np.full(len(points), np.inf), np.zeros(len(points), np.int64)
    rows = np.flatnonzero(np.isfinite(value))
    for _ in range(_STEPS):
        if not len(rows):
            break
        some = problem._replace(data=data[rows], fixed=fixed[rows])
        slopes, hessian = _derivatives(structure, some, points[rows])
        stays = held_parameters(some, points[rows], slopes)
        move = np.stack([solve_free(*each) for each in zip(hessian, -slopes, ~stays, strict=True)])
        promised = -np.where(stays, 0.0, slopes * move).sum(axis=-1) / 2
        there = points[rows] + move
        inside = (some.fixed | ((there >= some.lower) & (there <= some.upper))).all(axis=-1)
        new = deviances(structure, some, there)
        noise = 1e-12 * (1 + np.abs(value[rows]))
        # False also where the matrix is not positive, so that there is no step.
        good = inside & (promised >= 0) & (value[rows] - new >= promised / 2 - noise)
        near = (promised <= 1e-11) | ((promised <= 1e-6) & (promised <= 1e-2 * distance[rows]))
        rows, at = rows[good], good
        points[rows], value[rows], distance[rows] = there[at], new[at], promised[at]
        slope[rows], curvature[rows] = slopes[at], np.diagonal(hessian, axis1=1, axis2=2)[at]
        held[rows] = held_parameters(problem._replace(fixed=fixed[rows]), points[rows], slopes[at])
        steps[rows] += 1
        done[rows] = near[at]
        rows = rows[~near[at]]
    status = np.full(len(points), int(Status.CONVERGED))
    return Minimum(points, value, slope, curvature, held, status, steps, distance), done


def _derivatives(
    structure: Structure, problem: Problem, points: Rows
) -> tuple[Rows, Float[np.ndarray, "rows parameters parameters"]]:
    """First and second derivatives of the deviance at several points."""
    assert problem.kernel is not None
    (block,) = problem.kernel.blocks
    layout, at, count = structure.layout, block.slopes(points), structure.n_bins
    main, auxiliary = problem.data[:, :count], problem.data[:, count:]
    where, scale = layout.auxiliary, problem.terms.scale
    mean = points[:, where]
    slope, hessian = np.zeros_like(points), np.zeros((*points.shape, points.shape[1]))
    slope[:, where] = (mean - auxiliary) / np.square(scale)
    hessian[:, where, where] = 1 / np.square(scale)
    if layout.poisson.any():
        # The mean is τ γ.
        first, second, _ = poisson_weights(auxiliary, mean * scale, problem.wall)
        counts = where[layout.poisson]
        slope[:, counts] = (first * scale)[:, layout.poisson]
        hessian[:, counts, counts] = (second * np.square(scale))[:, layout.poisson]
    first, second, _ = poisson_weights(main, at.value, problem.wall)
    own = block.parameters
    slope[:, own] += (at.first @ first[:, :, None])[:, :, 0]
    most = (at.first * second[:, None, :]) @ at.first.swapaxes(1, 2)
    hessian[:, own[:, None], own] += most + block.second(at, first)
    return slope, hessian

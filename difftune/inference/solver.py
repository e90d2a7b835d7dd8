"""The minimum of a likelihood within bounds: Newton's method with an active set and damping.

What is minimised is the deviance, -ln L less its value for a perfect description of the data: a sum
of small terms, which keeps its digits where ln L itself is large. Near the minimum the second
derivatives are exact; far from it, and where they lead nowhere, Fisher's information stands in,
which is never negative. The free parameters at a bound that the slope pushes against are held
(Bertsekas, SIAM J. Control Optim. 20 (1982) 221); a step that does not lower the deviance is
repeated with more damping (Levenberg-Marquardt). Nothing raises: the result carries a status.
"""

from enum import IntEnum
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Structure
from difftune.histfactory import arrays as xp
from difftune.histfactory.kernel import Kernel
from difftune.histfactory.rates import (
    Terms,
    excess,
    expected_auxiliary,
    rates,
    slopes,
)
from difftune.inference.curvature import Blocks, Matrix, blocks, damped, diagonal_of

Parameters = Float[Array, " parameters"]
Points = Float[Array, "*points parameters"]


# Without events the likelihood grows as the expectation sinks, below 0 and on, where it has no
# meaning. As if there were so many events, it has a minimum above 0, at a cost of 1e-8 in -ln L.
WALL = 1e-9


class Status(IntEnum):
    """How a fit ended."""

    CONVERGED = 0
    TOO_MANY_STEPS = 1
    NOT_FINITE = 2
    """The likelihood is not finite at the start: data where nothing is expected, or NaN."""
    UNDETERMINED = 3
    """The second derivatives are not positive: the data do not determine all parameters."""
    NO_LIMIT = 4
    """No upper limit was found."""
    NEGATIVE = 5
    """The fit of all parameters ends above that at a tested value: it is not the minimum."""
    OUTSIDE = 6
    """A value below the lower bound of the parameter of interest is tested."""


MESSAGES = {
    Status.CONVERGED: "converged",
    Status.TOO_MANY_STEPS: "did not converge in the allowed number of steps",
    Status.NOT_FINITE: "has a likelihood that is not finite: a bin without expected events has "
    "data, or a yield is negative",
    Status.NO_LIMIT: "finds no upper limit: the data hardly depend on the parameter of interest",
    Status.NEGATIVE: "has a best fit that is worse than that at a tested value, so it is not "
    "the minimum: give another start=...",
    Status.OUTSIDE: "tests a value below the lower bound of the parameter of interest",
    Status.UNDETERMINED: "has no positive second derivatives: the data do not determine all "
    "parameters",
}


class Problem(NamedTuple):
    """What is minimised.

    Attributes:
        terms: The model's numbers.
        data: Main and auxiliary data.
        start: Start values; those of fixed parameters count.
        lower: Lower bounds.
        upper: Upper bounds.
        fixed: Parameters that stay.
        wall: What a bin without events counts as.
        kernel: The same numbers for numpy; None in a program of JAX.
    """

    terms: Terms
    data: Float[Array, "*batch data"]
    start: Parameters
    lower: Parameters
    upper: Parameters
    fixed: Bool[Array, " parameters"]
    wall: Float[Array, ""] | float = WALL
    kernel: Kernel | None = None


class Minimum(NamedTuple):
    """Where the solver ended.

    Attributes:
        parameters: The best fit.
        deviance: -ln L there, less that of a perfect description.
        slope: Its first derivatives before the last step.
        curvature: Its second derivatives in one parameter each, before the last step.
        held: Parameters that are fixed, or held at a bound.
        status: A `Status`.
        steps: Number of steps.
        distance: Estimated distance to the minimum, in -ln L.
    """

    parameters: Parameters
    deviance: Float[Array, ""]
    slope: Parameters
    curvature: Parameters
    held: Bool[Array, " parameters"]
    status: Int[Array, ""]
    steps: Int[Array, ""]
    distance: Float[Array, ""]


def deviance_of_counts(
    count: Float[Array, "*#points n"],
    rate: Float[Array, "*points n"],
    wall: Float[Array, ""] | float,
) -> Float[Array, "*points n"]:
    """-ln Poisson(count | rate) less its least value; infinite where it is not defined."""
    if rate.shape != count.shape:
        count = xp.broadcast_to(count, rate.shape)
    # Not "count > 0": NaN must not count as nothing, and so pass unseen.
    there, allowed = ~(count == 0), rate > 0
    if not xp.in_jax(there, allowed) and allowed.all():
        if there.all():
            return excess(count, rate)
        found = rate - wall * np.log(rate)
        found[there] = excess(count[there], rate[there])
        return found
    n, x = xp.where(there, count, 1.0), xp.where(allowed, rate, 1.0)
    term = excess(n, x)
    empty = xp.where(allowed, rate - wall * xp.log(x), xp.where(rate < 0, xp.inf, 0.0))
    return xp.where(there, xp.where(allowed, term, xp.inf), empty)


def deviance(structure: Structure, problem: Problem, parameters: Parameters) -> Float[Array, ""]:
    """-ln L less its value for expectations that are the data."""
    kernel = _kernel(problem, parameters)
    if kernel is not None:
        return _deviance(structure, problem, parameters, kernel.rates(parameters))
    value = rates(structure, problem.terms, parameters)
    return _deviance(structure, problem, parameters, value)


def deviances(structure: Structure, problem: Problem, points: Points) -> Float[Array, "*points"]:
    """The deviance at several points, in numpy by as many operations as at one.

    In numpy the data may have an axis of the points, too, or one of length 1.
    """
    kernel = _kernel(problem, points)
    if kernel is None:
        return xp.each(partial(deviance, structure, problem), points)
    return _deviance(structure, problem, points, kernel.rates(points))


def _kernel(problem: Problem, parameters: Points) -> Kernel | None:
    """What computes in numpy, if that is where the parameters are."""
    return None if xp.in_jax(parameters) else problem.kernel


def _deviance(
    structure: Structure,
    problem: Problem,
    parameters: Points,
    expected: Float[Array, "*points bins"],
) -> Float[Array, "*points"]:
    main = deviance_of_counts(problem.data[..., : structure.n_bins], expected, problem.wall)
    return main.sum(axis=-1) + deviance_of_constraints(structure, problem, parameters)


def deviance_of_constraints(
    structure: Structure, problem: Problem, parameters: Points
) -> Float[Array, "*points"]:
    """What the auxiliary measurements add to the deviance."""
    auxiliary, layout = problem.data[..., structure.n_bins :], structure.layout
    kernel, poisson = _kernel(problem, parameters), layout.poisson
    if kernel is not None and kernel.gaussian:
        pull = (auxiliary - parameters[..., layout.auxiliary]) / problem.terms.scale
        return np.square(pull).sum(axis=-1) / 2
    mean = expected_auxiliary(structure, problem.terms, parameters)
    result = xp.zeros(parameters.shape[:-1], parameters.dtype)
    if poisson.any():
        counted = deviance_of_counts(auxiliary[..., poisson], mean[..., poisson], problem.wall)
        result = result + counted.sum(axis=-1)
    if not poisson.all():
        pull = (auxiliary[..., ~poisson] - mean[..., ~poisson]) / problem.terms.scale[~poisson]
        result = result + xp.square(pull).sum(axis=-1) / 2
    return result


class Expansion(NamedTuple):
    """Value and derivatives of the deviance at a point.

    Attributes:
        value: The deviance.
        slope: Its first derivatives.
        fisher: A curvature that is never negative, from first derivatives of the expectation.
        hessian: Its second derivatives.
    """

    value: Float[Array, ""]
    slope: Parameters
    fisher: Matrix
    hessian: Matrix


def expand(structure: Structure, problem: Problem, parameters: Parameters) -> Expansion:
    """The deviance with its slope, Fisher's information, and the exact second derivatives.

    For a Poisson term they are `n/λ² ∂λ∂λ + (1 - n/λ) ∂²λ`. In the Fisher information the weight
    lies between the expected and the observed one: 1/λ is safe far from the minimum, n/λ² right
    near it where yields are linear in the parameters.
    """
    kernel = _kernel(problem, parameters)
    if kernel is not None:
        return _expand_in_numpy(structure, problem, kernel, parameters)
    layout, given = structure.layout, problem.terms
    at = slopes(structure, given, parameters)
    main, auxiliary = problem.data[: structure.n_bins], problem.data[structure.n_bins :]
    value = _deviance(structure, problem, parameters, at.value)
    d_main, exact, safe = poisson_weights(main, at.value, problem.wall)
    mean = expected_auxiliary(structure, given, parameters)
    # Poisson: the mean is τ γ; Gaussian: the mean is the parameter.
    d_count, exact_count, safe_count = poisson_weights(auxiliary, mean, problem.wall)
    variance = xp.square(given.scale)
    slope = xp.where(layout.poisson, d_count * given.scale, (mean - auxiliary) / variance)
    where = layout.auxiliary

    def constraint(weight: Array) -> Array:
        weight = xp.where(layout.poisson, weight * variance, 1 / variance)
        return xp.diag(xp.add_at(xp.zeros_like(parameters), where, weight, unique=True))

    return Expansion(
        value=value,
        slope=xp.add_at(at.first @ d_main, where, slope, unique=True),
        fisher=(at.first * safe) @ at.first.T + constraint(safe_count),
        hessian=(at.first * exact) @ at.first.T + at.second(d_main) + constraint(exact_count),
    )


def _expand_in_numpy(
    structure: Structure, problem: Problem, kernel: Kernel, parameters: Parameters
) -> Expansion:
    """The same, block by block."""
    layout, given = structure.layout, problem.terms
    at = [block.slopes(parameters) for block in kernel.blocks]
    expected = np.empty(structure.n_bins)
    for block, one in zip(kernel.blocks, at, strict=True):
        expected[block.bins] = one.value
    main, auxiliary = problem.data[: structure.n_bins], problem.data[structure.n_bins :]
    d_main, exact, safe = poisson_weights(main, expected, problem.wall)
    where, poisson = layout.auxiliary, layout.poisson
    mean, variance = parameters[where], np.square(given.scale)
    pull, least, most = (mean - auxiliary) / variance, 1 / variance, 1 / variance
    if poisson.any():
        # The mean is τ γ.
        counts = poisson_weights(auxiliary, mean * given.scale, problem.wall)
        pull = np.where(poisson, counts[0] * given.scale, pull)
        most, least = (np.where(poisson, each * variance, least) for each in counts[1:])
    slope, on_fisher, on_hessian = (np.zeros_like(parameters) for _ in range(3))
    slope[where], on_fisher[where], on_hessian[where] = pull, least, most
    fisher, hessian, bends = [], [], []
    safe, exact = np.sqrt(safe), np.sqrt(exact)
    for block, one in zip(kernel.blocks, at, strict=True):
        weight, bins = d_main[block.bins], block.bins
        slope[block.parameters] += one.first @ weight
        fisher.append(one.first * safe[bins])
        hessian.append(one.first * exact[bins])
        bends.append(block.second(one, weight))
    value = _deviance(structure, problem, parameters, expected)
    return Expansion(
        value=value,
        slope=slope,
        fisher=blocks(kernel, fisher, [None] * len(bends), on_fisher),
        hessian=blocks(kernel, hessian, bends, on_hessian),
    )


def poisson_weights(
    count: Float[Array, "*#points n"],
    rate: Float[Array, "*points n"],
    wall: Float[Array, ""] | float,
) -> tuple[Float[Array, "*points n"], Float[Array, "*points n"], Float[Array, "*points n"]]:
    """First and second derivative in the rate, and a second one for far from the minimum."""
    inverse = xp.where(rate > 0, 1 / xp.where(rate > 0, rate, 1.0), 0.0)
    ratio = xp.where(count == 0, wall, count) * inverse
    # Where nothing is observed the deviance is linear: a vanishing rate weighs nothing.
    safe = xp.where(rate > 1e-9, (1 + xp.minimum(ratio, 10.0)) * inverse / 2, 0.0)
    return 1 - ratio, ratio * inverse, safe


class _State(NamedTuple):
    parameters: Parameters
    value: Float[Array, ""]
    known: Expansion
    """At the parameters, unless the last step was taken."""
    moved: Bool[Array, ""]
    damping: Float[Array, ""]
    distance: Float[Array, ""]
    done: Bool[Array, ""]
    steps: Int[Array, ""]
    stuck: Int[Array, ""]


def minimise(
    structure: Structure,
    problem: Problem,
    *,
    steps: int | None = None,
    max_steps: int = 200,
    tolerance: float = 1e-11,
) -> Minimum:
    """The best fit within bounds.

    Args:
        structure: Of the model.
        problem: Numbers, data, start values, bounds.
        steps: Take so many steps, neither less nor more: what runs side by side never waits, as
            when a network is trained through the fit. By default as many as it takes.
        max_steps: Largest number of steps.
        tolerance: Estimated distance to the minimum in -ln L at which to stop.
    """
    problem = xp.stop_gradient(problem)
    start = xp.where(
        problem.fixed, problem.start, xp.clip(problem.start, problem.lower, problem.upper)
    )
    expansion = partial(expand, structure, problem)

    def step(state: _State) -> _State:
        here = xp.cond(state.moved, expansion, lambda _: state.known, state.parameters)
        held = held_parameters(problem, state.parameters, here.slope)

        def tried(curvature: Matrix) -> tuple[Array, Array, Array]:
            curvature = damped(curvature, state.damping, diagonal_of(here.fisher))
            move, distance = _move(problem, state.parameters, here.slope, curvature, held)
            there = xp.clip(state.parameters + move, problem.lower, problem.upper)
            there = xp.where(problem.fixed, state.parameters, there)
            return there, deviance(structure, problem, there), distance

        # The rounding of the deviance, which grows with the number of events, is no ascent.
        noise = 1e-12 * (1 + xp.abs(state.value))

        # Newton's step is right near the minimum; Fisher's leads downwards wherever it starts if
        # it is damped enough. In a program their cost is little next to that of the derivatives; in
        # numpy a step that lowers the deviance as it promises needs no other beside it.
        one = None if xp.in_jax(here.slope) else tried(here.hessian)
        if one is not None and abs(state.value - one[1] - one[2]) <= 1e-3 * one[2] + noise:
            newton, (there, value, distance) = np.bool_(True), one
        else:
            if one is None:
                both = xp.each(tried, xp.stack([here.hessian, here.fisher]))
            else:
                both = tuple(np.stack(pair) for pair in zip(one, tried(here.fisher), strict=True))
            newton = both[1][0] <= xp.fmin(both[1][1], state.value) + noise
            there, value, distance = (xp.where(newton, each[0], each[1]) for each in both)
        better = value <= state.value + noise
        # Newton's steps square the distance: after a short one that made much of the way to it
        # there is nothing left to look for.
        near = (distance <= tolerance) | ((distance <= 1e-6) & (distance <= 1e-2 * state.distance))
        softer = xp.where(state.damping > 1e-4, state.damping / 10, 0.0)
        return _State(
            parameters=xp.where(better, there, state.parameters),
            value=xp.where(better, value, state.value),
            known=here,
            moved=better,
            damping=xp.where(better, softer, xp.maximum(state.damping * 10, 1e-4)),
            distance=xp.where(better, distance, state.distance),
            done=better & newton & (state.damping == 0) & near,
            steps=state.steps + 1,
            stuck=xp.where(better, 0, state.stuck + 1),
        )

    def unless_done(state: _State) -> _State:
        return xp.select(state.done, state, step(state))

    first = deviance(structure, problem, start)
    square = xp.zeros((len(start), len(start)), start.dtype)
    state = _State(
        parameters=start,
        value=first,
        known=Expansion(xp.zeros_like(first), xp.zeros_like(start), square, square),
        moved=np.bool_(True),
        damping=xp.zeros_like(first),
        distance=xp.full_like(first, xp.inf),
        done=~xp.isfinite(first),
        steps=np.int64(0),
        stuck=np.int64(0),
    )
    if steps is None:
        state = xp.while_loop(
            lambda at: ~at.done & (at.steps < max_steps) & (at.stuck < 40), step, state
        )
    else:
        state = xp.repeat(steps, unless_done, state)
    status = xp.where(state.done, int(Status.CONVERGED), int(Status.TOO_MANY_STEPS))
    return Minimum(
        parameters=state.parameters,
        deviance=state.value,
        slope=state.known.slope,
        curvature=diagonal_of(state.known.hessian),
        held=held_parameters(problem, state.parameters, state.known.slope),
        status=xp.where(xp.isfinite(first), status, int(Status.NOT_FINITE)),
        steps=state.steps,
        distance=state.distance,
    )


def held_parameters(
    problem: Problem, parameters: Points, slope: Points
) -> Bool[Array, "*points parameters"]:
    """Parameters that are fixed, or at a bound that the slope pushes them against."""
    low = (parameters <= problem.lower) & (slope >= 0)
    high = (parameters >= problem.upper) & (slope <= 0)
    return problem.fixed | low | high


def _move(
    problem: Problem,
    parameters: Parameters,
    slope: Parameters,
    curvature: Matrix,
    held: Bool[Array, " parameters"],
) -> tuple[Parameters, Float[Array, ""]]:
    """The step of the free parameters, and the decrease that it promises.

    Where the step crosses a bound it ends there, and the others are solved for again.
    """
    move = solve_free(curvature, -slope, ~held)
    distance = -xp.sum(xp.where(held, 0.0, slope) * move) / 2
    target = parameters + move
    stopped = ~held & ((target < problem.lower) | (target > problem.upper))

    def around_them() -> Parameters:
        inside = xp.clip(target, problem.lower, problem.upper)
        shift = xp.where(stopped, inside - parameters, 0.0)
        rest = solve_free(curvature, -(slope + curvature @ shift), ~(held | stopped))
        return xp.where(stopped, shift, rest)

    return xp.cond(stopped.any(), around_them, lambda: move), distance


def solve_free(
    curvature: Matrix,
    right: Parameters,
    free: Bool[Array, " parameters"],
) -> Parameters:
    """Solves for the free parameters; the others get 0.

    Args:
        curvature: Positive matrix.
        right: Right-hand side.
        free: Which parameters take part.
    """
    if isinstance(curvature, Blocks):
        return curvature.solve(right, free)
    if not xp.in_jax(curvature, right, free):
        return _solve_free_in_numpy(curvature, right, free)
    diagonal = xp.diagonal(curvature)
    scale = 1 / xp.sqrt(xp.where(free & (diagonal > 0), diagonal, 1.0))
    pair = free[:, None] & free[None, :]
    matrix = xp.where(pair, curvature * scale[:, None] * scale[None, :], 0.0)
    eye = xp.eye(len(free), dtype=matrix.dtype)
    # 1e-13 lets a direction without any information stay where it is.
    matrix = matrix + eye * (xp.where(free, 0.0, 1.0) + 1e-13)
    solved = xp.solve_positive(matrix, xp.where(free, right * scale, 0.0))
    return xp.where(free, solved * scale, 0.0)


def _solve_free_in_numpy(
    curvature: Float[np.ndarray, "parameters parameters"],
    right: Float[np.ndarray, " parameters"],
    free: Bool[np.ndarray, " parameters"],
) -> Float[np.ndarray, " parameters"]:
    """The same, with the matrix of the free parameters alone."""
    where = np.flatnonzero(free)
    if len(where) < len(free):
        curvature, right = curvature[where[:, None], where], right[where]
    diagonal = curvature.diagonal()
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, 1.0))
    matrix = curvature * scale * scale[:, None]
    matrix.flat[:: len(scale) + 1] += 1e-13
    solved = np.zeros(len(free))
    if len(where):
        solved[where] = xp.solve_positive(matrix, right * scale) * scale
    return solved

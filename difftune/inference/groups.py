"""What groups of uncertainties contribute to that of the parameter of interest."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.arguments import texts
from difftune.errors import InputError, nearest
from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model, Structure
from difftune.histfactory import rates as likelihood
from difftune.inference.fits import FitResult, fitted, refuse_at_bound
from difftune.inference.given import asks
from difftune.inference.problems import Bounds, FitError, Fixed, Limits, make_problem, poi_index
from difftune.inference.solver import MESSAGES, Status
from difftune.inference.tested import tested_limits
from difftune.precision import in_numpy

# Not narrower: what is wrong is an InputError, whatever it is.
Groups = Any
"""Names or patterns of parameters by name of the group: a mapping."""

STATISTICS = "statistics"
SIMULATION, LUMINOSITY = "simulation statistics", "luminosity"
SYSTEMATICS, FREE = "systematics", "free normalisation"


class ImpactGroup(NamedTuple):
    """What a group of parameters contributes to the uncertainty of the parameter of interest.

    Attributes:
        name: Of the group.
        parameters: Those in it; none for the statistics of the data.
        held: The root of what its square falls by when they are held at their best fit; for the
            statistics what is left when all parameters with a constraint are held.
        shifted: Change of the best fit when their auxiliary measurements, or the observed counts,
            move by one standard deviation, each by itself, added in quadrature.
    """

    name: str
    parameters: tuple[str, ...]
    held: float
    shifted: float


class GroupedImpacts(NamedTuple):
    """The uncertainty of the parameter of interest in parts, the statistics of the data first.

    Attributes:
        poi: Name of the parameter of interest.
        value: Its best fit.
        total: Its uncertainty.
        groups: The parts, the largest shift first after the statistics.
        fit: The fit that they refer to.
    """

    poi: str
    value: float
    total: float
    groups: tuple[ImpactGroup, ...]
    fit: FitResult

    @property
    def added(self) -> float:
        """All shifts in quadrature.

        It is the total where yields are linear in the parameters, and near it elsewhere.
        """
        return float(np.sqrt(sum(group.shifted**2 for group in self.groups)))

    def group(self, name: str) -> ImpactGroup:
        """The group of that name.

        Raises:
            InputError: There is none.
        """
        found = {group.name: group for group in self.groups}
        if name not in found:
            raise InputError(f"There is no group {name!r}.{nearest(name, found)}")
        return found[name]


@asks
def grouped_impacts(
    model: Model,
    data: Any = None,
    *,
    groups: Groups | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> GroupedImpacts:
    """The uncertainty of the parameter of interest by its sources, in two ways.

    The usual one holds the parameters of a group at their best fit and subtracts in quadrature. It
    adds up only if groups are not correlated, and what the data say of a systematic counts for the
    systematic. The other one moves the measurements that the fit is made of, the counts and the
    auxiliary data (A. Pinto et al., arXiv 2307.04007). These are independent, so the squares add
    up. Both are to first order, from the exact second derivatives at the best fit.

    Args:
        model: The model.
        data: Main data, or main and auxiliary data; by default the observations.
        groups: Names of parameters by name of the group, or patterns as `"JES*"`; `"x"` stands for
            all of one parameter per bin. What is in none belongs to "simulation statistics"
            (staterror), "luminosity" (lumi), "free normalisation" (without constraint) or
            "systematics" (all others).
        bounds: Other bounds, by name of the parameter.
        fixed: Values of parameters that stay, or their names; they are in no group.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: There is no parameter of interest, it ends at a bound, or a pattern matches none
            or what another group has.
        FitError: The fit does not converge.
    """
    what = "grouped_impacts"
    given = tested_limits(model, what, bounds=bounds, fixed=fixed, start=start, test_stat="qtilde")
    index, structure, values = poi_index(model, what), model.structure, model.data(data)
    named = _members(structure, groups or {}, index)
    best = fitted(model, values, given, free_poi=True)
    if np.ndim(best.status):
        raise InputError(f"{what} takes one fit: give one model and one row of data.")
    if best.status != Status.CONVERGED:
        raise FitError(f"The fit {MESSAGES[Status(int(best.status))]}, so there are no impacts.")
    refuse_at_bound(best, given, index)
    covariance = np.asarray(best.covariance)
    statistics, auxiliary = _variances(model, values, given, best.values, covariance[index])
    constrained = np.isin(np.arange(len(best.names)), structure.layout.auxiliary)
    free = np.asarray(best.uncertainties) > 0
    total = float(covariance[index, index])

    def explained(members: Sequence[int]) -> float:
        """By how much the variance falls when these are known."""
        if not len(members):
            return 0.0
        row = covariance[index, members]
        return float(row @ np.linalg.solve(covariance[np.ix_(members, members)], row))

    found = []
    for name, members in named.items():
        here = [i for i in members if free[i]]
        if here:
            shifts = float(np.sqrt(auxiliary[here].sum()))
            names = tuple(best.names[i] for i in here)
            held = float(np.sqrt(max(explained(here), 0.0)))
            found.append(ImpactGroup(name, names, held, shifts))
    found.sort(key=lambda group: -group.shifted)
    known = [i for i in np.flatnonzero(free & constrained).tolist() if i != index]
    left = float(np.sqrt(max(total - explained(known), 0.0)))
    first = ImpactGroup(STATISTICS, (), left, float(np.sqrt(statistics)))
    poi = structure.names[index]
    value, sigma = float(best.values[index]), float(np.sqrt(total))
    return GroupedImpacts(poi, value, sigma, (first, *found), best)


def _members(structure: Structure, asked: Groups, poi: int) -> dict[str, list[int]]:
    """Parameters of each group, those of the user first."""
    if not isinstance(asked, Mapping):
        raise InputError(f"groups={asked!r}: give names or patterns by name of the group.")
    sets = {i: g for g in structure.parameter_sets for i in range(g.start, g.start + g.size)}
    names = structure.names
    found: dict[str, list[int]] = {}
    owner: dict[int, str] = {poi: "the parameter of interest"}
    for group, patterns in asked.items():
        if group == STATISTICS:
            raise InputError(f"groups: {STATISTICS!r} is the name of what the data contribute.")
        found[group] = []
        for pattern in texts(patterns, f"groups[{group!r}]", '{"jets": ["JES*", "JER"]}'):
            alike = [
                i
                for i in range(len(names))
                if pattern in (names[i], sets[i].name)
                or fnmatchcase(sets[i].name, pattern)
                or fnmatchcase(names[i], pattern)
            ]
            # A pattern for all does not mean what is asked for.
            alike = [i for i in alike if i != poi or pattern == names[poi]]
            if not alike:
                known = [*names, *(each.name for each in structure.parameter_sets)]
                raise InputError(
                    f"groups[{group!r}]: no parameter is like {pattern!r}.{nearest(pattern, known)}"
                )
            for i in alike:
                if owner.get(i, group) != group:
                    raise InputError(
                        f"groups[{group!r}]: {names[i]!r} is in {owner[i]!r} already: a parameter "
                        "belongs to one group."
                    )
                if i not in owner:
                    owner[i] = group
                    found[group].append(i)
    kinds: dict[str, set[str]] = {}
    for name, kind in structure.modifiers:
        kinds.setdefault(name, set()).add(kind)
    for i in range(len(names)):
        if i not in owner:
            own = kinds.get(sets[i].name, set())
            default = SYSTEMATICS if sets[i].constraint != "none" else FREE
            default = LUMINOSITY if "lumi" in own else default
            default = SIMULATION if "staterror" in own else default
            found.setdefault(default, []).append(i)
    return found


@in_numpy
def _variances(
    model: Model,
    data: Float[Array, " data"],
    given: Limits,
    point: Float[Array, " parameters"],
    row: Float[Array, " parameters"],
) -> tuple[Array, Array]:
    """Variance of one parameter from the counts, and from the auxiliary measurement of each.

    At the best fit the slope vanishes whatever the data d, so they move it by H⁻¹ ∂²(-ln L)/∂θ∂d.
    """
    structure, problem = model.structure, make_problem(model, data, given)
    at = likelihood.slopes(structure, problem.terms, point)
    main, auxiliary = data[: structure.n_bins], data[structure.n_bins :]
    there = at.value > 0
    per_event = np.where(there, row @ at.first / np.where(there, at.value, 1.0), 0.0)
    where, scale = structure.layout.auxiliary, problem.terms.scale
    # A count a of expectation τγ has the variance a, and moves the slope by 1/γ.
    poisson = row[where] * np.sqrt(auxiliary) / np.where(point[where] > 0, point[where], 1.0)
    moved = np.where(structure.layout.poisson, poisson, row[where] / scale)
    each = np.zeros(len(point))
    each[where] = np.square(moved)
    return np.sum(np.square(per_event) * main), each

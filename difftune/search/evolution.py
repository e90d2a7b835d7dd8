"""Evolution: of generations of trainings, and of a covariance matrix (CMA-ES, arXiv 1604.00772)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from annotated_types import Ge

from difftune.arguments import Count, Fraction, Positive, Share, takes
from difftune.errors import InputError
from difftune.search.proposal import PopulationState, Proposal, Round, Strategy, fresh
from difftune.search.space import Space


@takes()
@dataclass(frozen=True, kw_only=True)
class Evolution(Strategy):
    """A genetic algorithm; each round is a generation, and each individual is trained anew.

    The fittest of a generation survive. The elite of them goes on as it is, and is trained again
    from other start values, so that luck does not last. All other slots get mutated duplicates of
    random survivors, or children of two. An individual's fitness is its best score of the
    generation; one that was never eligible has none.

    Args:
        population: Number of individuals.
        rounds: Number of generations.
        survivors: Share of the individuals that survive.
        elite: Number of the fittest that go on unchanged.
        mutation: Probability that a hyperparameter of a duplicate is changed; at least one is.
        perturbation: Step of a change, as a fraction of the range.
        resample: Probability that a change is a new draw instead of a step.
        crossover: Probability that a child takes each hyperparameter from one of two parents.
        inherit: Whether duplicates go on from the weights of the survivor, and the elite from its
            own, instead of being trained anew.

    Raises:
        InputError: For a value out of range.
    """

    population: Count = 30
    rounds: Count = 10
    survivors: Share = 0.3
    elite: Annotated[int, Ge(0)] = 1
    mutation: Fraction = 0.3
    perturbation: Share = 0.1
    resample: Fraction = 0.2
    crossover: Fraction = 0.0
    inherit: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("survivors", "mutation", "perturbation", "resample", "crossover"):
            value, zero = getattr(self, name), name in ("mutation", "resample", "crossover")
            if not 0.0 <= value <= 1.0 or (value == 0.0 and not zero):
                low = "at least 0" if zero else "above 0"
                raise InputError(f"Evolution({name}={value}): must be {low} and at most 1.")
        if not 0 <= self.elite < self.population:
            raise InputError(f"Evolution(elite={self.elite}): must be 0 to population - 1.")

    @property
    def training_rounds(self) -> int:
        """One, unless weights are inherited."""
        return self.rounds if self.inherit else 1

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """Independent draws."""
        return fresh(space.sample(rng, self.population), self.population)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """The next generation."""
        members = self.population
        fitness = state.past[-1].fitness
        order = np.argsort(-fitness, kind="stable")
        order = order[np.isfinite(fitness[order])]
        if not len(order):
            return fresh(space.sample(rng, members), members)
        survivors = order[: max(1, round(self.survivors * members))]
        elite = order[: self.elite]
        first, second = rng.choice(survivors, (2, members))
        # In its own slot an elite is easy to follow.
        kept = np.isin(np.arange(members), elite)
        parents = np.where(kept, np.arange(members), first)
        crossed = ~kept & (rng.random(members) < self.crossover)
        changed = rng.random((len(space), members)) < self.mutation
        if len(space):
            changed[rng.integers(len(space), size=members), np.arange(members)] = True
        values = {name: old[parents] for name, old in state.hyperparameters.items()}
        for (name, dimension), change in zip(space.items(), changed, strict=True):
            other = state.hyperparameters[name][second]
            own = np.where(crossed & (rng.random(members) < 0.5), other, values[name])
            stepped = dimension.perturb(own, self.perturbation, rng)
            drawn = dimension.sample(rng, members)
            new = np.where(rng.random(members) < self.resample, drawn, stepped)
            values[name] = np.where(change & ~kept, new, own)
        restart = np.full(members, not self.inherit)
        return Proposal(
            parents=np.arange(members) if not self.inherit else parents,
            restart=restart,
            hyperparameters=values,
        )


@takes()
@dataclass(frozen=True, kw_only=True)
class CMAES(Strategy):
    """Covariance matrix adaptation; each round is a generation, each member is trained anew.

    Draws come from a normal distribution over the unit cube of the space, whose mean and
    covariance follow the best of each generation. It is for continuous hyperparameters: a choice
    is cut out of an interval, in its order. A member that was never eligible counts as the worst.

    Args:
        population: Size of a generation; 4 + 3 ln(dimensions) or more.
        sigma: Standard deviation at the start, in units of the ranges.

    Raises:
        InputError: Without the package, for a population below 4, or another sigma than a positive
            one.
    """

    sigma: Positive = 0.3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.population < 4:
            raise InputError(f"CMAES(population={self.population}): must be at least 4.")
        if not self.sigma > 0.0:
            raise InputError(f"CMAES(sigma={self.sigma}): must be positive.")
        _package()

    @property
    def training_rounds(self) -> int:
        """Every round trains anew."""
        return 1

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """The first generation, around the middle of the space."""
        if len(space) < 2:
            raise InputError("CMAES: the space needs two hyperparameters or more; take PBT.")
        return self._next(space, (), rng)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """The next generation."""
        return self._next(space, state.past, rng)

    def _next(self, space: Space, past: Sequence[Round], rng: np.random.Generator) -> Proposal:
        """What comes after these rounds, which are told again from the beginning."""
        optimizer = _package().CMA(
            mean=np.full(len(space), 0.5),
            sigma=self.sigma,
            bounds=np.tile([0.0, 1.0], (len(space), 1)),
            population_size=self.population,
            seed=int(rng.integers(2**31)),
        )
        for each in past:
            tried = np.stack([space[n].to_unit(each.hyperparameters[n]) for n in space], axis=-1)
            worst = np.nanmin(each.best) if np.isfinite(each.best).any() else 0.0
            value = np.where(np.isfinite(each.best), each.best, worst - 1.0)
            optimizer.tell([(x, -float(y)) for x, y in zip(tried, value, strict=True)])
        unit = np.array([optimizer.ask() for _ in range(self.population)])
        values = {name: space[name].from_unit(unit[:, i]) for i, name in enumerate(space)}
        return fresh(values, self.population)


def _package() -> Any:
    try:
        import cmaes
    except ImportError:
        raise InputError("CMAES needs the package cmaes: pip install 'difftune[optuna]'.") from None
    return cmaes

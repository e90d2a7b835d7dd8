"""Evolution of a covariance matrix (CMA-ES, arXiv 1604.00772), by the package cmaes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from difftune.arguments import Positive, takes
from difftune.errors import InputError
from difftune.search.proposal import PopulationState, Proposal, Round, Strategy, fresh
from difftune.search.space import Space


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

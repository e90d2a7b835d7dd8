"""Population-based training (arXiv 1711.09846)."""

from dataclasses import dataclass

import numpy as np

from difftune.errors import InputError
from difftune.search.proposal import Proposal, Standing, Strategy, fresh
from difftune.search.space import Space


@dataclass(frozen=True, kw_only=True)
class PBT(Strategy):
    """Population-based training with truncation selection.

    After each round the members of the lowest quantile take over weights, optimizer state and
    hyperparameters of random members of the highest quantile (exploit), and change the
    hyperparameters (explore): each is drawn anew with probability `resample`, and else moves by
    `perturbation` of its range up or down. So one training finds a schedule of hyperparameters, not
    only values.

    Args:
        quantile: Share of the population that is replaced, and that is copied; in (0, 0.5].
        perturbation: Step, as a fraction of the range (of the logarithm, for log-uniform ones).
        resample: Probability to draw a hyperparameter anew.

    Raises:
        InputError: For a value out of range.
    """

    quantile: float = 0.25
    perturbation: float = 0.1
    resample: float = 0.1

    def __post_init__(self):
        super().__post_init__()
        for name, high in (("quantile", 0.5), ("perturbation", 1.0), ("resample", 1.0)):
            value = getattr(self, name)
            zero = name == "resample"
            if not 0.0 <= value <= high or (value == 0.0 and not zero):
                low = "at least 0" if zero else "above 0"
                raise InputError(f"PBT({name}={value}): must be {low} and at most {high:g}.")

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """Independent draws."""
        return fresh(space.sample(rng, self.population), self.population)

    def propose(self, space: Space, standing: Standing, rng: np.random.Generator) -> Proposal:
        """Losers are replaced by changed copies of winners.

        A member that is not eligible is a loser whatever its score. Where fewer members are
        eligible than the highest quantile holds, those are the winners; where none is, the losers
        begin afresh.
        """
        members = len(standing.score)
        parents = np.arange(members)
        restart = np.zeros(members, bool)
        values = {name: array.copy() for name, array in standing.hyperparameters.items()}
        may_win = standing.eligible & np.isfinite(standing.score)
        order = np.argsort(-np.where(may_win, standing.score, -np.inf), kind="stable")
        count = max(1, int(self.quantile * members)) if members > 1 else 0
        eligible = int(may_win.sum())
        winners = order[: min(count, eligible)]
        # All that are not eligible lose their slot, and the lowest quantile of the others.
        losers = order[min(members - count, eligible) :] if count else order[:0]
        losers = np.setdiff1d(losers, winners)

        if len(winners):
            parents[losers] = rng.choice(winners, len(losers))
        else:
            restart[losers] = True
        for name, dimension in space.items():
            inherited = values[name][parents[losers]]
            moved = dimension.perturb(inherited, self.perturbation, rng)
            drawn = dimension.sample(rng, len(losers))
            anew = restart[losers] | (rng.random(len(losers)) < self.resample)
            values[name][losers] = np.where(anew, drawn, moved)
        return Proposal(parents=parents, restart=restart, hyperparameters=values)

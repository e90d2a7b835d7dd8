"""Population-based training (arXiv 1711.09846), and bandits that model it (arXiv 2002.02518)."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal, NamedTuple

import numpy as np
from annotated_types import Ge, Gt, Le, Lt
from jaxtyping import Bool, Float, Int
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from difftune.arguments import Count, Fraction, Positive, Share, each_number, takes
from difftune.errors import InputError, nearest
from difftune.search.proposal import PopulationState, Proposal, Strategy, fresh
from difftune.search.space import Space

Each = float | Mapping[str, float]


EACH = {name: partial(each_number, where=f"PBT({name})") for name in ("perturbation", "resample")}
"""Forms of what hyperparameters may each have their own of."""


class Exploited(NamedTuple):
    """Which members go on, from whose weights.

    Attributes:
        parents: Slot whose weights each member goes on from.
        losers: Slots whose member is replaced.
        restart: Those of them that begin afresh, as none may be copied.
    """

    parents: Int[np.ndarray, " members"]
    losers: Int[np.ndarray, " losers"]
    restart: Bool[np.ndarray, " members"]


@takes(**EACH)
@dataclass(frozen=True, kw_only=True)
class PBT(Strategy):
    """Population-based training.

    After each round losers take over weights, optimizer state and hyperparameters of winners
    (exploit), and change the hyperparameters (explore): each is drawn anew with probability
    `resample`, and else moves by `perturbation` of its range up or down. So one training finds a
    schedule of hyperparameters, not only values. A member that is not eligible loses whatever its
    score.

    Args:
        exploit: `"truncation"`: the lowest quantile loses, to random members of the highest.
            `"tournament"`: each member meets a random other one, and loses if that is better.
        quantile: Share of the population that is replaced, and that is copied; in (0, 0.5]
            (truncation).
        perturbation: Step, as a fraction of the range (of the logarithm, for log-uniform ones); one
            for all hyperparameters, or by name, where others have the default.
        resample: Probability to draw a hyperparameter anew; likewise.
        min_rounds: Rounds that a member trains in its slot before it can lose it or be copied.
        slow_fraction: Share of the population, the first slots, that exploits only every
            `slow_interval` rounds and only within itself. What pays at once need not pay in the
            end: a low learning rate wins every short comparison. The slow members are compared over
            a longer time, and the others may copy them at any time, as the outer populations do in
            FIRE PBT (arXiv 2109.13800).
        slow_interval: Rounds between exploits of the slow members.

    Raises:
        InputError: For a value out of range.
    """

    exploit: Literal["truncation", "tournament"] = "truncation"
    quantile: Annotated[float, Gt(0), Le(0.5)] = 0.25
    perturbation: Share | Mapping[str, Share] = 0.1
    resample: Fraction | Mapping[str, Fraction] = 0.1
    min_rounds: Count = 1
    slow_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0
    slow_interval: Count = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.exploit not in ("truncation", "tournament"):
            raise InputError(f"PBT(exploit={self.exploit!r}): choose 'truncation' or 'tournament'.")
        for name, high in (("quantile", 0.5), ("perturbation", 1.0), ("resample", 1.0)):
            given = getattr(self, name)
            for value in given.values() if isinstance(given, Mapping) else (given,):
                zero = name == "resample"
                if not 0.0 <= value <= high or (value == 0.0 and not zero):
                    low = "at least 0" if zero else "above 0"
                    raise InputError(f"PBT({name}={given}): must be {low} and at most {high:g}.")
        if not 0.0 <= self.slow_fraction < 1.0:
            raise InputError(
                f"PBT(slow_fraction={self.slow_fraction}): must be at least 0 and below 1."
            )
        for name in ("min_rounds", "slow_interval"):
            if getattr(self, name) < 1:
                raise InputError(f"PBT({name}={getattr(self, name)}): must be at least 1.")

    def start(self, space: Space, rng: np.random.Generator) -> Proposal:
        """Independent draws."""
        for name in ("perturbation", "resample"):
            given = getattr(self, name)
            for key in given if isinstance(given, Mapping) else ():
                if key not in space:
                    raise InputError(
                        f"PBT({name}=...): {key!r} is not in the space.{nearest(key, space)}"
                    )
        return fresh(space.sample(rng, self.population), self.population)

    def propose(self, space: Space, state: PopulationState, rng: np.random.Generator) -> Proposal:
        """Losers are replaced by changed copies of winners.

        Where fewer members are eligible than the highest quantile holds, those are the winners;
        where none is, the losers begin afresh.
        """
        exploited = self.exploited(state, rng)
        values = self.explored(space, state, exploited, rng)
        return Proposal(
            parents=exploited.parents, restart=exploited.restart, hyperparameters=values
        )

    def exploited(self, state: PopulationState, rng: np.random.Generator) -> Exploited:
        """Decides which member is replaced by which."""
        members = len(state.selection_score)
        slow = np.arange(members) < int(self.slow_fraction * members)
        ready = state.age >= self.min_rounds if self.min_rounds > 1 else np.ones(members, bool)
        groups = [(np.flatnonzero(~slow & ready), np.flatnonzero(ready))]
        if state.round % self.slow_interval == 0:
            groups.append((np.flatnonzero(slow & ready), np.flatnonzero(slow & ready)))
        parents, restart = np.arange(members), np.zeros(members, bool)
        lost: list[int] = []
        for may_lose, may_win in groups:
            rule = self._truncation if self.exploit == "truncation" else self._tournament
            for loser, winner in rule(state.fitness, may_lose, may_win, rng):
                lost.append(loser)
                parents[loser], restart[loser] = (loser, True) if winner is None else (winner, 0)
        return Exploited(parents, np.array(sorted(lost), int), restart)

    def _truncation(
        self,
        fitness: np.ndarray,
        may_lose: np.ndarray,
        may_win: np.ndarray,
        rng: np.random.Generator,
    ) -> list[tuple[int, int | None]]:
        # All are ranked; those that are not eligible lose, and the lowest quantile of the others.
        ranked = np.union1d(may_lose, may_win)
        order = ranked[np.argsort(-fitness[ranked], kind="stable")]
        count = max(1, int(self.quantile * len(order))) if len(order) > 1 else 0
        eligible = int(np.isfinite(fitness[order]).sum())
        winners = order[: min(count, eligible)]
        low = order[min(len(order) - count, eligible) :] if count else order[:0]
        losers = np.setdiff1d(np.intersect1d(low, may_lose), winners)
        if not len(winners):
            return [(int(loser), None) for loser in losers]
        return list(zip(losers.tolist(), rng.choice(winners, len(losers)).tolist(), strict=True))

    def _tournament(
        self,
        fitness: np.ndarray,
        may_lose: np.ndarray,
        may_win: np.ndarray,
        rng: np.random.Generator,
    ) -> list[tuple[int, int | None]]:
        able = may_win[np.isfinite(fitness[may_win])]
        pairs: list[tuple[int, int | None]] = []
        for member in may_lose.tolist() if len(np.union1d(may_lose, may_win)) > 1 else ():
            others = able[able != member]
            out = not np.isfinite(fitness[member])
            if not len(others):
                pairs += [(member, None)] if out else []
                continue
            opponent = int(rng.choice(others))
            if out or fitness[opponent] > fitness[member]:
                pairs.append((member, opponent))
        return pairs

    def explored(
        self, space: Space, state: PopulationState, exploited: Exploited, rng: np.random.Generator
    ) -> dict[str, Float[np.ndarray, " members"]]:
        """Hyperparameters of all; those of the losers changed."""
        parents, losers, restart = exploited
        values = {name: array.copy() for name, array in state.hyperparameters.items()}
        for name, dimension in space.items():
            inherited = state.hyperparameters[name][parents[losers]]
            moved = dimension.perturb(inherited, _of(self.perturbation, name), rng)
            drawn = dimension.sample(rng, len(losers))
            anew = restart[losers] | (rng.random(len(losers)) < _of(self.resample, name))
            values[name][losers] = np.where(anew, drawn, moved)
        return values


def _of(given: Each, name: str) -> float:
    """The number of a hyperparameter; 0.1 where others are named."""
    return given.get(name, 0.1) if isinstance(given, Mapping) else given


JITTER = 1e-6


class GaussianProcess(NamedTuple):
    """A Gaussian process in time and hyperparameters, with zero mean and unit variance.

    `k = (1 - forgetting)^(|t - t'| / 2) exp(-|x - x'|² / 2 length²)`: what was learned long ago
    counts less (Bogunovic et al., arXiv 1601.06650).

    Attributes:
        length: Length scale in units of the range of each hyperparameter.
        forgetting: How fast the past is forgotten, in [0, 1).
        noise: Variance of the noise.
    """

    length: float
    forgetting: float
    noise: float

    def covariance(
        self,
        at: Float[np.ndarray, "a dimensions"],
        time: Float[np.ndarray, " a"],
        other: Float[np.ndarray, "b dimensions"],
        other_time: Float[np.ndarray, " b"],
    ) -> Float[np.ndarray, "a b"]:
        """Of the values at two sets of places."""
        squared = ((at[:, None] - other[None]) ** 2).sum(-1)
        return self.kernel(squared, np.abs(time[:, None] - other_time[None]))

    def kernel(self, squared: np.ndarray, apart: np.ndarray) -> np.ndarray:
        """The covariance from squared distances and distances in time."""
        steep = -1 / (2 * self.length**2)
        return np.exp(squared * steep + apart * (np.log1p(-self.forgetting) / 2))

    def factor(self, covariance: np.ndarray) -> np.ndarray:
        """Cholesky factor of the covariance of observations, from that of the function there."""
        noise = (self.noise + JITTER) * np.eye(len(covariance))
        return cholesky(covariance + noise, lower=True)

    def surprise(self, squared: np.ndarray, apart: np.ndarray, y: np.ndarray) -> float:
        """Minus the logarithm of the marginal likelihood of observations, up to a constant."""
        lower = self.factor(self.kernel(squared, apart))
        return float(0.5 * y @ cho_solve((lower, True), y) + np.log(np.diag(lower)).sum())

    def predict(
        self, x: np.ndarray, t: np.ndarray, y: np.ndarray, at: np.ndarray, now: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the function at new places.

        Args:
            x: Places of observations, in the unit cube.
            t: Their times.
            y: Their values.
            at: New places.
            now: Their times.
        """
        lower, across = self.factor(self.covariance(x, t, x, t)), self.covariance(at, now, x, t)
        mean = across @ cho_solve((lower, True), y)
        explained = solve_triangular(lower, across.T, lower=True)
        return mean, np.sqrt(np.maximum(1.0 - (explained**2).sum(0), 0.0))


def fitted(
    x: Float[np.ndarray, "observations dimensions"],
    t: Float[np.ndarray, " observations"],
    y: Float[np.ndarray, " observations"],
) -> GaussianProcess:
    """The process under which the observations are most likely."""
    squared, apart = distances(x, t)

    def process(free: np.ndarray) -> GaussianProcess:
        return GaussianProcess(np.exp(free[0]), 1 / (1 + np.exp(-free[1])), np.exp(free[2]))

    found = minimize(
        lambda free: process(free).surprise(squared, apart, y),
        [np.log(0.5), -2.0, np.log(0.3)],
        bounds=[np.log([0.05, 5.0]), (-6.0, 2.0), np.log([1e-3, 2.0])],
        options={"maxiter": 15},
    )
    return process(found.x)


def distances(
    x: Float[np.ndarray, "observations dimensions"], t: Float[np.ndarray, " observations"]
) -> tuple[np.ndarray, np.ndarray]:
    """Squared distances, and distances in time, of all pairs."""
    return ((x[:, None] - x[None]) ** 2).sum(-1), np.abs(t[:, None] - t[None])


@takes(**EACH)
@dataclass(frozen=True, kw_only=True)
class PB2(PBT):
    """Population-based bandits: exploits as PBT, and explores by a model.

    A Gaussian process that forgets the past learns how much a round with these hyperparameters
    raised the score. Losers get those with the largest upper confidence bound (mean plus
    `ucb_beta` standard deviations), one after the other, each taking into account what the ones
    before are going to find out. With few members this explores better than random steps.

    Args:
        ucb_beta: Standard deviations that are added to the mean.
        memory: Observations that the model is fitted to, the latest.
        candidates: Random places among which the best is taken, besides neighbours of what the
            winner has.

    Raises:
        InputError: As `PBT`, and for a number that is not positive.
    """

    ucb_beta: Positive = 1.0
    memory: Count = 100
    candidates: Count = 500

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("ucb_beta", "memory", "candidates"):
            if not getattr(self, name) > 0:
                raise InputError(f"PB2({name}={getattr(self, name)}): must be above 0.")

    def explored(
        self, space: Space, state: PopulationState, exploited: Exploited, rng: np.random.Generator
    ) -> dict[str, np.ndarray]:
        """Hyperparameters of all; those of the losers where the model expects most."""
        values = super().explored(space, state, exploited, rng)
        learned = self._observations(space, state)
        x, t, y = learned
        if not space or not len(exploited.losers) or len(y) < 4 or np.ptp(y) == 0.0:
            return values
        y = (y - y.mean()) / y.std()
        process, now = fitted(x, t, y), float(state.round)
        # Those that go on are trained next, too.
        staying = np.setdiff1d(np.arange(len(state.selection_score)), exploited.losers)
        x, t, y = _pending(process, x, t, y, _unit(space, values)[staying], now)
        for loser in exploited.losers:
            own = {name: values[name][[loser] * 20] for name in space}
            near = {name: space[name].perturb(own[name], 0.1, rng) for name in space}
            drawn = space.sample(rng, self.candidates)
            tried = {name: np.concatenate([own[name][:1], near[name], drawn[name]]) for name in own}
            at = _unit(space, tried)
            mean, deviation = process.predict(x, t, y, at, np.full(len(at), now))
            best = int(np.argmax(mean + self.ucb_beta * deviation))
            for name in space:
                values[name][loser] = tried[name][best]
            x, t, y = _pending(process, x, t, y, at[best : best + 1], now)
        return values

    def _observations(
        self, space: Space, state: PopulationState
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Places, times, and by how much each member's score rose in each round but the first."""
        places, times, rises = [], [], []
        for number, (before, after) in enumerate(
            zip(state.past[:-1], state.past[1:], strict=True), 1
        ):
            rise = after.selection_score - before.selection_score[after.parents]
            known = np.isfinite(rise) & ~after.restart
            places.append(_unit(space, after.hyperparameters)[known])
            times.append(np.full(known.sum(), float(number)))
            rises.append(rise[known].astype(float))
        if not rises:
            return np.zeros((0, len(space))), np.zeros(0), np.zeros(0)
        x, t, y = (np.concatenate(each)[-self.memory :] for each in (places, times, rises))
        return x, t, y


def _unit(
    space: Space, values: Mapping[str, np.ndarray]
) -> Float[np.ndarray, "members dimensions"]:
    """Hyperparameters as places in the unit cube."""
    return np.stack([space[name].to_unit(values[name]) for name in space], axis=-1)


def _pending(
    process: GaussianProcess,
    x: np.ndarray,
    t: np.ndarray,
    y: np.ndarray,
    at: np.ndarray,
    now: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The observations with some to come, which are expected to show what the model predicts."""
    if not len(at):
        return x, t, y
    mean, _ = process.predict(x, t, y, at, np.full(len(at), now))
    times = np.full(len(at), now)
    return np.concatenate([x, at]), np.concatenate([t, times]), np.concatenate([y, mean])

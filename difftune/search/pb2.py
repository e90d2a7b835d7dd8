"""Population-based bandits: PBT that models where to go next (arXiv 2002.02518)."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize

from difftune.arguments import Count, Positive, takes
from difftune.errors import InputError
from difftune.search.pbt import EACH, PBT, Exploited
from difftune.search.proposal import PopulationState
from difftune.search.space import Space

JITTER = 1e-6


class Process(NamedTuple):
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

    def predict(self, x, t, y, at, now) -> tuple[np.ndarray, np.ndarray]:
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
) -> Process:
    """The process under which the observations are most likely."""
    squared, apart = distances(x, t)

    def process(free: np.ndarray) -> Process:
        return Process(np.exp(free[0]), 1 / (1 + np.exp(-free[1])), np.exp(free[2]))

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

    def _observations(self, space: Space, state: PopulationState):
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
        return tuple(np.concatenate(each)[-self.memory :] for each in (places, times, rises))


def _unit(space: Space, values) -> Float[np.ndarray, "members dimensions"]:
    """Hyperparameters as places in the unit cube."""
    return np.stack([space[name].to_unit(values[name]) for name in space], axis=-1)


def _pending(process: Process, x, t, y, at, now: float):
    """The observations with some to come, which are expected to show what the model predicts."""
    if not len(at):
        return x, t, y
    mean, _ = process.predict(x, t, y, at, np.full(len(at), now))
    times = np.full(len(at), now)
    return np.concatenate([x, at]), np.concatenate([t, times]), np.concatenate([y, mean])

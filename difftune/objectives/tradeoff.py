"""Several validation scores at once, none of which is to be bought with too much of the others."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import said, takes
from difftune.errors import InputError
from difftune.objectives.base import Function

# Below it a score is worth nothing; it keeps logarithms finite.
_LEAST = 1e-12


@takes()
@dataclass(frozen=True)
class MultiObjective:
    """Scores that compete, such as significance and robustness; larger is better for each.

    A search with it keeps the networks that no other one beats in all scores: the Pareto front.
    Where one number must do (the best epoch of a member, early stopping, the network of the run)
    it is their geometric mean: a percent of one is worth a percent of another, in whatever units
    they are.

    Args:
        scores: Metrics by name, of positive values.

    Raises:
        InputError: For less than two.
    """

    scores: Mapping[str, Function]

    def __post_init__(self):
        if not isinstance(self.scores, Mapping):
            raise InputError(
                f"MultiObjective({said(self.scores)}): give scores by name, as in "
                'MultiObjective({"significance": Significance(), "area": AUC()}).'
            )
        if len(self.scores) < 2:
            raise InputError(
                f"MultiObjective({list(self.scores)}): give at least two scores by name; one "
                "alone is a metric as it is."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What the scores are called."""
        return tuple(self.scores)

    @property
    def varied(self) -> bool:
        """Whether a score wants the systematic variations of the events."""
        return any(getattr(score, "varied", False) for score in self.scores.values())

    def bound_to(self, processes):
        """The scores for events of these processes."""
        bound = {
            name: score.bound_to(processes) if hasattr(score, "bound_to") else score
            for name, score in self.scores.items()
        }
        return replace(self, scores=bound)

    def __call__(self, scores, batch, hyperparameters, parameters) -> Float[Array, " scores"]:
        """All scores of one member."""
        values = [
            score(scores, batch, hyperparameters, parameters) for score in self.scores.values()
        ]
        return jnp.stack([jnp.asarray(value, jnp.float32) for value in values])


def geometric_mean(values: Float[Array, "*scores"]) -> Float[Array, ""]:
    """One number for one or several scores: their geometric mean.

    Args:
        values: What a metric gave: a scalar, which stays as it is, or an array of scores.
    """
    if jnp.ndim(values) == 0:
        return values
    return jnp.exp(jnp.mean(jnp.log(jnp.maximum(values, _LEAST))))

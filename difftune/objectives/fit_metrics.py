"""Metrics that are the expected result of the measurement, systematics included."""

from dataclasses import dataclass, replace
from typing import ClassVar

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.objectives.through_fit import ThroughFit


@takes()
@dataclass(frozen=True, kw_only=True)
class FitScore:
    """A loss through the fit as a validation score in natural units; larger is better.

    It is `exp(-power loss)`, where the loss is a logarithm: 1 / σ(μ) of `PoiUncertainty`, 1 / limit
    of `ExpectedLimit`, and with `power=0.5` the significance of `DiscoverySignificance`. So a
    fraction of it means something, as overtraining conditions need.

    Args:
        objective: The loss. Its bins are equidistant; with a narrow kernel they are all but hard.
        power: As above.
    """

    varied: ClassVar[bool] = True

    objective: ThroughFit
    power: float = 1.0

    def __call__(self, scores, batch, hyperparameters, parameters) -> Float[Array, ""]:
        """The score; hyperparameters and parameters of the members play no role."""
        return jnp.exp(-self.power * self.objective(scores, batch, {}, {}))

    def bound_to(self, processes):
        """The score for events of these processes."""
        return replace(self, objective=self.objective.bound_to(processes))

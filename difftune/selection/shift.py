"""How far a systematic moves the templates: an objective to ask gates about."""

from dataclasses import dataclass
from typing import ClassVar

import jax.numpy as jnp

from difftune.arguments import takes
from difftune.errors import InputError, nearest
from difftune.histograms import soft_histogram
from difftune.objectives import Objective, signal_probability


@takes()
@dataclass(frozen=True, kw_only=True)
class TemplateShift(Objective):
    """Minus the shift of the score's histogram by a systematic, in standard deviations squared.

    `-sum_i (u_i - n_i)^2 / n_i` of the expected events up and nominal: the χ² that a measurement
    would have. A variable that brings the systematic in has a positive importance by this: when its
    gate is closed, the shift is lost.

    Args:
        variation: Name of the systematic.
        bins: Equidistant bins of the score.
        bandwidth: Width of the kernel in units of the score.

    Raises:
        InputError: When called for events without this variation.
    """

    varied: ClassVar[bool] = True

    variation: str
    bins: int = 10
    bandwidth: float = 0.02

    def __call__(self, scores, batch, hyperparameters, parameters):
        """Minus the squared shift."""
        if self.variation not in batch.variations:
            raise InputError(
                f"TemplateShift(variation={self.variation!r}): the events have no such variation "
                f"of the same events.{nearest(self.variation, batch.variations)} "
                f"Known: {', '.join(batch.variations) or 'none'}."
            )
        up = batch.variations[self.variation].up
        edges = jnp.linspace(0.0, 1.0, self.bins + 1)
        own = signal_probability(scores, batch)
        other = own if up.scores is None else signal_probability(jnp.asarray(up.scores), batch)
        weight = batch.weight if up.weight is None else up.weight

        def filled(score, weight):
            return soft_histogram(score, weight, edges, bandwidth=self.bandwidth)

        nominal, varied = filled(own, batch.weight), filled(other, jnp.asarray(weight))
        return -jnp.sum((varied - nominal) ** 2 / jnp.maximum(nominal, 1e-3))

"""Regions of many dimensions, which a network learns with one output each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.objectives.annealing import annealed, start_and_end
from difftune.objectives.batch import Batch


@takes()
@dataclass(frozen=True, kw_only=True)
class Regions:
    """Regions in place of bins of a score: an event is in that of the network's largest output.

    The network has one logit a region. A softmax shares an event out over the regions while it is
    trained, as in INFERNO (arXiv 1806.04743), and the largest logit decides in the end. So regions
    may have any shape in the space of the inputs, and an order only by name: where a score keeps
    signal and background apart, regions also keep apart what a nuisance parameter moves.

    Args:
        regions: How many.
        temperature: Divides the logits, at the start and at the end of the training; geometrically
            annealed in between. The hyperparameter `"temperature"`, where the search has it,
            multiplies both.
        hard: Whether the largest logit decides at once. There is no gradient then; it is for
            metrics.

    Raises:
        InputError: For fewer than two regions, a temperature that is not positive.
    """

    regions: int
    temperature: Sequence[float] = (1.0, 0.1)
    hard: bool = False

    def __post_init__(self):
        if self.regions < 2:
            raise InputError(f"Regions(regions={self.regions}): at least 2 are needed.")
        pair = start_and_end(self.temperature, "Regions(temperature")
        object.__setattr__(self, "temperature", pair)

    def shares(
        self,
        scores: Float[Array, "events regions"],
        batch: Batch,
        hyperparameters: Mapping[str, Array],
    ) -> Float[Array, "events regions"]:
        """How much of each event is in each region, 1 in all.

        Args:
            scores: Logits of the network.
            batch: Tells how much of the training is behind us.
            hyperparameters: May hold the factor on the temperature.

        Raises:
            InputError: When the network has another number of logits.
        """
        factor = hyperparameters.get("temperature", 1.0)
        if scores.ndim != 2 or scores.shape[1] != self.regions:
            raise InputError(
                f"Regions(regions={self.regions}) needs logits [events, {self.regions}], one a "
                f"region, and got {list(scores.shape)}."
            )
        if self.hard:
            # NaN must not pass as a choice.
            chosen = jax.nn.one_hot(jnp.argmax(scores, axis=-1), self.regions, dtype=scores.dtype)
            return chosen + 0.0 * jnp.sum(scores, axis=-1, keepdims=True)
        temperature = annealed(self.temperature, batch, factor)
        return jax.nn.softmax(scores * (1.0 / temperature.astype(scores.dtype)), axis=-1)

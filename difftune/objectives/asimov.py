"""The stat-only Asimov log-likelihood ratio as a loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.errors import InputError
from difftune.histograms import soft_histogram
from difftune.inference.asimov import asimov_llr
from difftune.objectives.base import Objective
from difftune.objectives.batch import signal_probability


@dataclass(frozen=True, kw_only=True)
class AsimovLLR(Objective):
    """Minus the expected discovery log-likelihood ratio of the binned score.

    `q0 = 2 sum_i [(S_i + B_i) ln(1 + S_i / B_i) - S_i]` (arXiv 1007.1727), with the expected
    yields `S_i`, `B_i` of a differentiable histogram of the score in equidistant bins on [0, 1].
    `sqrt(q0)` is the stat-only Asimov significance, which the training so maximises.

    Args:
        bins: Number of bins.
        bandwidth: Width of the kernel that smears an event over the bins, in units of the score,
            at the start and at the end of the training; geometrically annealed in between. The
            hyperparameter `"bandwidth"`, where the search has it, multiplies both.
        form: `"linear"` is -q0 itself. `"log"` is -ln q0: the same optimum, with a gradient that
            does not depend on the luminosity, so that it can be added to other losses.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, an unknown form.
    """

    bins: int = 20
    bandwidth: Sequence[float] = (0.05, 0.01)
    form: str = "log"

    def __post_init__(self):
        object.__setattr__(self, "bandwidth", tuple(self.bandwidth))
        if self.bins < 2:
            raise InputError(f"AsimovLLR(bins={self.bins}): at least 2 bins are needed.")
        if len(self.bandwidth) != 2 or min(self.bandwidth) <= 0.0:
            raise InputError(
                f"AsimovLLR(bandwidth={self.bandwidth}): give two positive numbers, the width at "
                "the start and at the end of the training."
            )
        if self.form not in ("linear", "log"):
            raise InputError(f"AsimovLLR(form={self.form!r}): choose 'linear' or 'log'.")

    def yields(self, scores, batch, hyperparameters) -> Float[Array, "2 bins"]:
        """Expected background and signal yields of the differentiable histogram."""
        start, end = self.bandwidth
        bandwidth = start * (end / start) ** batch.progress * hyperparameters.get("bandwidth", 1.0)
        score = signal_probability(scores, batch)
        edges = jnp.linspace(0.0, 1.0, self.bins + 1, dtype=score.dtype)
        is_signal = batch.label.astype(score.dtype)
        classes = jnp.stack([1.0 - is_signal, is_signal]) * batch.weight
        return soft_histogram(score, classes, edges, bandwidth=bandwidth)

    def __call__(self, scores, batch, hyperparameters, parameters):
        """The loss of the batch, whose weights stand for the full yield."""
        background, signal = self.yields(scores, batch, hyperparameters)
        q0 = asimov_llr(signal, background)
        if self.form == "linear":
            return -q0
        # The floor keeps the logarithm finite where a batch has no signal at all.
        return -jnp.log(jnp.maximum(q0, 1e-12))

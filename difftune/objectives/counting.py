"""Figures of merit of counting experiments as losses: s over root b, and HiggsML's AMS."""

from dataclasses import dataclass

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.inference import asimov_llr
from difftune.objectives.soft_yields import Counting


@takes()
@dataclass(frozen=True, kw_only=True)
class SOverRootB(Counting):
    """Minus the squared signal over root background, `sum_i S_i^2 / (S_i + B_i)`.

    This is what the Asimov log-likelihood ratio is to leading order in S / B. The one of arXiv
    1806.00322 for s / sqrt(s + b) is a monotonic function of this with `regions="probability"`.
    Contributions of several bins add up in quadrature. With `noise="b"` it is unlimited where a
    bin has next to no background; `"s+b"` is limited by the signal.

    A region without signal contributes 0. A negative background counts as none if the noise is
    `"s+b"`; if it is `"b"`, such a region contributes 0, as it does in `AsimovLLR`.

    Args:
        bins: Number of bins.
        bandwidth: Width of the kernel in units of the score, at the start and at the end of the
            training. The hyperparameter `"bandwidth"` multiplies both.
        kernel: `"logistic"`, `"normal"` or `"softmax"`.
        straight_through: Whether the value is that of hard bins, and only the gradient smeared.
        form: `"linear"` is minus the square, `"log"` minus its logarithm.
        regions: `"bins"`, `"cut"` (what lies above one cut) or `"probability"` (each event counts
            with its signal probability).
        cut: The cut on the score, between 0 and 1.
        train_cut: Whether the cut is trained with the network.
        noise: What stands under the root: `"s+b"` or `"b"`.

    Raises:
        InputError: For an unknown noise, and as `AsimovLLR`.
    """

    noise: str = "s+b"

    def __post_init__(self):
        super().__post_init__()
        if self.noise not in ("s+b", "b"):
            raise InputError(f"SOverRootB(noise={self.noise!r}): choose 's+b' or 'b'.")

    def squared_significance(self, signal, background):
        """The sum over regions of s² over noise."""
        if self.noise == "s+b":
            s = jnp.where(signal <= 0.0, 0.0, signal)
            noise = s + jnp.where(background <= 0.0, 0.0, background)
        else:
            s, noise = signal, background
        # As in asimov_llr: the derivative has 1 / noise², and NaN is not an empty bin.
        filled = ~((s <= 0.0) | (noise <= jnp.finfo(noise.dtype).tiny ** 0.4))
        return jnp.sum(jnp.where(filled, s, 0.0) ** 2 / jnp.where(filled, noise, 1.0))


def squared_ams(
    signal: Float[Array, "*batch regions"],
    background: Float[Array, "*batch regions"],
    regularisation: float,
) -> Float[Array, "*batch"]:
    """Square of the approximate median significance, summed over regions.

    `2 [(s + b + r) ln(1 + s / (b + r)) - s]`, the measure of the HiggsML challenge, with the
    regularisation `r` that keeps regions of next to no background from winning.

    Args:
        signal: Expected signal; a negative one counts as none.
        background: Expected background; a negative one counts as none.
        regularisation: Events that are added to the background of each region.
    """
    least = jnp.where(background <= 0.0, 0.0, background)
    return asimov_llr(signal, least + regularisation)


@takes()
@dataclass(frozen=True, kw_only=True)
class AMSLoss(Counting):
    """Minus the squared approximate median significance of the HiggsML challenge.

    `AMS = sqrt(2 [(s + b + r) ln(1 + s / (b + r)) - s])` above one cut on the score, which is
    trained along with the network; with `regions="bins"` the squares of all bins are added up.

    Args:
        bins: Number of bins.
        bandwidth: Width of the kernel in units of the score, at the start and at the end of the
            training. The hyperparameter `"bandwidth"` multiplies both.
        kernel: `"logistic"`, `"normal"` or `"softmax"`.
        straight_through: Whether the value is that of hard bins, and only the gradient smeared.
        form: `"linear"` is minus the square, `"log"` minus its logarithm.
        regions: `"cut"`, `"bins"` or `"probability"` (each event counts with its signal
            probability).
        cut: The cut on the score, between 0 and 1.
        train_cut: Whether the cut is trained with the network.
        regularisation: Events that are added to the background of each region; 10 in the
            challenge.

    Raises:
        InputError: For a regularisation that is not positive, and as `AsimovLLR`.
    """

    regions: str = "cut"
    regularisation: float = 10.0

    def __post_init__(self):
        super().__post_init__()
        if not self.regularisation > 0.0:
            raise InputError(
                f"AMSLoss(regularisation={self.regularisation}) must be positive; without one take "
                "AsimovLLR."
            )

    def squared_significance(self, signal, background):
        """The squared AMS of the yields."""
        return squared_ams(signal, background, self.regularisation)

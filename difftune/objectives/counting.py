"""Losses of counting experiments: the Asimov likelihood ratio, s over root b, and the AMS."""

import abc
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Gt, Lt
from jaxtyping import Array, Float, PyTree

from difftune.arguments import NotNegative, Positive, takes
from difftune.errors import InputError
from difftune.inference import asimov_llr
from difftune.objectives.batch import Batch, Scalar, Scores, Values, signal_probability
from difftune.objectives.binned import Binned
from difftune.objectives.bins import (
    number_of,
)

Counted = Literal["bins", "cut", "probability"]
Form = Literal["linear", "log"]


@takes()
@dataclass(frozen=True, kw_only=True)
class Counting(Binned):
    """An objective of the expected signal and background in regions of the score.

    A subclass says what the squared significance of such yields is. The loss is minus that, or
    minus its logarithm.

    Args:
        bins: Number of bins.
        bandwidth: Width of the kernel that smears an event over the edges of bins or cut, in units
            of the score, at the start and at the end of the training; geometrically annealed in
            between. The hyperparameter `"bandwidth"`, where the search has it, multiplies both.
        kernel: `"logistic"`, `"normal"` or `"softmax"`.
        straight_through: Whether the value is that of hard bins, and only the gradient smeared.
        form: `"linear"` is minus the squared significance. `"log"` is minus its logarithm: the
            same optimum, with a gradient that does not depend on the luminosity, so that it can be
            added to other losses.
        regions: `"bins"` takes all bins, `"cut"` only what lies above one cut, and
            `"probability"` counts each event with the signal probability that the network gives
            it, as in arXiv 1806.00322: a cut as soft as the sigmoid itself.
        cut: The cut on the score, between 0 and 1.
        train_cut: Whether the cut is a parameter that is trained with the network, from `cut` on.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, a cut outside of
            (0, 1), an unknown form or kind of regions.
    """

    form: Form = "log"
    regions: Counted = "bins"
    cut: Annotated[float, Gt(0), Lt(1)] = 0.5
    train_cut: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        for option, known in (("form", get_args(Form)), ("regions", get_args(Counted))):
            value = getattr(self, option)
            if value not in known:
                *others, last = map(repr, known)
                raise InputError(
                    f"{name}({option}={value!r}): choose {', '.join(others)} or {last}."
                )
        if not 0.0 < self.cut < 1.0:
            raise InputError(
                f"{name}(cut={self.cut}): the cut is one on the score, between 0 and 1."
            )

    def init(self, key: Array) -> PyTree:
        """The edges, or the logit of the cut (so that it cannot leave (0, 1)), if trained."""
        if self.regions == "bins":
            return super().init(key)
        if self.regions == "cut" and self.train_cut:
            return {"cut": jnp.asarray(math.log(self.cut / (1.0 - self.cut)))}
        return {}

    def yields(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Float[Array, "2 regions"]:
        """Expected background and signal yields of the regions.

        Args:
            scores: Logits of the network.
            batch: The same events, whose weights stand for the full yield.
            hyperparameters: May hold the factor on the bandwidth.
            parameters: The edges or the logit of the cut, if they are trained.
        """
        if self.regions == "probability":
            passes = signal_probability(scores, batch) * batch.weight
            is_signal = batch.label.astype(scores.dtype)
            return jnp.stack([jnp.sum(passes * (1.0 - is_signal)), jnp.sum(passes * is_signal)])[
                :, None
            ]
        if self.regions == "bins":
            edges = self.edges(parameters, scores.dtype)
        else:
            cut = jax.nn.sigmoid(parameters["cut"]) if self.train_cut else jnp.asarray(self.cut)
            edges = jnp.stack([jnp.zeros_like(cut), cut, jnp.ones_like(cut)])
        counts = self.histograms(scores, batch, batch.weight, hyperparameters, edges)
        return counts[:, 1:] if self.regions == "cut" else counts

    @abc.abstractmethod
    def squared_significance(
        self, signal: Float[Array, " regions"], background: Float[Array, " regions"]
    ) -> Float[Array, ""]:
        """What is maximised, in squared standard deviations.

        Args:
            signal: Expected signal in each region.
            background: Expected background in each region.
        """

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The loss of the batch, whose weights stand for the full yield."""
        background, signal = self.yields(scores, batch, hyperparameters, parameters)
        squared = self.squared_significance(signal, background)
        if self.form == "linear":
            return -squared
        # The floor keeps the logarithm finite where a batch has no signal at all.
        return -jnp.log(jnp.maximum(squared, 1e-12))


@takes()
@dataclass(frozen=True, kw_only=True)
class AsimovLLR(Counting):
    """Minus the expected discovery log-likelihood ratio of the binned score.

    `q0 = 2 sum_i [(S_i + B_i) ln(1 + S_i / B_i) - S_i]` (arXiv 1007.1727), with the expected
    yields `S_i`, `B_i` of a differentiable histogram of the score in bins on [0, 1].
    `sqrt(q0)` is the stat-only Asimov significance, which the training so maximises.

    With an uncertainty of the background, q0 is that of counts whose background is measured to
    that precision (`difftune.inference.asimov_llr` has the formula), one such measurement a bin:
    uncertainties of different bins are independent. Losses of this kind are those of arXiv
    1806.00322.

    Args:
        bins: Number of equidistant bins, or `difftune.binning.LearnedEdges` to train the edges
            along with the network.
        bandwidth: Width of the kernel that smears an event over the bins, in units of the score,
            at the start and at the end of the training; geometrically annealed in between. The
            hyperparameter `"bandwidth"`, where the search has it, multiplies both.
        kernel: `"logistic"`, `"normal"` or `"softmax"`.
        straight_through: Whether the value is that of hard bins, and only the gradient smeared.
        form: `"linear"` is -q0 itself. `"log"` is -ln q0: the same optimum, with a gradient that
            does not depend on the luminosity, so that it can be added to other losses.
        regions: `"bins"`, `"cut"` (what lies above one cut) or `"probability"` (each event counts
            with its signal probability).
        cut: The cut on the score, between 0 and 1.
        train_cut: Whether the cut is trained with the network.
        background_uncertainty: Uncertainty of the background of each region: one number for all,
            or one per region.
        absolute_uncertainty: Whether these are events, not fractions of the background.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, an unknown form or
            kind of regions, a cut outside of (0, 1), a negative uncertainty, or another number of
            uncertainties than of regions.
    """

    background_uncertainty: NotNegative | Sequence[NotNegative] = 0.0
    absolute_uncertainty: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        given = self.background_uncertainty
        # A list is no key for a compiled function.
        values = tuple(np.atleast_1d(given).astype(float).tolist())
        regions = number_of(self.bins) if self.regions == "bins" else 1
        if len(values) not in (1, regions):
            raise InputError(
                f"AsimovLLR(background_uncertainty={values}): give one number, or one for each of "
                f"the {regions} regions."
            )
        if not min(values) >= 0.0:
            raise InputError(
                f"AsimovLLR(background_uncertainty={given}): an uncertainty is not negative."
            )
        object.__setattr__(self, "background_uncertainty", values)

    def squared_significance(self, signal: Array, background: Array) -> Array:
        """The q0 of the yields."""
        if not np.any(self.background_uncertainty):
            return asimov_llr(signal, background)
        # The derivative of the profiled form has an intermediate s / b³, which must not overflow.
        least = float(jnp.finfo(background.dtype).tiny) ** 0.25
        background = jnp.where(background <= least, 0.0, background)
        uncertainty = jnp.asarray(self.background_uncertainty, background.dtype)
        if not self.absolute_uncertainty:
            uncertainty = uncertainty * background
        return asimov_llr(signal, background, jnp.broadcast_to(uncertainty, background.shape))


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

    noise: Literal["s+b", "b"] = "s+b"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.noise not in ("s+b", "b"):
            raise InputError(f"SOverRootB(noise={self.noise!r}): choose 's+b' or 'b'.")

    def squared_significance(self, signal: Array, background: Array) -> Array:
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

    regions: Counted = "cut"
    regularisation: Positive = 10.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.regularisation > 0.0:
            raise InputError(
                f"AMSLoss(regularisation={self.regularisation}) must be positive; without one take "
                "AsimovLLR."
            )

    def squared_significance(self, signal: Array, background: Array) -> Array:
        """The squared AMS of the yields."""
        return squared_ams(signal, background, self.regularisation)

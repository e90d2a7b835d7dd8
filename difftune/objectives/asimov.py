"""The Asimov log-likelihood ratio as a loss."""

from collections.abc import Sequence
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.inference import asimov_llr
from difftune.objectives.edges import number_of
from difftune.objectives.soft_yields import Counting


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
            or one a region.
        absolute_uncertainty: Whether these are events, not fractions of the background.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, an unknown form or
            kind of regions, a cut outside of (0, 1), a negative uncertainty, or another number of
            uncertainties than of regions.
    """

    background_uncertainty: float | Sequence[float] = 0.0
    absolute_uncertainty: bool = False

    def __post_init__(self):
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

    def squared_significance(self, signal, background):
        """The q0 of the yields."""
        if not any(self.background_uncertainty):
            return asimov_llr(signal, background)
        # The derivative of the profiled form has an intermediate s / b³, which must not overflow.
        least = float(jnp.finfo(background.dtype).tiny) ** 0.25
        background = jnp.where(background <= least, 0.0, background)
        uncertainty = jnp.asarray(self.background_uncertainty, background.dtype)
        if not self.absolute_uncertainty:
            uncertainty = uncertainty * background
        return asimov_llr(signal, background, jnp.broadcast_to(uncertainty, background.shape))

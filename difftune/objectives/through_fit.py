"""Losses that are the expected result of the measurement itself, systematics included.

The pipeline of neos (arXiv 2203.05570): events through the network, the score in a differentiable
histogram, the histograms in a HistFactory model, and the gradient through the fit of it.
"""

import abc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Annotated, ClassVar

import jax.numpy as jnp
from annotated_types import Ge, Gt, Lt
from jax.scipy.special import log_ndtr, ndtri
from jaxtyping import Array, Float, PyTree

from difftune.arguments import Count, takes
from difftune.data import Process
from difftune.errors import InputError
from difftune.histfactory import Filling, Model, TemplateYields
from difftune.inference import (
    asimov_at,
    covariance,
    likelihood_ratio_at,
    median_limit,
    root,
    variance_where_known,
)
from difftune.objectives.base import Objective, Outputs
from difftune.objectives.batch import Batch, Scalar, Scores, Values
from difftune.objectives.counting import Form
from difftune.objectives.fit_model import FitModel
from difftune.precision import float64_region
from difftune.sharing import may_share

# Below it a variance is that of nothing; it keeps logarithms finite.
_LEAST = 1e-12


@takes()
@dataclass(frozen=True, kw_only=True)
class ThroughFit(Objective):
    """A loss that is a function of the statistical model that a batch fills.

    The network stays in float32 and the statistics run in float64, in one program and whatever JAX
    is set to. Nothing raises.

    Args:
        model: The statistical model.
    """

    varied: ClassVar[bool] = True

    model: FitModel = field(default_factory=FitModel)

    @abc.abstractmethod
    def of_model(self, model: Model) -> Float[Array, ""]:
        """The loss of a filled model, in float64; anything of `difftune.inference` may be in it."""

    def __call__(
        self, scores: Scores, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Scalar:
        """The loss of the batch, whose weights stand for the full yield."""
        yields = self.model.yields(scores, batch, hyperparameters, parameters)
        loss_of = _known_loss_of if may_share(self) else _loss_of
        return loss_of(self, self.model.filling(batch))(yields)

    def init(self, key: Array) -> PyTree:
        """The trainable parameters of the binning."""
        return self.model.init(key)

    @property
    def outputs(self) -> Outputs:
        """A score, or one logit per region."""
        return self.model.outputs

    def bound_to(self, processes: Sequence[Process]) -> "ThroughFit":
        """The objective with the model of these processes."""
        return replace(self, model=self.model.bound_to(processes))

    def hard_limit(self) -> "ThroughFit":
        """The objective of events in hard bins."""
        return replace(self, model=self.model.hard_limit())


def _loss_of(objective: ThroughFit, fill: Filling) -> Callable[[TemplateYields], Scalar]:
    """The loss as a function of yields."""
    return float64_region(lambda yields: objective.of_model(fill(yields)))


# The same function for all that ask: checks, training and validation of every stage trace it, and
# to trace a fit takes long.
_known_loss_of = lru_cache(maxsize=64)(_loss_of)


@takes()
@dataclass(frozen=True, kw_only=True)
class PoiUncertainty(ThroughFit):
    """Logarithm of the uncertainty of the signal strength, all nuisance parameters profiled.

    It is the inverse of Fisher's information on Asimov data, as in INFERNO (arXiv 1806.04743): no
    fit is needed.

    Args:
        model: The statistical model.
        strength: Of the signal in the Asimov data.
    """

    strength: float = 1.0

    def of_model(self, model: Model) -> Scalar:
        """Half the logarithm of the variance."""
        asimov = asimov_at(model, self.strength)
        return 0.5 * jnp.log(covariance(asimov, [asimov.poi])[0, 0])


@takes()
@dataclass(frozen=True, kw_only=True)
class FisherInformation(ThroughFit):
    """Minus the log determinant of the information on some parameters, all others profiled.

    The volume of their uncertainty ellipsoid, squared; of the signal strength alone it is twice
    `PoiUncertainty`.

    Args:
        model: The statistical model.
        parameters: Names of the parameters of interest: `"mu"`, and free normalisations or
            nuisance parameters.
        strength: Of the signal in the Asimov data.

    Raises:
        InputError: No parameter is named; when called, the model has none of a name.
    """

    parameters: Sequence[str] = ("mu",)
    strength: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))
        if not self.parameters:
            raise InputError("FisherInformation(parameters=()): name at least one, such as 'mu'.")

    def of_model(self, model: Model) -> Scalar:
        """The log determinant of the covariance."""
        chosen = [model.structure.index(name) for name in self.parameters]
        block = covariance(asimov_at(model, self.strength), chosen)
        return jnp.linalg.slogdet(block)[1]


@takes()
@dataclass(frozen=True, kw_only=True)
class Robustness(ThroughFit):
    """Minus the logarithm of σ(μ) if some nuisance parameters were known, over σ(μ).

    The ratio, which `MetricOf` gives with `power=1.0`, is 1 where they do not matter, and falls to
    0 where they are all that matters. The square of what is missing to 1 is the square of their
    joint impact over that of σ(μ).

    Args:
        model: The statistical model.
        parameters: Names of nuisance parameters; without any, all that there are, with the
            statistical uncertainty of the simulation.
        strength: Of the signal in the Asimov data.

    Raises:
        InputError: When called, the model has no parameter of a name.
    """

    parameters: Sequence[str] = ()
    strength: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "parameters", tuple(self.parameters))

    def of_model(self, model: Model) -> Scalar:
        """Half the logarithm of the ratio of variances."""
        asimov = asimov_at(model, self.strength)
        named = [model.structure.index(name) for name in self.parameters]
        free = variance_where_known(asimov, named or None)
        return 0.5 * jnp.log(covariance(asimov, [asimov.poi])[0, 0] / free)


@dataclass(frozen=True, kw_only=True)
class _Fitted(ThroughFit):
    """Adds the number of steps of a fit.

    Args:
        model: The statistical model.
        steps: Of each fit, neither less nor more. On Asimov data 4 are often enough; where they
            are not, a ratio of likelihoods is too large, and so is the significance. None: as many
            as it takes.
    """

    steps: Count | None = None

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise InputError(f"{type(self).__name__}(steps={self.steps}): give at least 1.")


@takes()
@dataclass(frozen=True, kw_only=True)
class ExpectedCLs(_Fitted):
    """Logarithm of the median CLs if there is no signal: what neos minimises.

    `CLs = 2 Φ(-√q_A)`, asymptotically (arXiv 1007.1727), with q̃ of the tested strength on the
    Asimov data of the background. Its gradient does not vanish where CLs is small, as that of CLs
    itself does.

    Args:
        model: The statistical model.
        steps: Of the fit; None: as many as it takes.
        mu: Tested signal strength.
    """

    mu: float = 1.0

    def of_model(self, model: Model) -> Scalar:
        """The logarithm of CLs."""
        q = likelihood_ratio_at(asimov_at(model, 0.0), self.mu, steps=self.steps)
        return log_ndtr(-root(q)) - jnp.log(0.5)


@takes()
@dataclass(frozen=True, kw_only=True)
class DiscoverySignificance(_Fitted):
    """Minus the expected discovery test statistic q0: `AsimovLLR` with systematics.

    Its root is the expected significance (arXiv 1007.1727), on the Asimov data of signal and
    background.

    Args:
        model: The statistical model.
        steps: Of the fit; None: as many as it takes.
        form: `"linear"` is -q0 itself, `"log"` is -ln q0, as in `AsimovLLR`.

    Raises:
        InputError: For an unknown form.
    """

    form: Form = "log"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in ("linear", "log"):
            raise InputError(
                f"DiscoverySignificance(form={self.form!r}): choose 'linear' or 'log'."
            )

    def of_model(self, model: Model) -> Scalar:
        """-q0 or -ln q0."""
        q0 = likelihood_ratio_at(asimov_at(model, 1.0), 0.0, steps=self.steps)
        return -q0 if self.form == "linear" else -jnp.log(jnp.maximum(q0, _LEAST))


@takes()
@dataclass(frozen=True, kw_only=True)
class ExpectedLimit(_Fitted):
    """Logarithm of the median upper limit on the signal strength if there is no signal.

    The strength at which the asymptotic median CLs (arXiv 1007.1727) is `level`: Newton's method
    from σ_A Φ⁻¹(1 - level / 2), in which each round has a fit, and the gradient of the implicit
    function at the last. With `rounds=0` it is the limit in which σ_A is that of no signal.

    Args:
        model: The statistical model.
        steps: Of each fit; None: as many as it takes.
        level: CLs at the limit; 0.05 is 95 % confidence level.
        rounds: Of Newton's method.

    Raises:
        InputError: For a level that is none.
    """

    level: Annotated[float, Gt(0), Lt(1)] = 0.05
    rounds: Annotated[int, Ge(0)] = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.level < 1:
            raise InputError(
                f"ExpectedLimit(level={self.level}) must lie between 0 and 1: 0.05 is 95 % "
                "confidence level."
            )

    def of_model(self, model: Model) -> Scalar:
        """The logarithm of the limit."""
        limit = median_limit(
            asimov_at(model, 0.0),
            deviation=-ndtri(self.level / 2),
            rounds=self.rounds,
            steps=self.steps,
        )
        return jnp.log(jnp.maximum(limit, _LEAST))

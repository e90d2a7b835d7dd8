"""The figure of merit of an analysis: what it is tuned, binned, compared and headlined by."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from difftune.arguments import called_with, said
from difftune.binning import Constraints
from difftune.data import Events
from difftune.errors import InputError, nearest
from difftune.histfactory import Model
from difftune.objectives import (
    DiscoverySignificance,
    ExpectedLimit,
    FitModel,
    Metric,
    MetricOf,
    PoiUncertainty,
    ThroughFit,
)
from difftune.precision import in_float64

# Bins of a validation score are all but hard.
_NARROW = 1e-3


@dataclass(frozen=True, kw_only=True)
class Merit:
    """One number that says how good an analysis is.

    Attributes:
        name: In the analysis file.
        symbol: In tables, with what it is.
        inverse: Whether people know it by its inverse, which is the smaller the better: σ(μ).
    """

    name: str
    symbol: str
    inverse: bool = False

    def shown(self, merit: Any) -> Any:
        """What people know it by, from what is the larger the better."""
        return 1.0 / merit if self.inverse else merit

    def gain(self, before: Any, after: Any) -> Any:
        """Relative improvement of what people know it by, from merits: 0.1 is a σ(μ) 10 % smaller,
        or a significance 10 % larger.
        """
        return 1.0 - before / after if self.inverse else after / before - 1.0


@dataclass(frozen=True, kw_only=True)
class Figure(Merit):
    """One number that says how good an analysis is, of its statistical model.

    Attributes:
        loss: Makes the loss through the fit of a statistical model that events fill.
        power: The figure, the larger the better, is `exp(-power loss)`; None: minus the loss.
        strength: Signal strength of the Asimov data it is about, for choices of bins.
    """

    loss: Callable[..., ThroughFit]
    power: float | None
    strength: float = 1.0

    def objective(self, model: FitModel) -> ThroughFit:
        """The loss that improves it, through the fit of this model."""
        return self.loss(model=model)

    def metric(self, model: FitModel) -> Metric:
        """The validation score that it is, in all but hard bins of this model."""
        return MetricOf(objective=self.loss(model=model), power=self.power)

    def merit(self, model: Model) -> Float[Array, ""]:
        """The figure of a filled model, the larger the better; in float64, differentiable."""
        loss = self.loss().of_model(model)
        return -loss if self.power is None else jnp.exp(-self.power * loss)

    def of(self, model: Model) -> float:
        """What people know it by, of a model with its nominal numbers and Asimov data."""
        return float(self.shown(in_float64(_merit)(self, model)))


@partial(jax.jit, static_argnums=0)
def _merit(figure: Figure, model: Model) -> Float[Array, ""]:
    """The figure of a model, by a program that is compiled once for all of its structure."""
    return figure.merit(model)


@dataclass(frozen=True, kw_only=True)
class _OwnFigure(ThroughFit):
    """Minus a user's function of the statistical model."""

    function: Callable[[Model], Any] = field(default=lambda model: 0.0)

    def of_model(self, model: Model) -> Float[Array, ""]:
        """Minus what the function returns."""
        return -jnp.asarray(self.function(model))


FIGURES = {
    figure.name: figure
    for figure in (
        Figure(
            name="precision",
            symbol="σ(μ)",
            loss=PoiUncertainty,
            power=1.0,
            inverse=True,
        ),
        Figure(
            name="discovery",
            symbol="expected significance",
            loss=DiscoverySignificance,
            power=0.5,
        ),
        Figure(
            name="limit",
            symbol="expected limit on μ",
            loss=ExpectedLimit,
            power=1.0,
            inverse=True,
            strength=0.0,
        ),
    )
}
"""By the name that they have in the analysis file."""


def as_figure(given: Any) -> Figure:
    """A figure of merit: by name, or of a function `(model) -> number`, the larger the better.

    Args:
        given: The name, the figure, or a function of a `difftune.histfactory.Model` that JAX can
            differentiate, such as one made of `difftune.inference`.

    Raises:
        InputError: For anything else.
    """
    if isinstance(given, Figure):
        return given
    if isinstance(given, str):
        if given not in FIGURES:
            raise InputError(
                f"figure={given!r} is unknown.{nearest(given, FIGURES)} Choose one of "
                f"{', '.join(FIGURES)}, or give a function of the statistical model."
            )
        return FIGURES[given]
    if callable(given):
        called_with(given, ("model",), "figure", "(model) -> number")
        name = getattr(given, "__name__", "figure")

        def loss(model: FitModel | None = None) -> ThroughFit:
            options = {} if model is None else {"model": model}
            return _OwnFigure(function=given, **options)

        return Figure(name=name, symbol=name, loss=loss, power=None)
    raise InputError(
        f"figure={said(given)}: give one of {', '.join(FIGURES)}, or a function of the statistical "
        "model."
    )


def statistics(part: Events, whole: Events) -> float:
    """How much larger the variance of a part of the simulation is made to be that of the whole.

    Args:
        part: Events that fill a model.
        whole: Those that the templates of the measurement are made of.

    Returns:
        The factor on the variance, for `FitModel(mc_statistics=...)`: the number of events of the
        part over that of the whole.
    """
    own, every = (np.count_nonzero(np.asarray(each.weight)) for each in (part, whole))
    return own / every


def fit_model(
    *,
    bins: int,
    bandwidth: Sequence[float] = (_NARROW, _NARROW),
    mc_statistics: float = 1.0,
    constraints: Constraints | None = None,
    **nuisances: Any,
) -> FitModel:
    """The statistical model of the measurement, with as many equidistant bins of the score.

    Args:
        bins: Number of them.
        bandwidth: Of the kernel, at the start and at the end of a training.
        mc_statistics: Factor on the variance of the simulation (`statistics`).
        constraints: What every bin must have, for a score: bins are joined until they do.
        **nuisances: As of `build_workspace`; the name of the parameter of interest plays no role.
    """
    nuisances = {name: value for name, value in nuisances.items() if name != "poi"}
    return FitModel(
        bins=bins,
        bandwidth=bandwidth,
        mc_statistics=mc_statistics,
        constraints=constraints,
        **nuisances,
    )

"""The losses of neos on difftune's models.

neos (arXiv 2203.05570) asks its companion relaxed for fits and Fisher information. neos 0.3.0 and
relaxed 0.4.0 do not fit together: one calls the other with arguments that it no longer has, and
pyhf builds no model of traced yields. So the code of neos' losses is run as it is, with these
answers from `difftune.inference`.
"""

import functools
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array
from jax.scipy.special import ndtr
from jaxtyping import Float

from difftune.arguments import takes
from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import (
    AsimovProblem,
    at_value,
    covariance,
    deviance,
    envelope,
    expand,
    minimise,
    root,
)
from difftune.inference.problems import check_steps, limits, make_problem, poi_index
from difftune.objectives.batch import Scalar
from difftune.objectives.through_fit import ThroughFit
from difftune.precision import in_float64

INSTALL = "pip install 'difftune[neos]' && pip install --no-deps neos==0.3.0"
"""neos asks for a package `sklearn`, which no longer is one, so it is installed by itself."""

LOSSES = ("cls", "discovery", "poi_uncert", "generalised_variance")


@in_float64
def loss_from_model(model: Model, loss: str = "cls", *, steps: int = 6) -> Float[Array, ""]:
    """`neos.loss_from_model`: neos' own code, on a difftune model whose numbers may be traced.

    Args:
        model: What `FitModel.model`, or `Model.with_numbers` with yields of `neos.hists_from_nn`,
            give.
        loss: neos' name of it: `"cls"` is the median CLs of a strength of 1, `"discovery"` the p
            value of no signal, `"poi_uncert"` the uncertainty of the strength,
            `"generalised_variance"` the determinant of the covariance, without signal.
        steps: Of each fit, neither less nor more, in place of neos' learning rate.

    Raises:
        InputError: neos is not installed, the loss is unknown, or the model has no parameter of
            interest.
    """
    if loss not in LOSSES:
        raise InputError(f"loss_from_model(loss={loss!r}): choose one of {', '.join(LOSSES)}.")
    check_steps(steps)
    poi_index(model, "A loss of neos")
    return jnp.asarray(_losses(steps)(model, loss))


@takes()
@dataclass(frozen=True, kw_only=True)
class NeosLoss(ThroughFit):
    """A loss of neos, of the model that a batch fills.

    Args:
        model: The statistical model.
        loss: As in `loss_from_model`.
        steps: Of each fit.

    Raises:
        InputError: neos is not installed, or the loss is unknown.
    """

    loss: str = "cls"
    steps: int = 6

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise InputError(f"NeosLoss(loss={self.loss!r}): choose one of {', '.join(LOSSES)}.")
        check_steps(self.steps)
        _neos()

    def of_model(self, model: Model) -> Scalar:
        """What neos makes of it."""
        return loss_from_model(model, self.loss, steps=self.steps)


def _neos() -> types.ModuleType:
    try:
        import neos
    except ImportError as error:
        raise InputError(f"The losses of neos need it ({error}): {INSTALL}") from error
    return neos


@functools.cache
def _losses(steps: int) -> Callable[..., Any]:
    """Neos' choice of losses, with our fits where its losses look for those of relaxed."""
    neos = _neos()
    fits = types.SimpleNamespace(
        infer=types.SimpleNamespace(hypotest=functools.partial(_hypotest, steps)),
        cramer_rao_uncert=_uncertainties,
        fisher_info=_information,
    )

    def rebound(function: types.FunctionType, **names: Any) -> types.FunctionType:
        """The same code, in whose module some names are others; the module stays as it is."""
        return types.FunctionType(
            function.__code__,
            {**function.__globals__, **names},
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )

    names = ("cls_value", "discovery_significance", "poi_uncert", "generalised_variance")
    ours = {name: rebound(getattr(neos.losses, name), relaxed=fits) for name in names}
    return rebound(neos.loss_from_model, **ours)


def _asimov(model: Model, parameters: Array, data: Array) -> AsimovProblem:
    """Data, and the point that they were made at."""
    problem, poi = make_problem(model, data, limits(model.structure)), poi_index(model, "neos")
    problem = problem._replace(start=parameters, fixed=problem.fixed.at[poi].set(False))
    return AsimovProblem(model.structure, poi, problem)


def _hypotest(
    steps: int,
    *,
    test_poi: float,
    data: Array,
    model: Model,
    test_stat: str,
    expected_pars: Array,
    lr: float,
) -> Float[Array, ""]:
    """Relaxed's test: CLs of `"q"`, the p value of `"q0"`; `expected_pars` are the best fit."""
    del lr
    structure, poi, problem = _asimov(model, expected_pars, data)
    tested = at_value(problem, poi, test_poi)
    found = minimise(structure, tested, steps=steps)
    ratio = envelope(structure, tested, found) - deviance(structure, problem, expected_pars)
    # The p value with the tail of the Gaussian: 1 - Φ has no digits left at 1e-16.
    tail = ndtr(-root(2 * ratio))
    return tail if test_stat == "q0" else tail / 0.5


def _information(model: Model, pars: Array, data: Array) -> Float[Array, "parameters parameters"]:
    """Fisher's information; relaxed 0.4.0 gives its inverse under this name."""
    asimov = _asimov(model, pars, data)
    return expand(asimov.structure, asimov.problem, pars).hessian


def _uncertainties(model: Model, pars: Array, data: Array) -> Float[Array, " parameters"]:
    """Of all parameters, from the inverse of Fisher's information."""
    variance = jnp.diagonal(covariance(_asimov(model, pars, data), range(pars.shape[0])))
    return root(variance)

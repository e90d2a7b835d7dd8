"""What a fit says of yields, in the regions that it took in and in others."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.histfactory import AnyArray as Array
from difftune.histfactory import Model
from difftune.histfactory import rates as likelihood
from difftune.inference.fits import FitResult, before_fit
from difftune.inference.given import asks
from difftune.precision import in_numpy


class Yields(NamedTuple):
    """Expected events in bins, with their uncertainty.

    Attributes:
        values: Of each bin.
        uncertainties: Of each bin.
        total: Of all bins together.
        total_uncertainty: Of that, in which bins that move together do.
    """

    values: Float[np.ndarray, " bins"]
    uncertainties: Float[np.ndarray, " bins"]
    total: float
    total_uncertainty: float


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What is expected in one channel after a fit.

    Attributes:
        names: Of the samples.
        values: Of each sample and bin.
        slopes: Their derivatives with respect to all parameters.
        covariance: Of the parameters.
    """

    names: tuple[str, ...]
    values: Float[np.ndarray, "samples bins"]
    slopes: Float[np.ndarray, "samples bins parameters"]
    covariance: Float[np.ndarray, "parameters parameters"]

    def of(self, *names: str) -> Yields:
        """Of the sum of some samples, all of them by default; those that are not here are nothing.

        Args:
            names: Of the samples.
        """
        rows = [i for i, name in enumerate(self.names) if name in names or not names]
        values, slopes = self.values[rows].sum(axis=0), self.slopes[rows].sum(axis=0)
        # The last row is that of all bins together.
        slopes = np.vstack([slopes, slopes.sum(axis=0)])
        variance = np.einsum("bp,pq,bq->b", slopes, self.covariance, slopes)
        errors = np.sqrt(np.maximum(variance, 0.0))
        return Yields(values, errors[:-1], float(values.sum()), float(errors[-1]))


@asks
def predictions(model: Model, result: FitResult | None = None) -> dict[str, Prediction]:
    """Yields before or after a fit, by name of the channel.

    The uncertainties are those of the fit's parameters with their correlations, to first order.

    Args:
        model: The model that was fitted; or one with further channels, such as validation regions,
            whose own parameters are as they were before the fit and independent of all others.
        result: The fit; None for what is expected before any, where the uncertainties are those of
            the constraints, and a parameter without one has none.
    """
    values, covariance = _carried_over(model, result)
    yields, slopes = (np.asarray(each) for each in _linear(model, values))
    structure = model.structure
    # A sample that a channel does not have has no yields there.
    there = {entry.key[:2] for entry in structure.entries}

    found, start = {}, 0
    for channel, bins in zip(structure.channels, structure.bins, strict=True):
        rows = [i for i, name in enumerate(structure.samples) if (channel, name) in there]
        found[channel] = Prediction(
            names=tuple(structure.samples[i] for i in rows),
            values=yields[rows, start : start + bins],
            slopes=slopes[rows, start : start + bins],
            covariance=covariance,
        )
        start += bins
    return found


def carried_over(model: Model, result: FitResult) -> Float[np.ndarray, " parameters"]:
    """Parameters of a model as a fit of another one left them; those that it lacks as they start.

    Args:
        model: The model.
        result: A fit of a model that shares parameters with it, by name.
    """
    return _carried_over(model, result)[0]


def _carried_over(
    model: Model, result: FitResult | None
) -> tuple[Float[np.ndarray, " parameters"], Float[np.ndarray, "parameters parameters"]]:
    """Parameters and their covariance."""
    centers, widths = before_fit(model)
    names = model.structure.names
    if result is None:
        return centers, np.diag(np.nan_to_num(widths) ** 2)
    here = [i for i, name in enumerate(names) if name in result.names]
    there = [result.names.index(names[i]) for i in here]
    values, covariance = centers.copy(), np.diag(np.nan_to_num(widths) ** 2)
    values[here] = np.asarray(result.values)[there]
    covariance[np.ix_(here, here)] = np.asarray(result.covariance)[np.ix_(there, there)]
    return values, covariance


@in_numpy
def _linear(
    model: Model, values: Float[Array, " parameters"]
) -> tuple[Float[Array, "samples bins"], Float[Array, "samples bins parameters"]]:
    """Yields and their first derivatives."""
    structure = model.structure
    given = likelihood.terms(structure, model.numbers)
    at = likelihood.slopes(structure, given, values)
    return likelihood.by_sample(structure, given, values), np.moveaxis(at.cells, 0, -1)

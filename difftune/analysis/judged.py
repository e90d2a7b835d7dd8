"""What the scores of a classifier are worth on weighted events: log-loss and area, with errors.

Each figure comes with the influence of each event on it (the infinitesimal jackknife). The root of
the sum of squares is its standard error, and that of the differences of two influences the error of
the difference of two classifiers on the same events.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from difftune.data import Events
from difftune.histograms import auc_influence

_LEAST = 1e-7
"""Of a probability: scores are float32."""


class Labelled(NamedTuple):
    """What is to be known of events, where these are of several samples.

    Attributes:
        label: 1 for signal, 0 for background.
        weight: Physics weight.
    """

    label: Int[np.ndarray, " events"]
    weight: Float[np.ndarray, " events"]


@dataclass(frozen=True)
class Estimate:
    """A figure of events.

    Attributes:
        value: The figure.
        influence: Of each event on it.
    """

    value: float
    influence: Float[np.ndarray, " events"]

    @property
    def error(self) -> float:
        """Standard error from the finite number of events."""
        return float(np.sqrt(np.sum(np.square(self.influence))))

    def __sub__(self, other: "Estimate") -> "Estimate":
        """The difference to another classifier on the same events, with its paired error."""
        return Estimate(self.value - other.value, self.influence - other.influence)


def log_loss(score: Float[np.ndarray, " events"], events: Events | Labelled) -> Estimate:
    """Mean of minus the logarithm of the probability of what an event is.

    Signal and background count the same, whatever their yields; negative weights count as they are.

    Args:
        score: Probability of signal.
        events: Simulated ones.
    """
    label, weight = np.asarray(events.label) == 1, np.asarray(events.weight, np.float64)
    right = np.where(label, score, 1.0 - np.asarray(score, np.float64))
    loss = -np.log(np.clip(right, _LEAST, None))
    value, influence = 0.0, np.zeros(len(loss))
    for mine in (label, ~label):
        share = 0.5 * weight[mine] / weight[mine].sum()
        mean = np.sum(share * loss[mine]) / 0.5
        value += 0.5 * mean
        influence[mine] = share * (loss[mine] - mean)
    return Estimate(float(value), influence)


def auc(score: Float[np.ndarray, " events"], events: Events | Labelled) -> Estimate:
    """The area under the ROC curve: how often signal scores higher than background.

    Ties count half. The influences are those of DeLong et al., Biometrics 44 (1988) 837, with
    weights, which may be negative.

    Args:
        score: The larger, the more like signal.
        events: Simulated ones.
    """
    label, weight = np.asarray(events.label) == 1, np.asarray(events.weight, np.float64)
    return Estimate(*auc_influence(np.asarray(score, np.float64), weight, label))

"""What the outputs of a network say where it learns targets: values, quantiles, or normal laws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from difftune.data import TargetTransform
from difftune.errors import InputError
from difftune.pytrees import register

Form = Literal["value", "quantiles", "normal"]
"""What a network gives for each target (`Prediction`)."""

AnyArray = Array | np.ndarray

LOG_VARIANCE = 14.0
"""The logarithm of a variance stays within this, in units of the target's own; its exponential is
then finite in float32."""


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What the network of an objective gives for each target.

    Attributes:
        form: `"value"`, one output; `"quantiles"`, one for each of `quantiles`; or `"normal"`, a
            mean and the logarithm of a variance.
        quantiles: Levels in (0, 1), ascending.
    """

    form: Form = "value"
    quantiles: tuple[float, ...] = ()

    @property
    def per_target(self) -> int:
        """How many outputs there are for each target."""
        return {"value": 1, "quantiles": len(self.quantiles), "normal": 2}[self.form]

    @property
    def middle(self) -> int:
        """Which of the values of a target is its central one."""
        if self.form != "quantiles":
            return 0
        return int(np.argmin(np.abs(np.asarray(self.quantiles) - 0.5)))

    def apart(self, scores: Float[AnyArray, " events *outputs"]) -> Float[AnyArray, "events t v"]:
        """Outputs of a network by target: values, quantiles, or mean and standard deviation.

        Quantiles never cross: the outputs of all but the middle one are distances to their
        neighbour, softplus of them. All is on the scale of the transformed targets.

        Args:
            scores: Outputs of the network.
        """
        xp: Any = jnp if isinstance(scores, jax.Array) else np
        values = scores.reshape(scores.shape[0], -1, self.per_target)
        if self.form == "normal":
            log_variance = xp.clip(values[..., 1], -LOG_VARIANCE, LOG_VARIANCE)
            return xp.stack([values[..., 0], xp.exp(0.5 * log_variance)], axis=-1)
        if self.form == "value":
            return values
        middle = self.middle
        step = xp.logaddexp(values, 0.0)
        central = values[..., middle : middle + 1]
        above = central + xp.cumsum(step[..., middle + 1 :], axis=-1)
        below = central - xp.cumsum(step[..., :middle][..., ::-1], axis=-1)[..., ::-1]
        return xp.concatenate([below, central, above], axis=-1)


@register(static=("prediction",))
@dataclass(frozen=True, kw_only=True)
class Link:
    """From the outputs of a network to predictions in the unit of the data.

    A pytree whose leaves are the numbers of the transform.

    Attributes:
        prediction: What the outputs are.
        transform: Of the targets, learned on training events.
    """

    prediction: Prediction
    transform: TargetTransform

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return self.prediction.per_target * len(self.transform.names)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the predictions: of targets, of their quantiles (`energy_q16`), or `energy_sigma`."""
        kind = self.prediction
        ends = {
            "value": ("",),
            "normal": ("", "_sigma"),
            "quantiles": tuple(f"_q{100 * level:.6g}" for level in kind.quantiles),
        }[kind.form]
        return tuple(f"{name}{end}" for name in self.transform.names for end in ends)

    def apart(self, scores: Float[AnyArray, " events *outputs"]) -> Float[AnyArray, "events t v"]:
        """Predictions by target, in the unit of the data.

        A sigma is half of the interval of 68 %: the standard deviation where the target itself is
        learned, and that of its logarithm brought to the unit of the data otherwise.

        Args:
            scores: Outputs of the network.
        """
        values = self.prediction.apart(scores)
        if self.prediction.form != "normal":
            return self.transform.inverse(values)
        xp: Any = jnp if isinstance(values, jax.Array) else np
        mean, sigma = values[..., 0], values[..., 1]
        central, low, high = (self.transform.inverse(mean + way * sigma) for way in (0, -1, 1))
        return xp.stack([central, 0.5 * (high - low)], axis=-1)

    def central(self, scores: Float[AnyArray, " events *outputs"]) -> Float[AnyArray, "events t"]:
        """The value, the middle quantile, or the mean of each target, in the unit of the data."""
        return self.apart(scores)[..., self.prediction.middle]

    def __call__(
        self, scores: Float[AnyArray, " events *outputs"]
    ) -> Float[AnyArray, " events *predictions"]:
        """Predictions of events, `[events]` where there is one, else in the order of `names`."""
        values = self.apart(scores).reshape(scores.shape[0], -1)
        return values[:, 0] if len(self.names) == 1 else values

    def together(
        self, each: Sequence[Float[np.ndarray, " events *predictions"]], shares: Sequence[float]
    ) -> Float[np.ndarray, " events *predictions"]:
        """The prediction of several networks: their mean, and of normal laws those of the mixture.

        The variance of a mixture is that of the means and the mean of the variances (arXiv
        1612.01474).

        Args:
            each: Predictions of each network.
            shares: What each counts; one in all.
        """
        mean = np.average(each, axis=0, weights=shares)
        if self.prediction.form == "normal":
            values = np.asarray(each, np.float64)
            central, sigma = values[..., 0::2], values[..., 1::2]
            square = np.average(sigma**2 + (central - mean[..., 0::2]) ** 2, axis=0, weights=shares)
            mean[..., 1::2] = np.sqrt(square)
        return mean

    def to_dict(self) -> dict[str, Any]:
        """As lists and numbers, for JSON."""
        return {
            "form": self.prediction.form,
            "quantiles": list(self.prediction.quantiles),
            **self.transform.to_dict(),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Link":
        """What `to_dict` has written."""
        levels = tuple(map(float, value["quantiles"]))
        return cls(
            prediction=Prediction(form=value["form"], quantiles=levels),
            transform=TargetTransform.from_dict(value),
        )


def no_classes(link: Link | None) -> None:
    """Refuses what is asked about classes of a network that learns targets.

    Raises:
        InputError: When there is a link.
    """
    if link is not None:
        raise InputError(
            f"the network learns the target {', '.join(link.transform.names)} and has no signal "
            "probability: this figure is for classifiers. Take a figure of predictions, such as "
            "difftune.objectives.Resolution(); the loss itself is one by default."
        )

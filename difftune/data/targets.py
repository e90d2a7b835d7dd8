"""Targets as a network learns them: brought to a common scale, and back to the unit of the data."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Float64

from difftune.errors import InputError
from difftune.pytrees import register

logger = logging.getLogger("difftune")

Array = np.ndarray | jax.Array
TargetScaling = Literal["standard", "log"]
"""How targets are brought to a common scale (`TargetTransform`)."""


@register(static=("names", "log"))
@dataclass(frozen=True, kw_only=True)
class TargetTransform:
    """Subtracts a mean from each target and divides by a standard deviation; of logarithms, if so.

    A pytree whose leaves are the arrays.

    Attributes:
        names: Of the targets.
        center: Subtracted from each target, or from its natural logarithm.
        scale: Divided by.
        log: Whether it is the logarithm that is learned.
    """

    names: tuple[str, ...]
    center: Float32[Array, " targets"]
    scale: Float32[Array, " targets"]
    log: bool = False

    @classmethod
    def fit(
        cls,
        target: Float[Array, "events targets"],
        weight: Float[Array, " events"] | None = None,
        *,
        names: Sequence[str],
        scaling: str = "standard",
    ) -> "TargetTransform":
        """Learns from training events, each of which counts with the magnitude of its weight.

        Args:
            target: In their unit.
            weight: Weights of the events; None for equal ones.
            names: Of the targets.
            scaling: `"standard"` for mean 0 and standard deviation 1; `"log"` for the same of the
                natural logarithm, for targets that are positive and spread over orders of
                magnitude, or whose relative residuals matter.

        Raises:
            InputError: For an unknown scaling; or an event without a finite target, or with one
                that is not positive where the logarithm is learned.
        """
        if scaling not in get_args(TargetScaling):
            raise InputError(f"target_scaling={scaling!r}: choose 'standard' or 'log'.")
        log = scaling == "log"
        check_targets(target, names, log=log)
        values = np.asarray(target, np.float64)
        values = np.log(values) if log else values
        w = np.ones(len(values)) if weight is None else np.abs(np.asarray(weight, np.float64))
        if not w.sum() > 0:
            raise InputError("targets: the training events have no weight to learn from.")
        center = np.average(values, axis=0, weights=w)
        spread = np.sqrt(np.average((values - center) ** 2, axis=0, weights=w))
        for name, mean, width in zip(names, center, spread, strict=True):
            # Below this, what differs is float32's rounding.
            if not width > 1e-6 * abs(mean):
                raise InputError(
                    f"target {name!r} is constant in the training events: there is nothing to "
                    "learn. Name another column, or read other events."
                )
        return cls(
            names=tuple(names),
            center=center.astype(np.float32),
            scale=spread.astype(np.float32),
            log=log,
        )

    def __call__(self, target: Float[Array, "events targets"]) -> Float32[Array, "events targets"]:
        """Targets as a network learns them.

        Args:
            target: In their unit.
        """
        values = np.asarray(target, np.float64)
        values = np.log(values) if self.log else values
        center, scale = (np.asarray(each, np.float64) for each in (self.center, self.scale))
        return ((values - center) / scale).astype(np.float32)

    def inverse(
        self, values: Float[Array, "events targets *more"]
    ) -> Float[Array, "events targets *more"]:
        """Values on the scale of the network in the unit of the data; numpy stays numpy.

        Args:
            values: Of each target one, or several in further axes.
        """
        xp: Any = jnp if isinstance(values, jax.Array) else np
        shape = (*np.shape(self.center), *[1] * (values.ndim - 2))
        result = values * xp.reshape(self.scale, shape) + xp.reshape(self.center, shape)
        return xp.exp(result) if self.log else result

    def to_dict(self) -> dict[str, Any]:
        """As lists and numbers, for JSON."""
        return {
            "names": list(self.names),
            "center": np.asarray(self.center).tolist(),
            "scale": np.asarray(self.scale).tolist(),
            "log": self.log,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "TargetTransform":
        """What `to_dict` has written."""
        return cls(
            names=tuple(value["names"]),
            center=np.asarray(value["center"], np.float32),
            scale=np.asarray(value["scale"], np.float32),
            log=bool(value["log"]),
        )


def check_targets(
    target: Float[Array, "events targets"], names: Sequence[str], *, log: bool = False
) -> None:
    """Refuses events that have no value to learn.

    Args:
        target: In their unit.
        names: Of the targets.
        log: Whether their logarithm is learned.

    Raises:
        InputError: Names the target, and the first event that has no finite (positive) value.
    """
    values: Float64[np.ndarray, "events targets"] = np.asarray(target, np.float64)
    for name, column in zip(names, values.T, strict=True):
        bad = ~np.isfinite(column)
        if bad.any():
            raise InputError(
                f"target {name!r}: {int(bad.sum())} of {len(column)} simulated events have no "
                f"finite value, the first one ({column[np.argmax(bad)]}) at event "
                f"{int(np.argmax(bad))}. Leave such events out by a selection."
            )
        if log and not (column > 0).all():
            first = int(np.argmax(column <= 0))
            raise InputError(
                f"target {name!r}: {int((column <= 0).sum())} of {len(column)} simulated events "
                f"have a value that is not positive, the first one ({column[first]:g}) at event "
                f"{first}, and target_scaling='log' takes the logarithm. Leave them out by a "
                "selection, or take target_scaling='standard'."
            )

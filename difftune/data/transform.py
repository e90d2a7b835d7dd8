"""Features as a network gets them: which are missing, and transforms learned on training events."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Float64, Int

from difftune.data.objects import Collection, there
from difftune.data.targets import TargetTransform
from difftune.errors import InputError
from difftune.pytrees import register

Sentinels = int | float | Sequence[int | float]
"""A value that means "missing", or several."""


@dataclass(frozen=True)
class Missing:
    """The values that mean "missing", for all columns or by column.

    Attributes:
        default: For every column that has none of its own.
        special: By name of the column.
    """

    default: tuple[float, ...] = ()
    special: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @classmethod
    def of(cls, missing: Sentinels | Mapping[str, Sentinels] | None) -> "Missing":
        """From what the user gives to `read`; in a mapping, "*" stands for all other columns."""
        if missing is None:
            return cls()
        if isinstance(missing, Mapping):
            special = {name: _numbers(value, name) for name, value in missing.items()}
            return cls(special.pop("*", ()), special)
        return cls(_numbers(missing, ""))

    @property
    def given(self) -> dict[str, tuple[float, ...]] | None:
        """What `of` makes it of."""
        return {"*": self.default, **self.special} if self.default or self.special else None

    def sentinels(self, features: Sequence[str]) -> tuple[tuple[str, tuple[float, ...]], ...]:
        """By name of a feature the values that mean "missing", besides NaN."""
        by_name = ((name, self.special.get(name, self.default)) for name in features)
        return tuple(
            (name, tuple(v for v in values if v == v)) for name, values in by_name if values
        )

    @property
    def common(self) -> tuple[float, ...]:
        """The values besides NaN that mean "missing" in every column."""
        return tuple(value for value in self.default if value == value)

    def shares(self, name: str, values: np.ndarray) -> dict[float, np.ndarray]:
        """How much of a column the values take away that are missing in *every* column.

        Returns:
            For each of them the number of values [3] that are equal to it, that are there, and that
            are there and at least as large in magnitude. None where the user spoke of the column.
        """
        if name in self.special or values.dtype.kind not in "iuf":
            return {}
        there = ~np.isnan(values)
        for sentinel in self.default:
            there &= values != sentinel
        size = np.abs(values[there].astype(float))
        counts = {}
        for sentinel in self.common:
            hits = int((values == sentinel).sum())
            counts[sentinel] = np.array([hits, len(size), (size >= abs(sentinel)).sum()])
        return counts

    def mask(self, name: str, values: np.ndarray) -> np.ndarray | None:
        """Where `values` [events] of this column are missing; None if nowhere."""
        if values.dtype.kind not in "iuf":
            return None
        mask: np.ndarray | None = None
        for sentinel in self.special.get(name, self.default):
            # A Python float is compared in the precision of the column: -99.9 is found in float32.
            found = np.isnan(values) if sentinel != sentinel else values == sentinel
            if found.any():
                mask = found if mask is None else mask | found
        return mask


def _numbers(value: Sentinels, name: str) -> tuple[float, ...]:
    values = [value] if isinstance(value, int | float) else list(value)
    for number in values:
        if isinstance(number, bool) or not isinstance(number, int | float):
            of = f" of {name!r}" if name else ""
            raise InputError(f"missing{of} = {number!r} is not a number (nan is one).")
        if isinstance(number, int) and abs(number) > 2**1000:
            raise InputError(f"missing: an integer of {number.bit_length()} bits is in no column.")
    return tuple(float(number) for number in values)


logger = logging.getLogger("difftune")
Array = np.ndarray | jax.Array

_BLOCK = 65536
"""Events that are transformed at a time."""

Scaling = str | Callable[[np.ndarray, np.ndarray], tuple[float, float]] | None
"""How variables are brought to a common scale; a function `(values, weight) -> (center, scale)` of
one variable, by which it is `(value - center) / scale`; None for as they are."""

SCALINGS = ("standard", "robust")

_BEND = 3.0
"""Where robust scaling bends values over, in units of the scale (arXiv 2407.04491)."""

QUARTILES = (0.25, 0.5, 0.75)
FAR = 1e6
"""No transformed value is farther out than this before it is bent: its square is finite."""


@register(static=("indicators", "sentinels", "unused", "bend", "collections"))
@dataclass(frozen=True, kw_only=True)
class FeatureTransform:
    """Fills missing values, then subtracts `center` and divides by `scale`, and bends what is far.

    A pytree whose leaves are the arrays.

    Attributes:
        center: Subtracted from each variable.
        scale: Divided by.
        fill: Takes the place of a missing value, before the standardisation.
        indicators: Numbers of the variables for which a column is added that is 1 where they are
            missing and 0 elsewhere.
        sentinels: For each variable the values that mean "missing", as NaN does; or nothing.
        unused: Numbers of the variables that come out as 0, whatever they are.
        bend: Draws values x in to x / sqrt(1 + (x / bend)²), which is `bend` at most; 0 leaves
            them.
        collections: Which of the variables are those of objects. Where there is no object they
            come out as 0; last come columns that are 1 where there is an object and 0 elsewhere.
        target: That of the targets, which belongs to it where a network learns some: both are
            learned on the same events. None elsewhere.
    """

    center: Float32[Array, " variables"]
    scale: Float32[Array, " variables"]
    fill: Float32[Array, " variables"]
    indicators: tuple[int, ...] = ()
    sentinels: tuple[tuple[float, ...], ...] = ()
    unused: tuple[int, ...] = ()
    bend: float = 0.0
    collections: tuple[Collection, ...] = ()
    target: TargetTransform | None = None

    @property
    def width(self) -> int:
        """How many columns come out."""
        masks = sum(each.max for each in self.collections)
        return int(self.center.shape[0]) + len(self.indicators) + masks

    @property
    def variables_of(self) -> tuple[tuple[int, ...], ...]:
        """For each column that comes out the numbers of the variables that it tells of."""
        own = [(number,) for number in (*range(self.center.shape[0]), *self.indicators)]
        return (*own, *(slot for each in self.collections for slot in each.slots))

    @property
    def used(self) -> Bool[np.ndarray, " columns"]:
        """For each column that comes out whether it is of a variable that is used."""
        unused = set(self.unused)
        return np.asarray([not unused.issuperset(each) for each in self.variables_of])

    @property
    def object_of(self) -> Int[np.ndarray, " variables"]:
        """For each variable the number of the object that has it, counted from 1; 0 for none."""
        number = np.zeros(self.center.shape[0], np.int64)
        slots = [slot for each in self.collections for slot in each.slots]
        for i, slot in enumerate(slots):
            number[list(slot)] = i + 1
        return number

    def without(self, *variables: int) -> "FeatureTransform":
        """The same, of which some variables come out as 0.

        Args:
            variables: Their numbers.
        """
        return replace(self, unused=tuple(sorted({*self.unused, *variables})))

    @classmethod
    def fit(
        cls,
        features: Float[Array, "events variables"],
        weight: Float[Array, " events"] | None = None,
        *,
        impute: str | int | float = "median",
        scaling: Scaling = "standard",
        indicators: bool = False,
        names: Sequence[str] | None = None,
        sentinels: Sequence[Sequence[float]] = (),
        collections: Sequence[Collection] = (),
    ) -> "FeatureTransform":
        """Learns from training events.

        Each event counts with the magnitude of its weight: with signed weights a variance can come
        out negative.

        Args:
            features: Input variables, NaN where missing.
            weight: Weights of the events; None for equal ones.
            impute: What a missing value becomes: the median or mean of the variable, or a number.
            scaling: Center and scale of the values that are there: `"standard"` for mean and
                standard deviation; `"robust"` for median and interquartile range, and then
                x / sqrt(1 + (x / 3)²), which bounds what is far out; or a function of your own of
                one variable, `(values, weight) -> (center, scale)`. None for 0 and 1.
            indicators: Add a column for each variable that has missing values here.
            names: Names of the variables, for messages.
            sentinels: For each variable the values that mean "missing" besides NaN, so that events
                that still have them are understood later; or nothing.
            collections: Which of the variables are those of objects. Those of one feature are
                learned together, from all objects that are there; none gets an indicator.

        Raises:
            InputError: A variable without any value, or an infinite one; an unknown scaling, or
                one of your own that gives no finite numbers.
        """
        if not (scaling is None or callable(scaling) or scaling in SCALINGS):
            raise InputError(
                f"scaling = {scaling!r} is neither 'standard', 'robust' nor a function of values "
                "and weights."
            )
        x = np.asarray(features)
        meant = tuple(tuple(float(value) for value in values) for values in sentinels)
        x = np.where(is_missing(x, meant), np.nan, x) if meant else x
        w = np.ones(len(x)) if weight is None else np.abs(np.asarray(weight, np.float64))
        if impute not in ("median", "mean") and not isinstance(impute, int | float):
            raise InputError(f"impute = {impute!r} is neither 'median', 'mean' nor a number.")
        called = [f"feature {n!r}" for n in names or [str(i) for i in range(x.shape[1])]]
        center, scale, fill = np.zeros((3, x.shape[1]))
        scale += 1
        incomplete = []
        parts = _parts(called, collections)
        for name, i in parts:
            known = ~np.isnan(x[:, i])
            values = x[:, i][known].astype(np.float64)
            weights = np.broadcast_to(w[:, None], known.shape)[known]
            if len(i) == 1 and not known.all():
                incomplete.append(i[0])
            if not len(values) or weights.sum() == 0:
                raise InputError(
                    f"{name} is missing in all {len(x)} training events: leave it out."
                )
            if not np.isfinite(values).all():
                raise InputError(f"{name} is infinite in {np.isinf(values).sum()} training events.")
            mean = np.average(values, weights=weights)
            if impute == "mean":
                fill[i] = mean
            elif impute == "median":
                fill[i] = weighted_quantile(values, weights, 0.5)
            else:
                fill[i] = impute
            if callable(scaling):
                center[i], scale[i] = _own(scaling, values, weights, name)
            elif scaling is not None:
                center[i] = mean
                spread = np.sqrt(np.average((values - mean) ** 2, weights=weights))
                if scaling == "robust":
                    low, center[i], high = (
                        weighted_quantile(values, weights, q) for q in QUARTILES
                    )
                    # More than half of the events may have one value.
                    spread = high - low if high - low > 1e-6 * abs(center[i[0]]) else spread
                # Below this, what differs is float32's rounding.
                if spread > 1e-6 * abs(center[i[0]]):
                    scale[i] = spread
                else:
                    logger.warning("%s is constant (%g) in the training events", name, mean)
        return cls(
            center=center.astype(np.float32),
            scale=scale.astype(np.float32),
            fill=fill.astype(np.float32),
            indicators=tuple(incomplete) if indicators else (),
            sentinels=meant if any(meant) else (),
            bend=_BEND if scaling == "robust" else 0.0,
            collections=tuple(collections),
        )

    def __call__(
        self, features: Float[Array, "events variables"]
    ) -> Float32[Array, "events columns"]:
        """Transforms features: NaN-free, float32; numpy stays numpy, jax stays jax."""
        leaves = (features, self.center, self.scale, self.fill)
        if any(isinstance(leaf, jax.Array) for leaf in leaves):
            return self._transformed(features, jnp)
        # Block by block, so that of many events there is the result and nothing beside it.
        result = np.empty((len(features), self.width), np.float32)
        for begin in range(0, len(features), _BLOCK):
            block = slice(begin, begin + _BLOCK)
            result[block] = self._transformed(features[block], np)
        return result

    def _transformed(self, features: Array, xp: Any) -> Array:
        missing = is_missing(features, self.sentinels)
        filled = xp.where(missing, self.fill, features)
        # The division by the scale is not turned into a product: float32 keeps its last bit.
        result = ((filled - self.center) / self.scale).astype(np.float32)
        if self.bend:
            result = xp.clip(result, np.float32(-FAR), np.float32(FAR))
            share = result / np.float32(self.bend)
            result = result / xp.sqrt(np.float32(1) + share * share)
        masks = [there(missing, each) for each in self.collections]
        if masks:
            # Object 0 stands for what belongs to none.
            objects = xp.concatenate([xp.ones((len(missing), 1), bool), *masks], axis=1)
            result = xp.where(objects[:, self.object_of], result, np.float32(0))
            masks = [objects[:, 1:].astype(np.float32)]
        if self.indicators:
            chosen = missing[:, np.array(self.indicators)].astype(np.float32)
            result = xp.concatenate([result, chosen], axis=1)
        if masks:
            result = xp.concatenate([result, *masks], axis=1)
        # Not a product with 0: an infinity would come out as NaN.
        return xp.where(self.used, result, np.float32(0)) if self.unused else result

    def to_dict(self) -> dict[str, Any]:
        """As lists and numbers, for JSON."""
        return {
            "center": np.asarray(self.center).tolist(),
            "scale": np.asarray(self.scale).tolist(),
            "fill": np.asarray(self.fill).tolist(),
            "indicators": list(self.indicators),
            "sentinels": [list(values) for values in self.sentinels],
            **({"unused": list(self.unused)} if self.unused else {}),
            **({"bend": self.bend} if self.bend else {}),
            **(
                {"collections": [asdict(each) for each in self.collections]}
                if self.collections
                else {}
            ),
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "FeatureTransform":
        """What `to_dict` has written; exact, since float32 values go through doubles."""
        return cls(
            center=np.asarray(value["center"], np.float32),
            scale=np.asarray(value["scale"], np.float32),
            fill=np.asarray(value["fill"], np.float32),
            indicators=tuple(int(i) for i in value.get("indicators", ())),
            sentinels=tuple(tuple(map(float, each)) for each in value.get("sentinels", ())),
            unused=tuple(int(i) for i in value.get("unused", ())),
            bend=float(value.get("bend", 0.0)),
            collections=tuple(
                Collection(**{**each, "features": tuple(each["features"])})
                for each in value.get("collections", ())
            ),
        )


def is_missing(
    features: Float[Array, "events variables"], sentinels: tuple[tuple[float, ...], ...]
) -> Bool[Array, "events variables"]:
    """Where a value is NaN, or one of its variable's sentinels in the precision of the features."""
    xp: Any = jnp if isinstance(features, jax.Array) else np
    missing = xp.isnan(features)
    for i in range(max(map(len, sentinels), default=0)):
        # NaN, which equals nothing, where a variable has fewer of them.
        row = [values[i] if i < len(values) else np.nan for values in sentinels]
        missing = missing | (features == xp.asarray(row, features.dtype))
    return missing


def _parts(called: Sequence[str], collections: Sequence[Collection]) -> list[tuple[str, list[int]]]:
    """What is learned together: a variable, or a feature of all objects of a collection."""
    of_objects = [
        (f"feature {feature!r} of {each.name}", each.of_feature(number))
        for each in collections
        for number, feature in enumerate(each.features)
    ]
    taken = {number for _, numbers in of_objects for number in numbers}
    return [(name, [i]) for i, name in enumerate(called) if i not in taken] + of_objects


def _own(scaling: Any, values: np.ndarray, weights: np.ndarray, name: str) -> tuple[float, float]:
    """What a user's function makes of a variable."""
    given = np.asarray(scaling(values, weights), np.float64)
    if given.shape != (2,) or not np.isfinite(given).all() or given[1] == 0:
        raise InputError(
            f"scaling of {name}: the function gave {given.tolist()}; it must give two finite "
            "numbers, center and scale, and a scale that is not 0."
        )
    return float(given[0]), float(given[1])


def weighted_quantile(
    values: Float64[np.ndarray, " events"], weight: Float64[np.ndarray, " events"], share: float
) -> float:
    """The value below which a share of the (non-negative) weight lies.

    Where the share ends between two values it is their mean, as for the usual median.
    """
    order = np.argsort(values)
    below = np.cumsum(weight[order])
    part = share * below[-1]
    low = order[min(np.searchsorted(below, part, side="left"), len(order) - 1)]
    high = order[min(np.searchsorted(below, part, side="right"), len(order) - 1)]
    return float(0.5 * (values[low] + values[high]))

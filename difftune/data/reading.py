"""How rows of files became events, for reading others in the same way."""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from difftune.data.friends import Friend
from difftune.data.objects import Objects
from difftune.data.transform import Sentinels


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The arguments of `read` that do not speak of processes.

    Attributes:
        features: Names of columns, or of derived features.
        event_number: Column, or columns, that decide the fold; without, the number of the entry.
        derived: Further features by name, as expressions.
        selection: Expression that all events fulfil.
        missing: The values that mean "missing".
        folds: How many folds there are.
        replaced: Expressions that take the place of columns, as in a `FeatureVariation`.
        varied: What is replaced in the variations of features, by name and direction (`jer_up`).
        objects: Collections of objects by name.
        friends: Trees with further columns of the same events.
        defaults: Values of branches that some of the files lack, by name.
    """

    features: Sequence[str]
    event_number: str | Sequence[str] | None = None
    derived: Mapping[str, str] = field(default_factory=dict)
    selection: str | None = None
    missing: Sentinels | Mapping[str, Sentinels] | None = None
    folds: int = 5
    replaced: Mapping[str, str] = field(default_factory=dict)
    varied: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    objects: Mapping[str, Objects] = field(default_factory=dict)
    friends: Sequence[Friend] = ()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def __hash__(self) -> int:
        """Equal ones have equal ones: a reading is a static part of `Events`."""
        return hash((tuple(self.features), self.selection, self.folds))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a JSON file, in which NaN is a word."""
        return {name: _plain(value) for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> "Reading":
        """What `to_dict` made."""
        missing = content["missing"]
        if isinstance(missing, Mapping):
            missing = {name: _numbers(value) for name, value in missing.items()}
        else:
            missing = None if missing is None else _numbers(missing)
        objects = {name: Objects(**each) for name, each in content.get("objects", {}).items()}
        friends = tuple(Friend(**each) for each in content.get("friends", ()))
        defaults = {
            name: math.nan if value == "nan" else value
            for name, value in content.get("defaults", {}).items()
        }
        read = {"missing": missing, "objects": objects, "friends": friends, "defaults": defaults}
        return cls(**{**content, **read})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return "nan"
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, np.generic):
        return _plain(value.item())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value


def _numbers(value: Any) -> float | tuple[float, ...]:
    return tuple(map(float, value)) if isinstance(value, list) else float(value)

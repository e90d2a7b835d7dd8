"""Whether another form of a variable helps: its logarithm, or what is left without another one."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from difftune.data import Events, VariedWeights
from difftune.errors import InputError, nearest
from difftune.selection.elimination import difference
from difftune.selection.study import Study, train


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """Other values in the place of a variable.

    Attributes:
        variable: Its name.
        values: Of all events of the study, in their order; NaN where missing.
    """

    variable: str
    values: Float[np.ndarray, " events"]


def _column(events: Events, variable: str) -> Float[np.ndarray, " events"]:
    if variable not in events.feature_names:
        raise InputError(
            f"there is no variable {variable!r}.{nearest(variable, events.feature_names)} "
            f"There are: {', '.join(events.feature_names)}."
        )
    return np.asarray(events.features)[:, events.feature_names.index(variable)].astype(float)


def logarithm(events: Events, variable: str) -> Change:
    """The logarithm of a variable.

    Raises:
        InputError: When there is no such variable, or it is not positive everywhere.
    """
    x = _column(events, variable)
    if np.nanmin(x) <= 0:
        raise InputError(
            f"the logarithm of {variable!r}: its smallest value is {np.nanmin(x):g}, not positive."
        )
    return Change(variable=variable, values=np.log(x))


def decorrelated(events: Events, variable: str, other: str) -> Change:
    """What is left of a variable without its linear dependence on another one.

    Events count with the size of their weights; where the other one is missing, the variable stays
    as it is.

    Raises:
        InputError: When there is no such variable.
    """
    x, y = _column(events, variable), _column(events, other)
    both = np.isfinite(x) & np.isfinite(y)
    weight = np.abs(np.asarray(events.weight, float)) * both
    x0, y0 = (np.average(np.where(both, z, 0.0), weights=weight) for z in (x, y))
    away_x, away_y = np.where(both, x - x0, 0.0), np.where(both, y - y0, 0.0)
    variance = np.sum(weight * away_y**2)
    slope = np.sum(weight * away_x * away_y) / variance if variance > 0 else 0.0
    return Change(variable=variable, values=x - slope * away_y)


@dataclass(frozen=True, kw_only=True, eq=False)
class Changes:
    """What changes of variables bring.

    Attributes:
        names: Of the changes.
        gain: Improvement of the validation score by each.
        uncertainty: Its standard error, in pairs of equal seed and fold.
    """

    names: tuple[str, ...]
    gain: Float[np.ndarray, " changes"]
    uncertainty: Float[np.ndarray, " changes"]


def try_changes(study: Study, changes: Mapping[str, Change]) -> Changes:
    """Trains with each of some variables changed, all at once.

    Args:
        study: Events, network and training; without groups.
        changes: By a name for each.

    Raises:
        InputError: When a change does not fit the events, or is called like a variable.
    """
    if study.groups:
        raise InputError("try_changes: make the study without groups; variables are changed alone.")
    events = study.events
    for name, change in changes.items():
        _column(events, change.variable)
        if name in events.feature_names:
            raise InputError(f"change {name!r} is called like a variable; choose another name.")
        if np.shape(change.values) != (len(events),):
            raise InputError(f"change {name!r} has {np.shape(change.values)} values, not one each.")
    more = np.stack([change.values for change in changes.values()], axis=1)
    wide = replace(
        events,
        features=np.concatenate([np.asarray(events.features), more], axis=1).astype(np.float32),
        feature_names=(*events.feature_names, *changes),
        # Samples of their own do not have the new columns.
        variations={n: v for n, v in events.variations.items() if isinstance(v, VariedWeights)},
    )
    other = replace(study, events=wide)
    old = len(events.feature_names)
    kept = np.zeros((1 + len(changes), len(other.units)), bool)
    kept[:, :old] = True
    for number, change in enumerate(changes.values()):
        kept[1 + number, old + number] = True
        kept[1 + number, events.feature_names.index(change.variable)] = False
    score = train(other, kept).score
    gain, error = difference(score[1:], score[0])
    return Changes(names=tuple(changes), gain=gain, uncertainty=error)

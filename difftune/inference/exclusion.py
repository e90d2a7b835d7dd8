"""Which signals of a grid are excluded: all of them tested in one call."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Bool, Float, Int

from difftune.arguments import said, takes, texts
from difftune.errors import InputError, nearest
from difftune.histfactory import (
    FROM_MEASUREMENT,
    Model,
    Structure,
    patched,
    read_patch_set,
    read_source,
    stack,
)
from difftune.inference.given import as_models
from difftune.inference.hypotest import hypotest
from difftune.inference.limits import upper_limit
from difftune.inference.problems import Bounds, Fixed
from difftune.inference.solver import MESSAGES, Status

logger = logging.getLogger("difftune")


@dataclass(frozen=True, kw_only=True, eq=False)
class SignalGrid:
    """Likelihoods of one analysis with the signals of several hypotheses.

    Attributes:
        models: By name of the hypothesis.
        points: Where each hypothesis lies, for instance its masses.
        labels: What the coordinates of a point are called.
    """

    models: Mapping[str, Model]
    points: Mapping[str, Sequence[float]]
    labels: Sequence[str]

    def __post_init__(self) -> None:
        if not isinstance(self.models, Mapping) or not self.models:
            raise InputError("A grid of signals needs at least one model: models={'m500': model}.")
        if not isinstance(self.points, Mapping):
            raise InputError(f"points = {said(self.points)}: give them by name of the model.")
        if isinstance(self.labels, str) or not isinstance(self.labels, Sequence):
            raise InputError(f"labels = {said(self.labels)}: give names, as in labels=['mass'].")
        for name, model in self.models.items():
            if not isinstance(model, Model):
                raise InputError(f"{said(model)}, by name {name!r}, is no model: Model.from_spec.")
            if name not in self.points:
                raise InputError(
                    f"There is a model of {name!r}, and no point: points={{{name!r}: (mass, ...)}}."
                    f"{nearest(name, self.points)}"
                )
            if isinstance(self.points[name], str) or not isinstance(self.points[name], Sequence):
                raise InputError(
                    f"points[{name!r}] = {said(self.points[name])}: give coordinates, as (500.0,)."
                )
            if len(self.points[name]) != len(self.labels):
                raise InputError(
                    f"The point of {name!r} has {len(self.points[name])} coordinates, where there "
                    f"are {len(self.labels)} labels: {', '.join(self.labels)}."
                )
            if model.structure.poi is None:
                raise InputError(
                    f"The model of {name!r} has no parameter of interest: name one with poi=..."
                )


def signal_grid(
    workspace: Any,
    patch_set: Any,
    *,
    names: Sequence[str] | None = None,
    measurement: str | None = None,
    poi: str = FROM_MEASUREMENT,
) -> SignalGrid:
    """The likelihood of every signal in a patch set, at the values that the set has for it.

    Args:
        workspace: The background-only workspace, as `Model.from_spec` takes it.
        patch_set: The path of a JSON file, its content, a `pyhf.PatchSet`, or a `dt.Patches`. Its
            digests are compared with those of the workspace.
        names: Of the patches; by default all.
        measurement: Name of the measurement; by default the first.
        poi: Name of the parameter of interest, if not the measurement's.

    Raises:
        InputError: It is no patch set, was made for another workspace, or lacks a name.
    """
    content = read_source(workspace)[0]
    given = read_patch_set(getattr(patch_set, "patch_set", patch_set))
    known = {patch.name: patch for patch in given.patches}
    chosen = list(known) if names is None else list(texts(names, "names", "names=['m_500_100']"))
    for name in chosen:
        if name not in known:
            raise InputError(f"The patch set has no patch {name!r}.{nearest(name, known)}")
    points = {}
    for name in chosen:
        try:
            points[name] = tuple(float(value) for value in known[name].values)
        except ValueError as error:
            raise InputError(
                f"The patch {name!r} has the values {known[name].values}, which are no numbers: "
                "make a SignalGrid(models=..., points=..., labels=...) of your own."
            ) from error
    models = {}
    for number, name in enumerate(chosen):
        # One patch with the set, whose digests are compared so; they are the same for all.
        one: Any = (given, name) if not number else list(known[name].patch)
        spec = patched(content, [one])
        models[name] = Model.from_spec(spec, measurement=measurement, poi=poi)
    return SignalGrid(models=models, points=points, labels=tuple(given.labels))


class Exclusion(NamedTuple):
    """Tests of all signals of a grid; NaN where a fit failed.

    Attributes:
        names: Of the hypotheses.
        labels: What the coordinates are called.
        points: Where the hypotheses lie.
        observed: CLs of each, for the tested strength.
        expected: The same without signal; median and bands, -2 to 2 standard deviations.
        limit: Observed upper limit on the strength; None if not asked for.
        expected_limit: The same without signal, as `expected`.
        level: CLs below which a signal is excluded.
        status: 0, or why it failed.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    points: Float[np.ndarray, "points axes"]
    observed: Float[np.ndarray, " points"]
    expected: Float[np.ndarray, "points 5"]
    limit: Float[np.ndarray, " points"] | None
    expected_limit: Float[np.ndarray, "points 5"] | None
    level: float
    status: Int[np.ndarray, " points"]

    @property
    def excluded(self) -> Bool[np.ndarray, " points"]:
        """Which signals the data exclude."""
        return self.observed < self.level


@takes(grid=lambda given: _as_grid(given))
def exclusion(
    grid: SignalGrid | Mapping[str, Model],
    data: Any = None,
    *,
    strength: float = 1.0,
    limits: bool = False,
    level: float = 0.05,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> Exclusion:
    """Tests every signal of a grid by CLs (arXiv 1007.1727), for exclusion curves and contours.

    Signals whose models have the same structure are one batch, of one compiled program if it is
    long. A test that fails is left out with a warning, and has its status.

    Args:
        grid: From `signal_grid`, a `dt.Patches`, or models by name, which then are numbered.
        data: Main data, or main and auxiliary data, of all; by default each model's observations.
        strength: What is tested: 1 is the signal as predicted.
        limits: Whether upper limits on the strength are found, too.
        level: CLs at which a signal is excluded; 0.05 is 95 % confidence level.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of nuisance parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: There is no model, one has no parameter of interest, or data or names are wrong.
    """
    grid = _grid(grid)
    if not 0 < level < 1:
        raise InputError(f"level={level} must lie between 0 and 1: 0.05 is 95 % confidence level.")
    count = len(grid.models)
    tests, bounds_on = np.full((count, 6), np.nan), np.full((count, 6), np.nan)
    status = np.zeros(count, int)
    asked: dict[str, Any] = {"bounds": bounds, "fixed": fixed, "start": start}
    for rows, together, counts in _batches(grid, data):
        found = hypotest(strength, together, counts, **asked)
        tests[rows] = np.column_stack([found.observed, found.expected])
        status[rows] = found.status
        if limits:
            limit = upper_limit(together, counts, level=level, **asked)
            bounds_on[rows] = np.column_stack([limit.observed, limit.expected])
            status[rows] = np.where(status[rows] == 0, limit.status, status[rows])
    _warn_of_failed(grid, status)
    return Exclusion(
        **_places(grid),
        observed=tests[:, 0],
        expected=tests[:, 1:],
        limit=bounds_on[:, 0] if limits else None,
        expected_limit=bounds_on[:, 1:] if limits else None,
        level=level,
        status=status,
    )


class Discovery(NamedTuple):
    """Tests of the background beside all signals of a grid; NaN where a fit failed.

    Attributes:
        names: Of the hypotheses.
        labels: What the coordinates are called.
        points: Where the hypotheses lie.
        observed: Local p-value of the background.
        expected: The same with the signal as predicted; median and bands, -2 to 2 standard
            deviations.
        status: 0, or why it failed.
    """

    names: tuple[str, ...]
    labels: tuple[str, ...]
    points: Float[np.ndarray, "points axes"]
    observed: Float[np.ndarray, " points"]
    expected: Float[np.ndarray, "points 5"]
    status: Int[np.ndarray, " points"]

    @property
    def significance(self) -> Float[np.ndarray, " points"]:
        """Local significance in standard deviations."""
        return -scipy.special.ndtri(self.observed)


@takes(grid=lambda given: _as_grid(given))
def discovery(
    grid: SignalGrid | Mapping[str, Model],
    data: Any = None,
    *,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> Discovery:
    """Local p-values of the background against a mass (arXiv 1007.1727), all in one call.

    Where one looks at many masses, the smallest p-value is not that of the whole search.

    Args:
        grid: From `signal_grid`, a `dt.Patches`, or models by name, which then are numbered.
        data: Main data, or main and auxiliary data, of all; by default each model's observations.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of nuisance parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: There is no model, one has no parameter of interest, or data or names are wrong.
    """
    grid = _grid(grid)
    tests, status = np.full((len(grid.models), 6), np.nan), np.zeros(len(grid.models), int)
    asked: dict[str, Any] = {"bounds": bounds, "fixed": fixed, "start": start}
    for rows, together, counts in _batches(grid, data):
        found = hypotest(0.0, together, counts, test_stat="q0", **asked)
        tests[rows], status[rows] = np.column_stack([found.observed, found.expected]), found.status
    _warn_of_failed(grid, status)
    return Discovery(**_places(grid), observed=tests[:, 0], expected=tests[:, 1:], status=status)


def _as_grid(given: Any) -> Any:
    if hasattr(given, "patch_set"):  # a dt.Patches
        return signal_grid(given.base, given)
    return given if isinstance(given, SignalGrid) else as_models(given)


def _grid(grid: SignalGrid | Mapping[str, Model]) -> SignalGrid:
    """Models by name, numbered."""
    if isinstance(grid, SignalGrid):
        return grid
    points = {name: (float(i),) for i, name in enumerate(grid)}
    return SignalGrid(models=grid, points=points, labels=("signal",))


def _places(grid: SignalGrid) -> dict[str, Any]:
    """Names, labels and points of a result."""
    names = tuple(grid.models)
    points = np.array([grid.points[name] for name in names], float)
    return {"names": names, "labels": tuple(grid.labels), "points": points}


def _batches(
    grid: SignalGrid, data: Any
) -> Iterator[tuple[list[int], Model, Float[np.ndarray, "models data"]]]:
    """Models of equal structure as one, with their places in the grid and their data."""
    models = list(grid.models.values())
    alike: dict[Structure, list[int]] = {}
    for index, model in enumerate(models):
        alike.setdefault(model.structure, []).append(index)
    for rows in alike.values():
        some = [models[i] for i in rows]
        yield rows, stack(some), np.stack([model.data(data) for model in some])


def _warn_of_failed(grid: SignalGrid, status: Int[np.ndarray, " points"]) -> None:
    names = list(grid.models)
    for index in np.flatnonzero(status != Status.CONVERGED).tolist():
        reason = MESSAGES[Status(int(status[index]))]
        logger.warning("%s is left out: a fit of it %s.", names[index], reason)

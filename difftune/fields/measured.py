"""What is measured of a field: its values at points, or its means over bins, with their errors."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from difftune.errors import InputError, nearest
from difftune.fields.prior import Prior

_LARGEST = 6000
"""Nodes at most: their covariance is a dense matrix."""
_REMEDY = (
    "It holds a column for each coordinate, as pt, or two with the edges of bins, as pt_low and "
    "pt_high; value, error, and correlated_NAME for each error that is common to all"
)


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Measured values with Gaussian errors.

    Args:
        values: What was measured [measurements].
        lower: Lower edges of the bins [measurements, width], or the points where was measured.
            Coordinates are in the order of the domains; [measurements] where there is one.
        upper: Upper edges; None for points. A value is the mean of the field over its bin.
        errors: Standard deviations of what is independent [measurements].
        covariance: In the place of `errors`, or besides them where errors are correlated
            [measurements, measurements].
    """

    values: Any
    lower: Any
    upper: Any = None
    errors: Any = None
    covariance: Any = None

    def __post_init__(self) -> None:
        """Brings all into shape, and refuses what is not finite or does not belong together."""
        values = _array(self.values, "values", 1)
        lower = _array(self.lower, "lower", 2)
        upper = lower if self.upper is None else _array(self.upper, "upper", 2)
        if len(values) < 2:
            raise InputError(f"Measurements: {len(values)} values; give two or more.")
        if len(lower) != len(values) or upper.shape != lower.shape:
            raise InputError(
                f"Measurements: {len(values)} values, {lower.shape} lower and {upper.shape} upper "
                "edges; give a row of coordinates for each value."
            )
        if not (upper >= lower).all():
            row = int(np.argmax((upper < lower).any(axis=1)))
            raise InputError(
                f"Measurements: the bin {row} ends at {upper[row]} and begins at {lower[row]}."
            )
        if self.errors is None and self.covariance is None:
            raise InputError("Measurements: give errors, or a covariance.")
        noise = np.zeros((len(values), len(values)))
        if self.errors is not None:
            errors = np.broadcast_to(_array(self.errors, "errors", 0), values.shape)
            if (errors < 0).any():
                raise InputError(f"Measurements: an error of {errors.min():g} is below 0.")
            noise += np.diag(errors**2)
        if self.covariance is not None:
            covariance = _array(self.covariance, "covariance", 2)
            if covariance.shape != noise.shape or not np.allclose(covariance, covariance.T):
                raise InputError(
                    f"Measurements: a covariance of shape {covariance.shape} for {len(values)} "
                    "values; give a symmetric one with a row for each."
                )
            noise += covariance
        smallest = float(np.linalg.eigvalsh(noise)[0])
        if (np.diag(noise) <= 0).any() or smallest < -1e-9 * noise.max():
            raise InputError(
                "Measurements: the errors are no covariance: "
                + (
                    "a value has no error. Give one above 0."
                    if (np.diag(noise) <= 0).any()
                    else f"its smallest eigenvalue is {smallest:g}."
                )
            )
        for name, value in (("values", values), ("lower", lower), ("upper", upper)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "covariance", noise)
        object.__setattr__(self, "errors", np.sqrt(np.diag(noise)))

    def __len__(self) -> int:
        return len(self.values)

    @property
    def edges(self) -> np.ndarray:
        """All lower and upper edges [2 measurements, width]."""
        return np.concatenate([self.lower, self.upper])

    def nodes(self, prior: Prior, order: int) -> tuple[np.ndarray, np.ndarray]:
        """The points whose values say what is measured, with their weights.

        Args:
            prior: The field; its domains have their extents.
            order: How many points per coordinate of a bin, those of Gauss and Legendre.

        Returns:
            Points [measurements, nodes, width], as the bases take them, and weights [nodes].

        Raises:
            InputError: A measurement does not lie on the domains, or there are too many points.
        """
        if self.lower.shape[1] != prior.width:
            raise InputError(
                f"Measurements have {self.lower.shape[1]} coordinates, and the domains "
                f"{prior.width}."
            )
        points, weights = np.empty((len(self), 1, 0)), np.ones(1)
        for domain, lower, upper in zip(
            prior.factors, prior.split(self.lower), prior.split(self.upper), strict=True
        ):
            outside = ~(domain.holds(lower) & domain.holds(upper))
            if outside.any():
                row = int(np.argmax(outside))
                raise InputError(
                    f"Measurements: row {row} is at {lower[row].tolist()}, where "
                    f"{type(domain).__name__} wants {domain.describe()}."
                )
            if (upper == lower).all():
                own, share = domain.inner(lower)[:, None, :], np.ones(1)
            else:
                own, share = domain.nodes(lower, upper, order), domain.weights(order)
                own = own if isinstance(own, np.ndarray) else np.asarray(own)
            before, after = points.shape[1], own.shape[1]
            points = np.concatenate(
                [np.repeat(points, after, axis=1), np.tile(own, (1, before, 1))], axis=2
            )
            weights = np.outer(weights, share).ravel()
        if points.shape[0] * points.shape[1] > _LARGEST:
            raise InputError(
                f"{len(self)} bins of {points.shape[1]} points each are more than the {_LARGEST} "
                "points whose covariance is handled; take a smaller order, or fewer bins."
            )
        return points, weights


def read_measurements(path: str | Path, coordinates: Sequence[str]) -> Measurements:
    """Measurements from a file.

    Args:
        path: CSV or JSON with columns by name: for each coordinate its own, as `pt`, or `pt_low`
            and `pt_high` for the edges of bins; `value`; `error`; and `correlated_NAME` for each
            error that all measurements have in common, up to its size. JSON may have `covariance`,
            a list of rows. Or a histogram of ROOT, `file.root:name`, with an axis for each
            coordinate in their order; bins of error 0 were not measured.
        coordinates: Names of the coordinates, in the order of the domains.

    Raises:
        InputError: With the file, the column, and what to do.
    """
    text = str(path)
    if ".root" in text:
        return _of_histogram(text, coordinates)
    try:
        content = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    columns = _of_json(content, text) if text.endswith(".json") else _of_csv(content, text)
    lower: list[np.ndarray] = []
    upper: list[np.ndarray] = []
    for name in coordinates:
        ends = [f"{name}_low", f"{name}_high"] if f"{name}_low" in columns else [name, name]
        for end, side in zip(ends, (lower, upper), strict=True):
            side.append(_column(columns, end, text))
    values = _column(columns, "value", text)
    sources = [_column(columns, name, text) for name in columns if name.startswith("correlated_")]
    covariance = sum((np.outer(each, each) for each in sources), np.zeros((len(values),) * 2))
    if "covariance" in columns:
        given = _array(columns["covariance"], f"{text}: covariance", 2)
        if given.shape != covariance.shape:
            raise InputError(f"{text}: covariance is {given.shape}, for {len(values)} values.")
        covariance = covariance + given
    own = "error" in columns or "covariance" not in columns
    try:
        return Measurements(
            values=values,
            lower=np.stack(lower, axis=1),
            upper=np.stack(upper, axis=1),
            errors=_column(columns, "error", text) if own else None,
            covariance=covariance,
        )
    except (InputError, ValueError) as error:
        raise InputError(f"{text}: {error}") from error


def _column(columns: Mapping[str, Any], name: str, path: str) -> np.ndarray:
    if name not in columns:
        raise InputError(
            f"{path} has no column {name!r}.{nearest(name, columns)} {_REMEDY}. It has "
            f"{', '.join(columns)}."
        )
    return _array(columns[name], f"{path}: {name}", 1)


def _of_csv(content: str, path: str) -> dict[str, list[float]]:
    rows = csv.reader(io.StringIO(content), skipinitialspace=True)
    names = [name.strip() for name in next(rows, [])]
    columns: dict[str, list[float]] = {name: [] for name in names}
    for row in rows:
        if not row:
            continue
        if len(row) != len(names):
            raise InputError(
                f"{path}, line {rows.line_num}: {len(row)} values under {len(names)} names."
            )
        for name, cell in zip(names, row, strict=True):
            try:
                columns[name].append(float(cell))
            except ValueError:
                raise InputError(
                    f"{path}, line {rows.line_num}, column {name!r}: {cell!r} is no number."
                ) from None
    return columns


def _of_json(content: str, path: str) -> dict[str, Any]:
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is no JSON: {error}.") from error
    if not isinstance(found, dict):
        raise InputError(f"{path} holds a {type(found).__name__}, no columns by name. {_REMEDY}.")
    return found


def _of_histogram(text: str, coordinates: Sequence[str]) -> Measurements:
    import uproot

    path, _, name = text.rpartition(":")
    if not path.endswith(".root"):
        raise InputError(f"{text}: write file.root:name with the name of a histogram.")
    try:
        with uproot.open(path) as file:
            histogram = file[name]
            edges = [axis.edges() for axis in histogram.axes]
            values, errors = histogram.values(), histogram.errors()
    except (OSError, KeyError, AttributeError, ValueError) as error:
        raise InputError(f"{text} is no histogram that can be read: {error}.") from error
    if len(edges) != len(coordinates):
        raise InputError(
            f"{text} has {len(edges)} axes; there are {len(coordinates)} coordinates, "
            f"{', '.join(coordinates)}."
        )
    lower, upper = (
        np.stack([each.ravel() for each in np.meshgrid(*sides, indexing="ij")], axis=1)
        for sides in ([e[:-1] for e in edges], [e[1:] for e in edges])
    )
    there = errors.ravel() > 0
    try:
        return Measurements(
            values=values.ravel()[there],
            lower=lower[there],
            upper=upper[there],
            errors=errors.ravel()[there],
        )
    except InputError as error:
        raise InputError(f"{text}: {error}") from error


def _array(given: Any, what: str, axes: int) -> np.ndarray:
    """Finite numbers; a column stands for a table of one column."""
    try:
        array = np.asarray(given, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what}: give numbers ({error}).") from None
    if axes == 2 and array.ndim == 1:
        array = array[:, None]
    if axes and array.ndim != axes:
        raise InputError(f"{what}: give an array of {axes} axes, not of {array.ndim}.")
    if not np.isfinite(array).all():
        raise InputError(f"{what}: {array[~np.isfinite(array)].flat[0]} is not finite.")
    return array

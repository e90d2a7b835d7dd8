"""Fields: coverage and errors against known truths, time, modes.

The truths are drawn from a prior on S² × R around what `examples/antenna.py` learns, and measured
where its drone flies. What one would do otherwise is linear interpolation on the sphere and along
the line.
"""

import importlib.util
import time
from collections.abc import Iterable
from types import ModuleType

import numpy as np
import scipy.stats

from benchmarks.common.running import ROOT, say, sizes
from benchmarks.common.table import Row, median
from difftune.fields import Domain, Line, Measurements, Prior, Sphere, fit


def antenna() -> ModuleType:
    """The example, which has the linear interpolation."""
    spec = importlib.util.spec_from_file_location("antenna", ROOT / "examples" / "antenna.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def fixed(*domains: Domain, **more: float) -> Prior:
    """A prior of which all is known."""
    return Prior(domains=domains, **({"std": 1.0, "offset": 0.0, "offset_std": 0.5} | more))


def places(rng: np.random.Generator, count: int) -> np.ndarray:
    """Directions all over the sphere."""
    return np.column_stack([np.arccos(rng.uniform(-1, 1, count)), rng.uniform(0, 2 * np.pi, count)])


def coverage(quick: bool) -> list[Row]:
    """Intervals, pulls and errors of many fields, and the errors of linear interpolation.

    The drone of `examples/antenna.py` flies for each of them. The fields are drawn from the prior
    that the fit has, each with a standard deviation, lengths and smoothness of its own: whoever
    means what the prior says must be right in 68 % of the intervals. With these known, as a check
    of the rest, the same is asked of more fields.

    What is shorter than the spacing of the measurements nobody can interpolate. So the error is
    asked of fields whose correlation lengths are around `SPACINGS` of these, one being 3.4 standard
    deviations away; and shown of the antennas, of which some are rougher.
    """
    size = sizes(quick, fields=(100, 2), known=(400, 2), degree=(14, 6), test=(100, 20))
    antennas = _prior(size.degree, 1, *ANTENNA)
    rows = _of_fields("antennas, all known", antennas, None, size.known, size.test)
    lengths = SPACINGS * BETWEEN_PLACES, SPACINGS * BETWEEN_FREQUENCIES
    for name, around in ((f"{SPACINGS} spacings long", lengths), ("antennas", ANTENNA)):
        prior = _prior(size.degree, 1.5, *around)
        limit = "<= 0.6" if around == lengths else ""
        rows += _of_fields(name, prior, "posterior", size.fields, size.test, limit)
    return rows


ANTENNA = 0.6, 33.0
"""Correlation lengths that `examples/antenna.py` learns: on the sphere, and in MHz."""

BETWEEN_PLACES = (2 * np.pi * (1 - np.cos(1.45)) / 70) ** 0.5
"""Root of the solid angle of a place of the drone, which flies down to a colatitude of 1.45."""

BETWEEN_FREQUENCIES = 50 / 6
"""In MHz."""

SPACINGS = 4


def _prior(degree: int, factor: float, on_sphere: float, along: float) -> Prior:
    """Fields as smooth as antennas, with a standard deviation of 1, all of it within a factor."""
    around = {"length_factor": factor, "smoothness_factor": factor}
    sphere = Sphere(degree=degree, length=on_sphere, smoothness=5.0, **around)
    line = Line(lower=30.0, upper=80.0, waves=12, length=along, smoothness=3.0, **around)
    return fixed(sphere, line, std_factor=factor)


def _of_fields(name: str, prior: Prior, learn, fields: int, tested: int, limit="") -> list[Row]:
    """Of fields drawn from a prior, by fits that have the same prior and `learn`."""
    example, error = antenna(), 0.2
    rng = np.random.default_rng(11)
    frequencies = example.FREQUENCIES
    pulls, ours, linear = [], [], []
    for number in range(fields):
        where = example.flights(rng)
        points = np.concatenate(
            [np.column_stack([where, np.full(len(where), f)]) for f in frequencies]
        )
        upwards = np.arccos(rng.uniform(0.2, 1, tested)), rng.uniform(0, 2 * np.pi, tested)
        test = np.column_stack([*upwards, rng.uniform(30, 80, tested)])
        drawn = prior.samples(np.concatenate([points, test]), 1, seed=number, vary=True)[0]
        values, right = drawn[: len(points)], drawn[len(points) :]
        values = values + rng.normal(0, error, len(values))
        found = fit(Measurements(values=values, lower=points, errors=error), prior, learn=learn)
        mean, std = found.mean(test), found.std(test)
        table = values.reshape(len(frequencies), -1).T
        straight = example.interpolated(where, table, test, frequencies)
        there = np.isfinite(straight)
        pulls.append((mean - right) / std)
        ours.append(np.mean((mean - right)[there] ** 2))
        linear.append(np.mean((straight - right)[there] ** 2))
        if number % 20 == 19:
            say(f"coverage, {name}: {number + 1} fields")
    each = np.array([np.mean(abs(pull) < 1) for pull in pulls])
    whole = np.concatenate(pulls)
    spread = np.sqrt(np.mean(np.square(whole)))
    errors = np.array([ours, linear])
    again = errors[:, rng.integers(fields, size=(1000, fields))].mean(axis=2)
    ratio = np.sqrt(errors[0].mean() / errors[1].mean())
    by_chance = each.std(ddof=1) / np.sqrt(fields), np.sqrt(again[0] / again[1]).std()
    return [
        Row(f"{name}: 68 % intervals cover, less 0.6827", abs(each.mean() - 0.6827), "<= 0.02",
            f"{each.mean():.4f} ± {by_chance[0]:.4f}"),
        Row(f"{name}: mean of residual / sigma, size", abs(whole.mean()), "<= 0.1"),
        Row(f"{name}: root mean square of residual / sigma, less 1", abs(spread - 1), "<= 0.05",
            f"{spread:.3f}"),
        Row(f"{name}: error over that of linear interpolation", ratio, limit,
            f"{ratio:.3f} ± {by_chance[1]:.3f}"),
    ]  # fmt: skip


def duration(quick: bool) -> list[Row]:
    """Learning, posterior, and a map with its errors, once all is compiled."""
    size = sizes(quick, degree=(32, 6), waves=(32, 4), count=(500, 60), map=(2000, 50))
    rng = np.random.default_rng(3)
    domains = (Sphere(degree=size.degree), Line(lower=0.0, upper=1.0, waves=size.waves))
    truth = fixed(*domains)
    points = np.column_stack([places(rng, size.count), rng.uniform(0, 1, size.count)])
    grid = np.column_stack([places(rng, size.map), rng.uniform(0, 1, size.map)])
    seconds, mapping = [], []
    for number in range(2 if quick else 3):
        values = truth.samples(points, 1, seed=number)[0] + rng.normal(0, 0.1, size.count)
        begin = time.perf_counter()
        found = fit(Measurements(values=values, lower=points, errors=0.1), domains)
        middle = time.perf_counter()
        found.mean(grid), found.std(grid)
        seconds.append(middle - begin)
        mapping.append(time.perf_counter() - middle)
    what = f"l <= {size.degree}, {2 * size.waves + 1} waves, {size.count} measurements"
    return [
        median(f"{what}: learned and fitted, s", seconds[1:], "<= 5"),
        median(f"mean and std at {size.map} points, s", mapping[1:]),
    ]


def nuisances(quick: bool) -> list[Row]:
    """Yields in bins: of posterior samples, and of nuisance parameters of the modes."""
    size = sizes(quick, events=(4000, 300), samples=(1000, 100))
    rng = np.random.default_rng(7)
    edges = np.array([20.0, 40, 60, 90, 130, 200, 300, 600])
    eta = np.linspace(-2.4, 2.4, 5)
    low, high = (
        np.stack([each.ravel() for each in np.meshgrid(a, b, indexing="ij")], axis=1)
        for a, b in ((edges[:-1], eta[:-1]), (edges[1:], eta[1:]))
    )
    values = 0.95 + 0.02 * np.log(low[:, 0] / 100) - 0.005 * (low[:, 1] + 0.6) ** 2
    errors = 0.01 * (1 + low[:, 0] / 200)
    values += rng.normal(0, errors)
    measured = Measurements(
        values=values, lower=low, upper=high, errors=errors, covariance=np.full((28, 28), 1e-4)
    )
    found = fit(measured, (Line(log=True), Line()), positive=True)
    events = np.column_stack(
        [np.minimum(20 + rng.exponential(70, size.events), 590), rng.normal(0, 1.2, size.events)]
    )
    region = np.minimum(events[:, 0] // 60, 5).astype(int)
    counts = np.eye(6)[region].T
    drawn = found.samples(events, size.samples, seed=1) @ counts.T
    rows = []
    for modes in (None, 3):
        field = found.modes(modes, share=None if modes else 0.999)
        changes = np.stack([field.mode(i + 1, events) for i in range(len(field.modes))])
        pulls = rng.normal(size=(size.samples, len(changes)))
        shifted = (field(events) * np.exp(pulls @ changes)) @ counts.T
        both = (drawn, shifted)
        means = [each.mean(axis=0) for each in both]
        spread = np.cov(drawn.T)
        # Hotelling's test of the means, and the ratio of variances along the axes of the first.
        apart = means[0] - means[1]
        chi2 = apart @ np.linalg.solve(spread * 2 / size.samples, apart)
        values, axes = np.linalg.eigh(spread)
        sizes_of = np.diag(axes.T @ np.cov(shifted.T) @ axes) / values
        deviation = abs(np.log(sizes_of)) / np.sqrt(4 / size.samples)
        name = f"{len(field.modes)} modes of {100 * field.share:.1f} % of the variance"
        if modes:
            held = np.trace(np.cov(shifted.T)) / np.trace(spread)
            rows.append(Row(f"{name}: share of the variance of the yields", held))
            continue
        p_value = scipy.stats.chi2.sf(chi2, 6)
        rows += [
            Row(f"{name}: p-value of the mean yields", p_value, ">= 0.001"),
            Row(f"{name}: variances of the yields, largest deviation in its errors",
                deviation.max(), "<= 4"),
        ]  # fmt: skip
    return rows


PARTS = {"coverage": coverage, "duration": duration, "nuisances": nuisances}


def run(*, quick: bool, parts: Iterable[str] = PARTS) -> list[Row]:
    """All parts, or some."""
    return [row for name in parts for row in PARTS[name](quick)]

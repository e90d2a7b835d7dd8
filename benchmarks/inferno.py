"""INFERNO's synthetic problem: regions that are learned through the uncertainty of the signal.

The problem of arXiv 1806.04743: s = 50 signal events, N((0, 0), 1) x Exp(2), in b = 1000 of
background, N((2 + r, 0), diag(5, 9)) x Exp(lambda), at r = 0 and lambda = 3. The nuisance
parameters are none (B0), r (B1), r and lambda (B2), these with auxiliary measurements of widths 0.4
and 1 (B3), and b, known to 100 events, on top (B4). What counts is the uncertainty of s: of the
inverse of Fisher's information on the nominal point, of Poisson counts in hard regions, from a
million test events that training and choices never see.

200 000 events train, a tenth of them validates. Weights of the background events at one standard
deviation (r by 0.4, lambda by 1) up and down are all that a network is told of nuisance parameters.
The test knows the densities, and so the derivatives of the counts on the nominal point.

The recipe was chosen on B4 by validation scores: GELU, batches of 10 000 events, which estimate the
information better than small ones do, and a large learning rate. More regions, more or wider layers
and twice the epochs gain next to nothing.
"""

from dataclasses import dataclass
from types import SimpleNamespace

import jax
import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.running import clocked, sizes
from benchmarks.common.table import Row
from difftune.histfactory import NormalisationUncertainty
from difftune.objectives import (
    CrossEntropy,
    FitModel,
    PoiUncertainty,
    Regions,
    Variation,
    Varied,
)
from difftune.training import Columns, Population, Replicas

SIGNAL, BACKGROUND, RATE = 50.0, 1000.0, 3.0
WIDTHS = {"r": 0.4, "lambda": 1.0}
REGIONS = 32
BOUNDS = {"B0": 15.0, "B1": 16.2, "B2": 16.4, "B3": 16.3, "B4": 17.8}
FLOOR = {"B0": 14.71, "B1": 15.51, "B2": 15.64, "B3": 15.61, "B4": 16.89}
THEIRS = {"B0": 15.51, "B1": 16.79, "B2": 16.95, "B3": 16.89, "B4": 18.68}


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Which nuisance parameters there are, and which of them have auxiliary measurements."""

    shapes: tuple[str, ...] = ()
    constrained: bool = False
    normalisation: bool = False

    def objective(self, *, regions: int, hard: bool = False) -> PoiUncertainty:
        """Logarithm of the uncertainty of s, but for a constant."""
        known = NormalisationUncertainty("b", 0.1, processes=("background",))
        return PoiUncertainty(
            model=FitModel(
                bins=Regions(regions=regions, hard=hard),
                unconstrained=() if self.constrained else self.shapes,
                normalisation=(known,) if self.normalisation else (),
                mc_statistics=False,
            )
        )


PROBLEMS = {
    "B0": Problem(),
    "B1": Problem(shapes=("r",)),
    "B2": Problem(shapes=("r", "lambda")),
    "B3": Problem(shapes=("r", "lambda"), constrained=True),
    "B4": Problem(shapes=("r", "lambda"), constrained=True, normalisation=True),
}


# The densities, and what follows from them.
def events(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Half background, half signal, and which is which."""
    label = np.arange(count) % 2
    x = rng.normal(size=(count, 3))
    x[:, :2] = np.where(label[:, None], x[:, :2], [2.0, 0.0] + x[:, :2] * [np.sqrt(5.0), 3.0])
    x[:, 2] = rng.exponential(1 / np.where(label, 2.0, RATE))
    return x, label


def slopes(x: np.ndarray) -> dict[str, np.ndarray]:
    """Derivatives of the logarithm of the background's density."""
    return {"r": (x[..., 0] - 2) / 5, "lambda": 1 / RATE - x[..., 2]}


def densities(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of signal and background."""
    signal = np.exp(-(x[..., 0] ** 2 + x[..., 1] ** 2) / 2 - 2 * x[..., 2]) / np.pi
    squares = (x[..., 0] - 2) ** 2 / 5 + x[..., 1] ** 2 / 9
    background = RATE * np.exp(-squares / 2 - RATE * x[..., 2]) / (2 * np.pi * np.sqrt(45.0))
    return signal, background


def uncertainty(problem: Problem, s: np.ndarray, b: np.ndarray, db: dict) -> float:
    """Of the number of signal events, profiled, from yields in regions and derivatives of `b`."""
    rows = [s / SIGNAL, *(db[name] for name in problem.shapes)]
    known = [0.0] + [WIDTHS[name] ** -2 * problem.constrained for name in problem.shapes]
    if problem.normalisation:
        rows.append(b / BACKGROUND)
        known.append(100.0**-2)
    filled = s + b > 0
    slope = np.stack(rows)[:, filled]
    information = (slope / (s + b)[filled]) @ slope.T + np.diag(known)
    return float(np.sqrt(np.linalg.inv(information)[0, 0]))


def floor(problem: Problem) -> float:
    """The uncertainty without regions, by integration over the densities."""
    x0, w0 = np.polynomial.legendre.leggauss(240)
    x1, w1 = np.polynomial.legendre.leggauss(160)
    x2, w2 = np.polynomial.laguerre.laggauss(60)
    # Twelve standard deviations of the background; exp(-2 x) with Laguerre's weights.
    x0, w0, x1, w1 = 2 + 27 * x0, 27 * w0, 36 * x1, 36 * w1
    points = np.stack(np.meshgrid(x0, x1, x2 / 2, indexing="ij"), axis=-1)
    weight = w0[:, None, None] * w1[:, None] * (w2 * np.exp(x2) / 2)
    signal, background = densities(points)
    s, b = (SIGNAL * signal * weight).ravel(), (BACKGROUND * background * weight).ravel()
    return uncertainty(problem, s, b, {k: v.ravel() * b for k, v in slopes(points).items()})


# Training.
def columns(x: np.ndarray, label: np.ndarray, scale: tuple, shapes: tuple[str, ...]) -> Columns:
    """Events with the variations of the same events."""
    mean, deviation = scale

    each = np.where(label, SIGNAL, BACKGROUND) / (len(label) / 2)

    def varied(name: str, step: float) -> Varied:
        if name == "r":
            ratio = np.exp((2 * step * (x[:, 0] - 2) - step**2) / 10)
        else:
            ratio = (1 + step / RATE) * np.exp(-step * x[:, 2])
        return Varied(weight=np.where(label, each, each * ratio).astype(np.float32))

    variations = {
        name: Variation(up=varied(name, WIDTHS[name]), down=varied(name, -WIDTHS[name]))
        for name in shapes
    }
    return samples.columns((x - mean) / deviation, label, each, variations=variations)


@dataclass(frozen=True, kw_only=True)
class Samples:
    """The events of all that follows."""

    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    @property
    def scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of the training events."""
        return self.train[0].mean(axis=0), self.train[0].std(axis=0)


def drawn(size: SimpleNamespace) -> Samples:
    """All events."""
    rng = np.random.default_rng(1806_04743)
    x, label = events(size.train, rng)
    cut = size.train // 10
    return Samples(
        train=(x[cut:], label[cut:]),
        validation=(x[:cut], label[:cut]),
        test=events(size.test, rng),
    )


def trained(own: Samples, size: SimpleNamespace, objective, metric, shapes, **hyperparameters):
    """Logits of the test events by all starts, `[starts, events, ...]`, in parts."""
    train, validation = (columns(*part, own.scale, shapes) for part in (own.train, own.validation))
    population = Population(
        recipe=samples.every_epoch(
            model=dt.models.MLP(hidden=(64, 64), activation="gelu"),
            objective=objective,
            batch_size=size.batch,
            patience=size.epochs,
            metric=metric,
        ),
        train=train,
        validation=validation,
        members=size.starts,
        replicas=Replicas.crossed(seeds=size.starts),
    )
    given = {"schedule": 1.0, "learning_rate": 1e-2, **hyperparameters}
    values = {name: np.full(size.starts, value) for name, value in given.items()}
    state, _ = population.run(values, epochs=size.epochs)
    mean, deviation = own.scale
    parts = np.array_split((own.test[0] - mean) / deviation, max(1, size.test // 50_000))
    for part in parts:
        yield np.asarray(population.scores(state.best, part.astype(np.float32)))


class Counts:
    """Test events in regions, added up part by part."""

    def __init__(self, own: Samples, starts: int, regions: int):
        x, self.label = own.test
        signal = self.label == 1
        weight = np.where(signal, SIGNAL / signal.sum(), BACKGROUND / (~signal).sum())
        rows = {"s": signal, "b": ~signal} | {k: ~signal * v for k, v in slopes(x).items()}
        self.rows = {name: row * weight for name, row in rows.items()}
        self.counts = {name: np.zeros((starts, regions)) for name in rows}
        self.seen = 0

    def add(self, region: np.ndarray) -> None:
        """The next events, `[starts, events]`."""
        where = slice(self.seen, self.seen + region.shape[1])
        self.seen = where.stop
        for name, total in self.counts.items():
            for own, chosen in zip(total, region, strict=True):
                own += np.bincount(chosen, self.rows[name][where], len(own))

    def uncertainties(self, problem: Problem) -> np.ndarray:
        """Of each start."""
        assert self.seen == len(self.label)
        return np.array(
            [
                uncertainty(problem, s, b, {"r": r, "lambda": rate})
                for s, b, r, rate in zip(*self.counts.values(), strict=True)
            ]
        )


def through_regions(name: str, own: Samples, size: SimpleNamespace) -> np.ndarray:
    """The uncertainties of s of all starts."""
    problem = PROBLEMS[name]
    found = Counts(own, size.starts, REGIONS)
    metric = -1.0 * problem.objective(regions=REGIONS, hard=True)
    loss = problem.objective(regions=REGIONS)
    for part in trained(own, size, loss, metric, problem.shapes):
        found.add(part.argmax(axis=-1))
    return found.uncertainties(problem)


def classifier(own: Samples, size: SimpleNamespace) -> dict[str, np.ndarray]:
    """The same of a classifier with ten uniform bins."""
    found = Counts(own, size.starts, 10)
    for part in trained(own, size, CrossEntropy(), -1.0 * CrossEntropy(), (), learning_rate=1e-3):
        probability = np.asarray(jax.nn.sigmoid(part))
        found.add(np.minimum((10 * probability).astype(int), 9))
    return {name: found.uncertainties(problem) for name, problem in PROBLEMS.items()}


def run(*, quick: bool) -> list[Row]:
    """The table of the paper."""
    dt.use_cpu_cores()
    size = sizes(
        quick,
        starts=(20, 2),
        train=(200_000, 20_000),
        test=(1_000_000, 20_000),
        epochs=(30, 2),
        batch=(10_000, 2000),
    )
    own, rows = drawn(size), []
    for name, problem in PROBLEMS.items():
        here = floor(problem)
        rows.append(Row(f"{name}: floor of the densities", here))
        rows.append(Row("  off the known one", abs(here - FLOOR[name]), "<= 0.02"))

    def add(what: str, values: np.ndarray, required: str, more: str = "") -> None:
        low, median, high = np.percentile(values, [16, 50, 84])
        spread = f"({low:.2f} to {high:.2f} in 68 % of {len(values)} starts{more})"
        rows.append(Row(what, float(median), required, spread))

    for name, values in classifier(own, size).items():
        add(f"{name}: sigma(s), classifier, 10 uniform bins", values, "")
    # The last one has all kinds of nuisance parameters.
    for name, bound in list(BOUNDS.items())[-1 if quick else 0 :]:
        values, took = clocked(lambda name=name: through_regions(name, own, size))
        above = 100 * (np.median(values) / floor(PROBLEMS[name]) - 1)
        more = f"; {above:.1f} % above the floor, INFERNO {THEIRS[name]:g}; {took:.0f} s"
        add(f"{name}: sigma(s), {REGIONS} regions", values, f"<= {bound:g}", more)
    return rows

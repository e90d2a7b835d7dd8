"""INFERNO's synthetic problem: regions that are learned through the uncertainty of the signal.

The problem of arXiv 1806.04743: s = 50 signal events, N((0, 0), 1) x Exp(2), in b = 1000 of
background, N((2 + r, 0), diag(5, 9)) x Exp(lambda), at r = 0 and lambda = 3. The nuisance
parameters are none (B0), r (B1), r and lambda (B2), these with auxiliary measurements of widths 0.4
and 1 (B3), and b, known to 100 events, on top (B4). What counts is the uncertainty of s: of the
inverse of Fisher's information on the nominal point, of Poisson counts in hard regions, from a
million test events that training and choices never see.

Weights of the background events at one standard deviation up and down are all that a network is
told of nuisance parameters. The test knows the densities, and so the derivatives of the counts.
"""

from typing import NamedTuple

import jax
import numpy as np

import difftune as dt
from benchmarks.common import samples
from benchmarks.common.running import sizes
from benchmarks.common.table import Row
from difftune.objectives import CrossEntropy, FitModel, PoiUncertainty, Regions, Variation, Varied
from difftune.training import Columns, Population, Replicas

SIGNAL, BACKGROUND, RATE = 50.0, 1000.0, 3.0
WIDTHS = {"r": 0.4, "lambda": 1.0}
REGIONS = 32
BOUNDS = {"B0": 15.0, "B1": 16.2, "B2": 16.4, "B3": 16.3, "B4": 17.8}
FLOOR = {"B0": 14.71, "B1": 15.51, "B2": 15.64, "B3": 15.61, "B4": 16.89}


class Problem(NamedTuple):
    """Which nuisance parameters there are, and which of them have auxiliary measurements."""

    shapes: tuple[str, ...] = ()
    constrained: bool = False
    normalisation: bool = False

    def objective(self, *, hard: bool = False) -> PoiUncertainty:
        """Logarithm of the uncertainty of s, but for a constant."""
        known = dt.histfactory.NormalisationUncertainty("b", 0.1, processes=("background",))
        model = FitModel(
            bins=Regions(regions=REGIONS, hard=hard),
            unconstrained=() if self.constrained else self.shapes,
            normalisation=(known,) if self.normalisation else (),
            mc_statistics=False,
        )
        return PoiUncertainty(model=model)


PROBLEMS = {
    "B0": Problem(),
    "B1": Problem(shapes=("r",)),
    "B2": Problem(shapes=("r", "lambda")),
    "B3": Problem(shapes=("r", "lambda"), constrained=True),
    "B4": Problem(shapes=("r", "lambda"), constrained=True, normalisation=True),
}


def events(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Half background, half signal, and which is which."""
    label = np.arange(count) % 2
    x = rng.normal(size=(count, 3))
    x[:, :2] = np.where(label[:, None], x[:, :2], [2.0, 0.0] + x[:, :2] * [np.sqrt(5.0), 3.0])
    x[:, 2] = rng.exponential(1 / np.where(label, 2.0, RATE))
    return x, label


def weights(label: np.ndarray) -> np.ndarray:
    """Of events, for the expected yields."""
    return np.where(label, SIGNAL, BACKGROUND) / (len(label) / 2)


def slopes(x: np.ndarray) -> dict[str, np.ndarray]:
    """Derivatives of the logarithm of the background's density."""
    return {"r": (x[..., 0] - 2) / 5, "lambda": 1 / RATE - x[..., 2]}


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
    x = np.stack(np.meshgrid(x0, x1, x2 / 2, indexing="ij"), axis=-1)
    weight = w0[:, None, None] * w1[:, None] * (w2 * np.exp(x2) / 2)
    signal = np.exp(-(x[..., 0] ** 2 + x[..., 1] ** 2) / 2 - 2 * x[..., 2]) / np.pi
    squares = (x[..., 0] - 2) ** 2 / 5 + x[..., 1] ** 2 / 9
    background = RATE * np.exp(-squares / 2 - RATE * x[..., 2]) / (2 * np.pi * np.sqrt(45.0))
    s, b = (SIGNAL * signal * weight).ravel(), (BACKGROUND * background * weight).ravel()
    return uncertainty(problem, s, b, {k: v.ravel() * b for k, v in slopes(x).items()})


class Study:
    """The events of all that follows, and trainings on them."""

    def __init__(self, *, starts: int, train: int, test: int, epochs: int, batch: int):
        self.starts, self.epochs, self.batch = starts, epochs, batch
        rng, cut = np.random.default_rng(1806_04743), train // 10
        x, label = events(train, rng)
        self.mean, self.deviation = x[cut:].mean(axis=0), x[cut:].std(axis=0)
        self.train, self.validation = (x[cut:], label[cut:]), (x[:cut], label[:cut])
        self.test = events(test, rng)

    def columns(self, x: np.ndarray, label: np.ndarray, shapes: tuple[str, ...]) -> Columns:
        """Events with the variations of the same events."""
        weight = weights(label)

        def varied(name: str, step: float) -> Varied:
            if name == "r":
                ratio = np.exp((2 * step * (x[:, 0] - 2) - step**2) / 10)
            else:
                ratio = (1 + step / RATE) * np.exp(-step * x[:, 2])
            return Varied(weight=np.where(label, weight, weight * ratio).astype(np.float32))

        variations = {
            name: Variation(up=varied(name, WIDTHS[name]), down=varied(name, -WIDTHS[name]))
            for name in shapes
        }
        features = (x - self.mean) / self.deviation
        return samples.columns(features, label, weight, variations=variations)

    def scores(self, objective, metric, shapes: tuple[str, ...] = (), rate: float = 1e-2):
        """Logits of the test events by all starts, `[starts, events, ...]`, in parts."""
        recipe = samples.every_epoch(
            model=dt.models.MLP(hidden=(64, 64), activation="gelu"),
            objective=objective,
            batch_size=self.batch,
            patience=self.epochs,
            metric=metric,
        )
        population = Population(
            recipe=recipe,
            train=self.columns(*self.train, shapes),
            validation=self.columns(*self.validation, shapes),
            members=self.starts,
            replicas=Replicas.crossed(seeds=self.starts),
        )
        values = {"schedule": np.ones(self.starts), "learning_rate": np.full(self.starts, rate)}
        state, _ = population.run(values, epochs=self.epochs)
        x = ((self.test[0] - self.mean) / self.deviation).astype(np.float32)
        for part in np.array_split(x, max(1, len(x) // 50_000)):
            yield np.asarray(population.scores(state.best, part))

    def uncertainties(self, problem: Problem, region: np.ndarray) -> np.ndarray:
        """Of s, for each start by the region of each test event."""
        x, label = self.test
        signal, weight = label == 1, weights(label)
        rows = {"s": signal, "b": ~signal} | {k: ~signal * v for k, v in slopes(x).items()}
        found = []
        for own in region:
            counts = {k: np.bincount(own, row * weight, REGIONS) for k, row in rows.items()}
            found.append(uncertainty(problem, counts.pop("s"), counts.pop("b"), counts))
        return np.array(found)

    def regions(self, problem: Problem) -> np.ndarray:
        """Of networks that are trained for them, `[starts, events]`."""
        metric = -1.0 * problem.objective(hard=True)
        scores = self.scores(problem.objective(), metric, problem.shapes)
        return np.concatenate([part.argmax(axis=-1) for part in scores], axis=1)

    def bins(self) -> np.ndarray:
        """Ten uniform ones of a classifier, `[starts, events]`."""
        scores = self.scores(CrossEntropy(), -1.0 * CrossEntropy(), rate=1e-3)
        found = [(10 * np.asarray(jax.nn.sigmoid(part))).astype(int) for part in scores]
        return np.minimum(np.concatenate(found, axis=1), 9)


def run(*, quick: bool) -> list[Row]:
    """The table of the paper."""
    dt.use_cpu_cores()
    drawn = {"train": (200_000, 20_000), "test": (1_000_000, 20_000)}
    size = sizes(quick, starts=(20, 2), epochs=(30, 2), batch=(10_000, 2000), **drawn)
    study, rows = Study(**vars(size)), []
    floors = {name: floor(problem) for name, problem in PROBLEMS.items()}
    for name, here in floors.items():
        rows.append(Row(f"{name}: floor of the densities", here))
        rows.append(Row("  off the known one", abs(here - FLOOR[name]), "<= 0.02"))

    def add(name: str, how: str, region: np.ndarray, required: str = "") -> None:
        values = study.uncertainties(PROBLEMS[name], region)
        low, median, high = np.percentile(values, [16, 50, 84])
        words = f"({low:.2f} to {high:.2f} in 68 % of {len(values)} starts; "
        words += f"{100 * (median / floors[name] - 1):.1f} % above the floor)"
        rows.append(Row(f"{name}: sigma(s), {how}", float(median), required, words))

    bins = study.bins()
    for name in PROBLEMS:
        add(name, "classifier, 10 uniform bins", bins)
    # The last one has all kinds of nuisance parameters.
    for name, bound in list(BOUNDS.items())[-1 if quick else 0 :]:
        add(name, f"{REGIONS} regions", study.regions(PROBLEMS[name]), f"<= {bound:g}")
    return rows

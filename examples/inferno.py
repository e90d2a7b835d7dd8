"""Regions that a network learns through the fit, on INFERNO's problem (arXiv 1806.04743).

    python examples/inferno.py [--quick]

50 signal events on a background of 1000, whose place and slope only the data determine. A
classifier keeps signal and background apart, and cannot tell more background from a background that
moved. Regions that are trained for the uncertainty of the signal can. Both are judged by the same
counts of events that neither has seen. `python -m benchmarks inferno` has the paper's whole table.
"""

# %% Set up
import argparse

import numpy as np

import difftune as dt
from difftune.objectives import CrossEntropy, FitModel, PoiUncertainty, Regions, Variation, Varied
from difftune.training import AS_SCORED, Columns, Population, Recipe, ScoreGap

SIGNAL, BACKGROUND = 50.0, 1000.0


# %% Events
def draw(events, seed):
    """Three variables of as many background as signal events."""
    rng = np.random.default_rng(seed)
    signal = np.arange(events) % 2 == 1
    x = rng.normal(size=(events, 3))
    x[~signal, 0] = 2 + np.sqrt(5) * x[~signal, 0]
    x[~signal, 1] *= 3
    x[:, 2] = rng.exponential(1 / np.where(signal, 2.0, 3.0))
    return x, signal


def moved(x, signal, *, place=0.0, slope=0.0):
    """The same background events with another mean of the first variable, and slope of the last."""
    background = (x + np.array([place, 0, 0])) * np.array([1, 1, 3 / (3 + slope)])
    return np.where(signal[:, None], x, background)


def columns(events, seed):
    """What a training reads. A nuisance parameter is a pair of variations of the events."""
    x, signal = draw(events, seed)

    def pair(**step):
        up, down = (
            moved(x, signal, **{name: sign * size for name, size in step.items()})
            for sign in (1, -1)
        )
        return Variation(up=Varied(features=scaled(up)), down=Varied(features=scaled(down)))

    return Columns(
        features=scaled(x),
        process=signal.astype(np.int32),
        label=signal.astype(np.int32),
        weight=np.float32(np.where(signal, SIGNAL, BACKGROUND) / (events / 2)),
        training_weight=np.ones(events, np.float32),
        signal_process=np.float32([0, 1]),
        variations={"place": pair(place=0.2), "slope": pair(slope=0.5)},
    )


def scaled(x):
    return np.float32((x - [1, 0, 0.4]) / [2, 2, 0.4])


# %% Training
def objective(regions, *, hard=False):
    """Ln of the uncertainty of the signal strength; the nuisance parameters are unconstrained."""
    model = FitModel(
        bins=Regions(regions=regions, hard=hard),
        unconstrained=("place", "slope"),
        mc_statistics=False,
    )
    return PoiUncertainty(model=model)


def train(loss, metric, *, events, epochs, batch, rate):
    """Two starts side by side."""
    population = Population(
        recipe=Recipe(
            model=dt.models.MLP(hidden=(64, 64), activation="gelu"),
            objective=loss,
            batch_size=batch,
            metric=metric,
            overtraining=ScoreGap(limit=float("inf")),
            selection_rule=AS_SCORED,
        ),
        train=columns(events, 1),
        validation=columns(events // 10, 2),
        members=2,
    )
    state, _ = population.run(
        {"learning_rate": np.full(2, rate), "schedule": np.ones(2)}, epochs=epochs
    )
    return lambda x: np.asarray(population.scores(state.best, scaled(x)))


# %% What the regions are worth
def uncertainty(region, x, signal):
    """Of the number of signal events, from Fisher's information on the counts."""
    n = region.max() + 1
    weight = np.where(signal, SIGNAL, BACKGROUND) / (len(x) / 2)
    # The slope of the density says how the background in each region moves.
    slopes = weight * ~signal * np.stack([(x[:, 0] - 2) / 5, 1 / 3 - x[:, 2]])
    s, total = np.bincount(region, weight * signal, n), np.bincount(region, weight, n)
    rows = np.stack([s / SIGNAL, *(np.bincount(region, slope, n) for slope in slopes)])
    there = total > 0
    information = rows[:, there] / total[there] @ rows[:, there].T
    return np.sqrt(np.linalg.inv(information)[0, 0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--regions", type=int, default=32)
    parser.add_argument("--quick", action="store_true", help="few events: shows that it works")
    given = parser.parse_args()
    dt.use_cpu_cores()
    size = {"events": 20_000, "epochs": 2} if given.quick else {"events": 180_000, "epochs": 30}
    x, signal = draw(100_000 if given.quick else 1_000_000, 3)

    probability = train(
        CrossEntropy(), dt.objectives.Significance(), batch=2000, rate=1e-3, **size
    )(x)
    for logit in probability:
        bins = np.minimum(10 / (1 + np.exp(-logit)), 9).astype(int)
        print(f"classifier, 10 bins: sigma(s) = {uncertainty(bins, x, signal):.2f}")

    hard = objective(given.regions, hard=True)
    # Large batches estimate the information better.
    size |= {"batch": 2000 if given.quick else 10_000, "rate": 1e-2}
    regions = train(objective(given.regions), -1.0 * hard, **size)(x)
    for logits in regions:
        found = uncertainty(logits.argmax(axis=1), x, signal)
        print(f"{given.regions} learned regions: sigma(s) = {found:.2f}")
    print("without regions, from the densities: sigma(s) = 15.63")

"""Energies of a calorimeter: quantiles by a tuned network, beside a linear fit and the optimum.

    python examples/regression.py [--quick] [--output regression.png]

The energy is simulated given what the calorimeter measures, so that its law is known: log-normal,
with a mean that bends with the depth of the shower and a width that grows with the share in dead
material. So the resolution of the best of all estimators is known, too.
"""

# %% Set up
import argparse
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import difftune as dt
from difftune.analysis import Split, residuals
from difftune.models import MLP
from difftune.training import SCHEDULES

NAMES = ("log_sum", "depth", "dead_share")


# %% Events
def simulated(count, seed):
    """Showers, and the logarithm and width of the energy that each is expected to have."""
    rng = np.random.default_rng(seed)
    log_sum = rng.uniform(np.log(20), np.log(500), count)
    depth, dead = rng.beta(3, 2, count), rng.beta(1.5, 6, count)
    expected = log_sum + 0.25 * np.sin(5 * depth) + 0.8 * dead**2 / (0.2 + depth)
    width = 0.04 + 0.25 * dead
    energy = np.exp(expected + width * rng.normal(size=count))
    features = np.stack([log_sum, depth, dead], axis=1)
    events = dt.Events.from_arrays(
        features,
        np.zeros(count, int),
        np.ones(count),
        feature_names=NAMES,
        processes=[dt.Process(name="pions", role="signal")],
        event_number=np.arange(count),
        target=energy,
        target_names="energy",
    )
    return events, expected, width


def half_width(residual):
    """Half of the central 68.3 % interval."""
    low, high = np.quantile(residual, [0.1587, 0.8413])
    return 0.5 * (high - low)


# %% Picture
def draw(found, output):
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(6.5, 7), sharex=True, layout="constrained", height_ratios=(2, 1)
    )
    edges = np.geomspace(found.truth.min(), found.truth.max(), 60)
    above.hist2d(found.truth, found.predicted, bins=(edges, edges), cmin=1, cmap="Blues")
    above.plot(edges, edges, color="black", linewidth=0.8)
    above.set(xscale="log", yscale="log", ylabel="Predicted energy [GeV]")
    middle = [np.sqrt(each.low * each.high) for each in found.bins]
    across = np.array([[m - b.low, b.high - m] for m, b in zip(middle, found.bins, strict=True)]).T
    bias = [each.bias.value for each in found.bins]
    resolution = [each.resolution.value for each in found.bins]
    below.errorbar(middle, bias, resolution, across, fmt="o", color="#bd1f01")
    below.axhline(0, color="black", linewidth=0.8)
    below.set(xlabel="True energy [GeV]", ylabel="Relative bias ± resolution")
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=100)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few events and epochs: it works")
    parser.add_argument("--output", type=Path, default=Path("regression.png"))
    given = parser.parse_args()
    count, rounds, population = (4000, 2, 2) if given.quick else (40000, 6, 8)
    split = Split(events=simulated(count, seed=1)[0])
    tuned = dt.tune(
        split,
        objective="quantile",
        model=MLP(hidden=(64, 64)),
        target_scaling="log",
        hyperparameters={"schedule": float(SCHEDULES.index("cosine"))},
        space=dt.Space(learning_rate=dt.log_uniform(1e-3, 2e-2)),
        search=dt.search.Random(population=population, rounds=rounds, epochs_per_round=4),
    )
    fresh, expected, width = simulated(20000, seed=2)
    truth = np.asarray(fresh.target)[:, 0]
    found = residuals(tuned.network, fresh, relative=True)
    print(found.table)
    train = split.train
    design = np.column_stack([train.features, np.ones(len(train))])
    fit = np.linalg.lstsq(design, np.log(np.asarray(train.target)[:, 0]), rcond=None)[0]
    linear = np.exp(np.column_stack([fresh.features, np.ones(len(fresh))]) @ fit)
    for name, own in (
        ("linear fit", linear),
        ("network", found.predicted),
        ("best there is", np.exp(expected)),
    ):
        print(f"{name}: relative resolution {half_width(own / truth - 1):.4f}")
    low, _, high = tuned.network.score(fresh).T
    inside = np.mean((low < truth) & (truth < high))
    error = np.sqrt(inside * (1 - inside) / len(truth))
    print(f"truth within the interval of 68 %: {inside:.3f} ± {error:.3f}")
    half = 0.5 * (np.log(high) - np.log(low)) / (0.99446 * width)
    print(f"half of it over that of the law: {np.median(half):.3f} (median)")
    draw(found, given.output)
    print(f"picture in {given.output}")

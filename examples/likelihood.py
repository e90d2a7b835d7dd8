"""A public likelihood, from its file to four pictures: pulls, impacts, CLs, and derivatives.

    python examples/likelihood.py WORKSPACE.json [--quick] [--output DIR] [--poi-range LOW HIGH]

The file is a pyhf workspace with a signal, as HEPData has them. The last picture shows how the
expected limit changes with the numbers of the workspace: every derivative, from one gradient.
"""

# %% Set up
import argparse
import json
from collections import defaultdict
from pathlib import Path

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import difftune as dt

TOP, PULLS = 15, 40
GREEN, YELLOW, BLUE, RED = "#a8dba8", "#fff3b0", "#3f90da", "#bd1f01"


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path, help="pyhf workspace with a signal (JSON)")
    parser.add_argument("--quick", action="store_true", help="a scan of few values: it works")
    parser.add_argument("--output", type=Path, default=Path("likelihood"), help="for the pictures")
    parser.add_argument(
        "--poi-range",
        type=float,
        nargs=2,
        default=(-10.0, 10.0),
        metavar=("LOW", "HIGH"),
        help="bounds of the parameter of interest in the fit (default: -10 10)",
    )
    given = parser.parse_args()
    if not given.workspace.is_file():
        parser.error(f"there is no file {given.workspace}: download a workspace, e.g. from HEPData")
    return given


def short(name, longest=34):
    """A name that fits beside a picture."""
    return name if len(name) <= longest else f"{name[:20]}…{name[-(longest - 21) :]}"


# %% Pulls
def draw_pulls(best, folder):
    """The parameters that the data move or constrain most; those without constraint first."""
    nuisance = np.asarray(best.uncertainties) > 0
    nuisance[best.names.index(best.poi)] = False
    pull = (best.values - best.centers) / best.widths
    told = np.maximum(np.abs(pull), np.abs(best.uncertainties / best.widths - 1))
    rank = np.where(nuisance, np.nan_to_num(told, nan=np.inf), -1.0)
    shown = np.argsort(-rank, kind="stable")[: min(PULLS, nuisance.sum())]
    (page,) = dt.report.pulls(
        [best.names[index] for index in shown],
        best.values[shown],
        best.uncertainties[shown],
        centers=best.centers[shown],
        widths=best.widths[shown],
        per_page=PULLS,
        note=f"{len(shown)} of {nuisance.sum()}",
        label=dt.report.Label(status="Fit to data"),
    )
    page.savefig(folder / "pulls.png", dpi=130)


# %% Impacts
def draw_impacts(model, bounds, folder):
    """The nuisance parameters that move the parameter of interest most."""
    ranking = dt.inference.impacts(model, bounds=bounds)
    names = ranking.names[:TOP]
    y = np.arange(len(names))[::-1]
    figure, axes = plt.subplots(figsize=(8, 0.34 * len(names) + 1.6), layout="constrained")
    for column, color, sign in ((ranking.up, RED, 1), (ranking.down, BLUE, -1)):
        text = rf"$\hat\theta {'+' if sign > 0 else '-'} \sigma$ after the fit"
        axes.barh(y + 0.19 * sign, column[:TOP], 0.38, color=color, label=text)
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_yticks(y, [short(name) for name in names], fontsize=9)
    reach = 1.15 * max(np.abs(ranking.up[:TOP]).max(), np.abs(ranking.down[:TOP]).max())
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(f"Change of the best fit of {model.structure.poi}")
    figure.legend(loc="outside upper center", ncols=2, frameon=False)
    figure.savefig(folder / "impacts.png", dpi=130)


# %% CLs
def draw_cls(model, limit, folder, *, values=41):
    """Observed and expected CLs: all values of the scan are one call."""
    mu = np.linspace(0.0, 1.1 * max(limit.observed, limit.expected[4]), values)
    test = dt.inference.hypotest(mu, model)
    low2, low1, median, high1, high2 = test.expected.T
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    axes.fill_between(mu, low2, high2, color=YELLOW, label=r"expected $\pm 2\sigma$")
    axes.fill_between(mu, low1, high1, color=GREEN, label=r"expected $\pm 1\sigma$")
    axes.plot(mu, median, "--", color="black", label="expected, median")
    axes.plot(mu, test.observed, color="black", marker=".", label="observed")
    axes.axhline(0.05, color=RED, linewidth=1)
    text = f"limit at 95 % CL: {limit.observed:.3g} (expected {limit.expected[2]:.3g})"
    axes.plot([limit.observed] * 2, [0, 0.05], color=RED, linewidth=1)
    axes.plot(limit.observed, 0.05, "o", color=RED, label=text)
    axes.plot(limit.expected[2], 0.05, "o", color=RED, fillstyle="none")
    axes.set(xlim=(0, mu[-1]), ylim=(0, 1), xlabel=model.structure.poi, ylabel=r"CL$_\mathrm{s}$")
    axes.legend(frameon=False)
    figure.savefig(folder / "cls.png", dpi=130)


# %% Derivatives
def slopes(model):
    """Derivative of the median expected limit with respect to every number of the workspace."""

    def median(numbers):
        return dt.inference.upper_limit(model.replace(numbers=numbers)).expected[2]

    with jax.enable_x64(True):
        return np.asarray(jax.grad(median)(model.numbers))


def by_yield(model, slope):
    """Change of the limit for 1 % more of a sample in a bin; NaN where it is not.

    Its varied templates and its absolute uncertainties grow along, so all relative ones stay.
    """
    config = model.config
    change = np.full((len(config.samples), config.nmaindata), np.nan)
    for entry in model.structure.entries:
        nominal = len(entry.key) == 2
        if nominal or entry.key[-1] in ("hi_data", "lo_data", "data"):
            place = config.samples.index(entry.key[1]), config.channel_slices[entry.key[0]]
            here = slice(entry.start, entry.stop)
            before = 0.0 if nominal else change[place]
            change[place] = before + 0.01 * slope[here] * model.numbers[here]
    return change


def by_modifier(model, slope):
    """Change of the limit if a modifier's deviations from the nominal were 10 % smaller."""
    change = defaultdict(float)
    for entry in model.structure.entries:
        numbers = model.numbers[entry.start : entry.stop]
        if entry.key[-1] in ("hi_data", "lo_data"):
            deviation = numbers - model.get(*entry.key[:2])
        elif entry.key[-1] in ("hi", "lo"):
            deviation = numbers - 1
        elif entry.key[-1] in ("data", "sigmas"):  # absolute uncertainties
            deviation = numbers
        else:
            continue
        name = entry.key[1] if entry.key[0] == "parameter" else entry.key[3]
        change[name] -= 0.1 * np.sum(slope[entry.start : entry.stop] * deviation)
    return change


def draw_derivatives(model, limit, folder):
    """What the expected limit depends on."""
    slope = slopes(model)
    yields = 100 * by_yield(model, slope) / limit.expected[2]
    modifiers = by_modifier(model, slope)
    ranked = sorted(modifiers, key=lambda name: -abs(modifiers[name]))[:TOP]

    samples, bins = yields.shape
    size = (min(6 + 0.45 * bins, 16) + 6, max(0.34 * max(samples, TOP) + 1.8, 5))
    ratio = [size[0] - 7, 7]
    figure, (left, right) = plt.subplots(
        1, 2, figsize=size, layout="constrained", width_ratios=ratio
    )
    largest = np.nanmax(np.abs(yields))
    norm = matplotlib.colors.SymLogNorm(largest / 100, vmin=-largest, vmax=largest)
    colours = matplotlib.colormaps["RdBu_r"].with_extremes(bad="0.85")
    image = left.imshow(yields, cmap=colours, norm=norm, aspect="auto")
    left.set_yticks(range(samples), [short(name) for name in model.config.samples])
    names = [f"{short(channel, 24)} {number}" for channel, number in model.structure.bin_places]
    left.set_xticks(range(bins), names, rotation=90 if bins > 8 else 30, ha="right")
    for stop in np.cumsum(model.structure.bins)[:-1]:
        left.axvline(stop - 0.5, color="black", linewidth=1)
    if bins <= 12:
        for row, column in np.argwhere(np.isfinite(yields)):
            value = yields[row, column]
            colour = "white" if abs(norm(value) - 0.5) > 0.35 else "black"
            text = f"{value:+.2g}" if abs(value) > largest / 1000 else "0"
            left.text(column, row, text, ha="center", va="center", fontsize=8, color=colour)
    left.set_title("1 % more of a sample in a bin", fontsize=11)
    figure.colorbar(image, ax=left, label="Change of the expected limit [%]")

    y = np.arange(len(ranked))[::-1]
    change = np.array([100 * modifiers[name] / limit.expected[2] for name in ranked])
    right.barh(y, change, 0.7, color=np.where(change < 0, BLUE, RED))
    right.axvline(0, color="black", linewidth=0.8)
    right.set_yticks(y, [short(name) for name in ranked], fontsize=9)
    right.set_xlabel("Change of the expected limit [%]")
    right.set_title("A systematic that is 10 % smaller", fontsize=11)
    figure.savefig(folder / "derivatives.png", dpi=130)


# %% All of it
if __name__ == "__main__":
    given = arguments()
    model = dt.histfactory.Model.from_spec(json.loads(given.workspace.read_text()))
    poi = model.structure.poi
    given.output.mkdir(parents=True, exist_ok=True)
    # A strength below zero is allowed in the fit, so that the impacts have two sides. The limit
    # keeps the bound at zero, which q̃ wants.
    bounds = {poi: tuple(given.poi_range)}
    best = dt.inference.fit(model, bounds=bounds)
    value, uncertainty = best.parameter(poi)
    print(f"{poi} = {value:.4g} ± {uncertainty:.3g}")
    limit = dt.inference.upper_limit(model, bounds={poi: (0.0, given.poi_range[1])})
    low, median, high = limit.expected[1:4]
    print(f"{poi} < {limit.observed:.4g} at 95 % CL", end=" ")
    print(f"(expected {median:.4g}, one standard deviation {low:.4g} to {high:.4g})")
    draw_pulls(best, given.output)
    draw_impacts(model, bounds, given.output)
    draw_cls(model, limit, given.output, values=5 if given.quick else 41)
    draw_derivatives(model, limit, given.output)
    print(f"pictures in {given.output}")

"""Bin edges for a score of any origin: the best there are, against what analyses use.

    python examples/binning.py [FILE] [--tree NAME] [--score NAME] [--weight NAME] [--label NAME]

FILE is a ROOT file with a tree, or a CSV file with a header; one row per event, with a score
(larger is more signal-like), a physics weight scaled to the full yield, and 1 for signal or 0 for
background; without one, events are made up. Every other event chooses the edges, the rest judge.
"""

# %% Set up
import argparse
from pathlib import Path

import jax
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import uproot

import difftune as dt
from difftune import binning

COLORS = {
    "exact": "#bd1f01",
    "greedy merging": "#3f90da",
    "transformation D": "#ffa90e",
    "equal signal": "#94a4a2",
    "equidistant": "#832db6",
}


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", help="ROOT or CSV file with scored events")
    parser.add_argument("--quick", action="store_true", help="few bins: shows that it works")
    parser.add_argument("--tree", help="name of the tree (default: the only one)")
    for column in ("score", "weight", "label"):
        parser.add_argument(f"--{column}", default=column, help=f"column (default: {column})")
    parser.add_argument("--most", type=int, default=12, help="largest number of bins to try")
    parser.add_argument("--min-background", type=float, default=10.0, help="of each bin")
    parser.add_argument("--max-mc-uncertainty", type=float, default=0.15, help="of each bin")
    parser.add_argument("--output", type=Path, default=Path("binning.png"), help="the picture")
    given = parser.parse_args()
    if given.quick:
        given.most = min(given.most, 4)
    if given.file and not given.file.is_file():
        parser.error(f"there is no file {given.file}")
    return given


# %% Events
def made_up(events=20_000):
    """Scores of 100 signal events on 10 000 of background, as a network may give them."""
    rng = np.random.default_rng(1)
    signal = np.arange(events) < events // 2
    score = np.where(signal, rng.beta(4, 2, events), rng.beta(1, 3, events))
    return binning.Scored(score, np.where(signal, 100.0, 10_000.0) / (events / 2), signal)


def read(given):
    names = [given.score, given.weight, given.label]
    if given.file.suffix == ".root":
        with uproot.open(given.file) as file:
            trees = sorted(set(file.keys(filter_classname=["TTree", "ROOT::RNTuple"], cycle=False)))
            if given.tree is None and len(trees) != 1:
                raise dt.InputError(f"{given.file} has the trees {trees}: choose with --tree.")
            tree = file[given.tree or trees[0]]
            known = tree.keys()
            found = {name: tree[name].array(library="np") for name in names if name in known}
    else:
        table = np.genfromtxt(given.file, delimiter=",", names=True)
        known = list(table.dtype.names)
        found = {name: table[name] for name in names if name in known}
    if missing := [name for name in names if name not in found]:
        raise dt.InputError(f"{given.file} has no column {missing}, but {known}.")
    score, weight, label = (found[name] for name in names)
    return binning.Scored(score, weight, label > 0.5)


def halves(events):
    """Every other event, and the rest, each with the yields of all."""
    for part in (slice(0, None, 2), slice(1, None, 2)):
        weight, signal = events.weight[part].copy(), events.signal[part]
        for mask, total in (
            (signal, events.weight[events.signal].sum()),
            (~signal, events.weight[~events.signal].sum()),
        ):
            weight[mask] *= total / weight[mask].sum()
        yield binning.Scored(events.score[part], weight, signal)


# %% Edges
def significance(edges, events):
    with jax.enable_x64(True):
        return float(binning.Asimov()(binning.binned(edges, events)))


def all_edges(events, most, constraints):
    """Edges of each method, by their number of bins. All of them keep the constraints."""
    cells = binning.Cells.of(events)
    figure = binning.Asimov()
    found = {name: {} for name in COLORS}
    exact = binning.exact_edges(cells, most, figure, constraints)
    found["exact"] = {n: cells.edges[index] for n, index in exact.items()}
    for bins in range(2, most + 1):
        edges = cells.edges[binning.greedy_edges(cells, bins, figure, constraints)]
        found["greedy merging"][len(edges) - 1] = edges
        edges = binning.transformation_d(cells, bins - 0.25 * bins, 0.25 * bins, constraints)
        found["transformation D"][len(edges) - 1] = edges
        edges = binning.choose_edges(
            events.score,
            events.weight,
            events.signal,
            bins=bins,
            min_background=constraints.min_background,
            max_mc_uncertainty=constraints.max_mc_uncertainty,
        )
        found["equal signal"][len(edges) - 1] = edges
        edges = binning.equidistant_edges(cells, bins)
        with jax.enable_x64(True):
            if constraints.met(binning.binned(edges, events)).all():
                found["equidistant"][bins] = edges
    return found


# %% Picture
def draw(events, others, found, best, output):
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 5.2), layout="constrained")
    for name, color in COLORS.items():
        numbers = sorted(n for n in found[name] if n > 1)
        judged = [significance(found[name][n], others) for n in numbers]
        left.plot(numbers, judged, "o-", color=color, label=name, markersize=5)
    numbers = sorted(n for n in found["exact"] if n > 1)
    own = [significance(found["exact"][n], events) for n in numbers]
    left.plot(numbers, own, ":", color=COLORS["exact"], label="exact, on its own events")
    left.plot(
        best.bins,
        significance(best.edges, others),
        "*",
        markersize=17,
        color="black",
        label=f"chosen: {best.bins} bins",
        zorder=5,
    )
    left.xaxis.get_major_locator().set_params(integer=True)
    left.set_xlabel("Number of bins", fontsize=13)
    left.set_ylabel("Expected significance, stat. only", fontsize=13)
    left.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3, frameon=False, fontsize=11)

    # The bins have very different widths: they are drawn with one width each.
    yields = binning.binned(best.edges, others)
    number = np.arange(best.bins + 1)
    right.stairs(yields.background, number, fill=True, color="#b9d3ee", label="background")
    right.stairs(yields.signal, number, color=COLORS["exact"], linewidth=2, label="signal")
    error = np.sqrt(yields.background_variance)
    right.errorbar(
        number[:-1] + 0.5, yields.background, error, fmt="none", color="black", linewidth=1
    )
    right.set_yscale("log")
    right.set_xlim(0, best.bins)
    low = min(yields.signal[yields.signal > 0].min(), yields.background.min())
    right.set_ylim(low / 3, yields.background.max() * 2)
    right.set_xticks(number, [f"{edge:.4g}" for edge in best.edges], rotation=45, ha="right")
    right.set_xlabel("Edges of the score", fontsize=13)
    right.set_ylabel("Expected events in a bin", fontsize=13)
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2, frameon=False, fontsize=11)
    for axes in (left, right):
        axes.tick_params(labelsize=12)
    output.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(output, dpi=130)


# %% All of it
if __name__ == "__main__":
    given = arguments()
    constraints = binning.Constraints(given.min_background, given.max_mc_uncertainty)
    events, others = halves(read(given) if given.file else made_up())
    best = binning.optimise_edges(
        events.score,
        events.weight,
        events.signal,
        bins=range(1, given.most + 1),
        constraints=constraints,
    )
    print(f"{best.bins} bins:", ", ".join(f"{edge:.6g}" for edge in best.edges))
    print(f"Z = {best.figure:.3f} on the events that the edges were chosen on,")
    print(f"    {significance(best.edges, others):.3f} on the others")
    draw(events, others, all_edges(events, given.most, constraints), best, given.output)
    print(f"picture in {given.output}")

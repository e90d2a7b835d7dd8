"""Check single_top.root: print the tables of the README, make its figures, and fail on what must not be.

python validate.py
python validate.py ../schannel/both_tagged.root --signal schannel --figures ../schannel/figures
"""

import argparse
from pathlib import Path

import matplotlib
import numpy as np
from definitions import FEATURES, MISSING
from storage import Trees, read

matplotlib.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {"tchannel": "C3", "schannel": "C1", "ttbar": "C0", "wjets": "C2", "zjets": "C4"}
STACK = ("zjets", "schannel", "wjets", "ttbar", "tchannel")
WEIGHTS = ("isr", "fsr", "btag", "mistag")
STACKED = {
    "top_mass": np.linspace(100, 400, 31),
    "lightjet_abs_eta": np.linspace(0, 4.5, 28),
    "mtw": np.linspace(50, 170, 25),
    "cos_theta_star": np.linspace(-1, 1, 21),
    "mass_jb": np.linspace(0, 700, 29),
    "delta_eta_jb": np.linspace(0, 7, 29),
}

Tree = dict[str, np.ndarray]


def stack(trees: Trees, signal: str) -> list[str]:
    """The processes of the file, the signal on top."""
    return [p for p in STACK if p in trees and p != signal] + [signal]


def check(trees: Trees) -> None:
    """Raise if a value is not finite, or an event appears twice in a tree or in two processes."""
    seen: dict[int, str] = {}
    for name, tree in trees.items():
        process = name.split("_")[0]
        for branch, values in tree.items():
            if not np.isfinite(values).all():
                raise ValueError(f"{name}/{branch} is not finite")
        numbers = tree["event_number"]
        if len(np.unique(numbers)) != len(numbers):
            raise ValueError(f"{name} has an event twice")
        for prefix in np.unique(numbers // 100_000_000):
            if seen.setdefault(int(prefix), process) != process:
                raise ValueError(f"{name} shares event numbers with {seen[int(prefix)]}")
        if set(FEATURES) - set(tree):
            raise ValueError(f"{name} lacks {set(FEATURES) - set(tree)}")


def total(tree: Tree, weight: str = "weight", mask: np.ndarray | slice = slice(None)) -> float:
    return float(tree[weight][mask].sum(dtype=float))


def effective(tree: Tree, mask: np.ndarray | slice = slice(None)) -> float:
    w = tree["weight"][mask].astype(float)
    return w.sum() ** 2 / max((w**2).sum(), 1e-30)


def signal_like(tree: Tree) -> np.ndarray:
    """A cut-based signal region: two jets, forward light jet, a top mass near the peak."""
    mass = tree["top_mass"]
    return (tree["n_jets"] == 2) & (tree["lightjet_abs_eta"] > 2) & (mass > 130) & (mass < 210)


def table(header: list[str], rows: list[list[str]]) -> None:
    print("\n| " + " | ".join(header) + " |\n|" + " --- |" * len(header))
    for row in rows:
        print("| " + " | ".join(row) + " |")


def tables(trees: Trees, metadata: dict) -> None:
    processes = metadata["processes"]
    steps = next(iter(processes.values()))["cutflow"]
    table(
        ["expected events", *processes],
        [[step, *(f"{p['cutflow'][step]:,.0f}" for p in processes.values())] for step in steps],
    )
    rows = []
    for name in processes:
        tree = trees[name]
        near = signal_like(tree)
        rows.append(
            [
                name,
                f"{processes[name]['generated']:,.0f}",
                f"{len(tree['weight']):,}",
                f"{total(tree):,.0f}",
                f"{total(tree) / processes[name]['cutflow']['b-tag']:.3f}",
                f"{effective(tree):,.0f}",
                f"{total(tree, mask=near):,.0f}",
                f"{100 / np.sqrt(effective(tree, near)):.1f} %",
            ]
        )
    table(
        [
            "process",
            "generated",
            "in the file",
            "expected",
            "over cutflow",
            "effective",
            "signal-like",
            "its MC uncertainty",
        ],
        rows,
    )

    def change(tree: Tree, varied: list[float]) -> str:
        return " / ".join(f"{100 * (value / total(tree) - 1):+.1f}" for value in varied)

    rows = []
    for name in processes:
        tree, row = trees[name], [name]
        for variation in WEIGHTS:
            row.append(
                change(tree, [total(tree, f"weight_{variation}_{d}") for d in ("up", "down")])
            )
        row.append(change(tree, [total(trees[f"{name}_jes_{d}"]) for d in ("up", "down")]))
        rows.append(row)
    table(["yield, up / down in %", *WEIGHTS, "jes"], rows)
    rows = []
    for name in processes:
        tree, row = trees[name], [name]
        for direction in ("up", "down"):
            varied = trees[f"{name}_jes_{direction}"]
            _, i, j = np.intersect1d(
                tree["event_number"], varied["event_number"], return_indices=True
            )
            alike = tree["lightjet_abs_eta"][i] == varied["lightjet_abs_eta"][j]
            row += [
                f"{len(i) / len(tree['weight']):.3f}",
                f"{alike.mean():.3f}",
                f"{100 * (np.median(varied['bjet_pt'][j][alike] / tree['bjet_pt'][i][alike]) - 1):+.2f} %",
            ]
        plus = total(tree, mask=tree["lepton_charge"] > 0)
        row.append(f"{plus / (total(tree) - plus):.2f}")
        rows.append(row)
    header = [
        f"{d}: {what}" for d in ("up", "down") for what in ("shared", "same light jet", "b-jet pT")
    ]
    table(["process", *header, "l+ / l-"], rows)


def stacked(trees: Trees, signal: str) -> plt.Figure:
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 6), layout="constrained")
    for ax, (feature, edges) in zip(axes.flat, STACKED.items(), strict=True):
        columns = [
            (trees[p][feature], trees[p]["weight"].astype(float)) for p in stack(trees, signal)
        ]
        heights = [np.histogram(values, edges, weights=w)[0] for values, w in columns]
        squares = [np.histogram(values, edges, weights=w**2)[0] for values, w in columns]
        bottom = np.zeros(len(edges) - 1)
        for process, height in zip(stack(trees, signal), heights, strict=True):
            ax.stairs(
                bottom + height,
                edges,
                baseline=bottom,
                fill=True,
                color=COLOURS[process],
                label=process,
            )
            bottom = bottom + height
        error = np.sqrt(sum(squares))
        ax.stairs(
            bottom + error,
            edges,
            baseline=bottom - error,
            fill=True,
            color="none",
            hatch="////",
            ec="0.3",
            lw=0,
        )
        scaled = heights[-1] * bottom.sum() / heights[-1].sum()
        ax.stairs(scaled, edges, color="k", ls="--", label=f"{signal}, scaled")
        unit = FEATURES[feature][0]
        ax.set(
            xlabel=f"{feature} [{unit}]" if unit else feature,
            ylabel="events",
            xlim=(edges[0], edges[-1]),
        )
    axes[0, 0].legend(fontsize=7)
    return figure


def shapes(trees: Trees, signal: str) -> plt.Figure:
    """Every feature, normalised, by process."""
    figure, axes = plt.subplots(5, 6, figsize=(12, 9), layout="constrained")
    for ax, feature in zip(axes.flat, FEATURES, strict=True):
        everything = np.concatenate([trees[p][feature] for p in stack(trees, signal)])
        there = everything[everything != MISSING]
        if not len(there):
            ax.set_axis_off()
            continue
        low, high = np.quantile(there, [0, 0.99])
        edges = np.linspace(low, high + 1e-6, 26)
        for process in stack(trees, signal):
            height = np.histogram(trees[process][feature], edges, weights=trees[process]["weight"])[
                0
            ]
            ax.stairs(
                height / max(height.sum(), 1e-30),
                edges,
                color=COLOURS[process],
                label=process,
                lw=0.9,
            )
        ax.set_title(feature, fontsize=8)
        ax.set_yticks([])
        ax.tick_params(labelsize=6)
    axes[0, 0].legend(fontsize=5)
    return figure


def correlations(trees: Trees, signal: str) -> plt.Figure:
    figure, axes = plt.subplots(1, 2, figsize=(11, 5.6), layout="constrained")
    names = [name for name in FEATURES if not name.startswith("jet3")]
    names = [name for name in names if np.ptp(trees[signal][name]) > 0]
    groups = {signal: [signal], "background": stack(trees, signal)[:-1]}
    for ax, (title, group) in zip(axes, groups.items(), strict=True):
        columns = np.stack([np.concatenate([trees[p][name] for p in group]) for name in names])
        weights = np.concatenate([trees[p]["weight"] for p in group])
        covariance = np.cov(columns, aweights=weights)
        sigma = np.sqrt(np.diag(covariance))
        image = ax.imshow(covariance / np.outer(sigma, sigma), cmap="RdBu_r", vmin=-1, vmax=1)
        ax.set_xticks(range(len(names)), names, rotation=90, fontsize=6)
        ax.set_yticks(range(len(names)), names, fontsize=6)
        ax.set_title(title)
    figure.colorbar(image, ax=axes, shrink=0.8)
    return figure


def variations(trees: Trees, signal: str) -> plt.Figure:
    """Varied over nominal, for the two most telling features."""
    shown = {"lightjet_abs_eta": np.linspace(0, 4.5, 10), "top_mass": np.linspace(100, 300, 11)}
    processes = (signal, "ttbar", "wjets")
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 5.6), layout="constrained", sharey=True)
    for row, (feature, edges) in zip(axes, shown.items(), strict=True):
        for ax, process in zip(row, processes, strict=True):
            tree = trees[process]
            nominal = np.histogram(tree[feature], edges, weights=tree["weight"])[0]
            for colour, variation in enumerate((*WEIGHTS, "jes")):
                for direction, style in (("up", "-"), ("down", ":")):
                    if variation == "jes":
                        varied, weight = trees[f"{process}_jes_{direction}"], "weight"
                    else:
                        varied, weight = tree, f"weight_{variation}_{direction}"
                    height = np.histogram(varied[feature], edges, weights=varied[weight])[0]
                    label = variation if direction == "up" else None
                    ax.stairs(
                        height / nominal,
                        edges,
                        baseline=None,
                        color=f"C{colour}",
                        ls=style,
                        label=label,
                    )
            ax.set(xlabel=feature, ylim=(0.8, 1.2))
            ax.set_title(process, fontsize=9)
        row[0].set_ylabel("up (-), down (..) / nominal")
    axes[0, 0].legend(fontsize=7, ncols=2)
    return figure


def weights(trees: Trees, signal: str) -> plt.Figure:
    figure, axes = plt.subplots(1, 2, figsize=(10.5, 3.3), layout="constrained")
    for process in stack(trees, signal):
        tree = trees[process]
        axes[0].hist(
            tree["weight"],
            np.geomspace(1, 3e3, 50),
            histtype="step",
            color=COLOURS[process],
            label=process,
        )
    axes[0].set(xscale="log", yscale="log", xlabel="weight", ylabel="events in the file")
    axes[0].legend(fontsize=7)
    tree = trees["ttbar"]
    for variation in ("isr", "fsr"):
        for direction in ("up", "down"):
            name = f"weight_{variation}_{direction}"
            axes[1].hist(
                tree[name] / tree["weight"], np.linspace(0.4, 2.2, 73), histtype="step", label=name
            )
    axes[1].set(yscale="log", xlabel="varied / nominal weight, ttbar")
    axes[1].legend(fontsize=7)
    return figure


def main() -> None:
    here = Path(__file__).parent
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?", default=here / "single_top.root")
    parser.add_argument("--figures", type=Path, default=here / "figures")
    parser.add_argument("--signal", choices=STACK, default="tchannel")
    options = parser.parse_args()
    trees, metadata = read(options.file)
    check(trees)
    print({name: value for name, value in metadata.items() if name != "processes"})
    for name, process in metadata["processes"].items():
        print(
            name,
            {key: value for key, value in process.items() if key not in ("cutflow", "generated")},
        )
    tables(trees, metadata)
    options.figures.mkdir(parents=True, exist_ok=True)
    for plot in (stacked, shapes, correlations, variations, weights):
        figure = plot(trees, options.signal)
        figure.savefig(options.figures / f"{plot.__name__}.png", dpi=80)
        plt.close(figure)


if __name__ == "__main__":
    main()

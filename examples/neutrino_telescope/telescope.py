"""How precisely is the normalisation of tau neutrinos known, by hits or by summaries of events?

    python examples/neutrino_telescope/telescope.py [--quick] [--folder telescope_cache]

Boosted trees and a dense network get summaries of events, graph networks their hits, alone and with
the summaries. Hyperparameters of each are searched once per seed, by training and validation
events. Scores are fitted in three regions of the estimated energy, with all uncertainties, on test
events. Then a graph network learns the energy, beside a linear fit to the summaries.
"""

# %% Set up
import argparse
import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import generate
import matplotlib

matplotlib.use("Agg")
import awkward as ak
import light
import matplotlib.pyplot as plt
import neutrinos
import numpy as np
import uproot

import difftune as dt
from difftune.analysis import FIGURES, Split
from difftune.binning import EqualSignal
from difftune.data import Region
from difftune.histfactory import Model, NormalisationUncertainty
from difftune.histograms import auc
from difftune.search import PBT

SIGNAL, BACKGROUNDS = neutrinos.PROCESSES[0], neutrinos.PROCESSES[1:]
TITLES = {"nutau_cc": "ν$_τ$ CC", "numu_cc": "ν$_μ$ CC", "nue_cc": "ν$_e$ CC", "nc": "NC"}
COLORS = {"nutau_cc": "#bd1f01", "numu_cc": "#3f90da", "nue_cc": "#ffa90e", "nc": "#94a4a2"}
FOLDS = {"folds": 8}
SPLIT = {"validation_folds": (4,), "test_folds": (5, 6, 7)}
REGIONS = {
    "low": "energy_estimate < 0.9",
    "middle": "energy_estimate >= 0.9 and energy_estimate < 1.2",
    "high": "energy_estimate >= 1.2",
}
NORMALISATION = [
    NormalisationUncertainty("flux", 0.10, processes=BACKGROUNDS),
    NormalisationUncertainty("flavour_ratio", 0.05, processes=("nue_cc",)),
    NormalisationUncertainty("nc_cross_section", 0.20, processes=("nc",)),
]
# Neutral currents do not ask for the flavour.
CHARGED = (SIGNAL, "numu_cc", "nue_cc")
WEIGHTS = {"dm31": CHARGED, "theta23": CHARGED, "tilt": None, "slant": None}


# %% Events
def summary_names(file):
    """What all but the truth and the weights are."""
    with uproot.open(file) as opened:
        names = opened[SIGNAL].keys()
    truth = {"energy", "cos_zenith", "y", "tau_decay", "event_number"}
    return [
        name
        for name in names
        if name not in truth and not name.startswith(("weight", "hit_", "nhit", "true_", "fitted_"))
    ]


def read(file, *, features, hits=0, varied=False, **options):
    """Events with so many of the brightest hits; with or without uncertainties."""
    objects = None
    if hits:
        # Places from the fitted vertex in metres, and times as the metres that light goes.
        branches = {axis: f"(hit_{axis} - fitted_{axis}) / 10" for axis in "xyz"}
        branches |= {"ct": f"hit_t * {light.LIGHT / light.GROUP / 10:.5f}"}
        branches |= {"log_charge": "log(hit_charge)"}
        branches |= {name: f"hit_{name}" for name in ("dx", "dy", "dz")}
        objects = {"hits": dt.Objects(branches=branches, max=hits)}
    variations = [
        dt.WeightVariation(
            name, up=f"weight_{name}_up", down=f"weight_{name}_down", processes=processes
        )
        for name, processes in WEIGHTS.items()
    ]
    variations.append(dt.TreeVariation("light", up="{tree}_light_up", down="{tree}_light_down"))
    return dt.read(
        file,
        processes=[
            dt.Process(name=name, tree=name, role="signal" if name == SIGNAL else "background")
            for name in neutrinos.PROCESSES
        ],
        features=features,
        weight="weight",
        event_number="event_number",
        regions=[Region(name=name, selection=selection) for name, selection in REGIONS.items()],
        objects=objects,
        variations=variations if varied else (),
        **FOLDS,
        **options,
    )


# %% Contestants
def graph():
    return dt.models.ParticleNet(
        widths=(32, 32), layers=1, neighbours=6, coordinates=("x", "y", "z", "ct"), hidden=(64,)
    )


SPACE = {
    "learning_rate": dt.log_uniform(1e-3, 1e-2),
    "dropout": dt.uniform(0.0, 0.3),
    "l2": dt.log_uniform(1e-7, 1e-3),
}


def tuned(split, model, *, rounds, seed):
    """The best network of population-based training, with one epoch in each round."""
    return dt.tune(
        split,
        model=model,
        hyperparameters={"averaged_steps": 100.0},
        batch_size=512,
        space=SPACE,
        search=PBT(population=4, rounds=rounds, epochs_per_round=1),
        seed=seed,
    )


def grown(split, *, minutes, seed):
    """Boosted trees whose settings are searched; a few plain ones without a time."""
    return dt.train_trees(
        split, "xgboost", seed=seed, **({"minutes": minutes} if minutes else {"trees": 20})
    )


@dataclass(frozen=True)
class Contestant:
    """What one gets to see of an event, and how it is trained on a `Split` with a seed."""

    features: list
    hits: int
    trained: Callable


def contestants(summaries, given):
    """By name. Graphs on hits alone are told of the fitted vertex: places are relative to it."""
    vertex = ["fitted_x", "fitted_y", "fitted_z"]
    dense = dt.models.MLP(hidden=(64, 64), embedding="periodic")
    graphs = partial(tuned, model=graph(), rounds=given.rounds)
    return {
        "trees on summaries": Contestant(summaries, 0, partial(grown, minutes=given.minutes)),
        # An epoch of it takes less than a tenth of the time.
        "dense on summaries": Contestant(
            summaries, 0, partial(tuned, model=dense, rounds=4 * given.rounds)
        ),
        "graph on hits": Contestant(vertex, given.hits, graphs),
        "graph on both": Contestant([*summaries, *vertex], given.hits, graphs),
    }


def endless(result):
    """The uncertainty of a fit as if simulated events had no end: without their statistics."""
    workspace = copy.deepcopy(result.workspace)
    for channel in workspace["channels"]:
        for sample in channel["samples"]:
            sample["modifiers"] = [m for m in sample["modifiers"] if m["type"] != "staterror"]
    return FIGURES["precision"].of(Model.from_spec(workspace))


def measured(contestant, split, *, seed, bins=6):
    """The fit of test events by one that is trained, its scores and its CPU time."""
    began = time.process_time()
    network = contestant.trained(split, seed=seed)
    spent = time.process_time() - began
    result = dt.measure(
        network,
        split,
        figure=FIGURES["precision"],
        binning=EqualSignal(bins=bins),
        normalisation=NORMALISATION,
    )
    network = getattr(network, "network", network)
    return result, np.asarray(network.score(split.test)), spent


# %% Pictures
def save(figure, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def displays(file, path):
    """Hits in space and time: a long track, a cascade of an electron, a tau neutrino."""
    figure, axes = plt.subplots(2, 3, figsize=(13, 8), layout="constrained")
    where = light.modules()
    for column, name in enumerate(("numu_cc", "nue_cc", "nutau_cc")):
        with uproot.open(file) as opened:
            tree = opened[name].arrays()
        size = np.asarray(ak.num(tree["hit_x"]))
        energy = np.asarray(tree["energy"])
        wanted = (energy > 20) & (energy < 40) & (np.asarray(tree["y"]) < 0.4) & (size < 130)
        event = tree[np.flatnonzero(wanted)[np.argsort(-size[wanted])[:3]][-1]]
        x, y, z, t, q = (np.asarray(event[f"hit_{key}"]) for key in ("x", "y", "z", "t", "charge"))
        top, bottom = axes[:, column]
        top.scatter(where[:, 0], where[:, 2], s=2, color="#d0d0d0")
        shown = top.scatter(x, z, s=12 * q**0.8, c=t, cmap="viridis", vmin=-60, vmax=260)
        top.set(xlabel="x [m]", ylabel="z [m]")
        top.set_title(f"{TITLES[name]}, {event['energy']:.0f} GeV, y = {event['y']:.2f}")
        fitted = np.array([event[f"fitted_{axis}"] for axis in "xyz"])
        distance = np.linalg.norm(np.stack([x, y, z], axis=1) - fitted, axis=1)
        bottom.scatter(distance, t, s=12 * q**0.8, color=COLORS[name])
        line = np.array([0.0, distance.max()])
        first = np.median((t - distance * light.GROUP / light.LIGHT)[:8])
        bottom.plot(line, first + line * light.GROUP / light.LIGHT, color="black", linewidth=1)
        bottom.set(xlabel="distance to the fitted vertex [m]", ylabel="time [ns]")
    figure.colorbar(shown, ax=axes[0], label="time [ns]")
    save(figure, path)


def scores(test, found, path):
    """ROC curves of all, and what the last says about each process."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    for name, score in found.items():
        order = np.argsort(-score)
        weight = np.asarray(test.weight, float)[order]
        signal = np.asarray(test.label)[order] == 1
        passed = [np.cumsum(weight * each) / weight[each].sum() for each in (~signal, signal)]
        left.plot(*passed, label=name)
    left.plot([0, 1], [0, 1], color="#94a4a2", linewidth=1)
    left.set(xlabel="share of background", ylabel="share of ν$_τ$ CC")
    left.legend(frameon=False)
    for number, process in enumerate(test.processes):
        mine = np.asarray(test.process) == number
        right.hist(
            score[mine],
            np.linspace(0, 1, 41),
            density=True,
            histtype="step",
            color=COLORS[process.name],
            label=TITLES[process.name],
        )
    right.set(xlabel=f"score of {name}", ylabel="events, normalised")
    right.legend(frameon=False)
    save(figure, path)


def fits(result, sigma, ideal, path):
    """What is fitted: expected events in each region; and what comes of it, for each seed."""
    figure, axes = plt.subplots(1, 4, figsize=(14, 4), layout="constrained")
    for panel, templates in zip(axes, result.fitted, strict=False):
        below = 0
        for name in reversed(neutrinos.PROCESSES):
            counts = np.asarray(templates.processes[name].nominal.sumw)
            options = {"color": COLORS[name], "label": TITLES[name], "fill": True}
            panel.stairs(below + counts, baseline=below, **options)
            below = below + counts
        panel.set(xlabel="bin of the score", title=f"{templates.channel} energy", ylim=(0, None))
    axes[0].set(ylabel=f"events in {generate.YEARS:.0f} years")
    axes[0].legend(frameon=False)
    for values, marker, label in (
        (sigma, "o", "all"),
        (ideal, "D", "without simulation's statistics"),
    ):
        places = [place for place, each in enumerate(values.values()) for _ in each]
        axes[3].plot(np.concatenate(list(values.values())), places, marker, alpha=0.6, label=label)
    axes[3].legend(frameon=False, fontsize=8, loc="upper center")
    axes[3].set_yticks(range(len(sigma)), [name.replace(" on ", "\non ") for name in sigma])
    axes[3].set(xlim=(0, None), ylim=(-0.5, len(sigma)), xlabel="uncertainty of the normalisation")
    save(figure, path)


# %% Energy
def energies(file, features, hits, *, epochs, path):
    """Quantiles of the neutrino's energy by a graph network, beside a linear fit to summaries."""
    target = {"log_energy": "log10(energy)"}
    split = Split(events=read(file, features=features, hits=hits, target=target), **SPLIT)
    network = dt.train(
        split, model=graph(), objective=dt.objectives.Quantile(), batch_size=512, epochs=epochs
    )
    test = split.test
    low, middle, high = np.asarray(network.score(test)).T
    truth, weight = np.asarray(test.target)[:, 0], np.asarray(test.weight, float)

    def rows(events):
        columns = np.asarray(events.features)[:, : len(features)]
        return np.concatenate([columns, np.ones((len(columns), 1))], axis=1)

    root = np.sqrt(np.asarray(split.train.weight, float))
    known = np.asarray(split.train.target)[:, 0]
    line = np.linalg.lstsq(rows(split.train) * root[:, None], known * root, rcond=None)[0]
    covered = np.average((truth > low) & (truth < high), weights=weight)
    print(f"energy: {covered:.3f} of test events are in the interval of 68 %")
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    edges = np.geomspace(*neutrinos.ENERGIES, 7)
    for name, said, color in (
        ("graph network", middle, "#bd1f01"),
        ("linear fit to summaries", rows(test) @ line, "#3f90da"),
    ):
        residual = said - truth
        center, half = _spread(residual, weight)
        print(f"  {name:<24} bias {center:+.4f}, resolution {half:.4f} of log10 E")
        parts = [
            _spread(residual[inside], weight[inside])
            for first, last in pairwise(edges)
            if (inside := (truth > np.log10(first)) & (truth < np.log10(last))).any()
        ]
        for axes, values in ((left, [each[0] for each in parts]), (right, [e[1] for e in parts])):
            axes.stairs(values, edges, baseline=None, color=color, label=name, linewidth=2)
    for axes, label in ((left, "bias of log$_{10}$ E"), (right, "resolution of log$_{10}$ E")):
        axes.set(xscale="log", xlabel="energy of the neutrino [GeV]", ylabel=label)
        axes.legend(frameon=False)
    save(figure, path)


def _spread(values, weight):
    """Median, and half of the central interval of 68 %."""
    order = np.argsort(values)
    share = np.cumsum(weight[order]) / weight.sum()
    low, middle, high = np.interp([0.16, 0.5, 0.84], share, values[order])
    return middle, (high - low) / 2


# %% All of it
def main(given):
    dt.use_cpu_cores()
    if given.quick:
        given.events, given.hits, given.rounds, given.minutes = 300, 12, 1, 0.0
        given.seeds, given.epochs = 1, 2
    file = given.folder / f"telescope_{given.events}.root"
    if not file.exists():
        generate.write(file, given.events, say=print)
    displays(file, given.folder / "displays.png")
    features = summary_names(file)
    chosen = contestants(features, given)
    if given.quick:
        del chosen["dense on summaries"], chosen["graph on both"]
    sigma, ideal, found = {}, {}, {}
    for name, one in chosen.items():
        events = read(file, features=one.features, hits=one.hits, varied=True)
        split = Split(events=events, **SPLIT)
        sigma[name], ideal[name] = [], []
        for seed in range(1, 1 + given.seeds):
            result, found[name], spent = measured(
                one, split, seed=seed, bins=3 if given.quick else 6
            )
            sigma[name].append(result.value)
            ideal[name].append(endless(result))
            area = auc(found[name], split.test.weight, split.test.label == 1)
            print(
                f"{name}, seed {seed}: σ = {result.value:.4f} of the ν_τ normalisation, "
                f"{ideal[name][-1]:.4f} without the statistics of the simulation, AUC "
                f"{area.value:.4f} ± {area.uncertainty:.4f}, {spent:.0f} CPU-s",
                flush=True,
            )
    for title, values in (("σ", sigma), ("without simulation's statistics", ideal)):
        print(title)
        for name, each in values.items():
            spread = np.std(each, ddof=1) if len(each) > 1 else np.nan
            print(f"  {name:<18} {np.mean(each):.4f}, spread of seeds {spread:.4f}")
    scores(split.test, found, given.folder / "scores.png")
    fits(result, sigma, ideal, given.folder / "fit.png")
    path = given.folder / "energy.png"
    energies(file, features, given.hits, epochs=given.epochs, path=path)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few events and epochs: it works")
    parser.add_argument("--folder", type=Path, default=Path("telescope_cache"))
    parser.add_argument("--events", type=int, default=12_000, help="of each process")
    parser.add_argument("--hits", type=int, default=24, help="that the graph networks see")
    parser.add_argument("--rounds", type=int, default=5, help="of each search of graph networks")
    parser.add_argument("--minutes", type=float, default=0.5, help="of each search of trees")
    parser.add_argument("--seeds", type=int, default=3, help="searches of each kind")
    parser.add_argument("--epochs", type=int, default=6, help="of the network of the energy")
    main(parser.parse_args())

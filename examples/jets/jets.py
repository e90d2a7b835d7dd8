"""Networks on a jet's features, on the set and on the graph of its constituents.

    python examples/jets/jets.py [--file jets.root] [--signal top|w] [--networks "deep set" ...]
                                 [--epochs 20 ...] [--every 4] [--quick] [--output pictures]

The sample is generated, as is any larger one (`generate.py`). Each network is trained from three
start values, which are one population, and kept as it was after the epoch that is best on
validation jets. What is printed are areas under the ROC curve of test jets, with their spread over
the start values, and rejections: how many jets of quarks and gluons there are for each one that
passes.
"""

# %% Set up
import argparse
import time
from dataclasses import dataclass
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import uproot
from matplotlib.colors import LogNorm

import difftune as dt
from difftune.analysis import Split
from difftune.histograms import auc
from difftune.objectives import AUC
from difftune.training import AS_SCORED, Population, Recipe, ScoreGap

FILE = Path(__file__).parent / "jets.root"
NAMES = {"w": "W boson", "top": "top quark", "qcd": "quark or gluon"}
KIND_COLORS = {"w": "#3f90da", "top": "#bd1f01", "qcd": "#717581"}
KINEMATICS = ("pt", "mass", "multiplicity")
SUBSTRUCTURE = (*KINEMATICS, "dispersion", "width", "tau21", "tau32")
EFFICIENCIES = (0.3, 0.5)
RATE = 3e-3  # at its largest
# Those of arXiv 1902.08570; constants do not matter in logarithms, as inputs are standardised.
CONSTITUENTS = {
    "eta": "constituent_eta / 100",
    "phi": "constituent_phi / 100",
    "log_pt": "log(constituent_pt)",
    "log_energy": "log(constituent_pt * cosh(eta + constituent_eta / 100))",
    "log_pt_share": "log(constituent_pt / pt)",
    "log_energy_share": "log(constituent_pt * cosh(eta + constituent_eta / 100)"
    " / hypot(pt * cosh(eta), mass))",
    "distance": "hypot(constituent_eta, constituent_phi) / 100",
}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A network, and what it sees of a jet.

    Attributes:
        model: The network.
        color: In pictures.
        features: Of the jet as a whole.
        objects: Whether it sees the constituents.
        epochs: Passes over the training jets.
    """

    model: dt.models.Architecture
    color: str
    features: tuple[str, ...] = ()
    objects: bool = True
    epochs: int = 40


_DENSE = dt.models.MLP(hidden=(64, 64))
_SET = dt.models.DeepSet(each=(64, 64), latent=64, hidden=(64,), normalisation="layer")
_GRAPH = dt.models.ParticleNet(
    widths=(32, 32), neighbours=8, coordinates=("eta", "phi"), hidden=(64,), normalisation="layer"
)
NETWORKS = {
    "dense, kinematics": Contestant(
        model=_DENSE, color="#94a4a2", features=KINEMATICS, objects=False
    ),
    "dense, substructure": Contestant(
        model=_DENSE, color="#000000", features=SUBSTRUCTURE, objects=False
    ),
    "deep set": Contestant(model=_SET, color="#3f90da"),
    "ParticleNet": Contestant(model=_GRAPH, color="#bd1f01", epochs=12),
    "deep set and substructure": Contestant(model=_SET, color="#832db6", features=SUBSTRUCTURE),
    "ParticleNet and substructure": Contestant(
        model=_GRAPH, color="#ffa90e", features=SUBSTRUCTURE, epochs=12
    ),
}
ALONE = list(NETWORKS)[:4]  # those that see one kind of inputs


# %% Jets
def read(file, signal, network, *, most=80, selection=None):
    """Jets of a signal and of quarks and gluons, as a network sees them."""
    constituents = dt.Objects(branches=CONSTITUENTS, max=most)
    return dt.read(
        file,
        processes=[
            dt.Process(name=signal, role="signal", tree=signal),
            dt.Process(name="qcd", tree="qcd"),
        ],
        features=network.features,
        objects={"constituents": constituents} if network.objects else {},
        event_number="event_number",
        selection=selection,
    )


# %% Training
def population(events, network, *, seeds, every=1):
    """What is to be trained, on every so many-th jet, and the test jets as it sees them."""
    recipe = Recipe(
        model=network.model,
        metric=AUC(),
        batch_size=128,
        patience=1000,
        overtraining=ScoreGap(limit=1.0),
        selection_rule=AS_SCORED,
        hyperparameters={"schedule": 2.0},
    )
    split = Split(events=events)
    seen = split.train.select(np.arange(len(split.train)) % every == 0)
    transform = recipe.transform(seen)
    train, validation, test = (
        recipe.columns(part, events.yields(), transform)
        for part in (seen, split.validation, split.test)
    )
    return Population(recipe=recipe, train=train, validation=validation, members=seeds), test


def trained(events, network, *, seeds, epochs, every):
    """Scores of test jets by the best epoch of each network, and their labels."""
    given, test = population(events, network, seeds=seeds, every=every)
    rates = {"learning_rate": np.full(seeds, RATE, np.float32)}
    print(f"    {len(given.train.label)} training jets; AUC of validation jets by epoch", end="")
    state = given.init(rates)
    for after, record in given.train_epochs(state, rates, range(epochs)):
        state = after
        print(f" {np.mean(record.score):.4f}", end="", flush=True)
    print(f"\n    AUC of validation jets {np.mean(state.best.score):.4f} at best")
    return np.asarray(given.scores(state.best, test.features)), test.label == 1


def rejection(scores, label, efficiency):
    """Jets of quarks and gluons for each one that passes, where this share of the signal does."""
    threshold = np.quantile(scores[label], 1 - efficiency)
    return (~label).sum() / max((scores[~label] >= threshold).sum(), 1)


# %% Pictures
def jets_of(file, names, most=None):
    """Branches of the jets of each kind that the file has."""
    with uproot.open(file) as trees:
        return {
            kind: trees[kind].arrays(list(names), entry_stop=most, library="np")
            for kind in NAMES
            if kind in trees
        }


def draw_jets(path, file, most):
    """A jet of each kind, and the mean of many."""
    names = ("mass", "tau21", "constituent_pt", "constituent_eta", "constituent_phi")
    jets = jets_of(file, names, most)
    size = (1 + 3.2 * len(jets), 7)
    figure, axes = plt.subplots(2, len(jets), figsize=size, layout="constrained")
    edges = np.linspace(-0.8, 0.8, 41)
    for (kind, branches), (above, below) in zip(jets.items(), axes.T, strict=True):
        mass, tau, pt, eta, phi = (branches[name] for name in names)
        # In the order of their making the first one that is typical of its kind.
        typical = (np.abs(mass - np.median(mass)) < 3) & (np.abs(tau - np.median(tau)) < 0.05)
        one = np.flatnonzero(typical)[0]
        share = pt[one] / pt[one].sum()
        above.scatter(
            eta[one] / 100,
            phi[one] / 100,
            s=1200 * share,
            alpha=0.6,
            color=KIND_COLORS[kind],
            linewidth=0,
        )
        above.add_patch(plt.Circle((0, 0), 0.8, fill=False, color="black", linewidth=0.8))
        above.set_title(
            f"{NAMES[kind]}\n{mass[one]:.0f} GeV, {len(share)} constituents", fontsize=11
        )
        shares = np.concatenate([each / each.sum() for each in pt])
        places = (np.concatenate(eta) / 100, np.concatenate(phi) / 100)
        image = np.histogram2d(*places, (edges, edges), weights=shares)[0] / len(mass)
        drawn = below.pcolormesh(edges, edges, image.T, norm=LogNorm(1e-5, 0.1), cmap="Blues")
        below.set_title(f"mean of {len(mass)} jets", fontsize=11)
        for place in (above, below):
            place.set(xlim=(-0.85, 0.85), ylim=(-0.85, 0.85), aspect="equal")
            place.set_xlabel(r"$\Delta\eta$", fontsize=12)
            place.set_ylabel(r"$\Delta\phi$", fontsize=12)
    figure.colorbar(drawn, ax=axes[1], label="Share of the momentum")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_features(path, file):
    """How mass, number of constituents and ratios of subjettiness are distributed."""
    shown = {
        "mass": ("Mass [GeV]", np.linspace(0, 250, 51)),
        "multiplicity": ("Constituents", np.linspace(0, 120, 41)),
        "tau21": (r"$\tau_{21}$", np.linspace(0, 1.2, 49)),
        "tau32": (r"$\tau_{32}$", np.linspace(0, 1.2, 49)),
    }
    figure, axes = plt.subplots(2, 2, figsize=(9, 6.4), layout="constrained")
    for kind, values in jets_of(file, shown).items():
        for axis, (branch, (_, edges)) in zip(axes.flat, shown.items(), strict=True):
            counts = np.histogram(values[branch], edges)[0] / len(values[branch])
            axis.stairs(counts, edges, color=KIND_COLORS[kind], label=NAMES[kind], linewidth=1.5)
    for axis, (label, edges) in zip(axes.flat, shown.values(), strict=True):
        axis.set(xlim=(edges[0], edges[-1]), ylim=(0, None))
        axis.set_xlabel(label, fontsize=12)
        axis.set_ylabel("Share of jets", fontsize=12)
    axes[0, 0].legend(frameon=False, fontsize=11)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_curves(path, found, signal):
    """Rejection of jets of quarks and gluons at each efficiency, of the seeds one by one."""
    figure, axis = plt.subplots(figsize=(7, 5.4), layout="constrained")
    for name, (scores, label) in found.items():
        for number, one in enumerate(scores):
            order = np.argsort(-one)
            passed = np.cumsum(label[order]) / label.sum()
            faked = np.cumsum(~label[order])
            seen = faked >= 10  # below it is a matter of single jets
            axis.plot(
                *(passed[seen], (~label).sum() / faked[seen]),
                color=NETWORKS[name].color,
                linewidth=1,
                label=None if number else name,
            )
    for efficiency in EFFICIENCIES:
        axis.axvline(efficiency, color="black", linewidth=0.6, linestyle=":")
    axis.set(yscale="log", xlim=(0, 1), ylim=(1, None))
    axis.set_xlabel(f"Efficiency for jets of a {NAMES[signal]}", fontsize=12)
    axis.set_ylabel("Jets of quarks and gluons over those that pass", fontsize=12)
    axis.legend(frameon=False, fontsize=10)
    figure.savefig(path, dpi=110)
    plt.close(figure)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, default=FILE, help="jets, of generate.py")
    parser.add_argument("--signal", choices=("top", "w"), default="top")
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=ALONE)
    parser.add_argument("--epochs", type=int, nargs="+", help="of each network, for its own")
    parser.add_argument("--every", type=int, default=1, help="train on every so many-th jet only")
    parser.add_argument("--quick", action="store_true", help="few jets, short trainings: it works")
    parser.add_argument("--output", type=Path, help="folder for pictures")
    options = parser.parse_args()
    lengths = options.epochs or [NETWORKS[name].epochs for name in options.networks]
    if len(lengths) != len(options.networks) or min(lengths) < 1:
        parser.error(f"--epochs {lengths}: give one number for each of {options.networks}")
    dt.use_cpu_cores()
    seeds, most = (2, 12) if options.quick else (3, 80)
    selection = "event_number % 1000 < 25" if options.quick else None
    found = {}
    for name, length in zip(options.networks, lengths, strict=True):
        network = NETWORKS[name]
        print(name, flush=True)
        started = time.process_time()
        events = read(options.file, options.signal, network, most=most, selection=selection)
        epochs = 1 if options.quick else length
        scores, label = trained(events, network, seeds=seeds, epochs=epochs, every=options.every)
        found[name] = scores, label
        spent = (time.process_time() - started) / seeds
        each = [auc(one, np.ones(len(label)), label).value for one in scores]
        print(f"    AUC {np.mean(each):.4f} ± {np.std(each, ddof=1):.4f} over {seeds} seeds")
        print(f"    CPU time of one {spent:.0f} s")
        for efficiency in EFFICIENCIES:
            each = [rejection(one, label, efficiency) for one in scores]
            spread = np.std(each, ddof=1)
            print(f"    rejection at {efficiency:.0%} {np.mean(each):.0f} ± {spread:.0f}")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        draw_jets(options.output / "jets.png", options.file, 200 if options.quick else 5000)
        draw_features(options.output / "features.png", options.file)
        draw_curves(options.output / f"roc_{options.signal}.png", found, options.signal)

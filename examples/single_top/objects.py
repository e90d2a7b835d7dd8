"""Does a network on lepton, missing momentum and jets match one on the 30 features of the sample?

    python examples/single_top/objects.py [--networks "30 features" ...] [--quick] [--output pictures]

Each kind of network has the same search, of about as much CPU time, with each seed. What is chosen
by validation events is fitted on test events with all uncertainties of `single_top.toml`. What is
printed is σ(μ) and the area under the ROC curve on test events, with their spread over the seeds.
"""

# %% Set up
import argparse
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import uproot

import difftune as dt
from difftune.analysis import FIGURES, Split
from difftune.binning import EqualSignal
from difftune.histfactory import Luminosity, NormalisationUncertainty
from difftune.histograms import auc
from difftune.search import PBT

HERE = Path(__file__).parent
FILE, OBJECTS = HERE / "single_top.root", HERE / "single_top_objects.root"
JOB = tomllib.loads((HERE / "single_top.toml").read_text())
ANGLES = {"cos_phi": "cos({phi})", "sin_phi": "sin({phi})"}
JETS = {
    "pt": "jets.pt",
    "eta": "jets.eta",
    "phi": "jets.phi",
    "mass": "jets.mass",
    "btag": "jets.btag",
    "log_pt": "log(jets.pt)",
} | {name: how.format(phi="jets.phi") for name, how in ANGLES.items()}
# The lepton is where azimuths count from.
LEPTON = {
    "pt": "[lepton_pt]",
    "eta": "[lepton_eta]",
    "phi": "[0 * lepton_pt]",
    "charge": "[lepton_charge]",
    "log_pt": "[log(lepton_pt)]",
}
MET = {
    "pt": "[met]",
    "eta": "[0 * met]",
    "phi": "[met_phi]",
    "log_pt": "[log(met)]",
} | {name: f"[{how.format(phi='met_phi')}]" for name, how in ANGLES.items()}
OTHERS = [
    "lepton_pt",
    "lepton_eta",
    "lepton_charge",
    "met",
    *(how.format(phi="met_phi") for how in ANGLES.values()),
]
SPACE = {
    "learning_rate": dt.log_uniform(5e-4, 1e-2),
    "dropout": dt.uniform(0.0, 0.4),
    "l2": dt.log_uniform(1e-7, 1e-3),
    "signal_weight": dt.uniform(0.5, 2.0),
}


@dataclass(frozen=True, kw_only=True)
class Contestant:
    """A network, and what it sees of an event.

    Attributes:
        model: The network.
        color: In pictures.
        features: One number each.
        objects: Branches of collections, by name.
    """

    model: dt.models.Architecture
    color: str
    features: list[str]
    objects: dict[str, dict[str, str]]


_SET = dt.models.DeepSet(each=(48,), latent=48, hidden=(64, 64))
_ATTENTION = dt.models.ParticleTransformer(
    width=16, blocks=1, heads=2, head_size=8, pairs=8, hidden=(64,)
)
_HAND_MADE = JOB["data"]["features"]
NETWORKS = {
    "30 features": Contestant(
        model=dt.models.MLP(hidden=(128, 128)),
        color="#000000",
        features=_HAND_MADE,
        objects={},
    ),
    "deep set": Contestant(model=_SET, color="#3f90da", features=OTHERS, objects={"jets": JETS}),
    "deep set and 30 features": Contestant(
        model=_SET,
        color="#ffa90e",
        features=_HAND_MADE + OTHERS[4:],
        objects={"jets": JETS},
    ),
    "transformer": Contestant(
        model=_ATTENTION,
        color="#bd1f01",
        features=[],
        objects={"lepton": LEPTON, "met": MET, "jets": JETS},
    ),
}

DEFAULT = list(NETWORKS)[:3]  # the transformer takes ten times as long for an epoch


# %% Events
def read(network, *, varied, one_in=1):
    """Events as a network sees them; with or without uncertainties."""
    roles = {each["name"]: each.get("role", "background") for each in JOB["samples"]}
    variations = []
    for each in JOB["systematics"] if varied else ():
        if each["type"] == "weight":
            variations.append(dt.WeightVariation(each["name"], up=each["up"], down=each["down"]))
        if each["type"] == "tree":
            variations.append(dt.TreeVariation(each["name"], up=each["up"], down=each["down"]))
    return dt.read(
        FILE,
        processes=[dt.Process(name=name, role=role, tree=name) for name, role in roles.items()],
        features=network.features,
        objects={
            name: dt.Objects(branches=branches, max=6 if name == "jets" else 1)
            for name, branches in network.objects.items()
        },
        friends=dt.Friend(files=OBJECTS, tree="{tree}", key=["event_number"]),
        weight="weight",
        event_number="event_number",
        missing=JOB["data"]["missing"],
        folds=JOB["data"]["folds"],
        variations=variations,
        # Folds are those of the number by five.
        selection=f"event_number % {5 * one_in} < 5",
    )


def uncertainties():
    """Those of the analysis file that are no variations of events."""
    fit = JOB["fit"]
    return {
        "luminosity": Luminosity(fit["luminosity_uncertainty"]),
        "normalisation": [
            NormalisationUncertainty(each["name"], each["up"], processes=tuple(each["samples"]))
            for each in JOB["systematics"]
            if each["type"] == "normalisation"
        ],
    }


# %% Training
def search(events, network, *, rounds, members=4, **more):
    """Population-based training of so many rounds of one epoch."""
    return dt.tune(
        events,
        model=network.model,
        batch_size=512,
        space=SPACE,
        search=PBT(population=members, rounds=rounds, epochs_per_round=1),
        **more,
    )


def rounds_within(seconds, events, network):
    """How many rounds take so many seconds of CPU time, by the second one of a short search."""
    ends = []
    search(events, network, rounds=2, on_round=lambda _: ends.append(time.process_time()))
    return max(2, round(seconds / (ends[1] - ends[0])))


def judged(name, seed, *, rounds, nominal, varied, quick=False):
    """σ(μ) and the area under the curve on test events, and their scores."""
    began = time.process_time()
    members = 2 if quick else 4
    found = search(nominal, NETWORKS[name], rounds=rounds, members=members, seed=seed)
    spent = time.process_time() - began
    result = dt.measure(
        found,
        varied,
        figure=FIGURES["precision"],
        binning=EqualSignal(bins=4 if quick else JOB["fit"]["bins"]),
        **uncertainties(),
    )
    test = varied.test
    score = np.asarray(found.network.score(test))
    area = auc(score, test.weight, test.label == 1).value
    print(
        f"{name}, seed {seed}: σ(μ) = {result.value:.4f}, AUC {area:.4f}, {rounds} rounds, "
        f"{spent:.0f} CPU-s",
        flush=True,
    )
    return result.value, area, score


# %% Pictures
def draw_events(path):
    """A typical event of each process in pseudorapidity and azimuth."""
    figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
    titles = JOB["general"]["titles"]
    for axis, name in zip(axes, ("tchannel", "ttbar", "wjets"), strict=True):
        flat = {"lepton_pt", "lepton_eta", "met", "n_jets", "lightjet_abs_eta", "top_mass"}
        with uproot.open(FILE) as file:
            values = file[name].arrays(sorted(flat), entry_stop=3000, library="np")
        with uproot.open(OBJECTS) as file:
            objects = file[name].arrays(["jets", "met_phi"], entry_stop=3000)
        # The first one that is near the medians of its process.
        near = values["n_jets"] == np.median(values["n_jets"])
        for feature, within in (("lightjet_abs_eta", 0.3), ("top_mass", 10), ("met", 15)):
            near &= np.abs(values[feature] - np.median(values[feature])) < within
        one = np.flatnonzero(near)[0]
        jets, met_phi = objects["jets"][one], objects["met_phi"][one]
        for jet in ak.to_list(jets):
            color = "#bd1f01" if jet["btag"] else "#3f90da"
            axis.add_patch(
                plt.Circle((jet["eta"], jet["phi"]), 0.4, facecolor=color, alpha=0.35, linewidth=0)
            )
            axis.text(jet["eta"], jet["phi"], f"{jet['pt']:.0f}", ha="center", va="center")
        axis.plot(values["lepton_eta"][one], 0, "*", color="black", markersize=14)
        axis.text(values["lepton_eta"][one], 0.3, f"{values['lepton_pt'][one]:.0f}", ha="center")
        axis.axhline(met_phi, color="#832db6", linestyle="--")
        axis.text(-4.4, met_phi + 0.1, f"missing, {values['met'][one]:.0f}", color="#832db6")
        axis.set(xlim=(-4.6, 4.6), ylim=(-3.5, 3.5), aspect="equal")
        axis.set(xlabel=r"$\eta$", title=titles[name])
    axes[0].set_ylabel(r"$\phi$ from the lepton")
    figure.savefig(path, dpi=110)
    plt.close(figure)


def draw_results(path, sigma, curves):
    """σ(μ) of each seed, and ROC curves."""
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, 4.4), layout="constrained", width_ratios=(1.2, 1)
    )
    for row, (name, values) in enumerate(sigma.items()):
        color = NETWORKS[name].color
        left.plot(values, np.full(len(values), row), "o", color=color, alpha=0.6)
        left.plot(np.mean(values), row, "|", color=color, markersize=24, markeredgewidth=2)
    left.set_yticks(range(len(sigma)), list(sigma))
    left.set(xlabel=r"$\sigma(\mu)$ on test events", ylim=(len(sigma) - 0.5, -0.5))
    for name, (score, test) in curves.items():
        order = np.argsort(-score)
        weight, signal = np.asarray(test.weight, float)[order], np.asarray(test.label)[order] == 1
        fake, passed = (np.cumsum(weight * each) / weight[each].sum() for each in (~signal, signal))
        right.plot(passed, 1 / np.maximum(fake, 1e-6), color=NETWORKS[name].color, label=name)
    right.set(yscale="log", xlim=(0.1, 1), ylim=(1, 300))
    right.set(xlabel="Efficiency for the signal", ylabel="Background over what passes")
    right.legend(frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


# %% All of it
def main(options):
    dt.use_cpu_cores()
    one_in = 40 if options.quick else 1
    sigma, curves = {}, {}
    for name in options.networks:
        nominal, varied = (
            Split(events=read(NETWORKS[name], varied=each, one_in=one_in)) for each in (False, True)
        )
        rounds = 1 if options.quick else rounds_within(options.seconds, nominal, NETWORKS[name])
        each = [
            judged(name, seed, rounds=rounds, nominal=nominal, varied=varied, quick=options.quick)
            for seed in options.seeds
        ]
        sigma[name], areas, scores = zip(*each, strict=True)
        curves[name] = scores[-1], varied.test
        for what, values in (("σ(μ)", sigma[name]), ("AUC", areas)):
            if len(values) > 1:
                print(f"{name}: {what} {np.mean(values):.4f} ± {np.std(values, ddof=1):.4f}")
    if options.output:
        options.output.mkdir(parents=True, exist_ok=True)
        draw_events(options.output / "events.png")
        draw_results(options.output / "networks.png", sigma, curves)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", choices=NETWORKS, default=DEFAULT)
    parser.add_argument("--seeds", nargs="+", type=int, default=[1, 2, 3])
    parser.add_argument("--seconds", type=float, default=20.0, help="of CPU time of each search")
    parser.add_argument(
        "--quick", action="store_true", help="two networks, few events, one epoch: it works"
    )
    parser.add_argument("--output", type=Path, help="folder for pictures")
    given = parser.parse_args()
    if given.quick:
        given.seeds, given.networks = given.seeds[:1], given.networks[:2]
    main(given)

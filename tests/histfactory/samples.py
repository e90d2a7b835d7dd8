"""Templates for the tests of workspaces and fits: made up, from cabinetry's tutorial, from AGC."""

import json
from pathlib import Path

import numpy as np
import uproot

from difftune.histfactory import (
    FreeNormalisation,
    Luminosity,
    NormalisationUncertainty,
    build_workspace,
)
from difftune.histograms import Histogram, Template, Templates, histogram, symmetrised
from tests import shared_data


def large(
    *, bins: int = 15, processes: int = 5, systematics: int = 10, scale: float = 1.0
) -> Templates:
    """A peaking signal on falling backgrounds, with up to `scale` * 1e6 events a bin."""
    rng = np.random.default_rng(0)
    edges = np.linspace(0, 1, bins + 1)
    x = (edges[1:] + edges[:-1]) / 2
    found = {}
    for p in range(processes):
        y = 2000 * np.exp(3 * (x - 1)) if p == 0 else 1e6 / p**2 * np.exp(-(4 + p) * x)
        nominal = Histogram(edges, scale * y, scale * y / 20)
        variations = {}
        for k in range(systematics):
            tilt = rng.normal(0, 0.05 if k % 2 else 0.02) + rng.normal(0, 0.04) * (x - 0.3)
            up, down = (
                Histogram(edges, nominal.sumw * (1 + sign * tilt), nominal.sumw2)
                for sign in (1, -1)
            )
            variations[f"syst{k}"] = (up, symmetrised(nominal, up) if k % 3 == 2 else down)
        found["signal" if p == 0 else f"background{p}"] = Template(nominal, variations)
    return Templates(channel="SR", edges=edges, processes=found, signal=("signal",))


def large_workspace(**options) -> dict:
    """A workspace of `large` templates with every type of modifier."""
    templates = large(**options)
    others = [name for name in templates.names("background") if name != "background1"]
    return build_workspace(
        [templates],
        normalisation=[NormalisationUncertainty(f"xs_{n}", 0.06, None, (n,)) for n in others],
        luminosity=Luminosity(0.017),
        free=[FreeNormalisation("norm1", ("background1",))],
    )


def toy_trees() -> dict[str, dict[str, np.ndarray]]:
    """The trees of cabinetry's tutorial, its selection applied."""
    trees = {}
    for file, names in (
        ("prediction", ("signal", "background", "background_varied")),
        ("data", ("pseudodata",)),
    ):
        with uproot.open(shared_data.path(f"events/cabinetry_toy_{file}.root")) as opened:
            for name in names:
                columns = opened[name].arrays(library="np")
                chosen = columns["lep_charge"] > 0
                inside = (columns["jet_pt"] >= 200) & (columns["jet_pt"] < 600)
                trees[name] = {key: array[chosen & inside] for key, array in columns.items()}
    return trees


TOY_EDGES = np.array([200.0, 300.0, 400.0, 500.0, 600.0])


def toy() -> Templates:
    """Templates of cabinetry's tutorial."""
    trees = toy_trees()

    def filled(tree: str, weight: str | float) -> Histogram:
        columns = trees[tree]
        weights = columns[weight] if isinstance(weight, str) else np.ones(len(columns["jet_pt"]))
        return histogram(columns["jet_pt"], weights, TOY_EDGES)

    nominal, up = filled("background", "weight"), filled("background_varied", "weight")
    return Templates(
        channel="Signal_region",
        edges=TOY_EDGES,
        processes={
            "Signal": Template(filled("signal", "weight")),
            "Background": Template(
                nominal,
                {
                    "Modeling": (up, symmetrised(nominal, up)),
                    "Weights": (
                        filled("background", "weight_up"),
                        filled("background", "weight_down"),
                    ),
                },
            ),
        },
        signal=("Signal",),
        data=filled("pseudodata", 1.0),
    )


def toy_workspace() -> dict:
    """The workspace that cabinetry's tutorial makes of them."""
    return build_workspace(
        [toy()],
        poi="Signal_norm",
        normalisation=[NormalisationUncertainty("Luminosity", 0.05)],
    )


def toy_cabinetry_config(folder: Path) -> dict:
    """cabinetry's configuration of the same."""
    return {
        "General": {
            "Measurement": "difftune",
            "POI": "Signal_norm",
            "InputPath": str(shared_data.path("events") / "cabinetry_toy_{SamplePath}.root"),
            "HistogramFolder": str(folder),
        },
        "Regions": [
            {
                "Name": "Signal_region",
                "Variable": "jet_pt",
                "Filter": "(lep_charge > 0) & (jet_pt >= 200) & (jet_pt < 600)",
                "Binning": TOY_EDGES.tolist(),
            }
        ],
        "Samples": [
            {"Name": "Data", "Tree": "pseudodata", "SamplePath": "data", "Data": True},
            {
                "Name": "Signal",
                "Tree": "signal",
                "SamplePath": "prediction",
                "Weight": "weight",
            },
            {
                "Name": "Background",
                "Tree": "background",
                "SamplePath": "prediction",
                "Weight": "weight",
            },
        ],
        "Systematics": [
            {
                "Name": "Luminosity",
                "Up": {"Normalization": 0.05},
                "Down": {"Normalization": -0.05},
                "Type": "Normalization",
            },
            {
                "Name": "Modeling",
                "Up": {"Tree": "background_varied"},
                "Down": {"Symmetrize": True},
                "Samples": "Background",
                "Type": "NormPlusShape",
            },
            {
                "Name": "Weights",
                "Up": {"Weight": "weight_up"},
                "Down": {"Weight": "weight_down"},
                "Samples": "Background",
                "Type": "NormPlusShape",
            },
        ],
        "NormFactors": [
            {"Name": "Signal_norm", "Samples": "Signal", "Nominal": 1, "Bounds": [0, 10]}
        ],
    }


def agc() -> list[Templates]:
    """The two regions of the Analysis Grand Challenge, rebinned, with ttbar as signal."""
    content = json.loads(shared_data.path("events/agc_ttbar_histograms.json").read_text())
    processes = ("ttbar", "single_top_s_chan", "single_top_t_chan", "single_top_tW", "wjets")

    def read(name: str) -> Histogram | None:
        if name not in content:
            return None
        values = np.array(content[name]["contents"])[1:]
        edges = np.array(content[name]["edges"])[3:]
        # From 110 GeV, as in the analysis; the overflow belongs to the last bin.
        values = np.append(values[3:-2], values[-2:].sum())
        return Histogram(edges, values, np.abs(values))

    regions = []
    for region in ("4j1b", "4j2b"):
        found = {}
        for process in processes:
            nominal = read(f"{region}_{process}")
            variations = {}
            for name in (*(f"btag_var_{i}" for i in range(4)), "pt_scale", "pt_res"):
                up = read(f"{region}_{process}_{name}_up")
                down = read(f"{region}_{process}_{name}_down")
                variations[name] = (up, symmetrised(nominal, up) if down is None else down)
            if process == "ttbar":
                for name in ("ME_var", "PS_var"):
                    up = read(f"{region}_{process}_{name}")
                    variations[name] = (up, symmetrised(nominal, up))
                variations["scale"] = tuple(
                    read(f"{region}_ttbar_scale{side}") for side in ("up", "down")
                )
            found[process] = Template(nominal, variations)
        data = read(f"{region}_pseudodata")
        regions.append(
            Templates(
                channel=region,
                edges=data.edges,
                processes=found,
                signal=("ttbar",),
                data=data,
            )
        )
    return regions

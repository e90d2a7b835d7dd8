"""Likelihoods. Needs numpy alone: what a user imports first is measured."""

from pathlib import Path

import numpy as np

from benchmarks.common.running import ROOT

FOLDER = ROOT.parent / "shared" / "data" / "workspaces"

LARGE = ("ttZ_4l", "ttbar_ljets_xsec", "susy-2019-08_1Lbb_C1N2_Wh_hbb_900_250")
"""Published ones with many parameters."""


def workspace(name: str) -> Path:
    """The file of a published one, which may not be on this machine."""
    return FOLDER / f"{name}.json"


def medium(*, norms: int = 10, shapes: int = 15) -> dict:
    """One of 3 channels with 10 bins, 4 samples and 57 parameters, or fewer."""
    draw = np.random.default_rng(57)
    shape = np.linspace(1, 2, 10)
    channels, observations = [], []
    for channel, size in (("CR_ttbar", 900.0), ("CR_Wjets", 500.0), ("SR", 120.0)):
        samples = []
        for sample, share in (("signal", 0.06), ("ttbar", 0.5), ("Wjets", 0.3), ("other", 0.2)):
            tilt = shape if sample == "signal" else shape[::-1]
            small = 0.1 if sample == "signal" and channel != "SR" else 1.0
            nominal = small * share * size / 10 * tilt * draw.uniform(0.9, 1.1, 10)
            errors = (0.03 * nominal * draw.uniform(0.8, 1.2, 10)).tolist()
            modifiers: list[dict] = [
                {"name": "lumi", "type": "lumi", "data": None},
                {"name": f"staterror_{channel}", "type": "staterror", "data": errors},
            ]
            if sample == "signal":
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            for number in range(norms):
                up, down = 1 + draw.normal(0, 0.03), 1 + draw.normal(0, 0.03)
                factors = {"hi": float(up), "lo": float(down)}
                modifiers.append({"name": f"norm_{number}", "type": "normsys", "data": factors})
            for number in range(shapes):
                high = nominal * (1 + draw.normal(0, 0.02, 10))
                low = nominal * (1 + draw.normal(0, 0.02, 10))
                data = {"hi_data": high.tolist(), "lo_data": low.tolist()}
                modifiers.append({"name": f"shape_{number}", "type": "histosys", "data": data})
            samples.append({"name": sample, "data": nominal.tolist(), "modifiers": modifiers})
        channels.append({"name": channel, "samples": samples})
        background = np.sum([s["data"] for s in samples if s["name"] != "signal"], axis=0)
        counts = draw.poisson(background).astype(float).tolist()
        observations.append({"name": channel, "data": counts})
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0]}
    config = {"poi": "mu", "parameters": [lumi | {"bounds": [[0.8, 1.2]]}]}
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "medium", "config": config}],
        "version": "1.0.0",
    }

"""Likelihoods. Needs numpy alone: what a user imports first is measured."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common.running import ROOT

FOLDER = ROOT.parent / "shared" / "data" / "workspaces"

LARGE = ("ttZ_4l", "ttbar_ljets_xsec", "susy-2019-08_1Lbb_C1N2_Wh_hbb_900_250")
"""Published ones with many parameters."""
MEDIUM = "57 parameters"


def workspace(name: str) -> Path:
    """The file of a published one, which may not be on this machine."""
    return FOLDER / f"{name}.json"


def spec_of(name: str) -> dict:
    """The content of a published one, or of our own."""
    return medium() if name == MEDIUM else json.loads(workspace(name).read_text())


def medium(*, norms: int = 10, shapes: int = 15) -> dict:
    """One of 3 channels with 10 bins, 4 samples and 57 parameters, or fewer."""
    draw = np.random.default_rng(57)
    shape = np.linspace(1, 2, 10)
    channels, counts = [], []
    for channel, size in (("CR_ttbar", 900.0), ("CR_Wjets", 500.0), ("SR", 120.0)):
        samples = []
        for sample, share in (("signal", 0.06), ("ttbar", 0.5), ("Wjets", 0.3), ("other", 0.2)):
            tilt = shape if sample == "signal" else shape[::-1]
            small = 0.1 if sample == "signal" and channel != "SR" else 1.0
            nominal = small * share * size / 10 * tilt * draw.uniform(0.9, 1.1, 10)
            errors = (0.03 * nominal * draw.uniform(0.8, 1.2, 10)).tolist()
            statistics = _modifier("staterror", f"staterror_{channel}", errors)
            modifiers = [_modifier("lumi", "lumi"), statistics]
            if sample == "signal":
                modifiers.append(_modifier("normfactor", "mu"))
            for number in range(norms):
                up, down = 1 + draw.normal(0, 0.03), 1 + draw.normal(0, 0.03)
                modifiers.append(_sides("normsys", f"norm_{number}", float(up), float(down)))
            for number in range(shapes):
                up, down = (nominal * (1 + draw.normal(0, 0.02, 10)) for _ in range(2))
                modifiers.append(_sides("histosys", f"shape_{number}", up.tolist(), down.tolist()))
            samples.append({"name": sample, "data": nominal.tolist(), "modifiers": modifiers})
        channels.append({"name": channel, "samples": samples})
        counts.append(draw.poisson(_background(channels[-1])))
    lumi = {"name": "lumi", "auxdata": [1.0], "sigmas": [0.02], "inits": [1.0]}
    return _workspace(channels, counts, lumi | {"bounds": [[0.8, 1.2]]})


def sparse(channels: int, systematics: int, bins=10, *, every=10, staterror=False) -> dict:
    """A workspace whose systematics, half of them of the shape, each change few of the channels.

    A channel has a signal and three backgrounds, of which a systematic changes one in one of
    `every` channels; with `staterror` each bin has a parameter for the statistics of these.
    """
    draw = np.random.default_rng(1)
    slope = np.linspace(-1.0, 1.0, bins)
    mu = _modifier("normfactor", "mu")
    contents = []
    for number in range(channels):
        samples = [{"name": "signal", "data": (5 + 4 * slope).tolist(), "modifiers": [mu]}]
        for name, size in (("a", 200.0), ("b", 100.0), ("c", 50.0)):
            yields = size * (1.5 - slope) * draw.uniform(0.9, 1.1, bins)
            errors = (0.02 * yields).tolist()
            modifiers = [_modifier("staterror", f"stat_{number}", errors)] if staterror else []
            for k in range(systematics):
                if (k + number) % every or "abc"[k % 3] != name:
                    continue
                effect = draw.uniform(0.01, 0.05)
                if k % 2:
                    modifiers.append(_sides("normsys", f"norm_{k}", 1 + effect, 1 - effect))
                else:
                    sides = ((yields * (1 + s * effect * slope)).tolist() for s in (1, -1))
                    modifiers.append(_sides("histosys", f"shape_{k}", *sides))
            samples.append({"name": name, "data": yields.tolist(), "modifiers": modifiers})
        contents.append({"name": f"channel_{number}", "samples": samples})
    return _workspace(contents, [draw.poisson(_background(each)) for each in contents])


def _modifier(kind: str, name: str, data: Any = None) -> dict:
    return {"type": kind, "name": name, "data": data}


def _sides(kind: str, name: str, up: Any, down: Any) -> dict:
    names = ("hi", "lo") if kind == "normsys" else ("hi_data", "lo_data")
    return _modifier(kind, name, dict(zip(names, (up, down), strict=True)))


def _background(channel: dict) -> np.ndarray:
    return np.sum([s["data"] for s in channel["samples"] if s["name"] != "signal"], axis=0)


def _workspace(channels: list[dict], counts: list[np.ndarray], *parameters: dict) -> dict:
    return {
        "channels": channels,
        "observations": [
            {"name": channel["name"], "data": own.astype(float).tolist()}
            for channel, own in zip(channels, counts, strict=True)
        ],
        "measurements": [{"name": "made", "config": {"poi": "mu", "parameters": list(parameters)}}],
        "version": "1.0.0",
    }

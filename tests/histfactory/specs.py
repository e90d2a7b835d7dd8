"""Hand-made specs: one with every type of modifier, and small ones for the corners of pyhf."""

import copy
from typing import Any

LUMI = {
    "name": "lumi",
    "auxdata": [1.0],
    "sigmas": [0.02],
    "inits": [1.0],
    "bounds": [[0.5, 1.5]],
}


def modifier(kind: str, name: str, data: Any = None) -> dict:
    return {"type": kind, "name": name, "data": data}


def sample(name: str, data: list[float], *modifiers: dict) -> dict:
    return {"name": name, "data": data, "modifiers": list(modifiers)}


def channel(name: str, *samples: dict) -> dict:
    return {"name": name, "samples": list(samples)}


def factors(name: str, up: float, down: float) -> dict:
    return modifier("normsys", name, {"hi": up, "lo": down})


def templates(name: str, up: list[float], down: list[float]) -> dict:
    return modifier("histosys", name, {"hi_data": up, "lo_data": down})


MU = modifier("normfactor", "mu")


def workspace(channels: list[dict], *parameters: dict, poi: str = "mu") -> dict:
    """A workspace with one measurement, and observations near the expectation."""
    observations = [
        {
            "name": c["name"],
            "data": [
                round(1.1 * sum(y)) for y in zip(*(s["data"] for s in c["samples"]), strict=True)
            ],
        }
        for c in channels
    ]
    config = {"poi": poi, "parameters": list(parameters)}
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "first", "config": config}],
        "version": "1.0.0",
    }


def everything() -> dict:
    """Every type of modifier; channels and samples are not in the order of their names."""
    return workspace(
        [
            channel(
                "SR",
                sample(
                    "ttbar",
                    [52.0, 31.0, 12.0],
                    modifier("staterror", "stat_SR", [2.5, 1.5, 0.9]),
                    factors("jes", 1.08, 0.95),
                    templates("jes", [55.0, 34.0, 12.5], [49.0, 29.0, 11.0]),
                    factors("xs_ttbar", 1.06, 0.93),
                    modifier("lumi", "lumi"),
                ),
                sample(
                    "signal",
                    [2.0, 6.0, 9.0],
                    MU,
                    modifier("lumi", "lumi"),
                    modifier("staterror", "stat_SR", [0.2, 0.4, 0.7]),
                    templates("jes", [2.1, 6.6, 9.5], [1.9, 5.8, 8.1]),
                    factors("pdf", 7.5, 0.3),
                ),
                sample(
                    "fakes",
                    [8.0, 3.0, 1.5],
                    modifier("shapesys", "fakes_SR", [2.0, 1.0, 0.7]),
                    modifier("shapefactor", "fakes_shape"),
                ),
            ),
            channel(
                "CR",
                sample(
                    "ttbar",
                    [310.0, 205.0],
                    factors("jes", 1.03, 0.99),
                    templates("jes", [316.0, 215.0], [305.0, 197.0]),
                    templates("tune", [320.0, 190.0], [303.0, 214.0]),
                    modifier("normfactor", "norm_ttbar"),
                    modifier("staterror", "stat_CR", [9.0, 6.0]),
                ),
                sample(
                    "fakes",
                    [40.0, 25.0],
                    modifier("shapesys", "fakes_CR", [7.0, 4.0]),
                    modifier("normfactor", "norm_fakes"),
                ),
            ),
        ],
        copy.deepcopy(LUMI),
        {"name": "norm_ttbar", "inits": [1.05], "bounds": [[0.2, 3.0]]},
        {"name": "pdf", "auxdata": [0.2], "inits": [0.1]},
    )


def _shared_shapefactor() -> dict:
    shape = modifier("shapefactor", "shape")
    return workspace(
        [
            channel("C", sample("s", [1.0, 2.0], MU), sample("b", [9.0, 7.0], shape)),
            channel("A", sample("b", [50.0, 40.0, 30.0], shape), sample("q", [3.0, 4.0, 5.0])),
            channel("B", sample("q", [5.0], shape), sample("s", [1.0], MU, shape)),
        ]
    )


def _shapesys_with_zeros() -> dict:
    return workspace(
        [
            channel(
                "SR",
                sample("s", [1.0, 2.0, 0.5], MU),
                sample("b", [10.0, 0.0, 4.0], modifier("shapesys", "b", [2.0, 0.5, 0.0])),
                sample("a", [3.0, 6.0, 2.0], modifier("shapesys", "a", [1.0, 2.0, 0.3])),
            )
        ]
    )


def _shared_staterror() -> dict:
    """Over two samples and two channels, with bins of no uncertainty and of no yield."""
    stat = "stat"
    return workspace(
        [
            channel(
                "Z",
                sample("b", [20.0, 10.0, 4.0], modifier("staterror", stat, [2.0, 0.0, 0.5])),
                sample("s", [3.0, 2.0, 1.0], MU),
                sample("c", [8.0, 5.0, 2.0], modifier("staterror", stat, [1.0, 0.0, 0.0])),
            ),
            channel(
                "A",
                sample("c", [7.0, 0.0], modifier("staterror", stat, [1.0, 0.2])),
                sample("b", [12.0, 0.0], modifier("staterror", stat, [1.5, 0.1])),
                sample("a", [1.0, 2.0], modifier("staterror", "stat_a", [0.5, 0.6]), MU),
            ),
        ]
    )


def _overrides() -> dict:
    spec = everything()
    spec["measurements"][0]["config"]["parameters"] = [
        LUMI | {"auxdata": [1.02], "sigmas": [0.05], "fixed": True},
        {"name": "mu", "inits": [0.4], "bounds": [[-1.0, 4.0]], "fixed": True},
        {"name": "jes", "auxdata": [-0.3], "bounds": [[-2.0, 2.5]]},
        {"name": "stat_SR", "auxdata": [1.1, 0.9, 1.0], "sigmas": [0.3, 0.2, 0.1]},
        {"name": "stat_CR", "inits": [1.2, 0.8], "bounds": [[0.5, 1.5], [0.6, 1.6]]},
        {"name": "fakes_SR", "auxdata": [15.0, 9.5, 4.0], "fixed": True},
        {"name": "fakes_CR", "factors": [30.0, 40.0]},
        {"name": "of another model", "fixed": True},
    ]
    return spec


def _zeros_not_fixed() -> dict:
    """What vanishing uncertainties fix, and a measurement frees."""
    spec = _shared_staterror()
    spec["measurements"][0]["config"]["parameters"] = [{"name": "stat", "fixed": False}]
    return spec


def _modifier_twice() -> dict:
    return workspace(
        [
            channel(
                "SR",
                sample(
                    "s",
                    [4.0, 5.0],
                    MU,
                    MU,
                    factors("norm", 1.1, 0.9),
                    factors("norm", 1.3, 0.8),
                    templates("tilt", [5.0, 4.5], [3.0, 5.5]),
                    templates("tilt", [4.5, 4.0], [3.5, 6.0]),
                ),
            )
        ]
    )


def _unmodelled_observations() -> dict:
    spec = everything()
    spec["observations"].insert(0, {"name": "VR", "data": [4.0, 5.0]})
    return spec


ALL = {
    "every modifier": everything,
    "shapefactor shared by channels of 3, 1 and 2 bins": _shared_shapefactor,
    "shapesys with bins of no yield and no uncertainty": _shapesys_with_zeros,
    "staterror shared by samples and channels": _shared_staterror,
    "parameters configured": _overrides,
    "vanishing uncertainties not fixed": _zeros_not_fixed,
    "a modifier twice": _modifier_twice,
    "observations of a channel that is not modelled": _unmodelled_observations,
}

SMALL = [name for name in ALL if len(ALL[name]()["measurements"][0]["config"]["parameters"]) < 2]
"""Those that are not `everything` with changes."""


def several_measurements() -> dict:
    spec = everything()
    other = copy.deepcopy(spec["measurements"][0])
    other["name"] = "second"
    other["config"] = {"poi": "norm_ttbar", "parameters": [LUMI | {"sigmas": [0.1]}]}
    spec["measurements"].append(other)
    return spec

"""A workspace as a cabinetry configuration with its ROOT histograms."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from difftune.errors import InputError
from difftune.files import writing
from difftune.histfactory import Model
from difftune.workspaces.spec import Content
from difftune.workspaces.templates import (
    Histogram,
    edges_of,
    refuse_others,
    statistical_errors,
    varied,
    write_histograms,
)

_WHO = "write_cabinetry"
_TYPES = ("normfactor", "normsys", "histosys", "lumi", "staterror")
_DATA = "Data"


def write_cabinetry(
    known: Content, content: Content, folder: Path, measurement: str | None
) -> Path:
    """Writes the configuration and its histograms; see `Workspace.write_cabinetry`.

    Args:
        known: The workspace with the keys of pyhf's format.
        content: The same with all its keys, of which `edges` of channels are used.
        folder: Where.
        measurement: Name of the measurement; None for the first.

    Returns:
        The configuration.

    Raises:
        InputError: Something has no counterpart.
    """
    refuse_others(_WHO, known, _TYPES)
    chosen = next(each for each in known["measurements"] if measurement in (None, each["name"]))
    model = Model.from_spec(known, measurement=measurement)
    values = dict(zip(model.structure.names, model.structure.layout.init.tolist(), strict=True))
    bounds = dict(zip(model.structure.names, model.config.suggested_bounds(), strict=True))
    fixed = dict(zip(model.structure.names, model.config.suggested_fixed(), strict=True))
    options = {each["name"]: each for each in chosen["config"]["parameters"]}

    edges = {channel["name"]: channel.get("edges") for channel in content["channels"]}
    root = folder / "histograms.root"
    histograms: dict[str, Histogram] = {}
    regions, systematics = [], []
    factors: dict[str, dict[str, set[str]]] = {}
    places: dict[str, list[str]] = {}
    simulated: set[str] = set()
    for channel in known["channels"]:
        name, axis = channel["name"], edges_of(channel, edges)
        regions.append({"Name": name, "RegionPath": name})
        for sample in channel["samples"]:
            process = sample["name"]
            if process == _DATA:
                raise InputError(f"{_WHO}: a sample called {_DATA!r} is not data. Rename it.")
            places.setdefault(process, []).append(name)
            errors = statistical_errors(_WHO, channel, sample)
            nominal = np.asarray(sample["data"], float)
            histograms[f"{name}/{process}"] = Histogram(nominal, errors, axis)
            if any(m["type"] == "staterror" for m in sample["modifiers"]):
                simulated.add(process)
            for modifier in sample["modifiers"]:
                if modifier["type"] == "normfactor":
                    factors.setdefault(modifier["name"], {}).setdefault(process, set()).add(name)
                elif modifier["type"] == "lumi":
                    sigma = options[modifier["name"]]["sigmas"][0]
                    norm = [{"Normalization": sigma}, {"Normalization": -sigma}]
                    systematics.append(_systematic("lumi", name, process, "Normalization", norm))
            for each in varied(sample):
                kind = "Normalization" if each.templates is None else "NormPlusShape"
                sides: list[dict[str, Any]] = [{"Normalization": f - 1} for f in each.factors]
                if each.templates is not None:
                    sides = [{"VariationPath": f"_{each.name}_{end}"} for end in ("up", "down")]
                    for side, template in zip(sides, each.templates, strict=True):
                        own = Histogram(template, np.zeros(len(template)), axis)
                        histograms[f"{name}/{process}{side['VariationPath']}"] = own
                systematics.append(_systematic(each.name, name, process, kind, sides))
        observed = next(o["data"] for o in known["observations"] if o["name"] == name)
        counts = np.asarray(observed, float)
        histograms[f"{name}/{_DATA}"] = Histogram(counts, np.sqrt(counts), axis)

    samples: list[dict[str, Any]] = [
        {
            "Name": process,
            "SamplePath": process,
            "Regions": own,
            **({} if process in simulated else {"DisableStaterror": True}),
        }
        for process, own in places.items()
    ]
    samples.append({"Name": _DATA, "SamplePath": _DATA, "Data": True})
    held = [{"Name": name, "Value": values[name]} for name in factors if fixed[name]]
    config: dict[str, Any] = {
        "General": {
            "Measurement": chosen["name"],
            "POI": chosen["config"]["poi"],
            "InputPath": f"{root}:{{RegionPath}}/{{SamplePath}}{{VariationPath}}",
            "HistogramFolder": str(folder / "histograms"),
            "VariationPath": "",
            **({"Fixed": held} if held else {}),
        },
        "Regions": regions,
        "Samples": samples,
        "Systematics": systematics,
        "NormFactors": [
            {
                "Name": name,
                "Samples": list(own),
                "Regions": _same_regions(name, own),
                "Nominal": values[name],
                "Bounds": [float(bound) for bound in bounds[name]],
            }
            for name, own in factors.items()
        ],
    }
    write_histograms(root, histograms)
    path = folder / "config.yml"
    with writing(path) as stream:
        json.dump(config, stream, indent=2)  # JSON is YAML
        stream.write("\n")
    return path


def _systematic(
    name: str, channel: str, process: str, kind: str, sides: list[dict[str, Any]]
) -> dict[str, Any]:
    """One entry for each channel and sample, with the parameter in common."""
    return {
        "Name": f"{name}_{channel}_{process}",
        "ModifierName": name,
        "Type": kind,
        "Regions": [channel],
        "Samples": [process],
        "Up": sides[0],
        "Down": sides[1],
    }


def _same_regions(name: str, own: dict[str, set[str]]) -> list[str]:
    """The regions in which a factor acts, which cabinetry has for all of its samples."""
    every = sorted(set().union(*own.values()))
    for process, regions in own.items():
        if sorted(regions) != every and len(own) > 1:
            raise InputError(
                f"{_WHO}: {name!r} scales {process!r} in the channels {sorted(regions)} and "
                f"other samples in {every}. cabinetry has one list of regions for all samples "
                "of a factor."
            )
    return every

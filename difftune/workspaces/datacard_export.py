"""A workspace as a CMS Combine datacard with its ROOT histograms."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from difftune.errors import InputError
from difftune.files import writing
from difftune.histfactory import Model
from difftune.workspaces.spec import Content
from difftune.workspaces.templates import (
    Histogram,
    Varied,
    edges_of,
    refuse_others,
    statistical_errors,
    varied,
    write_histograms,
)

_WHO = "write_datacard"
_TYPES = ("normfactor", "normsys", "histosys", "lumi", "staterror")


class _Column(NamedTuple):
    """A process of a channel."""

    channel: str
    process: str
    scale: float
    sample: Content
    systematics: dict[str, Varied]


def write_datacard(known: Content, content: Content, path: Path, measurement: str | None) -> None:
    """Writes the datacard and its histograms; see `Workspace.write_datacard`.

    Args:
        known: The workspace with the keys of pyhf's format.
        content: The same with all its keys, of which `edges` of channels are used.
        path: The text; the histograms are beside it.
        measurement: Name of the measurement; None for the first.

    Raises:
        InputError: Something has no counterpart.
    """
    refuse_others(_WHO, known, _TYPES)
    model = Model.from_spec(known, measurement=measurement)
    poi = model.structure.poi
    if poi is None:
        raise InputError(f"{_WHO}: the measurement has no parameter of interest.")
    config = next(
        each["config"] for each in known["measurements"] if measurement in (None, each["name"])
    )
    _refuse_shifted(known, config)
    values = dict(zip(model.structure.names, model.structure.layout.init.tolist(), strict=True))
    bounds = dict(zip(model.structure.names, model.config.suggested_bounds(), strict=True))
    fixed = dict(zip(model.structure.names, model.config.suggested_fixed(), strict=True))
    numbers = _numbers(known, poi)
    _refuse_spaces([*model.structure.channels, *model.structure.samples, *values])

    root = path.with_suffix(".root")
    edges = {channel["name"]: channel.get("edges") for channel in content["channels"]}
    histograms: dict[str, Histogram] = {}
    columns, rates = [], []
    for channel in known["channels"]:
        name = channel["name"]
        axis = edges_of(channel, edges)
        for sample in channel["samples"]:
            scale = 1.0
            for modifier in sample["modifiers"]:
                own = modifier["name"]
                if modifier["type"] != "normfactor" or own == poi:
                    continue
                if fixed[own]:
                    scale *= values[own]
                else:
                    low, high = bounds[own]
                    at = f"{values[own]!r} [{low!r},{high!r}]"
                    rates.append(f"{own} rateParam {name} {sample['name']} {at}")
            column = _Column(
                name, sample["name"], scale, sample, {each.name: each for each in varied(sample)}
            )
            columns.append(column)
            errors = statistical_errors(_WHO, channel, sample)
            _add(histograms, column, errors, axis)
        observed = next(o["data"] for o in known["observations"] if o["name"] == name)
        counts = np.asarray(observed, float)
        histograms[f"{name}/data_obs"] = Histogram(counts, np.sqrt(counts), axis)
    lines = _head(known, root.name, columns, numbers)
    lines += _systematics(columns, config)
    lines += rates
    lines += [
        f"{channel['name']} autoMCStats 0 1"
        for channel in known["channels"]
        if any(m["type"] == "staterror" for s in channel["samples"] for m in s["modifiers"])
    ]
    write_histograms(root, histograms)
    with writing(path) as stream:
        stream.write("\n".join(lines) + "\n")


def _refuse_shifted(known: Content, config: Content) -> None:
    """Refuses auxiliary measurements that Combine takes to be elsewhere."""
    kinds = {
        m["name"]: m["type"]
        for c in known["channels"]
        for s in c["samples"]
        for m in s["modifiers"]
    }
    for options in config["parameters"]:
        kind = kinds.get(options["name"])
        center = {"normsys": 0.0, "histosys": 0.0, "lumi": 1.0, "staterror": 1.0}.get(kind or "")
        if center is not None and set(options.get("auxdata", [center])) != {center}:
            raise InputError(
                f"{_WHO}: the auxiliary measurement of {options['name']!r} is "
                f"{options['auxdata']}; a datacard has it at {center:g}. Of "
                "asimov(...) take auxiliary=False."
            )


def _refuse_spaces(names: list[str]) -> None:
    for name in names:
        if len(name.split()) != 1 or name.startswith("#"):
            raise InputError(
                f"{_WHO}: the name {name!r} would be several words of a datacard. Rename it."
            )


def _numbers(known: Content, poi: str) -> dict[str, int]:
    """Numbers of the processes: 0 and below for signal."""
    scaled: dict[str, bool] = {}
    for channel in known["channels"]:
        for sample in channel["samples"]:
            own = any(m["name"] == poi for m in sample["modifiers"])
            if scaled.setdefault(sample["name"], own) != own:
                raise InputError(
                    f"{_WHO}: sample {sample['name']!r} is scaled by {poi!r} in some channels "
                    "only. In a datacard a process is signal everywhere or nowhere: give "
                    "the samples different names."
                )
    signals = [name for name, own in scaled.items() if own]
    others = [name for name, own in scaled.items() if not own]
    return {name: -i for i, name in enumerate(signals)} | {
        name: i for i, name in enumerate(others, start=1)
    }


def _add(histograms: dict[str, Histogram], column: _Column, errors: Any, axis: Any) -> None:
    """Adds the histograms of a process."""
    place, scale = f"{column.channel}/{column.process}", column.scale
    nominal = np.asarray(column.sample["data"], float) * scale
    if not nominal.sum() > 0:
        raise InputError(
            f"{_WHO}: sample {column.process!r} of channel {column.channel!r} expects no events. "
            "Drop it."
        )
    histograms[place] = Histogram(nominal, errors * scale, axis)
    for each in column.systematics.values():
        if each.templates is None:
            continue
        for side, template in zip(("Up", "Down"), each.templates, strict=True):
            if not template.sum() > 0:
                raise InputError(
                    f"{_WHO}: {each.name!r} leaves no events of {column.process!r} in "
                    f"{column.channel!r}. Prune it."
                )
            own = Histogram(template * scale, np.zeros(len(template)), axis)
            histograms[f"{place}_{each.name}{side}"] = own


def _head(known: Content, root: str, columns: list[_Column], numbers: dict[str, int]) -> list[str]:
    channels = [channel["name"] for channel in known["channels"]]
    return [
        "imax * channels",
        "jmax * processes less one",
        "kmax * uncertainties",
        "-" * 20,
        f"shapes * * {root} $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC",
        "-" * 20,
        f"bin {' '.join(channels)}",
        f"observation {' '.join('-1' for _ in channels)}",
        "-" * 20,
        f"bin {' '.join(column.channel for column in columns)}",
        f"process {' '.join(column.process for column in columns)}",
        f"process {' '.join(str(numbers[column.process]) for column in columns)}",
        f"rate {' '.join('-1' for _ in columns)}",
        "-" * 20,
    ]


def _systematics(columns: list[_Column], config: Content) -> list[str]:
    names = list(dict.fromkeys(name for column in columns for name in column.systematics))
    lines = []
    for name in names:
        own = [column.systematics.get(name) for column in columns]
        shapes = [each is not None and each.templates is not None for each in own]
        norms = [each is not None and each.templates is None for each in own]
        kind = "shape" if not any(norms) else "shape?" if any(shapes) else "lnN"
        values = [
            "-" if each is None else "1" if each.templates is not None else _kappa(*each.factors)
            for each in own
        ]
        lines.append(f"{name} {kind} {' '.join(values)}")
    options = {each["name"]: each for each in config["parameters"]}
    for name in _luminosities(columns):
        sigma = options[name]["sigmas"][0]
        values = [
            repr(1 + sigma) if any(m["type"] == "lumi" for m in c.sample["modifiers"]) else "-"
            for c in columns
        ]
        lines.append(f"{name} lnN {' '.join(values)}")
    return lines


def _luminosities(columns: list[_Column]) -> list[str]:
    found = {
        modifier["name"]
        for column in columns
        for modifier in column.sample["modifiers"]
        if modifier["type"] == "lumi"
    }
    return sorted(found)


def _kappa(up: float, down: float) -> str:
    return repr(up) if abs(up * down - 1) < 1e-12 else f"{down!r}/{up!r}"

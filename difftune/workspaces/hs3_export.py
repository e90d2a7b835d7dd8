"""A workspace as HS3, the serialisation standard of statistical models, with histfactory_dist."""

from typing import Any

import numpy as np

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.workspaces.spec import PER_BIN, Content, modifiers, samples

VERSION = "0.2"
POINT = "nominal"


def to_hs3(known: Content, content: Content) -> dict[str, Any]:
    """The HS3 document of a workspace; see `Workspace.to_hs3`.

    Args:
        known: The workspace with the keys of pyhf's format.
        content: The same with all its keys, of which `edges` of channels are used.

    Raises:
        InputError: HS3 has no word for something.
    """
    _check(known)
    edges = {channel["name"]: channel.get("edges") for channel in content["channels"]}
    parameters = _per_bin_parameters(known)
    distributions = [_channel(c, edges[c["name"]], parameters) for c in known["channels"]]
    data = [
        {
            "name": f"{observation['name']}_data",
            "type": "binned",
            "contents": observation["data"],
            "axes": [_axis(observation["name"], len(observation["data"]), edges)],
        }
        for observation in known["observations"]
        if observation["name"] in edges
    ]
    document: dict[str, Any] = {
        "metadata": {"hs3_version": VERSION, "packages": [_package()]},
        "distributions": distributions,
        "data": data,
        "likelihoods": [],
        "domains": [],
        "parameter_points": [],
        "analyses": [],
    }
    names = [each["name"] for each in distributions]
    for measurement in known["measurements"]:
        _measurement(document, known, measurement, names, parameters)
    return document


def _package() -> dict[str, str]:
    import difftune

    return {"name": "difftune", "version": difftune.__version__}


def _check(known: Content) -> None:
    """Refuses what HS3 cannot say."""
    where: dict[str, set[str]] = {}
    for channel, sample in samples(known):
        own = [m["name"] for m in sample["modifiers"] if m["type"] == "staterror"]
        if len(own) > 1:
            raise InputError(
                f"to_hs3: sample {sample['name']!r} of channel {channel['name']!r} has the "
                f"staterrors {own}. HS3 has one uncertainty per bin of a sample: drop one."
            )
    for channel, _, modifier in modifiers(known):
        if modifier["type"] == "staterror":
            where.setdefault(modifier["name"], set()).add(channel["name"])
    for name, channels in where.items():
        if len(channels) > 1:
            raise InputError(
                f"to_hs3: the staterror {name!r} is in the channels {sorted(channels)}. In HS3 "
                "each channel has parameters of its own."
            )


def _per_bin_parameters(known: Content) -> dict[str, list[str]]:
    """Names of the parameters of modifiers with one per bin."""
    found: dict[str, list[str]] = {}
    for _, sample, modifier in modifiers(known):
        if modifier["type"] in PER_BIN:
            name, bins = modifier["name"], len(sample["data"])
            if len(found.get(name, ())) < bins:
                found[name] = [f"gamma_{name}_bin_{i}" for i in range(bins)]
    return found


def _axis(channel: str, bins: int, edges: dict[str, Any]) -> dict[str, Any]:
    own = edges[channel]
    name = f"obs_{channel}"
    if own is None or len(own) != bins + 1:
        return {"name": name, "min": 0.0, "max": float(bins), "nbins": bins}
    return {"name": name, "min": own[0], "max": own[-1], "edges": own}


def _channel(channel: Content, edges: Any, parameters: dict[str, list[str]]) -> dict[str, Any]:
    bins = len(channel["samples"][0]["data"])
    made = []
    for sample in channel["samples"]:
        errors = [0.0] * bins
        changes = []
        for modifier in sample["modifiers"]:
            kind, name, data = modifier["type"], modifier["name"], modifier["data"]
            change: dict[str, Any] = {"name": name, "type": kind}
            if kind in PER_BIN:
                change["parameters"] = parameters[name][:bins]
            else:
                change["parameter"] = name
            if kind == "lumi":
                change["type"] = "normfactor"
            elif kind == "normsys":
                change |= {"constraint": "Gauss", "data": {"hi": data["hi"], "lo": data["lo"]}}
            elif kind == "histosys":
                sides = {"hi": data["hi_data"], "lo": data["lo_data"]}
                templates = {side: {"contents": values} for side, values in sides.items()}
                change |= {"constraint": "Gauss", "data": templates}
            elif kind == "shapesys":
                change |= {"constraint": "Poisson", "data": {"vals": data}}
            elif kind == "staterror":
                change["constraint"] = "Gauss"
                errors = data
            changes.append(change)
        content = {"contents": sample["data"], "errors": errors}
        made.append({"name": sample["name"], "data": content, "modifiers": changes})
    axis = _axis(channel["name"], bins, {channel["name"]: edges})
    return {
        "name": channel["name"],
        "type": "histfactory_dist",
        "axes": [axis],
        "samples": made,
    }


def _measurement(
    document: dict[str, Any],
    known: Content,
    measurement: Content,
    channels: list[str],
    parameters: dict[str, list[str]],
) -> None:
    """Adds the analysis of a measurement, and what it refers to."""
    name, poi = measurement["name"], measurement["config"]["poi"]
    model = Model.from_spec(known, measurement=name, poi=None)
    kinds = dict(model.structure.modifiers)
    options = {each["name"]: each for each in measurement["config"]["parameters"]}
    for group in model.structure.parameter_sets:
        _refuse_shifted(name, options.get(group.name, {}), kinds[group.name])
    layout = model.structure.layout
    fixed = np.asarray(model.config.suggested_fixed())
    axes, values, auxiliary = [], [], []
    for group in model.structure.parameter_sets:
        own = parameters.get(group.name, [group.name])
        for index, parameter in enumerate(own, start=group.start):
            axes.append(
                {
                    "name": parameter,
                    "min": float(layout.lower[index]),
                    "max": float(layout.upper[index]),
                }
            )
            value: dict[str, Any] = {"name": parameter, "value": float(layout.init[index])}
            if fixed[index]:
                value["const"] = True
            values.append(value)
        if kinds[group.name] == "lumi":
            center, sigma = options[group.name]["auxdata"][0], options[group.name]["sigmas"][0]
            observable = f"nom_{group.name}"
            values.append({"name": observable, "value": center, "const": True})
            constraint = f"{group.name}_constraint_{name}"
            document["distributions"].append(
                {
                    "name": constraint,
                    "type": "gaussian_dist",
                    "x": observable,
                    "mean": group.name,
                    "sigma": sigma,
                }
            )
            auxiliary.append(constraint)
    likelihood: dict[str, Any] = {
        "name": f"{name}_likelihood",
        "distributions": channels,
        "data": [f"{channel}_data" for channel in channels],
    }
    if auxiliary:
        likelihood["aux_distributions"] = auxiliary
    document["likelihoods"].append(likelihood)
    document["domains"].append({"name": f"{name}_domain", "type": "product_domain", "axes": axes})
    document["parameter_points"].append({"name": f"{name}_{POINT}", "parameters": values})
    document["analyses"].append(
        {
            "name": name,
            "likelihood": f"{name}_likelihood",
            "parameters_of_interest": [poi] if poi in kinds else [],
            "domains": [f"{name}_domain"],
            "init": f"{name}_{POINT}",
        }
    )


# Where HS3 has the auxiliary measurements, by type of modifier.
_CENTERS = {"normsys": 0.0, "histosys": 0.0, "staterror": 1.0}


def _refuse_shifted(measurement: str, options: Content, kind: str) -> None:
    """Refuses auxiliary measurements that are not those that HS3 implies."""
    if kind == "lumi":
        return
    for field in ("auxdata", "sigmas", "factors"):
        values = options.get(field)
        if values is None or (
            field == "auxdata" and kind in _CENTERS and set(values) == {_CENTERS[kind]}
        ):
            continue
        raise InputError(
            f"to_hs3: the measurement {measurement!r} has {field} {values} for the {kind} "
            f"{options['name']!r}, which HS3 cannot say. Leave them out; of asimov(...) those that "
            "auxiliary=False gives."
        )

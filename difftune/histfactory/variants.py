"""Models that are made of others: several as one batch, and one without constraints."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from difftune.errors import InputError, nearest
from difftune.histfactory.compile import Spec, compile_spec, walk
from difftune.histfactory.model import Model


def stack(models: Sequence[Model]) -> Model:
    """One model with a leading axis of numbers, for fits, tests and limits of all in one program.

    Where one model has a normsys, a histosys or a sample that another lacks, the other gets one
    without effect; its likelihood changes by constraint terms that are constant in a ratio.

    Args:
        models: Of one analysis; observations and measurement are those of the first.

    Raises:
        InputError: The models differ in more than samples, normsys and histosys.
    """
    if not models:
        raise InputError("stack needs at least one model.")
    first = models[0]
    if all(model.structure == first.structure for model in models):
        return first.replace(numbers=np.stack([np.asarray(model.numbers) for model in models]))
    specs = [_harmonised(model.spec(), models) for model in models]
    settings = {
        "normsys": {"interpcode": first.structure.normsys_code},
        "histosys": {"interpcode": first.structure.histosys_code},
    }
    compiled = compile_spec(specs[0], poi=first.structure.poi, modifier_settings=settings)
    own = {key: values for key, _, values in walk(specs[0])}
    rows = []
    for model, spec in zip(models, specs, strict=True):
        values = {key: values for key, _, values in walk(spec)}
        different = set(own) ^ set(values)
        if different or model.structure.poi != first.structure.poi:
            raise InputError(
                f"The models differ in {sorted(different)[0] if different else 'their POI'}: only "
                "samples, normsys and histosys may come and go between models that are stacked."
            )
        row = compiled.numbers.copy()
        for entry in compiled.structure.entries:
            if entry.key in values:
                row[entry.start : entry.stop] = values[entry.key]
        rows.append(row)
    return Model(structure=compiled.structure, numbers=np.stack(rows), observed=compiled.observed)


def _harmonised(spec: Spec, models: Sequence[Model]) -> dict[str, Any]:
    """A spec with everything that any of the models has."""
    result = copy.deepcopy(dict(spec))
    wanted: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for model in models:
        for channel in model.spec()["channels"]:
            for sample in channel["samples"]:
                place = wanted.setdefault((channel["name"], sample["name"]), {})
                for modifier in sample["modifiers"]:
                    place.setdefault((modifier["type"], modifier["name"]), modifier)
    for channel in result["channels"]:
        samples = {sample["name"]: sample for sample in channel["samples"]}
        bins = len(channel["samples"][0]["data"])
        for (where, name), modifiers in wanted.items():
            if where != channel["name"]:
                continue
            absent = name not in samples
            sample = samples.setdefault(name, {"name": name, "data": [0.0] * bins, "modifiers": []})
            there = {(m["type"], m["name"]) for m in sample["modifiers"]}
            for (kind, title), modifier in modifiers.items():
                if (kind, title) not in there and (absent or kind in ("normsys", "histosys")):
                    data = _without_effect(modifier, sample["data"])
                    sample["modifiers"].append({"name": title, "type": kind, "data": data})
            sample["modifiers"].sort(key=lambda m: (m["type"], m["name"]))
        channel["samples"] = [samples[name] for name in sorted(samples)]
    result["channels"].sort(key=lambda channel: channel["name"])
    return result


def _without_effect(modifier: dict[str, Any], nominal: list[float]) -> Any:
    """Data of a modifier that changes nothing."""
    if modifier["type"] == "normsys":
        return {"hi": 1.0, "lo": 1.0}
    if modifier["type"] == "histosys":
        return {"hi_data": list(nominal), "lo_data": list(nominal)}
    # Those of a sample without yields.
    return None if modifier["data"] is None else [0.0] * len(nominal)


# As far as a fit may go, in units of the variation.
_FAR = 1e3


def without_constraints(model: Model, names: Sequence[str]) -> Model:
    """A model in which nothing but the data of the bins determines some parameters.

    Their auxiliary measurements are left out, of the data too, and their bounds lie far away. pyhf
    cannot express that for a normsys or histosys, so such a model cannot be exported.

    Args:
        model: The model.
        names: Of nuisance parameters with a Gaussian constraint.

    Raises:
        InputError: There is no such parameter.
    """
    if not names:
        return model
    structure, layout = model.structure, model.structure.layout
    free = np.zeros(len(structure.names), bool)
    known = [group.name for group in structure.parameter_sets if group.constraint == "gaussian"]
    for name in names:
        if name not in known:
            raise InputError(
                f"There is no constrained parameter {name!r} to free.{nearest(name, known)}"
            )
    groups = []
    for group in structure.parameter_sets:
        if group.name in names:
            free[group.start : group.start + group.size] = True
            group = group._replace(constraint="none")
        groups.append(group)
    stays = ~free[layout.auxiliary]
    changed = replace(
        layout,
        **{name: getattr(layout, name)[stays] for name in ("auxiliary", "poisson", "center")},
        sigma=layout.sigma[stays],
        lower=np.where(free, -_FAR, layout.lower),
        upper=np.where(free, _FAR, layout.upper),
    )
    return model.replace(
        structure=replace(structure, parameter_sets=tuple(groups), layout=changed), observed=None
    )

"""Models of different signals as one batch: the mass points of a patch set, for instance."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from difftune.errors import InputError
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

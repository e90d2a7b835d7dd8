"""From a spec to a structure and its numbers."""

import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError, nearest
from difftune.histfactory import interpolation
from difftune.histfactory.checks import check_numbers, check_parameters, check_schema
from difftune.histfactory.contents import Contents, contents_of
from difftune.histfactory.places import Places
from difftune.histfactory.structure import Entry, Key, Structure

logger = logging.getLogger("difftune")

Spec = Mapping[str, Any]
Path = tuple[str | int, ...]

DEFAULT_SETTINGS = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}
FROM_MEASUREMENT = "the measurement's"


class Compiled(NamedTuple):
    """A spec, taken apart.

    Attributes:
        structure: Everything but the numbers.
        numbers: All of them, in the order of the structure's entries.
        observed: Observations of all bins; None without any.
    """

    structure: Structure
    numbers: Float[np.ndarray, " numbers"]
    observed: Float[np.ndarray, " bins"] | None


def compile_spec(
    spec: Spec,
    *,
    measurement: str | None = None,
    poi: str | None = FROM_MEASUREMENT,
    modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
) -> Compiled:
    """Structure and numbers of a workspace or of a model's spec.

    Args:
        spec: As pyhf reads it.
        measurement: Name of the measurement; by default the first.
        poi: Name of the parameter of interest; None for none.
        modifier_settings: Interpolation codes, as in `pyhf.Model`.

    Raises:
        InputError: The spec is not right.
    """
    is_workspace = "measurements" in spec
    check_schema(spec, "workspace.json" if is_workspace else "model.json")
    check_numbers(spec)
    config, way = _measurement(spec, measurement) if is_workspace else (spec, ())
    check_parameters(config.get("parameters", ()), spec)
    settings = {kind: dict(DEFAULT_SETTINGS[kind]) for kind in DEFAULT_SETTINGS}
    if modifier_settings is not None and not (
        isinstance(modifier_settings, Mapping)
        and all(isinstance(options, Mapping) for options in modifier_settings.values())
    ):
        raise InputError(
            f"modifier_settings = {modifier_settings!r}: give codes by type of modifier, as in "
            "{'normsys': {'interpcode': 'code4'}}."
        )
    settings |= {kind: dict(options) for kind, options in (modifier_settings or {}).items()}
    codes = {kind: options.get("interpcode", "") for kind, options in settings.items()}
    _check_codes(codes)
    _check_luminosity(spec, config)
    contents = contents_of(spec["channels"], config.get("parameters", ()))
    poi = _poi(contents, config, poi, asked=poi != FROM_MEASUREMENT)

    numbers: dict[Key, tuple[Path, list[float | int]]] = {}
    for key, path, values in walk(spec):
        numbers[key] = path, values  # twice the same modifier: the last one counts, as in pyhf
    overrides = {options["name"]: options for options in config.get("parameters", ())}
    for index, options in enumerate(config.get("parameters", ())):
        for field in ("auxdata", "sigmas", "factors"):
            if field in options and options["name"] in contents.parameter_sets:
                path = (*way, "parameters", index, field)
                numbers["parameter", options["name"], field] = path, options[field]

    entries, start = [], 0
    for key, (path, values) in numbers.items():
        entries.append(Entry(key, start, start + len(values), path))
        start += len(values)
    flat = np.concatenate([np.asarray(values, float) for _, values in numbers.values()])
    structure = Structure(
        channels=tuple(contents.bins),
        bins=tuple(contents.bins.values()),
        samples=contents.samples,
        modifiers=contents.modifiers,
        parameter_sets=tuple(contents.parameter_sets.values()),
        poi=poi,
        histosys_code=codes["histosys"],
        normsys_code=codes["normsys"],
        entries=tuple(entries),
        parameters_path=(*way, "parameters"),
        skeleton=_skeleton(spec, entries),
        layout=Places(spec, contents, entries, overrides).layout(),
    )
    observed = None
    if is_workspace:
        by_channel = {o["name"]: o["data"] for o in spec["observations"]}
        observed = np.concatenate([np.asarray(by_channel[c], float) for c in structure.channels])
    return Compiled(structure, flat, observed)


def walk(spec: Spec) -> Iterator[tuple[Key, Path, list[float | int]]]:
    """Every run of numbers of a spec's channels: its key, the way to it, and its values."""
    for i, channel in _by_name(spec["channels"]):
        for j, sample in _by_name(channel["samples"]):
            place, way = (channel["name"], sample["name"]), ("channels", i, "samples", j)
            yield place, (*way, "data"), sample["data"]
            for k, modifier in enumerate(sample["modifiers"]):
                kind, data = modifier["type"], modifier["data"]
                key, there = (*place, kind, modifier["name"]), (*way, "modifiers", k, "data")
                if kind == "histosys":
                    for field in ("hi_data", "lo_data"):
                        yield (*key, field), (*there, field), data[field]
                elif kind == "normsys":
                    for field in ("hi", "lo"):
                        yield (*key, field), (*there, field), [data[field]]
                elif kind in ("shapesys", "staterror"):
                    yield (*key, "data"), there, data


def _by_name(items: Sequence[Spec]) -> list[tuple[int, Spec]]:
    """Sorted as pyhf sorts channels and samples, with the place in the spec."""
    return sorted(enumerate(items), key=lambda pair: pair[1]["name"])


def _measurement(spec: Spec, name: str | None) -> tuple[Spec, Path]:
    """Configuration of a measurement and the way to it."""
    names = [measurement["name"] for measurement in spec["measurements"]]
    if not names:
        raise InputError("The workspace has no measurement: add one that names the POI.")
    if name is not None and name not in names:
        raise InputError(
            f"The workspace has no measurement {name!r}; it has {names}.{nearest(name, names)}"
        )
    index = 0 if name is None else names.index(name)
    return spec["measurements"][index]["config"], ("measurements", index, "config")


def _check_codes(codes: Mapping[str, str]) -> None:
    allowed = {"histosys": interpolation.ADDITIVE, "normsys": interpolation.MULTIPLICATIVE}
    for kind, code in codes.items():
        if kind not in allowed or code not in allowed[kind]:
            raise InputError(
                f"modifier_settings: no interpolation code {code!r} for {kind!r}. There are "
                f"{allowed}, as {{'normsys': {{'interpcode': 'code4'}}}}."
            )


def _check_luminosity(spec: Spec, config: Spec) -> None:
    """Refuses a lumi modifier whose measurement is not configured: there is no default for it."""
    configured = {options["name"]: options for options in config.get("parameters", ())}
    for channel in spec["channels"]:
        for sample in channel["samples"]:
            for modifier in sample["modifiers"]:
                if modifier["type"] != "lumi":
                    continue
                given = configured.get(modifier["name"], {})
                missing = [f for f in ("inits", "bounds", "auxdata", "sigmas") if f not in given]
                if missing:
                    raise InputError(
                        f"Channel {channel['name']!r}, sample {sample['name']!r}, lumi "
                        f"{modifier['name']!r}: the measurement does not say {missing}. Add to its "
                        'parameters {"name": "lumi", "inits": [1.0], "bounds": [[0.9, 1.1]], '
                        '"auxdata": [1.0], "sigmas": [0.02]} with your numbers.'
                    )


def _poi(contents: Contents, config: Spec, name: str | None, *, asked: bool) -> str | None:
    """The parameter of interest, if there is one."""
    if not asked:
        name = config.get("poi", "mu") or None
    if name is None:
        return None
    scalars = [group.name for group in contents.parameter_sets.values() if group.size == 1]
    name = str(name)
    if name.removesuffix("[0]") in scalars:
        name = name.removesuffix("[0]")
    if name in scalars:
        return name
    reason = f"The parameter of interest {name!r} is no parameter of the model"
    if name in contents.parameter_sets:
        reason = f"The parameter of interest {name!r} has one value per bin"
    if asked:
        raise InputError(f"{reason}. Its scalar ones are {scalars}.{nearest(name, scalars)}")
    logger.warning(
        "%s: it is used without one, so there are no limits. A background-only workspace wants "
        "one of its signal patches (patches=...); poi=... names another parameter.",
        reason,
    )
    return None


def _skeleton(spec: Spec, entries: Sequence[Entry]) -> str:
    """The spec with zeros for the numbers: two specs that differ in numbers alone share it."""
    result = copy.deepcopy(dict(spec))
    for entry in entries:
        place: Any = result
        for step in entry.path[:-1]:
            place = place[step]
        several = isinstance(place[entry.path[-1]], list)
        place[entry.path[-1]] = [0.0] * (entry.stop - entry.start) if several else 0.0
    modelled = {channel["name"] for channel in result["channels"]}
    for observation in result.get("observations", ()):
        if observation["name"] in modelled:
            observation["data"] = [0.0] * len(observation["data"])
    return json.dumps(result)

"""What can be wrong with a spec, said with channel, sample, modifier and remedy."""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory.schema import surely_valid
from difftune.later import pyhf

logger = logging.getLogger("difftune")

Spec = Mapping[str, Any]


def check_schema(spec: Spec, schema: str) -> None:
    """Refuses what pyhf's schema refuses.

    Args:
        spec: A workspace or a model.
        schema: "workspace.json" or "model.json".

    Raises:
        InputError: With names in place of indices.
    """
    if surely_valid(spec, schema):
        return
    try:
        pyhf.schema.validate(spec, schema)
    except pyhf.exceptions.InvalidSpecification as error:
        what = error.parent.message
        raise InputError(
            f"The spec does not follow pyhf's schema {schema}, at {_named(spec, error.path)}: "
            f"{what if len(what) < 200 else what[:200] + ' ...'}"
        ) from error


def check_numbers(spec: Spec) -> None:
    """Refuses wrong lengths, numbers that are none, and factors that are not positive.

    A modifier that a sample lists twice gets a warning.

    Raises:
        InputError: For the first that is found.
    """
    _refuse_twice([channel["name"] for channel in spec["channels"]], "The spec", "channels")
    observed = {o["name"]: o["data"] for o in spec.get("observations", ())}
    for channel in spec["channels"]:
        where = f"Channel {channel['name']!r}"
        samples = channel["samples"]
        _refuse_twice([sample["name"] for sample in samples], where, "samples")
        _warn_of_twice(where, samples)
        bins = Counter(len(sample["data"]) for sample in samples).most_common(1)[0][0]
        for sample in samples:
            _refuse_tiny(where, sample)
        for what, values in _arrays(channel):
            # A shape factor has no data, a normsys two numbers; the rest has one per bin.
            if len(values) != bins:
                raise InputError(
                    f"{where}, {what}: {len(values)} bins, where the channel has {bins}. Every "
                    "template of a channel needs the same bins."
                )
            _refuse_none(f"{where}, {what}", values)
        if "observations" in spec:
            _check_observed(where, observed.get(channel["name"]), bins)


def _check_observed(where: str, data: Sequence[float | int] | None, bins: int) -> None:
    if data is None:
        raise InputError(f"{where} has no observations. Add them, or use it without data.")
    if len(data) != bins:
        raise InputError(f"{where}: {len(data)} observations for {bins} bins.")
    _refuse_none(f"{where}, observations", data)
    if min(data) < 0:  # pyhf's logarithm of the factorial of a negative number means nothing
        raise InputError(f"{where}, observations: bin {int(np.argmin(data))} holds {min(data)}.")


def _arrays(channel: Spec) -> Iterator[tuple[str, Sequence[float | int]]]:
    """Templates of a channel with their names; checks the factors of normsys on the way."""
    for sample in channel["samples"]:
        what = f"sample {sample['name']!r}"
        yield what, sample["data"]
        for modifier in sample["modifiers"]:
            kind, data = modifier["type"], modifier["data"]
            name = f"{what}, {kind} {modifier['name']!r}"
            if kind == "histosys":
                yield f"{name}, hi_data", data["hi_data"]
                yield f"{name}, lo_data", data["lo_data"]
            elif kind in ("shapesys", "staterror"):
                yield name, data
            elif kind == "normsys":
                for field in ("hi", "lo"):
                    factor = _as_numbers(
                        f"Channel {channel['name']!r}, {name}, {field}", data[field]
                    )
                    if not 0 < factor < np.inf:
                        raise InputError(
                            f"Channel {channel['name']!r}, {name}: {field} is {factor}, but "
                            "a factor on a yield must be positive. 1.06 is +6 %; for a variation "
                            "that leaves nothing use 0.01 or so, or a histosys."
                        )


def check_parameters(parameters: Sequence[Spec], spec: Spec) -> None:
    """Refuses a configuration of parameters that is none, or that their modifiers do not have.

    Args:
        parameters: Of the measurement.
        spec: With the channels.

    Raises:
        InputError: For the first that is found.
    """
    kinds: dict[str, set[str]] = {}
    for channel in spec["channels"]:
        for sample in channel["samples"]:
            for modifier in sample["modifiers"]:
                kinds.setdefault(modifier["name"], set()).add(modifier["type"])
    _refuse_twice([options["name"] for options in parameters], "The measurement", "parameters")
    for options in parameters:
        name = options["name"]
        where, own = f"Parameter {name!r}", kinds.get(name, set())
        for field in ("inits", "auxdata", "sigmas", "factors"):
            _refuse_none(f"{where}, {field}", options.get(field, ()), what="entry")
        for pair in options.get("bounds", ()):
            if len(pair) != 2:
                raise InputError(f"{where}, bounds: {pair} is no pair [lower, upper].")
            low, high = _as_numbers(f"{where}, bounds", pair)
            if not low <= high:
                raise InputError(
                    f"{where}, bounds: {pair}: the first must not be above the second."
                )
        for field, having in _HAVING.items():
            if field in options and own and not own & having:
                raise InputError(
                    f"{where}, {field}: its modifiers are {sorted(own)}, and only "
                    f"{sorted(having)} have {field}. Leave it out; a normsys or histosys says its "
                    "size in its data, at one standard deviation."
                )
        for field in ("sigmas", "factors"):
            if field in options and own and not min(options[field]) > 0:
                raise InputError(f"{where}, {field}: {min(options[field])} must be positive.")


# What a measurement may say of the parameters of some types of modifier alone.
_HAVING = {
    "auxdata": {"normsys", "histosys", "lumi", "staterror", "shapesys"},
    "sigmas": {"lumi", "staterror"},
    "factors": {"shapesys"},
}


# Squared it must be a number of float64.
_LARGEST_RATIO = 1e150


def _refuse_tiny(where: str, sample: Spec) -> None:
    """Refuses a shapesys whose auxiliary count (yield / uncertainty)² is beyond all numbers."""
    for modifier in sample["modifiers"]:
        if modifier["type"] != "shapesys":
            continue
        name = f"{where}, sample {sample['name']!r}, shapesys {modifier['name']!r}"
        yields = _as_numbers(f"{where}, sample {sample['name']!r}", sample["data"])
        errors = _as_numbers(name, modifier["data"])
        for index, (y, u) in enumerate(zip(yields, errors, strict=False)):
            if y > 0 and 0 < u < y / _LARGEST_RATIO:
                raise InputError(
                    f"{name}: bin {index} has an uncertainty of {u} for a yield of {y}, of which "
                    "no auxiliary measurement can be made. For none use 0."
                )


def _warn_of_twice(where: str, samples: Sequence[Spec]) -> None:
    for sample in samples:
        names = Counter((m["type"], m["name"]) for m in sample["modifiers"])
        for (kind, name), count in names.items():
            if count > 1:
                logger.warning(
                    "%s, sample %r lists the %s %r %d times: only the last counts, as in pyhf. "
                    "Rename or remove the others.",
                    where,
                    sample["name"],
                    kind,
                    name,
                    count,
                )


def _as_numbers(where: str, values: Any) -> Float[np.ndarray, "..."]:
    if any(isinstance(each, bool) for each in (values if isinstance(values, list) else [values])):
        raise InputError(f"{where}: {_short(values)} holds true or false in place of a number.")
    try:
        return np.asarray(values, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{where}: {_short(values)} are no numbers of float64.") from error


def _short(value: Any) -> str:
    try:
        text = str(value)
    except ValueError:  # an integer of thousands of digits
        return "an integer of thousands of digits"
    return text if len(text) < 60 else f"{text[:60]} ..."


def _refuse_none(where: str, values: Sequence[float | int], *, what: str = "bin") -> None:
    array = _as_numbers(where, values)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise InputError(
            f"{where}: {what} {bad[0]} is {array[bad[0]]}. Fill it with a number"
            f"{', 0 for no events' if what == 'bin' else ''}."
        )


def _refuse_twice(names: Sequence[str], where: str, what: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise InputError(f"{where} has two {what} called {twice[0]!r}. Rename or merge them.")


def _named(spec: Spec, path: str) -> str:
    """A path of the schema with names: channels[0].samples[1] as channel 'SR', sample 'ttbar'."""
    words: list[str] = []
    place: Any = spec
    for step in path.replace("]", "").replace("[", ".").split("."):
        if not step:
            continue
        key = int(step) if step.isdigit() else step
        try:
            place = place[key]
        except (KeyError, IndexError, TypeError):
            words.append(step)
            break
        if isinstance(key, int) and isinstance(place, Mapping) and "name" in place and words:
            words[-1] = f"{words[-1].removesuffix('s')} {place['name']!r}"
        else:
            words.append(str(key))
    return ", ".join(words) or "its top level"

"""What defines a result: kept, compared, and named where it differs."""

import hashlib
import importlib.metadata
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

import difftune
from difftune.data import Events
from difftune.errors import InputError
from difftune.training.describing import PACKAGES, Definition, describe

SETTINGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl")
# Numbers differ by roundings then, so a search may go on, and says so.
ROUNDINGS = ("device",)

_ROWS = 65536
_WIDTH = 60


def differences(
    before: Any, now: Any, *, words: tuple[str, str] = ("then", "now"), place: str = ""
) -> list[str]:
    """What is not the same, one line each: `"seed: 1 then, 2 now"`.

    Args:
        before: A definition.
        now: Another one.
        words: What to call them.
        place: What they are definitions of, for the lines.
    """
    both = isinstance(before, Mapping) and isinstance(now, Mapping)
    if both and before.get("is") == now.get("is"):
        names = list(dict.fromkeys([*now, *before]))
        return [
            line
            for name in names
            for line in differences(
                before.get(name), now.get(name), words=words, place=f"{place}.{name}".strip(".")
            )
        ]
    # So that a NaN equals itself.
    if json.dumps(before) == json.dumps(now) or before == now:
        return []
    head, _, last = place.rpartition(".")
    if last in ("content", "code") and before is not None and now is not None:
        return [f"{head}: other {'values' if last == 'content' else 'code'} {words[1]}"]
    return [f"{place}: {_short(before)} {words[0]}, {_short(now)} {words[1]}"]


def listed(lines: list[str], most: int = 8) -> str:
    """The lines in one, not too many of them."""
    more = [f"and {len(lines) - most} more"] if len(lines) > most else []
    return "; ".join([*lines[:most], *more])


def _short(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, Mapping):
        if "is" in value:
            return str(value["is"])
        value = ", ".join(map(str, value)) or "nothing"
    text = str(value)
    return text if len(text) <= _WIDTH else f"{text[: _WIDTH - 1]}…"


def versions(packages: Sequence[str] = PACKAGES) -> dict[str, str]:
    """Versions of packages, by name."""
    found = {}
    for name in packages:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = difftune.__version__ if name == "difftune" else "not installed"
    return found


def surroundings() -> Definition:
    """Versions, settings of JAX, and the kind of device."""
    return {
        "versions": {"python": ".".join(map(str, sys.version_info[:2])), **versions()},
        "settings": {name: describe(getattr(jax.config, name, None)) for name in SETTINGS},
        "device": jax.local_devices()[0].device_kind,
    }


def of_events(events: Events) -> Definition:
    """Columns by name, so that a difference can be named; their order counts as well."""
    return {
        "columns": list(events.feature_names),
        "events": len(events),
        "folds": events.folds,
        "processes": [f"{each.name} ({each.role})" for each in events.processes],
        "column": dict(
            zip(events.feature_names, _columns(np.asarray(events.features)), strict=True)
        ),
        "weight": describe(np.asarray(events.weight)),
        "process": describe(np.asarray(events.process)),
        "fold": describe(np.asarray(events.fold)),
        **_regions(events),
        **_targets(events),
        "variations": {
            name: {
                "processes": list(varied.processes),
                **{side: _variation(getattr(varied, side)) for side in ("up", "down")},
            }
            for name, varied in events.variations.items()
        },
    }


def _regions(events: Events) -> Definition:
    """Nothing where there are none, as before there were any."""
    if events.region is None:
        return {}
    return {
        "regions": [f"{each.name} ({each.role})" for each in events.regions],
        "region": describe(np.asarray(events.region)),
        "observable": describe(np.asarray(events.observable)),
    }


def _targets(events: Events) -> Definition:
    """Nothing where there are none, as before there were any."""
    if events.target is None:
        return {}
    return {"targets": list(events.target_names), "target": describe(np.asarray(events.target))}


def _variation(varied: Any) -> Any:
    return of_events(varied) if isinstance(varied, Events) else describe(varied)


def _columns(features: np.ndarray) -> list[Definition]:
    """A digest of each column; a block of rows at a time, so that nothing large is copied."""
    digests = [hashlib.sha256() for _ in range(features.shape[1])]
    for begin in range(0, len(features), _ROWS):
        for digest, column in zip(digests, features[begin : begin + _ROWS].T, strict=True):
            digest.update(np.ascontiguousarray(column).data)
    return [{"is": "column", "content": digest.hexdigest()} for digest in digests]


def refuse_other(before: Definition, now: Definition, *, where: str, remedy: str) -> list[str]:
    """Compares what was begun with what is asked for.

    Args:
        before: Definition that was kept.
        now: That of today.
        where: What was kept, for the message.
        remedy: What to do, as a sentence.

    Returns:
        What differs and changes no more than roundings.

    Raises:
        InputError: Something differs that changes the result; all of it is named.
    """
    found = differences(before, now)
    small = [line for line in found if line.partition(":")[0] in ROUNDINGS]
    if grave := [line for line in found if line not in small]:
        raise InputError(f"{where} of something else. {listed(grave)}. {remedy}")
    return small

"""Bins of a workspace: fewer of them, and the statistics of the simulation in them."""

import itertools
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.workspaces.spec import PER_BIN, Content, copied, matching, names, parameters

logger = logging.getLogger("difftune")


def rebinned(content: Content, given: Mapping[str, int | Sequence[int]]) -> Content:
    """A workspace in which adjacent bins are one.

    Args:
        content: The workspace; stays as it is.
        given: By name or pattern of the channel, see `Workspace.rebin`.

    Raises:
        InputError: There is no such channel, or its bins cannot be joined like that.
    """
    if not isinstance(given, Mapping):
        raise InputError(f"rebin({given!r}): give bins by channel, as {{'SR': 2}}.")
    there = names(content["channels"])
    asked: dict[str, Any] = {}
    for pattern, value in given.items():
        asked |= dict.fromkeys(matching("rebin", pattern, there), value)
    result = copied(content)
    counts: dict[str, tuple[int, int]] = {}
    for channel in result["channels"]:
        if channel["name"] not in asked:
            continue
        bins = len(channel["samples"][0]["data"])
        edges = _edges(channel["name"], bins, asked[channel["name"]])
        for sample in channel["samples"]:
            sample["data"] = _sums(sample["data"], edges)
            for modifier in sample["modifiers"]:
                kind, data = modifier["type"], modifier["data"]
                if kind == "histosys":
                    for field in ("hi_data", "lo_data"):
                        data[field] = _sums(data[field], edges)
                elif kind in ("shapesys", "staterror"):
                    modifier["data"] = np.sqrt(_sums(np.square(data), edges)).tolist()
                if kind in PER_BIN:
                    counts[modifier["name"]] = bins, len(edges) - 1
        if len(channel.get("edges", ())) == bins + 1:
            channel["edges"] = [channel["edges"][edge] for edge in edges]
        for observation in result["observations"]:
            if observation["name"] == channel["name"]:
                observation["data"] = _sums(observation["data"], edges)
    for _, options in parameters(result):
        if options["name"] in counts:
            _shorten(options, *counts[options["name"]])
    return result


def _edges(channel: str, bins: int, value: Any) -> list[int]:
    where = f"rebin: channel {channel!r} has {bins} bins"
    if isinstance(value, int) and not isinstance(value, bool):
        if not 1 <= value <= bins or bins % value:
            divisors = [n for n in range(1, bins + 1) if bins % n == 0]
            raise InputError(
                f"{where}, and {value} do not divide them. Join {divisors[1:]} of them, or say "
                f"where a bin begins, as [0, {bins // 2}, {bins}]."
            )
        return list(range(0, bins + 1, value))
    if isinstance(value, str) or not isinstance(value, Sequence):
        raise InputError(f"{where}: {value!r} is neither a number of bins nor where bins begin.")
    edges = list(value)
    if (
        len(edges) < 2
        or any(isinstance(e, bool) or not isinstance(e, int) for e in edges)
        or edges[0] != 0
        or edges[-1] != bins
        or any(high <= low for low, high in itertools.pairwise(edges))
    ):
        raise InputError(
            f"{where}: {edges} do not say where new ones begin. Give whole numbers that rise from "
            f"0 to {bins}, as [0, {bins // 2}, {bins}]."
        )
    return edges


def _sums(values: Any, edges: list[int]) -> list[float]:
    return np.add.reduceat(np.asarray(values, float), edges[:-1]).tolist()


def _shorten(options: Content, before: int, after: int) -> None:
    """A configuration that says the same of all bins says so of fewer."""
    for field in ("inits", "bounds", "auxdata", "factors", "sigmas"):
        values = options.get(field)
        if values is None or len(values) != before:
            continue
        if any(value != values[0] for value in values):
            raise InputError(
                f"rebin: parameter {options['name']!r} has {field} of its own in each bin. Drop "
                "them from the measurement first."
            )
        options[field] = values[:after]


def _relative(channel: Content, name: str) -> Float[np.ndarray, " bins"]:
    """Relative uncertainty of what a staterror acts on."""
    bins = len(channel["samples"][0]["data"])
    yields, variance = np.zeros(bins), np.zeros(bins)
    for sample in channel["samples"]:
        for modifier in sample["modifiers"]:
            if (modifier["type"], modifier["name"]) == ("staterror", name):
                yields += np.asarray(sample["data"], float)
                variance += np.square(modifier["data"])
    return np.divide(np.sqrt(variance), yields, out=np.zeros(bins), where=yields > 0)


def statistics(content: Content, *, constraint: str, threshold: float) -> Content:
    """A workspace with other parameters of the statistics of the simulation.

    Args:
        content: The workspace; stays as it is.
        constraint: "gaussian" or "poisson".
        threshold: Relative uncertainty below which a bin has no such parameter.

    Raises:
        InputError: There is no staterror, or a name is taken.
    """
    if constraint not in ("gaussian", "poisson"):
        raise InputError(
            f"mc_statistics(constraint={constraint!r}): choose 'gaussian' or 'poisson'."
        )
    if not 0 <= threshold < 1:
        raise InputError(f"mc_statistics(threshold={threshold}): a relative uncertainty, as 0.01.")
    result = copied(content)
    taken = {m["name"] for c in result["channels"] for s in c["samples"] for m in s["modifiers"]}
    gone: set[str] = set()
    found = False
    for channel in result["channels"]:
        stats = {
            modifier["name"]
            for sample in channel["samples"]
            for modifier in sample["modifiers"]
            if modifier["type"] == "staterror"
        }
        relative = {name: _relative(channel, name) for name in sorted(stats)}
        for sample in channel["samples"]:
            for modifier in sample["modifiers"]:
                if modifier["type"] != "staterror":
                    continue
                found = True
                name = modifier["name"]
                small = relative[name] < threshold
                modifier["data"] = np.where(small, 0.0, modifier["data"]).tolist()
                if constraint == "poisson":
                    own = f"{name}_{channel['name']}_{sample['name']}"
                    if own in taken:
                        raise InputError(
                            f"mc_statistics: the new shapesys {own!r} has a name that is there "
                            "already. Rename that modifier."
                        )
                    gone.add(name)
                    modifier.update(name=own, type="shapesys")
    if not found:
        raise InputError(
            "mc_statistics: no sample has a staterror. It is made with build_workspace, or read "
            "from a datacard with autoMCStats."
        )
    for measurement in result["measurements"]:
        config = measurement["config"]
        config["parameters"] = [o for o in config["parameters"] if o["name"] not in gone]
    return result

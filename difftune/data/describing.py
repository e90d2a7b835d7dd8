"""Events as tables of text: what `print(events)` shows, and `difftune check`."""

from typing import TYPE_CHECKING

import jax
import numpy as np

from difftune.data.sums import normalisations_text

if TYPE_CHECKING:
    from difftune.data.events import Events

_FEATURES = 40
"""So many are shown at most."""


def whole_text(events: "Events") -> str:
    """Processes, regions, variations and features, as text."""
    weight = events.weight
    leaves = (events.features, events.process, weight)
    # Under a transformation of JAX there are no values, and a tree may hold anything.
    if any(
        isinstance(each, jax.core.Tracer) or not isinstance(each, np.ndarray | jax.Array)
        for each in leaves
    ) or [each.ndim for each in leaves] != [2, 1, 1]:
        return f"Events of {len(events.processes)} processes (not as values)"
    head = f"Events: {len(events)} of {len(events.processes)} processes, {events.folds} folds"
    return "\n".join([head, processes_text(events), features_text(events)])


def processes_text(events: "Events") -> str:
    """Events and expected yields of each process and region, variations and normalisations."""
    counts = np.bincount(np.asarray(events.process), minlength=len(events.processes))
    yields = events.yields()
    lines = [f"{'process':<20} {'role':<11} {'events':>9} {'expected':>14} {'negative':>9}"]
    for index, process in enumerate(events.processes):
        mine = np.asarray(events.weight)[np.asarray(events.process) == index]
        negative = f"{np.mean(mine < 0):.1%}" if len(mine) else "-"
        lines.append(
            f"{process.name:<20} {process.role:<11} {counts[index]:>9} {yields[index]:>14.1f} "
            f"{negative:>9}"
        )
    for number, region in enumerate(events.regions):
        mine = np.asarray(events.region) == number
        here = np.bincount(
            np.asarray(events.process)[mine],
            np.asarray(events.weight, np.float64)[mine],
            len(events.processes),
        )
        found = ", ".join(
            f"{process.name} {count:.1f}"
            for process, count in zip(events.processes, here, strict=True)
            if process.role != "data"
        )
        lines.append(f"{region.role} region {region.name} ({mine.sum()} events): {found}")
    lines.append(f"variations: {', '.join(events.variations) or 'none'}")
    if events.target_names:
        lines.append(f"targets: {', '.join(events.target_names)}")
    if events.normalisations:
        lines.append(normalisations_text(events.normalisations))
    return "\n".join(lines)


def features_text(events: "Events") -> str:
    """Range and missing share of each feature; of objects, over all that are there."""
    columns: dict[str, list[int]] = {name: [i] for i, name in enumerate(events.feature_names)}
    for each in events.collections:
        width = len(each.features)
        for offset, name in enumerate(each.features):
            places = [*range(each.start + offset, each.stop, width)]
            for place in places:
                columns.pop(events.feature_names[place])
            columns[f"{each.name}[:].{name}"] = places
    shown = list(columns.items())[:_FEATURES]
    width = max([20, *(len(name) for name, _ in shown)])
    lines = [f"{'feature':<{width}} {'lowest':>12} {'median':>12} {'highest':>12} {'missing':>9}"]
    for name, places in shown:
        values = np.asarray(events.features)[:, places]
        there = values[~np.isnan(values)]
        if len(there):
            low, middle, high = np.min(there), np.median(there), np.max(there)
            numbers = f"{low:>12.5g} {middle:>12.5g} {high:>12.5g}"
        else:
            numbers = f"{'-':>12} {'-':>12} {'-':>12}"
        missing = f"{1 - len(there) / values.size:.1%}" if values.size else "-"
        lines.append(f"{name:<{width}} {numbers} {missing:>9}")
    if len(columns) > len(shown):
        lines.append(f"and {len(columns) - len(shown)} more features")
    return "\n".join(lines)

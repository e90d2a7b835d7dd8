"""Several runs side by side: their figures, and what they were made with."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from difftune import files
from difftune.errors import InputError
from difftune.training import differences

# Lists that are no repetitions of one figure, and numbers of what was searched.
_LEFT_OUT = ("ranking", "schedule", "poi")
_SETTINGS = 12


def compare(folders: Sequence[str | Path]) -> str:
    """Figures of runs side by side, and in what their configurations differ from the first.

    A figure that a run has several times, for its seeds, is shown as mean and spread.

    Args:
        folders: Run directories.

    Returns:
        A table, as text.

    Raises:
        InputError: There is no run, or it has no results yet.
    """
    if not folders:
        raise InputError("compare: give the folders of one or more runs.")
    runs = [Path(folder) for folder in folders]
    results = [_results(folder) for folder in runs]
    settings = [files.read_json(folder / "config.json") for folder in runs]
    pois = [each.get("fit", {}).get("poi", "mu") for each in settings]
    figures = [dict(_figures(content, poi)) for content, poi in zip(results, pois, strict=True)]
    names = list(dict.fromkeys(name for own in figures for name in own))
    heads = _short(runs)
    rows = [["", *heads], *([name, *(own.get(name, "-") for own in figures)] for name in names)]
    lines = _aligned(rows)
    for head, own in zip(heads[1:], settings[1:], strict=True):
        words = (f"in {heads[0]}", f"in {head}")
        changed = differences(settings[0], own, words=words)
        if changed:
            lines += ["", f"settings of {head} that are not those of {heads[0]}:"]
            lines += [f"  {line}" for line in changed[:_SETTINGS]]
            if len(changed) > _SETTINGS:
                lines.append(f"  and {len(changed) - _SETTINGS} more")
    return "\n".join(lines)


def _results(folder: Path) -> dict[str, Any]:
    path = folder / "results.json"
    if not path.is_file():
        raise InputError(
            f"{folder} has no results.json: it holds no run of difftune, or one that has not "
            "ended; continue it with --resume."
        )
    return files.read_json(path)


def _figures(results: Mapping[str, Any], poi: str) -> Iterator[tuple[str, str]]:
    """Names and values of the figures that a run has found."""
    for name, content in results.items():
        if name == "fit":
            yield from _fitted(content, poi)
        elif name not in _LEFT_OUT:
            yield from _numbers(name, content)


def _numbers(name: str, content: Any) -> Iterator[tuple[str, str]]:
    """Every number below a name; of a list with one entry a repetition, mean and spread."""
    if isinstance(content, Mapping):
        for key, value in content.items():
            if key in _LEFT_OUT:
                continue
            yield from _numbers(f"{name} {key}", value)
    elif _is_number(content):
        yield name, f"{content:.4g}"
    elif name == "cls expected" and isinstance(content, list) and len(content) == 5:
        yield f"{name} (median)", f"{content[2]:.4g}"
    elif isinstance(content, list) and content and all(map(_is_number, content)):
        mean = float(np.mean(content))
        spread = f" ± {np.std(content, ddof=1):.2g} ({len(content)})" if len(content) > 1 else ""
        yield name, f"{mean:.4g}{spread}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _fitted(content: Mapping[str, Any], poi: str) -> Iterator[tuple[str, str]]:
    """The parameter of interest."""
    values = zip(
        *(content.get(key, ()) for key in ("names", "values", "uncertainties")), strict=False
    )
    for name, value, error in values:
        if None not in (value, error) and name == poi:
            yield f"fitted {name}", f"{value:.4g} ± {error:.2g}"


def _short(folders: Sequence[Path]) -> list[str]:
    """Names of folders, as short as tells them apart."""
    whole = [folder.absolute() for folder in folders]
    for depth in range(1, max(len(path.parts) for path in whole) + 1):
        names = ["/".join(path.parts[-depth:]) for path in whole]
        if len(set(names)) == len(names):
            return names
    return [str(folder) for folder in folders]


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if number == 0 else cell.rjust(width)
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]

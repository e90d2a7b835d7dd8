"""Adds up the generated weights of the files of a sample."""

import fnmatch
import math
from collections.abc import Sequence

import numpy as np
import uproot

from difftune.data.expressions import parse
from difftune.data.names import Names, Values
from difftune.data.sources import open_table
from difftune.data.sums import SumOfWeights
from difftune.data.transform import Missing
from difftune.errors import InputError

_ROWS = 1_000_000


def sum_of_weights(source: float | SumOfWeights, files: Sequence[str], where: str) -> float:
    """The sum of the generated weights of all files.

    Args:
        source: The number, or where it is written.
        files: Paths or addresses.
        where: The caller, for messages.

    Raises:
        InputError: It is not there in a file, or the sum is not positive.
    """
    if isinstance(source, float):
        return source
    one = _of_tree if source.tree is not None else _of_histogram
    sums = [one(source, file, where) for file in files]
    total = math.fsum(sums)
    if not (math.isfinite(total) and total > 0):
        raise InputError(
            f"{where}: the sum of generated weights, {source}, is {total:g} in "
            f"{_listed(files, sums)}: events cannot be normalised to that. Correct sum_of_weights "
            "or the files."
        )
    return total


def _listed(files: Sequence[str], sums: Sequence[float]) -> str:
    shown = [f"{file} ({value:g})" for file, value in zip(files, sums, strict=True)]
    return ", ".join(shown[:4]) + (f" and {len(shown) - 4} more files" if len(shown) > 4 else "")


def _of_tree(source: SumOfWeights, file: str, where: str) -> float:
    place = f"{where}: sum_of_weights"
    try:
        table = open_table(file, source.tree, place)
    except InputError as error:
        raise InputError(
            f"{error} Without it the weights cannot be normalised: take the file out, or give "
            "another sum_of_weights."
        ) from error
    expression = parse(source.branch, place)
    names = Names(table, {}, {}, Missing())
    if names.code(expression).kind not in ("number", "bool"):
        raise expression.error("is no number for each entry, so it cannot be summed.")
    columns = sorted(names.needed(expression))
    if not columns:
        raise expression.error(f"names no branch of {table.place}; a sum is one as it is.")
    total = 0.0
    for start, chunk in table.read(columns, _ROWS):
        count = len(next(iter(chunk.values())))
        values = Values(names, chunk, np.arange(start, start + count)).evaluate(expression)
        total += float(np.sum(np.asarray(values, np.float64)))
    return total


def _of_histogram(source: SumOfWeights, file: str, where: str) -> float:
    pattern = str(source.histogram)
    try:
        with uproot.open(file) as handle:
            known = [n for n, kind in handle.classnames(cycle=False).items() if kind[:2] == "TH"]
            found = fnmatch.filter(known, pattern)
            if len(found) != 1:
                there = "several histograms" if found else "no histogram"
                shown = ", ".join((found or known)[:8]) or "none"
                raise InputError(
                    f"{where}: sum_of_weights: {file!r} has {there} {pattern!r}. Histograms in it: "
                    f"{shown}. Give the name of one."
                )
            histogram = handle[found[0]]
            contents = histogram.values()
            labels = histogram.axis().labels() or []
    except InputError:
        raise
    except Exception as error:
        raise InputError(
            f"{where}: sum_of_weights: {file!r} cannot be read: {type(error).__name__}: {error}."
        ) from error
    if contents.ndim != 1:
        raise InputError(
            f"{where}: sum_of_weights: {found[0]!r} of {file!r} has {contents.ndim} dimensions; "
            "one is needed."
        )
    number = source.bin
    if isinstance(number, str):
        if number not in labels:
            raise InputError(
                f"{where}: sum_of_weights: {found[0]!r} of {file!r} has no bin {number!r}. Its "
                f"labels are {', '.join(labels) or 'none'}."
            )
        return float(contents[list(labels).index(number)])
    if number is None or not 1 <= number <= len(contents):
        raise InputError(
            f"{where}: sum_of_weights: {found[0]!r} of {file!r} has the bins 1 to "
            f"{len(contents)}, and no bin {number}."
        )
    return float(contents[number - 1])

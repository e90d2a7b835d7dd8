"""Maps of fields in expressions: `field("map.json", "nominal", eta, pt)`.

The map is a file of `difftune.fields.FieldMap.write`. What is asked of it is the field, "nominal",
or its ratio to that with a mode shifted by one standard deviation, "mode1_up", "mode1_down". Then
come its coordinates, as expressions of columns; those beyond an edge count as on it.
"""

import ast
import functools
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np

from difftune.data.arithmetic import number
from difftune.data.corrections import Unusable
from difftune.errors import InputError
from difftune.fields import FieldMap

_FORM = '`field("map.json", "nominal", eta, pt)`'


def prepared(node: ast.Call) -> tuple[list[ast.expr], Callable[..., np.ndarray]]:
    """The arguments of a field that are expressions, and the function of their values.

    Args:
        node: The call, as it stands in an expression.

    Raises:
        Unusable: There is no such map, or it has other coordinates.
    """
    texts = [a.value if isinstance(a, ast.Constant) else None for a in node.args[:2]]
    if len(texts) < 2 or not all(isinstance(text, str) for text in texts) or node.keywords:
        raise Unusable(f"field takes a file, and what is asked of it, first: {_FORM}.")
    file, what = map(str, texts)
    field = _loaded(file)
    coordinates = list(node.args[2:])
    width = sum(domain.width for domain in field.domains)
    if len(coordinates) != width:
        raise Unusable(f"{file!r} has {width} coordinates; {len(coordinates)} are given: {_FORM}.")
    asked = re.fullmatch(r"mode(\d+)_(up|down)", what)
    if what != "nominal" and not (asked and 1 <= int(asked[1]) <= len(field.modes)):
        raise Unusable(
            f'{what!r}: {file!r} has "nominal" and "mode1_up", "mode1_down" of '
            f"{len(field.modes)} modes."
        )

    def evaluate(*values: np.ndarray) -> np.ndarray:
        columns = np.broadcast_arrays(*(number(np.asarray(v)).astype(np.float64) for v in values))
        points = np.stack([column.ravel() for column in columns], axis=1)
        if asked is None:
            found = field(points)
        else:
            found = field.ratio(int(asked[1]), 1.0 if asked[2] == "up" else -1.0, points)
        return np.reshape(found, columns[0].shape)

    return coordinates, evaluate


def _loaded(file: str) -> FieldMap:
    # Late, since what opens files uses expressions.
    from difftune.data.sources import resolve

    try:
        (path, *_) = resolve(file, "field")
        return _map(path, Path(path).stat().st_mtime_ns)
    except (InputError, OSError) as error:
        raise Unusable(f"{error}") from error


@functools.lru_cache(maxsize=16)
def _map(path: str, _changed: int) -> FieldMap:
    return FieldMap.read(path)

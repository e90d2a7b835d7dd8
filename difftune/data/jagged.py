"""Columns that hold a list for each event, as awkward arrays."""

from typing import Any

import awkward as ak
import numpy as np

from difftune.data.kinds import Kind, depth, element


def blank(kind: Kind) -> Any:
    """A column of a kind without a row: of numpy, or of awkward where it holds lists."""
    inner = element(kind)
    if not depth(kind):
        kinds = {"string": np.zeros(0, "S1"), "bool": np.zeros(0, bool)}
        return kinds.get(kind, np.zeros(0, np.int64))
    form = _FORMS[inner]
    for _ in range(depth(kind)):
        form = ak.forms.ListOffsetForm("i64", form)
    return ak.Array(form.length_zero_array())


_FORMS = {"number": ak.forms.NumpyForm("int64"), "bool": ak.forms.NumpyForm("bool")}


def without_options(values: Any) -> Any:
    """NaN for what is not there: only a float can say that there is no value."""
    if "?" not in str(values.type):
        return values
    if values.fields:
        members = {name: without_options(values[name]) for name in values.fields}
        return ak.zip(members, depth_limit=1)
    if "string" in str(values.type):
        return ak.fill_none(values, "", axis=-1)
    return ak.fill_none(ak.values_astype(values, np.float64), np.nan, axis=None)


def texts(values: Any) -> np.ndarray:
    """Strings of awkward as bytes of numpy."""
    layout = ak.to_layout(values).to_ListOffsetArray64(True)
    offsets = np.asarray(layout.offsets.data)
    letters = np.asarray(layout.content.data)[: offsets[-1]]
    size = np.diff(offsets)
    width = max(1, int(size.max(initial=0)))
    result = np.zeros((len(size), width), np.uint8)
    result[np.arange(width) < size[:, None]] = letters
    return result.view(f"S{width}").reshape(-1)

"""Templates of a workspace as ROOT histograms, for tools that want those."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.files import unwritable
from difftune.workspaces.spec import Content

Numbers = Float[np.ndarray, " bins"]


class Histogram(NamedTuple):
    """A template to be written.

    Attributes:
        values: Yields of the bins.
        errors: Their statistical uncertainties.
        edges: Of the bins, one more.
    """

    values: Numbers
    errors: Numbers
    edges: Float[np.ndarray, " edges"]


class Varied(NamedTuple):
    """A normsys and a histosys of one name together.

    Attributes:
        name: Of the parameter.
        factors: On the yield at plus and minus one standard deviation, of the normsys.
        templates: At plus and minus one, both together; None without a histosys.
    """

    name: str
    factors: tuple[float, float]
    templates: tuple[Numbers, Numbers] | None


def varied(sample: Content) -> Iterator[Varied]:
    """The systematic uncertainties of a sample, each name once."""
    own: dict[str, dict[str, Any]] = {}
    for modifier in sample["modifiers"]:
        if modifier["type"] in ("normsys", "histosys"):
            own.setdefault(modifier["name"], {})[modifier["type"]] = modifier["data"]
    for name, data in own.items():
        norm = data.get("normsys", {"hi": 1.0, "lo": 1.0})
        factors = float(norm["hi"]), float(norm["lo"])
        templates = None
        if "histosys" in data:
            sides = (np.asarray(data["histosys"][f"{side}_data"], float) for side in ("hi", "lo"))
            up, down = (values * factor for values, factor in zip(sides, factors, strict=True))
            templates = up, down
        yield Varied(name, factors, templates)


def statistical_errors(who: str, channel: Content, sample: Content) -> Numbers:
    """Uncertainties of the staterror; none without one.

    Raises:
        InputError: The sample has several.
    """
    own = [m for m in sample["modifiers"] if m["type"] == "staterror"]
    if len(own) > 1:
        raise InputError(
            f"{who}: sample {sample['name']!r} of channel {channel['name']!r} has the staterrors "
            f"{[m['name'] for m in own]}; a histogram has one uncertainty per bin. Drop one."
        )
    return np.asarray(own[0]["data"] if own else np.zeros(len(sample["data"])), float)


def refuse_others(who: str, content: Content, types: tuple[str, ...]) -> None:
    """Refuses modifiers of other types.

    Raises:
        InputError: For the first that is found.
    """
    for channel in content["channels"]:
        for sample in channel["samples"]:
            for modifier in sample["modifiers"]:
                if modifier["type"] not in types:
                    raise InputError(
                        f"{who}: channel {channel['name']!r}, sample {sample['name']!r} has the "
                        f"{modifier['type']} {modifier['name']!r}, for which there is no word. "
                        f"Drop it: drop(modifiers={modifier['name']!r})."
                    )


def edges_of(channel: Content, kept: Mapping[str, Any]) -> Float[np.ndarray, " edges"]:
    """Edges of the bins that the workspace has kept, or numbers."""
    bins = len(channel["samples"][0]["data"])
    own = kept.get(channel["name"])
    return np.asarray(own if own and len(own) == bins + 1 else np.arange(bins + 1), float)


def write_histograms(path: Path, histograms: Mapping[str, Histogram]) -> None:
    """Writes histograms to a ROOT file, with their uncertainties.

    Args:
        path: The file.
        histograms: By name; a slash is a folder.

    Raises:
        InputError: It cannot be written.
    """
    import uproot
    from uproot.writing.identify import to_TAxis, to_TH1x

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with uproot.recreate(path) as file:
            for name, (values, errors, edges) in histograms.items():
                variance = np.square(errors)
                centers = (edges[1:] + edges[:-1]) / 2
                file[name] = to_TH1x(
                    fName=None,
                    fTitle="",
                    data=np.pad(values, 1),
                    fEntries=float(values.sum()),
                    fTsumw=float(values.sum()),
                    fTsumw2=float(variance.sum()),
                    fTsumwx=float(values @ centers),
                    fTsumwx2=float(values @ centers**2),
                    fSumw2=np.pad(variance, 1),
                    fXaxis=to_TAxis(
                        fName="xaxis",
                        fTitle="",
                        fNbins=len(values),
                        fXmin=float(edges[0]),
                        fXmax=float(edges[-1]),
                        fXbins=edges,
                    ),
                )
    except OSError as error:
        raise unwritable(path, error) from error

"""Histograms that a TRExFitter configuration names, summed and in the bins of a region."""

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from difftune.errors import nearest
from difftune.workspaces.trexfitter_config import Block, Config
from difftune.workspaces.trexfitter_settings import PARTS

Numbers = Float[np.ndarray, " bins"]


class Template(NamedTuple):
    """A histogram.

    Attributes:
        values: Of the bins.
        errors: Their statistical uncertainties.
        edges: Of the bins.
    """

    values: Numbers
    errors: Numbers
    edges: Float[np.ndarray, " edges"]


class Histograms:
    """The ROOT files of a configuration, each opened once."""

    def __init__(self, config: Config, folders: list[Path]) -> None:
        self.config, self.folders = config, folders
        self.merged = config.one("Job").truth("MergeUnderOverFlow", False)
        self.opened: dict[Path, Any] = {}

    def __enter__(self) -> "Histograms":
        return self

    def __exit__(self, *_: object) -> None:
        for file in self.opened.values():
            file.close()

    def places(
        self, region: Block, sample: Block, varied: tuple[Block, str] | None = None
    ) -> Iterator[tuple[str, str]]:
        """Files and names of the histograms that are summed.

        The most special of systematic, sample, region and job says path, file and name; suffixes of
        all of them are joined.
        """
        job = self.config.one("Job")
        parts = []
        for part in PARTS:
            key = f"Histo{part}"
            found: list[str] = []
            if varied is not None:
                block, side = varied
                found = block.several(f"{key}{side}", f"{key}s{side}")
            for block in (sample, region, job):
                found = found or block.several(key)
            if not found:
                sample.refuse(None, f"nothing says the {key} of region {region.name!r}.")
            ends = [block.several(f"{key}Suff") for block in (region, sample)]
            if varied is not None:
                ends.append(varied[0].several(f"{key}Suf{varied[1]}"))
            elif part == "Name":
                ends.append(job.several("HistoNameNominal"))
            ends = [each or [""] for each in ends]
            parts.append(
                [(each, "".join(end)) for each in found for end in itertools.product(*ends)]
            )
        for (path, path_end), (file, file_end), (name, name_end) in itertools.product(*parts):
            root = f"{file}{file_end}".removesuffix(".root")
            yield f"{path}{path_end}/{root}.root", f"{name}{name_end}"

    def read(
        self, region: Block, sample: Block, scale: float, varied: tuple[Block, str] | None = None
    ) -> Template:
        """The sum of the histograms of a sample in a region, in the bins of the region."""
        scales = [sample.as_number("LumiScale", s) for s in sample.several("LumiScale")]
        values, variances, edges = np.zeros(0), np.zeros(0), np.zeros(0)
        for index, (file, name) in enumerate(self.places(region, sample, varied)):
            block = sample if varied is None else varied[0]
            own, own_variances, own_edges = self._one(block, file, name)
            own, own_variances, own_edges = _rebinned(
                region, own, own_variances, own_edges, self.merged
            )
            factor = scale
            if scales:
                factor *= scales[index] if index < len(scales) else scales[0]
            if not index:
                values, variances, edges = np.zeros(len(own)), np.zeros(len(own)), own_edges
            if len(own) != len(values):
                block.refuse(None, f"{name!r} in {file} has {len(own)} bins, not {len(values)}.")
            values = values + own * factor
            variances = variances + own_variances * factor**2
        return Template(values, np.sqrt(variances), edges)

    def _one(self, block: Block, file: str, name: str) -> tuple[Numbers, Numbers, Any]:
        """Contents and variances with underflow and overflow, and edges."""
        root = self._file(block, file)
        try:
            found = root[name]
            values, edges = found.values(flow=True), found.axis().edges()
            variances = found.variances(flow=True)
        except KeyError:
            keys = [key.split(";")[0] for key in root.keys(recursive=True)]
            block.refuse(None, f"{file} has no histogram {name!r}.{nearest(name, keys)}")
        except AttributeError:
            block.refuse(None, f"{name!r} in {file} is no histogram.")
        if values.ndim != 1:
            block.refuse(None, f"{name!r} in {file} has {values.ndim} axes. Unroll it to one.")
        if not np.isfinite(values).all():
            block.refuse(None, f"{name!r} in {file} has a bin that is no number.")
        return np.asarray(values, float), np.asarray(variances, float), np.asarray(edges, float)

    def _file(self, block: Block, name: str) -> Any:
        import uproot

        paths = [folder / name for folder in self.folders]
        for path in paths:
            if path in self.opened:
                return self.opened[path]
            if path.is_file():
                try:
                    self.opened[path] = uproot.open(path)
                except (OSError, ValueError) as error:
                    block.refuse(None, f"{path} cannot be read as a ROOT file: {error}")
                return self.opened[path]
        block.refuse(
            None,
            f"there is no {' and no '.join(map(str, paths))}. Say from where the paths go, "
            "folder=...",
        )


def _rebinned(
    region: Block, values: Numbers, variances: Numbers, edges: Any, merged: bool
) -> tuple[Float[np.ndarray, " kept"], Float[np.ndarray, " kept"], Any]:
    """Contents of the bins that the region wants, of ones with underflow and overflow."""
    every = int(region.number("Rebin", 1.0))
    if "Rebin" in region.settings:
        bins = len(edges) - 1
        if every < 1 or bins % every:
            region.refuse("Rebin", f"{every} of {bins} bins cannot be joined.")
        values, variances, edges = _joined(values, variances, edges, edges[::every])
    for key in ("Binning", "Rebinning"):
        if key not in region.settings:
            continue
        texts = region.listed(key)
        if not re.match(r"[-+.\d]", texts[0]):
            region.refuse(
                key, f"{key} is {texts[0]!r}: give the edges of the bins, as TRExFitter logs them."
            )
        wanted = np.array([region.as_number(key, text) for text in texts])
        near = np.isclose(wanted[:, None], edges, rtol=1e-9, atol=1e-9 * np.ptp(edges)).any(axis=1)
        if len(wanted) < 2 or (np.diff(wanted) <= 0).any() or not near.all():
            region.refuse(
                key, f"{key} needs edges that rise and are edges of the histogram: {edges.tolist()}"
            )
        values, variances, edges = _joined(values, variances, edges, wanted)
    if merged:
        for row in (values, variances):
            row[1] += row[0]
            row[-2] += row[-1]
    keep = np.ones(len(edges) - 1, bool)
    for text in region.listed("DropBins"):
        index = int(region.as_number("DropBins", text))
        if not 0 <= index < len(keep):
            region.refuse("DropBins", f"{index} is none of {len(keep)} bins, which begin with 0.")
        keep[index] = False
    if not keep.any():
        region.refuse("DropBins", "no bin would be left.")
    return values[1:-1][keep], variances[1:-1][keep], edges if keep.all() else np.zeros(0)


def _joined(values: Numbers, variances: Numbers, edges: Any, wanted: Any) -> tuple[Any, Any, Any]:
    """Sums of bins between some of their edges, with underflow and overflow."""
    width = np.ptp(edges)
    first = np.searchsorted(edges, wanted - 1e-9 * width) + 1
    starts = np.concatenate([[0], first])
    return np.add.reduceat(values, starts), np.add.reduceat(variances, starts), wanted

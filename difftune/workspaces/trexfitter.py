"""From a TRExFitter configuration that reads histograms to a workspace.

What settings mean is taken from TRExFitter's public documentation (docs/Settings) and its sources
(ConfigReader, HistoReader, HistoTools::SymmetrizeHistograms, SampleHist::FixEmptyBins).
"""

import logging
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from difftune.errors import nearest
from difftune.workspaces.bins import statistics
from difftune.workspaces.pruning import pruned
from difftune.workspaces.spec import Content, modifiers
from difftune.workspaces.trexfitter_config import Block, Config, read_config
from difftune.workspaces.trexfitter_histograms import Histograms, Numbers, Template
from difftune.workspaces.trexfitter_settings import KNOWN, PARTS, REMEDIES, SIDES, UNUSED

logger = logging.getLogger("difftune")

_EMPTY = 1e-6
"""What TRExFitter puts into a bin without events, or with fewer than none."""


def from_trexfitter(path: str | PathLike[str], *, folder: str | PathLike[str] | None) -> Content:
    """A workspace of a configuration; see `Workspace.from_trexfitter`.

    Args:
        path: The file.
        folder: From where its paths go; by default that of the file, or the one above.

    Raises:
        InputError: A setting or a histogram is not right, or has no counterpart.
    """
    file = Path(path)
    folders = [Path(folder)] if folder is not None else [file.parent, file.parent.parent]
    config = read_config(file, folders)
    job = config.one("Job")
    if job.word("ReadFrom", "HIST", "NTUP") == "NTUP":
        job.refuse(
            "ReadFrom",
            "it reads ntuples, of which templates are yet to be filled. `difftune init "
            f"{file}` makes an analysis file of it.",
        )
    idle = config.refuse_unknown(KNOWN, REMEDIES, UNUSED)
    if idle:
        logger.info("%s: without effect on the likelihood: %s.", file, ", ".join(idle))
    with Histograms(config, folders) as histograms:
        return _Builder(config, histograms).workspace()


class _Builder:
    """Makes channels, observations and parameters of a configuration."""

    def __init__(self, config: Config, histograms: Histograms) -> None:
        self.config, self.histograms = config, histograms
        self.job, self.fit = config.one("Job"), config.one("Fit")
        self.every_region = config.of("Region")
        self.samples = config.of("Sample")
        for kind in ("Region", "Sample"):
            _refuse_twice(config.of(kind))
        self.systematics = [] if self.stat_only else config.of("Systematic")
        self.region_names = [region.name for region in self.every_region]
        self.sample_names = [sample.name for sample in self.samples]
        self.parameters: dict[str, Content] = {}
        self.groups: dict[str, list[str]] = {}
        self.titles: dict[str, str] = {}
        self.smooth: list[str] = []
        self.corrected: list[str] = []
        for block in (*self.samples, *config.of("NormFactor"), *self.systematics):
            title = block.text("Title")
            if title is not None:
                self.titles[block.name] = title

    @property
    def stat_only(self) -> bool:
        """Whether all systematic uncertainties are left out."""
        return self.job.truth("StatOnly", False)

    def workspace(self) -> Content:
        """All of it."""
        poi = (self.job.listed("POI") or [""])[0]
        if not poi:
            self.job.refuse("POI", "name the parameter of interest, as POI: mu.")
        fitted = [region for region in self.every_region if self._is_fitted(region)]
        if not fitted:
            self.fit.refuse("FitRegion", "no region would be fitted.")
        channels, observations = [], []
        for region in fitted:
            channel, data = self._channel(region)
            channels.append(channel)
            observations.append({"name": region.name, "data": data})
        if poi not in self.parameters:
            self.job.refuse(
                "POI",
                f"{poi!r} is no NormFactor of a sample that is fitted."
                f"{nearest(poi, self.parameters)}",
            )
        self._hold()
        config: Content = {"poi": poi, "parameters": []}
        content: Content = {
            "channels": channels,
            "observations": observations,
            "measurements": [{"name": self.job.name, "config": config}],
            "version": "1.0.0",
        }
        content = self._simulation(self._pruned(content))
        left = {modifier["name"] for _, _, modifier in modifiers(content)}
        kept = [each for name, each in self.parameters.items() if name in left]
        content["measurements"][0]["config"]["parameters"] = kept
        self._blind(content, poi)
        self._say()
        extra = {"groups": self.groups, "titles": self.titles}
        return content | {key: value for key, value in extra.items() if value}

    def _is_fitted(self, region: Block) -> bool:
        kind = region.word("Type", "SIGNAL", "CONTROL", "VALIDATION") or "SIGNAL"
        asked = self.fit.listed("FitRegion")
        if len(asked) == 1 and asked[0].upper() in ("CRSR", "CRONLY"):
            asked[0] = asked[0].upper()
        if asked and asked[0] not in ("CRSR", "CRONLY"):
            return region.name in self.fit.chosen("FitRegion", self.region_names)
        return kind == "CONTROL" or (kind == "SIGNAL" and asked != ["CRONLY"])

    def _in(self, block: Block, region: Block, sample: Block | None = None) -> bool:
        """Whether a sample, factor or systematic is in a region, and of a sample."""
        regions, samples = self.region_names, self.sample_names
        if block.listed("Regions") not in ([], ["all"]) and region.name not in block.chosen(
            "Regions", regions
        ):
            return False
        known = regions if sample is None else regions + samples
        without = block.chosen("Exclude", known)
        if region.name in without or (sample is not None and sample.name in without):
            return False
        if sample is None or block.listed("Samples") in ([], ["all"]):
            return True
        return sample.name in block.chosen("Samples", samples)

    def _scale(self, sample: Block) -> float:
        if self._kind(sample) == "DATA" or not sample.truth("NormalizedByTheory", True):
            return 1.0
        return self.job.number("Lumi", 1.0) * self.job.number("LumiScale", 1.0)

    def _kind(self, sample: Block) -> str:
        return sample.word("Type", "SIGNAL", "BACKGROUND", "DATA", "GHOST") or "BACKGROUND"

    def _nominal(self, region: Block, sample: Block) -> Template:
        return self.histograms.read(region, sample, self._scale(sample))

    def _channel(self, region: Block) -> tuple[Content, list[float]]:
        made: list[Content] = []
        edges: Any = None
        observed: Numbers | None = None
        bins = 0
        for sample in self.samples:
            if not self._in(sample, region) or self._kind(sample) == "GHOST":
                continue
            template = self._nominal(region, sample)
            bins = bins or len(template.values)
            if len(template.values) != bins:
                sample.refuse(
                    None,
                    f"{len(template.values)} bins in region {region.name!r}, where others have "
                    f"{bins}.",
                )
            if self._kind(sample) == "DATA":
                observed = template.values if observed is None else observed + template.values
                continue
            edges = template.edges
            made.append(self._sample(region, sample, template))
        if not made:
            region.refuse(None, "no sample is in it.")
        result: Content = {"name": region.name, "samples": made}
        if len(edges):
            result["edges"] = edges.tolist()
        return result, [] if observed is None else observed.tolist()

    def _sample(self, region: Block, sample: Block, raw: Template) -> Content:
        nominal = self._filled(region, sample, raw)
        result: Content = {
            "name": sample.name,
            "data": nominal.values.tolist(),
            "modifiers": [],
        }
        made: list[Content] = result["modifiers"]
        for name in self._factors(region, sample):
            made.append({"name": name, "type": "normfactor", "data": None})
        for name in self._shape_factors(region, sample):
            made.append({"name": name, "type": "shapefactor", "data": None})
        if sample.truth("UseSystematics", True):
            for systematic in self.systematics:
                if self._in(systematic, region, sample) and not self._excepted(
                    systematic, region, sample
                ):
                    self._systematic(made, region, sample, raw, nominal, systematic)
        self._statistics(made, region, sample, nominal)
        names = [(each["name"], each["type"]) for each in made]
        for pair in names:
            if names.count(pair) > 1:
                sample.refuse(
                    None,
                    f"in region {region.name!r} it has the {pair[1]} {pair[0]!r} twice, which "
                    "pyhf's format cannot say. Give one of them another NuisanceParameter, or "
                    "Samples or Regions of its own.",
                )
        return result

    def _filled(self, region: Block, sample: Block, raw: Template) -> Template:
        """A template without bins of no events: TRExFitter's protection of them."""
        values, errors, edges = raw
        total = values.sum()
        bad = values <= 0
        if not bad.any():
            return raw
        if not total > 0:
            sample.refuse(
                None,
                f"it expects {total:g} events in region {region.name!r}. Write Exclude: "
                f"{region.name}.",
            )
        self.corrected.append(f"{sample.name} in {region.name}")
        values = np.where(bad, _EMPTY, values)
        some = errors[~bad & (errors > 0)]
        guess = some.min() if len(some) and self.job.truth("GuessMCStatEmptyBins", True) else _EMPTY
        errors = np.where(bad & ~(errors > 0), guess, errors)
        return Template(values * (total / values.sum()), errors, edges)

    def _factors(self, region: Block, sample: Block) -> list[str]:
        found: dict[str, None] = {}
        own = sample.listed("NormFactor")
        if own:
            if len(own) not in (1, 4, 5):
                sample.refuse("NormFactor", f"{own}: give NAME, or NAME,START,LOW,HIGH.")
            numbers = [sample.as_number("NormFactor", text) for text in own[1:4]] or [
                1.0,
                0.0,
                10.0,
            ]
            constant = len(own) == 5 and own[4].upper() == "TRUE"
            self._free(sample, own[0], numbers, constant)
            found[own[0]] = None
        for block in self.config.of("NormFactor"):
            if not self._in(block, region, sample):
                continue
            keys = {"Nominal": 1.0, "Min": 0.0, "Max": 10.0}
            before = self.parameters.get(block.name)
            if before is not None:
                keys = dict(zip(keys, (*before["inits"], *before["bounds"][0]), strict=True))
            numbers = [block.number(key, default) for key, default in keys.items()]
            self._free(block, block.name, numbers, block.truth("Constant", False))
            self._group(block, block.name)
            found[block.name] = None
        return list(found)

    def _free(self, block: Block, name: str, numbers: list[float], constant: bool) -> None:
        start, low, high = numbers
        if not low <= start <= high or low == high:
            block.refuse(
                None, f"factor {name!r} starts at {start:g}, outside of {low:g} to {high:g}."
            )
        self.parameters[name] = {"name": name, "inits": [start], "bounds": [[low, high]]}
        if constant:
            self.parameters[name]["fixed"] = True

    def _shape_factors(self, region: Block, sample: Block) -> list[str]:
        own = sample.listed("ShapeFactor")[:1]
        others = [
            block.name for block in self.config.of("ShapeFactor") if self._in(block, region, sample)
        ]
        return list(dict.fromkeys([*own, *others]))

    def _excepted(self, systematic: Block, region: Block, sample: Block) -> bool:
        return f"{region.name}:{sample.name}" in systematic.listed("ExcludeRegionSample")

    def _systematic(
        self,
        made: list[Content],
        region: Block,
        sample: Block,
        raw: Template,
        nominal: Template,
        given: Block,
    ) -> None:
        kind = given.text("Type") or "HISTO"
        names = self._names(given, region, sample)
        scales = [self._side_scale(given, side, region) for side in SIDES]
        shapes = None
        if kind.upper() == "OVERALL":
            sides = [
                np.array([1 + scale * given.number(f"Overall{side}", 0.0)])
                for side, scale in zip(SIDES, scales, strict=True)
            ]
            there = [f"Overall{side}" in given.settings for side in SIDES]
            if not any(there):
                given.refuse(None, "say what it changes: OverallUp, OverallDown.")
            factors = [float(side[0]) for side in _symmetrised(given, np.ones(1), sides, there)]
        elif kind.upper() == "HISTO":
            pair = self._pair(given, region, sample, raw, nominal, scales)
            total = nominal.values.sum()
            factors = [float(side.sum() / total) for side in pair]
            if min(factors) <= 0:
                given.refuse(
                    None,
                    f"it leaves no events of {sample.name!r} in region {region.name!r}. Write "
                    f"ExcludeRegionSample: {region.name}:{sample.name}.",
                )
            shapes = [side / factor for side, factor in zip(pair, factors, strict=True)]
        else:
            given.refuse(
                "Type",
                f"Type {kind} is not taken over. Write HISTO or OVERALL; the statistics of the "
                "simulation have parameters of their own (MCstatThreshold).",
            )
        if min(factors) <= 0:
            given.refuse(None, f"a factor of {min(factors):g} on a yield: it must be above 0.")
        if self._dropped(given, "DropNorm", region, sample):
            factors = [1.0, 1.0]
        if self._dropped(given, "DropShapeIn", region, sample):
            shapes = None
        norm_name, shape_name = names
        if not np.allclose(factors, 1.0, rtol=0, atol=1e-12):
            data: Content = {"hi": factors[0], "lo": factors[1]}
            made.append({"name": norm_name, "type": "normsys", "data": data})
            self._group(given, norm_name)
        if shapes is not None and not np.allclose(shapes, nominal.values, rtol=1e-12, atol=0):
            data = {"hi_data": shapes[0].tolist(), "lo_data": shapes[1].tolist()}
            made.append({"name": shape_name, "type": "histosys", "data": data})
            self._group(given, shape_name)
            smoothed = given.number("Smoothing", 0.0) or given.truth("PreSmoothing", False)
            if smoothed and shape_name not in self.smooth:
                self.smooth.append(shape_name)

    def _names(self, given: Block, region: Block, sample: Block) -> tuple[str, str]:
        """Names of the parameters of yield and shape."""
        name = given.text("NuisanceParameter") or given.name
        apart = given.word("Decorrelate", "REGION", "SAMPLE", "SHAPEACC")
        wanted = self.job.listed("DecorrSysts")
        if any(name == each or fnmatchcase(name, each) for each in wanted):
            end = self.job.text("DecorrSuff")
            if end is None:
                self.job.refuse("DecorrSysts", "say what is put behind the names: DecorrSuff.")
            name += end
        if apart == "SHAPEACC":
            return f"{name}_Acc", f"{name}_Shape"
        name += {"REGION": f"_{region.name}", "SAMPLE": f"_{sample.name}"}.get(apart or "", "")
        return name, name

    def _group(self, block: Block, parameter: str) -> None:
        group = block.text("SubCategory") or block.text("Category")
        if group and parameter not in self.groups.setdefault(group, []):
            self.groups[group].append(parameter)

    def _side_scale(self, given: Block, side: str, region: Block) -> float:
        """Factor on what a variation changes: one for all regions, or some by name."""
        key, scale = f"Scale{side}", 1.0
        for text in given.listed(key):
            name, colon, value = text.rpartition(":")
            if not colon or name == region.name:
                scale *= given.as_number(key, value)
        return scale

    def _dropped(self, given: Block, key: str, region: Block, sample: Block) -> bool:
        if given.listed(key) == ["all"]:
            return True
        found = given.chosen(key, self.region_names + self.sample_names)
        return region.name in found or sample.name in found

    def _pair(
        self,
        given: Block,
        region: Block,
        sample: Block,
        raw: Template,
        nominal: Template,
        scales: list[float],
    ) -> list[Numbers]:
        """Templates at plus and minus one standard deviation."""
        found: list[Numbers | None] = []
        for end in SIDES:
            keys = [f"Histo{part}{form}{end}" for part in PARTS for form in ("", "s", "Suf")]
            if f"Sample{end}" in given.settings:
                found.append(self._nominal(region, self._other(given, f"Sample{end}")).values)
            elif any(key in given.settings for key in keys):
                values = self.histograms.read(
                    region, sample, self._scale(sample), (given, end)
                ).values
                found.append(self._by_reference(given, region, raw, values))
            else:
                found.append(None)
        if all(side is None for side in found):
            given.refuse(
                None, "nothing says where its histograms are: HistoNameSufUp, HistoFileUp, ..."
            )
        base = nominal.values
        for side in found:
            if side is not None and len(side) != len(base):
                given.refuse(
                    None,
                    f"{len(side)} bins of {sample.name!r} in region {region.name!r}, where the "
                    f"nominal histogram has {len(base)}.",
                )
        bad = raw.values <= 0
        sides = []
        for side, scale in zip(found, scales, strict=True):
            if side is None:
                sides.append(base)
                continue
            fixed = np.where(bad & (side <= 0), _EMPTY, side)
            if bad.any() and side.sum() > 0:
                fixed = fixed * (side.sum() / fixed.sum())
            sides.append(np.maximum(base + scale * (fixed - base), 0.0))
        return _symmetrised(given, base, sides, [side is not None for side in found])

    def _other(self, given: Block, key: str) -> Block:
        name = given.text(key)
        for sample in self.samples:
            if sample.name == name:
                return sample
        given.refuse(key, f"{key} is {name!r}, no sample.{nearest(name, self.sample_names)}")

    def _by_reference(self, given: Block, region: Block, raw: Template, values: Numbers) -> Numbers:
        """The relative change of a reference sample, on the nominal template."""
        if "ReferenceSample" not in given.settings:
            return values
        reference = self._nominal(region, self._other(given, "ReferenceSample")).values
        if len(reference) != len(values):
            given.refuse("ReferenceSample", f"it has {len(reference)} bins, not {len(values)}.")
        empty = reference <= _EMPTY
        varied = np.where(empty, _EMPTY, np.maximum(values, _EMPTY))
        reference = np.maximum(reference, _EMPTY)
        result = varied / reference * raw.values
        wanted, reached = varied.sum() / reference.sum(), result.sum() / raw.values.sum()
        kept = given.truth("KeepReferenceOverallVar", True)
        if kept and abs(wanted - 1) > 1e-4 and abs(reached - 1) > 1e-4:
            result = result * (wanted / reached)
        return result

    def _statistics(
        self, made: list[Content], region: Block, sample: Block, nominal: Template
    ) -> None:
        if self.stat_only or not nominal.errors.any():
            return
        if (self.job.text("MCstatThreshold") or "").upper() == "NONE":
            return
        apart = sample.truth("SeparateGammas", False)
        if sample.truth("UseMCstat", not apart):
            data = nominal.errors.tolist()
            made.append({"name": f"staterror_{region.name}", "type": "staterror", "data": data})
        if apart:
            name = f"shape_stat_{sample.name}_{region.name}"
            data = nominal.errors.tolist()
            made.append({"name": name, "type": "shapesys", "data": data})

    def _pruned(self, content: Content) -> Content:
        norm, shape = (self.job.number(f"SystPruning{part}", 0.0) for part in ("Norm", "Shape"))
        kind = self.job.word("PruningType", "SEPARATESAMPLE", "COMBINEDREFERENCE")
        if not norm > 0 and not shape > 0:
            return content
        reference = "total" if kind == "COMBINEDREFERENCE" else "sample"
        result, table = pruned(
            content, norm=max(norm, 0.0), shape=max(shape, 0.0), reference=reference
        )
        if table:
            logger.info("%s: %d uncertainties are pruned.", self.config.path, len(table))
        return result

    def _simulation(self, content: Content) -> Content:
        if not any(each["type"] == "staterror" for _, _, each in modifiers(content)):
            return content
        if self.job.word("MCstatConstraint", "GAUSSIAN", "POISSON") != "GAUSSIAN":
            logger.warning(
                "%s: the statistics of the simulation get Gaussian constraints, as pyhf has them. "
                "Workspace.mc_statistics(constraint='poisson') has Poisson ones.",
                self.config.path,
            )
        threshold = self.job.number("MCstatThreshold", 0.0)
        if not 0 <= threshold < 1:
            self.job.refuse("MCstatThreshold", "a relative uncertainty, as 0.01, or NONE.")
        return statistics(content, constraint="gaussian", threshold=threshold)

    def _hold(self) -> None:
        """Keeps the parameters of FixNPs."""
        for text in self.fit.listed("FixNPs"):
            name, _, value = text.rpartition(":")
            name = name.strip().removeprefix("alpha_")
            if name not in self.parameters:
                known = {
                    block.text("NuisanceParameter") or block.name for block in self.systematics
                }
                if name not in known:
                    self.fit.refuse("FixNPs", f"{name!r} is no parameter.{nearest(name, known)}")
                self.parameters[name] = {"name": name}
            held = self.fit.as_number("FixNPs", value)
            self.parameters[name] |= {"inits": [held], "fixed": True}
        if self.fit.word("FitType", "SPLUSB", "BONLY") == "BONLY":
            logger.warning(
                "%s: FitType BONLY is a question to the likelihood: fit(model, fixed={%r: 0.0}).",
                self.config.path,
                (self.job.listed("POI") or ["mu"])[0],
            )

    def _blind(self, content: Content, poi: str) -> None:
        """Puts expectations where there are no data, or where none are wanted."""
        blind = self.fit.truth("FitBlind", False)
        strength = self.fit.number("POIAsimov", 1.0)
        without = []
        for channel, observation in zip(content["channels"], content["observations"], strict=True):
            if observation["data"] and not blind:
                continue
            without.append(channel["name"])
            total = np.zeros(len(channel["samples"][0]["data"]))
            for sample in channel["samples"]:
                factor = 1.0
                for modifier in sample["modifiers"]:
                    if modifier["type"] == "normfactor":
                        name = modifier["name"]
                        start = self.parameters[name]["inits"][0]
                        factor *= strength if name == poi else start
                total += factor * np.asarray(sample["data"], float)
            observation["data"] = total.tolist()
        if without:
            logger.warning(
                "%s: the data of %s are the expectation at %s = %g, %s.",
                self.config.path,
                ", ".join(without),
                poi,
                strength,
                "as FitBlind asks for" if blind else "since no sample has data there",
            )

    def _say(self) -> None:
        path = self.config.path
        if self.smooth:
            logger.warning(
                "%s: %s are as in the files, not smooth. Workspace.smooth(...) smooths them, in "
                "its own way.",
                path,
                ", ".join(self.smooth),
            )
        if self.corrected:
            logger.warning(
                "%s: bins without events, or with fewer, expect %g as in TRExFitter: %s.",
                path,
                _EMPTY,
                ", ".join(self.corrected),
            )
        codes = (
            int(self.job.number("IntCodeOverall", 4.0)),
            int(self.job.number("IntCodeShape", 0.0)),
        )
        if codes[0] not in (0, 1, 4) or codes[1] not in (0, 4):
            self.job.refuse("IntCodeOverall", f"interpolation codes {codes} are not known.")
        shape = {0: "code0", 4: "code4p"}[codes[1]]
        logger.info(
            "%s: TRExFitter interpolates by model(modifier_settings={'normsys': {'interpcode': "
            "'code%d'}, 'histosys': {'interpcode': '%s'}}).",
            path,
            codes[0],
            shape,
        )


def _refuse_twice(blocks: list[Block]) -> None:
    seen: set[str] = set()
    for block in blocks:
        if block.name in seen:
            block.refuse(None, "there is one of this name already.")
        seen.add(block.name)


def _symmetrised(
    given: Block, nominal: Numbers, sides: list[Numbers], there: list[bool]
) -> list[Numbers]:
    """Templates of up and down as TRExFitter makes them symmetric."""
    how = given.word("Symmetrisation", "ONESIDED", "TWOSIDED", "ABSMEAN", "MAXIMUM")
    up, down = sides
    if how is None:
        return sides
    if how == "ONESIDED":
        apart = [np.abs(side - nominal).sum() for side in sides]
        first = apart[0] >= apart[1] if all(there) else there[0]
        mirrored = np.maximum(2 * nominal - (up if first else down), 0.0)
        return [up, mirrored] if first else [mirrored, down]
    if how == "TWOSIDED":
        change = (up - down) / 2
    elif how == "ABSMEAN":
        change = (np.abs(up - nominal) + np.abs(down - nominal)) / 2
    else:
        change = np.where(np.abs(up - nominal) < np.abs(down - nominal), down, up) - nominal
    up = np.maximum(nominal + change, 0.0)
    return [up, np.maximum(2 * nominal - up, 0.0)]

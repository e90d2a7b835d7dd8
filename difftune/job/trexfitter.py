"""A first analysis file, from a TRExFitter configuration that reads ntuples.

What settings mean is taken from TRExFitter's public documentation (docs/Settings) and its sources
(TRExFit::FullNtuplePaths, FullSelection and FullWeight).
"""

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from difftune.errors import InputError
from difftune.job.sheet import Draft, Sheet, toml, toml_text, wrapped
from difftune.workspaces.trexfitter_config import Block, Config, looks_like_config, read_config
from difftune.workspaces.trexfitter_settings import NTUPLE_KNOWN, NTUPLE_UNUSED, PARTS, SIDES

_LONGEST = 2**22


def is_config(file: str | Path) -> bool:
    """Whether a file is a configuration of TRExFitter, by its text."""
    path = Path(file)
    try:
        if not path.is_file() or path.stat().st_size > _LONGEST:
            return False
        return looks_like_config(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError):
        return False


def draft_of_config(file: str | Path, where: Path) -> Draft:
    """An analysis file of what a configuration says of ntuples, weights and uncertainties.

    Args:
        file: The configuration; its paths go from its folder, or from the one above.
        where: Folder of the analysis file.

    Returns:
        The text, and what to look at: what it says otherwise, with the line in the configuration.

    Raises:
        InputError: It cannot be read, or reads histograms.
    """
    path = Path(file)
    folders = [path.absolute().parent, path.absolute().parent.parent]
    config = read_config(path, folders)
    job = config.one("Job")
    if job.word("ReadFrom", "HIST", "NTUP") != "NTUP":
        job.refuse(
            "ReadFrom",
            f"it reads histograms, which are a likelihood already: difftune fit {path}",
        )
    return _Writer(config, folders, where).whole()


def _joined(how: str, *texts: str | None) -> str | None:
    """Expressions by "and" or "*"; None where there is none."""
    given = [text for text in texts if text not in (None, "", "1")]
    if len(given) < 2:
        return given[0] if given else None
    return f" {how} ".join(f"({text})" for text in given)


class _Writer(Sheet):
    """Writes the sections one after the other."""

    def __init__(self, config: Config, folders: Sequence[Path], where: Path) -> None:
        super().__init__(where=where)
        self.config, self.folders = config, folders
        self.job = config.one("Job")
        self.samples = [s for s in config.of("Sample") if self._kind(s) != "GHOST"]
        self.names = [sample.name for sample in self.samples]
        self.simulated = [s.name for s in self.samples if self._kind(s) != "DATA"]
        if not self.simulated:
            raise InputError(f"{config.path} has no sample that is not data.")

    def _kind(self, sample: Block) -> str:
        return sample.word("Type", "SIGNAL", "BACKGROUND", "DATA", "GHOST") or "BACKGROUND"

    def _note(self, block: Block, key: str | None, text: str) -> None:
        """Asks about a line of the configuration."""
        line = block.settings[key].line if key in block.settings else block.line
        self.add(self.ask(f"line {line}, {block.kind} {block.name!r}: {text}"))

    def _others(self, block: Block) -> None:
        """Asks about the settings of a block that have no place in the file."""
        for key, setting in block.settings.items():
            if key not in NTUPLE_KNOWN[block.kind] and not NTUPLE_UNUSED.fullmatch(key):
                self._note(block, key, f"{key}: {setting.text} is not taken over")

    def _expression(self, block: Block, key: str) -> str | None:
        """An expression of ROOT in the syntax of the file."""
        text = block.text(key)
        return None if text is None else self._translated(block, key, text)

    def _translated(self, block: Block, key: str, text: str) -> str:
        found = text.replace("&&", " and ").replace("||", " or ")
        found = re.sub(r"!(?!=)", " not ", found)
        found = re.sub(r"\bTMath::(\w+)", lambda match: match[1].lower(), found)
        found = re.sub(r"\bfabs\b", "abs", found)
        found = re.sub(r"\s+", " ", found).strip()
        if re.search(r"\?|\^|::|->|%", found):
            self._note(block, key, f"write {key} in the syntax of Python: {text}")
        return found

    def whole(self) -> Draft:
        """The file, section by section."""
        self.add(
            f"# Written by `difftune init` from {self.config.path.name}. Look at the lines marked "
            "EDIT, then run",
            "#   difftune check FILE",
            "# which reads all events and trains nothing. docs/analysis-file.md lists all keys.",
            "",
            "[general]",
            f"name = {toml_text(self.job.name)}",
            'output = "run"                 # the run directory',
            "seed = 1",
            "",
        )
        self._titles()
        self._others(self.job)
        self._data()
        for sample in self.samples:
            self._sample(sample)
        for region in self.config.of("Region"):
            self._region(region)
        for sample in self.samples:
            self._own_factor(sample)
        for block in self.config.of("NormFactor"):
            self._factor(block)
        for block in self.config.of("ShapeFactor"):
            self._note(block, None, "a free shape has no counterpart")
            self.add("")
        systematics = self.config.of("Systematic")
        for block in systematics:
            self._uncertainty(block)
        smooth = any("Smoothing" in block.settings for block in systematics)
        symmetric = [
            block.name
            for block in systematics
            if (block.text("Symmetrisation") or "ONESIDED").upper() != "ONESIDED"
        ]
        if symmetric:
            asked = "up and down are taken as they are, not made symmetric"
            self.add(self.ask(f"{asked}: {', '.join(symmetric)}"))
        self.add("[fit]", "bins = 10                      # at most; fewer where events run out")
        if smooth:
            self.add('noise = "smooth"               # in place of Smoothing')
        self.add("", "[search]", "population = 16", "rounds = 10", "epochs_per_round = 4", "")
        self.add("[space]", "learning_rate = { log_uniform = [3e-4, 1e-2] }")
        return Draft(text="\n".join(self.lines) + "\n", questions=tuple(self.questions))

    def _titles(self) -> None:
        titles = {
            block.name: block.text("Title")
            for block in (*self.samples, *self.config.of("Systematic"))
            if block.text("Title") not in (None, block.name)
        }
        if titles:
            self.add("[general.titles]")
            for name, title in titles.items():
                assert title is not None
                shown = f"${title.replace('#', chr(92))}$".replace(" ", r"\ ")
                self.add(f"{toml_text(name)} = {toml_text(shown if '#' in title else title)}")
            self.add("")

    def _common_weight(self) -> str | None:
        """What multiplies all simulated samples that are normalised by theory."""
        scale = self.job.number("Lumi", 1.0) * self.job.number("LumiScale", 1.0)
        factor = None if scale == 1 else repr(scale)
        return _joined("*", factor, self._expression(self.job, "MCweight"))

    def _data(self) -> None:
        self.common = self._common_weight()
        self.add("[data]")
        asked = "is this weight in expected events? Else multiply it"
        self.add(self.ask(asked), f"weight = {toml_text(self.common or '1')}")
        selection = self._expression(self.job, "Selection")
        if selection not in (None, "1"):
            assert selection is not None
            self.add(f"selection = {toml_text(selection)}")
        self.add(
            self.ask("is there a column that tells events apart? It decides the folds"),
            '# event_number = "eventNumber"',
            self.ask(
                "which columns are inputs of the network? These are the variables of the regions; "
                "`difftune init` of the ntuples lists all columns"
            ),
        )
        variables = {
            self._translated(region, "Variable", region.listed("Variable")[0]): None
            for region in self.config.of("Region")
            if region.listed("Variable")
        }
        if not variables:
            self.add('features = ["..."]', "")
            return
        self.add(*wrapped(list(variables)), "")

    def _places(
        self, sample: Block, varied: tuple[Block, str] | None = None
    ) -> tuple[list[str], list[str]]:
        """Files and trees of a sample, or of a variation of it."""
        parts: dict[str, list[str]] = {}
        for part in PARTS:
            key = f"Ntuple{part}"
            found: list[str] = []
            if varied is not None:
                found = varied[0].several(f"{key}{varied[1]}", f"{key}s{varied[1]}")
            for block in (sample, self.job):
                found = found or block.several(key)
            ends = [sample.several(f"{key}Suff") or [""]]
            if varied is not None:
                ends.append(varied[0].several(f"{key}Suf{varied[1]}") or [""])
            parts[part] = [
                f"{each}{''.join(end)}" for each in found for end in itertools.product(*ends)
            ]
        for part in PARTS:
            if not parts[part]:
                sample.refuse(None, f"nothing says its Ntuple{part}.")
        files = [
            self._found(f"{path}/{file.removesuffix('.root')}.root")
            for path, file in itertools.product(parts["Path"], parts["File"])
        ]
        return files, parts["Name"]

    def _found(self, file: str) -> str:
        """A path as it is written into the file: from the folder where there is such a file."""
        for folder in self.folders:
            if (folder / file).exists():
                return self.path(str(folder / file))
        return self.path(str(self.folders[0] / file))

    def _scales(self, sample: Block) -> list[str]:
        texts = sample.several("LumiScale")
        return ["" if sample.as_number("LumiScale", text) == 1 else text for text in texts]

    def _weight(self, sample: Block, own: str | None, scale: str = "") -> str | None:
        """The whole weight of a sample, of which one part may be another one."""
        common = self.common if sample.truth("NormalizedByTheory", True) else None
        ignored = sample.text("IgnoreWeight")
        if ignored is not None and ignored.upper() != "FALSE":
            self._note(sample, "IgnoreWeight", f"take {ignored} out of the weight")
        return _joined("*", scale or None, common, own)

    def _sample(self, sample: Block) -> None:
        kind = self._kind(sample)
        files, trees = self._places(sample)
        self._others(sample)
        self.add("[[samples]]", f"name = {toml_text(sample.name)}")
        if kind != "BACKGROUND":
            self.add(f"role = {toml_text(kind.lower())}")
        scales = self._scales(sample)
        parts = len(scales) > 1 and len(set(scales)) > 1
        if not parts:
            self.add(f"files = {toml(files[0] if len(files) == 1 else files)}")
        self.add(f"tree = {toml(trees[0] if len(trees) == 1 else trees)}")
        selection = self._expression(sample, "Selection")
        if selection is not None:
            self.add(f"selection = {toml_text(selection)}")
        own = self._expression(sample, "MCweight")
        weight = self._weight(sample, own, scales[0] if scales and not parts else "")
        if kind != "DATA" and (weight or "1") != (self.common or "1"):
            self.add(f"weight = {toml_text(weight or '1')}")
        for index, file in enumerate(files if parts else []):
            scale = scales[index] if index < len(scales) else scales[0]
            part = self._weight(sample, own, scale)
            self.add("[[samples.parts]]", f'name = "part_{index}"', f"files = {toml(file)}")
            self.add(f"weight = {toml_text(part or '1')}")
        self.add("")

    def _region(self, region: Block) -> None:
        kind = region.word("Type", "SIGNAL", "CONTROL", "VALIDATION") or "SIGNAL"
        self._others(region)
        own = self._expression(region, "MCweight")
        if own is not None:
            self._note(region, "MCweight", f"a region has no weight of its own: {own}")
        variable = region.listed("Variable")
        mark = ""
        if kind == "SIGNAL" and variable:
            mark = "# "
            self.add(
                self.ask(
                    f"{region.name} has bins of the network's score. Take the # away for those of "
                    "its variable"
                )
            )
        self.add("[[regions]]", f"name = {toml_text(region.name)}")
        selection = self._expression(region, "Selection") or "True"
        self.add(f"selection = {toml_text(selection)}", f"role = {toml_text(kind.lower())}")
        if variable:
            shown = toml_text(self._translated(region, "Variable", variable[0]))
            self.add(
                f"{mark}observable = {shown}",
                f"{mark}edges = {self._edges(region, variable)}",
            )
        self.add("")

    def _edges(self, region: Block, variable: list[str]) -> str:
        texts = region.listed("Binning") or region.listed("Rebinning")
        if texts and re.match(r"[-+.\d]", texts[0]):
            edges = [region.as_number("Binning", text) for text in texts]
        elif len(variable) == 4:
            bins, low, high = (region.as_number("Variable", text) for text in variable[1:])
            edges = np.linspace(low, high, int(bins) + 1).tolist()
        else:
            region.refuse("Variable", "give it as NAME,BINS,LOW,HIGH, or Binning with edges.")
        return "[" + ", ".join(f"{edge:.12g}" for edge in edges) + "]"

    def _of(self, block: Block) -> list[str]:
        """Simulated samples that a factor or an uncertainty acts on."""
        every = [sample.name for sample in self.config.of("Sample")]
        regions = [region.name for region in self.config.of("Region")]
        asked = block.listed("Samples")
        chosen = every if asked in ([], ["all"]) else block.chosen("Samples", every)
        without = block.chosen("Exclude", every + regions)
        for key in ("Regions", "ExcludeRegionSample"):
            if key in block.settings and block.listed(key) != ["all"]:
                self._note(block, key, f"in all regions here, not in {block.settings[key].text}")
        if any(name in regions for name in without):
            self._note(block, "Exclude", "in all regions here")
        return [name for name in self.simulated if name in chosen and name not in without]

    def _own_factor(self, sample: Block) -> None:
        own = sample.listed("NormFactor")
        if own and own[0] not in self.job.listed("POI"):
            low, high = (sample.as_number("NormFactor", t) for t in own[2:4] or ("0", "10"))
            self.add("[[norm_factors]]", f"name = {toml_text(own[0])}")
            self.add(f"samples = {toml([sample.name])}", f"bounds = [{low:g}, {high:g}]", "")

    def _factor(self, block: Block) -> None:
        if block.name in self.job.listed("POI"):
            return  # signals have their strength
        self._others(block)
        own = self._of(block)
        low, high = block.number("Min", 0.0), block.number("Max", 10.0)
        if block.number("Nominal", 1.0) != 1 or block.truth("Constant", False):
            self._note(block, "Nominal", "a factor starts at 1 and is free")
        if own:
            self.add("[[norm_factors]]", f"name = {toml_text(block.name)}")
            self.add(f"samples = {toml(own)}", f"bounds = [{low:g}, {high:g}]", "")

    def _uncertainty(self, block: Block) -> None:
        self._others(block)
        own = self._of(block)
        name = block.text("NuisanceParameter") or block.name
        if not own:
            return
        samples = None if own == self.simulated else own
        kind = (block.text("Type") or "HISTO").upper()
        if kind not in ("HISTO", "OVERALL"):
            self._note(block, "Type", f"an uncertainty of type {kind} has no counterpart")
            self.add("")
            return
        if kind == "OVERALL":
            up, down = (block.number(f"Overall{side}", 0.0) for side in SIDES)
            self.add("[[systematics]]", f"name = {toml_text(name)}", 'type = "normalisation"')
            self.add(f"up = {up:g}", f"down = {down:g}", f"samples = {toml(own)}", "")
            return
        moved = [
            any(
                f"Ntuple{part}{end}{side}" in block.settings
                for part in PARTS
                for end in ("", "s", "Suf")
            )
            for side in SIDES
        ]
        weights = [
            [self._expression(block, f"Weight{form}{side}") for form in ("", "Suf")]
            for side in SIDES
        ]
        weighted = [any(pair) for pair in weights]
        if any(moved) and any(weighted):
            key = next(k for k in block.settings if k.startswith("Weight"))
            self._note(
                block,
                key,
                "varied events of other files have the nominal weight: write a copy of them that "
                f"has {block.settings[key].text} in it",
            )
        if any(moved):
            self._of_files(block, name, own, moved)
        elif any(weighted):
            for group, first, second in self._varied_weights(own, weights):
                every = None if group == self.simulated else group
                self.systematic(name, "weight", first, second, every)
        else:
            self._note(block, None, f"nothing of it is taken over (samples {samples or 'all'})")
            self.add("")

    def _varied_weights(
        self, own: list[str], weights: list[list[str | None]]
    ) -> list[tuple[list[str], str, str | None]]:
        """Samples of the same expressions, and these."""
        found: dict[tuple[str | None, str | None], list[str]] = {}
        for sample in self.samples:
            if sample.name not in own:
                continue
            sides: list[str | None] = []
            for whole, factor in weights:
                if whole is not None:
                    scales = self._scales(sample)
                    sides.append(self._weight(sample, whole, scales[0] if scales else ""))
                else:
                    sides.append(None if factor is None else f"{{weight}} * ({factor})")
            found.setdefault((sides[0], sides[1]), []).append(sample.name)
        result: list[tuple[list[str], str, str | None]] = []
        for pair, names in found.items():
            texts = [toml_text(side) for side in pair if side is not None]
            result.append((names, texts[0], texts[1] if len(texts) > 1 else None))
        return result

    def _of_files(self, block: Block, name: str, own: list[str], moved: list[bool]) -> None:
        for sample in self.samples:
            if sample.name not in own:
                continue
            nominal = self._places(sample)
            lines = ["[[systematics]]", f"name = {toml_text(name)}", 'type = "tree"']
            ways = [side for side, there in zip(SIDES, moved, strict=True) if there]
            for way, side in zip(("up", "down"), ways, strict=False):
                files, trees = self._places(sample, (block, side))
                tree = "{tree}" if trees == nominal[1] else trees[0]
                if len(trees) > 1 and trees != nominal[1]:
                    self._note(block, None, f"one varied tree is taken of {', '.join(trees)}")
                lines.append(f"{way} = {toml_text(tree)}")
                if files != nominal[0]:
                    lines.append(f"files_{way} = {toml(files[0] if len(files) == 1 else files)}")
            self.add(*lines, f"samples = {toml([sample.name])}", "")

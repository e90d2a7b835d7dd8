"""A workspace in pyhf's JSON format as an object: what it holds, and other ones made of it."""

import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.arguments import as_path, said, takes
from difftune.errors import InputError, nearest
from difftune.files import writing
from difftune.histfactory import FROM_MEASUREMENT, Model, patched, read_source
from difftune.histfactory.checks import check_numbers, check_schema
from difftune.later import pyhf
from difftune.workspaces import bins, combining, editing
from difftune.workspaces.cabinetry_export import write_cabinetry
from difftune.workspaces.datacard import from_datacard
from difftune.workspaces.datacard_export import write_datacard
from difftune.workspaces.hs3_export import to_hs3
from difftune.workspaces.hs3_import import from_hs3
from difftune.workspaces.opening import from_xml, opened
from difftune.workspaces.pruning import Pruned, pruned
from difftune.workspaces.smoothing import Smoothed, smoothed_shapes
from difftune.workspaces.spec import Content, Patterns, copied, known, names
from difftune.workspaces.trexfitter import from_trexfitter

logger = logging.getLogger("difftune")


class Workspace(Mapping[str, Any]):
    """A workspace in pyhf's JSON format, which is never changed: every method gives a new one.

    It is a mapping of what pyhf's format has, so it goes wherever a workspace does: to
    `Model.from_spec`, `pyhf.Workspace` and `cabinetry`. Keys beyond the format stay where they are
    through every operation and come back in `to_dict` and `write`.
    """

    def __init__(self, content: Mapping[str, Any]) -> None:
        """A workspace of a dict; `Workspace.read` takes files, too.

        Args:
            content: In pyhf's format; it is copied.

        Raises:
            InputError: It is no workspace; the message names channel, sample and modifier.
        """
        self._all: Content = read_source(content).spec
        if "channels" in self._all and "measurements" not in self._all:
            raise InputError(
                "This is the spec of a model, without measurements and observations. Give a whole "
                "workspace."
            )
        self._known: Content = known(self._all)
        if self._known != self._all:
            logger.info("The workspace has keys that pyhf's format does not; they stay.")
        check_schema(self._known, "workspace.json")
        check_numbers(self._known)

    @classmethod
    def read(cls, source: Any, *, mass: str | float | int | None = None) -> "Workspace":
        """A workspace from what has one; of a file, what it is in tells.

        Args:
            source: Path of a file: JSON of pyhf or HS3, a datacard of Combine, a configuration of
                TRExFitter, XML of HistFactory; a dict, a `pyhf.Workspace`, or a `Workspace`.
            mass: What `$MASS` of a datacard stands for.

        Raises:
            InputError: It cannot be read, or is no workspace.
        """
        if isinstance(source, Workspace):
            return source
        if isinstance(source, str | PathLike):
            return cls(opened(source, mass=mass))
        return cls(read_source(source).spec)

    @classmethod
    @takes(path=as_path)
    def from_datacard(
        cls,
        path: str | PathLike[str],
        *,
        mass: str | float | int | None = None,
        poi: str = "r",
        pois: Mapping[str, Patterns] | None = None,
    ) -> "Workspace":
        """A workspace of a CMS Combine datacard (arXiv 2404.06614), counting or of histograms.

        What HistFactory has in other words: a symmetric lnN is κ^θ in Combine and a normsys here,
        which is exactly that with `modifier_settings={"normsys": {"interpcode": "code1"}}`, and the
        same to (ln κ)⁷/5040 without; an asymmetric one differs between ±1 standard deviations. A
        shape is a normsys and a histosys, interpolated as in Combine (code4p); with a strength
        other than 1 it agrees at 0 and ±1 standard deviations, and so it does as shapeN. A gmN is a
        channel, NAME_control, with the events of the control region. lnU is a free factor within
        its range. A rateParam (@0*@1/@2) of three free ones, D = A·B/C, has the factors D, A_over_D
        and B_over_D in place of A, B and C. autoMCStats is a staterror, in which the relative
        uncertainty of a bin stays when yields change; below the threshold each process has a
        shapesys, with a Poisson constraint always. Groups are kept under the key `groups`, edges of
        bins under `edges` of the channel.

        Args:
            path: The file; its ROOT files are looked for from there.
            mass: What `$MASS` stands for.
            poi: Name of the factor on all processes with a number of 0 or below.
            pois: In place of it names of several, and the processes that each scales, by name or
                pattern; the first is the measurement's.

        Raises:
            InputError: A line is not understood or has no counterpart; the message names it.
        """
        return cls(from_datacard(path, mass=mass, poi=poi, pois=pois))

    @classmethod
    @takes(path=as_path)
    def from_trexfitter(
        cls, path: str | PathLike[str], *, folder: str | PathLike[str] | None = None
    ) -> "Workspace":
        """A workspace of a TRExFitter configuration that reads histograms (ReadFrom: HIST).

        Histograms are found, scaled (Lumi, LumiScale), rebinned, protected against bins without
        events and made symmetric as TRExFitter does it. A HISTO systematic is a normsys and a
        histosys at the nominal yield, an OVERALL one a normsys. TRExFitter's interpolation is
        `model(modifier_settings={"normsys": {"interpcode": "code4"}, "histosys": {"interpcode":
        "code0"}})`. The statistics of the simulation get Gaussian constraints; nothing is smoothed.
        Where FitBlind is TRUE, or no sample is data, the data are the expectation. Categories
        are kept under the key `groups`, titles under `titles`, edges of bins under `edges` of the
        channel. Validation regions, and regions that FitRegion leaves out, are left out.

        Args:
            path: The file.
            folder: From where its paths go; by default that of the file, or the one above.

        Raises:
            InputError: A setting or a histogram is not right, or has no counterpart; the message
                names line and remedy.
        """
        return cls(from_trexfitter(path, folder=folder))

    @classmethod
    @takes(path=as_path)
    def from_xml(
        cls, path: str | PathLike[str], *, folder: str | PathLike[str] | None = None
    ) -> "Workspace":
        """A workspace of HistFactory's XML and ROOT files, as pyhf reads them.

        Args:
            path: The file with the tag Combination.
            folder: From where its paths go; by default that of the file, or the one above.

        Raises:
            InputError: Something is missing, or pyhf refuses it.
        """
        return cls(from_xml(path, folder=folder))

    @classmethod
    def from_hs3(cls, source: Any) -> "Workspace":
        """A workspace of an HS3 document whose distributions are histfactory_dist.

        Each analysis is a measurement. A factor with a Gaussian constraint is pyhf's lumi. Poisson
        constraints of staterrors become Gaussian ones, with a warning, as when pyhf reads XML.

        Args:
            source: Path of a JSON file, or a dict.

        Raises:
            InputError: It has something that pyhf's format has not; the message names it.
        """
        return cls(from_hs3(read_source(source).spec))

    def __getitem__(self, key: str) -> Any:
        """A copy of a part: `"channels"`, `"measurements"`, `"observations"` or `"version"`."""
        return copied({key: self._known[key]})[key]

    def __iter__(self) -> Iterator[str]:
        """The names of the parts."""
        return iter(self._known)

    def __len__(self) -> int:
        """How many parts there are."""
        return len(self._known)

    def __repr__(self) -> str:
        """What it holds, in a line."""
        parameters = {name for name, _ in self.modifiers}
        return (
            f"Workspace({len(self.channels)} channels, {sum(self.bins.values())} bins, "
            f"{len(self.samples)} samples, {len(parameters)} modifiers; "
            f"measurements: {', '.join(self.measurements)})"
        )

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the channels."""
        return tuple(names(self._known["channels"]))

    @property
    def samples(self) -> tuple[str, ...]:
        """Names of the samples of all channels, each once."""
        return tuple(editing.there(self._known)["samples"])

    @property
    def modifiers(self) -> tuple[tuple[str, str], ...]:
        """Names and types of the modifiers, each pair once."""
        found = {
            (modifier["name"], modifier["type"]): None
            for channel in self._known["channels"]
            for sample in channel["samples"]
            for modifier in sample["modifiers"]
        }
        return tuple(found)

    @property
    def measurements(self) -> tuple[str, ...]:
        """Names of the measurements."""
        return tuple(names(self._known["measurements"]))

    @property
    def bins(self) -> dict[str, int]:
        """How many bins each channel has."""
        return {c["name"]: len(c["samples"][0]["data"]) for c in self._known["channels"]}

    @property
    def data(self) -> dict[str, Float[np.ndarray, " bins"]]:
        """Observed counts by channel."""
        return {o["name"]: np.asarray(o["data"], float) for o in self._known["observations"]}

    def model(
        self,
        *,
        measurement: str | None = None,
        poi: str | None = FROM_MEASUREMENT,
        modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> Model:
        """The likelihood, as `Model.from_spec` makes it.

        Args:
            measurement: Name of the measurement; by default the first.
            poi: Name of the parameter of interest, if not the measurement's; None for none.
            modifier_settings: Interpolation codes, as in `pyhf.Model`.
        """
        return Model.from_spec(
            self, measurement=measurement, poi=poi, modifier_settings=modifier_settings
        )

    def to_dict(self) -> dict[str, Any]:
        """All of it as a dict of its own, with keys that pyhf's format does not know."""
        return copied(self._all)

    @takes(path=as_path)
    def write(self, path: str | PathLike[str]) -> None:
        """Writes it as JSON, with all its keys in their order.

        Args:
            path: The file.

        Raises:
            InputError: It cannot be written.
        """
        with writing(str(path)) as stream:
            json.dump(self._all, stream, indent=2, allow_nan=False)
            stream.write("\n")

    def to_hs3(self) -> dict[str, Any]:
        """The HS3 document of it, with a histfactory_dist for each channel.

        Each measurement is an analysis with its likelihood, domain and parameter point. Axes have
        the `edges` of a channel, if it has any.

        Raises:
            InputError: HS3 has no word for something: shifted auxiliary data, or a staterror of
                several channels.
        """
        return to_hs3(self._known, self._all)

    @takes(path=as_path)
    def write_hs3(self, path: str | PathLike[str]) -> None:
        """Writes what `to_hs3` gives as JSON.

        Args:
            path: The file.

        Raises:
            InputError: It cannot be written, or HS3 has no word for something.
        """
        document = self.to_hs3()
        with writing(str(path)) as stream:
            json.dump(document, stream, indent=2, allow_nan=False)
            stream.write("\n")

    @takes(path=as_path)
    def write_datacard(self, path: str | PathLike[str], *, measurement: str | None = None) -> None:
        """Writes a CMS Combine datacard, and its histograms beside it in a ROOT file.

        The parameter of interest is Combine's `r`. What is not the same there: a normsys between
        ±1 standard deviations, and one of the same name as a histosys whose yield is not the
        nominal one, which are split anew; the lumi, which is log-normal; a staterror, whose
        uncertainty follows yields (autoMCStats). Fixed factors are in the yields.

        Args:
            path: The text file.
            measurement: Name of the measurement; by default the first.

        Raises:
            InputError: Something has no counterpart, such as a shapesys, or no file can be written.
        """
        write_datacard(self._known, self._all, Path(path), measurement)

    @takes(folder=as_path)
    def write_cabinetry(
        self, folder: str | PathLike[str], *, measurement: str | None = None
    ) -> Path:
        """Writes a configuration of cabinetry, and its histograms, to a folder.

        `cabinetry.templates.collect(config)` and `cabinetry.workspace.build(config)` make the
        workspace of it. What is not the same there: the lumi is a normsys, staterrors have
        cabinetry's names, and a histosys that changes the yield is a normsys and a histosys.

        Args:
            folder: Where; it is made if need be.
            measurement: Name of the measurement; by default the first.

        Returns:
            The configuration, `config.yml`.

        Raises:
            InputError: Something has no counterpart, such as a shapesys, or no file can be written.
        """
        return write_cabinetry(self._known, self._all, Path(folder), measurement)

    def digest(self, algorithm: str = "sha256") -> str:
        """The digest by which patch sets know their workspace, as `pyhf.utils.digest` gives it.

        Args:
            algorithm: "sha256", "md5" or another one of `hashlib`.

        Raises:
            InputError: There is no such algorithm.
        """
        if algorithm not in hashlib.algorithms_available:
            raise InputError(f"digest({algorithm!r}): give one of hashlib, as 'sha256'.")
        return pyhf.utils.digest(self._known, algorithm=algorithm)

    def sorted(self) -> "Workspace":
        """The same with channels, samples, modifiers and the rest in the order of their names."""
        result = copied(self._all)
        for part in ("channels", "measurements", "observations"):
            result[part].sort(key=lambda each: each["name"])
        for channel in result["channels"]:
            channel["samples"].sort(key=lambda each: each["name"])
            for sample in channel["samples"]:
                sample["modifiers"].sort(key=lambda each: (each["name"], each["type"]))
        for measurement in result["measurements"]:
            measurement["config"]["parameters"].sort(key=lambda each: each["name"])
        return Workspace(result)

    @takes()
    def select(
        self,
        *,
        channels: Patterns | None = None,
        samples: Patterns | None = None,
        modifiers: Patterns | None = None,
        modifier_types: Patterns | None = None,
        measurements: Patterns | None = None,
    ) -> "Workspace":
        """Only some of it. Parameters of interest stay in any case.

        Args:
            channels: Names or patterns, as `"SR*"`, one or several; None for all. The same below.
            samples: Of samples.
            modifiers: Of modifiers.
            modifier_types: Of types of modifier, as `"normsys"`.
            measurements: Of measurements.

        Raises:
            InputError: One fits nothing, or a channel would be empty.
        """
        given = {
            "channels": channels,
            "samples": samples,
            "modifiers": modifiers,
            "modifier_types": modifier_types,
            "measurements": measurements,
        }
        return Workspace(editing.selected("select", self._all, given))

    @takes()
    def drop(
        self,
        *,
        channels: Patterns | None = None,
        samples: Patterns | None = None,
        modifiers: Patterns | None = None,
        modifier_types: Patterns | None = None,
        measurements: Patterns | None = None,
    ) -> "Workspace":
        """All but some of it, as `pyhf.Workspace.prune`, with patterns.

        Args:
            channels: Names or patterns, as `"VR*"`, one or several. The same below.
            samples: Of samples.
            modifiers: Of modifiers, which go with the configuration of their parameter.
            modifier_types: Of types of modifier, as `"staterror"`.
            measurements: Of measurements.

        Raises:
            InputError: One fits nothing, or a channel would be empty.
        """
        given = {
            "channels": channels,
            "samples": samples,
            "modifiers": modifiers,
            "modifier_types": modifier_types,
            "measurements": measurements,
        }
        return Workspace(editing.dropped("drop", self._all, given))

    @takes()
    def rename(
        self,
        *,
        channels: editing.Renaming | None = None,
        samples: editing.Renaming | None = None,
        modifiers: editing.Renaming | None = None,
        measurements: editing.Renaming | None = None,
    ) -> "Workspace":
        """The same with other names. Modifiers that get one name are one parameter from then on.

        Args:
            channels: New names by old ones; one `*` in both stands for the same text, as
                `{"SR_*": "run2_SR_*"}`; or a function of the name. The same below.
            samples: Of samples.
            modifiers: Of modifiers, with the configuration of their parameters and the POI.
            measurements: Of measurements.

        Raises:
            InputError: There is no such name, or two parts would have the same.
        """
        given = {
            "channels": channels,
            "samples": samples,
            "modifiers": modifiers,
            "measurements": measurements,
        }
        return Workspace(editing.renaming(self._all, given))

    @takes()
    def combine(
        self, *others: Any, join: str = "outer", merge_channels: bool = False
    ) -> "Workspace":
        """This workspace and others as one, as `pyhf.Workspace.combine` makes it.

        Modifiers of one name are one parameter. Measurements of one name have the parameter
        configurations of all. What is shared is logged.

        Args:
            others: What `Workspace.read` takes.
            join: `"outer"`: a part that two have must be the same in both; `"none"`: no part may be
                in two; `"left outer"`, `"right outer"`: the first or the last has it its way.
            merge_channels: Whether a channel that two have gets the samples of both.

        Raises:
            InputError: Two have a channel or a measurement that is not the same.
        """
        result = self._all
        for other in others:
            result = combining.combined(
                result, Workspace.read(other)._all, join=join, merge_channels=merge_channels
            )
        return Workspace(result)

    @takes()
    def prune(
        self, *, norm: float = 0.005, shape: float = 0.005, reference: str = "sample"
    ) -> tuple["Workspace", tuple[Pruned, ...]]:
        """Without systematic uncertainties of little effect: of each sample, yield and shape apart.

        A normsys and a histosys of one name are taken together, and a histosys apart into its
        effect on the yield and on the shape. Where one of the two is small, the other stays: as a
        normsys, or as a histosys of the nominal yield.

        Args:
            norm: Effects on the yield that are relatively smaller are left out.
            shape: Effects on the shape that are relatively smaller in every bin are left out.
            reference: To what effects are relative: `"sample"`, or `"total"` for all samples of the
                channel.

        Returns:
            The workspace, and a line for each systematic uncertainty of a sample that changed.

        Raises:
            InputError: A threshold is none.
        """
        content, table = pruned(self._all, norm=norm, shape=shape, reference=reference)
        return Workspace(content), table

    def rebin(self, channels: Mapping[str, int | Sequence[int]]) -> "Workspace":
        """With fewer bins: yields and templates are summed, independent uncertainties squared.

        Args:
            channels: By name or pattern of the channel how many adjacent bins become one, or the
                numbers of the bins at which new ones begin, and the end: `[0, 3, 5, 10]`.

        Raises:
            InputError: There is no such channel, or its bins cannot be joined like that.
        """
        return Workspace(bins.rebinned(self._all, channels))

    @takes()
    def mc_statistics(self, *, constraint: str = "gaussian", threshold: float = 0.0) -> "Workspace":
        """With other parameters for the statistics of the simulation, which are staterrors.

        pyhf's format has no parameter with a Poisson constraint for all samples of a bin. So with
        `"poisson"` each sample gets parameters of its own, a shapesys with the same uncertainties:
        Barlow and Beeston's method in full (doi:10.1016/0010-4655(93)90005-W), with more
        parameters.

        Args:
            constraint: `"gaussian"`, one parameter per bin, or `"poisson"`.
            threshold: Bins in which the relative uncertainty of all samples together is smaller
                have no parameter.

        Raises:
            InputError: There is no staterror.
        """
        content = bins.statistics(self._all, constraint=constraint, threshold=threshold)
        return Workspace(content)

    @takes()
    def smooth(
        self, modifiers: Patterns = "*", *, shared: float = 0.0
    ) -> tuple["Workspace", tuple[Smoothed, ...]]:
        """With shapes of systematic uncertainties that are smooth where they are noise.

        As `measure(noise="smooth")`: in place of half the difference of up and down, and of their
        mean, stands the polynomial of the number of the bin, up to degree 3, with the least
        χ² + 2 per coefficient; where that is worse than the bins as they are, they stay. Yields
        stay. The noise is what the staterror of the sample says; samples without one stay.

        Args:
            modifiers: Names or patterns of histosys.
            shared: Share of simulated events that nominal and varied templates have in common: 0
                for samples of their own, close to 1 for other weights of the same events.

        Returns:
            The workspace, and a line for each histosys of a sample.

        Raises:
            InputError: There is no such histosys, or nothing says how noisy it is.
        """
        content, table = smoothed_shapes(self._all, modifiers, shared=shared)
        return Workspace(content), table

    def with_data(self, data: Mapping[str, Any]) -> "Workspace":
        """With other observations.

        Args:
            data: Counts by channel; channels that are not named keep theirs.

        Raises:
            InputError: There is no such channel, or it has other bins.
        """
        if not isinstance(data, Mapping):
            raise InputError(f"with_data({said(data)}): give counts by channel, as {{'SR': [3]}}.")
        result = copied(self._all)
        known_bins = self.bins
        for name, counts in data.items():
            if name not in known_bins:
                raise InputError(
                    f"with_data: there is no channel {name!r}.{nearest(name, self.channels)}"
                )
            values = np.atleast_1d(_numbers("with_data", name, counts)).tolist()
            if len(values) != known_bins[name]:
                raise InputError(
                    f"with_data: {len(values)} counts for the {known_bins[name]} bins of {name!r}."
                )
            for observation in result["observations"]:
                if observation["name"] == name:
                    observation["data"] = values
        return Workspace(result)

    def asimov(
        self,
        parameters: Mapping[str, Any]
        | Sequence[float]
        | Float[np.ndarray, " parameters"]
        | None = None,
        *,
        measurement: str | None = None,
        auxiliary: bool = True,
    ) -> "Workspace":
        """With the expectation as data, without fluctuation (arXiv 1007.1727).

        Args:
            parameters: At which: all of them in the order of the model, as `fit(model).values`; or
                some by name, a list for one with a value per bin, the others at their start; None
                for all at their start.
            measurement: Whose configuration of the parameters counts; by default the first.
            auxiliary: Whether the auxiliary data are those at the parameters, too, so that a fit
                finds the parameters again. They are put into the measurement.

        Raises:
            InputError: There is no such parameter, or a wrong number of values.
        """
        model = self.model(measurement=measurement)
        point = _point(model, parameters)
        expected = np.asarray(model.asimov(point), float)
        structure = model.structure
        start, counts = 0, {}
        for name, size in zip(structure.channels, structure.bins, strict=True):
            counts[name] = expected[start : start + size]
            start += size
        result = self.with_data(counts).to_dict()
        if auxiliary:
            config = _config(result, measurement)
            _set_auxiliary(model, expected[start:], config)
        return Workspace(result)

    def patched(self, patches: Any) -> "Workspace":
        """With JSON patches applied, such as a published signal.

        Args:
            patches: As `Model.from_spec(patches=...)` takes them; digests are verified.

        Raises:
            InputError: A patch does not fit, or belongs to another workspace.
        """
        return Workspace(patched(self._all, patches))


def _numbers(who: str, name: str, given: Any) -> Float[np.ndarray, "..."]:
    """Numbers that were given for something."""
    try:
        return np.asarray(given, float)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"{who}: {name} = {said(given)} is no number, nor a list of them."
        ) from error


def _point(model: Model, given: Any) -> Float[np.ndarray, " parameters"]:
    """Values of all parameters."""
    structure = model.structure
    point = np.array(structure.layout.init, float)
    if given is None:
        return point
    if not isinstance(given, Mapping):
        values = _numbers("asimov", "parameters", given)
        if values.shape != point.shape:
            raise InputError(
                f"asimov: {values.size} parameters, where the model has {point.size}: their names "
                "are in model().config.par_names. Some of them go by name, as {'mu': 1.0}."
            )
        return values
    places = {
        group.name: slice(group.start, group.start + group.size)
        for group in structure.parameter_sets
    }
    single = {name: index for index, name in enumerate(structure.names)}
    for name, value in given.items():
        values = _numbers("asimov", name, value)
        if name in single and values.ndim == 0:
            point[single[name]] = values
        elif name in places and values.size in (1, places[name].stop - places[name].start):
            point[places[name]] = values
        elif name in places:
            size = places[name].stop - places[name].start
            raise InputError(f"asimov: {values.size} values for {name!r}, which has {size}.")
        else:
            raise InputError(
                f"asimov: there is no parameter {name!r}.{nearest(name, [*places, *single])}"
            )
    return point


def _config(content: Content, measurement: str | None) -> Content:
    found = next(each for each in content["measurements"] if measurement in (None, each["name"]))
    config: Content = found["config"]
    return config


def _set_auxiliary(model: Model, values: Float[np.ndarray, " auxiliary"], config: Content) -> None:
    """Puts auxiliary data into the configuration of the parameters that have them."""
    layout = model.structure.layout
    before = np.asarray(model.config.auxdata, float)
    by_name = {options["name"]: options for options in config["parameters"]}
    for group in model.structure.parameter_sets:
        own = (layout.auxiliary >= group.start) & (layout.auxiliary < group.start + group.size)
        if not own.any() or np.array_equal(values[own], before[own]):
            continue
        if group.name not in by_name:
            by_name[group.name] = {"name": group.name}
            config["parameters"].append(by_name[group.name])
        by_name[group.name]["auxdata"] = values[own].tolist()

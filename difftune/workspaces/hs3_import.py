"""An HS3 document as a workspace, where it is made of histfactory_dist."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from difftune.errors import InputError, nearest
from difftune.workspaces.spec import PER_BIN, Content

logger = logging.getLogger("difftune")

_SCALAR = ("normfactor", "normsys", "histosys")
_INTERPOLATION = {"normsys": ("code4", "4", "exp_poly6"), "histosys": ("code4p", "4", "poly6")}


def is_hs3(content: Any) -> bool:
    """Whether a JSON document is HS3."""
    return isinstance(content, Mapping) and "distributions" in content


def from_hs3(document: Mapping[str, Any]) -> Content:
    """The workspace of an HS3 document; see `Workspace.from_hs3`.

    Raises:
        InputError: It has something that HistFactory in pyhf's form has not.
    """
    try:
        return _Reader(document).workspace()
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise InputError(
            f"The HS3 document is not as the standard says: {type(error).__name__}: {error}."
        ) from error


class _Parameter(NamedTuple):
    """What a document says of a parameter."""

    value: float | None
    fixed: bool
    bounds: tuple[float, float] | None


class _Reader:
    """Reads a document, which refers to its parts by name."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.parts = {
            part: self._named(document, part)
            for part in (
                "distributions",
                "data",
                "likelihoods",
                "domains",
                "parameter_points",
                "analyses",
            )
        }
        packages = document.get("metadata", {}).get("packages", [])
        self.from_root = any(each.get("name") == "ROOT" for each in packages)
        # Parameters of the modifiers of one name in pyhf.
        self.parameters: dict[str, list[str]] = {}
        self.kinds: dict[str, str] = {}
        self.lumi: str | None = None
        self.made_gaussian = False

    def _named(self, document: Mapping[str, Any], part: str) -> dict[str, Any]:
        items = document.get(part, [])
        if not isinstance(items, list) or not all(
            isinstance(each, Mapping) and "name" in each for each in items
        ):
            raise InputError(f"HS3: {part!r} is no list of things with names.")
        return {each["name"]: each for each in items}

    def _get(self, part: str, name: Any, by: str) -> Mapping[str, Any]:
        found = self.parts[part].get(name) if isinstance(name, str) else None
        if found is None:
            known = self.parts[part]
            raise InputError(
                f"HS3: {by} refers to {name!r}, which is not among the {part}."
                f"{nearest(str(name), known)}"
            )
        return found

    def workspace(self) -> Content:
        """All of it."""
        analyses = list(self.parts["analyses"].values())
        if not analyses:
            raise InputError("HS3: there is no analysis, which says what the data are.")
        likelihoods = [self._get("likelihoods", a.get("likelihood"), a["name"]) for a in analyses]
        first = likelihoods[0]
        if len(first["distributions"]) != len(first["data"]):
            raise InputError(
                f"HS3: the likelihood {first['name']!r} has {len(first['distributions'])} "
                f"distributions and {len(first['data'])} data: there is one of each for a channel."
            )
        pairs = list(zip(first["distributions"], first["data"], strict=True))
        for other in likelihoods[1:]:
            if list(zip(other["distributions"], other["data"], strict=True)) != pairs:
                raise InputError(
                    f"HS3: the likelihoods {first['name']!r} and {other['name']!r} have other "
                    "channels. Keep the analyses of one."
                )
        gaussians = [self._auxiliary(each) for each in likelihoods]
        if any(gaussian.keys() != gaussians[0].keys() for gaussian in gaussians):
            raise InputError("HS3: the likelihoods constrain different parameters.")
        constrained = {name for gaussian in gaussians for name in gaussian}
        channels, observations = [], []
        for distribution, data in pairs:
            channels.append(self._channel(distribution, constrained))
            observations.append({"name": distribution, "data": self._data(data)})
        unused = constrained - ({self.lumi} if self.lumi else set())
        if unused:
            raise InputError(
                f"HS3: the parameters {sorted(unused)} have a Gaussian constraint of their own. "
                "pyhf has that for one factor alone, its lumi."
            )
        measurements = [
            self._measurement(analysis, gaussian)
            for analysis, gaussian in zip(analyses, gaussians, strict=True)
        ]
        self._hold(channels, self._known(analyses[0]))
        return {
            "channels": channels,
            "observations": observations,
            "measurements": measurements,
            "version": "1.0.0",
        }

    def _auxiliary(self, likelihood: Mapping[str, Any]) -> dict[str, tuple[str | float, float]]:
        """Gaussian constraints of a likelihood: observable and width by parameter."""
        found = {}
        for name in likelihood.get("aux_distributions") or ():
            distribution = self._get("distributions", name, likelihood["name"])
            if distribution["type"] not in ("gaussian_dist", "normal_dist"):
                raise InputError(
                    f"HS3: the auxiliary distribution {name!r} is a {distribution['type']}. Only a "
                    "Gaussian constraint of a luminosity is read."
                )
            x, mean, sigma = (distribution[key] for key in ("x", "mean", "sigma"))
            if isinstance(mean, str) and not isinstance(x, str):
                parameter, observed = mean, x
            else:
                # Both orders are written; what is observed is called nom_PARAMETER, or is constant.
                first = isinstance(x, str) and isinstance(mean, str) and not x.startswith("nom_")
                parameter, observed = (x, mean) if first or not isinstance(mean, str) else (mean, x)
            if not isinstance(sigma, float | int):
                raise InputError(f"HS3: the width of {name!r} is {sigma!r}, which is no number.")
            found[str(parameter)] = (observed, float(sigma))
        return found

    def _data(self, name: Any) -> list[float]:
        data = self._get("data", name, "the likelihood")
        if data.get("type") != "binned":
            raise InputError(f"HS3: the data {name!r} are {data.get('type')!r}, not binned.")
        return [float(value) for value in data["contents"]]

    def _channel(self, name: str, constrained: set[str]) -> Content:
        distribution = self._get("distributions", name, "the likelihood")
        if distribution["type"] != "histfactory_dist":
            raise InputError(
                f"HS3: {name!r} is a {distribution['type']}. Only histfactory_dist is read."
            )
        made = []
        for sample in distribution["samples"]:
            contents = [float(value) for value in sample["data"]["contents"]]
            changes = [
                self._modifier(name, sample, modifier, constrained)
                for modifier in sample.get("modifiers", [])
            ]
            made.append({"name": sample["name"], "data": contents, "modifiers": changes})
        result: Content = {"name": name, "samples": made}
        axes = distribution.get("axes", [])
        if len(axes) == 1 and "edges" in axes[0]:
            result["edges"] = axes[0]["edges"]
        return result

    def _modifier(
        self,
        channel: str,
        sample: Mapping[str, Any],
        modifier: Mapping[str, Any],
        constrained: set[str],
    ) -> Content:
        kind = modifier.get("type")
        where = f"HS3: channel {channel!r}, sample {sample['name']!r}, {kind} "
        where += repr(modifier.get("name", modifier.get("parameter")))
        if kind in _SCALAR:
            return self._scalar(where, str(kind), modifier, constrained)
        if kind in PER_BIN:
            return self._per_bin(where, channel, sample, modifier)
        raise InputError(f"{where}: this type of modifier is not read.")

    def _scalar(
        self, where: str, kind: str, modifier: Mapping[str, Any], constrained: set[str]
    ) -> Content:
        several = modifier.get("parameters", [None])
        usual = modifier.get("name") if kind == "normfactor" else f"alpha_{modifier.get('name')}"
        name = str(modifier.get("parameter") or several[0] or usual)
        data = modifier.get("data") or {}
        if kind == "normfactor":
            if name in constrained:
                if self.lumi not in (None, name):
                    raise InputError(
                        f"{where}: pyhf has one factor with a Gaussian constraint, and "
                        f"{self.lumi!r} is one already."
                    )
                self.lumi = name
                return {"name": "lumi", "type": "lumi", "data": None}
            self._remember(where, name, kind, [name])
            return {"name": name, "type": kind, "data": None}
        if modifier.get("constraint", "Gauss") in ("Poisson", "LogNormal"):
            raise InputError(f"{where}: pyhf has Gaussian constraints alone here.")
        code = str(data.get("interpolation", modifier.get("interpolation", "4")))
        if code not in _INTERPOLATION[kind]:
            raise InputError(
                f"{where}: interpolation {code!r}. A workspace has pyhf's own, "
                f"{_INTERPOLATION[kind][0]}; change it, and give modifier_settings to the model."
            )
        self._remember(where, name, "alpha", [name])
        if kind == "normsys":
            return {"name": name, "type": kind, "data": {"hi": data["hi"], "lo": data["lo"]}}
        sides = {f"{side}_data": list(data[side]["contents"]) for side in ("hi", "lo")}
        return {"name": name, "type": kind, "data": sides}

    def _per_bin(
        self,
        where: str,
        channel: str,
        sample: Mapping[str, Any],
        modifier: Mapping[str, Any],
    ) -> Content:
        kind, contents = str(modifier["type"]), sample["data"]["contents"]
        data = modifier.get("data") or {}
        name = str(modifier.get("name") or f"{kind}_{channel}")
        if kind == "staterror" and name == kind:
            name = f"{kind}_{channel}"
        own = modifier.get("parameters") or [f"{name}_{channel}_{i}" for i in range(len(contents))]
        # What has the same parameters is one thing, whatever it is called.
        for known, parameters in self.parameters.items():
            if list(own) == parameters and self.kinds[known] == kind:
                name = known
        if name in self.parameters and self.parameters[name] != list(own):
            name = f"{name}_{channel}"
        self._remember(where, name, kind, list(own))
        if kind == "shapefactor":
            return {"name": name, "type": kind, "data": None}
        if kind == "shapesys":
            if self.from_root:
                raise InputError(
                    f"{where}: versions of ROOT mean different things by its 'vals'. Read the "
                    "workspace from its XML, or write the shapesys by hand."
                )
            if modifier.get("constraint", "Poisson") != "Poisson" or "vals" not in data:
                raise InputError(
                    f"{where}: a shapesys with 'vals' and a Poisson constraint is read."
                )
            return {"name": name, "type": kind, "data": list(data["vals"])}
        errors = data.get("uncertainties", sample["data"].get("errors"))
        if errors is None:
            raise InputError(f"{where}: the sample has no 'errors'.")
        if modifier.get("constraint", "Gauss") == "Poisson" and not self.made_gaussian:
            self.made_gaussian = True
            logger.warning(
                "%s: Poisson constraints of the statistics of the simulation become Gaussian ones, "
                "as when pyhf reads XML.",
                where,
            )
        return {"name": name, "type": kind, "data": list(errors)}

    def _remember(self, where: str, name: str, kind: str, parameters: list[str]) -> None:
        if self.kinds.setdefault(name, kind) != kind:
            raise InputError(f"{where}: {name!r} is a {self.kinds[name]} as well. Rename one.")
        self.parameters[name] = parameters

    def _hold(self, channels: list[Content], known: Mapping[str, _Parameter]) -> None:
        """Without uncertainty where one parameter of several is constant: pyhf fixes those."""
        for channel in channels:
            for sample in channel["samples"]:
                for modifier in sample["modifiers"]:
                    if modifier["type"] not in PER_BIN:
                        continue
                    own = [known.get(each) for each in self.parameters[modifier["name"]]]
                    fixed = np.array([each is not None and each.fixed for each in own])
                    if not fixed.any() or fixed.all():
                        continue
                    if modifier["type"] == "shapefactor":
                        raise InputError(
                            f"HS3: some parameters of the shapefactor {modifier['name']!r} are "
                            "constant. pyhf holds all or none of them."
                        )
                    data = np.asarray(modifier["data"], float)
                    modifier["data"] = np.where(fixed[: len(data)], 0.0, data).tolist()

    def _known(self, analysis: Mapping[str, Any]) -> dict[str, _Parameter]:
        """Start, range, and whether it is constant, by parameter."""
        domains = analysis.get("domains") or [analysis.get("domain")]
        bounds: dict[str, tuple[float, float]] = {}
        for name in domains:
            for axis in self._get("domains", name, analysis["name"]).get("axes", ()):
                if "min" in axis and "max" in axis:
                    bounds[axis["name"]] = (float(axis["min"]), float(axis["max"]))
        values: dict[str, Mapping[str, Any]] = {}
        if analysis.get("init") is not None:
            point = self._get("parameter_points", analysis["init"], analysis["name"])
            values = {each["name"]: each for each in point["parameters"]}
        return {
            name: _Parameter(
                float(values[name]["value"]) if name in values else None,
                bool(values.get(name, {}).get("const", False)),
                bounds.get(name),
            )
            for name in {**bounds, **values}
        }

    def _measurement(
        self, analysis: Mapping[str, Any], gaussians: Mapping[str, tuple[str | float, float]]
    ) -> Content:
        known = self._known(analysis)
        interesting = analysis.get("parameters_of_interest") or [""]
        if len(interesting) > 1:
            logger.info(
                "HS3: of the parameters of interest %s the first is that of the measurement.",
                ", ".join(interesting),
            )
        configured = []
        for name, own in self.parameters.items():
            options = _options(name, [known.get(each) for each in own])
            if options is not None:
                configured.append(options)
        if self.lumi is not None:
            observed, sigma = gaussians[self.lumi]
            center = observed if isinstance(observed, float | int) else None
            if center is None:
                there = known.get(str(observed))
                center = 1.0 if there is None or there.value is None else there.value
            options = _options("lumi", [known.get(self.lumi)]) or {"name": "lumi"}
            options |= {"auxdata": [float(center)], "sigmas": [sigma]}
            options.setdefault("inits", [float(center)])
            options.setdefault("bounds", [[center - 10 * sigma, center + 10 * sigma]])
            configured.append(options)
        poi = "lumi" if interesting[0] and interesting[0] == self.lumi else interesting[0]
        return {"name": analysis["name"], "config": {"poi": poi, "parameters": configured}}


def _options(name: str, own: list[_Parameter | None]) -> Content | None:
    """Pyhf's configuration of a parameter, or of one per bin; None where nothing is said."""
    there = [each for each in own if each is not None]
    if len(there) != len(own):
        return None
    options: Content = {"name": name}
    if all(each.value is not None for each in there):
        options["inits"] = [each.value for each in there]
    if all(each.bounds is not None and np.all(np.isfinite(each.bounds)) for each in there):
        options["bounds"] = [list(each.bounds or ()) for each in there]
    if all(each.fixed for each in there):
        options["fixed"] = True
    return options

"""From templates to a workspace that `pyhf` reads."""

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.arguments import takes, texts
from difftune.errors import InputError, nearest
from difftune.histfactory.checks import check_schema
from difftune.histograms import Histogram, Template, Templates


def _processes(given: Any) -> tuple[str, ...] | None:
    """One or several names; None for all."""
    return None if given is None else texts(given, "processes", 'processes=("ttbar",)')


@takes(processes=_processes)
@dataclass(frozen=True)
class NormalisationUncertainty:
    """A constrained uncertainty of yields: pyhf's normsys.

    Attributes:
        name: Name of the nuisance parameter; a name shared with a variation or another
            uncertainty means one parameter.
        up: Relative change at plus one standard deviation: 0.06 is 6 %.
        down: Relative change at minus one standard deviation, `-up` if not given.
        processes: The processes that it acts on; None: all.
    """

    name: str
    up: float
    down: float | None = None
    processes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuses yields that are not positive at one standard deviation."""
        if not min(self.factors) > 0:
            raise InputError(
                f"NormalisationUncertainty({self.name!r}): factors {self.factors} on the yield "
                f"(from up={self.up}, down={self.down}) must be positive. The changes are "
                "relative: 0.06 is 6 %. For 100 % and more, give `down` too, -0.5 for instance."
            )

    @property
    def factors(self) -> tuple[float, float]:
        """Factors on the yield at plus and minus one standard deviation."""
        return 1 + self.up, 1 + (-self.up if self.down is None else self.down)


@takes(processes=_processes)
@dataclass(frozen=True)
class Luminosity:
    """The uncertainty of the luminosity: pyhf's lumi.

    Attributes:
        uncertainty: Relative, 0.017 is 1.7 %.
        name: Name of the nuisance parameter.
        processes: The processes that scale with it; None: all. Leave out what is normalised to
            data.
    """

    uncertainty: float
    name: str = "lumi"
    processes: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        """Refuses what is no relative uncertainty."""
        if not 0 < self.uncertainty < 1:
            raise InputError(
                f"Luminosity(uncertainty={self.uncertainty}) must be between 0 and 1: 0.017 is "
                "1.7 %. For none, leave the luminosity out."
            )


@takes(processes=_processes)
@dataclass(frozen=True)
class FreeNormalisation:
    """A factor on yields that the fit determines: pyhf's normfactor.

    Attributes:
        name: Name of the parameter.
        processes: The processes that it acts on.
        bounds: Range in the fit, around 1.
    """

    name: str
    processes: tuple[str, ...]
    bounds: tuple[float, float] = (0.0, 10.0)

    def __post_init__(self) -> None:
        """Refuses a range without the nominal value."""
        if not self.bounds[0] < 1 < self.bounds[1]:
            raise InputError(
                f"FreeNormalisation({self.name!r}): bounds {self.bounds} must contain 1, the "
                "nominal value."
            )


logger = logging.getLogger("difftune")

FLOOR = 1e-6
LEAST_FACTOR = 0.01
_ROUNDING = 1e-9


def build_workspace(
    templates: Sequence[Templates],
    *,
    poi: str = "mu",
    normalisation: Sequence[NormalisationUncertainty] = (),
    luminosity: Luminosity | None = None,
    free: Sequence[FreeNormalisation] = (),
    mc_statistics: bool = True,
    prune: float = 0.0,
    asimov: bool = True,
    poi_bounds: tuple[float, float] | None = None,
) -> dict[str, Any]:
    """A HistFactory workspace in pyhf's JSON format.

    Each variation becomes a normsys (its effect on the total yield) and a histosys (its shape at
    the nominal yield) of one name, as cabinetry and TRExFitter split it; at plus and minus one
    standard deviation the product is the varied template. The signal processes are scaled by the
    POI. Bins of a process that are not positive are set to 1e-6 events, with a warning where they
    are negative.

    Args:
        templates: One for each channel.
        poi: Name of the parameter of interest, the signal strength.
        normalisation: Uncertainties of yields.
        luminosity: Uncertainty of the luminosity.
        free: Yields that are determined by the fit.
        mc_statistics: Whether to take the statistical uncertainty of the simulation into account
            (staterror: one parameter for each bin).
        prune: Effects on the yield, and on the shape in every bin, that are relatively smaller than
            this are left out; 0 leaves out only what is none.
        asimov: Whether a channel without data may observe its nominal signal plus background.
        poi_bounds: Range of the POI in fits; the default starts at 0 and holds 1 and more than
            the upper limit to be expected.

    Returns:
        The workspace, valid by pyhf's schema.

    Raises:
        InputError: A name is unknown or stands for two things, a channel has neither data nor
            leave to go without, or there is no signal.
    """
    _check(templates, poi, normalisation, luminosity, free)
    channels, observations = [], []
    for channel in templates:
        samples = []
        for name, template in channel.processes.items():
            place = f"channel {channel.channel!r}, process {name!r}"
            nominal = _floored(template.nominal.sumw, place)
            modifiers = list(_variations(nominal, template, prune, place))
            modifiers += [
                _normsys(u.name, *u.factors)
                for u in normalisation
                if u.processes is None or name in u.processes
            ]
            if luminosity and (luminosity.processes is None or name in luminosity.processes):
                modifiers.append({"name": luminosity.name, "type": "lumi", "data": None})
            factors = [f.name for f in free if name in f.processes]
            factors += [poi] if name in channel.signal else []
            modifiers += [{"name": n, "type": "normfactor", "data": None} for n in factors]
            if mc_statistics:
                modifiers.append(
                    {
                        "name": f"staterror_{channel.channel}",
                        "type": "staterror",
                        "data": np.sqrt(template.nominal.sumw2).tolist(),
                    }
                )
            _refuse_twice(modifiers, place)
            samples.append({"name": name, "data": nominal.tolist(), "modifiers": modifiers})
        channels.append({"name": channel.channel, "samples": samples})
        observations.append({"name": channel.channel, "data": _observed(channel, samples, asimov)})

    bounds = poi_bounds or (0.0, _wide_enough(templates))
    parameters: list[dict[str, Any]] = [{"name": poi, "inits": [1.0], "bounds": [list(bounds)]}]
    parameters += [{"name": f.name, "inits": [1.0], "bounds": [list(f.bounds)]} for f in free]
    if luminosity:
        sigma = luminosity.uncertainty
        parameters.append(
            {
                "name": luminosity.name,
                "auxdata": [1.0],
                "sigmas": [sigma],
                "inits": [1.0],
                "bounds": [[max(1 - 10 * sigma, 0.0), 1 + 10 * sigma]],
            }
        )
    workspace = {
        "channels": channels,
        "observations": observations,
        "measurements": [
            {"name": "difftune", "config": {"poi": poi, "parameters": parameters}},
        ],
        "version": "1.0.0",
    }
    check_schema(workspace, "workspace.json")
    return workspace


def _variations(
    nominal: Float[np.ndarray, " bins"], template: Template, prune: float, place: str
) -> Iterator[dict[str, Any]]:
    """The normsys and histosys modifiers of one process."""
    total, threshold = nominal.sum(), max(prune, _ROUNDING)
    for name, pair in template.variations.items():
        factors, shapes = [], []
        for side, histogram in zip(("up", "down"), pair, strict=True):
            factor, shape = _split(nominal, histogram, f"{place}, {name} {side}")
            factors.append(factor)
            shapes.append(shape)
        if max(abs(factor - 1) for factor in factors) > threshold:
            yield _normsys(name, *factors)
        # Where the nominal is next to nothing, so is the effect, however large relatively.
        scale = np.maximum(nominal, _ROUNDING * total)
        if max(np.max(np.abs(shape - nominal) / scale) for shape in shapes) > threshold:
            data = {"hi_data": shapes[0].tolist(), "lo_data": shapes[1].tolist()}
            yield {"name": name, "type": "histosys", "data": data}


def _normsys(name: str, up: float, down: float) -> dict[str, Any]:
    return {"name": name, "type": "normsys", "data": {"hi": up, "lo": down}}


def _split(
    nominal: Float[np.ndarray, " bins"], varied: Histogram, place: str
) -> tuple[float, Float[np.ndarray, " bins"]]:
    """Effect of a variation on the total yield, and its shape at the nominal one."""
    total = nominal.sum()
    # Where the nominal is nothing but the floor, so must the variation be.
    nothing = (nominal <= FLOOR) | ~(varied.sumw > 0)
    bins = np.where(nothing, np.minimum(nominal, FLOOR), varied.sumw)
    factor = float(bins.sum() / total)
    if factor < LEAST_FACTOR:
        logger.warning(
            "%s: the variation leaves %.3g of %.3g events; %g of the yield is kept, with the "
            "nominal shape.",
            place,
            varied.sumw.sum(),
            total,
            LEAST_FACTOR,
        )
        return LEAST_FACTOR, nominal
    return factor, bins / factor


def _floored(yields: Float[np.ndarray, " bins"], place: str) -> Float[np.ndarray, " bins"]:
    """Yields with the bins that are not positive set to next to nothing, and a warning."""
    bad = ~(yields > 0)
    if bad.any():
        # An empty bin of a small process is common and harmless; a negative one changes the yield.
        level = logging.WARNING if np.any(yields[bad] < 0) else logging.DEBUG
        logger.log(
            level,
            "%s: bins %s hold %s events, set to %g; the yield changes by %.3g from %.6g. Fewer "
            "bins would avoid it.",
            place,
            np.flatnonzero(bad).tolist(),
            [float(f"{value:.3g}") for value in yields[bad]],
            FLOOR,
            FLOOR * bad.sum() - yields[bad].sum(),
            yields.sum(),
        )
    return np.where(bad, FLOOR, yields)


def _observed(channel: Templates, samples: list[dict[str, Any]], asimov: bool) -> list[float]:
    """Data, or the nominal expectation."""
    if channel.data is not None:
        return channel.data.sumw.tolist()
    if not asimov:
        raise InputError(
            f"Channel {channel.channel!r} has no data: give a process with the role 'data', or "
            "asimov=True."
        )
    return np.sum([sample["data"] for sample in samples], axis=0).tolist()


def _wide_enough(templates: Sequence[Templates]) -> float:
    """At least 10, and a hundred statistical uncertainties of the signal strength."""
    information = 0.0
    for channel in templates:
        s = np.maximum(channel.total("signal").sumw, 0)
        n = np.maximum(channel.total().sumw, FLOOR)
        information += float(np.sum(s**2 / n))
    return max(10.0, float(f"{100 / np.sqrt(information):.1g}"))


def _check(
    templates: Sequence[Templates],
    poi: str,
    normalisation: Sequence[NormalisationUncertainty],
    luminosity: Luminosity | None,
    free: Sequence[FreeNormalisation],
) -> None:
    """Refuses names that are unknown or stand for two kinds of parameter, and no signal."""
    channels = [channel.channel for channel in templates]
    if len(set(channels)) != len(channels) or not channels:
        raise InputError(f"build_workspace needs channels with different names, got {channels}.")
    if not sum(channel.total("signal").sumw.sum() for channel in templates) > 0:
        raise InputError(
            f"build_workspace: no expected signal in {channels}; {poi!r} would scale nothing."
        )
    known = {name for channel in templates for name in channel.processes}
    for uncertainty in (*normalisation, *free, *([luminosity] if luminosity else ())):
        for name in uncertainty.processes or ():
            if name not in known:
                raise InputError(
                    f"{uncertainty.name!r} acts on the process {name!r}, which is not among "
                    f"{sorted(known)}.{nearest(name, known)}"
                )
    varied = {v for c in templates for t in c.processes.values() for v in t.variations}
    _refuse_shared(
        {
            "the parameter of interest": {poi},
            "a free normalisation": {f.name for f in free},
            "the luminosity": {luminosity.name} if luminosity else set(),
            "the statistics of the simulation": {f"staterror_{name}" for name in channels},
            "a systematic uncertainty": varied | {u.name for u in normalisation},
        }
    )


def _refuse_shared(kinds: dict[str, set[str]]) -> None:
    """Refuses one name for two kinds of parameter."""
    seen: dict[str, str] = {}
    for kind, names in kinds.items():
        for name in names:
            if name in seen:
                raise InputError(f"{name!r} is the name of {seen[name]} and of {kind}: rename one.")
            seen[name] = kind


def _refuse_twice(modifiers: Iterable[dict[str, Any]], place: str) -> None:
    """Refuses two modifiers of one name and type on one process."""
    seen = set()
    for modifier in modifiers:
        key = (modifier["name"], modifier["type"])
        if key in seen:
            raise InputError(
                f"{place}: {key[0]!r} changes the yield twice, as {key[1]}. Give the second "
                "uncertainty another name."
            )
        seen.add(key)

"""Everything that one asks of a likelihood first, in one call."""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference.fits import FitResult, SignificanceTest, fit
from difftune.inference.given import asks
from difftune.inference.goodness import GoodnessOfFit, goodness_of_fit
from difftune.inference.groups import GroupedImpacts, Groups, grouped_impacts
from difftune.inference.hypotest import HypoTest, expected_significance, hypotest
from difftune.inference.impacts import Impacts, impacts
from difftune.inference.intervals import MinosErrors, ProfileScan, minos, profile
from difftune.inference.limits import UpperLimit, upper_limit
from difftune.inference.prediction import Prediction, predictions
from difftune.inference.problems import Bounds, FitError, Fixed

logger = logging.getLogger("difftune")

# So many parameters that moved far are named.
_NAMED = 6

PARTS = ("inspect", "fit", "gof", "limit", "scan", "impacts")
"""What may be asked for."""
_NEED_A_SIGNAL = ("limit", "scan", "impacts")
# Values of the CLs scan, and how far it goes beyond the last limit.
_VALUES, _BEYOND = 16, 1.2


@dataclass(frozen=True, kw_only=True, eq=False)
class Examination:
    """What was asked of a likelihood; None where it was not.

    Attributes:
        model: The likelihood.
        observed: Observed counts by channel.
        before: Yields before the fit, by channel.
        after: Yields after it.
        fit: The fit of all parameters.
        errors: Asymmetric errors of the parameter of interest.
        goodness: Whether the model describes the data.
        significance: For discovery.
        limit: At 95 % confidence level.
        tested: Strengths of the CLs scan.
        cls: CLs at each of them.
        scan: The profile likelihood of the parameter of interest.
        statistics_scan: The same with all constrained parameters at their best fit.
        impacts: Ranking of the nuisance parameters.
        groups: What groups of them contribute.
        bounds: Bounds that were not those of the workspace.
        failed: What could not be computed, and why, by part.
    """

    model: Model
    observed: dict[str, Float[np.ndarray, " bins"]]
    before: dict[str, Prediction] | None = None
    after: dict[str, Prediction] | None = None
    fit: FitResult | None = None
    errors: MinosErrors | None = None
    goodness: GoodnessOfFit | None = None
    significance: SignificanceTest | None = None
    limit: UpperLimit | None = None
    tested: Float[np.ndarray, " values"] | None = None
    cls: HypoTest | None = None
    scan: ProfileScan | None = None
    statistics_scan: ProfileScan | None = None
    impacts: Impacts | None = None
    groups: GroupedImpacts | None = None
    bounds: Mapping[str, tuple[float, float]]
    failed: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """All numbers by name, for JSON."""
        found: dict[str, Any] = {
            "poi": self.model.structure.poi,
            "channels": {
                name: {"observed": counts, "bins": len(counts)}
                for name, counts in self.observed.items()
            },
            "bounds": dict(self.bounds),
        }
        for when, yields in (("prefit", self.before), ("postfit", self.after)):
            for channel, prediction in (yields or {}).items():
                samples = {name: prediction.of(name)._asdict() for name in prediction.names}
                total = prediction.of()._asdict()
                found["channels"][channel][when] = {"samples": samples, "total": total}
        for name in ("fit", "errors", "goodness", "significance", "limit", "impacts", "groups"):
            value = getattr(self, name)
            if value is not None:
                found[name] = _named(value)
        if self.cls is not None:
            found["cls"] = {"values": self.tested, **_named(self.cls)}
        if self.scan is not None:
            found["scan"] = {"values": self.scan.values, "q": self.scan.q}
        if self.statistics_scan is not None:
            found["scan"]["q_statistics"] = self.statistics_scan.q
        return found | ({"failed": self.failed} if self.failed else {})

    def lines(self) -> list[str]:
        """The results in a few lines."""
        structure = self.model.structure
        bins, names = structure.n_bins, structure.names
        counts = {
            "channel": len(structure.channels),
            "bin": bins,
            "sample": len(structure.samples),
            "parameter": len(names),
        }
        found = [", ".join(f"{n} {what}{'' if n == 1 else 's'}" for what, n in counts.items())]
        poi = structure.poi
        if self.fit is not None and poi is not None:
            value, sigma = self.fit.parameter(poi)
            layout, index = structure.layout, structure.poi_index or 0
            # More than the bounds allow means that the likelihood is a line at one of them.
            shows = 0 < sigma < float(layout.upper[index] - layout.lower[index])
            text = f"{poi} = {value:.4g}" + (f" ± {sigma:.3g}" if shows else "")
            text += " (fixed)" if sigma == 0 else ""
            if self.errors is not None:
                sides = f"+{self.errors.up[0]:.3g} −{-self.errors.down[0]:.3g}"
                there = float(self.errors.values[0])
                far = abs(there - value) > 1e-3 * sigma
                free = "free" if sigma == 0 else "without its bound"
                text += f"  ({free} {there:.4g} {sides})" if far else f"  ({sides})"
            found.append(text)
        elif self.fit is not None:
            found.append(f"-2 ln L = {float(self.fit.twice_nll):.6g} at the best fit")
        if self.fit is not None and np.any(self.fit.at_bound):
            ends = [n for n, held in zip(self.fit.names, self.fit.at_bound, strict=True) if held]
            found.append(f"at a bound: {', '.join(ends)}")
        if self.fit is not None and (moved := moved_far(self.fit)):
            found.append(moved)
        if self.goodness is not None:
            toys = self.goodness.toys_p_value
            p = f"p = {self.goodness.p_value:.3g}" if toys is None else f"p = {toys:.3g} (toys)"
            degrees = f"{self.goodness.dof} degrees of freedom"
            if toys is None and not math.isfinite(self.goodness.p_value):
                found.append(f"goodness of fit: no test  ({degrees})")
            else:
                found.append(f"goodness of fit: {p}  (χ² {self.goodness.q:.4g}, {degrees})")
        if self.significance is not None:
            expected, observed = self.significance
            # What the fit leaves of none is none.
            seen = "" if observed is None else f"{round(float(observed), 4):.3g} observed, "
            found.append(f"significance: {seen}{expected:.3g} expected for {poi} = 1")
        if self.limit is not None:
            low, middle, high = self.limit.expected[1:4]
            found.append(
                f"{poi} < {float(self.limit.observed):.4g} at 95 % CL  (expected {middle:.4g}, "
                f"68 % of them {low:.4g} to {high:.4g})"
            )
        if self.groups is not None:
            # What nobody has measured before cannot shift, such as a free normalisation.
            shifted = [group for group in self.groups.groups if group.shifted]
            shares = ", ".join(f"{group.name} {group.shifted:.3g}" for group in shifted)
            found.append(f"uncertainty of {poi}: {shares}")
        if self.impacts is not None and self.impacts.names:
            found.append(f"largest impacts: {', '.join(self.impacts.names[:5])}")
        return found + [f"no {part}: {reason}" for part, reason in self.failed.items()]


def moved_far(fit: FitResult) -> str:
    """A line on the parameters that a fit moved by more than two standard deviations.

    Args:
        fit: The fit.

    Returns:
        The line; nothing where there are none.
    """
    named = [f"{name} ({pull:+.1f} σ)" for name, pull in fit.pulled().items()]
    more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
    return f"far from where they began: {', '.join(named[:_NAMED])}{more}" if named else ""


def _named(value: Any) -> dict[str, Any]:
    """The fields of a result, without the fit that it refers to and what follows from others."""
    content = {k: v for k, v in value._asdict().items() if k not in ("fit", "toys", "covariance")}
    return {key: _unnamed(item) for key, item in content.items()}


def _unnamed(value: Any) -> Any:
    if hasattr(value, "_asdict"):
        return _named(value)
    if isinstance(value, dict):
        return {key: _unnamed(item) for key, item in value.items()}
    if isinstance(value, tuple):
        return [_unnamed(item) for item in value]
    return value


@asks
def examine(
    model: Model,
    parts: Sequence[str] = (),
    *,
    data: Any = None,
    toys: int = 0,
    groups: Groups | None = None,
    bounds: Bounds | None = None,
    fixed: Fixed | None = None,
    start: Any = None,
) -> Examination:
    """Fits a likelihood, and whatever else is asked of it first.

    A best fit of the parameter of interest at its lower bound has neither a ranking nor an interval
    with two sides: for these (not for the limit) the bound is widened, and a line says so.

    Args:
        model: The likelihood.
        parts: Of "inspect" (yields before the fit), "fit" (with yields after it), "gof", "limit"
            (with significance and CLs scan), "scan" (profile likelihood and asymmetric errors of
            the parameter of interest), "impacts" (ranking and groups). By default all that there is
            a parameter of interest for.
        data: Main data, or main and auxiliary data; by default the observations.
        toys: Pseudo-experiments of the goodness of fit.
        groups: As in `grouped_impacts`.
        bounds: Other bounds, by name of the parameter.
        fixed: Values of parameters that stay, or their names.
        start: Start values, by name or of all parameters.

    Raises:
        InputError: A part is unknown or needs a parameter of interest, or data or names are wrong.
        FitError: A part that was asked for by name fails.
    """
    structure = model.structure
    for part in parts:
        if part not in PARTS:
            raise InputError(f"There is no part {part!r}: choose of {', '.join(PARTS)}.")
        if part in _NEED_A_SIGNAL and structure.poi is None:
            raise InputError(
                f"{part!r} needs a parameter of interest, and the model has none: name one "
                "(poi=..., --poi NAME), or apply a signal patch (patches=..., --patch FILE)."
            )
    wanted = set(parts or PARTS) - (set() if structure.poi else set(_NEED_A_SIGNAL))
    values, failed = model.data(data), {}
    if values.ndim > 1:
        raise InputError("examine takes one fit: give one model and one row of data.")
    asked: dict[str, Any] = {"bounds": bounds, "fixed": fixed, "start": start}
    counts = {name: values[place] for name, place in model.config.channel_slices.items()}
    found: dict[str, Any] = {}
    seen = model.replace(observed=values[: structure.n_bins])

    def attempt(part: str, *steps: Any, says: str | None = None) -> None:
        """What is not asked for by name may fail, and the rest be there."""
        if part not in wanted:
            return
        try:
            for name, step in steps:
                found[name] = step()
        except (FitError, InputError) as error:
            if part in parts:
                raise
            failed[says or part] = str(error)

    attempt("inspect", ("before", lambda: predictions(model)))
    if wanted - {"inspect"}:
        found["fit"] = fit(model, values, **asked)
    if "fit" in wanted:
        found["before"] = found.get("before") or predictions(model)
        found["after"] = predictions(model, found["fit"])
    attempt("gof", ("goodness", lambda: goodness_of_fit(model, values, toys=toys, **asked)))

    def cls() -> HypoTest:
        top = max(float(found["limit"].observed), float(found["limit"].expected[4]))
        found["tested"] = np.linspace(0.0, _BEYOND * top, _VALUES)
        return hypotest(found["tested"], model, values, **asked)

    attempt(
        "limit",
        ("limit", lambda: upper_limit(model, values, **asked)),
        ("cls", cls),
    )
    attempt(
        "limit",
        ("significance", lambda: expected_significance(seen, **asked)),
        says="significance",
    )
    wide = dict(asked)
    wider = _widened(model, found.get("fit"), bounds)
    if wider and wanted & {"scan", "impacts"}:
        wide["bounds"] = {**(bounds or {}), **wider}
        logger.info(
            "The best fit of %s is at its bound. Ranking and scan use %s.",
            structure.poi,
            ", ".join(f"{n} from {low:g} to {high:g}" for n, (low, high) in wider.items()),
        )

    def statistics() -> ProfileScan | None:
        best = found["scan"].fit
        known = np.isfinite(best.widths) | (np.asarray(best.uncertainties) == 0)
        held = {
            name: float(value)
            for name, value, keep in zip(best.names, best.values, known, strict=True)
            if keep and name != structure.poi
        }
        if not held:
            return None
        alone = {**wide, "fixed": held}
        return profile(model, structure.poi or "", found["scan"].values, data=values, **alone)

    attempt(
        "scan",
        ("scan", lambda: profile(model, structure.poi or "", data=values, **wide)),
        ("statistics_scan", statistics),
        ("errors", lambda: minos(model, values, parameters=structure.poi, **wide)),
    )
    attempt(
        "impacts",
        ("groups", lambda: grouped_impacts(model, values, groups=groups, **wide)),
        ("impacts", lambda: impacts(model, values, **wide)),
    )
    return Examination(
        model=model, observed=counts, bounds=wide["bounds"] or {}, failed=failed, **found
    )


def _widened(
    model: Model, best: FitResult | None, bounds: Bounds | None
) -> dict[str, tuple[float, float]]:
    """Bounds of the parameter of interest that let its best fit be what it is."""
    index, poi = model.structure.poi_index, model.structure.poi
    if best is None or index is None or poi is None or poi in (bounds or {}):
        return {}
    if not best.at_bound[index]:
        return {}
    layout = model.structure.layout
    low, high = float(layout.lower[index]), float(layout.upper[index])
    reach = max(abs(low), abs(high))
    return {poi: (-reach, reach)} if math.isfinite(reach) else {}

"""From a CMS Combine datacard to a workspace."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from os import PathLike
from pathlib import Path
from typing import NamedTuple

import numpy as np

from difftune.errors import InputError
from difftune.workspaces.card import (
    Card,
    Constraint,
    Product,
    RateParameter,
    Ratio,
    Statistics,
    Systematic,
    read_card,
)
from difftune.workspaces.card_edits import edited
from difftune.workspaces.card_files import CardFiles, Edges, Numbers
from difftune.workspaces.spec import Content, Patterns, matching

logger = logging.getLogger("difftune")

# Combine's range of the signal strength.
_LARGEST_STRENGTH = 20.0
# A rate and the events of its control region are the same up to how they are rounded.
_ROUNDED = 0.01


class _Template(NamedTuple):
    """A process in a channel.

    Attributes:
        yields: In each bin, at the rate of the card.
        errors: Statistical uncertainties.
        scale: By what the histogram was multiplied.
        edges: Of the bins; None for a counting experiment.
    """

    yields: Numbers
    errors: Numbers
    scale: float
    edges: Edges | None

    def scaled(self, factor: float) -> "_Template":
        """So many times as much of it."""
        return _Template(
            self.yields * factor, self.errors * factor, self.scale * factor, self.edges
        )


def from_datacard(
    path: str | PathLike[str],
    *,
    mass: str | float | int | None,
    poi: str,
    pois: Mapping[str, Patterns] | None,
) -> Content:
    """A workspace of a datacard; see `Workspace.from_datacard`.

    Args:
        path: The file.
        mass: What `$MASS` stands for.
        poi: Name of the factor on all signals.
        pois: Names of factors, and the processes that each scales.

    Raises:
        InputError: The card or a histogram is not right, or cannot be a workspace.
    """
    card = edited(read_card(Path(path)))
    with CardFiles(card, mass) as files:
        return _Builder(card, files, _scaled(card, poi, pois)).workspace()


def _scaled(card: Card, poi: str, pois: Mapping[str, Patterns] | None) -> dict[str, list[str]]:
    """Signal processes by the parameter that scales them."""
    signals = list(dict.fromkeys(p for _, p, identity, _ in card.columns if identity <= 0))
    if pois is None:
        if len(signals) > 1:
            logger.info("%s: %r scales all of %s.", card.path, poi, ", ".join(signals))
        return {poi: signals}
    every = list(dict.fromkeys(process for _, process, _, _ in card.columns))
    found = {
        name: sorted(matching(f"pois[{name!r}]", patterns, every))
        for name, patterns in pois.items()
    }
    without = [s for s in signals if not any(s in scaled for scaled in found.values())]
    if not found or without:
        raise InputError(
            f"pois={dict(pois)!r}: the signals {without or signals} are scaled by none. Name a "
            "parameter for each."
        )
    return found


class _Builder:
    """Makes channels, observations and parameters of a card."""

    def __init__(self, card: Card, files: CardFiles, scaled: dict[str, list[str]]) -> None:
        self.card, self.files, self.scaled = card, files, scaled
        self.parameters: dict[str, Content] = {}
        self.controls: list[Content] = []
        self.control_data: list[Content] = []
        self.interpolated_otherwise: list[str] = []
        self.added_otherwise: list[str] = []
        _check_constraints(card)
        self.factors = _free_factors(card)

    def workspace(self) -> Content:
        """All of it."""
        for name in self.scaled:
            self._configure(name, 1.0, (0.0, _LARGEST_STRENGTH))
        channels, observations = [], []
        for channel in self.card.observed:
            made, data = self._channel(channel)
            channels.append(made)
            observations.append({"name": channel, "data": data})
        channels += self.controls
        if self.interpolated_otherwise:
            logger.warning(
                "%s: %s are interpolated in the bins' contents, where Combine takes their "
                "logarithms.",
                self.card.path,
                ", ".join(self.interpolated_otherwise),
            )
        if self.added_otherwise:
            logger.warning(
                "%s: the effects of the constrained factors %s are added to those of shape "
                "uncertainties and of each other, where Combine multiplies them.",
                self.card.path,
                ", ".join(self.added_otherwise),
            )
        for name in self.card.frozen:
            self.parameters.setdefault(name, {"name": name})["fixed"] = True
        config = {"poi": next(iter(self.scaled)), "parameters": list(self.parameters.values())}
        groups = {"groups": self.card.groups} if self.card.groups else {}
        return {
            "channels": channels,
            "observations": [*observations, *self.control_data],
            "measurements": [{"name": "combine", "config": config}],
            "version": "1.0.0",
            **groups,
        }

    def _configure(self, name: str, start: float, bounds: tuple[float, float]) -> None:
        self.parameters[name] = {"name": name, "inits": [start], "bounds": [list(bounds)]}

    def _channel(self, channel: str) -> tuple[Content, list[float]]:
        statistics = next(
            (s for s in self.card.statistics if fnmatchcase(channel, s.channel)), None
        )
        mode = 1 if statistics is None else statistics.mode
        made: list[tuple[Content, _Template, bool]] = []
        for column, (own, process, identity, rate) in enumerate(self.card.columns):
            if own != channel or (rate == 0 and not self._has_events(column)):
                continue
            template = self._template(channel, process, rate)
            constrained = self._constrained(channel, process)
            for each in constrained:
                template = template.scaled(each.mean)
            sample = {"name": process, "data": template.yields.tolist(), "modifiers": []}
            self._factors(sample, channel, process)
            self._constraints(sample, template, constrained)
            for systematic in self.card.systematics:
                if systematic.values[column] is not None:
                    self._systematic(sample, template, systematic, column, mode)
            made.append((sample, template, identity <= 0))
        if not made:
            raise InputError(
                f"{self.card.path}: channel {channel!r} expects no events. Take it out."
            )
        sizes = {sample["name"]: len(sample["data"]) for sample, _, _ in made}
        if len(set(sizes.values())) > 1:
            raise InputError(f"{self.card.path}: channel {channel!r} has {sizes} bins.")
        if statistics is not None and statistics.threshold >= 0:
            _add_statistics(channel, made, statistics)
        result: Content = {"name": channel, "samples": [sample for sample, _, _ in made]}
        edges = made[0][1].edges
        if edges is not None:
            result["edges"] = edges.tolist()
        return result, self._data(channel, len(made[0][0]["data"]))

    def _has_events(self, column: int) -> bool:
        """Whether a process of rate 0 comes from a control region without events."""
        return any(s.kind == "gmN" and s.values[column] for s in self.card.systematics)

    def _template(self, channel: str, process: str, rate: float) -> _Template:
        line = self.files.shapes(channel, process)
        if line is None:
            if rate < 0:
                raise InputError(
                    f"{self.card.path}: the rate of {process!r} in {channel!r} is {rate:g}. Only "
                    "one with a histogram may be -1, for what is in that."
                )
            return _Template(np.array([rate]), np.zeros(1), 1.0, None)
        found = self.files.read(line, channel, process)
        assert found is not None  # only varied ones may be missing
        values, errors, edges = found
        total = values.sum()
        if not total > 0:
            if rate > 0:
                self.card.refuse(
                    line.line,
                    f"the histogram of {process!r} in {channel!r} is empty, its rate is {rate:g}.",
                )
            return _Template(values, errors, 1.0, edges)
        scale = 1.0 if rate == -1 else rate / total
        return _Template(values * scale, errors * scale, scale, edges)

    def _data(self, channel: str, bins: int) -> list[float]:
        line, observed = self.files.shapes(channel, "data_obs"), self.card.observed[channel]
        if line is None:
            if bins != 1 or observed < 0:
                raise InputError(
                    f"{self.card.path}: channel {channel!r} has {bins} bins and the observation "
                    f"{observed:g}. Give a histogram data_obs."
                )
            return [observed]
        found = self.files.read(line, channel, "data_obs")
        assert found is not None
        values = found[0]
        if len(values) != bins:
            self.card.refuse(line.line, f"{len(values)} observed bins of {bins} in {channel!r}.")
        if observed >= 0 and abs(values.sum() - observed) > 0.005 * max(1.0, observed):
            self.card.refuse(
                line.line,
                f"{values.sum():g} events observed in the histogram of channel {channel!r}, and "
                f"{observed:g} in the card. Write -1 there, or correct one of them.",
            )
        return values.tolist()

    def _rates(self, channel: str, process: str) -> list[RateParameter | Ratio | Product]:
        """The factors on a process of a channel."""
        every: list[RateParameter | Ratio | Product]
        every = [*self.card.rates, *self.card.ratios, *self.card.products]
        return [
            rate
            for rate in every
            if fnmatchcase(channel, rate.channel) and fnmatchcase(process, rate.process)
        ]

    def _constrained(self, channel: str, process: str) -> list[Constraint]:
        """Those of them that have a Gaussian constraint."""
        return [
            self.card.constraints[name]
            for rate in self._rates(channel, process)
            for name in (rate.of if isinstance(rate, Product) else (rate.name,))
            if name in self.card.constraints
        ]

    def _constraints(
        self, sample: Content, template: _Template, constrained: list[Constraint]
    ) -> None:
        """Factors with a Gaussian constraint, as shapes that are the nominal one.

        A histosys whose two sides are nominal·(1 ± σ/mean) is linear in its parameter, which is the
        factor's distance from its mean in standard deviations.
        """
        for each in constrained:
            names = [modifier["name"] for modifier in sample["modifiers"]]
            if each.name in names:
                self.card.refuse(
                    each.line,
                    f"{each.name!r} would scale {sample['name']!r} twice, which HistFactory cannot "
                    "say.",
                )
            low, high = each.bounds or (0.0, each.mean + 10 * each.up)
            bounds = (low - each.mean) / each.down, (high - each.mean) / each.up
            self._configure(each.name, 0.0, (max(bounds[0], -10.0), min(bounds[1], 10.0)))
            data = {
                "hi_data": (template.yields * (1 + each.up / each.mean)).tolist(),
                "lo_data": (template.yields * (1 - each.down / each.mean)).tolist(),
            }
            if any(modifier["type"] == "histosys" for modifier in sample["modifiers"]):
                self._added(each.name)
            sample["modifiers"].append({"name": each.name, "type": "histosys", "data": data})

    def _added(self, name: str) -> None:
        if name not in self.added_otherwise:
            self.added_otherwise.append(name)

    def _factors(self, sample: Content, channel: str, process: str) -> None:
        for name, processes in self.scaled.items():
            if process in processes:
                sample["modifiers"].append({"name": name, "type": "normfactor", "data": None})
        own: list[str] = []
        for rate in self._rates(channel, process):
            if rate.name in self.scaled:
                self.card.refuse(rate.line, f"{rate.name!r} is the parameter of interest.")
            for name, start, bounds in self.factors[rate.name]:
                if name in own:
                    self.card.refuse(
                        rate.line,
                        f"{name!r} would scale {process!r} in channel {channel!r} twice, which "
                        "HistFactory cannot say.",
                    )
                own.append(name)
                self._configure(name, start, bounds)
                sample["modifiers"].append({"name": name, "type": "normfactor", "data": None})

    def _systematic(
        self, sample: Content, template: _Template, given: Systematic, column: int, mode: int
    ) -> None:
        kind, value = given.kind, given.values[column]
        assert value is not None
        if kind == "lnN":
            self._norm(sample, given, *self._kappa(given, value))
        elif kind == "lnU":
            self._free(sample, given, value)
        elif kind == "gmN":
            self._control(sample, template, given, value)
        else:
            self._shape(sample, template, given, column, mode)

    def _kappa(self, given: Systematic, value: str) -> tuple[float, float]:
        """Factors at plus and at minus one standard deviation."""
        parts = value.split("/")
        try:
            numbers = [float(part) for part in parts]
        except ValueError:
            numbers = []
        if numbers == [0.0]:
            return 1.0, 1.0
        if len(numbers) not in (1, 2) or not min(numbers) > 0:
            self.card.refuse(
                given.line, f"{given.name!r} has {value!r}: a factor as 1.1, or DOWN/UP as 0.9/1.1."
            )
        return (numbers[0], 1 / numbers[0]) if len(numbers) == 1 else (numbers[1], numbers[0])

    def _norm(self, sample: Content, given: Systematic, up: float, down: float) -> None:
        if (up, down) != (1.0, 1.0):
            data = {"hi": up, "lo": down}
            sample["modifiers"].append({"name": given.name, "type": "normsys", "data": data})

    def _free(self, sample: Content, given: Systematic, value: str) -> None:
        largest = {v for v in given.values if v is not None}
        up, down = self._kappa(given, value)
        if len(largest) != 1 or "/" in value or up == 1:
            self.card.refuse(
                given.line,
                f"lnU {given.name!r} has {sorted(largest)}: HistFactory has a free factor only, "
                "which is the same for all. Write lnN, or several lines.",
            )
        self._configure(given.name, 1.0, (min(up, down), max(up, down)))
        sample["modifiers"].append({"name": given.name, "type": "normfactor", "data": None})

    def _control(self, sample: Content, template: _Template, given: Systematic, value: str) -> None:
        """A factor on the yield that is also that on the events of a control region."""
        factor, _ = self._kappa(given, value)
        if float(value) == 0:
            return
        rate = template.yields.sum()
        wanted = given.events * factor
        if abs(rate - wanted) > _ROUNDED * max(rate, wanted):
            self.card.refuse(
                given.line,
                f"gmN {given.name!r}: {given.events} events times {value} are {wanted:g}, and the "
                f"rate of {sample['name']!r} is {rate:g}. Make them equal.",
            )
        if given.events == 0:
            # Nothing is expected there: the parameter is the number of events itself.
            sample["data"] = [factor / len(template.yields)] * len(template.yields)
        if given.name not in self.parameters:
            events = float(given.events)
            start, unit = (1.0, events) if events else (0.0, 1.0)
            self._configure(given.name, start, (0.0, 10.0))
            control = {"name": given.name, "type": "normfactor", "data": None}
            region = f"{given.name}_control"
            if region in self.card.observed:
                self.card.refuse(
                    given.line,
                    f"{region!r} is a channel already. Give {given.name!r} another name.",
                )
            self.controls.append(
                {
                    "name": region,
                    "samples": [{"name": "control", "data": [unit], "modifiers": [control]}],
                }
            )
            self.control_data.append({"name": region, "data": [events]})
        sample["modifiers"].append({"name": given.name, "type": "normfactor", "data": None})

    def _shape(
        self,
        sample: Content,
        template: _Template,
        given: Systematic,
        column: int,
        mode: int,
    ) -> None:
        name = given.histograms[column]
        (channel, process), value = self.card.columns[column][:2], given.values[column]
        assert value is not None
        line = self.files.shapes(channel, process)
        pair = None
        if line is not None and not (given.kind == "shape?" and line.varied is None):
            sides = [self.files.read(line, channel, process, f"{name}{s}") for s in _SIDES]
            if sides[0] is not None and sides[1] is not None:
                pair = sides[0][0] * template.scale, sides[1][0] * template.scale
        if pair is None:
            if given.kind == "shape?":
                self._norm(sample, given, *self._kappa(given, value))
                return
            self.card.refuse(
                given.line,
                f"there are no histograms {name}Up and {name}Down of {process!r} in channel "
                f" {channel!r}. Kind 'shape?' would take {value} as lnN then.",
            )
        try:
            strength = float(value)
        except ValueError:
            strength = -1.0
        if not strength >= 0:
            self.card.refuse(given.line, f"{given.name!r} has {value!r}: 1 for an effect, or -.")
        if strength == 0:
            return
        if given.kind in ("shapeN", "shapeN2") and given.name not in self.interpolated_otherwise:
            self.interpolated_otherwise.append(given.name)
        nominal = template.yields
        total, sums = nominal.sum(), [side.sum() for side in pair]
        if len(pair[0]) != len(nominal) or not min(total, *sums) > 0:
            self.card.refuse(
                given.line,
                f"the histograms of {given.name!r} of {process!r} in channel {channel!r} have "
                f"{len(pair[0])} bins and {sums[0]:g} and {sums[1]:g} events.",
            )
        factors = [1.0, 1.0] if mode == 2 else [own / total for own in sums]
        shapes = [side / factor for side, factor in zip(pair, factors, strict=True)]
        shapes = _at(strength, nominal, *shapes)
        self._norm(sample, given, *(factor**strength for factor in factors))
        for modifier in sample["modifiers"]:
            if modifier["name"] in self.card.constraints:
                self._added(modifier["name"])
        data = {"hi_data": shapes[0].tolist(), "lo_data": shapes[1].tolist()}
        sample["modifiers"].append({"name": given.name, "type": "histosys", "data": data})


_SIDES = ("Up", "Down")
_Factor = tuple[str, float, tuple[float, float]]


def _free_factors(card: Card) -> dict[str, list[_Factor]]:
    """What stands for each rateParam: names, starts and ranges of free factors.

    HistFactory multiplies and does not divide. Where D = A·B/C, it has D, A/D and B/D in place of
    A, B and C: A = D·(A/D), B = D·(B/D), C = D·(A/D)·(B/D).
    """
    starts = {rate.name: rate for rate in card.rates}
    found: dict[str, list[_Factor]] = {}
    for rate in card.rates:
        if rate.name in card.constraints:
            found[rate.name] = []
            continue
        low, high = rate.bounds or sorted((0.0, 10 * rate.start or 10.0))
        found[rate.name] = [(rate.name, rate.start, (low, high))]
    used: set[str] = set()
    for ratio in card.ratios:
        of = (*ratio.above, ratio.below)
        for name in of:
            own = starts.get(name)
            known = own is not None and name not in card.constraints and name not in used
            if own is None or not known or own.bounds is not None or not own.start > 0:
                card.refuse(
                    ratio.line,
                    f"{ratio.name!r} is made of {', '.join(of)}: each must be a free rateParam "
                    f"with a start above 0 and no range, of one formula alone; {name!r} is not.",
                )
        used |= set(of)
        a, b, c = (starts[name].start for name in of)
        itself = _positive(ratio.name, a * b / c)
        first, second = (
            _positive(f"{name}_over_{ratio.name}", start * c / (a * b))
            for name, start in zip(ratio.above, (a, b), strict=True)
        )
        found[ratio.name] = [itself]
        found[ratio.above[0]] = [itself, first]
        found[ratio.above[1]] = [itself, second]
        found[ratio.below] = [itself, first, second]
    for product in card.products:
        for name in product.of:
            if name not in found and name not in card.constraints:
                card.refuse(
                    product.line,
                    f"{product.name!r} is a product of {', '.join(product.of)}; {name!r} is "
                    "neither a rateParam nor a param.",
                )
        found[product.name] = [each for name in product.of for each in found.get(name, [])]
    return found


def _check_constraints(card: Card) -> None:
    """Refuses a `param` of what is no factor; those without a range take that of the rateParam."""
    factors = {rate.name for rate in card.rates}
    factors |= {name for product in card.products for name in product.of}
    gaussian = {each.name for each in card.systematics}
    for name, own in list(card.constraints.items()):
        if name in gaussian:
            if (own.mean, own.down, own.up) != (0.0, 1.0, 1.0):
                card.refuse(own.line, f"{name!r} has a constraint of 0 and 1 already.")
            del card.constraints[name]
        elif name not in factors:
            card.refuse(
                own.line,
                f"the param {name!r} constrains no rateParam: HistFactory has no parametric "
                "shapes. For a yield write lnN.",
            )
        elif not own.mean > 0:
            card.refuse(own.line, f"the mean of the factor {name!r} is {own.mean:g}, not above 0.")
        elif own.bounds is None:
            ranges = [rate.bounds for rate in card.rates if rate.name == name]
            card.constraints[name] = replace(own, bounds=next(iter(ranges), None))


def _positive(name: str, start: float) -> _Factor:
    return name, start, (0.0, 10 * start)


def _at(strength: float, nominal: Numbers, up: Numbers, down: Numbers) -> list[Numbers]:
    """Templates at plus and minus so many standard deviations, as Combine interpolates them."""
    if strength == 1:
        return [up, down]
    found = []
    for theta in (strength, -strength):
        square = theta**2
        inside = square * (square * (3 * square - 10) + 15) / 8
        even = inside if abs(theta) <= 1 else abs(theta)
        high, low = up - nominal, down - nominal
        found.append(nominal + 0.5 * ((high - low) * theta + (high + low) * even))
    return found


def _add_statistics(
    channel: str, made: list[tuple[Content, _Template, bool]], given: Statistics
) -> None:
    """A staterror for bins with enough events, and a shapesys per process for the others."""
    counted = [each for each in made if given.with_signal or not each[2]]
    bins = len(made[0][0]["data"])
    yields = np.sum([t.yields for _, t, _ in counted], axis=0) if counted else np.zeros(bins)
    variance = np.sum([t.errors**2 for _, t, _ in counted], axis=0) if counted else np.zeros(bins)
    there = variance > 0
    effective = np.divide(yields**2, variance, out=np.zeros(bins), where=there)
    few = there & (np.round(effective) <= given.threshold)
    for sample, template, _ in made:
        together = np.where(there & ~few, template.errors, 0.0)
        apart = np.where(few & (template.yields > 0), template.errors, 0.0)
        name = f"prop_bin{channel}"
        if together.any():
            sample["modifiers"].append(
                {"name": name, "type": "staterror", "data": together.tolist()}
            )
        if apart.any():
            sample["modifiers"].append(
                {"name": f"{name}_{sample['name']}", "type": "shapesys", "data": apart.tolist()}
            )

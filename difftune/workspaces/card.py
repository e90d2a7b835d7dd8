"""The text of a CMS Combine datacard, taken apart line by line."""

import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NoReturn

from difftune.errors import InputError

SYSTEMATICS = ("lnN", "lnU", "gmN", "shape", "shapeN", "shapeN2", "shape?")
"""Kinds of line with one column per process, as they are read."""

# Lines of one name with these kinds share a parameter with one constraint.
_ONE_GAUSSIAN = {"lnN", "shape", "shapeN", "shapeN2", "shape?"}
_REMEDIES = {
    "trG": "Write it as lnN.",
    "unif": "Write it as lnU, or as a rateParam with a range.",
    "dFD": "Write it as lnU, or as a rateParam with a range.",
    "dFD2": "Write it as lnU, or as a rateParam with a range.",
    "gmM": "Write it as lnN of 1 + the relative uncertainty, or as gmN.",
    "shapeU": "Write it as shape, which has a Gaussian constraint.",
    "extArg": "It points to a RooFit workspace, which is not read.",
    "discrete": "HistFactory has no discrete parameters.",
}


@dataclass(frozen=True)
class Shapes:
    """A `shapes` line.

    Attributes:
        line: Number of the line.
        process: Name of the process, or `*`.
        channel: Name of the channel, or `*`.
        file: Of the histograms; `FAKE` for a counting experiment.
        nominal: Name of the histogram, with `$PROCESS` and the like.
        varied: Name of varied histograms; None without any.
    """

    line: int
    process: str
    channel: str
    file: str
    nominal: str
    varied: str | None


@dataclass(frozen=True)
class Systematic:
    """A systematic uncertainty.

    Attributes:
        line: Number of the line.
        name: Of the parameter.
        kind: One of `SYSTEMATICS`.
        events: Events in the control region of a gmN; else 0.
        values: What stands in each column; None for a dash.
        histograms: By which name the varied histograms of each column are called.
    """

    line: int
    name: str
    kind: str
    events: int
    values: tuple[str | None, ...]
    histograms: tuple[str, ...]


@dataclass(frozen=True)
class Constraint:
    """A `param` line: a Gaussian around the value of a factor.

    Attributes:
        line: Number of the line.
        name: Of the parameter.
        mean: Its most probable value.
        down: Standard deviation below it.
        up: Standard deviation above it.
        bounds: Range; None where none is given.
    """

    line: int
    name: str
    mean: float
    down: float
    up: float
    bounds: tuple[float, float] | None


@dataclass(frozen=True)
class Edit:
    """A `nuisance edit` line.

    Attributes:
        line: Number of the line.
        words: What follows `nuisance edit`.
    """

    line: int
    words: tuple[str, ...]


@dataclass(frozen=True)
class RateParameter:
    """A free factor on a yield.

    Attributes:
        line: Number of the line.
        name: Of the parameter.
        channel: Name or pattern.
        process: Name or pattern.
        start: Value to start from.
        bounds: Range; None where none is given.
    """

    line: int
    name: str
    channel: str
    process: str
    start: float
    bounds: tuple[float, float] | None


@dataclass(frozen=True)
class Ratio:
    """A factor on a yield that is A·B/C of three free ones: a background from three regions.

    Attributes:
        line: Number of the line.
        name: Of the factor.
        channel: Name or pattern.
        process: Name or pattern.
        above: Names of A and B.
        below: Name of C.
    """

    line: int
    name: str
    channel: str
    process: str
    above: tuple[str, str]
    below: str


@dataclass(frozen=True)
class Product:
    """A factor on a yield that is the product of others.

    Attributes:
        line: Number of the line.
        name: Of the factor.
        channel: Name or pattern.
        process: Name or pattern.
        of: Names of a rateParam or param each.
    """

    line: int
    name: str
    channel: str
    process: str
    of: tuple[str, ...]


@dataclass(frozen=True)
class Statistics:
    """An `autoMCStats` line.

    Attributes:
        line: Number of the line.
        channel: Name or pattern.
        threshold: Effective events below which each process has its own parameter.
        with_signal: Whether signal counts for the threshold.
        mode: 2 where the yield of a shape uncertainty stays in its templates, else 1.
    """

    line: int
    channel: str
    threshold: float
    with_signal: bool
    mode: int


@dataclass
class Card:
    """What a datacard says.

    Attributes:
        path: The file.
        observed: Observation by channel.
        columns: Channel, process, number of the process and rate of each column.
        shapes: Where histograms are.
        systematics: Uncertainties with a value per column.
        rates: Free factors.
        ratios: Factors made of three free ones.
        products: Factors that are products of others.
        constraints: Gaussians around factors, by name.
        edits: Changes of the uncertainties that are still to be made.
        frozen: Parameters that stay where they are.
        statistics: Statistical uncertainties of the simulation.
        groups: Names of parameters by group.
    """

    path: Path
    observed: dict[str, float] = field(default_factory=dict)
    columns: list[tuple[str, str, int, float]] = field(default_factory=list)
    shapes: list[Shapes] = field(default_factory=list)
    systematics: list[Systematic] = field(default_factory=list)
    rates: list[RateParameter] = field(default_factory=list)
    ratios: list[Ratio] = field(default_factory=list)
    products: list[Product] = field(default_factory=list)
    constraints: dict[str, Constraint] = field(default_factory=dict)
    edits: list[Edit] = field(default_factory=list)
    frozen: list[str] = field(default_factory=list)
    statistics: list[Statistics] = field(default_factory=list)
    groups: dict[str, list[str]] = field(default_factory=dict)

    def refuse(self, line: int, text: str) -> NoReturn:
        """Raises what says where in the file something is not right."""
        raise InputError(f"{self.path}, line {line}: {text}")


def looks_like_card(text: str) -> bool:
    """Whether a text is a datacard: it has the lines that each one has."""
    first = {line.split()[0].lower() for line in text.splitlines() if line.split()}
    return {"imax", "process", "rate"} <= first


def read_card(path: Path) -> Card:
    """A datacard, taken apart.

    Raises:
        InputError: It cannot be read, or has a line that is not understood.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}.") from error
    return _Reader(Card(path), text).read()


class _Reader:
    """Reads the lines in their order."""

    def __init__(self, card: Card, text: str) -> None:
        self.card = card
        self.lines = [
            (number, words)
            for number, line in enumerate(text.splitlines(), start=1)
            if (words := line.split("#")[0].split()) and not set(words[0]) <= {"-", "="}
        ]
        self.counts: dict[str, tuple[int, int | None]] = {}
        self.bins: list[tuple[int, list[str]]] = []
        self.processes: list[tuple[int, list[str]]] = []
        self.observations: tuple[int, list[float]] | None = None
        self.flat: list[tuple[int, str]] = []

    def read(self) -> Card:
        """The card."""
        keys = [words[0].lower() for _, words in self.lines]
        if "rate" not in keys:
            raise InputError(f"{self.card.path} has no line 'rate': it is no whole datacard.")
        table = keys.index("rate")
        for number, words in self.lines[:table]:
            self._head(number, words)
        number, words = self.lines[table]
        self._table(number, words[1:])
        for number, words in self.lines[table + 1 :]:
            self._systematic(number, words)
        self._check()
        return self.card

    def _head(self, number: int, words: list[str]) -> None:
        """A line before the rates."""
        key = words[0].lower()
        if key in ("imax", "jmax", "kmax"):
            if len(words) < 2:
                self.card.refuse(number, f"{key} needs a number, or *.")
            if words[1] != "*" and not _is_whole(words[1]):
                self.card.refuse(number, f"{key} is {words[1]}: give a whole number, or *.")
            count = None if words[1] == "*" else int(words[1])
            self.counts[key] = number, count
        elif key == "shapes":
            if len(words) < 4 or (len(words) < 5 and words[3] != "FAKE"):
                self.card.refuse(
                    number, "shapes needs a process, a channel, a file and a histogram, or FAKE."
                )
            nominal = words[4] if len(words) > 4 else ""
            varied = words[5] if len(words) > 5 else None
            process, channel, file = words[1:4]
            self.card.shapes.append(Shapes(number, process, channel, file, nominal, varied))
        elif key == "bin":
            self.bins.append((number, words[1:]))
        elif key == "observation":
            self.observations = number, [self._number(number, word) for word in words[1:]]
        elif key == "process":
            self.processes.append((number, words[1:]))
        elif "imax" in self.counts:
            self.card.refuse(
                number, f"{words[0]!r} is no line of a datacard that is read before the rates."
            )

    def _table(self, number: int, words: list[str]) -> None:
        """Channels, processes and rates, which are in columns."""
        card = self.card
        if not self.bins or len(self.processes) != 2:
            card.refuse(number, "before 'rate' there must be a line 'bin' and two lines 'process'.")
        channels = self.bins[-1][1]
        rows = [words for _, words in self.processes]
        numeric = [all(_is_whole(word) for word in row) for row in rows]
        if not numeric[1] and not numeric[0]:
            card.refuse(
                self.processes[1][0],
                "one line 'process' has the names and the other whole numbers: 0 and below for "
                "signal.",
            )
        names, numbers = rows if numeric[1] else (rows[1], rows[0])
        counts = {len(channels), len(names), len(numbers), len(words)}
        if len(counts) != 1:
            card.refuse(
                number,
                f"'bin', 'process', 'process' and 'rate' have {len(channels)}, {len(names)}, "
                f"{len(numbers)} and {len(words)} columns; they must have as many each.",
            )
        for channel, name, identity, rate in zip(channels, names, numbers, words, strict=True):
            if any(each[:2] == (channel, name) for each in card.columns):
                card.refuse(number, f"the process {name!r} is twice in channel {channel!r}.")
            card.columns.append((channel, name, int(identity), self._number(number, rate)))
        if self.observations is None:
            card.refuse(number, "there is no line 'observation' before the rates.")
        where, values = self.observations
        own = self.bins[0][1] if len(self.bins) > 1 else list(dict.fromkeys(channels))
        if len(own) != len(values):
            card.refuse(where, f"{len(values)} observations for {len(own)} channels, {own}.")
        card.observed = dict(zip(own, values, strict=True))
        unknown = [channel for channel in channels if channel not in card.observed]
        if unknown:
            card.refuse(number, f"channel {unknown[0]!r} has no observation.")

    def _systematic(self, number: int, words: list[str]) -> None:
        """A line after the rates."""
        card = self.card
        if len(words) > 1 and words[1] == "autoMCStats":
            self._auto(number, words)
            return
        if len(words) > 2 and words[1] == "group":
            if words[2] not in ("=", "+="):
                card.refuse(number, "a group is written as 'NAME group = PARAMETER PARAMETER'.")
            card.groups[words[0]] = [*card.groups.get(words[0], []), *words[3:]]
            return
        if words[0] == "nuisance":
            if words[1:2] != ["edit"]:
                card.refuse(number, f"{' '.join(words)!r}: only 'nuisance edit' is read.")
            card.edits.append(Edit(number, tuple(words[2:])))
            return
        if words[1:] == ["flatParam"]:
            self.flat.append((number, words[0]))
            return
        if len(words) < 3:
            card.refuse(number, f"{' '.join(words)!r} is no uncertainty: name, kind and values.")
        if words[1] == "rateParam":
            self._rate(number, words)
            return
        if words[1] == "param":
            self._constraint(number, words)
            return
        name, kind = words[0].removesuffix("[nofloat]"), words[1]
        if name != words[0]:
            card.refuse(number, "[nofloat] is not read. Take the line out.")
        if kind not in SYSTEMATICS:
            remedy = _REMEDIES.get(kind, f"Kinds that are read: {', '.join(SYSTEMATICS)}.")
            card.refuse(number, f"{name!r} is of the kind {kind!r}, which is not read. {remedy}")
        values, events = words[2:], 0
        if kind == "gmN":
            if not _is_whole(values[0]) or int(values[0]) < 0:
                card.refuse(number, f"gmN needs a number of events, not {values[0]!r}.")
            events, values = int(values[0]), values[1:]
        if len(values) < len(card.columns):
            card.refuse(
                number, f"{name!r} has {len(values)} values for {len(card.columns)} processes."
            )
        columns = tuple(None if v == "-" else v for v in values[: len(card.columns)])
        for other in card.systematics:
            if other.name != name:
                continue
            both = any(None not in pair for pair in zip(other.values, columns, strict=True))
            if other.kind == kind or both or not {kind, other.kind} <= _ONE_GAUSSIAN:
                card.refuse(number, f"{name!r} is there twice. Put both into one line.")
        histograms = (name,) * len(columns)
        card.systematics.append(Systematic(number, name, kind, events, columns, histograms))

    def _constraint(self, number: int, words: list[str]) -> None:
        """A line `NAME param MEAN SIGMA [LOW,HIGH]`."""
        card, name = self.card, words[0]
        given = words[3].split("/") if len(words) > 3 else []
        sides = [float(word) for word in given if _is_number(word)]
        if not _is_number(words[2]) or len(sides) not in (1, 2) or 0.0 in sides:
            card.refuse(
                number,
                "a param is written as 'NAME param MEAN SIGMA [LOW,HIGH]', with a number and a "
                "width above 0, or -DOWN/+UP.",
            )
        if name in card.constraints:
            card.refuse(number, f"{name!r} is there twice.")
        bounds = self._range(number, name, words[4:]) if len(words) > 4 else None
        down, up = abs(sides[0]), abs(sides[-1])
        card.constraints[name] = Constraint(number, name, float(words[2]), down, up, bounds)

    def _auto(self, number: int, words: list[str]) -> None:
        numbers = [self._number(number, word) for word in words[2:5]]
        if not numbers:
            self.card.refuse(number, "autoMCStats needs a threshold, such as 10.")
        threshold, signal, mode = (*numbers, *(0.0, 1.0)[len(numbers) - 1 :])
        if mode not in (1, 2):
            self.card.refuse(number, f"autoMCStats: no mode {mode:g}; there are 1 and 2.")
        if not any(fnmatchcase(channel, words[0]) for channel in self.card.observed):
            self.card.refuse(number, f"autoMCStats: there is no channel {words[0]!r}.")
        self.card.statistics.append(
            Statistics(number, words[0], threshold, bool(signal), int(mode))
        )

    def _rate(self, number: int, words: list[str]) -> None:
        if len(words) < 5:
            self.card.refuse(
                number,
                "a rateParam is written as 'NAME rateParam CHANNEL PROCESS START [LOW,HIGH]'.",
            )
        name, channel, process, start = words[0], *words[2:5]
        formula = _RATIO.fullmatch("".join(words[4:-1]).strip("()"))
        if formula and len(own := words[-1].split(",")) == 3 and len(set(formula.groups())) == 3:
            first, second, third = (own[int(index)] for index in formula.groups())
            ratio = Ratio(number, name, channel, process, (first, second), third)
            self.card.ratios.append(ratio)
            return
        factors = "".join(words[4:-1]).strip("()").split("*")
        if factors == [f"@{index}" for index in range(len(factors))] and len(words) > 5:
            of = tuple(words[-1].split(","))
            if len(of) == len(factors):
                self.card.products.append(Product(number, name, channel, process, of))
                return
        if not _is_number(start) or (len(words) > 5 and not words[5].startswith("[")):
            self.card.refuse(
                number,
                f"the rateParam {name!r} is {' '.join(words[4:])!r}. Free ones are read, with a "
                "number to start from, (@0*@1/@2) of three, and products as @0*@1. HistFactory "
                "has no others, and no RooFit workspaces.",
            )
        bounds = None
        if len(words) > 5:
            bounds = self._range(number, name, words[5:])
        self.card.rates.append(RateParameter(number, name, channel, process, float(start), bounds))

    def _range(self, number: int, name: str, words: list[str]) -> tuple[float, float]:
        parts = "".join(words).strip("[]").split(",")
        if len(parts) != 2 or not all(_is_number(part) for part in parts):
            self.card.refuse(number, f"the range of {name!r} is to be [LOW,HIGH].")
        return float(parts[0]), float(parts[1])

    def _check(self) -> None:
        """Whether there is as much as the first lines say."""
        card = self.card
        there = {
            "imax": (len(card.observed), "channels"),
            "jmax": (len({process for _, process, _, _ in card.columns}) - 1, "processes less one"),
            "kmax": (len(card.systematics) + len(card.constraints), "uncertainties"),
        }
        for key, (number, count) in self.counts.items():
            found, what = there[key]
            if count is not None and count != found:
                card.refuse(
                    number, f"{key} is {count}, and there are {found} {what}. Write {key} *."
                )
        known = {each.name for each in card.rates}
        for number, name in self.flat:
            if name not in known:
                card.refuse(
                    number, f"{name!r} is no rateParam: HistFactory has no parametric shapes."
                )
        if not any(identity <= 0 for _, _, identity, _ in card.columns):
            card.refuse(
                self.processes[1][0], "there is no signal: a process with a number of 0 or below."
            )

    def _number(self, number: int, word: str) -> float:
        if not _is_number(word):
            self.card.refuse(number, f"{word!r} is no number.")
        return float(word)


_RATIO = re.compile(r"@([012])\*@([012])/@([012])")


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _is_whole(word: str) -> bool:
    try:
        int(word)
    except ValueError:
        return False
    return True

"""What columns and trees of ntuples probably are, by the names that analyses give them."""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from difftune.data.variations import Direction

WEIGHT = re.compile(r"weight|wgt|^w$|(^|_)wts?$", re.IGNORECASE)
"""Names of columns that are weights."""
SENTINELS = (-99.0, -999.0, -9999.0, -99999.0)
"""Values that stand for one that is missing."""

# The first of these that is there is the whole weight.
_WHOLE = (
    r"weights?",
    r"weight_(nominal|nom|total)|(nominal|total)_?weight",
    r"(total_?)?(event|mc|gen)_?weight",
    r"w|wgt",
)
# `jes_up`, `JES__1up`, and `jesUp`; not `setup`.
_VARIED = re.compile(r"^(.+?)(?:(?:__1|_1|__|_|-)((?i:up|down))|(?<=[a-z0-9])(Up|Down))$")
_PREFIX = re.compile(r"^(?:event|mc)?_?(?:weights?|wgt|w)_?(?:syst?|nominal|nom)?_?", re.IGNORECASE)
_EVENT = re.compile(r"^(event|evt|ev|eventid|event_?number|evt_?number|event_?id)$", re.IGNORECASE)
_RUN = re.compile(r"^(run|run_?number)$", re.IGNORECASE)
_SECTION = re.compile(r"^(lumi|ls|luminosityblock|lumi_?(block|section))$", re.IGNORECASE)
_IDENTIFIER = re.compile(
    r"(run|rand\w*|event|evt|channel)_?(number|id)$|^(dsid|index|entry|pdgid)$|kaggleset",
    re.IGNORECASE,
)
_LABEL = re.compile(r"^(detailed_)?(labels?|target|class|is_?signal|truth)$", re.IGNORECASE)
_SIGNAL = re.compile(
    r"(^|[_\W])(s|sig\w*|.*higgs\w*|[vwzt]*h|hh|bsm|susy\w*|[zw]_?prime\w*)([_\W]|$)", re.IGNORECASE
)
_DATA = re.compile(r"^(pseudo_?)?data([_\W\d]|$)|^observed|[_\W]data$", re.IGNORECASE)
_ALTERNATIVE = re.compile(r"(varied|syst?|alt(ernative)?)", re.IGNORECASE)


def variation_of(name: str) -> tuple[str, Direction] | None:
    """What is varied and in which direction; None for a nominal name."""
    found = _VARIED.match(name)
    if found is None:
        return None
    return found[1], "up" if (found[2] or found[3]).lower() == "up" else "down"


def is_weight(name: str) -> bool:
    """Whether a column is called a weight."""
    return WEIGHT.search(name) is not None


def is_identifier(name: str) -> bool:
    """Whether a column tells events apart, and nothing about them."""
    patterns = (_EVENT, _RUN, _SECTION, _IDENTIFIER, _LABEL)
    return any(pattern.search(name) for pattern in patterns)


_TRUTH = re.compile(r"^(n?(Sub)?Gen[A-Z_]|n?LHE|Generator_|HTXS_|Pileup_|genTtbar)|fiducialGen")
_TRIGGER = re.compile(r"^(HLT|L1|DST|Flag)_")
_COLLECTIONS = (
    *("Jet", "Electron", "Muon", "FatJet", "Photon", "Tau"),
    *(f"Analysis{name}AuxDyn" for name in ("Jets", "Electrons", "Muons", "LargeRJets", "Photons")),
    "ReconstructedParticles",
)
# Of NanoAOD, PHYSLITE, Delphes; and of EDM4hep, which has momenta by their components.
_NAMED = (("_pt", "_eta"), (".pt", ".eta"), (".PT", ".Eta"), (".energy", ".momentum.x"))


def is_truth(name: str) -> bool:
    """Whether a column of NanoAOD is of the generator, and not measured."""
    return _TRUTH.search(name) is not None


def is_trigger(name: str) -> bool:
    """Whether a column of NanoAOD is a decision of a trigger or a flag of quality."""
    return _TRIGGER.search(name) is not None


def of_objects(lists: Collection[str]) -> list[str]:
    """Expressions that describe the objects of events of NanoAOD, PHYSLITE, Delphes and EDM4hep.

    Args:
        lists: Names of columns with a list of numbers for each event.
    """
    known, found, more = set(lists), [], []
    for name in _COLLECTIONS:
        for first, second in _NAMED:
            if not {name + first, name + second} <= known:
                continue
            if first == ".energy":
                found += [f"{name}.energy[0]", f"p4('{name}')[0].eta"]
            else:
                found += [f"{name}{first}[0]", f"{name}{second}[0]"]
            if name in ("Jet", "AnalysisJetsAuxDyn", "ReconstructedParticles"):
                more += [f"{name}{first}[1]", f"sum({name}{first})"]
    return found + more


def counters_in(names: Iterable[str]) -> frozenset[str]:
    """Columns that say how many objects there are, as `Jet` and `Jet_size` of Delphes."""
    known = set(names)
    arrays = {name for name in known if f"{name}_size" in known}
    return frozenset(arrays | {f"{name}_size" for name in arrays})


def weights_in(names: Iterable[str]) -> tuple[str, ...]:
    """The column that is the weight, or those whose product may be it."""
    nominal = [name for name in names if is_weight(name) and variation_of(name) is None]
    for pattern in _WHOLE:
        for name in nominal:
            if re.fullmatch(pattern, name, re.IGNORECASE):
                return (name,)
    return tuple(nominal)


def event_number_in(names: Iterable[str]) -> tuple[str, ...]:
    """The column, or the columns with the run, that tell events apart."""
    known = list(names)
    found = [next((n for n in known if p.match(n)), None) for p in (_RUN, _SECTION, _EVENT)]
    if found[-1] is None:
        return ()
    # A section of a run without the run tells nothing.
    parts = [name for name in found if name is not None]
    return tuple(parts) if found[0] is not None and len(parts) > 2 else (found[-1],)


def role_of(name: str) -> str:
    """What a sample of that name probably is."""
    if _DATA.search(name):
        return "data"
    return "signal" if _SIGNAL.search(name) else "background"


@dataclass(frozen=True, kw_only=True)
class FoundVariation:
    """A variation that names give away.

    Attributes:
        name: Of the systematic.
        up: Column, tree or columns by name.
        down: The same; nothing if there is none.
    """

    name: str
    up: Any
    down: Any = None


def _paired(found: Mapping[str, Mapping[str, str]]) -> list[FoundVariation]:
    return [
        FoundVariation(name=name, up=ways["up"], down=ways.get("down"))
        for name, ways in found.items()
        if "up" in ways
    ]


def weight_variations(names: Iterable[str]) -> list[FoundVariation]:
    """Columns that are weights of a variation, by its name."""
    found: dict[str, dict[str, str]] = {}
    for name in names:
        varied = variation_of(name)
        if varied and is_weight(name):
            found.setdefault(_PREFIX.sub("", varied[0]) or varied[0], {})[varied[1]] = name
    return _paired(found)


def column_variations(names: Collection[str]) -> list[FoundVariation]:
    """Columns that take the place of another one, by the name of the variation."""
    found: dict[str, dict[str, dict[str, str]]] = {}
    for name in names:
        varied = variation_of(name)
        if varied is None or is_weight(name):
            continue
        stem, way = varied
        bases = [n for n in names if n != name and (stem == n or stem.startswith(f"{n}_"))]
        if bases:
            base = max(bases, key=len)
            ways = found.setdefault(stem[len(base) + 1 :] or base, {})
            ways.setdefault(way, {})[base] = name
    return [
        FoundVariation(name=name, up=ways["up"], down=ways.get("down"))
        for name, ways in found.items()
        if "up" in ways
    ]


def tree_variations(trees: Sequence[str]) -> tuple[list[str], list[FoundVariation]]:
    """Nominal trees, and the variations that the others are; `{tree}` is the nominal name."""
    plain = [tree for tree in trees if variation_of(tree) is None]
    nominal = [
        tree
        for tree in plain
        if not any(
            tree.startswith(f"{other}_") and _ALTERNATIVE.search(tree[len(other) :])
            for other in plain
        )
    ]
    found: dict[str, dict[str, str]] = {}
    for tree in trees:
        if tree in nominal:
            continue
        stem, way = variation_of(tree) or (tree, "up")
        for base in sorted(nominal, key=len, reverse=True):
            if stem.startswith(f"{base}_"):
                ways = found.setdefault(stem[len(base) + 1 :], {})
                ways[way] = "{tree}" + tree[len(base) :]
                break
            common = base.removesuffix("nominal")
            # As in `nominal` and `jes_up`, or `Loop_nominal` and `Loop_jes_up`.
            if common != base and stem.startswith(common):
                found.setdefault(stem[len(common) :], {})[way] = tree
                break
    return nominal, _paired(found)


@dataclass(frozen=True, kw_only=True)
class ColumnFacts:
    """What the first values of the columns of a table tell.

    Attributes:
        constant: Columns that have one value alone.
        infinite: Columns with values that are infinite.
        sentinels: Values that mean "missing" in any column; NaN among them.
        labels: By column, the values of one that says what an event is.
        size: Typical magnitude of each column.
    """

    constant: frozenset[str]
    infinite: frozenset[str]
    sentinels: tuple[float, ...]
    labels: Mapping[str, tuple[Any, ...]]
    size: Mapping[str, float] = field(default_factory=dict)


def facts_of(columns: Mapping[str, np.ndarray]) -> ColumnFacts:
    """Looks at the first values of columns."""
    constant, infinite, sentinels = set(), set(), set()
    labels: dict[str, tuple[Any, ...]] = {}
    size = {}
    for name, values in columns.items():
        if _LABEL.match(name) and 2 <= len(distinct := np.unique(values)) <= 20:
            labels[name] = tuple(
                each.decode() if isinstance(each, bytes) else each.item() for each in distinct
            )
        if values.dtype.kind not in "iufb" or not len(values):
            continue
        if values.dtype.kind == "f":
            if np.isinf(values).any():
                infinite.add(name)
            if np.isnan(values).any():
                sentinels.add(np.nan)
        there = values[np.isfinite(values)]
        if not len(there) or (there == there[0]).all():
            constant.add(name)
        if not len(there) or values.dtype.kind == "b":
            continue
        size[name] = float(np.median(np.abs(there.astype(float))))
        if float(there.min()) in SENTINELS and not is_weight(name) and not is_identifier(name):
            sentinels.add(float(there.min()))
    return ColumnFacts(
        constant=frozenset(constant),
        infinite=frozenset(infinite),
        sentinels=tuple(sorted(sentinels, key=lambda v: (v != v, -v))),
        labels=labels,
        size=size,
    )

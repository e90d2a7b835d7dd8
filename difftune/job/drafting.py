"""A first analysis file, from what is in ntuples."""

import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from difftune.data import DataTable, ntuples, resolve, tables_of
from difftune.data.expressions import quoted
from difftune.data.kinds import depth, element
from difftune.errors import InputError, nearest
from difftune.files import write
from difftune.heartbeat import heartbeat
from difftune.job.sheet import Draft, Sheet, term, toml, toml_text, wrapped
from difftune.job.trexfitter import draft_of_config, is_config

_ROWS = 20_000
"""Of each table so many are looked at."""
_METADATA = re.compile(r"(^|[_\W])(meta\w*|sums?\w*|counts?|config\w*|lumi\w*)$", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class _Sample:
    """A section `[[samples]]`, and the table that shows what is in it."""

    name: str
    role: str
    table: DataTable
    files: tuple[str, ...]
    selection: str | None = None


@heartbeat("reading the files")
def draft(
    files: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    signal: Sequence[str] = (),
) -> Draft:
    """Writes a commented analysis file from what is in ntuples.

    Samples, roles, weights, event number, features, missing values and systematic variations are
    recognised by their names and first values. What is a guess is marked with EDIT.

    Args:
        files: Paths, globs or addresses of ROOT, Parquet or CSV files; or a configuration of
            TRExFitter that reads ntuples.
        output: Where to write it; paths in it are seen from its folder. Nothing is written without.
        signal: Names of the samples that are signal; by default a guess by their names.

    Returns:
        The text, and what to look at.

    Raises:
        InputError: A file cannot be read, there are no events in them, no sample of the name of
            the signal, or the output exists.
    """
    where = Path.cwd() if output is None else Path(output).absolute().parent
    if output is not None and Path(output).exists():
        raise InputError(f"{output} exists: choose another name, or remove it.")
    single = [files] if isinstance(files, str | Path) else list(files)
    if len(single) == 1 and is_config(single[0]):
        made = draft_of_config(single[0], where)
        if output is not None:
            write(Path(output), made.text)
        return made
    found = resolve(files, "init")
    tables = {file: tables_of(file, "init") for file in found}
    made = _Writer(where=where, signal=tuple(signal)).whole(found, tables)
    if output is not None:
        write(Path(output), made.text)
    return made


class _Writer(Sheet):
    """Writes what is recognised in tables."""

    def __init__(self, *, where: Path, signal: tuple[str, ...] = ()) -> None:
        super().__init__(where=where)
        self.signal = signal

    def whole(self, found: Sequence[str], tables: dict[str, list[DataTable]]) -> Draft:
        """The file, section by section."""
        names = list(dict.fromkeys(t.tree for own in tables.values() for t in own if t.tree))
        left_out = [
            name
            for name in names
            if _METADATA.search(name)
            or all(_is_metadata(t) for own in tables.values() for t in own if t.tree == name)
        ]
        nominal, varied_trees = ntuples.tree_variations([n for n in names if n not in left_out])
        samples = self._samples(tables, nominal if names else None)
        if not samples:
            raise InputError(f"init: there are no events in {', '.join(found)}.")
        first = [_looked_at(sample.table) for sample in samples]
        facts = [ntuples.facts_of(columns) for columns in first]
        if len({(s.table.file, s.table.tree) for s in samples}) == 1:
            samples = self._by_label(samples, facts[0])
        samples = self._named_signal(samples)
        simulated = [sample for sample in samples if sample.role != "data"] or samples
        kinds = [
            {name for name, kind in sample.table.kinds.items() if kind in ("number", "bool")}
            for sample in samples
        ]
        common = [name for name in samples[0].table.kinds if all(name in own for own in kinds)]
        weighted = [
            name
            for name in simulated[0].table.kinds
            if all(s.table.kinds.get(name) == "number" for s in simulated)
        ]
        counters = ntuples.counters_in(simulated[0].table.kinds)
        weight = ntuples.weights_in([name for name in weighted if name not in counters])
        number = ntuples.event_number_in([name for name in common if name not in counters])
        trees_of = {t.tree: t for own in tables.values() for t in own}
        varied_tables = [
            trees_of[tree.format(tree=base)]
            for variation in varied_trees
            for tree in (variation.up, variation.down)
            for base in nominal
            if tree is not None and tree.format(tree=base) in trees_of
        ]
        unusable = frozenset().union(*(f.infinite for f in facts))
        constant = frozenset.intersection(*(f.constant for f in facts))
        features = [
            name
            for name in common
            if ntuples.variation_of(name) is None
            and not ntuples.is_weight(name)
            and not ntuples.is_identifier(name)
            and not ntuples.is_truth(name)
            and not ntuples.is_trigger(name)
            and name not in unusable | constant
            # `Jet` is the same number as `Jet_size`.
            and not (name in counters and f"{name}_size" in counters)
            and all(name in table.kinds for table in varied_tables)
        ]
        lists = [
            {name for name, kind in sample.table.kinds.items() if kind == "number[]"}
            for sample in samples
        ]
        features += ntuples.of_objects(frozenset.intersection(*map(frozenset, lists)))
        if not features:
            raise InputError(
                f"init: {', '.join(found)} have no column with one number an event that all "
                "samples share and that is no weight: nothing to train on."
            )
        self._head()
        sentinels = tuple(dict.fromkeys(v for f in facts for v in f.sentinels))
        generated = [
            (table.tree, name)
            for own in tables.values()
            for table in own
            for name in ("genEventSumw", "genEventSumw_")
            if name in table.kinds
        ]
        self._data(found, samples, weight, number, sentinels, features, generated)
        self._left_out(samples, features, unusable, constant, left_out)
        for sample in self._with_roles(samples):
            self._sample(sample, several=len({s.files for s in samples}) > 1)
        sizes = {name: size for each in facts for name, size in each.size.items()}
        self._weights(simulated, weight, sizes)
        self._columns(common, features)
        self._trees(varied_trees, nominal, simulated, trees_of, numbered=bool(number))
        self._end()
        return Draft(text="\n".join(self.lines) + "\n", questions=tuple(self.questions))

    def _samples(
        self, tables: dict[str, list[DataTable]], nominal: Sequence[str] | None
    ) -> list[_Sample]:
        """By tree where a file holds several, else by file."""
        several = nominal is not None and len(nominal) > 1
        groups: dict[str, list[DataTable]] = {}
        for file, own in tables.items():
            for table in own:
                if nominal is not None and table.tree is not None and table.tree not in nominal:
                    continue
                if _is_metadata(table) and table.tree is not None:
                    continue
                stem = os.path.basename(file).split(".")[0]
                # Parts of a sample are numbered.
                name = table.tree if several and table.tree else re.sub(r"[_\-.]?\d+$", "", stem)
                groups.setdefault((name or stem).replace("/", "_"), []).append(table)
        return [
            _Sample(
                name=name,
                role=ntuples.role_of(name),
                table=own[0],
                files=tuple(dict.fromkeys(table.file for table in own)),
            )
            for name, own in groups.items()
        ]

    def _by_label(self, samples: list[_Sample], facts: Any) -> list[_Sample]:
        """Of one table those samples that a column tells apart."""
        if not facts.labels:
            return samples
        column, values = next(
            ((n, v) for n, v in facts.labels.items() if len(v) == 2),
            next(iter(facts.labels.items())),
        )
        made = []
        for value in values:
            text = isinstance(value, str)
            plain = {"1": "signal", "True": "signal", "0": "background", "False": "background"}
            name = (
                {"s": "signal", "b": "background"}.get(value, value)
                if text
                else plain.get(
                    f"{value:g}" if isinstance(value, float) else str(value), f"class_{value}"
                )
            )
            shown = f"'{value}'" if text else f"{value}"
            made.append(
                replace(
                    samples[0],
                    name=str(name).replace("/", "_"),
                    role=ntuples.role_of(str(name)),
                    selection=f"{term(column)} == {shown}",
                )
            )
        return made

    def _named_signal(self, samples: list[_Sample]) -> list[_Sample]:
        """With the roles that follow from the names of the signal."""
        names = [sample.name for sample in samples]
        for name in self.signal:
            if name not in names:
                raise InputError(
                    f"signal {name!r}: there is no such sample.{nearest(name, names)} There are "
                    f"{', '.join(names)}."
                )
        if not self.signal:
            return samples
        return [
            replace(sample, role="signal" if sample.name in self.signal else "background")
            if sample.role != "data" or sample.name in self.signal
            else sample
            for sample in samples
        ]

    def _with_roles(self, samples: Sequence[_Sample]) -> list[_Sample]:
        """With one signal at least; what is asked stands above the samples."""
        roles = [sample.role for sample in samples]
        simulated = [i for i, role in enumerate(roles) if role != "data"]
        if not any(role == "signal" for role in roles) and len(simulated) > 1:
            samples = [
                replace(sample, role="signal") if i == simulated[0] else sample
                for i, sample in enumerate(samples)
            ]
            self.add(
                self.ask(f"which sample is the signal? {samples[simulated[0]].name} is a guess")
            )
        elif len(simulated) > 1:
            said = ", ".join(f"{sample.name}: {sample.role}" for sample in samples)
            self.add(self.ask(f"are the roles right? ({said})"))
        else:
            self.add(
                self.ask(
                    'one sample is not enough: give role = "signal" to one, and add the files of '
                    "at least one background"
                ),
                "# [[samples]]",
                '# name = "background"',
                '# files = "background.root"',
                "",
            )
        return list(samples)

    def _head(self) -> None:
        self.add(
            "# Written by `difftune init`. Look at the lines marked EDIT, then run",
            "#   difftune check FILE",
            "# which reads all events and trains nothing. docs/analysis-file.md lists all keys.",
            "",
            "[general]",
            'name = "analysis"',
            'output = "run"                 # the run directory',
            "seed = 1",
            "",
        )

    def _data(
        self,
        found: Sequence[str],
        samples: Sequence[_Sample],
        weight: Sequence[str],
        number: Sequence[str],
        sentinels: Sequence[float],
        features: Sequence[str],
        generated: Sequence[tuple[str | None, str]],
    ) -> None:
        self.add("[data]")
        if len({sample.files for sample in samples}) == 1:
            paths = [self.path(file) for file in samples[0].files]
            self.add(f"files = {toml(paths[0] if len(paths) == 1 else paths)}")
        if len(weight) == 1:
            asked = "is this weight in expected events? Else multiply it"
            self.add(self.ask(asked), f"weight = {toml_text(term(weight[0]))}")
        elif weight:
            product = " * ".join(map(term, weight))
            asked = "is the weight of an event the product of these, in expected events?"
            self.add(self.ask(asked), f"weight = {toml_text(product)}")
        else:
            self.add(
                self.ask("no column is called a weight: how many events is a simulated one worth?"),
                'weight = "1"',
            )
        if generated:
            tree, branch = generated[0]
            self.add(
                self.ask(
                    "generated weights: give each simulated sample its cross_section in pb, and "
                    "take the # away"
                ),
                "# luminosity = 140               # in 1/fb",
                f"# sum_of_weights = {toml({'tree': str(tree), 'branch': branch})}",
            )
        if number:
            self.add(
                f"event_number = {toml(number[0] if len(number) == 1 else list(number))}"
                "   # its value decides the fold"
            )
        else:
            self.add(
                self.ask("is there a column that tells events apart? It decides the folds"),
                '# event_number = "event"',
            )
        if sentinels:
            shown = sentinels[0] if len(sentinels) == 1 else list(sentinels)
            self.add(f"missing = {toml(shown)}   # what stands for no value")
        self.add(
            '# selection = "n_jets >= 2"',
            '# derived = { ht = "met + jet_pt" }',
            self.ask(f"which of these {len(features)} columns are inputs of the network?"),
            *wrapped(features),
        )

    def _left_out(
        self,
        samples: Sequence[_Sample],
        features: Sequence[str],
        infinite: Iterable[str],
        constant: Iterable[str],
        trees: Sequence[str],
    ) -> None:
        kinds = samples[0].table.kinds
        lists = [n for n in kinds if depth(kinds[n])]
        of_one = quoted(lists[0]) if lists else ""
        for what, names in (
            (f"lists: take one number of each, as in {of_one}[0] or max({of_one})", lists),
            ("objects are no features", [n for n in kinds if kinds[n] == "other"]),
            ("has infinite values", sorted(infinite)),
            ("always the same", sorted(constant)),
            ("trees that are no events", trees),
        ):
            if names:
                more = f", and {len(names) - 8} more" if len(names) > 8 else ""
                self.add(f"# left out ({what}): {', '.join(list(names)[:8])}{more}")
        self.add("")

    def _sample(self, sample: _Sample, *, several: bool) -> None:
        self.add("[[samples]]", f"name = {toml_text(sample.name)}")
        if sample.role != "background":
            self.add(f"role = {toml_text(sample.role)}")
        if several:
            paths = [self.path(file) for file in sample.files]
            self.add(f"files = {toml(paths[0] if len(paths) == 1 else paths)}")
        if sample.table.tree is not None:
            self.add(f"tree = {toml_text(sample.table.tree)}")
        if sample.selection is not None:
            self.add(f"selection = {toml_text(sample.selection)}")
        self.add("")

    def _weights(
        self, simulated: Sequence[_Sample], weight: Sequence[str], sizes: Mapping[str, float]
    ) -> None:
        by_name: dict[str, Any] = {}
        owners: dict[str, list[str]] = {}
        for sample in simulated:
            plain = [n for n, kind in sample.table.kinds.items() if kind == "number"]
            for variation in ntuples.weight_variations(plain):
                by_name.setdefault(variation.name, variation)
                owners.setdefault(variation.name, []).append(sample.name)
        for name, variation in by_name.items():
            own = None if len(owners[name]) == len(simulated) else owners[name]
            up, down = (
                None if column is None else toml_text(_varied_weight(column, weight, sizes))
                for column in (variation.up, variation.down)
            )
            assert up is not None
            self.systematic(name, "weight", up, down, own)

    def _columns(self, common: Sequence[str], features: Sequence[str]) -> None:
        for variation in ntuples.column_variations(common):
            up, down = (
                None if way is None else {k: term(v) for k, v in way.items() if k in features}
                for way in (variation.up, variation.down)
            )
            if up:
                name = variation.name
                self.systematic(name, "features", toml(up), toml(down) if down else None, None)

    def _trees(
        self,
        variations: Sequence[Any],
        nominal: Sequence[str],
        simulated: Sequence[_Sample],
        known: dict[Any, DataTable],
        *,
        numbered: bool,
    ) -> None:
        for variation in variations:
            own = [
                sample.name
                for sample in simulated
                if all(
                    tree is None or tree.format(tree=sample.table.tree) in known
                    for tree in (variation.up, variation.down)
                )
            ]
            if not own:
                continue
            before = len(self.lines)
            down = None if variation.down is None else toml_text(variation.down)
            names = None if len(own) == len(simulated) else own
            self.systematic(variation.name, "tree", toml_text(variation.up), down, names)
            if not numbered:
                # Varied events must be in the folds of the nominal ones.
                asked = f"{variation.name} needs an event_number in [data]; then take the # away"
                commented = [f"# {line}" for line in self.lines[before:-1]]
                self.lines[before:] = [self.ask(asked), *commented, ""]

    def _end(self) -> None:
        self.add(
            "[fit]",
            "# luminosity_uncertainty = 0.0083",
            "bins = 10                      # at most; fewer where events run out",
            "",
            "[search]",
            "population = 16",
            "rounds = 10",
            "epochs_per_round = 4",
            "",
            "[space]",
            "learning_rate = { log_uniform = [3e-4, 1e-2] }",
            "dropout = { uniform = [0.0, 0.4] }",
        )


def _varied_weight(column: str, weight: Sequence[str], size: Mapping[str, float]) -> str:
    """A column of a varied weight as expression: the whole weight, or a factor on it."""
    own = size.get(column)
    factors = [n for n in weight if column.startswith(n.removesuffix("_nominal"))]
    if len(weight) > 1 and factors:
        factor = max(factors, key=len)
        return f"{{weight}} * {term(column)} / {term(factor)}"
    nominal = math.prod(size.get(name, 1.0) for name in weight)
    if own is None or (nominal and 0.2 < own / nominal < 5):
        return term(column)
    # As large as one, where the weight is not: a ratio.
    return f"{{weight}} * {term(column)}" if 0.2 < own < 5 else term(column)


def _is_metadata(table: DataTable) -> bool:
    usable = sum(element(kind) in ("number", "bool") for kind in table.kinds.values())
    return (table.rows is not None and table.rows < 2) or usable < 2


def _looked_at(table: DataTable) -> dict[str, Any]:
    """The first values of the columns that can be looked at."""
    names = [n for n, kind in table.kinds.items() if kind in ("number", "bool", "string")]
    return next((chunk for _, chunk in table.read(names, _ROWS)), {})

"""What of the branches of public files can be read, and how: a table for `ntuples.md`.

Run with files or folders, such as `tests/samples` of coffea's source distribution:

    python docs/branches.py FOLDER
"""

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from difftune.data import DataTable, tables_of
from difftune.data.expressions import Expression, column, parse, quoted
from difftune.data.kinds import depth, element
from difftune.data.names import Names, Values
from difftune.data.transform import Missing
from difftune.errors import InputError

AS_IT_IS, STRING, BY_EXPRESSION = "as they are", "as strings", "by an expression"


def use_of(table: DataTable, name: str) -> Expression:
    """An expression that makes one number (or string) of a column, for each event."""
    text = quoted(name)
    deep = depth(table.kinds[name])
    # One pair of brackets goes with `sum` or `count`.
    inner = text + "[0]" * (deep - 1)
    return parse(f"sum({inner}) + count({inner})", name) if deep else column(name, name)


def ways_of(table: DataTable) -> dict[str, str]:
    """By branch how it gets into an expression, after it has been read; or why it does not."""
    names = Names(table, {}, {}, Missing())
    ways: dict[str, str] = {}
    for name in table.kinds:
        try:
            kind = names.code(use_of(table, name)).kind
        except InputError as error:
            ways[name] = (
                str(error).partition("`: ")[2].replace(f"column {name!r}", "it").split(". ")[0]
            )
        else:
            by_expression = depth(table.kinds[name]) > 0
            ways[name] = (
                STRING if kind == "string" else BY_EXPRESSION if by_expression else AS_IT_IS
            )
    accepted = [name for name in ways if ways[name] in (STRING, BY_EXPRESSION, AS_IT_IS)]
    for group in (accepted[i : i + 200] for i in range(0, len(accepted), 200)):
        ways |= _failures(table, names, group)
    return ways


def _failures(table: DataTable, names: Names, columns: list[str]) -> dict[str, str]:
    """The columns that cannot be read, found by halves."""
    try:
        for start, chunk in table.read(columns, max(1, table.rows or 1)):
            entry = np.arange(start, start + len(chunk[columns[0]]))
            values = Values(names, chunk, entry)
            for name in columns:
                assert len(values.evaluate(use_of(table, name))) == len(entry), name
    except Exception as error:
        if len(columns) == 1:
            return {columns[0]: f"reading it fails: {type(error).__name__}"}
        half = len(columns) // 2
        return _failures(table, names, columns[:half]) | _failures(table, names, columns[half:])
    return {}


def rows(files: list[Path]) -> Iterator[tuple[str, str, Counter[str], dict[str, str]]]:
    """File, tree, how many branches are read in which way, and an example of each way."""
    for file in files:
        try:
            tables = tables_of(str(file), "table")
        except InputError as error:
            print(error, file=sys.stderr)
            continue
        for table in tables:
            found: Counter[str] = Counter()
            examples: dict[str, str] = {}
            for name, way in ways_of(table).items():
                found[way] += 1
                examples.setdefault(way, f"{name} ({element(table.kinds[name])})")
            if found:
                yield file.name, table.tree or "", found, examples


def main(places: list[str]) -> None:
    """Prints the table, and examples of what is refused."""
    files = [
        file
        for place in map(Path, places)
        for file in (sorted(place.glob("*.root")) if place.is_dir() else [place])
    ]
    refused: dict[str, tuple[str, int]] = {}
    print("| File | Tree | As it is | As string | By an expression | Refused |")
    print("|---|---|---|---|---|---|")
    for file, tree, found, examples in rows(files):
        ways = [found.pop(way, 0) for way in (AS_IT_IS, STRING, BY_EXPRESSION)]
        print(
            f"| {file} | {tree} | {' | '.join(map(str, ways))} | {sum(found.values())} |",
            flush=True,
        )
        for words, count in found.items():
            first, before = refused.get(words, (f"{examples[words]} of {file}", 0))
            refused[words] = (first, before + count)
    print("\n| Refused | Words | For example |\n|---|---|---|")
    for words, (example, count) in sorted(refused.items(), key=lambda item: -item[1][1]):
        print(f"| {count} | {words} | {example} |")


if __name__ == "__main__":
    main(sys.argv[1:])

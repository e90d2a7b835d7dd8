"""Which folder of the package imports which, as a table or a picture.

    python docs/imports.py [--svg FILE]

Folders stand in the order of the layers, from top to bottom. A row imports from the columns to its
right, and a number says by how many import statements. Below the diagonal there is nothing, as
imports go downwards only.
"""

import argparse
import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1] / "difftune"


def imported(file: Path) -> Iterator[str]:
    """Folder or module of difftune in each import statement of a file."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in dict.fromkeys(tuple(name.split(".")[:2]) for name in names):
            if name[0] == "difftune" and len(name) == 2:
                yield name[1]


def imports() -> dict[str, Counter[str]]:
    """Import statements between folders (and modules beside them): from whom, to whom, how many."""
    found: dict[str, Counter[str]] = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(PACKAGE).parts
        own = parts[0].removesuffix(".py")
        if parts == ("__init__.py",) or own == "__main__":
            continue
        found.setdefault(own, Counter()).update(n for n in imported(file) if n != own)
    names = set(found)
    return {own: Counter({n: k for n, k in to.items() if n in names}) for own, to in found.items()}


def order(found: dict[str, Counter[str]]) -> list[str]:
    """The folders such that each stands above those that it imports.

    Raises:
        ValueError: When there is a circle.
    """
    left, below = dict(found), []
    while left:
        free = [name for name, to in left.items() if not set(to) & set(left)]
        if not free:
            raise ValueError(f"imports in a circle: {', '.join(sorted(left))}")
        # Of those that could stand lowest, the one that most others use.
        lowest = max(free, key=lambda name: (sum(name in to for to in found.values()), name))
        below.append(lowest)
        del left[lowest]
    return below[::-1]


def text(found: dict[str, Counter[str]]) -> str:
    """The table, for a terminal."""
    names = order(found)
    width = max(map(len, names))
    lines = [" " * (width + 1) + " ".join(f"{name[:4]:>4}" for name in names)]
    for row in names:
        numbers = " ".join(f"{found[row][column] or '.':>4}" for column in names)
        lines.append(f"{row:<{width}} {numbers}")
    return "\n".join(lines)


def svg(found: dict[str, Counter[str]]) -> str:
    """The picture: a matrix whose cells are the darker, the more imports there are."""
    names = order(found)
    cell, left, top = 26, 110, 96
    size = cell * len(names)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + size + 2} {top + size + 2}" '
        'role="img" font-family="sans-serif" font-size="12">',
        "<title>Imports between the folders of difftune</title>",
        '<g fill="currentColor">',
    ]
    for number, name in enumerate(names):
        middle = cell * number + cell / 2
        parts.append(f'<text x="{left - 8}" y="{top + middle + 4}" text-anchor="end">{name}</text>')
        parts.append(
            f'<text transform="translate({left + middle + 4} {top - 8}) rotate(-90)">{name}</text>'
        )
    parts.append("</g>")
    for i, row in enumerate(names):
        for j, column in enumerate(names):
            x, y, count = left + cell * j, top + cell * i, found[row][column]
            shade = 1.0 if i == j else min(1.0, 0.15 + 0.08 * count) if count else 0.0
            color = "#d32f2f" if count and j < i else "#3f51b5" if count else "#888888"
            parts.append(
                f'<rect x="{x}" y="{y}" width="{cell}" height="{cell}" fill="{color}" '
                f'fill-opacity="{shade:.2f}" stroke="#888888" stroke-width="0.5"/>'
            )
            if count:
                ink = "#ffffff" if shade > 0.5 else "currentColor"
                parts.append(
                    f'<text x="{x + cell / 2}" y="{y + cell / 2 + 4}" text-anchor="middle" '
                    f'fill="{ink}">{count}</text>'
                )
    return "".join([*parts, "</svg>"])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write the picture there")
    given = parser.parse_args()
    if given.svg:
        given.svg.write_text(svg(imports()) + "\n")
    else:
        print(text(imports()))

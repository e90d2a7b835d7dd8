"""Runs a script with cell marks, and shows code, output and figures of each cell.

    python docs/cells.py examples/tutorials/first_network.py [--json]

A line `# %%` begins a cell of code, `# %% [markdown]` one of text. As in a notebook, the value of
the last expression of a cell is shown: a figure as a picture, anything else by its `repr`.
"""

import argparse
import ast
import base64
import io
import json
import re
import sys
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

MARK = re.compile(r"^# %%(?P<text> \[markdown\])?.*\n", re.M)


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A part of a script.

    Attributes:
        text: Whether it is Markdown; otherwise Python.
        source: What stands in it, without marks.
        output: What it printed, and the value of its last expression.
        figures: Its figures as PNG files, in base64.
    """

    text: bool
    source: str
    output: str = ""
    figures: tuple[str, ...] = ()


def cells(script: str) -> list[Cell]:
    """The cells of a script, not run yet.

    Raises:
        ValueError: When something stands before the first mark.
    """
    marks = list(MARK.finditer(script))
    if not marks or script[: marks[0].start()].strip():
        raise ValueError("a script with cells begins with # %%")
    ends = [*(mark.start() for mark in marks[1:]), len(script)]
    found = []
    for mark, end in zip(marks, ends, strict=True):
        source = script[mark.end() : end].strip("\n")
        if mark["text"]:
            source = re.sub(r"^# ?", "", source, flags=re.M)
        found.append(Cell(text=bool(mark["text"]), source=source))
    return found


def run(path: Path) -> list[Cell]:
    """Runs all cells of a script, one after the other in one namespace.

    Args:
        path: The script; `__file__` is it, as seen from the cells.
    """
    # One stream for all cells: a logger keeps the one that it was given.
    stream = io.StringIO()
    namespace = {"__name__": "__main__", "__file__": str(path.resolve())}
    found = []
    with redirect_stdout(stream):
        for cell in cells(path.read_text()):
            if cell.text:
                found.append(cell)
                continue
            began = stream.tell()
            value = _value(cell.source, str(path), namespace)
            figures = tuple(_picture(figure) for figure in _figures(value))
            if value is not None and not figures:
                print(repr(value))
            output = stream.getvalue()[began:].rstrip()
            found.append(Cell(text=False, source=cell.source, output=output, figures=figures))
    return found


def _value(source: str, name: str, namespace: dict[str, Any]) -> Any:
    """Runs a cell; the value of its last line if that is an expression."""
    tree = ast.parse(source, name)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace)


def _figures(value: Any) -> list[Any]:
    from matplotlib.figure import Figure

    values = value if isinstance(value, (list, tuple)) else [value]
    return [item for item in values if isinstance(item, Figure)]


def _picture(figure: Any) -> str:
    from difftune.report import png

    return base64.b64encode(png(figure, dpi=80)).decode()


def markdown(found: list[Cell], name: str) -> str:
    """Cells that were run as a page.

    Args:
        found: From `run`.
        name: What the pictures show, for those who cannot see them.
    """
    parts = []
    for cell in found:
        if cell.text:
            parts.append(cell.source)
            continue
        parts.append(f"```python\n{cell.source}\n```")
        if cell.output:
            parts.append(f"```text\n{cell.output}\n```")
        parts += [f"![{name}](data:image/png;base64,{picture})" for picture in cell.figures]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("script", type=Path)
    parser.add_argument("--json", action="store_true", help="print the cells as JSON")
    given = parser.parse_args()
    done = run(given.script)
    if given.json:
        json.dump([asdict(cell) for cell in done], sys.stdout)
    else:
        print("\n\n".join(cell.output for cell in done if cell.output))
        print(f"\n{sum(len(cell.figures) for cell in done)} figures")

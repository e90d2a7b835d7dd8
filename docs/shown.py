"""What pages show of the rest of the repository: the README, tutorials that run, imports, names.

`<!-- readme: NAME -->` becomes the part of the README between this line and `<!-- end -->`,
`<!-- tutorial: NAME -->` code and output of `examples/tutorials/NAME.py`, `<!-- imports -->` the
picture of the imports between folders, and `<!-- names -->` a list of all public names.
"""

import ast
import importlib
import json
import os
import re
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
PART = re.compile(r"^<!-- (readme|tutorial|imports|names)(?:: (\w+))? -->$", re.M)


def on_config(config: Any) -> None:
    """Makes difftune and the scripts beside this one importable (mkdocs undoes that on import)."""
    for folder in (str(ROOT), str(HERE)):
        if folder not in sys.path:
            sys.path.insert(0, folder)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fills in the parts before a page is rendered."""
    fill = {"readme": readme, "tutorial": tutorial, "imports": imports, "names": names}
    return PART.sub(lambda match: fill[match[1]](*filter(None, [match[2]])), markdown)


def readme(name: str) -> str:
    """A part of the README, with links as they are seen from the pages.

    Args:
        name: What stands in the mark before it.
    """
    text = (ROOT / "README.md").read_text()
    part = re.search(rf"^<!-- readme: {name} -->\n(.*?)^<!-- end -->$", text, re.M | re.S)
    if part is None:
        raise ValueError(f"README.md has no part {name!r}")
    return part[1].replace("](docs/", "](")


@cache
def tutorial(name: str) -> str:
    """A tutorial that has just been run.

    Args:
        name: Stem of its file.
    """
    import cells

    script = ROOT / "examples" / "tutorials" / f"{name}.py"
    # In a process of its own: it sets JAX up before JAX computes anything.
    done = subprocess.run(
        [sys.executable, str(HERE / "cells.py"), str(script), "--json"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    if done.returncode:
        raise RuntimeError(f"{script.name} failed:\n{done.stderr[-3000:]}")
    found = [cells.Cell(**cell) for cell in json.loads(done.stdout)]
    return cells.markdown(found, f"figure of {name}")


def imports() -> str:
    """The picture of the imports between folders."""
    import imports as script

    return script.svg(script.imports())


def names() -> str:
    """Every public name of every folder, with what it is in a line."""
    import difftune

    parts = []
    for folder in sorted(difftune._MODULES):
        module = importlib.import_module(f"difftune.{folder}")
        summary = (module.__doc__ or "").split("\n\n")[0].replace("\n", " ")
        parts.append(f"## `dt.{folder}`\n\n{summary}\n\n| name | what it is |\n| --- | --- |")
        for name in sorted(module.__all__, key=str.lower):
            # A function of the name of its module stands under both names.
            hidden = (ROOT / "difftune" / folder / f"{name}.py").exists()
            anchor = f"difftune.{folder}." + (f"{name}.{name}" if hidden else name)
            parts[-1] += f"\n| [`{name}`]({folder}.md#{anchor}) | {said(module, name)} |"
    return "\n\n".join(parts)


def said(module: Any, name: str) -> str:
    """The first line of what is said of a public name, in its docstring or below its value."""
    found = getattr(module, name)
    text = found.__doc__ if callable(found) and hasattr(found, "__name__") else None
    text = text or values_said(module.__name__).get(name, "")
    return " ".join(text.split("\n\n")[0].split()).replace("|", "&#124;")


@cache
def values_said(folder: str) -> dict[str, str]:
    """What stands below the plain values of a folder, by their names."""
    found = {}
    for file in ROOT.joinpath(*folder.split(".")).glob("*.py"):
        for line, below in pairwise(ast.parse(file.read_text()).body):
            if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(below, ast.Expr):
                value = below.value
                if isinstance(value, ast.Constant) and isinstance(value.value, str):
                    targets = line.targets if isinstance(line, ast.Assign) else [line.target]
                    names = {n.id for t in targets for n in ast.walk(t) if isinstance(n, ast.Name)}
                    found |= dict.fromkeys(names, value.value)
    return found

"""Imports go downwards only. The order is that of the design document."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "difftune"

# From top to bottom; those in one line do not know each other.
LAYERS = [
    ["__main__"],
    ["cli"],
    ["job"],
    ["analysis"],
    ["report"],
    ["search"],
    ["selection"],
    ["training"],
    ["objectives"],
    ["binning"],
    ["inference"],
    ["workspaces"],
    ["histfactory"],
    ["histograms", "models", "data"],
    ["fields"],
    ["seeds", "registry"],
    ["arguments", "files", "precision"],
    ["pytrees", "sharing"],
    ["forks", "later"],
    ["errors", "heartbeat"],
]
DEPTH = {name: depth for depth, names in enumerate(LAYERS) for name in names}


def imported(tree: ast.Module, path: tuple[str, ...]) -> Iterator[tuple[int, str]]:
    """Line and layer of everything of difftune that a module reaches for.

    Args:
        tree: The module, read.
        path: Its place: `("difftune", "search", "loop.py")`.
    """
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = path[: len(path) - node.level] if node.level else ()
            module = ".".join([*above, *([node.module] if node.module else [])])
            names = [f"{module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            # `import difftune`, then `difftune.cli`.
            names = [f"{node.value.id}.{node.attr}"]
        for name in names:
            parts = name.split(".")
            if parts[0] == "difftune" and len(parts) > 1 and parts[1] in DEPTH:
                yield node.lineno, parts[1]


def violations(package: Path) -> list[str]:
    """Imports that do not go downwards, and modules that belong to no layer."""
    found = []
    for file in sorted(package.rglob("*.py")):
        path = (package.name, *file.relative_to(package).parts)
        if path == (package.name, "__init__.py"):
            continue
        own = path[1].removesuffix(".py")
        if own not in DEPTH:
            found.append(f"{'/'.join(path)}: {own} has no place in the layers")
            continue
        for line, layer in imported(ast.parse(file.read_text()), path):
            if layer != own and DEPTH[layer] <= DEPTH[own]:
                found.append(f"{'/'.join(path)}:{line}: {own} must not know {layer}")
    return found


def test_imports_go_downwards_only():
    assert violations(PACKAGE) == []


def test_the_package_is_where_we_look():
    """And has the folders that the layers name, so that the test above has something to check."""
    folders = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert {"search", "training", "objectives", "data", "analysis", "job"} <= folders
    modules = {"__main__", "cli", "seeds", "registry", "arguments"}
    modules |= {"files", "forks", "later", "precision", "pytrees", "sharing", "errors", "heartbeat"}
    assert folders | modules >= set(DEPTH)
    tree = ast.parse((PACKAGE / "search" / "loop.py").read_text())
    assert "training" in {layer for _, layer in imported(tree, ("difftune", "search", "loop.py"))}


@pytest.mark.parametrize(
    ("place", "text", "violation"),
    [
        ("training/new.py", "from difftune.search import PBT", "training must not know search"),
        ("data/new.py", "import difftune.models", "data must not know models"),
        ("models/new.py", "from difftune import histograms", "models must not know histograms"),
        ("inference/deep/new.py", "from ...training.batches import x", "inference .* training"),
        ("histograms/new.py", "from .. import data", "histograms must not know data"),
        ("search/new.py", "import difftune\ndifftune.cli.main()", "search must not know cli"),
        ("seeds.py", "def f():\n    import difftune.data.read", "seeds must not know data"),
        ("errors.py", "from difftune.job import load", "errors must not know job"),
        ("novel/new.py", "", "novel has no place in the layers"),
    ],
)
def test_a_violation_is_found(tmp_path, place, text, violation):
    allowed = {
        "__init__.py": "from difftune.cli import main",
        "cli.py": "from difftune.job import run",
        "training/population.py": "import difftune\nfrom difftune.training import x\nimport jax",
        "objectives/base.py": "from ..histograms.soft import x\nfrom difftune import inference",
        "report/html.py": "import difftune.search\nprint(difftune.__version__)",
    }
    for name, content in allowed.items():
        file = tmp_path / "difftune" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
    assert violations(tmp_path / "difftune") == []

    planted = tmp_path / "difftune" / place
    planted.parent.mkdir(parents=True, exist_ok=True)
    planted.write_text(text)
    (found,) = violations(tmp_path / "difftune")
    assert found.startswith(f"difftune/{place}")
    assert re.search(violation, found)

"""The help of every example is help and nothing else. What they do, `.ci/smoke` runs."""

import runpy
import sys
from pathlib import Path

import jax
import pytest

ROOT = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]
    if "__main__" in path.read_text()
)


@pytest.fixture
def compilations():
    """What JAX traces and compiles meanwhile."""
    found = []

    def listener(event: str, seconds: float, **_) -> None:
        if event.startswith("/jax/core/compile"):
            found.append(event)

    jax.monitoring.register_event_duration_secs_listener(listener)
    yield found
    jax.monitoring.unregister_event_duration_listener(listener)


@pytest.mark.parametrize("script", SCRIPTS)
def test_help_does_nothing_else(script, tmp_path, monkeypatch, capsys, compilations):
    path = ROOT / script
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(path.parent)
    monkeypatch.setattr(sys, "argv", [str(path), "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(str(path), run_name="__main__")
    assert stopped.value.code == 0
    said = capsys.readouterr()
    assert said.out.startswith("usage: ")
    assert said.err == ""
    # The sample of single top is made by options of its own.
    assert "--quick" in said.out or path.parent.name == "single_top"
    assert list(tmp_path.iterdir()) == []
    assert compilations == []

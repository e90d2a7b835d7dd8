"""The help of every example is help and nothing else. What they do, `.ci/smoke.py` runs.

What is for a cluster calls commands that there are.
"""

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from difftune.cli import cli

ROOT = Path(__file__).resolve().parents[1] / "examples"
SCRIPTS = sorted(
    str(path.relative_to(ROOT))
    for path in [*ROOT.glob("*.py"), *ROOT.glob("*/*.py")]
    if "__main__" in path.read_text()
)


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
    # Samples of Pythia are made by options of their own.
    own = ("single_top/generate.py", "single_top/validate.py", "jets/generate.py")
    assert "--quick" in said.out or script in own
    assert list(tmp_path.iterdir()) == []
    assert compilations == []


@pytest.mark.parametrize("name", ["Snakefile", "slurm.sh", "htcondor.sh"])
def test_commands_for_a_cluster_are_those_of_difftune(name):
    text = (ROOT / "cluster" / name).read_text()
    lines = [line for line in text.splitlines() if not line.lstrip().startswith("#")]
    called = re.findall(r"difftune (\w+)([^\n\"]*(?:\"[^\n]*)?)", "\n".join(lines))
    assert {verb for verb, _ in called} == (
        {"select", "run", "apply"} if name == "Snakefile" else {"run"}
    )
    with click.Context(cli) as context:
        for verb, arguments in called:
            command = cli.get_command(context, verb)
            known = {option for parameter in command.params for option in parameter.opts}
            given = set(re.findall(r"--[a-z][a-z-]*", arguments))
            assert given
            assert given <= known, verb


@pytest.mark.skipif(shutil.which("snakemake") is None, reason="Snakemake is not installed")
def test_snakemake_plans_the_workflow(tmp_path):
    analysis = tmp_path / "analysis.toml"
    analysis.write_text('[general]\noutput = "runs"\n[selection]\ncandidates = 2\n')
    for file in ("a.root", "b.v2.root"):
        (tmp_path / file).touch()
    command = ["snakemake", "--dry-run", "--printshellcmds", "--cores", "2"]
    command += ["--snakefile", str(ROOT / "cluster" / "Snakefile"), "--directory", str(tmp_path)]
    command += ["--config", f"analysis={analysis}", "folder=runs", f"files={tmp_path}/*.root"]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    said = found.stdout + found.stderr
    for command in (
        f"difftune select {analysis} --output runs",
        f"difftune run {analysis} --output runs",
        f"difftune apply runs {tmp_path}/a.root --output runs/scores",
        f"difftune apply runs {tmp_path}/b.v2.root --output runs/scores",
    ):
        assert command in said

"""`difftune auto`: from files to a network, a leaderboard and a report."""

import numpy as np
import pytest
from click.testing import CliRunner

from difftune.cli import cli
from difftune.job import build, load
from difftune.training import load_network
from tests.job.small import write_small


@pytest.mark.slow
def test_files_and_a_time_are_enough(tmp_path, undrawn):
    """The drafted file has what the fit needs, systematics included, and may be run again."""
    write_small(tmp_path)
    output = tmp_path / "auto"
    command = ["auto", str(tmp_path / "small.root"), "--signal", "tchannel", "--minutes", "0.02"]
    command += ["--output", str(output), "--one-test", "--set", "fit.bins=4"]
    result = CliRunner().invoke(cli, command, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "xgboost, default" in result.output
    assert "greedy ensemble" in result.output
    assert "with systematics" in result.output

    config = load(output / "analysis.toml")
    events = build.events(config)
    network = load_network(output / "network")
    score = network.score(events)
    assert score.shape == (len(events),)
    assert np.isfinite(score).all()
    assert {"report.html", "leaderboard.csv", "workspace.json"} <= {
        p.name for p in output.iterdir()
    }

    again = CliRunner().invoke(cli, command)
    assert again.exit_code != 0
    assert "exists" in str(again.output) + str(again.exception)

import json
import logging
from types import SimpleNamespace

import numpy as np

from difftune.analysis import Tuned
from difftune.job import Outcome, report, saving
from tests.report import samples


class Unsaved:
    def save(self, folder):
        raise OSError(28, "No space left on device")


def test_what_cannot_be_written_costs_nothing_of_the_rest(tmp_path, monkeypatch, caplog):
    def unreadable(outcome, folder):
        raise ValueError("a name that nobody can draw")

    monkeypatch.setattr(saving, "results", lambda outcome: {"fit": 1.5})
    monkeypatch.setattr(report, "write_report", unreadable)
    # A run that has come to its end, without the hours before.
    tuned = object.__new__(Tuned)
    tuned.__dict__["history"] = samples.search(4, 2, 3)
    outcome = object.__new__(Outcome)
    outcome.__dict__.update(
        network=Unsaved(),
        stages=(tuned,),
        measurement=SimpleNamespace(
            templates=samples.toy_templates(),
            fitted=(samples.toy_templates(),),
            validation=(),
            workspace={"version": "1"},
        ),
    )
    with caplog.at_level(logging.ERROR, "difftune"):
        saving.save(outcome, tmp_path)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 2
    assert said[0].startswith("network of the run in")
    assert "No space left on device" in said[0]
    assert said[1].startswith("report.html of the run in")
    assert json.loads((tmp_path / "results.json").read_text()) == {"fit": 1.5}
    assert json.loads((tmp_path / "workspace.json").read_text()) == {"version": "1"}
    assert (tmp_path / "templates" / "templates.root").stat().st_size > 0
    table = np.genfromtxt(tmp_path / "history.csv", delimiter=",", names=True)
    assert len(table) == 4 * 6

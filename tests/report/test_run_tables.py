import dataclasses

import numpy as np
import pytest

from difftune.histfactory import Model, NormalisationUncertainty, build_workspace
from difftune.inference import fit, predictions
from difftune.report import (
    Measured,
    members_table,
    over_seeds,
    samples_table,
    significance_table,
    yields_table,
)
from tests.report import samples


def test_samples_are_counted():
    process = np.array([0, 0, 1, 1, 1])
    weight = np.array([1.0, 3.0, 2.0, -1.0, 2.0])
    table = samples_table(
        process, weight, ["s", "b", "none"], ["signal", "background", "background"]
    )
    assert table.rows[0] == ("s", "signal", 2, "0.0 %", 2, Measured(4.0, np.sqrt(10)))
    assert table.rows[1][2:] == (3, "33.3 %", 1, Measured(3.0, 3.0))
    assert table.rows[2][2:] == (0, "", 0, Measured(0.0, 0.0))


def test_yields_with_statistical_and_systematic_uncertainties():
    templates = samples.higgs_templates(data=True)
    source = NormalisationUncertainty("xsec", 0.3, processes=("Diboson",))
    table = yields_table([templates], normalisation=[source])
    rows = {row[0]: row[1] for row in table.rows}
    assert list(rows)[-1] == "Data"
    assert rows["Data"] == round(templates.data.sumw.sum())
    backgrounds = templates.total("background")
    assert rows["Background"].value == pytest.approx(backgrounds.sumw.sum())
    assert rows["Background"].uncertainty == pytest.approx(np.sqrt(backgrounds.sumw2.sum()))
    diboson = templates.processes["Diboson"]
    moved = [0.3 * diboson.nominal.sumw.sum()]
    for up, down in diboson.variations.values():
        moved.append((up.sumw.sum() - down.sumw.sum()) / 2)
    assert rows["Diboson"].systematic == pytest.approx(np.sqrt(np.square(moved).sum()), rel=0.01)
    assert [table.rows[i][0] for i in table.emphasised] == [
        "Background", "Signal + background", "Data",
    ]  # fmt: skip


def test_yields_after_a_fit():
    templates = samples.higgs_templates(data=True)
    model = Model.from_spec(build_workspace([templates]))
    found = predictions(model, fit(model))
    table = yields_table([templates], predictions=found)
    rows = {row[0]: row[1] for row in table.rows}
    backgrounds = found[templates.channel].of(*templates.names("background"))
    assert rows["Background"] == Measured(backgrounds.total, backgrounds.total_uncertainty)
    assert rows["Data"] == round(templates.data.sumw.sum())
    assert "after the fit" in table.caption


def test_channels_are_columns_and_absent_processes_empty():
    first = samples.toy_templates(2)
    second = dataclasses.replace(samples.toy_templates(1), channel="CR")
    table = yields_table([first, second])
    assert table.columns == ("Process", "SR", "CR")
    assert {row[0]: row[2] for row in table.rows}["process_1"] is None
    single = yields_table([samples.toy_templates(1, signal=False)])
    assert [row[0] for row in single.rows] == ["process_0"]
    assert single.rows[0][1].systematic is None


def test_significances_over_seeds_and_gain():
    table = significance_table(
        {
            "Tuned": {"Statistics": [3.0], "Full": [2.0, 2.2]},
            "Default": {"Statistics": [2.0], "Full": [1.0, 2.0]},
        }
    )
    assert table.columns == ("Network", "Seeds", "Statistics", "Full", "Gain over Default")
    assert table.rows[0] == (
        "Tuned",
        2,
        3.0,
        Measured(2.1, pytest.approx(0.1 * np.sqrt(2))),
        "+40.0 %",
    )
    assert table.rows[1][-1] is None
    nothing = significance_table({"Tuned": {"Full": []}, "Default": {"Full": [1.0]}})
    assert nothing.rows == (("Tuned", 0, None, None), ("Default", 1, 1.0, None))
    assert over_seeds([np.nan, 1.5]) == 1.5
    assert over_seeds([]) is None


def test_members_are_ranked_with_the_hyperparameters_of_their_best_epoch():
    history = samples.search(members=6, rounds=3, epochs=4)
    # The luckiest score does not rank first, if it is known how lucky it was.
    lucky = np.unravel_index(np.nanargmax(history.score), history.score.shape)
    history.selection_score[lucky] -= 1.0
    table = members_table(history, most=4)
    assert len(table.rows) == 4
    selection_scores = [row[3] for row in table.rows]
    assert selection_scores == sorted(selection_scores, reverse=True)
    top = np.nanmax(history.selection_score)
    epoch, member = np.argwhere(history.selection_score == top)[0]
    row = table.rows[0]
    assert row[:5] == ("1", member, history.score[epoch, member], top, epoch)
    assert (epoch, member) != lucky
    values = [v[history.round[epoch], member] for v in history.hyperparameters.values()]
    assert list(row[6:]) == values
    assert table.emphasised == (0,)
    chosen = members_table(history, best=(2, int(table.rows[2][1])))
    assert chosen.emphasised == (2,)
    assert chosen.rows[2][4] == 2


def test_members_without_any_score():
    history = samples.search(members=3, rounds=1, epochs=2)
    history.score[:] = np.nan
    history.selection_score[:] = np.nan
    table = members_table(history)
    assert [row[2] for row in table.rows] == [None] * 3
    assert "n/a" not in table.text()

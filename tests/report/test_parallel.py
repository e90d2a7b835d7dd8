import dataclasses
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest

from difftune.report import (
    ParallelCoordinates,
    Section,
    best_network,
    render,
    score_against_condition,
    score_against_pairs,
)
from difftune.report.lineage import round_scores
from difftune.report.plots.scan import important
from tests.report import samples
from tests.report.readable import assert_readable, texts


@pytest.fixture(scope="module")
def history():
    return samples.search(members=12, rounds=5, epochs=2)


class Lines(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.lines, self.axes, self.scripts = [], 0, 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "polyline":
            self.lines.append(attributes)
        self.axes += attributes.get("class") == "axis"
        self.scripts += tag == "script"


def test_each_member_and_round_is_a_line_through_its_values(history):
    parsed = Lines(ParallelCoordinates(history, score_name="Z").html())
    scores = round_scores(history)
    names = list(history.hyperparameters)
    assert len(parsed.lines) == np.isfinite(scores).sum()
    assert parsed.axes == len(names) + 1
    found = np.array(sorted(json.loads(line["data-at"]) for line in parsed.lines))
    columns = []
    for values in (*history.hyperparameters.values(), scores):
        mine = np.asarray(values, float)[np.isfinite(scores)]
        mine = np.log10(mine) if mine.min() > 0 and mine.max() > 30 * mine.min() else mine
        columns.append((mine - mine.min()) / np.ptp(mine))
    np.testing.assert_allclose(found, np.array(sorted(np.transpose(columns).tolist())), atol=1e-4)
    # The chosen network is drawn last, as it has the best score.
    widths = [float(line["stroke-width"]) for line in parsed.lines]
    assert widths == [1.0] * (len(widths) - 1) + [2.5]
    epoch, member = best_network(history)
    row = history.round[history.epoch == epoch][0]
    title = re.findall(r"<title>(round.*?)</title>", ParallelCoordinates(history).html())[-1]
    assert title.startswith(f"round {row}, member {member}: ")
    rate = history.hyperparameters["learning_rate"][row, member]
    assert f"learning_rate {rate:.4g}" in title


def test_names_are_escaped_and_nothing_is_shown_of_nothing(history):
    evil = "<script>alert(1)</script>"
    named = dataclasses.replace(
        history, hyperparameters={evil: history.hyperparameters["learning_rate"]}
    )
    block = ParallelCoordinates(named, score_name=evil)
    assert Lines(render("x", "y", [Section("z", [block])])).scripts == 1
    nothing = dataclasses.replace(history, score=np.full_like(history.score, np.nan))
    assert ParallelCoordinates(nothing).html() == ""


@pytest.mark.skipif(shutil.which("node") is None, reason="node reads the script")
def test_the_script_is_javascript(history, tmp_path):
    (script,) = re.findall(r"<script>(.*?)</script>", ParallelCoordinates(history).html(), re.S)
    file = tmp_path / "script.js"
    file.write_text(script)
    subprocess.run(["node", "--check", str(file)], check=True)


def test_what_the_condition_excludes(history):
    measure = np.random.default_rng(0).exponential(0.8, history.score.shape)
    measure[~np.isfinite(history.score)] = np.nan
    figure = score_against_condition(dataclasses.replace(history, overtraining=measure))
    assert_readable(figure)
    inside, outside = figure.axes[0].lines[:2]
    known = np.isfinite(history.score)
    np.testing.assert_array_equal(inside.get_xdata(), measure[known & (measure <= 1)])
    np.testing.assert_array_equal(outside.get_ydata(), history.score[known & (measure > 1)])
    assert f"Excluded ({(known & (measure > 1)).sum()})" in texts(figure)
    assert score_against_condition(history) is None


def test_scores_that_are_the_same_but_for_rounding_are_one_line(history):
    """Their axis would have an offset, which is written where the header is."""
    score = 1.06248 + np.random.default_rng(0).uniform(0, 1e-7, history.score.shape)
    same = {"score": score, "overtraining": np.full_like(score, 0.5)}
    figure = score_against_condition(dataclasses.replace(history, **same))
    figure.draw_without_rendering()
    assert figure.axes[0].yaxis.get_offset_text().get_text() == ""
    assert_readable(figure)


@pytest.mark.slow
def test_pairs_are_of_what_the_score_depends_on(history):
    rng = np.random.default_rng(1)
    scores = round_scores(history)
    shape = scores.shape
    noise, constant = 1.0 + rng.random(shape), np.ones(shape)
    copy = np.nan_to_num(scores, nan=1.0)
    # Neither order nor sign matters: a maximum inside is a dependence, too.
    inner = np.abs(copy - np.median(copy)) * rng.choice([-1.0, 1.0], shape)
    changed = dataclasses.replace(
        history,
        hyperparameters={"noise": noise, "constant": constant, "copy": copy, "inner": inner},
    )
    assert important(changed)[0] == "copy"
    assert "constant" not in important(changed)
    figure = score_against_pairs(changed)
    assert_readable(figure)
    assert len(figure.numbers) == 3
    only = {"learning_rate": history.hyperparameters["learning_rate"]}
    assert score_against_pairs(dataclasses.replace(history, hyperparameters=only)) is None
    assert_readable(score_against_pairs(history))

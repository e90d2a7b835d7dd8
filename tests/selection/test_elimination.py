import dataclasses
import json

import numpy as np
import pytest

from difftune.errors import InputError
from difftune.selection import eliminate, forward
from difftune.selection.elimination import Rounds, Step, choose, stale
from difftune.selection.study import Trainer
from tests.selection import samples

REAL = {"weak", "xor_1", "xor_2"}


@pytest.fixture(scope="module")
def study():
    return samples.study(epochs=12, seeds=2, patience=12)


@pytest.fixture(scope="module")
def steered(study, tmp_path_factory):
    folder = tmp_path_factory.mktemp("selection")
    rounds = []
    result = eliminate(study, candidates=3, patience=3, folder=folder, on_round=rounds.append)
    assert result.steps == tuple(rounds)
    return folder, result


def test_the_true_variables_are_kept(steered):
    _, result = steered
    assert set(result.variables) >= REAL
    # One of the two that are copies of each other, and no noise.
    assert len({"shift", "copy"} & set(result.variables)) == 1
    assert not {"noise_1", "noise_2"} & set(result.variables)
    assert result.units == result.variables
    assert len(result.sets[0]) == 7
    assert all(set(b) < set(a) for a, b in zip(result.sets, result.sets[1:], strict=False))


def test_the_path_says_what_was_done(steered, study):
    _, result = steered
    for before, step in zip(result.sets, result.steps, strict=False):
        assert step.before == before
        assert len(step.tried) == min(3, len(before))
        assert step.improvement[step.tried.index(step.taken)] == max(step.improvement)
    done = sum(step.trainings for step in result.steps)
    assert result.trainings == done + len(result.sets) * study.trainings
    # A set without what matters is far worse than the chosen one.
    assert result.mean[-1] < result.mean[result.chosen] - 3 * result.uncertainty[-1]


def test_a_search_that_had_ended_trains_nothing_again(steered, study, monkeypatch):
    folder, whole = steered
    monkeypatch.setattr(Trainer, "__call__", None)
    again = eliminate(study, candidates=3, patience=3, folder=folder)
    np.testing.assert_array_equal(again.score, whole.score)
    np.testing.assert_array_equal(again.uncertainty, whole.uncertainty)
    assert again.steps == whole.steps


@pytest.mark.slow
def test_what_is_kept_is_not_tried(study):
    found = eliminate(study, candidates=3, patience=7, keep=["noise_1"], least=6)
    assert all("noise_1" not in step.tried for step in found.steps)
    assert "noise_1" in found.variables
    with pytest.raises(InputError, match="'noise_3' is neither a variable nor a group"):
        eliminate(study, keep=["noise_3"])


@pytest.mark.slow
def test_a_search_that_was_killed_goes_on(steered, study, tmp_path):
    folder, whole = steered
    for name in ("selection.json", "round_001.json", "round_002.json", "round_003.json"):
        (tmp_path / name).write_text((folder / name).read_text())
    # What a process leaves that is killed while it writes.
    (tmp_path / "round_004.partial").write_text('{"before": [')
    rounds = []
    resumed = eliminate(study, candidates=3, patience=3, folder=tmp_path, on_round=rounds.append)
    assert len(rounds) == len(whole.steps) - 3
    assert resumed.sets == whole.sets
    assert resumed.chosen == whole.chosen
    np.testing.assert_allclose(resumed.score, whole.score, rtol=1e-5)


def test_a_folder_of_another_search_is_refused(steered, study):
    folder, _ = steered
    with pytest.raises(InputError, match="epochs: 12 then, 11 now"):
        eliminate(dataclasses.replace(study, epochs=11), candidates=3, folder=folder)
    assert json.loads((folder / "round_001.json").read_text())["before"]


ROUND = Step(
    before=("a", "b"),
    score=0.5,
    tried=("a", "b"),
    improvement=(0.25, float("nan")),
    uncertainty=(0.125, 0.5),
    taken="a",
    trainings=4,
    seconds=1.5,
)


@pytest.mark.parametrize("name", ["selection.json", "round_001.json"])
@pytest.mark.parametrize("damage", ["empty", "cut short", "another type", "flipped"])
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, name, damage):
    store = Rounds(tmp_path, {"direction": "backward", "seed": 1})
    store.write(1, ROUND)
    store.write(2, ROUND)
    assert [str(step) for step in Rounds(tmp_path, store_definition()).read()] == [str(ROUND)] * 2
    path = tmp_path / name
    text = path.read_text()
    path.write_text(
        {
            "empty": "",
            "cut short": text[: len(text) // 2],
            "another type": "[1]",
            "flipped": text.replace("0.25", "0.75").replace('"seed": 1', '"seed": 3'),
        }[damage]
    )
    with pytest.raises(InputError) as refused:
        Rounds(tmp_path, store_definition()).read()
    said = str(refused.value)
    assert name in said or "seed: 3 then, 1 now" in said
    assert "another folder" in said
    assert (tmp_path / "round_002.json").read_text()


def store_definition():
    return {"direction": "backward", "seed": 1}


def test_rounds_without_what_they_are_of_are_refused(tmp_path):
    Rounds(tmp_path, store_definition()).write(1, ROUND)
    (tmp_path / "selection.json").unlink()
    with pytest.raises(InputError, match=r"holds round_001\.json, but no selection\.json"):
        Rounds(tmp_path, store_definition())


def test_a_round_that_cannot_be_written_ends_nothing(tmp_path, monkeypatch, caplog):
    store = Rounds(tmp_path, store_definition())

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("difftune.files.write", full)
    store.write(1, ROUND)
    assert "No space left on device" in caplog.text
    assert store.read() == []


@pytest.mark.slow
def test_forward_selection_begins_with_what_matters():
    study = samples.study(epochs=6, groups={"xor": ["xor_1", "xor_2"]})
    result = forward(study, patience=1, most=3)
    assert result.direction == "forward"
    assert [len(units) for units in result.sets] == list(range(1, len(result.sets) + 1))
    assert {step.taken for step in result.steps} <= {"xor", "shift", "copy", "weak"}
    assert "xor" in result.units


@pytest.mark.slow
def test_fewer_sets_are_trained_by_the_same_program():
    study = samples.study(epochs=2)
    everything = np.ones((1, 7), bool)
    without = ~np.eye(7, dtype=bool)[:2]
    trainer = Trainer(study, 3)
    three = trainer(np.concatenate([everything, without]))
    one = trainer(without[1:])
    np.testing.assert_array_equal(three.score[2], one.score[0])
    # Other seeds are other trainings.
    assert np.all(trainer(everything, stream="other").score != three.score[:1])
    more = trainer(np.concatenate([without, everything, without]))
    np.testing.assert_array_equal(more.score[2], three.score[0])
    np.testing.assert_array_equal(more.score[:2], more.score[3:])
    np.testing.assert_array_equal(more.best.score.reshape(more.score.shape), more.score)


def test_the_smallest_set_that_is_not_worse():
    pairs = np.array([0.1, -0.1, 0.05, -0.05]).reshape(1, 2, 2)
    # Equal but for chance; worse beyond it; best.
    score = np.concatenate([pairs + 1.0, np.full((1, 2, 2), 0.5), np.full((1, 2, 2), 1.01)])
    assert choose(score, [1, 2, 3], 1.0) == 0
    assert choose(score, [1, 2, 3], 0.0) == 2
    # What has diverged everywhere is not chosen, however small.
    score = np.concatenate([np.full((1, 2, 2), np.nan), score])
    assert choose(score, [0, 1, 2, 3], 1.0) == 1


def test_patience_counts_rounds_since_the_best():
    def step(improvement):
        return Step(
            before=("a", "b"),
            score=1.0,
            tried=("a",),
            improvement=(improvement,),
            uncertainty=(0.1,),
            taken="a",
            trainings=1,
            seconds=0.0,
        )

    assert stale([]) == 0
    assert stale([step(-0.1), step(-0.1)]) == 2
    assert stale([step(-0.1), step(0.3), step(-0.1)]) == 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"candidates": 0}, "try at least 1"),
        ({"patience": 0}, "at least 1"),
        ({"least": 7}, "1 to 6"),
        ({"tolerance": -1.0}, "negative"),
    ],
)
def test_bad_options(study, options, message):
    with pytest.raises(InputError, match=message):
        eliminate(study, **options)

"""`dt.tune(checkpoints=...)` goes on with the same search, and refuses any other."""

import gc
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import difftune as dt
from difftune.analysis.interruption import Terminated, exit_code, explained
from difftune.analysis.preparation import Preparation
from difftune.analysis.split import Split
from difftune.errors import InputError
from difftune.objectives import Focal
from difftune.search import PBT, Random
from difftune.search.loop import definition
from difftune.training import Recipe, ScoreGap
from difftune.training.fingerprint import differences

NAMES = ("pt", "eta", "mass")


def sample(seed: int = 0, names=NAMES, scale=1.0, order=(0, 1, 2)) -> dt.Events:
    rng = np.random.default_rng(seed)
    process = np.arange(400) % 2
    features = rng.normal(size=(400, 3)) + process[:, None]
    return dt.Events.from_arrays(
        features[:, list(order)] * scale,
        process,
        np.full(400, 0.5),
        feature_names=[names[i] for i in order],
        processes=[dt.Process(name="bkg"), dt.Process(name="sig", role="signal")],
    )


class Stop(Exception):
    """Ends a search after a round, as a crash does."""


def stop(progress):
    if progress.round == 2:
        raise Stop


def plain_loss(scores, batch, hyperparameters, parameters):
    return dt.objectives.CrossEntropy()(scores, batch, hyperparameters, parameters)


SEARCH = PBT(population=2, rounds=3, epochs_per_round=1)
OPTIONS = {
    "model": dt.models.MLP(hidden=(4,)),
    "space": dt.Space(learning_rate=dt.log_uniform(1e-3, 1e-2)),
    "search": SEARCH,
    "batch_size": 64,
    "metric": dt.objectives.Significance(),
    "seed": 1,
    "overtraining": ScoreGap(limit=np.inf),
}
RECIPE = {name: OPTIONS[name] for name in ("model", "batch_size", "metric", "overtraining")}


def tune(folder, events=None, **options):
    return dt.tune(
        sample() if events is None else events, **(OPTIONS | options), checkpoints=folder
    )


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """Two of three rounds."""
    folder = tmp_path_factory.mktemp("stopped")
    with pytest.raises(Stop):
        tune(folder, on_round=stop)
    return folder


def contents(folder: Path) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("events", "options", "said"),
    [
        (sample(order=(2, 1, 0)), {}, "events.columns: ['pt', 'eta', 'mass'] then"),
        (None, {"seed": 2}, "seed: 1 then, 2 now"),
        (None, {"objective": plain_loss}, "objective: CrossEntropy then"),
        (None, {"search": replace(SEARCH, rounds=1)}, "strategy.rounds: 3 then, 1 now"),
    ],
)
def test_another_search_is_refused_with_what_differs(stopped, events, options, said):
    before = contents(stopped)
    with pytest.raises(InputError) as refused:
        tune(stopped, events, **options)
    assert said in str(refused.value)
    assert "start anew in another folder" in str(refused.value)
    assert contents(stopped) == before


def defined(strategy=SEARCH, seed=1, space=OPTIONS["space"], fixed=None, **options):
    """What a search of the same options is defined by."""
    split = options.pop("split", None) or Split(events=options.pop("events", sample()))
    recipe = Recipe(**(RECIPE | {"hyperparameters": fixed or {}} | options))
    preparation = Preparation(split=split, recipe=recipe)
    population = preparation.population(strategy, seed, space)
    return definition(population, strategy, space, preparation.definition)


@pytest.mark.slow
def test_everything_that_defines_a_search_counts():
    """And memory does not."""
    first = defined()
    assert differences(first, defined()) == []
    assert differences(first, defined(chunk=16)) == []
    tested = Split(events=sample(), validation_folds=(2,))
    for options, said in (
        ({"events": sample(names=("mass", "eta", "pt"))}, "events.columns"),
        ({"events": sample().scaled(np.array([1.0, 2.0]))}, "events.weight: other values now"),
        ({"events": sample(scale=1000.0)}, "events.column.pt: other values now"),
        ({"space": dt.Space()}, "space.order: ['learning_rate'] then"),
        (
            {"space": dt.Space(learning_rate=dt.log_uniform(1e-3, 1e-1))},
            "space.learning_rate.high: 0.01 then, 0.1 now",
        ),
        (
            {"strategy": Random(population=2, rounds=3, epochs_per_round=1)},
            "strategy: PBT then, Random now",
        ),
        ({"batch_size": 32}, "sizes: [64] then, [32] now"),
        ({"strategy": replace(SEARCH, rounds=5)}, "strategy.rounds: 3 then, 5 now"),
        ({"strategy": replace(SEARCH, quantile=0.5)}, "strategy.quantile: 0.25 then, 0.5 now"),
        ({"objective": Focal()}, "objective: CrossEntropy then, Focal now"),
        ({"patience": 3}, "patience: 10 then, 3 now"),
        ({"model": dt.models.MLP(hidden=(5,))}, "model.hidden: [4] then, [5] now"),
        ({"metric": dt.objectives.AUC()}, "metric: Significance then, AUC now"),
        ({"overtraining": ScoreGap(limit=2.0)}, "overtraining.limit: inf then, 2.0 now"),
        ({"fixed": {"dropout": 0.1}}, "hyperparameters.dropout: nothing then, 0.1 now"),
        ({"split": tested}, "events.validation_folds: [3] then, [2] now"),
        ({"impute": 0.0}, "events.impute: median then, 0.0 now"),
        ({"negative_weights": "absolute"}, "events.negative_weights: resample then, absolute now"),
        ({"optimizer": dt.training.optimizer("sgd")}, "optimizer"),
    ):
        assert any(said in line for line in differences(first, defined(**options))), said


@pytest.mark.slow
def test_the_same_search_goes_on(stopped, tmp_path):
    """With another amount of memory, which changes no more than roundings."""
    rounds = []
    resumed = tune(stopped, on_round=lambda progress: rounds.append(progress.round), chunk=32)
    assert rounds == [3]
    whole = tune(tmp_path)
    np.testing.assert_array_equal(resumed.result.history.parents, whole.result.history.parents)
    np.testing.assert_allclose(resumed.result.history.score, whole.result.history.score, rtol=1e-3)


# A shell starts what runs in the background with SIGINT ignored, and Python leaves it so.
INTERRUPTED = """
import logging, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
import numpy as np
import difftune as dt
from tests.analysis.test_resume import tune

logging.basicConfig(level="INFO")

def slow(progress):
    if progress.round == 2:
        print("ROUND", flush=True)
        time.sleep(60)

try:
    tune(sys.argv[1], on_round=slow)
except KeyboardInterrupt:
    print("KEYBOARD", flush=True)
    raise
"""


signals = pytest.mark.parametrize(
    "sent", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)


@pytest.mark.slow
@signals
def test_a_script_that_is_interrupted_says_what_is_kept(tmp_path, sent):
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, tmp_path],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    line = process.stdout.readline()
    assert line == "ROUND\n", process.communicate()[1]
    process.send_signal(sent)
    out, said = process.communicate(timeout=30)
    assert f"The rounds up to 2 are kept in {tmp_path}" in said
    if sent == signal.SIGTERM:
        assert process.returncode == 128 + sent
        assert "Traceback" not in said
    else:
        # That of the user's program.
        assert process.returncode in (128 + sent, -sent)
        assert "KEYBOARD" in out
    assert tune(tmp_path).result.history.round[-1] == 2


def test_no_handler_is_left_behind():
    before = signal.getsignal(signal.SIGTERM)
    with explained(lambda: "kept"):
        assert signal.getsignal(signal.SIGTERM) != before
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1

    @explained(lambda: "kept")
    def killed():
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(5)

    with pytest.raises(Terminated) as ended:
        killed()
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before
    assert signal.set_wakeup_fd(-1) == -1


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_interruption_that_python_drops_is_not_lost(sent, capsys):
    """It comes within a callback of the garbage collector, of which JAX has one."""

    def collecting(phase, info):
        gc.callbacks.remove(collecting)
        os.kill(os.getpid(), sent)

    @explained(lambda: "kept")
    def work():
        gc.callbacks.append(collecting)
        gc.collect()
        time.sleep(5)

    before = sys.unraisablehook, signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises((Terminated, KeyboardInterrupt)) as ended:
            work()
    finally:
        signal.signal(signal.SIGINT, before[1])
    assert exit_code(ended.value) == 128 + sent
    assert sys.unraisablehook is before[0]
    assert "Traceback" not in capsys.readouterr().err


def test_a_handler_of_the_user_stays():
    heard = []
    before = signal.signal(signal.SIGTERM, lambda *_: heard.append(1))
    try:
        with explained(lambda: "kept"):
            os.kill(os.getpid(), signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [1]


def test_another_thread_is_left_alone():
    found = []

    def work():
        with explained(lambda: "kept"):
            found.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [signal.getsignal(signal.SIGTERM)]


STUCK = """
import hashlib, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from difftune.analysis.interruption import explained

with explained(lambda: "All is kept.", program=True):
    print("BEGUN", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 1_000_000_000)
"""


@pytest.mark.slow
@signals
def test_what_cannot_be_interrupted_ends_as_well(sent):
    """A single step of Python that takes minutes, as compiling a program does."""
    root = Path(__file__).parents[2]
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )
    assert process.stdout.readline() == "BEGUN\n"
    time.sleep(0.5)
    process.send_signal(sent)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 128 + sent
    assert "All is kept." in said

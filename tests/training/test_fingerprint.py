"""What defines a result: equal for what is equal, and named where it differs."""

import contextlib
import functools
import http
import importlib.util
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

import difftune as dt
from difftune.errors import InputError
from difftune.models import MLP
from difftune.models.inputs import Inputs, ObjectInputs
from difftune.objectives import CrossEntropy, Focal, Significance
from difftune.search import PBT, Random
from difftune.training import adam
from difftune.training.describing import describe
from difftune.training.fingerprint import differences, of_events, refuse_other, surroundings


def loaded(folder, text: str, name: str = "mine"):
    """A user's file, as `file.py:name` has it."""
    path = folder / f"{name}.py"
    path.write_text(text)
    # Python takes what was compiled for current, if the file has the same size and second.
    Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LOSS = """
import numpy as np
SCALE = 2.0

def helper(x):
    return x * SCALE

def loss(scores, batch, hyperparameters, parameters):
    \"\"\"Some words.\"\"\"
    return helper(scores) + 1.0  # a remark

class Own:
    strength = 3

    def __init__(self, power=2):
        self.power = power

    def __call__(self, scores, batch, hyperparameters, parameters):
        return helper(scores) ** self.power
"""


# A file of the user may be called as a module of Python.
@pytest.mark.parametrize("name", ["mine", "random"])
@pytest.mark.parametrize("made", ["loss", "Own", "Own()"])
def test_code_counts_and_comments_do_not(tmp_path, made, name):
    def of(text):
        return describe(eval(made, vars(loaded(tmp_path, text, name))))

    first = of(LOSS)
    assert differences(first, of(LOSS)) == []
    same = (
        LOSS.replace("a remark", "another one")
        .replace("Some words", "Others")
        .replace("import numpy as np\n", "import numpy as np\n\n\n")
    )
    assert differences(first, of(same)) == []
    # What it calls, and the numbers that those refer to.
    (line,) = differences(first, of(LOSS.replace("SCALE = 2.0", "SCALE = 2.5")))
    assert "SCALE: 2.0 then, 2.5 now" in line
    (line,) = differences(first, of(LOSS.replace("x * SCALE", "x / SCALE")))
    assert "helper: other code now" in line
    changed = LOSS.replace("+ 1.0", "+ 1.5").replace("** self.power", "* self.power")
    assert bool(differences(first, of(changed)))
    if made != "loss":
        (line,) = differences(first, of(LOSS.replace("strength = 3", "strength = 4")))
        assert "strength: 3 then, 4 now" in line


def test_a_decorator_of_somebody_else_hides_no_code():
    class One:
        @contextlib.contextmanager
        def way(self):
            yield 1

    class Other:
        @contextlib.contextmanager
        def way(self):
            yield 2

    Other.__name__, Other.__qualname__ = One.__name__, One.__qualname__
    assert describe(One())["methods"] != describe(Other())["methods"]


def test_an_object_of_ones_own_has_its_state(tmp_path):
    own = loaded(tmp_path, LOSS).Own
    assert differences(describe(own(2)), describe(own(2))) == []
    assert differences(describe(own(2)), describe(own(3))) == ["power: 2 then, 3 now"]


def test_a_number_that_knows_more_is_described_with_it():
    jets = ObjectInputs(features=("pt",), max=3, start=1, mask=4)
    fewer = ObjectInputs(features=("pt",), max=2, start=1, mask=4)
    described = [describe(Inputs(7, {"jets": each})) for each in (jets, fewer)]
    assert described[0] != described[1]
    assert described[0] == describe(Inputs(7, {"jets": jets}))
    assert describe(http.HTTPStatus.OK) == 200


def test_closures_defaults_and_partials():
    def made(scale):
        return lambda x, power=2: scale * x**power

    assert differences(describe(made(1.0)), describe(made(1.0))) == []
    (line,) = differences(describe(made(1.0)), describe(made(2.0)))
    assert "scale: 1.0 then, 2.0 now" in line
    assert differences(describe(lambda x: x + 1), describe(lambda x: x + 2))
    first, second = (functools.partial(adam, power=p) for p in (1, 2))
    assert differences(describe(first), describe(second)) == ["keywords.power: 1 then, 2 now"]


def recursive(n):
    return n if n < 2 else recursive(n - 1)


def test_what_refers_to_itself_ends():
    ring: list = []

    @dataclass
    class Node:
        other: object = None

    node = Node()
    node.other = node
    assert describe(recursive) == describe(recursive)
    assert describe(node)["other"]["is"].endswith("Node")
    assert describe(ring) == []


@pytest.mark.slow
def test_it_is_the_same_in_another_process():
    """No address, no order of a set, no hash that differs from process to process."""
    program = (
        "import json\n"
        "import numpy as np\n"
        "from difftune.models import MLP\n"
        "from difftune.objectives import Focal, Significance\n"
        "from difftune.search import PBT\n"
        "from difftune.training import adam, optimizer\n"
        "from difftune.training.fingerprint import describe\n"
        "f = lambda x: x in {'a', 'b', 'c'}\n"
        "print(json.dumps(describe([MLP(), Focal(), Significance(), PBT(), adam, f,"
        " {'x', 'y', 'z'}, np.arange(99)])))\n"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True,
            text=True,
            check=True,
            env={**os.environ, "PYTHONHASHSEED": str(seed)},
        ).stdout
        for seed in (1, 2)
    }
    assert len(found) == 1


@pytest.mark.parametrize(
    ("one", "other", "line"),
    [
        (PBT(rounds=4), PBT(rounds=3), "rounds: 4 then, 3 now"),
        (PBT(), Random(), ": PBT then, Random now"),
        (MLP(hidden=(64,)), MLP(hidden=(32,)), "hidden: [64] then, [32] now"),
        (CrossEntropy(), Focal(), ": CrossEntropy then, Focal now"),
        (dt.uniform(0, 1), dt.log_uniform(0.1, 1), ": Uniform then, LogUniform now"),
        (Significance(), Significance(), None),
        ({"a": float("nan")}, {"a": float("nan")}, None),
        ({"a": np.float32(0.1)}, {"a": np.float32(0.2)}, "a: 0.10000000149011612 then, 0.2000"),
        (np.zeros(100), np.ones(100), ": other values now"),
        (np.zeros(100), np.zeros(99), ": float64[100] then, float64[99] now"),
    ],
)
def test_what_differs_is_named(one, other, line):
    found = differences(describe(one), describe(other))
    assert (found == []) if line is None else (len(found) == 1 and line in found[0]), found


def events(**changes):
    rng = np.random.default_rng(1)
    given = {
        "features": rng.normal(size=(200, 3)),
        "process": np.arange(200) % 2,
        "weight": rng.random(200),
        "feature_names": ("pt", "eta", "mass"),
        "processes": [dt.Process(name="s", role="signal"), dt.Process(name="b")],
    }
    return dt.Events.from_arrays(**(given | {k: f(given[k]) for k, f in changes.items()}))


def test_events_are_compared_column_by_column():
    first = of_events(events())
    assert differences(first, of_events(events())) == []
    scaled = of_events(events(features=lambda x: x * [1, 1, 1000]))
    assert differences(first, scaled) == ["column.mass: other values now"]
    turned = of_events(
        events(features=lambda x: x[:, ::-1], feature_names=lambda names: names[::-1])
    )
    assert differences(first, turned) == [
        "columns: ['pt', 'eta', 'mass'] then, ['mass', 'eta', 'pt'] now"
    ]
    (line,) = differences(first, of_events(events(weight=lambda w: w * 2)))
    assert line == "weight: other values now"


def test_a_refusal_names_all_and_lets_another_device_pass():
    now = {"seed": 2, **surroundings()}
    before = {**now, "seed": 1, "versions": {**now["versions"], "jax": "0.1"}}
    with pytest.raises(InputError) as refused:
        refuse_other(before, now, where="folder holds checkpoints", remedy="Start anew.")
    assert "seed: 1 then, 2 now; versions.jax: 0.1 then" in str(refused.value)
    elsewhere = {**now, "device": "abacus"}
    (line,) = refuse_other(elsewhere, now, where="folder", remedy="")
    assert line.startswith("device: abacus then")


@dataclass(frozen=True)
class Noting:
    """Keeps a record of its own, which is no setting."""

    size: int = 1
    seen: list = field(default_factory=list, compare=False)


def test_what_is_not_compared_does_not_count():
    assert describe(Noting(seen=[1])) == describe(Noting())

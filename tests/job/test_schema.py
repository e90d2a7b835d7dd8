"""The analysis file has the options of the classes: difftune's, and those of your own."""

import importlib.util
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import optax
import pytest

import difftune as dt
from difftune import job
from difftune.errors import InputError
from difftune.job import build, fields
from difftune.job.config import CHOICES
from difftune.objectives.named import METRICS, OBJECTIVES
from difftune.registry import options
from difftune.search.named import STRATEGIES

FILE = {
    "data": {"files": "a.root", "features": ["pt", "mass"]},
    "samples": [{"name": "s", "role": "signal"}, {"name": "b"}],
}
# Of the model of a fit: the file says it in its samples, systematics and regions.
MEASURED = ("normalisation", "luminosity", "free", "processes", "control", "constraints")
OWN = '''
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jax.numpy as jnp
import optax
from flax import nnx

import difftune as dt


@dataclass(frozen=True, kw_only=True)
class Penalty(dt.Objective):
    """A loss.

    Args:
        power: Exponent.
    """

    power: float = 2.0
    shape: Literal["round", "square"] = "round"
    widths: Sequence[int] = (1,)
    feature: int = 0

    def __call__(self, scores, batch, hyperparameters, parameters):
        return jnp.mean(jnp.abs(scores) ** self.power)


def loss(scores, batch, hyperparameters, parameters):
    return jnp.mean(scores)


@dataclass(frozen=True)
class Share:
    least: float = 0.5

    def __call__(self, scores, batch, hyperparameters, parameters):
        return jnp.mean(scores > self.least)


@dataclass(frozen=True, kw_only=True)
class Fewer(dt.search.Random):
    keep: float = 0.5


@dataclass(frozen=True)
class Recipe:
    width: int

    def __call__(self, inputs, outputs, *, rngs):
        return nnx.Linear(inputs, outputs, rngs=rngs)


class Net(nnx.Module):
    def __init__(self, inputs, outputs, *, rngs, width: int = 8):
        self.width = width
        self.layer = nnx.Linear(inputs, outputs, rngs=rngs)

    def __call__(self, x):
        return self.layer(x)


class Momentum:
    def __init__(self, decay: float = 0.9):
        self.decay = decay

    def __call__(self, hyperparameters):
        return optax.sgd(hyperparameters["learning_rate"], self.decay)


def close(train_score, validation_score):
    return train_score - validation_score < 0.05


@dataclass(frozen=True)
class Close(dt.training.Condition):
    within: float = 0.05

    def excess(self, evidence):
        return evidence.train_score / self.within
'''


@pytest.fixture
def own(tmp_path):
    """Reads an analysis file beside a file with classes of your own."""
    (tmp_path / "own.py").write_text(OWN)
    text = """
    [data]
    features = ["pt", "mass"]
    [[samples]]
    name = "s"
    role = "signal"
    [[samples]]
    name = "b"
    """

    def read(more: str) -> job.Config:
        # Keys of the file itself stand before all tables.
        both = text + more if more.strip().startswith("[") else f"{more}\n{text}"
        (tmp_path / "a.toml").write_text(both)
        return job.load(tmp_path / "a.toml")

    return read


def section(kind, /, **given):
    """A whole file with one table of a choice in it."""
    place = {
        "objective": lambda table: {"objective": [table]},
        "strategy": lambda table: {"search": table},
        "score": lambda table: {"training": {"score": table}},
        "condition": lambda table: {"training": {"overtraining": [table]}},
        "model": lambda table: {"model": table},
        "binning": lambda table: {"fit": {"binning": table}},
        "domain": lambda table: {
            "systematics": [
                {"name": "sf", "type": "field", "file": "sf.csv", "domains": [{"at": {}} | table]}
            ]
        },
    }[kind]
    return job.from_dict(FILE | place(given))


def must_be_told_something(kind: str, name: str) -> bool:
    options = CHOICES[kind].registry.entry(name).options.values()
    return name == "learned" or any(option.required for option in options)


NAMES = [
    (kind, name)
    for kind, choice in CHOICES.items()
    if kind != "optimizer"
    for name in choice.registry
]


@pytest.mark.parametrize(("kind", "name"), NAMES)
def test_each_option_of_a_class_is_a_key_with_type_default_and_meaning(kind, name):
    choice = CHOICES[kind]
    entry, keys = choice.registry.entry(name), choice.section(name).model_fields
    for key, option in entry.options.items():
        if option.part == "model" and key in MEASURED:
            assert key not in keys, "the file says it elsewhere"
            continue
        assert option.meaning, f"{entry.target.__name__} does not say what {key} is"
        field = keys[key]
        if key not in choice.base.model_fields:
            assert field.is_required() == option.required
            assert option.required or build_value(field.default) == option.default
    with pytest.raises(InputError, match=r"\.zzz'\. Known here: "):
        section(kind, **{choice.key: name, "zzz": 1})


def build_value(value):
    """As the library has it: a tuple for a list."""
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize(
    ("kind", "name"), [each for each in NAMES if not must_be_told_something(*each)]
)
def test_what_a_file_leaves_out_is_as_in_python(kind, name):
    entry = CHOICES[kind].registry.entry(name)
    found = section(kind, **{CHOICES[kind].key: name})
    made = {
        "objective": lambda: build.objective(found),
        "strategy": lambda: build.strategy(found),
        "score": lambda: build.metric(found),
        "condition": lambda: build.overtraining(found).conditions[1],
        "model": lambda: build.model(found),
        "binning": lambda: build.binning(found),
        "domain": lambda: fields.domain(found.systematics[0].domains[0]),
    }[kind]()
    # A population is that of the file's [search], whatever the strategy.
    size = {"population": 16} if kind == "strategy" else {}
    expected = entry(**size)
    assert repr(made) == repr(expected)


def test_a_new_class_is_entered_in_two_places(monkeypatch):
    @dataclass(frozen=True, kw_only=True)
    class Sharpness(dt.Objective):
        """How sharp the score is.

        Args:
            edge: Where it counts.
        """

        edge: float = 0.5

        def __call__(self, scores, batch, hyperparameters, parameters):
            return scores.mean()

    @dataclass(frozen=True, kw_only=True)
    class Flatness(dt.objectives.Metric):
        """How flat the score is.

        Args:
            order: Of the moment.
        """

        order: int = 2

        def __call__(self, scores, batch, hyperparameters, parameters):
            return scores.mean()

    @dataclass(frozen=True, kw_only=True)
    class Patient(dt.search.Random):
        """Waits.

        Args:
            wait: Rounds without a change.
        """

        wait: int = 3

    # The class is one place, its line in the registry the other.
    monkeypatch.setitem(OBJECTIVES, "sharpness", Sharpness)
    monkeypatch.setitem(METRICS, "flatness", Flatness)
    monkeypatch.setitem(STRATEGIES, "patient", Patient)

    found = job.from_dict(
        FILE
        | {
            "objective": [{"name": "sharpness", "edge": 0.25}],
            "training": {"score": {"name": "flatness", "order": 4}},
            "search": {"strategy": "patient", "wait": 5},
        }
    )
    assert build.objective(found) == Sharpness(edge=0.25)
    assert build.metric(found) == Flatness(order=4)
    assert build.strategy(found) == Patient(wait=5)
    assert job.from_dict(found.model_dump()) == found

    hooks = _hooks()
    for kind, line in (
        ("objective", "| `edge` | number | `0.5` | Where it counts. |"),
        ("score", "| `order` | integer | `2` | Of the moment. |"),
        ("strategy", "| `wait` | integer | `3` | Rounds without a change. |"),
    ):
        assert line in hooks.choices(kind)
    assert "**`sharpness`**: How sharp the score is." in hooks.choices("objective")

    for wrong, named in (
        ({"objective": [{"name": "sharpnes"}]}, "sharpness"),
        ({"training": {"score": "flatnes"}}, "flatness"),
        ({"search": {"strategy": "patien"}}, "patient"),
    ):
        with pytest.raises(InputError, match=f"Did you mean '{named}'.*Choose one of .*{named}"):
            job.from_dict(FILE | wrong)


def _hooks():
    place = Path(__file__).parents[2] / "docs" / "hooks.py"
    spec = importlib.util.spec_from_file_location("docs_hooks", place)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_objective_of_ones_own_has_its_options(own):
    found = own(
        """
        [[objective]]
        name = "own.py:Penalty"
        power = 1
        shape = "square"
        widths = [3, 4]
        feature = "mass"
        [[objective]]
        name = "own.py:loss"
        scale = "w"
        """
    )
    first, second = build.objective(found).terms
    assert (first.power, first.shape, first.widths, first.feature) == (1.0, "square", (3, 4), 1)
    assert isinstance(first, dt.Objective)
    assert second.factor == "w"


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ('name = "own.py:Penalty"\npowr = 1', r"key 'objective.0.powr'. Did you mean 'power'\?"),
        ('name = "own.py:Penalty"\npower = "x"', r"objective.0.power = 'x': .*valid number"),
        ('name = "own.py:Penalty"\nshape = "squar"', r"objective.0.shape = .*mean 'square'\?"),
        ('name = "own.py:Penalty"\nfeature = "mas"', r"objective.0.feature .*mean 'mass'\?"),
        ('name = "own.py:loss"\npower = 1', r"objective.0.power: .*own.py:loss is no class"),
        ('name = "own.py:los"', r"objective.0.name = .*has no 'los'\. Did you mean 'loss'\?"),
        ('name = "none.py:loss"', r"objective.0.name = .*there is no file .*none\.py"),
    ],
)
def test_what_is_wrong_with_ones_own_is_said_alike(own, table, message):
    with pytest.raises(InputError, match=message):
        build.objective(own(f"[[objective]]\n{table}"))


def test_a_score_of_ones_own(own):
    plain = build.metric(own('training.score = "own.py:Share"'))
    found = build.metric(
        own('training.score = ["roc_area", { name = "own.py:Share", least = 0.25 }]')
    )
    assert plain.function.least == 0.5
    assert found.names == ("roc_area", "Share")
    assert found.scores["Share"].function.least == 0.25


def test_a_score_with_options_of_its_own():
    found = job.from_dict(
        FILE | {"training": {"score": {"name": "cut_ams", "regularisation": 5}, "score_bins": 3}}
    )
    assert build.metric(found) == dt.objectives.CutAMS(regularisation=5.0)
    with pytest.raises(InputError, match=r"training.score.reg = 5|'training.score.reg'"):
        job.from_dict(FILE | {"training": {"score": {"name": "cut_ams", "reg": 5}}})
    with pytest.raises(InputError, match=r"training.score.1.name = 'roc_are' .*mean 'roc_area'\?"):
        job.from_dict(FILE | {"training": {"score": ["cut_ams", {"name": "roc_are"}]}})
    with pytest.raises(InputError, match=r"training.score.1 = 'roc_are' .*mean 'roc_area'\?"):
        job.from_dict(FILE | {"training": {"score": ["cut_ams", "roc_are"]}})


def test_a_strategy_of_ones_own(own):
    found = build.strategy(
        own('[search]\nstrategy = "own.py:Fewer"\nkeep = 0.25\npopulation = 3\nexecutions = 2')
    )
    assert isinstance(found, dt.search.Replicated)
    assert (found.strategy.keep, found.strategy.population, found.strategy.rounds) == (0.25, 3, 10)
    with pytest.raises(InputError, match=r"search: search=Penalty.* is no strategy"):
        build.strategy(own('search.strategy = "own.py:Penalty"'))


def test_a_network_of_ones_own(own, caplog):
    recipe = build.model(own('model = { module = "own.py:Recipe", width = 5 }'))
    assert recipe.width == 5
    net = build.model(own('model.module = "own.py:Net"'))
    assert options(net).keys() == {"inputs", "outputs", "rngs", "width"}
    wide = build.model(own('model = { module = "own.py:Net", width = 5, hidden = [3] }'))
    assert isinstance(wide, partial)
    assert wide.keywords == {"width": 5}
    assert "model.hidden has no effect" in caplog.text
    with pytest.raises(InputError, match=r"key 'model.widht'. Did you mean 'width'\?"):
        build.model(own('model = { module = "own.py:Net", widht = 5 }'))


def test_an_optimizer_of_ones_own(own):
    table = own('training.optimizer = { name = "own.py:Momentum", decay = 0.5 }')
    assert build.optimizer(table).decay == 0.5
    made = build.optimizer(own('training.optimizer = "own.py:Momentum"'))({"learning_rate": 0.1})
    assert isinstance(made, optax.GradientTransformation)


def test_conditions_of_ones_own(own):
    found = build.overtraining(
        own(
            'training.overtraining = ["own.py:close", "loss_gap", '
            '{ name = "own.py:Close", within = 0.1 }]'
        )
    )
    assert len(found.conditions) == 4
    assert found.conditions[2] == dt.training.LossGap()
    assert found.conditions[3].within == 0.1


def test_everything_that_is_wrong_with_several_tables_is_said_at_once():
    with pytest.raises(InputError) as caught:
        job.from_dict(
            FILE
            | {
                "search": {"strategy": "pbt", "quantile": 2.0, "sigma": 1, "ready": 2},
                "objective": [{"name": "focal", "gama": 1.0}, {"name": "nothing"}],
                "model": {"hidden": [0]},
            }
        )
    lines = str(caught.value).splitlines()
    assert len(lines) == 6
    for part in (
        "search.quantile = 2.0: Input should be less than or equal to 0.5",
        "'search.sigma'. It belongs to cmaes, and not to pbt.",
        "'search.ready'. It is called 'min_rounds' now.",
        "'objective.0.gama'. Did you mean 'gamma'?",
        "objective.1.name = 'nothing' is unknown.",
        "model.hidden.0 = 0: Input should be greater than or equal to 1",
    ):
        assert part in str(caught.value)

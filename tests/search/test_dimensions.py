"""Whole numbers that step with the scale, names, and spaces that cannot be."""

import numpy as np
import optuna
import pytest
from scipy import stats

from difftune.errors import InputError
from difftune.search import (
    CMAES,
    PB2,
    PBT,
    Evolution,
    Grid,
    Optuna,
    Space,
    category,
    choice,
    integer,
    log_integer,
    log_uniform,
    uniform,
    when,
)
from tests.search.fake import Game, play

INF, NAN = float("inf"), float("nan")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def neighbours(dimension, value, scale):
    return set(dimension.perturb(np.full(200, float(value)), scale, rng()).tolist())


def test_whole_numbers_step_with_the_scale():
    wide = integer(16, 512)
    assert neighbours(wide, 100, 0.2) == {80, 120}
    assert neighbours(wide, 16, 0.2) == {19}
    assert neighbours(wide, 400, 0.5) == {200, 424}  # 600, reflected at 512
    assert neighbours(wide, 20, 0.001) == {19, 21}
    # Never more than that part of the range, and of the range where numbers below 1 are.
    assert neighbours(integer(100, 110), 105, 0.2) == {103, 107}
    assert neighbours(integer(0, 1000), 0, 0.1) == {100}
    assert neighbours(integer(-50, 50), 0, 0.1) == {-10, 10}
    assert neighbours(integer(7, 7), 7, 0.5) == {7}
    # In the logarithm: a fifth of the factor of 32 between the ends is one of 2.
    low, high = sorted(neighbours(log_integer(16, 512), 100, 0.2))
    assert (low, high) == pytest.approx((50, 200), abs=2)
    assert neighbours(log_integer(1, 5), 2, 0.01) == {1, 3}


@pytest.mark.parametrize("dimension", [integer(-3, 4), integer(1, 9), log_integer(1, 9)])
@pytest.mark.parametrize("scale", [0.001, 0.1, 0.5, 1.0])
def test_a_neighbour_is_another_number_of_the_range(dimension, scale):
    values = np.arange(dimension.low, dimension.high + 1.0)
    np.testing.assert_array_equal(dimension.from_unit(dimension.to_unit(values)), values)
    for value in values:
        found = neighbours(dimension, value, scale)
        assert found <= set(values) - {value}


@pytest.mark.parametrize(("kind", "reached"), [(integer, 60), (log_integer, 300)])
def test_a_population_walks_through_a_wide_range(kind, reached):
    """From the lower end ten steps of ±1 came to 26 of 512."""

    class Low(Space):
        def sample(self, rng, count):
            return {name: np.full(count, 16.0) for name in self}

    space = Low(width=kind(16, 512))
    game = Game(train=lambda state, _: state, score=lambda _, values: values["width"])
    strategy = PBT(population=8, rounds=25, epochs_per_round=1, resample=0.0, quantile=0.5)
    past = play(strategy, space, game).past
    assert past[0].best.max() == 16
    assert past[-1].best.max() > reached


def test_log_integer_is_even_in_the_logarithm():
    dimension, count = log_integer(2, 9), 20000
    values, counts = np.unique(dimension.sample(rng(), count), return_counts=True)
    np.testing.assert_array_equal(values, np.arange(2, 10))
    expected = np.log((values + 1) / values) / np.log(10 / 2)
    assert stats.chisquare(counts, count * expected).pvalue > 1e-4
    np.testing.assert_array_equal(log_integer(1, 100).grid(3), [1, 10, 100])
    np.testing.assert_array_equal(log_integer(1, 100).grid(1), [10])
    np.testing.assert_array_equal(integer(1, 3).grid(7), [1, 2, 3])


STRATEGIES = {
    "pbt": PBT(population=6, rounds=4, epochs_per_round=1),
    "pb2": PB2(population=6, rounds=4, epochs_per_round=1),
    "evolution": Evolution(population=6, rounds=4, epochs_per_round=1),
    "cmaes": CMAES(population=6, rounds=4, epochs_per_round=1),
    "tpe": Optuna(population=6, rounds=4, epochs_per_round=1),
    "grid": Grid(population=6, rounds=4, epochs_per_round=1),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_proposes_whole_numbers_of_the_range(name):
    space = Space(width=integer(16, 512), nodes=log_integer(1, 1000))
    game = Game(
        train=lambda state, values: state,
        score=lambda _, values: -np.abs(values["width"] - 300) - np.log(values["nodes"]),
    )
    seen = play(STRATEGIES[name], space, game).past
    for each in seen:
        for key, values in each.hyperparameters.items():
            assert all(space[key].contains(value) for value in values)
    widths = np.concatenate([each.hyperparameters["width"] for each in seen])
    assert np.ptp(widths) > 100


def test_optuna_is_told_the_numbers_themselves(tmp_path):
    file = tmp_path / "study.log"
    strategy = Optuna(population=4, rounds=1, epochs_per_round=1, journal=file)
    space = Space(nodes=log_integer(1, 1000))
    game = Game(train=lambda state, _: state, score=lambda _, values: values["nodes"])
    play(strategy, space, game)
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(file)))
    study = optuna.load_study(study_name="difftune", storage=storage)
    assert study.trials[0].distributions["nodes"] == optuna.distributions.IntDistribution(
        1, 1000, log=True
    )


# ---- what is plainly meant -----------------------------------------------------------------------


def test_what_is_plainly_meant_is_taken():
    assert choice("a", "b") == category("a", "b")
    assert choice([256, 512]) == choice(256, 512)
    assert category(("adam", "sgd")) == category("adam", "sgd")
    assert integer(1.0, np.int64(8)) == integer(1, 8)
    assert uniform(np.float32(0.0), 1) == uniform(0, 1)
    named = Space(
        optimizer=category("adam", "sgd"), momentum=when("optimizer", "sgd", uniform(0.5, 0.9))
    )
    numbered = Space(
        optimizer=category("adam", "sgd"), momentum=when("optimizer", 1, then=uniform(0.5, 0.9))
    )
    assert dict(named) == dict(numbered)
    assert dict(Space(dict(named))) == dict(named)
    assert dict(Space.of({"dropout": {"uniform": [0.0, 0.5]}})) == {"dropout": uniform(0.0, 0.5)}
    settled = named.settled({"optimizer": np.array([0.0, 1.0]), "momentum": np.array([0.6, 0.6])})
    np.testing.assert_allclose(settled["momentum"], [0.7, 0.6])


OPTIMIZER = category("adam", "sgd")
WRONG = {
    "integer(1.5, 8.0)": (lambda: integer(1.5, 8.0), r"1.5 is no whole number.*take uniform"),
    "integer(1, inf)": (lambda: integer(1, INF), r"integer\(1, inf\): inf is no whole number"),
    "integer(1, 2**40)": (lambda: integer(1, 2**40), r"single precision.*16777216"),
    "log_integer(0, 8)": (
        lambda: log_integer(0, 8),
        r"log_integer\(0, 8\): low must be at least 1",
    ),
    "log_integer(8, 1)": (lambda: log_integer(8, 1), r"low must not be above high"),
    "log_uniform(1e-3, inf)": (
        lambda: log_uniform(1e-3, INF),
        r"log_uniform\(0.001, inf\): inf is not finite; give two finite bounds",
    ),
    "log_uniform(1e-60, 1)": (lambda: log_uniform(1e-60, 1), "is 0 in single precision"),
    "uniform(-inf, 0)": (lambda: uniform(-INF, 0.0), "not finite"),
    "uniform(0, 1e60)": (lambda: uniform(0.0, 1e60), r"1e\+60 is beyond"),
    "uniform(-3e38, 3e38)": (lambda: uniform(-3e38, 3e38), "take a smaller range"),
    "choice(1, nan)": (lambda: choice(1, NAN), "nan is not finite"),
    "choice(1, inf)": (lambda: choice(1, INF), "inf is not finite"),
    "choice(1, 'a')": (lambda: choice(1, "a"), "'a' is no number; give numbers, or names alone"),
    "category()": (lambda: category(), "at least one"),
    "category(1, inf)": (lambda: category(1, INF), "inf is not finite"),
    "when without then": (lambda: when("optimizer", 1), r"say what it may be then, as in when\("),
    "when without values": (lambda: when("optimizer", then=uniform(0, 1)), "give the values"),
    "when of a number": (lambda: when("optimizer", 1, then=0.5), "then=0.5 is none"),
    "when of nan": (lambda: when("depth", NAN, then=uniform(0, 1)), "not finite"),
    "an unknown name": (
        lambda: Space(optimizer=OPTIMIZER, m=when("optimizer", "sgdd", then=uniform(0, 1))),
        r"can never be 'sgdd', it has 'adam', 'sgd'. Did you mean 'sgd'",
    ),
    "a name of numbers": (
        lambda: Space(depth=integer(1, 3), m=when("depth", "deep", then=uniform(0, 1))),
        "it has numbers alone",
    ),
    "a number that is not there": (
        lambda: Space(depth=integer(1, 3), m=when("depth", 4, then=uniform(0, 1))),
        "'depth' can never be 4",
    ),
    "a plain number": (
        lambda: Space(dropout=0.1),
        r"Space\(dropout=0.1\): one number is not searched.*hyperparameters=\{'dropout': 0.1\}",
    ),
    "a pair": (
        lambda: Space(dropout=(0.0, 0.5)),
        r"write choice\(0.0, 0.5\).*or uniform\(0.0, 0.5\) for all between",
    ),
    "a list": (lambda: Space(width_1=[16, 32, 64]), r"write choice\(16, 32, 64\) for one of these"),
    "a list of names": (lambda: Space(optimizer=["adam", "sgd"]), r"write category\('adam', 'sgd'"),
    "a text": (lambda: Space(dropout="uniform"), r"Space\(dropout='uniform'\): give a dimension"),
    "no brackets": (lambda: Space(dropout=uniform), "write its numbers in brackets"),
    "an unknown kind": (lambda: Space(a={"unifrom": [0, 1]}), "Did you mean 'uniform'"),
    "a list of dimensions": (lambda: Space([uniform(0, 1)]), "name what is searched"),
    "a number as name": (lambda: Space({3: uniform(0, 1)}), "names of hyperparameters are texts"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_is_refused_with_the_remedy(case):
    make, message = WRONG[case]
    with pytest.raises(InputError, match=message):
        make()


# ---- a grid over conditions ----------------------------------------------------------------------


def all_of(strategy, space):
    game = Game(train=lambda state, _: state, score=lambda _, values: next(iter(values.values())))
    proposals = play(strategy, space, game).proposals
    return np.concatenate([np.stack([*p.hyperparameters.values()], 1) for p in proposals])


def test_a_grid_trains_no_point_twice():
    space = Space(
        optimizer=category("adam", "sgd"), momentum=when("optimizer", 1, then=uniform(0.5, 0.9))
    )
    assert Grid().count(space) == 4
    seen = all_of(Grid(population=2, rounds=2, epochs_per_round=1), space)
    np.testing.assert_allclose(seen, [[0, 0.7], [1, 0.5], [1, 0.7], [1, 0.9]])
    with pytest.raises(InputError, match=r"4 combinations \(optimizer 2 x momentum 3 where it"):
        Grid(population=3, rounds=1).start(space, rng())


def test_a_grid_over_several_conditions_holds_each_settled_point_once():
    """Against the set of all combinations, with what does not count put to its middle."""
    space = Space(
        depth=integer(1, 3),
        second=when("depth", 2, 3, then=choice(8, 16)),
        third=when("depth", 3, then=choice(8, 16, 32)),
        optimizer=category("adam", "sgd", "rmsprop"),
        momentum=when("optimizer", "sgd", then=uniform(0.5, 0.9)),
        rate=log_uniform(1e-4, 1e-2),
    )
    points = {"rate": 2}
    axes = Grid(points=points).axes(space)
    every = {n: g.ravel() for n, g in zip(axes, np.meshgrid(*axes.values()), strict=True)}
    settled = np.unique(np.stack([*space.settled(every).values()], 1), axis=0)
    count = Grid(points=points).count(space)
    assert count == len(settled) == (1 + 2 + 6) * (1 + 3 + 1) * 2
    seen = all_of(Grid(population=count, rounds=1, epochs_per_round=1, points=points), space)
    np.testing.assert_allclose(np.unique(seen, axis=0), settled)
    # Counted before it is laid out: this one has more combinations than memory holds.
    wide = Space(
        {"a": choice(1, 2)} | {f"b{i}": when("a", 1, then=uniform(0, 1)) for i in range(60)}
    )
    with pytest.raises(InputError, match="combinations"):
        Grid().start(wide, rng())
    with pytest.raises(InputError, match="the space is empty"):
        Grid().start(Space(), rng())

"""Every strategy from the analysis file."""

import numpy as np
import pytest

from difftune import job
from difftune.errors import InputError
from difftune.job import build
from difftune.search import CMAES, PB2, PBT, Evolution, Grid, Halving, Optuna, Random, Replicated
from difftune.search.dimensions import Category, Conditional

FILE = {
    "data": {"files": "a.root", "features": ["x"]},
    "samples": [{"name": "s", "role": "signal"}, {"name": "b"}],
}


def search(space=None, **section):
    return job.from_dict(FILE | {"search": section, "space": space or {}})


@pytest.mark.parametrize(
    ("section", "expected"),
    [
        ({}, PBT()),
        ({"strategy": "random", "population": 3}, Random(population=3)),
        (
            {"strategy": "pbt", "exploit": "tournament", "min_rounds": 2, "resample": {"a": 1.0}},
            PBT(exploit="tournament", min_rounds=2, resample={"a": 1.0}),
        ),
        (
            {"strategy": "pbt", "slow_fraction": 0.5, "slow_interval": 3},
            PBT(slow_fraction=0.5, slow_interval=3),
        ),
        ({"strategy": "pb2", "ucb_beta": 2}, PB2(ucb_beta=2.0)),
        ({"strategy": "grid", "points": {"a": 4}}, Grid(points={"a": 4})),
        (
            {"strategy": "halving", "factor": 2, "longest": 8, "brackets": 2},
            Halving(factor=2, longest=8, brackets=2),
        ),
        ({"strategy": "tpe", "inherit": True}, Optuna(sampler="tpe", inherit=True)),
        (
            {"strategy": "evolution", "survivors": 0.5, "elite": 0, "crossover": 0.5},
            Evolution(population=16, survivors=0.5, elite=0, crossover=0.5),
        ),
        ({"strategy": "cmaes", "sigma": 0.2}, CMAES(sigma=0.2)),
        (
            {"strategy": "random", "executions": 3, "std_penalty": 1},
            Replicated(strategy=Random(), executions=3, std_penalty=1.0),
        ),
        (
            {"cross_validation": True},
            Replicated(strategy=PBT(), executions=4, folds=True),
        ),
    ],
)
def test_a_strategy_is_what_the_file_says(section, expected):
    assert build.strategy(search(**section)) == expected


def test_options_of_another_strategy_are_refused():
    with pytest.raises(
        InputError, match=r"'search.sigma'. It belongs to cmaes, and not to pbt. .*quantile"
    ):
        build.strategy(search(sigma=0.1))


def test_an_ensemble_of_one_training_is_refused():
    with pytest.raises(InputError, match=r"search.ensemble = 'trial': .* give search.executions"):
        build.strategy(search(ensemble="trial"))
    assert build.strategy(search(ensemble="greedy")) == build.strategy(search())


def test_categories_and_conditions():
    space = build.space(
        search(
            space={
                "optimizer": {"category": ["adam", "sgd"]},
                "momentum": {"uniform": [0.5, 0.9], "when": {"optimizer": 1.0}},
            }
        )
    )
    kind, momentum = space["optimizer"], space["momentum"]
    assert isinstance(kind, Category)
    assert kind.names == ("adam", "sgd")
    assert isinstance(momentum, Conditional)
    values = {"optimizer": np.array([0.0, 1.0]), "momentum": np.array([0.8, 0.8])}
    np.testing.assert_allclose(space.settled(values)["momentum"], [0.7, 0.8])
    with pytest.raises(InputError, match="give exactly one of uniform"):
        search(space={"a": {"when": {"b": 1.0}}})

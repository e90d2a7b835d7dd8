"""A score through the fit is compiled once for networks of all kinds, and gives the same."""

from collections import Counter
from dataclasses import dataclass, replace

import jax
import numpy as np
import pytest

from difftune.models import MLP
from difftune.objectives import FitModel, MetricOf, PoiUncertainty
from difftune.training import AS_SCORED, ScoreGap, SelectionRule
from tests.training import toy

MODEL = FitModel(bins=4, bandwidth=(1e-2, 1e-2), mc_statistics=False)


@pytest.fixture
def traced(monkeypatch):
    """How often each loss was traced, by its strength: once for each compilation."""
    found: Counter[float] = Counter()
    call = PoiUncertainty.__call__

    def counted(self, *args):
        found[self.strength] += 1
        return call(self, *args)

    monkeypatch.setattr(PoiUncertainty, "__call__", counted)
    return found


@dataclass(frozen=True, kw_only=True)
class OfMember(MetricOf):
    """The same score as a part of the program of each network."""

    @property
    def of_member(self):
        return True


def records(metric, *, members: int, error: bool, **parts) -> list[dict[str, np.ndarray]]:
    """What the epochs of a training say."""
    population = toy.population(
        members=members,
        metric=metric,
        selection_rule=SelectionRule() if error else AS_SCORED,
        overtraining=ScoreGap(limit=1e9, sigmas=1 if error else 0),
        **parts,
    )
    rates = {"learning_rate": np.linspace(1e-3, 1e-2, members)}
    state = population.init(rates)
    each = population.train_epochs(state, rates, range(2))
    return [jax.tree.map(np.asarray, record)._asdict() for _, record in each]


@dataclass(frozen=True, kw_only=True)
class Mine(PoiUncertainty):
    """A user's own."""


@pytest.mark.slow
@pytest.mark.parametrize("error", [False, True])
@pytest.mark.parametrize("kind", [PoiUncertainty, Mine])
def test_networks_of_all_kinds_share_the_program_and_its_numbers(kind, error, traced):
    loss = kind(model=MODEL, strength=1.25 + error)
    metric = MetricOf(objective=loss, power=1.0)
    first = records(metric, members=3, error=error, model=MLP(hidden=(8,)))
    once = traced[loss.strength]
    assert once > 0
    again = records(metric, members=2, error=error, model=MLP(hidden=(4, 4)))
    assert traced[loss.strength] == once
    # The same but for rounding.
    strength = loss.strength + 1e-9
    own = OfMember(objective=replace(loss, strength=strength), power=1.0)
    for number, (members, hidden, found) in enumerate(((3, (8,), first), (2, (4, 4), again))):
        expected = records(own, members=members, error=error, model=MLP(hidden=hidden))
        for one, other in zip(found, expected, strict=True):
            for name, value in other.items():
                if value is not None:
                    np.testing.assert_allclose(one[name], value, rtol=2e-4, err_msg=name)
        # By what it is compared with, it is compiled with each network.
        assert traced[strength] == (number + 1) * once


def test_a_metric_that_cannot_be_compared_has_its_own():
    @dataclass(frozen=True, kw_only=True)
    class Listed(PoiUncertainty):
        given: list

    metric = MetricOf(objective=Listed(model=MODEL, given=[1]), power=1.0)
    (_, last) = records(metric, members=2, error=False, model=MLP(hidden=(4,)))
    assert np.isfinite(last["score"]).all()

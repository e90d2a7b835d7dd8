"""A search that begins with the networks of another one."""

import dataclasses

import jax
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.models import MLP
from difftune.objectives import Focal
from difftune.search import (
    PBT,
    Evolution,
    FixedSchedule,
    Halving,
    Space,
    integer,
    log_uniform,
    run_search,
    uniform,
)
from difftune.training import Checkpoints
from tests.search.test_loop import Interrupt, assert_same
from tests.training import toy

pytestmark = pytest.mark.slow

SPACE = Space(
    learning_rate=log_uniform(1e-3, 3e-2), dropout=uniform(0.1, 0.5), width_1=integer(3, 8)
)
RATES = Space(learning_rate=log_uniform(1e-3, 3e-2))
SLOTS = np.arange(4)
STANDING = FixedSchedule(
    population=4, rounds=1, epochs_per_round=1, schedule={"learning_rate": np.zeros(1)}
)
OTHER = PBT(population=4, rounds=4, epochs_per_round=1, quantile=0.5)


def population(**options):
    return toy.shared(model=MLP(hidden=(8, 8)), **options)


@pytest.fixture(scope="module")
def first():
    """The stage before, in batches of another size."""
    strategy = PBT(population=4, rounds=2, epochs_per_round=2)
    best = run_search(population(batch_size=128), strategy, SPACE).best
    assert np.isfinite(best.score).all()
    return best


def weights(snapshot):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(snapshot.weights)]


def origins(history):
    """Slots in which the members of the end began, by hand."""
    line = SLOTS
    for parents, restart in zip(history.parents, history.restart, strict=True):
        line = np.array([slot if restart[slot] else line[parents[slot]] for slot in SLOTS])
    return line


def test_it_begins_with_weights_and_hyperparameters_of_every_member(first):
    found = run_search(population(), STANDING, Space(), start=first).best
    for before, after in zip(weights(first), weights(found), strict=True):
        np.testing.assert_array_equal(before, after)
    # The networks are the same, so the scores are.
    np.testing.assert_allclose(found.score, first.score, rtol=1e-5)
    for name in ("dropout", "width_1"):
        np.testing.assert_array_equal(found.hyperparameters[name], first.hyperparameters[name])
        assert len(set(np.asarray(first.hyperparameters[name]))) > 1
    # What the new search names is its own, and so is the size of the batches.
    np.testing.assert_array_equal(found.hyperparameters["learning_rate"], 0.0)
    np.testing.assert_array_equal(first.hyperparameters["batch_size"], 128.0)
    np.testing.assert_array_equal(found.hyperparameters["batch_size"], 64.0)
    assert np.abs(run_search(population(), STANDING, Space()).best.score - first.score).max() > 1e-3


def test_hyperparameters_of_the_stage_before_follow_the_weights(first):
    strategy = dataclasses.replace(OTHER, rounds=5)
    result = run_search(population(), strategy, RATES, start=first)
    history, best = result.history, result.best
    assert list(history.hyperparameters) == ["learning_rate"]
    begun = [
        next(iter(history.line_of_descent(epoch=int(epoch), member=slot).values()))
        for slot, epoch in enumerate(best.epoch)
    ]
    assert np.any(np.array(begun) != SLOTS)
    for name in ("dropout", "width_1"):
        carried = np.asarray(first.hyperparameters[name])[begun]
        np.testing.assert_array_equal(best.hyperparameters[name], carried)


def test_the_shape_stays_with_the_weights_whatever_is_proposed(first):
    space = Space(learning_rate=log_uniform(1e-3, 3e-2), width_1=integer(3, 8))
    history = run_search(population(), OTHER, space, start=first).history
    width = np.asarray(first.hyperparameters["width_1"])
    np.testing.assert_array_equal(history.hyperparameters["width_1"][0], width)
    np.testing.assert_array_equal(history.hyperparameters["width_1"][-1], width[origins(history)])


def test_members_that_restart_begin_with_the_weights_of_their_slot(first):
    strategy = Evolution(population=4, rounds=3, epochs_per_round=1)
    space = Space(learning_rate=log_uniform(1e-12, 2e-12))
    found = run_search(population(), strategy, space, start=first)
    assert np.all(found.history.restart)
    for row in found.history.score:
        np.testing.assert_allclose(row, first.score, rtol=1e-4)


def test_what_nothing_reads_any_more_is_left_behind(first):
    """The focal loss has an exponent, the cross-entropy has not."""
    space = Space(focal_gamma=uniform(0.5, 2.0))
    with_gamma = population(objective=Focal())
    focal = run_search(with_gamma, OTHER, space, start=first).best
    assert "focal_gamma" in focal.hyperparameters
    plain = run_search(population(), STANDING, Space(), start=focal).best
    assert "focal_gamma" not in plain.hyperparameters
    # Over two stages.
    for name in ("dropout", "width_1"):
        np.testing.assert_array_equal(plain.hyperparameters[name], focal.hyperparameters[name])
    # And where it is still read, it is carried on.
    again = run_search(with_gamma, STANDING, Space(), start=focal).best
    np.testing.assert_array_equal(
        again.hyperparameters["focal_gamma"], focal.hyperparameters["focal_gamma"]
    )


@pytest.mark.parametrize(
    "strategy", [OTHER, Halving(population=4, rounds=4, epochs_per_round=1, factor=2, longest=2)]
)
def test_killed_in_the_second_stage_it_goes_on_to_the_same_numbers(tmp_path, first, strategy):
    plain = run_search(population(), strategy, RATES, start=first)

    def on_round(progress):
        if progress.round == 2:
            raise Interrupt

    def search(start=first, **options):
        kept = Checkpoints(tmp_path)
        return run_search(population(), strategy, RATES, checkpoints=kept, start=start, **options)

    with pytest.raises(Interrupt):
        search(on_round=on_round)
    # Which another start is refused.
    moved = jax.tree.map(lambda leaf: np.roll(leaf, 1, axis=0), first)
    for other in (moved, None):
        with pytest.raises(InputError, match="start"):
            search(other)
    assert_same(plain, search())


def test_weights_of_other_networks_are_refused(first):
    with pytest.raises(InputError, match="start weights of other networks"):
        run_search(toy.shared(), STANDING, Space(), start=first)
    few = jax.tree.map(lambda leaf: leaf[:3], first)
    with pytest.raises(InputError, match="the start is of 3 members, the population has 4"):
        run_search(population(), STANDING, Space(), start=few)

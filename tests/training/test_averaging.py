"""The fading mean of weights, against numpy on the weights after each step."""

import jax
import numpy as np
import pytest

from tests.training import toy

STEPS = 14
GIVEN = {
    "averaged_steps": np.array([1.0, 3.0, 1000.0]),
    "learning_rate": np.array([3e-2, 3e-2, 3e-2]),
}


@pytest.fixture(scope="module")
def trained():
    """Weights after each step, an epoch having one, and the state at the end."""
    population = toy.population(members=3, batch_size=1024)
    population.check(set(GIVEN))
    state = population.init(GIVEN)
    raw = [jax.device_get(state.weights.parameters)]
    scores = []
    for epoch in range(STEPS):
        state, record = population.epoch(state, GIVEN, epoch=epoch, epochs=STEPS)
        raw.append(jax.tree.map(np.array, jax.device_get(state.weights.parameters)))
        scores.append(np.array(record.score))
    return population, raw, jax.tree.map(np.array, jax.device_get(state)), np.stack(scores)


def mean(raw: list, slot: int, steps: int) -> list[np.ndarray]:
    """That of the first steps, as it is defined."""
    most = GIVEN["averaged_steps"][slot]
    each = [toy.member(tree, slot) for tree in raw]
    found = each[0]
    for number in range(steps):
        share = 1 / min(most, (10 + number) / 9)
        found = [m + share * (w - m) for m, w in zip(found, each[number + 1], strict=True)]
    return found


def test_the_best_network_is_the_mean_of_the_steps_before(trained):
    _, raw, end, scores = trained
    for slot in range(3):
        epoch = int(end.best.epoch[slot])
        assert scores[epoch, slot] == scores[:, slot].max()
        kept = toy.member(end.best.weights.parameters, slot)
        for a, b in zip(kept, mean(raw, slot, epoch + 1), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    last = toy.member(raw[1 + int(end.best.epoch[0])], 0)
    for a, b in zip(toy.member(end.best.weights.parameters, 0), last, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    # Else the mean would be the weights.
    apart = zip(mean(raw, 2, STEPS), toy.member(raw[-1], 2), strict=True)
    assert max(np.abs(a - b).max() for a, b in apart) > 1e-2


def test_a_copied_member_takes_its_mean_along(trained):
    population, _, end, _ = trained
    parents = np.array([2, 1, 2])
    again = population.inherit(
        jax.tree.map(np.array, end), parents, np.zeros(3, bool), GIVEN, generation=1
    )
    for slot, parent in enumerate(parents):
        for a, b in zip(
            toy.member(again.optimizer.mean, slot),
            toy.member(end.optimizer.mean, parent),
            strict=True,
        ):
            np.testing.assert_array_equal(a, b)

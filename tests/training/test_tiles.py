"""Batches that are looked at in parts end where whole ones do."""

import jax
import numpy as np
import pytest

from difftune.models import MLP, Alternatives
from difftune.objectives import (
    AsimovLLR,
    CategoricalCrossEntropy,
    CrossEntropy,
    Focal,
    MeanSquaredError,
)
from difftune.training.chunks import tiles
from difftune.training.devices import tile_of
from tests.training import toy

SIZE = 512
GIVEN = toy.GIVEN | {"l2": np.full(4, 1e-3), "label_smoothing": np.full(4, 0.05)}


def trained(monkeypatch, tile, **options):
    monkeypatch.setattr("difftune.training.population.tile_of", lambda devices, rows: tile)
    population = toy.population(batch_size=SIZE, **options)
    assert population.programs.trainer.tile == tile
    return toy.train(population, GIVEN, epochs=2)


@pytest.mark.parametrize(
    "options",
    [
        {},
        pytest.param(
            {"model": MLP(hidden=(8, 8)), "objective": 2.0 * CrossEntropy() + Focal(gamma=1.5)},
            marks=pytest.mark.slow,
        ),
        pytest.param({"objective": MeanSquaredError()}, marks=pytest.mark.slow),
        pytest.param({"objective": CategoricalCrossEntropy()}, marks=pytest.mark.slow),
        pytest.param(
            {
                "model": Alternatives(
                    models=[MLP(hidden=(8,)), MLP(hidden=(6, 6), normalisation="layer")]
                )
            },
            marks=pytest.mark.slow,
        ),
    ],
    ids=["cross-entropy", "sum", "squares", "classes", "alternatives"],
)
def test_parts_are_the_whole_dropout_included(monkeypatch, options):
    (whole, before), (parts, after) = (
        trained(monkeypatch, tile, **options) for tile in (None, 100)
    )
    # 512 events in 8 parts of 64, as 100 do not fit.
    assert tiles(SIZE, 100) == 8
    for a, b in zip(jax.tree.leaves(whole.weights), jax.tree.leaves(parts.weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    np.testing.assert_allclose(before.loss, after.loss, rtol=1e-5)
    assert not np.array_equal(before.loss, after.loss), "it was not in parts"


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"objective": AsimovLLR()},
        {"model": MLP(hidden=(8,), normalisation="batch")},
    ],
    ids=["no mean over events", "batch normalisation"],
)
def test_what_needs_the_whole_batch_has_it(monkeypatch, options):
    (whole, _), (parts, _) = (trained(monkeypatch, tile, **options) for tile in (None, 100))
    for a, b in zip(jax.tree.leaves(whole.weights), jax.tree.leaves(parts.weights), strict=True):
        np.testing.assert_array_equal(a, b)


def test_parts_are_equal_and_not_much_smaller_than_they_may_be():
    assert tile_of(jax.devices("cpu")) == 256
    assert [tiles(n, 256) for n in (100, 256, 512, 1000, 1024, 2048)] == [1, 1, 2, 4, 4, 8]
    # A prime cannot be taken apart, nor can a whole sample be in parts that do not exist.
    assert tiles(997, 256) == 1
    assert tiles(61504, 256) == 248
    assert tiles(10_000, None) == 1

"""Networks of several sizes are one network, at less cost."""

from dataclasses import replace
from itertools import combinations, pairwise

import jax
import numpy as np
import pytest

from difftune.models import MLP, DeepSet, Inputs, ObjectInputs, ParticleNet, ParticleTransformer
from difftune.objectives import AsimovLLR
from difftune.training import ModuleDef, Population, Recipe
from difftune.training.buckets import buckets_of, in_steps
from tests.training import test_objects, toy

SMALL = ParticleNet(widths=(6, 6), neighbours=3, hidden=(7,))
MOST = {"jets": 12, "leptons": 2}


def columns(events: int, seed: int = 0):
    """Few jets and leptons in most events, and many in some."""
    rng = np.random.default_rng(seed)
    plain = toy.columns(events, seed)
    blocks, masks, collections = [], [], {}
    start, mask = 4, 4 + 3 * sum(MOST.values())
    for name, places in MOST.items():
        there = np.arange(places) < rng.poisson(places / 4, events)[:, None]
        values = rng.normal(size=(events, places, 3)) + 0.5 * plain.label[:, None, None]
        blocks.append((values * there[..., None]).reshape(events, -1))
        masks.append(there)
        features = ("eta", "phi", "pt")
        collections[name] = ObjectInputs(features=features, max=places, start=start, mask=mask)
        start, mask = start + 3 * places, mask + places
    rows = np.concatenate([plain.features, *blocks, *masks], axis=1).astype(np.float32)
    return plain._replace(features=rows, layout=Inputs(rows.shape[1], collections))


def trained(monkeypatch, buckets: bool, **options):
    if not buckets:
        monkeypatch.setattr("difftune.training.population.buckets_of", lambda *_: ())
    population = Population(
        recipe=Recipe(**{"model": SMALL, "batch_size": 128, **options}),
        train=columns(768),
        validation=columns(600, seed=1),
        members=2,
        seed=3,
    )
    assert bool(population.programs.trainer.buckets) == buckets
    given = {"learning_rate": np.array([3e-3, 1e-2], np.float32)}
    return population, *toy.train(population, given, epochs=2)


@pytest.mark.parametrize(
    "options",
    [
        {"model": DeepSet(each=(8,), latent=4, hidden=(8,))},
        pytest.param({}, marks=pytest.mark.slow),
        pytest.param({"model": replace(SMALL, normalisation="layer")}, marks=pytest.mark.slow),
        pytest.param(
            {"model": ParticleTransformer(width=6, blocks=1, heads=2, head_size=3, hidden=(7,))},
            marks=pytest.mark.slow,
        ),
        pytest.param({"objective": AsimovLLR()}, marks=pytest.mark.slow),
        {"objective": AsimovLLR(), "model": DeepSet(each=(8,), latent=4, hidden=(8,))},
    ],
    ids=[
        *("deep_set", "particle_net", "normalised", "particle_transformer"),
        *("no mean over events", "no mean, deep_set"),
    ],
)
@pytest.mark.usefixtures("nothing_shared")
def test_training_and_scores_are_those_of_the_network_with_room_for_all(monkeypatch, options):
    # Small chunks, so that validation events are sorted, too, and batches without a mean.
    monkeypatch.setattr("difftune.training.member.EVALUATED", 4096)
    monkeypatch.setattr("difftune.training.member.CACHED", 1)
    monkeypatch.setattr("difftune.training.population.tile_of", lambda *_: 32)
    (population, state, records), (whole, expected, before) = (
        trained(monkeypatch, buckets, **options) for buckets in (True, False)
    )
    for name in ("loss", "score", "validation_loss", "train_score"):
        np.testing.assert_allclose(getattr(records, name), getattr(before, name), rtol=1e-4)
    for a, b in zip(jax.tree.leaves(state.weights), jax.tree.leaves(expected.weights), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-5)
    features = columns(500, seed=2).features
    scores = [each.scores(state.best, features) for each in (population, whole)]
    np.testing.assert_allclose(*scores, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("most", [3, 8])
def test_rooms_are_those_that_leave_the_fewest_places_empty(monkeypatch, most):
    monkeypatch.setattr("difftune.training.buckets._MOST", most)
    data = columns(4000)
    module_def = ModuleDef(SMALL, inputs=data.inputs, outputs=1)
    found = buckets_of(module_def, data.features)
    jets, leptons = data.inputs.collections.values()
    used = np.stack(
        [data.features[:, each.mask : each.mask + each.max].sum(axis=1) for each in (jets, leptons)]
    )

    def places(rooms):
        """Rows of a layer that each event is, of the first bucket with room for it."""
        own = np.full(used.shape[1], np.inf)
        for room in rooms[::-1]:
            inside = (used <= np.array(room)[:, None]).all(axis=0)
            own[inside] = sum(room) * min(SMALL.neighbours, sum(room))
        return own.mean()

    rooms = [
        tuple(each.max for each in bucket.module_def.inputs.collections.values())
        for bucket in found
    ]
    assert 3 <= len(rooms) <= most
    assert rooms[-1] == tuple(MOST.values())
    for small, large in pairwise(rooms):
        assert np.all(np.array(small) <= large)
    assert places(rooms) < 0.6 * places(rooms[-1:])
    # No other choice of so many of the same kind costs less by more than a twentieth.
    others = [(n, min(2, max(1, round(n / 6)))) for n in range(1, 12)]
    best = min(places([*some, rooms[-1]]) for some in combinations(others, len(rooms) - 1))
    assert places(rooms) <= 1.05 * best


@pytest.mark.usefixtures("nothing_shared")
def test_many_events_are_scored_by_networks_of_their_size(monkeypatch):
    model = DeepSet(each=(8,), latent=4, hidden=(8,))
    (network,), _ = test_objects.trained(model, members=1, rates=(1e-2,), epochs=1)
    events = test_objects.events_of(600, seed=5)
    expected = network.score(events)
    rooms = [
        bucket.module_def.inputs.collections["jets"].max for bucket in in_steps(network.module_def)
    ]
    assert rooms == [2, 3, 4, 6, 8]
    monkeypatch.setattr("difftune.training.network._CHUNK", 8 * 50)
    monkeypatch.setattr("difftune.training.network._MANY", 12)
    monkeypatch.setattr("difftune.training.network._AT_A_TIME", 5)
    seen = []
    evaluate = ModuleDef.evaluate

    def counted(self, weights, hyperparameters, features):
        seen.append(self.inputs.collections["jets"].max)
        return evaluate(self, weights, hyperparameters, features)

    monkeypatch.setattr(ModuleDef, "evaluate", counted)
    np.testing.assert_allclose(network.score(events), expected, rtol=1e-4)
    # Each is compiled once; events have six jets at most.
    assert sorted(seen) == [2, 3, 4, 6]
    assert in_steps(network.module_def) is in_steps(network.module_def)


def test_nothing_is_made_where_nothing_is_gained():
    data = columns(500)
    full = data.features.copy()
    full[:, 4 + 3 * 14 :] = 1.0
    module_def = ModuleDef(SMALL, inputs=data.inputs, outputs=1)
    assert buckets_of(module_def, full) == ()
    of_places = ModuleDef(MLP(hidden=(4,)), inputs=data.inputs, outputs=1)
    assert buckets_of(of_places, data.features) == ()

"""A feature that all objects of a collection have is one variable."""

import functools

import numpy as np
import pytest

import difftune as dt
from difftune.errors import InputError
from difftune.selection import Units
from tests.selection.samples import events, study

NETWORKS = {
    "deep set": dt.models.DeepSet(each=(8,), latent=8, hidden=(8,)),
    "ParticleNet": dt.models.ParticleNet(
        widths=(8,), layers=1, neighbours=2, coordinates=("eta",), hidden=(8,)
    ),
}


@functools.cache
def jets() -> dt.Events:
    """The momenta of signal's jets are larger; their directions, and the tags, are noise."""
    rng = np.random.default_rng(5)
    signal = np.arange(1600) % 2 == 0
    count = rng.integers(1, 4, 1600)
    here = np.arange(3) < count[:, None]
    pt = rng.normal(size=(1600, 3)) + 0.8 * signal[:, None]
    branches = {"pt": pt, "eta": rng.normal(size=(1600, 3)), "tag": rng.random((1600, 3))}
    branches = {name: np.where(here, each, np.nan) for name, each in branches.items()}
    objects = {"jets": dt.Objects(branches=branches, max=4)}
    met = rng.normal(size=1600) + 0.3 * signal
    return events({"met": met}, signal, rng, objects=objects)


def test_units_are_features_of_all_objects_and_collections():
    given = jets()
    names = given.feature_names
    units = Units.of(names, {}, (), given.collections)
    assert units.names == ("met", "jets.pt", "jets.eta", "jets.tag")
    assert units.members[1] == ("jets[0].pt", "jets[1].pt", "jets[2].pt", "jets[3].pt")
    assert units.holding("jets[2].pt") == units.number("jets.pt") == 1
    kept = units.mask(np.array([True, False, True, False]))
    # Places, of which each object has three, and where there are objects.
    assert kept.tolist() == [True, *[False, True, False] * 4, *[True] * 4]
    assert units.mask(np.array([True, False, False, False])).sum() == 1
    whole = Units.of(names, {"all": ["jets"]}, (), given.collections)
    assert whole.names == ("all", "met")
    assert whole.inputs.tolist() == [[False] + [True] * 16, [True] + [False] * 16]
    some = Units.of(names, {"some": ["met", "jets.tag"]}, (), given.collections)
    assert some.names == ("some", "jets.pt", "jets.eta")
    with pytest.raises(InputError, match=r"'jets.mass', which is no variable.*There are: met, "):
        Units.of(names, {"some": ["jets.mass"]}, (), given.collections)


def test_what_does_not_matter_is_found(caplog):
    made = study(jets())
    found = dt.selection.importance(made, methods=("gate", "permutation"))
    for ranking in found.methods.values():
        value = dict(zip(found.names, ranking.value, strict=True))
        assert max(value, key=value.get) == "jets.pt"
        assert value["jets.pt"] > 5 * max(value["jets.eta"], value["jets.tag"])
    # The fourth place is empty in all events, which is nothing to warn of.
    assert "constant" not in caplog.text


def test_elimination_leaves_out_what_does_not_matter():
    found = dt.selection.eliminate(study(jets()), candidates=1)
    assert "jets[0].pt" in found.variables
    assert "jets[3].pt" in found.variables
    assert not {"jets[0].eta", "jets[0].tag"} <= set(found.variables)


@functools.cache
def jets_and_muons() -> dt.Events:
    """The momenta of jets tell signal from background; muons, and their number, do not."""
    rng = np.random.default_rng(6)
    signal = np.arange(1600) % 2 == 0
    objects = {}
    for name, most, shift in (("muons", 2, 0.0), ("jets", 3, 0.8)):
        here = np.arange(most) < rng.integers(1, most + 1, 1600)[:, None]
        pt = rng.normal(size=(1600, most)) + shift * signal[:, None]
        branches = {"pt": pt, "eta": rng.normal(size=(1600, most))}
        branches = {key: np.where(here, each, np.nan) for key, each in branches.items()}
        objects[name] = dt.Objects(branches=branches, max=most)
    met = rng.normal(size=1600) + 0.5 * signal
    return events({"met": met}, signal, rng, objects=objects)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_collection_without_information_goes_first(name):
    """As a whole, by the network that sees the objects as such, whatever stands first."""
    given = jets_and_muons()
    groups = {name: [name] for name in ("muons", "jets")}
    made = study(
        given,
        model=NETWORKS[name],
        groups=groups,
        epochs=8,
        hyperparameters={"learning_rate": 1e-2},
    )
    judged = dt.selection.importance(made, methods=("gate", "permutation"))
    for ranking in judged.methods.values():
        value = dict(zip(judged.names, ranking.value, strict=True))
        assert value["jets"] > value["met"] > value["muons"]
        assert value["jets"] > 5 * value["muons"]
    found = dt.selection.eliminate(made, least=1)
    assert [step.taken for step in found.steps] == ["muons", "met"]
    assert set(given.collections[1].columns) <= set(found.variables)
    assert not set(given.collections[0].columns) & set(found.variables)

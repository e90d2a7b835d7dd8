"""Collections of objects as columns, against awkward arrays made by hand."""

import awkward as ak
import jax
import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from difftune import InputError
from difftune.data import Events, FeatureTransform, Objects, Process

PROCESSES = [Process(name="signal", role="signal"), Process(name="background")]


def jets(events: int, seed: int = 0) -> ak.Array:
    """None to five jets in each event, some without a tag."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 6, events)
    total = counts.sum()
    pt = rng.exponential(40, total) + 20
    tag = np.where(rng.random(total) < 0.2, np.nan, rng.random(total))
    made = ak.zip({"pt": pt.astype("f4"), "eta": rng.normal(size=total).astype("f4"), "tag": tag})
    return ak.unflatten(made, counts)


def events_of(objects, *, events: int = 200, variations=None) -> Events:
    rng = np.random.default_rng(1)
    return Events.from_arrays(
        rng.normal(size=(events, 1)).astype("f4"),
        np.arange(events) % 2,
        rng.uniform(0.5, 2.0, events).astype("f4"),
        feature_names=["met"],
        processes=PROCESSES,
        event_number=np.arange(events),
        objects=objects,
        variations=variations,
    )


def branches(made: ak.Array) -> dict:
    return {name: made[name] for name in ("pt", "eta", "tag")}


def by_hand(made: ak.Array, most: int) -> np.ndarray:
    """The block of columns, by awkward's own padding."""
    padded = [ak.fill_none(ak.pad_none(made[f], most, clip=True), np.nan) for f in made.fields]
    stacked = np.stack([ak.to_numpy(each) for each in padded], axis=-1)
    return stacked.reshape(len(made), -1).astype("f4")


def test_objects_are_columns_in_their_order_and_missing_where_there_are_none():
    made = jets(200)
    events = events_of({"jets": Objects(branches=branches(made), max=3)})
    assert events.feature_names[:5] == (
        "met",
        "jets[0].pt",
        "jets[0].eta",
        "jets[0].tag",
        "jets[1].pt",
    )
    np.testing.assert_array_equal(events.features[:, 1:], by_hand(made, 3))
    # Padded arrays are the same, be it with NaN or with masks.
    whole = ak.max(ak.num(made))
    for fill in (np.nan, None):
        padded = {}
        for name in made.fields:
            wide = ak.to_numpy(ak.pad_none(made[name], int(whole), clip=True))
            padded[name] = wide.filled(np.nan) if fill is not None else wide
        again = events_of({"jets": Objects(branches=padded, max=3)})
        np.testing.assert_array_equal(again.features, events.features)


def test_arrays_of_arrays_and_fields_by_name_are_taken():
    """As `library="np"` of uproot and columns of pandas give lists."""
    made = jets(200)
    wanted = events_of({"jets": Objects(branches=branches(made), max=3)}).features
    arrays = {name: np.empty(200, object) for name in made.fields}
    for name, array in arrays.items():
        array[:] = [np.asarray(each) for each in made[name]]
    for given in (Objects(branches=arrays, max=3), {"branches": branches(made), "max": 3}):
        np.testing.assert_array_equal(events_of({"jets": given}).features, wanted)


def test_order_and_selection():
    made = jets(300)
    events = events_of(
        {"jets": Objects(branches=branches(made), max=4, order="-pt", selection="abs(eta) < 1")},
        events=300,
    )
    chosen = made[abs(made.eta) < 1]
    chosen = chosen[ak.argsort(chosen.pt, ascending=False)]
    np.testing.assert_array_equal(events.features[:, 1:], by_hand(chosen, 4))


def test_the_transform_is_learned_from_the_objects_that_are_there():
    made = jets(400)
    events = events_of({"jets": Objects(branches=branches(made), max=8)}, events=400)
    transform = FeatureTransform.fit(
        events.features, events.weight, indicators=True, collections=events.collections
    )
    result = transform(events.features)
    there = np.arange(8) < np.asarray(ak.num(made))[:, None]
    block = result[:, 1:25].reshape(400, 8, 3)
    assert not block[~there].any()
    np.testing.assert_array_equal(result[:, -8:], there)
    assert transform.width == result.shape[1] == 1 + 24 + 8
    weight = np.repeat(np.asarray(events.weight), np.asarray(ak.num(made)))
    for number, name in enumerate(("pt", "eta", "tag")):
        values = ak.to_numpy(ak.flatten(made[name])).astype("f8")
        known = ~np.isnan(values)
        scaler = StandardScaler().fit(values[known, None], sample_weight=weight[known])
        filled = np.where(known, values, 0)
        expected = scaler.transform(filled[:, None])[:, 0]
        np.testing.assert_allclose(block[there][known, number], expected[known], atol=1e-4)
        # A value that an object lacks is filled, equally for all, and is not the padding.
        lacking = block[there][~known, number]
        fill, center, scale = (
            np.asarray(each)[1 + number]
            for each in (transform.fill, transform.center, transform.scale)
        )
        assert np.all(lacking == (fill - center) / scale)
    # Kept, and the same in any number of events, and traced by jax.
    again = FeatureTransform.from_dict(transform.to_dict())
    assert again.collections == events.collections
    traced = jax.jit(lambda transform, features: transform(features))
    np.testing.assert_allclose(traced(again, events.features[:50]), result[:50], atol=1e-6)


def test_more_room_changes_nothing_else():
    made = jets(300)
    results = []
    for most in (6, 12):
        events = events_of({"jets": Objects(branches=branches(made), max=most)}, events=300)
        transform = FeatureTransform.fit(
            events.features, events.weight, collections=events.collections
        )
        result = transform(events.features)
        assert not result[:, 1 + 18 : 1 + 3 * most].any()
        results.append(result[:, : 1 + 18])
    np.testing.assert_array_equal(*results)


def test_without_all_features_of_a_collection_its_mask_is_unused_too():
    made = jets(100)
    events = events_of({"jets": Objects(branches=branches(made), max=2)}, events=100)
    transform = FeatureTransform.fit(events.features, collections=events.collections)
    part = transform.without(1, 2)
    assert part.used.tolist() == [True, False, False, True, True, True, True, True, True]
    result = transform.without(*range(1, 7))(events.features)
    assert not result[:, 1:].any()
    assert result[:, 0].any()


def test_bad_collections_are_refused():
    made = jets(50)
    good = branches(made)
    padded = np.zeros((50, 4), "f4")
    cases = [
        ({"pt": made.pt, "eta": made.eta[:-1]}, "'eta' has 49 events, but there are 50"),
        (
            {"pt": made.pt, "eta": jets(50, seed=3).eta},
            r"event \d+ has \d values of 'eta' and \d of 'pt'",
        ),
        ({"pt": padded, "eta": made.eta}, "'pt' is padded and others are jagged"),
        ({"pt": padded, "eta": padded[:, :3]}, r"'eta' has the shape \[50, 3\]"),
        ({"pt": padded[:, 0]}, r"'pt' has the shape \[50\]"),
        ({"pt": np.arange(50)}, r"'pt' has the shape \[50\]"),
        ({"pt": "Jet_pt"}, "expression 'Jet_pt', which `read` takes"),
        ({"pt": ak.Array([["a"]] * 50)}, "each object has one number"),
    ]
    for given, message in cases:
        with pytest.raises(InputError, match=message):
            events_of({"jets": Objects(branches=given, max=4)}, events=50)
    with pytest.raises(InputError, match="no feature 'Jet_pt'"):
        events_of({"jets": Objects(branches=good, max=4, order="-Jet_pt")}, events=50)
    with pytest.raises(InputError, match="max"):
        Objects(branches=good, max=0)
    with pytest.raises(InputError, match="one at least"):
        Objects(branches=[], max=2)
    for text, message in (("'a'", "is no number or condition"), ("~pt", "write `not pt`")):
        wrong = Objects(branches=good, max=4, selection=text)
        with pytest.raises(InputError, match=message):
            events_of({"jets": wrong}, events=50)
    with pytest.raises(InputError, match=r"jets.*give Objects"):
        events_of({"jets": good}, events=50)
    small = events_of({"jets": Objects(branches=good, max=2)}, events=50)
    with pytest.raises(InputError, match="other collections of objects"):
        events_of(
            {"jets": Objects(branches=good, max=3)}, events=50, variations={"jes": (small, None)}
        )
    infinite = ak.where(made.pt > 50, np.inf, made.pt)
    with pytest.raises(InputError, match=r"jets\[0\].pt.*not finite"):
        events_of({"jets": Objects(branches={"pt": infinite}, max=4)}, events=50)

"""Categories as columns of 0 and 1, against scikit-learn's encoder."""

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from sklearn.preprocessing import OneHotEncoder

import difftune as dt
from difftune.data import entries, tables_of
from difftune.errors import InputError
from difftune.models import MLP
from difftune.training import ModuleDef, Recipe, TrainedNetwork

CATEGORIES = {"flavour": ["e", "mu"], "n_jets": [2, 3, 4]}


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(0)
    found = []
    for name in ("signal", "background"):
        table = pa.table(
            {
                "x": rng.normal(size=300),
                "flavour": rng.choice(["e", "mu", "tau"], 300),
                "n_jets": rng.integers(1, 7, 300),
                "event": np.arange(300),
            }
        )
        pyarrow.parquet.write_table(table, tmp_path / f"{name}.parquet")
        found.append(str(tmp_path / f"{name}.parquet"))
    return found


def read(files, features=("flavour", "x", "n_jets"), categories=CATEGORIES, **more):
    processes = [
        dt.Process(name="s", role="signal", files=files[0]),
        dt.Process(name="b", files=files[1]),
    ]
    return dt.read(
        processes=processes,
        features=features,
        categories=categories,
        event_number="event",
        **more,
    )


def encoded(file):
    table = pyarrow.parquet.read_table(file)
    kinds = [np.array(table[name].to_pylist(), object) for name in ("flavour", "n_jets")]
    encoder = OneHotEncoder(
        categories=[["e", "mu"], [2, 3, 4]], handle_unknown="ignore", sparse_output=False
    )
    found = encoder.fit_transform(np.column_stack(kinds))
    x = table["x"].to_numpy()
    return np.column_stack([found[:, :2], x, found[:, 2:]]).astype(np.float32)


def test_each_value_is_a_column(files):
    events = read(files)
    names = ("flavour_e", "flavour_mu", "x", "n_jets_2", "n_jets_3", "n_jets_4")
    assert events.feature_names == names
    np.testing.assert_array_equal(events.features, np.concatenate([*map(encoded, files)]))


def test_new_files_are_read_in_the_same_way(files):
    """What `apply` and a network that was saved do."""
    reading = read(files).reading
    (table,) = tables_of(files[1], "test")
    (_, found), *rest = entries(table, type(reading).from_dict(reading.to_dict()))
    assert not rest
    np.testing.assert_array_equal(found.features, encoded(files[1]))


def test_derived_categories_and_variations(files):
    up = dt.FeatureVariation("jes", up={"n_jets": "n_jets + 1"})
    events = read(
        files,
        features=["many", "n_jets"],
        categories={"many": [0, 1], "n_jets": [3]},
        derived={"many": "n_jets > 3"},
        variations=[up],
    )
    varied = events.variations["jes"].up
    n_jets = np.concatenate(
        [pyarrow.parquet.read_table(file)["n_jets"].to_numpy() for file in files]
    )
    np.testing.assert_array_equal(varied.features[:, 1], n_jets + 1 > 3)
    np.testing.assert_array_equal(varied.features[:, 2], n_jets + 1 == 3)


def test_values_may_be_an_array(files):
    given = {"flavour": np.array(["e", "mu"]), "n_jets": np.arange(2, 5)}
    np.testing.assert_array_equal(read(files, categories=given).features, read(files).features)


def test_a_value_that_no_event_has_is_named(files, caplog):
    read(files, categories={"flavour": ["e", "muon"], "n_jets": [2]})
    assert "no event has flavour == 'muon'" in caplog.text


@pytest.mark.parametrize(
    ("categories", "said"),
    [
        ({"flavor": ["e"]}, r"'flavor' is none of the features. Did you mean 'flavour'"),
        ({"flavour": "e"}, r"'flavour' = 'e': give its values"),
        ({"flavour": []}, r"give its values"),
        ({"n_jets": [2, 2]}, r"has a value twice"),
        ({"flavour": [None]}, r"None is neither number nor string"),
        ({"flavour": [1, 2]}, r"`flavour` and `1`: a string and a number cannot be compared"),
        (["flavour"], r"give the values of each"),
    ],
)
def test_what_are_no_categories(files, categories, said):
    given = {"n_jets": [2]} | categories if isinstance(categories, dict) else categories
    features = ["x", "flavour", "n_jets"]
    with pytest.raises(InputError, match=said):
        read(files, features, given)


def test_a_dense_layer_on_a_category_is_an_embedding(files):
    """Scores are those of a table with a vector for each value; of another value it is zero."""
    events = read(files)
    transform = Recipe().transform(events)
    module = ModuleDef(MLP(hidden=(4,), activation="tanh"), inputs=6, outputs=1)
    weights = module.init(jax.random.key(2))
    network = TrainedNetwork(
        module_def=module,
        weights=weights,
        hyperparameters={},
        transform=transform,
        feature_names=events.feature_names,
        signal_process=(1.0, 0.0),
    )
    layers = weights.parameters["linear"][0], weights.parameters["output"]
    kernel, bias, last, offset = (
        np.asarray(layer[name][...]) for layer in layers for name in ("kernel", "bias")
    )
    slopes = kernel / transform.scale[:, None]
    shift = bias - transform.center @ slopes
    flavours = {"e": slopes[0], "mu": slopes[1], "tau": 0}
    numbers = {2: slopes[3], 3: slopes[4], 4: slopes[5]}
    hidden = []
    for file in files:
        for row in pyarrow.parquet.read_table(file).to_pylist():
            vectors = flavours[row["flavour"]] + numbers.get(row["n_jets"], 0)
            hidden.append(np.tanh(shift + row["x"] * slopes[2] + vectors))
    expected = 1 / (1 + np.exp(-(np.array(hidden) @ last + offset)))
    np.testing.assert_allclose(network.score(events), expected[:, 0], rtol=1e-5)

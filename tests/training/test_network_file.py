"""Files of networks that were cut, changed, or made up: refused, never believed."""

import copy
import functools
import io
import json
import math
import os
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from difftune.data import FeatureTransform
from difftune.errors import InputError
from difftune.models import MLP
from difftune.training import Ensemble, ModuleDef, TrainedNetwork

FUZZ = settings(max_examples=120, derandomize=True, deadline=None, database=None)


def made(key: int = 0, **model) -> TrainedNetwork:
    module_def = ModuleDef(MLP(hidden=(4, 3), **model), inputs=3, outputs=1)
    numbers = np.asarray([1.5, -2.0], np.float32)
    return TrainedNetwork(
        module_def=module_def,
        weights=module_def.init(jax.random.key(key)),
        hyperparameters={"dropout": 0.25},
        transform=FeatureTransform(
            center=numbers,
            scale=np.abs(numbers),
            fill=numbers,
            indicators=(1,),
            sentinels=((-999.0,), ()),
        ),
        feature_names=("pt", "mass"),
        signal_process=(1.0, 0.0),
    )


def contents(network: TrainedNetwork) -> dict[str, bytes]:
    with TemporaryDirectory() as folder:
        network.save(Path(folder))
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


@functools.cache
def good() -> dict[str, bytes]:
    return contents(made(normalisation="batch"))


@functools.cache
def facts_without_digest() -> dict:
    """As somebody would write them who means harm."""
    facts = json.loads(good()["network.json"])
    del facts["digest"]
    return facts


def loaded(files: dict[str, bytes]) -> TrainedNetwork | str:
    """The network of these files, or why there is none."""
    with TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name).write_bytes(content)
        try:
            return TrainedNetwork.load(Path(folder))
        except InputError as error:
            message = str(error)
    assert "network.json" in message or "network.npz" in message
    return message


def everything(network: TrainedNetwork) -> list[bytes]:
    leaves = jax.tree.leaves((network.weights, network.transform, network.hyperparameters))
    names = repr((network.feature_names, network.signal_process, network.module_def.model))
    return [names.encode(), *(np.asarray(leaf).tobytes() for leaf in leaves)]


@functools.cache
def original() -> list[bytes]:
    return everything(loaded(good()))


@st.composite
def damaged(draw, good: dict[str, bytes]) -> dict[str, bytes]:
    """Some bytes of one of the files cut off, flipped, or replaced."""
    name = draw(st.sampled_from(sorted(good)))
    content = bytearray(good[name])
    at = draw(st.integers(0, len(content) - 1))
    match draw(st.sampled_from(["cut", "flip", "flip", "replace", "zeros"])):
        case "cut":
            del content[at:]
        case "flip":
            content[at] ^= 1 << draw(st.integers(0, 7))
        case "replace":
            content[at : at + 8] = draw(st.binary(max_size=12))
        case "zeros":
            content[at : at + 64] = bytes(len(content[at : at + 64]))
    return good | {name: bytes(content)}


@pytest.mark.slow
@given(st.deferred(lambda: damaged(good())))
@FUZZ
def test_damage_is_noticed(files):
    found = loaded(files)
    assert isinstance(found, str) or everything(found) == original()


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 2, 10**9, 10**30, 10**400, 0.5, float("nan"), float("inf"), 1e300]),
    st.text(max_size=5),
    st.sampled_from([[], {}, [[]], ["a"], [10**9], [1] * 1000, [10**9] * 3, {"MLP": {}}, "relu"]),
)


def places(value, path=()):
    """Where something stands in a nested JSON value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value)
    for key, each in inside:
        yield (*path, key)
        if isinstance(each, dict | list):
            yield from places(each, (*path, key))


@st.composite
def changed(draw, facts: dict) -> dict:
    """Facts in which one value is another, or missing."""
    facts = copy.deepcopy(facts)
    *path, last = draw(st.sampled_from(list(places(facts))))
    inner = facts
    for key in path:
        inner = inner[key]
    if draw(st.integers(0, 4)) == 0:
        del inner[last]
    else:
        inner[last] = draw(ODD)
    return facts


@pytest.mark.slow
@given(st.deferred(lambda: changed(facts_without_digest())))
@FUZZ
def test_facts_of_other_types_and_values_are_refused_by_name(facts):
    found = loaded(good() | {"network.json": json.dumps(facts).encode()})
    if isinstance(found, TrainedNetwork):
        assert everything(found)[1:11] == original()[1:11]  # what the numbers are stays


@pytest.mark.parametrize(
    "content", [b"", b"{", b"null", b"[1]", b"[" * 100_000, b"\xff\xfe", b"1" * 5000, b'"x"']
)
def test_what_is_no_json_is_refused(content):
    assert isinstance(loaded(good() | {"network.json": content}), str)


def without_digest(**model) -> bytes:
    facts = facts_without_digest()
    changed = {"MLP": facts["model"]["MLP"] | model}
    return json.dumps(facts | {"model": changed}).encode()


@pytest.mark.parametrize("hidden", [[10**9], [10**9, 10**9], [1] * 10**5, [10**400], [10**18]])
def test_a_network_of_any_size_takes_no_memory(hidden):
    found = loaded(good() | {"network.json": without_digest(hidden=hidden)})
    assert "they do not belong together" in found


def packed(arrays: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, content in arrays.items():
            archive.writestr(name, content)
    return stream.getvalue()


def npy(array: np.ndarray, shape: tuple | None = None) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    content = stream.getvalue()
    if shape is not None:
        own = str(array.shape).encode()
        content = content.replace(own, str(shape).encode().ljust(len(own)), 1)
    return content


def members(**other: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(good()["network.npz"])) as archive:
        own = {name: archive.read(name) for name in archive.namelist()}
    return own | {name.replace("_", "/") + ".npy": value for name, value in other.items()}


BIAS = np.zeros(3, np.float32)
BOMB = packed({"parameters/linear/0/kernel.npy": bytes(10**7)}, zipfile.ZIP_DEFLATED)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        (lambda: b"", "cannot be read"),
        (lambda: BOMB, "is compressed"),
        (lambda: packed(members(parameters_linear_1_bias=npy(BIAS, (9,)))), "does not hold the"),
        (
            lambda: packed(members(parameters_linear_1_bias=npy(BIAS[:2]))),
            r"is \[2\] where the model",
        ),
        (lambda: packed(members(parameters_linear_1_bias=npy(BIAS * np.nan))), "not finite"),
        (lambda: packed(members(parameters_linear_1_bias=npy(BIAS + 0j))), "of type complex64"),
        (lambda: packed(members(parameters_linear_1_bias=npy(np.array([print] * 3)))), "hold|read"),
        (lambda: packed(members(parameters_more=npy(BIAS))), "has no place in the model"),
        (lambda: packed(members() | {"run.py": b"x"}), "no array of its own"),
    ],
)
def test_numbers_that_do_not_fit_are_refused(numbers, message):
    files = {"network.json": without_digest(), "network.npz": numbers()}
    found = loaded(files)
    assert isinstance(found, str)
    assert re.search(message, found)


def test_the_numbers_of_another_network_are_refused():
    other = contents(made(key=1, normalisation="batch"))
    assert "are not as save() left them" in loaded(good() | {"network.npz": other["network.npz"]})
    # As before there was a digest.
    assert isinstance(loaded(good() | {"network.json": without_digest()}), TrainedNetwork)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b'{"networks": "2"}', b'{"networks": -1}', b'{"networks": true}']
)
def test_an_ensemble_of_no_number_is_refused(tmp_path, content):
    (tmp_path / "ensemble.json").write_bytes(content)
    with pytest.raises(InputError, match=r"ensemble\.json"):
        Ensemble.load(tmp_path)


def test_hyperparameters_may_be_without_limit(tmp_path):
    network = replace(made(), hyperparameters={"gradient_clip": math.inf, "width_1": math.inf})
    network.save(tmp_path)
    loaded = TrainedNetwork.load(tmp_path)
    assert loaded.hyperparameters == network.hyperparameters
    x = np.ones((3, 2), np.float32)
    np.testing.assert_array_equal(loaded.score(x), made().score(x))
    facts = json.loads((tmp_path / "network.json").read_text())
    facts["hyperparameters"]["width_1"] = math.nan
    (tmp_path / "network.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match=r"network\.json: hyperparameters\.width_1"):
        TrainedNetwork.load(tmp_path)


def test_trained_edges_are_kept_and_must_increase(tmp_path):
    network = replace(made(), edges=(0.0, 0.25, 1.0))
    network.save(tmp_path)
    assert TrainedNetwork.load(tmp_path).edges == network.edges
    path = tmp_path / "network.json"
    facts = json.loads(path.read_text())
    for edges, said in (([0.0, 0.0, 1.0], "do not increase"), ([0.0], "edges: ")):
        path.write_text(json.dumps(facts | {"edges": edges}))
        with pytest.raises(InputError, match=said):
            TrainedNetwork.load(tmp_path)


def test_an_embedding_is_part_of_the_recipe(tmp_path):
    network = made(embedding="periodic", frequencies=3, embedding_size=2, frequency_scale=0.5)
    network.save(tmp_path)
    loaded = TrainedNetwork.load(tmp_path)
    assert loaded.module_def.model == network.module_def.model
    x = np.random.default_rng(1).normal(size=(20, 2))
    np.testing.assert_array_equal(loaded.score(x), network.score(x))
    facts = json.loads((tmp_path / "network.json").read_text())
    del facts["digest"]
    facts["model"]["MLP"]["frequencies"] = 10**9
    (tmp_path / "network.json").write_text(json.dumps(facts))
    with pytest.raises(InputError, match="do not belong together"):
        TrainedNetwork.load(tmp_path)


def test_an_ensemble_that_promises_more_than_there_is(tmp_path):
    Ensemble([made(), made(1)]).save(tmp_path)
    assert len(Ensemble.load(tmp_path).networks) == 2
    (tmp_path / "ensemble.json").write_text(json.dumps({"networks": 10**12}))
    with pytest.raises(InputError, match=r"2/network\.json does not exist"):
        Ensemble.load(tmp_path)


def test_what_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "network", tmp_path / ("x" * 300)):
        with pytest.raises(InputError, match=r"network\.npz cannot be written \(.*Make room"):
            made().save(place)
    # What was there before stays.
    made().save(tmp_path)
    (tmp_path / f".network.json.{os.getpid()}.partial").mkdir()
    before = (tmp_path / "network.json").read_bytes()
    with pytest.raises(InputError, match=r"network\.json cannot be written"):
        made(1).save(tmp_path)
    assert (tmp_path / "network.json").read_bytes() == before

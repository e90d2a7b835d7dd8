"""Events that are kept on disk: the same as read, and never those of what has changed."""

import json
import logging
import os

import jax
import numpy as np
import pytest

import difftune as dt
from difftune.data import cache
from difftune.errors import InputError
from difftune.files import NO_CACHE, user_cache
from tests.data.files import columns, write_root


@pytest.fixture
def chain(tmp_path, monkeypatch):
    monkeypatch.setattr(cache, "_WORTH", 0.0)
    for i in range(3):
        data = columns(80, i)
        data["event"] = data["event"] + np.uint64(1000 * i)
        data["weight"] = np.abs(data["weight"])
        if i == 0:
            data["x"][3] = np.nan
        write_root(
            tmp_path / f"{i}.root", t=data, t_up=columns(80, i + 10) | {"weight": np.ones(80)}
        )
    return tmp_path


def read(folder, **options):
    given = {
        "processes": [
            dt.Process(name="s", role="signal", selection="n_jets < 2", tree="t"),
            dt.Process(name="b", selection="n_jets >= 2", tree="t"),
        ],
        "features": ["x", "jet_pt"],
        "weight": "weight",
        "event_number": "event",
        "missing": np.nan,
        "folds": 2,
        "duplicates": "allow",
        "regions": [
            dt.Region(name="sr", selection="jet_pt < 60"),
            dt.Region(
                name="cr",
                selection="jet_pt >= 60",
                role="control",
                observable="jet_pt",
                edges=[60, 90, 900],
            ),
        ],
        "variations": [
            dt.WeightVariation("isr", up="abs(weight_isr_up)", down="abs(weight_isr_down)"),
            dt.TreeVariation("jes", up="t_up", processes=["b"]),
        ],
        "cache": folder / "cache",
    }
    return dt.read(folder / "*.root", **(given | options))


def reads(caplog, folder, **options):
    """The events, and whether files were read."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "difftune"):
        events = read(folder, **options)
    return events, not any("from the cache" in message for message in caplog.messages)


def assert_same(one, other):
    leaves, tree = jax.tree_util.tree_flatten(one)
    others, shape = jax.tree_util.tree_flatten(other)
    assert tree == shape
    assert len(leaves) >= 8
    for a, b in zip(leaves, others, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def test_what_is_kept_is_what_was_read(chain, caplog):
    first, read_first = reads(caplog, chain)
    warned = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    second, read_again = reads(caplog, chain)
    assert (read_first, read_again) == (True, False)
    assert_same(first, second)
    assert warned
    assert warned == [r.message for r in caplog.records if r.levelno >= logging.WARNING]
    assert_same(first, read(chain, cache=False))


CHANGES = {
    "feature": {"features": ["jet_pt", "x"]},
    "weight": {"weight": "2 * weight"},
    "selection": {"selection": "x > -5 or x != x"},
    "folds": {"folds": 3},
    "missing": {"missing": [np.nan, -7.0]},
    "variation": {"variations": [dt.WeightVariation("isr", up="abs(weight_isr_up)")]},
    "duplicates": {"duplicates": "warn"},
    "categories": {"features": ["x", "n_jets"], "categories": {"n_jets": [1, 2]}},
    "friends": {"friends": dt.Friend(tree="t_up")},
}


def test_values_of_categories_and_their_order_are_part_of_the_request(chain, caplog):
    given = {"features": ["x", "n_jets"], "categories": {"n_jets": [1, 2]}}
    first, was_read = reads(caplog, chain, **given)
    again, read_again = reads(caplog, chain, **given)
    assert (was_read, read_again) == (True, False)
    assert again.feature_names == ("x", "n_jets_1", "n_jets_2")
    assert_same(first, again)
    for values in ([2, 1], [1], [1, 2, 3]):
        other, was_read = reads(caplog, chain, **(given | {"categories": {"n_jets": values}}))
        assert was_read
        assert other.feature_names == ("x", *(f"n_jets_{value}" for value in values))
    # Of strings, columns would have the same names.
    with pytest.raises(InputError, match="string"):
        reads(caplog, chain, **(given | {"categories": {"n_jets": ["1", "2"]}}))


def test_friends_and_corrections_are_files_that_must_not_change(chain, caplog):
    """Neither is named in `files`: the events are those of what was in them."""
    cs = pytest.importorskip("correctionlib.schemav2")

    def write(factor: float) -> None:
        made = cs.Correction(
            name="id",
            version=1,
            inputs=[cs.Variable(name="pt", type="real")],
            output=cs.Variable(name="weight", type="real"),
            data=cs.Formula(
                nodetype="formula", expression=f"{factor}", parser="TFormula", variables=["pt"]
            ),
        )
        text = cs.CorrectionSet(schema_version=2, corrections=[made]).model_dump_json()
        (chain / "sf.json").write_text(text)

    def befriend(shift: float) -> None:
        for i in range(3):
            write_root(chain / "friends" / f"{i}.root", f={"extra": np.arange(80) + shift})

    (chain / "friends").mkdir()
    write(1.5)
    befriend(0.0)
    given = {
        "features": ["x", "extra"],
        "weight": f"weight * correction('{chain / 'sf.json'}', 'id', jet_pt)",
        "friends": dt.Friend(files=chain / "friends" / "{name}.root"),
        "variations": [],
    }
    plain = read(chain, cache=False).weight
    first, was_read = reads(caplog, chain, **given)
    assert was_read
    np.testing.assert_allclose(first.weight, 1.5 * plain, rtol=1e-6)
    again, was_read = reads(caplog, chain, **given)
    assert not was_read
    assert again.reading.to_dict() == first.reading.to_dict()
    write(2.5)
    changed, was_read = reads(caplog, chain, **given)
    assert was_read
    np.testing.assert_allclose(changed.weight, 2.5 * plain, rtol=1e-6)
    befriend(100.0)
    changed, was_read = reads(caplog, chain, **given)
    assert was_read
    np.testing.assert_array_equal(changed.features[:, 1], first.features[:, 1] + 100)


@pytest.mark.parametrize("change", CHANGES)
def test_another_request_is_read(chain, caplog, change):
    read(chain)
    changed, was_read = reads(caplog, chain, **CHANGES[change])
    assert was_read
    assert_same(changed, read(chain, cache=None, **CHANGES[change]))


def test_files_that_have_changed_are_read(chain, caplog):
    first = read(chain)
    file = chain / "1.root"
    time, content = os.stat(file).st_mtime_ns, file.read_bytes()
    os.utime(file, ns=(time, time + 1))
    again, was_read = reads(caplog, chain)
    assert was_read
    assert_same(first, again)
    # The same time and size, and one byte of the head (that of the date) is another one.
    file.write_bytes(content[:-60] + bytes([content[-60] ^ 1]) + content[-59:])
    os.utime(file, ns=(time, time + 1))
    assert not cache._current(stored(chain))


def stored(folder):
    (path,) = (folder / "cache").glob("*.npz")
    with np.load(path) as opened:
        return json.loads(opened["content"].tobytes())


@pytest.mark.parametrize("what", ["another", "fewer"])
def test_other_files_of_the_same_glob_are_read(chain, caplog, what):
    first = read(chain)
    if what == "another":
        (chain / "3.root").write_bytes((chain / "2.root").read_bytes())
    else:
        (chain / "2.root").unlink()
    second, was_read = reads(caplog, chain)
    assert was_read
    assert (len(second) > len(first)) == (what == "another")


@pytest.mark.parametrize("place", [0.02, 0.3, 0.6, 0.95])
def test_a_damaged_cache_is_read_again(chain, caplog, place):
    first = read(chain)
    (path,) = (chain / "cache").glob("*.npz")
    content = bytearray(path.read_bytes())
    at = int(place * len(content))
    content[at : at + 40] = bytes(b ^ 255 for b in content[at : at + 40])
    path.write_bytes(content)
    again, was_read = reads(caplog, chain)
    assert was_read
    assert any("is damaged" in message for message in caplog.messages)
    assert_same(first, again)


def test_a_cache_that_was_cut_is_read_again(chain, caplog):
    read(chain)
    (path,) = (chain / "cache").glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert reads(caplog, chain)[1]
    assert not reads(caplog, chain)[1]


def test_another_reader_reads(chain, caplog, monkeypatch):
    read(chain)
    monkeypatch.setattr(cache, "_reader", lambda: "another")
    assert reads(caplog, chain)[1]


def test_what_was_not_used_for_longest_goes(chain, monkeypatch):
    for seed, folds in enumerate((2, 3, 4)):
        read(chain, folds=folds)
        for path in (chain / "cache").glob("*.npz"):
            os.utime(path, ns=(seed, os.stat(path).st_mtime_ns - 10**9))
    sizes = sorted((chain / "cache").glob("*.npz"), key=lambda p: os.stat(p).st_mtime_ns)
    cache._keep_within(chain / "cache", 2 * os.stat(sizes[-1]).st_size + 100)
    assert sorted((chain / "cache").glob("*.npz")) == sorted(sizes[1:])


@pytest.mark.parametrize("offset", [10, 6, 8])
def test_an_archive_that_claims_to_be_another_is_read_again(chain, caplog, offset):
    """Another compression, another version, an encrypted one: each is another exception."""
    first = read(chain)
    (path,) = (chain / "cache").glob("*.npz")
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\x01\x02") + offset] |= 0x41
    path.write_bytes(content)
    again, was_read = reads(caplog, chain)
    assert was_read
    assert any("is damaged" in message for message in caplog.messages)
    assert_same(first, again)


def test_a_folder_that_others_may_only_read(chain, caplog, monkeypatch):
    first = read(chain)

    def refused(*_args, **_options):
        raise PermissionError(1, "not the owner")

    monkeypatch.setattr(os, "utime", refused)
    again, was_read = reads(caplog, chain)
    assert not was_read
    assert_same(first, again)


def test_files_of_the_user_in_the_folder_stay(chain):
    read(chain)
    (kept,) = (chain / "cache").glob("*.npz")
    own = chain / "cache" / "templates.npz"
    own.write_bytes(kept.read_bytes())
    cache._keep_within(chain / "cache", 0)
    assert [path.name for path in (chain / "cache").iterdir()] == ["templates.npz"]


def test_a_correction_that_has_changed_is_read(chain, caplog):
    pytest.importorskip("correctionlib")
    data = {"nodetype": "category", "input": "n", "content": [{"key": 0, "value": 2.0}]}
    data["default"] = 1.0
    one = {"name": "sf", "version": 1, "data": data, "output": {"name": "w", "type": "real"}}
    one["inputs"] = [{"name": "n", "type": "int"}]
    file = chain / "sf.json"
    weight = f"weight * correction({str(file)!r}, 'sf', n_jets)"
    totals = []
    for factor in (1.0, 3.0):
        data["default"] = factor
        file.write_text(json.dumps({"schema_version": 2, "corrections": [one]}))
        os.utime(file, ns=(0, int(factor)))
        events, was_read = reads(caplog, chain, weight=weight)
        assert was_read
        assert not reads(caplog, chain, weight=weight)[1]
        totals.append(events.weight.sum())
    assert totals[1] > 1.5 * totals[0]


def test_quick_reads_and_addresses_are_not_kept(chain, monkeypatch):
    monkeypatch.setattr(cache, "_WORTH", 1000.0)
    read(chain)
    assert not (chain / "cache").exists()
    events = read(chain, cache=None)
    address = cache.Resolved(("root://h//a.root",), ("root://h//a.root",), (0,))
    cache._store(chain / "cache" / "a.npz", events, [address], [])
    assert not (chain / "cache").exists()


def test_bad_caches():
    assert cache.as_cache(False) is None
    for given in (3, "", "a\0b"):
        with pytest.raises(InputError, match=r"cache = .*: give a folder"):
            cache.as_cache(given)


@pytest.mark.parametrize("folder", ["0.root", "0.root/below", "x" * 300])
def test_a_folder_that_cannot_be_used_is_said(chain, caplog, folder):
    assert len(read(chain, cache=chain / folder)) > 0
    assert any("the events are not kept in the cache" in m for m in caplog.messages)


def test_the_cache_of_the_user_can_be_turned_off(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv(NO_CACHE, "0")
    assert cache.as_cache(True) == user_cache() / "difftune" / "events"
    monkeypatch.setenv(NO_CACHE, "1")
    assert cache.as_cache(True) is None
    assert cache.as_cache(tmp_path) == tmp_path

"""Every kind of bad input is refused with its place and the remedy, as early as possible."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import uproot

import difftune as dt
from difftune.data import (
    FeatureVariation,
    Objects,
    Process,
    TreeVariation,
    WeightVariation,
    read,
)
from difftune.errors import InputError
from tests.data.files import columns, write_root


@pytest.fixture
def file(tmp_path):
    signal, ttbar = columns(100, 1), columns(80, 2)
    jagged = signal | {"jets": ak.Array([[1.0] * (i % 3) for i in range(100)])}
    return write_root(
        tmp_path / "all.root",
        signal=signal,
        ttbar=ttbar,
        empty=columns(0),
        jagged=jagged,
        ttbar_jes_up=columns(0),
    )


def processes(**changes):
    """A signal, changed as asked, and a background."""
    signal = {"name": "higgs", "role": "signal", "tree": "signal"} | changes
    return [Process(**signal), Process(name="ttbar", tree="ttbar")]


def refused(file, **options):
    """The message of the error, which has to come before anything is read."""

    def progress(done, total):
        raise AssertionError("events have been read")

    given = {"processes": processes(), "features": ["x"], "event_number": "event"}
    with pytest.raises(InputError) as caught:
        read(file, **(given | {"progress": progress} | options))
    return str(caught.value)


def refused_while_reading(file, **options):
    return refused(file, progress=None, **options)


def test_missing_file(tmp_path):
    message = refused(str(tmp_path / "no.root"))
    assert f"process 'higgs': file '{tmp_path}/no.root' does not exist" in message


def test_tree_behind_the_file_name(file):
    assert "Give the name of the tree as `tree`" in refused(file + ":signal")


def test_glob_without_a_match(tmp_path):
    message = refused(str(tmp_path / "ntuple_*.root"))
    assert f"process 'higgs': no file matches '{tmp_path}/ntuple_*.root'" in message


def test_no_files_at_all():
    assert "process 'higgs' has no files" in refused(None)
    assert "the list of files is empty" in refused([])


def test_a_folder(tmp_path):
    assert "is a folder; add a pattern" in refused(str(tmp_path))


def test_unknown_kind_of_file(tmp_path):
    (tmp_path / "a.docx").write_bytes(b"")
    message = refused(str(tmp_path / "a.docx"))
    assert "a.docx' is of no known kind: .root, .parquet, .pq, .feather, .arrow" in message


@pytest.mark.parametrize("name", ["a.root", "a.parquet"])
def test_a_file_that_is_not_what_it_says(tmp_path, name):
    (tmp_path / name).write_bytes(b"this is no such file, but long enough to be one" * 10)
    tree = {"tree": "signal"} if name == "a.root" else {"tree": None}
    message = refused(str(tmp_path / name), processes=processes(**tree))
    assert f"{name}' cannot be opened as" in message


def test_a_file_that_breaks_off(tmp_path):
    file = write_root(tmp_path / "a.root", signal=columns(5000), ttbar=columns(10))
    content = (tmp_path / "a.root").read_bytes()
    half = len(content) // 2
    (tmp_path / "a.root").write_bytes(content[:half])
    assert f"'{file}' cannot be opened as ROOT file" in refused(file)
    # Damage among the values is found only when they are read.
    (tmp_path / "a.root").write_bytes(content[: half - 5000] + bytes(5000) + content[half:])
    message = refused_while_reading(file, features=["x", "jet_pt"], weight="weight")
    assert f"{file}:signal: reading event, jet_pt, weight, x failed" in message


def test_missing_tree(file):
    message = refused(file, processes=processes(tree="signl"))
    assert f"process 'higgs': '{file}' has no tree 'signl'. Did you mean 'signal'?" in message
    assert "Trees in it: signal, ttbar" in message


def test_tree_not_said(file):
    message = refused(file, processes=processes(tree=None))
    assert "has the trees signal, ttbar, empty, jagged, ttbar_jes_up; say which" in message


def test_a_tree_where_there_are_none(tmp_path):
    pyarrow.parquet.write_table(pa.table(columns(5)), tmp_path / "a.parquet")
    assert "has no trees; leave tree = 'signal' out" in refused(str(tmp_path / "a.parquet"))


@pytest.mark.parametrize(
    ("options", "who"),
    [
        ({"features": ["jet_pt", "jetpt"]}, "process 'higgs'"),
        ({"weight": "jetpt"}, "process 'higgs': weight"),
        ({"selection": "x > 0 and jetpt > 20"}, "selection"),
        ({"processes": processes(selection="jetpt > 20")}, "process 'higgs': selection"),
        ({"event_number": "jetpt"}, "event_number"),
        ({"features": ["y"], "derived": {"y": "2 * jetpt"}}, "derived 'y'"),
        ({"variations": [WeightVariation("isr", "jetpt")]}, "variation 'isr' up"),
        (
            {"variations": [FeatureVariation("jes", {"jetpt": "1.1"})]},
            "process 'higgs' (variation 'jes' up)",
        ),
        ({"variations": [FeatureVariation("jes", {"x": "x"}, {"x": "jetpt"})]}, "'jes' down): 'x'"),
    ],
)
def test_missing_branch(file, options, who):
    message = refused(file, **options)
    assert who in message
    assert f"{file}:signal has no branch" in message
    assert "'jetpt'" in message
    assert "Did you mean 'jet_pt'" in message


def test_missing_column_of_another_file_of_a_chain(tmp_path):
    write_root(tmp_path / "a.root", tree=columns(10))
    short = {name: values for name, values in columns(10).items() if name != "x"}
    other = write_root(tmp_path / "b.root", tree=short)
    background = Process(name="b", files=str(tmp_path / "*.root"))
    message = refused(str(tmp_path / "a.root"), processes=[processes(tree=None)[0], background])
    assert f"process 'b': {other}:tree has no branch for feature 'x'" in message


def test_empty_tree(file):
    message = refused(file, processes=processes(tree="empty"))
    assert f"process 'higgs': {file}:empty: empty" in message
    message = refused(file, variations=[TreeVariation("jes", "{tree}_jes_up", processes=["ttbar"])])
    assert "process 'ttbar' (variation 'jes' up)" in message
    assert "ttbar_jes_up: empty" in message


def test_empty_csv(tmp_path):
    (tmp_path / "a.csv").write_text("event,x\n")
    message = refused(str(tmp_path / "a.csv"), processes=processes(tree=None))
    assert "a.csv: empty" in message


def test_one_empty_file_of_a_chain_is_only_warned_of(tmp_path, caplog):
    full = write_root(tmp_path / "a.root", signal=columns(50), ttbar=columns(50))
    empty = write_root(tmp_path / "b.root", signal=columns(0), ttbar=columns(20))
    events = read([full, empty], processes=processes(), features=["x"], event_number="event")
    assert len(events) == 120
    assert f"no events in {empty}:signal" in caplog.text


def test_nothing_left_by_the_selection(file):
    message = refused_while_reading(
        file, selection="x < 9", processes=processes(selection="jet_pt < 0")
    )
    assert "process 'higgs': the selection `x < 9` and `jet_pt < 0` keeps no events" in message
    assert "of 100 entries" in message


def test_text_as_feature(tmp_path):
    table = pa.table(columns(20) | {"label": ["s"] * 20})
    pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
    options = {"processes": processes(tree=None, selection="x > 0")}
    options["processes"][1] = Process(name="ttbar", selection="x < 0")
    message = refused(str(tmp_path / "a.parquet"), features=["x", "label"], **options)
    assert f"feature 'label' is a string in {tmp_path}/a.parquet" in message
    message = refused(str(tmp_path / "a.parquet"), weight="label", **options)
    assert "process 'higgs': weight: `label`: is a string" in message


def test_jagged_branch(file):
    message = refused(file, processes=processes(tree="jagged"), features=["jets"])
    assert f"'jets' of {file}:jagged has a list of numbers for each event" in message
    assert "write `jets[0]` for the first, `max(jets)`" in message
    message = refused(file, processes=processes(tree="jagged"), selection="jets > 20")
    assert "write `any(jets > 20)`" in message


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(tmp_path, value):
    signal = columns(100)
    signal["x"][[30, 60, 70]] = value
    signal["weight"][[41, 50]] = value
    file = write_root(tmp_path / "a.root", signal=signal, ttbar=columns(10))
    message = refused_while_reading(file, missing=-999)
    assert "process 'higgs': feature 'x': 3 of 100 selected entries (0 to 99)" in message
    assert f"{file}:signal are NaN or infinite, the first one ({value}) at entry 30" in message
    assert ("add nan to `missing`" in message) == bool(np.isnan(value))
    message = refused_while_reading(file, features=["jet_pt"], weight="2 * weight")
    assert "weight: `2 * weight`: 2 of 100" in message
    assert "at entry 41" in message
    # The number of the entry is that in the file, also behind a selection and in a later chunk.
    message = refused_while_reading(file, selection="event > 17", chunk_size=25, missing=-999)
    assert "1 of 25 selected entries (25 to 49)" in message
    assert "at entry 30" in message


def test_derived_features_that_are_not_finite(file):
    derived = {"y": "log(x)"}
    message = refused_while_reading(file, features=["y"], derived=derived, missing=-999)
    assert "feature 'y'" in message
    assert "are NaN or infinite, the first one (nan) at entry" in message


def test_float32_overflow(file):
    message = refused_while_reading(file, features=["y"], derived={"y": "1e30 * 1e30 + x"})
    assert "the first one (inf) at entry 0" in message


def test_varied_weights_that_are_not_finite(file):
    variation = WeightVariation("isr", "weight_isr_up", "log(x)")
    message = refused_while_reading(file, variations=[variation])
    assert "variation 'isr' down: `log(x)`:" in message


@pytest.mark.parametrize(("weight", "how"), [("0 * x", "is zero"), ("-1", "is negative (-100)")])
def test_processes_without_a_yield(file, weight, how):
    message = refused_while_reading(file, processes=processes(weight=weight))
    assert "process 'higgs': the sum of weights of its 100 events" in message
    assert how in message
    variation = WeightVariation("isr", weight)
    message = refused_while_reading(file, variations=[variation])
    assert "process 'higgs' (variation 'isr' up): the sum of weights" in message


def test_processes_that_are_the_same_by_definition(file):
    message = refused(file, processes=processes(tree="ttbar"))
    assert "processes 'higgs' and 'ttbar' overlap" in message
    assert f"{file}:ttbar with no selection of their own" in message


@pytest.mark.parametrize("link", [False, True])
def test_a_file_by_another_path_is_the_same_file(file, link, tmp_path):
    other = tmp_path / "other.root" if link else tmp_path / ".." / tmp_path.name / "all.root"
    if link:
        other.symlink_to(file)
    twice = [
        Process(name="higgs", role="signal", tree="ttbar", files=file),
        Process(name="ttbar", tree="ttbar", files=other),
    ]
    assert "processes 'higgs' and 'ttbar' overlap" in refused(None, processes=twice)


@pytest.mark.parametrize("given", [np.nan, np.inf, -np.inf])
def test_a_weight_that_is_no_finite_number(given):
    with pytest.raises(InputError, match=f"weight = {given}: give an expression"):
        Process(name="a", weight=given)


def test_names_of_trees_are_strings():
    for make in (
        lambda: Process(name="a", tree=3),
        lambda: dt.Part(name="a", tree=3),
        lambda: dt.Friend(tree=3),
        lambda: dt.SumOfWeights(tree=3, branch="w"),
        lambda: dt.SumOfWeights(tree="Runs", branch=""),
        lambda: dt.SumOfWeights(histogram=3, bin=1),
    ):
        with pytest.raises(InputError, match=r"(tree|branch|histogram) = .*give (its |a )?name"):
            make()


def test_processes_that_share_events(file):
    high = Process(name="high", role="signal", tree="ttbar", selection="n_jets > 2")
    low = Process(name="low", tree="ttbar", selection="n_jets <= 3")
    message = refused_while_reading(file, processes=[high, low])
    jets = columns(80, 2)["n_jets"]
    shared = np.flatnonzero(jets == 3)
    assert "processes 'high' and 'low' overlap" in message
    assert f"`n_jets > 2` and `n_jets <= 3` share {len(shared)} of the entries 0 to 79" in message
    assert f"the first one at entry {shared[0]}." in message


def test_data_may_be_events_of_the_simulation(file):
    observed = Process(name="observed", role="data", tree="ttbar")
    events = read(file, processes=[*processes(), observed], features=["x"])
    np.testing.assert_array_equal(events.yields(), [100, 80, 80])


def test_folds_without_signal(file):
    message = refused_while_reading(file, event_number="event * 2", folds=4)
    assert "folds 1, 3 of 4 (numbered from 0) without signal events" in message
    assert "in each fold are 50, 0, 50, 0" in message


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": ["x", "jet_pt", "x"]}, "feature 'x' is given more than once"),
        ({"features": []}, "features: at least one"),
        ({"processes": processes() + processes()}, "process 'higgs' is given more than once"),
        ({"processes": processes(role="background")}, "no process has role 'signal'"),
        ({"processes": processes()[:1]}, "no process has role 'background'"),
        ({"folds": 1}, "folds = 1"),
        ({"chunk_size": "much"}, "chunk_size = 'much'"),
        ({"chunk_size": 0}, "chunk_size = 0"),
        ({"missing": [-999, True]}, "missing = True is not a number"),
        ({"derived": {"jet_pt": "x"}, "features": ["jet_pt"]}, "the name of a branch of"),
        ({"derived": {"a": "b", "b": "a + x"}}, r"needs itself \(a -> b -> a\)"),
        (
            {"derived": {"one": "1"}, "features": ["one"], "event_number": None},
            "no feature is made from a column",
        ),
        ({"selection": "x >"}, "selection: `x >` is not an expression"),
        ({"weight": "weight *"}, "weight: `weight \\*` is not an expression"),
        ({"selection": "x && tight"}, "write `and` for `&&`"),
        ({"selection": "x << 2 > 3"}, "selection: `x << 2 > 3`: uses the bits of numbers"),
        ({"event_number": "x + "}, "event_number: `x \\+ ` is not an expression"),
        (
            {"variations": [WeightVariation("isr", "weight"), WeightVariation("isr", "2")]},
            "variation 'isr' is given more than once",
        ),
        (
            {"variations": [WeightVariation("isr", "weight", processes=["tbar"])]},
            "variation 'isr': there is no simulated process 'tbar'. Did you mean 'ttbar'",
        ),
        ({"variations": [WeightVariation("isr", "{wt} * 2")]}, "isr"),
        ({"variations": [TreeVariation("jes")]}, "the tree is the nominal one"),
        ({"variations": [FeatureVariation("jes", {})]}, "nothing varies"),
        (
            {"variations": [TreeVariation("jes", "ttbar_jes_up")], "event_number": None},
            "variation 'jes' has events of its own.* give event_number",
        ),
        (
            {"variations": [TreeVariation("jes", "{tree}_jer")]},
            "no tree 'signal_jer'.* list those that it does as its `processes`",
        ),
        (
            {"variations": [WeightVariation("isr", "weight_isr")]},
            "no branch 'weight_isr'.* list those that it does as its `processes`",
        ),
        ({"missing": {"jetpt": -999}}, "missing: there is no column .* 'jetpt'. Did you mean"),
    ],
)
def test_requests_that_cannot_be_met(file, options, message):
    with pytest.raises(InputError, match=message):
        raise InputError(refused(file, **options))


def test_roles_are_known():
    with pytest.raises(InputError, match="process 'a': role 'signl' is none of"):
        Process(name="a", role="signl")


def test_event_numbers_are_whole(file):
    message = refused_while_reading(file, event_number="jet_pt")
    assert "event number `jet_pt`: 100 of 100" in message
    assert "are no whole numbers" in message


def test_blanks_among_true_and_false(tmp_path):
    data = columns(6) | {"good": [True, None, True, False, None, True]}
    pyarrow.parquet.write_table(pa.table(data), tmp_path / "a.parquet")
    pair = [
        Process(name="s", role="signal", selection="good"),
        Process(name="b", selection="~good"),
    ]
    message = refused_while_reading(str(tmp_path / "a.parquet"), processes=pair)
    assert "2 blanks in column 'good'" in message


@pytest.fixture
def chain(tmp_path):
    """Three files, of which the second is to be spoilt."""
    for number in range(3):
        table = columns(40, number) | {"jets": ak.Array([[1.0, 2.0]] * 40)}
        write_root(tmp_path / f"{number}.root", signal=table, ttbar=table)
    return tmp_path


def of_chain(chain, **options):
    return refused(str(chain / "*.root"), duplicates="allow", **options)


def test_a_branch_that_one_file_of_a_chain_lacks(chain):
    table = columns(40, 1)
    table.pop("x")
    write_root(chain / "1.root", signal=table, ttbar=table)
    message = of_chain(chain)
    assert f"{chain}/1.root:signal has no branch for feature 'x'." in message
    assert f"It is otherwise in {chain}/0.root:signal" in message
    assert "by `defaults`" in message
    # In the first one it is no matter of the chain.
    (chain / "0.root").unlink()
    assert "defaults" not in of_chain(chain)


def test_a_branch_that_is_a_list_in_one_file_of_a_chain(chain):
    table = columns(40, 1) | {"x": ak.Array([[1.0]] * 40)}
    write_root(chain / "1.root", signal=table, ttbar=table)
    assert f"feature 'x' of {chain}/1.root:signal has a list of numbers" in of_chain(chain)
    flat = columns(40, 1) | {"jets": np.ones(40)}
    write_root(chain / "1.root", signal=flat, ttbar=flat)
    message = of_chain(chain, objects={"jets": Objects(branches=["jets"], max=2)})
    assert f"one value for each event of {chain}/1.root:signal" in message


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda old: b"", "is empty, it has not one byte"),
        (lambda old: b"no ROOT file at all", "cannot be opened as ROOT file"),
        (lambda old: old[: len(old) // 2], "damaged or cut short: copy it again"),
        (None, "No such file"),
    ],
)
def test_a_file_of_a_chain_that_cannot_be_opened(chain, content, said):
    spoilt = chain / "1.root"
    old = spoilt.read_bytes()
    spoilt.unlink()
    if content is None:
        spoilt.symlink_to(chain / "gone.root")
    else:
        spoilt.write_bytes(content(old))
    message = of_chain(chain)
    assert "process " in message
    assert f"{spoilt}" in message
    assert said in message


def test_a_file_of_a_chain_that_cannot_be_read(chain):
    """Its baskets are damaged, which only reading tells."""
    spoilt = chain / "1.root"
    content = bytearray(spoilt.read_bytes())
    with uproot.open(spoilt) as file:
        branch = file["signal"]["x"]
        begin = int(branch.member("fBasketSeek")[0])
    content[begin : begin + 60] = b"\xff" * 60
    spoilt.write_bytes(content)
    message = of_chain(chain, progress=None)
    assert f"{spoilt}:signal: reading" in message
    assert message.endswith("The file is damaged, or cut short: copy it again.")


def test_weights_that_ask_for_what_is_not_there(chain):
    message = of_chain(chain, weight="jets[2]", progress=None)
    assert (
        f"process 'higgs': weight: `jets[2]`: 40 of 40 selected entries (0 to 39) of {chain}"
        in message
    )
    assert "is not there: say what it is then, as in `x[1] if count(x) > 1 else 1`" in message
    events = read(
        str(chain / "*.root"),
        processes=processes(),
        features=["x"],
        weight="jets[2] if count(jets) > 2 else 0.5",
        duplicates="allow",
    )
    assert set(np.asarray(events.weight)) == {np.float32(0.5)}

"""What `print(events)` says, against numbers that numpy makes of the same columns."""

import jax
import numpy as np
import pytest

import difftune as dt


@pytest.fixture
def columns():
    rng = np.random.default_rng(1)
    features = rng.normal(50, 20, (400, 2)).astype(np.float32)
    features[:100, 1] = np.nan
    return features, np.repeat([0, 1], 200), rng.normal(1, 1, 400).astype(np.float32)


def events(columns, **options):
    features, process, weight = columns
    processes = [dt.Process(name="higgs", role="signal"), dt.Process(name="top")]
    return dt.Events.from_arrays(
        features, process, weight, feature_names=["pt", "mass"], processes=processes, **options
    )


def rows(text):
    return {line.split()[0]: line.split()[1:] for line in text.splitlines()}


def test_events_print_as_a_table(columns):
    found = rows(str(events(columns)))
    features, process, weight = columns
    for number, (name, role) in enumerate([("higgs", "signal"), ("top", "background")]):
        mine = weight[process == number].astype(float)
        negative = f"{(mine < 0).mean():.1%}"
        assert found[name] == [role, "200", f"{mine.sum():.1f}", negative]
    low, high = features[:, 0].min(), features[:, 0].max()
    middle = np.median(features[:, 0])
    assert found["pt"] == [f"{low:.5g}", f"{middle:.5g}", f"{high:.5g}", "0.0%"]
    assert found["mass"][-1] == "25.0%"
    assert found["mass"][0] == f"{np.nanmin(features[:, 1]):.5g}"
    assert found["variations:"] == ["none"]


def test_objects_are_a_row_for_each_of_their_features(columns):
    pt = np.full((400, 3), np.nan, np.float32)
    pt[:, 0] = np.linspace(20, 60, 400)
    pt[:200, 1] = 15
    jets = dt.Objects(branches={"pt": pt, "eta": pt / 10}, max=3)
    found = rows(str(events(columns, objects={"jets": jets})))
    assert found["jets[:].pt"] == ["15", f"{np.nanmedian(pt):.5g}", "60", "50.0%"]
    assert "jets[0].pt" not in found


def test_under_a_transformation_there_are_no_values(columns):
    whole = events(columns)
    assert "not as values" in str(jax.tree.map(lambda leaf: None, whole))
    said = []
    jax.jit(lambda e: said.append(repr(e)) or e.weight.sum())(whole)
    assert said == ["Events of 2 processes (not as values)"]


def test_one_process_alone_is_read_to_be_scored(tmp_path):
    """Whatever its role, it needs no signal beside it."""
    from tests.data.files import columns as sample
    from tests.data.files import write_root

    file = write_root(tmp_path / "new.root", tree=sample())
    for role in ("background", "data"):
        alone = dt.Process(name="new", role=role, files=file)
        found = dt.read(processes=alone, features=["x", "jet_pt"])
        assert rows(str(found))["new"][:2] == [role, "200"]

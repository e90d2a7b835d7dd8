"""Processes of one file: what they have in common is computed once, and they stay apart."""

import awkward as ak
import jax
import numpy as np
import pytest

from difftune.data import FeatureVariation, Process, expressions, read
from difftune.errors import InputError
from tests.data.files import write_root

DERIVED = {"ht": "sum(Jet_pt[Jet_pt > 30])", "lead": "Jet_pt[0]", "n": "count(Jet_pt) ** 2"}


@pytest.fixture
def file(tmp_path):
    rng = np.random.default_rng(3)
    number = rng.poisson(2, 300)
    # In one event of the background a list is too short.
    etas = number - (np.arange(300) == 17)
    number[17] = etas[17] + 1
    branches = {
        "Jet_pt": ak.unflatten(rng.exponential(40, number.sum()).astype(np.float32), number),
        "Jet_eta": ak.unflatten(rng.normal(size=etas.sum()).astype(np.float32), etas),
        "label": (np.arange(300) % 3 == 0).astype(np.int8),
        "weight": rng.uniform(0.5, 1.5, 300).astype(np.float32),
        "event": np.arange(300),
    }
    branches["label"][17] = 0
    return write_root(tmp_path / "events.root", t=branches)


def process(name, **options):
    label = {"signal": 1, "background": 0}[name]
    return Process(name=name, role=name, selection=f"label == {label}", **options)


def of(file, *processes, **options):
    given = processes if len(processes) > 1 else processes[0]
    return read(
        file,
        processes=given,
        features=["ht", "lead", "n", "weight"],
        derived=DERIVED,
        missing=float("nan"),
        event_number="event",
        **({"weight": "weight * (1 + 0.1 * ht)"} | options),
    )


@pytest.mark.parametrize("chunk_size", [10, 64, 1000])
@pytest.mark.parametrize("selection", [None, "event % 7 == 0"])
def test_they_are_as_each_is_by_itself(file, chunk_size, selection):
    # In rows of the other process, one weight is beyond all integers, and lists do not fit.
    one = process("signal", weight="weight * (2 ** ((1 - label) * 70)) + sum(Jet_pt + Jet_eta)")
    two = process("background")
    varied = FeatureVariation("jes", up={"Jet_pt": "1.1 * Jet_pt"})
    options = {"chunk_size": chunk_size, "selection": selection, "variations": [varied]}
    both = of(file, one, two, **options)
    for number, each in enumerate((one, two)):
        alone = of(file, each, **options)
        samples = [(both, alone), (both.variations["jes"].up, alone.variations["jes"].up)]
        for together, expected in samples:
            mine = np.asarray(together.process) == number
            for name in ("features", "weight", "number", "fold"):
                found = np.asarray(getattr(together, name))[mine]
                np.testing.assert_array_equal(found, getattr(expected, name))
    assert len(jax.tree.leaves(both)) > 8


def test_what_a_process_cannot_have_is_refused_for_it(file):
    wrong = process("background", weight="weight * (2 ** ((1 - label) * 70))")
    with pytest.raises(InputError, match=r"'background'.*beyond 64 bits"):
        of(file, process("signal"), wrong)
    with pytest.raises(InputError, match=r"differ in length.* at entry 17 of"):
        of(file, process("signal"), process("background", weight="sum(Jet_pt * Jet_eta)"))


def test_an_expression_is_computed_once_for_all(file, monkeypatch):
    computed = []
    values = expressions.Expression.values

    def counting(self, code, part_of, rows):
        computed.append((self.text, rows))
        return values(self, code, part_of, rows)

    monkeypatch.setattr(expressions.Expression, "values", counting)
    of(file, process("signal"), process("background"))
    for text in (*DERIVED.values(), "weight * (1 + 0.1 * ht)"):
        assert [rows for found, rows in computed if found == text and rows] == [300]

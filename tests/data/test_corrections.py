"""Correction factors in expressions, against correctionlib by itself."""

import awkward as ak
import correctionlib
import correctionlib.schemav2 as cs
import numpy as np
import pytest
import uproot

import difftune as dt
from difftune.errors import InputError
from difftune.job import load
from tests.job.small import changed, write_small


def scale_factors() -> cs.CorrectionSet:
    """Of a shape that experiments publish: a systematic, and bins of η and of pT."""

    def bins(shift: float) -> cs.MultiBinning:
        return cs.MultiBinning(
            nodetype="multibinning",
            inputs=["eta", "pt"],
            edges=[[-2.5, 0.0, 2.5], [20.0, 50.0, 100.0]],
            content=[0.91 + shift, 0.95 + shift, 1.02 + shift, 1.1 + shift],
            flow="error",
        )

    ways = [("nominal", 0.0), ("up", 0.03), ("down", -0.02)]
    electrons = cs.Correction(
        name="electron_id",
        version=1,
        inputs=[
            cs.Variable(name="systematic", type="string"),
            cs.Variable(name="eta", type="real"),
            cs.Variable(name="pt", type="real"),
        ],
        output=cs.Variable(name="weight", type="real"),
        data=cs.Category(
            nodetype="category",
            input="systematic",
            content=[cs.CategoryItem(key=key, value=bins(shift)) for key, shift in ways],
        ),
    )
    jets = cs.Correction(
        name="n_jets",
        version=1,
        inputs=[cs.Variable(name="n", type="int")],
        output=cs.Variable(name="weight", type="real"),
        data=cs.Category(
            nodetype="category",
            input="n",
            content=[cs.CategoryItem(key=n, value=1 + n / 10) for n in range(9)],
            default=2.0,
        ),
    )
    return cs.CorrectionSet(schema_version=2, corrections=[electrons, jets])


@pytest.fixture
def files(tmp_path):
    rng = np.random.default_rng(3)
    found = {"sf": str(tmp_path / "sf.json")}
    (tmp_path / "sf.json").write_text(scale_factors().model_dump_json(exclude_unset=True))
    for name in ("signal", "background"):
        counts = rng.integers(0, 4, 300)
        jagged = ak.unflatten(rng.uniform(20, 99, counts.sum()), counts)
        with uproot.recreate(tmp_path / f"{name}.root") as file:
            columns = {
                "pt": rng.uniform(20, 99, 300),
                "eta": rng.uniform(-2.4, 2.4, 300),
                "n": rng.integers(0, 12, 300),
                "Electron_pt": jagged,
                "Electron_eta": ak.unflatten(rng.uniform(-2.4, 2.4, counts.sum()), counts),
            }
            file.mktree(
                "events",
                {k: "f8" if k != "n" else "i4" for k in ("pt", "eta", "n")}
                | {"Electron": "var * {pt: float64, eta: float64}"},
            )
            file["events"].extend(
                {
                    "pt": columns["pt"],
                    "eta": columns["eta"],
                    "n": columns["n"].astype(np.int32),
                    "Electron": ak.zip(
                        {"pt": columns["Electron_pt"], "eta": columns["Electron_eta"]}
                    ),
                }
            )
            found[name] = (str(tmp_path / f"{name}.root"), columns)
    return found


def read(files, weight, **more):
    processes = [
        dt.Process(name="s", role="signal", files=files["signal"][0], tree="events"),
        dt.Process(name="b", files=files["background"][0], tree="events"),
    ]
    return dt.read(processes=processes, features=["pt"], weight=weight, **more)


def whole(files, name):
    return np.concatenate([files[key][1][name] for key in ("signal", "background")])


def test_per_event_with_its_variations(files):
    sf = files["sf"]
    plain = f'correction("{sf}", "electron_id", "nominal", eta, pt)'
    up = f'{{weight}} / {plain} * correction("{sf}", "electron_id", "up", eta, pt)'
    down = f'correction("{sf}", "electron_id", pt=pt, eta=eta, systematic="down")'
    events = read(files, plain, variations=[dt.WeightVariation("electron", up, down)])
    judge = correctionlib.CorrectionSet.from_file(sf)["electron_id"]
    eta, pt = whole(files, "eta"), whole(files, "pt")
    np.testing.assert_allclose(events.weight, judge.evaluate("nominal", eta, pt), rtol=1e-6)
    varied = events.variations["electron"]
    np.testing.assert_allclose(varied.up, judge.evaluate("up", eta, pt), rtol=1e-6)
    np.testing.assert_allclose(varied.down, judge.evaluate("down", eta, pt), rtol=1e-6)


def test_per_object_and_multiplied(files):
    sf = files["sf"]
    each = f'correction("{sf}", "electron_id", "up", Electron_eta, Electron_pt)'
    events = read(files, f"prod({each})", derived={"first": f"{each}[0]"}, missing=-1)
    judge = correctionlib.CorrectionSet.from_file(sf)["electron_id"]
    jagged = [
        ak.concatenate([files[k][1][n] for k in ("signal", "background")])
        for n in ("Electron_eta", "Electron_pt")
    ]
    flat = judge.evaluate("up", *(ak.flatten(one).to_numpy() for one in jagged))
    expected = ak.prod(ak.unflatten(flat, ak.num(jagged[0])), axis=1)
    np.testing.assert_allclose(events.weight, expected.to_numpy(), rtol=1e-6)


def test_of_an_object_that_is_not_there_there_is_no_value(files):
    """Outside its bins it would be an error."""
    sf = files["sf"]
    first = f'correction("{sf}", "electron_id", "up", Electron_eta[0], Electron_pt[0])'
    events = read(files, f"where(count(Electron_pt) > 0, {first}, 1)")
    none = ak.num(ak.concatenate([files[k][1]["Electron_pt"] for k in ("signal", "background")]))
    np.testing.assert_array_equal(events.weight[none.to_numpy() == 0], 1)
    assert (events.weight[none.to_numpy() > 0] != 1).all()


def test_whole_numbers(files):
    sf = files["sf"]
    events = read(files, f'correction("{sf}", "n_jets", n)')
    n = whole(files, "n")
    np.testing.assert_allclose(events.weight, np.where(n < 9, 1 + n / 10, 2), rtol=1e-6)
    with pytest.raises(InputError, match="'n_jets' takes whole numbers"):
        read(files, f'correction("{sf}", "n_jets", pt)')


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ('"nothing.json", "electron_id", "up", eta, pt', r"file 'nothing.json' does not exist"),
        ('"{sf}", "electrons", "up", eta, pt', r"no correction 'electrons'.*It has electron_id"),
        ('"{sf}", "electron_id", "up", eta', r"takes systematic, eta, pt; pt is not given"),
        ('"{sf}", "electron_id", "up", eta, pt, n', r"4 are given"),
        ('"{sf}", "electron_id", "up", eta, et=pt', r"and no 'et'"),
        ('"{sf}", "electron_id", eta, pt, "up"', r"takes a string as systematic"),
        ('"{sf}", "electron_id", "upp", eta, pt', r"has no value for some event"),
        ('"{sf}", "electron_id", "up", eta, 2 * pt', r"has no value for some event.*minimum\("),
        ('"{sf}"', r"takes a file and the name of a correction first"),
        ('"{signal}", "a", pt', r"is no file of correctionlib"),
    ],
)
def test_what_is_wrong_is_said(files, call, said):
    call = call.format(sf=files["sf"], signal=files["signal"][0])
    with pytest.raises(InputError, match=said):
        read(files, f"correction({call})")


def test_files_are_seen_from_the_analysis_file(tmp_path):
    path = write_small(tmp_path, events=300)
    changed(path, ('weight = "weight"', "weight = \"weight * correction('sf.json', 'x', mtw)\""))
    config = load(path)
    assert config.data.weight == f"weight * correction('{tmp_path}/sf.json', 'x', mtw)"

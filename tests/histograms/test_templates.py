import json

import boost_histogram as bh
import numpy as np
import pytest
import uproot
from cabinetry import histo

from difftune.errors import InputError
from difftune.histograms import Histogram, Template, Templates, histogram, symmetrised

EDGES = np.array([0.0, 0.2, 0.6, 1.0])


def of(*sumw: float) -> Histogram:
    return Histogram(EDGES, np.array(sumw, float), np.array(sumw) / 4)


@pytest.fixture
def templates() -> Templates:
    return Templates(
        channel="SR",
        edges=EDGES,
        processes={
            "tt": Template(
                of(100.0, 50.0, 20.0), {"jes": (of(110.0, 50.0, 25.0), of(9.0, 5.0, 2))}
            ),
            "W": Template(of(40.0, 20.0, 10.0)),
            "Zprime": Template(of(1.0, 2.0, 5.0), {"jes": (of(1.0, 2.0, 6.0), of(1.0, 2.0, 4.0))}),
        },
        signal=("Zprime",),
        data=of(140.0, 73.0, 33.0),
    )


def test_totals_by_role(templates):
    assert templates.names("background") == ("tt", "W")
    np.testing.assert_array_equal(templates.total("signal").sumw, [1, 2, 5])
    np.testing.assert_array_equal(templates.total("background").sumw, [140, 70, 30])
    np.testing.assert_array_equal(templates.total().sumw2, np.array([141, 72, 35]) / 4)


def test_root_file_holds_every_histogram(templates, tmp_path):
    path = tmp_path / "templates.root"
    templates.write_root(path)
    other = Templates(channel="CR", edges=EDGES, processes={"W": Template(of(1, 2, 3))}, signal=())
    other.write_root(path, append=True)
    with uproot.open(path) as file:
        written = {key for key, kind in file.classnames(cycle=False).items() if kind == "TH1D"}
        assert written == {
            "SR/tt/nominal",
            "SR/tt/jes_up",
            "SR/tt/jes_down",
            "SR/W/nominal",
            "SR/Zprime/nominal",
            "SR/Zprime/jes_up",
            "SR/Zprime/jes_down",
            "SR/data/nominal",
            "CR/W/nominal",
        }
        up = file["SR/tt/jes_up"]
        np.testing.assert_array_equal(up.axis().edges(), EDGES)
        np.testing.assert_array_equal(up.values(), [110, 50, 25])
        np.testing.assert_allclose(up.errors() ** 2, np.array([110, 50, 25]) / 4)
        assert file["SR/data/nominal"].to_hist().sum().value == 246


def test_json_round_trip_and_file(templates):
    back = Templates.from_dict(json.loads(json.dumps(templates.to_dict())))
    assert back.signal == ("Zprime",)
    assert back.to_dict() == templates.to_dict()
    np.testing.assert_array_equal(back.processes["tt"].variations["jes"][1].sumw, [9, 5, 2])


def test_symmetrised_is_cabinetrys():
    rng = np.random.default_rng(2)
    x, weight = rng.random(1000), rng.normal(1, 0.4, 1000)
    nominal, up = histogram(x, weight, EDGES), histogram(x**1.2, 1.4 * weight, EDGES)
    theirs = {
        name: histo.Histogram(bh.Histogram(bh.axis.Variable(EDGES), storage=bh.storage.Weight()))
        for name in ("nominal", "up")
    }
    theirs["nominal"].yields, theirs["up"].yields = nominal.sumw, up.sumw
    ratio = theirs["up"].normalize_to_yield(theirs["nominal"])
    expected = (2 - ratio) * (2 * theirs["nominal"].yields - theirs["up"].yields)
    down = symmetrised(nominal, up)
    np.testing.assert_allclose(down.sumw, expected, rtol=1e-12)
    np.testing.assert_array_equal(down.sumw2, up.sumw2)


def test_symmetrised_of_nothing_is_finite():
    empty = Histogram.empty(EDGES)
    np.testing.assert_array_equal(symmetrised(empty, of(1.0, 2.0, 3.0)).sumw, [-1, -2, -3])
    np.testing.assert_array_equal(symmetrised(of(1.0, 2.0, 3.0), empty).sumw, [2, 4, 6])


def test_other_edges_are_refused():
    wrong = histogram(np.array([0.5]), np.array([1.0]), np.array([0.0, 0.5, 1.0]))
    with pytest.raises(InputError, match="W/jes_down has the edges"):
        Templates(
            channel="SR",
            edges=EDGES,
            processes={"W": Template(of(1, 2, 3), {"jes": (of(1, 2, 3), wrong)})},
            signal=(),
        )


def test_unknown_signal_and_slashes_are_refused(tmp_path):
    with pytest.raises(InputError, match="Did you mean 'Zprime'"):
        Templates(
            channel="SR",
            edges=EDGES,
            processes={"Zprime": Template(of(1, 2, 3))},
            signal=("Zprim",),
        )
    for channel, process in (("a/b", "W"), ("a", "W/Z")):
        slashed = Templates(
            channel=channel, edges=EDGES, processes={process: Template(of(1, 2, 3))}, signal=()
        )
        with pytest.raises(InputError, match="cannot hold '/'"):
            slashed.write_root(tmp_path / "x.root")

"""Datacards: what they expect is what they say by hand; limits are those that Combine publishes."""

import logging

import hist
import numpy as np
import pytest
import uproot
from scipy import stats

import difftune as dt
from difftune.errors import InputError
from difftune.inference import minos, upper_limit
from tests.shared_data import path

CODES = {"normsys": {"interpcode": "code1"}, "histosys": {"interpcode": "code4p"}}

# Combine's tutorial "realistic counting experiment"; its documentation prints these limits.
REALISTIC = """
imax 1
jmax 3
kmax 5
bin b
observation 0
bin b b b b
process ggH qqWW ggWW others
process 0 1 2 3
rate 1.47 0.64 0.06 0.22
lumi lnN 1.11 - 1.11 - luminosity
xs_ggH lnN 1.16 - - -
WW_norm gmN 4 - 0.16 - -
xs_ggWW lnN - - 1.50 -
bg_others lnN - - - 1.30
"""


def columns(card: str) -> list[tuple[str, str, int, float]]:
    """Channel, process, number and rate of each column, read in the simplest way."""
    rows = [line.split() for line in card.splitlines() if line.split()]
    names, numbers = [row[1:] for row in rows if row[0] == "process"]
    if "0" in names:
        names, numbers = numbers, names
    channels = [row[1:] for row in rows if row[0] == "bin"][-1]
    (rates,) = [row[1:] for row in rows if row[0] == "rate"]
    return [
        (c, p, int(n), float(r)) for c, p, n, r in zip(channels, names, numbers, rates, strict=True)
    ]


def values(place: str) -> np.ndarray:
    """Contents of a histogram of the shared cards."""
    file, name = place.split(":")
    return uproot.open(path(f"datacards/{file}"))[name].values().astype(float)


def expected(model, **moved) -> dict[str, np.ndarray]:
    """By channel, at parameters of these values and the others at their start."""
    point = dict(zip(model.config.par_names, model.config.suggested_init(), strict=True)) | moved
    rates = np.asarray(model.expected([point[name] for name in model.config.par_names]))
    bins = np.cumsum([0, *model.structure.bins])
    return {
        c: rates[a:b] for c, a, b in zip(model.structure.channels, bins, bins[1:], strict=False)
    }


def write(folder, text: str, name: str = "card.txt"):
    (folder / name).write_text(text)
    return folder / name


@pytest.mark.parametrize(
    ("name", "histogram"),
    [
        ("counting-B5p5-Obs6-Syst30B.txt", None),
        ("counting-Sideband11-alpha0p5-Obs11.txt", None),
        ("datacard-1-counting-experiment.txt", None),
        ("datacard-5-multi-signal.txt", None),
        ("twoSignals-3bin-bigBSyst.txt", None),
        ("datacard-2-template-analysis.txt", "template-analysis-datacard-input.root:{process}"),
        ("hww-shapeSimple-6bins.txt", "hww-shape-6bins.root:{process}"),
        ("hwwof_0j_shape.txt", "hwwof_0j.input.root:histo_{process}"),
        (
            "htt/125/htt_mt_1_8TeV.txt",
            "htt/common/htt_mt.input_8TeV.root:{channel}/{process}{mass}",
        ),
    ],
)
def test_expectation_and_data_are_what_the_card_says(name, histogram):
    file = path(f"datacards/{name}")
    workspace = dt.Workspace.from_datacard(file, mass=125)
    wanted: dict[str, list[np.ndarray]] = {}
    for channel, process, _, rate in columns(file.read_text()):
        share = np.ones(1)
        if histogram is not None:
            mass = "125" if process in ("ggH", "qqH", "WH", "ZH") else ""
            share = values(histogram.format(process=process, channel=channel, mass=mass))
            share = share / share.sum()
        wanted.setdefault(channel, []).append(rate * share)
    found = expected(workspace.model())
    for channel, rates in wanted.items():
        assert found[channel] == pytest.approx(np.sum(rates, axis=0), rel=1e-12)
    extra = {channel for channel in found if channel.endswith("_control")}
    assert set(found) == set(wanted) | extra
    if histogram is not None:
        data = {"hwwof_0j_shape.txt": "Data"}.get(name, "data_obs")
        (channel,) = wanted
        own = values(histogram.format(process=data, channel=channel, mass=""))
        assert workspace.data[channel].tolist() == own.tolist()


def test_a_background_from_three_regions_is_written_in_products():
    workspace = dt.Workspace.from_datacard(path("datacards/datacard-4-abcd.txt"))
    model = workspace.model(modifier_settings=CODES)
    start = expected(model)
    assert {channel: float(rates[0]) for channel, rates in start.items()} == pytest.approx(
        {"A": 50 * 100 / 500 + 3, "B": 50.0, "C": 100.0, "D": 500.0}
    )
    for beta, gamma, delta, r, lumi in ((40.0, 90.0, 450.0, 1.5, 0.3), (60.0, 110.0, 510.0, 0, -1)):
        alpha = beta * gamma / delta
        point = {"alpha": alpha, "beta_over_alpha": beta / alpha, "gamma_over_alpha": gamma / alpha}
        point |= {"r": r, "lumi": lumi, "eff": 0.0}
        rates = [alpha + 3 * r * 1.02**lumi, beta, gamma, delta]
        wanted = stats.poisson.logpmf([16, 50, 100, 500], rates).sum()
        wanted += stats.norm.logpdf([lumi, 0.0]).sum()
        found = float(model.logpdf([point[name] for name in model.config.par_names]))
        assert found == pytest.approx(wanted, rel=1e-10)


def test_the_limit_is_that_of_combine(tmp_path):
    workspace = dt.Workspace.from_datacard(write(tmp_path, REALISTIC))
    limit = upper_limit(workspace.model(modifier_settings=CODES))
    # Combine says 1.6281188 with an error of 0.0050568.
    assert limit.observed == pytest.approx(1.6281188, abs=0.0050568)
    # Its expected limits are scans, too, with steps that the tails feel.
    assert limit.expected[1:4] == pytest.approx([1.4329, 2.3281, 3.9800], rel=0.005)
    assert limit.expected[[0, 4]] == pytest.approx([0.9640, 6.6194], rel=0.02)


def test_fits_of_two_signals_are_those_of_combine():
    # Combine's repository keeps what its own tests of this card print: test/references,
    # "multi-signal" and "multi-signal-ChannelCompatibilityCheck".
    file = path("datacards/datacard-5-multi-signal.txt")
    two = dt.Workspace.from_datacard(file, pois={"r_ggH": "ggH*", "r_qqH": "qqH*"})
    # Its minimiser stops within a thousandth of an error.
    errors = minos(two.model(modifier_settings=CODES), parameters=["r_ggH", "r_qqH"])
    assert errors.values == pytest.approx([0.882, 4.683], abs=3e-3)
    assert errors.down == pytest.approx([-0.749, -2.746], abs=3e-3)
    assert errors.up == pytest.approx([0.795, 3.464], abs=3e-3)
    one = minos(dt.Workspace.from_datacard(file).model(modifier_settings=CODES), parameters=["r"])
    assert (one.values[0], one.down[0], one.up[0]) == pytest.approx(
        (1.4812, -0.5987, 0.6644), abs=6e-4
    )


def test_the_likelihood_is_that_of_the_formula():
    model = dt.Workspace.from_datacard(path("datacards/counting-B5p5-Obs6-Syst30B.txt")).model(
        modifier_settings=CODES
    )
    assert sorted(model.config.par_names) == ["1", "r"]
    for r, theta in ((0.0, 0.0), (2.5, -0.4), (1.0, 1.7)):
        point = {"r": r, "1": theta}
        wanted = stats.poisson.logpmf(6, r + 5.5 * 1.3**theta) + stats.norm.logpdf(theta)
        assert float(model.logpdf([point[n] for n in model.config.par_names])) == pytest.approx(
            wanted, rel=1e-10
        )
    model = dt.Workspace.from_datacard(
        path("datacards/counting-Sideband11-alpha0p5-Obs11.txt")
    ).model()
    for r, gamma in ((0.0, 1.0), (3.0, 0.7)):
        point = {"r": r, "1": gamma}
        wanted = stats.poisson.logpmf(11, r + 5.5 * gamma) + stats.poisson.logpmf(11, 11 * gamma)
        assert float(model.logpdf([point[n] for n in model.config.par_names])) == pytest.approx(
            wanted, rel=1e-10
        )


def test_lognormals_and_shapes_move_yields_as_combine_moves_them():
    file = path("datacards/datacard-2-template-analysis.txt")
    model = dt.Workspace.from_datacard(file).model(modifier_settings=CODES)
    root = "template-analysis-datacard-input.root"
    s, b = values(f"{root}:signal"), values(f"{root}:background")
    start = 24 * s / s.sum() + 100 * b / b.sum()
    assert expected(model)["ch1"] == pytest.approx(start, rel=1e-12)
    for side, theta in (("Up", 1.0), ("Down", -1.0)):
        # The card scales by 100 and the sum of the nominal histogram.
        varied = 100 * values(f"{root}:background_alpha{side}") / b.sum()
        found = expected(model, alpha=theta)["ch1"]
        assert found == pytest.approx(start - 100 * b / b.sum() + varied, rel=1e-10)
    assert expected(model, lumi=0.6)["ch1"] == pytest.approx(
        start + (1.1**0.6 - 1) * 24 * s / s.sum(), rel=1e-10
    )
    # sigma has the strength 0.5: at +1, shapes are those of Combine's polynomial at 0.5.
    up, down = (values(f"{root}:signal_sigma{side}") for side in ("Up", "Down"))
    high, low = up / up.sum() - s / s.sum(), down / down.sum() - s / s.sum()
    theta = 0.5
    even = (3 * theta**6 - 10 * theta**4 + 15 * theta**2) / 8
    share = s / s.sum() + 0.5 * ((high - low) * theta + (high + low) * even)
    signal = 24 * (up.sum() / s.sum()) ** theta * share
    found = expected(model, sigma=1.0)["ch1"]
    assert found == pytest.approx(start - 24 * s / s.sum() + signal, rel=1e-10)


@pytest.fixture
def shapes(tmp_path):
    """A card of two channels, with every kind of line that is read; and its histograms."""
    rng = np.random.default_rng(1)
    edges = np.array([0.0, 1.0, 3.0, 6.0])
    kept = {}
    with uproot.recreate(tmp_path / "in.root") as file:
        for channel in ("e", "mu"):
            for process, size in (("sig120", 30), ("top", 300), ("fakes", 9)):
                values = rng.uniform(0.5, 1.5, 3) * size / 3
                for end, factor in (("", 1.0), ("_JESUp", 1.2), ("_JESDown", 0.9)):
                    made = hist.Hist.new.Var(edges).Weight()
                    made.view().value = values * factor * (1 + 0.1 * np.arange(3) * (factor - 1))
                    made.view().variance = made.view().value * (2.0 if process == "top" else 4.0)
                    file[f"{channel}/{process}{end}"] = made
                    kept[channel, process + end] = made
            made = hist.Hist.new.Var(edges).Double()
            made.view()[:] = [120, 110, 100]
            file[f"{channel}/data_obs"] = made
    text = """
words before imax do not count
imax 2 channels
jmax *
kmax *
---------------
shapes sig * in.root $CHANNEL/$PROCESS$MASS $CHANNEL/$PROCESS$MASS_$SYSTEMATIC
shapes * * in.root $CHANNEL/$PROCESS $CHANNEL/$PROCESS_$SYSTEMATIC
bin e mu
observation -1 330
bin e e e mu mu mu
process sig top fakes sig top fakes
process 0 1 2 0 1 2
rate -1 -1 9 20 -1 0
---------------
lumi lnN 1.02 1.02 - 1.02 1.02 -   # of the year
theory lnN 0.9/1.2 - - 0.8/1.1 - -
JES shape 1 1 - - 1 -
soft shape? - 1.3 - - - -
free lnU - - 1.5 - - -
norm_top rateParam * top 1 [0.5,2]
e autoMCStats 20
all group = lumi JES
"""
    return write(tmp_path, text), kept, text


def test_every_kind_of_line(shapes):
    file, kept, _ = shapes
    workspace = dt.Workspace.from_datacard(file, mass=120)
    model = workspace.model(modifier_settings=CODES)
    assert workspace.samples == ("sig", "top", "fakes")
    assert [s["name"] for s in workspace["channels"][1]["samples"]] == ["sig", "top"]
    top, fakes = kept["e", "top"].values(), kept["e", "fakes"].values()
    signal = kept["e", "sig120"].values()
    fakes = 9 * fakes / fakes.sum()
    assert expected(model)["e"] == pytest.approx(signal + top + fakes, rel=1e-12)
    other = 20 * kept["mu", "sig120"].values() / kept["mu", "sig120"].values().sum()
    assert expected(model)["mu"] == pytest.approx(other + kept["mu", "top"].values(), rel=1e-12)
    varied = kept["e", "top_JESUp"].values() + kept["e", "sig120_JESUp"].values()
    assert expected(model, JES=1.0)["e"] == pytest.approx(varied + fakes, rel=1e-10)
    assert expected(model, theory=1.0)["e"] == pytest.approx(1.2 * signal + top + fakes, rel=1e-10)
    assert expected(model, theory=-1.0)["mu"] == pytest.approx(
        0.8 * other + kept["mu", "top"].values(), rel=1e-10
    )
    assert expected(model, soft=1.0)["e"] == pytest.approx(signal + 1.3 * top + fakes, rel=1e-10)
    moved = expected(model, norm_top=1.5, free=1.2, r=0.0)["e"]
    assert moved == pytest.approx(1.5 * top + 1.2 * fakes, rel=1e-10)
    bounds = dict(zip(model.config.par_names, model.config.suggested_bounds(), strict=True))
    assert tuple(bounds["norm_top"]) == (0.5, 2.0)
    assert tuple(bounds["free"]) == pytest.approx((1 / 1.5, 1.5))
    assert tuple(bounds["r"]) == (0.0, 20.0)
    assert workspace.to_dict()["groups"] == {"all": ["lumi", "JES"]}
    assert workspace.to_dict()["channels"][0]["edges"] == [0.0, 1.0, 3.0, 6.0]
    assert workspace.rebin({"e": [0, 1, 3]}).to_dict()["channels"][0]["edges"] == [0.0, 1.0, 6.0]
    assert workspace.data["mu"].tolist() == [120.0, 110.0, 100.0]


def test_statistics_of_the_simulation_have_combines_threshold(shapes):
    file, kept, text = shapes
    # Of the background alone there are some n²/Σe² events in each bin of e.
    own = [kept["e", name] for name in ("top", "fakes")]
    scale = [1.0, 9 / own[1].values().sum()]
    yields = sum(h.values() * f for h, f in zip(own, scale, strict=True))
    variance = sum(h.variances() * f**2 for h, f in zip(own, scale, strict=True))
    effective = np.round(yields**2 / variance)
    threshold = int(np.sort(effective)[0])
    card = write(file.parent, text.replace("autoMCStats 20", f"autoMCStats {threshold}"), "b.txt")
    channel = dt.Workspace.from_datacard(card, mass=120)["channels"][0]
    few = effective <= threshold
    assert few.sum() == 1
    for sample, own_hist, factor in zip(
        channel["samples"],
        (kept["e", "sig120"], *own),
        (1.0, *scale),
        strict=True,
    ):
        errors = np.sqrt(own_hist.variances()) * factor
        data = {m["type"]: m["data"] for m in sample["modifiers"]}
        assert data["staterror"] == pytest.approx(np.where(few, 0.0, errors))
        assert data["shapesys"] == pytest.approx(np.where(few, errors, 0.0))
    off = write(file.parent, text.replace("autoMCStats 20", "autoMCStats -1"), "c.txt")
    kinds = {kind for _, kind in dt.Workspace.from_datacard(off, mass=120).modifiers}
    assert not kinds & {"staterror", "shapesys"}


def test_several_signals(caplog):
    file = path("datacards/datacard-5-multi-signal.txt")
    with caplog.at_level(logging.INFO, logger="difftune"):
        one = dt.Workspace.from_datacard(file)
    assert "'r' scales all of ggH_hgg, qqH_hgg" in caplog.text
    assert expected(one.model(), r=2.0)["incl"] == pytest.approx([2 * 22.6 + 140])
    two = dt.Workspace.from_datacard(file, pois={"r_ggH": "ggH*", "r_qqH": "qqH*"})
    assert expected(two.model(), r_ggH=0.0, r_qqH=3.0)["incl"] == pytest.approx([3 * 1.6 + 140])
    assert two["measurements"][0]["config"]["poi"] == "r_ggH"
    with pytest.raises(InputError, match="qqH_hgg"):
        dt.Workspace.from_datacard(file, pois={"r_ggH": "ggH*"})


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("xs_ggH lnN", "xs_ggH trG", "line 12: 'xs_ggH' is of the kind 'trG'.*as lnN"),
        ("xs_ggH lnN 1.16", "xs_ggH lnN -1.16", "line 12: 'xs_ggH' has '-1.16'"),
        ("xs_ggH lnN 1.16 - - -", "xs_ggH lnN 1.16 - -", "line 12: .*3 values for 4 processes"),
        ("kmax 5", "kmax 4", "line 4: kmax is 4, and there are 5"),
        ("jmax 3", "jmax 2", "line 3: jmax is 2, and there are 3"),
        ("0.22", "-", "line 10: '-' is no number"),
        ("rate 1.47", "rate 1.47 1", "line 10: .*4, 4, 4 and 5 columns"),
        ("gmN 4", "gmN 5", "line 13: gmN 'WW_norm': 5 events times 0.16 are 0.8"),
        ("gmN 4", "gmN x", "line 13: gmN needs a number of events"),
        ("process 0 1", "process 4 1", "line 9: there is no signal"),
        ("xs_ggH lnN", "lumi lnN", "line 12: 'lumi' is there twice"),
        ("observation 0", "observation 0 1", "line 6: 2 observations for 1 channels"),
        ("bin b\n", "bin b\nwhatever\n", "line 6: 'whatever'"),
        ("rate", "rates", "no line 'rate'"),
        (
            "xs_ggH lnN 1.16 - - -",
            "k rateParam b qqWW (@0+@1) x,y",
            r"line 12: the rateParam 'k' is '\(@0\+@1\) x,y'",
        ),
        (
            "xs_ggH lnN 1.16 - - -",
            "k rateParam b qqWW (@0*@1/@2) x,y,z",
            "line 12: 'k' is made of x, y, z: .*'x' is not",
        ),
        (
            "xs_ggH lnN 1.16 - - -",
            "p param 1 0.1",
            "line 12: .*'p' constrains no rateParam",
        ),
        ("xs_ggH lnN 1.16 - - -", "p param 1 0", "line 12: a param is written as"),
        ("xs_ggH lnN 1.16 - - -", "lumi param 1 0.1", "line 12: 'lumi' has a constraint of 0 and"),
        ("xs_ggH lnN 1.16 - - -", "p flatParam", "line 12: 'p' is no rateParam"),
        (
            "xs_ggH lnN 1.16 - - -",
            "k rateParam b qqWW @0*@1 x,y",
            "line 12: 'k' is a product of x, y; 'x' is neither",
        ),
        ("xs_ggH lnN 1.16 - - -", "xs_ggH shape 1 - - -", "no histograms xs_ggHUp"),
    ],
)
def test_what_is_not_understood_is_named_by_its_line(tmp_path, old, new, words):
    assert old in REALISTIC
    card = REALISTIC.replace(old, new, 1)
    # A factor is no uncertainty.
    card = card.replace("kmax 5", "kmax 4") if "rateParam" in new or "flat" in new else card
    file = write(tmp_path, card)
    with pytest.raises(InputError, match=words):
        dt.Workspace.from_datacard(file)


def test_missing_histograms_are_named(shapes):
    file, _, text = shapes
    with pytest.raises(InputError, match=r"line 7: .*asks for a mass: give it as mass=125"):
        dt.Workspace.from_datacard(file)
    with pytest.raises(InputError, match=r"line 7: in.root has no histogram 'e/sig130'.*sig120"):
        dt.Workspace.from_datacard(file, mass=130)
    broken = write(file.parent, text.replace("shapes * * in.root", "shapes * * out.root"), "x.txt")
    with pytest.raises(InputError, match=r"line 8: .*out.root cannot be read as a ROOT file"):
        dt.Workspace.from_datacard(broken, mass=120)
    broken = write(file.parent, text.replace("observation -1 330", "observation -1 300"), "y.txt")
    with pytest.raises(InputError, match="330 events observed in the histogram of channel 'mu'"):
        dt.Workspace.from_datacard(broken, mass=120)
    broken = write(file.parent, text.replace("JES shape 1 1", "BES shape 1 1"), "z.txt")
    with pytest.raises(InputError, match=r"line 18: there are no histograms BESUp"):
        dt.Workspace.from_datacard(broken, mass=120)


def test_a_param_constrains_a_factor(tmp_path, caplog):
    text = """
imax 2
jmax *
kmax 3
bin a b
observation 100 400
bin a a b b
process s x s x
process 0 1 0 1
rate 10 80 1 200
l lnN 1.1 - 1.1 -
R rateParam b x 1 [0.5,5]
R param 1.5 0.2
X rateParam a x @0*@1 free,T
free rateParam b s 2
free flatParam
T param 1.0 -0.1/+0.2
"""
    model = dt.Workspace.from_datacard(write(tmp_path, text)).model(modifier_settings=CODES)
    bounds = dict(zip(model.config.par_names, model.config.suggested_bounds(), strict=True))
    assert tuple(bounds["R"]) == pytest.approx((-5.0, 10.0))
    for r, lumi, rate, free, t in ((0.0, 0.0, 0.0, 2.0, 0.0), (1.2, 0.3, 0.8, 1.5, -1.4)):
        point = {"r": r, "l": lumi, "R": rate, "free": free, "T": t}
        # Beyond one standard deviation each side is linear.
        wanted = stats.poisson.logpmf(100, r * 10 * 1.1**lumi + 80 * free * (1 + 0.1 * t))
        wanted += stats.poisson.logpmf(400, r * free * 1.1**lumi + 200 * (1.5 + 0.2 * rate))
        wanted += stats.norm.logpdf([lumi, rate, t]).sum()
        found = float(model.logpdf([point[name] for name in model.config.par_names]))
        assert found == pytest.approx(wanted, rel=1e-10)
    assert not caplog.records


def test_shapes_with_a_constrained_factor_are_named(shapes, caplog):
    file, kept, text = shapes
    card = write(file.parent, text + "norm_top param 1.2 0.1\n", "p.txt")
    model = dt.Workspace.from_datacard(card, mass=120).model(modifier_settings=CODES)
    assert "norm_top are added to those of shape" in caplog.text
    top, fakes = kept["e", "top"].values(), kept["e", "fakes"].values()
    signal, fakes = kept["e", "sig120"].values(), 9 * fakes / fakes.sum()
    found = expected(model, norm_top=-2.0)["e"]
    assert found == pytest.approx(signal + top + fakes, rel=1e-10)
    up = kept["e", "sig120_JESUp"].values() + 1.2 * kept["e", "top_JESUp"].values()
    assert expected(model, JES=1.0)["e"] == pytest.approx(up + fakes, rel=1e-10)


EDITS = [
    ("add others b PDF lnN 1.2", {"PDF": "PDF lnN - - - 1.2"}),
    ("add .*WW * lumi lnN 0.9/1.2 overwrite", {"lumi": "lumi lnN 1.11 0.9/1.2 0.9/1.2 -"}),
    ("add ggH b lumi lnN 1.11 addq", {"lumi": "lumi lnN 1.15905 - 1.11 -"}),
    ("drop ggWW * lumi", {"lumi": "lumi lnN 1.11 - - -"}),
    ("drop nothing * lumi ifexists", {}),
    ("rename ggWW b lumi lumi2", {"lumi": "lumi lnN 1.11 - - -", "l2": "lumi2 lnN - - 1.11 -"}),
    ("rename lumi beam", {"lumi": "beam lnN 1.11 - 1.11 -"}),
    ("merge * * xs_ggWW lumi", {"lumi": "xs_ggWW lnN 1.11 - 1.519954 -", "xs_ggWW": ""}),
    (
        "split ggH * lumi one two 1.05 1.07",
        {"lumi": "lumi lnN - - 1.11 -\none lnN 1.05 - - -\ntwo lnN 1.07 - - -"},
    ),
]


@pytest.mark.parametrize(("edit", "lines"), EDITS, ids=[edit for edit, _ in EDITS])
def test_a_nuisance_edit_is_the_card_with_the_change_in_its_lines(tmp_path, edit, lines):
    card = f"{REALISTIC}nuisance edit {edit}\n"
    edited = dt.Workspace.from_datacard(write(tmp_path, card)).model()
    kept = [line for line in REALISTIC.splitlines() if line.split(" ")[0] not in lines]
    text = "\n".join([*kept, *lines.values()]).replace("kmax 5", "kmax *")
    plain = dt.Workspace.from_datacard(write(tmp_path, text, "plain.txt")).model()
    assert set(edited.config.par_names) == set(plain.config.par_names)
    values = {name: 0.3 + 0.1 * i for i, name in enumerate(sorted(plain.config.par_names))}
    found, wanted = (
        float(model.logpdf([values[name] for name in model.config.par_names]))
        for model in (edited, plain)
    )
    assert found == pytest.approx(wanted, rel=1e-5)


def test_renamed_shapes_keep_their_histograms_and_frozen_parameters_stay(shapes):
    file, kept, text = shapes
    edits = """
nuisance edit rename top e JES JES_top
nuisance edit changepdf free lnN
nuisance edit freeze lumi
nuisance edit freeze nothing ifexists
"""
    card = write(file.parent, text + edits, "edited.txt")
    model = dt.Workspace.from_datacard(card, mass=120).model(modifier_settings=CODES)
    fakes = 9 * kept["e", "fakes"].values() / kept["e", "fakes"].values().sum()
    for name, process in (("JES", "sig120"), ("JES_top", "top")):
        moved = {key: kept["e", key].values() for key in ("sig120", "top")}
        moved[process] = kept["e", f"{process}_JESUp"].values()
        found = expected(model, **{name: 1.0})["e"]
        assert found == pytest.approx(sum(moved.values()) + fakes, rel=1e-10)
    assert "free" in model.config.par_names
    fixed = dict(zip(model.config.par_names, model.config.suggested_fixed(), strict=True))
    assert [name for name, stays in fixed.items() if stays] == ["lumi"]


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("drp * * lumi", "'nuisance edit drp' is not read.*drop"),
        ("drop * lumi", "is written as 'nuisance edit drop PROCESS CHANNEL NAME'"),
        ("drop * * lum", "no uncertainty 'lum'.*lumi.*ifexists"),
        ("drop zz * lumi", "no process 'zz' in a channel"),
        ("drop (a * lumi", "no regular expression"),
        ("add ggH b lumi lnN 1.2", "'lumi' has 1.11 for ggH of b already. Add addq"),
        ("add ggH b lumi trG 1.2", "no kind 'trG' is added"),
        ("add ggH b lumi lnN 0.9 addq", "go in different directions"),
        ("rename WW_norm x", "is a gmN, which is not renamed"),
        ("rename lumi xs_ggH", "'lumi' and 'xs_ggH' both act on ggH of b"),
        ("changepdf lumi shape", "'lumi' is of the kind lnN, which cannot become shape"),
        ("freeze lum", "there is no parameter 'lum'.*lumi"),
    ],
)
def test_edits_that_cannot_be_are_named_by_their_line(tmp_path, edit, words):
    card = write(tmp_path, f"{REALISTIC}nuisance edit {edit}\n")
    with pytest.raises(InputError, match=f"line 16: .*{words}"):
        dt.Workspace.from_datacard(card)

"""Operations on workspaces are those of pyhf, and leave the likelihood as it is."""

import copy
import json
import logging

import numpy as np
import pyhf
import pytest

import difftune as dt
from difftune.errors import InputError
from difftune.inference import fit, signal_grid
from tests.histfactory import specs
from tests.histfactory.test_patches import background_only, operations, patch_set
from tests.shared_data import path

PUBLIC = [
    "susy-2018-31_sbottom-A_sbottom_600_280_150.json",
    "ttbar_ljets_xsec.json",
    "SH4b_50bins.json",
]
CODES = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}


def other() -> dict:
    """A second analysis, with a channel of its own and parameters in common."""
    return {
        "channels": [
            specs.channel(
                "VR",
                specs.sample("signal", [3.0], specs.MU, specs.factors("jes", 1.1, 0.9)),
                specs.sample(
                    "ttbar",
                    [30.0],
                    specs.modifier("lumi", "lumi"),
                    specs.modifier("staterror", "stat_VR", [2.0]),
                ),
            )
        ],
        "observations": [{"name": "VR", "data": [31.0]}],
        "measurements": [
            {
                "name": "first",
                "config": {
                    "poi": "mu",
                    "parameters": [
                        copy.deepcopy(specs.LUMI),
                        {"name": "jes", "inits": [0.1]},
                    ],
                },
            }
        ],
        "version": "1.0.0",
    }


def logpdf(workspace, values: dict[str, float], **options) -> float:
    """Of pyhf, at parameters by name."""
    made = pyhf.Workspace(dict(workspace))
    model = made.model(**options)
    names = model.config.par_names
    point = [values.get(n, d) for n, d in zip(names, model.config.suggested_init(), strict=True)]
    return float(model.logpdf(point, made.data(model))[0])


def test_select_and_drop_are_prunes_of_pyhf():
    spec = specs.everything()
    judge = pyhf.Workspace(spec)
    workspace = dt.Workspace(spec)
    for ours, theirs in (
        (workspace.drop(channels="CR"), judge.prune(channels=["CR"])),
        (workspace.select(channels=["S*"]), judge.prune(channels=["CR"])),
        (workspace.drop(samples="fak*"), judge.prune(samples=["fakes"])),
        (workspace.drop(modifiers=["jes", "pdf"]), judge.prune(modifiers=["jes", "pdf"])),
        (workspace.drop(modifier_types="staterror"), judge.prune(modifier_types=["staterror"])),
        (
            workspace.select(modifiers="jes", measurements="first"),
            judge.prune(modifiers=[n for n, _ in judge.modifiers if n not in ("mu", "jes")]),
        ),
    ):
        assert dict(ours) == dict(theirs)
    assert workspace == dt.Workspace(spec)  # and is as it was


def test_rename_is_that_of_pyhf_and_keeps_the_likelihood():
    spec = specs.everything()
    new = {"jes": "ATLAS_jes", "mu": "strength", "norm_ttbar": "k_ttbar"}
    theirs = pyhf.Workspace(spec).rename(
        modifiers=new, channels={"SR": "A"}, samples={"ttbar": "top"}, measurements={"first": "m"}
    )
    ours = dt.Workspace(spec).rename(
        modifiers=new,
        channels={"SR": "A"},
        samples=lambda name: "top" if name == "ttbar" else name,
        measurements={"first": "m"},
    )
    assert dict(ours) == dict(theirs)
    point = {"jes": 0.3, "mu": 1.4, "norm_ttbar": 0.8}
    before = logpdf(spec, point)
    after = logpdf(ours, {new[name]: value for name, value in point.items()})
    assert after == pytest.approx(before, abs=1e-10 * abs(before))
    patterns = dt.Workspace(spec).rename(modifiers={"norm_*": "k_*"})
    assert {"k_ttbar", "k_fakes"} <= {name for name, _ in patterns.modifiers}


@pytest.mark.parametrize("join", ["none", "outer", "left outer", "right outer"])
def test_combine_is_that_of_pyhf(join):
    left, right = specs.everything(), other()
    if join == "none":
        right["measurements"][0]["name"] = "second"
    theirs = pyhf.Workspace.combine(pyhf.Workspace(left), pyhf.Workspace(right), join=join)
    assert dict(dt.Workspace(left).combine(right, join=join)) == dict(theirs)


def test_combine_merges_channels_as_pyhf():
    left, right = specs.everything(), other()
    right["channels"][0]["name"] = "CR"
    right["channels"][0]["samples"] = [specs.sample("more", [1.0, 2.0])]
    right["observations"] = [o for o in left["observations"] if o["name"] == "CR"]
    theirs = pyhf.Workspace.combine(
        pyhf.Workspace(left), pyhf.Workspace(right), join="outer", merge_channels=True
    )
    ours = dt.Workspace(left).combine(right, merge_channels=True)
    assert dict(ours) == dict(theirs)


def test_what_cannot_be_combined_is_named(caplog):
    left, right = specs.everything(), other()
    with caplog.at_level(logging.INFO, logger="difftune"):
        dt.Workspace(left).combine(right)
    assert "one parameter in both workspaces: jes, lumi, mu" in caplog.text
    clash = copy.deepcopy(right)
    clash["channels"][0]["name"] = clash["observations"][0]["name"] = "CR"
    with pytest.raises(InputError, match=r"channels \['CR'\] differ.*rename\(channels"):
        dt.Workspace(left).combine(clash)
    poi = copy.deepcopy(right)
    poi["measurements"][0]["config"]["poi"] = "jes"
    with pytest.raises(InputError, match=r"parameter of interest 'mu'.*'jes'"):
        dt.Workspace(left).combine(poi)
    lumi = copy.deepcopy(right)
    lumi["measurements"][0]["config"]["parameters"][0]["sigmas"] = [0.5]
    with pytest.raises(InputError, match="configures the parameter 'lumi'"):
        dt.Workspace(left).combine(lumi)
    gamma = copy.deepcopy(right)
    gamma["channels"][0]["samples"][1]["modifiers"][1]["name"] = "stat_SR"
    with caplog.at_level(logging.WARNING, logger="difftune"):
        dt.Workspace(left).combine(gamma)
    assert "stat_SR have a parameter for each bin" in caplog.text
    with caplog.at_level(logging.WARNING, logger="difftune"):
        dt.Workspace(left).combine(dt.Workspace(right).rename(measurements={"first": "b"}))
    assert "rename(measurements={'b': 'first'})" in caplog.text


@pytest.mark.parametrize("name", PUBLIC)
def test_public_workspaces_come_through_unchanged(name, tmp_path):
    file = path(f"workspaces/{name}")
    spec = json.loads(file.read_text())
    spec["note"], spec["channels"][0]["title"] = {"by": "us"}, "first"
    workspace = dt.Workspace(spec)
    workspace.write(tmp_path / "copy.json")
    assert (tmp_path / "copy.json").read_text() == json.dumps(spec, indent=2) + "\n"
    assert dt.Workspace.read(tmp_path / "copy.json").to_dict() == spec
    assert "note" not in workspace
    assert workspace.rename(channels={workspace.channels[0]: "x"}).to_dict()["note"] == spec["note"]

    original = json.loads(file.read_text())
    assert workspace.digest() == pyhf.utils.digest(original)
    assert dict(workspace.sorted()) == dict(pyhf.Workspace.sorted(pyhf.Workspace(original)))
    judge = pyhf.Workspace(original)
    model = judge.model(modifier_settings=CODES)
    point = model.config.suggested_init()
    wanted = float(model.logpdf(point, judge.data(model))[0])
    for changed in (workspace, workspace.sorted()):
        again = changed.model()
        assert again.config.par_names == model.config.par_names
        assert float(again.logpdf(point)) == pytest.approx(wanted, rel=1e-10)


def test_prune_leaves_out_yield_and_shape_apart():
    nominal = [50.0, 50.0]
    spec = specs.workspace(
        [
            specs.channel(
                "SR",
                specs.sample("s", [1.0, 2.0], specs.MU),
                specs.sample(
                    "b",
                    nominal,
                    specs.factors("tiny", 1.001, 0.999),
                    specs.factors("large", 1.1, 0.9),
                    specs.templates("yield", [55.0, 55.1], [45.0, 44.9]),
                    specs.templates("shape", [55.1, 45.0], [45.0, 54.9]),
                    specs.templates("none", [50.01, 50.01], [49.99, 49.99]),
                    specs.templates("both", [60.0, 52.0], [42.0, 47.0]),
                ),
            )
        ]
    )
    after, table = dt.Workspace(spec).prune(norm=0.01, shape=0.01)
    modifiers = {m["name"]: m for m in after["channels"][0]["samples"][1]["modifiers"]}
    assert set(modifiers) == {"large", "yield", "shape", "both"}
    assert {row.modifier: row.kept for row in table} == {
        "tiny": "nothing",
        "none": "nothing",
        "yield": "norm",
        "shape": "shape",
    }
    assert modifiers["yield"]["data"] == {"hi": pytest.approx(1.101), "lo": pytest.approx(0.899)}
    assert sum(modifiers["shape"]["data"]["hi_data"]) == pytest.approx(100.0)
    assert modifiers["both"] == spec["channels"][0]["samples"][1]["modifiers"][5]
    # A hundredth of the sample is less of the whole.
    assert "large" not in {
        name for name, _ in dt.Workspace(spec).prune(norm=0.0999, reference="total")[0].modifiers
    }
    assert dt.Workspace(spec).prune(norm=0.0, shape=0.0)[0] == spec


def test_rebinning_sums_what_pyhf_expects():
    spec = specs.everything()
    spec["channels"][0]["samples"][2]["modifiers"].pop()  # a free shape has another meaning then
    workspace = dt.Workspace(spec)
    after = workspace.rebin({"SR": [0, 1, 3], "C*": 2})
    assert after.bins == {"SR": 2, "CR": 1}
    point = {"jes": 0.7, "mu": 1.5, "xs_ttbar": -0.4, "norm_ttbar": 1.1, "lumi": 1.01}

    def expected(content):
        model = pyhf.Workspace(dict(content)).model()
        names = model.config.par_names
        values = [
            point.get(n, 1.0 if "[" in n else d)
            for n, d in zip(names, model.config.suggested_init(), strict=True)
        ]
        rates = model.expected_actualdata(values)
        return {c: rates[model.config.channel_slices[c]] for c in model.config.channels}

    before, now = expected(spec), expected(after)
    assert now["SR"] == pytest.approx([before["SR"][0], before["SR"][1:].sum()], rel=1e-12)
    assert now["CR"] == pytest.approx([before["CR"].sum()], rel=1e-12)
    assert after.data["SR"].tolist() == [
        workspace.data["SR"][0],
        workspace.data["SR"][1:].sum(),
    ]
    stat = after["channels"][0]["samples"][0]["modifiers"][0]["data"]
    assert stat == pytest.approx([2.5, np.hypot(1.5, 0.9)])
    for wrong, words in (
        ({"SR": 2}, r"do not divide"),
        ({"SR": [0, 2]}, "rise from 0 to 3"),
        ({"XR": 2}, "XR"),
    ):
        with pytest.raises(InputError, match=words):
            workspace.rebin(wrong)


def test_statistics_with_poisson_constraints_and_a_threshold():
    workspace = dt.Workspace(specs.everything())
    after = workspace.mc_statistics(threshold=0.049)
    # sqrt(2.5² + 0.2²)/54 = 4.6 %, then 4.2 % and 5.4 %; 2.9 % in CR.
    stat = {
        (c["name"], s["name"]): m["data"]
        for c in after["channels"]
        for s in c["samples"]
        for m in s["modifiers"]
        if m["type"] == "staterror"
    }
    assert stat["SR", "ttbar"] == [0.0, 0.0, 0.9]
    assert stat["SR", "signal"] == [0.0, 0.0, 0.7]
    assert stat["CR", "ttbar"] == [0.0, 0.0]
    poisson = workspace.mc_statistics(constraint="poisson")
    assert "staterror" not in {kind for _, kind in poisson.modifiers}
    model = pyhf.Workspace(dict(poisson)).model()
    # Auxiliary counts are (yield/uncertainty)².
    where = model.config.auxdata_order.index("stat_CR_CR_ttbar")
    sizes = [model.config.param_set(n).n_parameters for n in model.config.auxdata_order]
    own = model.config.auxdata[sum(sizes[:where]) :][: sizes[where]]
    assert own == pytest.approx([(310 / 9) ** 2, (205 / 6) ** 2])
    with pytest.raises(InputError, match="no sample has a staterror"):
        workspace.drop(modifier_types="staterror").mc_statistics()


def test_noise_is_smoothed_and_an_effect_is_not():
    rng = np.random.default_rng(3)
    bins = 20
    nominal = np.full(bins, 1000.0)
    slope = 100 * np.linspace(-1, 1, bins)
    noise = rng.normal(scale=30.0, size=(2, bins))
    step = np.where(np.arange(bins) % 7 == 3, 600.0, 0.0)
    step -= step.mean()
    spec = specs.workspace(
        [
            specs.channel(
                "SR",
                specs.sample("s", [1.0] * bins, specs.MU),
                specs.sample(
                    "b",
                    nominal.tolist(),
                    specs.modifier("staterror", "stat", [30.0] * bins),
                    specs.templates(
                        "slope",
                        (nominal + slope + noise[0]).tolist(),
                        (nominal - slope + noise[1]).tolist(),
                    ),
                    specs.templates("step", (nominal + step).tolist(), (nominal - step).tolist()),
                ),
            )
        ]
    )
    after, table = dt.Workspace(spec).smooth()
    rows = {row.modifier: row for row in table}
    data = {
        m["name"]: m["data"]
        for m in after["channels"][0]["samples"][1]["modifiers"]
        if m["type"] == "histosys"
    }
    before = nominal + slope + noise[0]
    up = np.asarray(data["slope"]["hi_data"])
    assert up.sum() == pytest.approx(before.sum())
    wanted = nominal + slope
    assert np.std(up - wanted) < 0.5 * np.std(before - wanted)
    assert rows["slope"].degrees[0] == 1
    assert rows["step"].degrees[0] is None
    assert data["step"]["hi_data"] == pytest.approx((nominal + step).tolist())
    with pytest.raises(InputError, match="no sample with such a histosys"):
        dt.Workspace(spec).drop(modifier_types="staterror").smooth()


def test_an_asimov_of_fitted_values_gives_them_back():
    workspace = dt.Workspace(specs.everything())
    workspace = workspace.drop(modifier_types="shapefactor")
    first = fit(workspace.model())
    asimov = workspace.asimov(first.values)
    judge = pyhf.Workspace(dict(workspace)).model()
    wanted = judge.expected_actualdata(first.values)
    assert np.concatenate([asimov.data[c] for c in judge.config.channels]) == pytest.approx(
        wanted, rel=1e-12
    )
    assert fit(asimov.model()).values == pytest.approx(first.values, abs=1e-5)
    made = pyhf.Workspace(dict(asimov))
    assert made.data(made.model()) == pytest.approx(judge.expected_data(first.values), rel=1e-10)
    named = workspace.asimov({"mu": 2.0, "norm_ttbar": 1.2}, auxiliary=False)
    assert named["measurements"] == workspace["measurements"]
    point = np.array(judge.config.suggested_init())
    point[judge.config.par_names.index("mu")] = 2.0
    point[judge.config.par_names.index("norm_ttbar")] = 1.2
    assert named.data["SR"] == pytest.approx(
        judge.expected_actualdata(point)[judge.config.channel_slices["SR"]]
    )
    with pytest.raises(InputError, match="no parameter 'nu'"):
        workspace.asimov({"nu": 1.0})
    with pytest.raises(InputError, match="there is no channel 'XR'"):
        workspace.with_data({"XR": [1.0]})
    assert workspace.with_data({"CR": [1, 2]}).data["CR"].tolist() == [1.0, 2.0]


def test_a_patch_set_is_a_mapping():
    base = background_only()
    content = patch_set(base)
    patches = dt.Patches(base, content)
    assert list(patches) == ["mass_100", "mass_200"]
    assert patches.points["mass_200"] == (200,)
    judge = pyhf.PatchSet(content)
    for name, workspace in patches.items():
        assert dict(workspace) == dict(judge.apply(pyhf.Workspace(base), name))
    assert patches["mass_100"] == dt.Workspace(base).patched(operations(5.0))
    assert patches.digests == judge.digests
    changed = dt.Workspace(base).rename(channels=lambda name: f"{name}_2")
    with pytest.raises(InputError, match="another workspace"):
        dt.Patches(changed, content)


def test_bad_input_is_named():
    workspace = dt.Workspace(specs.everything())
    with pytest.raises(InputError, match=r"drop\(samples\)='ttbr'.*ttbar"):
        workspace.drop(samples="ttbr")
    with pytest.raises(InputError, match="2 channels called 'CR'"):
        workspace.rename(channels={"SR": "CR"})
    with pytest.raises(InputError, match="nothing would be left of channel 'CR'"):
        workspace.drop(samples=["ttbar", "fakes"])
    with pytest.raises(InputError, match="spec of a model"):
        dt.Workspace({"channels": specs.everything()["channels"]})
    with pytest.raises(InputError, match="no other name than 'lumi'"):
        workspace.rename(modifiers={"lumi": "luminosity"})
    broken = specs.everything()
    broken["channels"][0]["samples"][0]["data"][1] = float("nan")
    with pytest.raises(InputError, match="Channel 'SR', sample 'ttbar'"):
        dt.Workspace(broken)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w: w.write(3), "3 is no path"),
        (lambda w: w.write_datacard(None), "None is no path"),
        (lambda w: w.write_cabinetry(3), "3 is no path"),
        (lambda w: dt.Workspace.from_xml(3), "3 is no path"),
        (lambda w: w.digest("sha"), r"digest\('sha'\): give one of hashlib"),
        (lambda w: w.with_data({"VR": "a"}), "VR = 'a' is no number"),
        (lambda w: w.asimov({"mu": "a"}), "mu = 'a' is no number"),
        (lambda w: signal_grid(w, []), r"no patch set, but \[\]: give the path"),
        (lambda w: signal_grid(w, 3), "no patch set, but 3: give the path"),
    ],
)
def test_what_is_plainly_wrong_has_a_remedy(call, words):
    with pytest.raises(InputError, match=words):
        call(dt.Workspace(other()))

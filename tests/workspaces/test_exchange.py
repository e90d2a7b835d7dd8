"""Files of other tools: told apart by content, written, and judged by the tools that read them."""

import json

import cabinetry
import numpy as np
import pyhf
import pyhf.writexml
import pytest
from click.testing import CliRunner

import difftune as dt
from difftune.cli import cli
from difftune.errors import InputError
from difftune.workspaces import read_file
from tests.histfactory import specs
from tests.shared_data import path
from tests.workspaces.test_datacard import CODES, REALISTIC


def analysis() -> dt.Workspace:
    """Two channels with all that a datacard and cabinetry have a word for."""
    stat = specs.modifier("staterror", "stat_SR", [2.0, 1.5])
    return dt.Workspace(
        specs.workspace(
            [
                specs.channel(
                    "SR",
                    specs.sample(
                        "signal",
                        [4.0, 9.0],
                        specs.MU,
                        specs.modifier("lumi", "lumi"),
                        specs.modifier("staterror", "stat_SR", [0.5, 0.4]),
                    ),
                    specs.sample(
                        "top",
                        [50.0, 40.0],
                        stat,
                        specs.factors("xs", 1.1, 1 / 1.1),
                        specs.factors("JES", 1.05, 0.93),
                        specs.templates("JES", [53.0, 37.0], [48.0, 42.0]),
                        specs.modifier("normfactor", "k_top"),
                        specs.modifier("lumi", "lumi"),
                    ),
                ),
                specs.channel(
                    "CR",
                    specs.sample(
                        "top",
                        [310.0],
                        specs.factors("xs", 1.1, 1 / 1.1),
                        specs.factors("JES", 1.02, 0.97),
                        specs.modifier("normfactor", "k_top"),
                    ),
                    specs.sample("fakes", [30.0], specs.factors("fakes", 1.5, 0.6)),
                ),
            ],
            specs.LUMI,
            {"name": "k_top", "inits": [1.0], "bounds": [[0.3, 3.0]]},
        )
    )


def test_a_datacard_comes_back_with_its_likelihood(tmp_path):
    workspace = analysis()
    workspace.write_datacard(tmp_path / "card.txt")
    again = dt.Workspace.read(tmp_path / "card.txt")
    judge = pyhf.Workspace(dict(workspace)).model(modifier_settings=CODES)
    made = pyhf.Workspace(dict(again)).model(modifier_settings=CODES)
    names = {"r": "mu"} | {f"prop_binSR[{i}]": f"stat_SR[{i}]" for i in range(2)}
    rng = np.random.default_rng(2)
    logs = []
    for _ in range(4):
        point = {"xs": rng.normal(), "k_top": rng.uniform(0.7, 1.3), "mu": rng.uniform(0, 2)}
        point |= {"stat_SR[0]": 1.02, "stat_SR[1]": 0.97}
        # Where the yields of up and down are those of the templates, not between.
        point |= {"JES": rng.choice([-1.0, 1.0]), "fakes": rng.choice([-1.0, 1.0])}
        ours = [
            point.get(n, d)
            for n, d in zip(judge.config.par_names, judge.config.suggested_init(), strict=True)
        ]
        theirs = [point.get(names.get(n, n), 0.0) for n in made.config.par_names]
        a, b = judge.expected_actualdata(ours), made.expected_actualdata(theirs)
        for channel in judge.config.channels:
            assert b[made.config.channel_slices[channel]] == pytest.approx(
                a[judge.config.channel_slices[channel]], rel=1e-9
            )
        data = pyhf.Workspace(dict(workspace)).data(judge), pyhf.Workspace(dict(again)).data(made)
        logs.append([float(judge.logpdf(ours, data[0])[0]), float(made.logpdf(theirs, data[1])[0])])
    # Constraints that are not moved are constants.
    assert np.diff(logs, axis=0)[:, 0] == pytest.approx(np.diff(logs, axis=0)[:, 1], abs=1e-8)
    luminosity = dict(zip(made.config.par_names, made.config.suggested_init(), strict=True))
    luminosity["lumi"] = 1.0
    signal = made.expected_actualdata(list(luminosity.values()))[made.config.channel_slices["SR"]]
    assert signal == pytest.approx(1.02 * np.array([54.0, 49.0]))


def test_a_public_workspace_as_a_datacard(tmp_path):
    workspace = dt.Workspace.read(path("workspaces/SH4b_50bins.json"))
    workspace.write_datacard(tmp_path / "card.txt")
    again = dt.Workspace.from_datacard(tmp_path / "card.txt", poi="mu")
    before, after = workspace.model(), again.model()
    assert set(after.config.par_names) == set(before.config.par_names)
    for moved in before.config.par_names:
        point = dict.fromkeys(before.config.par_names, 0.0) | {"mu": 0.7, moved: 1.0}
        rates = [m.expected([point[n] for n in m.config.par_names]) for m in (before, after)]
        assert np.asarray(rates[1]) == pytest.approx(np.asarray(rates[0]), rel=1e-9)


def test_cabinetry_builds_the_workspace(tmp_path):
    workspace = analysis()
    config = cabinetry.configuration.load(workspace.write_cabinetry(tmp_path / "made"))
    cabinetry.templates.collect(config)
    built = cabinetry.workspace.build(config)
    judge = pyhf.Workspace(dict(workspace)).model()
    made = pyhf.Workspace(built).model()
    assert made.config.poi_name == "mu"
    assert [o["data"] for o in built["observations"]] == [
        workspace.data[o["name"]].tolist() for o in built["observations"]
    ]
    for alpha in (0.0, 1.0, -1.0):
        point = {"xs": alpha, "JES": alpha, "fakes": alpha, "k_top": 1.2, "mu": 0.5}

        def expected(model, point=point):
            values = [
                point.get(n, 1.0 if "[" in n else d)
                for n, d in zip(model.config.par_names, model.config.suggested_init(), strict=True)
            ]
            rates = model.expected_actualdata(values)
            return np.concatenate([rates[model.config.channel_slices[c]] for c in ("SR", "CR")])

        assert expected(made) == pytest.approx(expected(judge), rel=1e-9)
    lumi = {"name": "lumi", "type": "normsys", "data": {"hi": 1.02, "lo": 0.98}}
    assert lumi in built["channels"][0]["samples"][0]["modifiers"]
    stat = {
        s["name"]: m["data"]
        for s in built["channels"][0]["samples"]
        for m in s["modifiers"]
        if m["type"] == "staterror"
    }
    assert stat["top"] == pytest.approx([2.0, 1.5])
    (bounds,) = (
        p["bounds"]
        for p in built["measurements"][0]["config"]["parameters"]
        if p["name"] == "k_top"
    )
    assert bounds == [[0.3, 3.0]]


def test_xml_is_read_through_pyhf(tmp_path, monkeypatch):
    spec = dict(analysis())
    (tmp_path / "config").mkdir()
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    # pyhf writes paths that go from the folder above.
    text = pyhf.writexml.writexml(spec, "config", "data", "")
    (tmp_path / "config" / "top.xml").write_bytes(text)
    again = dt.Workspace.read(tmp_path / "config" / "top.xml")
    assert sorted(again.channels) == ["CR", "SR"]
    judge, made = (pyhf.Workspace(dict(w)).model() for w in (spec, again))
    point = {"xs": 0.7, "JES": -0.6, "k_top": 1.2, "mu": 0.5}

    def expected(model):
        values = [
            point.get(n, 1.0 if "[" in n else d)
            for n, d in zip(model.config.par_names, model.config.suggested_init(), strict=True)
        ]
        rates = model.expected_actualdata(values)
        return np.concatenate([rates[model.config.channel_slices[c]] for c in ("SR", "CR")])

    assert expected(made) == pytest.approx(expected(judge), rel=1e-9)
    with pytest.raises(InputError, match="Say from where the paths go"):
        dt.Workspace.from_xml(tmp_path / "config" / "top.xml", folder=tmp_path / "data")
    channel = tmp_path / "config" / "_SR.xml"
    with pytest.raises(InputError, match="begins with the tag 'Channel'"):
        dt.Workspace.from_xml(channel)


def test_files_are_told_apart_by_what_is_in_them(tmp_path):
    workspace = analysis()
    workspace.write(tmp_path / "a")
    workspace.write_hs3(tmp_path / "b")
    (tmp_path / "c").write_text(REALISTIC)
    assert read_file(tmp_path / "a") == dict(workspace)
    assert dt.Workspace.read(tmp_path / "b").data["SR"].tolist() == workspace.data["SR"].tolist()
    assert read_file(tmp_path / "c")["measurements"][0]["config"]["poi"] == "r"
    for content, words in (
        ("mu = 1", "is no JSON file, no datacard, no configuration of TRExFitter"),
        ("{'a': 1}", "is no JSON file"),
        ("[]", "no workspace, but a list"),
        ("<a", "cannot be read as XML"),
    ):
        (tmp_path / "d").write_text(content)
        with pytest.raises(InputError, match=words):
            dt.Workspace.read(tmp_path / "d")
    with pytest.raises(InputError, match="nothing cannot be read"):
        dt.Workspace.read(tmp_path / "nothing")


def test_the_command_line_fits_and_combines_them(tmp_path):
    (tmp_path / "card.txt").write_text(REALISTIC.replace("observation 0", "observation 3"))
    analysis().write_hs3(tmp_path / "hs3.json")
    for name in ("card.txt", "hs3.json"):
        result = CliRunner().invoke(
            cli, ["fit", str(tmp_path / name), "fit", "--json"], catch_exceptions=False
        )
        assert result.exit_code == 0
        assert json.loads(result.stdout)["fit"]["status"] == 0
    out = tmp_path / "both.json"
    words = [str(tmp_path / "card.txt"), str(tmp_path / "hs3.json")]
    result = CliRunner().invoke(
        cli, ["combine", *words, "--output", str(out)], catch_exceptions=False
    )
    assert "4 channels, 5 bins" in result.output
    both = dt.Workspace.read(out)
    assert set(both.channels) == {"b", "WW_norm_control", "SR", "CR"}
    assert both.measurements == ("combine", "first")
    result = CliRunner().invoke(
        cli, ["combine", words[0], "--output", str(out), "--format", "hs3"], catch_exceptions=False
    )
    assert "distributions" in json.loads(out.read_text())


def test_what_has_no_word_there_is_named(tmp_path):
    everything = dt.Workspace(specs.everything())
    for write in (everything.write_datacard, everything.write_cabinetry):
        with pytest.raises(InputError, match="has the shapesys 'fakes_SR', for which there is no"):
            write(tmp_path / "x")
    named = analysis().rename(samples={"fakes": "my fakes"})
    with pytest.raises(InputError, match="'my fakes' would be several words"):
        named.write_datacard(tmp_path / "x")
    spec = analysis().to_dict()
    spec["channels"][1]["samples"][0]["modifiers"].append(specs.MU)
    with pytest.raises(InputError, match="'top' is scaled by 'mu' in some channels only"):
        dt.Workspace(spec).write_datacard(tmp_path / "x")

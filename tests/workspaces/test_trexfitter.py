"""TRExFitter's configurations: what they expect is computed by hand from the histograms."""

import json
import logging

import hist
import numpy as np
import pyhf
import pytest
import uproot
from click.testing import CliRunner

import difftune as dt
from difftune.cli import cli
from difftune.errors import InputError
from difftune.workspaces import read_file

EDGES = [0.0, 10.0, 20.0, 40.0, 80.0]
# Bins with the sums of weights and of their squares, by file and histogram.
HISTOGRAMS = {
    "data": {"HT": ([53, 41, 30, 12], None), "HT_VR": ([5, 5, 5, 5], None)},
    "top": {
        "HT": ([40.0, 30.0, 20.0, 8.0], [4.0, 3.0, 2.0, 0.8]),
        "HT_jesUp": ([44.0, 31.0, 22.0, 8.8], [4.0, 3.0, 2.0, 0.8]),
        "HT_jesDown": ([37.0, 28.0, 19.0, 7.0], [4.0, 3.0, 2.0, 0.8]),
        "HT_VR": ([9.0, 9.0, 9.0, 9.0], [1.0] * 4),
    },
    "other": {
        "HT": ([5.0, 6.0, 4.0, 1.0], [0.5, 0.6, 0.4, 0.1]),
        "HT_VR": ([1.0] * 4, [0.1] * 4),
    },
    "signal": {
        "HT": ([1.0, 2.0, 3.0, 2.0], [0.01, 0.02, 0.03, 0.02]),
        "HT_jesUp": ([1.1, 2.1, 3.3, 2.1], [0.01] * 4),
        "HT_jesDown": ([0.9, 1.9, 2.9, 1.8], [0.01] * 4),
        "HT_VR": ([0.1] * 4, [0.01] * 4),
    },
    "herwig": {"HT": ([38.0, 33.0, 21.0, 9.0], [4.0] * 4)},
    "pythia": {"HT": ([36.0, 31.0, 22.0, 8.0], [4.0] * 4)},
}
CONFIG = """
% a comment alone ends no block
Job: "search"
  Label: "Search #1"
  POI: "mu_S"
  ReadFrom: HIST
  HistoPath: "inputs"
  Lumi: 2.0
  MCstatThreshold: 0.05
  MCstatConstraint: GAUSSIAN
  SystControlPlots: TRUE

Fit: "fit"
  FitType: SPLUSB
  UseMinos: "mu_S"

Limit: "limit"
  LimitType: ASYMPTOTIC

Region: "SR"
  Type: SIGNAL
  HistoName: "HT"
  VariableTitle: "H_{T} [GeV]"  % with a comment
  Label: "Signal region"

Region: "VR"
  Type: VALIDATION
  HistoName: "HT_VR"

Sample: "Data"
  Type: data
  HistoFile: "data"

Sample: "top"
  Type: BACKGROUND
  Title: "t#bar{t}"
  FillColor: 400
  HistoFile: "top"

Sample: "other"
  Type: BACKGROUND
  HistoFile: "other"
  NormalizedByTheory: FALSE
  LumiScale: 1.5

Sample: "signal"
  Type: SIGNAL
  HistoFile: "signal"
  NormFactor: "mu_S",1,-5,20

NormFactor: "k_top"
  Nominal: 1.1
  Min: 0.5
  Max: 2
  Samples: top

Systematic: "JES"
  Type: HISTO
  HistoNameSufUp: "_jesUp"
  HistoNameSufDown: "_jesDown"
  Samples: top,signal
  Smoothing: 40
  Symmetrisation: TwoSided
  Category: "Jets"

Systematic: "generator"
  Type: HISTO
  HistoFileUp: "herwig"
  Samples: top
  Symmetrisation: ONESIDED
  Category: Theory

Systematic: "xsec_other"; "xsec_signal"
  Type: OVERALL
  OverallUp: 0.2; 0.05
  OverallDown: -0.1; -0.04
  Samples: other; signal
  Category: Theory
"""


def values(file: str, name: str = "HT") -> np.ndarray:
    return np.asarray(HISTOGRAMS[file][name][0], float)


def written(folder, config: str = CONFIG, name: str = "fit.config"):
    """A configuration with its ROOT files."""
    (folder / "inputs").mkdir(exist_ok=True)
    for file, histograms in HISTOGRAMS.items():
        with uproot.recreate(folder / "inputs" / f"{file}.root") as root:
            for key, (sums, squares) in histograms.items():
                made = hist.Hist(hist.axis.Variable(EDGES), storage=hist.storage.Weight())
                made.values()[...] = sums
                made.variances()[...] = sums if squares is None else squares
                root[key] = made
    (folder / name).write_text(config)
    return folder / name


def sample(workspace, name, channel="SR"):
    (found,) = [c for c in workspace["channels"] if c["name"] == channel]
    (own,) = [s for s in found["samples"] if s["name"] == name]
    return own


def varied(workspace, name, parameter):
    """Templates of a sample at plus and minus one standard deviation of a parameter."""
    own = sample(workspace, name)
    nominal = np.asarray(own["data"])
    kinds = {m["type"]: m["data"] for m in own["modifiers"] if m["name"] == parameter}
    norm = kinds.get("normsys", {"hi": 1.0, "lo": 1.0})
    shape = kinds.get("histosys", {"hi_data": nominal, "lo_data": nominal})
    return [np.asarray(shape[f"{side}_data"]) * norm[side] for side in ("hi", "lo")]


def test_yields_variations_and_factors(tmp_path):
    workspace = dt.Workspace.from_trexfitter(written(tmp_path))
    assert workspace.channels == ("SR",)
    assert workspace.data["SR"].tolist() == values("data").tolist()
    assert workspace.to_dict()["channels"][0]["edges"] == EDGES
    np.testing.assert_allclose(sample(workspace, "top")["data"], 2 * values("top"))
    np.testing.assert_allclose(sample(workspace, "other")["data"], 1.5 * values("other"))
    np.testing.assert_allclose(sample(workspace, "signal")["data"], 2 * values("signal"))

    half = (values("top", "HT_jesUp") - values("top", "HT_jesDown")) / 2
    up, down = varied(workspace, "top", "JES")
    np.testing.assert_allclose(up, 2 * (values("top") + half))
    np.testing.assert_allclose(down, 2 * (values("top") - half))
    up, down = varied(workspace, "top", "generator")
    np.testing.assert_allclose(up, 2 * values("herwig"))
    np.testing.assert_allclose(down, 2 * (2 * values("top") - values("herwig")))
    up, down = varied(workspace, "other", "xsec_other")
    np.testing.assert_allclose([up, down], np.outer([1.2, 0.9], 1.5 * values("other")))
    up, down = varied(workspace, "signal", "xsec_signal")
    np.testing.assert_allclose([up, down], np.outer([1.05, 0.96], 2 * values("signal")))
    for name in ("top", "signal"):  # shapes have the nominal yield
        own = sample(workspace, name)
        (shape,) = [m for m in own["modifiers"] if (m["name"], m["type"]) == ("JES", "histosys")]
        assert sum(shape["data"]["hi_data"]) == pytest.approx(sum(own["data"]))

    (measurement,) = workspace["measurements"]
    assert measurement["name"] == "search"
    assert measurement["config"] == {
        "poi": "mu_S",
        "parameters": [
            {"name": "k_top", "inits": [1.1], "bounds": [[0.5, 2.0]]},
            {"name": "mu_S", "inits": [1.0], "bounds": [[-5.0, 20.0]]},
        ],
    }
    content = workspace.to_dict()
    assert content["titles"] == {"top": "t#bar{t}"}
    assert content["groups"] == {
        "Jets": ["JES"],
        "Theory": ["generator", "xsec_other", "xsec_signal"],
    }


def test_statistics_of_the_simulation(tmp_path):
    """Relative to all samples; bins below the threshold have none."""
    workspace = dt.Workspace.from_trexfitter(written(tmp_path))
    scales = {"top": 2.0, "other": 1.5, "signal": 2.0}
    variances = {name: s**2 * np.array(HISTOGRAMS[name]["HT"][1]) for name, s in scales.items()}
    total = sum(s * values(name) for name, s in scales.items())
    relative = np.sqrt(sum(variances.values())) / total
    assert (relative > 0.05).tolist() == [False, True, True, True]
    for name in scales:
        (own,) = [m for m in sample(workspace, name)["modifiers"] if m["type"] == "staterror"]
        wanted = np.where(relative > 0.05, np.sqrt(variances[name]), 0.0)
        assert own["name"] == "staterror_SR"
        np.testing.assert_allclose(own["data"], wanted)


def test_the_likelihood_is_the_one_that_pyhf_makes_of_it(tmp_path):
    """And goes through a datacard with its expectation."""
    path = written(tmp_path)
    workspace = dt.Workspace.read(path)
    codes = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code0"}}
    model = workspace.model(modifier_settings=codes)
    theirs = pyhf.Workspace(dict(workspace)).model(modifier_settings=codes)
    assert model.config.par_names == theirs.config.par_names
    point = np.array(theirs.config.suggested_init())
    point[theirs.config.par_names.index("JES")] = 0.7
    np.testing.assert_allclose(model.expected(point), theirs.expected_actualdata(point), rtol=1e-12)
    assert theirs.spec["channels"] == workspace["channels"]

    workspace.write_datacard(tmp_path / "card.txt")
    back = dt.Workspace.from_datacard(tmp_path / "card.txt", poi="mu_S")
    for name in ("top", "other", "signal"):
        own, other = sample(workspace, name), sample(back, name)
        np.testing.assert_allclose(other["data"], own["data"], rtol=1e-12)
        for parameter in ("JES", "generator", "xsec_other"):
            np.testing.assert_allclose(
                varied(back, name, parameter), varied(workspace, name, parameter), rtol=1e-12
            )


def edited(*changes: tuple[str, str]) -> str:
    text = CONFIG
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text


def test_rebinning_and_bins_that_are_dropped(tmp_path):
    text = edited(('HistoName: "HT"\n', 'HistoName: "HT"\n  Binning: 10,20,80\n'))
    workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    assert sample(workspace, "top")["data"] == pytest.approx([60.0, 56.0])
    assert workspace.data["SR"].tolist() == [41.0, 42.0]
    text = edited(
        ("Lumi: 2.0", "MergeUnderOverFlow: TRUE"), ('"HT"\n', '"HT"\n  Binning: 10,20,40\n')
    )
    workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    assert sample(workspace, "top")["data"] == pytest.approx([70.0, 28.0])
    text = edited(('HistoName: "HT"\n', 'HistoName: "HT"\n  Rebin: 2\n  DropBins: 0\n'))
    workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    assert sample(workspace, "top")["data"] == pytest.approx([56.0])
    assert workspace.data["SR"].tolist() == [42.0]


def test_symmetrisation(tmp_path):
    """Of a variation with both sides up, in each of TRExFitter's ways."""
    both = HISTOGRAMS["top"]["HT_jesUp"][0], HISTOGRAMS["top"]["HT_jesDown"][0]
    up, down, nominal = (np.asarray(x) for x in (*both, HISTOGRAMS["top"]["HT"][0]))
    largest = np.where(np.abs(up - nominal) < np.abs(down - nominal), down, up)
    wanted = {
        "ONESIDED": (up, 2 * nominal - up),
        "ABSMEAN": (nominal + (up - nominal + nominal - down) / 2, None),
        "MAXIMUM": (largest, 2 * nominal - largest),
    }
    for how, (first, second) in wanted.items():
        text = edited(("Symmetrisation: TwoSided", f"Symmetrisation: {how}"))
        found = varied(dt.Workspace.from_trexfitter(written(tmp_path, text)), "top", "JES")
        second = 2 * nominal - first if second is None else second
        np.testing.assert_allclose(found, [2 * first, 2 * second], err_msg=how)
    text = edited(("  Symmetrisation: TwoSided\n", "  ScaleUp: SR:0.5\n  ScaleDown: 2\n"))
    found = varied(dt.Workspace.from_trexfitter(written(tmp_path, text)), "top", "JES")
    np.testing.assert_allclose(found[0], 2 * (nominal + 0.5 * (up - nominal)))
    np.testing.assert_allclose(found[1], 2 * (nominal + 2.0 * (down - nominal)))


def test_reference_samples_and_other_samples(tmp_path):
    ghost = '\nSample: "reference"\n  Type: GHOST\n  HistoFile: "pythia"\n'
    other = '\nSample: "alternative"\n  Type: GHOST\n  HistoFile: "herwig"\n'
    text = edited(
        ('  HistoFileUp: "herwig"\n', "  SampleUp: alternative\n"),
        ('\nSample: "Data"', f'{ghost}{other}\nSample: "Data"'),
    ).replace('HistoPath: "inputs"', 'HistoPath: "inputs"\n  StatOnly: FALSE')
    workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    np.testing.assert_allclose(varied(workspace, "top", "generator")[0], 2 * values("herwig"))
    assert "reference" not in workspace.samples

    text = text.replace(
        "  SampleUp: alternative\n", "  HistoFileUp: herwig\n  ReferenceSample: reference\n"
    )
    workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    ratio = values("herwig") / values("pythia")
    wanted = ratio * values("top")
    change = values("herwig").sum() / values("pythia").sum()
    wanted *= change / (wanted.sum() / values("top").sum())
    np.testing.assert_allclose(varied(workspace, "top", "generator")[0], 2 * wanted)


def test_decorrelation_pruning_and_names(tmp_path):
    text = edited(("  Smoothing: 40\n", "  Decorrelate: SAMPLE\n  NuisanceParameter: ATLAS_JES\n"))
    names = {name for name, _ in dt.Workspace.from_trexfitter(written(tmp_path, text)).modifiers}
    assert {"ATLAS_JES_top", "ATLAS_JES_signal"} <= names
    text = edited(("  Smoothing: 40\n", "  Decorrelate: SHAPEACC\n"))
    kinds = set(dt.Workspace.from_trexfitter(written(tmp_path, text)).modifiers)
    assert {("JES_Acc", "normsys"), ("JES_Shape", "histosys")} <= kinds
    text = edited(("Lumi: 2.0", "SystPruningNorm: 0.06"))
    workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    names = {name for name, _ in workspace.modifiers}
    assert "xsec_signal" not in names
    assert "xsec_other" in names
    text = edited(("Lumi: 2.0", "StatOnly: TRUE"))
    kinds = {kind for _, kind in dt.Workspace.from_trexfitter(written(tmp_path, text)).modifiers}
    assert kinds == {"normfactor"}


def test_bins_without_events(tmp_path, monkeypatch, caplog):
    """Are 1e-6 at the same yield, with the smallest uncertainty of others."""
    sums, squares = [5.0, 0.0, -1.0, 1.0], [0.5, 0.0, 0.4, 0.1]
    monkeypatch.setitem(HISTOGRAMS["other"], "HT", (sums, squares))
    text = edited(("MCstatThreshold: 0.05", "SystPruningShape: 0"))
    with caplog.at_level(logging.WARNING, "difftune"):
        workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    wanted = np.array([7.5, 1e-6, 1e-6, 1.5]) * (7.5 / 9.000002)
    own = sample(workspace, "other")
    np.testing.assert_allclose(own["data"], wanted)
    (errors,) = [m["data"] for m in own["modifiers"] if m["type"] == "staterror"]
    np.testing.assert_allclose(errors, 1.5 * np.sqrt([0.5, 0.1, 0.4, 0.1]))
    assert "other in SR" in caplog.text


def test_expectation_in_place_of_data(tmp_path, caplog):
    text = edited(("  UseMinos", "  FitBlind: TRUE\n  POIAsimov: 2\n  UseMinos"))
    with caplog.at_level(logging.WARNING, "difftune"):
        workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    wanted = 2.2 * values("top") + 1.5 * values("other") + 4 * values("signal")
    np.testing.assert_allclose(workspace.data["SR"], wanted)
    assert "are the expectation at mu_S = 2, as FitBlind asks for" in caplog.text
    assert "JES are as in the files, not smooth" in caplog.text


def test_several_files_regions_and_separate_gammas(tmp_path):
    text = edited(
        (
            'HistoFile: "top"',
            'HistoFiles: "top","herwig"\n  LumiScales: 1,0.5\n  SeparateGammas: TRUE',
        ),
        ("Type: VALIDATION", "Type: CONTROL"),
        ("Samples: top\n  Symmetrisation", "Samples: top\n  Exclude: VR\n  Symmetrisation"),
        (
            "Samples: top,signal\n",
            "Samples: top,signal\n  Regions: SR\n  ExcludeRegionSample: SR:signal\n",
        ),
        ('  HistoFileUp: "herwig"\n', '  HistoFilesUp: "herwig","top"\n'),
    )
    text = text.replace('HistoName: "HT_VR"', 'HistoName: "HT"\n  DropBins: 3')
    text = text.replace('  HistoNameSufDown: "_jesDown"\n', "").replace(
        "Symmetrisation: TwoSided\n", "Symmetrisation: ONESIDED\n"
    )
    text = text.replace(
        '  HistoNameSufUp: "_jesUp"\n', "  HistoNamesUp: HT\n  HistoFilesUp: herwig,top\n"
    )
    workspace = dt.Workspace.from_trexfitter(written(tmp_path, text))
    assert workspace.channels == ("SR", "VR")
    nominal = 2 * (values("top") + 0.5 * values("herwig"))
    np.testing.assert_allclose(sample(workspace, "top")["data"], nominal)
    np.testing.assert_allclose(sample(workspace, "top", "VR")["data"], nominal[:3])
    up = 2 * (values("herwig") + 0.5 * values("top"))
    np.testing.assert_allclose(varied(workspace, "top", "JES")[0], up)
    names = {m["name"] for m in sample(workspace, "signal")["modifiers"]}
    assert "JES" not in names
    kinds = {m["type"]: m for m in sample(workspace, "top")["modifiers"]}
    assert "staterror" not in kinds
    squares = 4 * (np.array(HISTOGRAMS["top"]["HT"][1]) + 0.25 * 4.0)
    np.testing.assert_allclose(kinds["shapesys"]["data"], np.sqrt(squares))
    text = text.replace("  UseMinos", "  FitRegion: VR\n  UseMinos")
    assert dt.Workspace.from_trexfitter(written(tmp_path, text)).channels == ("VR",)


@pytest.mark.parametrize(
    ("old", "new", "where", "message"),
    [
        ("Lumi: 2.0", "Lumy: 2.0", "Lumy", r"Lumy is not known. Did you mean 'Lumi'\?"),
        ("Lumi: 2.0", "Lumi: two", "Lumi: two", "Lumi has 'two', which is no number"),
        ("Lumi: 2.0", "CustomAsimov: x", "CustomAsimov", "CustomAsimov is not taken over.*asimov"),
        ('\n  Label: "S', '\n\n  Label: "S', 'Label: "Search', "Label begins no block"),
        ("Limit: ", "Limits: ", "Limits", "Limits begins no block. Did you mean 'Limit'"),
        ('Label: "Si', 'Label "Si', 'Label "Si', "no line 'KEY: VALUE'"),
        ("Type: VALIDATION", "Type: CHECK", "Type: CHECK", "'CHECK': give one of SIGNAL"),
        ('File: "top"', 'File: "tops"', 'Sample: "top"', "there is no .*tops.root"),
        ("_jesUp", "_jesup", 'Systematic: "JES', "no .*HT_jesup'. Did you mean 'HT_jesUp'"),
        ("top,signal", "top,signals", "Samples: top,", "names 'signals', which is not there"),
        ("Type: OVERALL", "Type: SHAPE", "Type: SHAPE", "Type SHAPE is not taken over"),
        ("Smoothing: 40", "IsFreeParameter: TRUE", "IsFree", "is a NormFactor"),
        ("ReadFrom: HIST", "ReadFrom: NTUP", "ReadFrom", "difftune init"),
        ('POI: "mu_S"', 'POI: "mu"', "POI", "'mu' is no NormFactor"),
        ("Nominal: 1.1", "Nominal: 3", 'NormFactor: "k', "'k_top' starts at 3, outside of 0.5"),
        ('HistoFile: "signal"', "Morphing: m,1", "Morphing", "no morphing"),
        ("Type: SIGNAL\n", 'Binning: "AutoBin","TransfoD",3,3\n', "Binning", "AutoBin"),
        ("Type: SIGNAL\n", "Binning: 0,15,80\n", "Binning", "edges of the histogram"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_line(tmp_path, old, new, where, message):
    text = CONFIG.replace(old, new, 1)
    path = written(tmp_path, text)
    line = 1 + text[: text.index(where)].count("\n")
    with pytest.raises(InputError, match=message) as error:
        dt.Workspace.from_trexfitter(path)
    assert f"{path}, line {line}: " in str(error.value)


def test_on_the_command_line_and_from_a_folder_of_configs(tmp_path):
    (tmp_path / "config").mkdir()
    written(tmp_path)
    config = tmp_path / "config" / "fit.config"
    config.write_text(CONFIG)
    assert read_file(config)["channels"] == read_file(tmp_path / "fit.config")["channels"]
    done = CliRunner().invoke(cli, ["fit", str(config), "fit", "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert "mu_S" in found["fit"]["names"]
    with pytest.raises(InputError, match="Say from where the paths go"):
        dt.Workspace.from_trexfitter(config, folder=tmp_path / "config")


def test_replacements(tmp_path):
    (tmp_path / "replace.txt").write_text("% values\nXXX_LUMI: 2.0\n")
    text = edited(("Lumi: 2.0", "Lumi: XXX_LUMI\n  ReplacementFile: replace.txt"))
    found = dt.Workspace.from_trexfitter(written(tmp_path, text))
    assert found["channels"] == dt.Workspace.from_trexfitter(written(tmp_path))["channels"]

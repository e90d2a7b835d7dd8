"""`difftune init` of a TRExFitter configuration: what it says is in the analysis file, or asked."""

import numpy as np
import pytest
from click.testing import CliRunner

from difftune.cli import cli
from difftune.errors import InputError
from difftune.job import build, draft, load
from tests.job.small import write_small

CONFIG = """
Job: "small"
  POI: "mu_t"
  ReadFrom: NTUP
  NtuplePaths: "inputs"
  NtupleFile: small
  MCweight: "weight*1e0"
  Selection: "top_mass>0 && !(mtw<0)"
  Lumi: 2
  Label: "Small"

Fit: "fit"
  FitType: SPLUSB

Region: "SR"
  Type: SIGNAL
  Variable: "top_mass",4,100,300
  VariableTitle: "m_{t} [GeV]"
  Selection: "mtw>60 || top_mass>200"

Region: "CR"
  Type: CONTROL
  Variable: "TMath::Abs(mtw)"
  Binning: 0,20,40,60
  Selection: "mtw<=60 && top_mass<=200"

Sample: "t"
  Type: SIGNAL
  NtupleName: tchannel

Sample: "tt"
  Title: "t#bar{t}"
  NtupleName: ttbar
  LumiScale: 0.5
  MCweight: "1.0"

Sample: "W"
  NtupleName: wjets
  NormalizedByTheory: FALSE
  MCweight: "weight"
  Selection: "mtw>1"

NormFactor: "mu_t"
  Samples: t
  Min: -5
  Max: 5

NormFactor: "k_W"
  Samples: W
  Min: 0.2
  Max: 3

Systematic: "btag"
  NuisanceParameter: "ATLAS_btag"
  WeightSufUp: "weight_btag_up/weight"
  WeightSufDown: "weight_btag_down/weight"
  Samples: t,tt
  Smoothing: 40
  Symmetrisation: TWOSIDED

Systematic: "scale"
  WeightUp: "weight_btag_up"
  Samples: tt

Systematic: "JES"
  NtupleNameSufUp: "_jes_up"
  NtupleNameSufDown: "_jes_down"
  Samples: tt

Systematic: "generator"
  NtupleFileUp: "other"
  WeightSufUp: 0.5
  Samples: W
  Regions: SR

Systematic: "xsec"
  Type: OVERALL
  OverallUp: 0.06
  OverallDown: -0.05
  Samples: all
  Exclude: t

Systematic: "odd"
  Type: SHAPE
  Samples: W
"""


def drafted(folder, config: str = CONFIG):
    (folder / "inputs").mkdir(exist_ok=True)
    write_small(folder / "inputs")
    (folder / "fit.config").write_text(config)
    made = draft(folder / "fit.config", folder / "analysis.toml")
    return load(folder / "analysis.toml"), made


def test_samples_regions_weights_and_uncertainties(tmp_path):
    found, made = drafted(tmp_path)
    assert found.general.name == "small"
    assert found.general.titles == {"tt": r"$t\bar{t}$"}
    assert found.data.selection == "top_mass>0 and not (mtw<0)"
    assert found.data.features == ["top_mass", "abs(mtw)"]
    assert found.data.weight == "(2.0) * (weight*1e0)"
    assert [(s.name, s.role, s.tree, s.weight, s.selection) for s in found.samples] == [
        ("t", "signal", "tchannel", None, None),
        ("tt", "background", "ttbar", "(0.5) * ((2.0) * (weight*1e0)) * (1.0)", None),
        ("W", "background", "wjets", "weight", "mtw>1"),
    ]
    assert made.text.count('files = "inputs/small.root"') == 3
    assert [(r.name, r.role, r.observable, r.edges) for r in found.regions] == [
        ("SR", "signal", None, None),
        ("CR", "control", "abs(mtw)", [0.0, 20.0, 40.0, 60.0]),
    ]
    assert "# edges = [100, 150, 200, 250, 300]" in made.text
    assert found.regions[0].selection == "mtw>60 or top_mass>200"
    assert [(f.name, f.samples, f.bounds) for f in found.norm_factors] == [
        ("k_W", ["W"], [0.2, 3.0])
    ]
    systematics = {s.name: s for s in found.systematics}
    assert set(systematics) == {"ATLAS_btag", "scale", "JES", "generator", "xsec"}
    assert systematics["ATLAS_btag"].up == "{weight} * (weight_btag_up/weight)"
    assert systematics["ATLAS_btag"].samples == ["t", "tt"]
    assert systematics["scale"].up == "(0.5) * ((2.0) * (weight*1e0)) * (weight_btag_up)"
    assert systematics["scale"].down is None
    assert (systematics["JES"].up, systematics["JES"].down) == ("ttbar_jes_up", "ttbar_jes_down")
    assert systematics["generator"].files_up.endswith("inputs/other.root")
    assert (systematics["xsec"].up, systematics["xsec"].down) == (0.06, -0.05)
    assert systematics["xsec"].samples == ["tt", "W"]
    assert found.fit.noise == "smooth"


def test_what_has_no_place_is_asked_with_its_line(tmp_path):
    _, made = drafted(tmp_path, CONFIG.replace("Samples: W\n  Min", "Samples: W\n  Tau: 2\n  Min"))
    lines = [question for question in made.questions if question.startswith("line ")]
    text = CONFIG.replace("Samples: W\n  Min", "Samples: W\n  Tau: 2\n  Min")

    def number(where: str) -> int:
        return 1 + text[: text.index(where)].count("\n")

    assert lines == [
        f"line {number('Tau')}, NormFactor 'k_W': Tau: 2 is not taken over",
        f"line {number('Regions: SR')}, Systematic 'generator': in all regions here, not in SR",
        f"line {number('WeightSufUp: 0.5')}, Systematic 'generator': varied events of other files "
        "have the nominal weight: write a copy of them that has 0.5 in it",
        f"line {number('Type: SHAPE')}, Systematic 'odd': an uncertainty of type SHAPE has no "
        "counterpart",
    ]
    assert any("not made symmetric: btag" in question for question in made.questions)


@pytest.mark.slow
def test_events_are_those_of_the_configuration(tmp_path):
    """Yields against numpy on the columns."""
    import uproot

    text = CONFIG[: CONFIG.index('Systematic: "generator"')]
    _, made = drafted(tmp_path, text)
    answered = made.text.replace('# event_number = "eventNumber"', 'event_number = "event_number"')
    (tmp_path / "analysis.toml").write_text(answered)
    events = build.events(load(tmp_path / "analysis.toml"))
    with uproot.open(tmp_path / "inputs" / "small.root") as file:
        columns = {t: file[t].arrays(library="np") for t in ("tchannel", "ttbar", "wjets")}
    wanted = {"t": ("tchannel", 2.0, 0.0), "tt": ("ttbar", 1.0, 0.0), "W": ("wjets", 1.0, 1.0)}
    for name, (tree, scale, least) in wanted.items():
        own = columns[tree]
        keep = (own["top_mass"] > 0) & ~(own["mtw"] < 0)
        keep &= own["mtw"] > least if least else True
        total = scale * own["weight"][keep].sum()
        index = [process.name for process in events.processes].index(name)
        assert events.weight[events.process == index].sum() == pytest.approx(total, rel=1e-5)


def test_the_command_and_what_is_refused(tmp_path):
    drafted(tmp_path)
    made = CliRunner().invoke(
        cli, ["init", str(tmp_path / "fit.config"), "--output", str(tmp_path / "other.toml")]
    )
    assert made.exit_code == 0, made.output
    assert "Look at the lines marked EDIT" in made.output
    (tmp_path / "hist.config").write_text(CONFIG.replace("ReadFrom: NTUP", "ReadFrom: HIST"))
    with pytest.raises(InputError, match="reads histograms, which are a likelihood already"):
        draft(tmp_path / "hist.config")
    text = CONFIG.replace('  NtuplePaths: "inputs"\n', "")
    (tmp_path / "none.config").write_text(text)
    with pytest.raises(InputError, match="line 26: Sample 't': nothing says its NtuplePath"):
        draft(tmp_path / "none.config")
    assert np.char.startswith(draft(tmp_path / "fit.config").text, "# Written by `difftune init`")

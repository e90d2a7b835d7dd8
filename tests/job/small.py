"""A small analysis on a part of the single-top sample, quick enough to run whole."""

from pathlib import Path

import numpy as np
import uproot

SAMPLE = Path(__file__).parents[2] / "examples" / "single_top" / "single_top.root"
PROCESSES = ("tchannel", "ttbar", "wjets")
FEATURES = ("lightjet_abs_eta", "top_mass", "mtw", "lepton_charge", "jet3_pt")
CONFIG = """
[general]
name = "small"

[data]
files = "small.root"
weight = "weight"
event_number = "event_number"
cross_fit = false
missing = -999
features = ["lightjet_abs_eta", "top_mass", "mtw", "lepton_charge", "jet3_pt", "log_mass"]

[data.derived]
log_mass = "log(top_mass)"

[[samples]]
name = "tchannel"
role = "signal"
tree = "tchannel"

[[samples]]
name = "ttbar"
tree = "ttbar"

[[samples]]
name = "wjets"
tree = "wjets"

[[systematics]]
name = "btag"
type = "weight"
up = "weight_btag_up"
down = "weight_btag_down"

[[systematics]]
name = "jes"
type = "tree"
up = "{tree}_jes_up"
down = "{tree}_jes_down"

[[systematics]]
name = "xsec_ttbar"
type = "normalisation"
up = 0.06
samples = ["ttbar"]

[fit]
luminosity_uncertainty = 0.0083
bins = 5

[model]
hidden = [8]

[[objective]]
name = "cross_entropy"

[training]
batch_size = 256
score = "significance"

[search]
population = 4
rounds = 3
epochs_per_round = 1

[space]
learning_rate = { log_uniform = [1e-3, 1e-2] }
dropout = { uniform = [0.0, 0.3] }

[comparison]
seeds = 2
repetitions = 2
replicas = 2
"""


def changed(path: Path, *changes: tuple[str, str]) -> None:
    """Replaces parts of an analysis file, all of which must be there."""
    text = path.read_text()
    for before, after in changes:
        assert before in text
        text = text.replace(before, after)
    path.write_text(text)


def write_small(folder: Path, *, events: int = 1500) -> Path:
    """Writes `small.root`, the first events of some trees, and `small.toml`; returns the latter."""
    branches = [*FEATURES, "event_number", "weight"]
    with uproot.open(SAMPLE) as whole, uproot.recreate(folder / "small.root") as part:
        for process in PROCESSES:
            last = whole[process]["event_number"].array(library="np")[events - 1 :][:1]
            for suffix in ("", "_jes_up", "_jes_down"):
                more = [] if suffix else ["weight_btag_up", "weight_btag_down"]
                columns = whole[process + suffix].arrays(branches + more, library="np")
                # Cut at the same event in nominal and varied trees.
                kept = columns["event_number"] <= (last[0] if len(last) else np.inf)
                part[process + suffix] = {name: values[kept] for name, values in columns.items()}
    config = folder / "small.toml"
    config.write_text(CONFIG)
    return config

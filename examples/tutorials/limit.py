# %% [markdown]
# # From ntuples to a limit
#
# This tutorial goes from ROOT files with systematic variations to an upper limit on a signal: read,
# tune, choose bins, fit, test. It makes its own small ntuples, so that you can change everything;
# with your own files leave out the first part.

# %%
import tempfile
from pathlib import Path

import numpy as np
import uproot

import difftune as dt

dt.use_cpu_cores()
folder = Path(tempfile.mkdtemp())
rng = np.random.default_rng(1)

# %% [markdown]
# ## Ntuples
#
# A new particle decays to two jets of its mass, which the background does not know. The energy
# scale of the jets is known to 2 % only: the trees `nominal_jes_up` and `nominal_jes_down` hold the
# events that would be there if it were wrong by that much. A second uncertainty, of the
# *b*-tagging, changes weights and leaves the events as they are. The data contain no signal.


# %%
def made_up(count, *, signal):
    """Jets of events, before anything is uncertain."""
    mass = rng.normal(300, 40, count) if signal else 150 + rng.exponential(120, count)
    return {
        "event_number": rng.permutation(count),
        "mass": mass,
        "jet_pt": mass * rng.uniform(0.2, 0.6, count),
        "met": rng.exponential(70 if signal else 40, count),
    }


def write(name, jets, *, expected=None):
    """A file with nominal and varied trees; data have no weights and no variations."""
    with uproot.recreate(folder / f"{name}.root") as file:
        scales = {"nominal": 1.0}
        if expected:
            jets["weight"] = np.full(len(jets["mass"]), expected / len(jets["mass"]))
            tilt = 0.05 * np.tanh(jets["jet_pt"] / 150)
            jets["weight_btag_up"] = jets["weight"] * (1 + tilt)
            jets["weight_btag_down"] = jets["weight"] * (1 - tilt)
            scales |= {"nominal_jes_up": 1.02, "nominal_jes_down": 0.98}
        for tree, scale in scales.items():
            varied = jets | {key: scale * jets[key] for key in ("mass", "jet_pt")}
            file.mktree(tree, {key: values.dtype for key, values in varied.items()})
            file[tree].extend(varied)


write("signal", made_up(8000, signal=True), expected=60)
write("background", made_up(20_000, signal=False), expected=3000)
write("data", made_up(rng.poisson(3000), signal=False))

# %% [markdown]
# ## Reading them
#
# `{tree}` stands for the name of the nominal tree. Each variation becomes one *nuisance parameter*
# of the fit, which may move by about one standard deviation between "down" and "up".

# %%
events = dt.read(
    processes=[
        dt.Process(name="signal", role="signal", files=folder / "signal.root", tree="nominal"),
        dt.Process(name="background", files=folder / "background.root", tree="nominal"),
        dt.Process(name="data", role="data", files=folder / "data.root", tree="nominal"),
    ],
    features=["mass", "jet_pt", "met"],
    weight="weight",
    event_number="event_number",
    variations=[
        dt.WeightVariation("btag", up="weight_btag_up", down="weight_btag_down"),
        dt.TreeVariation("jes", up="{tree}_jes_up", down="{tree}_jes_down"),
    ],
)

# %% [markdown]
# ## A small search
#
# *Population-based training* trains several networks side by side. After each round the worse ones
# go on from copies of the better ones, with changed hyperparameters. The ranking has all of them by
# their *selection score*: the validation score less two of its statistical errors, so that the
# luckiest one does not win.

# %%
recipe = dt.Recipe(model=dt.models.MLP(hidden=(16, 16)), batch_size=512)
tuned = dt.tune(
    events,
    recipe,
    space=dt.Space(learning_rate=dt.log_uniform(1e-3, 3e-2), dropout=dt.uniform(0.0, 0.3)),
    search=dt.search.PBT(population=4, rounds=3, epochs_per_round=3),
    seed=1,
    on_round=lambda progress: print(f"round {progress.round}: {progress.selection_score:.3f}"),
)
for rank in tuned.ranking:
    values = ", ".join(f"{name} {value:.2g}" for name, value in rank.hyperparameters.items())
    print(f"member {rank.member}: selection score {rank.selection_score:.3f}, {values}")

# %% [markdown]
# ## Bins and templates
#
# `Exact` finds the edges with the largest significance on training and validation events, as long
# as each bin has enough background. The *templates* are histograms of the test events, nominal and
# varied; the band in the figure is the uncertainty before the fit.

# %%
result = dt.measure(tuned.network, tuned.split, binning=dt.binning.Exact(bins=6))
print(f"expected significance: {result.stat_only:.2f} stat-only, {result.expected:.2f} in all")
dt.report.region(result.templates)

# %% [markdown]
# ## Fit and limit
#
# `result.workspace` is a pyhf workspace: write it with `json.dumps`, and pyhf reads it. The same
# likelihood is fitted here. `mu` is the *signal strength*: 0 without signal, 1 with that of the
# simulation.

# %%
model = dt.histfactory.Model.from_spec(result.workspace)
print("mu =", dt.inference.fit(model).parameter("mu"))

# %% [markdown]
# The upper limit at 95 % confidence level is the signal strength whose CLs is 5 %. The expected
# limits are those without a signal: the median, and what 68 % and 95 % of experiments would find.

# %%
limit = dt.inference.upper_limit(model)
down2, down1, median, up1, up2 = limit.expected
print(f"observed: mu < {limit.observed:.2f}")
print(f"expected: mu < {median:.2f}")
print(f"68 % of experiments: {down1:.2f} to {up1:.2f}, 95 %: {down2:.2f} to {up2:.2f}")

# %% [markdown]
# Which uncertainty matters most? An *impact* is the change of the fitted strength when one
# parameter is moved by its uncertainty.

# %%
ranking = dt.inference.impacts(model, bounds={"mu": (-10.0, 10.0)})
for name, up, down in zip(ranking.names, ranking.up, ranking.down, strict=True):
    print(f"{name:<40} {up:+.3f} {down:+.3f}")

# %% [markdown]
# # My first network
#
# This tutorial trains one network on a simulated sample, looks at what it learned, and asks how
# significant the signal is in bins of its score. The sample comes with the repository: single top
# in the t-channel, and what looks like it. `dt.use_cpu_cores()` makes each core of a CPU a device
# of its own, and must be called before JAX computes anything.

# %%
import logging
import sys
from pathlib import Path

import difftune as dt

dt.use_cpu_cores()
logging.basicConfig(stream=sys.stdout, format="%(message)s")
logging.getLogger("difftune").setLevel("INFO")

# %% [markdown]
# ## Events
#
# `dt.read` takes files with one row per event. Each *process* is a tree here, and one of them is
# the signal. The *weight* of an event is the number of events that it stands for: the weights of a
# process add up to its expected yield. Weights may be negative. The *event number* decides the
# *fold* of an event: by default the folds 0, 1 and 2 train, 3 validates, and 4 is the test.

# %%
events = dt.read(
    Path(__file__).parents[1] / "single_top" / "single_top.root",
    processes=[
        dt.Process(name="tchannel", role="signal", tree="tchannel"),
        dt.Process(name="ttbar", tree="ttbar"),
        dt.Process(name="wjets", tree="wjets"),
    ],
    features=["lightjet_abs_eta", "top_mass", "mtw", "lepton_charge", "ht", "delta_eta_lj"],
    weight="weight",
    event_number="event_number",
)
names = [process.name for process in events.processes]
roles = [process.role for process in events.processes]
print(dt.report.samples_table(events.process, events.weight, names, roles).text())

# %% [markdown]
# ## Training
#
# A *recipe* says how a network is trained. What is not said has a default: the loss (*objective*)
# is the cross-entropy, and the score on the validation events (*metric*) is the expected
# significance in ten bins. An *epoch* is one pass over the training events. The weights of the best
# epoch are kept, and the log has a table of the epochs.

# %%
recipe = dt.Recipe(model=dt.models.MLP(hidden=(32, 32)), batch_size=512)
network = dt.train(events, recipe, epochs=8)

# %% [markdown]
# ## What it learned
#
# A `Split` gives the parts of the events, each scaled to the full yields. The network has not seen
# the test events. Where training and test differ by more than chance, the network is overtrained;
# the *p*-values of the Kolmogorov-Smirnov test in the legend would be small then.

# %%
split = dt.analysis.Split(events=events)
train, test = split.train, split.test
score = network.score(test)
dt.report.score_distributions(
    network.score(train), train.weight, train.label == 1, score, test.weight, test.label == 1
)

# %% [markdown]
# The curve of a good network lies above that of its best input alone.

# %%
inputs = {"network": score, "light jet's |eta| alone": test.features[:, 0]}
dt.report.roc(inputs, test.weight, test.label == 1)

# %% [markdown]
# ## How significant is the signal?
#
# `dt.measure` chooses bins on training and validation events and fills them with test events. Here
# nothing is uncertain but the simulation's own statistics; the next tutorial adds systematic
# uncertainties and sets a limit.

# %%
result = dt.measure(network, split, bins=8)
print(f"stat-only {result.stat_only:.0f}, with simulation statistics {result.expected:.0f}")
dt.report.region(result.templates)

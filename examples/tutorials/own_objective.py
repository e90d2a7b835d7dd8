# %% [markdown]
# # My own objective and model
#
# A loss and a network of your own are an ordinary function and an ordinary Flax module. They need
# no registration. This tutorial writes one of each, trains them next to the built-in ones, and
# searches a hyperparameter of their own.

# %%
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import difftune as dt

dt.use_cpu_cores()
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

# %% [markdown]
# ## An objective
#
# An *objective* returns the number that a network minimises. `scores` are the logits of the events
# of a batch. `batch.weight` are physics weights, scaled up such that the batch stands for the full
# yields: an objective that counts events sees expected events. JAX differentiates the function, so
# it uses `jax.numpy`, and no `if` on values.
#
# This one is minus the logarithm of *s* / √(*b* + (*εb*)²) above a soft cut. The uncertainty *ε* of
# the background is a hyperparameter that may be given, with a default of 5 %.


# %%
def cut_and_count(scores, batch, hyperparameters, parameters):
    """Minus ln of the significance above a soft cut, with an uncertain background."""
    relative = hyperparameters.get("background_uncertainty", 0.05)
    passes = batch.weight * jax.nn.sigmoid(scores)
    s = jnp.sum(passes * batch.label)
    b = jnp.sum(passes * (1 - batch.label))
    return jnp.log(b + (relative * b) ** 2) / 2 - jnp.log(s)


# %% [markdown]
# ## A model
#
# A *model* is called with the numbers of inputs and outputs and returns a network.
# `dt.Hyperparameter` declares a number that a search may choose, for each network its own; here it
# is the strength of a shortcut around the second layer.


# %%
class Residual(nnx.Module):
    """Two layers, the second one around a shortcut."""

    def __init__(self, inputs, outputs, *, rngs):
        self.first = nnx.Linear(inputs, 32, rngs=rngs)
        self.second = nnx.Linear(32, 32, rngs=rngs)
        self.strength = dt.Hyperparameter.named("shortcut", 1.0)
        self.output = nnx.Linear(32, outputs, rngs=rngs)

    def __call__(self, x):
        """Logits of the events."""
        x = nnx.relu(self.first(x))
        return self.output(self.strength[...] * x + nnx.relu(self.second(x)))


# %% [markdown]
# ## Next to the built-in ones
#
# Both are trained for as many epochs, and compared by the figure that counts in the end, on test
# events. `dt.train(events, recipe, objective=...)` changes one part of a recipe.

# %%
recipe = dt.Recipe(model=Residual, batch_size=512)
networks = {
    "cross-entropy": dt.train(events, recipe, epochs=6),
    "cut and count": dt.train(events, recipe, objective=cut_and_count, epochs=6),
}
split = dt.analysis.Split(events=events)
for name, network in networks.items():
    print(f"{name}: significance {dt.measure(network, split, bins=8).stat_only:.0f}, stat-only")

# %% [markdown]
# The curves show what the objectives want: cross-entropy orders all events by their probability to
# be signal, and the cut only cares which side of it they are on.

# %%
test = split.test
signal = np.asarray(test.label == 1)
dt.report.roc(
    {name: network.score(test) for name, network in networks.items()}, test.weight, signal
)

# %% [markdown]
# ## A search over both
#
# Objectives add. The weight of a sum is a hyperparameter as soon as it has a name, so a search
# finds how much of each pays, along with the shortcut's strength. Each member of the population is
# scored by the same metric, whatever it minimises.

# %%
tuned = dt.tune(
    events,
    recipe,
    objective=dt.objectives.CrossEntropy() + "share" * dt.objectives.as_objective(cut_and_count),
    space=dt.Space(share=dt.log_uniform(0.01, 1.0), shortcut=dt.uniform(0.0, 2.0)),
    search=dt.search.PBT(population=4, rounds=2, epochs_per_round=3),
    seed=1,
)
best = tuned.ranking[0]
print({name: round(value, 3) for name, value in best.hyperparameters.items()})
print(f"significance {dt.measure(tuned.network, tuned.split, bins=8).stat_only:.0f}, stat-only")

# %% [markdown]
# In an analysis file the objective is `name = "mine.py:cut_and_count"` of an `[[objective]]`, and
# the network `module = "mine.py:Residual"` of `[model]`. [Extending](../extending.md) has metrics,
# search strategies, optimizers and overtraining conditions, too.

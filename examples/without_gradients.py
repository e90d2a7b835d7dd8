"""The significance above a cut, and a function of numpy, minimised as they are: without a gradient.

    python examples/without_gradients.py [--quick]

Cross-entropy makes a network of single top; from its weights an evolution strategy goes on with the
significance above the best cut that keeps a quarter of the signal, or with a function of numpy.
"""

# %% Set up
import argparse
from pathlib import Path

import numpy as np

import difftune as dt
from difftune.objectives import AUC, CrossEntropy, CutSignificance, NumpyLoss
from difftune.search import FixedSchedule
from difftune.training import EvolutionStrategy, ScoreGap

FILE = Path(__file__).parent / "single_top" / "single_top.toml"


def impure(scores, batch):
    """Share of the background among events that pass a cut which keeps 30 % of the signal."""
    signal = batch.label == 1
    cut = np.quantile(scores[signal], 0.7)
    s, b = (batch.weight[each & (scores > cut)].sum() for each in (signal, ~signal))
    return b / (s + b)


# %% All of it
if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few events and steps: it works")
    quick = parser.parse_args().quick
    config = dt.job.load(FILE).model_copy(update={"systematics": []})
    events = dt.job.build.events(config)
    if quick:
        events = events.select(lambda sample: sample.number % 16 == 0)
    epochs, steps, perturbations = (1, 1, 8) if quick else (10, 10, 128)

    def once(length):
        return FixedSchedule(population=1, rounds=1, epochs_per_round=length, schedule={})

    plain = {"model": dt.models.MLP(hidden=(30, 30)), "overtraining": ScoreGap(limit=1.0)}
    first = dt.Recipe(objective=CrossEntropy(), **plain)
    cut, own = CutSignificance(), NumpyLoss(impure)
    ways = [("a function of numpy", own, AUC()), ("significance above a cut", cut, cut)]
    for name, loss, score in ways[:1] if quick else ways:
        without = dt.Recipe(
            objective=loss,
            metric=score,
            **plain,
            optimizer=EvolutionStrategy(perturbations=perturbations),
            hyperparameters={"learning_rate": 3e-3, "sigma": 0.02, "schedule": 1},
            batch_size=1024 if quick else 8192,
        )
        stage = dt.Stage(name=name, recipe=without, search=once(steps))
        tuned = dt.tune(events, first, search=once(epochs), stages=[stage])
        print(f"{name}: validation score {tuned.ranking[0].score:.4f}", flush=True)

"""A search on real analysis events: the ATLAS Higgs challenge."""

import functools
from dataclasses import replace

import numpy as np
import pytest

from difftune.data import FeatureTransform
from difftune.models import MLP
from difftune.objectives import CrossEntropy, Significance
from difftune.search import PBT, Random, Space, log_uniform, run_search, uniform
from difftune.training import AS_SCORED, Columns, Population, Recipe, training_weights
from tests import shared_data


@pytest.fixture(scope="module")
def population() -> Population:
    read = functools.partial(
        np.genfromtxt,
        shared_data.path("events/higgsml_15000.csv.gz"),
        delimiter=",",
        skip_header=1,
    )
    table = read(usecols=range(1, 32))
    label = (read(usecols=32, dtype=str) == "s").astype(np.int32)
    features = np.where(table[:, :30] == -999, np.nan, table[:, :30]).astype(np.float32)
    weight, full = table[:, 30], np.bincount(label, table[:, 30])
    training = np.arange(len(label)) % 5 < 3
    transform = FeatureTransform.fit(features[training], weight[training])

    def split(mask: np.ndarray) -> Columns:
        y = label[mask]
        scaled = weight[mask] * (full / np.bincount(y, weight[mask]))[y]
        return Columns(
            features=transform(features[mask]),
            process=y,
            label=y,
            weight=scaled.astype(np.float32),
            training_weight=training_weights(scaled, y),
            signal_process=np.array([0.0, 1.0], np.float32),
        )

    return Population(
        recipe=Recipe(
            model=MLP(hidden=(16,)),
            objective=CrossEntropy(),
            metric=Significance(),
            batch_size=512,
            selection_rule=AS_SCORED,
        ),
        train=split(training),
        validation=split(~training),
        members=8,
    )


@pytest.mark.slow
def test_pbt_improves_on_its_start_and_on_a_bad_default(population):
    size = {"population": 8, "rounds": 4, "epochs_per_round": 3}
    space = Space(learning_rate=log_uniform(1e-5, 3e-2), signal_weight=uniform(0.5, 2.0))
    best = []
    tuned = run_search(population, PBT(**size), space, on_round=lambda p: best.append(p.best))
    slow = replace(population.recipe, hyperparameters={"learning_rate": 1e-5})
    bad = replace(population, recipe=slow)
    default = run_search(bad, Random(**size), Space())
    score = np.max(tuned.best.score)
    # All weights together are a counting experiment: what no classifier at all would give.
    data = population.validation
    s, b = data.weight[data.label == 1].sum(), data.weight[data.label == 0].sum()
    counting = np.sqrt(2 * ((s + b) * np.log1p(s / b) - s))
    assert best == sorted(best)
    assert score > 1.1 * best[0]
    assert score > 1.5 * np.max(default.best.score)
    assert score > 2.5 * counting
    assert not any(status.startswith("diverged") for status in tuned.history.status)

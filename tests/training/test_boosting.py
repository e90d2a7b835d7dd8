"""Reweighting between rounds, and going on with other weights."""

import numpy as np
import pytest

from difftune.errors import InputError
from difftune.training import boosted
from tests.training import toy


def test_misclassified_events_gain_and_the_classes_stay_balanced():
    weight, label = np.array([1.0, 1.0, 2.0, 2.0]), np.array([1, 1, 0, 0])
    ours = boosted(weight, label, np.array([0.3, 0.5, 0.39, 0.9]), factor=1.5)
    # Signal 1.5 to 1, background 2 to 3, each class with half of four events.
    np.testing.assert_allclose(ours, [1.2, 0.8, 0.8, 1.2], rtol=1e-6)


@pytest.mark.parametrize("options", [{"factor": 0.0}, {"threshold": 1.0}])
def test_what_is_no_factor_or_threshold_is_refused(options):
    with pytest.raises(InputError, match="factor is positive"):
        boosted(np.ones(2), np.arange(2), np.ones(2), **options)


def test_a_state_goes_on_with_other_weights_in_the_same_programs():
    first = toy.shared()
    state, _ = first.epoch(first.init(toy.GIVEN), toy.GIVEN, epoch=0, epochs=2)
    again = first.again()
    heavier = first.train.training_weight * np.where(first.train.label == 1, 5.0, 0.2)
    other = first.again(train=first.train._replace(training_weight=heavier.astype(np.float32)))
    assert other.programs is again.programs is first.programs
    scores = []
    for population in (again, other):
        # What is trained is used up.
        state, _ = population.epoch(population.init(toy.GIVEN), toy.GIVEN, epoch=1, epochs=2)
        logits = population.scores(state.best._replace(weights=state.weights), again.train.features)
        scores.append(np.asarray(logits).mean())
    assert scores[1] > scores[0] + 0.1

import jax.numpy as jnp
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.training import AS_SCORED, SelectionRule


def selection_scores(selection_rule, scores, errors):
    trend, found = selection_rule.start, []
    for score, error in zip(scores, errors, strict=True):
        selection_score, trend = selection_rule.after(trend, jnp.float32(score), jnp.float32(error))
        found.append(float(selection_score))
    return found


SCORES, ERRORS = [1.0, 3.0, 2.0, 2.5], [0.1, 0.8, 0.2, 0.1]


def test_as_scored_changes_nothing():
    assert selection_scores(AS_SCORED, SCORES, ERRORS) == SCORES
    assert not AS_SCORED.wants_errors


def test_errors_are_taken_off():
    expected = np.subtract(SCORES, 2 * np.array(ERRORS))
    found = selection_scores(SelectionRule(n_sigma=2, ema_decay=0), SCORES, ERRORS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    # Without an error that is a number, the score counts as it is.
    found = selection_scores(SelectionRule(n_sigma=2, ema_decay=0), [1.0], [np.nan])
    assert found == [1.0]


@pytest.mark.parametrize("memory", [0.3, 0.7])
def test_the_past_fades_as_in_a_weighted_mean(memory):
    found = selection_scores(SelectionRule(n_sigma=0, ema_decay=memory), SCORES, ERRORS)
    expected = [
        np.average(SCORES[: n + 1], weights=memory ** np.arange(n, -1, -1.0)) for n in range(4)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"n_sigma": -1.0}, r"n_sigma=-1.0\): must be 0 or a positive number"),
        ({"n_sigma": float("inf")}, "n_sigma=inf"),
        ({"ema_decay": 1.0}, r"ema_decay=1.0\): must be at least 0 and below 1"),
        ({"ema_decay": float("nan")}, "ema_decay=nan"),
    ],
)
def test_what_makes_no_sense_is_refused(given, message):
    with pytest.raises(InputError, match=message):
        SelectionRule(**given)

import jax.numpy as jnp
import pytest

from difftune.errors import InputError
from difftune.training import ScoreGap


@pytest.mark.parametrize(
    ("limit", "train", "validation", "accepted"),
    [
        (0.1, 5.4, 5.0, True),
        (0.1, 5.6, 5.0, False),
        (0.5, 5.6, 5.0, True),
        (0.1, 4.0, 5.0, True),
        (0.1, -4.6, -5.0, True),
        (0.1, -4.4, -5.0, False),
        (0.1, 0.0, 0.0, True),
        (0.1, 1.0, 0.0, False),
        (0.1, float("nan"), 5.0, False),
        (float("inf"), 100.0, 1.0, True),
        (float("inf"), 1.0, 0.0, True),
        (float("inf"), 1.0, float("nan"), False),
    ],
)
def test_gap_is_relative_to_the_validation_score(limit, train, validation, accepted):
    judged = ScoreGap(limit=limit)(jnp.float32(train), jnp.float32(validation))
    assert bool(judged) is accepted


@pytest.mark.parametrize("limit", [0.0, -0.1, float("nan")])
def test_limit_must_be_positive(limit):
    with pytest.raises(InputError, match=r"ScoreGap\(limit=.*must be positive"):
        ScoreGap(limit=limit)

import jax.numpy as jnp
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.training import DEFAULTS
from difftune.training.hyperparameters import UsageTracker, check_known, complete


def test_what_is_given_replaces_the_defaults():
    given = {"beta1": np.array([0.5, 0.6, 0.7]), "mine": np.arange(3.0)}
    full = complete(given, 3, sizes=(64, 32))
    assert set(full) == {*DEFAULTS, "batch_size", "beta1", "mine"}
    np.testing.assert_allclose(full["beta1"], [0.5, 0.6, 0.7])
    np.testing.assert_allclose(full["mine"], [0, 1, 2])
    np.testing.assert_allclose(full["batch_size"], [64, 64, 64])
    np.testing.assert_allclose(full["learning_rate"], [1e-3] * 3)
    assert {value.dtype for value in full.values()} == {jnp.dtype("float32")}


def test_only_batches_that_are_compiled():
    sizes = np.array([64.0, 32.0, 64.0])
    full = complete({"batch_size": sizes}, 3, sizes=(64, 32))
    np.testing.assert_array_equal(full["batch_size"], sizes)
    with pytest.raises(InputError, match=r"batch_size 48 is none .*\[64, 32\].*choice\("):
        complete({"batch_size": np.array([64.0, 48.0, 32.0])}, 3, sizes=(64, 32))


def test_what_belongs_together():
    with pytest.raises(InputError, match=r"'plateau_patience' is missing.*belong together"):
        complete({"plateau_factor": np.ones(3)}, 3, sizes=(64,))


def test_recorder_knows_what_was_asked_for():
    tracker = UsageTracker({name: jnp.float32(1.0) for name in ("a", "b", "c")})
    assert tracker["a"] == 1.0
    assert tracker.get("absent", 5.0) == 5.0
    assert "b" in tracker
    assert tracker.read == {"a", "b", "absent"}
    with pytest.raises(InputError, match=r"'aa' .*neither searched nor given.*Did you mean"):
        tracker["aa"]


def test_what_nothing_reads_is_refused_with_the_nearest_name():
    check_known({"dropout"}, {"dropout", "l2"})
    with pytest.raises(InputError, match=r"'droput'.*Did you mean 'dropout'.*dropout, l2"):
        check_known({"droput"}, {"dropout", "l2"})

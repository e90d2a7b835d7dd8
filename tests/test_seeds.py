import numpy as np
import pytest

from difftune.errors import InputError
from difftune.seeds import checked, derived


def test_a_number_is_a_spawned_sequence_of_numpy():
    spawned = np.random.SeedSequence(7).spawn(3)
    for number, sequence in enumerate(spawned):
        assert derived(7, number) == int(sequence.generate_state(1)[0]) >> 1


def test_no_two_purposes_share_a_seed():
    """`seed + 1000` was the second search and the retraining, and that of whoever took 1001."""
    paths = [
        ("retrain",),
        ("default",),
        ("choice of the set",),
        *(("search", n) for n in range(50)),
    ]
    seeds = [*range(200), 1000, 1001, 1500, 2**32 - 1]
    found = {derived(seed, *path) for seed in seeds for path in paths}
    assert len(found) == len(seeds) * len(paths)
    assert not found & set(seeds)
    assert derived(1, "retrain") == derived(1, "retrain")
    # Below 2**31, so that a key of JAX takes it everywhere.
    assert max(found) < 2**31


@pytest.mark.parametrize("seed", [1, 1.0, np.int64(1), np.float32(1)])
def test_a_whole_number_is_a_seed(seed):
    assert checked(seed, "tune") == 1


@pytest.mark.parametrize("seed", [-1, 1.5, "1", None, 2**32, float("nan"), True])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(InputError, match=r"tune\(seed=.*give a whole number from 0 to 4294967295"):
        checked(seed, "tune")

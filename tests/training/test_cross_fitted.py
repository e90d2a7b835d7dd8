"""Networks of which each scores the events that it has not seen."""

import numpy as np
import pytest

import difftune as dt
from difftune.errors import InputError
from difftune.training import CrossFitted, Ensemble

PROCESSES = [dt.Process(name="signal", role="signal"), dt.Process(name="background")]


def sample(*, folds=3, size=600):
    rng = np.random.default_rng(1)
    process = rng.integers(0, 2, size)
    features = rng.normal(size=(size, 2)) + (process == 0)[:, None]
    return dt.Events.from_arrays(
        features,
        process,
        np.ones(size),
        feature_names=["x", "y"],
        processes=PROCESSES,
        event_number=rng.permutation(size),
        folds=folds,
    )


@pytest.fixture(scope="module")
def networks():
    """Three networks that differ."""
    return tuple(
        dt.train(
            sample(),
            model=dt.models.MLP(hidden=(4,)),
            epochs=1,
            batch_size=50,
            seed=seed,
            validation_folds=(1,),
            test_folds=(2,),
        )
        for seed in (1, 2, 3)
    )


@pytest.mark.slow
def test_each_event_has_the_score_of_the_network_of_its_fold(networks):
    events, found = sample(), CrossFitted(networks).score(sample())
    every = np.stack([network.score(events) for network in networks])
    np.testing.assert_array_equal(found, every[events.fold, np.arange(len(events))])
    assert len({tuple(row) for row in every.round(4)}) == 3


@pytest.mark.slow
def test_it_is_read_as_it_was_written(networks, tmp_path):
    whole = CrossFitted((Ensemble(networks[:2]), networks[1], networks[2]))
    whole.save(tmp_path / "network")
    back = CrossFitted.load(tmp_path / "network")
    np.testing.assert_array_equal(back.score(sample()), whole.score(sample()))
    with pytest.raises(InputError, match=r"CrossFitted\.load"):
        dt.TrainedNetwork.load(tmp_path / "network")
    (tmp_path / "network" / "cross_fitted.json").write_text("{}")
    with pytest.raises(InputError, match="does not say how many"):
        CrossFitted.load(tmp_path / "network")


@pytest.mark.slow
def test_events_of_other_folds_are_refused(networks):
    whole = CrossFitted(networks)
    with pytest.raises(InputError, match="networks for 3 folds, and the events are in 5"):
        whole.score(sample(folds=5))
    with pytest.raises(InputError, match="wants Events"):
        whole.score(np.zeros((3, 2), np.float32))
    with pytest.raises(InputError, match="two or more"):
        CrossFitted(networks[:1])


def test_rotations_measure_each_fold_once():
    crossed = dt.CrossFit(events=sample(folds=4))
    assert [split.test_folds for split in crossed.rotations] == [(0,), (1,), (2,), (3,)]
    assert [split.validation_folds for split in crossed.rotations] == [(1,), (2,), (3,), (0,)]
    assert crossed.rotation(1).train_folds == (0, 3)
    assert len(crossed.test) == len(crossed.events)
    with pytest.raises(InputError, match="2 folds"):
        dt.CrossFit(events=sample(folds=2))

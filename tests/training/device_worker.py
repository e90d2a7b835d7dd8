"""Trains on so many devices and writes all numbers of it.

`python -m tests.training.device_worker DEVICES OBJECTIVE FILE`.
"""

import sys

import jax
import numpy as np

from difftune.models import MLP
from difftune.objectives import AsimovLLR, CrossEntropy
from difftune.training import STOPPED
from difftune.training.devices import use_cpu_cores
from tests.training import toy

EVERYTHING = {
    "learning_rate": np.array([3e-3, 1e-2, 1e-3, 3e-2]),
    "dropout": np.array([0.1, 0.2, 0.3, 0.4]),
    "batch_size": np.array([256, 1024, 1024, 256]),
    "beta1": np.array([0.8, 0.9, 0.95, 0.98]),
    "l1": np.array([0.0, 1e-4, 1e-5, 1e-6]),
    "l2": np.array([1e-3, 0.0, 1e-4, 1e-5]),
    "signal_weight": np.array([0.5, 1.0, 1.5, 2.0]),
    "label_smoothing": np.array([0.0, 0.1, 0.05, 0.0]),
    "gradient_clip": np.array([0.1, 1.0, 10.0, 0.5]),
    "schedule": np.array([0.0, 1.0, 2.0, 1.0]),
}


def trained(objective):
    """Batches that are taken in parts, and members that differ in everything; one drops out."""
    population = toy.population(
        model=MLP(hidden=(64, 64)),
        objective=objective,
        train=toy.columns(4096),
        batch_size=(1024, 256),
    )
    state, records = toy.train(population, EVERYTHING, 2)
    # Three members are left, on however many devices.
    state.status[2] = STOPPED
    before = toy.member(state, 2)
    state, later = toy.train(population, EVERYTHING, 1, state, first=2)
    for old, new in zip(before, toy.member(state, 2), strict=True):
        np.testing.assert_array_equal(old, new)
    return state, records, later, population.scores(state.best, population.validation.features)


OBJECTIVES = {
    "cross-entropy": CrossEntropy(),
    "two kernels": AsimovLLR() + AsimovLLR(kernel="softmax", bins=5),
}


def main() -> None:
    """Trains."""
    devices, objective, target = sys.argv[1:]
    use_cpu_cores(int(devices))
    assert len(jax.local_devices()) == int(devices)
    np.savez(target, *jax.tree.leaves(trained(OBJECTIVES[objective])))


if __name__ == "__main__":
    main()

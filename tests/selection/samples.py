"""Events whose true variables are known."""

import functools
from dataclasses import fields
from typing import Any

import numpy as np

import difftune as dt

PROCESSES = (dt.Process(name="signal", role="signal"), dt.Process(name="background"))


@functools.cache
def known(count: int = 2400, seed: int = 0) -> dt.Events:
    """Two that shift, two that matter together alone, a copy of the first, and two of noise."""
    rng = np.random.default_rng(seed)
    signal = np.arange(count) % 2 == 0
    shift, weak, one, noise_1, noise_2 = rng.normal(size=(5, count))
    shift, weak = shift + 1.4 * signal, weak - 1.2 * signal
    # Both have the same sign in 8 of 10 signal events, and in 2 of 10 of the others.
    same = signal == (rng.random(count) < 0.8)
    other = np.abs(rng.normal(size=count)) * np.sign(one) * np.where(same, 1, -1)
    columns = {
        "shift": shift,
        "weak": weak,
        "xor_1": one,
        "xor_2": other,
        "copy": 3 * shift + 5,
        "noise_1": noise_1,
        "noise_2": noise_2,
    }
    return events(columns, signal, rng)


def events(columns: dict[str, np.ndarray], signal: np.ndarray, rng: Any, **more: Any) -> dt.Events:
    """Events of these columns; some weights are negative."""
    count = len(signal)
    weight = np.where(rng.random(count) < 0.05, -0.5, rng.uniform(0.5, 1.5, count))
    return dt.Events.from_arrays(
        np.stack(list(columns.values()), axis=1),
        np.where(signal, 0, 1),
        weight,
        feature_names=list(columns),
        processes=PROCESSES,
        folds=4,
        **more,
    )


def study(given: dt.Events | None = None, **options: Any) -> dt.selection.Study:
    """A study that is trained in a second."""
    options = {
        "model": dt.models.MLP(hidden=(16,)),
        "hyperparameters": {"learning_rate": 3e-2},
        "batch_size": 100,
        "patience": 5,
        "epochs": 10,
        "seeds": 1,
        "test_folds": (3,),
    } | options
    parts = {f.name: options.pop(f.name) for f in fields(dt.Recipe) if f.name in options}
    # A study has a metric and a condition of its own.
    own = {name: parts.pop(name) for name in ("metric", "overtraining") if name in parts}
    events = known() if given is None else given
    return dt.selection.Study(events, dt.Recipe(**parts), **own, **options)

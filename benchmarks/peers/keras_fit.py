"""Keras in the competition: `fit`, one model after the other; KERAS_BACKEND says with what."""

from collections.abc import Callable

import keras
import numpy as np

from benchmarks.peers import task


def make(*, batch: int, events: int) -> Callable[[int], float]:
    """A contestant: epochs of a model; returns the mean loss of the last of them."""
    x, y, w = task.trained_columns(events, batch)
    hidden = [keras.layers.Dense(units, activation="relu") for units in task.HIDDEN]
    model = keras.Sequential([keras.layers.Input((task.INPUTS,)), *hidden, keras.layers.Dense(1)])
    weights = task.start_weights((task.INPUTS, *task.HIDDEN, 1), 0)
    for layer, kernel in zip(model.layers, weights, strict=True):
        layer.set_weights([kernel, np.zeros(kernel.shape[1], np.float32)])
    adam = {"beta_1": task.BETA1, "beta_2": task.BETA2, "epsilon": task.EPSILON}
    model.compile(
        optimizer=keras.optimizers.Adam(task.LEARNING_RATE, **adam),
        loss=keras.losses.BinaryCrossentropy(from_logits=True),
    )
    options = {"batch_size": min(batch, events), "shuffle": False, "verbose": 0}

    def run(count: int) -> float:
        history = model.fit(x, y[:, None], sample_weight=w, epochs=count, **options)
        return history.history["loss"][-1]

    return run

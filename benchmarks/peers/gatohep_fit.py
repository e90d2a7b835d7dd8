"""`python gatohep_fit.py EVENTS.npz EPOCHS BINS...`: seconds that gato-hep trains its bins for.

On its own: whoever installs gato-hep (and TensorFlow) does so in another environment, perhaps. An
epoch is one step of Adam on all events, with its Gaussian mixture in one dimension, compiled.
"""

import json
import sys
import time

import numpy as np
import tensorflow as tf
from gatohep.models import gato_gmm_model


def seconds(data: dict, bins: int, epochs: int) -> float:
    """Of training, without the tracing."""
    model = gato_gmm_model(n_cats=bins, dim=1, temperature=0.3)
    optimizer = tf.keras.optimizers.Adam(0.05)

    @tf.function
    def step() -> tf.Tensor:
        with tf.GradientTape() as tape:
            found = model.get_differentiable_significance(data, signal_labels=["signal"])
            loss = -found["signal"]
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        return loss

    step()
    began = time.perf_counter()
    for _ in range(epochs):
        loss = step()
    float(loss)
    return time.perf_counter() - began


def main() -> None:
    """Prints the sum over the numbers of bins."""
    events = np.load(sys.argv[1])
    epochs, *bins = map(int, sys.argv[2:])
    data = {
        name: {
            "NN_output": tf.constant(events["score"][mine][:, None]),
            "weight": tf.constant(events["weight"][mine]),
        }
        for name, mine in (("signal", events["signal"]), ("background", ~events["signal"]))
    }
    print(json.dumps({"seconds": sum(seconds(data, each, epochs) for each in bins)}))


if __name__ == "__main__":
    main()

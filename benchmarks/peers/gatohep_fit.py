"""gato-hep's training of bins, which needs TensorFlow."""

import numpy as np

from benchmarks.common.running import clocked


def seconds(*, file: str, epochs: int, bins: list[int]) -> float:
    """Of training each number of bins on the events of a file, without the tracing.

    An epoch is one compiled step of Adam on all events, with a Gaussian mixture in one dimension.
    """
    import tensorflow as tf
    from gatohep.models import gato_gmm_model

    events, took = np.load(file), 0.0
    score, weight, signal = events["score"][:, None], events["weight"], events["signal"]
    data = {
        name: {"NN_output": tf.constant(score[mine]), "weight": tf.constant(weight[mine])}
        for name, mine in (("signal", signal), ("background", ~signal))
    }
    for count in bins:
        model = gato_gmm_model(n_cats=count, dim=1, temperature=0.3)
        optimizer = tf.keras.optimizers.Adam(0.05)

        @tf.function
        def step(model=model, optimizer=optimizer) -> tf.Tensor:
            with tf.GradientTape() as tape:
                found = model.get_differentiable_significance(data, signal_labels=["signal"])
                loss = -found["signal"]
            variables = model.trainable_variables
            optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
            return loss

        step()
        took += clocked(lambda step=step: [step() for _ in range(epochs)][-1].numpy())[1]
    return took

"""Boosting on errors: more weight for the events that a network has got wrong."""

import numpy as np
from jaxtyping import Float, Int

from difftune.errors import InputError
from difftune.training.sample import training_weights


def boosted(
    training_weight: Float[np.ndarray, " events"],
    label: Int[np.ndarray, " events"],
    score: Float[np.ndarray, " events"],
    *,
    factor: float = 1.3,
    threshold: float = 0.4,
) -> Float[np.ndarray, " events"]:
    """Training weights of the next round: those of misclassified events times a factor.

    A signal event is misclassified below the threshold, a background event above it. The classes
    are balanced again afterwards. Factor and threshold are those of a single-top t-channel study;
    AdaBoost (Freund and Schapire, J. Comput. Syst. Sci. 55 (1997) 119) takes a factor that depends
    on the error, and keeps the networks of all rounds, where here one network is trained on.

    Args:
        training_weight: Of the round before.
        label: 1 for signal, 0 for background.
        score: Signal probabilities that the network gives.
        factor: On the weights of misclassified events.
        threshold: On the score.

    Raises:
        InputError: For a factor that is not positive, or a threshold outside of (0, 1).
    """
    if not factor > 0 or not 0 < threshold < 1:
        raise InputError(
            f"boosted(factor={factor}, threshold={threshold}): the factor is positive, and the "
            "threshold is one on the score, between 0 and 1."
        )
    wrong = np.where(label == 1, score < threshold, score > threshold)
    return training_weights(training_weight * np.where(wrong, factor, 1.0), label)

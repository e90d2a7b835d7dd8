"""Which variables trained networks do without."""

from collections.abc import Sequence

import numpy as np

from difftune.analysis.judged import Labelled, log_loss
from difftune.data import Events
from difftune.selection import single_variables
from difftune.training import AnyNetwork

LOOKED_AT = 20_000
"""Events of each part at most."""
ERRORS = 2.0
"""Above so many the log-loss has grown."""


def without_influence(
    networks: Sequence[AnyNetwork], events: Sequence[Events], *, seed: int = 1
) -> tuple[str, ...]:
    """Features whose values could be those of other events, and the networks do as well.

    The values of a variable are exchanged among the events (Breiman, Machine Learning 45 (2001) 5;
    of objects, those of all objects together). Where this makes the log-loss larger by no more than
    two paired errors, there is no sign that the variable helps. The one that helps most is never
    among them.

    Args:
        networks: That were trained on the same features.
        events: For each network those that it is judged on, which it was not trained on.
        seed: Decides who exchanges with whom.

    Returns:
        Names of features, in their order.
    """
    rng = np.random.default_rng(seed)
    few = [each.select(np.arange(len(each)) % -(-len(each) // LOOKED_AT) == 0) for each in events]
    values = [np.asarray(each.features) for each in few]
    orders = [rng.permutation(len(each)) for each in few]
    labelled = Labelled(
        np.concatenate([np.asarray(each.label) for each in few]),
        np.concatenate([np.asarray(each.weight, np.float64) for each in few]),
    )

    def scores(exchanged: Sequence[int]) -> np.ndarray:
        found = []
        for network, own, order in zip(networks, values, orders, strict=True):
            changed = own.copy()
            changed[:, exchanged] = own[order][:, exchanged]
            found.append(network.score(changed))
        return np.concatenate(found)

    names = few[0].feature_names
    before = log_loss(scores([]), labelled)
    significance, members = [], []
    for columns in single_variables(names, few[0].collections).values():
        lost = log_loss(scores([names.index(name) for name in columns]), labelled) - before
        # A variable that the networks do not see changes nothing, without an error.
        significance.append(lost.value / lost.error if lost.error > 0.0 else 0.0)
        members.append(columns)
    most = int(np.argmax(significance))
    dropped = {
        name
        for number, columns in enumerate(members)
        if significance[number] <= ERRORS and number != most
        for name in columns
    }
    return tuple(name for name in names if name in dropped)

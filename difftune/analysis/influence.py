"""Which variables trained networks do without."""

from collections.abc import Sequence
from itertools import chain

import numpy as np

from difftune.analysis.judged import Labelled, log_loss
from difftune.data import Events
from difftune.selection import single_variables
from difftune.training import AnyNetwork

LOOKED_AT = 20_000
"""Events of each part at most."""
AT_A_TIME = 65_536
"""Events that are scored at once."""
ERRORS = 1.0
"""Above so many the log-loss has grown."""


def without_influence(
    networks: Sequence[AnyNetwork], events: Sequence[Events], *, seed: int = 1
) -> tuple[str, ...]:
    """Features whose values could be those of other events, and the networks do as well.

    The values of a variable are exchanged among the events (Breiman, Machine Learning 45 (2001) 5;
    of objects, those of all objects together). Where this makes the log-loss larger by no more than
    a paired error, there is no sign that the variable helps. Of such variables, those that help
    least first, as many are taken as can be exchanged together at no larger cost: two that say the
    same seem to be of no help, each by itself. The one that helps most is never among them.

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

    names = few[0].feature_names
    together = max(AT_A_TIME // max(map(len, few)), 1)

    def scores(exchanged: Sequence[Sequence[str]]) -> np.ndarray:
        """A row for each set of features that are exchanged."""
        columns = [[names.index(name) for name in each] for each in exchanged]
        found = []
        for network, own, order in zip(networks, values, orders, strict=True):
            parts = []
            for first in range(0, len(columns), together):
                some = columns[first : first + together]
                changed = np.repeat(own[None], len(some), axis=0)
                for copy, each in zip(changed, some, strict=True):
                    copy[:, each] = own[order][:, each]
                parts.append(network.score(np.concatenate(changed)).reshape(len(some), -1))
            found.append(np.concatenate(parts))
        return np.concatenate(found, axis=1)

    (before,) = (log_loss(each, labelled) for each in scores([()]))

    def helps(exchanged: Sequence[Sequence[str]]) -> list[float]:
        """By how many errors the log-loss grows without each of these sets."""
        lost = [log_loss(each, labelled) - before for each in scores(exchanged)]
        # Features that the networks do not see change nothing, without an error.
        return [each.value / each.error if each.error > 0.0 else 0.0 for each in lost]

    variables = list(single_variables(names, few[0].collections).values())
    alone = np.array(helps(variables))
    weak = [number for number in np.argsort(alone, kind="stable")[:-1] if alone[number] <= ERRORS]
    more = [[*chain(*(variables[i] for i in weak[: n + 1]))] for n in range(len(weak))]
    dropped: Sequence[str] = ()
    for each, grown in zip(more, helps(more) if more else [], strict=True):
        if grown > ERRORS:
            break
        dropped = each
    return tuple(name for name in names if name in dropped)

"""What objectives that look at systematic variations share."""

from collections.abc import Iterable, Sequence
from typing import Literal

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.errors import InputError, nearest
from difftune.objectives.batch import Batch, Varied

Among = Literal["all", "signal", "background"]
"""Events that an objective looks at."""


def chosen(called: str, wanted: Sequence[str] | None, there: Iterable[str]) -> tuple[str, ...]:
    """Names of the variations that an objective looks at.

    Args:
        called: Name of the objective.
        wanted: What the user asked for; None for all.
        there: What the events have.

    Raises:
        InputError: There are none, or not one of those asked for.
    """
    known = sorted(there)
    if not known:
        raise InputError(
            f"{called} looks at systematic variations, and the events have none: give some to "
            "`read`, or take the objective out."
        )
    for name in wanted or ():
        if name not in known:
            raise InputError(
                f"{called}(variations=...): the events have no variation {name!r}."
                f"{nearest(name, known)} Known: {', '.join(known)}."
            )
    return tuple(known if wanted is None else wanted)


def of_class(among: str, batch: Batch) -> Array:
    """1 for the events that count: of `"all"`, `"signal"` or `"background"`."""
    label = jnp.asarray(batch.label)
    return {"all": jnp.ones_like(label), "signal": label, "background": 1 - label}[among]


def varied_scores(name: str, varied: Varied) -> Float[Array, "..."]:
    """The scores of a variation with features of its own.

    Raises:
        InputError: Nobody has put them in.
    """
    if varied.scores is None:
        raise InputError(
            f"The variation {name!r} of the batch has other features and no scores: put them in "
            "with batch.scored(...)."
        )
    return jnp.asarray(varied.scores)

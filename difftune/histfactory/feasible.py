"""A point at which a model expects no negative yields, where its nominal one is no such point.

With interference a sample can be negative and the sum of all at the nominal strength, too, while it
is not where the fit ends. pyhf builds such models. A fit needs a start at which the likelihood is
defined.
"""

import logging
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histfactory import arrays as xp
from difftune.histfactory.arrays import AnyArray as Array
from difftune.histfactory.structure import Structure
from difftune.later import jax
from difftune.precision import in_float64

logger = logging.getLogger("difftune")

# The yields that are looked for, relative to what the samples of a bin are in size.
_MARGIN = 0.01

Expectation = Callable[[Array], Array]


def start_of_fits(
    structure: Structure,
    by_sample: Expectation,
    observed: Float[np.ndarray, " bins"] | None,
    fixed: np.ndarray,
) -> Float[np.ndarray, " parameters"]:
    """The suggested start values, or others if they make a yield negative.

    Args:
        structure: Of the model.
        by_sample: Expected yields `[samples, bins]` as a function of the parameters; traceable.
        observed: Observations, which no bin can have that expects nothing.
        fixed: Parameters that stay, also because their uncertainty vanishes.

    Raises:
        InputError: No parameters within their bounds are found at which all yields are positive; it
            names the bin, and the sample that is most to blame.
    """
    nominal = structure.layout.init
    yields = np.asarray(by_sample(nominal))
    total = yields.sum(axis=0)
    negative = ~(total >= 0)
    impossible = negative if observed is None else negative | ((total == 0) & (observed > 0))
    if impossible.any():
        start = _search(structure, by_sample, fixed, np.abs(yields).sum(axis=0), impossible)
        first = int(np.flatnonzero(impossible)[0])
        channel, index = structure.bin_places[first]
        sample = int(np.argmin(yields[:, first]))
        told = (
            f"Channel {channel!r}, bin {index}: the model expects {total[first]:.4g} events at its "
            f"nominal point, of which {yields[sample, first]:.4g} from sample "
            f"{structure.samples[sample]!r}."
        )
        if start is not None:
            changed = np.flatnonzero(np.abs(start - nominal) > 1e-3)
            moved = ", ".join(f"{structure.names[i]} = {start[i]:.3g}" for i in changed[:5])
            logger.warning(
                "%s Fits start from %s%s, or from what start=... says.",
                told,
                moved,
                " ..." if len(changed) > 5 else "",
            )
            return start
        if negative.any():
            raise InputError(
                f"{told} No parameters within their bounds were found that make all yields "
                "positive. Merge bins, raise the sample's yield to a small positive number, or "
                "widen the bounds."
            )
    _warn_of_samples(structure, yields)
    return nominal


def _search(
    structure: Structure,
    by_sample: Expectation,
    fixed: np.ndarray,
    size: Float[np.ndarray, " bins"],
    impossible: np.ndarray,
) -> Float[np.ndarray, " parameters"] | None:
    """A point near the nominal one at which no bin that can be filled is negative or empty."""
    layout = structure.layout
    free = ~fixed & (layout.lower < layout.upper)
    margin = np.where(size > 0, _MARGIN * size, _MARGIN)

    def missing(parameters: Array) -> Array:
        total = xp.sum(by_sample(parameters), axis=0)
        return xp.sum(xp.square(xp.maximum(margin - total, 0.0) / margin))

    def possible(parameters: np.ndarray) -> bool:
        total = by_sample(parameters).sum(axis=0)
        return bool((total >= 0).all() and (total[impossible] > 0).all())

    from scipy.optimize import minimize  # takes a while, and few models need it

    slope = in_float64(jax.jit(jax.value_and_grad(missing)))
    bounds = [
        (low, high) if change else (value, value)
        for low, high, change, value in zip(
            layout.lower, layout.upper, free, layout.init, strict=True
        )
    ]
    inside = np.clip(layout.init, layout.lower, layout.upper)
    # A yield that is a product of two factors may need both to change their sign.
    for shift in (0.0, -0.5, 0.5, -1.0, 1.0):
        begin = np.where(free, np.clip(inside * (1 + shift), layout.lower, layout.upper), inside)
        found = minimize(
            lambda x: tuple(np.asarray(part, float) for part in slope(x)),
            begin,
            jac=True,
            bounds=bounds,
            method="L-BFGS-B",
        ).x
        if possible(found):
            return _nearest(inside, found, possible)
    return None


def _nearest(
    outside: Float[np.ndarray, " parameters"],
    inside: Float[np.ndarray, " parameters"],
    possible: Callable[[np.ndarray], bool],
) -> Float[np.ndarray, " parameters"]:
    """Halfway back as often as that stays possible: near the nominal point, and not at the edge."""
    for _ in range(4):
        middle = (outside + inside) / 2
        if not possible(middle):
            break
        inside = middle
    return inside


def _warn_of_samples(structure: Structure, yields: Float[np.ndarray, "samples bins"]) -> None:
    for name, row in zip(structure.samples, yields, strict=True):
        if row.min() < 0:
            channel, index = structure.bin_places[int(np.argmin(row))]
            logger.warning(
                "Channel %r, sample %r: %.4g events expected in bin %d.",
                channel,
                name,
                row.min(),
                index,
            )

"""How events are smeared: widths that shrink over the training, and kernels."""

from collections.abc import Sequence

import jax.numpy as jnp
from jaxtyping import Array, Float

from difftune.errors import InputError
from difftune.histograms import KERNELS
from difftune.objectives.batch import Batch

# A width next to nothing, for what is to be hard.
HARD = (1e-9, 1e-9)


def start_and_end(given: Sequence[float], called: str) -> tuple[float, float]:
    """The two widths of an annealed objective, checked.

    Args:
        given: At the start and at the end of the training.
        called: What they are called there: `"AsimovLLR(bandwidth"`.

    Raises:
        InputError: For anything but two positive numbers.
    """
    pair = tuple(given)
    if len(pair) != 2 or not min(pair) > 0.0:
        raise InputError(
            f"{called}={pair}): give two positive numbers, the width at the start and at the end "
            "of the training."
        )
    return pair


def annealed(
    pair: Sequence[float], batch: Batch, factor: float | Float[Array, ""]
) -> Float[Array, ""]:
    """The width now: it goes down geometrically from the first to the second.

    Args:
        pair: Widths at the start and at the end of the training.
        batch: Tells how much of the training is behind us.
        factor: On both of them.
    """
    start, end = pair
    return jnp.asarray(start * (end / start) ** batch.progress * factor)


def check_kernel(kernel: str, name: str) -> None:
    """Refuses a kernel that there is not.

    Args:
        kernel: What the user gave.
        name: Of the class that it was given to.

    Raises:
        InputError: For an unknown one.
    """
    if kernel not in KERNELS:
        *others, last = map(repr, KERNELS)
        raise InputError(f"{name}(kernel={kernel!r}): choose {', '.join(others)} or {last}.")

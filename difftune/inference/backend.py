"""pyhf with numpy and Minuit, whatever the user has set, and what to try when a fit fails."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import iminuit.warnings
import numpy as np
import pyhf

from difftune.errors import DifftuneError

logger = logging.getLogger("difftune")

_Result = TypeVar("_Result")

# `pyhf --optimizer minuit` has a tolerance of 0.1: up to 2e-4 in -2 ln L, which would show in a
# small significance.
_ATTEMPTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("minuit", {"tolerance": 0.01}),
    ("minuit", {"tolerance": 0.1}),
    ("minuit", {"tolerance": 0.1, "strategy": 2}),
    ("scipy", {}),
)


class FitError(DifftuneError):
    """A fit that did not converge."""


@contextmanager
def pyhf_backend(optimizer: str = "minuit", **options: Any) -> Iterator[None]:
    """Sets pyhf to numpy in float64 and an optimizer, and back to what it was.

    Args:
        optimizer: "minuit" or "scipy".
        **options: Of the optimizer, `strategy` and `tolerance` for instance.
    """
    previous = pyhf.get_backend()
    chosen = getattr(pyhf.optimize, f"{optimizer}_optimizer")(**options)
    # pyhf logs the traceback of every failed fit as an error, though another attempt follows.
    mixins = logging.getLogger("pyhf.optimize.mixins")
    level = mixins.level
    pyhf.set_backend("numpy", chosen, precision="64b")
    mixins.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            # Minuit's uncertainties are not used, so neither is what it says about them.
            warnings.simplefilter("ignore", iminuit.warnings.IMinuitWarning)
            yield
    finally:
        mixins.setLevel(level)
        pyhf.set_backend(*previous)


def fitted(what: str, action: Callable[[], _Result]) -> _Result:
    """Runs fits, with more careful settings and at last another optimizer where they fail.

    Args:
        what: What is fitted, for messages.
        action: Calls pyhf; its result holds NaN or it raises where a fit fails.

    Returns:
        The result of the first attempt that converges.

    Raises:
        FitError: None does.
    """
    reasons = []
    for optimizer, options in _ATTEMPTS:
        settings = " ".join([optimizer, *(f"{key}={value}" for key, value in options.items())])
        with pyhf_backend(optimizer, **options), np.errstate(all="ignore"):
            try:
                result = action()
            except pyhf.exceptions.FailedMinimization as error:
                reasons.append(f"{settings}: {error.result.message}")
            else:
                if np.isfinite(_numbers(result)).all():
                    return result
                reasons.append(f"{settings}: the result is not finite.")
        logger.info("%s: %s", what, reasons[-1])
    raise FitError(
        f"{what} did not converge. {' '.join(reasons)} Likely causes: bins without expected "
        "events, variations that make a yield negative, or bounds that are too narrow."
    )


def _numbers(result: Any) -> np.ndarray:
    """All numbers in nested tuples and lists of arrays."""
    if isinstance(result, tuple | list):
        parts = [_numbers(part) for part in result]
        return np.concatenate(parts) if parts else np.zeros(0)
    return np.ravel(np.asarray(result, np.float64))

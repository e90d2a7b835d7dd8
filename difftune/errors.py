"""What can go wrong through the user's input, and how it is said."""

import difflib
from collections.abc import Iterable


class DifftuneError(Exception):
    """Base of every error that difftune raises on purpose."""


class InputError(DifftuneError, ValueError):
    """The input is wrong: the message names the place, the value and the remedy."""


def nearest(name: object, known: Iterable[str]) -> str:
    """A hint at the known name that is most like `name`.

    Args:
        name: What the user wrote.
        known: What would have been understood.

    Returns:
        `" Did you mean 'x'?"`, or an empty string where nothing is near.
    """
    match = difflib.get_close_matches(str(name), list(known), n=1, cutoff=0.6)
    return f" Did you mean {match[0]!r}?" if match else ""

"""Where random numbers come from: streams that are named after what they are for.

A sum such as `seed + 1000` meets the seed of somebody else sooner or later. Two paths of names give
streams that are independent of each other (`numpy.random.SeedSequence` with a spawn key), and so do
those of two seeds.
"""

import hashlib
from typing import Any

import numpy as np

from difftune.arguments import whole
from difftune.errors import InputError

MOST = 2**32 - 1
"""The largest seed: JAX's keys hold 32 bits."""


def checked(seed: Any, who: str) -> int:
    """A seed that a user gave.

    Args:
        seed: A whole number from 0 on.
        who: The call, for the message.

    Raises:
        InputError: For anything else.
    """
    remedy = f"give a whole number from 0 to {MOST}, such as seed=1"
    number = whole(seed, f"{who}(seed={seed!r})", least=0, remedy=remedy)
    if number > MOST:
        raise InputError(f"{who}(seed={number}): {remedy}.")
    return number


def derived(seed: int, *path: str | int) -> int:
    """The seed of something that needs a seed of its own.

    Args:
        seed: Of the whole.
        path: What it is for: names, and numbers where there are several.

    Returns:
        A whole number below 2³¹.
    """
    words = [step if isinstance(step, int) else _number(step) for step in path]
    sequence = np.random.SeedSequence(seed, spawn_key=tuple(words))
    return int(sequence.generate_state(1)[0]) >> 1


def _number(name: str) -> int:
    """A name as 64 bits, the same in every process and version of Python."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")

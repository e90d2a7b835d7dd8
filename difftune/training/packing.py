"""Arrays and facts as bytes that say when they were damaged. They are data: no code is run."""

import hashlib
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np


class Damaged(Exception):
    """The bytes are not those that were packed."""


def digest(data: bytes) -> str:
    """A checksum."""
    return hashlib.sha256(data).hexdigest()


def pack(facts: Any, arrays: Sequence[np.ndarray]) -> bytes:
    """An `.npz` file: the arrays by number, and the facts with a checksum of each.

    Args:
        facts: What JSON can hold; numbers are kept to the last digit, NaN as well.
        arrays: Of any shape and type.
    """
    arrays = [np.asarray(array) for array in arrays]
    about = [
        {"type": str(a.dtype), "shape": a.shape, "sha256": digest(a.tobytes())} for a in arrays
    ]
    text = json.dumps({"facts": facts, "arrays": about}).encode()
    # As bytes, since not all types of JAX are known to numpy's files.
    plain = {f"{i:05d}": np.frombuffer(a.tobytes(), np.uint8) for i, a in enumerate(arrays)}
    file = io.BytesIO()
    plain |= {"facts": np.frombuffer(text, np.uint8), "check": np.array(digest(text))}
    np.savez(file, allow_pickle=False, **plain)
    return file.getvalue()


def unpack(data: bytes) -> tuple[Any, list[np.ndarray]]:
    """What was packed.

    Raises:
        Damaged: A checksum is not right, or it cannot be read at all.
    """
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            text = file["facts"].tobytes()
            if digest(text) != str(file["check"]):
                raise Damaged("the checksum of its facts is not right")
            content = json.loads(text)
            arrays = []
            for number, about in enumerate(content["arrays"]):
                raw = file[f"{number:05d}"].tobytes()
                if digest(raw) != about["sha256"]:
                    raise Damaged(f"the checksum of array {number} is not right")
                array = np.frombuffer(raw, np.dtype(about["type"])).reshape(about["shape"])
                arrays.append(array.copy())
    except Damaged:
        raise
    except Exception as error:  # whatever damaged bytes make a reader raise
        raise Damaged(f"{type(error).__name__}: {error}") from error
    return content["facts"], arrays

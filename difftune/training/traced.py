"""What goes wrong where JAX looks at a user's code, said as what to change in it."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from difftune.errors import InputError

# Each is raised where plain Python or numpy wants the number behind a traced value.
_TRACED = (
    jax.errors.TracerArrayConversionError,
    jax.errors.ConcretizationTypeError,
    jax.errors.TracerIntegerConversionError,
    jax.errors.NonConcreteBooleanIndexError,
)
_REMEDY = {
    jax.errors.TracerBoolConversionError: "`if` and `while` on a value become jax.numpy.where",
    jax.errors.TracerIntegerConversionError: "no range() or index of a value",
    jax.errors.NonConcreteBooleanIndexError: (
        "events are not selected by a mask: give those that do not count the weight 0, with "
        "jax.numpy.where"
    ),
    jax.errors.TracerArrayConversionError: "take jax.numpy (jnp) in the place of numpy (np)",
}


@contextmanager
def users_code(what: str) -> Iterator[None]:
    """Turns an error of tracing into one that names the line and the remedy.

    Args:
        what: What the code is for: "the objective".

    Raises:
        InputError: When the code wants the number behind a traced value.
    """
    try:
        yield
    except _TRACED as error:
        place = _line(error)
        said = f" ({place})" if place else ""
        remedy = next((text for kind, text in _REMEDY.items() if isinstance(error, kind)), None)
        raise InputError(
            f"{what} cannot be compiled{said}: it wants the number behind a value that JAX only "
            f"knows the shape of. {_sentence(remedy or 'no float() or int() of a value')}, and "
            "array methods or jax.numpy for all that is computed."
        ) from error


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _line(error: BaseException) -> str:
    """The last line of a user's: of no library."""
    own = Path(__file__).parents[1]
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        path = Path(frame.filename)
        if "site-packages" in path.parts or own in path.parents or not frame.line:
            continue
        return f"{path.name}:{frame.lineno}: {frame.line}"
    return ""

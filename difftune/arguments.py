"""What users write for an argument, as what is plainly meant; or an error that says the remedy."""

import inspect
import math
import numbers
import os
from collections.abc import Callable, Iterable, Mapping
from functools import wraps
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le

from difftune.errors import InputError, nearest

T = TypeVar("T")
Count = Annotated[int, Ge(1)]
Positive = Annotated[float, Gt(0)]
NotNegative = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Share = Annotated[float, Gt(0), Le(1)]
LARGEST = 3.4028235e38
"""Of a float32, as which hyperparameters and events are computed with."""


def takes(**forms: Callable[[Any], Any]) -> Callable[[T], T]:
    """Lets a function or class take what is plainly meant for its arguments.

    A keyword that it does not know, one that is missing, and what is no number where the signature
    says int or float, are answered by an `InputError`.

    Args:
        forms: For some arguments a function of what was given to what is wanted; it raises where
            that is not clear. An argument that is not given is left alone.
    """

    def decorate(target: Any) -> Any:
        who = target.__name__
        signature = inspect.signature(target)
        forms_of_all = _numbers(who, signature) | forms

        def arguments(args: tuple[Any, ...], kwargs: dict[str, Any]) -> inspect.BoundArguments:
            bound = _bound(who, signature, args, kwargs)
            for name, form in forms_of_all.items():
                if name in bound.arguments:
                    bound.arguments[name] = form(bound.arguments[name])
            return bound

        if inspect.isclass(target):
            init = target.__init__

            @wraps(init)
            def made_of(self: Any, *args: Any, **kwargs: Any) -> None:
                bound = arguments(args, kwargs)
                init(self, *bound.args, **bound.kwargs)

            target.__init__ = made_of  # type: ignore[method-assign]
            return target

        @wraps(target)
        def call(*args: Any, **kwargs: Any) -> Any:
            bound = arguments(args, kwargs)
            return target(*bound.args, **bound.kwargs)

        return call

    return decorate


def as_path(given: Any) -> Path:
    """The path of a file or folder.

    Raises:
        InputError: It is none.
    """
    if isinstance(given, str | os.PathLike) and str(given):
        return Path(given)
    raise InputError(f"{said(given)} is no path: give one, as in 'folder/file'.")


def _numbers(who: str, signature: inspect.Signature) -> dict[str, Callable[[Any], Any]]:
    """Forms of all arguments that are annotated as plain numbers."""

    def form(name: str, *, integer: bool, optional: bool) -> Callable[[Any], Any]:
        def checked(value: Any) -> Any:
            if value is None and optional:
                return None
            if integer:
                return whole(value, f"{who}({name}={said(value)})")
            if not is_number(value):
                raise InputError(f"{who}({name}={said(value)}): {said(value)} is no number.")
            return value.item() if hasattr(value, "item") and hasattr(value, "tobytes") else value

        return checked

    found = {}
    for name, parameter in signature.parameters.items():
        given = parameter.annotation
        kinds = get_args(given) if get_origin(given) in (Union, UnionType) else (given,)
        # Limits are for the analysis file; a class says in its own words what it cannot be.
        kinds = tuple(get_args(k)[0] if get_origin(k) is Annotated else k for k in kinds)
        optional = type(None) in kinds
        kinds = tuple(kind for kind in kinds if kind is not type(None))
        single = parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
        if single and kinds and all(kind in (int, float) for kind in kinds):
            found[name] = form(name, integer=kinds == (int,), optional=optional)
    return found


def _bound(
    who: str, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> inspect.BoundArguments:
    parameters = signature.parameters.values()
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        check_names(who, kwargs, signature.parameters)
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        positional = [p.name for p in parameters if p.kind is not p.KEYWORD_ONLY]
        hint = ""
        if "too many positional" in str(error):
            only = f"only {', '.join(positional)} may stand without" if positional else "all need"
            hint = f": {only} a name, as in {who}({list(signature.parameters)[-1]}=...)"
        raise InputError(f"{who}(...): {error}{hint}.") from None


def check_names(who: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuses a keyword that is not known.

    Raises:
        InputError: With the nearest one, and all.
    """
    known = list(known)
    for name in given:
        if name not in known:
            raise InputError(
                f"{who}({name}=...): there is no such argument.{nearest(name, known)} "
                f"{who} knows {', '.join(known)}."
            )


def said(value: Any) -> str:
    """A value as a user recognises it in a message: short, and with its type where that helps."""
    if inspect.isclass(value) or inspect.isroutine(value):
        return getattr(value, "__qualname__", repr(value))
    if isinstance(value, str | numbers.Number | os.PathLike | None):
        return repr(value)
    text = repr(value)
    kind = type(value).__name__
    return text if len(text) <= 60 and text.startswith((kind, "[", "(", "{")) else f"a {kind}"


def number(value: Any, where: str, remedy: str = "give a number") -> float:
    """A finite number that a float32 can hold.

    Args:
        value: What the user gave.
        where: The call, for the message.
        remedy: What to give instead.

    Raises:
        InputError: For anything else.
    """
    if not is_number(value):
        raise InputError(f"{where}: {said(value)} is no number; {remedy}.")
    result = float(value)
    if not math.isfinite(result):
        raise InputError(f"{where}: {result} is not finite; {remedy}.")
    if abs(result) > LARGEST:
        raise InputError(
            f"{where}: {result:g} is beyond {LARGEST:.2g}, the largest number of single "
            f"precision; {remedy}."
        )
    return result


def is_number(value: Any) -> bool:
    """Whether this is one real number, of Python or numpy or JAX, and no truth value or string."""
    if isinstance(value, bool | str | bytes):
        return False
    if isinstance(value, numbers.Real):
        return True
    # An array of no dimension, such as `np.float32(1) * np.ones(())` or one of JAX.
    kind = getattr(getattr(value, "dtype", None), "kind", "")
    return getattr(value, "ndim", None) == 0 and kind in tuple("iuf")


def whole(value: Any, where: str, *, least: int | None = None, remedy: str = "") -> int:
    """A whole number, written as an int or as a float such as 8.0.

    Args:
        value: What the user gave.
        where: The call, for the message.
        least: The smallest that is allowed.
        remedy: What else to do.

    Raises:
        InputError: For anything else.
    """
    text = f"; {remedy}" if remedy else ""
    if not is_number(value) or not math.isfinite(value) or value != math.floor(value):
        raise InputError(f"{where}: {said(value)} is no whole number{text}.")
    if least is not None and value < least:
        raise InputError(f"{where}: must be at least {least}{text}.")
    return int(value)


def texts(value: Any, where: str, example: str) -> tuple[str, ...]:
    """Several names, of which one may stand alone.

    Args:
        value: A text, or anything that gives texts one after the other.
        where: The argument, for the message.
        example: How it is written.

    Raises:
        InputError: For anything else.
    """
    if isinstance(value, str):
        return (value,)
    if isinstance(value, Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{where} = {said(value)}: give names, as in {example}.")
    names = tuple(value)
    for name in names:
        if not isinstance(name, str):
            raise InputError(f"{where}: {said(name)} is no name; write {example}.")
    return tuple(str(name) for name in names)


def several(value: Any, kind: type | tuple[type, ...], where: str, example: str) -> tuple[Any, ...]:
    """Several objects of a kind, of which one may stand alone.

    Args:
        value: One of them, or anything that gives them one after the other.
        kind: What they are.
        where: The argument, for the message.
        example: How one is made.

    Raises:
        InputError: For anything else.
    """
    if isinstance(value, kind):
        return (value,)
    if isinstance(value, str | Mapping) or not isinstance(value, Iterable):
        raise InputError(f"{where} = {said(value)}: give a list, as in [{example}].")
    each = tuple(value)
    for one in each:
        if not isinstance(one, kind):
            hint = ", which is a class and wants brackets" if inspect.isclass(one) else ""
            raise InputError(f"{where}: {said(one)}{hint} is none; write {example}.")
    return each


def made(value: Any, where: str) -> Any:
    """What a class without brackets stands for, if it needs no arguments; else the value itself.

    Args:
        value: Perhaps a class.
        where: The argument, for the message.

    Raises:
        InputError: When the class needs arguments, or cannot be made.
    """
    if not inspect.isclass(value):
        return value
    if inspect.isabstract(value):
        raise InputError(f"{where}={value.__name__}: it is a base class; give one of its kinds.")
    parameters = inspect.signature(value).parameters.values()
    needed = [
        p.name
        for p in parameters
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if needed:
        wanted = ", ".join(f"{name}=..." for name in needed)
        raise InputError(
            f"{where}={value.__name__} is a class without brackets; write "
            f"{value.__name__}({wanted})."
        )
    return value()


def mapping(value: Any, where: str, example: str) -> dict[str, Any]:
    """Values by name.

    Args:
        value: What the user gave.
        where: The argument, for the message.
        example: How it is written.

    Raises:
        InputError: For anything but a mapping whose keys are strings.
    """
    if not isinstance(value, Mapping):
        raise InputError(f"{where} = {said(value)}: give values by name, as in {example}.")
    for name in value:
        if not isinstance(name, str):
            raise InputError(f"{where}: the name {said(name)} is no text; write {example}.")
    return dict(value)


def called_with(function: Any, arguments: tuple[str, ...], where: str, example: str) -> None:
    """Refuses a function that cannot be called with these arguments.

    Args:
        function: Of a user.
        arguments: Their names, in order; those after `*` are given by name.
        where: The argument that it was given for.
        example: How it is written.

    Raises:
        InputError: When it takes others. One that says nothing of its arguments is taken.
    """
    try:
        # A metaclass, as that of Flax, may hide the arguments of a class.
        of_class = inspect.isclass(function)
        signature = inspect.signature(function.__init__ if of_class else function)
    except (TypeError, ValueError):
        return
    if of_class:
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    plain = arguments[: arguments.index("*")] if "*" in arguments else arguments
    by_name = arguments[len(plain) + 1 :]
    try:
        signature.bind(*plain, **dict.fromkeys(by_name))
    except TypeError as error:
        raise InputError(
            f"{where}={said(function)} takes {signature}, but is called with "
            f"({', '.join(arguments)}): {error}. Write it as {example}."
        ) from None


def each_number(value: Any, where: str) -> Any:
    """A number, or numbers by name.

    Raises:
        InputError: For anything else.
    """
    if isinstance(value, Mapping):
        return {name: number(one, f"{where}: {name!r}") for name, one in value.items()}
    return number(value, f"{where}={said(value)}", "give a number, or numbers by name")

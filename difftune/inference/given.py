"""What users give for the arguments of tests and fits, as what is plainly meant."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from difftune.arguments import said, takes, texts, whole
from difftune.errors import InputError
from difftune.histfactory import Model

_SEEDS = 2**32


def as_model(given: Any) -> Model:
    """A model; a workspace, in any way that `Model.from_spec` takes it, becomes one.

    Raises:
        InputError: It is neither.
    """
    if isinstance(given, Model):
        return given
    ours = isinstance(given, Mapping | str | os.PathLike)
    if ours or type(given).__module__.split(".")[0] == "pyhf":
        return Model.from_spec(given)
    raise InputError(
        f"model = {said(given)}: give a model, as in Model.from_spec('workspace.json')."
    )


def as_toys(given: Any) -> int:
    """A number of pseudo-experiments; 0 for none.

    Raises:
        InputError: It is no whole number, or negative.
    """
    return whole(given, f"toys = {said(given)}", least=0, remedy="0 for the asymptotic formulae")


def as_seed(given: Any) -> int:
    """A seed of random numbers.

    Raises:
        InputError: It is no whole number of 32 bits.
    """
    where = f"seed = {said(given)}"
    seed = whole(given, where, least=0)
    if seed >= _SEEDS:
        raise InputError(f"{where}: must be less than {_SEEDS}.")
    return seed


def as_parameters(given: Any) -> Any:
    """Names of parameters; None for all.

    Raises:
        InputError: They are no names, or there is none.
    """
    if given is None:
        return None
    names = texts(given, "parameters", "parameters=['mu', 'staterror_SR[0]']")
    if not names:
        raise InputError("parameters = []: name one, or leave it out for all that are free.")
    return names


def numbers_in_a_row(given: Any, where: str, remedy: str) -> Any:
    """Finite numbers [values]; one may stand alone.

    Raises:
        InputError: They are none.
    """
    try:
        row = np.atleast_1d(np.asarray(given, np.float64))
    except (TypeError, ValueError, OverflowError):
        row = np.empty(0)
    if row.ndim > 1 or not row.size or not np.isfinite(row).all():
        raise InputError(f"{where} = {said(given)}: {remedy}.")
    return row


def as_result(given: Any) -> Any:
    """What a fit returned; None stays.

    Raises:
        InputError: It is something else.
    """
    if given is None or all(hasattr(given, name) for name in ("names", "values", "covariance")):
        return given
    raise InputError(f"result = {said(given)}: give what fit(...) returns.")


def as_models(given: Any) -> dict[str, Model]:
    """Models by name.

    Raises:
        InputError: They are none.
    """
    if not isinstance(given, Mapping):
        raise InputError(
            f"grid = {said(given)}: give models by name, as in {{'m500': Model.from_spec(...)}}, "
            "or what signal_grid(...) returns."
        )
    return {str(name): as_model(each) for name, each in given.items()}


def as_parts(given: Any) -> tuple[str, ...]:
    """Names of parts of an examination.

    Raises:
        InputError: They are no names.
    """
    return texts(given, "parts", "parts=['fit', 'gof']")


def as_levels(given: Any) -> tuple[float, ...]:
    """Confidence levels.

    Raises:
        InputError: They are no numbers.
    """
    row = numbers_in_a_row(given, "levels", "give probabilities, as in levels=[0.6827, 0.95]")
    return tuple(row.tolist())


asks = takes(
    model=as_model,
    toys=as_toys,
    seed=as_seed,
    parameters=as_parameters,
    parts=as_parts,
    levels=as_levels,
    result=as_result,
)
"""Lets a public function take what is plainly meant for its model and other arguments."""

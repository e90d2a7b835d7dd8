"""What users write for the parts of a training, as what is plainly meant."""

import math
from collections.abc import Mapping
from typing import Any

from difftune.arguments import called_with, is_number, made, mapping, number, said, whole
from difftune.data.transform import SCALINGS
from difftune.errors import InputError, nearest
from difftune.models import as_model
from difftune.objectives import metric_from, objective_from
from difftune.training.optimizers import OPTIMIZERS, adam, optimizer
from difftune.training.overtraining import as_condition
from difftune.training.processes import Processes, SingleProcess
from difftune.training.selection_rule import SelectionRule


def as_optimizer(given: Any) -> Any:
    """What makes an optimizer: by the name of its kind, or names of several; Adam for None.

    Raises:
        InputError: For an optimizer that is made already, whose learning rate no member can set.
    """
    if given is None:
        return adam
    if isinstance(given, str):
        return OPTIMIZERS.named(given, "optimizer")
    given = made(given, "optimizer") if isinstance(given, type) else given
    if isinstance(given, list | tuple) and given and all(isinstance(k, str) for k in given):
        return optimizer(*given)
    example = 'lambda values: optax.sgd(values["learning_rate"])'
    module = getattr(given, "__module__", "") or ""
    if not callable(given) or module.startswith("optax"):
        raise InputError(
            f"optimizer={said(given)}: each member has hyperparameters of its own, so give a "
            f"function of them that makes an optimizer of optax, such as {example}; or a name: "
            f"{', '.join(OPTIMIZERS)}."
        )
    called_with(given, ("hyperparameters",), "optimizer", example)
    return given


def as_selection_rule(given: Any) -> SelectionRule:
    """What members are compared by; the default for None."""
    given = made(given, "selection_rule")
    if given is None:
        return SelectionRule()
    if not isinstance(given, SelectionRule):
        raise InputError(
            f"selection_rule={said(given)}: give SelectionRule(n_sigma=2, ema_decay=0.7)."
        )
    return given


def as_processes(given: Any) -> Processes:
    """Processes of a job; this one alone for None.

    Raises:
        InputError: For physics processes, and for anything else.
    """
    given = made(given, "processes")
    if given is None:
        return SingleProcess()
    if not isinstance(given, Processes):
        raise InputError(
            f"processes={said(given)}: these are the processes of a computing job, from "
            "difftune.training.connect(); leave it out where there is one. Physics processes "
            "(dt.Process) are given to dt.read(processes=[...])."
        )
    return given


def as_hyperparameters(given: Any) -> dict[str, Any]:
    """Values of hyperparameters that are not searched; none for None.

    Raises:
        InputError: For what is no number, with where it belongs.
    """
    if given is None:
        return {}
    values = mapping(given, "hyperparameters", '{"learning_rate": 1e-3}')
    for name, value in values.items():
        where = f"hyperparameters[{name!r}]"
        if isinstance(value, bool):
            values[name] = float(value)
        elif name == "batch_size" and isinstance(value, list | tuple):
            values[name] = tuple(value)
        elif isinstance(value, str | Mapping) or not is_number(value):
            remedy = "give a number; what is searched stands in space"
            if isinstance(value, str):
                remedy = "give a number; kinds are those of optimizer= and MLP(activation=...)"
            raise InputError(f"{where}: {said(value)} is no number; {remedy}.")
        else:
            number(value, where)
            values[name] = value.item() if hasattr(value, "item") else value
    return values


def as_count(what: str) -> Any:
    """A form of whole numbers from 1 on; None stays."""

    def form(given: Any) -> Any:
        return None if given is None else whole(given, f"{what}={said(given)}", least=1)

    return form


def as_batch_size(given: Any) -> Any:
    """Events a batch, or several such numbers; None stays."""
    if given is None:
        return None
    if isinstance(given, list | tuple):
        return tuple(as_batch_size(size) for size in given)
    if is_number(given) and math.isfinite(given) and given == int(given):
        return int(given)
    raise InputError(f"batch_size={said(given)}: must be a whole number of events, 1 or more.")


def as_scaling(given: Any) -> Any:
    """A scaling by name, or a function of values and weights of one variable."""
    if callable(given):
        called_with(given, ("values", "weight"), "scaling", "lambda values, weight: (0.0, 1.0)")
    elif given is not None and given not in SCALINGS:
        known = ", ".join(map(repr, SCALINGS))
        raise InputError(
            f"scaling={said(given)} is unknown.{nearest(str(given), SCALINGS)} Choose one of "
            f"{known}, or give a function of values and weights."
        )
    return given


RECIPE: dict[str, Any] = {
    "model": as_model,
    "objective": objective_from,
    "metric": lambda given: None if given is None else metric_from(given),
    "hyperparameters": as_hyperparameters,
    "optimizer": as_optimizer,
    "batch_size": as_batch_size,
    "chunk": as_count("chunk"),
    "patience": as_count("patience"),
    "overtraining": as_condition,
    "selection_rule": as_selection_rule,
    "scaling": as_scaling,
}
"""Of `Recipe`."""

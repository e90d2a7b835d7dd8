"""The steps that an expression is carried out in."""

import ast
import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from difftune.data import lists
from difftune.data.functions import Function
from difftune.data.kinds import Kind
from difftune.data.lists import Part, Unequal


class Unfit(ValueError):
    """An operation that does not fit what it is applied to."""


class Step(NamedTuple):
    """Takes `arity` values off the stack and puts one on it.

    Attributes:
        function: Of arrays of numpy; None for what works on lists or momenta alone.
        arity: How many values.
        kind: Of an element of the result, None for that of the operands (a condition if one of
            them is).
        node: The part of the expression.
        of_parts: Does the same with lists and values that are absent, where that is more than
            applying the function to each element.
        operands: The parts of the expression that the values are from.
    """

    function: Function | None
    arity: int
    kind: Kind | None
    node: ast.expr
    of_parts: Callable[..., Part] | None = None
    operands: tuple[ast.expr, ...] = ()


@dataclass(frozen=True)
class Code:
    """An expression that is ready to run.

    Attributes:
        steps: Names of columns and constants go on the stack; a `Step` works on it.
        kind: Of the result.
        flat: Whether there are no lists and no momenta on the way.
    """

    steps: tuple[str | np.ndarray | Step, ...]
    kind: Kind
    flat: bool

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """The columns that it uses, each once."""
        return tuple(dict.fromkeys(step for step in self.steps if isinstance(step, str)))

    def run(self, value_of: Callable[[str], np.ndarray], rows: int) -> np.ndarray:
        """Evaluates what is flat, where no value is absent.

        Args:
            value_of: Values [rows] of a column.
            rows: How many rows there are, which a constant cannot tell.

        Raises:
            Beyond: An integer does not fit.
        """
        stack: list[np.ndarray] = []
        with np.errstate(all="ignore"):
            for step in self.steps:
                if isinstance(step, Step):
                    operands = stack[-step.arity :]
                    del stack[-step.arity :]
                    stack.append(np.asarray(step.function(*operands)))  # type: ignore[misc]
                else:
                    stack.append(value_of(step) if isinstance(step, str) else step)
        return np.broadcast_to(stack.pop(), (rows,))

    def run_parts(self, part_of: Callable[[str], Part], rows: int) -> Part:
        """Evaluates anything.

        Args:
            part_of: A column.
            rows: How many rows there are.

        Raises:
            Beyond: An integer does not fit.
            Unequal: Lists that are brought together differ in length.
        """
        stack: list[Part] = []
        with np.errstate(all="ignore"):
            for step in self.steps:
                if isinstance(step, Step):
                    operands = stack[-step.arity :]
                    del stack[-step.arity :]
                    work = step.of_parts or functools.partial(lists.applied, step.function)  # type: ignore[arg-type]
                    try:
                        stack.append(work(*operands))
                    except Unequal as error:
                        one, other = (source(step.operands[i]) for i in error.arguments)
                        error.add_note(f"`{one}` and `{other}`")
                        raise
                else:
                    stack.append(part_of(step) if isinstance(step, str) else Part(step))
        result = stack.pop()
        if isinstance(result.values, np.ndarray):
            return Part(np.broadcast_to(result.values, (rows,)), result.absent)
        return result


def source(node: ast.expr) -> str:
    """The text of a part of an expression, for messages."""
    try:
        text = ast.unparse(node)
    except RecursionError:
        return "..."
    return text if len(text) < 100 else text[:100] + "..."

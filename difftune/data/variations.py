"""What the user states to `read`: files, expressions and names; and systematic variations."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from difftune.arguments import is_number, said, takes, texts
from difftune.data.sums import SumOfWeights, as_sum_of_weights
from difftune.errors import InputError


def as_files(given: Any) -> Any:
    """Files as a path or a tuple of paths, also from anything that gives them one by one."""
    if given is None or isinstance(given, str | os.PathLike):
        return given
    if isinstance(given, Mapping | bytes) or not isinstance(given, Iterable):
        raise InputError(f'files = {said(given)}: give paths or globs, as in files="data/*.root".')
    paths = tuple(given)
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise InputError(f'files: {said(path)} is no path; write files=["a.root", "b.root"].')
    return paths


def as_expression(given: Any, what: str, *, needed: bool = False) -> Any:
    """An expression, which may be a plain number; None stays, unless it is needed."""
    if isinstance(given, str) or (given is None and not needed):
        return given
    if is_number(given) and math.isfinite(given):
        return repr(float(given)) if float(given) != int(given) else str(int(given))
    hint = ' Join several with " and ".' if isinstance(given, list | tuple) else ""
    raise InputError(
        f"{what} = {said(given)}: give an expression of columns as a string, such as "
        f'"mtw > 50".{hint}'
    )


def as_tree(given: Any, what: str = "tree") -> Any:
    """The name of a tree; None stays.

    Raises:
        InputError: It is no string.
    """
    if given is not None and not isinstance(given, str):
        raise InputError(f"{what} = {said(given)}: give its name as a string.")
    return given


def as_trees(given: Any) -> Any:
    """Names or patterns of trees: one, or a tuple of several; None stays.

    Raises:
        InputError: They are no strings.
    """
    if given is None or isinstance(given, str):
        return given
    names = tuple(texts(given, "tree", 'tree=["slice_1", "slice_2"]'))
    if not names:
        raise InputError("tree = []: name one at least, or leave it out where a file has just one.")
    return names


def as_names(given: Any, what: str) -> Any:
    """One or several names; None stays."""
    return None if given is None else texts(given, what, f'{what}=["a", "b"]')


def as_role(given: Any) -> Any:
    """A role as a string; which ones there are the process knows."""
    if not isinstance(given, str):
        raise InputError(f'role = {said(given)}: give "signal", "background" or "data".')
    return given


def as_name(given: Any, what: str) -> str:
    """A name."""
    if not isinstance(given, str) or not given:
        raise InputError(f'{what}(name={said(given)}): give a string, such as name="ttbar".')
    return given


PROCESSES: dict[str, Any] = {"processes": partial(as_names, what="processes")}
"""Of what applies to some processes."""
SUMS: dict[str, Any] = {
    "sum_of_weights_up": as_sum_of_weights,
    "sum_of_weights_down": as_sum_of_weights,
}
"""Of what may have generated weights of its own."""
PROCESS: dict[str, Any] = {
    "name": partial(as_name, what="Process"),
    "role": as_role,
    "files": as_files,
    "tree": as_trees,
    "selection": partial(as_expression, what="selection"),
    "weight": partial(as_expression, what="weight"),
}
"""Of `Process`."""


Direction = Literal["up", "down"]
Files = str | os.PathLike[str] | Sequence[str | os.PathLike[str]]
Trees = str | Sequence[str]
"""A name or a pattern, or several of them."""


@takes(**PROCESSES, **SUMS)
@dataclass(frozen=True)
class WeightVariation:
    """The same events with other weights.

    Attributes:
        name: Name of the uncertainty; one name in several channels or files is one uncertainty.
        up: Expression that takes the place of the whole weight; `{weight}` in it stands for the
            nominal weight of the process, as in `"{weight} * btag_up"`.
        down: The same for the other direction; None if the variation is one-sided.
        processes: Names of the processes it applies to; None for every simulated one.
        sum_of_weights_up: Of processes with a cross-section: the sum of the varied generated
            weights, where these do not add up to the nominal ones, as those of scales do not; see
            `Process`. By default the nominal one.
        sum_of_weights_down: The same for the other direction.
    """

    name: str
    up: str
    down: str | None = None
    processes: Sequence[str] | None = None
    sum_of_weights_up: float | SumOfWeights | None = None
    sum_of_weights_down: float | SumOfWeights | None = None

    @property
    def sums(self) -> dict[Direction, float | SumOfWeights | None]:
        """Its own sums of generated weights, by direction."""
        return {"up": self.sum_of_weights_up, "down": self.sum_of_weights_down}


@takes(**PROCESSES, **SUMS)
@dataclass(frozen=True)
class TreeVariation:
    """Another sample of events: another tree of the same files, or other files.

    Attributes:
        name: Name of the uncertainty.
        up: Name of the tree, or a pattern; `{tree}` in it stands for the nominal tree of the
            process (for each, where it has several).
        down: The same for the other direction; None (with `files_down` None) if one-sided.
        processes: Names of the processes it applies to; None for every simulated one.
        files_up: Globs of the files that hold the varied sample, an alternative generator for
            instance; None for the nominal ones.
        files_down: The same for the other direction.
        sum_of_weights_up: Of processes with a cross-section: the sum of the generated weights of
            the varied files, see `Process`; by default it is found in them where the nominal one
            is.
        sum_of_weights_down: The same for the other direction.
    """

    name: str
    up: str = "{tree}"
    down: str | None = None
    processes: Sequence[str] | None = None
    files_up: Files | None = None
    files_down: Files | None = None
    sum_of_weights_up: float | SumOfWeights | None = None
    sum_of_weights_down: float | SumOfWeights | None = None

    @property
    def sums(self) -> dict[Direction, float | SumOfWeights | None]:
        """Its own sums of generated weights, by direction."""
        return {"up": self.sum_of_weights_up, "down": self.sum_of_weights_down}

    @property
    def files(self) -> dict[Direction, Files | None]:
        """Its files where they are not the nominal ones, by direction."""
        return {"up": self.files_up, "down": self.files_down}


@takes(**PROCESSES)
@dataclass(frozen=True)
class FeatureVariation:
    """Other values of some columns of the same entries, such as recalibrated momenta.

    The selection, the weight and derived features are evaluated with the varied columns too, so
    events can enter and leave.

    Attributes:
        name: Name of the uncertainty.
        up: For each varied column (or derived name) the expression that takes its place, as in
            `{"jet_pt": "jet_pt_jes_up"}` or `{"jet_pt": "1.02 * jet_pt"}`.
        down: The same for the other direction; None if the variation is one-sided.
        processes: Names of the processes it applies to; None for every simulated one.
    """

    name: str
    up: Mapping[str, str]
    down: Mapping[str, str] | None = None
    processes: Sequence[str] | None = None


Variation = WeightVariation | TreeVariation | FeatureVariation
"""A systematic variation of any kind."""

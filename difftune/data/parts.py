"""What the user states of a sample beyond its files: what it consists of, and its normalisation."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from difftune.arguments import is_number, said, several, takes
from difftune.data.sums import SumOfWeights, as_sum_of_weights
from difftune.data.variations import Files, Trees, as_expression, as_files, as_name, as_trees
from difftune.errors import InputError

_PART = 'Part(name="ht_100_200", files="ht_100_200/*.root", cross_section=27.9)'


def as_positive(given: Any, what: str) -> Any:
    """A finite number above 0; None stays.

    Raises:
        InputError: It is none.
    """
    if given is None:
        return None
    if not is_number(given) or not 0 < float(given) < float("inf"):
        raise InputError(f"{what} = {said(given)}: give a number above 0.")
    return float(given)


NORMALISED: dict[str, Any] = {
    "cross_section": partial(as_positive, what="cross_section"),
    "k_factor": partial(as_positive, what="k_factor"),
    "sum_of_weights": as_sum_of_weights,
}
"""Of what may be normalised."""


@takes(
    name=partial(as_name, what="Part"),
    files=as_files,
    tree=as_trees,
    selection=partial(as_expression, what="selection"),
    weight=partial(as_expression, what="weight"),
    luminosity=partial(as_positive, what="luminosity"),
    **NORMALISED,
)
@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of a sample that has files of its own: a slice, a period, a stream of a trigger.

    What a part does not say, its process says for it.

    Attributes:
        name: Its name in messages and in the table of normalisations.
        files: Globs or addresses of its files.
        tree: Name of the tree, or several or a pattern: see `Process`.
        selection: Expression that its events fulfil, besides those of the process and of all.
        weight: Expression for its weight.
        cross_section: In pb.
        k_factor: Factor on the cross-section.
        sum_of_weights: Sum of the generated weights of its files: see `Process`.
        luminosity: In 1/fb, for a part that stands for a period of data taking.
    """

    name: str
    files: Files | None = None
    tree: Trees | None = None
    selection: str | None = None
    weight: str | None = None
    cross_section: float | None = None
    k_factor: float | None = None
    sum_of_weights: float | SumOfWeights | None = None
    luminosity: float | None = None

    def __post_init__(self) -> None:
        """Makes the part hashable."""
        if self.files is not None and not isinstance(self.files, str):
            paths = (self.files,) if isinstance(self.files, os.PathLike) else self.files
            object.__setattr__(self, "files", tuple(os.fspath(name) for name in paths))


def as_parts(given: Any) -> tuple[Part, ...]:
    """Several parts of distinct names; none where there are none.

    Raises:
        InputError: They are no parts, or have one name.
    """
    if isinstance(given, Sequence) and not isinstance(given, str):
        given = [Part(**one) if isinstance(one, Mapping) else one for one in given]
    parts = several(given or (), Part, "parts", _PART)
    names = [part.name for part in parts]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"part {twice[0]!r} is given more than once: names must be distinct.")
    return parts

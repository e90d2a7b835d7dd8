"""From generated to expected events: cross-section, luminosity, and the sum of generated weights.

An event that was generated with the weight w stands for w L σ k / Σw expected ones.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from difftune.arguments import is_number, said, takes, whole
from difftune.errors import InputError

_SUM = 'sum_of_weights={"tree": "Runs", "branch": "genEventSumw"}'

PB_IN_FB = 1000.0
"""A cross-section is in pb, a luminosity in 1/fb."""


@takes()
@dataclass(frozen=True, kw_only=True)
class SumOfWeights:
    """Where the sum of the generated weights is written in the files of a sample.

    It is a branch of a tree, summed over all entries, or a bin of a histogram; in either case it is
    added over all files of the sample.

    Attributes:
        tree: Name of the tree: one of metadata, such as `Runs`, or that of the events, where none
            has been left out.
        branch: What is summed over its entries: a branch or an expression of branches, such as
            `genEventSumw * LHEScaleSumw[4]`.
        histogram: Name of the histogram; `*` stands for what differs from file to file.
        bin: Number of its bin, counted from 1 as ROOT does, or the label of the bin.
    """

    tree: str | None = None
    branch: str | None = None
    histogram: str | None = None
    bin: int | str | None = None

    def __post_init__(self) -> None:
        """Refuses what is neither of the two."""
        given = {name for name, value in vars(self).items() if value is not None}
        for name in given - {"bin"}:
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                value = said(getattr(self, name))
                raise InputError(f"sum_of_weights: {name} = {value}: give a name, as in {_SUM}.")
        if given not in ({"tree", "branch"}, {"histogram", "bin"}):
            raise InputError(
                f"sum_of_weights has {', '.join(sorted(given)) or 'nothing'}: give tree and "
                'branch, as in {"tree": "Runs", "branch": "genEventSumw"}, or histogram and bin, '
                'as in {"histogram": "CutBookkeeper_*_NOSYS", "bin": 2}.'
            )
        if self.bin is not None and not isinstance(self.bin, str):
            whole(self.bin, f"sum_of_weights: bin = {said(self.bin)}", least=1)

    def __str__(self) -> str:
        """As messages name it."""
        if self.tree is not None:
            return f"`{self.branch}` of {self.tree}"
        return f"bin {self.bin} of {self.histogram}"


def as_sum_of_weights(given: Any) -> Any:
    """A sum of generated weights: a number, or where it is written; None stays.

    Raises:
        InputError: It is none, or a number that nothing can be divided by.
    """
    if given is None or isinstance(given, SumOfWeights):
        return given
    if is_number(given):
        if not 0 < float(given) < float("inf"):
            raise InputError(
                f"sum_of_weights = {said(given)}: events cannot be normalised to that; give the "
                "sum of the generated weights of all files, which is positive."
            )
        return float(given)
    if isinstance(given, Mapping):
        return SumOfWeights(**given)
    raise InputError(f"sum_of_weights = {said(given)}: give a number, or say where: {_SUM}.")


@dataclass(frozen=True, kw_only=True)
class Normalisation:
    """How the events of a process, or of a part of one, became expected events.

    Attributes:
        process: Name of the process.
        part: Name of the part; "" where the process has none.
        files: How many files it is read from.
        entries: How many entries are in them.
        sum_of_weights: Of all generated events.
        cross_section: In pb.
        k_factor: Factor on the cross-section.
        luminosity: In 1/fb.
        effective_luminosity: In 1/fb, that of as many events of equal weight as the selected ones
            are worth: L Σw / Σw² with the weights in expected events.
    """

    process: str
    part: str = ""
    files: int
    entries: int = 0
    sum_of_weights: float
    cross_section: float
    k_factor: float = 1.0
    luminosity: float
    effective_luminosity: float = 0.0

    @property
    def factor(self) -> float:
        """What a generated weight is multiplied by."""
        return self.expected / self.sum_of_weights

    @property
    def expected(self) -> float:
        """Events that are expected before any selection: L σ k."""
        return PB_IN_FB * self.luminosity * self.cross_section * self.k_factor

    def seen(self, entries: int, weight: np.ndarray) -> "Normalisation":
        """The same with what was read.

        Args:
            entries: How many entries there are.
            weight: Weights [events] of the selected ones, in expected events.
        """
        squares = float(np.sum(np.asarray(weight, float) ** 2))
        total = float(np.sum(np.asarray(weight, float)))
        effective = self.luminosity * total / squares if squares else 0.0
        return replace(self, entries=entries, effective_luminosity=effective)


def normalisations_text(normalisations: Sequence[Normalisation]) -> str:
    """A table of how samples are normalised, as text; "" where none is."""
    if not normalisations:
        return ""
    names = [f"{n.process}, {n.part}" if n.part else n.process for n in normalisations]
    width = max(20, *map(len, names))
    lines = [
        f"{'normalised':<{width}} {'files':>6} {'entries':>10} {'sum of weights':>15} "
        f"{'σ k [pb]':>11} {'L [1/fb]':>9} {'effective L':>12}"
    ]
    for name, each in zip(names, normalisations, strict=True):
        lines.append(
            f"{name:<{width}} {each.files:>6} {each.entries:>10} {each.sum_of_weights:>15.6g} "
            f"{each.cross_section * each.k_factor:>11.5g} {each.luminosity:>9.4g} "
            f"{each.effective_luminosity:>12.4g}"
        )
    return "\n".join(lines)

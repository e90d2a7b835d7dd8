"""Ways of choosing bin edges, each a function of scores, weights and which events are signal.

`dt.measure(binning=...)` takes any of them, and calls it with events of training and validation.
"""

import abc
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, ClassVar

import numpy as np
from jax import Array
from jaxtyping import Bool, Float

from difftune.arguments import Count, NotNegative, Positive, called_with, made, said, takes, whole
from difftune.binning.edges import choose_edges
from difftune.binning.figures import Additive, Asimov, Constraints, FigureOfMerit, Profiled, Scored
from difftune.binning.optimise import optimise_edges
from difftune.errors import InputError
from difftune.registry import Registry

Column = np.ndarray | Array

ARGUMENTS = ("scores", "weight", "signal")
FORM = f"({', '.join(ARGUMENTS)}) -> edges"
EXAMPLE = "Exact(bins=12)"


class BinningRule(abc.ABC):
    """A way of choosing bin edges.

    A plain function `(scores, weight, signal) -> edges` is one too. Inherit to see more than the
    nominal events.
    """

    varied: ClassVar[bool] = False
    """Whether it wants the systematic variations of the events."""

    @property
    def constraints(self) -> Constraints:
        """What every bin must have; the usual, where the rule does not say."""
        return Constraints()

    @abc.abstractmethod
    def __call__(
        self,
        scores: Float[np.ndarray | Array, " _"],
        weight: Float[np.ndarray | Array, " _"],
        signal: Bool[np.ndarray | Array, " _"],
        *,
        variations: Mapping[str, Scored] | None = None,
        trained: Sequence[float] | None = None,
    ) -> Float[np.ndarray, " edges"]:
        """Edges for a fit of the score.

        Args:
            scores: Larger is more signal-like.
            weight: Physics weights, scaled to the full expected yield; may be negative.
            signal: Whether an event is signal; the others are background.
            variations: The upward side of each systematic variation, for a rule that is `varied`.
            trained: Edges that were trained with the network, if there are any.

        Returns:
            Strictly increasing edges; events outside count in the outer bins.
        """


def _as_bins(given: Any, who: str) -> Any:
    """A number of bins, or several to choose from."""
    if isinstance(given, Iterable) and not isinstance(given, str):
        return tuple(_as_bins(number, who) for number in given)
    return whole(given, f"{who}(bins={said(given)})", least=1)


@takes(bins=partial(_as_bins, who="EqualSignal"))
@dataclass(frozen=True, kw_only=True)
class EqualSignal(BinningRule):
    """About equal signal in each bin, and enough background: `choose_edges`.

    Args:
        bins: Largest number of bins.
        min_background: Least expected background of a bin, in events.
        max_mc_uncertainty: Largest relative statistical uncertainty of a bin's simulated
            background.
    """

    bins: Count = 15
    min_background: NotNegative = 10.0
    max_mc_uncertainty: Positive = 0.15

    @property
    def constraints(self) -> Constraints:
        """What every bin must have."""
        return Constraints(self.min_background, self.max_mc_uncertainty)

    def __call__(
        self,
        scores: Column,
        weight: Column,
        signal: Column,
        *,
        variations: Mapping[str, Any] | None = None,
        trained: Any = None,
    ) -> np.ndarray:
        """The edges."""
        del variations, trained
        return choose_edges(
            scores,
            weight,
            signal,
            bins=self.bins,
            min_background=self.min_background,
            max_mc_uncertainty=self.max_mc_uncertainty,
        )


@dataclass(frozen=True, kw_only=True)
class _Optimised(BinningRule):
    """Edges that maximise a figure of merit, found by `optimise_edges` with its options."""

    bins: Count | tuple[Count, ...] = 15
    min_background: NotNegative = 10.0
    max_mc_uncertainty: Positive = 0.15
    figure_of_merit: FigureOfMerit = field(default_factory=Asimov)
    candidates: Count = 1000
    folds: Count = 2
    tolerance: NotNegative = 0.01
    seed: int = 0

    varied: ClassVar[bool] = True
    method: ClassVar[str]

    def __post_init__(self) -> None:
        # Now, not after the training.
        if not self.bins or not callable(self.figure_of_merit):
            raise InputError(f"{self}: give numbers of bins, and a figure such as Asimov().")
        _ = self.constraints

    @property
    def constraints(self) -> Constraints:
        """What every bin must have; refuses bounds that are none."""
        return Constraints(self.min_background, self.max_mc_uncertainty)

    def __call__(
        self,
        scores: Column,
        weight: Column,
        signal: Column,
        *,
        variations: Mapping[str, Any] | None = None,
        trained: Any = None,
    ) -> np.ndarray:
        """The edges."""
        del trained
        return optimise_edges(
            scores,
            weight,
            signal,
            bins=self.bins,
            variations=variations,
            figure_of_merit=self.figure_of_merit,
            constraints=self.constraints,
            method=self.method,
            candidates=self.candidates,
            folds=self.folds,
            tolerance=self.tolerance,
            seed=self.seed,
        ).edges


@takes(bins=partial(_as_bins, who="Exact"))
@dataclass(frozen=True, kw_only=True)
class Exact(_Optimised):
    """The best edges there are for a sum over bins, by dynamic programming.

    Args:
        bins: Number of bins (fewer where the constraints want it), or numbers to choose from.
        min_background: Least expected background of a bin, in events.
        max_mc_uncertainty: Largest relative statistical uncertainty of a bin's simulated
            background.
        figure_of_merit: What is maximised, an `Additive`.
        candidates: Number of cells that edges are chosen from.
        folds: Number of folds that decide on the number of bins.
        tolerance: Relative loss of the figure of merit that fewer bins are worth.
        seed: Of the folds.

    Raises:
        InputError: The figure of merit is no sum over bins, or a constraint is none.
    """

    method = "exact"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.figure_of_merit, Additive):
            raise InputError(
                f"Exact(figure_of_merit={said(self.figure_of_merit)}): the exact search needs a "
                "sum over bins (`Additive`), such as Asimov(); take Gradient(...) for others."
            )


@takes(bins=partial(_as_bins, who="Gradient"))
@dataclass(frozen=True, kw_only=True)
class Gradient(_Optimised):
    """Edges by gradient descent, for any figure of merit that JAX can differentiate.

    Args:
        bins: Number of bins (fewer where the constraints want it), or numbers to choose from.
        min_background: Least expected background of a bin, in events.
        max_mc_uncertainty: Largest relative statistical uncertainty of a bin's simulated
            background.
        figure_of_merit: What is maximised; by default the precision of the signal strength in a
            fit in which each systematic variation has a nuisance parameter.
        candidates: Number of cells that edges are chosen from.
        folds: Number of folds that decide on the number of bins.
        tolerance: Relative loss of the figure of merit that fewer bins are worth.
        seed: Of the folds and the starts of the descents.

    Raises:
        InputError: A constraint is none, or the figure cannot be called.
    """

    figure_of_merit: FigureOfMerit = field(default_factory=Profiled)

    method = "gradient"


@dataclass(frozen=True)
class Learned(BinningRule):
    """The edges that were trained with the network, by an objective with `LearnedEdges`."""

    def __call__(
        self,
        scores: Column,
        weight: Column,
        signal: Column,
        *,
        variations: Mapping[str, Any] | None = None,
        trained: Any = None,
    ) -> np.ndarray:
        """The edges.

        Raises:
            InputError: The network has none.
        """
        del scores, weight, signal, variations
        if trained is None:
            raise InputError(
                "binning=Learned(): no edges were trained with this network. Train one whose "
                "objective has them (bins=dt.binning.LearnedEdges(bins=10) in one of its terms), "
                f"give one network of an ensemble, or choose edges by {EXAMPLE}."
            )
        return np.asarray(trained, np.float64)


def _checked(given: Any, what: str) -> Float[np.ndarray, " edges"]:
    try:
        edges = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        edges = np.zeros(0)
    finite = edges.ndim == 1 and len(edges) > 1 and np.isfinite(edges).all()
    if not finite or not (np.diff(edges) > 0).all():
        raise InputError(
            f"{what}: bin edges are two or more finite numbers, each larger than the one before, "
            "as in [0, 0.5, 0.8, 1]."
        )
    return edges


def _as_edges(given: Any) -> tuple[float, ...]:
    return tuple(_checked(given, f"binning={said(given)}").tolist())


@takes(edges=_as_edges)
@dataclass(frozen=True)
class GivenEdges(BinningRule):
    """These edges, whatever the scores are.

    Raises:
        InputError: They are not two or more finite, increasing numbers.
    """

    edges: Sequence[float]

    def __call__(
        self,
        scores: Column,
        weight: Column,
        signal: Column,
        *,
        variations: Mapping[str, Any] | None = None,
        trained: Any = None,
    ) -> np.ndarray:
        """The edges."""
        del scores, weight, signal, variations, trained
        return np.asarray(self.edges, np.float64)


@dataclass(frozen=True)
class UserBinning(BinningRule):
    """A user's own function of scores, weights and signal."""

    function: Callable[[np.ndarray, np.ndarray, np.ndarray], Any]

    def __call__(
        self,
        scores: Column,
        weight: Column,
        signal: Column,
        *,
        variations: Mapping[str, Any] | None = None,
        trained: Any = None,
    ) -> np.ndarray:
        """What the function returns.

        Raises:
            InputError: It returns no edges.
        """
        del variations, trained
        found = self.function(np.asarray(scores), np.asarray(weight), np.asarray(signal))
        return _checked(found, f"binning={said(self.function)} returned {said(found)}")


RULES = Registry(
    "binning",
    f"edges, {EXAMPLE}, or a function {FORM}",
    {"equal_signal": EqualSignal, "exact": Exact, "gradient": Gradient, "learned": Learned},
)
"""By the name that they have in the analysis file."""


def as_binning(given: Any) -> BinningRule:
    """A way of choosing edges: by name, as a class without brackets, edges, or a function of your
    own.

    None is `EqualSignal()`.

    Raises:
        InputError: For anything else.
    """
    if given is None:
        return EqualSignal()
    if isinstance(given, str):
        given = RULES.named(given, "binning")
    given = made(given, "binning")
    if isinstance(given, BinningRule):
        return given
    if callable(given):
        called_with(given, ARGUMENTS, "binning", FORM)
        return UserBinning(given)
    if isinstance(given, Iterable) and not isinstance(given, Mapping):
        return GivenEdges(tuple(given))
    raise InputError(
        f"binning={said(given)}: give edges, a way of choosing them such as {EXAMPLE}, or a "
        f"function {FORM}."
    )

"""Bins of an objective: equidistant, trained or regions; and how events are smeared over them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from annotated_types import Ge
from jax.typing import DTypeLike
from jaxtyping import Array, Float, PyTree

from difftune.arguments import said, takes
from difftune.binning import LearnedEdges
from difftune.errors import InputError
from difftune.histograms import KERNELS
from difftune.objectives.batch import Batch, Values

# A width next to nothing, for what is to be hard.
HARD = (1e-9, 1e-9)


def start_and_end(given: Sequence[float], called: str) -> tuple[float, float]:
    """The two widths of an annealed objective, checked.

    Args:
        given: At the start and at the end of the training.
        called: What they are called there: `"AsimovLLR(bandwidth"`.

    Raises:
        InputError: For anything but two positive numbers.
    """
    pair = tuple(given)
    if len(pair) != 2 or not min(pair) > 0.0:
        raise InputError(
            f"{called}={pair}): give two positive numbers, the width at the start and at the end "
            "of the training."
        )
    return pair


def annealed(
    pair: Sequence[float], batch: Batch, factor: float | Float[Array, ""]
) -> Float[Array, ""]:
    """The width now: it goes down geometrically from the first to the second.

    Args:
        pair: Widths at the start and at the end of the training.
        batch: Tells how much of the training is behind us.
        factor: On both of them.
    """
    start, end = pair
    return jnp.asarray(start * (end / start) ** batch.progress * factor)


def check_kernel(kernel: str, name: str) -> None:
    """Refuses a kernel that there is not.

    Args:
        kernel: What the user gave.
        name: Of the class that it was given to.

    Raises:
        InputError: For an unknown one.
    """
    if kernel not in KERNELS:
        *others, last = map(repr, KERNELS)
        raise InputError(f"{name}(kernel={kernel!r}): choose {', '.join(others)} or {last}.")


@takes()
@dataclass(frozen=True, kw_only=True)
class Regions:
    """Regions in place of bins of a score: an event is in that of the network's largest output.

    The network has one logit per region. A softmax shares an event out over the regions while it is
    trained, as in INFERNO (arXiv 1806.04743), and the largest logit decides in the end. So regions
    may have any shape in the space of the inputs, and an order only by name: where a score keeps
    signal and background apart, regions also keep apart what a nuisance parameter moves.

    Args:
        regions: How many.
        temperature: Divides the logits, at the start and at the end of the training; geometrically
            annealed in between. The hyperparameter `"temperature"`, where the search has it,
            multiplies both.
        hard: Whether the largest logit decides at once. There is no gradient then; it is for
            metrics.

    Raises:
        InputError: For fewer than two regions, a temperature that is not positive.
    """

    regions: int
    temperature: Sequence[float] = (1.0, 0.1)
    hard: bool = False

    def __post_init__(self) -> None:
        if self.regions < 2:
            raise InputError(f"Regions(regions={self.regions}): at least 2 are needed.")
        pair = start_and_end(self.temperature, "Regions(temperature")
        object.__setattr__(self, "temperature", pair)

    def shares(
        self,
        scores: Float[Array, "events regions"],
        batch: Batch,
        hyperparameters: Values,
    ) -> Float[Array, "events regions"]:
        """How much of each event is in each region, 1 in all.

        Args:
            scores: Logits of the network.
            batch: Tells how much of the training is behind us.
            hyperparameters: May hold the factor on the temperature.

        Raises:
            InputError: When the network has another number of logits.
        """
        factor = hyperparameters.get("temperature", 1.0)
        if scores.ndim != 2 or scores.shape[1] != self.regions:
            raise InputError(
                f"Regions(regions={self.regions}) needs logits [events, {self.regions}], one a "
                f"region, and got {list(scores.shape)}."
            )
        if self.hard:
            # NaN must not pass as a choice.
            chosen = jax.nn.one_hot(jnp.argmax(scores, axis=-1), self.regions, dtype=scores.dtype)
            return chosen + 0.0 * jnp.sum(scores, axis=-1, keepdims=True)
        temperature = annealed(self.temperature, batch, factor)
        return jax.nn.softmax(scores * (1.0 / temperature.astype(scores.dtype)), axis=-1)


Kernel = Literal["logistic", "normal", "softmax"]
Bins = Annotated[int, Ge(2)] | LearnedEdges | Regions
"""So many equidistant bins on [0, 1], bins whose edges are parameters of the objective, or regions.

Regions are for objectives that ask the network for as many outputs.
"""


def number_of(bins: Bins) -> int:
    """How many bins there are."""
    if isinstance(bins, Regions):
        return bins.regions
    return bins.bins if isinstance(bins, LearnedEdges) else bins


def check_bins(bins: Any, name: str, *, regions: bool = False) -> None:
    """Refuses bins that no objective can use.

    Args:
        bins: What the user gave.
        name: Of the class that it was given to.
        regions: Whether that can use regions.

    Raises:
        InputError: For fewer than two, or edges on another range than that of the score.
    """
    if not isinstance(bins, int | np.integer | LearnedEdges | Regions) or isinstance(bins, bool):
        raise InputError(
            f"{name}(bins={said(bins)}): give a whole number of bins, or for trained edges "
            "difftune.binning.LearnedEdges(bins=10)."
        )
    if isinstance(bins, Regions) and not regions:
        raise InputError(
            f"{name}(bins={bins}) bins a score, and regions are outputs of a network: give them to "
            "FitModel, for an objective through the fit (without systematics, PoiUncertainty)."
        )
    if number_of(bins) < 2:  # type: ignore[arg-type]
        raise InputError(f"{name}(bins={bins}): at least 2 bins are needed.")
    if isinstance(bins, LearnedEdges) and (bins.low, bins.high) != (0.0, 1.0):
        raise InputError(
            f"{name}(bins={bins}): the score lies between 0 and 1, and so must the edges: leave "
            "out low and high."
        )


def start_edges(bins: Bins, key: Array) -> dict[str, PyTree]:
    """Start values of trained edges, under the name `edges`; nothing for equidistant ones.

    Args:
        bins: The bins.
        key: This member's random key.
    """
    return {"edges": bins.init(key)} if isinstance(bins, LearnedEdges) else {}


def edges_of(bins: Bins, parameters: PyTree, dtype: DTypeLike) -> Float[Array, " edges"]:
    """The edges, from 0 to 1.

    Args:
        bins: The bins.
        parameters: What `start_edges` gave, trained since.
        dtype: Of the result.

    Raises:
        InputError: Regions have none.
    """
    if isinstance(bins, Regions):
        raise InputError(f"bins={bins}: regions have no edges.")
    if isinstance(bins, LearnedEdges):
        return bins(parameters["edges"]).astype(dtype)
    return jnp.linspace(0.0, 1.0, bins + 1, dtype=dtype)

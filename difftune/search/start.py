"""A search that begins where another one ended: its weights, and the hyperparameters they had."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import jax
import numpy as np
from jaxtyping import Float, Int

from difftune.errors import InputError
from difftune.training import Population, Snapshot, Weights
from difftune.training.describing import Definition, describe


@dataclass(frozen=True, kw_only=True)
class Start:
    """What every member begins from, also one that a strategy lets begin afresh.

    Hyperparameters that the search before had, that something reads and that the new one does not
    name are carried on; those of the shape of a network stay with its weights in any case. The
    batch size is not: it is that of the recipe.

    Attributes:
        snapshot: Of every member, on the host.
        names: Hyperparameters that follow the weights.
    """

    snapshot: Snapshot
    names: frozenset[str]

    @classmethod
    def of(cls, snapshot: Snapshot, population: Population, proposed: Collection[str]) -> "Start":
        """What a population takes over from a snapshot.

        Args:
            snapshot: Of every member.
            population: Trains the members.
            proposed: Hyperparameters of the new search.

        Raises:
            InputError: When it is of another number of members.
        """
        if len(snapshot.score) != population.members:
            raise InputError(
                f"the start is of {len(snapshot.score)} members, the population has "
                f"{population.members}: give a snapshot of every member."
            )
        had = set(snapshot.hyperparameters)
        free = had - set(proposed) - set(population.fixed) - {"batch_size"}
        read = population.read(set(proposed) | free)
        shape = had & population.module_def.inherited
        return cls(snapshot=snapshot, names=frozenset((free & read) | shape))

    @property
    def weights(self) -> Weights:
        """Of every member."""
        return self.snapshot.weights

    def values(
        self,
        proposed: Mapping[str, Float[np.ndarray, " members"]],
        origin: Int[np.ndarray, " members"],
    ) -> dict[str, Float[np.ndarray, " members"]]:
        """Hyperparameters of a round, those that follow the weights as well.

        Args:
            proposed: By the strategy.
            origin: Slot that the weights of each member were in when the search began.
        """
        had = self.snapshot.hyperparameters
        return {**proposed, **{name: np.asarray(had[name])[origin] for name in sorted(self.names)}}

    @property
    def definition(self) -> Definition:
        """What it adds to that of a search."""
        return {
            "weights": [describe(np.asarray(leaf)) for leaf in jax.tree.leaves(self.weights)],
            "hyperparameters": {
                name: describe(np.asarray(self.snapshot.hyperparameters[name]))
                for name in sorted(self.names)
            },
        }

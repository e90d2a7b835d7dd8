"""What a member sees of the data: folds, bootstrap replicas and inputs left out, side by side."""

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from difftune.errors import InputError
from difftune.models import hash_uniform

# Probabilities that a Poisson number of mean 1 is at most 0, 1, 2, ...: float32 knows no more.
_POISSON = np.cumsum(np.exp(-1.0) / np.cumprod([1.0, *range(1, 10)]))


@dataclass(frozen=True, kw_only=True, eq=False)
class Replicas:
    """One number, or one mask, per member; what is None is the same for all.

    The members of a population then differ in what they see of the data, so that a k-fold cross-
    validation of many sets of inputs and many seeds is one population.

    Attributes:
        fold: Number of the fold that a member is validated on; it trains on all the others.
            `Columns.fold` says where each event is.
        held_out: Number of a fold that a member never sees, neither to train on nor to be validated
            on: for cross-fitting, where its events are scored by the members that hold it out.
        inputs: Network inputs that a member uses, `[members, inputs]`; the others are 0 for it.
        bootstrap: Number of the bootstrap replica that a member trains on: each event counts a
            Poisson number of times of mean 1 (N. C. Oza and S. Russell, Online bagging and
            boosting, 2001). 0 is the sample as it is. Validation is never resampled.
        seed: Members of equal number have the same start values, order and dropout, so that a
            difference between them is not that of the seeds. None: each has its own.

    Raises:
        InputError: When they are not all of one length, or a member has no input.
    """

    fold: Int[np.ndarray, " _"] | None = None
    held_out: Int[np.ndarray, " _"] | None = None
    inputs: Bool[np.ndarray, "_ inputs"] | None = None
    bootstrap: Int[np.ndarray, " _"] | None = None
    seed: Int[np.ndarray, " _"] | None = None

    def __post_init__(self) -> None:
        lengths = {name: len(value) for name, value in self._given().items()}
        if len(set(lengths.values())) > 1:
            raise InputError(f"Replicas of different lengths, {lengths}: one entry per member.")
        if self.inputs is not None and not np.asarray(self.inputs).any(axis=1).all():
            empty = int(np.flatnonzero(~np.asarray(self.inputs).any(axis=1))[0])
            raise InputError(f"Replicas(inputs=...): member {empty} has no input left.")
        for name in ("fold", "held_out", "bootstrap", "seed"):
            values = getattr(self, name)
            if values is not None and np.min(values) < 0:
                raise InputError(f"Replicas({name}=...): {np.min(values)} is below 0.")
        if self.held_out is None:
            return
        if self.fold is None:
            raise InputError(
                "Replicas(held_out=...): say with fold=... which other fold validates each member."
            )
        if (both := np.flatnonzero(np.asarray(self.fold) == np.asarray(self.held_out))).size:
            raise InputError(
                f"Replicas(held_out=...): member {both[0]} is validated on fold "
                f"{self.fold[both[0]]}, which it holds out; validate it on another one."
            )

    def _given(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if value is not None}

    @classmethod
    def crossed(
        cls,
        *,
        inputs: Bool[np.ndarray, "masks inputs"] | None = None,
        bootstraps: int | None = None,
        seeds: int | None = None,
        folds: int | None = None,
    ) -> "Replicas":
        """All combinations, one per member.

        Args:
            inputs: Masks of the inputs.
            bootstraps: How many bootstrap replicas.
            seeds: How many seeds.
            folds: How many folds.

        Returns:
            Members in the order of the arguments, folds fastest: what the population gives for
            each can be reshaped to `[masks, bootstraps, seeds, folds]`, without the axes that were
            not asked for.

        Raises:
            InputError: When nothing is asked for, or less than one of something.
        """
        masks = None if inputs is None else np.asarray(inputs, bool)
        asked = {
            "inputs": None if masks is None else len(masks),
            "bootstrap": bootstraps,
            "seed": seeds,
            "fold": folds,
        }
        counts = {name: count for name, count in asked.items() if count is not None}
        if not counts or min(counts.values()) < 1:
            raise InputError(f"Replicas.crossed: {asked} asks for no member; give numbers above 0.")
        grid = np.meshgrid(*(np.arange(count) for count in counts.values()), indexing="ij")
        numbers: dict[str, Any] = {
            name: axis.ravel() for name, axis in zip(counts, grid, strict=True)
        }
        if masks is not None:
            numbers["inputs"] = masks[numbers["inputs"]]
        if bootstraps is not None:
            # Number 0 is the sample itself.
            numbers["bootstrap"] = numbers["bootstrap"] + 1
        return cls(**numbers)

    def check(self, members: int, inputs: int, folds: int) -> None:
        """Refuses what does not fit a population.

        Args:
            members: Its size.
            inputs: Inputs of its network.
            folds: Folds of its events; 0 where they have none.

        Raises:
            InputError: With what was given and what is wanted.
        """
        for name, value in self._given().items():
            if len(value) != members:
                raise InputError(
                    f"Replicas({name}=...) has {len(value)} entries for {members} members: give "
                    "one each."
                )
        if self.inputs is not None and np.shape(self.inputs)[1] != inputs:
            raise InputError(
                f"Replicas(inputs=...) masks {np.shape(self.inputs)[1]} inputs, the network has "
                f"{inputs}."
            )
        if self.fold is None:
            return
        if folds < 2:
            raise InputError(
                "Replicas(fold=...) needs events in two folds or more: give Columns(fold=...)."
            )
        for name in ("fold", "held_out"):
            value = getattr(self, name)
            if value is not None and np.max(value) >= folds:
                raise InputError(
                    f"Replicas({name}=...): there is no fold {np.max(value)}, they are 0 to "
                    f"{folds - 1}."
                )
        if self.held_out is not None and folds < 3:
            raise InputError(
                "Replicas(held_out=...) needs events in three folds or more: one is held out, one "
                "validates, and the others train."
            )

    def views(self, folds: int) -> tuple[list[tuple[int, ...]], Int[np.ndarray, " members"] | None]:
        """What members see of the folds: those that they do not train on, validation first.

        Args:
            folds: Folds of the events.

        Returns:
            The different views, and the number of that of each member; one of everything, and None,
            where members have no folds.
        """
        if self.fold is None:
            return [()], None
        if self.held_out is None:
            return [(fold,) for fold in range(folds)], np.asarray(self.fold)
        pairs = np.stack([self.fold, self.held_out], axis=1)
        different, number = np.unique(pairs, axis=0, return_inverse=True)
        return [tuple(pair) for pair in different.tolist()], number.reshape(-1)


def bootstrap_count(replica: Array, event: Int[Array, " events"]) -> Float[Array, " events"]:
    """How often each event is in a bootstrap replica.

    A function of the event and the replica alone, so that it needs no memory and does not depend
    on batches.

    Args:
        replica: Number of the replica; in 0 every event is once.
        event: Numbers of the events.
    """
    number = replica.astype(jnp.uint32)
    words = jnp.stack([number * jnp.uint32(0x85EBCA6B), number])
    uniform = hash_uniform(words, event.shape, counter=event.astype(jnp.uint32))
    count = jnp.sum(uniform > jnp.asarray(_POISSON, jnp.float32)[:, None], axis=0)
    return jnp.where(replica == 0, 1.0, count.astype(jnp.float32))

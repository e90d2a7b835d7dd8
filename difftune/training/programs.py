"""The compiled programs of a population."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import jax
from jaxtyping import Array, Float

from difftune.training.batches import Part
from difftune.training.member import MemberTrainer
from difftune.training.memory import Program
from difftune.training.state import EpochClock, Member, MemberInputs, Snapshot


@dataclass(frozen=True, kw_only=True, eq=False)
class Programs:
    """What is compiled once for a population, and for all that differ in data and chance alone.

    Attributes:
        trainer: What one member does.
        devices: Those that share the members.
        memory: Bytes that a program may take on a device.
    """

    trainer: MemberTrainer
    devices: Sequence[jax.Device]
    memory: int | None

    def _of(self, name: str, function: Callable[..., object], *, donate: bool = False) -> Program:
        return Program(
            name=name, function=function, devices=self.devices, memory=self.memory, donate=donate
        )

    @cached_property
    def start(self) -> Program:
        """Makes members."""

        def start(_: None, own: MemberInputs, __: None) -> Member:
            return self.trainer.start(own)

        return self._of("start", start)

    @cached_property
    def train(self) -> Program:
        """Trains members on a part of the events."""

        def train(member: Member, own: MemberInputs, shared: tuple[Part, EpochClock]) -> Member:
            return self.trainer.train(member, own, *shared)

        return self._of("training", train, donate=True)

    @cached_property
    def finish(self) -> Program:
        """Validates members at the end of an epoch."""

        def finish(member: Member, own: MemberInputs, shared: tuple) -> Member:
            return self.trainer.finish(member, own, *shared)

        return self._of("validation", finish, donate=True)

    @cached_property
    def scores(self) -> Program:
        """Scores events by the best networks of members."""

        def scores(_: None, best: Snapshot, features: Float[Array, "events inputs"]) -> Array:
            if best.inputs is not None:
                features = features * best.inputs
            return self.trainer.module_def.evaluate(best.weights, best.hyperparameters, features)

        return self._of("scores", scores)

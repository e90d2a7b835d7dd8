"""What there is to know of a member: its state while it trains, its best epoch, its history."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree

from difftune.training.module_def import Weights
from difftune.training.selection_rule import Trend

RUNNING = 0
"""State of a member that trains."""
STOPPED = 1
"""State of a member that stopped early."""
LOSS_NOT_FINITE, WEIGHTS_NOT_FINITE, SCORE_NOT_FINITE = 2, 3, 4
STATUS = (
    "running",
    "stopped early",
    "diverged: the training loss is not finite",
    "diverged: the weights are not finite",
    "diverged: the validation score is not finite",
)
"""The states of a member in words, by their numbers."""


def diverged(status: Any) -> Any:
    """Whether a member is out because its numbers are not finite."""
    return status >= LOSS_NOT_FINITE


class Snapshot(NamedTuple):
    """The best of a slot since another member or a new one moved in, by selection score."""

    weights: Weights
    objective: PyTree
    hyperparameters: dict[str, Array]
    score: Array
    selection_score: Array
    """What it was compared by (`SelectionRule`)."""
    epoch: Array
    slot: Array
    inputs: Array | None = None
    scores: Array | None = None
    """All scores, where the metric gives several."""


class EpochRecord(NamedTuple):
    """What one epoch gave; `[members]` each in a population."""

    loss: Float[Array, "*members"]
    validation_loss: Float[Array, "*members"]
    hard_loss: Float[Array, "*members"]
    """The validation loss of events in hard bins."""
    score: Float[Array, "*members"]
    selection_score: Float[Array, "*members"]
    train_score: Float[Array, "*members"]
    eligible: Bool[Array, "*members"]
    overtraining: Float[Array, "*members"]
    scores: Float[Array, "*members scores"] | None = None
    """All scores, where the metric gives several."""


class Member(NamedTuple):
    """The training state; in a population each array has a leading member axis."""

    weights: Weights
    objective: PyTree
    optimizer: PyTree
    best: Snapshot
    trend: Trend
    record: EpochRecord
    """Of the last epoch that it trained."""
    stale: Array
    rate: Array
    """What reducing on a plateau has left of the learning rate."""
    status: Array


class MemberInputs(NamedTuple):
    """What tells a member from the others; view, inputs, bootstrap where `Replicas` has them."""

    hyperparameters: dict[str, Array]
    key: Array
    slot: Any
    view: Any = None
    """Which of the views of the folds it has (`batches.View`)."""
    inputs: Any = None
    bootstrap: Any = None
    begun: Any = None
    """Epoch in which its training began, where members begin at different times."""


class EpochClock(NamedTuple):
    """Number of an epoch, from 0, and length of a training in epochs."""

    epoch: Array
    epochs: Array


def choose(condition: Array, new: PyTree, old: PyTree) -> PyTree:
    """`new` where the condition holds, else `old`; the condition may have a member axis."""

    def pick(a: Any, b: Any) -> Array:
        shaped = jnp.reshape(condition, condition.shape + (1,) * (a.ndim - condition.ndim))
        return jnp.where(shaped, a, b)

    return jax.tree.map(pick, new, old)


def _wider(rows: np.ndarray, members: int, nothing: Any) -> np.ndarray:
    """Rows with columns for so many members, the last of which may hold nothing."""
    missing = members - rows.shape[1]
    if not missing:
        return rows
    empty = np.full((len(rows), missing, *rows.shape[2:]), nothing, rows.dtype)
    return np.concatenate([rows, empty], axis=1)


@dataclass(frozen=True, kw_only=True)
class History:
    """The record of a population.

    Attributes:
        epoch: Number of each epoch, from 0.
        round: Round of each epoch.
        loss: Mean training loss (in training mode).
        validation_loss: Objective on the validation events.
        hard_loss: The same of events in hard bins, where the objective smears them.
        score: Validation score; larger is better.
        selection_score: What epochs and members were compared by (`SelectionRule`).
        train_score: The same on as many training events.
        hyperparameters: Values in each round.
        parents: Member whose weights a member went on from, in each round.
        restart: Whether it began afresh instead.
        status: `"running"`, `"stopped early"`, or `"diverged: "` with the reason, at the end.
        overtraining: How far training and validation are apart, in units of what is allowed; above
            1 a member is not eligible. None where it was not recorded.
        scores: All validation scores, where there are several; `score` is their geometric mean.
        score_names: What they are called.
        resumed: Of a round in which members went on from an epoch before the last, as a stage does
            from the best ones: that epoch of each member.
    """

    epoch: Int[np.ndarray, " epochs"]
    round: Int[np.ndarray, " epochs"]
    loss: Float[np.ndarray, "epochs members"]
    validation_loss: Float[np.ndarray, "epochs members"]
    hard_loss: Float[np.ndarray, "epochs members"]
    score: Float[np.ndarray, "epochs members"]
    selection_score: Float[np.ndarray, "epochs members"]
    train_score: Float[np.ndarray, "epochs members"]
    hyperparameters: dict[str, Float[np.ndarray, "rounds members"]]
    parents: Int[np.ndarray, "rounds members"]
    restart: Bool[np.ndarray, "rounds members"]
    status: tuple[str, ...]
    overtraining: Float[np.ndarray, "epochs members"] | None = None
    scores: Float[np.ndarray, "epochs members scores"] | None = None
    score_names: tuple[str, ...] = ()
    resumed: Mapping[int, Int[np.ndarray, " members"]] = field(default_factory=dict)

    def of(self, members: slice) -> "History":
        """The history of some members, all of whose ancestors are among them.

        Args:
            members: Their slots, which are numbered anew from 0.
        """

        def own(values: Any) -> Any:
            return None if values is None else values[:, members]

        per_member = (
            *("loss", "validation_loss", "hard_loss", "score", "selection_score", "train_score"),
            *("restart", "overtraining", "scores"),
        )
        return replace(
            self,
            **{name: own(getattr(self, name)) for name in per_member},
            parents=own(self.parents) - members.start,
            hyperparameters={name: own(values) for name, values in self.hyperparameters.items()},
            status=self.status[members],
            resumed={number: epochs[members] for number, epochs in self.resumed.items()},
        )

    def then(
        self,
        other: "History",
        *,
        parents: Int[np.ndarray, " members"] | None = None,
        epochs: Int[np.ndarray, " members"] | None = None,
        carried: Mapping[str, Float[np.ndarray, " members"]] | None = None,
    ) -> "History":
        """This history and that of a training that began where it ended, as one.

        Args:
            other: What came after; its epochs and rounds are numbered on.
            parents: Member of this population that each of the other's began from; by default they
                are the same.
            epochs: Epoch of this history that each began from; by default the last one.
            carried: Hyperparameters that the other does not name, as each member began with them:
                they follow its weights.

        Returns:
            The members of the other; of those of this population the ancestors that they have, and
            NaN where one did not have a hyperparameter. As many columns as the larger of both.
        """
        members = max(self.score.shape[1], other.score.shape[1])
        seam = np.arange(other.score.shape[1]) if parents is None else np.asarray(parents)
        slots, line = np.arange(other.score.shape[1]), np.arange(other.score.shape[1])
        origins = []
        for parent, restart in zip(other.parents, other.restart, strict=True):
            line = np.where(restart, slots, line[parent])
            origins.append(line)
        values = {
            name: np.stack([np.asarray(each)[line] for line in origins])
            for name, each in (carried or {}).items()
        } | other.hyperparameters

        def joined(first: Any, second: Any, nothing: Any = np.nan) -> Any:
            if first is None or second is None or first.shape[2:] != second.shape[2:]:
                return None
            return np.concatenate(
                [_wider(first, members, nothing), _wider(second, members, nothing)]
            )

        def of(values: Mapping[str, np.ndarray], name: str, rounds: int) -> np.ndarray:
            return values.get(name, np.full((rounds, members), np.nan))

        ours, theirs = len(self.parents), len(other.parents)
        # They go on from there, where by themselves they begin.
        begin = np.concatenate([seam[None], other.parents[1:]])
        restart = np.concatenate([np.zeros_like(other.restart[:1]), other.restart[1:]])
        per_epoch = ("loss", "validation_loss", "hard_loss", "score", "selection_score")
        resumed = {
            **self.resumed,
            **({} if epochs is None else {ours: epochs}),
            **{ours + number: len(self.epoch) + at for number, at in other.resumed.items()},
        }

        def wide(values: Any, nothing: int) -> np.ndarray:
            return _wider(np.asarray(values)[None], members, nothing)[0]

        return History(
            epoch=np.concatenate([self.epoch, other.epoch + len(self.epoch)]),
            round=np.concatenate([self.round, other.round + ours]),
            **{
                name: joined(getattr(self, name), getattr(other, name))
                for name in (*per_epoch, "train_score", "overtraining")
            },
            hyperparameters={
                name: joined(of(self.hyperparameters, name, ours), of(values, name, theirs))
                for name in dict.fromkeys([*self.hyperparameters, *values])
            },
            parents=joined(self.parents, begin, 0),
            restart=joined(self.restart, restart, True),
            status=other.status + ("not continued",) * (members - len(other.status)),
            scores=joined(self.scores, other.scores) if self._same_scores(other) else None,
            score_names=other.score_names if self._same_scores(other) else (),
            resumed={number: wide(at, -1) for number, at in resumed.items()},
        )

    def _same_scores(self, other: "History") -> bool:
        return self.score_names == other.score_names

    def schedule(self, *, epoch: int, member: int) -> dict[str, Float[np.ndarray, " rounds"]]:
        """The hyperparameters along the line of descent of a member.

        Args:
            epoch: Epoch in which the weights of interest were reached.
            member: Slot that held them then.

        Returns:
            For each hyperparameter its value in each round since the line began, up to and with
            the round of `epoch`.
        """
        line = self.line_of_descent(epoch=epoch, member=member)
        rows, slots = list(line), list(line.values())
        return {name: values[rows, slots] for name, values in self.hyperparameters.items()}

    def line_of_descent(self, *, epoch: int, member: int) -> dict[int, int]:
        """The slots in which the weights of a network were trained.

        Args:
            epoch: Epoch in which the network was reached.
            member: Its slot then.

        Returns:
            Slot in each round, from the one where the line began to that of `epoch`.
        """
        rounds = self.round[self.epoch == epoch]
        number = int(rounds[0]) if len(rounds) else len(self.parents) - 1
        line = {}
        while number >= 0:
            line[number] = member
            if self.restart[number, member]:
                break
            before = number - 1
            if number in self.resumed:
                before = int(self.round[self.resumed[number][member]])
            number, member = before, int(self.parents[number, member])
        return dict(sorted(line.items()))

"""What happened to each member, epoch by epoch and round by round."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int


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

    def schedule(self, *, epoch: int, member: int) -> dict[str, Float[np.ndarray, " rounds"]]:
        """The hyperparameters along the line of descent of a member.

        Args:
            epoch: Epoch in which the weights of interest were reached.
            member: Slot that held them then.

        Returns:
            For each hyperparameter its value in each round since the line began, up to and with
            the round of `epoch`.
        """
        last = int(self.round[self.epoch == epoch][0])
        line = []
        for number in range(last, -1, -1):
            line.append((number, member))
            if self.restart[number, member]:
                break
            member = int(self.parents[number, member])
        rows, slots = np.asarray(line[::-1]).T
        return {name: values[rows, slots] for name, values in self.hyperparameters.items()}

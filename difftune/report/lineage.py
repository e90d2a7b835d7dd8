"""Reading a population's history: which member descends from which, and which was best when."""

import numpy as np
from jaxtyping import Float, Int

from difftune.report.given import checked
from difftune.training import History


@checked
def best_network(history: History) -> tuple[int, int]:
    """Epoch and member of the largest finite selection score; (last epoch, 0) without any."""
    finite = np.where(np.isfinite(history.selection_score), history.selection_score, -np.inf)
    if finite.size == 0 or not np.isfinite(finite.max()):
        return (int(history.epoch[-1]) if len(history.epoch) else 0), 0
    row, member = np.unravel_index(int(np.argmax(finite)), finite.shape)
    return int(history.epoch[row]), int(member)


@checked
def line_of_descent(history: History, *, epoch: int, member: int) -> dict[int, int]:
    """The slots in which the weights of a network were trained.

    Args:
        history: The record.
        epoch: Epoch in which the network was reached.
        member: Its slot then.

    Returns:
        Slot in each round, from the one where the line began to that of `epoch`.
    """
    return history.line_of_descent(epoch=epoch, member=member)


def along(
    values: Float[np.ndarray, "epochs members"], history: History, line: dict[int, int]
) -> Float[np.ndarray, " epochs"]:
    """What a line of descent went through; NaN in the epochs before it and after it."""
    slots = np.array([line.get(int(r), -1) for r in history.round], int)
    return np.where(slots >= 0, values[np.arange(len(slots)), slots], np.nan)


def round_scores(history: History) -> Float[np.ndarray, "rounds members"]:
    """The best finite validation score of each member within each round; NaN without one."""
    rounds, members = history.parents.shape
    result = np.full((rounds, members), np.nan)
    for number in range(rounds):
        inside = history.score[history.round == number]
        if len(inside):
            best = np.max(np.where(np.isfinite(inside), inside, -np.inf), axis=0)
            result[number] = np.where(np.isfinite(best), best, np.nan)
    return result


def exploits(history: History) -> tuple[Int[np.ndarray, " copies"], Int[np.ndarray, " copies"]]:
    """Rounds and members that went on from the weights of another member."""
    members = np.arange(history.parents.shape[1])
    rounds, slots = np.nonzero((history.parents != members) & ~history.restart)
    return rounds, slots

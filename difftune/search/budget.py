"""Searches that end when their time is over, with as many rounds as fit by how long they take."""

import math
import time
from collections.abc import Callable

from difftune.search.proposal import Strategy
from difftune.search.space import Space
from difftune.training import Processes


class Budget:
    """The wall time of a search, on the clock of the first process.

    Args:
        strategy: Says how long the search may take, if it does.
        space: What it may propose.
        processes: Those that must agree on the plan.
        clock: Gives the time in seconds.
        spent: Seconds that the search took before, where it is resumed.
        pace: Seconds that its last round took then.
    """

    def __init__(
        self,
        strategy: Strategy,
        space: Space,
        processes: Processes,
        *,
        clock: Callable[[], float] = time.monotonic,
        spent: float = 0.0,
        pace: float | None = None,
    ):
        self._given, self._space, self._processes = strategy, space, processes
        self._clock, self._began = clock, clock() - spent
        self._limit = None if strategy.minutes is None else 60.0 * strategy.minutes
        self.pace = pace
        self._compiled = False

    @property
    def spent(self) -> float:
        """Seconds that the search has taken, those before it was resumed as well."""
        return self._clock() - self._began

    @property
    def facts(self) -> dict[str, float | None]:
        """What a search that is resumed begins with."""
        return {"spent": self.spent, "pace": self.pace}

    @property
    def over(self) -> bool:
        """Whether the time is over."""
        if self._limit is None:
            return False
        return bool(self._processes.of_first(self.spent >= self._limit)[0])

    def took(self, seconds: float, *, rounds: float = 1.0, compiled: bool = False) -> None:
        """Learns how long rounds take.

        Args:
            seconds: Of these rounds.
            rounds: How many, or what part of one.
            compiled: Whether programs were compiled in it, so that the next one will be quicker.
        """
        self.pace, self._compiled = seconds / rounds, compiled

    def planned(self, done: int | float) -> Strategy:
        """The strategy with as many rounds as the time allows.

        A round is planned where more than half of it fits. Before anything is known, schedules
        begin with the strategy's own number.

        Args:
            done: Rounds that have ended; with the part of the present one that has.
        """
        if self._limit is None or self.pace is None:
            return self._given
        left, least = self._limit - self.spent, math.ceil(done)
        number = max(round(done + left / self.pace), least + int(self._compiled))
        number = number if left > 0.0 else least
        return self._given.lasting(self._processes.of_first(number)[0], self._space)

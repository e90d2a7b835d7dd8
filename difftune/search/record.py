"""The history of a search while it grows, round by round."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from difftune.search.proposal import PopulationState, Proposal, Round
from difftune.training import STATUS, EpochRecord, History

_VALUE = "hyperparameters/"


class Record:
    """What was proposed and what came of it.

    Each round is looked at once, when it has ended, so a long search does not become slower.
    """

    def __init__(self) -> None:
        self.epochs: dict[str, list[np.ndarray]] = {}
        self.rounds: dict[str, list[np.ndarray]] = {}
        self._past: list[Round] = []
        # Epochs that there were when each round began.
        self._first: list[int] = []
        self._begun: Int[np.ndarray, " members"] | None = None
        self._origin: Int[np.ndarray, " members"] | None = None

    @staticmethod
    def _append(store: dict[str, list[np.ndarray]], row: Mapping[str, Any]) -> None:
        for name, value in row.items():
            store.setdefault(name, []).append(np.asarray(value))

    @property
    def length(self) -> int:
        """How many epochs there are."""
        return len(self.epochs.get("epoch", []))

    def proposal(self, proposal: Proposal) -> None:
        """Begins a round."""
        values = {f"{_VALUE}{name}": v for name, v in proposal.hyperparameters.items()}
        parents, restart = np.asarray(proposal.parents), np.asarray(proposal.restart)
        self._begin({"parents": parents, "restart": restart} | values)

    def _begin(self, row: Mapping[str, np.ndarray]) -> None:
        self._append(self.rounds, row)
        self._first.append(self.length)
        parents, restart = row["parents"], row["restart"]
        before = np.zeros(len(parents), np.int32) if self._begun is None else self._begun
        self._begun = np.where(restart, np.int32(self.length), before[parents])
        self._origin = self.origin(parents, restart)

    def origin(
        self, parents: Int[np.ndarray, " members"], restart: Bool[np.ndarray, " members"]
    ) -> Int[np.ndarray, " members"]:
        """Slots in which the lines of descent of the next round's members began.

        Args:
            parents: As proposed.
            restart: As proposed.
        """
        slots = np.arange(len(parents))
        before = slots if self._origin is None else self._origin
        return np.where(restart, slots, before[parents])

    def epoch(self, round_number: int, record: EpochRecord) -> None:
        """Adds an epoch."""
        given = {name: value for name, value in record._asdict().items() if value is not None}
        self._append(self.epochs, {"epoch": self.length, "round": round_number} | given)

    def end(self) -> None:
        """Ends a round, once it has its epochs."""
        rows = slice(self._first[-1], None)
        selection_score, eligible = (
            np.stack(self.epochs[name][rows]) for name in ("selection_score", "eligible")
        )
        able = np.where(eligible & np.isfinite(selection_score), selection_score, -np.inf)
        best, at = np.max(able, axis=0), np.argmax(able, axis=0)
        scores = None
        if "scores" in self.epochs:
            every = np.stack(self.epochs["scores"][rows])
            scores = every[at, np.arange(len(at))]
        self._past.append(
            Round(
                parents=self.rounds["parents"][-1],
                restart=self.rounds["restart"][-1],
                hyperparameters=self.values(),
                selection_score=selection_score[-1],
                best=np.where(np.isfinite(best), best, np.nan),
                scores=scores,
            )
        )

    def facts(self) -> dict[str, Any]:
        """The round that has ended last, as JSON can hold it, numbers to the last digit."""

        def column(rows: Sequence[np.ndarray]) -> dict[str, Any]:
            return {"dtype": str(rows[0].dtype), "rows": [row.tolist() for row in rows]}

        own = slice(self._first[-1], None)
        return {
            "epochs": {name: column(rows[own]) for name, rows in self.epochs.items()},
            "rounds": {name: column(rows[-1:]) for name, rows in self.rounds.items()},
        }

    @classmethod
    def of(cls, rounds: Sequence[dict[str, Any]]) -> "Record":
        """The record of rounds that were written down."""
        record = cls()
        for facts in rounds:
            given: dict[str, dict[str, list[np.ndarray]]] = {
                part: {
                    name: [np.asarray(row, column["dtype"]) for row in column["rows"]]
                    for name, column in facts[part].items()
                }
                for part in ("epochs", "rounds")
            }
            record._begin({name: rows[0] for name, rows in given["rounds"].items()})
            for name, rows in given["epochs"].items():
                record.epochs.setdefault(name, []).extend(rows)
            record.end()
        return record

    def population_state(self) -> PopulationState:
        """How the population stands after the rounds so far."""
        last = self._past[-1]
        overtraining = np.mean(self.epochs["overtraining"][self._first[-1] :], axis=0)
        return PopulationState(
            round=len(self._past),
            selection_score=last.selection_score,
            eligible=np.isfinite(last.selection_score) & (overtraining <= 1.0),
            hyperparameters=last.hyperparameters,
            past=tuple(self._past),
            scores=self.epochs["scores"][-1] if "scores" in self.epochs else None,
            overtraining=overtraining,
        )

    @property
    def begun(self) -> Int[np.ndarray, " members"]:
        """Epoch in which the training of each member began, along its line of descent."""
        assert self._begun is not None, "a round has begun"
        return self._begun

    def values(self) -> dict[str, np.ndarray]:
        """Hyperparameters of the last round."""
        return {
            name.removeprefix(_VALUE): rows[-1]
            for name, rows in self.rounds.items()
            if name.startswith(_VALUE)
        }

    def history(self, status: np.ndarray, score_names: tuple[str, ...]) -> History:
        """All of it, in arrays."""
        columns = {name: np.stack(rows) for name, rows in (self.epochs | self.rounds).items()}
        values = {k.removeprefix(_VALUE): v for k, v in columns.items() if k.startswith(_VALUE)}
        plain: dict[str, Any] = {k: v for k, v in columns.items() if not k.startswith(_VALUE)}
        plain.pop("eligible")
        return History(
            hyperparameters=values,
            status=tuple(STATUS[code] for code in status),
            score_names=score_names,
            **plain,
        )

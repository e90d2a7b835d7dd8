"""Which variables to keep: elimination and forward selection, by retraining."""

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float
from pydantic import TypeAdapter, ValidationError

from difftune import files
from difftune.arguments import takes, texts
from difftune.errors import InputError
from difftune.selection import gates
from difftune.selection.network_on_fold import Evaluator, unit_matrix
from difftune.selection.study import Networks, Study, Trainer, as_study
from difftune.training import digest, of_events, refuse_other, surroundings
from difftune.training.describing import Definition, describe

logger = logging.getLogger("difftune")

# Random numbers of the trainings that choose; those that were selected by have others.
_FRESH = "choice of the set"
_SCORES = "scores.json"


@dataclass(frozen=True, kw_only=True)
class Step:
    """A round: some units tried, one of them taken.

    Attributes:
        before: Units that there were.
        score: Their score: mean over seeds and folds.
        tried: Units that were left out (or added), one at a time.
        improvement: Relative improvement of the score by each.
        uncertainty: Standard error of each, from differences of trainings of equal seed and fold.
        taken: The unit with the best one.
        trainings: Of the round.
        seconds: That it took.
    """

    before: tuple[str, ...]
    score: float
    tried: tuple[str, ...]
    improvement: tuple[float, ...]
    uncertainty: tuple[float, ...]
    taken: str
    trainings: int
    seconds: float

    def __str__(self) -> str:
        best = self.improvement[self.tried.index(self.taken)]
        return (
            f"{len(self.before)} units, score {self.score:.5g}; {self.taken}: {best:+.2%} "
            f"({self.trainings} trainings, {self.seconds:.0f} s)"
        )


_STEP = TypeAdapter(Step)


@dataclass(frozen=True, kw_only=True, eq=False)
class Selection:
    """What an elimination or a forward selection gives; `dt.report.selection_table` writes it.

    Attributes:
        direction: `"backward"` or `"forward"`.
        steps: The rounds.
        sets: Units on the path, from the first set to the last, `[sets]`.
        score: Score of each, trained again with other seeds than those that the path was chosen
            with, `[sets, seeds, folds]`.
        chosen: Number of the set that is chosen.
        variables: Variables of that set.
        trainings: How many there were in all.
    """

    direction: str
    steps: tuple[Step, ...]
    sets: tuple[tuple[str, ...], ...]
    score: Float[np.ndarray, "sets seeds folds"]
    chosen: int
    variables: tuple[str, ...]
    trainings: int

    @property
    def units(self) -> tuple[str, ...]:
        """Units of the chosen set."""
        return self.sets[self.chosen]

    @property
    def mean(self) -> Float[np.ndarray, " sets"]:
        """Score of each set; minus infinity where all trainings diverged."""
        return means(self.score)

    @property
    def uncertainty(self) -> Float[np.ndarray, " sets"]:
        """Standard error of the difference of each set to the best one."""
        return difference(self.score, self.score[int(np.argmax(self.mean))])[1]


def means(score: Float[np.ndarray, "sets seeds folds"]) -> Float[np.ndarray, " sets"]:
    """Mean of each set over the trainings that did not diverge; minus infinity if all did."""
    there = np.isfinite(score)
    total = np.sum(np.where(there, score, 0.0), axis=(1, 2), dtype=float)
    count = np.sum(there, axis=(1, 2))
    return np.where(count > 0, total / np.maximum(count, 1), -np.inf)


def difference(
    score: Float[np.ndarray, "sets seeds folds"], reference: Float[np.ndarray, "seeds folds"]
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard error of the difference to a set, in pairs of equal seed and fold."""
    pairs = np.reshape(score - reference, (len(score), -1))
    count = np.sum(np.isfinite(pairs), axis=1)
    # A set of which all diverged is worse than any.
    filled = np.where(np.isfinite(pairs), pairs, 0.0)
    mean = np.where(count > 0, filled.sum(axis=1) / np.maximum(count, 1), -np.inf)
    away = np.where(np.isfinite(pairs), pairs - np.where(count > 0, mean, 0.0)[:, None], 0.0)
    variance = np.sum(away**2, axis=1) / np.maximum(count - 1, 1)
    return mean, np.sqrt(variance / np.maximum(count, 1))


def choose(score: Float[np.ndarray, "sets seeds folds"], sizes: Any, tolerance: float) -> int:
    """The smallest set that is not worse than the best one beyond its standard error.

    Args:
        score: Of each set.
        sizes: Units of each.
        tolerance: Standard errors; 0 takes the best set.
    """
    best = int(np.argmax(means(score)))
    mean, error = difference(score, score[best])
    allowed = np.flatnonzero(mean >= -tolerance * error)
    return int(min(allowed, key=lambda i: (sizes[i], -mean[i])))


class Guide:
    """Orders units by their conditional gates in networks that are there."""

    def __init__(self, study: Study):
        self.study = study
        self._question = Evaluator(study, partial(gates.closing, replace=True))

    def __call__(
        self, networks: Networks, number: int, kept: Bool[np.ndarray, " units"]
    ) -> Float[np.ndarray, " units"]:
        """What the objective loses by each unit; infinity for those that are out already."""
        answer = self._question(
            networks,
            number,
            gates.conditional(self.study, kept),
            unit_matrix(self.study.units.inputs),
            np.zeros(1, int),
        )
        return np.where(kept, np.nanmean(answer["loss"][:, :, 0], axis=(0, 1)), np.inf)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Search:
    """A greedy search; the arguments are those of `eliminate`."""

    study: Study
    direction: Literal["backward", "forward"]
    candidates: int | None
    patience: int
    least: int
    most: int
    tolerance: float
    keep: tuple[str, ...]
    folder: Path | None
    on_round: Callable[[Step], None]

    def run(self) -> Selection:
        units = self.study.units
        backward = self.direction == "backward"
        store = None if self.folder is None else Rounds(self.folder, self._definition())
        steps: list[Step] = []
        kept = np.full(len(units), backward)
        for step in [] if store is None else store.read():
            # With less patience, or fewer units, it would have ended before.
            if self._done(steps, kept):
                break
            steps.append(step)
            kept[units.number(step.taken)] = not backward
        trainer = Trainer(self.study, 1 + min(self.candidates or len(units), len(units)))
        guide = Guide(self.study) if self.candidates is not None else None
        networks: Networks | None = None
        number = 0
        while not self._done(steps, kept):
            began = time.perf_counter()
            count = 0
            if guide is not None and networks is None:
                networks, number = trainer(kept[None]), 0
                count += self.study.trainings
            tried = np.flatnonzero(kept & ~self._staying if backward else ~kept)
            if guide is not None:
                assert networks is not None
                tried = tried[np.argsort(guide(networks, number, kept)[tried], kind="stable")]
                tried = tried[: self.candidates]
            sets = np.repeat(kept[None], 1 + len(tried), axis=0)
            sets[1 + np.arange(len(tried)), tried] = not backward
            # Nothing can be trained on no variable at all.
            first = 0 if kept.any() else 1
            trained = trainer(sets[first:])
            reference = trained.score[0] if kept.any() else trained.score.max(axis=0)
            mean, error = difference(trained.score[1 - first :], reference)
            scale = max(abs(float(np.nanmean(reference))), 1e-12)
            best = int(np.argmax(mean))
            networks, number = trained, best + 1 - first
            step = Step(
                before=tuple(n for n, k in zip(units.names, kept, strict=True) if k),
                score=float(np.nanmean(reference)) if kept.any() else float("nan"),
                tried=tuple(units.names[i] for i in tried),
                improvement=tuple((mean / scale).tolist()),
                uncertainty=tuple((error / scale).tolist()),
                taken=units.names[tried[best]],
                trainings=count + len(trained.score) * self.study.trainings,
                seconds=time.perf_counter() - began,
            )
            kept[tried[best]] = not backward
            steps.append(step)
            if store is not None:
                store.write(len(steps), step)
            self.on_round(step)
        return self._result(steps, trainer, store)

    @cached_property
    def _staying(self) -> Bool[np.ndarray, " units"]:
        """Units that are not left out."""
        staying = np.zeros(len(self.study.units), bool)
        staying[[self.study.units.holding(name) for name in self.keep]] = True
        return staying

    def _done(self, steps: list[Step], kept: Bool[np.ndarray, " units"]) -> bool:
        if self.direction == "backward" and kept.sum() <= max(self.least, self._staying.sum()):
            return True
        if self.direction == "forward" and kept.sum() >= min(self.most, len(kept)):
            return True
        return stale(steps) >= self.patience

    def _result(self, steps: list[Step], trainer: Trainer, store: "Rounds | None") -> Selection:
        units, backward = self.study.units, self.direction == "backward"
        kept = np.full(len(units), backward)
        path = [kept.copy()] if backward else []
        for step in steps:
            kept[units.number(step.taken)] = not backward
            path.append(kept.copy())
        sets = np.stack(path)
        # Those numbers that a set was chosen by are too good: all are trained once more.
        score = None if store is None else store.read_scores(len(steps))
        if score is None:
            score = trainer(sets, stream=_FRESH).score
            if store is not None:
                store.write_scores(len(steps), score)
        chosen = choose(score, sets.sum(axis=1), self.tolerance)
        names = [tuple(n for n, k in zip(units.names, row, strict=True) if k) for row in sets]
        held = {v for n in names[chosen] for v in units.members[units.number(n)]}
        return Selection(
            direction=self.direction,
            steps=tuple(steps),
            sets=tuple(names),
            score=score,
            chosen=chosen,
            variables=tuple(v for v in self.study.events.feature_names if v in held),
            trainings=sum(step.trainings for step in steps) + score.size,
        )

    def _definition(self) -> Definition:
        """What must be the same for rounds to be of one search: all that their numbers need."""
        study = self.study
        settings = {field.name: getattr(study, field.name) for field in fields(study)}
        return {
            "direction": self.direction,
            "candidates": self.candidates,
            **({"keep": list(self.keep)} if self.keep else {}),
            **{name: describe(value) for name, value in settings.items() if name != "events"},
            "events": of_events(study.events),
            **surroundings(),
        }


def stale(steps: list[Step]) -> int:
    """Rounds since the score was best, by the improvements of the rounds themselves."""
    total, best, since = 0.0, 0.0, 0
    for step in steps:
        total += step.improvement[step.tried.index(step.taken)]
        # The first variable of a forward selection has nothing to be compared with.
        if total > best or not step.before:
            best, since = (total if step.before else -np.inf), 0
        else:
            since += 1
    return since


class Rounds:
    """A folder with a file for each round, written in one step.

    Args:
        folder: Made if need be.
        definition: Of the search.

    Raises:
        InputError: When the folder cannot be used, or holds rounds of another search.
    """

    def __init__(self, folder: Path, definition: Definition):
        self.folder = Path(folder)
        with files.usable(self.folder, remedy="Give another folder."):
            self.folder.mkdir(parents=True, exist_ok=True)
            stored = self.folder / "selection.json"
            there = stored.exists()
        if not there:
            if rounds := sorted(path.name for path in self.folder.glob("round_*.json")):
                raise InputError(
                    f"{self.folder} holds {rounds[0]}, but no selection.json that says what it is "
                    "of. Put that file back, or give another folder."
                )
            with files.usable(self.folder, remedy="Give another folder."):
                files.write(stored, json.dumps(definition, indent=1) + "\n")
            return
        small = refuse_other(
            files.read_json(stored, remedy="Put back a copy of it, or give another folder."),
            json.loads(json.dumps(definition)),
            where=f"{self.folder} holds rounds",
            remedy="Go on with what they began with, or give another folder.",
        )
        if small:
            logger.warning("%s: the selection goes on elsewhere (%s)", self.folder, small[0])

    def write(self, number: int, step: Step) -> None:
        """Keeps a round, or says that it cannot: a full disk must not end a long search."""
        self._write(self.folder / f"round_{number:03d}.json", asdict(step))

    def write_scores(self, rounds: int, score: Float[np.ndarray, "sets seeds folds"]) -> None:
        """Keeps the scores of all sets on the path, trained once more."""
        content = {"rounds": rounds, "score": np.asarray(score, float).tolist()}
        self._write(self.folder / _SCORES, content)

    def read_scores(self, rounds: int) -> Float[np.ndarray, "sets seeds folds"] | None:
        """Those of a path of so many rounds, where they were kept.

        Raises:
            InputError: The file is damaged.
        """
        if not (self.folder / _SCORES).exists():
            return None
        content = self._read(self.folder / _SCORES, f"Remove {_SCORES} to train them again.")
        # As they were: differences of them are taken in their precision.
        return np.asarray(content["score"], np.float32) if content["rounds"] == rounds else None

    def _write(self, path: Path, content: dict[str, Any]) -> None:
        try:
            files.write(path, json.dumps({"sha256": _digest(content), **content}, indent=1) + "\n")
        except OSError as error:
            logger.warning(
                "%s could not be written (%s). The selection goes on; make room, or one that is "
                "resumed repeats this round.",
                *(path, error),
            )

    def read(self) -> list[Step]:
        """Rounds that were kept, in their order.

        Raises:
            InputError: One of them is damaged.
        """
        steps: list[Step] = []
        while (path := self.folder / f"round_{len(steps) + 1:03d}.json").exists():
            remedy = "Remove it and those after it to repeat these rounds, or give another folder."
            content = self._read(path, remedy)
            try:
                steps.append(_STEP.validate_python(content))
            except ValidationError as error:
                first = error.errors(include_url=False)[0]
                place = ".".join(map(str, first["loc"])) or "its content"
                raise InputError(f"{path}: {place}: {first['msg']}. {remedy}") from None
        return steps

    def _read(self, path: Path, remedy: str) -> dict[str, Any]:
        content = files.read_json(path, remedy=remedy)
        if content.pop("sha256", None) != _digest(content):
            raise InputError(f"{path} is damaged: its checksum is not right. {remedy}")
        return content


def _digest(content: dict[str, Any]) -> str:
    return digest(json.dumps(content, sort_keys=True).encode())


def _log(step: Step) -> None:
    logger.info("selection: %s", step)


@takes(study=as_study)
def eliminate(
    study: Study,
    *,
    candidates: int | None = None,
    patience: int = 5,
    least: int = 1,
    tolerance: float = 2.0,
    keep: Sequence[str] = (),
    folder: Path | str | None = None,
    on_round: Callable[[Step], None] = _log,
) -> Selection:
    """Backward elimination: leave out one unit after the other, as long as that does no harm.

    In each round every unit is left out in turn, the network trained again for all folds and seeds
    (one population), and the unit with the best relative improvement of the score is dropped. After
    `patience` rounds without a new best score it ends. All sets on the path are then trained once
    more, with other seeds, and the smallest is chosen that is not worse than the best.

    Args:
        study: Events, network and training.
        candidates: Units that are tried in a round, those whose conditional gates lose least; None
            for all.
        patience: Rounds without a new best until the end.
        least: Units that are kept at least.
        tolerance: How many standard errors (of the differences of equal seed and fold) a smaller
            set may be worse than the best one; 0 takes the best.
        keep: Variables or groups that are never left out.
        folder: Where each round is kept; a search that is found there goes on.
        on_round: Called after each round; a line of the log by default.

    Returns:
        The path, and the set that was chosen.

    Raises:
        InputError: For numbers out of range, something to keep that is not there, or a folder with
            another search.
    """
    _check(study, candidates=candidates, patience=patience, tolerance=tolerance)
    if not 1 <= least < len(study.units):
        raise InputError(
            f"eliminate(least={least}): of {len(study.units)} units, 1 to {len(study.units) - 1}."
        )
    return _Search(
        study=study,
        direction="backward",
        candidates=candidates,
        patience=patience,
        least=least,
        most=len(study.units),
        tolerance=tolerance,
        keep=texts(keep, "eliminate(keep)", '["met"]'),
        folder=None if folder is None else Path(folder),
        on_round=on_round,
    ).run()


@takes(study=as_study)
def forward(
    study: Study,
    *,
    patience: int = 3,
    most: int | None = None,
    tolerance: float = 2.0,
    folder: Path | str | None = None,
    on_round: Callable[[Step], None] = _log,
) -> Selection:
    """Forward selection: begin with nothing, and add the unit that improves the score most.

    Args:
        study: Events, network and training.
        patience: Rounds without a new best until the end.
        most: Units at most; all if None.
        tolerance: As in `eliminate`.
        folder: As in `eliminate`.
        on_round: As in `eliminate`.

    Raises:
        InputError: For numbers out of range, or a folder with another search.
    """
    _check(study, candidates=None, patience=patience, tolerance=tolerance)
    if most is not None and most < 1:
        raise InputError(f"forward(most={most}): must be at least 1.")
    return _Search(
        study=study,
        direction="forward",
        candidates=None,
        patience=patience,
        least=1,
        most=most or len(study.units),
        tolerance=tolerance,
        keep=(),
        folder=None if folder is None else Path(folder),
        on_round=on_round,
    ).run()


def _check(study: Study, *, candidates: int | None, patience: int, tolerance: float) -> None:
    if candidates is not None and candidates < 1:
        raise InputError(f"candidates={candidates}: try at least 1 a round, or None for all.")
    if patience < 1:
        raise InputError(f"patience={patience}: must be at least 1.")
    if tolerance < 0:
        raise InputError(f"tolerance={tolerance}: must not be negative.")

"""Atomic checkpoints of a search: a bounded number of them, and a history that only grows."""

import copy
import json
import logging
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from difftune import files
from difftune.errors import InputError
from difftune.training.fingerprint import refuse_other
from difftune.training.packing import Damaged, digest, pack, unpack

logger = logging.getLogger("difftune")

_FILE, _HISTORY = "checkpoint.npz", "history.log"


def rounds_kept(folder: Path) -> int:
    """Number of the newest checkpoint in a folder, by its name; 0 if there is none."""
    try:
        return max((int(name) for name in os.listdir(folder) if name.isdecimal()), default=0)
    except OSError:
        return 0


class Checkpoints:
    """A folder of checkpoints, one per round.

    A checkpoint appears under its name only when it is complete, so a process that is killed
    leaves the previous one intact. Each array has a checksum. What was found of each round stands
    in one file that lines are added to, each with a checksum and that of the line before.

    Nothing that cannot be read is deleted.

    Args:
        folder: Where they live; made if need be.
        keep: How many to keep; the second newest is the reserve if the newest cannot be read.

    Raises:
        InputError: The folder cannot be used.
    """

    def __init__(self, folder: Path, *, keep: int = 2):
        self.folder, self.keep = Path(folder).absolute(), keep
        self.definition: dict[str, Any] = {}
        self._last: str | None = None
        # Lines that a full disk kept from being written.
        self._waiting: list[str] = []
        with files.usable(self.folder, remedy="Choose another folder for checkpoints."):
            self.folder.mkdir(parents=True, exist_ok=True)

    def of(self, definition: Mapping[str, Any]) -> "Checkpoints":
        """The same folder, for a search that is defined so (`training.fingerprint`)."""
        same = copy.copy(self)
        same.definition, same._waiting = dict(definition), []
        return same

    def save(self, step: int, tree: PyTree, facts: Any) -> None:
        """Writes a checkpoint, or says why it cannot: a full disk must not end a long search.

        Args:
            step: Its number, larger than any before.
            tree: Arrays, in any structure.
            facts: Of this step; what JSON can hold.
        """
        line = json.dumps({"step": step, "before": self._last, "facts": facts})
        self._last = digest(line.encode())
        self._waiting.append(f"{self._last} {line}\n")
        partial = self.folder / f".{step}.partial"
        try:
            self._append()
            content = {"definition": self.definition, "history": self._last}
            # Leaves by number: the structure is known where it is restored.
            packed = pack(content, [np.asarray(leaf) for leaf in jax.tree.leaves(tree)])
            files.write(partial / _FILE, packed)
            self._aside(step)
            os.replace(partial, self.folder / str(step))
            files.settle(self.folder)
            for old in sorted(self._steps())[: -self.keep]:
                shutil.rmtree(self.folder / str(old))
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            logger.warning(
                "checkpoint %s/%d could not be written, the one before is kept. The search goes "
                "on; make room, or a resumed run repeats what came since. (%s)",
                *(self.folder, step, error),
            )

    def _append(self) -> None:
        with (self.folder / _HISTORY).open("ab+") as file:
            if file.tell():
                file.seek(-1, os.SEEK_END)
                # The end of a line may be missing where a process was killed or a disk was full.
                if file.read(1) != b"\n":
                    file.write(b"\n")
            file.write("".join(self._waiting).encode())
            file.flush()
            os.fsync(file.fileno())
        self._waiting.clear()

    def _steps(self) -> list[int]:
        return [int(path.name) for path in self.folder.iterdir() if path.name.isdecimal()]

    def _aside(self, step: int) -> Path | None:
        """Gives what is there under a number another name."""
        there = self.folder / str(step)
        if not there.exists():
            return None
        name, number = f"{step}.unreadable", 1
        while (self.folder / name).exists():
            name, number = f"{step}.unreadable-{number}", number + 1
        os.replace(there, self.folder / name)
        return self.folder / name

    def _lines(self) -> dict[str, dict[str, Any]]:
        """Lines of the history that are as they were written, by their checksums."""
        path = self.folder / _HISTORY
        found = {}
        for row in path.read_bytes().split(b"\n"):
            check, _, line = row.partition(b" ")
            if digest(line) == check.decode("ascii", "replace"):
                found[digest(line)] = json.loads(line)
        return found

    def _read(self, step: int) -> tuple[dict[str, Any], list[np.ndarray], list[Any]]:
        content, arrays = unpack((self.folder / str(step) / _FILE).read_bytes())
        lines, rows, at = self._lines(), [], content["history"]
        while at is not None:
            if at not in lines:
                raise Damaged(f"a line of {_HISTORY} is missing or damaged")
            rows.append(lines[at]["facts"])
            at = lines[at]["before"]
        return content, arrays, rows[::-1]

    def newest(self, structure: PyTree) -> tuple[int, PyTree, list[Any]] | None:
        """The newest checkpoint that can be read, or nothing if there is none.

        One that cannot be read is reported and moved aside, and the one before is taken.

        Args:
            structure: A tree with leaves of the shapes that were saved.

        Returns:
            Its number, the arrays, and the facts of all steps up to it.

        Raises:
            InputError: When none of those that there are can be read, or when it is of something
                else: another search, or another program.
        """
        broken: dict[int, Exception] = {}
        with files.usable(self.folder, remedy="Try again when the disk can be read."):
            steps = sorted(self._steps(), reverse=True)
        for step in steps:
            try:
                content, arrays, rows = self._read(step)
            except (OSError, Damaged, MemoryError) as error:
                broken[step] = error
                continue
            self._check(step, content, arrays, structure)
            for other, reason in broken.items():
                with files.usable(self.folder, remedy="Nothing is lost. Make it writable."):
                    moved = self._aside(other)
                logger.warning(
                    "checkpoint %s/%d is unreadable (%s); it is kept as %s, and the search goes "
                    "on after round %d",
                    *(self.folder, other, reason, moved, step),
                )
            self._last = content["history"]
            treedef = jax.tree.structure(structure)
            return step, jax.tree.unflatten(treedef, arrays), rows
        if broken:
            reasons = "; ".join(f"{step}: {error}" for step, error in broken.items())
            raise InputError(
                f"{self.folder} holds checkpoints, but none of them can be read ({reasons}). They "
                "are left as they are. Try again if the disk had a fault, put back a copy, or "
                "start anew in another folder."
            )
        return None

    def _check(
        self, step: int, content: dict[str, Any], arrays: list[np.ndarray], structure: PyTree
    ) -> None:
        small = refuse_other(
            content["definition"],
            self.definition,
            where=f"{self.folder} holds checkpoints",
            remedy="Go on with what it began with, or start anew in another folder.",
        )
        if small:
            logger.warning(
                "%s: the search goes on elsewhere (%s), so its numbers are not to the last digit "
                "those that it would have had",
                *(self.folder, "; ".join(small)),
            )
        expected = jax.tree.leaves(structure)
        if [array.shape for array in arrays] != [np.shape(leaf) for leaf in expected]:
            raise InputError(
                f"checkpoint {self.folder}/{step} holds {len(arrays)} arrays where "
                f"{len(expected)} are expected, or arrays of other shapes: another "
                "configuration or version wrote it. Start in a new run directory."
            )

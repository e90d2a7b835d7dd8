"""Atomic checkpoints of arrays and facts, a bounded number of them."""

import logging
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from difftune.errors import InputError

logger = logging.getLogger("difftune")


class Checkpoints:
    """A folder of checkpoints, one a round.

    A checkpoint appears under its name only when it is complete, so a process that is killed
    leaves the previous one intact.

    Args:
        folder: Where they live; made if need be.
        keep: How many to keep; the second newest is the reserve if the newest cannot be read.
    """

    def __init__(self, folder: Path, *, keep: int = 2):
        self.folder = Path(folder).resolve()
        self.folder.mkdir(parents=True, exist_ok=True)
        alone = jax.process_index()
        self._options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=False,
            # One process of a job writes; it must not wait for the others.
            create=False,
            multiprocessing_options=ocp.options.MultiprocessingOptions(
                primary_host=alone,
                active_processes={alone},
                barrier_sync_key_prefix=f"process_{alone}",
            ),
        )

    def _manager(self) -> ocp.CheckpointManager:
        return ocp.CheckpointManager(self.folder, options=self._options)

    def save(self, step: int, tree: PyTree, facts: dict[str, Any]) -> None:
        """Writes a checkpoint, or says why it cannot: a full disk must not end a long search.

        Args:
            step: Its number, larger than any before.
            tree: Arrays, in any structure.
            facts: What JSON can hold.
        """
        # Leaves by number: the structure is known to whoever restores, and need not be encoded.
        leaves = {f"{i:05d}": np.asarray(x) for i, x in enumerate(jax.tree.leaves(tree))}
        try:
            with self._manager() as manager:
                manager.save(
                    step,
                    args=ocp.args.Composite(
                        arrays=ocp.args.StandardSave(leaves), facts=ocp.args.JsonSave(facts)
                    ),
                )
        # The second is what tensorstore makes of the first.
        except (OSError, ValueError) as error:
            for unfinished in self.folder.glob(f"{step}.orbax-checkpoint-tmp*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            logger.warning(
                "checkpoint %s/%d could not be written, the one before is kept. The search goes "
                "on; make room, or a resumed run repeats what came since. (%s)",
                *(self.folder, step, error),
            )

    def newest(self, structure: PyTree) -> tuple[int, PyTree, dict[str, Any]] | None:
        """The newest checkpoint that can be read, or nothing if there is none.

        One that cannot be read is reported, removed, and the one before is taken.

        Args:
            structure: A tree with leaves of the shapes that were saved.

        Raises:
            InputError: When the checkpoint holds other arrays: another program wrote it.
        """
        with self._manager() as manager:
            for step in sorted(manager.all_steps(), reverse=True):
                try:
                    restored = manager.restore(
                        step,
                        args=ocp.args.Composite(
                            arrays=ocp.args.StandardRestore(), facts=ocp.args.JsonRestore()
                        ),
                    )
                except Exception as error:  # whatever a damaged file makes a reader raise
                    logger.warning("checkpoint %s/%d is unreadable: %s", self.folder, step, error)
                    manager.delete(step)
                    continue
                leaves = [restored.arrays[name] for name in sorted(restored.arrays)]
                expected, treedef = jax.tree.flatten(structure)
                shapes = [np.shape(leaf) for leaf in leaves]
                if shapes != [leaf.shape for leaf in expected]:
                    raise InputError(
                        f"checkpoint {self.folder}/{step} holds {len(leaves)} arrays where "
                        f"{len(expected)} are expected, or arrays of other shapes: another "
                        "configuration or version wrote it. Start in a new run directory."
                    )
                return step, jax.tree.unflatten(treedef, leaves), restored.facts
        return None

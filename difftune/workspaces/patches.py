"""A published patch set as a mapping of its signals to workspaces."""

from collections.abc import Iterator, Mapping
from os import PathLike
from typing import Any

from difftune.errors import InputError, nearest
from difftune.histfactory import read_source
from difftune.histfactory.sources import patched, plain, read_json
from difftune.later import is_of_pyhf, pyhf
from difftune.workspaces.workspace import Workspace


class Patches(Mapping[str, Workspace]):
    """The workspaces that a patch set makes of a background-only one, by name of the patch.

    Each is made when it is asked for. The digests of the set are verified once.

    Attributes:
        base: The background-only workspace.
        points: What each patch stands for, such as masses, by its name.
        labels: What the numbers of a point are.
        digests: Of the workspace that the set was made for, by algorithm.
        references: Where it is published.
        description: What it is.
        patch_set: The set itself.
    """

    def __init__(self, base: Any, patch_set: Any) -> None:
        """Reads a patch set and compares its digests with the workspace.

        Args:
            base: The background-only workspace, as `Workspace.read` takes it.
            patch_set: Path of a JSON file, a dict, or a `pyhf.PatchSet`.

        Raises:
            InputError: It is no patch set, or was made for another workspace.
        """
        self.base = Workspace.read(base)
        if isinstance(patch_set, str | PathLike):
            patch_set = read_json(patch_set)
        if not is_of_pyhf(patch_set, "PatchSet"):
            if not isinstance(patch_set, Mapping) or "patches" not in patch_set:
                raise InputError(
                    "Patches needs a patch set: the path of its JSON file, a dict with 'patches' "
                    "and 'metadata', or a pyhf.PatchSet."
                )
            patch_set = plain(patch_set)
            if not patch_set["patches"]:
                raise InputError("The patch set has no patches.")
        given = patch_set
        names = (
            [patch.name for patch in given.patches]
            if is_of_pyhf(given, "PatchSet")
            else [patch["metadata"]["name"] for patch in given["patches"]]
        )
        # This verifies the digests, and refuses what is no patch set.
        patched(dict(self.base), (given, names[0]))
        found = given if is_of_pyhf(given, "PatchSet") else pyhf.PatchSet(given)
        self.patch_set = found
        self._patches = {patch.name: patch for patch in found.patches}
        self.points = {patch.name: tuple(patch.values) for patch in found.patches}
        self.labels = tuple(found.labels)
        self.digests = dict(found.digests)
        self.references = dict(found.references)
        self.description = str(found.description)

    def __getitem__(self, name: str) -> Workspace:
        """The workspace of one patch.

        Raises:
            KeyError: There is no such patch.
        """
        if name not in self._patches:
            raise KeyError(f"no patch {name!r}.{nearest(str(name), self._patches)}")
        operations = list(self._patches[name].patch)
        return Workspace(read_source(patched(dict(self.base), operations)).spec)

    def __iter__(self) -> Iterator[str]:
        """The names of the patches."""
        return iter(self._patches)

    def __len__(self) -> int:
        """How many there are."""
        return len(self._patches)

    def __repr__(self) -> str:
        """What it is, in a line."""
        return f"Patches({self.description!r}, {len(self)} points in {', '.join(self.labels)})"

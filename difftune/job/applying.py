"""The network of a finished run, applied to files as the run read its own."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from difftune.data import Friend
from difftune.errors import InputError
from difftune.heartbeat import heartbeat
from difftune.job import build
from difftune.job.loading import load
from difftune.models import MODELS
from difftune.training import AnyNetwork, load_network


@heartbeat("scoring the files")
def apply(
    folder: str | Path,
    files: str | Path | Sequence[str | Path],
    output: str | Path | None = None,
    *,
    trees: str | Sequence[str] | None = None,
    branch: str | None = None,
    form: str | None = None,
    friends: Sequence[str] = (),
) -> tuple[Path, ...]:
    """Scores every entry of files with the network of a run: see `difftune.apply`.

    Derived features, common selection, missing values, event number, friends and defaults are those
    of the run. Each of its variations of features has a branch of its own, as `score_jer_up`.

    Args:
        folder: The run directory.
        files: Paths, globs or addresses of ROOT, Parquet or CSV files.
        output: The folder to write to; `scores` in the run directory by default.
        trees: Only these trees.
        branch: Name of the branch or column with the scores, `score` by default; predictions of a
            regression have names of their own, behind this one where it is given.
        form: "root" or "parquet"; by default as the input is.
        friends: Files of the friends of these files, in the place of those that the run was told:
            for each of its friends that has files of its own, in their order.

    Returns:
        The files that were written.

    Raises:
        InputError: The run has no network yet, or the files have not what it needs.
    """
    folder = Path(folder)
    network = network_of(folder)
    return network.apply(
        files,
        folder / "scores" if output is None else output,
        trees=trees,
        branch=branch,
        form=form,
        friends=_elsewhere(network, friends) if friends else None,
    )


def _elsewhere(network: AnyNetwork, files: Sequence[str]) -> list[Friend]:
    """The friends that a network was trained with, for other files."""
    known = [] if network.reading is None else list(network.reading.friends)
    named = [number for number, friend in enumerate(known) if friend.files is not None]
    if len(named) != len(files):
        raise InputError(
            f"friends = {list(files)}: the run read {len(named)} friends with files of their own"
            + "".join(f", {known[number].files!r}" for number in named)
            + ": give as many, in this order; several files of one are a pattern with `*`."
        )
    for number, own in zip(named, files, strict=True):
        known[number] = replace(known[number], files=own)
    return known


def network_of(folder: Path) -> AnyNetwork:
    """The network of a run.

    Raises:
        InputError: There is no run, or it has no network yet.
    """
    if not (folder / "config.json").is_file():
        raise InputError(f"{folder} holds no run of difftune: give the folder of one.")
    if not (folder / "network").is_dir():
        raise InputError(
            f"the run in {folder} has no network yet: wait for its end, or continue it with "
            "--resume."
        )
    config = load(folder / "config.json")
    own = config.model.module not in MODELS
    return load_network(folder / "network", model=build.model(config) if own else None)

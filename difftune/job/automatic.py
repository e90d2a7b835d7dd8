"""From files to the best classifier within a wall time, with what the files themselves say."""

from collections.abc import Sequence
from pathlib import Path

from difftune.analysis import Auto, CrossFit, Split
from difftune.analysis import auto as find
from difftune.errors import InputError
from difftune.heartbeat import doing, heartbeat
from difftune.job import build
from difftune.job.drafting import draft
from difftune.job.loading import load
from difftune.job.stages import Job


@heartbeat("reading the files")
def automatic(
    files: Sequence[str],
    folder: Path,
    *,
    signal: Sequence[str] = (),
    minutes: float | None = None,
    mode: str = "standard",
    networks_only: bool = False,
    cross_fit: bool | None = None,
    overrides: Sequence[str] = (),
) -> Auto:
    """Drafts an analysis, finds the best classifier for it, and writes a report.

    Args:
        files: Paths, globs or addresses of events; or one analysis file, which is then taken.
        folder: Where to leave `analysis.toml`, and what `Auto.report` writes.
        signal: Names of the samples that are signal; by default a guess by their names.
        minutes: Wall time, without the reading of the files and the report.
        mode: As for `difftune.auto`.
        networks_only: Whether trees do not take part.
        cross_fit: Whether each event is measured by what has not seen it; by default where the
            files have event numbers.
        overrides: Keys of the analysis file, as `fit.bins=12`.

    Returns:
        What was found.

    Raises:
        InputError: A file cannot be read or drafted, or there is a draft in the folder already.
    """
    folder = Path(folder)
    path = Path(files[0])
    if len(files) > 1 or path.suffix != ".toml":
        path = folder / "analysis.toml"
        draft(files, path, signal=signal)
    config = load(path, overrides)
    if config.data.target is not None:
        raise InputError(
            f"{path}: auto finds a classifier, and [data] has a target: difftune run {path} tunes "
            "a network that learns it."
        )
    job, events = Job.from_config(config), build.events(config)
    if cross_fit is None:
        cross_fit = config.data.cross_fit or config.data.event_number is not None
    sample = (
        CrossFit(events=events)
        if cross_fit
        else Split(
            events=events,
            validation_folds=tuple(config.data.validation_folds),
            test_folds=tuple(config.data.test_folds),
        )
    )
    job = job.of(sample)
    found = find(
        sample,
        minutes=minutes,
        mode=mode,
        networks_only=networks_only,
        seed=config.general.seed,
        regions=config.training.regions,
        channel=config.fit.region,
        figure=job.figure,
        binning=job.binning,
        blind_above=config.fit.blind_above,
        unblind=config.fit.unblind,
        **job.nuisances,
    )
    doing("measuring the best, and the report")
    found.report(folder)
    return found

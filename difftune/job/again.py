"""Runs in other forms: a first answer in little time, and a finished run measured once more."""

from collections.abc import Sequence
from pathlib import Path

from difftune.errors import InputError
from difftune.job.config import Config
from difftune.job.loading import load
from difftune.job.outcome import Outcome
from difftune.job.run import run

QUICK = {"population": 4, "rounds": 2, "epochs_per_round": 2}
"""Most that a search has for a first answer."""


def quickened(config: Config) -> Config:
    """The same analysis with small searches and one repetition, for a first answer.

    All variables are kept.

    Args:
        config: The analysis.
    """
    raw = config.model_dump()

    def smaller(search: dict, most: dict[str, int]) -> dict:
        return search | {name: min(search[name], value) for name, value in most.items()}

    raw["search"] = smaller(raw["search"] | {"minutes": None}, QUICK)
    for stage in raw["stage"]:
        stage["search"] = smaller(
            stage["search"] | {"minutes": None}, QUICK | {"population": 1, "epochs_per_round": 3}
        )
    raw["selection"] = None
    raw["comparison"] = smaller(raw["comparison"], {"seeds": 1, "repetitions": 1, "replicas": 20})
    return Config.model_validate(raw)


def measured_again(folder: Path, overrides: Sequence[str] = ()) -> Outcome:
    """Measures, fits and draws a finished run again; nothing is trained.

    Args:
        folder: The run directory.
        overrides: Keys that may differ from those of the run, as `fit.unblind=true`.

    Raises:
        InputError: There is no finished run.
    """
    folder = Path(folder)
    if not (folder / "results.json").is_file():
        raise InputError(
            f"{folder} holds no finished run (there is no results.json); finish it with "
            "difftune run CONFIG --resume."
        )
    outcome = run(load(folder / "config.json", overrides), folder, resume=True)
    assert outcome is not None, "there is one process"
    return outcome

"""Runs in other forms: a first answer in little time, and a finished run measured once more."""

import logging
from collections.abc import Sequence
from pathlib import Path

from difftune.errors import InputError
from difftune.job.build import dimension
from difftune.job.config import Config
from difftune.job.loading import load
from difftune.job.outcome import Outcome
from difftune.job.run import run

logger = logging.getLogger("difftune")

QUICK = {"rounds": 2, "epochs_per_round": 4}
"""Most that a training has for a first answer."""


def quickened(config: Config) -> Config:
    """The same analysis with one short training and nothing to compare with, for a first answer.

    What costs most of the time is left out, and the log says so: the search, since each
    hyperparameter is in the middle of its range, further stages, the choice of variables, the
    default network, bootstrap replicas, and figures that the report has folded.

    Args:
        config: The analysis.
    """
    raw, search = config.model_dump(), config.search
    raw["search"] = {"strategy": "random", "population": 1} | {
        name: min(getattr(search, name), most) for name, most in QUICK.items()
    }
    middle = {name: float(dimension(each).grid(1)[0]) for name, each in config.space.items()}
    # The default size of a batch counts: one size is one program to compile.
    middle.pop("batch_size", None)
    raw["hyperparameters"] |= middle
    raw |= {"space": {}, "stage": [], "selection": None}
    raw["comparison"] = {"seeds": 0, "repetitions": 1, "replicas": 0}
    raw["general"]["figures"] = "main"
    epochs = raw["search"]["rounds"] * raw["search"]["epochs_per_round"]
    left_out = [
        *(["the search (hyperparameters are in the middle of their ranges)"] if middle else []),
        *(f"the stage {stage.name!r}" for stage in config.stage),
        *(["the choice of variables"] if config.selection is not None else []),
        "the default network to compare with",
        "bootstrap replicas",
        "figures that the report has folded",
    ]
    logger.info(
        "--quick: a first answer by one network%s of %d epochs. Left out: %s.",
        *(" for each fold" if config.data.cross_fit else "", epochs, ", ".join(left_out)),
    )
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

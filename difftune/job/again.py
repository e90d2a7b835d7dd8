"""Runs in other forms: a first answer in little time, and a finished run measured once more."""

import logging
import math
from collections.abc import Sequence
from pathlib import Path

from difftune.errors import InputError
from difftune.job.build import dimension
from difftune.job.config import Config
from difftune.job.loading import load
from difftune.job.measured_sections import Sample
from difftune.job.outcome import Trained
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


def measured_again(
    folder: Path, overrides: Sequence[str] = (), *, luminosity: float | None = None
) -> Trained:
    """Measures, fits and draws a finished run again; nothing is trained.

    Args:
        folder: The run directory.
        overrides: Keys that may differ from those of the run, as `fit.unblind=true`.
        luminosity: Another one, in 1/fb: all simulated events are scaled to it.

    Raises:
        InputError: There is no finished run.
    """
    folder = Path(folder)
    if not (folder / "results.json").is_file():
        raise InputError(
            f"{folder} holds no finished run (there is no results.json); finish it with "
            "difftune run CONFIG --resume."
        )
    if luminosity is not None:
        scale = _scale(load(folder / "config.json"), luminosity)
        overrides = (*overrides, f"fit.luminosity_scale={scale!r}")
    outcome = run(load(folder / "config.json", overrides), folder, resume=True)
    assert outcome is not None, "there is one process"
    return outcome


def _scale(config: Config, luminosity: float) -> float:
    """The luminosity that is wanted, over that of the events.

    Raises:
        InputError: The analysis file does not know that of the events.
    """
    if not 0 < luminosity < math.inf:
        raise InputError(f"luminosity = {luminosity:g}: give a number above 0, in 1/fb.")
    given = config.data.luminosity
    for sample in config.samples if given is None else ():
        periods = {part.luminosity for part in sample.parts if part.luminosity is not None}
        given = math.fsum(periods) if periods else given
    if given is None:
        raise InputError(
            "the analysis file says no luminosity, so its events cannot be scaled to another one: "
            "say the factor, as in --set fit.luminosity_scale=2."
        )
    plain = [s.name for s in config.samples if s.role != "data" and not _normalised(s)]
    if plain:
        logger.info("%s: taken for expected events at %g 1/fb", ", ".join(plain), given)
    if any(sample.role == "data" for sample in config.samples):
        logger.warning("observed events are those of %g 1/fb, and stay as they are", given)
    return luminosity / given


def _normalised(sample: Sample) -> bool:
    """Whether a sample has a cross-section, or its parts have."""
    own = [sample.cross_section, *(part.cross_section for part in sample.parts)]
    return any(value is not None for value in own)

"""What users give for a job, as what is plainly meant: forms of the arguments of its calls."""

import logging
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.figure import as_figure
from difftune.analysis.scorer import Scorer, Scoring
from difftune.analysis.split import Split, as_folds
from difftune.arguments import mapping, said, several, texts, whole
from difftune.binning import as_binning
from difftune.data import as_events
from difftune.errors import InputError
from difftune.histfactory import FreeNormalisation, Luminosity, NormalisationUncertainty
from difftune.search import Space, as_strategy
from difftune.seeds import checked
from difftune.training import AnyNetwork, BoostedTrees, CrossFitted, as_network, as_recipe
from difftune.training import given as training

logger = logging.getLogger("difftune")


def as_sample(given: Any) -> Any:
    """Events, or a split of them."""
    split = getattr(given, "split", None)
    if isinstance(given, Split | CrossFit):
        return given
    return split if isinstance(split, Split | CrossFit) else as_events(given)


def as_split(given: Any) -> Split | CrossFit:
    """A split; events are split as `tune` does by default, which is said.

    Raises:
        InputError: For anything else.
    """
    split = as_sample(given)
    if isinstance(split, Split | CrossFit):
        return split
    split = Split(events=split)
    logger.warning(
        "events are split as tune does by default: fold(s) %s validate, %s test. If the networks "
        "were trained with other folds, give the `split` of what tune returned.",
        *(", ".join(map(str, folds)) for folds in (split.validation_folds, split.test_folds)),
    )
    return split


def as_sample_of(network: Scoring, given: Any) -> Split | CrossFit:
    """What a network is measured on: a `CrossFit` for cross-fitted ones, else a `Split`.

    A function is measured on what is given.

    Raises:
        InputError: For the other one of both, whose events the networks would have seen.
    """
    crossed = isinstance(network, CrossFitted)
    given = as_sample(given)
    if isinstance(network, Scorer):
        return as_split(given)
    if crossed and not isinstance(given, CrossFit):
        if isinstance(given, Split):
            raise InputError(
                "cross-fitted networks are measured on all events: give CrossFit(events=...), or "
                "`split` of what tune returned, in place of a Split."
            )
        return CrossFit(events=given)
    if not crossed and isinstance(given, CrossFit):
        raise InputError(
            "a CrossFit needs the networks of all folds (tune(CrossFit(events=...), ...)), and "
            "this is one network, which has seen most of the events."
        )
    return given if crossed else as_split(given)


def as_scoring(given: Any) -> Scoring:
    """A network, or a function of events that gives scores."""
    if isinstance(given, Scorer):
        return given
    if callable(given) and not isinstance(given, type):
        return Scorer(given)
    return _of_classes(as_network(given))


def _of_classes(network: AnyNetwork) -> AnyNetwork:
    """Refuses a network that says no score.

    Raises:
        InputError: It predicts targets.
    """
    said = () if isinstance(network, BoostedTrees) else network.predictions
    if said:
        raise InputError(
            f"this network predicts {', '.join(said)} and tells no signal from background: there "
            "are no bins of a score to measure in. dt.measure is for classifiers; what it predicts "
            "can be a feature of one, or the observable of a region."
        )
    return network


def as_score(given: Any) -> Any:
    """A function of events that gives scores; a network has one."""
    if isinstance(given, list | tuple) or not callable(given):
        return _of_classes(as_network(given)).score
    return given


def as_luminosity(given: Any) -> Luminosity | None:
    """An uncertainty of the luminosity, which may be its number."""
    if given is None or isinstance(given, Luminosity):
        return given
    if isinstance(given, int | float) and not isinstance(given, bool):
        return Luminosity(float(given))
    raise InputError(f"luminosity = {said(given)}: give Luminosity(0.0083), or 0.0083.")


def as_folder(given: Any) -> Path | None:
    """A path; a string is one, too."""
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike):
        raise InputError(f'{said(given)} is no path of a folder; write checkpoints="runs/first".')
    return Path(given)


def as_callback(given: Any) -> Any:
    """A function of the progress."""
    if given is not None and not callable(given):
        raise InputError(
            f"on_round={said(given)} cannot be called; give a function of a Progress: print."
        )
    return given


def _uncertainties(given: Any, what: str, kind: type, example: str) -> tuple[Any, ...]:
    return () if given is None else several(given, kind, what, example)


def _binning(given: Any) -> Any:
    """A way of choosing edges, or several by name of the region."""
    if isinstance(given, Mapping):
        return {name: as_binning(own) for name, own in mapping(given, "binning", _BY_NAME).items()}
    return as_binning(given)


_BY_NAME = 'binning={"signal_region": EqualSignal(bins=10)}'

TRAIN: dict[str, Any] = {
    "events": as_sample,
    "recipe": as_recipe,
    "seed": partial(checked, who="train"),
    "epochs": training.as_count("epochs"),
    "validation_folds": partial(as_folds, what="validation_folds"),
    "test_folds": partial(as_folds, what="test_folds"),
    "regions": partial(texts, where="regions", example='regions=("signal",)'),
}
"""Of `train`."""
TREES: dict[str, Any] = {
    **{name: form for name, form in TRAIN.items() if name not in ("epochs", "recipe")},
    "seed": partial(checked, who="train_trees"),
}
"""Of `train_trees`."""
AUTO: dict[str, Any] = {
    **{name: form for name, form in TRAIN.items() if name not in ("epochs", "recipe")},
    "seed": partial(checked, who="auto"),
}
"""Of `auto`."""
TUNE: dict[str, Any] = {
    **{name: form for name, form in TRAIN.items() if name != "epochs"},
    "seed": partial(checked, who="tune"),
    "space": Space.of,
    "search": as_strategy,
    "checkpoints": as_folder,
    "on_round": as_callback,
    "processes": training.as_processes,
}
"""Of `tune`."""
MEASURE: dict[str, Any] = {
    "network": as_scoring,
    "split": as_sample,
    "figure": as_figure,
    "binning": _binning,
    "bins": lambda given: whole(given, f"measure(bins={said(given)})", least=1),
    "normalisation": partial(
        _uncertainties,
        what="normalisation",
        kind=NormalisationUncertainty,
        example='NormalisationUncertainty("xsec_ttbar", 0.06, processes=("ttbar",))',
    ),
    "luminosity": as_luminosity,
    "free": partial(
        _uncertainties,
        what="free",
        kind=FreeNormalisation,
        example='FreeNormalisation("ttbar_norm", ("ttbar",))',
    ),
}
"""Of `measure`."""

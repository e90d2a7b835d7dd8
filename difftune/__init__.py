"""difftune tunes a whole high-energy-physics analysis at once.

Everything public is named here. Modules are imported when they are first used, so that
`import difftune` is quick, starts no backend and changes no setting of JAX.
"""

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from difftune import (
        analysis,
        binning,
        data,
        fields,
        histfactory,
        histograms,
        inference,
        job,
        models,
        objectives,
        report,
        search,
        selection,
        training,
        workspaces,
    )
    from difftune.analysis import CrossFit, Stage, Tuned, auto, measure, train, train_trees, tune
    from difftune.data import (
        Events,
        FeatureVariation,
        Friend,
        Objects,
        Part,
        Process,
        Region,
        SumOfWeights,
        TreeVariation,
        WeightVariation,
        read,
    )
    from difftune.errors import DifftuneError, InputError
    from difftune.models import Hyperparameter
    from difftune.objectives import Batch, Metric, Objective
    from difftune.search import (
        Space,
        category,
        choice,
        integer,
        log_integer,
        log_uniform,
        uniform,
        when,
    )
    from difftune.training import (
        BoostedTrees,
        CrossFitted,
        Ensemble,
        Recipe,
        TrainedNetwork,
        apply,
        use_compilation_cache,
        use_cpu_cores,
    )
    from difftune.workspaces import Patches, Workspace

_MODULES = (
    "binning",
    "analysis",
    "data",
    "fields",
    "histfactory",
    "histograms",
    "inference",
    "job",
    "models",
    "objectives",
    "report",
    "search",
    "selection",
    "training",
    "workspaces",
)

_NAMES = {
    "DifftuneError": "errors",
    "InputError": "errors",
    "Events": "data",
    "FeatureVariation": "data",
    "Friend": "data",
    "Objects": "data",
    "Part": "data",
    "Process": "data",
    "Region": "data",
    "SumOfWeights": "data",
    "TreeVariation": "data",
    "WeightVariation": "data",
    "read": "data",
    "Hyperparameter": "models",
    "Batch": "objectives",
    "Metric": "objectives",
    "Objective": "objectives",
    "Space": "search",
    "category": "search",
    "choice": "search",
    "integer": "search",
    "log_integer": "search",
    "log_uniform": "search",
    "uniform": "search",
    "when": "search",
    "BoostedTrees": "training",
    "CrossFitted": "training",
    "Ensemble": "training",
    "Recipe": "training",
    "TrainedNetwork": "training",
    "use_compilation_cache": "training",
    "use_cpu_cores": "training",
    "Patches": "workspaces",
    "Workspace": "workspaces",
    "CrossFit": "analysis",
    "Stage": "analysis",
    "Tuned": "analysis",
    "apply": "training",
    "auto": "analysis",
    "measure": "analysis",
    "train": "analysis",
    "train_trees": "analysis",
    "tune": "analysis",
}

__all__ = ["__version__", *_MODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first asked for."""
    if name in _MODULES:
        return importlib.import_module(f"difftune.{name}")
    if name in _NAMES:
        return getattr(importlib.import_module(f"difftune.{_NAMES[name]}"), name)
    raise AttributeError(f"module 'difftune' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)

"""HistFactory models: any pyhf spec as a differentiable pytree, and templates as a workspace."""

from difftune.histfactory.config import Config
from difftune.histfactory.model import Model
from difftune.histfactory.stack import stack
from difftune.histfactory.uncertainties import (
    FreeNormalisation,
    Luminosity,
    NormalisationUncertainty,
)
from difftune.histfactory.unconstrained import without_constraints
from difftune.histfactory.workspace import build_workspace

__all__ = [
    "Config",
    "FreeNormalisation",
    "Luminosity",
    "Model",
    "NormalisationUncertainty",
    "build_workspace",
    "stack",
    "without_constraints",
]

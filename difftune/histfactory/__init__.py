"""HistFactory models: for now the export of templates as a pyhf workspace."""

from difftune.histfactory.uncertainties import (
    FreeNormalisation,
    Luminosity,
    NormalisationUncertainty,
)
from difftune.histfactory.workspace import build_workspace

__all__ = ["FreeNormalisation", "Luminosity", "NormalisationUncertainty", "build_workspace"]

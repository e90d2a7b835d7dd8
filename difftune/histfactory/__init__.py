"""HistFactory models: any pyhf spec as a differentiable pytree, and templates as a workspace."""

from difftune.histfactory.arrays import AnyArray as AnyArray
from difftune.histfactory.compile import FROM_MEASUREMENT as FROM_MEASUREMENT
from difftune.histfactory.model import Model
from difftune.histfactory.sources import patched as patched
from difftune.histfactory.sources import read_patch_set as read_patch_set
from difftune.histfactory.sources import read_source as read_source
from difftune.histfactory.structure import ModelConfig
from difftune.histfactory.structure import Structure as Structure
from difftune.histfactory.variants import Filling as Filling
from difftune.histfactory.variants import TemplateYields as TemplateYields
from difftune.histfactory.variants import dummy_templates as dummy_templates
from difftune.histfactory.variants import filling as filling
from difftune.histfactory.variants import stack, without_constraints
from difftune.histfactory.variants import symmetrised as symmetrised
from difftune.histfactory.workspace import (
    FreeNormalisation,
    Luminosity,
    NormalisationUncertainty,
    build_workspace,
)

__all__ = [
    "FreeNormalisation",
    "Luminosity",
    "Model",
    "ModelConfig",
    "NormalisationUncertainty",
    "build_workspace",
    "stack",
    "without_constraints",
]

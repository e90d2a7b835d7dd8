"""Networks by the name that they have in the analysis file."""

from difftune.models.deep_set import DeepSet
from difftune.models.mlp import MLP
from difftune.registry import Registry

MODELS = Registry(
    "model", "a model such as MLP(hidden=(64, 64))", {"mlp": MLP, "deep_set": DeepSet}
)

RECIPES: dict[str, type[MLP] | type[DeepSet]] = {"MLP": MLP, "DeepSet": DeepSet}
"""Those that a file of a network names, so that it can be read without being told the model."""

"""Networks by the name that they have in the analysis file."""

from difftune.models.deep_set import DeepSet
from difftune.models.mlp import MLP
from difftune.models.particle_net import ParticleNet
from difftune.registry import Registry

MODELS = Registry(
    "model",
    "a model such as MLP(hidden=(64, 64))",
    {"mlp": MLP, "deep_set": DeepSet, "particle_net": ParticleNet},
)

Recipe = MLP | DeepSet | ParticleNet

RECIPES: dict[str, type[Recipe]] = {
    "MLP": MLP,
    "DeepSet": DeepSet,
    "ParticleNet": ParticleNet,
}
"""Those that a file of a network names, so that it can be read without being told the model."""

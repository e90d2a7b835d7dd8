"""Networks by the name that they have in the analysis file."""

from difftune.models.deep_set import DeepSet
from difftune.models.mlp import MLP
from difftune.models.particle_net import ParticleNet
from difftune.models.particle_transformer import ParticleTransformer
from difftune.registry import Registry

MODELS = Registry(
    "model",
    "a model such as MLP(hidden=(64, 64))",
    {
        "mlp": MLP,
        "deep_set": DeepSet,
        "particle_net": ParticleNet,
        "particle_transformer": ParticleTransformer,
    },
)

Recipe = MLP | DeepSet | ParticleNet | ParticleTransformer

RECIPES: dict[str, type[Recipe]] = {
    "MLP": MLP,
    "DeepSet": DeepSet,
    "ParticleNet": ParticleNet,
    "ParticleTransformer": ParticleTransformer,
}
"""Those that a file of a network names, so that it can be read without being told the model."""

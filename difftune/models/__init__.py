"""Flax networks, and how a search reaches into them."""

from difftune.models.deep_set import DeepSet
from difftune.models.inputs import InputParts, Inputs, ObjectInputs
from difftune.models.joint import OBJECT as OBJECT
from difftune.models.mlp import DEFAULT, MLP, Architecture, Network
from difftune.models.mlp import as_model as as_model
from difftune.models.named import MODELS as MODELS
from difftune.models.named import RECIPES as RECIPES
from difftune.models.named import Recipe as Recipe
from difftune.models.particle_net import AZIMUTH as AZIMUTH
from difftune.models.particle_net import ParticleNet
from difftune.models.particle_transformer import ABSENT as ABSENT
from difftune.models.particle_transformer import EPSILON as EPSILON
from difftune.models.particle_transformer import SMALL as SMALL
from difftune.models.particle_transformer import ParticleTransformer
from difftune.models.parts import ACTIVATIONS, Dropout, Hyperparameter, fill, hash_uniform
from difftune.models.parts import FIRST_ROW as FIRST_ROW
from difftune.models.submodels import PlainOutputs as PlainOutputs
from difftune.models.submodels import together as together
from difftune.models.wrappers import Alternatives, Gated, open_probability

__all__ = [
    "ACTIVATIONS",
    "DEFAULT",
    "MLP",
    "Alternatives",
    "Architecture",
    "DeepSet",
    "Dropout",
    "Gated",
    "Hyperparameter",
    "InputParts",
    "Inputs",
    "Network",
    "ObjectInputs",
    "ParticleNet",
    "ParticleTransformer",
    "fill",
    "hash_uniform",
    "open_probability",
]

"""Flax networks, and how a search reaches into them."""

from difftune.models.activation import ACTIVATIONS
from difftune.models.alternatives import Alternatives
from difftune.models.dropout import Dropout, hash_uniform
from difftune.models.gated import Gated, open_probability
from difftune.models.hyperparameter import Hyperparameter, fill
from difftune.models.mlp import MLP, Model, Network

__all__ = [
    "ACTIVATIONS",
    "MLP",
    "Alternatives",
    "Dropout",
    "Gated",
    "Hyperparameter",
    "Model",
    "Network",
    "fill",
    "hash_uniform",
    "open_probability",
]

"""A trained network with all that it needs to be used on new events."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float

from difftune.data import Events, FeatureTransform
from difftune.errors import InputError
from difftune.models import MLP, Model
from difftune.training.blueprint import Blueprint, Weights
from difftune.training.state import (
    Snapshot,
)

ENSEMBLE = "ensemble.json"
"""The file by which one knows the folder of several networks."""

_CHUNK = 65536


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork:
    """Raw features in, discriminant in [0, 1] out.

    Attributes:
        blueprint: Structure of the network.
        weights: Its numbers.
        hyperparameters: The values it was trained with last.
        transform: Of the features, learned on training events.
        feature_names: Columns that it wants, in this order.
        signal_process: 1 for each process that is signal, `[processes]`.
    """

    blueprint: Blueprint
    weights: Weights
    hyperparameters: dict[str, float]
    transform: FeatureTransform
    feature_names: tuple[str, ...]
    signal_process: tuple[float, ...]

    @classmethod
    def from_snapshot(
        cls,
        snapshot: Snapshot,
        slot: int,
        blueprint: Blueprint,
        transform: FeatureTransform,
        *,
        feature_names: tuple[str, ...],
        signal_process: tuple[float, ...],
    ) -> "TrainedNetwork":
        """The best network of one member of a population.

        Raises:
            InputError: When it was trained with some of its inputs left out.
        """
        own = jax.tree.map(lambda a: np.asarray(a)[slot], snapshot)
        if own.inputs is not None and not own.inputs.all():
            raise InputError(
                f"member {slot} uses {int(own.inputs.sum())} of {len(own.inputs)} network inputs: "
                "train a network of these alone."
            )
        return cls(
            blueprint=blueprint,
            weights=own.weights,
            hyperparameters={name: float(value) for name, value in own.hyperparameters.items()},
            transform=transform,
            feature_names=feature_names,
            signal_process=signal_process,
        )

    def score(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, " events"]:
        """Discriminant of events: near 1 for what looks like signal.

        Args:
            events: With the features that the network was trained on; or these features as a plain
                array, its columns in the order of `feature_names`. A value is missing where it is
                NaN, or what `read` was told to mean that for the training events, such as -999.

        Raises:
            InputError: When the events have other features, or the same in another order.
        """
        if isinstance(events, Events):
            given, raw = list(events.feature_names), np.asarray(events.features)
            fits = events.feature_names == self.feature_names
        else:
            given, raw = list(np.shape(events)), np.asarray(events, np.float32)
            fits = raw.ndim == 2 and raw.shape[1] == len(self.feature_names)
        if not fits:
            raise InputError(
                f"the network wants the features {list(self.feature_names)}, in this order; the "
                f"events have {given}."
            )
        features = np.asarray(self.transform(raw), np.float32)
        scores = np.empty(len(features), np.float32)
        for start in range(0, len(features), _CHUNK):
            part = features[start : start + _CHUNK]
            # Equal shapes, so that each network is compiled once.
            padded = np.zeros((_CHUNK, features.shape[1]), np.float32)
            padded[: len(part)] = part
            logits = self.blueprint.evaluate_jit(self.weights, self.hyperparameters, padded)
            if logits.ndim == 1:
                probability = jax.nn.sigmoid(logits)
            else:
                probability = jax.nn.softmax(logits) @ jnp.asarray(self.signal_process)
            scores[start : start + len(part)] = np.asarray(probability)[: len(part)]
        return scores

    def save(self, folder: Path) -> None:
        """Writes `network.npz` (the numbers) and `network.json` (everything else)."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "/".join((part, *map(str, path))): np.asarray(leaf[...])
            for part in ("parameters", "buffers")
            for path, leaf in nnx.to_flat_state(getattr(self.weights, part))
        }
        np.savez(folder / "network.npz", **arrays)  # type: ignore[arg-type]
        model = self.blueprint.model
        facts = {
            "model": {"MLP": asdict(model)} if isinstance(model, MLP) else repr(model),
            "outputs": self.blueprint.outputs,
            "feature_names": self.feature_names,
            "signal_process": self.signal_process,
            "hyperparameters": self.hyperparameters,
            "transform": self.transform.to_dict(),
        }
        (folder / "network.json").write_text(json.dumps(facts, indent=2) + "\n")

    @classmethod
    def load(cls, folder: Path, *, model: Model | None = None) -> "TrainedNetwork":
        """Reads what `save` wrote.

        Args:
            folder: Holds `network.npz` and `network.json`.
            model: Makes the network; needed where it is not an `MLP`.

        Raises:
            InputError: When files are missing, the model is needed, or does not fit the numbers.
        """
        folder = Path(folder)
        if (folder / ENSEMBLE).is_file():
            raise InputError(f"{folder} holds several networks; load them with Ensemble.load().")
        for name in ("network.json", "network.npz"):
            if not (folder / name).is_file():
                raise InputError(f"{folder / name} does not exist; give a folder that save() made.")
        facts = json.loads((folder / "network.json").read_text())
        if model is None:
            if not isinstance(facts["model"], dict):
                raise InputError(
                    f"{folder}/network.json names the model {facts['model']!r}, which only you can "
                    "make: pass load(..., model=...)."
                )
            model = MLP(**facts["model"]["MLP"])
        names = tuple(facts["feature_names"])
        transform = FeatureTransform.from_dict(facts["transform"])
        blueprint = Blueprint(model, inputs=transform.width, outputs=facts["outputs"])
        with np.load(folder / "network.npz") as stored:
            weights = _fill(blueprint.init(jax.random.key(0)), dict(stored), folder)
        return cls(
            blueprint=blueprint,
            weights=weights,
            hyperparameters=facts["hyperparameters"],
            transform=transform,
            feature_names=names,
            signal_process=tuple(facts["signal_process"]),
        )


def _fill(template: Weights, arrays: dict[str, np.ndarray], folder: Path) -> Weights:
    filled = []
    for part in ("parameters", "buffers"):
        leaves = []
        for path, leaf in nnx.to_flat_state(getattr(template, part)):
            name = "/".join((part, *map(str, path)))
            found = arrays.pop(name, None)
            if found is None or found.shape != leaf[...].shape:
                raise InputError(
                    f"{folder}/network.npz: {name} is "
                    f"{'missing' if found is None else list(found.shape)} where the model has "
                    f"{list(leaf[...].shape)}; give the model that was trained."
                )
            leaves.append((path, leaf.replace(jnp.asarray(found))))
        filled.append(nnx.from_flat_state(leaves))
    if arrays:
        raise InputError(
            f"{folder}/network.npz: {sorted(arrays)[0]} has no place in the model; give the model "
            "that was trained."
        )
    return Weights(*filled)

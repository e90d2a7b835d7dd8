"""A trained network with all that it needs to be used on new events."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Float, Int

from difftune.binning import trained_edges
from difftune.data import Events, FeatureTransform, Reading
from difftune.errors import InputError
from difftune.models import RECIPES, Architecture, PlainOutputs
from difftune.models import Recipe as Model
from difftune.objectives import Link
from difftune.training.applicable import Applicable, features_of
from difftune.training.buckets import bucket_numbers, in_steps, whole
from difftune.training.module_def import ModuleDef, Weights
from difftune.training.network_file import (
    FACTS,
    NUMBERS,
    Numbers,
    check_digest,
    read_facts,
    write_network,
)
from difftune.training.sample import inputs_of
from difftune.training.state import Snapshot

logger = logging.getLogger("difftune")

ENSEMBLE = "ensemble.json"
CROSS_FITTED = "cross_fitted.json"
"""The file by which one knows the folder of several networks."""

_CHUNK = 65536
_MANY = 512  # Chunks from which on programs for several sizes are worth their compilation.
_AT_A_TIME = 32  # Chunks that are sorted by their size then.


@dataclass(frozen=True, kw_only=True)
class TrainedNetwork(Applicable):
    """Raw features in, discriminant in [0, 1] out; or predictions of targets in their unit.

    Attributes:
        module_def: Structure of the network.
        weights: Its numbers.
        hyperparameters: The values it was trained with last.
        transform: Of the features, learned on training events.
        feature_names: Columns that it wants, in this order.
        signal_process: 1 for each process that is signal, `[processes]`.
        edges: Bin edges that its objective trained with it, if it did.
        reading: How the events of its training were read, for `apply`; None where they are from
            arrays.
        link: What makes predictions of its outputs, where it has learned targets; None where it
            tells signal from background.
    """

    module_def: ModuleDef
    weights: Weights
    hyperparameters: dict[str, float]
    transform: FeatureTransform
    feature_names: tuple[str, ...]
    signal_process: tuple[float, ...]
    edges: tuple[float, ...] | None = None
    reading: Reading | None = None
    link: Link | None = None

    @property
    def predictions(self) -> tuple[str, ...]:
        """Names of the predictions that `score` gives, one a column; else none."""
        return () if self.link is None else self.link.names

    @classmethod
    def from_snapshot(
        cls,
        snapshot: Snapshot,
        slot: int,
        module_def: ModuleDef,
        transform: FeatureTransform,
        *,
        feature_names: tuple[str, ...],
        signal_process: tuple[float, ...],
        objective: Any = None,
        reading: Reading | None = None,
    ) -> "TrainedNetwork":
        """The best network of one member of a population.

        Args:
            snapshot: The best state of each member.
            slot: Which member.
            module_def: Structure of the network.
            transform: Of the features.
            feature_names: Of the events.
            signal_process: 1 for each process that is signal.
            objective: What it was trained with, which may have trained bin edges.
            reading: How the events were read.

        Raises:
            InputError: When it was trained without a variable, but with the input that says where
                this is missing; or the other way round.
        """
        own = jax.tree.map(lambda a: np.asarray(a)[slot], snapshot)
        link = None
        if transform.target is not None:
            prediction = objective.outputs
            link = Link(prediction=prediction, transform=transform.target)
            transform = replace(transform, target=None)
        if own.inputs is not None:
            unused = np.flatnonzero(~own.inputs[: len(feature_names)].astype(bool))
            transform = transform.without(*unused.tolist())
            if not np.array_equal(transform.used, own.inputs.astype(bool)):
                raise InputError(
                    f"member {slot} uses {int(own.inputs.sum())} of {len(own.inputs)} network "
                    "inputs, and of some variable only part: leave out a variable together with "
                    "the input that says where it is missing."
                )
        return cls(
            module_def=module_def,
            weights=own.weights,
            hyperparameters={name: float(value) for name, value in own.hyperparameters.items()},
            transform=transform,
            feature_names=feature_names,
            signal_process=signal_process,
            edges=trained_edges(objective, own.objective),
            reading=reading,
            link=link,
        )

    def score(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, " events *predictions"]:
        """Discriminant of events: near 1 for what looks like signal; or predictions of targets.

        Predictions are in the unit of the targets: a number for each event, or one for each of
        `predictions`.

        Args:
            events: With the features that the network was trained on; or these features as a plain
                array, its columns in the order of `feature_names`. A value is missing where it is
                NaN, or what `read` was told to mean that for the training events, such as -999.

        Raises:
            InputError: When the events have other features, or the same in another order.
        """
        raw = features_of(events, self.feature_names, "network wants")
        self._warn_of_sentinels(raw)
        wide = len(self.predictions) > 1
        scores = np.empty((len(raw), len(self.predictions)) if wide else len(raw), np.float32)
        for rows, logits in self._outputs(raw):
            if self.link is not None:
                probability = self.link(logits)
            elif logits.ndim == 1:
                probability = jax.nn.sigmoid(logits)
            else:
                probability = jax.nn.softmax(logits) @ jnp.asarray(self.signal_process)
            scores[rows] = np.asarray(probability)[: len(rows)]
        return scores

    def class_probabilities(
        self, events: Events | Float[np.ndarray, "events variables"]
    ) -> Float[np.ndarray, "events processes"]:
        """How probable each process is, with one class per process (`CategoricalCrossEntropy`).

        Args:
            events: As for `score`.

        Raises:
            InputError: When the network has other outputs, or the events other features.
        """
        if self.link is not None or self.module_def.outputs != len(self.signal_process):
            raise InputError(
                f"this network has {self.module_def.outputs} outputs, not one for each of the "
                f"{len(self.signal_process)} processes: train it with "
                "objective='categorical_cross_entropy'."
            )
        raw = features_of(events, self.feature_names, "network wants")
        shares = np.empty((len(raw), len(self.signal_process)), np.float32)
        for rows, logits in self._outputs(raw):
            shares[rows] = np.asarray(jax.nn.softmax(logits))[: len(rows)]
        return shares

    def _outputs(
        self, raw: Float[np.ndarray, "events variables"]
    ) -> Iterator[tuple[Int[np.ndarray, " chunk"], jax.Array]]:
        """Numbers of the events of a chunk, and outputs for them, with those of padding behind.

        Of many events with objects those of few are scored by networks with room for few.
        """
        span, buckets = max(_CHUNK // self.module_def.rows, 1), whole(self.module_def)
        if len(raw) >= _MANY * span:
            buckets, span = in_steps(self.module_def), _AT_A_TIME * span
        for start in range(0, len(raw), span):
            part = np.asarray(self.transform(raw[start : start + span]), np.float32)
            place = np.asarray(bucket_numbers(buckets, part))
            for number, bucket in enumerate(buckets):
                mine, network = np.flatnonzero(place == number), bucket.module_def
                chunk = max(_CHUNK // network.rows, 1)
                for first in range(0, len(mine), chunk):
                    rows = mine[first : first + chunk]
                    # Equal shapes, so that each network is compiled once.
                    padded = np.zeros((chunk, len(bucket.inputs)), np.float32)
                    padded[: len(rows)] = part[rows][:, bucket.inputs]
                    logits = network.evaluate_jit(self.weights, self.hyperparameters, padded)
                    yield start + rows, logits

    def _warn_of_sentinels(self, raw: Float[np.ndarray, "events variables"]) -> None:
        """Says which values are taken for missing ones, as they were in training."""
        for name, values, meant in zip(
            self.feature_names, raw.T, self.transform.sentinels, strict=False
        ):
            for sentinel in meant:
                if count := int((values == np.asarray(sentinel, values.dtype)).sum()):
                    logger.warning(
                        "feature %r is %g in %d of %d events, which meant missing in the training "
                        "events: it is taken for that here, too",
                        *(name, sentinel, count, len(values)),
                    )

    def save(self, folder: Path) -> None:
        """Writes `network.npz` (the numbers) and `network.json` (everything else).

        Raises:
            InputError: When they cannot be written there.
        """
        model = self.module_def.model
        name = type(model).__name__
        known = isinstance(model, tuple(RECIPES.values()))
        facts = {
            "model": {name: asdict(model)} if known else repr(model),  # type: ignore[call-overload]
            "outputs": self.module_def.outputs,
            "feature_names": self.feature_names,
            "signal_process": self.signal_process,
            "hyperparameters": self.hyperparameters,
            "transform": self.transform.to_dict(),
        }
        if self.link is not None:
            facts["link"] = self.link.to_dict()
        if self.edges is not None:
            facts["edges"] = self.edges
        if self.reading is not None:
            facts["reading"] = self.reading.to_dict()
        arrays = {name: np.asarray(leaf[...]) for name, leaf in _named(self.weights)}
        write_network(Path(folder), facts, arrays)

    @classmethod
    def load(cls, folder: Path, *, model: Architecture | None = None) -> "TrainedNetwork":
        """Reads what `save` wrote.

        Args:
            folder: Holds `network.npz` and `network.json`.
            model: Makes the network; needed where it is none of difftune's.

        Raises:
            InputError: When files are missing or damaged, the model is needed, or it does not fit
                the numbers.
        """
        folder = Path(folder)
        if (folder / ENSEMBLE).is_file():
            raise InputError(f"{folder} holds several networks; load them with Ensemble.load().")
        if (folder / CROSS_FITTED).is_file():
            raise InputError(
                f"{folder} holds a network for each fold; load them with CrossFitted.load()."
            )
        for name in (FACTS, NUMBERS):
            if not (folder / name).is_file():
                raise InputError(f"{folder / name} does not exist; give a folder that save() made.")
        facts, numbers = read_facts(folder / FACTS), Numbers(folder / NUMBERS)
        if model is None:
            model = _recipe(facts, numbers, folder / FACTS)
        transform = FeatureTransform.from_dict(facts["transform"])
        link = Link.from_dict(facts["link"]) if facts.get("link") else None
        outputs = facts["outputs"] if link is None else PlainOutputs(facts["outputs"])
        module_def = ModuleDef(model, inputs=inputs_of(transform), outputs=outputs)
        # Shapes alone: nothing is made before the file is known to hold it.
        like = jax.eval_shape(module_def.init, jax.random.key(0))
        numbers.check({name: leaf.get_value() for name, leaf in _named(like)})
        arrays = numbers.read()
        check_digest(folder, facts, arrays)
        return cls(
            module_def=module_def,
            weights=_filled(like, arrays),
            hyperparameters={k: float(v) for k, v in facts["hyperparameters"].items()},
            transform=transform,
            feature_names=tuple(facts["feature_names"]),
            signal_process=tuple(map(float, facts["signal_process"])),
            edges=tuple(map(float, facts["edges"])) if facts.get("edges") else None,
            reading=Reading.from_dict(facts["reading"]) if facts.get("reading") else None,
            link=link,
        )


def _named(weights: Weights) -> Iterator[tuple[str, Any]]:
    """The variables of a network, each with its name in the file."""
    for part in ("parameters", "buffers"):
        for path, leaf in nnx.to_flat_state(getattr(weights, part)):
            yield "/".join((part, *map(str, path))), leaf


def _recipe(facts: Mapping[str, Any], numbers: Numbers, path: Path) -> Model:
    """The model that the facts name, if it can be one of so many numbers."""
    if not isinstance(facts["model"], dict):
        raise InputError(
            f"{path} names the model {facts['model']!r}, which only you can make: pass "
            "load(..., model=...)."
        )
    ((name, recipe),) = facts["model"].items()
    # Each unit has a bias and each input a weight; to trace a network of any size takes long.
    units = sum(recipe["hidden"]) + recipe.get("latent", 0)
    units += sum(sum(recipe.get(key, ())) for key in ("each", "widths"))
    units += (recipe.get("layers", 1) - 1) * sum(recipe.get("widths", ()))
    units += recipe.get("blocks", 0) * recipe.get("width", 0) + recipe.get("pairs", 0)
    units += recipe.get("heads", 0) * recipe.get("head_size", 0)
    # A feature of objects has one weight for all of them.
    of_objects = facts["transform"].get("collections", []) if name != "MLP" else []
    inputs = len(facts["feature_names"]) - sum(
        (each["max"] - 1) * len(each["features"]) for each in of_objects
    )
    if recipe.get("embedding") is not None:
        units += inputs * max(recipe.get("frequencies", 1), recipe.get("embedding_size", 1))
    if recipe.get("submodels", 1) > 1:
        # Output layers of their own.
        units += recipe["submodels"] * (recipe["hidden"] or [1])[-1]
    if max(units, inputs, facts["outputs"]) > numbers.count:
        raise InputError(
            f"{path} names a network of {inputs} inputs, {units} hidden units and "
            f"{facts['outputs']} outputs, but {numbers.path} has {numbers.count} numbers: they do "
            "not belong together. Take another copy of both."
        )
    try:
        return RECIPES[name](**recipe)
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _filled(like: Weights, arrays: Mapping[str, np.ndarray]) -> Weights:
    """Weights of this structure, with these numbers."""
    filled = []
    for part in ("parameters", "buffers"):
        leaves = [
            (path, leaf.replace(jnp.asarray(arrays["/".join((part, *map(str, path)))])))
            for path, leaf in nnx.to_flat_state(getattr(like, part))
        ]
        filled.append(nnx.from_flat_state(leaves))
    return Weights(*filled)

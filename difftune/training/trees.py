"""Boosted decision trees of XGBoost or LightGBM, with the face of a trained network."""

import abc
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float, Int

from difftune.data import Events, FeatureTransform, Reading
from difftune.errors import InputError, nearest
from difftune.files import read_json, writing
from difftune.training.applicable import Applicable, features_of
from difftune.training.event_weights import NegativeWeights, training_weights, treated_weights

TREES, MODEL = "trees.json", "trees.model"
"""The file by which one knows the folder of boosted trees, and what the package wrote."""

Raw = Float[np.ndarray, "events variables"]


class Library(abc.ABC):
    """A package that grows boosted trees.

    Attributes:
        name: By which users ask for it.
        package: That is imported.
    """

    name: ClassVar[str]
    package: ClassVar[str]

    @property
    def module(self) -> Any:
        """The package.

        Raises:
            InputError: When it is not installed.
        """
        import importlib

        try:
            return importlib.import_module(self.package)
        except ImportError:
            raise InputError(
                f"boosted trees of {self.name} need the package {self.package}: "
                "pip install 'difftune[trees]'."
            ) from None

    @abc.abstractmethod
    def grow(
        self,
        train: "TreeSample",
        validation: "TreeSample | None",
        settings: Mapping[str, Any],
        *,
        trees: int,
        patience: int,
        seed: int,
    ) -> bytes:
        """Grows trees for the logistic loss.

        Args:
            train: Events to learn from.
            validation: Events that decide how many trees are kept; None for all of them.
            settings: By the names of the package, in place of its defaults.
            trees: How many, at most.
            patience: Trees without a smaller loss on the validation events after which it ends.
            seed: Of the random numbers.

        Returns:
            The model, as the package writes it.
        """

    @abc.abstractmethod
    def load(self, model: bytes) -> Callable[[Raw], np.ndarray]:
        """What gives the probability of signal, of a model as `grow` returns it."""

    @property
    @abc.abstractmethod
    def error(self) -> type[Exception]:
        """What the package raises."""


@dataclass(frozen=True)
class TreeSample:
    """What trees grow from: inputs with NaN where a value is missing, labels, training weights."""

    features: Raw
    label: Int[np.ndarray, " events"]
    weight: Float[np.ndarray, " events"]


class XGBoost(Library):
    """XGBoost (arXiv 1603.02754)."""

    name, package = "xgboost", "xgboost"

    def grow(
        self,
        train: TreeSample,
        validation: TreeSample | None,
        settings: Mapping[str, Any],
        *,
        trees: int,
        patience: int,
        seed: int,
    ) -> bytes:
        """As `Library.grow`."""
        xgboost = self.module
        every = [
            xgboost.DMatrix(each.features, each.label, weight=each.weight)
            for each in (train, validation)
            if each is not None
        ]
        stopping = {"early_stopping_rounds": patience} if validation is not None else {}
        try:
            booster = xgboost.train(
                {"objective": "binary:logistic", "seed": seed, "verbosity": 0} | dict(settings),
                every[0],
                num_boost_round=trees,
                evals=[(data, "validation") for data in every[1:]],
                verbose_eval=False,
                **stopping,
            )
        except self.error as error:
            raise _refused(self, settings, error) from None
        if validation is not None:
            booster = booster[: booster.best_iteration + 1]
        return bytes(booster.save_raw("ubj"))

    def load(self, model: bytes) -> Callable[[Raw], np.ndarray]:
        """As `Library.load`."""
        booster = self.module.Booster()
        booster.load_model(bytearray(model))
        return booster.inplace_predict

    @property
    def error(self) -> type[Exception]:
        """As `Library.error`."""
        return self.module.core.XGBoostError


class LightGBM(Library):
    """LightGBM (Ke et al., NIPS 2017)."""

    name, package = "lightgbm", "lightgbm"

    def grow(
        self,
        train: TreeSample,
        validation: TreeSample | None,
        settings: Mapping[str, Any],
        *,
        trees: int,
        patience: int,
        seed: int,
    ) -> bytes:
        """As `Library.grow`."""
        lightgbm = self.module
        # A share of the events is drawn for each tree only where it is said how often.
        often = {"bagging_freq": 1} if settings.get("bagging_fraction", 1.0) < 1.0 else {}
        parameters = {"objective": "binary", "seed": seed, "verbosity": -1} | often | dict(settings)

        def data(given: TreeSample, reference: Any = None) -> Any:
            return lightgbm.Dataset(
                given.features,
                given.label,
                weight=given.weight,
                reference=reference,
                params={"verbosity": -1},
            )

        own = data(train)
        stopping = {}
        if validation is not None:
            stopping = {
                "valid_sets": [data(validation, own)],
                "callbacks": [lightgbm.early_stopping(patience, verbose=False)],
            }
        try:
            booster = lightgbm.train(parameters, own, num_boost_round=trees, **stopping)
        except self.error as error:
            raise _refused(self, settings, error) from None
        return booster.model_to_string(num_iteration=booster.best_iteration).encode()

    def load(self, model: bytes) -> Callable[[Raw], np.ndarray]:
        """As `Library.load`."""
        return self.module.Booster(model_str=model.decode()).predict

    @property
    def error(self) -> type[Exception]:
        """As `Library.error`."""
        return self.module.basic.LightGBMError


def _refused(library: Library, settings: Mapping[str, Any], error: Exception) -> InputError:
    words = str(error).strip().splitlines()[0][:200]
    return InputError(f"{library.name} refuses the settings {dict(settings)}: {words}")


LIBRARIES: dict[str, Library] = {each.name: each for each in (XGBoost(), LightGBM())}
"""By the name that users ask for."""


def as_library(given: str) -> Library:
    """A package that grows trees, by its name.

    Raises:
        InputError: For another name.
    """
    if str(given).lower() not in LIBRARIES:
        raise InputError(
            f"library={given!r}: there are {', '.join(LIBRARIES)}.{nearest(str(given), LIBRARIES)}"
        )
    return LIBRARIES[str(given).lower()]


@dataclass(frozen=True, kw_only=True)
class BoostedTrees(Applicable):
    """Boosted decision trees: raw features in, discriminant in [0, 1] out, as `TrainedNetwork`.

    They are measured, binned, applied, saved and cross-fitted as a network is, and may be in an
    `Ensemble` with networks.

    Attributes:
        library: The package, `"xgboost"` or `"lightgbm"`.
        model: The trees, as the package writes them.
        feature_names: Columns that they want, in this order.
        sentinels: Values of each column that mean a missing one, besides NaN.
        settings: That they were grown with, in place of the package's defaults.
        reading: How the events of the training were read, for `apply`; None where they are from
            arrays.
    """

    library: str
    model: bytes
    feature_names: tuple[str, ...]
    sentinels: tuple[tuple[float, ...], ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    reading: Reading | None = None

    @property
    def edges(self) -> None:
        """Trees have no trained bin edges."""
        return None

    @cached_property
    def _predict(self) -> Callable[[Raw], np.ndarray]:
        return as_library(self.library).load(self.model)

    @classmethod
    def grown(
        cls,
        train: Events,
        validation: Events | None = None,
        *,
        library: str = "xgboost",
        settings: Mapping[str, Any] | None = None,
        trees: int = 100,
        patience: int = 50,
        negative_weights: NegativeWeights = "resample",
        seed: int = 1,
    ) -> "BoostedTrees":
        """Grows trees on events.

        Signal and background have the same total weight in the training, as for networks. The
        packages refuse negative weights, since a leaf of negative total weight has no best value.
        So these are made positive before: `"resample"` conserves the yield of each process in small
        cells of the features (arXiv 2109.07851), `"absolute"` takes magnitudes.

        Args:
            train: Simulated events to learn from.
            validation: Events that decide how many trees are kept; None for all of them.
            library: `"xgboost"` or `"lightgbm"`.
            settings: By the names of the package, in place of its defaults.
            trees: How many, at most.
            patience: Trees without a smaller loss on the validation events after which it ends.
            negative_weights: `"resample"` or `"absolute"`.
            seed: Of the random numbers.

        Raises:
            InputError: For an unknown package, one that is not installed, settings that it refuses,
                or another treatment of negative weights.
        """
        package = as_library(library)
        transform = FeatureTransform.fit(
            train.features, train.weight, collections=train.collections
        )
        sentinels = tuple(dict(train.sentinels).get(name, ()) for name in train.feature_names)
        learned, judged = (
            None if each is None else _sample(each, transform, sentinels, negative_weights)
            for each in (train, validation)
        )
        assert learned is not None, "there are events to learn from"
        model = package.grow(
            learned, judged, settings or {}, trees=trees, patience=patience, seed=seed
        )
        return cls(
            library=package.name,
            model=model,
            feature_names=train.feature_names,
            sentinels=sentinels,
            settings=dict(settings or {}),
            reading=train.reading,
        )

    def score(self, events: Events | Raw) -> Float[np.ndarray, " events"]:
        """Discriminant of events: near 1 for what looks like signal.

        Args:
            events: With the features that the trees were grown on; or these features as a plain
                array, its columns in the order of `feature_names`.

        Raises:
            InputError: When the events have other features, or the same in another order.
        """
        raw = np.asarray(features_of(events, self.feature_names, "trees want"), np.float32)
        return np.asarray(self._predict(_missing(raw, self.sentinels)), np.float32)

    def save(self, folder: str | Path) -> None:
        """Writes `trees.model` (by the package) and `trees.json` (everything else).

        Raises:
            InputError: When they cannot be written there.
        """
        names = ("library", "feature_names", "sentinels", "settings")
        facts: dict[str, Any] = {name: getattr(self, name) for name in names}
        if self.reading is not None:
            facts["reading"] = self.reading.to_dict()
        with writing(Path(folder) / MODEL, binary=True) as stream:
            stream.write(self.model)
        with writing(Path(folder) / TREES) as stream:
            stream.write(json.dumps(facts, indent=2) + "\n")

    @classmethod
    def load(cls, folder: str | Path) -> "BoostedTrees":
        """Reads what `save` wrote.

        Args:
            folder: Holds `trees.json` and `trees.model`.

        Raises:
            InputError: When they are missing or damaged, or the package is not installed.
        """
        path, model = Path(folder) / TREES, Path(folder) / MODEL
        for each in (path, model):
            if not each.is_file():
                raise InputError(f"{each} does not exist; give a folder that save() made.")
        content = read_json(path)
        try:
            found = cls(
                library=as_library(content["library"]).name,
                model=model.read_bytes(),
                feature_names=tuple(content["feature_names"]),
                sentinels=tuple(tuple(map(float, each)) for each in content["sentinels"]),
                settings=dict(content["settings"]),
                reading=Reading.from_dict(content["reading"]) if "reading" in content else None,
            )
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"{path} is not what BoostedTrees.save() writes: save again."
            ) from None
        try:
            _ = found._predict
        except (as_library(found.library).error, UnicodeDecodeError) as error:
            raise InputError(f"{model} cannot be read ({error}): take another copy.") from None
        return found


def _missing(raw: Raw, sentinels: Sequence[Sequence[float]]) -> Raw:
    """With NaN where a value is missing."""
    for column, meant in enumerate(sentinels):
        if meant:
            raw = raw.copy() if raw.base is None else np.array(raw)
            raw[np.isin(raw[:, column], np.asarray(meant, raw.dtype)), column] = np.nan
    return raw


def _sample(
    events: Events,
    transform: FeatureTransform,
    sentinels: Sequence[Sequence[float]],
    negative: NegativeWeights,
) -> TreeSample:
    """Events as the packages take them."""
    if negative not in ("resample", "absolute"):
        raise InputError(
            f"negative_weights={negative!r}: boosted trees take 'resample' or 'absolute', since "
            "the packages refuse negative weights."
        )
    features, label = np.asarray(events.features, np.float32), np.asarray(events.label, np.int32)
    weight = np.asarray(events.weight, np.float64)
    if np.any(weight < 0.0):
        inputs = np.asarray(transform(events.features), np.float32)
        process = np.asarray(events.process, np.int32)
        weight = treated_weights(weight, inputs, process, negative=negative)
    return TreeSample(_missing(features, sentinels), label, training_weights(weight, label))

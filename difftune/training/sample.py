"""From events to the columns that a training reads."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Int

from difftune.data import (
    Events,
    FeatureTransform,
    VariedSample,
    VariedWeights,
    check_targets,
    paired,
)
from difftune.errors import InputError
from difftune.models import Inputs, ObjectInputs
from difftune.objectives import Column, Link, Prediction, Variation, Varied
from difftune.training.event_weights import NegativeWeights, training_weights, treated_weights


class Columns(NamedTuple):
    """Events as the training wants them, one row per event, all on the host.

    `weight` sums to the full yield of each process; `training_weight` is class-balanced. `fold`,
    from 0, is wanted where members are validated on different folds. `variations` are systematic
    ones of the same events, for objectives that want them; their weights are scaled as `weight`.
    `layout` says which of the inputs are of collections of objects; None for none. `target` is what
    a network learns that learns no classes, and `link` what makes predictions of its outputs; then
    `training_weight` has mean one whatever the class.
    """

    features: Float[np.ndarray, "events inputs"]
    process: Int[np.ndarray, " events"]
    label: Int[np.ndarray, " events"]
    weight: Float[np.ndarray, " events"]
    training_weight: Float[np.ndarray, " events"]
    signal_process: Float[np.ndarray, " processes"]
    fold: Int[np.ndarray, " events"] | None = None
    variations: Mapping[str, Variation] = {}
    layout: Inputs | None = None
    target: Float[np.ndarray, "events targets"] | None = None
    link: Link | None = None

    @property
    def inputs(self) -> Inputs:
        """How many inputs a network has, and what they are."""
        return Inputs(self.features.shape[1]) if self.layout is None else self.layout


def inputs_of(transform: FeatureTransform) -> Inputs:
    """The inputs of a network behind a transform.

    Args:
        transform: Of the features.
    """
    collections, mask = {}, transform.width - sum(each.max for each in transform.collections)
    for each in transform.collections:
        first = slice(each.start, each.start + len(each.features))
        collections[each.name] = ObjectInputs(
            features=each.features,
            max=each.max,
            start=each.start,
            mask=mask,
            center=tuple(np.asarray(transform.center[first]).tolist()),
            scale=tuple(np.asarray(transform.scale[first]).tolist()),
            bend=transform.bend,
        )
        mask += each.max
    return Inputs(transform.width, collections)


def columns(
    events: Events,
    full_yields: Float[np.ndarray, " processes"],
    transform: FeatureTransform,
    *,
    negative: NegativeWeights = "keep",
    fold: bool = False,
    varied: bool = True,
    prediction: Prediction | None = None,
) -> Columns:
    """The columns of a split, scaled such that each process has its full yield.

    Args:
        events: The events of the split, without data.
        full_yields: Expected yield of each process over all splits.
        transform: Learned on training events.
        negative: Treatment of negative weights in the training weights.
        fold: Whether to keep the folds of the events, numbered anew from 0.
        varied: Whether to keep the systematic variations. Samples of their own are paired with the
            nominal one, which adds rows of nominal weight 0: the events that only they hold.
        prediction: What the network says of the targets of the events; None where it learns
            classes.

    Raises:
        InputError: When an event has no finite target.
    """
    target, link = None, None
    if prediction is not None:
        assert transform.target is not None, "the recipe has learned it"
        link = Link(prediction=prediction, transform=transform.target)
    events = paired(events) if varied else replace(events, variations={})
    events = events.scaled_to(full_yields)
    weight, label = np.asarray(events.weight, np.float32), np.asarray(events.label, np.int32)
    features = np.asarray(transform(events.features), np.float32)
    process = np.asarray(events.process, np.int32)
    treated = treated_weights(weight, features, process, negative=negative)
    if link is not None:
        truth = np.asarray(events.target)
        check_targets(truth, events.target_names, log=link.transform.log)
        target = np.asarray(link.transform(truth))
    signal = [process.role == "signal" for process in events.processes]
    return Columns(
        features=features,
        process=process,
        label=label,
        weight=weight,
        training_weight=training_weights(treated, None if prediction else label),
        signal_process=np.asarray(signal, np.float32),
        variations={name: _variation(each, transform) for name, each in events.variations.items()},
        fold=np.unique(events.fold, return_inverse=True)[1].astype(np.int32) if fold else None,
        layout=inputs_of(transform) if transform.collections else None,
        target=target,
        link=link,
    )


def _variation(varied: VariedWeights | VariedSample, transform: FeatureTransform) -> Variation:
    def side(given: Events | Column) -> Varied:
        if isinstance(given, Events):
            features = np.asarray(transform(given.features), np.float32)
            return Varied(weight=np.asarray(given.weight, np.float32), features=features)
        return Varied(weight=np.asarray(given, np.float32))

    return Variation(up=side(varied.up), down=None if varied.down is None else side(varied.down))


def check_same_variations(train: Columns, validation: Columns) -> None:
    """Refuses samples that cannot be compared with all their systematic uncertainties.

    Raises:
        InputError: When one has a variation that the other has not, or has it of something else:
            loss and score of both are compared.
    """
    forms: list[dict[str, Any]] = [
        {name: jax.tree.structure(each) for name, each in data.variations.items()}
        for data in (train, validation)
    ]
    if forms[0] == forms[1]:
        return
    ours, theirs = (", ".join(sorted(form)) or "none" for form in forms)
    if forms[0].keys() == forms[1].keys():
        names = [name for name in sorted(forms[0]) if forms[0][name] != forms[1][name]]
        what = f"{', '.join(names)}: one has a direction, weights or features that the other lacks"
    else:
        what = f"training events have {ours}; validation events have {theirs}"
    raise InputError(
        "the objective or the metric counts systematic variations, and training and validation "
        f"events have different ones ({what}), but their losses and scores are compared. Make "
        "both with columns(..., varied=True); a loss that wants no variations ignores them."
    )

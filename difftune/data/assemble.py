"""Joins what has been read to Events."""

import dataclasses

import numpy as np

from difftune.data.collect import Collection
from difftune.data.events import Events, VariedSample, VariedWeights
from difftune.data.plan import Request, SampleKey
from difftune.data.program import WeightKey
from difftune.data.variations import WeightVariation
from difftune.errors import InputError


def assemble(request: Request, collection: Collection) -> Events:
    """Makes events from what has been collected, process by process.

    Raises:
        InputError: The selection has left nothing of a process.
    """
    _check_left(request, collection)
    nominal = _sample(request, collection, None)
    weights: dict[str, VariedWeights | VariedSample] = {}
    for variation in request.variations:
        name, touched = (
            variation.name,
            tuple(p.name for p in request.touched(variation)),
        )
        if isinstance(variation, WeightVariation):
            up = _weights(request, collection, (name, "up"))
            down = None if variation.down is None else _weights(request, collection, (name, "down"))
            weights[name] = VariedWeights(up=up, down=down, processes=touched)
        else:
            up_sample = _sample(request, collection, (name, "up"))
            has_down = any(key == (name, "down") for key, _ in collection)
            down_sample = _sample(request, collection, (name, "down")) if has_down else None
            weights[name] = VariedSample(up=up_sample, down=down_sample, processes=touched)
    return dataclasses.replace(nominal, variations=weights)


def _check_left(request: Request, collection: Collection) -> None:
    for (sample, index), collected in collection.items():
        if not collected.pieces:
            process = request.processes[index]
            varied = f" (variation {sample[0]!r} {sample[1]})" if sample else ""
            cuts = [f"`{s}`" for s in (request.selection, process.selection) if s]
            how = f"the selection {' and '.join(cuts)} keeps" if cuts else "there are"
            of = f" of {collected.entries} entries" if collected.entries else ""
            raise InputError(
                f"process {process.name!r}{varied}: {how} no events{of}. Loosen the selection, "
                "correct the files, or leave the process out."
            )


def _sample(request: Request, collection: Collection, sample: SampleKey) -> Events:
    groups = [
        (index, collection[sample, index].pieces)
        for index in range(len(request.processes))
        if (sample, index) in collection
    ]
    total = sum(len(piece.weight) for _, pieces in groups for piece in pieces)
    features = np.empty((total, len(request.features)), np.float32)
    process, fold = np.empty(total, np.int32), np.empty(total, np.int32)
    weight, number = np.empty(total, np.float32), np.empty(total, np.int64)
    start = 0
    for index, pieces in groups:
        for i, piece in enumerate(pieces):
            stop = start + len(piece.weight)
            features[start:stop] = piece.features
            process[start:stop], fold[start:stop] = index, piece.fold
            weight[start:stop], number[start:stop] = piece.weight, piece.number
            # The copy lets the features go at once, so that they are not held twice.
            pieces[i] = dataclasses.replace(piece, features=piece.features[:0].copy())
            start = stop
    return Events(
        features=features,
        process=process,
        weight=weight,
        fold=fold,
        number=number,
        feature_names=request.features,
        processes=request.processes,
        folds=request.folds,
        sentinels=request.missing.sentinels(request.features),
    )


def _weights(request: Request, collection: Collection, key: WeightKey) -> np.ndarray:
    columns = [
        piece.weights.get(key, piece.weight)
        for index in range(len(request.processes))
        for piece in collection[None, index].pieces
    ]
    return np.concatenate(columns)

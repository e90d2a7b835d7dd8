"""New trainings that compare: sets of variables on events nobody has seen, other forms of one."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from difftune.data import Events, VariedWeights
from difftune.errors import InputError, nearest
from difftune.objectives import Batch, Function, Metric, metric_from, signal_probability
from difftune.selection.elimination import difference
from difftune.selection.study import Study, Trainer, train
from difftune.training import Columns, ModuleDef, Snapshot, all_features, apart, as_batch, masked

# Trainings of their own: neither those that chose nor those that the choice was made between.
_FRESH = "test events"


@dataclass(frozen=True, kw_only=True, eq=False)
class ScoreShapes:
    """Scores of one network on its training events and on test events.

    `dt.report.score_distributions(**vars(shapes))` draws them.

    Attributes:
        train_score: Signal probability of training events, `[train]`.
        train_weight: Their physics weights.
        train_signal: True for signal.
        test_score: Of test events, `[test]`.
        test_weight: Their physics weights.
        test_signal: True for signal.
    """

    train_score: Float[np.ndarray, " train"]
    train_weight: Float[np.ndarray, " train"]
    train_signal: Bool[np.ndarray, " train"]
    test_score: Float[np.ndarray, " test"]
    test_weight: Float[np.ndarray, " test"]
    test_signal: Bool[np.ndarray, " test"]


def score_shapes(study: Study, kept: Bool[np.ndarray, "sets units"]) -> list[ScoreShapes]:
    """Score distributions in training and test with each set of variables.

    Of one network for each set, which is trained anew, with the seed and the fold that are the
    first of `on_test_events`.

    Args:
        study: Events, network and training.
        kept: Units that each set holds.

    Raises:
        InputError: When the study has no test folds.
    """
    test = _unseen(study)._replace(variations={})
    study = replace(study, seeds=1)
    networks = Trainer(study, len(kept))(np.asarray(kept, bool), stream=_FRESH)
    train = study.columns
    assert train.fold is not None
    mine = np.asarray(train.fold) != 0
    train = train._replace(variations={})
    score = jax.jit(_probability, static_argnums=0)

    def parts(best: Snapshot) -> Iterator[np.ndarray]:
        for data, rows in ((train, mine), (test, slice(None))):
            batch = as_batch(data, np.arange(len(data.weight)), 1.0)
            probability = score(study.module_def, best, jax.tree.map(np.asarray, batch))
            yield from (np.asarray(probability)[rows], np.asarray(data.weight)[rows])
            yield (np.asarray(data.label) == 1)[rows]

    folds = networks.score.shape[-1]
    names = ScoreShapes.__dataclass_fields__
    return [
        ScoreShapes(
            **dict(
                zip(
                    names,
                    parts(jax.tree.map(lambda leaf, i=i: leaf[i], networks.best)),
                    strict=True,
                )
            )
        )
        for i in range(0, len(kept) * folds, folds)
    ]


def _probability(module_def: ModuleDef, best: Snapshot, batch: Batch) -> Array:
    own = masked(batch, best.inputs)
    logits = module_def.evaluate(best.weights, best.hyperparameters, own.features)
    return signal_probability(logits, own)


def _unseen(study: Study) -> Columns:
    """The test events.

    Raises:
        InputError: When there are none.
    """
    if not study.test_folds:
        raise InputError("Study(test_folds=()): there are no test events to judge by.")
    events = study.events.in_folds(tuple(study.test_folds)).simulated
    return study.recipe.columns(events, study.events.yields(), study.transform, varied=True)


def on_test_events(
    study: Study,
    kept: Bool[np.ndarray, "sets units"],
    *,
    metric: Metric | Function | None = None,
    seeds: int | None = None,
) -> Float[np.ndarray, "sets seeds folds"]:
    """Scores of sets of variables on the test folds, for the result.

    The networks are trained anew, with seeds that were used for nothing else, for each seed and
    each fold to be left out; those of equal seed and fold may be compared in pairs.

    Args:
        study: Events, network and training.
        kept: Units that each set holds.
        metric: The score; larger is better. Stat-only significance by default.
        seeds: How many; those of the study by default.

    Raises:
        InputError: When the study has no test folds.
    """
    data = _unseen(study)
    study = replace(study, seeds=seeds or study.seeds)
    networks = Trainer(study, len(kept))(np.asarray(kept, bool), stream=_FRESH)
    judge = metric_from(metric)
    if not judge.varied:
        data = data._replace(variations={})
    batch = jax.tree.map(np.asarray, as_batch(data, np.arange(len(data.weight)), 1.0))

    @jax.jit
    def score(best: Snapshot, batch: Batch) -> Any:
        own = masked(batch, best.inputs)
        logits = study.module_def.evaluate(best.weights, best.hyperparameters, all_features(own))
        return judge(*apart(logits, own), best.hyperparameters, best.objective)

    found = [
        score(jax.tree.map(lambda leaf, i=i: jnp.asarray(leaf)[i], networks.best), batch)
        for i in range(networks.score.size)
    ]
    return np.asarray(found).reshape(networks.score.shape)


@dataclass(frozen=True, kw_only=True, eq=False)
class Change:
    """Other values in the place of a variable.

    Attributes:
        variable: Its name.
        values: Of all events of the study, in their order; NaN where missing.
    """

    variable: str
    values: Float[np.ndarray, " events"]


def _column(events: Events, variable: str) -> Float[np.ndarray, " events"]:
    if variable not in events.feature_names:
        raise InputError(
            f"there is no variable {variable!r}.{nearest(variable, events.feature_names)} "
            f"There are: {', '.join(events.feature_names)}."
        )
    return np.asarray(events.features)[:, events.feature_names.index(variable)].astype(float)


def logarithm(events: Events, variable: str) -> Change:
    """The logarithm of a variable.

    Raises:
        InputError: When there is no such variable, or it is not positive everywhere.
    """
    x = _column(events, variable)
    if np.nanmin(x) <= 0:
        raise InputError(
            f"the logarithm of {variable!r}: its smallest value is {np.nanmin(x):g}, not positive."
        )
    return Change(variable=variable, values=np.log(x))


def decorrelated(events: Events, variable: str, other: str) -> Change:
    """What is left of a variable without its linear dependence on another one.

    Events count with the size of their weights; where the other one is missing, the variable stays
    as it is.

    Raises:
        InputError: When there is no such variable.
    """
    x, y = _column(events, variable), _column(events, other)
    both = np.isfinite(x) & np.isfinite(y)
    weight = np.abs(np.asarray(events.weight, float)) * both
    x0, y0 = (np.average(np.where(both, z, 0.0), weights=weight) for z in (x, y))
    away_x, away_y = np.where(both, x - x0, 0.0), np.where(both, y - y0, 0.0)
    variance = np.sum(weight * away_y**2)
    slope = np.sum(weight * away_x * away_y) / variance if variance > 0 else 0.0
    return Change(variable=variable, values=x - slope * away_y)


@dataclass(frozen=True, kw_only=True, eq=False)
class Changes:
    """What changes of variables bring.

    Attributes:
        names: Of the changes.
        gain: Improvement of the validation score by each.
        uncertainty: Its standard error, in pairs of equal seed and fold.
    """

    names: tuple[str, ...]
    gain: Float[np.ndarray, " changes"]
    uncertainty: Float[np.ndarray, " changes"]


def try_changes(study: Study, changes: Mapping[str, Change]) -> Changes:
    """Trains with each of some variables changed, all at once.

    Args:
        study: Events, network and training; without groups.
        changes: By a name for each.

    Raises:
        InputError: When a change does not fit the events, or is called like a variable.
    """
    if study.groups:
        raise InputError("try_changes: make the study without groups; variables are changed alone.")
    events = study.events
    for name, change in changes.items():
        _column(events, change.variable)
        if name in events.feature_names:
            raise InputError(f"change {name!r} is called like a variable; choose another name.")
        if np.shape(change.values) != (len(events),):
            raise InputError(f"change {name!r} has {np.shape(change.values)} values, not one each.")
    more = np.stack([change.values for change in changes.values()], axis=1)
    wide = replace(
        events,
        features=np.concatenate([np.asarray(events.features), more], axis=1).astype(np.float32),
        feature_names=(*events.feature_names, *changes),
        # Samples of their own do not have the new columns.
        variations={n: v for n, v in events.variations.items() if isinstance(v, VariedWeights)},
    )
    other = replace(study, events=wide)
    kept = np.ones((1 + len(changes), len(other.units)), bool)
    kept[:, [other.units.number(name) for name in changes]] = False
    for row, (name, change) in zip(kept[1:], changes.items(), strict=True):
        row[other.units.number(name)] = True
        row[other.units.number(change.variable)] = False
    score = train(other, kept).score
    gain, error = difference(score[1:], score[0])
    return Changes(names=tuple(changes), gain=gain, uncertainty=error)

"""Importance of variables, by one method beside the other."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from difftune.arguments import made, takes, texts
from difftune.errors import InputError, nearest
from difftune.objectives import Function, Objective
from difftune.selection import attribution, gates
from difftune.selection.attribution import (
    expected_gradients,
    input_gradients,
    integrated_gradients,
)
from difftune.selection.network_on_fold import Evaluator, EventFilter, NetworkOnFold, unit_matrix
from difftune.selection.study import Networks, Study, Trainer, as_study, train
from difftune.selection.variables import DataIssues

METHODS: Mapping[str, str] = {
    "gate": "loss of the objective when the gate is closed, marginal",
    "conditional gate": "the same, with what the other variables make up for",
    "slope": "first-order loss of the objective at the open gate",
    "sensitivity": "mean |gradient of the score| times the standard deviation",
    "integrated gradients": "mean |integrated gradients| from the mean event",
    "expected gradients": "mean |expected gradients|",
    "permutation": "loss of the objective when the variable is permuted",
    "leave one out": "loss of the score when the network is trained without it",
    "separation": "separation power of the variable alone",
    "mutual information": "mutual information of the variable alone with the class or target",
    "correlation": "|linear correlation| of the variable alone with the class or target",
}
"""What there is, with what the number is."""

DEFAULT = tuple(name for name in METHODS if name != "leave one out")


def _correlation(
    values: Float[np.ndarray, " events"],
    weight: Float[np.ndarray, " events"],
    other: Num[np.ndarray, " events"],
) -> float:
    both = np.stack([values, other], axis=1)
    return float(abs(attribution.correlation(both, weight)[0, 1]))


ALONE: Mapping[str, Callable[..., float]] = {
    "separation": attribution.separation,
    "mutual information": attribution.mutual_information,
    "correlation": _correlation,
}
WITH_TARGET: Mapping[str, Callable[..., float]] = {
    "mutual information": attribution.information_about,
    "correlation": _correlation,
}
"""The same of a network that learns targets; there are no classes to separate."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Ranking:
    """Importance of each unit by one method; larger is more important.

    Attributes:
        value: The importance.
        uncertainty: Its standard error, from the spread over seeds and folds (and over bootstrap
            replicas of the events, where these were asked for).
    """

    value: Float[np.ndarray, " units"]
    uncertainty: Float[np.ndarray, " units"]

    @property
    def rank(self) -> np.ndarray:
        """Place of each unit, 1 for the most important."""
        return np.argsort(np.argsort(-self.value, kind="stable"), kind="stable") + 1


@dataclass(frozen=True, kw_only=True, eq=False)
class Importance:
    """Importance of variables by several methods; `dt.report.importance_table` writes it.

    Attributes:
        names: Variables and groups.
        methods: A ranking for each method.
        correlation: Linear correlations of the variables, `[variables, variables]`, the events
            with the size of their training weights.
        variables: Their names.
        findings: Variables that cannot matter as they are.
    """

    names: tuple[str, ...]
    methods: Mapping[str, Ranking]
    correlation: Float[np.ndarray, "variables variables"]
    variables: tuple[str, ...]
    issues: DataIssues

    def order(self, method: str) -> list[str]:
        """Names, the most important first.

        Raises:
            InputError: For a method that was not asked for.
        """
        if method not in self.methods:
            raise InputError(
                f"no importance by {method!r} here.{nearest(method, self.methods)} "
                f"There are: {', '.join(self.methods)}."
            )
        return [self.names[i] for i in np.argsort(-self.methods[method].value, kind="stable")]


@takes(
    study=as_study,
    methods=lambda given: texts(given, "methods", 'methods=("gate", "slope")'),
    processes=lambda given: (
        None if given is None else texts(given, "processes", 'processes=["ttbar"]')
    ),
    objective=lambda given: made(given, "objective"),
)
def importance(
    study: Study,
    networks: Networks | None = None,
    *,
    methods: Sequence[str] = DEFAULT,
    objective: Objective | Function | None = None,
    processes: Sequence[str] | None = None,
    region: tuple[float, float] | None = None,
    bootstraps: int = 0,
) -> Importance:
    """How important each variable, or group of them, is.

    Networks are explained on the folds that they were validated on. A retraining is done for "leave
    one out" alone. Of networks that learn targets there is no "separation", and what is with the
    class is with the target, of several with the one that says most.

    Args:
        study: Events, network and training.
        networks: Networks of all variables, from `train(study)`; trained here if None.
        methods: Some of `METHODS`.
        objective: What is lost where gates close or variables are permuted, if it is not what the
            networks were trained for: any objective, such as one through the fit, or
            `TemplateShift` of a systematic.
        processes: Close gates for the events of these processes alone.
        region: And for events in this range of the signal probability.
        bootstraps: Replicas of the validation events for the uncertainty of the gates.

    Raises:
        InputError: For an unknown method, process or region, or an objective that does not fit; for
            the separation of networks that learn targets.
    """
    alone = ALONE if study.columns.link is None else WITH_TARGET
    if tuple(methods) == DEFAULT:
        methods = [name for name in methods if name in alone or name not in ALONE]
    for name in methods:
        if name in ALONE and name not in alone:
            raise InputError(
                f"methods names {name!r}, which is of signal and background, and the network "
                f"learns targets: leave it out; {' and '.join(alone)} are of the target."
            )
        if name not in METHODS:
            raise InputError(
                f"methods names {name!r}.{nearest(name, METHODS)} There are: {', '.join(METHODS)}."
            )
    networks = networks or train(study)
    ask = partial(
        _asked, study, networks, objective, EventFilter(processes=processes, region=region)
    )
    everything = np.ones(len(study.units), bool)
    found: dict[str, Ranking] = {}
    replicas = np.arange(bootstraps + 1)
    for name, away in (("gate", gates.marginal), ("conditional gate", gates.conditional)):
        if {name, *(("slope",) if name == "gate" else ())} & set(methods):
            closing = partial(gates.closing, replace=name == "conditional gate")
            closed = ask(closing, away(study, everything), replicas=replicas)
            found[name] = _with_bootstraps(closed["loss"])
            if name == "gate":
                found["slope"] = _over_trainings(closed["slope"])
    for name, function in (
        ("sensitivity", _sensitivity),
        ("integrated gradients", _integrated),
        ("expected gradients", _expected),
        ("permutation", _permuted),
    ):
        if name in methods:
            found[name] = _over_trainings(ask(function, gates.marginal(study, everything)))
    if "leave one out" in methods:
        found["leave one out"] = leave_one_out(study, networks)
    for name in set(methods) & set(alone):
        found[name] = _alone(study, alone[name])
    data, names = study.columns, study.events.feature_names
    return Importance(
        names=study.units.names,
        methods={name: found[name] for name in methods},
        correlation=attribution.correlation(data.features[:, : len(names)], data.training_weight),
        variables=names,
        issues=study.issues,
    )


@takes(study=as_study)
def leave_one_out(study: Study, networks: Networks | None = None) -> Ranking:
    """What the score loses when each unit is left out and the network trained again.

    All trainings are one population. Those with and without a unit have the same seeds, so that
    their difference is not that of start values.

    Args:
        study: What is trained.
        networks: Networks of all units, from `train(study)`; trained here if None.
    """
    units = len(study.units)
    without = Trainer(study, units)(~np.eye(units, dtype=bool))
    full = (networks or train(study)).score[0]
    return _over_trainings(np.moveaxis(full - without.score, 0, -1))


def _asked(
    study: Study,
    networks: Networks,
    objective: Any,
    which: EventFilter,
    function: Callable[..., Any],
    away: Float[np.ndarray, "table inputs"],
    **more: np.ndarray,
) -> Any:
    question = Evaluator(study, function, objective=objective, which=which)
    return question(networks, 0, away, unit_matrix(study.units.inputs), *more.values())


def _over_trainings(values: Float[np.ndarray, "seeds folds units"]) -> Ranking:
    """Mean and standard error of the mean over all trainings; those that diverged are left out."""
    flat = np.reshape(np.asarray(values, np.float64), (-1, values.shape[-1]))
    count = np.sum(np.isfinite(flat), axis=0)
    spread = np.nanstd(flat, axis=0) * np.sqrt(count / np.maximum(count - 1, 1))
    return Ranking(value=np.nanmean(flat, axis=0), uncertainty=spread / np.sqrt(count))


def _with_bootstraps(values: Float[np.ndarray, "seeds folds replicas units"]) -> Ranking:
    """With replicas: their spread, and that over seeds, in quadrature."""
    ranking = _over_trainings(values[:, :, 0])
    if values.shape[2] < 3:
        return ranking
    resampled = values[:, :, 1:].mean(axis=(0, 1)).std(axis=0, ddof=1)
    seeds = values[:, :, 0].mean(axis=1)
    chance = seeds.std(axis=0, ddof=1) / np.sqrt(len(seeds)) if len(seeds) > 1 else 0.0
    return Ranking(value=ranking.value, uncertainty=np.hypot(resampled, chance))


def _sensitivity(view: NetworkOnFold, away: Array, units: Array) -> Array:
    x = view.features
    gradient = input_gradients(view.discriminant, x)
    sigma = jnp.sqrt(view.mean((x - view.mean(x)) ** 2))
    # The inputs of a group are independent directions.
    return view.mean(jnp.sqrt((gradient * sigma) ** 2 @ units))


def _integrated(view: NetworkOnFold, away: Array, units: Array) -> Array:
    found = integrated_gradients(view.discriminant, view.features, away[:1])
    return view.mean(jnp.abs(found @ units))


def _expected(view: NetworkOnFold, away: Array, units: Array) -> Array:
    x = view.features
    events = view.batch.weight.shape[0]
    weight = jnp.abs(view.batch.training_weight)
    found = expected_gradients(
        view.discriminant, x, x[:events], jax.random.key(0), draws=20, weight=weight
    )
    return view.mean(jnp.abs(found @ units))


def _permuted(view: NetworkOnFold, away: Array, units: Array, repeats: int = 3) -> Array:
    """Loss of the objective when a unit's inputs come from another event."""
    x, events = view.features, view.batch.weight.shape[0]
    before = view.loss(view.logits(x))
    # Events that fill up a fold take no part.
    there = view.batch.training_weight != 0
    places = jnp.argsort(~there, stable=True)

    def other(key: Array) -> Array:
        order = jnp.argsort(jnp.where(there, jax.random.uniform(key, (events,)), 2.0))
        donor = jnp.zeros(events, order.dtype).at[places].set(order)
        return jnp.concatenate([donor + i * events for i in range(x.shape[0] // events)])

    def of_unit(own: Array) -> Array:
        def once(key: Array) -> Array:
            swapped = jnp.where((own > 0) & (view.chosen[:, None] > 0), x[other(key)], x)
            return view.loss(view.logits(swapped)) - before

        return jnp.mean(jax.lax.map(once, jax.random.split(jax.random.key(0), repeats)))

    return jax.lax.map(of_unit, units.T)


def _alone(study: Study, measure: Callable[..., float]) -> Ranking:
    """A measure of single variables; of a group the largest; uncertainties from the folds."""
    data = study.columns
    assert data.fold is not None
    weight = np.asarray(data.training_weight, np.float64)
    known = [data.label] if data.link is None else list(np.asarray(data.target, np.float64).T)

    def of(rows: np.ndarray) -> np.ndarray:
        each = [
            max(measure(x[rows], weight[rows], own[rows]) for own in known) for x in data.features.T
        ]
        return np.max(np.where(study.units.inputs, each, -np.inf), axis=1)

    folds = np.stack([of(data.fold == fold) for fold in range(study.folds)])
    return Ranking(
        value=of(np.ones(len(weight), bool)),
        uncertainty=folds.std(axis=0, ddof=1) / np.sqrt(study.folds),
    )

"""Input for the figures: real events with a real classifier, a search with real structure."""

import functools
from typing import NamedTuple

import numpy as np
from pyarrow.csv import read_csv
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from difftune.histograms import Histogram, Template, Templates, histogram
from difftune.training.state import History
from tests import shared_data


class Higgs(NamedTuple):
    """The ATLAS HiggsML events, weighted to the full sample, with the scores of two classifiers."""

    names: tuple[str, ...]
    features: np.ndarray
    weight: np.ndarray
    signal: np.ndarray
    test: np.ndarray
    tuned: np.ndarray
    linear: np.ndarray


@functools.cache
def higgs(events: int = 5000) -> Higgs:
    """Two quickly trained classifiers on the first events; every third event is a test event."""
    table = read_csv(shared_data.path("events/higgsml_15000.csv.gz")).slice(0, events)
    names = tuple(table.column_names[1:31])
    features = np.stack([table[name].to_numpy() for name in names], axis=1).astype(np.float32)
    features[features == -999] = np.nan
    signal = np.asarray(table["Label"].to_pylist()) == "s"
    weight = (table["KaggleWeight"].to_numpy() * 250_000 / events).astype(np.float32)
    test = np.arange(events) % 3 == 0
    balanced = weight / np.where(signal, weight[signal].sum(), weight[~signal].sum()) * events
    filled = np.nan_to_num((features - np.nanmean(features, 0)) / np.nanstd(features, 0))
    scores = [
        model.fit(x[~test], signal[~test], sample_weight=balanced[~test])
        .predict_proba(x)[:, 1]
        .astype(np.float32)
        for model, x in (
            (HistGradientBoostingClassifier(max_iter=15, max_leaf_nodes=10), features),
            (LogisticRegression(max_iter=100), filled),
        )
    ]
    return Higgs(names, features, weight, signal, test, *scores)


def higgs_templates(*, narrow: bool = False, data: bool = False) -> Templates:
    """Templates of the tuned score, the background split in three by the number of jets."""
    sample = higgs()
    jets = sample.features[:, sample.names.index("PRI_jet_num")]
    edges = np.array([0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 1.0])
    if narrow:
        edges = np.array([0.0, 0.5, 0.6, 0.7, 0.705, 0.72, 1.0])
    energy = sample.features[:, sample.names.index("PRI_tau_pt")]
    tilt = 0.06 * np.tanh((energy - 35) / 20)
    masks = {
        r"H $\to\tau\tau$": sample.signal,
        r"Z $\to\tau\tau$": ~sample.signal & (jets == 0),
        r"t$\bar{t}$": ~sample.signal & (jets == 1),
        "Diboson": ~sample.signal & (jets >= 2),
    }

    def filled(mask: np.ndarray, factor: np.ndarray | float = 1.0) -> Histogram:
        return histogram(sample.tuned[mask], (sample.weight * factor)[mask], edges)

    processes = {
        name: Template(
            filled(mask),
            {
                "tau_energy_scale": (filled(mask, 1 + tilt), filled(mask, 1 - tilt)),
                "jet_multiplicity": (
                    filled(mask, 1 + 0.04 * jets),
                    filled(mask, 1 / (1 + 0.04 * jets)),
                ),
                "nothing": (filled(mask, 1 + 1e-6), filled(mask, 1 - 1e-6)),
            },
        )
        for name, mask in masks.items()
    }
    observed = None
    if data:
        total = sum(t.nominal.sumw for t in processes.values())
        counts = np.random.default_rng(3).poisson(total).astype(float)
        observed = Histogram(edges, counts, counts)
    return Templates(
        channel="Signal region",
        edges=edges,
        processes=processes,
        signal=(r"H $\to\tau\tau$",),
        data=observed,
    )


def toy_templates(
    backgrounds: int = 3, *, signal: bool = True, bins: int = 8, names: str = "process_{}"
) -> Templates:
    """Falling backgrounds and a rising signal."""
    edges = np.linspace(0, 1, bins + 1)
    x = (edges[:-1] + edges[1:]) / 2
    processes = {}
    for i in range(backgrounds):
        yields = 1000 / (i + 1) * np.exp(-(3 + 0.3 * i) * x)
        processes[names.format(i)] = Template(Histogram(edges, yields, yields / 5), {})
    if signal:
        processes["signal"] = Template(Histogram(edges, 20 * x**2, x**2), {})
    return Templates(
        channel="SR",
        edges=edges,
        processes=processes,
        signal=("signal",) if signal else (),
        data=None,
    )


def search(
    members: int = 24, rounds: int = 8, epochs: int = 5, *, seed: int = 1, hyperparameters: int = 5
) -> History:
    """A population-based search on a response with an optimum; some members diverge or stop."""
    rng = np.random.default_rng(seed)
    names = ["learning_rate", "dropout", "l2", "bandwidth", "signal_weight"]
    names += [f"hyperparameter_{i}" for i in range(5, hyperparameters)]
    names = names[:hyperparameters]
    lows = {"learning_rate": 1e-5, "l2": 1e-8}
    highs = {"learning_rate": 3e-1, "l2": 1e-2}

    def draw(name: str) -> np.ndarray:
        if name in lows:
            return np.exp(rng.uniform(np.log(lows[name]), np.log(highs[name]), members))
        return rng.uniform(0, 1, members)

    values = {name: np.full((rounds, members), np.nan) for name in names}
    parents = np.tile(np.arange(members), (rounds, 1))
    restart = np.zeros((rounds, members), bool)
    restart[0] = True
    level = rng.uniform(0.0, 0.2, members)
    shape = (rounds * epochs, members)
    loss, validation, score, train_score = (np.full(shape, np.nan) for _ in range(4))
    status = np.full(members, "running", dtype=object)
    for r in range(rounds):
        for name in names:
            values[name][r] = draw(name) if r == 0 else values[name][r - 1]
        if r:
            order = np.argsort(np.nan_to_num(score[r * epochs - 1], nan=-np.inf))
            losers, winners = order[: members // 4], order[members - members // 4 :]
            for loser in losers:
                if rng.random() < 0.1:
                    restart[r, loser] = True
                    level[loser] = 0.1
                    continue
                parent = rng.choice(winners)
                parents[r, loser] = parent
                level[loser] = level[parent]
                for name in names:
                    values[name][r, loser] = values[name][r - 1, parent] * rng.choice([0.8, 1.25])
                status[loser] = "running"
        rate = np.log10(values[names[0]][r]) if names else np.full(members, -3.0)
        speed = 0.12 * np.exp(-((rate + 2.7) ** 2) / 1.5)
        for e in range(epochs):
            row = r * epochs + e
            level = level + speed * (1 - level)
            noise = 0.01 * rng.normal(size=members)
            score[row] = 1.2 + 1.4 * level + noise
            train_score[row] = score[row] + 0.12 * level
            loss[row] = 0.72 - 0.3 * level + 0.004 * rng.normal(size=members)
            validation[row] = loss[row] + 0.03 * level**2 + 0.01 * rng.random(members)
            exploding = (rate > -0.9) & (rng.random(members) < 0.25)
            status[exploding] = "diverged"
            gone = status == "diverged"
            for array in (score, train_score, loss, validation):
                array[row, gone] = np.nan
    number = np.arange(rounds * epochs)
    return History(
        epoch=number,
        round=number // epochs,
        loss=loss,
        validation_loss=validation,
        hard_loss=validation.copy(),
        score=score,
        selection_score=score.copy(),
        train_score=train_score,
        hyperparameters=values,
        parents=parents,
        restart=restart,
        status=tuple(str(s) for s in status),
    )

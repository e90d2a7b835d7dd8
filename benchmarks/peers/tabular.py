"""Classifiers of weighted events, each in a process of its own that starts cold.

What they get is in one file: features with NaN where a value is missing, labels, weights, folds.
The last fold is the test. They leave the scores of all events.
"""

import importlib
import math
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np


class Table(NamedTuple):
    """Events of a sample."""

    features: np.ndarray
    label: np.ndarray
    weight: np.ndarray
    fold: np.ndarray

    def of(self, mask: np.ndarray) -> "Table":
        """Some of the events."""
        return Table(*(column[mask] for column in self))

    @property
    def test(self) -> np.ndarray:
        """Those that nobody learns from."""
        return self.fold == self.fold.max()

    @property
    def balanced(self) -> np.ndarray:
        """Weights for learning, of equal sums for both classes; what is negative counts nothing."""
        weight = np.maximum(self.weight, 0.0)
        return weight / np.bincount(self.label, weight)[self.label] * len(weight) / 2

    def sample(self) -> Any:
        """As difftune has them."""
        import difftune as dt

        return dt.Events.from_arrays(
            self.features,
            self.label,
            self.weight,
            feature_names=[f"x{number}" for number in range(self.features.shape[1])],
            processes=[dt.Process(name="background"), dt.Process(name="signal", role="signal")],
            # The rest of this number is the fold.
            event_number=self.fold,
            folds=int(self.fold.max()) + 1,
        )


def run(
    *, name: str, table: str, scores: str, seed: int, minutes: float | None
) -> dict[str, float]:
    """Lets one contestant learn, and keeps what it says of all events.

    Args:
        name: Of the function here.
        table: File of the events.
        scores: File to write.
        seed: Of its random numbers.
        minutes: Of the CPU that it may take, where it searches. All clocks of the process then
            count what it has of the CPU, so that nothing hangs on what else the machine does.

    Returns:
        Its seconds, by the clock and of the CPU.
    """
    clock = time.perf_counter
    began, cpu = clock(), time.process_time()
    if minutes is not None:
        time.monotonic = time.perf_counter = time.process_time
        start = time.time() - cpu
        time.time = lambda: start + time.process_time()
    with np.load(table) as file:
        events = Table(**file)
    learn = partial(boosted, name=name) if name in BOOSTERS else globals()[name]
    score = learn(events, seed=seed, minutes=minutes)
    np.save(scores, np.asarray(score, np.float64))
    return {"seconds": clock() - began, "cpu": time.process_time() - cpu}


# ---- default settings ----------------------------------------------------------------------------


# Class, name of the seed, and other options of each package.
BOOSTERS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "xgboost": ("XGBClassifier", "random_state", {}),
    "lightgbm": ("LGBMClassifier", "random_state", {"verbose": -1}),
    "catboost": ("CatBoostClassifier", "random_seed", {"verbose": 0, "allow_writing_files": False}),
}


def boosted(events: Table, *, name: str, seed: int, minutes: float | None) -> np.ndarray:
    """Trees as the package has them; from all that is not for the test: nothing is to choose."""
    kind, seeded, options = BOOSTERS[name]
    model = getattr(importlib.import_module(name), kind)(**{seeded: seed}, **options)
    known = events.of(~events.test)
    model.fit(known.features, known.label, sample_weight=known.balanced)
    return model.predict_proba(events.features)[:, 1]


def network(events: Table, *, seed: int, minutes: float | None) -> np.ndarray:
    """What `dt.train` makes of the events with nothing said."""
    import difftune as dt

    dt.use_cpu_cores()
    sample = events.sample()
    return dt.train(sample, seed=seed).score(sample)


# ---- submodels that share their weights ----------------------------------------------------------

SIZES: dict[str, Any] = {"hidden": (128, 128), "submodels": 16, "frequencies": 8, "size": 4}


def submodels(events: Table, *, seed: int, minutes: float | None) -> np.ndarray:
    """Smaller than the package's, without dropout, trained once; chosen on validation events."""
    import difftune as dt

    dt.use_cpu_cores()
    sample = events.sample()
    model = dt.models.MLP(
        hidden=(64, 64),
        dropout=0.0,
        embedding="periodic",
        frequency_scale=0.1,
        submodels=SIZES["submodels"],
    )
    return dt.train(sample, model=model, refit=False, seed=seed).score(sample)


def tabm(events: Table, *, seed: int, minutes: float | None) -> np.ndarray:
    """The paper's own package in the same sizes, with the optimizer and patience of the paper."""
    import torch
    from rtdl_num_embeddings import PeriodicEmbeddings
    from tabm import TabM

    torch.manual_seed(seed)
    missing = np.isnan(events.features)
    stopping = events.fold == events.fold.max() - 1
    learning = ~events.test & ~stopping
    known = events.features[learning]
    scaled = np.nan_to_num((events.features - np.nanmean(known, axis=0)) / np.nanstd(known, axis=0))
    columns = np.concatenate([scaled, missing[:, missing.any(axis=0)]], axis=1)
    x = torch.tensor(columns, dtype=torch.float32)
    y = torch.tensor(events.label, dtype=torch.float32)
    weight = torch.zeros(len(y))
    weight[learning] = torch.tensor(events.of(learning).balanced, dtype=torch.float32)
    weight[stopping] = torch.tensor(events.of(stopping).balanced, dtype=torch.float32)
    embedding = PeriodicEmbeddings(
        x.shape[1], SIZES["size"], n_frequencies=SIZES["frequencies"], lite=False
    )
    model = TabM.make(
        n_num_features=x.shape[1],
        d_out=1,
        num_embeddings=embedding,
        k=SIZES["submodels"],
        n_blocks=len(SIZES["hidden"]),
        d_block=SIZES["hidden"][0],
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=3e-4)
    binary = torch.nn.functional.binary_cross_entropy_with_logits

    def probability(rows: torch.Tensor) -> torch.Tensor:
        model.eval()
        with torch.no_grad():
            parts = [model(x[some]).squeeze(-1) for some in rows.split(4096)]
        return torch.cat(parts).sigmoid().mean(dim=1)

    rows, judged = torch.tensor(np.flatnonzero(learning)), torch.tensor(np.flatnonzero(stopping))
    best, waited, score = np.inf, 0, np.zeros(len(y))
    while waited < 16:
        model.train()
        for batch in rows[torch.randperm(len(rows))].split(256):
            z = model(x[batch]).squeeze(-1)
            each = binary(z, y[batch, None].expand_as(z), reduction="none")
            loss = (each * weight[batch, None]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        p = probability(judged).clamp(1e-7, 1 - 1e-7)
        found = float(torch.nn.functional.binary_cross_entropy(p, y[judged], weight[judged]))
        waited += 1
        if found < best:
            best, waited = found, 0
            score = probability(torch.arange(len(y))).numpy()
    return score


# ---- within a time -------------------------------------------------------------------------------


def automatic(events: Table, *, seed: int, minutes: float) -> np.ndarray:
    """`dt.auto` without trees."""
    import difftune as dt

    dt.use_cpu_cores()
    sample = events.sample()
    return dt.auto(sample, minutes=minutes, networks_only=True, seed=seed).network.score(sample)


def xgboost_optuna(events: Table, *, seed: int, minutes: float) -> np.ndarray:
    """Settings by TPE, judged on each fold in turn; then the bag of the best ones."""
    import optuna
    from xgboost import XGBClassifier

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    began, best = time.time(), (np.inf, events.weight)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    while not study.trials or time.time() - began < 60 * minutes:
        trial = study.ask()
        settings = {
            "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.3, log=True),
            "max_depth": trial.suggest_int("max_depth", 3, 9),
            "min_child_weight": trial.suggest_float("min_child_weight", 0.5, 50.0, log=True),
            "subsample": trial.suggest_float("subsample", 0.5, 1.0),
            "colsample_bytree": trial.suggest_float("colsample_bytree", 0.4, 1.0),
            "reg_lambda": trial.suggest_float("reg_lambda", 0.1, 30.0, log=True),
        }
        loss, score = _bag(
            events,
            lambda settings=settings: XGBClassifier(
                n_estimators=3000, early_stopping_rounds=50, random_state=seed, **settings
            ),
            lambda judged: {
                "eval_set": [(judged.features, judged.label)],
                "sample_weight_eval_set": [judged.balanced],
                "verbose": False,
            },
        )
        study.tell(trial, loss)
        if loss < best[0]:
            best = (loss, score)
    return best[1]


def catboost_bags(events: Table, *, seed: int, minutes: float) -> np.ndarray:
    """The mean of bags from other and other seeds."""
    from catboost import CatBoostClassifier, Pool

    began, scores = time.time(), []
    while not scores or time.time() - began < 60 * minutes:
        number = 1000 * seed + len(scores)
        _, score = _bag(
            events,
            lambda number=number: CatBoostClassifier(
                random_seed=number, verbose=0, allow_writing_files=False
            ),
            lambda judged: {
                "eval_set": Pool(judged.features, judged.label, weight=judged.balanced),
                "early_stopping_rounds": 100,
            },
        )
        scores.append(score)
    return np.mean(scores, axis=0)


def mljar(events: Table, *, seed: int, minutes: float) -> np.ndarray:
    """mljar-supervised in the mode that is meant for use: five folds, ensembles."""
    from supervised import AutoML

    known, columns = events.of(~events.test), _frame(events)
    with tempfile.TemporaryDirectory() as folder:
        model = AutoML(
            mode="Perform",
            total_time_limit=math.ceil(60 * minutes),
            eval_metric="logloss",
            explain_level=0,
            random_state=seed,
            n_jobs=1,
            results_path=folder,
        )
        model.fit(columns[~events.test], known.label, sample_weight=known.balanced)
        return model.predict_proba(columns)[:, 1]


def autogluon(events: Table, *, seed: int, minutes: float) -> np.ndarray:
    """AutoGluon's medium quality, weights in the training and in what is optimised."""
    from autogluon.tabular import TabularPredictor

    known, columns = events.of(~events.test), _frame(events)
    learning = columns[~events.test].assign(label=known.label, weight=known.balanced)
    with tempfile.TemporaryDirectory() as folder:
        model = TabularPredictor(
            "label",
            eval_metric="log_loss",
            sample_weight="weight",
            weight_evaluation=True,
            path=folder,
            verbosity=0,
        )
        model.fit(
            learning.sample(frac=1.0, random_state=seed),
            presets="medium_quality",
            time_limit=60 * minutes,
            num_cpus=1,
        )
        return model.predict_proba(columns.assign(weight=1.0))[1].to_numpy()


def _frame(events: Table) -> Any:
    """Features as a data frame."""
    import pandas

    names = [f"x{number}" for number in range(events.features.shape[1])]
    return pandas.DataFrame(events.features.astype(np.float64), columns=names)


def _bag(
    events: Table, model: Callable[[], Any], options: Callable[[Table], dict[str, Any]]
) -> tuple[float, np.ndarray]:
    """One model for each fold that is not for the test, stopped by that fold.

    Returns:
        The log-loss of events that a model has not learned from, and the mean score of all events.
    """
    folds = sorted(set(events.fold[~events.test].tolist()))
    unseen, mean = np.zeros(len(events.label)), np.zeros(len(events.label))
    for fold in folds:
        judged = events.of(events.fold == fold)
        known = events.of(~events.test & (events.fold != fold))
        fitted = model()
        fitted.fit(known.features, known.label, sample_weight=known.balanced, **options(judged))
        score = fitted.predict_proba(events.features)[:, 1]
        unseen[events.fold == fold] = score[events.fold == fold]
        mean += score / len(folds)
    known = events.of(~events.test)
    right = np.where(known.label == 1, unseen[~events.test], 1 - unseen[~events.test])
    return -np.average(np.log(np.maximum(right, 1e-7)), weights=known.balanced), mean

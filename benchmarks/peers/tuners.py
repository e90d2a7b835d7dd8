"""Searches that go on until their time is over, each for processes of its own.

They get a `contest.Order` as keywords. Each imports what it needs itself: that is part of its time.
"""

import random
import time
import zlib
from pathlib import Path

import numpy as np

from benchmarks.peers import contest
from benchmarks.peers.contest import Network, Order


def difftune(**options) -> None:
    """PBT after PBT, each from another seed; what was compiled for the first serves all.

    Each trial is trained once for each fold, side by side, and judged by the mean. The last search
    has as many rounds as there is time for, going by the pace of the one before.
    """
    import jax

    import difftune as dt
    from benchmarks import search

    order = Order(**options)
    dt.use_cpu_cores()
    folds = int(contest.events(order.sample)[1].fold[0]) + 1
    trials = order.members // folds
    population = _population(order, np.arange(trials * folds, dtype=np.int32) % folds)
    number, rounds = 0, order.rounds
    while rounds > 0 and number < order.searches:
        began = time.time()
        pbt = dt.search.PBT(population=trials, rounds=rounds, epochs_per_round=order.epochs)
        result = dt.search.run_search(
            population.again(seed=1000 * order.seed + number),
            dt.search.Replicated(strategy=pbt, executions=folds, folds=True),
            search.space(),
            on_round=lambda _: contest.note(order.folder, trials * folds * order.epochs),
        )
        # All networks of the best trial, in front the one that is validated as those of the peers.
        best, first = result.best, result.winner // folds * folds
        slots = list(range(first, first + folds))[::-1]
        # In the order of their names: a bias comes before the kernel of its layer.
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(best.weights.parameters)]
        own, *others = ([leaf[slot] for leaf in leaves] for slot in slots)
        scores, worth = best.score[slots], float(np.mean(best.selection_score[slots]))
        if np.isfinite(scores).all():
            contest.keep(order.folder, Network(float(scores[0]), own, worth, tuple(others)))
        # The slack is for rounds that take longer than those of the last search.
        pace = 1.1 * (time.time() - began) / rounds
        number, rounds = number + 1, min(order.rounds, int(order.left / pace))


def _population(order: Order, fold: np.ndarray):
    """Networks that are validated on these folds, and trained on the others."""
    import difftune as dt
    from benchmarks.common import samples
    from difftune.training import Population, Replicas, SelectionRule

    every = contest.Events(*map(np.concatenate, zip(*contest.events(order.sample), strict=True)))
    # Each of the two parts has the full yield.
    last = every.fold == every.fold.max()
    share = np.where(last, last.mean(), 1.0 - last.mean())
    return Population(
        recipe=samples.every_epoch(
            model=dt.models.MLP(hidden=tuple(order.hidden)),
            batch_size=order.batch,
            # All steps are made, and every epoch may be chosen: as by the peers. But which one
            # is, is difftune's to say: by its default, as the peers do by theirs.
            selection_rule=SelectionRule(),
            patience=order.rounds * order.epochs + 1,
            metric=dt.objectives.Significance(bins=contest.BINS),
        ),
        train=samples.columns(
            # The network has one logit, and so nothing asks which processes are signal.
            signal_process=np.zeros(int(every.process.max()) + 1, np.float32),
            **every._replace(weight=every.weight * share)._asdict(),
        ),
        validation=None,
        members=len(fold),
        replicas=Replicas(fold=fold),
    )


def optuna(**options) -> None:
    """One of the workers of a study of TPE: trial after trial, each a whole training.

    A trial is worth its best epoch. The one that the deadline comes upon is cut there.
    """
    import optuna
    import torch
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    from benchmarks.peers.pytorch import Training

    order = Order(**options)
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # Workers must not ask the same, nor begin with the same weights.
    own = 1000 * order.seed + order.worker
    torch.manual_seed(own)
    study = optuna.create_study(
        storage=JournalStorage(JournalFileBackend(str(Path(order.folder) / "study.log"))),
        study_name="wall_time",
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.TPESampler(seed=own, constant_liar=True),
    )
    while order.left > 0.0 and len(study.trials) < order.searches:
        trial = study.ask()
        values = {
            name: trial.suggest_float(name, low, high, log=log)
            for name, (low, high, log) in order.bounds.items()
        }
        training, best = Training(order, values), 0.0
        for _ in range(order.rounds * order.epochs):
            best = max(best, training.epoch())
            if order.left <= 0.0:
                return
        study.tell(trial, best)


def ray(**options) -> None:
    """PBT after PBT, each from another seed, a core for each trial; the last one is cut."""
    from benchmarks.peers import ray_tune

    order, number = Order(**options), 0
    with ray_tune.cluster() as folder:
        while order.left > 0.0 and number < order.searches:
            # PBT draws from the global generators.
            random.seed(1000 * order.seed + number)
            np.random.seed(1000 * order.seed + number)
            ray_tune.search(
                lambda values: _trial(order, values),
                order.bounds,
                f"{folder}/{number}",
                members=order.members,
                time_budget_s=max(order.left, 0.1),
            )
            number += 1


def _trial(order: Order, values: dict) -> None:
    """Trains in a process of Ray's, from the checkpoint where there is one, until it is paused."""
    import torch
    from ray import tune

    from benchmarks.peers import ray_tune
    from benchmarks.peers.pytorch import Training

    torch.set_num_threads(1)
    state = ray_tune.checkpoint()
    done = state["done"] if state else 0
    # Copies must not go the way of what they were copied from.
    own = f"{order.seed} {tune.get_context().get_trial_id()} {done}"
    torch.manual_seed(zlib.crc32(own.encode()))
    training = Training(order, values, state)
    while done < order.rounds and order.left > 0.0:
        for _ in range(order.epochs):
            score = training.epoch()
        done += 1
        ray_tune.report(score, done, training.state)

"""Population-based training by Ray Tune, a core for each trial, of networks of PyTorch."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray
import torch
from ray import tune
from ray.tune.schedulers import PopulationBasedTraining

from benchmarks.common import running
from benchmarks.peers import pytorch, task


@contextmanager
def cluster() -> Iterator[str]:
    """Ray on all cores, and a folder for what it writes."""
    # Ray's own files may still be written while the folder is deleted.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        quiet = {"include_dashboard": False, "logging_level": "ERROR", "log_to_driver": False}
        ray.init(num_cpus=running.cores(), _temp_dir=folder, **quiet)
        yield folder
        ray.shutdown()


def search(trial: Callable[[dict], None], bounds: Mapping, folder: str, *, members: int, **more):
    """Runs PBT, and stops the process where a trial failed.

    A trial trains with the hyperparameters that it gets, and reports each round. Of each there are
    the lowest and highest value, and whether the logarithm is even. Options are Ray's defaults, but
    that what PBT changes must stay within the bounds: its factors know of none, and Adam of no
    `beta1` above 1.
    """

    def within(values: dict) -> dict:
        return values | {n: min(max(values[n], low), high) for n, (low, high, _) in bounds.items()}

    space = {
        name: (tune.loguniform if log else tune.uniform)(low, high)
        for name, (low, high, log) in bounds.items()
    }
    explore = {"hyperparam_mutations": space, "custom_explore_fn": within}
    more["scheduler"] = PopulationBasedTraining("round", perturbation_interval=1, **explore)
    goal = {"metric": "score", "mode": "max"}
    results = tune.Tuner(
        tune.with_resources(trial, {"cpu": 1}),
        param_space=space,
        tune_config=tune.TuneConfig(num_samples=members, reuse_actors=True, **goal, **more),
        run_config=tune.RunConfig(storage_path=folder, verbose=0),
    ).fit()
    if results.num_errors:
        raise SystemExit(f"{results.num_errors} trials failed: {results.errors[0]}")
    return results


def checkpoint() -> dict | None:
    """What a trial goes on from if it was paused, and begins with if it replaces another."""
    if given := tune.get_checkpoint():
        with given.as_directory() as folder:
            return torch.load(Path(folder) / "state.pt")
    return None


def report(score: float, done: int, state: Mapping) -> None:
    """Reports that so many rounds of a trial are done, with its checkpoint."""
    with tempfile.TemporaryDirectory() as folder:
        torch.save({**state, "done": done}, Path(folder) / "state.pt")
        checkpoint = tune.Checkpoint.from_directory(folder)
        tune.report({"score": score, "round": done}, checkpoint=checkpoint)


def job(*, members: int, rounds: int, epochs: int, events: int, batch: int) -> float:
    """The whole job of `ours.job` with PyTorch's fastest plain form (fused Adam); the best loss."""

    def trial(config: dict) -> None:
        torch.set_num_threads(1)
        (validation,) = pytorch.batches(task.VALIDATION, task.VALIDATION, "cpu")
        model = pytorch.network(task.HIDDEN, dropout=config["dropout"])
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        loss_of, parts = pytorch.entropy(model), pytorch.batches(events, batch, "cpu")
        train, done = pytorch.epochs_of(pytorch.stepping(loss_of, optimizer), parts), 0
        if saved := checkpoint():
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            done = saved["done"]
        optimizer.param_groups[0]["lr"] = config["learning_rate"]
        for number in range(done + 1, rounds + 1):
            model.train()
            train(epochs)
            model.eval()
            with torch.no_grad():
                loss = float(loss_of(*validation))
            state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
            report(-loss, number, state)

    bounds = {"learning_rate": (1e-4, 1e-2, True), "dropout": (0.0, 0.5, False)}
    with cluster() as folder:
        results = search(trial, bounds, f"{folder}/0", members=members)
        reports = [result.metrics["round"] for result in results]
        assert reports == [rounds] * members, reports
        return -float(results.get_best_result().metrics["score"])

"""`python -m benchmarks.peers.jobs WHO OPTIONS`: a whole search, from the import to its winner.

WHO is `difftune` or `ray`: population-based training of learning rate and dropout, the same number
of members, rounds and epochs; OPTIONS is an object of JSON.
"""

import json
import sys
import tempfile
from pathlib import Path
from typing import Any


def ray_tune(
    *,
    members: int,
    rounds: int,
    epochs: int,
    batch: int,
    events: int,
    validation: int,
    width: int,
    dropout: float,
) -> None:
    """Ray Tune's PBT, a core for each trial, with PyTorch's fastest plain form (fused Adam).

    Args:
        members: Trials.
        rounds: Reports of each trial; between them it may be replaced.
        epochs: Between two reports.
        batch: Events a batch.
        events: Training events.
        validation: Events whose loss the trials are compared by.
        width: Of both hidden layers.
        dropout: Where the search begins.
    """
    import ray
    import torch
    from ray import tune
    from ray.tune.schedulers import PopulationBasedTraining
    from torch.nn.functional import binary_cross_entropy_with_logits

    from benchmarks.peers import pytorch

    def trial(config: dict[str, Any]) -> None:
        torch.set_num_threads(1)
        parts = pytorch.batches(events, batch, "cpu")
        judged = pytorch.batches(validation, validation, "cpu")[0]
        model = pytorch.network(width, dropout=dropout)
        optimizer = torch.optim.Adam(model.parameters(), fused=True)
        done = 0
        # A paused trial goes on, and a replaced one begins, from a checkpoint.
        if given := tune.get_checkpoint():
            with given.as_directory() as folder:
                saved = torch.load(Path(folder) / "state.pt")
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            done = saved["done"]
        for group in optimizer.param_groups:
            group["lr"] = config["learning_rate"]
        for layer in model:
            if isinstance(layer, torch.nn.Dropout):
                layer.p = config["dropout"]
        while done < rounds:
            model.train()
            for _ in range(epochs):
                for x, y, w in parts:
                    optimizer.zero_grad(set_to_none=True)
                    binary_cross_entropy_with_logits(model(x)[:, 0], y, weight=w).backward()
                    optimizer.step()
            model.eval()
            with torch.no_grad():
                x, y, w = judged
                loss = float(binary_cross_entropy_with_logits(model(x)[:, 0], y, weight=w))
            done += 1
            with tempfile.TemporaryDirectory() as folder:
                state = {"model": model.state_dict(), "optimizer": optimizer.state_dict()}
                torch.save(state | {"done": done}, Path(folder) / "state.pt")
                kept = tune.Checkpoint.from_directory(folder)
                tune.report({"loss": loss, "round": done}, checkpoint=kept)

    space = {
        "learning_rate": tune.loguniform(1e-4, 1e-2),
        "dropout": tune.uniform(0.0, 0.5),
    }
    # Ray's own files may still be written while the folder is deleted.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        ray.init(
            include_dashboard=False, logging_level="ERROR", log_to_driver=False, _temp_dir=folder
        )
        results = tune.Tuner(
            tune.with_resources(trial, {"cpu": 1}),
            param_space=space,
            tune_config=tune.TuneConfig(
                metric="loss",
                mode="min",
                num_samples=members,
                reuse_actors=True,
                scheduler=PopulationBasedTraining(
                    time_attr="round",
                    perturbation_interval=1,
                    hyperparam_mutations=space,
                ),
            ),
            run_config=tune.RunConfig(storage_path=f"{folder}/results", verbose=0),
        ).fit()
        if results.num_errors:
            raise SystemExit(f"{results.num_errors} trials failed: {results.errors[0]}")
        reports = [result.metrics["round"] for result in results]
        assert reports == [rounds] * members, reports
        print(f"loss {results.get_best_result().metrics['loss']:.4f}", file=sys.stderr)
        ray.shutdown()


if __name__ == "__main__":
    options = json.loads(sys.argv[2])
    if sys.argv[1] == "ray":
        ray_tune(**options)
    else:
        from benchmarks.peers import ours

        ours.job(**options)

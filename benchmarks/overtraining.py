"""Which overtraining condition: what the chosen network is worth on test events, by condition.

Random members, some with far too large networks for the events, train without early stopping on the
HiggsML sample. A condition decides which of their epochs may be chosen, and so which network is.
What counts is its significance on test events, and by how much validation promised more.
"""

import math
import tempfile
from dataclasses import replace

import numpy as np

from benchmarks import search
from benchmarks.table import Row


def conditions() -> dict:
    """The conditions, by name."""
    from difftune.training import LossGap, ScoreGap, ShapeKS

    return {
        "none": ScoreGap(limit=math.inf),
        **{f"score gap {x:g}": ScoreGap(limit=x) for x in (0.05, 0.1, 0.2)},
        **{f"loss gap {x:g}": LossGap(limit=x) for x in (0.05, 0.2)},
        **{f"KS p > {x:g}": ShapeKS(p_value=x) for x in (0.05, 0.001)},
    }


def run(*, quick: bool) -> list[Row]:
    """Test significance of what each condition chooses, and its excess on validation events."""
    import jax

    import difftune as dt

    seeds, members, epochs = (2, 4, 3) if quick else (5, 16, 40)
    dt.training.use_cpu_cores()
    if not search.HIGGS.exists():
        raise SystemExit(f"{search.HIGGS} is not there")
    job = replace(search.task(search.higgs()), model=dt.models.MLP(hidden=(64, 64)))
    space = dt.Space(
        learning_rate=dt.log_uniform(3e-4, 1e-2),
        dropout=dt.uniform(0.0, 0.5),
        width_1=dt.integer(4, 64),
        l2=dt.log_uniform(1e-6, 1e-3),
    )
    strategy = dt.search.Random(population=members, rounds=1, epochs_per_round=epochs)
    rows = []
    with tempfile.TemporaryDirectory() as cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
        for name, condition in conditions().items():
            chosen, promised, excluded = [], [], []
            for seed in range(1, seeds + 1):
                try:
                    tuned = replace(job, overtraining=condition).search(strategy, space, seed=seed)
                except dt.search.SearchError:
                    # Nobody ever met it.
                    excluded.append(1.0)
                    continue
                chosen.append(search.significance(tuned, job.split.test))
                promised.append(tuned.ranking[0].score)
                excluded.append(float(np.mean(tuned.result.history.overtraining > 1.0)))
            if not chosen:
                rows.append(Row(what=f"{name}: excluded", required="", measured=1.0))
                continue
            rows.append(
                Row(
                    what=f"{name}: test Z",
                    required="",
                    measured=float(np.mean(chosen)),
                    spread=f"± {np.std(chosen, ddof=1) if len(chosen) > 1 else 0:.3f} over "
                    f"{len(chosen)} of {seeds} seeds; validation / test "
                    f"{np.mean(promised) / np.mean(chosen):.3f}; "
                    f"{np.mean(excluded):.0%} of epochs excluded",
                )
            )
    return rows

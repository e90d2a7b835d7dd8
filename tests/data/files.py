"""Small real files for the tests of the data layer."""

from pathlib import Path

import numpy as np
import uproot


def columns(events: int = 200, seed: int = 0) -> dict[str, np.ndarray]:
    """Columns of a plain sample."""
    rng = np.random.default_rng(seed)
    return {
        "event": np.arange(events, dtype=np.uint64) + np.uint64(7),
        "x": rng.normal(size=events).astype(np.float32),
        "jet_pt": rng.exponential(50, events),
        "n_jets": rng.integers(0, 6, events, dtype=np.int32),
        "tight": rng.random(events) < 0.5,
        "weight": rng.normal(1, 0.5, events),
        "weight_isr_up": rng.normal(1.2, 0.5, events),
        "weight_isr_down": rng.normal(0.9, 0.5, events),
    }


def write_root(path: Path, **trees: dict[str, np.ndarray]) -> str:
    """Writes real TTrees (not RNTuples) and returns the name of the file."""
    with uproot.recreate(path) as file:
        for name, data in trees.items():
            types = {
                key: getattr(values, "dtype", None) or getattr(values, "type", None).content
                for key, values in data.items()
            }
            file.mktree(name, types)
            if len(next(iter(data.values()))):
                file[name].extend(data)
    return str(path)

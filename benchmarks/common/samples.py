"""Events, networks and populations that several benchmarks train."""

import jax
import jax.numpy as jnp
import numpy as np

import difftune as dt
from benchmarks.common.running import ROOT
from difftune.objectives import Metric
from difftune.training import AS_SCORED, Columns, ScoreGap
from difftune.training.batches import as_batch

HIGGSML = ROOT.parent / "shared" / "data" / "events" / "higgsml_15000.csv.gz"
SINGLE_TOP = ROOT / "examples" / "single_top" / "single_top.toml"


ONE_SYSTEMATIC = (
    'systematics=[{name = "btag", type = "weight", '
    'up = "weight_btag_up", down = "weight_btag_down"}]'
)
"""A setting of the main job for smoke runs."""

FEW_VARIABLES = "data.features=['top_mass', 'lightjet_abs_eta', 'mtw', 'ht']"
"""A setting of the main job for smoke runs that train once for each variable."""


def single_top(*settings: str, varied: bool = True, one_in: int = 1) -> dt.Events:
    """The sample of the main job, or a part; its systematic variations take time to read."""
    config = dt.job.load(SINGLE_TOP, list(settings))
    events = dt.job.build.events(
        config if varied else config.model_copy(update={"systematics": []})
    )
    # In all variations, or in none.
    return events if one_in == 1 else events.select(lambda part: part.number % one_in == 0)


def once(population: int, epochs: int) -> dt.search.FixedSchedule:
    """One training for each member, with the hyperparameters of the recipe."""
    length = {"rounds": 1, "epochs_per_round": epochs}
    return dt.search.FixedSchedule(population=population, schedule={}, **length)


def higgsml() -> dt.Events:
    """The shared extract of the HiggsML challenge, with the folds of its event numbers."""
    table = np.genfromtxt(HIGGSML, delimiter=",", names=True, dtype=None, encoding="ascii")
    names = table.dtype.names[1:31]
    features = np.stack([table[name].astype(np.float32) for name in names], axis=1)
    events = dt.Events.from_arrays(
        np.where(features == -999, np.nan, features),
        (table["Label"] == "s").astype(np.int32),
        table["KaggleWeight"],
        feature_names=names,
        processes=[dt.Process(name="background"), dt.Process(name="signal", role="signal")],
        event_number=table["EventId"],
    )
    # Expected background and signal of the challenge, from its documentation.
    return events.scaled(np.array([410999.847, 691.989]) / events.yields())


def some(events: dt.Events, most: int) -> dt.Events:
    """At most so many events, at random, for the same yields."""
    if (count := len(events.weight)) <= most:
        return events
    chosen = np.random.default_rng(0).permutation(count)[:most]
    part = events.select(np.isin(np.arange(count), chosen))
    return part.scaled(events.yields() / part.yields())


def columns(features, label, weight, **more) -> Columns:
    """Events of a background and a signal as training wants them; all train alike by default."""
    label = np.asarray(label, np.int32)
    standard = {
        "features": np.asarray(features, np.float32),
        "process": label,
        "label": label,
        "weight": np.asarray(weight, np.float32),
        "training_weight": np.ones(len(label), np.float32),
        "signal_process": np.array([0.0, 1.0], np.float32),
    }
    return Columns(**standard | more)


def worth(metric: Metric, scores, events: Columns) -> float:
    """The value of a metric for scores of all events, at the end of a training."""
    batch = jax.tree.map(jnp.asarray, as_batch(events, np.arange(len(events.weight)), 1.0))
    return float(metric(jnp.asarray(scores), batch, {}, {}))


def every_epoch(**parts) -> dt.Recipe:
    """A recipe of which every epoch may be chosen, by nothing but its validation score."""
    free = {"overtraining": ScoreGap(limit=float("inf")), "selection_rule": AS_SCORED}
    return dt.Recipe(**free | parts)

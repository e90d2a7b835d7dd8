"""Scores through the fit in bins that are joined where they have no background, by pyhf."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy.special import logit

from difftune.binning import Constraints
from difftune.errors import InputError
from difftune.histfactory import build_workspace
from difftune.histograms import Template, Templates, histogram, symmetrised
from difftune.objectives import (
    Batch,
    DiscoverySignificance,
    FitModel,
    MetricOf,
    PoiUncertainty,
    Regions,
    Variation,
    Varied,
)
from tests.objectives.samples import NONE, evaluate
from tests.objectives.test_fit_losses import uncertainties

BINS, RULE = 8, Constraints(min_background=5.0, max_mc_uncertainty=0.3)
JOINED = np.array([0, 1, 2, 3, 4, 8]) / BINS
"""Joined by hand: the topmost two bins have no background, and the one below hardly any."""
STATISTICS = 0.5


def sample(*, reach: float = 0.6, last: float = 0.7):
    """Scores and a batch of simulated events of which the last bins have signal alone.

    Args:
        reach: How far the background goes.
        last: Score of one event of it that goes further.
    """
    rng = np.random.default_rng(5)
    low = [*rng.uniform(0.0, reach, 402), last]
    score = np.concatenate([low, rng.uniform(0.3, 1.0, 200)])
    label = np.repeat([0, 1], [403, 200])
    weight = np.where(label == 1, 0.1, rng.uniform(1.0, 3.0, 603))
    factor = 1.0 + 0.3 * (score - 0.4)
    batch = Batch(
        features=np.zeros((603, 1)),
        process=jnp.asarray(label, jnp.int32),
        label=jnp.asarray(label, jnp.int32),
        weight=jnp.asarray(weight),
        training_weight=jnp.ones(603),
        signal_process=jnp.asarray([0.0, 1.0]),
        progress=jnp.asarray(1.0),
        variations={"scale": Variation(up=Varied(weight=jnp.asarray(weight * factor)))},
    )
    return jnp.asarray(logit(score)), batch


def workspace(scores, batch) -> dict:
    """Of hard histograms in the bins that are joined by hand."""
    score, label = 1 / (1 + np.exp(-np.asarray(scores))), np.asarray(batch.label)

    def filled(index, weight):
        return histogram(score[label == index], np.asarray(weight)[label == index], JOINED)

    processes = {}
    for index, name in enumerate(("background", "signal")):
        nominal = filled(index, batch.weight)
        # The down variation mirrors the effect on the yield of the process and on its shape.
        up = filled(index, batch.variations["scale"].up.weight)
        pair = {"scale": (up, symmetrised(nominal, up))}
        fewer = replace(nominal, sumw2=STATISTICS * nominal.sumw2)
        processes[name] = Template(fewer, pair)
    templates = Templates(channel="region", edges=JOINED, processes=processes, signal=("signal",))
    return build_workspace([templates], poi_bounds=(0.0, 10.0))


@pytest.fixture(scope="module")
def values():
    """Of the losses with joined bins and without, at full length of the joined model."""
    model = FitModel(bins=BINS, bandwidth=(1e-9, 1e-9), mc_statistics=STATISTICS)
    own = replace(model, constraints=RULE)
    with jax.enable_x64(True):
        scores, batch = sample()
        return {
            "q0": np.exp(-evaluate(DiscoverySignificance(model=own), scores, batch)),
            "sigma": np.exp(evaluate(PoiUncertainty(model=own), scores, batch)),
            "plain": np.exp(evaluate(PoiUncertainty(model=model), scores, batch)),
            "yields": jax.jit(own.yields)(scores, batch, NONE, NONE),
        }


@pytest.mark.slow
def test_the_yields_are_those_of_bins_joined_by_hand_and_nothing_elsewhere(values):
    with jax.enable_x64(True):
        scores, batch = sample()
    score, label = 1 / (1 + np.exp(-np.asarray(scores))), np.asarray(batch.label)
    for index in (0, 1):
        mine = label == index
        own = histogram(score[mine], np.asarray(batch.weight)[mine], JOINED)
        for found, expected in (
            (values["yields"].nominal[index], own.sumw),
            (values["yields"].sumw2[index], STATISTICS * own.sumw2),
        ):
            there = np.asarray(found)[[0, 1, 2, 3, 7]]
            np.testing.assert_allclose(there, expected, rtol=1e-9)
            assert not np.asarray(found)[4:7].any()


def test_the_significance_is_pyhfs_in_the_joined_bins(values, minuit):
    with jax.enable_x64(True):
        model = pyhf.Workspace(workspace(*sample())).model()
    config = model.config
    start = config.suggested_init()
    data = np.asarray(model.expected_data(start)).tolist()
    given = start, config.suggested_bounds(), config.suggested_fixed()
    q0 = pyhf.infer.test_statistics.q0(0.0, data, model, *given)
    assert values["q0"] == pytest.approx(float(q0), rel=1e-5)


def test_the_uncertainty_is_pyhfs_in_the_joined_bins(values):
    with jax.enable_x64(True):
        model = pyhf.Workspace(workspace(*sample())).model()
    point = np.asarray(model.config.suggested_init())
    poi = model.config.poi_index
    variance = uncertainties(model, np.asarray(model.expected_data(point.tolist())), point)
    assert values["sigma"] == pytest.approx(np.sqrt(variance[poi, poi]), rel=1e-4)
    # Signal where nothing else was simulated is worth more than all that is known of it.
    assert values["plain"] < 0.5 * values["sigma"]


@pytest.mark.slow
def test_the_score_does_not_jump_when_the_last_background_leaves_a_bin():
    """One event of 403 goes from just above the edge of the topmost bin to just below it."""
    found = {}
    for name, constraints in (("plain", None), ("joined", RULE)):
        model = FitModel(bins=BINS, bandwidth=(1e-4, 1e-4), constraints=constraints)
        metric = MetricOf(objective=DiscoverySignificance(model=model), power=0.5)
        pair = [
            float(evaluate(metric, *jax.tree.map(_single, sample(reach=7 / 8, last=7 / 8 + side))))
            for side in (0.01, -0.01)
        ]
        found[name] = pair[1] / pair[0]
    assert found["plain"] > 2.0
    assert found["joined"] == pytest.approx(1.0, abs=0.05)


def _single(column):
    return column.astype(jnp.float32) if jnp.issubdtype(column.dtype, jnp.floating) else column


def test_gradients_by_weights_are_those_of_the_joined_bins():
    """Which bins are joined has no derivative: by finite differences."""
    model = FitModel(bins=BINS, bandwidth=(1e-9, 1e-9), constraints=RULE)
    with jax.enable_x64(True):
        scores, batch = sample()

        @jax.jit
        def value(size):
            weight = jnp.where(batch.label == 1, size, 1.0) * batch.weight
            return PoiUncertainty(model=model)(scores, replace(batch, weight=weight), NONE, NONE)

        slope = float(jax.jit(jax.grad(value))(1.0))
        difference = float(value(1.0 + 1e-5) - value(1.0 - 1e-5)) / 2e-5
    assert slope == pytest.approx(difference, rel=1e-5)


def test_regions_have_no_neighbours():
    with pytest.raises(InputError, match=r"regions have no neighbours.*leave it out"):
        FitModel(bins=Regions(regions=3), constraints=RULE)

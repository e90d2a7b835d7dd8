"""Losses through the fit of several regions: by pyhf, and slopes by finite differences."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from difftune.histograms import Histogram, Template, Templates
from difftune.objectives import FitModel, PoiUncertainty
from tests.objectives.fits import BINS, HARD, PROCESSES, UNCERTAINTIES, model_of, sample
from tests.objectives.samples import NONE
from tests.objectives.test_fit_losses import uncertainties, workspace

EDGES = np.array([0.0, 50.0, 100.0, 300.0])


def histogram(*sumw):
    return Histogram(EDGES, np.array(sumw), 0.1 * np.array(sumw))


CONTROL = Templates(
    channel="control",
    edges=EDGES,
    processes={
        "ttbar": Template(
            histogram(300.0, 500.0, 200.0),
            {"scale": (histogram(330.0, 510.0, 190.0), histogram(280.0, 490.0, 215.0))},
        ),
        "diboson": Template(histogram(20.0, 30.0, 40.0)),
        "signal": Template(histogram(3.0, 5.0, 9.0)),
    },
    signal=("signal",),
)
MODEL = FitModel(
    bins=BINS, bandwidth=(0.1, 0.1), processes=PROCESSES, control=[CONTROL], **UNCERTAINTIES
)


def loss_of(columns, b, width, model=MODEL):
    """σ(μ) by scores and downward scores."""
    scores, down = columns
    scale = b.variations["scale"]
    moved = replace(scale, down=replace(scale.down, scores=down))
    there = replace(b, variations=b.variations | {"scale": moved})
    return PoiUncertainty(model=model)(scores, there, {"bandwidth": width}, NONE)


@pytest.fixture(scope="module")
def spec():
    with jax.enable_x64(True):
        return workspace(*sample(), CONTROL)


def test_the_likelihood_is_that_of_the_workspace_of_both_regions(spec):
    with jax.enable_x64(True):
        scores, b = sample()
        ours = model_of(MODEL, scores, b, jnp.asarray(HARD))
    theirs = pyhf.Workspace(spec).model()
    assert theirs.config.channels == ["control", "region"]
    assert ours.config.par_names == theirs.config.par_names
    rng, start = np.random.default_rng(2), np.asarray(theirs.config.suggested_init())
    for _ in range(3):
        point = start + 0.2 * rng.normal(size=len(start))
        data = np.asarray(theirs.expected_data(start.tolist())) * rng.uniform(0.9, 1.1)
        expected = theirs.logpdf(point.tolist(), data.tolist())[0]
        np.testing.assert_allclose(ours.logpdf(point, data), expected, rtol=1e-10)


@pytest.mark.slow
def test_the_uncertainty_is_pyhfs_and_smaller_than_without_the_control_region(spec):
    with jax.enable_x64(True):
        scores, b = sample()
        columns = scores, b.variations["scale"].down.scores
        value = float(loss_of(columns, b, jnp.asarray(HARD)))
        without = float(loss_of(columns, b, jnp.asarray(HARD), replace(MODEL, control=())))
    theirs = pyhf.Workspace(spec).model()
    point = np.asarray(theirs.config.suggested_init())
    covariance = uncertainties(theirs, np.asarray(theirs.expected_data(point.tolist())), point)
    mu = theirs.config.par_names.index("mu")
    assert np.exp(value) == pytest.approx(np.sqrt(covariance[mu, mu]), rel=1e-4)
    assert value < without - 0.01


@pytest.mark.slow
def test_slopes_are_those_of_finite_differences():
    with jax.enable_x64(True):
        scores, b = sample()
        columns, width = (scores, b.variations["scale"].down.scores), jnp.asarray(1.0)
        value = jax.jit(lambda at: loss_of(at, b, width))
        slope = jax.jit(jax.grad(lambda at: loss_of(at, b, width)))(columns)
        rng = np.random.default_rng(3)
        for _ in range(3):
            way = [jnp.asarray(rng.normal(size=each.shape)) for each in columns]
            step = 1e-4
            up, down = (
                value(tuple(c + sign * step * w for c, w in zip(columns, way, strict=True)))
                for sign in (1, -1)
            )
            along = sum(jnp.vdot(s, w) for s, w in zip(slope, way, strict=True))
            np.testing.assert_allclose(along, (up - down) / (2 * step), rtol=1e-5)

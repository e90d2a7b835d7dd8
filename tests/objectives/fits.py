"""Losses through the fit, and a sample with systematic variations to fill them with."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from difftune.data import Process
from difftune.histfactory import FreeNormalisation, Luminosity, NormalisationUncertainty
from difftune.objectives import (
    DiscoverySignificance,
    ExpectedCLs,
    ExpectedLimit,
    FisherInformation,
    FitModel,
    PoiUncertainty,
    Robustness,
    Variation,
    Varied,
)
from tests.objectives.samples import NONE, batch, logits

PROCESSES = (
    Process(name="diboson"),
    Process(name="signal", role="signal"),
    Process(name="ttbar"),
)
BINS, EVENTS = 4, 240
UNCERTAINTIES = {
    "normalisation": (
        NormalisationUncertainty("xs_diboson", 0.1, -0.08, processes=("diboson",)),
        NormalisationUncertainty("acceptance", 0.05),
    ),
    "luminosity": Luminosity(0.03),
    "free": (FreeNormalisation("norm_ttbar", processes=("ttbar",)),),
}


MODEL = FitModel(bins=BINS, bandwidth=(0.1, 0.1), processes=PROCESSES, **UNCERTAINTIES)
# Of two processes, and quick to compile; the variations are those of the batch.
SMALL = FitModel(bins=3, bandwidth=(0.1, 0.1))
HARD = 1e-6
LOSSES = {
    "CLs": ExpectedCLs(model=MODEL, mu=1.0),
    "q0": DiscoverySignificance(model=MODEL),
    "uncertainty": PoiUncertainty(model=MODEL),
    "limit": ExpectedLimit(model=MODEL, rounds=5),
    "information": FisherInformation(model=MODEL, parameters=("mu", "scale", "norm_ttbar")),
    "robustness": Robustness(model=MODEL, parameters=("scale", "tune")),
    "robustness to all": Robustness(model=MODEL),
}


def sample(dtype=jnp.float64):
    """Scores and a batch with a variation of the features and a one-sided one of the weights."""
    scores = 1.5 * logits(EVENTS, dtype=dtype) + 0.7 * (np.arange(EVENTS) % 3 == 1)
    plain = batch(EVENTS, dtype=dtype)
    factor = 1.1 + 0.2 * jnp.sin(3 * scores)
    touched = plain.process != 1
    moved = [jnp.where(touched, scores + shift, scores) for shift in (0.25, -0.2)]
    up, down = (
        Varied(features=plain.features, scores=each, weight=plain.weight * size)
        for each, size in zip(moved, (1.02, 0.97), strict=True)
    )
    weights = jnp.where(touched, plain.weight * factor, plain.weight)
    variations = {
        "scale": Variation(up=up, down=down),
        "tune": Variation(up=Varied(weight=weights)),
    }
    return scores.astype(dtype), replace(plain, variations=variations)


@functools.partial(jax.jit, static_argnames="names")
def values_and_slopes(columns, b, *, names=tuple(LOSSES)):
    """All losses and the slope of their sum in one program: it takes long to compile."""

    def total(columns):
        scores, down, weight, width = columns
        scale = b.variations["scale"]
        moved = replace(scale, down=replace(scale.down, scores=down))
        there = replace(b, weight=weight, variations=b.variations | {"scale": moved})
        values = {n: LOSSES[n](scores, there, {"bandwidth": width}, NONE) for n in names}
        return sum(values.values()), values

    (_, values), slope = jax.value_and_grad(total, has_aux=True)(columns)
    return values, slope


def taken_apart(scores, b, width=1.0):
    """What the losses are differentiated in."""
    return scores, b.variations["scale"].down.scores, b.weight, jnp.asarray(width, scores.dtype)


@functools.partial(jax.jit, static_argnums=0)
def model_of(model, scores, b, width):
    return model.model(scores, b, {"bandwidth": width}, NONE)

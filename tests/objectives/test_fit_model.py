"""The statistical model that the events of a batch fill."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from difftune.data import Process
from difftune.errors import InputError
from difftune.histfactory import Luminosity, Model
from difftune.histograms import histogram
from difftune.objectives import (
    Batch,
    CrossEntropy,
    DiscoverySignificance,
    ExpectedCLs,
    ExpectedLimit,
    FisherInformation,
    FitModel,
    PoiUncertainty,
    Variation,
    Varied,
)
from tests.histfactory import specs
from tests.objectives.fits import (
    HARD,
    MODEL,
    PROCESSES,
    model_of,
    sample,
)
from tests.objectives.samples import NONE, batch, logits


def test_events_fill_a_channel_of_a_workspace():
    ttbar = [
        specs.modifier("normfactor", "norm_ttbar"),
        specs.factors("tune", 1.08, 0.95),
        specs.templates("scale", [52.0, 33.0, 9.0], [49.0, 29.0, 11.0]),
    ]
    region = specs.channel(
        "SR",
        specs.sample(
            "susy", [2.0, 6.0, 9.0], specs.MU, specs.modifier("staterror", "stat", [1.0] * 3)
        ),
        specs.sample(
            "top", [50.0, 30.0, 10.0], *ttbar, specs.modifier("staterror", "stat", [2.0, 1.5, 0.9])
        ),
        specs.sample(
            "fakes", [5.0, 3.0, 2.0], specs.modifier("shapesys", "fakes", [1.0, 1.0, 1.0])
        ),
    )
    control = specs.channel("CR", specs.sample("top", [300.0], *ttbar[:2]))
    spec = specs.workspace([control, region])
    model = FitModel.from_spec(
        spec,
        channel="SR",
        samples={"signal": "susy", "ttbar": "top"},
        bandwidth=(HARD, HARD),
        processes=PROCESSES,
    )
    assert model.bins == 3
    with jax.enable_x64(True):
        scores, b = sample()
        b = replace(b, variations={"tune": b.variations["tune"]})
        filled = model_of(model, scores, b, jnp.asarray(1.0))
    edges = np.linspace(0, 1, 4)
    own = {
        name: histogram(expit(np.asarray(scores))[mine], np.asarray(b.weight)[mine], edges)
        for name, mine in (("susy", b.process == 1), ("top", b.process == 2))
    }
    tuned = histogram(
        expit(np.asarray(scores))[b.process == 2],
        np.asarray(b.variations["tune"].up.weight)[b.process == 2],
        edges,
    )
    for name, expected in own.items():
        np.testing.assert_allclose(filled.get("SR", name), expected.sumw, rtol=1e-9)
        error = filled.get("SR", name, "staterror", "stat", "data")
        np.testing.assert_allclose(error, np.sqrt(expected.sumw2), rtol=1e-9)
    top = own["top"].sumw
    factor = tuned.sumw.sum() / top.sum()
    normsys = [filled.get("SR", "top", "normsys", "tune", side)[0] for side in ("hi", "lo")]
    np.testing.assert_allclose(normsys, [factor, 2 - factor], rtol=1e-9)
    # What the events say nothing of keeps its size relative to the yield, or all of it.
    shape = np.asarray(filled.get("SR", "top", "histosys", "scale", "hi_data"))
    np.testing.assert_allclose(shape / top, np.array([52, 33, 9]) / [50, 30, 10], rtol=1e-12)
    before = Model.from_spec(spec)
    for key in (("CR", "top"), ("SR", "fakes"), ("CR", "top", "normsys", "tune", "hi")):
        np.testing.assert_array_equal(filled.get(*key), before.get(*key))


@functools.partial(jax.jit, static_argnums=0)
def nominal_yields(model, scores, b):
    return model.yields(scores, b, NONE, NONE).nominal


def test_without_names_there_are_signal_and_background_and_the_training_may_give_them():
    scores, b = sample(jnp.float32)
    loss = 0.5 * PoiUncertainty(model=FitModel(bins=3)) + CrossEntropy()
    free = loss.terms[0].objective.model
    assert free.filling(b).model.structure.samples == ("background", "signal")
    data = Process(name="observed", role="data")
    bound = loss.bound_to([data, *PROCESSES]).terms[0].objective.model
    assert bound.filling(b).model.structure.samples == ("diboson", "signal", "ttbar")
    shifted = replace(b, process=b.process + 1)
    by_label, by_process = (
        np.asarray(nominal_yields(model, scores, there))
        for model, there in ((free, b), (bound, shifted))
    )
    np.testing.assert_allclose(by_label[1], by_process[1], rtol=1e-6)
    np.testing.assert_allclose(by_label[0], by_process[0] + by_process[2], rtol=1e-5)
    assert MODEL.bound_to([data]) is MODEL


def with_features(b: Batch) -> Batch:
    return replace(b, variations={"jes": Variation(up=Varied(features=b.features))})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: FitModel(bins=1), "bins=1.*at least 2"),
        (lambda: FitModel(bandwidth=(0.1, 0.0)), r"bandwidth=\(0.1, 0.0\).*positive"),
        (lambda: ExpectedCLs(steps=0), r"ExpectedCLs\(steps=0\): give at least 1"),
        (lambda: ExpectedLimit(level=5.0), "level=5.0.*between 0 and 1"),
        (lambda: DiscoverySignificance(form="sqrt"), "form='sqrt'.*'linear' or 'log'"),
        (lambda: FisherInformation(parameters=()), r"parameters=\(\).*name at least one"),
        (
            lambda: FisherInformation(parameters=("nu",))(logits(), batch(), NONE, NONE),
            "No parameter 'nu'",
        ),
        (
            lambda: FitModel().yields(logits(), with_features(batch()), NONE, NONE),
            "'jes'.*no scores",
        ),
        (
            lambda: FitModel(luminosity=Luminosity(0.1, processes=("tW",))).filling(batch()),
            "'tW'.*background",
        ),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()


def small_workspace() -> dict:
    signal = specs.sample("signal", [1.0, 2.0], specs.MU)
    return specs.workspace([specs.channel("SR", signal, specs.sample("ttbar", [9.0, 5.0]))])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"channel": "SRs"}, "no channel 'SRs'.*SR"),
        ({"channel": "SR", "samples": {"ttbar": "top"}}, "no sample 'top'"),
        ({"channel": "SR", "samples": {"W": "ttbar"}}, r"None of the processes.*fills a sample"),
        ({"channel": "SR"}, "variation 'jes', and no filled sample.*leave it out"),
    ],
)
def test_a_workspace_that_does_not_fit_the_events_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        FitModel.from_spec(small_workspace(), processes=PROCESSES, **options).filling(
            with_features(batch())
        )

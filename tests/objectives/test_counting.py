"""Losses of counting experiments."""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from jax.test_util import check_grads
from scipy.special import expit, logit, softmax
from scipy.stats import norm

from difftune.errors import InputError
from difftune.objectives import AMSLoss, AsimovLLR, SOverRootB
from tests.objectives.samples import NONE, batch, evaluate, logits, value_and_gradient


def numpy_q0(scores: np.ndarray, label, weight, bins: int) -> float:
    """Hard bins and the published formula, by numpy."""
    signal, _ = np.histogram(scores[label == 1], bins, (0, 1), weights=weight[label == 1])
    background, _ = np.histogram(scores[label == 0], bins, (0, 1), weights=weight[label == 0])
    s, b = (x[(signal > 0) & (background > 0)] for x in (signal, background))
    return 2 * np.sum((s + b) * np.log(1 + s / b) - s)


@pytest.mark.parametrize(
    ("bins", "classes", "form"), [(2, None, "linear"), (7, 3, "linear"), (7, None, "log")]
)
def test_is_the_hard_histograms_q0_in_the_limit_of_no_bandwidth(bins, classes, form):
    with jax.enable_x64(True):
        b = batch(dtype=jnp.float64)
        scores = logits(classes=classes, dtype=jnp.float64)
        discriminant = expit(scores) if classes is None else softmax(scores, axis=1)[:, 1]
        expected = numpy_q0(np.asarray(discriminant), b.label, b.weight, bins)
        assert expected > 1.0
        value = -expected if form == "linear" else -math.log(expected)
        objective = AsimovLLR(bins=bins, bandwidth=(1e-7, 1e-7), form=form)
        assert float(evaluate(objective, scores, b)) == pytest.approx(value, rel=1e-9)


@pytest.mark.parametrize(("form", "classes"), [("linear", None), ("log", 3)])
def test_gradient_is_that_of_finite_differences(form, classes):
    objective = AsimovLLR(bins=5, form=form)
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(classes=classes, dtype=jnp.float64)

        def loss(scores, width):
            return objective(scores, b, {"bandwidth": width}, NONE)

        check_grads(
            jax.jit(loss), (scores, jnp.float64(1.5)), order=1, modes=("fwd", "rev"), rtol=1e-5
        )


def test_bandwidth_is_annealed_geometrically_and_scaled_by_the_hyperparameter():
    def loss(width, progress, **hyperparameters):
        given = {"bandwidth": 1.0} | hyperparameters
        values = {name: jnp.float32(value) for name, value in given.items()}
        objective, b = AsimovLLR(bandwidth=width), batch(progress=progress)
        return float(evaluate(objective, logits(), b, values))

    still = {width: loss((width, width), 0.3) for width in (0.08, 0.04, 0.02)}
    assert len(set(still.values())) == 3
    close = partial(pytest.approx, rel=1e-5)
    assert loss((0.08, 0.02), 0.0) == close(still[0.08])
    assert loss((0.08, 0.02), 0.5) == close(still[0.04])
    assert loss((0.08, 0.02), 1.0) == close(still[0.02])
    assert loss((0.08, 0.02), 1.0, bandwidth=2.0) == close(still[0.04])
    assert loss((0.08, 0.02), 1.0, learning_rate=2.0) == close(still[0.02])


AWKWARD = {
    "negative bins": (batch(weight=np.where(np.arange(60) % 2, -1.0, 0.2)), logits()),
    "all weights negative": (batch(weight=-np.ones(60)), logits()),
    "empty bins": (batch(), jnp.where(batch().label == 1, 9.0, -9.0)),
    "all scores equal": (batch(), jnp.zeros(60)),
    "saturated scores": (batch(), jnp.where(jnp.arange(60) % 2, 500.0, -500.0)),
    "no signal": (batch(label=np.zeros(60)), logits()),
    "no background": (batch(label=np.ones(60)), logits()),
    "no weights": (batch(weight=np.zeros(60)), logits()),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("form", ["linear", "log"])
@pytest.mark.parametrize("width", [0.05, 1e-4])
def test_awkward_batches_are_finite_in_value_and_gradient(name, form, width):
    b, scores = AWKWARD[name]
    objective = AsimovLLR(form=form, bandwidth=(width, width))
    value, gradient = value_and_gradient(objective, scores, b)
    assert np.isfinite(value)
    assert np.all(np.isfinite(gradient))
    if name in ("no signal", "no background", "no weights"):
        assert float(value) == (0.0 if form == "linear" else pytest.approx(12 * math.log(10)))
        np.testing.assert_array_equal(gradient, 0.0)


def test_log_form_has_a_gradient_without_luminosity():
    b = batch()
    brighter = batch(weight=1000.0 * b.weight)
    gradient = {
        form: [value_and_gradient(AsimovLLR(form=form), logits(), x)[1] for x in (b, brighter)]
        for form in ("linear", "log")
    }
    np.testing.assert_allclose(*gradient["log"], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(
        1000.0 * gradient["linear"][0], gradient["linear"][1], rtol=1e-3, atol=1e-2
    )


def test_jit_and_vmap_change_nothing():
    b, objective = batch(), AsimovLLR(bins=6)

    def loss(scores, width):
        return objective(scores, b, {"bandwidth": width}, NONE)

    scores = jnp.stack([logits(), 2.0 * logits(), -logits()])
    widths = jnp.array([0.5, 1.0, 2.0])
    compiled = jax.jit(loss)
    one_by_one = [float(compiled(s, w)) for s, w in zip(scores, widths, strict=True)]
    assert len(set(one_by_one)) == 3
    np.testing.assert_allclose(jax.jit(jax.vmap(loss))(scores, widths), one_by_one, rtol=1e-5)
    assert float(loss(scores[0], widths[0])) == pytest.approx(one_by_one[0], rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bins": 1}, "bins=1.*at least 2"),
        ({"bandwidth": (0.1, 0.0)}, r"bandwidth=\(0.1, 0.0\).*positive"),
        ({"form": "sqrt"}, "form='sqrt'.*'linear' or 'log'"),
    ],
)
def test_errors_of_the_ratio_name_value_and_remedy(options, message):
    with pytest.raises(InputError, match=message):
        AsimovLLR(**options)


HARD = {"bandwidth": (1e-7, 1e-7), "form": "linear"}


def counts(edges):
    """Signal and background in hard bins of the awkward batch, by numpy."""
    b = batch(dtype=jnp.float64)
    score, label, weight = (
        expit(np.asarray(logits(), np.float64)),
        *map(np.asarray, (b.label, b.weight)),
    )
    return [np.histogram(score[label == c], edges, weights=weight[label == c])[0] for c in (1, 0)]


def squared_ams(s, b):
    """As the challenge's documentation gives it."""
    return 2 * ((s + b + 10.0) * math.log(1.0 + s / (b + 10.0)) - s)


FIGURES = {
    "s+b": (SOverRootB, {}, lambda s, b: s**2 / (s + b)),
    "b": (SOverRootB, {"noise": "b"}, lambda s, b: s**2 / b),
    "ams": (AMSLoss, {}, squared_ams),
    "asimov": (AsimovLLR, {}, lambda s, b: 2 * ((s + b) * math.log(1 + s / b) - s)),
    "asimov, 20 %": (
        AsimovLLR,
        {"background_uncertainty": 0.2},
        lambda s, b: published(s, b, 0.2 * b),
    ),
    "asimov, 3 events": (
        AsimovLLR,
        {"background_uncertainty": 3.0, "absolute_uncertainty": True},
        lambda s, b: published(s, b, 3.0),
    ),
}


def published(s, b, sigma):
    """Twice the logarithm of the profile likelihood ratio, as in arXiv 1806.00322."""
    first = (s + b) * math.log((s + b) * (b + sigma**2) / (b**2 + (s + b) * sigma**2))
    return 2 * (first - b**2 / sigma**2 * math.log(1 + sigma**2 * s / (b * (b + sigma**2))))


@pytest.mark.parametrize("name", FIGURES)
def test_hard_bins_cut_and_probability_have_the_published_values(name):
    cls, options, figure = FIGURES[name]
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(dtype=jnp.float64)
        for regions, edges in (("bins", np.linspace(0, 1, 4)), ("cut", [0.4, 1.0])):
            s, background = counts(edges)
            assert s.min() > 0.1
            assert background.min() > 0.1
            objective = cls(**HARD, **options, regions=regions, bins=3, cut=0.4)
            value = evaluate(objective, scores, b, NONE, objective.init(jax.random.key(0)))
            expected = sum(map(figure, s.tolist(), background.tolist()))
            assert float(value) == pytest.approx(-expected, rel=1e-9)

        objective = cls(**options, regions="probability")
        weighted = np.asarray(b.weight) * expit(np.asarray(scores))
        s, background = (float(weighted[np.asarray(b.label) == c].sum()) for c in (1, 0))
        value = evaluate(objective, scores, b)
        assert float(value) == pytest.approx(-math.log(figure(s, background)), rel=1e-9)


def test_uncertainties_can_differ_from_bin_to_bin():
    given = (0.05, 0.3, 1.0)
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(dtype=jnp.float64)
        objective = AsimovLLR(**HARD, bins=3, background_uncertainty=list(given))
        s, background = (x.tolist() for x in counts(np.linspace(0, 1, 4)))
        expected = sum(published(x, y, f * y) for x, y, f in zip(s, background, given, strict=True))
        assert float(evaluate(objective, scores, b)) == pytest.approx(-expected, rel=1e-9)


def test_the_cut_is_trained_to_where_a_scan_finds_the_best():
    """Gradient descent on the one parameter, the scores being fixed."""
    # Quantiles, not random numbers: the best cut is then no fluctuation.
    normal = norm.ppf((np.arange(2000) + 0.5) / 2000)
    scores = jnp.asarray(np.concatenate([normal + 1.0, normal - 1.0]), jnp.float32)
    weight = np.repeat([60.0, 2000.0], 2000) / 2000
    b = batch(4000, label=np.repeat([1, 0], 2000), weight=weight)
    objective = AMSLoss(bandwidth=(0.02, 0.02), cut=0.3)
    parameters = objective.init(jax.random.key(0))
    assert parameters["cut"] == pytest.approx(logit(0.3))

    @jax.jit
    def descend(parameters):
        def step(parameters, _):
            slope = jax.grad(objective, argnums=3)(scores, b, NONE, parameters)
            return jax.tree.map(lambda p, g: p - 0.3 * g, parameters, slope), None

        return jax.lax.scan(step, parameters, length=300)[0]

    found = expit(float(descend(parameters)["cut"]))
    score, signal = expit(np.asarray(scores, np.float64)), np.arange(4000) < 2000

    def ams(cut):
        passed = score > cut
        return squared_ams(weight[passed & signal].sum(), weight[passed & ~signal].sum())

    assert ams(found) > 0.98 * max(map(ams, np.linspace(0.01, 0.99, 197)))
    assert ams(found) > 1.2 * ams(0.3)
    fixed = AMSLoss(bandwidth=(0.02, 0.02), cut=0.3, train_cut=False)
    assert fixed.init(jax.random.key(0)) == {}
    value = evaluate(objective, scores, b, NONE, parameters)
    assert float(evaluate(fixed, scores, b)) == pytest.approx(float(value), rel=1e-5)


@pytest.mark.parametrize("absolute", [False, True])
def test_an_uncertain_background_above_a_cut_is_the_fit_of_pyhf(absolute):
    """One bin with a shapesys, whose strength and background are fitted."""
    with jax.enable_x64(True):
        (s,), (background,) = counts([0.6, 1.0])
    size = 2.0 if absolute else 0.3
    sigma = size if absolute else size * background
    model = pyhf.simplemodels.uncorrelated_background([s], [background], [sigma])
    start = model.config.suggested_init()
    bounds, fixed = model.config.suggested_bounds(), model.config.suggested_fixed()
    data = model.expected_data(start)
    q0 = pyhf.infer.test_statistics.q0(0.0, data, model, start, bounds, fixed)
    assert float(q0) > 1.0
    with jax.enable_x64(True):
        objective = AsimovLLR(
            **HARD,
            regions="cut",
            cut=0.6,
            train_cut=False,
            background_uncertainty=size,
            absolute_uncertainty=absolute,
        )
        value = evaluate(objective, logits(dtype=jnp.float64), batch(dtype=jnp.float64))
    assert float(value) == pytest.approx(-float(q0), rel=1e-4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AMSLoss(regularisation=0.0), r"AMSLoss\(regularisation=0.0\) must be positive"),
        (lambda: AMSLoss(cut=1.0), r"AMSLoss\(cut=1.0\).*between 0 and 1"),
        (lambda: SOverRootB(noise="s"), r"SOverRootB\(noise='s'\): choose 's\+b' or 'b'"),
        (lambda: SOverRootB(regions="cuts"), r"regions='cuts'\): choose 'bins', 'cut' or 'prob"),
        (lambda: AsimovLLR(background_uncertainty=-0.1), r"background_uncertainty=-0.1.*negative"),
        (lambda: AsimovLLR(bins=3, background_uncertainty=(0.1, 0.2)), "each of the 3 regions"),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()

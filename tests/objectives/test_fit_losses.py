"""Losses through the fit: values by pyhf, slopes by finite differences, awkward batches."""

from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest
from scipy.special import expit

from difftune.histfactory import build_workspace
from difftune.histograms import Template, Templates, histogram, symmetrised
from difftune.objectives import ExpectedCLs, Variation, Varied
from tests.objectives.fits import (
    BINS,
    EVENTS,
    HARD,
    MODEL,
    PROCESSES,
    SMALL,
    UNCERTAINTIES,
    model_of,
    sample,
    taken_apart,
    values_and_slopes,
)
from tests.objectives.samples import NONE


def workspace(scores, b, *others: Templates) -> dict:
    """The same by hard histograms and `build_workspace`, with other channels."""
    edges = np.linspace(0, 1, BINS + 1)

    def filled(index, scores, weight):
        mine = np.asarray(b.process) == index
        return histogram(expit(np.asarray(scores))[mine], np.asarray(weight)[mine], edges)

    templates = {}
    for index, process in enumerate(PROCESSES):
        nominal = filled(index, scores, b.weight)
        scale = b.variations["scale"]
        pair = tuple(filled(index, each.scores, each.weight) for each in (scale.up, scale.down))
        tune = filled(index, scores, b.variations["tune"].up.weight)
        pairs = {"scale": pair, "tune": (tune, symmetrised(nominal, tune))}
        templates[process.name] = Template(nominal, pairs)
    return build_workspace(
        [
            Templates(channel="region", edges=edges, processes=templates, signal=("signal",)),
            *others,
        ],
        poi_bounds=(0.0, 10.0),
        **UNCERTAINTIES,
    )


def uncertainties(model: pyhf.Model, data: np.ndarray, point: np.ndarray) -> np.ndarray:
    """Covariance from central differences of pyhf's log-likelihood."""
    free = ~np.asarray(model.config.suggested_fixed())
    step = 1e-3 * np.eye(len(point))[free]

    def nll(values):
        return -model.logpdf(values.tolist(), data.tolist())[0]

    hessian = [
        [nll(point + a + b) - nll(point + a - b) - nll(point - a + b) + nll(point - a - b)]
        for a in step
        for b in step
    ]
    result = np.zeros((len(point), len(point)))
    size = np.sqrt(len(hessian)).astype(int)
    inverse = np.linalg.inv(np.reshape(hessian, (size, size)) / 4e-6)
    result[np.ix_(free, free)] = inverse
    return result


@pytest.fixture(scope="module")
def measured():
    """Our numbers in the limit of no bandwidth, and the workspace that pyhf gets."""
    with jax.enable_x64(True):
        scores, b = sample()
        values, _ = values_and_slopes(taken_apart(scores, b, HARD), b)
        filled = model_of(MODEL, scores, b, jnp.asarray(HARD))
    spec = workspace(scores, b)
    theirs = pyhf.Workspace(spec).model()
    point = np.asarray(theirs.config.suggested_init())
    asimov = {}
    for strength in (0.0, 1.0):
        point[theirs.config.poi_index] = strength
        asimov[strength] = np.asarray(theirs.expected_data(point.tolist()))
    return SimpleNamespace(values=values, filled=filled, pyhf=theirs, asimov=asimov, point=point)


@pytest.mark.slow
def test_the_likelihood_is_that_of_the_workspace_of_hard_histograms(measured):
    assert measured.filled.config.par_names == measured.pyhf.config.par_names
    rng = np.random.default_rng(2)
    for _ in range(3):
        point = measured.point + 0.3 * rng.normal(size=len(measured.point))
        data = measured.asimov[1.0] * rng.uniform(0.9, 1.1, len(measured.asimov[1.0]))
        theirs = measured.pyhf.logpdf(point.tolist(), data.tolist())[0]
        np.testing.assert_allclose(measured.filled.logpdf(point, data), theirs, rtol=1e-10)


@pytest.mark.slow
def test_cls_is_pyhfs(measured, minuit):
    data = measured.asimov[0.0].tolist()
    cls = pyhf.infer.hypotest(1.0, data, measured.pyhf, return_expected=True)[1]
    assert 0.001 < cls < 0.5
    assert np.exp(measured.values["CLs"]) == pytest.approx(float(cls), abs=1e-6)


@pytest.mark.slow
def test_q0_is_pyhfs(measured, minuit):
    config, data = measured.pyhf.config, measured.asimov[1.0].tolist()
    start, bounds, fixed = (
        config.suggested_init(),
        config.suggested_bounds(),
        config.suggested_fixed(),
    )
    q0 = pyhf.infer.test_statistics.q0(0.0, data, measured.pyhf, start, bounds, fixed)
    assert np.exp(-measured.values["q0"]) == pytest.approx(float(q0), rel=1e-5)


@pytest.mark.slow
def test_limit_is_pyhfs(measured, minuit):
    data = measured.asimov[0.0].tolist()
    limit = np.exp(measured.values["limit"])

    def cls(mu):
        return float(pyhf.infer.hypotest(mu, data, measured.pyhf, return_expected=True)[1])

    slope = (cls(1.01 * limit) - cls(0.99 * limit)) / (0.02 * limit)
    assert abs(cls(limit) - 0.05) < 1e-5 * limit * abs(slope) + 1e-6


@pytest.mark.slow
def test_uncertainties_are_the_inverse_of_pyhfs_second_derivatives(measured):
    covariance = uncertainties(measured.pyhf, measured.asimov[1.0], measured.point)
    names = measured.pyhf.config.par_names
    mu = names.index("mu")
    sigma = np.sqrt(covariance[mu, mu])
    assert np.exp(measured.values["uncertainty"]) == pytest.approx(sigma, rel=1e-4)
    chosen = [names.index(name) for name in ("mu", "scale", "norm_ttbar")]
    log_det = np.linalg.slogdet(covariance[np.ix_(chosen, chosen)])[1]
    assert measured.values["information"] == pytest.approx(log_det, rel=1e-4)


@pytest.mark.slow
def test_robustness_is_a_ratio_of_uncertainties_of_pyhf(measured):
    covariance = uncertainties(measured.pyhf, measured.asimov[1.0], measured.point)
    names = np.array(measured.pyhf.config.par_names)
    free = np.flatnonzero(np.diag(covariance))
    information, names = np.linalg.inv(covariance[np.ix_(free, free)]), names[free]
    for name, left in (
        ("robustness", ~np.isin(names, ["scale", "tune"])),
        ("robustness to all", names == "mu"),
    ):
        place = list(names[left]).index("mu")
        variance = np.linalg.inv(information[np.ix_(left, left)])[place, place]
        mu = names == "mu"
        expected = np.sqrt(variance / covariance[np.ix_(free, free)][mu, mu][0])
        assert expected < 0.95
        assert np.exp(-measured.values[name]) == pytest.approx(expected, rel=1e-4)


def test_slopes_are_those_of_finite_differences():
    with jax.enable_x64(True):
        scores, b = sample()
        rng, columns, h = np.random.default_rng(5), taken_apart(scores, b), 1e-3
        along = tuple(jnp.asarray(rng.normal(size=np.shape(each))) for each in columns)

        def at(step):
            moved = tuple(c + step * a for c, a in zip(columns, along, strict=True))
            return sum(values_and_slopes(moved, b)[0].values())

        slopes = values_and_slopes(columns, b)[1]
        numeric = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
        assert abs(numeric) > 0.01
        ours = sum(jnp.vdot(s, a) for s, a in zip(slopes, along, strict=True))
        np.testing.assert_allclose(ours, numeric, rtol=1e-6)


@pytest.mark.slow
def test_slopes_forwards_are_those_backwards():
    """Of a loss with a fit. Across the border to float64 both are one product by construction."""
    with jax.enable_x64(True):
        scores, b = sample()
        along = jnp.cos(jnp.arange(EVENTS, dtype=scores.dtype))

        def loss(scores):
            return ExpectedCLs(model=SMALL)(scores, b, NONE, NONE)

        @jax.jit
        def both(scores):
            return jax.jvp(loss, (scores,), (along,))[1], jax.grad(loss)(scores) @ along

        forwards, backwards = both(scores)
        assert abs(backwards) > 0.01
        np.testing.assert_allclose(forwards, backwards, rtol=1e-10)


def awkward() -> dict:
    scores, b = sample()
    odd = jnp.arange(EVENTS) % 2
    varied = b.variations["tune"]
    return {
        "negative bins": (scores, replace(b, weight=jnp.where(odd, -1.0, 0.2))),
        "no weights": (scores, replace(b, weight=0 * b.weight)),
        "no signal": (scores, replace(b, weight=b.weight * (b.process != 1))),
        "no background": (scores, replace(b, weight=b.weight * (b.process == 1))),
        "empty bins": (jnp.where(b.process == 1, 9.0, -9.0), b),
        "all scores equal": (0 * scores, b),
        "saturated scores": (500 * (odd - 0.5), b),
        "nothing varied is left": (
            scores,
            replace(
                b,
                variations=b.variations | {"tune": replace(varied, up=Varied(weight=0 * b.weight))},
            ),
        ),
    }


@pytest.mark.parametrize("width", [0.5, HARD])
def test_awkward_batches_are_finite_in_value_and_slope(width):
    with jax.enable_x64(True):
        for name, (scores, b) in awkward().items():
            # Without this `jnp.where` of plain numbers has a type of its own, and its own program.
            scores, b = jax.tree.map(
                lambda a: jax.lax.convert_element_type(a, a.dtype), (scores, b)
            )
            values, slopes = values_and_slopes(taken_apart(scores, b, width), b)
            for loss, value in values.items():
                assert np.isfinite(value), (name, loss)
            for slope in slopes:
                assert np.isfinite(slope).all(), name


def test_nan_does_not_pass_unseen():
    with jax.enable_x64(True):
        scores, b = sample()
        tune = Variation(up=Varied(weight=b.weight.at[3].set(jnp.nan)))
        broken = replace(b, variations=b.variations | {"tune": tune})
        for columns, there in (
            (taken_apart(scores.at[3].set(jnp.nan), b), b),
            (taken_apart(scores, broken), broken),
        ):
            values, _ = values_and_slopes(columns, there)
            assert not np.isfinite(list(values.values())).any()

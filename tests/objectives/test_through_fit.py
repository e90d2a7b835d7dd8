"""Losses through the fit: values by pyhf, slopes by finite differences, and what they teach."""

import functools
from dataclasses import replace
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pyhf
import pytest
from scipy.special import expit

from difftune.data import Process
from difftune.errors import InputError
from difftune.histfactory import (
    FreeNormalisation,
    Luminosity,
    Model,
    NormalisationUncertainty,
    build_workspace,
)
from difftune.histograms import Template, Templates, histogram, symmetrised
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
HARD = 1e-6
LOSSES = {
    "CLs": ExpectedCLs(model=MODEL, mu=1.0),
    "q0": DiscoverySignificance(model=MODEL),
    "uncertainty": PoiUncertainty(model=MODEL),
    "limit": ExpectedLimit(model=MODEL, rounds=5),
    "information": FisherInformation(model=MODEL, parameters=("mu", "scale", "norm_ttbar")),
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


def workspace(scores, b) -> dict:
    """The same by hard histograms and `build_workspace`."""
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
        [Templates(channel="region", edges=edges, processes=templates, signal=("signal",))],
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


@pytest.fixture
def minuit():
    pyhf.set_backend("numpy", pyhf.optimize.minuit_optimizer(tolerance=1e-4))
    yield
    pyhf.set_backend("numpy", "scipy")


def test_the_likelihood_is_that_of_the_workspace_of_hard_histograms(measured):
    assert measured.filled.config.par_names == measured.pyhf.config.par_names
    rng = np.random.default_rng(2)
    for _ in range(3):
        point = measured.point + 0.3 * rng.normal(size=len(measured.point))
        data = measured.asimov[1.0] * rng.uniform(0.9, 1.1, len(measured.asimov[1.0]))
        theirs = measured.pyhf.logpdf(point.tolist(), data.tolist())[0]
        np.testing.assert_allclose(measured.filled.logpdf(point, data), theirs, rtol=1e-10)


def test_cls_is_pyhfs(measured, minuit):
    data = measured.asimov[0.0].tolist()
    cls = pyhf.infer.hypotest(1.0, data, measured.pyhf, return_expected=True)[1]
    assert 0.001 < cls < 0.5
    assert np.exp(measured.values["CLs"]) == pytest.approx(float(cls), abs=1e-6)


def test_q0_is_pyhfs(measured, minuit):
    config, data = measured.pyhf.config, measured.asimov[1.0].tolist()
    start, bounds, fixed = (
        config.suggested_init(),
        config.suggested_bounds(),
        config.suggested_fixed(),
    )
    q0 = pyhf.infer.test_statistics.q0(0.0, data, measured.pyhf, start, bounds, fixed)
    assert np.exp(-measured.values["q0"]) == pytest.approx(float(q0), rel=1e-5)


def test_limit_is_pyhfs(measured, minuit):
    data = measured.asimov[0.0].tolist()
    limit = np.exp(measured.values["limit"])

    def cls(mu):
        return float(pyhf.infer.hypotest(mu, data, measured.pyhf, return_expected=True)[1])

    slope = (cls(1.01 * limit) - cls(0.99 * limit)) / (0.02 * limit)
    assert abs(cls(limit) - 0.05) < 1e-5 * limit * abs(slope) + 1e-6


def test_uncertainties_are_the_inverse_of_pyhfs_second_derivatives(measured):
    covariance = uncertainties(measured.pyhf, measured.asimov[1.0], measured.point)
    names = measured.pyhf.config.par_names
    mu = names.index("mu")
    sigma = np.sqrt(covariance[mu, mu])
    assert np.exp(measured.values["uncertainty"]) == pytest.approx(sigma, rel=1e-4)
    chosen = [names.index(name) for name in ("mu", "scale", "norm_ttbar")]
    log_det = np.linalg.slogdet(covariance[np.ix_(chosen, chosen)])[1]
    assert measured.values["information"] == pytest.approx(log_det, rel=1e-4)


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


def test_slopes_forwards_are_those_backwards():
    """Of a loss with a fit. Across the border to float64 both are one product by construction."""
    with jax.enable_x64(True):
        scores, b = sample()
        along = jnp.cos(jnp.arange(EVENTS, dtype=scores.dtype))

        def loss(scores):
            return LOSSES["CLs"](scores, b, NONE, NONE)

        @jax.jit
        def both(scores):
            return jax.jvp(loss, (scores,), (along,))[1], jax.grad(loss)(scores) @ along

        forwards, backwards = both(scores)
        assert abs(backwards) > 0.01
        np.testing.assert_allclose(forwards, backwards, rtol=1e-10)


def test_in_a_float32_program_value_and_slope_are_those_of_float64():
    """Side by side, one after the other, in a loop: JAX is set to float32 all the while."""
    objective = LOSSES["uncertainty"]

    def loss(scores, b):
        return objective(scores, b, NONE, NONE)

    with jax.enable_x64(True):
        exact = jax.jit(jax.value_and_grad(loss))(*sample())
    scores, b = sample(jnp.float32)
    members = jnp.stack([scores, 1.2 * scores, -scores])

    def descend(scores, _):
        value, slope = jax.value_and_grad(loss)(scores, b)
        return scores - slope, (value, slope)

    def trained(scores, runs):
        """As the training has it: a loop, unless a member has stopped."""

        def stopped(scores):
            nothing = jnp.zeros(2), jnp.zeros((2, EVENTS))
            return scores, nothing

        return jax.lax.cond(
            runs, lambda s: jax.lax.scan(descend, s, None, length=2), stopped, scores
        )

    running = jnp.ones(len(members), bool)
    ended, (value, slope) = jax.jit(jax.vmap(trained))(members, running)
    assert {ended.dtype, value.dtype, slope.dtype} == {jnp.dtype("float32")}
    assert jnp.zeros(()).dtype == jnp.float32
    np.testing.assert_allclose(value[0, 0], exact[0], rtol=1e-6)
    scale = np.abs(exact[1]).max()
    np.testing.assert_allclose(slope[0, 0], exact[1], atol=1e-5 * scale)
    assert (value[:, 1] < value[:, 0]).all()
    _, (one_by_one, slopes) = jax.jit(lambda *all_: jax.lax.map(lambda one: trained(*one), all_))(
        members, running
    )
    np.testing.assert_allclose(value, one_by_one, rtol=1e-5)
    np.testing.assert_allclose(slope, slopes, rtol=1e-3, atol=1e-4 * scale)


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


def events(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Signal and background of neos' four blobs, unit Gaussians in a plane."""
    rng = np.random.default_rng(seed)
    centers = np.repeat([[1.0, -1.0], [-1.0, 1.0]], count, axis=0)
    x = rng.normal(centers).astype(np.float32)
    return x, np.repeat([0, 1], count)


def blobs(x, label, progress) -> Batch:
    """A batch: 20 signal and 100 background events expected; the background may be elsewhere."""
    up, down = (
        Varied(features=x + (1 - label[:, None]) * np.float32(shift))
        for shift in ([1.5, 3.0], [-3.5, -0.5])
    )
    weight = np.where(label == 1, 20.0, 100.0).astype(np.float32) / (len(label) // 2)
    return Batch(
        features=x,
        process=label,
        label=label,
        weight=weight,
        training_weight=np.ones_like(weight),
        signal_process=np.array([0.0, 1.0], np.float32),
        progress=progress,
        variations={"place": Variation(up=up, down=down)},
    )


def network(weights, features):
    hidden = features
    for w, b in weights[:-1]:
        hidden = jnp.tanh(hidden @ w + b)
    return (hidden @ weights[-1][0] + weights[-1][1])[:, 0]


def train(objective, *, steps=150, size=500):
    """A small network in plain JAX: a loop of Adam's steps."""
    x, label = events(steps * size, 1)
    shape = (2, steps, size)
    xs = jnp.asarray(x.reshape(*shape, 2)).swapaxes(0, 1).reshape(steps, 2 * size, 2)
    label = np.repeat([0, 1], size)
    keys = jax.random.split(jax.random.key(4), 3)
    sizes = [(2, 12), (12, 12), (12, 1)]
    weights = [
        (jax.random.normal(key, shape) * shape[0] ** -0.5, jnp.zeros(shape[1]))
        for key, shape in zip(keys, sizes, strict=True)
    ]
    optimizer = optax.adam(0.015)

    def step(carry, now):
        weights, state = carry
        x, progress = now

        def loss(weights):
            b = blobs(x, label, progress)
            b = b.scored([network(weights, features) for features in b.varied_features])
            return objective(network(weights, x), b, NONE, NONE)

        updates, state = optimizer.update(jax.grad(loss)(weights), state)
        return (optax.apply_updates(weights, updates), state), None

    begin = weights, optimizer.init(weights)
    progress = jnp.arange(steps) / steps
    return jax.jit(lambda c: jax.lax.scan(step, c, (xs, progress))[0])(begin)[0]


def median_cls(weights) -> float:
    """By pyhf, in four hard bins of events of its own."""
    x, label = events(50_000, 77)
    b = blobs(x, label, np.asarray(1.0, np.float32))
    edges = np.linspace(0, 1, 5)

    def filled(features, cls):
        score = np.asarray(jax.nn.sigmoid(network(weights, features)), float)
        return histogram(score[label == cls], b.weight[label == cls], edges)

    place = b.variations["place"]
    pair = filled(place.up.features, 0), filled(place.down.features, 0)
    templates = {
        "background": Template(filled(x, 0), {"place": pair}),
        "signal": Template(filled(x, 1)),
    }
    region = Templates(channel="region", edges=edges, processes=templates, signal=("signal",))
    model = pyhf.Workspace(build_workspace([region], mc_statistics=False)).model()
    point = model.config.suggested_init()
    point[model.config.poi_index] = 0.0
    data = model.expected_data(point).tolist()
    return float(pyhf.infer.hypotest(1.0, data, model, return_expected=True)[1])


def test_a_network_learns_what_cross_entropy_cannot(minuit):
    """neos' demonstration (arXiv 2203.05570) ends at a CLs of about 1e-6."""
    model = FitModel(bins=4, bandwidth=(0.2, 0.03), mc_statistics=False)
    plain, through = (train(each) for each in (CrossEntropy(), ExpectedCLs(model=model)))
    assert {leaf.dtype for leaf in jax.tree.leaves(through)} == {jnp.dtype("float32")}
    without, found = median_cls(plain), median_cls(through)
    assert found < 2e-6
    assert found < without / 3


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

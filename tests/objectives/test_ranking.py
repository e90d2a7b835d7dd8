"""Metrics and losses of the order of the scores."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit, softmax
from sklearn.metrics import roc_auc_score, roc_curve

from difftune.errors import InputError
from difftune.objectives import AUC, AUCLoss, CutAMS, CutSignificance, Separation, Significance
from difftune.objectives.binned import equal_share_edges
from tests.objectives.samples import NONE, batch, evaluate, logits, value_and_gradient

METRICS = {
    "significance": Significance(bins=4),
    "separation": Separation(bins=4),
    "area": AUC(),
    "cut": CutSignificance(),
    "cut with uncertainty": CutSignificance(background_uncertainty=0.2),
    "ams": CutAMS(),
}
EACH = pytest.mark.parametrize("name", METRICS)
POSITIVE = np.random.default_rng(2).uniform(0.1, 3.0, 300)


def columns(b):
    return (np.asarray(x, np.float64) for x in (b.weight, b.label))


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("classes", [None, 3])
def test_area_is_that_of_sklearn(ties, classes):
    b, scores = batch(300, weight=POSITIVE), logits(300, classes)
    scores = jnp.round(2 * scores) if ties else scores
    exact = np.asarray(scores, np.float64)
    score = expit(exact) if classes is None else softmax(exact, axis=1)[:, 1].round(9)
    expected = roc_auc_score(b.label, score, sample_weight=np.asarray(b.weight))
    if ties and classes:
        # Differences of logarithms of sums: what is a tie is so to rounding only.
        assert float(evaluate(AUC(), scores, b)) == pytest.approx(expected, abs=0.02)
    else:
        assert float(evaluate(AUC(), scores, b)) == pytest.approx(expected, rel=1e-5)


def test_area_of_negative_weights_counts_pairs():
    b, scores = batch(300), jnp.round(4 * logits(300))
    weight, label = columns(b)
    assert weight.min() < 0
    d = np.asarray(scores)[:, None] - np.asarray(scores)[None, :]
    s, background = weight * label, weight * (1 - label)
    expected = s @ ((d > 0) + 0.5 * (d == 0)) @ background / (s.sum() * background.sum())
    assert float(evaluate(AUC(), scores, b)) == pytest.approx(expected, rel=1e-5)


def scan(b, scores, figure, least):
    """Over all distinct scores, one by one."""
    weight, label = columns(b)
    values = []
    for cut in np.unique(scores):
        above = scores >= cut
        s, background = ((weight * above)[label == c].sum() for c in (1, 0))
        if s >= least * weight[label == 1].sum() and s > 0:
            values.append(figure(s, background))
    return max(values)


def asimov(s, b):
    return np.sqrt(2 * ((s + b) * np.log(1 + s / b) - s)) if b > 0 else 0.0


def uncertain(s, b):
    v = (0.2 * b) ** 2
    first = (s + b) * np.log((s + b) * (b + v) / (b**2 + (s + b) * v))
    return np.sqrt(2 * (first - b**2 / v * np.log(1 + v * s / (b * (b + v))))) if b > 0 else 0.0


def ams(s, b):
    b = max(b, 0.0) + 10.0
    return np.sqrt(2 * ((s + b) * np.log(1 + s / b) - s))


@pytest.mark.parametrize(
    ("metric", "figure", "least"),
    [
        (CutSignificance(), asimov, 0.25),
        (CutSignificance(min_signal_efficiency=0.0), asimov, 0.0),
        (CutSignificance(min_signal_efficiency=0.9), asimov, 0.9),
        (CutSignificance(background_uncertainty=0.2), uncertain, 0.25),
        (CutAMS(), ams, 0.0),
        (CutAMS(min_signal_efficiency=0.5), ams, 0.5),
    ],
)
@pytest.mark.parametrize("ties", [False, True])
def test_best_cut_is_that_of_a_loop_over_cuts(metric, figure, least, ties):
    b, scores = batch(300), logits(300) + 0.8 * batch(300).label
    scores = jnp.round(2 * scores) if ties else scores
    expected = scan(b, np.asarray(scores), figure, least)
    assert float(evaluate(metric, scores, b)) == pytest.approx(expected, rel=1e-4)


def test_the_least_efficiency_keeps_the_cut_from_a_fluctuation():
    """One signal event above all background, and next to no background there."""
    scores = logits(300).at[1].set(9.0).at[0].set(8.0)
    weight = np.where(batch(300).label == 1, 0.05, 1.0)
    weight[:2] = 0.001, 1.0
    b = batch(300, weight=weight)
    loose, tight = (
        float(evaluate(CutSignificance(min_signal_efficiency=e), scores, b)) for e in (0.0, 0.25)
    )
    assert asimov(1.0, 0.001) - 0.01 < loose < 4.0
    assert 0.1 < tight < 1.0


def test_separation_is_that_of_numpys_histogram():
    b, scores = batch(300, weight=POSITIVE), logits(300) + batch(300).label
    weight, label = columns(b)
    edges = np.asarray(equal_share_edges(jax.nn.sigmoid(scores), b.training_weight, bins=10))
    score = np.asarray(jax.nn.sigmoid(scores))
    s, background = (
        np.histogram(score[label == c], edges, weights=weight[label == c])[0] for c in (1, 0)
    )
    s, background = s / s.sum(), background / background.sum()
    expected = 0.5 * np.sum((s - background) ** 2 / (s + background))
    assert float(evaluate(Separation(), scores, b)) == pytest.approx(expected, rel=1e-5)


def weighted(weight, **replaced):
    return batch(weight=weight, training_weight=weight, **replaced)


AWKWARD = {
    "negative": (weighted(-np.ones(60)), logits()),
    "alternating": (weighted(np.where(np.arange(60) % 2, -1.0, 0.2)), logits()),
    "nothing": (weighted(np.zeros(60)), logits()),
    "tiny": (weighted(1e-30 * np.ones(60)), logits()),
    "no signal": (batch(label=np.zeros(60)), logits()),
    "no background": (batch(label=np.ones(60)), logits()),
    "equal": (batch(), jnp.zeros(60)),
    "saturated": (batch(), jnp.where(jnp.arange(60) % 2, 500.0, -500.0)),
    "apart": (batch(), jnp.where(batch().label == 1, 9.0, -9.0)),
}


@EACH
def test_awkward_batches_give_numbers(name):
    for case, (b, scores) in AWKWARD.items():
        value = float(evaluate(METRICS[name], scores, b))
        assert np.isfinite(value), case
        if case in ("nothing", "no signal"):
            assert value == (0.5 if name == "area" else 0.0), case
        if case == "apart" and name == "area":
            assert value == pytest.approx(1.0)


@EACH
def test_members_side_by_side_are_the_loop(name):
    b, scores = batch(300), jnp.stack([logits(300), -logits(300), logits(300) ** 2])
    one_by_one = [float(evaluate(METRICS[name], s, b)) for s in scores]
    assert len(set(one_by_one)) == 3
    together = jax.jit(jax.vmap(lambda s: METRICS[name](s, b, NONE, NONE)))(scores)
    np.testing.assert_allclose(together, one_by_one, rtol=1e-5)


@EACH
def test_only_the_order_of_the_scores_counts_and_nan_stays_visible(name):
    b, scores = batch(300), logits(300)
    plain, stretched = (float(evaluate(METRICS[name], s, b)) for s in (scores, 3 * scores + 1))
    assert plain == pytest.approx(stretched, rel=1e-5)
    assert np.isnan(evaluate(METRICS[name], scores.at[3].set(np.nan), b))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CutAMS(regularisation=-1.0), r"CutAMS\(regularisation=-1.0\) must be positive"),
        (lambda: CutAMS(min_signal_efficiency=25.0), r"CutAMS\(min_signal_efficiency=25.0\).*0 to"),
        (lambda: CutSignificance(background_uncertainty=-0.1), "uncertainty is not negative"),
        (lambda: Separation(bins=0), r"Separation\(bins=0\): at least 1"),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_a_random_score_has_the_roc_curve_of_sklearn_at_any_place():
    """The yields above the cuts are those of sklearn's curve."""
    from difftune.objectives.ranking import passed

    b, scores = batch(300, weight=POSITIVE), jnp.round(2 * logits(300))
    cuts = passed(scores, b)
    background, signal, _ = roc_curve(
        b.label, scores, sample_weight=np.asarray(b.weight), drop_intermediate=False
    )
    kept = np.asarray(cuts.distinct)
    for ours, theirs in ((cuts.signal, signal), (cuts.background, background)):
        np.testing.assert_allclose(ours[kept] / ours[-1], theirs[1:], rtol=1e-5, atol=1e-7)


AREA_WEIGHT = np.random.default_rng(2).uniform(0.1, 3.0, 60)


ANNEALED = AUCLoss(temperature=(2.0, 0.5))


def all_pairs(x, signal, background):
    """The definition, by the matrix of all pairs."""
    d = x[None, :] - x[:, None]
    wrong = np.where(d < 0, 0.5 * np.exp(-np.abs(d)), 1 - 0.5 * np.exp(-np.abs(d)))
    return signal @ wrong @ background / (signal.sum() * background.sum())


def split(b):
    label, weight = np.asarray(b.label), np.asarray(b.training_weight)
    return weight * label, weight * (1 - label)


@pytest.mark.parametrize("ties", [False, True])
def test_is_the_weighted_area_of_sklearn_in_the_limit_of_no_temperature(ties):
    with jax.enable_x64(True):
        b = batch(dtype=jnp.float64, training_weight=AREA_WEIGHT)
        scores = logits(dtype=jnp.float64) + b.label
        if ties:
            scores = jnp.round(scores)
            assert len(set(scores.tolist())) < 8
        expected = 1 - roc_auc_score(b.label, scores, sample_weight=AREA_WEIGHT)
        objective = AUCLoss(temperature=(1e-9, 1e-9))
        assert float(evaluate(objective, scores, b)) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("temperature", [0.03, 0.5, 20.0])
@pytest.mark.parametrize("ties", [False, True])
def test_is_the_sum_over_all_pairs_with_its_gradient(temperature, ties):
    """Of weights of both signs."""
    with jax.enable_x64(True):
        b, scores = batch(dtype=jnp.float64), logits(dtype=jnp.float64)
        scores = jnp.round(2 * scores) / 2 if ties else scores
        value, gradient = value_and_gradient(
            AUCLoss(temperature=(temperature, temperature)), scores, b
        )
    x, (s, w) = np.asarray(scores) / temperature, split(b)
    assert w.min() < 0
    assert float(value) == pytest.approx(all_pairs(x, s, w), rel=1e-12)
    # The kernel's density is exp(-|d|) / 2: what a pair pulls its two events together or apart by.
    pull = 0.5 * np.exp(-np.abs(x[None, :] - x[:, None])) / (s.sum() * w.sum() * temperature)
    expected = w * (s @ pull) - s * (pull @ w)
    np.testing.assert_allclose(gradient, expected, rtol=1e-9, atol=1e-13)


def test_float32_is_enough_for_a_large_batch():
    rng = np.random.default_rng(4)
    label = rng.integers(0, 2, 2000)
    x = rng.normal(size=2000) + label
    weight = rng.uniform(0.1, 2.0, 2000)
    b = batch(2000, label=label, training_weight=weight)
    value = evaluate(AUCLoss(temperature=(0.5, 0.5)), jnp.asarray(x, jnp.float32), b)
    expected = all_pairs(2 * x, weight * label, weight * (1 - label))
    assert float(value) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(
    ("progress", "factor", "expected"), [(0.0, 1.0, 2.0), (0.5, 1.0, 1.0), (1.0, 3.0, 1.5)]
)
def test_temperature_is_annealed_and_scaled_by_the_hyperparameter(progress, factor, expected):
    values = {"temperature": jnp.float32(factor)}
    value = evaluate(ANNEALED, logits(), batch(progress=progress), values)
    pairs = all_pairs(np.asarray(logits(), float) / expected, *split(batch()))
    assert float(value) == pytest.approx(pairs, rel=1e-5)


def test_of_a_multi_class_network_the_signal_probability_counts():
    b, scores = batch(), logits(classes=3)
    background = jnp.logaddexp(scores[:, 0], scores[:, 2])
    expected = evaluate(AUCLoss(), scores[:, 1] - background, b)
    assert float(evaluate(AUCLoss(), scores, b)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_alone_is_one_half(label):
    value, gradient = value_and_gradient(AUCLoss(), logits(), batch(label=np.full(60, label)))
    assert float(value) == 0.5
    np.testing.assert_array_equal(gradient, 0.0)


def test_nan_stays_visible():
    assert np.isnan(evaluate(AUCLoss(), logits().at[3].set(jnp.nan), batch()))


def test_errors_of_the_area_name_value_and_remedy():
    with pytest.raises(InputError, match=r"AUCLoss\(temperature=\(1.0, 0.0\)\).*positive"):
        AUCLoss(temperature=(1.0, 0.0))

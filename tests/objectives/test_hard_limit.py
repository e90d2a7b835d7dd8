"""The limit of no smearing, that the training records beside the loss."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import roc_auc_score

from difftune.errors import InputError
from difftune.objectives import (
    AsimovLLR,
    AUCLoss,
    CrossEntropy,
    FitModel,
    PoiUncertainty,
    SeparationLoss,
)
from tests.objectives.samples import batch, evaluate, logits


def binned(scores, b, bins):
    """Background and signal in hard bins, by numpy."""
    score, edges = expit(np.asarray(scores)), np.linspace(0, 1, bins + 1)
    return [
        np.histogram(score[b.label == c], edges, weights=np.asarray(b.weight)[b.label == c])[0]
        for c in (0, 1)
    ]


@pytest.mark.parametrize("kernel", ["logistic", "softmax"])
def test_asimov_is_that_of_numpys_histogram(kernel):
    scores, b = logits(), batch(weight=np.linspace(0.5, 2.0, 60))
    soft = AsimovLLR(bins=4, form="linear", bandwidth=(0.1, 0.1), kernel=kernel)
    background, signal = binned(scores, b, 4)
    full = (signal > 0) & (background > 0)
    s, n = signal[full], background[full]
    q0 = 2 * np.sum((s + n) * np.log1p(s / n) - s)
    assert float(evaluate(soft.hard_limit(), scores, b)) == pytest.approx(-q0, rel=1e-5)
    assert float(evaluate(soft, scores, b)) != pytest.approx(-q0, rel=1e-2)
    through = AsimovLLR(bins=4, form="linear", bandwidth=(0.1, 0.1), straight_through=True)
    assert float(evaluate(through, scores, b)) == pytest.approx(-q0, rel=1e-5)


def test_area_is_that_of_scikit_learn():
    scores, b = logits(), batch(training_weight=np.linspace(0.5, 2.0, 60))
    area = roc_auc_score(b.label, scores, sample_weight=b.training_weight)
    hard = AUCLoss(temperature=(1.0, 1.0)).hard_limit()
    assert float(evaluate(hard, scores, b)) == pytest.approx(1 - area, rel=1e-5)


def test_terms_of_a_sum_are_hard_and_what_smears_nothing_stays():
    assert CrossEntropy().hard_limit() == CrossEntropy()
    term = SeparationLoss(bins=4)
    both = CrossEntropy() + 0.5 * term
    assert both.hard_limit() == CrossEntropy() + 0.5 * term.hard_limit()
    assert both.hard_limit() != both
    through = PoiUncertainty(model=FitModel(bins=4))
    yields = through.hard_limit().model.yields(logits(), batch(), {}, {}).nominal
    np.testing.assert_allclose(yields, binned(logits(), batch(), 4), rtol=1e-5, atol=1e-5)
    assert jnp.ndim(yields) == 2


@pytest.mark.parametrize("make", [AsimovLLR, FitModel])
def test_an_unknown_kernel_is_refused(make):
    with pytest.raises(InputError, match=r"kernel='box'.*'logistic', 'normal' or 'softmax'"):
        make(kernel="box")

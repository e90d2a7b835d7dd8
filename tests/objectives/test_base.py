import jax
import jax.numpy as jnp
import numpy as np
import pytest

from difftune.errors import InputError
from difftune.objectives import (
    AsimovLLR,
    CategoricalCrossEntropy,
    CrossEntropy,
    HistogramVariation,
    MetricOf,
    MultiObjective,
    Objective,
    Significance,
    as_metric,
    as_objective,
    geometric_mean,
)
from tests.objectives.samples import NONE, batch, logits

B, S = batch(), logits()
CE = float(CrossEntropy()(S, B, NONE, NONE))
LLR = float(AsimovLLR()(S, B, NONE, NONE))


class Shifted(Objective):
    """Has parameters of its own."""

    def __init__(self, width: float):
        self.width = width

    def init(self, key):
        return {"shift": self.width * jax.random.normal(key)}

    def __call__(self, scores, batch, hyperparameters, parameters):
        return jnp.mean(scores) * self.width + parameters["shift"]


def brier(scores, batch, hyperparameters, parameters):
    return jnp.mean((jax.nn.sigmoid(scores) - batch.label) ** 2)


BRIER = float(np.mean((1 / (1 + np.exp(-np.asarray(S, np.float64))) - np.asarray(B.label)) ** 2))


def value(objective, **hyperparameters) -> float:
    values = {name: jnp.float32(v) for name, v in hyperparameters.items()}
    parameters = objective.init(jax.random.key(0))
    return float(objective(S, B, values, parameters))


def test_objectives_add_and_scale():
    assert value(CrossEntropy() + 0.1 * AsimovLLR()) == pytest.approx(CE + 0.1 * LLR)
    assert value(AsimovLLR() * 0.1 + CrossEntropy()) == pytest.approx(CE + 0.1 * LLR)
    nested = 2.0 * (CrossEntropy() + 0.5 * (AsimovLLR() + CrossEntropy()))
    assert value(nested) == pytest.approx(3 * CE + LLR)


def test_scale_can_be_a_hyperparameter():
    objective = CrossEntropy() + AsimovLLR() * "asimov_weight"
    for weight in (0.0, 0.3):
        assert value(objective, asimov_weight=weight) == pytest.approx(CE + weight * LLR)


def test_hyperparameters_reach_the_terms():
    smooth = value(CrossEntropy(), label_smoothing=0.3)
    assert smooth != pytest.approx(CE)
    assert value(2.0 * CrossEntropy() + brier, label_smoothing=0.3) == pytest.approx(
        2 * smooth + BRIER
    )


def test_each_term_has_its_own_parameters():
    objective = Shifted(1.0) + 2.0 * Shifted(3.0) + CrossEntropy()
    parameters = objective.init(jax.random.key(0))
    leaves = [float(leaf) for leaf in jax.tree.leaves(parameters)]
    assert len(leaves) == 2
    assert leaves[1] != pytest.approx(3.0 * leaves[0])
    loss, gradient = jax.value_and_grad(lambda p: objective(S, B, NONE, p))(parameters)
    first, second = leaves
    mean = float(jnp.mean(S))
    assert float(loss) == pytest.approx(mean + first + 2 * (3 * mean + second) + CE, rel=1e-5)
    assert [float(leaf) for leaf in jax.tree.leaves(gradient)] == [1.0, 2.0]


def test_a_users_function_is_an_objective():
    assert value(as_objective(brier)) == pytest.approx(BRIER, rel=1e-5)
    assert value(CrossEntropy() + brier) == pytest.approx(CE + BRIER, rel=1e-5)
    assert value(0.5 * as_objective(brier)) == pytest.approx(0.5 * BRIER, rel=1e-5)
    assert value(as_objective(lambda *_: 2)) == 2.0
    assert as_objective(CrossEntropy()) == CrossEntropy()
    # That of a metric is for trainings that need no gradient.
    assert (CrossEntropy() + Significance()).gradient == "none"


def score(metric, **hyperparameters) -> float:
    values = {name: jnp.float32(v) for name, v in hyperparameters.items()}
    return float(as_metric(metric)(S, B, values, NONE))


def test_a_users_function_is_a_metric():
    metric = as_metric(brier)
    assert score(metric) == pytest.approx(BRIER, rel=1e-5)
    assert (metric.names, metric.varied) == ((), False)
    assert metric.bound_to(()) is metric
    assert as_metric(Significance) == Significance()


def test_minus_a_loss_is_a_metric():
    assert as_metric(-1.0 * CrossEntropy()) == MetricOf(objective=CrossEntropy())
    assert score(-1.0 * CrossEntropy()) == -CE
    assert score(-2.0 * CrossEntropy()) == pytest.approx(-2 * CE)
    # It is the member's own loss; the natural scale of a logarithm is one yardstick for all.
    smooth = value(CrossEntropy(), label_smoothing=0.3)
    assert score(-1.0 * CrossEntropy(), label_smoothing=0.3) == -smooth
    root = MetricOf(objective=CrossEntropy(), power=0.5)
    assert score(root, label_smoothing=0.3) == pytest.approx(np.exp(-CE / 2))
    assert as_metric(-1.0 * HistogramVariation()).varied


def test_several_scores_have_a_geometric_mean():
    both = MultiObjective({"one": brier, "two": -1.0 * AsimovLLR(form="linear")})
    assert both.names == ("one", "two")
    values = both(S, B, NONE, NONE)
    expected = BRIER, np.exp(-LLR)
    np.testing.assert_allclose(values, expected, rtol=1e-5)
    mean = np.sqrt(expected[0] * expected[1])
    assert float(geometric_mean(values)) == pytest.approx(mean, rel=1e-5)
    assert MultiObjective({"one": brier, "two": -1.0 * HistogramVariation()}).varied


def test_jit_and_vmap_change_nothing():
    objective = as_objective(brier) + CrossEntropy() * "weight"

    def loss(scores, weight):
        return objective(scores, B, {"weight": weight}, (NONE, NONE))

    scores, weights = jnp.stack([S, -S]), jnp.array([0.2, 0.7])
    one_by_one = [float(loss(s, w)) for s, w in zip(scores, weights, strict=True)]
    np.testing.assert_allclose(jax.vmap(loss)(scores, weights), one_by_one, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(loss)(S, weights[0]), one_by_one[0], rtol=1e-5)


def test_outputs_follow_the_terms():
    multi = 0.5 * CategoricalCrossEntropy() + CategoricalCrossEntropy() * "w"
    assert multi.outputs == "processes"
    assert (CrossEntropy() + brier).outputs == "binary"


def test_errors():
    with pytest.raises(InputError, match=r"is a loss.*metric=-1.0 \* CrossEntropy"):
        as_metric(CrossEntropy())
    with pytest.raises(InputError, match=r"is a loss.*metric=-1.0 \* Scaled"):
        as_metric(0.5 * CrossEntropy())
    with pytest.raises(InputError, match="metric=3 cannot be called"):
        as_metric(3)
    with pytest.raises(InputError, match=r"cannot be added.*binary.*processes"):
        CrossEntropy() + CategoricalCrossEntropy()
    with pytest.raises(InputError, match=r"returned an array \[60\].*mean or a sum"):
        value(as_objective(lambda scores, *_: scores))

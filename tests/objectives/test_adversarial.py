"""The adversary: its value, its two gradients, and what it makes of a network."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from scipy.special import log_softmax
from scipy.stats import ks_2samp, norm

from difftune.errors import InputError
from difftune.objectives import Adversarial, CrossEntropy, Variation, Varied
from difftune.training import Replicas
from tests.objectives.samples import NONE, batch, logits
from tests.training import toy


def with_variations(dtype=jnp.float64):
    """A two-sided variation of scores and weights, and a one-sided one of the weights."""
    rng = np.random.default_rng(4)
    b = batch(dtype=dtype)
    moved = [jnp.asarray(rng.normal(size=60), dtype) for _ in range(2)]
    weights = [b.weight * jnp.asarray(rng.uniform(0.5, 1.5, 60), dtype) for _ in range(2)]
    scale = Variation(
        up=Varied(features=b.features, scores=moved[0]),
        down=Varied(features=b.features, scores=moved[1], weight=weights[0]),
    )
    variations = {"scale": scale, "generator": Variation(up=Varied(weight=weights[1]))}
    return dataclasses.replace(b, variations=variations)


def by_hand(parameters, scores, b, label) -> float:
    """ln K - L_r, summed over the variations."""

    def answers(scores):
        first, second, third = (
            {name: np.asarray(value) for name, value in layer.items()} for layer in parameters
        )
        x = np.tanh(np.asarray(scores)[:, None] @ first["kernel"] + first["bias"])
        x = np.tanh(x @ second["kernel"] + second["bias"])
        return (x @ third["kernel"] + third["bias"]).reshape(-1, 2, 3)

    mine = np.ones(60) if label is None else np.asarray(b.label) == label
    found = 0.0
    for place, name in enumerate(["generator", "scale"]):
        variation = b.variations[name]
        sides = [Varied(), variation.up] + ([variation.down] if variation.down else [])
        losses = []
        for kind, side in enumerate(sides):
            weight = mine * np.abs(b.weight if side.weight is None else side.weight)
            logits = answers(scores if side.scores is None else side.scores)[:, place]
            losses.append(
                -np.average(log_softmax(logits[:, : len(sides)], axis=1)[:, kind], weights=weight)
            )
        found += np.log(len(sides)) - np.mean(losses)
    return found


@pytest.mark.parametrize(("among", "label"), [("all", None), ("background", 0)])
def test_value_is_that_of_the_formula(among, label):
    with jax.enable_x64(True):
        b, scores = with_variations(), logits(dtype=jnp.float64)
        objective = Adversarial(strength=3.0, among=among).with_variations(["scale", "generator"])
        parameters = objective.init(jax.random.key(1))
        value = jax.jit(objective)(scores, b, NONE, parameters)
    expected = 3.0 * by_hand(parameters, scores, b, label)
    assert float(value) == pytest.approx(expected, rel=1e-10)


def test_gradients_pull_in_opposite_directions():
    """That of the scores is of the value; that of the adversary is of its own loss."""
    strength = 2.5
    with jax.enable_x64(True):
        b, scores = with_variations(), logits(dtype=jnp.float64)
        objective = Adversarial(strength="lambda").with_variations(["scale", "generator"])
        parameters = objective.init(jax.random.key(1))
        values = {"lambda": jnp.float64(strength)}

        @jax.jit
        def loss(scores, parameters):
            return objective(scores, b, values, parameters)

        to_scores, to_adversary = jax.jit(jax.grad(loss, argnums=(0, 1)))(scores, parameters)
        rng = np.random.default_rng(0)
        step = 1e-5
        along = jnp.asarray(rng.normal(size=60))
        numeric = loss(scores + step * along, parameters) - loss(scores - step * along, parameters)
        assert float(to_scores @ along) == pytest.approx(float(numeric) / (2 * step), rel=1e-6)
        along = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), parameters)
        ends = [
            jax.tree.map(lambda x, d, s=sign: x + s * step * d, parameters, along)
            for sign in (1, -1)
        ]
        numeric = loss(scores, ends[0]) - loss(scores, ends[1])
        reverse = sum(jax.tree.leaves(jax.tree.map(jnp.vdot, to_adversary, along)))
        # λ (ln K - L_r) is the value, and L_r is what the adversary minimises.
        expected = -float(numeric) / (2 * step) / strength
        assert float(reverse) == pytest.approx(expected, rel=1e-6)


def test_a_trained_adversary_finds_the_information_that_there_is():
    """ln K - L_r is at most the Jensen-Shannon divergence of the samples (arXiv 1406.2661)."""
    n, shift = 4000, 0.8
    points = jnp.asarray(norm.ppf((np.arange(n) + 0.5) / n), jnp.float32)
    b = dataclasses.replace(
        toy_batch(n),
        variations={
            "shift": Variation(
                up=Varied(features=points[:, None], scores=points + shift),
                down=Varied(features=points[:, None], scores=points - shift),
            )
        },
    )
    objective = Adversarial(hidden=(16,)).with_variations(["shift"])
    parameters = objective.init(jax.random.key(0))
    optimizer = optax.adam(0.02)

    @jax.jit
    def train(parameters):
        def step(carry, _):
            parameters, state = carry
            gradient = jax.grad(objective, argnums=3)(points, b, NONE, parameters)
            updates, state = optimizer.update(gradient, state)
            return (optax.apply_updates(parameters, updates), state), None

        carry = (parameters, optimizer.init(parameters))
        return jax.lax.scan(step, carry, length=300)[0][0]

    found = float(jax.jit(objective)(points, b, NONE, train(parameters)))
    x = np.linspace(-8, 8, 4001)
    densities = np.stack([norm.pdf(x, place) for place in (0, shift, -shift)])
    terms = densities * np.log(densities / densities.mean(axis=0))
    divergence = np.sum(terms.mean(axis=0)) * (x[1] - x[0])
    assert found == pytest.approx(divergence, rel=0.02)


def toy_batch(n: int):
    ones = jnp.ones(n)
    return dataclasses.replace(
        batch(),
        features=jnp.zeros((n, 1)),
        process=jnp.zeros(n, jnp.int32),
        label=jnp.zeros(n, jnp.int32),
        weight=ones,
        training_weight=ones,
    )


def shifted(events: int, seed: int):
    """Data whose first variable, the best one, is uncertain by half a standard deviation."""
    data = toy.columns(events, seed)
    shift = np.array([0.5, 0, 0, 0], np.float32)
    sides = [Varied(features=data.features + sign * shift) for sign in (1, -1)]
    return data._replace(variations={"scale": Variation(up=sides[0], down=sides[1])})


@pytest.fixture(scope="module")
def trained():
    """Three members: without adversary, with a weak, with a strong one."""
    given = {
        "learning_rate": np.full(3, 5e-3),
        "lambda": np.array([0.0, 1.0, 100.0]),
        "adversary_rate": np.full(3, 1e-2),
    }
    adversary = Adversarial(strength="lambda", learning_rate="adversary_rate")
    return run(CrossEntropy() + adversary, given)


def run(objective, given):
    members = len(given["learning_rate"])
    population = toy.population(
        objective=objective,
        train=shifted(2048, 0),
        validation=shifted(1024, 1),
        members=members,
        batch_size=256,
        patience=1000,
        replicas=Replicas(seed=np.zeros(members, int)),
    )
    return population, population.run(given, epochs=30)


@pytest.mark.slow
def test_with_strength_zero_it_is_cross_entropy(trained):
    _, (state, _) = trained
    _, (alone, _) = run(CrossEntropy(), {"learning_rate": np.full(1, 5e-3)})
    with_adversary, without = (
        jax.tree.leaves(jax.device_get(each.weights.parameters)) for each in (state, alone)
    )
    for one, other in zip(with_adversary, without, strict=True):
        np.testing.assert_allclose(one[0], other[0], rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_strong_adversary_takes_the_systematic_out_of_the_score(trained):
    population, (state, records) = trained
    test = shifted(20_000, 7)
    mine = test.label == 0
    varied = test.variations["scale"].up.features

    def distances(weights):
        nominal, moved = (
            np.asarray(population.module_def.evaluate(weights, {}, jnp.asarray(x[mine])))
            for x in (test.features, varied)
        )
        return ks_2samp(nominal, moved).statistic

    # The last weights: the best of a member are those of the best significance.
    members = [jax.tree.map(lambda x, i=i: x[i], state.weights) for i in range(3)]
    none, weak, strong = (distances(each) for each in members)
    assert none > 0.1
    assert strong < 0.4 * none
    assert strong < weak < none * 1.01
    # What it costs: the first variable tells something about the signal.
    assert records.score[-1, 2] < records.score[-1, 0]


def as_arrays(**values):
    return {name: jnp.float32(value) for name, value in values.items()}


@pytest.mark.slow
def test_the_adversary_has_its_own_learning_rate():
    objective = CrossEntropy() + 2.0 * Adversarial(learning_rate="rate")
    updates = ({}, [{"kernel": jnp.ones(2)}])
    found = objective.scale_updates(updates, as_arrays(learning_rate=1e-3, rate=5e-3))
    np.testing.assert_allclose(found[1][0]["kernel"], 5.0)
    fixed = Adversarial(learning_rate=5e-4).scale_updates(updates[1], as_arrays(learning_rate=1e-3))
    np.testing.assert_allclose(fixed[0]["kernel"], 0.5)
    # The adversary does not move without one, and the network does.
    population = toy.population(
        objective=CrossEntropy() + Adversarial(learning_rate=0.0, hidden=(4,)),
        train=shifted(512, 0),
        validation=shifted(512, 1),
        members=1,
    )
    given = {"learning_rate": np.full(1, 1e-3)}
    start = jax.tree.map(np.array, jax.device_get(population.init(given)))
    state, _ = population.run(given, epochs=1)
    for one, other in zip(
        jax.tree.leaves(start.objective), jax.tree.leaves(state.objective), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    moved = jax.tree.leaves(
        jax.tree.map(
            lambda a, b: np.abs(a - np.asarray(b)).max(),
            start.weights.parameters,
            state.weights.parameters,
        )
    )
    assert max(moved) > 1e-3


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adversarial(among="signals"), "among='signals'.*'signal' or 'background'"),
        (lambda: Adversarial(strength=-1.0), "strength=-1.0.*positive"),
        (lambda: Adversarial(hidden=()), "width of each layer"),
        (lambda: Adversarial().with_variations([]), "the events have none"),
        (
            lambda: Adversarial(variations=["jse"]).with_variations(["jes", "isr"]),
            "no variation 'jse'. Did you mean 'jes'",
        ),
        (lambda: Adversarial().init(jax.random.key(0)), "name the systematic variations"),
        (
            lambda: toy.population(objective=CrossEntropy() + Adversarial()).check(set()),
            "the events have none",
        ),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()

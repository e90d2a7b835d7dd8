"""Training without gradients: against gradients, closed forms, another package, and itself."""

from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from evosax.algorithms import Open_ES
from scipy.stats import rankdata
from sklearn.metrics import roc_auc_score

import difftune as dt
from difftune.errors import InputError
from difftune.models import MLP
from difftune.objectives import (
    AUC,
    Adversarial,
    AsimovLLR,
    CrossEntropy,
    CutAMS,
    CutSignificance,
    FitModel,
    MultiObjective,
    NumpyLoss,
    PoiUncertainty,
    Significance,
)
from difftune.search import PBT, Space, log_uniform, run_search
from difftune.training import (
    RUNNING,
    STOPPED,
    Checkpoints,
    CoordinateParabola,
    EvolutionStrategy,
    Recipe,
    Replicas,
    ScoreGap,
    evolution,
)
from difftune.training.evolution import drawn_events
from tests.training import toy

EVOLUTION = EvolutionStrategy(perturbations=32)
GIVEN = {"learning_rate": np.full(4, 0.03), "sigma": np.array([0.05, 0.1, 0.05, 0.2])}


def population(**options):
    standard = {"optimizer": EVOLUTION, "objective": AUC(), "batch_size": 256}
    return toy.population(**standard | options)


@pytest.fixture(scope="module")
def together():
    """Four members, and what became of them in two epochs."""
    own = population()
    own.check(set(GIVEN))
    return own, *toy.train(own, GIVEN, 2)


def test_the_estimate_is_the_gradient():
    """Of a loss that is linear over a perturbation, up to a factor."""
    start = {"matrix": jnp.ones((5, 4)), "vector": jnp.zeros(6)}

    def loss(w):
        return jnp.sum(jnp.sin(w["matrix"] * jnp.arange(4.0))) + jnp.sum(
            w["vector"] * jnp.arange(6.0)
        )

    true = jax.grad(loss)(start)
    for rank, group in ((1, 1), (3, 8)):
        strategy = EvolutionStrategy(perturbations=4096, rank=rank, adaptation=0.0)
        found, _ = jax.jit(
            lambda key, strategy=strategy, group=group: strategy.estimate(
                {"sigma": jnp.float32(1e-3)},
                jnp.float32(0.0),
                start,
                loss=loss,
                key=key,
                group=group,
            )
        )(jax.random.key(1))
        for name, wanted in true.items():
            a, b = np.ravel(found[name]), np.ravel(wanted)
            assert a @ b / np.linalg.norm(a) / np.linalg.norm(b) > 0.97, (rank, name)


def test_networks_side_by_side_are_those_one_after_the_other():
    start = {"matrix": jnp.ones((5, 4)), "vector": jnp.zeros(6)}

    @partial(jax.jit, static_argnums=0)
    def estimate(group):
        return EVOLUTION.estimate(
            {},
            jnp.float32(0.0),
            start,
            loss=lambda w: jnp.sum(w["matrix"] ** 2) + jnp.sum(w["vector"]),
            key=jax.random.key(0),
            group=group,
        )

    found = [estimate(group) for group in (1, 8)]
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_events_of_pairs_stand_for_the_batch():
    """Sums are those of the batch on average, and all pairs together see it evenly."""
    rng = np.random.default_rng(0)
    weight, label = rng.normal(1, 2, 400), rng.random(400) < 0.2
    weight[:7] = 0.0
    rows, factor = drawn_events(
        jnp.asarray(weight, jnp.float32),
        jnp.asarray(label, jnp.int32),
        jax.random.key(0),
        pairs=3000,
        events=8,
    )
    assert np.all(np.sum(label[rows], axis=1) == 4)
    assert np.all(weight[rows] != 0)
    for cls in (False, True):
        mine = np.flatnonzero((label == cls) & (weight != 0))
        times = np.bincount(np.ravel(rows), minlength=400)[mine]
        expected = 12_000 * np.abs(weight[mine]) / np.abs(weight[mine]).sum()
        assert np.all(np.abs(times - expected) <= 1)
        sums = np.sum(weight[rows] * factor * (label[rows] == cls), axis=1)
        error = sums.std() / np.sqrt(3000)
        assert abs(sums.mean() - weight[mine].sum()) < max(4 * error, 1e-3)


def test_weights_decay_as_those_of_adamw():
    """Where the loss says nothing; vectors stay."""
    start = {"matrix": jnp.ones((5, 4)), "vector": jnp.ones(6)}
    values = {"learning_rate": jnp.float32(0.1), "weight_decay": jnp.float32(0.3)}
    zero = jnp.zeros(())
    step, _ = EVOLUTION.update(
        values,
        EVOLUTION.init(start),
        start,
        loss=lambda w: zero,
        value=zero,
        key=jax.random.key(0),
        group=1,
    )
    theirs = optax.adamw(0.1, weight_decay=0.3, mask={"matrix": True, "vector": False})
    wanted, _ = theirs.update(jax.tree.map(jnp.zeros_like, start), theirs.init(start), start)
    jax.tree.map(np.testing.assert_allclose, step, wanted)


def test_pairs_with_events_of_their_own():
    """Means of a loss over events are those over the batch, and areas grow."""
    few = EvolutionStrategy(perturbations=64, events=32)
    options = {"optimizer": few, "members": 2}
    given = {"learning_rate": np.full(2, 0.03)}
    _, records = toy.train(population(**options), given, 2)
    assert np.all(records.score[1] > records.score[0])
    _, entropy = toy.train(population(objective=CrossEntropy(), **options), given, 2)
    assert np.all(entropy.loss[1] < entropy.loss[0])


def test_progress_is_that_of_evosax():
    """On the same function, from the same place, with the same Adam: equal within the spread."""
    scales, start, steps = jnp.logspace(0, 1, 8), jnp.full(8, 2.0), 150
    loss = lambda w: jnp.sum(scales * w**2)  # noqa: E731
    ours = EvolutionStrategy(perturbations=32, adaptation=0.0)
    values = {"learning_rate": jnp.float32(0.05), "sigma": jnp.float32(0.1)}
    theirs = Open_ES(
        population_size=32,
        solution=start,
        optimizer=optax.adam(0.05),
        std_schedule=optax.constant_schedule(0.1),
    )

    def one(carry, key):
        w, state = carry
        step, state = ours.update(values, state, w, loss=loss, value=loss(w), key=key, group=1)
        return (w + step, state), loss(w)

    def other(state, key):
        asking, telling = jax.random.split(key)
        tried, state = theirs.ask(asking, state, theirs.default_params)
        fitness = jax.vmap(loss)(tried)
        state, _ = theirs.tell(telling, tried, fitness, state, theirs.default_params)
        return state, loss(state.mean)

    @jax.jit
    def progress(seed):
        keys = jax.random.split(jax.random.key(seed), steps)
        begun = theirs.init(keys[0], start, theirs.default_params)
        return (
            jax.lax.scan(one, (start, ours.init(start)), keys)[1],
            jax.lax.scan(other, begun, keys)[1],
        )

    found = np.log([[each[59::90] for each in progress(seed)] for seed in range(8)])
    mine, evosax = found[:, 0], found[:, 1]
    assert np.all(mine[:, 1] < np.log(float(loss(start))) - 4)
    error = np.sqrt((mine.var(0, ddof=1) + evosax.var(0, ddof=1)) / len(found))
    assert np.all(np.abs(mine.mean(0) - evosax.mean(0)) < 4 * error)


def test_ranks_are_those_of_scipy():
    losses = np.array([3.0, 1.0, 3.0, -2.0, 7.0, 1.0, 1.0])
    wanted = (rankdata(losses) - 1) / 6 - 0.5
    np.testing.assert_allclose(evolution.centred_ranks(jnp.asarray(losses)), wanted, atol=1e-6)
    worst = evolution.centred_ranks(jnp.array([1.0, jnp.nan, 0.0]))
    np.testing.assert_allclose(worst, [0.0, 0.5, -0.5])


def test_a_parabola_is_solved_in_one_step():
    """Each weight for itself, where one says nothing of another."""
    curvature, best = jnp.array([1.0, 4.0, 0.3, 2.0]), jnp.array([0.5, -0.4, 0.3, 0.1])
    method = CoordinateParabola(coordinates=9, shakes=1)

    def loss(w):
        return jnp.sum(curvature * (w["a"] - best) ** 2)

    @jax.jit
    def step(start):
        return method.update(
            {"sigma": jnp.float32(1.0)},
            method.init(start),
            start,
            loss=loss,
            value=loss(start),
            key=jax.random.key(3),
            group=1,
        )

    moved, state = step({"a": jnp.zeros(4)})
    np.testing.assert_allclose(moved["a"], best, atol=1e-4)
    assert float(state.log_width) < 0


def test_a_shake_finds_what_no_single_weight_does():
    """A loss that grows unless both weights do."""
    start = {"a": jnp.full(2, -0.1)}

    def loss(w):
        both = jnp.all(w["a"] > 0)
        return jnp.where(both, -1.0, jnp.sum(jnp.abs(w["a"] - start["a"])))

    def moved(shakes):
        method = CoordinateParabola(coordinates=2, shakes=shakes)
        step = jax.jit(
            lambda key: method.update(
                {"sigma": jnp.float32(0.5)},
                method.init(start),
                start,
                loss=loss,
                value=loss(start),
                key=key,
                group=4,
            )[0]["a"]
        )
        return np.array([step(key) for key in jax.random.split(jax.random.key(0), 40)])

    few, many = moved(1), moved(32)
    assert np.all((few == 0).all(axis=1) | (few > 0.1).all(axis=1))
    # Of normal numbers of 0.5 those above 0.1 are 0.42, and both of a shake 0.18.
    assert 1 <= np.sum(few[:, 0] > 0) <= 16
    assert np.sum(many[:, 0] > 0) > 35


def test_the_width_follows_what_helps():
    """Far from a minimum it grows, close to it it shrinks."""

    @jax.jit
    def after(start):
        def one(log_width, key):
            loss = lambda w: jnp.sum(w**2)  # noqa: E731
            values = {"sigma": jnp.float32(0.1)}
            return EVOLUTION.estimate(values, log_width, start, loss=loss, key=key)[1], None

        return jax.lax.scan(one, jnp.float32(0.0), jax.random.split(jax.random.key(0), 30))[0]

    assert after(jnp.full(6, 10.0)) > 0.3
    assert after(jnp.zeros(6)) < -0.3


@pytest.mark.slow
def test_members_stop_early_and_meet_conditions(together):
    """As under gradients: one whose weights rest stops, and large gaps are not eligible."""
    _, _, records = together
    limit = float(np.median(records.train_score[-1] / records.score[-1] - 1))
    overtraining = ScoreGap(limit=max(limit, 1e-4), sigmas=0)
    own = population(patience=2, overtraining=overtraining)
    given = {**GIVEN, "learning_rate": np.array([0.03, 0.03, 0.03, 0.0])}
    state, found = toy.train(own, given, 3)
    gap = found.train_score / found.score - 1
    np.testing.assert_array_equal(found.eligible, gap <= overtraining.limit)
    assert 0 < found.eligible[:2].sum() < 8
    for slot in range(4):
        best, stale, status = -np.inf, 0, RUNNING
        for eligible, score in zip(found.eligible[:, slot], found.score[:, slot], strict=True):
            better = eligible and score > best
            best, stale = (score, 0) if better else (best, stale + 1)
            status = STOPPED if stale == 2 else RUNNING
            if status == STOPPED:
                break
        assert state.status[slot] == status
    assert state.status[3] == STOPPED
    assert RUNNING in state.status


@pytest.mark.slow
def test_it_goes_on_from_weights_of_a_gradient():
    """With another objective, and from a score that it needs epochs for by itself."""
    options = {"members": 2, "metric": AUC()}
    entropy = population(optimizer="adam", objective=CrossEntropy(), **options)
    before, _ = toy.train(entropy, {"learning_rate": np.full(2, 0.01)}, 4)
    own, given = population(**options), {"learning_rate": np.full(2, 1e-3)}
    _, begun = toy.train(own, given, 1, own.init(given, start=before.best.weights))
    _, afresh = toy.train(own, given, 1)
    assert np.all(begun.score[0] > before.best.score - 0.003)
    assert np.all(begun.score[0] > afresh.score[0] + 0.05)


@pytest.mark.slow
@pytest.mark.parametrize("slot", [0, 3])
def test_alone_as_together(together, slot):
    _, state, records = together
    alone = population(members=1, replicas=Replicas(seed=np.array([slot])))
    own, record = toy.train(alone, {name: v[[slot]] for name, v in GIVEN.items()}, 2)
    np.testing.assert_allclose(record.score[:, 0], records.score[:, slot], rtol=1e-5)
    for one, other in zip(toy.member(own.weights, 0), toy.member(state.weights, slot), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert records.score[1, slot] > records.score[0, slot]


@pytest.mark.slow
def test_a_member_with_masked_units_is_the_small_network():
    model = MLP(hidden=(8,), activation="tanh")
    given = {"learning_rate": np.full(2, 0.03), "width_1": np.array([8, 5.0])}
    options = {"members": 2, "objective": CrossEntropy()}
    _, masked = toy.train(population(model=model, **options), given, 2)
    small = replace(model, hidden=(5,))
    _, alone = toy.train(population(model=small, **options), {"learning_rate": np.full(2, 0.03)}, 2)
    np.testing.assert_allclose(masked.loss[:, 1], alone.loss[:, 1], rtol=1e-4)
    assert abs(masked.loss[1, 0] - alone.loss[1, 0]) > 1e-3


@pytest.mark.slow
def test_the_weights_of_its_steps_are_averaged_where_asked(together):
    _, _, records = together
    given = {**GIVEN, "averaged_steps": np.array([1.0, 1.0, 30.0, 30.0])}
    _, averaged = toy.train(population(), given, 2)
    np.testing.assert_allclose(averaged.loss, records.loss, rtol=1e-5)
    np.testing.assert_allclose(averaged.score[:, :2], records.score[:, :2], rtol=1e-5)
    assert np.all(averaged.score[:, 2:] != records.score[:, 2:])


@pytest.mark.slow
def test_a_copied_member_takes_its_width_along(together):
    own, state, _ = together
    parents, no = np.array([3, 1, 3, 3]), np.zeros(4, bool)
    copied = own.inherit(state, parents, no, GIVEN, generation=1)
    width = np.asarray(state.optimizer.log_width)
    assert len(set(width.tolist())) == 4
    np.testing.assert_array_equal(copied.optimizer.log_width, width[parents])
    # Copies of one member have noise of their own.
    after, _ = toy.train(own, GIVEN, 1, copied, first=2)
    kernels = np.asarray(jax.tree.leaves(after.weights)[0])
    assert np.any(kernels[2] != kernels[3])


def test_a_search_that_is_resumed_goes_on_as_it_would_have(tmp_path):
    space = Space(sigma=log_uniform(0.02, 0.3))
    search = PBT(population=4, rounds=3, epochs_per_round=1)
    own = population(hyperparameters={"learning_rate": 0.03})
    whole = run_search(own, search, space)

    class Killed(Exception):
        pass

    def kill(progress):
        if progress.round == 2:
            raise Killed

    with pytest.raises(Killed):
        run_search(own, search, space, checkpoints=Checkpoints(tmp_path), on_round=kill)
    resumed = run_search(own, search, space, checkpoints=Checkpoints(tmp_path))
    jax.tree.map(
        np.testing.assert_array_equal,
        (resumed.best, resumed.history.score, resumed.history.hyperparameters),
        (whole.best, whole.history.score, whole.history.hyperparameters),
    )


@pytest.mark.slow
def test_a_function_of_numpy_is_minimised():
    def wrong(scores, batch):
        weight = np.abs(batch.weight)
        assert isinstance(scores, np.ndarray)
        return 1 - roc_auc_score(batch.label, scores, sample_weight=weight)

    own = population(objective=NumpyLoss(wrong), metric=AUC(), members=2)
    _, records = toy.train(own, {"learning_rate": np.full(2, 0.03)}, 2)
    assert np.all(records.loss[1] < records.loss[0] - 0.02)
    assert np.all(records.score[1] > records.score[0])


def test_what_smears_events_is_taken_in_its_hard_limit():
    _, records = toy.train(population(objective=AsimovLLR(bins=4), members=1), {}, 1)
    np.testing.assert_array_equal(records.validation_loss, records.hard_loss)


@pytest.mark.slow
def test_the_uncertainty_of_a_fit_is_minimised_in_hard_bins():
    loss = PoiUncertainty(model=FitModel(bins=4, mc_statistics=False))
    small = EvolutionStrategy(perturbations=16)
    own = population(objective=loss, optimizer=small, members=1, batch_size=1024)
    _, records = toy.train(own, {"learning_rate": np.full(1, 0.03)}, 6)
    np.testing.assert_array_equal(records.validation_loss, records.hard_loss)
    assert records.validation_loss[-1, 0] < records.validation_loss[0, 0] - 0.05


@pytest.mark.parametrize("objective", [CutSignificance(), CutAMS(min_signal_efficiency=0.25)])
def test_the_parabola_trains_a_network(objective):
    options = {"objective": objective, "members": 2, "batch_size": 1024}
    method = CoordinateParabola(coordinates=16, shakes=4)
    _, records = toy.train(population(optimizer=method, **options), {}, 3)
    assert np.all(records.loss[-1] < records.loss[0])


def test_a_metric_that_is_minimised_is_the_default_score():
    assert Recipe(objective=AUC(), optimizer="evolution").metric == AUC()


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"objective": AUC()}, 'is a score.*optimizer="evolution"'),
        ({"objective": NumpyLoss(lambda s, b: 0.0)}, 'no gradient: take optimizer="evolution"'),
        (
            {"objective": CrossEntropy() + 0.1 * Adversarial(), "optimizer": "evolution"},
            r'in its gradient: take optimizer="adam"',
        ),
        ({"optimizer": EvolutionStrategy, "objective": MultiObjective}, "MultiObjective"),
        (
            {"objective": MultiObjective({"a": AUC(), "b": Significance()})},
            "several scores",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(parts, words):
    with pytest.raises(InputError, match=words):
        Recipe(**parts)


def test_options_out_of_range_are_refused():
    for options in ({"perturbations": 3}, {"perturbations": 0}, {"rank": 0}, {"adaptation": 2.0}):
        with pytest.raises(InputError, match=f"EvolutionStrategy\\({next(iter(options))}="):
            EvolutionStrategy(**options)
    with pytest.raises(InputError, match="CoordinateParabola"):
        CoordinateParabola(coordinates=0)
    with pytest.raises(InputError, match="is called with"):
        NumpyLoss(lambda scores: 0.0)


@pytest.mark.slow
def test_hyperparameters_of_gradients_are_refused(together):
    own, *_ = together
    for name in ("l2", "gradient_clip"):
        with pytest.raises(InputError, match=f"'{name}' is read by nothing"):
            own.check({name})


def test_a_sum_of_what_has_no_gradient_and_what_needs_it_is_refused():
    with pytest.raises(InputError, match="cannot be added"):
        Adversarial() + AUC()


def test_from_an_analysis_file():
    def built(**sections):
        return dt.job.from_dict(
            {
                "data": {"files": "a.root", "features": ["pt", "mass"]},
                "samples": [{"name": "s", "role": "signal"}, {"name": "b"}],
                **sections,
            }
        )

    found = built(training={"optimizer": {"name": "evolution", "rank": 2}})
    assert dt.job.build.optimizer(found) == EvolutionStrategy(rank=2)
    found = built(stage=[{"name": "hard", "optimizer": "evolution"}])
    section = found.stage[0].optimizer
    assert dt.job.build.optimizer(found, section, "stage.0") == EvolutionStrategy()
    found = built(training={"optimizer": "parabola"}, objective=[{"name": "roc_area"}])
    assert dt.job.build.recipe(found).optimizer == CoordinateParabola()
    assert dt.job.build.objective(found).metric == AUC()
    with pytest.raises(InputError, match="no gradient"):
        dt.job.build.recipe(built(objective=[{"name": "roc_area"}]))

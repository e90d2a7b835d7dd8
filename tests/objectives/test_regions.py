"""Regions in place of bins: values by pyhf and a closed form, slopes by finite differences."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import NormalisationUncertainty, build_workspace
from difftune.histograms import Histogram, Template, Templates
from difftune.models import MLP
from difftune.objectives import (
    AsimovLLR,
    Batch,
    CategoricalCrossEntropy,
    CrossEntropy,
    DiscoverySignificance,
    FitModel,
    PoiUncertainty,
    Regions,
    Variation,
    Varied,
    signal_probability,
)
from difftune.training import AS_SCORED, Columns, Population, Recipe, ScoreGap
from tests.objectives.samples import NONE, logits

REGIONS, EVENTS = 4, 200
KNOWN = NormalisationUncertainty("b", 0.1, processes=("background",))


def model(**options) -> FitModel:
    hard = options.pop("hard", False)
    defaults = {"normalisation": (KNOWN,), "mc_statistics": False}
    regions = Regions(regions=options.pop("regions", REGIONS), hard=hard)
    return FitModel(bins=regions, **defaults | options)


def sample(dtype=jnp.float64, events=EVENTS) -> tuple[jax.Array, Batch]:
    """Logits of regions, 12 signal and 80 background events, one variation of either kind."""
    rng = np.random.default_rng(3)
    label = np.arange(events) % 2
    weight = rng.uniform(0.5, 1.5, events)
    weight *= np.where(label, 12 / weight[label == 1].sum(), 80 / weight[label == 0].sum())
    scores = np.array(logits(events, REGIONS, dtype=dtype), float)
    scores[:, 0] += 1.2 * label
    shifts = [(1 - label[:, None]) * rng.normal(0.3, 0.3, scores.shape) for _ in range(2)]
    x = jnp.zeros((events, 1), dtype)
    place = Variation(
        up=Varied(features=x, scores=jnp.asarray(scores + shifts[0], dtype)),
        down=Varied(features=x, scores=jnp.asarray(scores - shifts[1], dtype)),
    )
    tilt = np.where(label, 1.0, 1 + 0.2 * np.tanh(scores[:, 1]))
    return jnp.asarray(scores, dtype), Batch(
        features=x,
        process=jnp.asarray(label, jnp.int32),
        label=jnp.asarray(label, jnp.int32),
        weight=jnp.asarray(weight, dtype),
        training_weight=jnp.ones(events, dtype),
        signal_process=jnp.asarray([0.0, 1.0], dtype),
        progress=jnp.asarray(0.5, dtype),
        variations={
            "place": place,
            "tilt": Variation(
                up=Varied(weight=jnp.asarray(weight * tilt, dtype)),
                down=Varied(weight=jnp.asarray(weight * (2 - tilt), dtype)),
            ),
        },
    )


def counts(scores, weight, label, cls) -> np.ndarray:
    chosen = np.argmax(np.asarray(scores), axis=1)[label == cls]
    return np.bincount(chosen, np.asarray(weight)[label == cls], REGIONS)


def by_pyhf(scores, b: Batch) -> pyhf.Model:
    """The workspace of the counts, made without the objective."""
    label, processes = np.asarray(b.label), {}
    for cls, name in enumerate(("background", "signal")):
        pairs = {}
        for variation, each in b.variations.items():
            sides = [
                counts(
                    scores if side.scores is None else side.scores,
                    b.weight if side.weight is None else side.weight,
                    label,
                    cls,
                )
                for side in (each.up, each.down)
            ]
            pairs[variation] = tuple(Histogram(np.arange(5.0), side, side) for side in sides)
        nominal = counts(scores, b.weight, label, cls)
        processes[name] = Template(Histogram(np.arange(5.0), nominal, nominal), pairs)
    region = Templates(
        channel="region", edges=np.arange(5.0), processes=processes, signal=("signal",)
    )
    return pyhf.Workspace(
        build_workspace([region], normalisation=(KNOWN,), mc_statistics=False)
    ).model()


def sigma(theirs: pyhf.Model, unconstrained: tuple[str, ...]) -> float:
    """Of the strength, from central differences of pyhf's log-likelihood."""
    point = np.asarray(theirs.config.suggested_init())
    data = np.asarray(theirs.expected_data(point.tolist()))
    main, auxiliary = data[:REGIONS], data[REGIONS:]
    free = [theirs.config.par_order.index(name) for name in unconstrained]

    def nll(values):
        result = -float(theirs.mainlogpdf(main, values))
        # Unit Gaussians all of them, but for those that are free.
        pulls = np.delete(values, [theirs.config.poi_index, *free])
        kept = np.delete(np.arange(len(values)), [theirs.config.poi_index, *free])
        assert len(auxiliary) == len(values) - 1
        return result + 0.5 * np.sum((pulls - point[kept]) ** 2)

    steps = 1e-3 * np.eye(len(point))
    hessian = [
        [nll(point + a + b) - nll(point + a - b) - nll(point - a + b) + nll(point - a - b)]
        for a in steps
        for b in steps
    ]
    return float(
        np.sqrt(
            np.linalg.inv(np.reshape(hessian, (len(point), -1)) / 4e-6)[
                theirs.config.poi_index, theirs.config.poi_index
            ]
        )
    )


@functools.partial(jax.jit, static_argnums=0)
def value(objective, scores, b, hyperparameters=NONE):
    return objective(scores, b, hyperparameters, NONE)


HARD = PoiUncertainty(model=model(hard=True, unconstrained=("place", "tilt")))


@pytest.mark.parametrize("unconstrained", [(), ("place", "tilt")])
def test_the_uncertainty_in_hard_regions_is_that_of_pyhfs_likelihood(unconstrained):
    objective = HARD if unconstrained else PoiUncertainty(model=model(hard=True))
    with jax.enable_x64(True):
        scores, b = sample()
        found = float(jnp.exp(value(objective, scores, b)))
    assert found == pytest.approx(sigma(by_pyhf(scores, b), unconstrained), rel=1e-4)


@functools.partial(jax.jit, static_argnums=0)
def slope(objective, columns, b):
    def loss(columns):
        scores, moved, weight, width = columns
        place = b.variations["place"]
        place = replace(place, up=replace(place.up, scores=moved))
        there = replace(b, weight=weight, variations=b.variations | {"place": place})
        return objective(scores, there, {"temperature": width}, NONE)

    return jax.value_and_grad(loss)(columns)


def columns(scores, b):
    moved = b.variations["place"].up.scores
    return scores, moved, b.weight, jnp.asarray(1.5, scores.dtype)


SOFT = PoiUncertainty(model=model(unconstrained=("place", "tilt")))


def test_softmax_becomes_the_largest_logit():
    with jax.enable_x64(True):
        scores, b = sample()
        *rest, _ = columns(scores, b)
        wide, narrow = (
            float(slope(SOFT, (*rest, jnp.asarray(width)), b)[0]) for width in (1.0, 1e-4)
        )
        hard = float(value(HARD, scores, b))
        assert narrow == pytest.approx(hard, rel=1e-6)
        assert wide != pytest.approx(hard, rel=1e-2)


def test_slopes_are_those_of_finite_differences():
    with jax.enable_x64(True):
        scores, b = sample()
        rng, point, h = np.random.default_rng(5), columns(scores, b), 1e-3
        along = tuple(jnp.asarray(rng.normal(size=np.shape(each))) for each in point)

        def at(step):
            moved = tuple(c + step * a for c, a in zip(point, along, strict=True))
            return slope(SOFT, moved, b)[0]

        slopes = slope(SOFT, point, b)[1]
        numeric = (at(-2 * h) - 8 * at(-h) + 8 * at(h) - at(2 * h)) / (12 * h)
        assert abs(numeric) > 0.01
        ours = sum(jnp.vdot(s, a) for s, a in zip(slopes, along, strict=True))
        np.testing.assert_allclose(ours, numeric, rtol=1e-6)


def test_awkward_regions_are_finite_in_value_and_slope():
    with jax.enable_x64(True):
        scores, b = sample()
        first = jnp.zeros_like(scores).at[:, 0].set(900.0)
        cases = {
            "all in one region": (first, b),
            "an empty region": (scores.at[:, 2].add(-900.0), b),
            "signal and background apart": (jnp.where(b.label[:, None], first, -first), b),
            "all logits equal": (0 * scores, b),
            "saturated": (1000 * scores, b),
            "no signal": (scores, replace(b, weight=b.weight * (b.label == 0))),
            "no background": (scores, replace(b, weight=b.weight * (b.label == 1))),
            "no weights": (scores, replace(b, weight=0 * b.weight)),
            "negative weights": (scores, replace(b, weight=-b.weight)),
        }
        for case, (there, batch) in cases.items():
            there, batch = jax.tree.map(
                lambda a: jax.lax.convert_element_type(a, a.dtype), (there, batch)
            )
            found, slopes = slope(SOFT, columns(there, batch), batch)
            assert np.isfinite(found), case
            for each in slopes:
                assert np.isfinite(each).all(), case


def test_nan_does_not_pass_as_a_region():
    with jax.enable_x64(True):
        scores, b = sample()
        assert not np.isfinite(value(HARD, scores.at[3, 1].set(jnp.nan), b))


def shifted(events: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = np.arange(events) % 2
    return rng.normal(np.where(label, 0.0, 1.0)[:, None], 1.0, (events, 2)), label


def training(events: int, seed: int) -> Columns:
    """A background that moves along the direction in which it differs from the signal."""
    x, label = shifted(events, seed)
    weight = np.where(label, 50.0, 500.0) / (events / 2)
    sides = []
    for step in (0.2, -0.2):
        moved = x + step * (1 - label[:, None]) * np.array([1.0, 0.0])
        sides.append(Varied(features=moved.astype(np.float32)))
    return Columns(
        features=x.astype(np.float32),
        process=label.astype(np.int32),
        label=label.astype(np.int32),
        weight=weight.astype(np.float32),
        training_weight=np.ones(events, np.float32),
        signal_process=np.array([0.0, 1.0], np.float32),
        variations={"place": Variation(up=sides[0], down=sides[1])},
    )


@pytest.mark.slow
def test_a_population_learns_regions_that_see_the_nuisance():
    """The closed-form uncertainty of hard regions, on events that it has not seen."""
    regions = 6

    def objective(hard=False):
        bins = {"regions": regions, "hard": hard}
        return PoiUncertainty(model=model(**bins, normalisation=(), unconstrained=("place",)))

    def population(objective, metric):
        return Population(
            recipe=Recipe(
                model=MLP(hidden=(16,)),
                objective=objective,
                batch_size=1000,
                metric=metric,
                overtraining=ScoreGap(limit=float("inf")),
                selection_rule=AS_SCORED,
            ),
            train=training(8000, 1),
            validation=training(4000, 2),
            members=2,
        )

    given = {"learning_rate": np.array([0.02, 0.02])}
    members = population(objective(), -1.0 * objective(hard=True))
    state, _ = members.run(given, epochs=6)
    x, label = shifted(100_000, 3)
    found = np.asarray(members.scores(state.best, x)).argmax(axis=-1)

    def uncertainty(region: np.ndarray) -> float:
        background = label == 0
        weight = np.where(label, 50.0, 500.0) / background.sum()
        # The derivative of the density says how counts move.
        rows = (weight * label, weight * background, weight * background * (x[:, 0] - 1))
        s, b, db = (np.bincount(region, row, regions) for row in rows)
        there = s + b > 0
        slopes = np.stack([s, db])[:, there]
        return np.sqrt(np.linalg.inv(slopes / (s + b)[there] @ slopes.T)[0, 0])

    # What the score of a perfect classifier gives in as many quantiles.
    score = -x.sum(axis=1)
    edges = np.quantile(score, np.linspace(0, 1, regions + 1)[1:-1])
    plain = uncertainty(np.searchsorted(edges, score))
    assert max(uncertainty(region) for region in found) < 0.95 * plain


def test_the_network_has_an_output_for_each_region():
    population = Population(
        recipe=Recipe(objective=PoiUncertainty(model=model()), batch_size=50),
        train=training(100, 1),
        validation=training(100, 2),
        members=1,
    )
    assert population.module_def.outputs == REGIONS


def probability():
    scores, b = sample(jnp.float32)
    return signal_probability(scores, b)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Regions(regions=1), "regions=1.*at least 2"),
        (lambda: Regions(regions=3, temperature=(1.0, 0.0)), "temperature=.*positive"),
        (lambda: AsimovLLR(bins=Regions(regions=3)), "AsimovLLR.*outputs of a network.*FitModel"),
        (lambda: model().edges({}), "regions have no edges"),
        (lambda: PoiUncertainty(model=model()) + CrossEntropy(), "cannot be added"),
        (
            lambda: value(PoiUncertainty(model=model(regions=5)), *sample(jnp.float32)),
            r"needs logits \[events, 5\].*got \[200, 4\]",
        ),
        (
            lambda: model(unconstrained=("plaec",)).filling(sample(jnp.float32)[1]),
            "no variation 'plaec'.*'place'",
        ),
        (probability, "4 outputs has no signal probability for 2 processes.*metric"),
    ],
)
def test_errors_name_value_and_remedy(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_objectives_of_one_number_of_outputs_add():
    total = 0.5 * PoiUncertainty(model=model()) + DiscoverySignificance(model=model())
    assert total.outputs == REGIONS
    assert CategoricalCrossEntropy().outputs == "processes"

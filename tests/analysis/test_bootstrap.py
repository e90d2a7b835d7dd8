"""The bootstrap of a measurement, against closed forms and samples made anew."""

import jax
import numpy as np
import pytest

import difftune as dt
from difftune.analysis import CrossFit
from difftune.analysis.bootstrap import bootstrapped, counts, replica_yields
from difftune.histfactory import Model, TemplateYields, filling

PROCESSES = [dt.Process(name="signal", role="signal"), dt.Process(name="background")]
EDGES = (0.0, 0.25, 0.5, 0.75, 1.0)


def sample(*, size=4000, seed=1, varied=True):
    """The score is the first feature; one variation of weights, one of features."""
    rng = np.random.default_rng(seed)

    def made(numbers, shift):
        draw = np.random.default_rng([seed, 7])
        process = draw.integers(0, 2, len(numbers))
        score = draw.beta(2, 2, len(numbers))
        score = np.where(process == 0, score**0.5, score) + shift
        return np.clip(score, 0, 0.999)[:, None], process

    numbers = np.arange(size)
    features, process = made(numbers, 0.0)
    weight = np.where(process == 0, 0.1, 1.0) * rng.uniform(0.5, 1.5, size)
    variations = {}
    if varied:
        variations["shift"] = tuple(
            dt.Events.from_arrays(
                made(numbers, side)[0],
                process,
                weight,
                feature_names=["score"],
                processes=PROCESSES,
                event_number=numbers,
                folds=5,
            )
            for side in (0.05, -0.05)
        )
        variations["tilt"] = (weight * (0.8 + 0.4 * features[:, 0]), None)
    return dt.Events.from_arrays(
        features,
        process,
        weight,
        feature_names=["score"],
        processes=PROCESSES,
        event_number=numbers,
        folds=5,
        variations=variations,
    )


class Network:
    """Scores by the first feature."""

    edges = None
    feature_names = ("score",)

    def score(self, events):
        return np.asarray(events.features[:, 0])


def measured(events, **options):
    split = CrossFit(events=events)
    templates = dt.analysis.fill_templates(Network().score, split, np.array(EDGES))
    workspace = dt.histfactory.build_workspace([templates])
    figure = dt.analysis.FIGURES[options.get("figure", "precision")]
    model = Model.from_spec(workspace)
    return split, dt.analysis.Measurement(
        templates=templates,
        workspace=workspace,
        stat_only=0.0,
        expected=0.0,
        figure=figure,
        value=figure.of(model),
        score=Network().score,
    )


@pytest.mark.slow
@pytest.mark.parametrize("figure", ["precision", "discovery", "limit"])
def test_the_sample_itself_is_replica_nought(figure):
    split, found = measured(sample(), figure=figure)
    (yields,) = replica_yields(found, split, [0])
    for row, template in enumerate(found.templates.processes.values()):
        np.testing.assert_allclose(yields.nominal[0, row], template.nominal.sumw, rtol=1e-6)
        np.testing.assert_allclose(yields.sumw2[0, row], template.nominal.sumw2, rtol=1e-6)
        for number, name in enumerate(("shift", "tilt")):
            up, down = template.variations[name]
            np.testing.assert_allclose(yields.up[0, number, row], up.sumw, rtol=1e-5)
            np.testing.assert_allclose(yields.down[0, number, row], down.sumw, rtol=1e-5)
    model = Model.from_spec(found.workspace)
    fill = filling(
        model,
        channel="signal_region",
        samples=["signal", "background"],
        variations=["shift", "tilt"],
    )
    first = TemplateYields(*(each[0] for each in yields))
    with jax.enable_x64(True):
        assert float(found.figure.merit(fill(first))) == pytest.approx(found.merit, rel=1e-5)


def test_counts_are_poisson_and_the_same_in_every_sample():
    events = sample()
    many = np.stack([counts(events, number) for number in range(1, 201)])
    assert many.mean() == pytest.approx(1.0, abs=4 / many.size**0.5)
    assert many.var() == pytest.approx(1.0, abs=0.02)
    # No event, and no replica, knows of another one.
    assert abs(np.corrcoef(many[:, :200], rowvar=False)[np.triu_indices(200, 1)]).max() < 0.4
    assert abs(np.corrcoef(many)[np.triu_indices(200, 1)]).max() < 0.1
    shifted = events.varied("shift", "up")
    np.testing.assert_array_equal(counts(events, 3), counts(shifted, 3))
    assert not np.array_equal(counts(events, 3), counts(events, 3, stream=1))


@pytest.mark.slow
def test_the_spread_is_that_of_samples_made_anew():
    """Without variations 1 / σ(μ) of templates has a spread that other samples show, too."""
    split, found = measured(sample(varied=False))
    spread = bootstrapped(found, split, replicas=200).std(ddof=1)
    sizes = np.random.default_rng(3).poisson(4000, 100)
    others = [
        measured(sample(size=size, seed=seed, varied=False))[1].merit
        for seed, size in enumerate(sizes, 2)
    ]
    # Of 100 samples a spread is known to 7 %.
    assert spread == pytest.approx(np.std(others, ddof=1), rel=0.25)


def in_regions(seed=4, size=3000):
    """Two signal regions of different width in the score, and a control region that is counted."""
    rng = np.random.default_rng(seed)
    process = rng.integers(0, 2, size)
    region = rng.integers(0, 3, size)
    x = np.where(process == 0, rng.beta(3, 1.5, size), rng.beta(1.5, 2, size))
    weight = np.where(process == 0, 0.3, 1.0) * rng.uniform(0.5, 1.5, size)
    return dt.Events.from_arrays(
        np.where(region == 1, x, x**2)[:, None],
        process,
        weight,
        feature_names=["score"],
        processes=PROCESSES,
        event_number=np.arange(size),
        folds=5,
        variations={"tilt": (weight * (0.8 + 0.4 * x), weight * (1.2 - 0.4 * x))},
        regions=[
            dt.Region(name="high", selection="1", edges=EDGES),
            dt.Region(name="low", selection="1", edges=(0.0, 0.4, 1.0)),
            dt.Region(name="control", selection="1", role="control"),
        ],
        region=region,
    )


@pytest.mark.slow
def test_all_regions_are_resampled():
    """A replica is the measurement of events of which some are there several times."""
    split = CrossFit(events=in_regions())

    def measured_of(split):
        return dt.measure(Network().score, split, figure="precision", unblind=True)

    found = measured_of(split)
    assert [each.channel for each in found.fitted] == ["high", "low", "control"]
    replicas = bootstrapped(found, split, replicas=3)
    assert len(set(replicas.tolist())) == 3
    for number, merit in enumerate(replicas, start=1):
        often = counts(split.events, number)
        several = jax.tree.map(
            lambda column, often=often: np.repeat(column, often, 0), split.events
        )
        assert merit == pytest.approx(measured_of(CrossFit(events=several)).merit, rel=1e-4)

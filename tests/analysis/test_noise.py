"""Variations that are more noise than effect, against errors in closed form."""

import numpy as np
import pytest

import difftune as dt
from difftune.analysis import CrossFit, variation_noise
from difftune.errors import InputError

EDGES = np.linspace(0.0, 1.0, 6)
PROCESSES = [dt.Process(name="signal", role="signal"), dt.Process(name="background")]


def score(events):
    return np.asarray(events.features[:, 0])


def events_of(rng, size, first, **more):
    process = np.arange(size) % 2
    return dt.Events.from_arrays(
        rng.uniform(size=(size, 1)),
        process,
        np.ones(size),
        feature_names=["score"],
        processes=PROCESSES,
        event_number=first + np.arange(size),
        folds=5,
        **more,
    )


def found(*, size=4000):
    """A clear variation of weights, and one without effect, of other events."""
    rng = np.random.default_rng(3)
    others = [events_of(rng, size, first * size) for first in (1, 2)]
    nominal = events_of(
        rng,
        size,
        0,
        variations={"clear": (np.full(size, 1.1), np.full(size, 0.9)), "noise": tuple(others)},
    )
    split = CrossFit(events=nominal)
    templates = dt.analysis.fill_templates(score, split, EDGES)
    measurement = dt.analysis.Measurement(
        templates=templates,
        workspace=dt.histfactory.build_workspace([templates]),
        stat_only=0.0,
        expected=0.0,
        figure=dt.analysis.FIGURES["precision"],
        value=0.0,
        score=score,
    )
    noise = variation_noise(measurement, split, replicas=400)
    return measurement, split, {(each.process, each.variation): each for each in noise}


@pytest.mark.parametrize("process", ["signal", "background"])
def test_errors_are_those_of_the_closed_form(process):
    measurement, _, noise = found()
    template = measurement.templates.processes[process]
    total = template.nominal.sumw.sum()
    # The same events with other weights: a tenth of the yield, known exactly, and no shape.
    clear = noise[process, "clear"]
    assert clear.total.size == pytest.approx(0.1, rel=1e-5)
    assert clear.total.error == pytest.approx(0.0, abs=1e-7)
    assert clear.shape.size == pytest.approx(0.0, abs=1e-6)
    assert not clear.noisy
    # Other events: the variance of half the difference is a quarter of the sum of both variances,
    # which are those of a multinomial for the shape and of Poisson counts for the yields.
    up, down = (side.sumw for side in template.variations["noise"])
    other = noise[process, "noise"]
    variance = sum(n / n.sum() * (1 - n / n.sum()) / n.sum() for n in (up, down)) / 4
    difference = (up / up.sum() - down / down.sum()) / 2
    assert other.shape.error == pytest.approx(np.sqrt(np.sum(variance)), rel=0.1)
    assert other.shape.chi2 == pytest.approx(np.sum(difference**2 / variance), rel=0.25)
    assert other.shape.numbers == 5
    factor = (up.sum() - down.sum()) / 2 / total
    assert other.total.size == pytest.approx(abs(factor), rel=1e-4)
    assert other.total.error == pytest.approx(np.sqrt(up.sum() + down.sum()) / 2 / total, rel=0.15)


def test_only_noise_is_called_so():
    _, _, noise = found()
    # Twice five bins of pure noise: their χ² is beyond 20 in 3 % of samples.
    assert sum(each.shape.chi2 for (_, name), each in noise.items() if name == "noise") < 20
    assert [each.variation for each in noise.values() if each.noisy].count("clear") == 0
    assert any(each.noisy for (_, name), each in noise.items() if name == "noise")


def test_few_replicas_are_refused():
    measurement, split, _ = found(size=200)
    with pytest.raises(InputError, match="ten or more"):
        variation_noise(measurement, split, replicas=2)

"""Small and noisy variations: dropped and smoothed as their closed form says, also for pyhf."""

import numpy as np
import pyhf
import pytest

import difftune as dt
from difftune.analysis import CrossFit, closure, measure
from difftune.analysis.pruning import Treatment, parts
from difftune.errors import InputError

EDGES = np.linspace(0.0, 1.0, 9)
PROCESSES = [dt.Process(name="signal", role="signal"), dt.Process(name="background")]
SIZE = 8000


def score(events):
    return np.asarray(events.features[:, 0])


def events_of(seed, *, slope=0.0, yields=1.0, first=0, **more):
    """Densities of 1 + slope (2x - 1), for both processes alike."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(size=SIZE)
    if slope:
        # The inverse of the distribution function.
        x = ((slope - 1) + np.sqrt((1 - slope) ** 2 + 4 * slope * x)) / (2 * slope)
    return dt.Events.from_arrays(
        x[:, None],
        np.arange(SIZE) % 2,
        np.full(SIZE, yields),
        feature_names=["score"],
        processes=PROCESSES,
        event_number=first + np.arange(SIZE),
        folds=5,
        **more,
    )


@pytest.fixture(scope="module")
def split():
    """Variations of events of their own: without effect, with a slope, and of the yield."""
    pairs = {
        "nothing": [{}, {}],
        "slope": [{"slope": 0.3}, {"slope": -0.3}],
        "yield": [{"yields": 1.2}, {"yields": 0.8}],
    }
    varied = {
        name: tuple(
            events_of([number, side], first=(10 * number + side + 1) * SIZE, **options)
            for side, options in enumerate(pair)
        )
        for number, (name, pair) in enumerate(pairs.items())
    }
    nominal = events_of(0)
    weight = np.asarray(nominal.weight)
    varied["tiny"] = (weight * 1.001, weight * 0.999)
    return CrossFit(events=events_of(0, variations=varied))


def modifiers(workspace, process):
    """By pyhf."""
    (channel,) = pyhf.Workspace(workspace)["channels"]
    (sample,) = [s for s in channel["samples"] if s["name"] == process]
    return {
        (modifier["name"], modifier["type"])
        for modifier in sample["modifiers"]
        if modifier["type"] in ("normsys", "histosys")
    }


@pytest.mark.slow
@pytest.mark.parametrize("process", ["signal", "background"])
def test_by_default_nothing_is_dropped(split, process):
    found = measure(score, split, binning=EDGES)
    assert found.treatments == ()
    assert modifiers(found.workspace, process) == {
        # As many events up and down as there are nominally.
        ("nothing", "histosys"),
        ("slope", "histosys"),
        ("yield", "histosys"),
        ("yield", "normsys"),
        ("tiny", "normsys"),
    }


@pytest.mark.slow
@pytest.mark.parametrize("process", ["signal", "background"])
def test_noise_is_dropped_and_effects_are_not(split, process):
    found = measure(score, split, binning=EDGES, noise="prune")
    left = modifiers(found.workspace, process)
    assert {("slope", "histosys"), ("yield", "normsys"), ("tiny", "normsys")} <= left
    assert not left & {("nothing", "histosys"), ("nothing", "normsys"), ("yield", "histosys")}
    assert {(each.process, each.variation) for each in found.treatments} >= {
        (process, "nothing"),
        (process, "yield"),
    }
    model = pyhf.Workspace(found.workspace).model()
    assert "slope" in model.config.parameters
    assert ("nothing" in model.config.parameters) == any(
        name == "nothing"
        for each in ("signal", "background")
        for name, _ in modifiers(found.workspace, each)
    )


@pytest.mark.slow
def test_effects_below_a_threshold_are_dropped(split):
    found = measure(score, split, binning=EDGES, prune=0.002)
    assert ("tiny", "normsys") not in modifiers(found.workspace, "signal")
    assert "tiny" not in pyhf.Workspace(found.workspace).model().config.parameters
    assert all("no more than 0.002" in str(each) for each in found.treatments)
    kept = measure(score, split, binning=EDGES, prune=0.0005)
    assert ("tiny", "normsys") in modifiers(kept.workspace, "signal")


@pytest.mark.slow
def test_a_smoothed_shape_is_nearer_to_the_truth(split):
    raw = measure(score, split, binning=EDGES)
    smooth = measure(score, split, binning=EDGES, noise="smooth")
    # Before and after are there to be compared.
    assert raw.untreated is None
    assert smooth.untreated["channels"] == raw.workspace["channels"]
    assert dt.report.smoothed_variations(smooth.untreated, smooth.workspace)
    centers = (EDGES[1:] + EDGES[:-1]) / 2
    # The integral of 1 + 0.3 (2x - 1) over a bin, relative to that of 1.
    truth = 0.3 * (2 * centers - 1)

    def errors(found):
        """Of half the difference of up and down, of both processes."""
        halves = []
        for template in found.templates.processes.values():
            up, down = (side.sumw for side in template.variations["slope"])
            halves.append((up / up.sum() - down / down.sum()) / 2 * len(centers) - truth)
        return np.sqrt(np.mean(np.square(halves), axis=1))

    assert (errors(smooth) < errors(raw)).all()
    assert np.linalg.norm(errors(smooth)) < 0.8 * np.linalg.norm(errors(raw))
    for process, template in smooth.templates.processes.items():
        yields = [side.sumw.sum() for side in template.variations["slope"]]
        before = [s.sumw.sum() for s in raw.templates.processes[process].variations["slope"]]
        np.testing.assert_allclose(yields, before, rtol=1e-9)


def test_a_polynomial_is_found_exactly():
    """What is a polynomial of the number of the bin already stays as it is."""
    nominal = np.random.default_rng(1).uniform(50, 100, 8)
    share, x = nominal / nominal.sum(), np.linspace(-1, 1, 8)
    slope = 0.2 * (x - share @ x)
    up, down = nominal * (1 + slope) * 1.1, nominal * (1 - slope) * 0.9
    treatment = Treatment(
        region="",
        process="",
        variation="",
        yields=(True, True),
        degrees=(1, 0),
        errors=np.full((2, 8), 0.01),
        reason="",
    )
    for found, given in zip(treatment(nominal, up, down), (up, down), strict=True):
        np.testing.assert_allclose(found, given, rtol=1e-12)
    # A step is not; numpy's fit says what is left of it.
    step = np.where(x > 0, 0.1, -0.1)
    step = step - share @ step
    high, low = treatment(nominal, nominal * (1 + step), nominal * (1 - step))
    design = (share * (x - share @ x))[:, None]
    (slope,), *_ = np.linalg.lstsq(design, share * step, rcond=None)
    np.testing.assert_allclose(high / nominal - 1, slope * (x - share @ x), rtol=1e-9)
    np.testing.assert_allclose(low / nominal - 1, -slope * (x - share @ x), rtol=1e-9)


def test_what_is_kept_is_as_it_was():
    rng = np.random.default_rng(2)
    nominal, up, down = rng.uniform(50, 100, (3, 6))
    treatment = Treatment(
        region="",
        process="",
        variation="",
        yields=(True, True),
        degrees=(None, None),
        errors=np.ones((2, 6)),
        reason="",
    )
    assert not treatment.changes
    for found, given in zip(treatment(nominal, up, down), (up, down), strict=True):
        np.testing.assert_allclose(found, given, rtol=1e-12)
    factor, shape = parts(nominal, up, down)
    assert factor[0, 0] == pytest.approx((up.sum() - down.sum()) / 2 / nominal.sum())
    np.testing.assert_allclose(shape.sum(axis=-1), 0.0, atol=1e-12)


@pytest.mark.slow
def test_replicas_are_treated_alike(split):
    """What a fit takes for information is no longer there when halves are compared."""
    found = measure(score, split, binning=EDGES, noise="prune")
    closed = closure(found, split, experiments=40)
    assert closed.failed == 0
    assert np.isfinite(closed.expected).all()


def test_what_is_no_threshold_and_no_word(split):
    with pytest.raises(InputError, match=r"prune=1\.5"):
        measure(score, split, binning=EDGES, prune=1.5)
    with pytest.raises(InputError, match="Did you mean 'smooth'"):
        measure(score, split, binning=EDGES, noise="smoth")

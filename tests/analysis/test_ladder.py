"""The ladder: gains and their chances, against samples with known ones."""

import numpy as np
import pytest
from scipy.stats import norm

from difftune.analysis import FIGURES
from difftune.analysis.ladder import Ladder, Rung, Step, chance


def ladder(*steps, figure="precision"):
    return Ladder(figure=FIGURES[figure], steps=steps)


def test_values_gains_and_their_uncertainties():
    rng = np.random.default_rng(1)
    shared = rng.normal(size=400)
    first = Step(name="default", merits=np.array([20.0]), replicas=20 * (1 + 0.05 * shared))
    # The same replicas: the ratio is known ten times better than each.
    second = Step(
        name="tuned",
        merits=np.array([21.0]),
        replicas=21 * (1 + 0.05 * shared + 0.005 * rng.normal(size=400)),
    )
    one, two = ladder(first, second).rungs
    assert (one.value, two.value) == (pytest.approx(1 / 20), pytest.approx(1 / 21))
    assert one.uncertainty == pytest.approx(0.05 / 20, rel=0.1)
    assert two.gain == pytest.approx(1 - 20 / 21)
    assert two.gain_uncertainty == pytest.approx(0.005 * 20 / 21, rel=0.15)
    assert two.chance == pytest.approx(norm.sf(two.gain / two.gain_uncertainty))
    assert two.sure
    # Without pairs, each counts for itself.
    alone = ladder(Step(name="default", merits=first.merits), second).rungs[1]
    assert alone.gain_uncertainty == pytest.approx(0.05 * 20 / 21, rel=0.1)
    assert not alone.sure


@pytest.mark.slow
def test_the_chance_of_trainings_that_do_not_differ_is_what_it_says():
    """Of many comparisons of the same thing, one in twenty is below 5 %."""
    rng = np.random.default_rng(2)
    found = [
        ladder(*(Step(name=n, merits=rng.normal(10, 0.2, 12), what="seeds") for n in "ab"))
        .rungs[1]
        .chance
        for _ in range(1000)
    ]
    # A spread of 12 is itself uncertain, which widens the tails a little.
    assert np.mean(np.array(found) < 0.05) == pytest.approx(0.055, abs=0.02)
    assert np.mean(np.array(found) < 0.5) == pytest.approx(0.5, abs=0.05)


def test_the_same_trainings_in_other_bins_are_compared_in_pairs():
    merits = np.array([10.0, 14.0, 12.0])
    before = Step(name="a", merits=merits, what="repetitions")
    after = Step(name="b", merits=1.1 * merits, what="repetitions", same=True)
    rung = ladder(before, after).rungs[1]
    assert rung.gain == pytest.approx(1 - 1 / 1.1)
    assert rung.gain_uncertainty == pytest.approx(0.0, abs=1e-12)


def test_what_is_said_of_it():
    steps = [
        Step(name=n, merits=np.array([m, m * 1.01, m * 0.99]), what="repetitions")
        for n, m in (("default", 10.0), ("tuned", 10.01), ("through the fit", 15.0))
    ]
    said = ladder(*steps, figure="discovery")
    assert said.significant
    assert "improves by +50.0%" in said.verdict
    assert "gain nothing beyond chance: 'tuned'" in said.verdict
    assert "the spread over 3 repetitions" in said.sources
    text = str(said)
    assert "through the fit" in text
    assert "15.00 ± 0.15" in text
    nothing = ladder(*steps[:2], figure="discovery")
    assert not nothing.significant
    assert nothing.verdict.startswith("Nothing is gained beyond chance")


def test_chance_of_no_uncertainty():
    assert chance(0.1, 0.0) == 0.0
    assert chance(0.0, 0.0) == 1.0
    assert chance(-0.2, 0.1) == pytest.approx(norm.cdf(2))


@pytest.mark.parametrize(
    ("share", "said"), [(1e-4, "< 0.1 %"), (0.041, "4.1 %"), (0.5, "50 %"), (0.999, "> 99 %")]
)
def test_chances_in_words(share, said):
    assert Rung(name="a", value=1.0, uncertainty=0.1, chance=share).luck == said

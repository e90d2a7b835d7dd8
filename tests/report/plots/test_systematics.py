import numpy as np
import pytest

from difftune.histograms import Histogram, Template, Templates
from difftune.report import negligible, systematic_variations
from tests.report import samples
from tests.report.readable import assert_readable, texts


@pytest.mark.slow
def test_largest_first_and_negligible_ones_left_out():
    templates = samples.higgs_templates()
    pages = systematic_variations(templates)
    for page in pages:
        assert_readable(page)
    shown = [name for page in pages for name in page.numbers]
    moved = [
        max(np.abs(h.sumw - t.nominal.sumw).sum() for h in t.variations[name])
        for name, t in ((n.split(", ")[0], templates.processes[n.split(", ")[1]]) for n in shown)
    ]
    assert moved == sorted(moved, reverse=True)
    assert not any(name.startswith("nothing") for name in shown)
    left_out = negligible(templates, pages)
    assert {name for name in left_out if name.startswith("nothing")} == {
        f"nothing, {process}" for process in templates.processes
    }
    assert len(left_out) + len(shown) == 12


def test_lower_panel_is_the_relative_change():
    templates = samples.higgs_templates()
    figure = systematic_variations(templates)[0]
    name, process = next(iter(figure.numbers)).split(", ")
    nominal, (up, down) = (
        templates.processes[process].nominal.sumw,
        templates.processes[process].variations[name],
    )
    below = figure.axes[3]  # first row of three, then the first of their lower panels
    lines = [patch.get_data().values for patch in below.patches]
    for expected in (100 * (up.sumw / nominal - 1), 100 * (down.sumw / nominal - 1)):
        assert any(np.allclose(line, expected) for line in lines)
    assert any(f"{process}: " in text for text in texts(figure))


@pytest.mark.parametrize("count", [1, pytest.param(11, marks=pytest.mark.slow)])
def test_pages_and_odd_bins(count):
    edges = np.array([0.0, 0.5, 0.99, 0.995, 1.0])
    nominal = Histogram(edges, np.array([1e6, 0.0, -2.0, 5.0]), np.array([1e4, 0.0, 4.0, 5.0]))
    variations = {
        f"a_rather_long_name_of_an_uncertainty_{i}": (nominal * 1.1, nominal * 0.7)
        for i in range(count)
    }
    templates = Templates(
        channel="SR", edges=edges, processes={"b": Template(nominal, variations)}, signal=()
    )
    pages = systematic_variations(templates)
    assert len(pages) == 1 + (count > 9)
    for page in pages:
        assert_readable(page)
    assert len(systematic_variations(templates, most=3)) == 1


def test_without_variations_there_are_no_figures():
    assert systematic_variations(samples.toy_templates()) == []

import dataclasses

import numpy as np
import pytest
from matplotlib.colors import to_hex
from scipy import stats

from difftune.histfactory import Model, NormalisationUncertainty, build_workspace
from difftune.histograms import Histogram, Template, Templates
from difftune.inference import fit, predictions
from difftune.report import Label, region, uncertainty
from tests.report import samples
from tests.report.readable import assert_readable, texts


def legend(figure):
    return [text.get_text() for text in figure.axes[0].get_legend().get_texts()]


def test_stack_adds_up_and_asimov_data_are_its_sum():
    templates = samples.higgs_templates()
    figure = region(templates)
    assert_readable(figure)
    total = templates.total().sumw
    main = figure.axes[0]
    filled = [patch.get_data() for patch in main.patches if patch.get_fill()]
    assert any(np.allclose(data.values, total) for data in filled)
    np.testing.assert_allclose(main.containers[0].lines[0].get_ydata(), total)
    np.testing.assert_array_equal(figure.numbers["data"], total)
    assert figure.numbers["data_is_asimov"]
    labels = legend(figure)
    assert labels[0] == "Asimov data"
    yields = {p: templates.processes[p].nominal.sumw.sum() for p in templates.names("background")}
    assert labels[1:5] == [*templates.signal, *sorted(yields, key=yields.get, reverse=True)]
    assert "Uncertainty" in labels
    assert "Signal region\nPre-fit" in texts(figure)


def test_processes_have_their_titles_and_colours():
    templates = samples.higgs_templates()
    name = templates.names("background")[0]
    titles = {name: r"$Z \to \tau\tau$", templates.channel: "2 jets"}
    figure = region(templates, label=Label(titles=titles, colors={name: "#123456"}))
    assert_readable(figure)
    assert titles[name] in legend(figure)
    assert name not in legend(figure)
    assert "2 jets\nPre-fit" in texts(figure)
    colors = {to_hex(p.get_facecolor()) for p in figure.axes[0].patches if p.get_fill()}
    assert "#123456" in colors


def test_band_is_statistics_and_systematics_in_quadrature():
    templates = samples.higgs_templates()
    source = NormalisationUncertainty("xsec", 0.2, processes=("Diboson",))
    figure = region(templates, normalisation=[source])
    error = uncertainty(templates, templates.names(), normalisation=[source])
    total = templates.total().sumw
    bands = [p.get_data() for p in figure.axes[0].patches if p.get_hatch()]
    np.testing.assert_allclose(bands[0].values, total + error.total_up)
    np.testing.assert_allclose(bands[0].baseline, total - error.total_down)
    plain = uncertainty(templates, templates.names())
    assert np.all(error.up > plain.up)


@pytest.mark.slow
def test_after_a_fit_yields_and_band_are_those_of_the_fit():
    templates = samples.higgs_templates(data=True)
    model = Model.from_spec(build_workspace([templates]))
    result = fit(model, 1.1 * model.observed)
    prediction = predictions(model, result)[templates.channel]
    figure = region(templates, prediction=prediction)
    assert_readable(figure)
    expected = model.expected(result.values)
    np.testing.assert_allclose(figure.numbers["total"], expected)
    band = next(p.get_data() for p in figure.axes[0].patches if p.get_hatch())
    np.testing.assert_allclose(band.values, expected + prediction.of().uncertainties)
    np.testing.assert_array_equal(figure.numbers["data"], templates.data.sumw)
    assert "Signal region\nPost-fit" in texts(figure)

    blind = dataclasses.replace(templates, data=None)
    assert np.array_equal(
        region(blind, prediction=prediction).numbers["data"], templates.total().sumw
    )
    # A fit without uncertainties.
    unknown = dataclasses.replace(prediction, covariance=np.nan * prediction.covariance)
    assert_readable(region(templates, prediction=unknown))

    given = 1.2 * expected
    assert np.array_equal(region(blind, asimov=given).numbers["data"], given)


def test_data_have_poisson_errors_and_a_ratio_to_the_sum_above_s_over_root_b():
    templates = samples.higgs_templates(data=True)
    figure = region(templates)
    assert_readable(figure)
    assert legend(figure)[0] == "Data"
    data = templates.data.sumw
    signal, background = (templates.total(role).sumw for role in ("signal", "background"))
    main, below, lowest = figure.axes
    bars = main.containers[0].lines[2][0].get_segments()
    level = 2 * stats.norm.sf(1)
    np.testing.assert_allclose(
        [bar[1, 1] for bar in bars], stats.chi2.isf(level / 2, 2 * data + 2) / 2, rtol=1e-6
    )
    np.testing.assert_allclose(
        below.containers[0].lines[0].get_ydata(), data / (signal + background)
    )
    filled = lowest.patches[0].get_data().values
    np.testing.assert_allclose(filled, signal / np.sqrt(background))


def test_narrow_bins_are_drawn_equally_wide_with_their_edges():
    templates = samples.higgs_templates(narrow=True)
    figure = region(templates)
    assert_readable(figure)
    assert figure.axes[0].get_xlim() == (0, 6)
    named = [float(t.get_text()) for t in figure.axes[-1].get_xticklabels()]
    np.testing.assert_allclose(named, templates.edges, atol=1e-3)
    np.testing.assert_array_equal(figure.numbers["edges"], templates.edges)
    assert region(templates, equal_widths=False).axes[0].get_xlim() == (0, 1)


def test_signal_line_is_scaled_to_be_seen():
    templates = samples.toy_templates(2)
    figure = region(templates, log=False)
    assert_readable(figure)
    assert "signal × 10" in legend(figure) or "signal × 100" in legend(figure)
    fixed = region(templates, log=False, signal_scale=7.0)
    assert "signal × 7" in legend(fixed)
    lines = [p.get_data().values for p in fixed.axes[0].patches if not p.get_fill()]
    assert any(np.allclose(v, 7 * templates.total("signal").sumw) for v in lines)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("backgrounds", "signal", "name", "log"),
    [
        (0, True, "p{}", True),
        (1, False, "p{}", False),
        (10, True, "a_process_with_a_long_name_{}", False),
        (16, True, "p{}", True),
    ],
)
def test_few_and_many_processes(backgrounds, signal, name, log):
    templates = samples.toy_templates(backgrounds, signal=signal, names=name)
    figure = region(templates, log=log)
    assert_readable(figure)
    labels = legend(figure)
    assert ("Other" in labels) == (backgrounds > 9)
    assert len(figure.numbers["processes"]) == backgrounds + signal


@pytest.mark.parametrize("log", [False, True])
def test_negative_and_empty_bins(log):
    edges = np.linspace(0, 1, 4)
    background = Histogram(edges, np.array([10.0, 0.0, -3.0]), np.array([4.0, 0.0, 9.0]))
    signal = Histogram(edges, np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.0, 0.1]))
    templates = Templates(
        channel="SR",
        edges=edges,
        processes={"b": Template(background, {}), "s": Template(signal, {})},
        signal=("s",),
    )
    assert_readable(region(templates, log=log))
    data = Histogram(edges, np.zeros(3), np.zeros(3))
    assert_readable(region(dataclasses.replace(templates, data=data), log=log))


def test_nothing_at_all():
    edges = np.linspace(0, 1, 4)
    templates = Templates(
        channel="SR", edges=edges, processes={"b": Template(Histogram.empty(edges), {})}, signal=()
    )
    assert_readable(region(templates))

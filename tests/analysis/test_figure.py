"""Figures of merit, against pyhf and closed forms."""

import numpy as np
import pyhf
import pytest

from difftune.analysis import FIGURES, as_figure
from difftune.errors import InputError
from difftune.histfactory import Model, build_workspace
from difftune.inference import asimov_at, asimov_significance, covariance
from tests.histfactory import samples


@pytest.fixture(scope="module")
def workspace():
    """Templates with systematics and statistics of the simulation."""
    return build_workspace([samples.large(bins=3, processes=2, systematics=2)])


@pytest.fixture(scope="module")
def asimov(workspace):
    """pyhf's model and its Asimov data of a strength."""
    model = pyhf.Workspace(workspace).model()

    def data(strength):
        start = np.array(model.config.suggested_init())
        start[model.config.poi_index] = strength
        return start, model.expected_data(start)

    return model, data


@pytest.mark.slow
def test_precision_is_that_of_the_second_derivatives_of_pyhf(workspace, asimov):
    model, data = asimov
    start, observed = data(1.0)
    steps = 1e-3 * np.eye(len(start))

    def at(point):
        return -float(model.logpdf(point, observed)[0])

    hessian = np.array(
        [
            [
                (at(start + i + j) - at(start + i - j) - at(start - i + j) + at(start - i - j))
                / 4e-6
                for j in steps
            ]
            for i in steps
        ]
    )
    poi = model.config.poi_index
    sigma = np.linalg.inv(hessian)[poi, poi] ** 0.5
    assert FIGURES["precision"].of(Model.from_spec(workspace)) == pytest.approx(sigma, rel=1e-3)


@pytest.mark.slow
def test_discovery_and_limit_are_those_of_pyhf(workspace, asimov):
    model, data = asimov
    discovery = pyhf.infer.test_statistics.q0(
        0.0,
        data(1.0)[1],
        model,
        model.config.suggested_init(),
        model.config.suggested_bounds(),
        model.config.suggested_fixed(),
    )
    found = FIGURES["discovery"].of(Model.from_spec(workspace))
    assert found == pytest.approx(float(discovery) ** 0.5, rel=1e-2)
    limit = FIGURES["limit"].of(Model.from_spec(workspace))
    _, expected = pyhf.infer.hypotest(
        limit, data(0.0)[1], model, test_stat="qtilde", return_expected=True
    )
    assert float(expected) == pytest.approx(0.05, rel=2e-2)


def test_a_function_of_the_model_is_a_figure(workspace):
    def strength_of_two(model):
        asimov = asimov_at(model, 2.0)
        return covariance(asimov, [asimov.poi])[0, 0] ** -0.5

    figure = as_figure(strength_of_two)
    model = Model.from_spec(workspace)
    # With more signal its own uncertainty grows, so it is known better than at 1 only relatively.
    assert 0.5 / FIGURES["precision"].of(model) < figure.of(model)
    assert figure.of(model) < 1 / FIGURES["precision"].of(model)
    assert (figure.symbol, figure.inverse) == ("strength_of_two", False)


def test_models_of_one_structure_share_a_program(workspace):
    """A run measures ten networks or more, and a program takes seconds to compile."""
    traced = []

    def counted(model):
        traced.append(1)
        asimov = asimov_at(model, 1.0)
        return covariance(asimov, [asimov.poi])[0, 0] ** -0.5

    figure, model = as_figure(counted), Model.from_spec(workspace)
    more = model.replace(numbers=1.1 * model.numbers)
    assert figure.of(more) != figure.of(model)
    assert len(traced) == 1


@pytest.mark.slow
def test_the_closed_form_of_a_counting_experiment():
    plain = build_workspace(
        [samples.large(bins=3, processes=2, systematics=0)], mc_statistics=False
    )
    templates = samples.large(bins=3, processes=2, systematics=0)
    s, b = (templates.total(role).sumw for role in ("signal", "background"))
    assert FIGURES["discovery"].of(Model.from_spec(plain)) == pytest.approx(
        float(asimov_significance(s, b)), rel=1e-5
    )
    assert FIGURES["precision"].of(Model.from_spec(plain)) == pytest.approx(
        np.sum(s**2 / (s + b)) ** -0.5
    )


def test_what_is_no_figure():
    with pytest.raises(InputError, match="Choose one of precision"):
        as_figure("precison")
    with pytest.raises(InputError, match="figure"):
        as_figure(lambda: 1.0)
    with pytest.raises(InputError, match="figure=3"):
        as_figure(3)

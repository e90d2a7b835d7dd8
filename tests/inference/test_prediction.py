"""Yields after a fit, against cabinetry."""

from dataclasses import replace

import cabinetry
import numpy as np
import pyhf
import pytest

from difftune.histfactory import (
    FreeNormalisation,
    Luminosity,
    Model,
    NormalisationUncertainty,
    build_workspace,
)
from difftune.inference import fit, predictions
from tests.histfactory import samples

FITTED = samples.large(bins=3, processes=3, systematics=2, scale=0.01)
OTHER = replace(samples.large(bins=2, processes=3, systematics=3, scale=0.01), channel="VR")
NUISANCES = {
    "normalisation": [NormalisationUncertainty("xs", 0.06, processes=("background2",))],
    "luminosity": Luminosity(0.017),
    "free": [FreeNormalisation("k", ("background1",))],
}


@pytest.fixture(scope="module")
def result():
    model = Model.from_spec(build_workspace([FITTED], **NUISANCES))
    return fit(model, model.observed * np.array([1.05, 0.97, 1.01]))


def carried_over(model, result):
    """Values, widths and correlations; those that were not fitted are as before."""
    names = model.config.par_names
    values = np.array(model.config.suggested_init(), float)
    widths = np.array(cabinetry.model_utils.prefit_uncertainties(model))
    correlation = np.eye(len(names))
    for i, name in enumerate(names):
        if name not in result.names:
            continue
        own = result.names.index(name)
        values[i], widths[i] = result.values[own], result.uncertainties[own]
        for j, other in enumerate(names):
            if other in result.names:
                correlation[i, j] = result.correlation[own, result.names.index(other)]
    np.fill_diagonal(correlation, 1.0)
    return values, widths, correlation


def by_small_steps(model, values, widths, correlation):
    """Uncertainty of each yield [samples + 1, bins], the last row that of the sum, by pyhf."""

    def yields(at):
        found = np.asarray(model.main_model.expected_data(at, return_by_sample=True))
        return np.vstack([found, found.sum(axis=0)])

    slopes = []
    for i, width in enumerate(widths):
        step = 1e-3 * width * np.eye(len(widths))[i]
        slopes.append(500 * (yields(values + step) - yields(values - step)))
    return np.sqrt(np.einsum("psb,pq,qsb->sb", slopes, correlation, slopes))


@pytest.mark.parametrize("channels", [[FITTED], [FITTED, OTHER]], ids=["fitted", "extrapolated"])
def test_yields_and_uncertainties_are_those_of_pyhf_and_cabinetry(result, channels):
    spec = build_workspace(channels, **NUISANCES)
    ours = predictions(Model.from_spec(spec), result)
    model = pyhf.Workspace(spec).model()
    point = carried_over(model, result)
    steps = by_small_steps(model, *point)
    values, widths, correlation = point
    given = cabinetry.fit.FitResults(values, widths, model.config.par_names, correlation, 0.0)
    theirs = cabinetry.model_utils.prediction(model, fit_results=given)
    assert list(ours) == model.config.channels
    for c, channel in enumerate(model.config.channels):
        rows = [*(ours[channel].of(name) for name in model.config.samples), ours[channel].of()]
        expected = np.array(theirs.model_yields[c])
        expected = np.vstack([expected, expected.sum(axis=0)])
        np.testing.assert_allclose([row.values for row in rows], expected, rtol=1e-6)
        np.testing.assert_allclose([row.total for row in rows], expected.sum(axis=1), rtol=1e-6)
        errors = np.stack([row.uncertainties for row in rows])
        np.testing.assert_allclose(
            errors, steps[:, model.config.channel_slices[channel]], rtol=1e-4
        )
        # cabinetry takes steps of one standard deviation, and the yields are not quite linear.
        np.testing.assert_allclose(errors, theirs.total_stdev_model_bins[c], rtol=0.1)
        totals = [row.total_uncertainty for row in rows]
        np.testing.assert_allclose(totals, theirs.total_stdev_model_channels[c], rtol=0.1)


def test_a_fit_knows_a_sum_better_than_its_parts(result):
    model = Model.from_spec(build_workspace([FITTED], **NUISANCES))
    (found,) = predictions(model, result).values()
    # The data of so many events say the sum to their square root.
    assert found.of().total_uncertainty < 1.1 * np.sqrt(found.of().total)
    parts = [found.of(name).total_uncertainty for name in found.names]
    assert max(parts) > 1.2 * np.sqrt(found.of().total)


def test_yields_before_a_fit_are_those_of_cabinetry():
    spec = build_workspace([FITTED, OTHER], **NUISANCES)
    model = pyhf.Workspace(spec).model()
    ours, theirs = predictions(Model.from_spec(spec)), cabinetry.model_utils.prediction(model)
    for c, channel in enumerate(model.config.channels):
        rows = [*(ours[channel].of(name) for name in model.config.samples), ours[channel].of()]
        expected = np.array(theirs.model_yields[c])
        expected = np.vstack([expected, expected.sum(axis=0)])
        np.testing.assert_allclose([row.values for row in rows], expected, rtol=1e-10)
        # cabinetry takes steps of one standard deviation.
        errors = np.stack([row.uncertainties for row in rows])
        np.testing.assert_allclose(errors, theirs.total_stdev_model_bins[c], rtol=0.1)
        totals = [row.total_uncertainty for row in rows]
        np.testing.assert_allclose(totals, theirs.total_stdev_model_channels[c], rtol=0.1)

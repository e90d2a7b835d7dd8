"""Several fits side by side, pies, and interpolated templates."""

import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import effects, fit, minos, predictions
from difftune.report import composition, effects_table, fit_summary, morphing
from tests.inference.test_groups import WIDE, linear
from tests.report.readable import assert_readable, texts


@pytest.fixture(scope="module")
def model():
    return Model.from_spec(linear())


def test_fits_are_listed_with_their_errors(model):
    best, errors = fit(model, bounds=WIDE), minos(model, parameters="mu", bounds=WIDE)
    figure = fit_summary({"All": best, "MINOS": errors}, statistics={"All": 0.3}, title="Strength")
    assert_readable(figure)
    value, sigma = best.parameter("mu")
    np.testing.assert_allclose(figure.numbers["values"], [value, value])
    np.testing.assert_allclose(figure.numbers["up"], [sigma, errors.up[0]])
    np.testing.assert_allclose(figure.numbers["down"], [sigma, -errors.down[0]])
    assert {"All", "MINOS", "Strength"} <= set(texts(figure))
    with pytest.raises(InputError, match="No parameter 'nu'"):
        fit_summary({"All": best}, "nu")


def test_pies_have_the_shares_of_the_samples(model):
    figure = composition(predictions(model), signal=("s",))
    assert_readable(figure)
    yields = {"s": 25.0, "b": 90.0, "c": 35.0, "d": 24.0}
    assert figure.numbers["SR"] == pytest.approx(yields)
    wedges = figure.axes[0].patches
    angles = sorted(wedge.theta2 - wedge.theta1 for wedge in wedges)
    np.testing.assert_allclose(angles, 360 * np.sort([*yields.values()]) / 174, rtol=1e-4)


def test_interpolated_yields_are_those_of_pyhf(model):
    figure = morphing(model, "JES_1", "SR", sample="b")
    assert_readable(figure)
    theirs = pyhf.Workspace(linear()).model()
    start = np.array(theirs.config.suggested_init())
    row = theirs.config.samples.index("b")
    for value in (-2.0, -0.5, 1.0):
        start[theirs.config.par_slice("JES_1")] = value
        expected = np.asarray(theirs.main_model.expected_data(start, True))[row]
        (place,) = np.flatnonzero(np.isclose(figure.numbers["values"], value))
        np.testing.assert_allclose(figure.numbers["yields"][place], expected)
    with pytest.raises(InputError, match="has no 'SRs'"):
        morphing(model, "JES_1", "SRs")


def test_table_has_the_changes_in_percent(model):
    table = effects_table(effects(model)["SR"])
    rows = {row[0]: row[1:] for row in table.rows}
    assert table.columns[1:] == ("b", "c", "d", "s", "Total")
    assert rows["JES_1"][0] == "+4.44 / −4.44"
    assert rows["JES_1"][1] is None
    assert rows["JES_1"][-1] == "+2.30 / −2.30"

"""Goodness of fit, against cabinetry, closed forms and repeated experiments."""

import json

import cabinetry
import numpy as np
import pyhf
import pytest
from scipy.stats import chi2, kstest, poisson

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import goodness_of_fit
from tests import shared_data
from tests.histfactory import samples


def counting(observed, *, expected=(50.0, 40.0, 60.0), free=("all",)):
    """Counts in channels of one bin; a free factor on all of them, or on some."""
    channels = []
    for i, nominal in enumerate(expected):
        names = [name for name in free if name in ("all", f"c{i}")]
        factors = [{"name": f"k_{name}", "type": "normfactor", "data": None} for name in names]
        sample = {"name": "b", "data": [nominal], "modifiers": factors}
        channels.append({"name": f"c{i}", "samples": [sample]})
    return {
        "version": "1.0.0",
        "channels": channels,
        "observations": [{"name": f"c{i}", "data": [n]} for i, n in enumerate(observed)],
        "measurements": [{"name": "m", "config": {"poi": f"k_{free[0]}", "parameters": []}}],
    }


def saturated(observed, expected):
    n, x = np.asarray(observed), np.asarray(expected)
    return 2 * np.sum(poisson.logpmf(n, n) - poisson.logpmf(n, x))


def test_the_p_value_is_that_of_cabinetry():
    workspace = samples.toy_workspace()
    parsed = pyhf.Workspace(workspace)
    theirs = cabinetry.fit.fit(parsed.model(), parsed.data(parsed.model()), goodness_of_fit=True)
    ours = goodness_of_fit(Model.from_spec(workspace))
    np.testing.assert_allclose(ours.p_value, theirs.goodness_of_fit, rtol=1e-3)
    contributions = [channel.contribution for channel in ours.channels.values()]
    assert ours.q == pytest.approx(sum(contributions) + ours.constraints, rel=1e-7)


def test_the_p_value_of_a_published_likelihood_is_that_of_cabinetry():
    path = shared_data.path("workspaces/SH4b_50bins.json")
    workspace = json.loads(path.read_text())
    parsed = pyhf.Workspace(workspace)
    theirs = cabinetry.fit.fit(parsed.model(), parsed.data(parsed.model()), goodness_of_fit=True)
    ours = goodness_of_fit(Model.from_spec(workspace))
    np.testing.assert_allclose(ours.p_value, theirs.goodness_of_fit, rtol=1e-4)


def test_counts_with_one_free_factor_are_the_closed_form():
    """The factor is the ratio of sums; without a channel, that of the other two."""
    n, b = np.array([61.0, 30.0, 66.0]), np.array([50.0, 40.0, 60.0])
    found = goodness_of_fit(Model.from_spec(counting(n)))
    q = saturated(n, b * n.sum() / b.sum())
    assert found.q == pytest.approx(q, rel=1e-7)
    assert found.dof == 2
    assert found.p_value == pytest.approx(chi2.sf(q, 2), rel=1e-7)
    for i, channel in enumerate(found.channels.values()):
        rest = np.arange(3) != i
        alone = saturated(n[rest], (b * n[rest].sum() / b[rest].sum())[rest])
        assert channel.q == pytest.approx(q - alone, rel=1e-6)
        assert channel.dof == 1
        assert channel.contribution == pytest.approx(
            saturated(n[i], b[i] * n.sum() / b.sum()), rel=1e-6
        )


def test_a_channel_that_has_a_parameter_to_itself_agrees_with_anything():
    found = goodness_of_fit(Model.from_spec(counting([61.0, 30.0, 66.0], free=("all", "c1"))))
    assert found.dof == 1
    assert found.channels["c1"].dof == 0
    assert found.channels["c1"].q == pytest.approx(0, abs=1e-6)
    assert np.isnan(found.channels["c1"].p_value)
    assert found.channels["c0"].dof == 1


def test_a_model_that_can_describe_everything_has_no_p_value(caplog):
    found = goodness_of_fit(Model.from_spec(counting([51.0], expected=(50.0,))))
    assert np.isnan(found.p_value)
    assert "χ² gives no p-value" in caplog.text


def test_toys_agree_with_the_formula_where_counts_are_large():
    spec = counting([2480.0, 2080.0, 3040.0], expected=(2500.0, 2000.0, 3000.0))
    found = goodness_of_fit(Model.from_spec(spec), toys=2000, seed=3)
    assert found.toys_p_value == pytest.approx(found.p_value, abs=0.04)
    assert kstest(found.toys, chi2(found.dof).cdf).pvalue > 1e-3
    for channel in found.channels.values():
        assert channel.toys_p_value == pytest.approx(channel.p_value, abs=0.04)


def test_toys_of_few_counts_are_all_experiments_weighted_by_their_probability():
    """One bin that expects 1.3 events whatever the parameters, and observes 3."""
    spec = counting([3.0], expected=(1.3,))
    found = goodness_of_fit(Model.from_spec(spec), fixed={"k_all": 1.0}, toys=4000)
    n = np.arange(40)
    q = np.array([saturated(count, 1.3) for count in n])
    exact = poisson.pmf(n, 1.3)[q >= saturated(3.0, 1.3) - 1e-9].sum()
    assert found.toys_p_value == pytest.approx(exact, abs=0.02)


def test_several_rows_are_refused():
    model = Model.from_spec(counting([61.0, 30.0, 66.0]))
    with pytest.raises(InputError, match="one row of data"):
        goodness_of_fit(model, np.ones((2, 3)))


def test_bins_that_expect_nothing_are_said(caplog):
    """cabinetry counts them, so we do."""
    spec = counting([61.0, 30.0, 0.0], expected=(50.0, 40.0, 0.0))
    assert goodness_of_fit(Model.from_spec(spec)).dof == 2
    assert "1 of 3 bins expect nothing" in caplog.text

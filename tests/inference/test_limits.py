import json

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pyhf.cli
import pytest
from click.testing import CliRunner

from difftune.histfactory import Model
from difftune.inference import FitError, Status, fit, hypotest, upper_limit
from tests.histfactory import samples
from tests.inference.test_fits import SPREAD, counting


@pytest.fixture(autouse=True)
def _numpy_and_minuit():
    pyhf.set_backend("numpy", "minuit")
    yield
    pyhf.set_backend("numpy", "scipy")


def cls_of_pyhf(workspace: dict, mu: float) -> list[float]:
    """Observed and expected CLs by pyhf, beyond the bounds of the POI too."""
    parsed = pyhf.Workspace(workspace)
    model = parsed.model()
    bounds = model.config.suggested_bounds()
    bounds[model.config.poi_index] = (0.0, 1000.0)
    observed, expected = pyhf.infer.hypotest(
        mu,
        parsed.data(model),
        model,
        par_bounds=bounds,
        test_stat="qtilde",
        return_expected_set=True,
    )
    return [float(observed), *(float(value) for value in expected)]


@pytest.mark.parametrize(("optimizer", "rtol"), [("minuit", 1e-3), ("scipy", 1e-3)])
def test_cls_is_what_pyhfs_command_line_prints(tmp_path, optimizer, rtol):
    workspace = samples.toy_workspace()
    path = tmp_path / "workspace.json"
    path.write_text(json.dumps(workspace))
    result = CliRunner().invoke(pyhf.cli.cli, ["cls", str(path), "--optimizer", optimizer])
    printed = json.loads(result.output)
    ours = hypotest(1.0, Model.from_spec(workspace))
    np.testing.assert_allclose(ours.observed, printed["CLs_obs"], rtol=rtol)
    np.testing.assert_allclose(ours.expected, printed["CLs_exp"], rtol=rtol)


@pytest.mark.parametrize("mu", [0.2, 1.0, 3.0])
def test_cls_without_uncertainties_is_pyhfs(mu):
    # Minuit has nothing to fit here; pyhf needs scipy for it.
    workspace = counting([3.0, 5.0], [50.0, 20.0], observed=[51.0, 22.0])
    ours = hypotest(mu, Model.from_spec(workspace))
    pyhf.set_backend("numpy", "scipy")
    observed, *expected = cls_of_pyhf(workspace, mu)
    np.testing.assert_allclose(ours.observed, observed, rtol=1e-4)
    np.testing.assert_allclose(ours.expected, expected, rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        samples.toy_workspace,
        lambda: counting([3.0, 5.0], [50.0, 20.0], [40.0, 17.0], **SPREAD),
        lambda: counting([3.0, 5.0], [50.0, 20.0], poi_bounds=(0.0, 1.5), **SPREAD),
    ],
    ids=["toy", "deficit", "beyond the bounds"],
)
def test_pyhf_finds_the_level_at_every_limit(make):
    workspace = make()
    ours = upper_limit(Model.from_spec(workspace))
    for index, limit in enumerate((ours.observed, *ours.expected)):
        np.testing.assert_allclose(cls_of_pyhf(workspace, limit)[index], 0.05, rtol=5e-3)


def bent_back() -> dict:
    """Up and down variation of a systematic lower the same bins: two minima at most strengths."""
    background = [319.5, 192.1, 351.4]
    up, down = [191.6, 191.2, 182.4], [296.6, 191.3, 229.1]
    workspace = counting([83.6, 55.7, 60.2], background, [467.0, 141.0, 321.0])
    shape = {"name": "shape", "type": "histosys", "data": {"hi_data": up, "lo_data": down}}
    (channel,) = workspace["channels"]
    channel["samples"][1]["modifiers"].append(shape)
    return workspace


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["minuit", "scipy"])
def test_of_several_minima_the_lower_counts(optimizer):
    # Fits that start from the best fit of the background alone end higher, and with them the
    # median expected limit at 0.365 in place of 0.486.
    workspace = bent_back()
    ours = upper_limit(Model.from_spec(workspace))
    tests = hypotest(np.array([ours.observed, *ours.expected]), Model.from_spec(workspace))
    pyhf.set_backend("numpy", optimizer)
    for index, limit in enumerate((ours.observed, *ours.expected)):
        theirs = cls_of_pyhf(workspace, limit)
        np.testing.assert_allclose(theirs[index], 0.05, rtol=5e-3)
        np.testing.assert_allclose(tests.expected[index], theirs[1:], rtol=5e-3)


@pytest.mark.slow
def test_agrees_with_pyhfs_own_search():
    workspace = counting([12.0, 11.0], [50.0, 52.0], [51.0, 48.0], **SPREAD)
    parsed = pyhf.Workspace(workspace)
    model = parsed.model()
    observed, expected = pyhf.infer.intervals.upper_limits.toms748_scan(
        parsed.data(model), model, 0.1, 10.0, level=0.1, rtol=1e-4
    )
    ours = upper_limit(Model.from_spec(workspace), level=0.1)
    np.testing.assert_allclose(ours.observed, observed, rtol=1e-3)
    np.testing.assert_allclose(ours.expected, expected, rtol=1e-3)


def test_no_sensitivity_is_no_limit():
    workspace = counting([1.0], [1.0])
    workspace["channels"][0]["samples"][0]["data"] = [0.0]
    with pytest.raises(FitError, match="finds no upper limit"):
        upper_limit(Model.from_spec(workspace))


def test_a_batch_of_limits_is_the_single_ones_and_a_failure_stays_alone():
    def workspace(observed):
        return counting([3.0, 5.0], [50.0, 20.0], observed, **SPREAD)

    rows = [[51.0, 22.0], [40.0, 17.0], [np.nan, 20.0], [70.0, 38.0]]
    model = Model.from_spec(workspace(rows[0]))
    found = upper_limit(model, np.array(rows))
    assert found.expected.shape == (4, 5)
    assert found.status.tolist() == [0, 0, Status.NOT_FINITE, 0]
    assert np.isnan([found.observed[2], *found.expected[2]]).all()
    for index in (0, 1, 3):
        alone = upper_limit(model, rows[index])
        np.testing.assert_allclose(found.observed[index], alone.observed, rtol=1e-8)
        np.testing.assert_allclose(found.expected[index], alone.expected, rtol=1e-8)
        level = cls_of_pyhf(workspace(rows[index]), float(found.observed[index]))[0]
        np.testing.assert_allclose(level, 0.05, rtol=5e-3)


@pytest.mark.slow
@pytest.mark.parametrize("observed", [[40.0, 17.0], [55.0, 26.0]], ids=["deficit", "excess"])
def test_derivatives_in_the_yields_are_finite_differences(observed):
    model = Model.from_spec(counting([3.0, 5.0], [50.0, 20.0], observed, **SPREAD))
    # With a deficit the best fit is at the bound of the strength.
    assert (fit(model).parameter("mu")[0] == 0) == (observed[0] < 50)
    keys = ("SR", "s"), ("SR", "b")
    nominal = np.concatenate([model.get(*key) for key in keys])

    def limits(yields):
        changed = dict(zip(keys, (yields[..., :2], yields[..., 2:]), strict=True))
        found = upper_limit(model.with_numbers(changed), observed)
        return jnp.concatenate([found.observed[..., None], found.expected], axis=-1)

    with jax.enable_x64(True):
        slopes = jax.jit(jax.jacrev(limits))(jnp.asarray(nominal))
        shifts = 1e-4 * np.diag(nominal)
        shifted = limits(jnp.concatenate([nominal + shifts, nominal - shifts]))
    up, down = np.split(np.asarray(shifted), 2)
    numeric = ((up - down) / (2e-4 * nominal)[:, None]).T
    np.testing.assert_allclose(slopes, numeric, rtol=1e-5, atol=1e-6)

"""Impacts of groups, against refits and derivatives by pyhf."""

import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.inference import grouped_impacts
from tests.histfactory import samples
from tests.inference import on_off


@pytest.fixture(autouse=True)
def _minuit():
    pyhf.set_backend("numpy", "minuit")
    yield
    pyhf.set_backend("numpy", "scipy")


def linear(observed=(73.0, 66.0, 41.0)) -> dict:
    """Yields that are linear in all parameters, and Gaussian constraints."""

    def shape(name, up, down):
        return {"name": name, "type": "histosys", "data": {"hi_data": up, "lo_data": down}}

    mu, free = ({"name": n, "type": "normfactor", "data": None} for n in ("mu", "k"))
    first = [
        shape("JES_1", [42.0, 31.0, 21.0], [38.0, 29.0, 19.0]),
        shape("JES_2", [40.0, 33.0, 21.0], [40.0, 27.0, 19.0]),
        shape("theory", [44.0, 32.0, 21.0], [36.0, 28.0, 19.0]),
    ]
    simulation = {"name": "mc", "type": "staterror", "data": [1.5, 1.2, 0.9]}
    return {
        "version": "1.0.0",
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {"name": "s", "data": [4.0, 12.0, 9.0], "modifiers": [mu]},
                    {"name": "b", "data": [40.0, 30.0, 20.0], "modifiers": first},
                    {"name": "c", "data": [20.0, 10.0, 5.0], "modifiers": [free]},
                    {"name": "d", "data": [9.0, 8.0, 7.0], "modifiers": [simulation]},
                ],
            }
        ],
        "observations": [{"name": "SR", "data": list(observed)}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }


WIDE = {"mu": (-20.0, 20.0), "k": (-20.0, 20.0)}


def test_shifts_add_up_to_the_total():
    """Exactly, where everything is Gaussian and linear."""
    found = grouped_impacts(Model.from_spec(linear()), bounds=WIDE)
    names = [group.name for group in found.groups]
    assert names[0] == "statistics"
    assert set(names[1:]) == {"systematics", "simulation statistics", "free normalisation"}
    assert found.added == pytest.approx(found.total, rel=1e-9)
    # What has no measurement of its own is known from the data alone.
    assert found.group("free normalisation").shifted == 0
    assert found.group("free normalisation").held > 0.1
    nearly = grouped_impacts(Model.from_spec(samples.toy_workspace()))
    assert nearly.added == pytest.approx(nearly.total, rel=0.05)


def test_shifts_are_what_pyhf_finds_for_shifted_data():
    workspace = pyhf.Workspace(linear())
    model = workspace.model()
    data = np.array(workspace.data(model))
    bounds = model.config.suggested_bounds()
    for name in ("mu", "k"):
        bounds[model.config.par_order.index(name)] = WIDE[name]

    def best(at):
        return pyhf.infer.mle.fit(at, model, par_bounds=bounds, tolerance=1e-4)[
            model.config.poi_index
        ]

    def half(index, size):
        step = size * np.eye(len(data))[index]
        return (best(data + step) - best(data - step)) / 2

    widths = {"JES_1": 1.0, "JES_2": 1.0, "theory": 1.0}
    ours = grouped_impacts(Model.from_spec(linear()), bounds=WIDE, groups={n: n for n in widths})
    order = model.config.auxdata_order
    for name in widths:
        place = model.config.nmaindata + order.index(name)
        assert abs(half(place, 1.0)) == pytest.approx(ours.group(name).shifted, rel=1e-2, abs=1e-4)
    counts = [half(i, np.sqrt(data[i])) for i in range(3)]
    # A count is no Gaussian: its shift by a standard deviation is not that of a small one.
    assert np.linalg.norm(counts) == pytest.approx(ours.group("statistics").shifted, rel=0.03)


def test_a_count_that_constrains_is_shifted_by_its_root():
    """One bin beside a measurement of its background: the closed form of on-off counting."""
    tau, b, s, n = 16.0, 32.0, 10.0, 45.0
    uncertainty = {"name": "bkg", "type": "shapesys", "data": [b / np.sqrt(tau)]}
    mu = {"name": "mu", "type": "normfactor", "data": None}
    spec = {
        "version": "1.0.0",
        "channels": [
            {
                "name": "SR",
                "samples": [
                    {"name": "s", "data": [s], "modifiers": [mu]},
                    {"name": "b", "data": [b], "modifiers": [uncertainty]},
                ],
            }
        ],
        "observations": [{"name": "SR", "data": [n]}],
        "measurements": [{"name": "m", "config": {"poi": "mu", "parameters": []}}],
    }
    found = grouped_impacts(Model.from_spec(spec))
    # mu = (n - b a/τ) / s with the counts n and a = τ.
    assert found.group("statistics").shifted == pytest.approx(np.sqrt(n) / s, rel=1e-6)
    assert found.group("systematics").shifted == pytest.approx(b / np.sqrt(tau) / s, rel=1e-6)
    assert found.added == pytest.approx(found.total, rel=1e-6)


def test_held_groups_are_what_is_left_when_pyhf_does_not_vary_them():
    workspace = pyhf.Workspace(samples.toy_workspace())
    model = workspace.model()
    data, names = workspace.data(model), np.array(model.config.par_names)
    found = grouped_impacts(
        Model.from_spec(samples.toy_workspace()), groups={"all gammas": "staterror*"}
    )
    gammas = np.char.startswith(names, "staterror")
    systematics = np.isin(names, found.group("systematics").parameters)
    assert gammas.sum() > 1
    assert systematics.sum() > 1
    steps = 1e-3 * np.diag(found.fit.uncertainties)

    def nll(at):
        return -model.logpdf(at, data)[0]

    def curvature(i, j):
        near = [
            a * b * nll(found.fit.values + a * steps[i] + b * steps[j])
            for a in (1, -1)
            for b in (1, -1)
        ]
        return sum(near) / (4 * steps[i, i] * steps[j, j])

    hessian = np.array([[curvature(i, j) for i in range(len(names))] for j in range(len(names))])

    def left(held):
        """Variance of the parameter of interest with some parameters held."""
        inverse = np.linalg.inv(hessian[np.ix_(~held, ~held)])
        place = np.flatnonzero(~held).tolist().index(model.config.poi_index)
        return inverse[place, place]

    total = left(np.zeros(len(names), bool))
    assert found.total == pytest.approx(np.sqrt(total), rel=1e-4)
    for name, members in (("all gammas", gammas), ("systematics", systematics)):
        expected = np.sqrt(total - left(members))
        assert found.group(name).held == pytest.approx(expected, rel=1e-3)
    everything = left(gammas | systematics)
    assert found.group("statistics").held == pytest.approx(np.sqrt(everything), rel=1e-4)


def test_groups_by_pattern():
    model = Model.from_spec(linear())
    found = grouped_impacts(model, bounds=WIDE, groups={"jets": "JES*", "fakes": ["k", "mc[1]"]})
    assert found.group("jets").parameters == ("JES_1", "JES_2")
    assert set(found.group("fakes").parameters) == {"k", "mc[1]"}
    assert found.group("simulation statistics").parameters == ("mc[0]", "mc[2]")
    assert found.group("systematics").parameters == ("theory",)
    assert found.added == pytest.approx(found.total, rel=1e-9)
    fixed = grouped_impacts(model, bounds=WIDE, groups={"jets": "JES*"}, fixed={"JES_1"})
    assert fixed.group("jets").parameters == ("JES_2",)


@pytest.mark.parametrize(
    ("groups", "message"),
    [
        ({"jets": "JER*"}, "no parameter is like 'JER\\*'"),
        ({"a": "JES*", "b": "JES_1"}, "'JES_1' is in 'a' already"),
        ({"a": "mu"}, "the parameter of interest"),
        ({"statistics": "JES*"}, "what the data contribute"),
        ("JES*", "by name of the group"),
    ],
)
def test_groups_that_are_refused(groups, message):
    with pytest.raises(InputError, match=message):
        grouped_impacts(Model.from_spec(linear()), bounds=WIDE, groups=groups)


def test_a_best_fit_at_its_bound_has_no_groups():
    """Half of what is around it is cut off, so the second derivatives there are no uncertainty."""
    spec = on_off.workspace(5.0, 50.0, 4.0, 30.0)
    with pytest.raises(InputError, match=r"best fit of 'mu' is at its bound.* Widen it"):
        grouped_impacts(Model.from_spec(spec))
    assert grouped_impacts(Model.from_spec(spec), bounds={"mu": (-10, 10)}).total > 1

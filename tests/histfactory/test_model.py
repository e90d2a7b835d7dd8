"""Models against pyhf: likelihood, parameters, derivatives with respect to all that they hold."""

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pyhf
import pytest

from difftune.errors import InputError
from difftune.histfactory import Model, rates
from tests import shared_data
from tests.histfactory import specs

WORKSPACES = sorted(path.name for path in (shared_data.FOLDER / "workspaces").glob("*.json"))
SETTINGS = {"normsys": {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}


def workspace(name: str) -> dict:
    return json.loads(shared_data.path(f"workspaces/{name}").read_text())


def of_pyhf(spec: dict, settings: dict = SETTINGS, measurement: int = 0, **options) -> pyhf.Model:
    """What pyhf makes of a workspace; without a POI where the model does not have it."""
    config = spec["measurements"][measurement]["config"]
    content = {"channels": spec["channels"], "parameters": config["parameters"]}
    there = {m["name"] for c in spec["channels"] for s in c["samples"] for m in s["modifiers"]}
    poi = config["poi"] if config["poi"] in there else None
    options = {"poi_name": poi, "validate": False} | options
    return pyhf.Model(content, modifier_settings=settings, **options)


def observed(spec: dict, theirs: pyhf.Model) -> np.ndarray:
    by_channel = {o["name"]: o["data"] for o in spec["observations"]}
    main = [value for name in theirs.config.channels for value in by_channel[name]]
    return np.array(main + list(theirs.config.auxdata), float)


def points(theirs: pyhf.Model, count: int = 100) -> np.ndarray:
    """Half uniform within the bounds, half around the start values; all lower, all upper bounds."""
    rng = np.random.default_rng(1)
    init = np.array(theirs.config.suggested_init(), float)
    lower, upper = np.array(theirs.config.suggested_bounds(), float).T
    near = init + 0.3 * rng.normal(size=(count // 2, len(init)))
    anywhere = rng.uniform(lower, upper, (count - count // 2, len(init)))
    return np.concatenate([np.clip(near, lower, upper), anywhere, [lower, upper, init]])


def their_logpdf(theirs: pyhf.Model, where: np.ndarray, data: np.ndarray) -> np.ndarray:
    # Below zero expected events pyhf has logarithms of negative numbers.
    with np.errstate(all="ignore"):
        return np.array([theirs.logpdf(point, data)[0] for point in where])


def our_logpdf(model: Model, where: np.ndarray, data: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jax.jit(jax.vmap(lambda p: model.logpdf(p, data)))(where))


def assert_same(model: Model, theirs: pyhf.Model, data: np.ndarray) -> None:
    """The same parameters, and the same likelihood everywhere."""
    mine, his = model.config, theirs.config
    for name in ("par_names", "par_order", "poi_name", "poi_index", "channels", "samples"):
        assert getattr(mine, name) == getattr(his, name), name
    for name in ("npars", "nmaindata", "nauxdata", "auxdata_order", "modifiers"):
        assert getattr(mine, name) == getattr(his, name), name
    assert mine.channel_nbins == his.channel_nbins
    assert mine.channel_slices == his.channel_slices
    assert [mine.par_slice(n) for n in his.par_order] == [his.par_slice(n) for n in his.par_order]
    assert mine.suggested_fixed() == mine.fixed == his.suggested_fixed()
    np.testing.assert_array_equal(mine.suggested_init(), his.suggested_init())
    np.testing.assert_array_equal(mine.suggested_bounds(), his.suggested_bounds())
    np.testing.assert_allclose(mine.auxdata, his.auxdata, rtol=1e-14)
    where = points(theirs)
    expected = their_logpdf(theirs, where, data)
    assert np.isfinite(expected).any()
    np.testing.assert_allclose(our_logpdf(model, where, data), expected, rtol=1e-10)


def numerical(function, x: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Central differences along each axis."""
    moves = np.diag(steps)
    return np.array([(function(x + h) - function(x - h)) / (2 * h.sum()) for h in moves])


def one_of_each_analysis() -> list:
    """All workspaces; slow are the largest, and others of an analysis, which have its form."""
    seen: set[str] = set()
    found = []
    for name in WORKSPACES:
        analysis = name.split("_")[0]
        long = analysis in seen or "2L0J" in name or "1Lbb" in name
        found.append(pytest.param(name, marks=pytest.mark.slow) if long else name)
        seen.add(analysis)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not WORKSPACES, reason="the shared workspaces are not on this machine")
@pytest.mark.parametrize("name", one_of_each_analysis())
def test_published_workspaces(name):
    spec = workspace(name)
    model, theirs = Model.from_spec(spec), of_pyhf(spec)
    data = observed(spec, theirs)
    np.testing.assert_allclose(model.data(), data, rtol=1e-14)
    assert_same(model, theirs, data)
    assert model.spec() == spec


@pytest.mark.slow
@pytest.mark.parametrize("name", specs.ALL)
def test_corners_of_pyhf(name):
    spec = specs.ALL[name]()
    model, theirs = Model.from_spec(spec), of_pyhf(spec)
    data = observed(spec, theirs)
    np.testing.assert_allclose(model.data(), data, rtol=1e-14)
    assert_same(model, theirs, data)
    where = points(theirs, 10)
    for point in where:
        full = theirs.expected_data(point)
        by_sample = theirs.main_model.expected_data(list(point), return_by_sample=True)
        np.testing.assert_allclose(model.asimov(point), full, rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(model.expected(point), full[: theirs.config.nmaindata], 1e-11)
        np.testing.assert_allclose(model.expected_by_sample(point), by_sample, 1e-11, 1e-11)
    np.testing.assert_allclose(model.nll(where[0]), -theirs.logpdf(where[0], data)[0], rtol=1e-10)
    # Through the spec, as the model and as pyhf writes it.
    assert model.spec() == spec
    assert_same(model, model.to_pyhf(), data)
    again = Model.from_spec(json.loads(json.dumps(model.spec())))
    assert again.structure == model.structure
    assert hash(again.structure) == hash(model.structure)
    np.testing.assert_array_equal(again.numbers, model.numbers)


@pytest.mark.slow
@pytest.mark.parametrize("normsys", ["code1", "code4"])
@pytest.mark.parametrize("histosys", ["code0", "code2", "code4p"])
def test_interpolation_codes(normsys, histosys):
    settings = {"normsys": {"interpcode": normsys}, "histosys": {"interpcode": histosys}}
    spec = specs.everything()
    model, theirs = Model.from_spec(spec, modifier_settings=settings), of_pyhf(spec, settings)
    assert_same(model, theirs, observed(spec, theirs))
    assert_same(model, model.to_pyhf(), observed(spec, theirs))
    default = Model.from_spec(spec)
    assert (model.structure == default.structure) == (settings == SETTINGS)


def test_parameters_by_name():
    """Those that are not named are where pyhf starts; in JAX, too."""
    spec = specs.everything()
    theirs = of_pyhf(spec)
    model, data = Model.from_spec(spec), observed(spec, theirs)
    point = np.array(theirs.config.suggested_init())
    chosen: dict = {"mu": 1.3}
    several = next(g for g in model.structure.parameter_sets if g.size > 1)
    chosen[several.name] = np.linspace(0.9, 1.1, several.size)
    for name, value in chosen.items():
        point[theirs.config.par_slice(name)] = value
    expected = -theirs.logpdf(point, data)[0]
    np.testing.assert_allclose(model.nll(chosen, data), expected, rtol=1e-10)
    one = {"mu": 1.3} | {
        f"{several.name}[{i}]": x for i, x in enumerate(chosen[several.name].tolist())
    }
    np.testing.assert_allclose(model.nll(one, data), expected, rtol=1e-10)
    with jax.enable_x64(True):
        slope = jax.jit(jax.grad(model.nll))(chosen, data)
    whole = jax.jit(jax.grad(model.nll))
    with jax.enable_x64(True):
        np.testing.assert_allclose(
            slope["mu"], whole(jnp.asarray(point), data)[theirs.config.par_slice("mu")][0]
        )
    with pytest.raises(InputError, match=f"'{several.name}' has the shape"):
        model.nll({several.name: [1.0]})
    with pytest.raises(InputError, match="No parameter 'mus'"):
        model.nll({"mus": 1.0})


def test_an_interpolation_code_of_one_type_leaves_the_other():
    spec, given = specs.everything(), {"normsys": {"interpcode": "code1"}}
    theirs = of_pyhf(spec, SETTINGS | given)
    model = Model.from_spec(spec, modifier_settings=given)
    assert_same(model, theirs, observed(spec, theirs))


@pytest.mark.parametrize(("name", "index"), [(None, 0), ("first", 0), ("second", 1)])
def test_measurements(name, index):
    spec = specs.several_measurements()
    model, theirs = Model.from_spec(spec, measurement=name), of_pyhf(spec, measurement=index)
    assert_same(model, theirs, observed(spec, theirs))
    assert model.spec() == spec
    assert_same(model, model.to_pyhf(), observed(spec, theirs))


def test_parameter_of_interest():
    spec = specs.everything()
    for poi in ("norm_ttbar", "jes", None):
        theirs = of_pyhf(spec, poi_name=poi)
        assert_same(Model.from_spec(spec, poi=poi), theirs, observed(spec, theirs))


@pytest.mark.parametrize(
    ("poi", "why"), [("mu_SIG", "no parameter"), ("stat_SR", "one value per bin")]
)
def test_without_the_parameter_of_interest(poi, why, caplog):
    spec = specs.everything()
    spec["measurements"][0]["config"]["poi"] = poi
    with caplog.at_level(logging.WARNING, logger="difftune"):
        model = Model.from_spec(spec)
    assert f"'{poi}'" in caplog.text
    assert why in caplog.text
    theirs = of_pyhf(spec, poi_name=None)
    assert model.config.poi_name is None
    assert_same(model, theirs, observed(spec, theirs))


def test_an_empty_parameter_of_interest_is_none(caplog):
    spec = specs.everything()
    spec["measurements"][0]["config"]["poi"] = ""
    theirs = pyhf.Workspace(spec).model()
    assert_same(Model.from_spec(spec), theirs, observed(spec, theirs))
    assert not caplog.records


def test_patches():
    spec = specs.everything()
    signal = spec["channels"][0]["samples"].pop(1)
    patches = [
        [{"op": "add", "path": "/channels/0/samples/0", "value": signal}],
        [{"op": "replace", "path": "/channels/0/samples/0/data", "value": [1.0, 2.0, 3.0]}],
    ]
    before = json.dumps(spec)
    theirs = pyhf.Workspace(spec).model(patches=patches, modifier_settings=SETTINGS)
    model = Model.from_spec(spec, patches=patches)
    assert_same(model, theirs, observed(spec, theirs))
    assert json.dumps(spec) == before


def test_a_patch_of_a_patchset():
    spec = specs.everything()
    patch = [{"op": "replace", "path": "/channels/0/samples/1/data", "value": [3.0, 2.0, 1.0]}]
    metadata = {"name": "point", "values": [1]}
    patchset = pyhf.PatchSet(
        {
            "metadata": {
                "references": {"hepdata": "ins1234567"},
                "description": "a signal",
                "digests": {"sha256": pyhf.utils.digest(spec)},
                "labels": ["mass"],
            },
            "patches": [{"metadata": metadata, "patch": patch}],
            "version": "1.0.0",
        }
    )
    theirs = pyhf.Workspace(patchset.apply(spec, "point")).model(modifier_settings=SETTINGS)
    model = Model.from_spec(spec, patches=[patchset["point"]])
    assert_same(model, theirs, observed(spec, theirs))


def test_a_model_without_measurements():
    spec = specs.everything()
    bare = {"channels": spec["channels"], "parameters": [specs.LUMI]}
    model, theirs = Model.from_spec(bare), pyhf.Model(bare, modifier_settings=SETTINGS)
    data = theirs.expected_data(theirs.config.suggested_init())
    assert_same(model, theirs, data)
    np.testing.assert_allclose(model.asimov(), data, rtol=1e-12)
    main = data[: theirs.config.nmaindata]
    np.testing.assert_allclose(model.data(main), [*main, *theirs.config.auxdata], rtol=1e-12)
    assert model.spec() == bare
    with pytest.raises(InputError, match="no observations: give data"):
        model.data()


def test_events_seen_where_none_are_expected_and_none_where_none():
    spec = specs.workspace(
        [specs.channel("SR", specs.sample("s", [2.0, 3.0], specs.MU))],
    )
    model, theirs = Model.from_spec(spec), of_pyhf(spec)
    for data in ([0.0, 0.0], [0.0, 1.0]):
        for mu in (0.0, 0.5):
            with np.errstate(all="ignore"):
                expected = theirs.logpdf([mu], data)[0]
            np.testing.assert_allclose(model.logpdf([mu], data), expected, rtol=1e-12)
    # ln L = -5 μ.
    with jax.enable_x64(True):
        assert jax.grad(model.logpdf)(jnp.array([0.0]), np.zeros(2)) == pytest.approx([-5.0])


def _derivative(model: Model, point: np.ndarray, chosen: np.ndarray) -> tuple[np.ndarray, ...]:
    """Derivatives of logpdf of the nominal data with respect to numbers: ours, pyhf's."""

    def ours(numbers):
        return model.replace(numbers=numbers).logpdf(point)

    def theirs(values):
        numbers = np.array(model.numbers)
        numbers[chosen] = values
        rebuilt = model.replace(numbers=numbers)
        other = rebuilt.to_pyhf()
        return other.logpdf(point, observed(rebuilt.spec(), other))[0]

    with jax.enable_x64(True):
        derivative = np.asarray(jax.jit(jax.grad(ours))(jnp.asarray(model.numbers)))[chosen]
    values = np.asarray(model.numbers)[chosen]
    steps = 1e-4 * np.abs(values)
    return derivative * steps, numerical(theirs, values, steps) * steps


def _moved(model: Model, size: float = 0.3) -> np.ndarray:
    """A point away from the start values, at which nothing is special."""
    init = model.structure.layout.init
    lower, upper = model.structure.layout.lower, model.structure.layout.upper
    return np.clip(init + size * np.random.default_rng(3).normal(size=len(init)), lower, upper)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name", ["every modifier", pytest.param("parameters configured", marks=pytest.mark.slow)]
)
def test_derivatives_with_respect_to_all_numbers(name):
    model = Model.from_spec(specs.ALL[name]())
    ours, theirs = _derivative(model, _moved(model), np.arange(model.structure.size))
    # Every number matters, but sigmas and auxdata of a parameter matter with its configuration.
    assert (theirs != 0).mean() > 0.9
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-11)


@pytest.mark.skipif(not WORKSPACES, reason="the shared workspaces are not on this machine")
@pytest.mark.parametrize(
    "name",
    ["SH4b_50bins.json", pytest.param("susy-2018-22_SR6j-3400.json", marks=pytest.mark.slow)],
)
def test_derivatives_with_respect_to_numbers_of_published_workspaces(name):
    model = Model.from_spec(workspace(name))
    # A vanishing uncertainty fixes its parameter: no derivative there.
    possible = np.flatnonzero(model.numbers)
    chosen = np.random.default_rng(2).choice(possible, 10, replace=False)
    ours, theirs = _derivative(model, _moved(model, 0.05), chosen)
    assert (theirs != 0).any()
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-10)


@pytest.mark.parametrize("name", ["parameters configured", *specs.SMALL])
def test_derivatives_with_respect_to_parameters_and_data(name):
    spec = specs.ALL[name]()
    model, theirs = Model.from_spec(spec), of_pyhf(spec)
    point, data = _moved(model), observed(spec, theirs) + 0.5
    with jax.enable_x64(True):
        found = jax.jit(jax.grad(model.logpdf, (0, 1)))(point, data)
    by_point = numerical(lambda p: theirs.logpdf(p, data)[0], point, np.full(len(point), 3e-5))
    by_data = numerical(lambda d: theirs.logpdf(point, d)[0], data, 1e-4 * data)
    for ours, numeric in zip(found, (by_point, by_data), strict=True):
        np.testing.assert_allclose(ours, numeric, rtol=1e-6, atol=1e-6)


def test_forward_and_reverse_derivatives_with_respect_to_numbers():
    model = Model.from_spec(specs.everything())
    point = _moved(model)
    with jax.enable_x64(True):

        def function(numbers):
            return model.replace(numbers=numbers).logpdf(point)

        numbers = jnp.asarray(model.numbers)
        backward = jax.jit(jax.grad(function))(numbers)
        forward = jax.jit(jax.jacfwd(function))(numbers)
    np.testing.assert_allclose(backward, forward, rtol=1e-9, atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("normsys", "histosys"), [("code1", "code0"), ("code4", "code2"), ("code4", "code4p")]
)
def test_slopes_by_hand(normsys, histosys):
    settings = {"normsys": {"interpcode": normsys}, "histosys": {"interpcode": histosys}}
    model = Model.from_spec(specs.everything(), modifier_settings=settings)
    point = _moved(model)
    nothing = point.copy()
    nothing[model.config.poi_index] = 0
    nothing[model.config.par_slice("fakes_shape")] = 0
    beyond = np.where(np.array(model.structure.layout.lower) < 0, 2.5, point)
    _assert_slopes(model, [point, nothing, beyond, -0.7 * beyond])


@pytest.mark.slow
@pytest.mark.parametrize("name", specs.SMALL)
def test_slopes_by_hand_in_corners(name):
    model = Model.from_spec(specs.ALL[name]())
    point = _moved(model)
    _assert_slopes(model, [point, np.where(point < 1, 0.0, point)])


def _assert_slopes(model: Model, where: list[np.ndarray]) -> None:
    """First and second derivatives of the yields against automatic ones."""
    structure = model.structure
    weight = np.random.default_rng(4).normal(size=structure.n_bins)

    def expectation(p):
        return rates.rates(structure, given, p)

    def by_hand(p):
        found = rates.slopes(structure, given, p)
        return found.value, found.first.T, found.second(jnp.asarray(weight))

    def automatic(p):
        first, second = jax.jacfwd(expectation), jax.hessian(lambda q: weight @ expectation(q))
        return expectation(p), first(p), second(p)

    with jax.enable_x64(True):
        given = rates.terms(structure, jnp.asarray(model.numbers))
        by_hand, automatic = jax.jit(by_hand), jax.jit(automatic)
        for point in where:
            for one, other in zip(by_hand(point), automatic(point), strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-10, atol=1e-10)


def _changes() -> dict[tuple[str, ...], list[float]]:
    return {
        ("SR", "signal"): [3.0, 4.0, 5.0],
        ("SR", "fakes"): [7.0, 6.0, 5.0],
        ("SR", "ttbar", "normsys", "jes", "hi"): [1.2],
        ("CR", "ttbar", "histosys", "tune", "lo_data"): [290.0, 220.0],
        ("CR", "fakes", "shapesys", "fakes_CR", "data"): [3.0, 5.0],
        ("SR", "signal", "staterror", "stat_SR", "data"): [1.0, 1.1, 1.2],
    }


def _rebuilt() -> dict:
    """The spec with the changes, by hand."""
    spec = specs.everything()
    (ttbar, signal, fakes), (control, fakes_control) = (c["samples"] for c in spec["channels"])
    signal["data"], fakes["data"] = [3.0, 4.0, 5.0], [7.0, 6.0, 5.0]
    ttbar["modifiers"][1]["data"]["hi"] = 1.2
    control["modifiers"][2]["data"]["lo_data"] = [290.0, 220.0]
    fakes_control["modifiers"][0]["data"] = [3.0, 5.0]
    signal["modifiers"][2]["data"] = [1.0, 1.1, 1.2]
    return spec


def test_other_numbers_are_those_of_a_rebuilt_model():
    model, spec = Model.from_spec(specs.everything()), _rebuilt()
    theirs = of_pyhf(spec)
    changed = model.with_numbers(_changes())
    assert changed.spec() == spec
    assert changed.structure == model.structure
    assert_same(changed, theirs, observed(spec, theirs))
    np.testing.assert_array_equal(changed.get("SR", "signal"), [3.0, 4.0, 5.0])
    assert model.spec() == specs.everything()


def test_other_numbers_inside_a_compiled_function():
    model, spec = Model.from_spec(specs.everything()), _rebuilt()
    theirs = of_pyhf(spec)
    point, data = _moved(model), observed(spec, theirs)
    values = list(_changes().values())

    def function(*numbers):
        changed = model.with_numbers(dict(zip(_changes(), numbers, strict=True)))
        return changed.logpdf(point), changed.data()

    with jax.enable_x64(True):
        logpdf, made = jax.jit(function)(*map(np.array, values))
    np.testing.assert_allclose(made, data, rtol=1e-14)
    np.testing.assert_allclose(logpdf, theirs.logpdf(point, data)[0], rtol=1e-12)


def test_a_batch_of_other_numbers():
    model = Model.from_spec(specs.everything())
    scales = np.array([0.5, 1.0, 2.0])
    nominal = np.array(model.get("SR", "signal"))
    batch = model.with_numbers({("SR", "signal"): scales[:, None] * nominal})
    point = _moved(model)
    with jax.enable_x64(True):
        found = jax.vmap(lambda n: model.replace(numbers=n).logpdf(point))(batch.numbers)
    for scale, one, data in zip(scales, found, batch.data(), strict=True):
        spec = specs.everything()
        spec["channels"][0]["samples"][1]["data"] = (scale * nominal).tolist()
        theirs = of_pyhf(spec)
        np.testing.assert_allclose(data, observed(spec, theirs), rtol=1e-14)
        np.testing.assert_allclose(one, theirs.logpdf(point, data)[0], rtol=1e-12)
    with pytest.raises(InputError, match="take one of a batch"):
        batch.spec()


def test_plain_numbers_inside_a_compiled_function():
    """The model's own data and configuration are computed at once, whatever is traced around."""
    spec = specs.everything()
    model, theirs = Model.from_spec(spec), of_pyhf(spec)

    def function(parameters):
        assert model.config.suggested_fixed() == theirs.config.suggested_fixed()
        return model.logpdf(parameters, model.data())

    point = _moved(model)
    with jax.enable_x64(True):
        found = jax.jit(function)(point)
    np.testing.assert_allclose(found, theirs.logpdf(point, observed(spec, theirs))[0], rtol=1e-12)


def test_calls_do_not_change_the_precision_of_jax():
    model = Model.from_spec(specs.everything())
    result = model.logpdf(model.config.suggested_init())
    assert isinstance(result, np.ndarray)
    assert result.dtype == np.float64
    assert jnp.ones(1).dtype == jnp.float32
    # The pytree goes through transformations as an argument, too.
    with jax.enable_x64(True):
        again = jax.jit(lambda m, p: m.logpdf(p))(model, np.array(model.config.suggested_init()))
    theirs = of_pyhf(specs.everything())
    data = observed(specs.everything(), theirs)
    expected = theirs.logpdf(theirs.config.suggested_init(), data)[0]
    np.testing.assert_allclose([result, again], expected, rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("name", specs.SMALL)
def test_derivatives_beside_vanishing_numbers(name):
    """A vanishing number fixes its parameter; it must not spoil the derivatives of the others."""
    model = Model.from_spec(specs.ALL[name]())
    chosen = np.flatnonzero(model.numbers)
    ours, theirs = _derivative(model, _moved(model), chosen)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6, atol=1e-11)

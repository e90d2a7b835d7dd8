"""Spoilt workspaces: an InputError, or the likelihood that pyhf makes of them.

Hypothesis spoils small specs with every type of modifier; the number of examples and the seed are
fixed. pyhf with numpy is the judge.
"""

import copy
import logging
import math
import re
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyhf
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.special import xlogy

from difftune.errors import InputError
from difftune.histfactory import Model
from difftune.histfactory.compile import compile_spec
from difftune.histfactory.schema import surely_valid
from difftune.histfactory.sources import read_source
from tests.histfactory import specs

Path = tuple[str | int, ...]

# What stands in place of something right.
SPOILT = [
    0, -1, 1e-9, 1e-200, 1e300, -1e300, math.nan, math.inf, -math.inf, 10**400, -(10**400), None,
    True, False, "", "x", "1.0", [], {}, [1.0], [[1.0]], [None], ["1"], [1.0, 2.0, 3.0], {"a": 1},
    "normfactor", "shapefactor", "staterror", "shapesys", "histosys", "normsys", "lumi", "mu",
    [[0.0, 1.0]], [[1.0]], [[5.0, 1.0]],
]  # fmt: skip

FIELDS = ["fixed", "data", "auxdata", "sigmas", "factors", "bounds", "inits", "name", "extra"]

# pyhf evaluates these, and docs/likelihoods.md says why they are refused.
REASONS = "|".join(
    [
        r"bins, where the channel has",
        r"is no pair \[lower, upper\]",
        r"the first must not be above the second",
        r"two (channels|samples|parameters) called",
        r"entries, where the model has",
        r"bin \d+ is (nan|inf|-inf)",
        r"entry \d+ is (nan|inf|-inf)",
        r"are no numbers of float64",
        r"true or false in place of a number",
        r"observations: bin \d+ holds -",
        r"must be positive",
        r"pyhf gives it the",
        r"expects .* events at its nominal point",
        r"of which no auxiliary measurement can be made",
    ]
)

EVERY = settings(
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture(autouse=True)
def _quiet():
    pyhf.set_backend("numpy", "scipy")
    logging.getLogger("pyhf").setLevel(logging.CRITICAL)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        yield
    logging.getLogger("pyhf").setLevel(logging.NOTSET)


def paths(value: Any, way: Path = ()) -> Iterator[Path]:
    if way:
        yield way
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(each, (*way, key))


def place(spec: Any, way: Path) -> Any:
    for step in way[:-1]:
        spec = spec[step]
    return spec


@st.composite
def mutants(draw: st.DrawFn) -> dict:
    """A spec in which one or two things are replaced, missing, doubled, added or rescaled."""
    spec = copy.deepcopy(draw(st.sampled_from([make() for make in specs.ALL.values()])))
    for _ in range(draw(st.integers(1, 2))):
        way = draw(st.sampled_from(list(paths(spec))))
        parent, key = place(spec, way), way[-1]
        value = parent[key]
        action = draw(st.sampled_from(["replace", "replace", "remove", "double", "add", "rescale"]))
        if action == "replace":
            parent[key] = copy.deepcopy(draw(st.sampled_from(SPOILT)))
        elif action == "remove":
            del parent[key]
        elif action == "double" and isinstance(parent, list):
            parent.insert(key, copy.deepcopy(value))
        elif action == "add" and isinstance(value, list):
            value.append(copy.deepcopy(draw(st.sampled_from(SPOILT))))
        elif action == "add" and isinstance(value, dict):
            value[draw(st.sampled_from(FIELDS))] = copy.deepcopy(draw(st.sampled_from(SPOILT)))
        elif action == "rescale" and isinstance(value, float):
            parent[key] = value * draw(st.sampled_from([-1.0, 1e-12, 1e-3, 1e3, 1e12]))
    return spec


def of_pyhf(spec: dict) -> tuple[list[np.ndarray], list[float], float] | None:
    """Points, pyhf's log-likelihood there, and what cancels in it; None where it has none."""
    try:
        parsed = pyhf.Workspace(spec)
        model = parsed.model()
        data = np.asarray(parsed.data(model), float)
        init = np.asarray(model.config.suggested_init(), float)
        points = [init, init + np.random.default_rng(0).normal(0, 0.05, len(init))]
        found = [float(model.logpdf(p.tolist(), data.tolist())[0]) for p in points]
    except Exception:  # pyhf fails in every way there is
        return None
    if not np.isfinite(found).all():
        return None
    return points, found, float(np.abs(xlogy(data, np.abs(data))).sum())


def accepted(make: Any, judged: Any) -> Any:
    """What is made, or None where it is refused; of what pyhf can do only for a reason."""
    try:
        return make()
    except InputError as error:
        reason = str(error)
    assert judged is None or re.search(REASONS, reason), reason
    return None


@pytest.mark.slow
@settings(EVERY, max_examples=250)
@given(mutants())
def test_a_spoilt_workspace_is_understood_or_refused(spec):
    compiled = accepted(lambda: compile_spec(read_source(spec).spec), of_pyhf(spec))
    if compiled is not None:
        assert np.isfinite(compiled.numbers).all()


@settings(EVERY, max_examples=400)
@given(mutants())
@pytest.mark.slow
def test_what_is_surely_valid_is_valid_for_pyhf(spec):
    spec = read_source(spec).spec
    if surely_valid(spec, "workspace.json"):
        pyhf.schema.validate(spec, "workspace.json")


@pytest.mark.parametrize("name", specs.ALL)
def test_an_ordinary_spec_is_surely_valid(name):
    """So that published workspaces do not wait for jsonschema."""
    spec = specs.ALL[name]()
    assert surely_valid(spec, "workspace.json")
    content = {"channels": spec["channels"]}
    assert surely_valid(content, "model.json")
    assert not surely_valid(content, "workspace.json")


NUMBERS = [0.0, 1e-12, 1e-9, 1e-4, 0.3, 2.0, 7.0, 60.0, 1e4, 1e8, -1.0, -30.0, 1e-200]


@settings(EVERY, max_examples=150)
@given(st.data())
@pytest.mark.slow
def test_other_numbers_have_the_likelihood_of_pyhf(data):
    spec = specs.everything()
    ways = [
        way
        for way in paths(spec)
        if way[0] in ("channels", "observations") and isinstance(place(spec, way)[way[-1]], float)
    ]
    for _ in range(data.draw(st.integers(1, 4))):
        way = data.draw(st.sampled_from(ways))
        place(spec, way)[way[-1]] = data.draw(st.sampled_from(NUMBERS))
    judged = of_pyhf(spec)
    model = accepted(lambda: Model.from_spec(spec), judged)
    if model is not None and judged is not None:
        points, theirs, cancelled = judged
        ours = [float(model.logpdf(point)) for point in points]
        np.testing.assert_allclose(ours, theirs, rtol=1e-9, atol=1e-9 + 1e-14 * cancelled)


@pytest.mark.parametrize("place_", ["data", "bounds", "inits", "auxdata", "observations", "hi"])
@pytest.mark.parametrize("value", [10**400, math.nan, "1", None, True, [], [1.0, [2.0]], {}])
def test_a_number_that_is_none(place_, value):
    spec = specs.everything()
    parameters = spec["measurements"][0]["config"]["parameters"]
    target, key = {
        "data": (spec["channels"][0]["samples"][0]["data"], 1),
        "bounds": (parameters[1]["bounds"][0], 1),
        "inits": (parameters[1]["inits"], 0),
        "auxdata": (parameters[2]["auxdata"], 0),
        "observations": (spec["observations"][0]["data"], 0),
        "hi": (spec["channels"][0]["samples"][0]["modifiers"][1]["data"], "hi"),
    }[place_]
    target[key] = value
    with pytest.raises(InputError):
        Model.from_spec(spec)

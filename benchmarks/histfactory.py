"""HistFactory in JAX against pyhf: speed of CLs, of gradients, of toys; compile times; coverage."""

import importlib.util
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cabinetry
import jax
import jax.numpy as jnp
import numpy as np
import pyhf

import difftune as dt
from benchmarks.peers.arena import say
from benchmarks.table import Row
from difftune.inference.hypotest import pseudo_data
from difftune.inference.problems import limits, make_problem
from difftune.precision import FEW

WORKSPACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "workspaces"
LARGE = ("ttZ_4l", "ttbar_ljets_xsec", "susy-2019-08_1Lbb_C1N2_Wh_hbb_900_250")


def medium() -> dict[str, Any]:
    """A workspace of 3 channels with 10 bins, 4 samples and 57 parameters."""
    draw = np.random.default_rng(57)
    shape = np.linspace(1, 2, 10)
    channels, observations = [], []
    for channel, size in (("CR_ttbar", 900.0), ("CR_Wjets", 500.0), ("SR", 120.0)):
        samples = []
        for sample, share in (("signal", 0.06), ("ttbar", 0.5), ("Wjets", 0.3), ("other", 0.2)):
            tilt = shape if sample == "signal" else shape[::-1]
            small = 0.1 if sample == "signal" and channel != "SR" else 1.0
            nominal = small * share * size / 10 * tilt * draw.uniform(0.9, 1.1, 10)
            modifiers: list[dict[str, Any]] = [
                {"name": "lumi", "type": "lumi", "data": None},
                {
                    "name": f"staterror_{channel}",
                    "type": "staterror",
                    "data": (0.03 * nominal * draw.uniform(0.8, 1.2, 10)).tolist(),
                },
            ]
            if sample == "signal":
                modifiers.append({"name": "mu", "type": "normfactor", "data": None})
            for number in range(10):
                up, down = 1 + draw.normal(0, 0.03), 1 + draw.normal(0, 0.03)
                factors = {"hi": float(up), "lo": float(down)}
                modifiers.append({"name": f"norm_{number}", "type": "normsys", "data": factors})
            for number in range(15):
                high = nominal * (1 + draw.normal(0, 0.02, 10))
                low = nominal * (1 + draw.normal(0, 0.02, 10))
                data = {"hi_data": high.tolist(), "lo_data": low.tolist()}
                modifiers.append({"name": f"shape_{number}", "type": "histosys", "data": data})
            samples.append({"name": sample, "data": nominal.tolist(), "modifiers": modifiers})
        channels.append({"name": channel, "samples": samples})
        background = np.sum([s["data"] for s in samples if s["name"] != "signal"], axis=0)
        counts = draw.poisson(background).astype(float).tolist()
        observations.append({"name": channel, "data": counts})
    lumi = {
        "name": "lumi",
        "auxdata": [1.0],
        "sigmas": [0.02],
        "inits": [1.0],
        "bounds": [[0.8, 1.2]],
    }
    config = {"poi": "mu", "parameters": [lumi]}
    return {
        "channels": channels,
        "observations": observations,
        "measurements": [{"name": "medium", "config": config}],
        "version": "1.0.0",
    }


def seconds(action: Callable[[], Any], repeats: int) -> float:
    """Median time of a call; its results are numpy, so nothing is left running."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        action()
        times.append(time.perf_counter() - began)
    return statistics.median(times)


def compiled(action: Callable[[], Any]) -> Callable[[], Any]:
    """A question asked so often that difftune has compiled it."""
    for _ in range(FEW + 1):
        action()
    return action


def pyhf_cls(model: dt.histfactory.Model, backend: str, optimizer: str, repeats: int) -> float:
    """Time of pyhf's expected CLs with a backend and an optimizer."""
    before = jax.config.jax_enable_x64
    pyhf.set_backend(backend, optimizer, precision="64b")
    judge, data = model.to_pyhf(), model.data().tolist()

    def action() -> Any:
        return pyhf.infer.hypotest(1.0, data, judge, return_expected_set=True)

    if backend == "jax":
        action()
    try:
        return seconds(action, repeats)
    finally:
        pyhf.set_backend("numpy")
        jax.config.update("jax_enable_x64", before)


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` takes each time once, and few toys."""
    warnings.simplefilter("ignore")
    repeats = 1 if quick else 3
    rows = [*_speed("57 parameters", dt.histfactory.Model.from_spec(medium()), quick, repeats)]
    rows += _relaxed(repeats)
    rows += _toys(quick)
    for name in () if quick else LARGE:
        rows += _compile(name)
    return rows


def _speed(name: str, model: dt.histfactory.Model, quick: bool, repeats: int) -> list[Row]:
    dt.inference.hypotest(1.0, model)
    early = seconds(lambda: dt.inference.hypotest(1.0, model), 10)
    ours = seconds(compiled(lambda: dt.inference.hypotest(1.0, model)), 20)
    rows = [
        Row(what=f"{name}: CLs in numpy, ms", required="", measured=1e3 * early),
        Row(what=f"{name}: CLs asked often, ms", required="", measured=1e3 * ours),
    ]
    theirs = {}
    for backend, optimizer in (("numpy", "scipy"), ("numpy", "minuit"), ("jax", "scipy")):
        if not quick or backend == "jax":
            theirs[backend, optimizer] = pyhf_cls(model, backend, optimizer, repeats)
    numpy_times = [value for (backend, _), value in theirs.items() if backend == "numpy"]
    if numpy_times:
        what = f"{name}: pyhf's fastest numpy backend / difftune, CLs"
        rows.append(Row(what=what, required=">= 100", measured=min(numpy_times) / ours))
    what = f"{name}: pyhf jax + scipy / difftune, CLs"
    rows.append(Row(what=what, required=">= 20", measured=theirs["jax", "scipy"] / ours))

    with jax.enable_x64(True):
        numbers = jnp.asarray(model.numbers)

        def cls(values: jax.Array) -> jax.Array:
            return dt.inference.hypotest(1.0, model.replace(numbers=values)).expected[2]

        plain, graded = jax.jit(cls), jax.jit(jax.value_and_grad(cls))
        jax.block_until_ready((plain(numbers), graded(numbers)))
        alone = seconds(lambda: jax.block_until_ready(plain(numbers)), 20)
        both = seconds(lambda: jax.block_until_ready(graded(numbers)), 20)
    what = f"{name}: CLs with gradient in {len(model.numbers)} numbers / CLs"
    return [*rows, Row(what=what, required="<= 4", measured=both / alone)]


def _relaxed(repeats: int) -> list[Row]:
    """Expected CLs of two bins with uncertain backgrounds against relaxed, where it is installed.

    relaxed 0.4.0 puts the fixed parameter into the dictionary that its minimiser owns, which
    today's jax refuses. It is given a copy here.
    """
    if importlib.util.find_spec("relaxed") is None:
        say("relaxed is left out: it is not installed")
        return []
    from relaxed import infer, mle

    def fixed_poi_fit(
        data: Any, model: Any, *, poi_value: Any, poi_name: str, init_pars: Any, bounds: Any
    ) -> Any:
        def objective(pars: Any, model: Any, data: Any) -> Any:
            return -model.logpdf(pars={**pars, poi_name: poi_value}, data=data)

        found = mle._minimize(objective, model, data, init_pars, bounds)
        return {**found, poi_name: poi_value}

    infer.fixed_poi_fit = fixed_poi_fit
    spec = pyhf.simplemodels.uncorrelated_background([5.0, 10.0], [50.0, 60.0], [7.0, 8.0]).spec
    model = dt.histfactory.Model.from_spec(spec, poi="mu")
    asimov = model.asimov([0.0, 1.0, 1.0])

    @jax.tree_util.register_pytree_node_class
    class Likelihood:
        def logpdf(self, pars: Any, data: Any) -> Any:
            return model.logpdf(jnp.concatenate([pars["mu"][None], pars["gamma"]]), data)

        def tree_flatten(self) -> Any:
            return (), None

        @classmethod
        def tree_unflatten(cls, *_: Any) -> Any:
            return cls()

    with jax.enable_x64(True):
        background = {"mu": jnp.zeros(()), "gamma": jnp.ones(2)}
        wide = {"mu": jnp.array([0.0, 10.0]), "gamma": jnp.array([1e-10, 10.0])}

        def theirs() -> Any:
            return infer.hypotest(
                jnp.ones(()),
                jnp.asarray(asimov),
                Likelihood(),
                background,
                bounds=wide,
                expected_pars=background,
            ).block_until_ready()

        cls = float(theirs())
        time_theirs = seconds(theirs, 20 * repeats)
    ours = dt.inference.hypotest(1.0, model, asimov)
    ask = compiled(lambda: dt.inference.hypotest(1.0, model, asimov))
    time_ours = seconds(ask, 20 * repeats)
    note = f"(its CLs is {cls:.6f}, ours {ours.expected[2]:.6f})"
    what = "2 bins: relaxed, repaired / difftune, CLs"
    return [Row(what=what, required="", measured=time_theirs / time_ours, spread=note)]


def _toys(quick: bool) -> list[Row]:
    """Time of toy fits against pyhf in a loop, and coverage of the 68 % and 95 % intervals."""
    model = dt.histfactory.Model.from_spec(medium())
    bounds = {"mu": (-10.0, 10.0)}
    count = 100 if quick else 2000
    truth = np.asarray(model.structure.layout.init)
    with jax.enable_x64(True):
        problem = make_problem(model, jnp.asarray(model.data()), limits(model.structure))
        key = jax.random.key(1)
        data = np.asarray(pseudo_data(model.structure, problem, jnp.asarray(truth), key, count))
    part = data[: min(count, 1000)]
    dt.inference.fit(model, part, bounds=bounds)
    ours = seconds(lambda: dt.inference.fit(model, part, bounds=bounds), 3) / len(part)
    rows = [Row(what="1000 toy fits with covariance, s", required="", measured=1000 * ours)]
    judge, wide = model.to_pyhf(), model.config.suggested_bounds()
    wide[model.config.poi_index] = bounds["mu"]

    def pyhf_fit(toy: list[float]) -> None:
        pyhf.infer.mle.fit(toy, judge, par_bounds=wide)

    def cabinetry_fit(toy: list[float]) -> None:
        cabinetry.fit.fit(judge, toy, par_bounds=wide)

    for name, peer in (("pyhf numpy + minuit", pyhf_fit), ("cabinetry", cabinetry_fit)):
        pyhf.set_backend("numpy", "minuit")
        times = []
        for toy in part[: 1 if quick else 7].tolist():
            began = time.perf_counter()
            peer(toy)
            times.append(time.perf_counter() - began)
        what = f"toy fit: {name} / difftune"
        theirs = statistics.median(times)
        rows.append(Row(what=what, required=">= 300", measured=theirs / ours))
    pyhf.set_backend("numpy")
    found = dt.inference.fit(model, data, bounds=bounds)
    good = found.status == dt.inference.Status.CONVERGED
    rows.append(Row(what="toy fits that fail", required="<= 0", measured=float(np.sum(~good))))
    index = model.config.poi_index
    pull = (found.values[good, index] - 1) / found.uncertainties[good, index]
    for width, level in ((1.0, 0.6827), (1.96, 0.95)):
        error = np.sqrt(level * (1 - level) / good.sum())
        away = abs(np.mean(np.abs(pull) < width) - level) / error
        rows.append(
            Row(
                what=f"coverage of the {level:.0%} interval of mu, binomial errors away",
                required="<= 3",
                measured=float(away),
                spread=f"({np.mean(np.abs(pull) < width):.4f})",
            )
        )
    return rows


def _compile(name: str) -> list[Row]:
    path = WORKSPACES / f"{name}.json"
    if not path.exists():
        say(f"{name} is left out: {path} is not on this machine")
        return []
    model = dt.histfactory.Model.from_spec(json.loads(path.read_text()))
    parameters = f"{name}, {model.config.npars} parameters"
    rows = []
    for what, action in (
        ("fit", lambda one: dt.inference.fit(one).values),
        ("CLs", lambda one: dt.inference.hypotest(1.0, one)),
        ("limit", lambda one: dt.inference.upper_limit(one)),
    ):
        began = time.perf_counter()
        action(model)
        first = time.perf_counter() - began
        again = seconds(lambda action=action: action(model), 3)
        with jax.enable_x64(True):
            numbers = jnp.asarray(model.numbers)
            began = time.perf_counter()
            lowered = jax.jit(lambda n, ask=action: ask(model.replace(numbers=n))).lower(numbers)
            program = lowered.compile()
            compiling = time.perf_counter() - began
            warm = seconds(lambda run=program, n=numbers: jax.block_until_ready(run(n)), 3)
        rows += [
            Row(what=f"{parameters}: first {what}, s", required="<= 8", measured=first),
            Row(what=f"{parameters}: {what} in numpy, ms", required="", measured=1e3 * again),
            Row(what=f"{parameters}: compile {what}, s", required="<= 10", measured=compiling),
            Row(what=f"{parameters}: {what} compiled, ms", required="", measured=1e3 * warm),
        ]
    return rows

"""HistFactory in JAX against pyhf: speed of CLs, of gradients, of toys; compile times; coverage."""

import statistics
import warnings
from functools import partial

import cabinetry
import jax
import jax.numpy as jnp
import numpy as np
import pyhf

import difftune as dt
from benchmarks.common.running import clocked, say, seconds
from benchmarks.common.table import Row
from benchmarks.common.workspaces import LARGE, MEDIUM, medium, spec_of, workspace
from benchmarks.parity import drawn
from difftune.precision import FEW


def pyhf_cls(model: dt.histfactory.Model, backend: str, optimizer: str, repeats: int) -> float:
    """Time of pyhf's expected CLs with a backend and an optimizer."""
    before = jax.config.jax_enable_x64
    pyhf.set_backend(backend, optimizer, precision="64b")
    judge, data = model.to_pyhf(), model.data().tolist()
    action = partial(pyhf.infer.hypotest, 1.0, data, judge, return_expected_set=True)
    if backend == "jax":
        action()
    took = seconds(action, repeats)
    pyhf.set_backend("numpy")
    jax.config.update("jax_enable_x64", before)
    return took


def run(*, quick: bool) -> list[Row]:
    """All rows; `quick` takes each time once, and few toys."""
    warnings.simplefilter("ignore")
    model = dt.histfactory.Model.from_spec(medium(**{"norms": 2, "shapes": 2} if quick else {}))
    rows = [*_speed(model, quick), *_toys(model, quick)]
    for name in () if quick else LARGE:
        rows += _compile(name)
    return rows


def _speed(model: dt.histfactory.Model, quick: bool) -> list[Row]:
    ask, repeats = partial(dt.inference.hypotest, 1.0, model), 1 if quick else 3
    # Asked so often that it is compiled.
    seconds(ask, FEW + 1)
    ours, rows = seconds(ask, 20), []
    if not quick:
        numpy = min(pyhf_cls(model, "numpy", each, repeats) for each in ("scipy", "minuit"))
        what = f"{MEDIUM}: pyhf's fastest numpy backend / difftune, CLs"
        rows.append(Row(what, numpy / ours, ">= 100"))
    theirs = pyhf_cls(model, "jax", "scipy", repeats)
    rows.append(Row(f"{MEDIUM}: pyhf jax + scipy / difftune, CLs", theirs / ours, ">= 20"))
    with jax.enable_x64(True):
        numbers = jnp.asarray(model.numbers)

        def cls(values: jax.Array) -> jax.Array:
            return dt.inference.hypotest(1.0, model.replace(numbers=values)).expected[2]

        plain, graded = jax.jit(cls), jax.jit(jax.value_and_grad(cls))
        jax.block_until_ready((plain(numbers), graded(numbers)))
        alone, both = (
            seconds(lambda f=f: jax.block_until_ready(f(numbers)), 20) for f in (plain, graded)
        )
    what = f"{MEDIUM}: CLs with gradient in {len(model.numbers)} numbers / CLs"
    return [*rows, Row(what, both / alone, "<= 4")]


def _toys(model: dt.histfactory.Model, quick: bool) -> list[Row]:
    """Time of toy fits against pyhf in a loop, and coverage of the 68 % and 95 % intervals."""
    judge, wide, index = model.to_pyhf(), model.config.suggested_bounds(), model.config.poi_index
    data, rows = drawn(model, judge, 100 if quick else 2000), []
    wide[index], part = (-10.0, 10.0), data[:1000]
    fit = partial(dt.inference.fit, model, bounds={"mu": wide[index]})
    fit(part)
    ours = seconds(lambda: fit(part), 3) / len(part)
    peers = {
        "pyhf numpy + minuit": lambda toy: pyhf.infer.mle.fit(toy, judge, par_bounds=wide),
        "cabinetry": lambda toy: cabinetry.fit.fit(judge, toy, par_bounds=wide),
    }
    pyhf.set_backend("numpy", "minuit")
    for name, peer in peers.items():
        times = [clocked(partial(peer, toy))[1] for toy in part[: 1 if quick else 7].tolist()]
        rows.append(Row(f"toy fit: {name} / difftune", statistics.median(times) / ours, ">= 300"))
    pyhf.set_backend("numpy")
    found = fit(data)
    good = found.status == dt.inference.Status.CONVERGED
    rows.append(Row("toy fits that fail", float(np.sum(~good)), "<= 0"))
    pull = (found.values[good, index] - 1) / found.uncertainties[good, index]
    for width, level in ((1.0, 0.6827), (1.96, 0.95)):
        covered = np.mean(np.abs(pull) < width)
        away = abs(covered - level) / np.sqrt(level * (1 - level) / good.sum())
        what = f"coverage of the {level:.0%} interval of mu, binomial errors away"
        rows.append(Row(what, float(away), "<= 3", f"({covered:.4f})"))
    return rows


def _compile(name: str) -> list[Row]:
    if not workspace(name).exists():
        say(f"{name} is left out: {workspace(name)} is not on this machine")
        return []
    model, rows = dt.histfactory.Model.from_spec(spec_of(name)), []
    questions = {
        "fit": lambda one: dt.inference.fit(one).values,
        "CLs": partial(dt.inference.hypotest, 1.0),
        "limit": dt.inference.upper_limit,
    }
    for what, ask in questions.items():
        with jax.enable_x64(True):
            numbers = jnp.asarray(model.numbers)
            asked = jax.jit(lambda n, ask=ask: ask(model.replace(numbers=n)))
            _, took = clocked(lambda f=asked, n=numbers: f.lower(n).compile())
        what = f"{name}, {model.config.npars} parameters: compile {what}, s"
        rows.append(Row(what, took, "<= 10"))
    return rows

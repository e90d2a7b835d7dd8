"""Best fits, uncertainties and CLs of published likelihoods against pyhf, converged tightly."""

import logging
import sys
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pyhf

import difftune as dt
from benchmarks.common.running import say
from benchmarks.common.table import Row, text
from benchmarks.common.workspaces import FOLDER, spec_of

QUICK = ("SH4b_50bins", "single_channel_big")
OPTIMIZERS = {
    # Fits that do not converge take as many calls as they may.
    "minuit": pyhf.optimize.minuit_optimizer(tolerance=1e-5, maxiter=5_000),
    "scipy": pyhf.optimize.scipy_optimizer(tolerance=1e-10, maxiter=100_000),
    "minuit, not so tight": pyhf.optimize.minuit_optimizer(tolerance=1e-3),
}


def run(*, quick: bool) -> list[Row]:
    """For each workspace how far difftune's minima lie above pyhf's, and how far the rest differs.

    Hours; the rows appear as they are made.
    """
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # Gradients of the likelihood are what makes pyhf's optimizers converge at this size.
    pyhf.set_backend("jax", OPTIMIZERS["minuit"], precision="64b")
    if not FOLDER.is_dir():
        say(f"nothing to compare: {FOLDER} is not on this machine")
    paths = [p for p in sorted(FOLDER.glob("*.json")) if not quick or p.stem in QUICK]
    rows = []
    # The many toys last, so that whoever is in a hurry has seen the data of all.
    for compare in (_best_fits, _cls, partial(_toys, count=2 if quick else 50)):
        for path in paths:
            model = dt.histfactory.Model.from_spec(spec_of(path.stem))
            made = compare(path.stem, model, model.to_pyhf())
            print(text(made), file=sys.stderr, flush=True)
            rows += made
    return rows


def _best_fits(name: str, model: dt.histfactory.Model, judge: pyhf.Model) -> list[Row]:
    """Observed and Asimov data, from pyhf's start and from our end: is there anything below?"""
    above, pulls, uncertainties = -np.inf, 0.0, 0.0
    for data in (model.data(), model.asimov()):
        ours = dt.inference.fit(model, data)
        free = ours.uncertainties > 0
        for optimizer, start in product(("minuit", "scipy"), (None, ours.values.tolist())):
            values, twice_nll = _fit(judge, data, optimizer, start)
            above = max(above, (float(ours.twice_nll) - twice_nll) / 2)
            # A fit by pyhf that ended higher is no measure of parameters.
            if optimizer == "minuit" and free.any() and twice_nll - ours.twice_nll < 1e-6:
                away = np.abs(ours.values - values)[free] / ours.uncertainties[free]
                pulls = max(pulls, float(away.max()))
        if free.any():
            ratio = ours.uncertainties[free] / _uncertainties(judge, data, ours, free)
            uncertainties = float(np.maximum(uncertainties, np.abs(ratio - 1).max()))
    what = f"{name}: uncertainties, relative to pyhf's second derivatives"
    return [
        Row(f"{name}: our -ln L above pyhf's", above, "<= 1e-6"),
        Row(f"{name}: parameters, sigma from Minuit's", pulls, "<= 2e-3"),
        Row(what, uncertainties, "<= 1e-4"),
    ]


def _uncertainties(judge: pyhf.Model, data: np.ndarray, ours, free: np.ndarray) -> np.ndarray:
    """Of the free parameters, from second derivatives of pyhf's likelihood.

    Automatic ones where they are finite, and else differences. Not Minuit's Hesse, which
    differentiates in steps of its own and is off by factors on large workspaces.
    """
    counts, index = jnp.asarray(data), jnp.asarray(np.flatnonzero(free))
    values, step = jnp.asarray(ours.values), 0.01 * ours.uncertainties[free]

    def nll(some: jax.Array) -> jax.Array:
        return -judge.logpdf(values.at[index].set(some), counts)[0]

    best = values[index]
    hessian = np.asarray(jax.jit(jax.hessian(nll))(best))
    if not np.isfinite(hessian).all():
        shifts, at, sides = np.diag(step), jax.jit(nll), ((1, 1), (1, -1), (-1, 1), (-1, -1))

        def difference(x: np.ndarray, y: np.ndarray) -> jax.Array:
            return sum(s * t * at(best + s * x + t * y) for s, t in sides)

        hessian = np.array([[difference(x, y) for x in shifts] for y in shifts])
        hessian /= 4 * np.outer(step, step)
    return np.sqrt(np.diag(np.linalg.inv(hessian)))


def drawn(model: dt.histfactory.Model, judge: pyhf.Model, count: int) -> np.ndarray:
    """Pseudo-experiments, drawn with numpy from what pyhf expects at the nominal point."""
    draw = np.random.default_rng(7)
    point = pyhf.tensorlib.astensor(model.structure.layout.init)
    expected = np.asarray(judge.expected_data(point))
    main, auxiliary = np.split(expected, [len(expected) - len(judge.config.auxdata)])
    sets = [judge.config.param_set(name) for name in judge.config.auxdata_order]
    poisson = np.array([one.pdf_type == "poisson" for one in sets for _ in range(one.n_parameters)])
    widths = np.concatenate(
        [np.ones(s.n_parameters) if s.pdf_type == "poisson" else s.width() for s in sets]
    )
    size = (count, len(auxiliary))
    counts = draw.poisson(np.where(poisson, auxiliary, 1.0), size)
    fluctuated = np.where(poisson, counts, draw.normal(auxiliary, widths, size))
    observed = draw.poisson(np.maximum(main, 0), (count, len(main)))
    return np.concatenate([observed, fluctuated], axis=1).astype(float)


def _toys(name: str, model: dt.histfactory.Model, judge: pyhf.Model, *, count: int) -> list[Row]:
    """Fits of pseudo-experiments."""
    toys = drawn(model, judge, count)
    ours = dt.inference.fit(model, toys)
    good = np.isfinite(ours.twice_nll)
    above = -np.inf
    for i, toy in enumerate(toys):
        # Minuit from pyhf's start, and scipy from our end: is there anything below?
        for optimizer, start in (("minuit", None), ("scipy", ours.values[i].tolist())):
            values, twice_nll = _fit(judge, toy, optimizer, start if good[i] else None)
            if not (good[i] and np.isfinite(twice_nll)):
                continue
            # Where a bin without events expects less than nothing, there is no likelihood.
            if np.min(judge.expected_actualdata(jnp.asarray(values))) >= 0:
                above = max(above, (float(ours.twice_nll[i]) - twice_nll) / 2)
    what = f"{name}: {count} toys"
    return [
        Row(f"{what}, our -ln L above pyhf's", above, "<= 1e-6"),
        Row(f"{what}, our failures", float(np.sum(~good)), "<= 0"),
    ]


def _cls(name: str, model: dt.histfactory.Model, judge: pyhf.Model) -> list[Row]:
    """CLs on the data, from our best fit: pyhf fails less often from there."""
    if model.structure.poi is None:
        return []
    ours = dt.inference.hypotest(1.0, model)
    data, start = model.data().tolist(), dt.inference.fit(model).values.tolist()
    options = {"init_pars": start, "return_expected_set": True}

    def action() -> np.ndarray | None:
        observed, expected = pyhf.infer.hypotest(1.0, data, judge, **options)
        found = np.array([observed, *expected], float)
        return found if np.isfinite(found).all() else None

    for optimizer in OPTIMIZERS:
        theirs = _tried(judge, optimizer, action)
        if theirs is not None:
            break
    away = np.nan if theirs is None else np.abs([ours.observed, *ours.expected] - theirs).max()
    return [Row(f"{name}: CLs, largest difference", float(away), "<= 1e-5", f"({optimizer})")]


def _fit(judge: pyhf.Model, data: np.ndarray, optimizer: str, start: list[float] | None) -> tuple:
    """Values of a fit by pyhf, and its -2 ln L: NaN and infinity where it fails."""

    def action() -> tuple[np.ndarray, float]:
        options = {"init_pars": start, "return_fitted_val": True}
        values, twice_nll = pyhf.infer.mle.fit(data.tolist(), judge, **options)
        return np.asarray(values), float(twice_nll)

    return _tried(judge, optimizer, action) or (np.nan, np.inf)


def _tried(judge: pyhf.Model, optimizer: str, action: Callable):
    """What pyhf gives with gradients; without where they are NaN, as they are at some kinks."""
    jax_backend = pyhf.tensorlib
    # Numerical gradients of hundreds of parameters take minutes a fit.
    backends = [jax_backend, "numpy"] if judge.config.npars < 60 else [jax_backend]
    try:
        for backend in backends:
            pyhf.set_backend(backend, OPTIMIZERS[optimizer])
            try:
                return action()
            except (pyhf.exceptions.FailedMinimization, AttributeError):
                # The second is pyhf 0.7.6 where Minuit has no covariance.
                continue
    finally:
        pyhf.set_backend(jax_backend)
    return None

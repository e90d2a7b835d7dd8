"""Best fits and CLs of published likelihoods against pyhf with Minuit, converged tightly."""

import json
import logging
import time
import warnings
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pyhf

import difftune as dt
from benchmarks.table import Row

WORKSPACES = Path(__file__).resolve().parents[2] / "shared" / "data" / "workspaces"
QUICK = ("SH4b_50bins", "single_channel_big")


def run(*, quick: bool) -> list[Row]:
    """For each workspace how far difftune's minima lie above pyhf's, and how far CLs differ."""
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    before = jax.config.jax_enable_x64
    pyhf.set_backend("jax", pyhf.optimize.minuit_optimizer(tolerance=1e-5), precision="64b")
    try:
        rows = []
        for path in sorted(WORKSPACES.glob("*.json")):
            if not quick or path.stem in QUICK:
                rows += _compare(path)
        return rows
    finally:
        pyhf.set_backend("numpy", "scipy")
        jax.config.update("jax_enable_x64", before)
        logging.disable(logging.NOTSET)


def _compare(path: Path) -> list[Row]:
    model = dt.histfactory.Model.from_spec(json.loads(path.read_text()))
    judge, rows = model.to_pyhf(), []
    worst, pulls, failed, tried = -np.inf, 0.0, 0, 0
    for data in (model.data(), model.asimov()):
        ours = dt.inference.fit(model, data)
        # From pyhf's start, and from our end: is there anything below?
        for start in (None, ours.values.tolist()):
            tried += 1
            found = _fit(judge, data.tolist(), start)
            if found is None:
                failed += 1
                continue
            values, twice_nll = found
            worst = max(worst, (float(ours.twice_nll) - twice_nll) / 2)
            free = ours.uncertainties > 0
            away = np.abs(ours.values - values)[free] / ours.uncertainties[free]
            pulls = max(pulls, float(away.max(initial=0.0)))
    note = f"(pyhf failed in {failed} of {tried}; parameters {pulls:.1g} sigma apart)"
    what = f"{path.stem}: our -ln L above pyhf's"
    rows.append(Row(what=what, required="<= 1e-6", measured=worst, spread=note))
    if model.structure.poi is None:
        return rows
    ours = dt.inference.hypotest(1.0, model)
    began = time.perf_counter()
    try:
        observed, expected = pyhf.infer.hypotest(
            1.0, model.data().tolist(), judge, return_expected_set=True
        )
    except (pyhf.exceptions.FailedMinimization, AttributeError):
        return rows
    seconds = time.perf_counter() - began
    theirs = np.array([float(observed), *(float(value) for value in expected)])
    away = np.abs(np.array([ours.observed, *ours.expected]) - theirs).max()
    what = f"{path.stem}: CLs, largest difference"
    spread = f"({seconds:.1f} s in pyhf)"
    rows.append(Row(what=what, required="<= 1e-5", measured=float(away), spread=spread))
    return rows


def _fit(judge: pyhf.Model, data: list[float], start: Any) -> tuple[np.ndarray, float] | None:
    try:
        values, twice_nll = pyhf.infer.mle.fit(data, judge, init_pars=start, return_fitted_val=True)
    except (pyhf.exceptions.FailedMinimization, AttributeError):
        # The second is pyhf 0.7.6 where Minuit has no covariance.
        return None
    return np.asarray(values), float(twice_nll)

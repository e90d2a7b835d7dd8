"""Learned bin edges on the one-dimensional toy of gato-hep.

The toy (gato-hep 0.2.1, arXiv 2601.07756): one signal and five backgrounds, Gaussians in three
dimensions with smeared coordinates, and the likelihood ratio of the unsmeared densities as the
score; seed 42. Its significance takes `s²/b` for bins of `s/b < 0.1`, and so does the one here.
gato-hep itself is timed in the same run where it is installed, or PYTHON_OF_GATOHEP names the
interpreter of an environment that has it.
"""

import tempfile
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from scipy.stats import multivariate_normal

from benchmarks.common.running import call, clocked, taking_part
from benchmarks.common.table import Row
from difftune import binning
from difftune.inference import asimov_llr

MEANS = {
    "signal": (1.5, -1.0, -1.0),
    "background 1": (-0.5, -0.5, 1.0),
    "background 2": (0.5, -0.5, 0.8),
    "background 3": (0.5, 0.5, -0.6),
    "background 4": (-0.5, 1.0, -0.4),
    "background 5": (-0.5, 0.5, -0.2),
}
EXPECTED = dict(zip(MEANS, (50.0, 10_000.0, 8_000.0, 5_000.0, 2_000.0, 1_000.0), strict=True))
COVARIANCE = 0.8 * np.eye(3) + 0.2
SMEARING = 0.3

# What gato-hep states or was measured to reach: DESIGN, section 7.
STATED = {5: 1.007, 10: 1.172, 20: 1.323}
THEIR_SECONDS = 159.0

FREE = binning.Constraints(min_background=0.0, max_mc_uncertainty=float("inf"))
USUAL = binning.Constraints(min_background=5.0, max_mc_uncertainty=0.2)


class Theirs(binning.Additive):
    """gato-hep's significance: without the higher orders where they are small."""

    def terms(self, yields):
        """The square of each bin's significance."""
        s, b = yields.signal, yields.background
        exact = asimov_llr(s[..., None], b[..., None])
        filled = b > 0
        return jnp.where(filled & (s < 0.1 * b), s**2 / jnp.where(filled, b, 1.0), exact)

    def total(self, summed):
        """Their root."""
        return jnp.sqrt(summed)


def toy(seed: int, *, signal: int = 100_000, background: int = 300_000) -> binning.Scored:
    """The events; with seed 42 they are those of gato-hep, number by number on some machines.

    numpy draws along singular vectors of the covariance, which LAPACK chooses by processor where
    two singular values are equal.
    """
    names = list(MEANS)
    total = sum(EXPECTED[name] for name in names[1:])
    counts = {name: int(background * EXPECTED[name] / total) for name in names[1:-1]}
    counts = {names[0]: signal, **counts, names[-1]: background - sum(counts.values())}
    smearing = np.random.RandomState(seed)
    x = [
        np.random.default_rng(seed + i).multivariate_normal(MEANS[name], COVARIANCE, counts[name])
        for i, name in enumerate(names)
    ]
    x = np.concatenate([part * smearing.normal(1.0, SMEARING, part.shape) for part in x])
    density = {name: multivariate_normal(MEANS[name], COVARIANCE).pdf(x) for name in names}
    ratio = density[names[0]] / (
        sum(EXPECTED[name] / total * density[name] for name in names[1:]) + 1e-12
    )
    process = np.repeat(np.arange(len(names)), list(counts.values()))
    weight = np.array([EXPECTED[name] / counts[name] for name in names])[process]
    return binning.Scored(ratio / (1 + ratio), weight, process == 0)


def their_seconds(events: binning.Scored, *, quick: bool) -> tuple[float, str]:
    """What gato-hep takes for 3, 5 and 10 bins with its 250 epochs, and where that is from."""
    if not taking_part("gato-hep", "gatohep"):
        return THEIR_SECONDS, f"gato-hep {THEIR_SECONDS:g} s, as it was measured once"
    # Every epoch is the same compiled step, so some of the 250 tell what all take.
    epochs = 5 if quick else 25
    with tempfile.TemporaryDirectory() as scratch:
        file = f"{scratch}/events.npz"
        score, weight = (np.asarray(each, np.float32) for each in (events.score, events.weight))
        np.savez(file, signal=events.signal, score=score, weight=weight)
        options = {"package": "gatohep", "file": file, "epochs": epochs, "bins": [3, 5, 10]}
        took = call("benchmarks.peers.gatohep_fit:seconds", **options)
    seconds = took * 250 / epochs
    return seconds, f"gato-hep {seconds:.0f} s, from {epochs} epochs for each in this run"


def run(*, quick: bool) -> list[Row]:
    """Baselines, learned edges with and without constraints, truth, times."""
    size = {"signal": 10_000, "background": 30_000} if quick else {}
    more = size or {"signal": 300_000, "background": 3_000_000}
    events, others = toy(42, **size), toy(1042, **more)
    theirs, rows = Theirs(), []

    def both(what: str, edges: np.ndarray, required: str = "") -> None:
        with jax.enable_x64(True):
            own, other = (float(theirs(binning.binned(edges, e))) for e in (events, others))
        rows.append(Row(f"Z, {what}", own, required, f"(other events {other:.3f})"))

    columns, cells = (events.score, events.weight, events.signal), binning.Cells.of(events)
    for bins, stated in STATED.items():
        both(f"equidistant, {bins} bins", binning.equidistant_edges(cells, bins))
        rows.append(Row("  off what gato-hep gives", abs(rows[-1].measured - stated), "<= 0.02"))
    theirs_took, source = their_seconds(events, quick=quick)
    for method in ("exact", "gradient"):
        seconds = 0.0
        for bins, required in {3: "", 5: ">= 1.65", 10: ">= 1.70"}.items():
            options = {"bins": bins, "method": method, "constraints": FREE}
            optimised = partial(binning.optimise_edges, *columns, figure_of_merit=theirs, **options)
            found, took = clocked(optimised)
            seconds += took
            both(f"{method}, {bins} bins, no constraints", found.edges, required)
        words = f"({seconds:.1f} s for the three, {source})"
        what = f"times faster than gato-hep, {method}"
        rows.append(Row(what, theirs_took / seconds, ">= 10", words))
    best = binning.exact_edges(cells, 10, theirs, USUAL)
    for bins in (5, 10):
        if bins in best:
            both(f"exact, {bins} bins, B >= 5 and MC <= 20 %", cells.edges[best[bins]])
        greedy = binning.greedy_edges(cells, bins, theirs, USUAL)
        both(f"greedy, {bins} bins, the same", cells.edges[greedy])
        transformed = binning.transformation_d(cells, float(bins - 2), 2.0)
        both(f"transformation D, zs = {bins - 2}, zb = 2", transformed)
    return rows

"""Posterior of a public likelihood by NUTS (blackjax), beside the maximum likelihood fit.

    pip install blackjax
    python examples/posterior.py WORKSPACE.json [--quick] [--output DIR] [--samples N]

The file is a pyhf workspace with a signal. Constraints are priors; parameters without one have a
flat prior within their bounds, which the parameter of interest has where --poi-range gives some.
"""

# %% Set up
import argparse
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

import difftune as dt

try:
    import blackjax
except ImportError:
    blackjax = None


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workspace", type=Path, help="pyhf workspace with a signal (JSON)")
    parser.add_argument("--quick", action="store_true", help="a short chain: it works")
    parser.add_argument("--output", type=Path, default=Path("posterior"), help="for the picture")
    parser.add_argument("--samples", type=int, default=4000, help="of the chain (default: 4000)")
    parser.add_argument(
        "--poi-range",
        type=float,
        nargs=2,
        default=(-np.inf, np.inf),
        metavar=("LOW", "HIGH"),
        help="bounds of the parameter of interest (default: none)",
    )
    return parser.parse_args()


# %% The chain
def sampled(model, best, low, high, *, samples, warmup, seed=1):
    """Samples of all free parameters, in units in which the fit makes them independent.

    Returns:
        Samples [samples, parameters], and the part of the steps that diverged.
    """
    free = np.flatnonzero(best.uncertainties > 0)
    factor = np.linalg.cholesky(best.covariance[np.ix_(free, free)])
    center = np.asarray(best.values)

    def parameters(unit):
        return jnp.asarray(center).at[free].set(center[free] + factor @ unit)

    def density(unit):
        there = parameters(unit)
        inside = ((there >= low) & (there <= high))[free].all()
        value = model.logpdf(jnp.clip(there, low, high))
        return jnp.where(inside & jnp.isfinite(value), value, -jnp.inf)

    first, second = jax.random.split(jax.random.key(seed))
    adapted = blackjax.window_adaptation(blackjax.nuts, density)
    (state, settings), _ = adapted.run(first, jnp.zeros(len(free)), num_steps=warmup)
    kernel = blackjax.nuts(density, **settings)

    def step(state, key):
        state, info = kernel.step(key, state)
        return state, (parameters(state.position), info.is_divergent)

    chain = jax.jit(lambda at: jax.lax.scan(step, at, jax.random.split(second, samples))[1])
    found, diverged = chain(state)
    return np.asarray(found), float(diverged.mean())


# %% The picture
def draw(model, best, samples, folder):
    """The posterior of the parameter of interest, and all means and widths beside the fit."""
    index = best.names.index(best.poi)
    value, sigma = best.parameter(best.poi)
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
    left.hist(samples[:, index], bins=40, density=True, histtype="step", label="Posterior (NUTS)")
    x = np.linspace(value - 4 * sigma, value + 4 * sigma, 200)
    gauss = np.exp(-(((x - value) / sigma) ** 2) / 2) / (sigma * np.sqrt(2 * np.pi))
    left.plot(x, gauss, linestyle="--", label="Fit, Gaussian")
    left.set_xlabel(best.poi)
    left.set_ylabel("Density")
    left.legend()
    free = np.flatnonzero(best.uncertainties > 0)
    width = np.asarray(best.uncertainties)[free]
    rows = np.arange(len(free))
    moved = (samples.mean(axis=0)[free] - np.asarray(best.values)[free]) / width
    right.errorbar(moved, rows, xerr=samples.std(axis=0)[free] / width, fmt="o", markersize=3)
    right.axvspan(-1, 1, color="#a8dba8", alpha=0.5)
    few = len(free) <= 40
    right.set_yticks(rows if few else [], [best.names[i] for i in free] if few else [])
    right.set_xlabel("(posterior - best fit) / uncertainty of the fit")
    right.set_xlim(-3, 3)
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "posterior.png", dpi=120)


def main():
    given = arguments()
    if blackjax is None:
        print("This example needs blackjax: pip install blackjax")
        return
    if not given.workspace.is_file():
        sys.exit(f"there is no file {given.workspace}: download a workspace, e.g. from HEPData")
    model = dt.histfactory.Model.from_spec(given.workspace)
    if model.structure.poi is None:
        sys.exit(f"{given.workspace} has no parameter of interest: choose one with a signal")
    index = model.structure.poi_index
    bounds = np.array(model.config.suggested_bounds())
    bounds[index] = given.poi_range
    wide = {model.structure.poi: tuple(given.poi_range)}
    best = dt.inference.fit(model, bounds=wide)
    if not np.isfinite(best.uncertainties).all():
        sys.exit("the data do not determine all parameters, so a flat prior has no posterior")
    samples, warmup = (200, 100) if given.quick else (given.samples, 1000)
    with jax.enable_x64(True):
        chain, diverged = sampled(model, best, *bounds.T, samples=samples, warmup=warmup)
    value, sigma = best.parameter(best.poi)
    low, middle, high = np.quantile(chain[:, index], [0.1587, 0.5, 0.8413])
    print(f"fit: {best.poi} = {value:.4g} ± {sigma:.3g}")
    print(f"posterior: {middle:.4g} +{high - middle:.3g} -{middle - low:.3g}, mean", end=" ")
    print(f"{chain[:, index].mean():.4g}, {100 * diverged:.2g} % of the steps diverged")
    draw(model, best, chain, given.output)
    print(f"See {given.output / 'posterior.png'}")


if __name__ == "__main__":
    main()

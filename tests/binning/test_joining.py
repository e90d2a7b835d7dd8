"""Joined bins against `choose_edges`, and against joining by hand."""

import jax
import numpy as np
import pytest

from difftune.binning import Constraints, Yields, choose_edges, joined


def of(background, *, signal=None, entries=None, varied=None) -> Yields:
    """Bins with so much background of equal weights, in so many entries."""
    b = np.asarray(background, float)
    s = np.ones_like(b) if signal is None else np.asarray(signal, float)
    n = np.full_like(b, 1e6) if entries is None else np.asarray(entries, float)
    v = b[None] if varied is None else np.asarray(varied, float)
    square = np.divide(b**2, n, out=np.zeros_like(b), where=n > 0)
    return Yields(s, b, s, square, np.ones_like(v), v)


RULE = Constraints(min_background=10.0, max_mc_uncertainty=0.2)


@pytest.mark.parametrize(
    ("yields", "expected"),
    [
        (of([50, 40, 30, 20]), [0, 1, 2, 3]),
        # The last bins have no background, too little, or too few events of it.
        (of([50, 40, 30, 0, 0]), [0, 1, 4, 4, 4]),
        (of([50, 40, 30, 4, 7]), [0, 1, 2, 4, 4]),
        (of([50, 40, 30, 20], entries=[100, 100, 100, 9]), [0, 1, 3, 3]),
        # A rest at the lower end joins the bin above it.
        (of([3, 2, 40, 30]), [2, 2, 2, 3]),
        (of([1, 0, 0, 0]), [3, 3, 3, 3]),
        # Nothing is left of a bin under a variation, of which there are several.
        (of([50, 40, 30], varied=[[50, 40, 30], [50, 40, 0]]), [0, 2, 2]),
    ],
)
def test_bins_are_joined_from_the_signal_like_end(yields, expected):
    assert jax.jit(lambda y: joined(y, RULE))(yields).tolist() == expected


def test_the_bins_are_those_of_choose_edges_where_signal_does_not_matter():
    rng = np.random.default_rng(3)
    cell = np.concatenate([np.minimum(40 * rng.beta(1, 3, 1500), 39).astype(int), np.arange(40)])
    signal = np.arange(1540) >= 1500
    # A little signal everywhere, and a share of it that any has: the background closes the bins.
    weight = np.where(signal, 1e-6, rng.uniform(0.2, 2.0, 1540))
    options = {"min_background": 12.0, "max_mc_uncertainty": 0.25}
    edges = choose_edges((cell + 0.5) / 40, weight, signal, bins=10**6, **options)
    rows = [np.bincount(cell[m], w[m], 40) for w in (weight, weight**2) for m in (signal, ~signal)]
    nothing = np.zeros((0, 40))
    tops = np.asarray(joined(Yields(*rows, nothing, nothing), Constraints(**options)))
    assert 4 < len(np.unique(tops)) < 35
    np.testing.assert_allclose((1 + np.flatnonzero(np.diff(tops))) / 40, edges[1:-1], rtol=1e-6)

"""Events to be binned, and judges that difftune did not write."""

import itertools

import numpy as np

from difftune.binning import Constraints, Scored

FREE = Constraints(min_background=0.0, max_mc_uncertainty=float("inf"))
TIGHT = Constraints(min_background=8.0, max_mc_uncertainty=0.2)


def events(count: int = 6000, seed: int = 3, shift: float = 0.0) -> Scored:
    """A tenth of the weights is negative; a fifth of the scores is rounded, so there are ties."""
    rng = np.random.default_rng(seed)
    signal = rng.random(count) < 0.4
    z = rng.normal(np.where(signal, 1.0, -0.6), 1.0) + np.where(signal, 0.0, shift)
    score = 1 / (1 + np.exp(-1.5 * z))
    score = np.where(rng.random(count) < 0.2, np.round(score, 2), score)
    weight = np.where(rng.random(count) < 0.1, -1.0, 1.0) * np.where(signal, 20, 600) / count * 2
    return Scored(score, weight, signal)


def histograms(sample: Scored, edges):
    """Signal, background and the background's sum of squared weights, by numpy."""
    edges = np.concatenate([[-np.inf], np.asarray(edges)[1:-1], [np.inf]])
    mask = sample.signal
    return tuple(
        np.histogram(sample.score[m], edges, weights=w[m])[0]
        for m, w in (
            (mask, sample.weight),
            (~mask, sample.weight),
            (~mask, sample.weight**2),
        )
    )


def q0(s, b):
    """Term of each bin, in closed form."""
    filled = (s > 0) & (b > 0)
    s, b = np.where(filled, s, 0.0), np.where(filled, b, 1.0)
    return 2 * ((s + b) * np.log1p(s / b) - s)


def asimov(sample: Scored, edges) -> float:
    s, b, _ = histograms(sample, edges)
    return float(np.sqrt(q0(s, b).sum()))


def meets(sample: Scored, edges, constraints: Constraints) -> bool:
    _, b, b2 = histograms(sample, edges)
    enough = (b > 0) & (b >= constraints.min_background * (1 - 1e-9))
    return bool(np.all(enough & (np.sqrt(b2) <= constraints.max_mc_uncertainty * b * (1 + 1e-9))))


def best_of_all(sample: Scored, cells, bins: int, constraints: Constraints) -> float:
    """The largest Z of all choices of inner edges among those of the cells."""
    choices = itertools.combinations(cells.edges[1:-1], bins - 1)
    each = [np.array([cells.edges[0], *inner, cells.edges[-1]]) for inner in choices]
    return max(asimov(sample, e) for e in each if meets(sample, e, constraints))

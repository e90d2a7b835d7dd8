"""A counting experiment with a Poisson constraint of its background: everything in closed form.

`n ~ Poisson(μ s + γ b)`, and an auxiliary count `τ ~ Poisson(γ τ)` with `τ = (b / u)²`,
which is what a shapesys makes of an uncertainty u.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq
from scipy.stats import norm


def workspace(s: float, b: float, u: float, n: float, *parameters: dict) -> dict:
    modifier = {"name": "mu", "type": "normfactor", "data": None}
    constraint = {"name": "unc", "type": "shapesys", "data": [u]}
    samples = [
        {"name": "s", "data": [s], "modifiers": [modifier]},
        {"name": "b", "data": [b], "modifiers": [constraint]},
    ]
    config = {"poi": "mu", "parameters": list(parameters)}
    return {
        "channels": [{"name": "SR", "samples": samples}],
        "observations": [{"name": "SR", "data": [n]}],
        "measurements": [{"name": "m", "config": config}],
        "version": "1.0.0",
    }


@dataclass(frozen=True)
class OnOff:
    """The likelihood, and tests of it in the asymptotic formulae."""

    s: float
    b: float
    u: float

    def background(self, mu: float, n: float, m: float) -> float:
        """The profiled γ: the positive root of a quadratic equation; m is the auxiliary count."""
        tau, signal = (self.b / self.u) ** 2, mu * self.s
        a = (self.b + tau) * self.b
        h = (self.b + tau) * signal - (n + m) * self.b
        return (-h + np.sqrt(h * h + 4 * a * m * signal)) / (2 * a)

    def nll(self, mu: float, n: float, m: float) -> float:
        tau, gamma = (self.b / self.u) ** 2, self.background(mu, n, m)
        total = 0.0
        for count, rate in ((n, mu * self.s + gamma * self.b), (m, gamma * tau)):
            total += rate - (count * np.log(rate) if count else 0.0)
        return total

    def statistic(self, mu: float, n: float, m: float, test_stat: str) -> float:
        """q̃ (or q with any best fit, or q0) of arXiv 1007.1727."""
        tau = (self.b / self.u) ** 2
        best = (n - self.b * m / tau) / self.s
        if test_stat == "q0":
            return 0.0 if best < mu else 2 * (self.nll(mu, n, m) - self.nll(best, n, m))
        if best > mu:
            return 0.0
        if test_stat == "qtilde":
            best = max(best, 0.0)
        return 2 * (self.nll(mu, n, m) - self.nll(best, n, m))

    def cls(self, mu: float, n: float, test_stat: str = "qtilde") -> float:
        tau = (self.b / self.u) ** 2
        q = self.statistic(mu, n, tau, test_stat)
        gamma = self.background(0.0, n, tau)
        q_asimov = self.statistic(mu, gamma * self.b, gamma * tau, "qtilde")
        a, b = np.sqrt(q), np.sqrt(q_asimov)
        shift = (q - q_asimov) / (2 * b) if test_stat == "qtilde" and a > b else a - b
        return float(np.exp(norm.logcdf(-shift - b) - norm.logcdf(-shift)))

    def limit(self, n: float, test_stat: str = "qtilde") -> float:
        high = 1.0
        while self.cls(high, n, test_stat) > 0.05:
            high *= 2
        low = 0.05 * np.sqrt(self.b) / self.s
        return brentq(lambda mu: self.cls(mu, n, test_stat) - 0.05, low, high, xtol=1e-12)

"""Predictions against the truth: bias, resolution and coverage, also in bins of the truth."""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.resampling import counts
from difftune.analysis.split import Split
from difftune.arguments import takes
from difftune.data import Events
from difftune.errors import InputError, nearest
from difftune.report import Measured, Table
from difftune.training import AnyNetwork, BoostedTrees, as_network

_BELOW = 0.5 * (1.0 - math.erf(math.sqrt(0.5)))
"""Probability below one standard deviation under the mean."""

# Standard errors of the median and of the half width of 68.3 % of a normal law of width one.
_OF_MEDIAN = math.sqrt(0.5 * math.pi)
_OF_WIDTH = math.sqrt(2 * _BELOW * (1 - 2 * _BELOW)) / (2 * math.exp(-0.5) / math.sqrt(2 * math.pi))


@dataclass(frozen=True, kw_only=True)
class Spread:
    """What the residuals of some events are.

    Attributes:
        low: Least truth of the bin.
        high: Largest truth of the bin.
        events: Effective number of events, `(Σw)² / Σw²`.
        bias: Weighted median of the residuals, with the standard error that it has for a normal law
            of their width.
        resolution: Half of their central 68.3 % interval; its error likewise.
        coverage: Weighted share of the events whose truth is in the predicted interval, with the
            binomial error; None where the network predicts values alone.
    """

    low: float
    high: float
    events: float
    bias: Measured
    resolution: Measured
    coverage: Measured | None


@dataclass(frozen=True, kw_only=True)
class Residuals:
    """A prediction of events against the truth.

    Attributes:
        name: Of the target.
        relative: Whether residuals are divided by the truth.
        events: Those that are compared, which have the target.
        truth: Of each event.
        predicted: The central value of each.
        quantiles: What is predicted of each event for each of `levels`.
        levels: Of the quantiles, ascending; of a normal law mean and standard deviation say three;
            none where the network predicts values alone.
        residual: Predicted less true, over the truth if so.
        weight: Physics weight of each.
        whole: All events.
        bins: Bins of the truth, ascending.
    """

    name: str
    relative: bool
    events: Events
    truth: Float[np.ndarray, " events"]
    predicted: Float[np.ndarray, " events"]
    quantiles: Float[np.ndarray, "events levels"]
    levels: tuple[float, ...]
    residual: Float[np.ndarray, " events"]
    weight: Float[np.ndarray, " events"]
    whole: Spread
    bins: tuple[Spread, ...]

    @property
    def level(self) -> float | None:
        """Probability of the predicted intervals; None where there are none."""
        return self.levels[-1] - self.levels[0] if len(self.levels) > 1 else None

    @property
    def bias(self) -> Measured:
        """Root mean square of the bias in the bins, what chance gives each of them included."""
        values = np.array([each.bias.value for each in self.bins])
        errors = np.array([each.bias.uncertainty for each in self.bins])
        mean = float(np.sqrt(np.mean(values**2)))
        error = float(np.sqrt(np.sum((values * errors) ** 2)) / (len(values) * mean)) if mean else 0
        return Measured(mean, error)

    def resolutions(self, replicas: int) -> Float[np.ndarray, " replicas"]:
        """The resolution of all events in bootstrap replicas of them.

        The same events are in a replica for each network, so that differences between networks are
        known better than each resolution.

        Args:
            replicas: How many.
        """
        found = []
        for number in range(1, replicas + 1):
            weight = self.weight * counts(self.events, number)
            low, high = (_quantile(self.residual, weight, q) for q in (_BELOW, 1.0 - _BELOW))
            found.append(0.5 * (high - low))
        return np.array(found)

    @property
    def table(self) -> Table:
        """Bias, resolution and coverage of each bin and of all events."""
        kind = "Relative " if self.relative else ""
        columns = [f"True {self.name}", "Events", f"{kind}bias".capitalize()]
        columns += [f"{kind}resolution".capitalize()]
        columns += [] if self.level is None else [f"Coverage of {self.level:.1%}"]

        def row(called: str, each: Spread) -> tuple[str | Measured | None, ...]:
            own = (called, f"{each.events:.0f}", each.bias, each.resolution)
            return own if self.level is None else (*own, each.coverage)

        rows = [row(f"{each.low:.4g} to {each.high:.4g}", each) for each in self.bins]
        return Table(
            columns=tuple(columns),
            rows=(*rows, row("all", self.whole)),
            caption=f"Predicted less true {self.name}, in bins of the truth.",
            emphasised=(len(rows),),
        )


@takes(network=as_network)
def residuals(
    network: AnyNetwork,
    events: Events | Split | CrossFit,
    *,
    target: str | None = None,
    bins: int = 8,
    relative: bool = False,
) -> Residuals:
    """Compares what a network predicts with the truth.

    Args:
        network: That learned targets.
        events: With these targets; of a `Split` the test events, of a `CrossFit` all, each by the
            network that has not seen it.
        target: Which one; the first by default.
        bins: Number of bins of the truth, of equal weight.
        relative: Whether residuals are divided by the truth.

    Raises:
        InputError: When the network predicts no targets, not this one, or the events have none; or
            a truth is 0 and residuals are relative.
    """
    link = None if isinstance(network, BoostedTrees) else network.link
    if link is None:
        raise InputError(
            "residuals: this one tells classes apart and predicts no targets; train one with "
            "objective='huber', 'quantile' or 'gaussian_nll'."
        )
    names = link.transform.names
    name = names[0] if target is None else target
    sample = events.test if isinstance(events, Split | CrossFit) else events.simulated
    for known, who in ((names, "the network predicts"), (sample.target_names, "the events have")):
        if name not in known:
            raise InputError(
                f"residuals(target={name!r}): {who} {', '.join(known) or 'no targets'}."
                + nearest(name, known)
            )
    if bins < 1:
        raise InputError(f"residuals(bins={bins}): give at least 1.")
    truth = np.asarray(sample.target, np.float64)[:, sample.target_names.index(name)]
    known_truth = np.isfinite(truth)
    sample, truth = sample.select(known_truth), truth[known_truth]
    if relative and not truth.all():
        raise InputError(f"residuals(relative=True): the true {name} of an event is 0.")
    if len(truth) < 2 * bins:
        raise InputError(f"residuals: {len(truth)} events are too few for {bins} bins.")
    said = np.asarray(network.score(sample), np.float64).reshape(len(truth), len(names), -1)
    own, kind = said[:, names.index(name)], link.prediction
    central, levels = own[:, kind.middle], kind.quantiles
    if kind.form == "normal":
        own, levels = own[:, :1] + own[:, 1:] * [-1.0, 0.0, 1.0], (_BELOW, 0.5, 1.0 - _BELOW)
    inside = None
    if len(levels) > 1:
        inside = (own[:, 0] <= truth) & (truth <= own[:, -1])
    residual = (central - truth) / (truth if relative else 1.0)
    weight = np.asarray(sample.weight, np.float64)

    def spread(chosen: Bool[np.ndarray, " events"]) -> Spread:
        w, r = weight[chosen], residual[chosen]
        low, middle, high = (_quantile(r, w, q) for q in (_BELOW, 0.5, 1.0 - _BELOW))
        count, width = float(w.sum() ** 2 / np.sum(w**2)), 0.5 * (high - low)
        coverage = None
        if inside is not None:
            share = float(w[inside[chosen]].sum() / w.sum())
            between = min(max(share, 0.0), 1.0)
            coverage = Measured(share, math.sqrt(between * (1.0 - between) / count))
        return Spread(
            low=float(truth[chosen].min()),
            high=float(truth[chosen].max()),
            events=count,
            bias=Measured(middle, _OF_MEDIAN * width / math.sqrt(count)),
            resolution=Measured(width, _OF_WIDTH * width / math.sqrt(count)),
            coverage=coverage,
        )

    inner = [_quantile(truth, weight, i / bins) for i in range(1, bins)]
    number = np.searchsorted(inner, truth, side="left")
    return Residuals(
        name=name,
        relative=relative,
        events=sample,
        truth=truth,
        predicted=central,
        quantiles=own if levels else own[:, :0],
        levels=levels,
        residual=residual,
        weight=weight,
        whole=spread(np.ones(len(truth), bool)),
        bins=tuple(spread(number == i) for i in np.unique(number)),
    )


def _quantile(
    values: Float[np.ndarray, " events"], weight: Float[np.ndarray, " events"], share: float
) -> float:
    """The first value with this share of the weight below or at it; weights may be negative."""
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weight[order])
    return float(values[order[int(np.argmax(below >= share * below[-1]))]])

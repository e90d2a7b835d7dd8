"""What of a systematic variation is worth keeping in the templates, and what is only noise.

The effect of a variation on a process in a region has four parts: that on the yield and that on the
shape, and of each half the difference of up and down, and what both have in common, their mean. A
part with its statistical error from bootstrap replicas is χ² = Σ (effect/error)², over the bins of
a shape. Noise alone gives one per number, and an estimate that is noise and truth is further from
the truth than none at all where the truth is smaller than the error: where χ² < 2 per number
(Mallows, doi:10.1080/00401706.1973.10489103).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from difftune.analysis.resampling import channel_yields
from difftune.data import Events
from difftune.errors import InputError, nearest
from difftune.histfactory import TemplateYields
from difftune.histograms import Template, Templates
from difftune.histograms.smoothing import HIGHEST_DEGREE, ROUNDING, best_degree, parts, smoothed

KEEP, PRUNE, SMOOTH = NOISE = ("keep", "prune", "smooth")
"""What may become of noise."""

REPLICAS = 100


@dataclass(frozen=True, kw_only=True)
class Effect:
    """An effect with its statistical error.

    Attributes:
        size: Relative to the yield of the process; root of the sum of squares over the bins.
        error: The same of the statistical errors.
        chi2: Sum of the squared ratios of both.
        numbers: How many numbers it is of: bins in which there is an error.
    """

    size: float
    error: float
    chi2: float
    numbers: int

    @property
    def noisy(self) -> bool:
        """Whether it is no larger than its error, once what noise adds to it is taken off."""
        return self.chi2 < 2 * self.numbers


def effect(replicas: Float[np.ndarray, "replicas numbers"]) -> Effect:
    """An effect, with its error from replicas.

    Args:
        replicas: Relative effects; the first row is the sample itself.
    """
    errors = np.std(replicas[1:], axis=0, ddof=1)
    there = errors > ROUNDING
    return Effect(
        size=float(np.sqrt(np.sum(replicas[0] ** 2))),
        error=float(np.sqrt(np.sum(errors**2))),
        chi2=float(np.sum((replicas[0][there] / errors[there]) ** 2)),
        numbers=int(np.sum(there)),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class Treatment:
    """What is left of a variation of a process in a region.

    Attributes:
        region: Name of the region.
        process: Name of the process.
        variation: Name of the variation.
        yields: Whether the effect on the yield is kept: half the difference of up and down, and
            their mean.
        degrees: Of the polynomials of the number of the bin that take the place of the effect on
            the shape, relative to the yield of the bin; 0 where there is none, None where it stays.
        errors: Of the effect on the shape, `[2, bins]`.
        reason: Why, in words.
    """

    region: str
    process: str
    variation: str
    yields: tuple[bool, bool]
    degrees: tuple[int | None, int | None]
    errors: Float[np.ndarray, "2 bins"]
    reason: str

    @property
    def changes(self) -> bool:
        """Whether anything is not as it was."""
        return not all(self.yields) or self.degrees != (None, None)

    def __call__(
        self,
        nominal: Float[np.ndarray, " bins"],
        up: Float[np.ndarray, " bins"],
        down: Float[np.ndarray, " bins"],
    ) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
        """What takes the place of both variations."""
        total = nominal.sum()
        if not total > 0:
            return up, down
        share = nominal / total
        factor, shape = parts(nominal, up, down)
        factor = factor[:, 0] * self.yields
        rows = [
            own if degree is None else smoothed(own, share, errors, degree)
            for own, errors, degree in zip(shape, self.errors, self.degrees, strict=True)
        ]
        signs = np.array([[1.0, 1.0], [-1.0, 1.0]])
        factors, shapes = 1.0 + signs @ factor, signs @ np.stack(rows)
        high, low = factors[:, None] * total * (share + shapes)
        return high, low

    @property
    def what(self) -> str:
        """What was done, in words."""
        yields = ["kept" if each else "dropped" for each in self.yields]
        shapes = [
            "kept" if degree is None else f"smoothed (degree {degree})" if degree else "dropped"
            for degree in self.degrees
        ]
        said = []
        for name, (difference, mean) in (("yield", yields), ("shape", shapes)):
            if difference == mean:
                said += [f"{name} {mean}"] if mean != "kept" else []
            else:
                said.append(f"{name}: half difference {difference}, mean {mean}")
        return "; ".join(said)

    def __str__(self) -> str:
        """All of it in a line."""
        return f"{self.variation} of {self.process} in {self.region}: {self.what} ({self.reason})"


def check_pruning(prune: float, noise: str) -> None:
    """Refuses a threshold and a word that are none.

    Raises:
        InputError: With those that are.
    """
    if not 0 <= prune < 1:
        raise InputError(f"prune={prune}: a relative effect, 0.005 for instance; 0 drops nothing.")
    if noise not in NOISE:
        raise InputError(
            f"noise={noise!r}: choose one of {', '.join(map(repr, NOISE))}.{nearest(noise, NOISE)}"
        )


def treatments(
    score: Callable[[Events], Float[np.ndarray, " events"]],
    templates: Templates,
    events: Events,
    *,
    prune: float = 0.0,
    noise: str = KEEP,
    replicas: int = REPLICAS,
) -> tuple[Treatment, ...]:
    """What is to become of the variations of a region; those that stay as they are have none.

    Args:
        score: What is binned.
        templates: Of the region.
        events: What they were filled with.
        prune: Effects on the yield, and on the shape in every bin, that are relatively no larger
            are dropped.
        noise: `"keep"`; `"prune"` to drop what is no more than noise of the simulation; `"smooth"`
            to drop it, or replace the shape by a polynomial of the number of the bin.
        replicas: Bootstrap replicas, which give the errors.
    """
    check_pruning(prune, noise)
    names = sorted({name for each in templates.processes.values() for name in each.variations})
    if not names or (prune == 0 and noise == KEEP):
        return ()
    numbers = range(replicas + 1 if noise != KEEP else 1)
    yields = channel_yields(score, templates, events, numbers, names=names)
    found = []
    for number, name in enumerate(names):
        for row, (process, template) in enumerate(templates.processes.items()):
            if name in template.variations:
                own = _treatment(one_variation(yields, number, row), prune, noise)
                own = replace(own, region=templates.channel, process=process, variation=name)
                if own.changes:
                    found.append(own)
    return tuple(found)


def one_variation(
    yields: TemplateYields, variation: int, process: int
) -> tuple[
    Float[np.ndarray, "replicas bins"],
    Float[np.ndarray, "replicas bins"],
    Float[np.ndarray, "replicas bins"],
]:
    """Nominal, up and down of a variation of a process, for `parts`.

    Args:
        yields: `[replicas, ...]`.
        variation: Its number.
        process: Its number.
    """
    nominal = np.asarray(yields.nominal)[:, process]
    up, down = (np.asarray(each)[:, variation, process] for each in (yields.up, yields.down))
    return nominal, up, down


def _treatment(
    histograms: tuple[Float[np.ndarray, "replicas bins"], ...], prune: float, noise: str
) -> Treatment:
    """Of one variation of one process, which have no names yet."""
    nominal, up, down = histograms
    factor, shape = parts(nominal, up, down)
    bins = nominal.shape[1]
    keep_yield = [True, True]
    degrees: list[int | None] = [None, None]
    why = []
    errors = np.zeros((2, bins))
    share = nominal[0] / max(nominal[0].sum(), np.finfo(float).tiny)
    if noise != KEEP:
        errors = np.std(shape[1:], axis=0, ddof=1)
        highest = HIGHEST_DEGREE if noise == SMOOTH else 0
        for part in range(2):
            if noise == PRUNE and effect(factor[:, part]).noisy:
                keep_yield[part] = False
            degrees[part] = best_degree(shape[0, part], share, errors[part], highest)
        if degrees != [None, None] or not all(keep_yield):
            why.append("noise of the simulation")
    if prune > 0:
        signs = np.array([[1.0, 1.0], [-1.0, 1.0]])
        both = signs @ factor[0]
        relative = np.divide(
            signs @ shape[0], share, out=np.zeros((2, bins)), where=share > ROUNDING
        )
        small = [np.max(np.abs(both)) <= prune, np.max(np.abs(relative)) <= prune]
        if small[0] and keep_yield != [False, False]:
            keep_yield = [False, False]
            why.append(f"no more than {prune:g}")
        if small[1] and degrees != [0, 0]:
            degrees = [0, 0]
            why.append(f"no more than {prune:g}")
    return Treatment(
        region="",
        process="",
        variation="",
        yields=(keep_yield[0], keep_yield[1]),
        degrees=(degrees[0], degrees[1]),
        errors=errors,
        reason=", ".join(dict.fromkeys(why)),
    )


def treated(templates: Templates, done: Sequence[Treatment]) -> Templates:
    """Templates with what is left of their variations.

    Args:
        templates: Of one region.
        done: What becomes of variations, of this region or others.
    """
    processes = dict(templates.processes)
    for each in done:
        if each.region != templates.channel:
            continue
        template = processes[each.process]
        pair = template.variations[each.variation]
        up, down = each(template.nominal.sumw, *(histogram.sumw for histogram in pair))
        changed = replace(pair[0], sumw=up), replace(pair[1], sumw=down)
        processes[each.process] = Template(
            template.nominal, {**template.variations, each.variation: changed}
        )
    return replace(templates, processes=processes)


def treated_yields(
    yields: TemplateYields,
    templates: Templates,
    names: Sequence[str],
    done: Sequence[Treatment],
) -> TemplateYields:
    """The same of replicas of templates of a region.

    Args:
        yields: `[replicas, ...]`.
        templates: Name the processes.
        names: Of the variations.
        done: What becomes of them, in this region or others.
    """
    up, down = np.array(yields.up), np.array(yields.down)
    rows = list(templates.processes)
    for each in done:
        if each.region != templates.channel or each.variation not in names:
            continue
        place = names.index(each.variation), rows.index(each.process)
        for replica, nominal in enumerate(np.asarray(yields.nominal)[:, place[1]]):
            index = (replica, *place)
            up[index], down[index] = each(nominal, up[index], down[index])
    return yields._replace(up=up, down=down)

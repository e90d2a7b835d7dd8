"""Noisy shapes of systematic uncertainties, replaced by polynomials of the number of the bin."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.histograms.smoothing import HIGHEST_DEGREE, best_degree, parts, smoothed
from difftune.workspaces.spec import Content, Patterns, copied, matching, modifiers, samples


@dataclass(frozen=True, kw_only=True)
class Smoothed:
    """What became of the shape of a systematic uncertainty of a sample.

    Attributes:
        channel: Name of the channel.
        sample: Name of the sample.
        modifier: Name of the nuisance parameter.
        degrees: Of the polynomials in place of half the difference of up and down, and of their
            mean: 0 where there is no effect left, None where it stays as it was.
        change: The largest change of a varied yield relative to the nominal one, of all bins.
    """

    channel: str
    sample: str
    modifier: str
    degrees: tuple[int | None, int | None]
    change: float

    def __str__(self) -> str:
        """All of it in a line."""
        words = {None: "as it was", 0: "none"}
        said = [
            f"{name} {words.get(degree, f'of degree {degree}')}"
            for name, degree in zip(("half difference", "mean"), self.degrees, strict=True)
        ]
        return (
            f"{self.modifier} of {self.sample} in {self.channel}: {', '.join(said)}; yields change "
            f"by up to {self.change:.2g}"
        )


def smoothed_shapes(
    content: Content, given: Patterns, *, shared: float
) -> tuple[Content, tuple[Smoothed, ...]]:
    """A workspace with smoother histosys, and a table of what changed.

    Args:
        content: The workspace; stays as it is.
        given: Names or patterns of modifiers.
        shared: Share of simulated events that nominal and varied templates have in common.

    Raises:
        InputError: There is no such histosys, or none with a statistical uncertainty.
    """
    if not 0 <= shared < 1:
        raise InputError(f"smooth(shared={shared}): a share of the events, from 0 to below 1.")
    there = [m["name"] for _, _, m in modifiers(content) if m["type"] == "histosys"]
    wanted = matching("smooth(modifiers)", given, list(dict.fromkeys(there)))
    result, found, known = copied(content), [], False
    for channel, sample in samples(result):
        errors = _errors(sample)
        own = [m for m in sample["modifiers"] if m["type"] == "histosys" and m["name"] in wanted]
        nominal = np.asarray(sample["data"], float)
        if errors is None or not nominal.sum() > 0:
            continue
        for modifier in own:
            known = True
            data = modifier["data"]
            varied = np.asarray([data["hi_data"], data["lo_data"]], float)
            if not (varied.sum(axis=1) > 0).all():
                continue
            after, degrees = _smooth(nominal, varied, errors * np.sqrt(1 - shared))
            change = np.abs(after - varied)
            relative = np.divide(change, nominal, out=np.zeros_like(change), where=nominal > 0)
            data["hi_data"], data["lo_data"] = after.tolist()
            found.append(
                Smoothed(
                    channel=channel["name"],
                    sample=sample["name"],
                    modifier=modifier["name"],
                    degrees=degrees,
                    change=float(np.max(relative)),
                )
            )
    if not known:
        raise InputError(
            f"smooth({given!r}): no sample with such a histosys has a staterror, which says how "
            "noisy its templates are."
        )
    return result, tuple(found)


def _errors(sample: Content) -> Float[np.ndarray, " bins"] | None:
    """Statistical uncertainty of a sample; None where nothing says it."""
    own = [m["data"] for m in sample["modifiers"] if m["type"] == "staterror"]
    return np.sqrt(np.sum(np.square(own), axis=0)) if own else None


def _smooth(
    nominal: Float[np.ndarray, " bins"],
    varied: Float[np.ndarray, "2 bins"],
    errors: Float[np.ndarray, " bins"],
) -> tuple[Float[np.ndarray, "2 bins"], tuple[int | None, int | None]]:
    """Smoother templates of up and down, with the yields that they had."""
    total = nominal.sum()
    share = nominal / total
    factor, shape = parts(nominal, varied[0], varied[1])
    # Up and down are samples of their own: half their difference has less noise than one of them,
    # and their mean less nominal has the noise of that as well.
    sizes = errors / total * np.sqrt([[0.5], [1.5]])
    rows, degrees = [], []
    for effect, size in zip(shape, sizes, strict=True):
        degree = best_degree(effect, share, size, HIGHEST_DEGREE)
        degrees.append(degree)
        rows.append(effect if degree is None else smoothed(effect, share, size, degree))
    signs = np.array([[1.0, 1.0], [-1.0, 1.0]])
    factors = 1.0 + signs @ factor[:, 0]
    after = factors[:, None] * total * (share + signs @ np.stack(rows))
    return after, (degrees[0], degrees[1])

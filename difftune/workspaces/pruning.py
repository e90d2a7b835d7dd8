"""Systematic uncertainties without much effect, left out: their normalisation and shape apart."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.workspaces.spec import Content, copied, samples

REFERENCES = ("sample", "total")


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """What became of a systematic uncertainty of a sample.

    Attributes:
        channel: Name of the channel.
        sample: Name of the sample.
        modifier: Name of the nuisance parameter.
        norm: Its largest relative effect on the yield.
        shape: Its largest relative effect on the shape, of all bins.
        kept: "nothing", "norm" or "shape".
    """

    channel: str
    sample: str
    modifier: str
    norm: float
    shape: float
    kept: str

    def __str__(self) -> str:
        """All of it in a line."""
        return (
            f"{self.modifier} of {self.sample} in {self.channel}: yield {self.norm:.2g}, shape "
            f"{self.shape:.2g}; {self.kept} kept"
        )


def pruned(
    content: Content, *, norm: float, shape: float, reference: str
) -> tuple[Content, tuple[Pruned, ...]]:
    """A workspace without small normsys and histosys, and a table of what changed.

    Args:
        content: The workspace; stays as it is.
        norm: Relative effects on the yield that are smaller are left out.
        shape: Relative effects on the shape that are smaller in every bin are left out.
        reference: To what effects are relative: "sample" or "total".

    Raises:
        InputError: A threshold is none.
    """
    for name, value in (("norm", norm), ("shape", shape)):
        if not 0 <= value < 1:
            raise InputError(f"prune({name}={value}): a relative effect, 0.005 for instance.")
    if reference not in REFERENCES:
        raise InputError(f"prune(reference={reference!r}): choose one of {REFERENCES}.")
    result, found = copied(content), []
    for channel, sample in samples(result):
        nominal = np.asarray(sample["data"], float)
        whole = nominal
        if reference == "total":
            whole = np.sum([each["data"] for each in channel["samples"]], axis=0, dtype=float)
        systematic = {
            m["name"] for m in sample["modifiers"] if m["type"] in ("normsys", "histosys")
        }
        for name in sorted(systematic):
            own = {
                m["type"]: m
                for m in sample["modifiers"]
                if m["name"] == name and m["type"] in ("normsys", "histosys")
            }
            factors, shapes = _parts(nominal, own)
            total = nominal.sum()
            scale = total / whole.sum() if whole.sum() > 0 else 1.0
            yields = float(np.max(np.abs(factors - 1)) * abs(scale))
            change = np.abs(shapes - nominal)
            bins = np.divide(change, whole, out=np.zeros_like(change), where=whole > 0)
            largest = float(np.max(bins))
            keep = (not yields < norm, "histosys" in own and not largest < shape)
            unchanged = keep[0] and (keep[1] or "histosys" not in own)
            if unchanged or (keep[1] and yields == 0):
                continue
            kept = "norm" if keep[0] else "shape" if keep[1] else "nothing"
            found.append(
                Pruned(
                    channel=channel["name"],
                    sample=sample["name"],
                    modifier=name,
                    norm=yields,
                    shape=largest,
                    kept=kept,
                )
            )
            _leave(sample, own, keep, factors, shapes)
    return result, tuple(found)


def _parts(
    nominal: Float[np.ndarray, " bins"], own: dict[str, Content]
) -> tuple[Float[np.ndarray, " 2"], Float[np.ndarray, "2 bins"]]:
    """Effects of up and down on the yield, and the templates at the nominal yield."""
    factors, shapes = np.ones(2), np.stack([nominal, nominal])
    total = nominal.sum()
    if "histosys" in own:
        data = own["histosys"]["data"]
        varied = np.asarray([data["hi_data"], data["lo_data"]], float)
        sums = varied.sum(axis=1)
        if total > 0 and (sums > 0).all():
            factors = sums / total
            shapes = varied / factors[:, None]
        else:
            shapes = varied
    if "normsys" in own:
        data = own["normsys"]["data"]
        factors = factors * np.array([data["hi"], data["lo"]], float)
    return factors, shapes


def _leave(
    sample: Content,
    own: dict[str, Content],
    keep: tuple[bool, bool],
    factors: Float[np.ndarray, " 2"],
    shapes: Float[np.ndarray, "2 bins"],
) -> None:
    """Puts what is kept in the place of the modifiers of one name."""
    name = next(iter(own.values()))["name"]
    first = min(sample["modifiers"].index(each) for each in own.values())
    rest = [each for each in sample["modifiers"] if not any(each is m for m in own.values())]
    left: list[dict[str, Any]] = []
    if keep[0]:
        data: dict[str, Any] = {"hi": float(factors[0]), "lo": float(factors[1])}
        left = [{**own.get("normsys", {}), "name": name, "type": "normsys", "data": data}]
    elif keep[1]:
        data = {"hi_data": shapes[0].tolist(), "lo_data": shapes[1].tolist()}
        left = [{**own["histosys"], "data": data}]
    sample["modifiers"] = [*rest[:first], *left, *rest[first:]]

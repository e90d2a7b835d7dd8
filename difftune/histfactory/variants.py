"""Models made of others: filled by histograms again and again, in a batch, without constraints."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int

from difftune.errors import InputError, nearest
from difftune.histfactory.compile import Spec, compile_spec, walk
from difftune.histfactory.model import Model
from difftune.histfactory.structure import Entry, Key
from difftune.histfactory.workspace import FLOOR, LEAST_FACTOR
from difftune.histograms import Histogram, Template, Templates
from difftune.later import Array, jnp


class TemplateYields(NamedTuple):
    """Histograms of one channel, for instance differentiable ones.

    Attributes:
        nominal: Sums of weights.
        sumw2: Sums of squared weights.
        up: At plus one standard deviation of each systematic uncertainty.
        down: At minus one.
    """

    nominal: Float[Array | np.ndarray, "*batch processes bins"]
    sumw2: Float[Array | np.ndarray, "*batch processes bins"]
    up: Float[Array | np.ndarray, "*batch variations processes bins"]
    down: Float[Array | np.ndarray, "*batch variations processes bins"]


@dataclass(frozen=True, eq=False)
class Filling:
    """Where the histograms of processes go in the numbers of a model.

    Yields that are not positive become 1e-6 events, and a variation a normsys and a histosys, as in
    `build_workspace`.

    Attributes:
        model: Gives the structure, and all numbers that stay.
        index: Place of each number among the nominal yields, their statistical uncertainties, the
            factors of the variations, their shapes at the nominal yield, their templates, and the
            model's own numbers.
        scale: Factor on each of them.
    """

    model: Model
    index: Int[Array | np.ndarray, " numbers"]
    scale: Float[Array | np.ndarray, " numbers"]

    def __call__(self, yields: TemplateYields) -> Model:
        """The model with these yields, differentiable in them; to be called in float64."""
        nominal = jnp.maximum(yields.nominal, FLOOR)
        # The slope of a root at 0 is infinite, and that of an empty bin's uncertainty is not asked.
        there = yields.sumw2 > 0
        error = jnp.where(there, jnp.sqrt(jnp.where(there, yields.sumw2, 1.0)), 0.0)
        factor, shape = split(nominal, jnp.stack([yields.up, yields.down]))
        parts = (nominal, error, factor, shape, factor[..., None] * shape, self.model.numbers)
        known = jnp.concatenate([jnp.ravel(part) for part in parts])
        return self.model.replace(numbers=known[self.index] * self.scale, observed=None)


def split(
    nominal: Float[Array, "*batch bins"], varied: Float[Array, "*more bins"]
) -> tuple[Float[Array, "*more"], Float[Array, "*more bins"]]:
    """Effects of variations on the total yields, and their shapes at the nominal ones."""
    nothing = (nominal <= FLOOR) | (varied <= 0)
    bins = jnp.where(nothing, jnp.minimum(nominal, FLOOR), varied)
    factor = jnp.sum(bins, axis=-1) / jnp.sum(nominal, axis=-1)
    least = factor < LEAST_FACTOR
    factor = jnp.where(least, LEAST_FACTOR, factor)
    return factor, jnp.where(least[..., None], nominal, bins / factor[..., None])


def symmetrised(
    nominal: Float[Array | np.ndarray, "*batch bins"], up: Float[Array | np.ndarray, "*batch bins"]
) -> Float[Array, "*batch bins"]:
    """The down variation that mirrors a one-sided one: that of `difftune.histograms`, traceable."""
    total, varied = jnp.sum(nominal, axis=-1), jnp.sum(up, axis=-1)
    usable = (total > 0) & (varied > 0)
    ratio = jnp.where(usable, varied, 1.0) / jnp.where(usable, total, 1.0)
    ratio = ratio[..., None]
    mirrored = (2 - ratio) * (2 * nominal - up / ratio)
    return jnp.where(usable[..., None], mirrored, 2 * nominal - up)


def filling(
    model: Model,
    *,
    channel: str,
    samples: Sequence[str],
    variations: Sequence[str],
) -> Filling:
    """What the histograms of one channel fill in a model.

    In the samples that are filled these are the nominal yields, staterrors, and the normsys and
    histosys that have the name of a variation: where a sample has both, the one is the effect on
    the total and the other the shape. Other histosys and shapesys keep their size relative to the
    yield, bin by bin. Everything else stays.

    Args:
        model: The model.
        channel: Name of the channel.
        samples: For each process the sample that it fills.
        variations: Names of the systematic uncertainties.

    Raises:
        InputError: There is no such channel or sample, or no sample has a variation.
    """
    structure, numbers = model.structure, np.asarray(model.numbers)
    if channel not in structure.channels:
        raise InputError(
            f"The model has no channel {channel!r}.{nearest(channel, structure.channels)}"
        )
    there = [entry.key[1] for entry in structure.entries if entry.key[0] == channel]
    for sample in samples:
        if sample not in there:
            raise InputError(
                f"Channel {channel!r} has no sample {sample!r}.{nearest(sample, there)}"
            )
    bins = structure.bins[structure.channels.index(channel)]
    counts = len(samples), len(variations)
    sizes = np.array([1, 1, 2 * counts[1] / bins, 2 * counts[1], 2 * counts[1]]) * counts[0] * bins
    nominal, error, factor, shape, template, own = np.cumsum([0, *sizes.round().astype(int)])
    index, scale = own + np.arange(structure.size), np.ones(structure.size)
    each = np.arange(bins)
    used = set()
    for entry in structure.entries:
        key, where = entry.key, slice(entry.start, entry.stop)
        if key[0] != channel or key[1] not in samples:
            continue
        process = samples.index(key[1])
        if len(key) == 2:
            index[where] = nominal + process * bins + each
            continue
        kind, name, field = key[2:]
        if kind == "staterror":
            index[where] = error + process * bins + each
        elif kind in ("normsys", "histosys") and name in variations:
            used.add(name)
            side = field in ("lo", "lo_data")
            row = (side * counts[1] + variations.index(name)) * counts[0] + process
            if kind == "normsys":
                index[where] = factor + row
            else:
                both = (*key[:2], "normsys", name, "hi") in structure.entry
                index[where] = (shape if both else template) + row * bins + each
        elif kind in ("histosys", "shapesys"):
            index[where] = nominal + process * bins + each
            scale[where] = _relative(structure.entry, numbers, entry)
    for name in variations:
        if name not in used:
            known = [name for name, kind in structure.modifiers if kind in ("normsys", "histosys")]
            raise InputError(
                f"The events have the variation {name!r}, and no filled sample of channel "
                f"{channel!r} a normsys or histosys of that name.{nearest(name, known)} Rename it, "
                "or leave it out of the events."
            )
    return Filling(model, index, scale)


def _relative(
    entries: Mapping[Key, Entry], numbers: Float[np.ndarray, " numbers"], entry: Entry
) -> Float[np.ndarray, " bins"]:
    """A modifier's numbers relative to the nominal yields; without any they have no effect."""
    yields = entries[entry.key[:2]]
    nominal, own = (numbers[each.start : each.stop] for each in (yields, entry))
    without = np.full(len(own), 1.0 if entry.key[2] == "histosys" else 0.0)
    return np.divide(own, nominal, out=without, where=nominal > 0)


def dummy_templates(
    bins: int,
    *,
    channel: str,
    processes: Sequence[str],
    signal: Sequence[str],
    variations: Sequence[str],
) -> Templates:
    """Templates in which everything has an effect, so that `build_workspace` prunes nothing."""
    edges = np.linspace(0.0, 1.0, bins + 1)
    flat, slope = np.full(bins, 100.0), np.linspace(-1.0, 1.0, bins)

    def histogram(sumw: Float[np.ndarray, " bins"]) -> Histogram:
        return Histogram(edges, sumw, flat)

    pair = histogram(flat * (1.1 + 0.1 * slope)), histogram(flat * (0.9 - 0.1 * slope))
    template = Template(histogram(flat), dict.fromkeys(variations, pair))
    return Templates(
        channel=channel,
        edges=edges,
        processes=dict.fromkeys(processes, template),
        signal=tuple(signal),
    )


def stack(models: Sequence[Model]) -> Model:
    """One model with a leading axis of numbers, for fits, tests and limits of all in one program.

    Where one model has a normsys, a histosys or a sample that another lacks, the other gets one
    without effect; its likelihood changes by constraint terms that are constant in a ratio.

    Args:
        models: Of one analysis; observations and measurement are those of the first.

    Raises:
        InputError: The models differ in more than samples, normsys and histosys.
    """
    if not models:
        raise InputError("stack needs at least one model.")
    first = models[0]
    if all(model.structure == first.structure for model in models):
        return first.replace(numbers=np.stack([np.asarray(model.numbers) for model in models]))
    specs = [_harmonised(model.spec(), models) for model in models]
    settings = {
        "normsys": {"interpcode": first.structure.normsys_code},
        "histosys": {"interpcode": first.structure.histosys_code},
    }
    compiled = compile_spec(specs[0], poi=first.structure.poi, modifier_settings=settings)
    own = {key: values for key, _, values in walk(specs[0])}
    rows = []
    for model, spec in zip(models, specs, strict=True):
        values = {key: values for key, _, values in walk(spec)}
        different = set(own) ^ set(values)
        if different or model.structure.poi != first.structure.poi:
            raise InputError(
                f"The models differ in {sorted(different)[0] if different else 'their POI'}: only "
                "samples, normsys and histosys may come and go between models that are stacked."
            )
        row = compiled.numbers.copy()
        for entry in compiled.structure.entries:
            if entry.key in values:
                row[entry.start : entry.stop] = values[entry.key]
        rows.append(row)
    return Model(structure=compiled.structure, numbers=np.stack(rows), observed=compiled.observed)


def _harmonised(spec: Spec, models: Sequence[Model]) -> dict[str, Any]:
    """A spec with everything that any of the models has."""
    result = copy.deepcopy(dict(spec))
    wanted: dict[tuple[str, str], dict[tuple[str, str], dict[str, Any]]] = {}
    for model in models:
        for channel in model.spec()["channels"]:
            for sample in channel["samples"]:
                place = wanted.setdefault((channel["name"], sample["name"]), {})
                for modifier in sample["modifiers"]:
                    place.setdefault((modifier["type"], modifier["name"]), modifier)
    for channel in result["channels"]:
        samples = {sample["name"]: sample for sample in channel["samples"]}
        bins = len(channel["samples"][0]["data"])
        for (where, name), modifiers in wanted.items():
            if where != channel["name"]:
                continue
            absent = name not in samples
            sample = samples.setdefault(name, {"name": name, "data": [0.0] * bins, "modifiers": []})
            there = {(m["type"], m["name"]) for m in sample["modifiers"]}
            for (kind, title), modifier in modifiers.items():
                if (kind, title) not in there and (absent or kind in ("normsys", "histosys")):
                    data = _without_effect(modifier, sample["data"])
                    sample["modifiers"].append({"name": title, "type": kind, "data": data})
            sample["modifiers"].sort(key=lambda m: (m["type"], m["name"]))
        channel["samples"] = [samples[name] for name in sorted(samples)]
    result["channels"].sort(key=lambda channel: channel["name"])
    return result


def _without_effect(modifier: dict[str, Any], nominal: list[float]) -> Any:
    """Data of a modifier that changes nothing."""
    if modifier["type"] == "normsys":
        return {"hi": 1.0, "lo": 1.0}
    if modifier["type"] == "histosys":
        return {"hi_data": list(nominal), "lo_data": list(nominal)}
    # Those of a sample without yields.
    return None if modifier["data"] is None else [0.0] * len(nominal)


# As far as a fit may go, in units of the variation.
_FAR = 1e3


def without_constraints(model: Model, names: Sequence[str]) -> Model:
    """A model in which nothing but the data of the bins determines some parameters.

    Their auxiliary measurements are left out, of the data too, and their bounds lie far away. pyhf
    cannot express that for a normsys or histosys, so such a model cannot be exported.

    Args:
        model: The model.
        names: Of nuisance parameters with a Gaussian constraint.

    Raises:
        InputError: There is no such parameter.
    """
    if not names:
        return model
    structure, layout = model.structure, model.structure.layout
    free = np.zeros(len(structure.names), bool)
    known = [group.name for group in structure.parameter_sets if group.constraint == "gaussian"]
    for name in names:
        if name not in known:
            raise InputError(
                f"There is no constrained parameter {name!r} to free.{nearest(name, known)}"
            )
    groups = []
    for group in structure.parameter_sets:
        if group.name in names:
            free[group.start : group.start + group.size] = True
            group = group._replace(constraint="none")
        groups.append(group)
    stays = ~free[layout.auxiliary]
    changed = replace(
        layout,
        **{name: getattr(layout, name)[stays] for name in ("auxiliary", "poisson", "center")},
        sigma=layout.sigma[stays],
        lower=np.where(free, -_FAR, layout.lower),
        upper=np.where(free, _FAR, layout.upper),
    )
    return model.replace(
        structure=replace(structure, parameter_sets=tuple(groups), layout=changed), observed=None
    )

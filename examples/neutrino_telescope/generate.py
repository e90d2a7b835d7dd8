"""Make telescope.root: atmospheric neutrinos in a small model of KM3NeT/ORCA.

    python generate.py [--events 10000] [--seed 1] [--output telescope.root]

Each process has so many events with a trigger, of one weight each: expected events of three years.
Trees with `_light_up` and `_light_down` are the same neutrinos in water, or seen by tubes, that
give 5 % more or less light.

Simplified: oscillation in vacuum, not in matter; one absorption length for all colours, and
scattering as a delay; a sensor of one direction in place of a module's 31 tubes, whose hits are
those of the module; left-handed taus; no atmospheric muons. Flux, cross-sections, yields and angles
of light were compared with the papers and tables that are named beside them. What the sea and the
modules do (`AREA` to `DELAY` in light.py) are plausible values that were not.
"""

import argparse
import time
from pathlib import Path

import awkward as ak
import events
import light
import neutrinos
import numpy as np
import uproot
from summaries import summaries

YEARS = 3.0
CHUNK = 600  # interactions
LIGHT = {"": 1.0, "_light_up": 1.05, "_light_down": 0.95}


def variations(process, energy, cosine, anti=False):
    """Relative weights of other assumptions about oscillation and flux."""
    nominal = neutrinos.rate(process, energy, cosine)

    def relative(**mixing):
        other = neutrinos.rate(process, energy, cosine, mixing=neutrinos.Mixing(**mixing))
        return other / np.maximum(nominal, 1e-300)

    # NuFIT's uncertainties of Δm²31, θ23, and 5 % of tilt and slant of the flux.
    return {
        "dm31_up": relative(dm31=2.54e-3),
        "dm31_down": relative(dm31=2.48e-3),
        "theta23_up": relative(theta23=50.0),
        "theta23_down": relative(theta23=48.0),
        "tilt_up": (energy / 15) ** 0.05,
        "tilt_down": (energy / 15) ** -0.05,
        "slant_up": 1 + 0.05 * (-cosine - 0.5),
        "slant_down": 1 - 0.05 * (-cosine - 0.5),
    }


def made(process, wanted, *, seed, years=YEARS):
    """Trees of a process, nominal and varied, with so many events in the nominal one.

    Returns:
        By suffix the branches, flat ones and hits, as arrays of awkward.
    """
    number = neutrinos.PROCESSES.index(process)
    parts = {suffix: [] for suffix in LIGHT}
    have, tried, chunk, per_year = 0, 0, 0, 0.0
    while have < wanted:
        # A generator of its own: a longer sample begins with the shorter one.
        rng = np.random.default_rng([seed, number, chunk])
        truth, sources, per_year = events.interactions(process, CHUNK, rng)
        bright = np.flatnonzero(events.promising(sources))
        photons = light.shine(events.some(sources, bright), rng, light=max(LIGHT.values()))
        dark = light.background(len(bright), events.WINDOW, rng)
        for suffix, share in LIGHT.items():
            kept = photons[photons.rank < share / max(LIGHT.values())]
            branches = _measured(light.joined(kept, dark), len(bright))
            index = bright[branches.pop("index")]
            branches |= {name: values[index] for name, values in truth.items()}
            true = sources.vertex[index].T
            branches |= dict(zip(("true_x", "true_y", "true_z"), true, strict=True))
            branches["event_number"] = chunk * CHUNK + index
            parts[suffix].append(branches)
        have += len(parts[""][-1]["energy"])
        tried += CHUNK
        chunk += 1
    trees = {}
    for suffix, several in parts.items():
        tree = {name: ak.concatenate([each[name] for each in several]) for name in several[0]}
        weight = np.full(len(tree["energy"]), years * per_year / tried)
        tree["weight"] = weight
        if not suffix:
            other = variations(
                process, ak.to_numpy(tree["energy"]), ak.to_numpy(tree["cos_zenith"])
            )
            tree |= {f"weight_{name}": weight * values for name, values in other.items()}
        trees[suffix] = tree
    return trees


def _measured(photons, count):
    """Branches of the events with a trigger, and their numbers as `index`."""
    hits = events.measured(photons, count)
    index = np.flatnonzero(events.triggered(hits, count))
    hits = _of(hits, index, count)
    found = summaries(hits, len(index))
    inside = np.flatnonzero(events.contained(found))
    hits = _of(hits, inside, len(index))
    found = {"index": index[inside]} | {name: values[inside] for name, values in found.items()}
    index = index[inside]
    sizes = np.bincount(hits.event, minlength=len(index))
    where = light.modules()[hits.module]
    each = dict(zip("xyz", where.T, strict=True)) | {"t": hits.time, "charge": hits.charge}
    each |= dict(zip(("dx", "dy", "dz"), hits.direction.T, strict=True))
    found["hit"] = ak.unflatten(
        ak.zip({name: values.astype(np.float32) for name, values in each.items()}), sizes
    )
    return found


def _of(hits, index, count):
    """The hits of some events, which are numbered anew."""
    place = np.full(count, -1)
    place[index] = np.arange(len(index))
    hits = hits[place[hits.event] >= 0]
    return events.Hits(**{**vars(hits), "event": place[hits.event]})


def write(path, wanted, *, seed=1, say=lambda text: None):
    """The file, with so many events of each process."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.root")
    with uproot.recreate(part, compression=uproot.ZLIB(1)) as file:
        for process in neutrinos.PROCESSES:
            began = time.process_time()
            trees = made(process, wanted, seed=seed)
            for suffix, tree in trees.items():
                hits = {"hit": tree.pop("hit")}
                flat = {name: _flat(values) for name, values in tree.items()}
                kinds = {name: values.dtype for name, values in flat.items()}
                file.mktree(process + suffix, kinds | {"hit": hits["hit"].type.content})
                file[process + suffix].extend(flat | hits)
            weight = np.asarray(trees[""]["weight"])
            say(
                f"{process:9} {len(weight)} events, {weight.sum():.0f} expected in {YEARS:.0f} "
                f"years, {time.process_time() - began:.0f} s"
            )
    part.replace(path)


def _flat(values):
    values = np.asarray(values)
    return values if values.dtype.kind == "i" else values.astype(np.float32)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=10_000, help="with a trigger, per process")
    parser.add_argument("--quick", action="store_true", help="200 events per process: it works")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("telescope.root"))
    given = parser.parse_args()
    write(given.output, 200 if given.quick else given.events, seed=given.seed, say=print)

"""Chunks of generated events, and the normalised trees that they become."""

import argparse
import json
import multiprocessing
import os
import time
import zlib
from pathlib import Path

import awkward as ak
import detector
import features
import numpy as np
import samples
from storage import Trees, read, write, write_objects

CHUNK = 20_000  # generated events
SHIFTS = {"": 0.0, "_jes_up": 1.0, "_jes_down": -1.0}
STEPS = ("generated", "filtered", "one lepton", "met", "mtw", "2-3 jets", "b-tag")
WEIGHT_BITS = 9
DEFAULT_TAGS = "one_untagged"


def make_chunk(task: tuple[str, str, int, int, int, Path]) -> Path:
    """Generate, measure and select one chunk; store its events as they come, before normalisation."""
    tags, name, number, generate, seed, path = task
    if path.exists():
        return path
    sample = samples.SETS[tags][name]
    prefix = "" if tags == DEFAULT_TAGS else f"{tags}/"
    chunk_seed = zlib.crc32(f"{prefix}{seed}/{name}/{number}".encode()) % 900_000_000
    rng = np.random.default_rng(chunk_seed)
    columns: dict[str, list[np.ndarray]] = {}
    cutflow = {kind: np.zeros(len(STEPS)) for kind in sample.cross_section or {0: 0.0}}
    first = sample.number * 100_000_000 + number * 100_000
    for batch, generated in samples.events(sample, generate=generate, seed=chunk_seed):  # noqa: B007
        event_numbers = first + np.arange(len(batch))
        first += len(batch)
        measured = _measure_batch(sample, tags, batch, event_numbers, rng, cutflow)
        for column, values in measured.items():
            columns.setdefault(column, []).append(values)
    for kind, count in generated.items():
        cutflow[kind][0] = count
    np.savez(
        path.with_suffix(".part.npz"),
        classes=list(cutflow),
        cutflow=np.stack(list(cutflow.values())),
        **{column: np.concatenate(values) for column, values in columns.items()},
    )
    os.replace(path.with_suffix(".part.npz"), path)
    return path


def _measure_batch(
    sample: samples.Sample,
    tags_wanted: str,
    batch: ak.Array,
    event_numbers: np.ndarray,
    rng: np.random.Generator,
    cutflow: dict[int, np.ndarray],
) -> dict[str, np.ndarray]:
    """Columns of the selected events for each of `SHIFTS`; adds to the cutflow."""
    uniform = rng.random(
        size=(2, len(batch))
    )  # for the tags, and for keeping events of low probability
    kinds = np.zeros(len(batch), int)
    if sample.polarised_top:
        kinds = np.asarray(ak.firsts(batch.prt.id[abs(batch.prt.id) == 6]))
    measured = detector.measure(batch.prt, rng)
    where = np.asarray(measured["index"])

    bias = sample.bias_weight(np.sqrt(np.asarray(batch.info.pT2Hat)))
    bias = bias / samples.kept_probability(batch.prt)
    tagged, largest = {}, np.zeros(len(batch))
    for shift, size in SHIFTS.items():
        selected, passed = features.select(
            measured["lepton"], *detector.calibrated(measured, size), tags=tags_wanted
        )
        index = where[selected.index]
        tags, probability, ratios = features.tag(selected, uniform[0, index])
        tagged[shift] = selected, index, tags, probability, ratios
        largest[index] = np.maximum(largest[index], probability)
        if not shift:
            for kind, flow in cutflow.items():
                mine = kinds == kind
                flow[1] += bias[mine].sum()
                flow[2:6] += passed[:, mine[where]] @ bias[where][mine[where]]
                flow[6] += (probability * bias[index])[mine[index]].sum()

    keep = (
        np.minimum(largest * bias / sample.reference, 1.0)
        if sample.reference
        else np.ones(len(batch))
    )
    columns = {}
    for shift, (selected, index, tags, probability, ratios) in tagged.items():
        kept = (probability > 0) & (uniform[1, index] < keep[index])
        index = index[kept]
        columns[f"features{shift}"] = features.features(selected, tags)[kept]
        columns[f"event_number{shift}"] = event_numbers[index]
        columns[f"class{shift}"] = kinds[index]
        columns[f"weight{shift}"] = probability[kept] * bias[index] / keep[index]
        columns[f"jets{shift}"] = features.every_jet(selected, tags)[kept]
        columns[f"azimuths{shift}"] = features.azimuths(selected)[kept]
        if not shift:
            shower = samples.shower_ratios(batch.info.weights)[index]
            columns |= {name: shower[:, i] for i, name in enumerate(samples.SHOWER_VARIATIONS)}
            columns |= {name: ratio[kept] for name, ratio in ratios.items()}
    return columns


def assemble(name: str, chunks: list[Path], calibration: dict) -> tuple[Trees, dict]:
    """Normalised trees of one process, and its cutflow (expected yields)."""
    loaded = [dict(np.load(path)) for path in chunks]
    counts = sum(chunk["cutflow"] for chunk in loaded)
    classes = [int(kind) for kind in loaded[0]["classes"]]
    scale = {
        kind: samples.LUMINOSITY * calibration["cross_section"][str(kind)] / counts[i, 0]
        for i, kind in enumerate(classes)
    }
    per_event = np.array([scale[kind] for kind in classes])
    cutflow = dict(zip(STEPS, (per_event @ counts).tolist(), strict=True))
    for step in STEPS[2:]:
        cutflow[step] *= detector.LEPTON_EFFICIENCY
    trees = {}
    for shift in SHIFTS:
        column = {
            key: np.concatenate([chunk[f"{key}{shift}"] for chunk in loaded])
            for key in ("features", "event_number", "class", "weight")
        }
        by_class = np.vectorize(scale.get, otypes=[float])(column["class"])
        weights = {"weight": column["weight"] * by_class * detector.LEPTON_EFFICIENCY}
        if not shift:
            for variation in samples.SHOWER_VARIATIONS:
                ratio = np.concatenate([chunk[variation] for chunk in loaded])
                weights[f"weight_{variation}"] = (
                    weights["weight"] * ratio / calibration["shower_mean"][variation]
                )
            for variation in features.TAG_VARIATIONS:
                ratio = np.concatenate([chunk[variation] for chunk in loaded])
                weights[f"weight_{variation}"] = weights["weight"] * ratio
        trees[name + shift] = (
            {"event_number": column["event_number"].astype(np.int32)}
            | {key: features.round_mantissa(values, WEIGHT_BITS) for key, values in weights.items()}
            | dict(zip(features.FEATURES, column["features"].T, strict=True))
        )
    return trees, {"generated": int(counts[:, 0].sum()), "cutflow": cutflow}


def objects(name: str, chunks: list[Path]) -> dict[str, ak.Array]:
    """Jets and azimuths of one process: entry by entry those of the trees that `assemble` makes."""
    loaded = [np.load(path) for path in chunks]
    found = {}
    for shift in SHIFTS:
        jets, azimuths, numbers = (
            np.concatenate([chunk[f"{key}{shift}"] for chunk in loaded])
            for key in ("jets", "azimuths", "event_number")
        )
        found[name + shift] = ak.with_field(
            features.objects(jets, azimuths), numbers.astype(np.int32), "event_number"
        )
    return found


def make(options: argparse.Namespace) -> None:
    """All of it, from the options of `generate.py`."""
    started = time.time()
    options.cache.mkdir(parents=True, exist_ok=True)

    tasks = []
    every = samples.SETS[options.tags]
    unknown = set(options.only or ()) - set(every)
    if unknown:
        raise SystemExit(
            f"{options.tags} has no {', '.join(sorted(unknown))}, but {', '.join(every)}"
        )
    chosen = {name: every[name] for name in every if name in (options.only or every)}
    made_as = {"seed": options.seed, "scale": options.scale, "luminosity": samples.LUMINOSITY}
    trees, metadata = {}, made_as | {"processes": {}}
    if len(chosen) < len(every):
        trees, metadata = read(options.output)
        if any(metadata[key] != value for key, value in made_as.items()):
            raise SystemExit(f"{options.output} was made otherwise than with {made_as}")
    stem = "" if options.tags == DEFAULT_TAGS else f"{options.tags}_"
    for name, sample in chosen.items():
        total = max(round(sample.generate * options.scale), 500)
        size, chunks = min(total, CHUNK), -(-total // CHUNK)
        tasks += [
            (
                options.tags,
                name,
                i,
                size,
                options.seed,
                options.cache / f"{stem}{name}_{options.seed}_{i}_{size}.npz",
            )
            for i in range(chunks)
        ]
    tasks.sort(
        key=lambda task: task[2] / chosen[task[1]].generate
    )  # all processes advance together
    with multiprocessing.get_context("spawn").Pool(options.jobs) as pool:
        number = int(8_000 * min(1.0, options.scale * 10))
        calibrations = pool.map(_calibrate, [(name, options, number) for name in chosen])
        for done, path in enumerate(pool.imap_unordered(make_chunk, tasks, chunksize=1), start=1):
            print(f"[{time.time() - started:6.0f} s] {done}/{len(tasks)} {path.name}", flush=True)

    for name, calibration in zip(chosen, calibrations, strict=True):
        made, summary = assemble(name, [task[-1] for task in tasks if task[1] == name], calibration)
        trees |= made
        metadata["processes"][name] = summary | calibration
        print(
            f"{name}: {len(made[name]['weight'])} events, {made[name]['weight'].sum():.0f} expected"
        )
    in_order = {f"{name}{shift}": trees[f"{name}{shift}"] for name in every for shift in SHIFTS}
    write(options.output, in_order, metadata)
    written = [options.output]
    if options.objects:
        ntuples = {}
        for name in every:
            ntuples |= objects(name, [task[-1] for task in tasks if task[1] == name])
        write_objects(options.objects, ntuples, made_as)
        written.append(options.objects)
    for path in written:
        print(f"{path}: {path.stat().st_size / 1e6:.2f} MB, {time.time() - started:.0f} s")


def _calibrate(task: tuple[str, argparse.Namespace, int]) -> dict:
    name, options, number = task
    path = options.cache / f"calibration_{name}_{options.seed}_{number}.json"
    if not path.exists():
        path.write_text(json.dumps(samples.calibrate(name, seed=options.seed, number=number)))
    return json.loads(path.read_text())

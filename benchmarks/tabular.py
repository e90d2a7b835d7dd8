"""Networks against boosted trees, as a user would choose: by default, and within the same time.

Same events and weights, test events that nobody has seen, several seeds. Differences are paired:
their errors are those of the difference on the same test events, and of the seeds. `--part NAME`
runs one part alone; what searches (`search ...`, `short search ...`) runs only when it is named.
With `--keep FOLDER` each training leaves its scores there, and what is there is not done again: so
a part can be stopped and go on, or have its contestants one by one.

Packages that cannot be installed beside the others have a Python of their own: name that of
mljar-supervised, AutoGluon or TabM in `PYTHON_OF_SUPERVISED`, `PYTHON_OF_AUTOGLUON`,
`PYTHON_OF_TABM`.
"""

import json
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np

import difftune as dt
from benchmarks.common import running, samples
from benchmarks.common.running import call, say, sizes, taking_part, threads
from benchmarks.common.table import Row
from benchmarks.peers.tabular import Table
from difftune.analysis.judged import Estimate, Labelled, auc, log_loss

SHARED = samples.HIGGSML.parent
JETS = running.ROOT / "examples" / "jets" / "jets.root"
OF_A_JET = ["pt", "mass", "multiplicity", "dispersion", "width", "tau21", "tau32"]
WTLOOP = [
    *("pT_lep1", "pT_lep2", "pT_jet1", "met", "sumet", "deltaR_lep1_lep2"),
    *("mass_lep1jet1", "mass_lep2jet1", "pTsys_lep1lep2jet1met", "njets"),
]
DEFAULTS = ("xgboost", "lightgbm", "catboost")
SEARCHES = ("xgboost_optuna", "catboost_bags", "mljar", "autogluon")
PACKAGES = {
    **{name: name for name in DEFAULTS},
    "tabm": "tabm",
    "xgboost_optuna": "optuna",
    "catboost_bags": "catboost",
    "mljar": "supervised",
    "autogluon": "autogluon",
}
"""What a peer needs, by the name that it is imported by."""
NAMES = {
    "network": "network, default",
    "automatic": "dt.auto, networks only",
    "submodels": "network of 16 submodels",
    "tabm": "TabM of PyTorch, 16 submodels",
    "xgboost": "XGBoost, default",
    "lightgbm": "LightGBM, default",
    "catboost": "CatBoost, default",
    "xgboost_optuna": "XGBoost + Optuna, bag",
    "catboost_bags": "CatBoost, bags",
    "mljar": "mljar, Perform",
    "autogluon": "AutoGluon, medium quality",
}


FIGURES = {"loss": "log-loss", "area": "area"}


def run(*, quick: bool, parts: Sequence[str] = (), keep: Path | None = None) -> list[Row]:
    """The parts that are named; else all that do not search, and in a smoke run one of each."""
    own = sizes(
        quick,
        seeds=(5, 1),
        shared=(3, 1),  # seeds of submodels
        searched=(5, 1),  # seeds of what searches
        few=(3, 1),  # of its short form
        minutes=(4.0, 0.02),  # of the CPU, that it has
        short=(1.0, 0.02),
        peers=(SEARCHES, SEARCHES[1:2]),  # that search
        events=(1_000_000, 1_500),  # of a sample, at most
        scored=(1_000_000, 20_000),
        epochs=(5, 1),  # of the networks whose scoring is timed
        keep=(keep, keep),
    )
    default = ["default HiggsML", "search HiggsML", "scoring"]
    if not quick:
        default = [name for name in PARTS if "search" not in name]
    return [row for name in parts or default for row in PARTS[name](own)]


# ---- samples -------------------------------------------------------------------------------------


def higgsml() -> Table:
    """The extract of the HiggsML challenge."""
    return _table(samples.higgsml())


def single_top() -> Table:
    """The sample of the main job, without its systematic variations."""
    return _table(samples.single_top(varied=False))


def negative() -> Table:
    """TW against Sherpa's Z to tau tau, of whose weights a third are negative."""
    tree = "WtLoop_nominal"
    files = {"tW": "atlas_dilepton_weightsys.root", "Ztautau": "sherpa_ztautau_emu_*.root"}
    return _table(
        dt.read(
            features=WTLOOP,
            weight="weight_nominal",
            event_number="eventNumber",
            processes=[
                dt.Process(name="Ztautau", files=str(SHARED / files["Ztautau"]), tree=tree),
                dt.Process(name="tW", role="signal", files=str(SHARED / files["tW"]), tree=tree),
            ],
        )
    )


def jets() -> Table:
    """Jets of W bosons against those of quarks and gluons, by their features.

    Nobody looked at them while the default was chosen.
    """
    return _table(
        dt.read(
            JETS,
            features=OF_A_JET,
            event_number="event_number",
            processes=[
                dt.Process(name="qcd", tree="qcd"),
                dt.Process(name="w", role="signal", tree="w"),
            ],
        )
    )


def _table(events: dt.Events) -> Table:
    events = events.simulated
    return Table(
        features=np.asarray(events.features, np.float32),
        label=np.asarray(events.label, np.int64),
        weight=np.asarray(events.weight, np.float64),
        fold=np.asarray(events.fold, np.int64),
    )


# ---- who does how well ---------------------------------------------------------------------------


class Result(NamedTuple):
    """What a contestant gave: figures of each seed."""

    loss: list[Estimate]
    area: list[Estimate]
    gap: list[float]
    seconds: list[float]
    cpu: list[float]


def _compared(
    title: str, make: Callable, ours: str, peers: list[str], own, *, seeds, required, minutes=None
) -> list[Row]:
    """Ours and the peers on one sample, in turns, and the differences to the best of these.

    Required are differences of the log-loss and of the area.
    """
    table = make()
    few = np.random.default_rng(0).permutation(len(table.label))[: own.events]
    table = table.of(np.sort(few))
    found = {name: Result([], [], [], [], []) for name in (ours, *peers)}
    with tempfile.TemporaryDirectory() as folder:
        np.savez(Path(folder) / "events.npz", **table._asdict())
        for seed in range(1, seeds + 1):
            for name, result in found.items():
                kept = Path(folder)
                if own.keep is not None:
                    kept = own.keep / f"{title}, {minutes or 'no'} minutes".replace(" ", "_")
                    kept.mkdir(parents=True, exist_ok=True)
                options = {"name": name, "seed": seed, "minutes": minutes}
                events, scores = Path(folder) / "events.npz", kept / f"{name}_{seed}.npy"
                _add(result, table, events, scores, **options)
                say(f"{title}, seed {seed}: {NAMES[name]}: log-loss {result.loss[-1].value:.4f}")
    rows = []
    for name, each in found.items():
        rows += _figures(f"{title}: {NAMES[name]}", each)
    # The smallest log-loss is the best, and the largest area.
    for what, sign, bound in (("loss", 1, required[0]), ("area", -1, required[1])):
        figures = {name: getattr(each, what) for name, each in found.items()}
        best = min(peers, key=lambda n: sign * np.mean([each.value for each in figures[n]]))
        pairs = zip(figures[ours], figures[best], strict=True)
        value, error = _joined([a - b for a, b in pairs])
        what = f"{title}: {FIGURES[what]}, {NAMES[ours]} - best peer, in paired errors"
        words = f"({value:+.4f} ± {error:.4f}, {NAMES[best]})"
        rows.append(Row(what, value / error, bound, words))
    if "tabm" in peers:
        what = f"{title}: CPU-s, ours / TabM of PyTorch"
        cpu = [np.median(found[name].cpu) for name in (ours, "tabm")]
        rows.append(Row(what, cpu[0] / cpu[1], "<= 0.5"))
    if ours == "network" and "xgboost" in peers:
        times = [np.median(found[name].seconds) for name in (ours, "xgboost")]
        bound = "<= 2" if title == "single top" else ""
        rows.append(Row(f"{title}: wall time, network / XGBoost", times[0] / times[1], bound))
    return rows


def _add(result: Result, table: Table, events: Path, scores: Path, **options) -> None:
    """One more training of a contestant, in a process of its own, if its scores are not there."""
    times = scores.with_suffix(".json")
    if not times.exists():
        took = call(
            "benchmarks.peers.tabular:run",
            package=PACKAGES.get(options["name"]),
            # Where the CPU is what counts, one thread each.
            variables={**threads(1), "PJRT_NPROC": "1"} if options["minutes"] else None,
            table=str(events),
            scores=str(scores),
            **options,
        )
        times.write_text(json.dumps(took))
    took, score = json.loads(times.read_text()), np.load(scores)
    test, known = (
        (score[mask], Labelled(table.label[mask], table.weight[mask]))
        for mask in (table.test, ~table.test)
    )
    result.loss.append(log_loss(*test))
    result.area.append(auc(*test))
    result.gap.append(auc(*known).value - result.area[-1].value)
    result.seconds.append(took["seconds"])
    result.cpu.append(took["cpu"])


def _joined(differences: Sequence[Estimate]) -> tuple[float, float]:
    """Mean over the seeds and its error, from the test events and the spread of the seeds."""
    values = [each.value for each in differences]
    events = Estimate(0.0, np.mean([each.influence for each in differences], axis=0)).error
    seeds = np.std(values, ddof=1) / np.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(np.mean(values)), float(np.hypot(events, seeds))


def _figures(what: str, result: Result) -> list[Row]:
    """Rows of one contestant."""
    joined = {words: _joined(getattr(result, name)) for name, words in FIGURES.items()}
    return [
        *(Row(f"{what}: {n}", value, "", f"± {error:.4f}") for n, (value, error) in joined.items()),
        Row(f"{what}: area, training - test", float(np.mean(result.gap))),
        Row(f"{what}: CPU-s", float(np.median(result.cpu))),
    ]


def _default(title: str, make: Callable[[], Table], own: SimpleNamespace) -> list[Row]:
    """Everybody as he is."""
    options = {"seeds": own.seeds, "required": ("<= 1", ">= -1")}
    return _compared(title, make, "network", _there(DEFAULTS), own, **options)


def _shared(title: str, make: Callable[[], Table], own: SimpleNamespace) -> list[Row]:
    """Submodels that share their weights, ours and those of the paper's package."""
    options = {"seeds": own.shared, "required": ("<= 1", ">= -1")}
    return _compared(title, make, "submodels", ["network", *_there(["tabm"])], own, **options)


def _searched(
    title: str, make: Callable[[], Table], own: SimpleNamespace, *, short: bool
) -> list[Row]:
    """The same time of the CPU for all."""
    if not (peers := _there(own.peers)):
        return []
    required = ("<= -2", ">= 2") if title == "HiggsML" else ("<= 1", ">= -1")
    seeds, minutes = (own.few, own.short) if short else (own.searched, own.minutes)
    options = {"seeds": seeds, "required": required, "minutes": minutes}
    return _compared(title, make, "automatic", peers, own, **options)


def _there(peers: Sequence[str]) -> list[str]:
    """Those that can take part."""
    return [name for name in peers if taking_part(NAMES[name], PACKAGES[name])]


# ---- scoring -------------------------------------------------------------------------------------


def scoring(own: SimpleNamespace) -> list[Row]:
    """CPU seconds for many events, by what was trained on HiggsML."""
    table = higgsml()
    events = table.sample()
    models = {
        name: dt.train(
            events, model=dt.models.MLP(hidden=(64, 64), embedding=embedding), epochs=own.epochs
        )
        for name, embedding in (("one plain network", None), ("embeddings", "periodic"))
    }
    models["default network"] = dt.train(events, epochs=own.epochs)
    if taking_part("XGBoost", "xgboost"):
        models["XGBoost"] = dt.train_trees(events)
    rows = np.random.default_rng(0).integers(len(table.label), size=own.scored)
    many = table.features[rows]
    times = {}
    for name, model in models.items():
        model.score(many[:1000])
        repeats = []
        for _ in range(3):
            began = time.process_time()
            model.score(many)
            repeats.append(time.process_time() - began)
        times[name] = min(repeats)
    found = [Row(f"scoring {own.scored} events: {name}, CPU-s", t) for name, t in times.items()]
    if "XGBoost" in times:
        for name in ("one plain network", "embeddings", "default network"):
            bound = "<= 1" if name == "one plain network" else "<= 2"
            found.append(Row(f"{name} / XGBoost", times[name] / times["XGBoost"], bound))
    return found


SAMPLES = {
    "HiggsML": higgsml,
    "single top": single_top,
    "negative weights": negative,
    "W jets": jets,
}
PARTS: dict[str, Callable[[SimpleNamespace], list[Row]]] = {
    **{f"default {name}": partial(_default, name, make) for name, make in SAMPLES.items()},
    "scoring": scoring,
    "submodels HiggsML": partial(_shared, "submodels on HiggsML", higgsml),
    **{
        f"{'short ' * short}search {name}": partial(_searched, name, make, short=short)
        for name, make in SAMPLES.items()
        for short in (False, True)
    },
}
"""What can be run alone."""

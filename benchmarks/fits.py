"""What surrounds a fit, beside cabinetry: goodness of fit, scan, limit, ranking; large workspaces.

Each question is asked in a fresh process of each, from the imports on (cold), and again (warm).
Times are those of the processors, which other work on the machine changes little. Each part takes
some minutes: `--part NAME`.
"""

import signal
import statistics
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from benchmarks.common import running
from benchmarks.common.running import sizes
from benchmarks.common.table import Row
from benchmarks.common.workspaces import MEDIUM, sparse, spec_of, workspace

ALL = ("gof", "scan", "limit", "ranking")


class Asked(NamedTuple):
    """What is asked of a workspace: less where cabinetry would take the better part of an hour."""

    questions: tuple[str, ...] = ALL
    points: int = 11
    ranked: int | None = None
    """So many parameters are ranked; None for all."""


WORKSPACES = {
    "SH4b_50bins": Asked(),
    "susy-2018-05_str_src_81": Asked(points=5, ranked=6),
    "susy-2018-31_sbottom-A_sbottom_1300_850_60": Asked(points=5, ranked=6),
    "susy-2019-08_1Lbb_C1N2_Wh_hbb_900_250": Asked(points=3, ranked=2),
    "ttZ_4l": Asked(points=3, ranked=3),
    "ttbar_ljets_xsec": Asked(questions=("gof", "scan", "ranking"), points=2, ranked=1),
}
PARTS = (*WORKSPACES, "large")
# Systematics of workspaces that are made, of 100 channels, and what else they have. The last one
# has a parameter for each bin and the signal: 10 001 of them.
LARGE = {300: {}, 1000: {}, 3000: {}, 9000: {"every": 35, "staterror": True}}
WIDE = (-10.0, 10.0)
"""Bounds that let the signal be negative."""
# What the two may differ by: of a p-value, -2 ln of a ratio, a limit in its size, a standard
# deviation. cabinetry's limits are searched to 1 %.
AGREE = {"gof": 2e-3, "scan": 0.02, "limit": 0.02, "ranking": 0.05}


def clocked(ask: Callable) -> float:
    """Processor seconds of a call."""
    began = time.process_time()
    ask()
    return time.process_time() - began


def timed(began: float, ask: Callable, repeats: int) -> dict:
    """Processor seconds since the imports began, and the median of the same question asked again.

    What takes five seconds is asked once more only.
    """
    answer = ask()
    cold = time.process_time() - began
    first = clocked(ask) if repeats else cold
    again = [clocked(ask) for _ in range(repeats - 1)] if first < 5 else []
    return {"cold": cold, "warm": statistics.median([first, *again]), "answer": answer}


# After so many seconds of a processor a first answer of cabinetry is not waited for.
LONGEST = 20.0


class Cut(Exception):
    """It took longer than that."""


def ranked(names: Sequence[str], fixed: Sequence[bool], poi: str, count: int | None) -> list[str]:
    """The first free nuisance parameters, that both rank."""
    free = [name for name, held in zip(names, fixed, strict=True) if name != poi and not held]
    return free[:count]


def ours(name: str, question: str, values: list[float], count: int | None, repeats: int) -> dict:
    """Seconds and answer of one question."""
    spec = spec_of(name)
    poi = spec["measurements"][0]["config"]["poi"]
    began = time.process_time()
    from difftune import inference
    from difftune.histfactory import Model

    model, wide = Model.from_spec(spec), {poi: WIDE}

    def ranking() -> dict:
        config = model.config
        chosen = ranked(config.par_names, config.suggested_fixed(), poi, count)
        found = inference.impacts(model, parameters=chosen, bounds=wide)
        _, sigma = found.fit.parameter(poi)
        return dict(zip(found.names, (found.up / sigma).tolist(), strict=True))

    def limit() -> list[float]:
        found = inference.upper_limit(model)
        return [float(found.observed), *np.asarray(found.expected).tolist()]

    asked = {
        "gof": lambda: [inference.goodness_of_fit(model, bounds=wide).p_value],
        "scan": lambda: inference.profile(model, poi, values, bounds=wide).q.tolist(),
        "limit": limit,
        "ranking": ranking,
    }
    return timed(began, asked[question], repeats)


def theirs(
    name: str, question: str, values: list[float], count: int | None, backend: str, repeats: int
) -> dict:
    """The same of cabinetry."""
    spec = spec_of(name)
    poi = spec["measurements"][0]["config"]["poi"]
    began = time.process_time()
    import logging

    import cabinetry
    import pyhf

    logging.disable(logging.WARNING)
    pyhf.set_backend(backend, "minuit")
    content = pyhf.Workspace(spec)
    model = content.model()
    data, wide = content.data(model), model.config.suggested_bounds()
    wide[model.config.poi_index] = WIDE

    def scan() -> list[float]:
        how = {"par_range": (values[0], values[-1]), "n_steps": len(values), "par_bounds": wide}
        return np.asarray(cabinetry.fit.scan(model, data, poi, **how).delta_nlls).tolist()

    def ranking() -> dict:
        best = cabinetry.fit.fit(model, data, par_bounds=wide)
        chosen = ranked(best.labels, model.config.suggested_fixed(), poi, count)
        sigma, asked = best.uncertainty[best.labels.index(poi)], np.isin(best.labels, chosen)
        # It does not fit what has no uncertainty, before and after.
        before = cabinetry.model_utils.prefit_uncertainties
        cabinetry.model_utils.prefit_uncertainties = lambda m: np.where(asked, before(m), 0.0)
        some = best._replace(uncertainty=np.where(asked, best.uncertainty, 0.0))
        found = cabinetry.fit.ranking(model, data, fit_results=some, par_bounds=wide)
        cabinetry.model_utils.prefit_uncertainties = before
        impacts = dict(zip(found.labels, (found.postfit_up / sigma).tolist(), strict=True))
        return {label: impacts[label] for label in chosen}

    def limit() -> list[float]:
        found = cabinetry.fit.limit(model, data)
        return [found.observed_limit, *found.expected_limit.tolist()]

    def goodness() -> list[float]:
        found = cabinetry.fit.fit(model, data, par_bounds=wide, goodness_of_fit=True)
        return [found.goodness_of_fit]

    def cut(*_: object) -> None:
        raise Cut

    def first_in_time() -> object:
        try:
            return asked[question]()
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0.0)

    asked = {"gof": goodness, "scan": scan, "limit": limit, "ranking": ranking}
    signal.signal(signal.SIGPROF, cut)
    signal.setitimer(signal.ITIMER_PROF, LONGEST)
    try:
        return timed(began, first_in_time, repeats)
    except Cut:
        return {"cold": LONGEST, "warm": LONGEST, "answer": None, "cut": True}
    except pyhf.exceptions.FailedMinimization:
        return {"cold": np.inf, "warm": np.inf, "answer": None}


def difference(question: str, one: dict | list, other: dict | list) -> float:
    """The largest between two answers."""
    if isinstance(one, dict) and isinstance(other, dict):
        return max(abs(one[name] - other[name]) for name in one)
    first, second = np.asarray(one, float), np.asarray(other, float)
    # Without degrees of freedom neither has a p-value.
    neither = np.isnan(first) & np.isnan(second)
    change = np.where(neither, 0.0, np.abs(first - second))
    return float(np.max(change / np.abs(second) if question == "limit" else change))


def large(channels: int, systematics: int, **more) -> dict[str, float]:
    """Processor seconds to build, fit and limit such a workspace, and the peak of the memory."""
    from difftune import inference
    from difftune.histfactory import Model

    spec = sparse(channels, systematics, **more)
    found: dict[str, float] = {}

    def asked(what: str, ask: Callable) -> None:
        found[what] = clocked(ask)
        running.say(f"{channels} channels, {systematics} systematics: {what} {found[what]:.3g} s")
        found["memory"] = running.peak_memory() / 2**30

    models, wide = [], {"mu": WIDE}
    asked("build", lambda: models.append(Model.from_spec(spec)))
    asked("fit", lambda: inference.fit(models[0], bounds=wide))
    some = [name for name in models[0].config.par_names if name.startswith("shape_")][:4]
    asked("four impacts", lambda: inference.impacts(models[0], parameters=some, bounds=wide))
    asked("limit", lambda: inference.upper_limit(models[0]))
    return found


def run(*, quick: bool, parts: Sequence[str] = PARTS) -> list[Row]:
    """Both, workspace by workspace; `quick` asks two questions of one."""
    small = "SH4b_50bins" if workspace("SH4b_50bins").exists() else MEDIUM
    asked = {small: Asked(("gof", "ranking"), points=3, ranked=1)} if quick else WORKSPACES
    rows = []
    for name in asked:
        if name != MEDIUM and not workspace(name).exists():
            running.say(f"{name} is not on this machine")
        elif quick or name in parts:
            rows += beside(name, asked[name], quick)
    channels, shapes = (4, {30: {}}) if quick else (100, LARGE if "large" in parts else {})
    for systematics, more in shapes.items():
        more = {"channels": channels, "systematics": systematics, **more}
        found = running.call("benchmarks.fits:large", **more)
        what = f"{channels} channels, {systematics} systematics:"
        rows.append(Row(f"{what} memory, GB", found.pop("memory"), "<= 8"))
        rows += [Row(f"{what} {name}, s", took) for name, took in found.items()]
    return rows


def beside(name: str, asked: Asked, quick: bool) -> list[Row]:
    """The questions of one workspace."""
    size = sizes(quick, repeats=(3, 0), backends=(("numpy", "jax"), ("numpy",)))
    values, rows = np.linspace(0.0, 2.0, asked.points).tolist(), []
    for question in asked.questions:
        options = {"name": name, "question": question, "values": values, "count": asked.ranked}
        here = running.call("benchmarks.fits:ours", **options, repeats=size.repeats)
        peers = [
            running.call("benchmarks.fits:theirs", **options, backend=b, repeats=size.repeats)
            for b in size.backends
        ]
        what = f"{name}: {question}"
        answers = [peer["answer"] for peer in peers if peer["answer"] is not None]
        if not answers and not any("cut" in peer for peer in peers):
            rows.append(Row(f"{what}, s", here["warm"], "", "(cabinetry's minimiser fails)"))
            continue
        for state, words, bound in (("cold", "cold", ">= 3"), ("warm", "asked again", ">= 20")):
            best = min(peer[state] for peer in peers)
            more = "" if answers else "more than "
            note = f"({here[state]:.3g} s, cabinetry {more}{best:.3g} s)"
            rows.append(Row(f"{what}, times faster {words}", best / here[state], bound, note))
            running.say(f"{rows[-1].what} {rows[-1].measured:.3g} {note}")
        if answers:
            apart = difference(question, here["answer"], answers[0])
            rows.append(Row(f"{what}, difference", apart, f"<= {AGREE[question]}"))
    return rows

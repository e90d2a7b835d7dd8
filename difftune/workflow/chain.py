"""The main job: an analysis file in, a run directory with the whole analysis out."""

import csv
import io
import logging
import time
from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from difftune.config import Config
from difftune.data import Events
from difftune.histfactory import Model
from difftune.inference import FitResult, HypoTest, fit, hypotest
from difftune.models import MLP
from difftune.objectives import CrossEntropy
from difftune.search import Replay, Space
from difftune.seeds import derived
from difftune.training import Alone, Ensemble, History, Processes, TrainedNetwork
from difftune.training.describing import Definition, describe
from difftune.training.fingerprint import surroundings
from difftune.workflow import build
from difftune.workflow.measurement import Measurement, check_model, measure
from difftune.workflow.progress import RoundLog
from difftune.workflow.rundir import MAY_CHANGE, check_folder, open_run, write, write_json
from difftune.workflow.split import Split
from difftune.workflow.tuning import Task, Tuned

logger = logging.getLogger("difftune")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that a run found.

    Attributes:
        config: The resolved configuration.
        tuned: The search and its networks.
        network: That of this run: the best one, or the ensemble of the best trial.
        repeated: The same search with other seeds.
        default: A plain cross-entropy network with default settings, with as many seeds.
        measurement: The tuned network, measured on test events.
        repeated_measurements: The same for the networks of `repeated`.
        default_measurements: The same for `default`.
        fit: Fit of the tuned network's workspace to its (Asimov) data.
        cls: Test of the nominal signal strength.
        seconds: How long it took.
    """

    config: Config
    tuned: Tuned
    network: TrainedNetwork | Ensemble
    repeated: tuple[Tuned, ...]
    default: Tuned
    measurement: Measurement
    repeated_measurements: tuple[Measurement, ...]
    default_measurements: tuple[Measurement, ...]
    fit: FitResult
    cls: HypoTest
    seconds: float

    @property
    def tuned_measurements(self) -> tuple[Measurement, ...]:
        """The network of this run, and those of the searches with other seeds."""
        return (self.measurement, *self.repeated_measurements)

    @property
    def poi_text(self) -> str:
        """The fitted parameter of interest with its uncertainty."""
        # Figures start slowly, and a run has none before its end.
        from difftune.report.tables import Measured, written

        return written(Measured(*self.fit.parameter(self.config.fit.poi)))

    @property
    def summary(self) -> str:
        """The lines that a physicist wants to see at the end."""
        rows = [
            ("", "stat-only", self.measurement.uncertainties),
            (
                f"cross-entropy, default settings ({len(self.default_measurements)} seeds)",
                _spread([m.stat_only for m in self.default_measurements]),
                _spread([m.expected for m in self.default_measurements]),
            ),
            (
                f"tuned ({len(self.tuned_measurements)} searches)",
                _spread([m.stat_only for m in self.tuned_measurements]),
                _spread([m.expected for m in self.tuned_measurements]),
            ),
            (
                "tuned, the network of this run",
                f"{self.measurement.stat_only:.2f}",
                f"{self.measurement.expected:.3f}",
            ),
        ]
        width = max(len(row[0]) for row in rows)
        column = max(18, *(len(cell) for row in rows for cell in row[1:]))
        lines = [
            f"{self.config.general.name}: expected significance on test events",
            "(mean and standard deviation over seeds)",
            *(
                f"  {name:<{width}}  {stat:>{column}}  {full:>{column}}".rstrip()
                for name, stat, full in rows
            ),
            f"Expected CLs for {self.config.fit.poi} = 1: {self.cls.expected[2]:.3g}; "
            f"{self.config.fit.poi} = {self.poi_text} (fit to {self.measurement.data})",
        ]
        return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    digits = 2 if mean >= 100 else 3
    # Of the others no epoch was allowed.
    if len(values) == 1:
        return f"{mean:.{digits}f}"
    deviation = float(np.std(values, ddof=1))
    return f"{mean:.{digits}f} ± {deviation:.{digits}f}"


def run(
    config: Config, folder: Path, *, resume: bool = False, processes: Processes | None = None
) -> Outcome | None:
    """Runs an analysis from its file to its report.

    Args:
        config: From `difftune.config.load`.
        folder: The run directory.
        resume: Continue the run that is there, from its last checkpoint.
        processes: Those that share the members of each search. The first does all the rest.

    Returns:
        What the run found; None in all processes but the first.

    Raises:
        InputError: When configuration, data or run directory are not right; before training.
    """
    began = time.monotonic()
    processes = processes or Alone()
    first = processes.rank == 0

    def prepared() -> tuple[Events, Task]:
        if first:
            check_folder(folder, config, resume=resume)
        return _prepared(config, processes)

    events, task = processes.agreed(prepared)
    if processes.size > 1:
        # Where they were given different things, nothing that follows would fit together.
        processes.same(_definition(config, task))
    with ExitStack() as stack:
        # Only now: a run that is refused leaves nothing behind.
        run_folder = open_run(folder, config, resume=resume) if first else nullcontext()
        processes.agreed(lambda: stack.enter_context(run_folder))
        logger.info("%s", describe_events(events))

        tuned = task.search(
            build.strategy(config),
            build.space(config),
            seed=config.general.seed,
            folder=folder / "checkpoints" / "search",
            on_round=RoundLog("search", folder / "progress.jsonl"),
        )
        seeds = config.comparison.seeds
        repeated = tuple(
            task.search(
                tuned.strategy.alone(),
                tuned.space,
                seed=derived(config.general.seed, "search", number),
                folder=folder / "checkpoints" / f"search_{number + 1}",
                on_round=RoundLog(f"search {number + 1}", folder / "progress.jsonl"),
            )
            for number in range(1, config.comparison.searches)
        )
        # Where these are fewer than the processes, the first one trains them.
        together = processes if seeds >= processes.size else Alone()
        if not first and together is not processes:
            return None
        default = _default(tuned, seeds, folder, together)
        if not first:
            return None

        nuisances = build.nuisances(config)
        logger.info("measuring %d networks on the test events", seeds + config.comparison.searches)

        def measured(network) -> Measurement:
            return measure(
                network,
                tuned.split,
                channel=config.fit.region,
                bins=config.fit.bins,
                min_background=config.fit.min_background,
                max_mc_uncertainty=config.fit.max_mc_uncertainty,
                **nuisances,
            )

        def chosen(search: Tuned) -> TrainedNetwork | Ensemble:
            return Ensemble(search.trial) if config.search.ensemble else search.network

        network = chosen(tuned)
        measurement = measured(network)
        model = Model.from_spec(measurement.workspace)
        outcome = Outcome(
            config=config,
            tuned=tuned,
            network=network,
            repeated=repeated,
            default=default,
            measurement=measurement,
            repeated_measurements=tuple(measured(chosen(other)) for other in repeated),
            default_measurements=tuple(measured(network) for network in default.networks),
            fit=fit(model),
            cls=hypotest(1.0, model),
            seconds=time.monotonic() - began,
        )
        _save(outcome, folder)
        logger.info("wrote %s in %.0f s", folder, outcome.seconds)
        return outcome


def _definition(config: Config, task: Task) -> Definition:
    """What all processes of a run must have in common."""
    settings = config.model_dump()
    for key in MAY_CHANGE:
        section, name = key.split(".")
        settings[section].pop(name)
    return {"configuration": describe(settings), "events": task.definition, **surroundings()}


def _prepared(config: Config, processes: Processes) -> tuple[Events, Task]:
    """The events and what to do with them, after every check that needs no training."""
    # What can be wrong with the configuration alone shows before a file is touched.
    model, objective = build.model(config), build.objective(config)
    space, strategy = build.space(config), build.strategy(config)
    nuisances = build.nuisances(config)
    events = build.events(config)
    task = Task(
        split=Split(
            events=events,
            validation_folds=tuple(config.data.validation_folds),
            test_folds=tuple(config.data.test_folds),
        ),
        model=model,
        objective=objective,
        fixed=config.hyperparameters,
        batch_size=config.training.batch_size,
        patience=config.training.patience,
        metric=build.metric(config),
        overtraining=build.overtraining(config),
        judgement=build.judgement(config),
        chunk=config.training.chunk,
        negative_weights=config.training.negative_weights,
        optimizer=build.optimizer(config),
        impute=config.data.impute,
        missing_indicators=config.data.missing_indicators,
        processes=processes,
    )
    task.check(strategy, space, seed=config.general.seed)
    check_model(task.split, channel=config.fit.region, **nuisances)
    return events, task


def _default(tuned: Tuned, seeds: int, folder: Path, processes: Processes) -> Tuned:
    """The network to compare with: cross-entropy, and every setting as it is by default."""
    task = replace(
        tuned.task,
        model=MLP(),
        objective=CrossEntropy(),
        fixed={},
        batch_size=1024,
        processes=processes,
    )
    strategy = Replay(
        population=seeds,
        rounds=tuned.strategy.training_rounds,
        epochs_per_round=tuned.strategy.epochs_per_round,
        schedule={},
    )
    return task.search(
        strategy,
        Space(),
        # Other start values than any of the searches has.
        seed=derived(tuned.seed, "default"),
        folder=folder / "checkpoints" / "default",
        on_round=RoundLog("default, cross-entropy", folder / "progress.jsonl"),
    )


def check(config: Config) -> str:
    """Everything that `run` would check, without training.

    Returns:
        A table of the events that were read.
    """
    events, _ = _prepared(config, Alone())
    return describe_events(events)


def describe_events(events: Events) -> str:
    """Events and expected yields of each process, as text."""
    counts = np.bincount(np.asarray(events.process), minlength=len(events.processes))
    yields = events.yields()
    lines = [f"{'process':<20} {'role':<11} {'events':>9} {'expected':>14} {'negative':>9}"]
    for index, process in enumerate(events.processes):
        mine = np.asarray(events.weight)[np.asarray(events.process) == index]
        negative = f"{np.mean(mine < 0):.1%}" if len(mine) else "-"
        lines.append(
            f"{process.name:<20} {process.role:<11} {counts[index]:>9} {yields[index]:>14.1f} "
            f"{negative:>9}"
        )
    varied = ", ".join(events.variations) or "none"
    return "\n".join([*lines, f"variations: {varied}"])


def _save(outcome: Outcome, folder: Path) -> None:
    """Writes everything that was found; what cannot be written costs nothing of the rest."""

    def report() -> None:
        # Late, since it brings matplotlib.
        from difftune.workflow.story import write_report

        write_report(outcome, folder)

    templates, places = outcome.measurement.templates, folder / "templates"
    # The numbers first: the report can be drawn again from them.
    for what, writes in (
        ("results.json", lambda: write_json(folder / "results.json", results(outcome))),
        ("network", lambda: outcome.network.save(folder / "network")),
        (
            "workspace.json",
            lambda: write_json(folder / "workspace.json", outcome.measurement.workspace),
        ),
        ("templates.json", lambda: write_json(places / "templates.json", templates.to_dict())),
        ("templates.root", lambda: templates.write_root(places / "templates.root")),
        (
            "history.csv",
            lambda: write(folder / "history.csv", history_csv(outcome.tuned.result.history)),
        ),
        ("report.html", report),
    ):
        try:
            writes()
        # A full disk; a name that somebody's library has no picture or place for.
        except (OSError, ValueError) as error:
            logger.error(
                "%s of the run in %s could not be written: %s. The rest is there; make room, and "
                "run again with --resume, which trains nothing anew.",
                *(what, folder, error),
            )


def results(outcome: Outcome) -> dict[str, Any]:
    """The fitted numbers, for JSON."""

    def significances(measurements: Sequence[Measurement]) -> dict[str, list[float]]:
        return {
            "stat_only": [m.stat_only for m in measurements],
            "expected": [m.expected for m in measurements],
        }

    result = outcome.fit
    return {
        "significance": {
            "default": significances(outcome.default_measurements),
            "tuned": significances(outcome.tuned_measurements),
        },
        "cls": {
            "poi": 1.0,
            "observed": float(outcome.cls.observed),
            "expected": outcome.cls.expected.tolist(),
        },
        "fit": {
            "names": list(result.names),
            "values": [float(v) for v in result.values],
            "uncertainties": [float(v) for v in result.uncertainties],
            "correlation": np.asarray(result.correlation).tolist(),
            "twice_nll": float(result.twice_nll),
        },
        "ranking": [asdict(rank) for rank in outcome.tuned.ranking],
        "schedule": {k: v.tolist() for k, v in outcome.tuned.result.schedule.items()},
        "seconds": outcome.seconds,
    }


def history_csv(history: History) -> str:
    """One row an epoch and member: losses, scores, hyperparameters, parent."""
    measured = {
        name: getattr(history, name)
        for name in ("loss", "validation_loss", "hard_loss", "score", "merit", "train_score")
    }
    for number, name in enumerate(history.score_names):
        assert history.scores is not None, "it has names"
        measured[name] = history.scores[..., number]
    from difftune.report.tables import as_text

    names = sorted(history.hyperparameters)
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(
        [
            "epoch",
            "round",
            "member",
            *map(as_text, measured),
            "parent",
            "restart",
            *map(as_text, names),
        ]
    )
    for row, (epoch, number) in enumerate(zip(history.epoch, history.round, strict=True)):
        for member in range(history.score.shape[1]):
            table.writerow(
                [
                    epoch,
                    number,
                    member,
                    *(f"{values[row, member]:.7g}" for values in measured.values()),
                    history.parents[number, member],
                    int(history.restart[number, member]),
                    *(f"{history.hyperparameters[name][number, member]:.7g}" for name in names),
                ]
            )
    return text.getvalue()

"""The main job: an analysis file in, a run directory with the whole analysis out."""

import logging
import time
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from difftune.analysis import (
    Measurement,
    Preparation,
    RoundLog,
    Split,
    Tuned,
    check_model,
    measure,
    search_networks,
)
from difftune.binning import BinningRule, EqualSignal, Learned
from difftune.data import Events
from difftune.histfactory import Model
from difftune.inference import fit, hypotest
from difftune.job import build
from difftune.job.build import Job
from difftune.job.config import Config
from difftune.job.outcome import Outcome
from difftune.job.rundir import MAY_CHANGE, check_folder, open_run
from difftune.job.saving import save
from difftune.models import MLP
from difftune.objectives import CrossEntropy
from difftune.search import FixedSchedule, Space
from difftune.seeds import derived
from difftune.training import Ensemble, Processes, SingleProcess, TrainedNetwork, surroundings
from difftune.training.describing import Definition, describe

logger = logging.getLogger("difftune")


def run(
    config: Config, folder: Path, *, resume: bool = False, processes: Processes | None = None
) -> Outcome | None:
    """Runs an analysis from its file to its report.

    Args:
        config: From `difftune.job.load`.
        folder: The run directory.
        resume: Continue the run that is there, from its last checkpoint.
        processes: Those that share the members of each search. The first does all the rest.

    Returns:
        What the run found; None in all processes but the first.

    Raises:
        InputError: When configuration, data or run directory are not right; before training.
    """
    began = time.monotonic()
    processes = processes or SingleProcess()
    first = processes.rank == 0

    def prepared() -> tuple[Job, Preparation]:
        if first:
            check_folder(folder, config, resume=resume)
        return _prepared(config, processes)

    job, preparation = processes.agreed(prepared)
    if processes.size > 1:
        # Where they were given different things, nothing that follows would fit together.
        processes.same(_definition(config, preparation))
    with ExitStack() as stack:
        # Only now: a run that is refused leaves nothing behind.
        run_folder = open_run(folder, config, resume=resume) if first else nullcontext()
        processes.agreed(lambda: stack.enter_context(run_folder))
        logger.info("%s", describe_events(preparation.split.events))

        tuned = search_networks(
            preparation,
            job.strategy,
            job.space,
            seed=config.general.seed,
            folder=folder / "checkpoints" / "search",
            on_round=RoundLog("search", folder / "progress.jsonl"),
        )
        seeds = config.comparison.seeds
        repeated = tuple(
            search_networks(
                preparation,
                tuned.strategy.isolated(),
                tuned.space,
                seed=derived(config.general.seed, "search", number),
                folder=folder / "checkpoints" / f"search_{number + 1}",
                on_round=RoundLog(f"search {number + 1}", folder / "progress.jsonl"),
            )
            for number in range(1, config.comparison.searches)
        )
        # Where these are fewer than the processes, the first one trains them.
        together = processes if seeds >= processes.size else SingleProcess()
        if not first and together is not processes:
            return None
        default = _default(tuned, seeds, folder, together)
        if not first:
            return None

        logger.info("measuring %d networks on the test events", seeds + config.comparison.searches)

        # Cross-entropy trains no edges.
        plain = EqualSignal() if isinstance(job.binning, Learned) else job.binning

        def measured(network, binning: BinningRule = job.binning) -> Measurement:
            return measure(
                network, tuned.split, channel=config.fit.region, binning=binning, **job.nuisances
            )

        def chosen(search: Tuned) -> TrainedNetwork | Ensemble:
            return Ensemble(search.trial) if config.search.ensemble else search.network

        network = chosen(tuned)
        measurement = measured(network)
        model = Model.from_spec(measurement.workspace)
        outcome = Outcome(
            job=job,
            tuned=tuned,
            network=network,
            repeated=repeated,
            default=default,
            measurement=measurement,
            repeated_measurements=tuple(measured(chosen(other)) for other in repeated),
            default_measurements=tuple(measured(network, plain) for network in default.networks),
            fit=fit(model),
            cls=hypotest(1.0, model),
            seconds=time.monotonic() - began,
        )
        save(outcome, folder)
        logger.info("wrote %s in %.0f s", folder, outcome.seconds)
        return outcome


def _definition(config: Config, preparation: Preparation) -> Definition:
    """What all processes of a run must have in common."""
    settings = config.model_dump()
    for key in MAY_CHANGE:
        section, name = key.split(".")
        settings[section].pop(name)
    return {"configuration": describe(settings), "events": preparation.definition, **surroundings()}


def _prepared(config: Config, processes: Processes) -> tuple[Job, Preparation]:
    """What to do, and the events to do it with, after every check that needs no training."""
    # What can be wrong with the configuration alone shows before a file is touched.
    job = build.job(config)
    preparation = Preparation(
        split=Split(
            events=build.events(config),
            validation_folds=tuple(config.data.validation_folds),
            test_folds=tuple(config.data.test_folds),
        ),
        recipe=job.recipe,
        processes=processes,
    )
    preparation.check(job.strategy, job.space, seed=config.general.seed)
    check_model(preparation.split, channel=config.fit.region, **job.nuisances)
    return job, preparation


def _default(tuned: Tuned, seeds: int, folder: Path, processes: Processes) -> Tuned:
    """The network to compare with: cross-entropy, and every setting as it is by default."""
    preparation = tuned.preparation
    recipe = replace(
        preparation.recipe,
        model=MLP(),
        objective=CrossEntropy(),
        hyperparameters={},
        batch_size=1024,
    )
    strategy = FixedSchedule(
        population=seeds,
        rounds=tuned.strategy.training_rounds,
        epochs_per_round=tuned.strategy.epochs_per_round,
        schedule={},
    )
    return search_networks(
        replace(preparation, recipe=recipe, processes=processes),
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
    _, preparation = _prepared(config, SingleProcess())
    return describe_events(preparation.split.events)


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

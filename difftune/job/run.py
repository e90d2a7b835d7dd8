"""The main job: an analysis file in, a run directory with the whole analysis out."""

import logging
import time
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np

from difftune.analysis import (
    AnyTuned,
    CrossFit,
    CrossPreparation,
    CrossTuned,
    Ladder,
    Measurement,
    Preparation,
    Split,
    Stage,
    Step,
    Variables,
    VariationNoise,
    bootstrapped,
    check_model,
    check_stage,
    in_stages,
    measure,
    prepared,
    search_stage,
    select_variables,
    variation_noise,
    watching,
    without,
)
from difftune.binning import EqualSignal, Learned
from difftune.data import processes_text
from difftune.errors import InputError
from difftune.heartbeat import doing, heartbeat
from difftune.histfactory import Model
from difftune.inference import fit, hypotest
from difftune.job import build
from difftune.job.build import Binning
from difftune.job.config import Config
from difftune.job.outcome import Outcome, Trained, at_scale, chosen_network, members
from difftune.job.regression import regressed
from difftune.job.rundir import MAY_CHANGE, check_folder, open_run
from difftune.job.saving import save, save_variables
from difftune.job.stages import Job
from difftune.search import FixedSchedule, Progress, Space, Strategy
from difftune.seeds import derived
from difftune.training import AnyNetwork, Processes, SingleProcess, surroundings
from difftune.training.describing import Definition, describe

logger = logging.getLogger("difftune")


@heartbeat("reading the analysis file")
def run(
    config: Config, folder: Path, *, resume: bool = False, processes: Processes | None = None
) -> Trained | None:
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

    def ready() -> tuple[Job, Preparation | CrossPreparation]:
        if first:
            check_folder(folder, config, resume=resume)
            build.watcher(config)
        return _prepared(config, processes)

    job, preparation = processes.agreed(ready)
    if processes.size > 1:
        # Where they were given different things, nothing that follows would fit together.
        processes.same(_definition(config, preparation))
    with ExitStack() as stack:
        # Only now: a run that is refused leaves nothing behind.
        run_folder = open_run(folder, config, resume=resume) if first else nullcontext()
        processes.agreed(lambda: stack.enter_context(run_folder))
        logger.info("%s", processes_text(preparation.split.events))
        watched = build.watcher(config) if first else None
        watcher = None if watched is None else watched(folder)

        def log(stage: str) -> Callable[[Progress], None]:
            return watching(stage, watcher, folder / "progress.jsonl")

        variables, reduced = _chosen_variables(job, preparation, folder)
        repetitions = [
            _stages(job, reduced, number, folder, log)
            for number in range(config.comparison.repetitions)
        ]
        # Where these are fewer than the processes, the first one trains them.
        together = processes if config.comparison.seeds >= processes.size else SingleProcess()
        if not first and together is not processes:
            return None
        searched = repetitions[0][0]
        length = (searched.folds[0] if isinstance(searched, CrossTuned) else searched).strategy
        default = selected = None
        if config.comparison.seeds:
            default = _default(job, preparation, "default", length, folder, together, log)
            if job.elimination is not None:
                selected = _default(job, reduced, "default_selected", length, folder, together, log)
        if not first:
            return None
        outcome = (regressed if job.regression else _measured)(
            job,
            preparation.split,
            default,
            repetitions,
            began,
            selected=selected,
            variables=variables,
        )
        if watcher is not None:
            for name, ladder in outcome.ladders.items():
                for rung in ladder.rungs:
                    called = rung.name if len(outcome.ladders) == 1 else f"{rung.name}, {name}"
                    watcher.figure(called, rung.value, rung.uncertainty)
        doing("writing the numbers and drawing the report")
        save(outcome, folder)
        logger.info("wrote %s in %.0f s", folder, time.monotonic() - began)
        return outcome


_Log = Callable[[str], Callable[[Progress], None]]
"""What looks on at a stage of a name."""


def _stages(
    job: Job, preparation: Preparation | CrossPreparation, number: int, folder: Path, log: _Log
) -> list[AnyTuned]:
    """All stages of one repetition; the first is that of the run."""
    name = "search" if number == 0 else f"search_{number + 1}"
    title = "search" if number == 0 else f"search {number + 1}"
    strategy = job.strategy if number == 0 else job.strategy.isolated()
    first = Stage(name=title, recipe=job.recipe, space=job.space, search=strategy)
    rest = [replace(each, name=f"{title}, {each.name}") for each in job.stages]
    seed = job.config.general.seed
    places = [name, *(f"{name}_stage_{place + 2}" for place in range(len(rest)))]
    return in_stages(
        preparation,
        [first, *rest],
        seed=seed if number == 0 else derived(seed, "search", number),
        folders=[folder / "checkpoints" / place for place in places],
        on_round=log,
    )


@heartbeat("reading the analysis file")
def select(config: Config, folder: Path, *, resume: bool = False) -> Variables:
    """Chooses the variables of an analysis, which `run` with `resume` goes on with.

    Args:
        config: From `difftune.job.load`.
        folder: The run directory.
        resume: Continue what is there.

    Returns:
        The variables; what there is to see of them is in the folder.

    Raises:
        InputError: As `run`, and when the configuration has no `[selection]`.
    """
    if config.selection is None:
        raise InputError(
            "the analysis file chooses no variables: add a line [selection], or give "
            "--set selection.candidates=2."
        )
    check_folder(folder, config, resume=resume)
    job, preparation = _prepared(config, SingleProcess())
    with open_run(folder, config, resume=resume):
        logger.info("%s", processes_text(preparation.split.events))
        chosen, _ = _chosen_variables(job, preparation, folder)
        assert chosen is not None, "it was asked for"
        save_variables(chosen, config, folder)
        return chosen


def _chosen_variables(
    job: Job, preparation: Preparation | CrossPreparation, folder: Path
) -> tuple[Variables | None, Preparation | CrossPreparation]:
    """The variables that are kept, and the events with what networks see of them."""
    elimination, processes = job.elimination, preparation.processes
    if elimination is None:
        return None, preparation
    doing("choosing the variables")
    # The first process chooses, for all of them.
    chosen = processes.agreed(
        lambda: (
            select_variables(
                replace(preparation, recipe=job.default_recipe, processes=SingleProcess()),
                elimination,
                folder=folder / "selection",
            )
            if processes.rank == 0
            else None
        )
    )
    unused, _ = processes.of_first(None if chosen is None else chosen.unused)
    return chosen, without(preparation, unused)


def _default(
    job: Job,
    preparation: Preparation | CrossPreparation,
    name: str,
    length: Strategy,
    folder: Path,
    processes: Processes,
    log: _Log,
) -> AnyTuned:
    """The network to compare with: cross-entropy, and every setting as it is by default.

    It is trained as long as those of the search, whose strategy is `length`.
    """
    strategy = FixedSchedule(
        population=job.config.comparison.seeds,
        rounds=length.training_rounds,
        epochs_per_round=length.epochs_per_round,
        schedule={},
    )
    return search_stage(
        replace(preparation, recipe=job.default_recipe, processes=processes),
        strategy,
        Space(),
        # Other start values than any of the searches has.
        seed=derived(job.config.general.seed, "default"),
        folder=folder / "checkpoints" / name,
        on_round=log(f"{name.replace('_', ', ')}, cross-entropy"),
    )


class _Found(NamedTuple):
    """A measurement, and the events that it is of."""

    measurement: Measurement
    sample: Split | CrossFit


@dataclass(frozen=True, kw_only=True)
class _Measuring:
    """Measures networks on the events of a run, each once."""

    job: Job
    sample: Split | CrossFit
    replicas: int

    def __call__(self, network: AnyNetwork, binning: Binning) -> _Found:
        return self.on(network, self.sample, binning)

    def on(self, network: AnyNetwork, sample: Split | CrossFit, binning: Binning) -> _Found:
        """On these events."""
        doing("measuring a network: scores, bins and fit")
        sample = self.job.as_measured(sample, network)
        found = measure(
            network,
            sample,
            channel=self.job.config.fit.region,
            figure=self.job.figure,
            binning=binning,
            blind_above=self.job.config.fit.blind_above,
            unblind=self.job.config.fit.unblind,
            prune=self.job.config.fit.prune,
            noise=self.job.config.fit.noise,
            **self.job.nuisances,
        )
        logger.info("measured a network: %s = %.4g", found.figure.symbol, found.value)
        return _Found(found, sample)

    def step(
        self,
        name: str,
        found: list[_Found],
        what: str,
        *,
        replicas: bool = True,
        same: bool = False,
    ) -> Step:
        """A step of the ladder, with bootstrap replicas of the first measurement."""
        replicas = replicas and self.replicas > 0
        if replicas:
            logger.info("%s: %d bootstrap replicas", name, self.replicas)
            doing(f"{name}: fitting its bootstrap replicas")
        return Step(
            name=name,
            merits=np.array([each.measurement.merit for each in found]),
            replicas=bootstrapped(*found[0], replicas=self.replicas) if replicas else None,
            what=what,
            same=same,
        )


def _measured(
    job: Job,
    sample: Split | CrossFit,
    default: AnyTuned | None,
    repetitions: list[list[AnyTuned]],
    began: float,
    *,
    selected: AnyTuned | None,
    variables: Variables | None,
) -> Outcome:
    """Measures every step on the test events, and fits the last one."""
    config = job.config
    scale = config.fit.luminosity_scale
    if scale != 1:
        logger.info(
            "all simulated events times %g, for another luminosity; further reports of this run "
            "keep to it, until --set fit.luminosity_scale=1 takes it back",
            scale,
        )
    sample = at_scale(sample, scale)
    measuring = _Measuring(job=job, sample=sample, replicas=config.comparison.replicas)
    plain = EqualSignal(
        bins=config.fit.bins,
        min_background=config.fit.min_background,
        max_mc_uncertainty=config.fit.max_mc_uncertainty,
    )
    final = job.binning
    steps = []
    networks = [] if default is None else members(default, config.comparison.seeds)
    logger.info("measuring the networks on the test events")
    if isinstance(sample, CrossFit) and default is not None:
        assert isinstance(default, CrossTuned), "made of these events"
        alone = [
            measuring.on(each.network, rotation, plain)
            for each, rotation in zip(default.folds, sample.rotations, strict=True)
        ]
        steps.append(measuring.step("default network, one fold", alone, "folds", replicas=False))
    plain_defaults = [measuring(network, plain) for network in networks]
    name = "default network, cross-fitted" if steps else "default network"
    if plain_defaults:
        steps.append(measuring.step(name, plain_defaults, "seeds"))
    if selected is not None:
        kept = [measuring(each, plain) for each in members(selected, config.comparison.seeds)]
        steps.append(measuring.step("variables selected", kept, "seeds"))
    first = "hyperparameters tuned" if job.space else "trained"
    names = [first, *(stage.name for stage in job.stages)]
    last: list[_Found] = []
    for number, name in enumerate(names):
        last = [measuring(chosen_network(stages[number], config), plain) for stages in repetitions]
        steps.append(measuring.step(name, last, "repetitions"))
    if final != plain:
        last = [measuring(chosen_network(stages[-1], config), final) for stages in repetitions]
        steps.append(measuring.step("bins optimised", last, "repetitions", same=True))
    # Cross-entropy trains no edges.
    reference = plain if isinstance(final, Learned) else final
    references = (
        plain_defaults
        if reference == plain
        else [measuring(network, reference) for network in networks]
    )
    doing("the fit of the last network, and its uncertainties")
    (own, of_own), *repeated = last
    model = Model.from_spec(own.workspace)
    return Outcome(
        job=job,
        stages=tuple(repetitions[0]),
        network=chosen_network(repetitions[0][-1], config),
        default=default,
        ladder=Ladder(figure=job.figure, steps=tuple(steps)),
        measurement=own,
        repeated_measurements=tuple(each.measurement for each in repeated),
        default_measurements=tuple(each.measurement for each in references),
        noise=_noise(own, of_own, config.fit.noise),
        fit=fit(model),
        cls=hypotest(1.0, model),
        seconds=time.monotonic() - began,
        variables=variables,
    )


def _noise(
    measurement: Measurement, sample: Split | CrossFit, noise: str
) -> tuple[VariationNoise, ...]:
    """What the statistics of the simulation leaves of each variation, with a word of warning."""
    found = variation_noise(measurement, sample)
    if noisy := [str(each) for each in found if each.noisy]:
        logger.warning(
            "variations whose statistical error exceeds their effect: %s. Fewer bins or more "
            "simulated events would tell what they do; [fit] noise is %r.",
            "; ".join(noisy),
            noise,
        )
    for each in measurement.treatments:
        logger.info("not in the fit as it is: %s", each)
    return found


def _definition(config: Config, preparation: Preparation | CrossPreparation) -> Definition:
    """What all processes of a run must have in common."""
    settings = config.model_dump()
    for key in MAY_CHANGE:
        section, name = key.split(".")
        settings[section].pop(name)
    return {"configuration": describe(settings), "events": preparation.definition, **surroundings()}


def _prepared(config: Config, processes: Processes) -> tuple[Job, Preparation | CrossPreparation]:
    """What to do, and the events to do it with, after every check that needs no training."""
    # What can be wrong with the configuration alone shows before a file is touched.
    job = Job.from_config(config)
    doing("reading the events")
    events = build.events(config)
    sample: Split | CrossFit
    if config.data.cross_fit:
        sample = CrossFit(events=events)
    else:
        sample = Split(
            events=events,
            validation_folds=tuple(config.data.validation_folds),
            test_folds=tuple(config.data.test_folds),
        )
    doing("checking the analysis with its events")
    job = job.of(sample)
    preparation = prepared(sample, job.recipe, processes, regions=config.training.regions)
    check_stage(preparation, job.strategy, job.space, seed=config.general.seed)
    for stage in job.stages:
        check_stage(
            replace(preparation, recipe=stage.recipe),
            stage.search,
            stage.space,
            seed=config.general.seed,
        )
    if not job.regression:
        check_model(sample, channel=config.fit.region, **job.nuisances)
    return job, preparation


def check(config: Config) -> str:
    """Everything that `run` would check, without training.

    Returns:
        A table of the events that were read.
    """
    _, preparation = _prepared(config, SingleProcess())
    return processes_text(preparation.split.events)

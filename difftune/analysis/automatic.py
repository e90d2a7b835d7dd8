"""Networks and boosted trees at once, within a wall time: what comes out is the best of them.

Every contestant is trained on the same events and judged on the same others. Of a `Split` each fold
that is not for the test validates once, with what was trained on the others; the contestant is the
mean of these, networks trained anew on all of these events. Of a `CrossFit` all is done for each
fold by itself, choices included.
"""

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from inspect import signature
from pathlib import Path
from typing import Any

from difftune import report
from difftune.analysis.contest import Candidate, Contest, Contestant, Parts
from difftune.analysis.cross_fit import CrossFit
from difftune.analysis.given import AUTO, MEASURE
from difftune.analysis.judged import Estimate, auc, log_loss
from difftune.analysis.measurement import Measurement, check_model, measure
from difftune.analysis.split import Split
from difftune.arguments import check_names, takes
from difftune.data import Events
from difftune.errors import InputError
from difftune.files import write
from difftune.training import LIBRARIES, AnyNetwork, Applicable, CrossFitted, as_network

logger = logging.getLogger("difftune")

MODES = {"quick": 1.0, "standard": 10.0, "thorough": 60.0}
"""Minutes of each mode."""

_TREES = 0.25
"""Share of the time that trees have, where they take part."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """How a contestant did.

    Attributes:
        name: What it is.
        log_loss: Of the validation events, by which it is chosen; signal and background count the
            same.
        behind: How much larger that is than the best one's, with the paired error.
        auc: Area under the ROC curve of the validation events.
        test_auc: The same of the test events, by the mean of all its parts, as it is used.
        overtraining: Area on the training events less that on the test events, of one part before
            it learned from the validation events; of all of them in the mean where each fold is
            chosen for by itself.
        cpu_seconds: What it took to train it.
    """

    name: str
    log_loss: Estimate
    behind: Estimate
    auc: Estimate
    test_auc: Estimate
    overtraining: float
    cpu_seconds: float


@dataclass(frozen=True, kw_only=True)
class Auto(Applicable):
    """What an automatic search found.

    Attributes:
        split: The events.
        contestants: All that took part.
        chosen: Number of the best of them, for each group of parts that is chosen for by itself.
        seconds: Wall time.
        regions: Regions that were trained on, by name or role.
        measuring: Options of `measure`.
    """

    split: Split | CrossFit
    contestants: tuple[Contestant, ...]
    chosen: tuple[int, ...]
    seconds: float
    regions: tuple[str, ...] = ("signal",)
    measuring: Mapping[str, Any]

    @cached_property
    def network(self) -> AnyNetwork:
        """What was chosen; boosted trees, or networks and trees together, where these are best."""
        each = zip(self.chosen, range(len(self.chosen)), strict=True)
        return self._joined([self.contestants[number].groups[group] for number, group in each])

    @cached_property
    def measurement(self) -> Measurement:
        """What the chosen network is worth on the test events."""
        return measure(self.network, self.split, **self.measuring)

    @cached_property
    def standings(self) -> tuple[Standing, ...]:
        """How everybody did, the best first. The test events are looked at after the choice."""
        parts = Parts.of(self.split, self.regions)
        losses = [log_loss(parts.scores(each), parts.everything) for each in self.contestants]
        order = sorted(range(len(losses)), key=lambda number: losses[number].value)
        best = losses[order[0]]
        found = []
        for number in order:
            own = self.contestants[number]
            network, test = self._joined(own.groups), parts.sample.test
            found.append(
                Standing(
                    name=own.name,
                    log_loss=losses[number],
                    behind=losses[number] - best,
                    auc=auc(parts.scores(own), parts.everything),
                    test_auc=auc(network.score(test), test),
                    overtraining=parts.overtraining(own),
                    cpu_seconds=own.cpu_seconds,
                )
            )
        return tuple(found)

    @cached_property
    def leaderboard(self) -> report.Table:
        """The standings as a table: `print(auto.leaderboard)`."""
        names = [self.contestants[number].name for number in self.chosen]
        rows = tuple(
            (
                each.name,
                report.Measured(each.log_loss.value, each.log_loss.error),
                report.Measured(each.behind.value, each.behind.error)
                if each.behind.error > 0.0
                else None,
                report.Measured(each.auc.value, each.auc.error),
                report.Measured(each.test_auc.value, each.test_auc.error),
                f"{each.overtraining:+.4f}",
                f"{each.cpu_seconds:.0f}",
            )
            for each in self.standings
        )
        return report.Table(
            columns=(
                *("Contestant", "Log-loss", "Behind the best", "AUC, validation", "AUC, test"),
                *("AUC, training - test", "CPU-s"),
            ),
            rows=rows,
            caption="Contestants, by the log-loss of the validation events; chosen: "
            + ", ".join(dict.fromkeys(names))
            + "."
            + "".join(map(_without, self.contestants)),
            emphasised=tuple(i for i, each in enumerate(self.standings) if each.name in names),
        )

    def report(self, folder: str | Path) -> Path:
        """Writes `network/`, `leaderboard.csv`, `workspace.json`, plots, and `report.html`.

        Args:
            folder: Where to; made if need be.

        Returns:
            The page.

        Raises:
            InputError: When it cannot be written there.
        """
        folder, own = Path(folder), self.measurement
        self.network.save(folder / "network")
        write(folder / "leaderboard.csv", self.leaderboard.csv())
        write(folder / "workspace.json", report.to_json(own.workspace) + "\n")
        blocks: list[report.Block] = []
        for templates in own.fitted:
            figure = report.region(templates, axis="Score")
            report.save(figure, folder / "plots", templates.channel)
            blocks.append(report.Picture(report.png(figure), f"Region {templates.channel}."))
        symbol = own.figure.symbol
        numbers = [
            (f"{own.value:.4g}", f"{symbol}, {own.uncertainties}"),
            (f"{own.expected:.3g}", f"expected significance, {own.uncertainties}"),
            (f"{own.stat_only:.3g}", "expected significance, stat-only"),
        ]
        page = report.render(
            "Automatic search",
            f"{len(self.contestants)} contestants in {self.seconds / 60:.1f} minutes",
            [
                report.Section("Result", [report.Numbers(numbers), self.leaderboard]),
                report.Section("Events in bins of the score", blocks),
            ],
        )
        write(folder / "report.html", page)
        return folder / "report.html"

    def _joined(self, groups: Sequence[Candidate]) -> AnyNetwork:
        """The parts of a contestant as one network."""
        if isinstance(self.split, CrossFit):
            return CrossFitted(tuple(each.final[0] for each in groups))
        return as_network(list(groups[0].final))


@takes(**AUTO)
def auto(
    events: Events | Split | CrossFit,
    *,
    minutes: float | None = None,
    mode: str = "standard",
    networks_only: bool = False,
    seed: int = 1,
    validation_folds: Sequence[int] = (3,),
    test_folds: Sequence[int] = (4,),
    regions: Sequence[str] = ("signal",),
    **measuring: Any,
) -> Auto:
    """Finds the best classifier of events within a wall time, and measures it.

    Boosted trees with default settings and with searched ones, populations of networks with and
    without embeddings of their inputs, and weighted means of all these take part. The log-loss of
    the validation events decides. The test events are looked at once, at the end.

    Args:
        events: From `difftune.read`, or `Events.from_arrays`; or a `Split` of them, all of whose
            folds but the test folds train and validate in turn; or a `CrossFit`, of which each fold
            is measured by what has not seen it.
        minutes: Wall time; what is running when it is over is finished.
        mode: `"quick"`, `"standard"` or `"thorough"`: 1, 10 or 60 minutes where none are given.
        networks_only: Whether trees do not take part.
        seed: Decides everything random; results also depend on how fast the machine is.
        validation_folds: Counts as a fold to train and validate on.
        test_folds: Folds that are left alone until the result.
        regions: Regions that are trained on, by name or role, where the events have regions.
        **measuring: Options of `measure`, as `figure="precision"` or `luminosity=0.01`.

    Returns:
        Network, leaderboard, measurement, and a report.

    Raises:
        InputError: When an argument does not fit, before anything is trained.
        SearchError: When nothing that was trained met the overtraining condition.
    """
    seconds = 60.0 * _minutes(minutes, mode)
    sample: Any = events
    if isinstance(events, Events):
        folds = {"validation_folds": validation_folds, "test_folds": test_folds}
        sample = Split(events=events, **{name: tuple(each) for name, each in folds.items()})
    options = _checked(measuring, sample)
    contest = Contest(sample, tuple(regions), seconds, seed)
    libraries = [] if networks_only else _installed()
    for library in libraries:
        contest.default_trees(library)
    contest.networks(share=1.0 - _TREES if libraries else 1.0)
    for number, library in enumerate(libraries):
        contest.tuned_trees(library, among=len(libraries) - number)
    contest.together()
    return Auto(
        split=sample,
        contestants=tuple(contest.contestants),
        chosen=contest.chosen(),
        seconds=contest.spent,
        regions=tuple(regions),
        measuring=options,
    )


def _without(contestant: Contestant) -> str:
    """Which variables a contestant does not see, in words."""
    if not any(contestant.unused):
        return ""
    each = [", ".join(names) or "none" for names in contestant.unused]
    if len(set(each)) > 1:
        each = [f"{names} in fold {number}" for number, names in enumerate(each)]
    return f" Left out of {contestant.name}: {'; '.join(dict.fromkeys(each))}."


def _minutes(minutes: float | None, mode: str) -> float:
    """The time that is asked for."""
    if mode not in MODES:
        raise InputError(f"auto(mode={mode!r}): choose {', '.join(MODES)}, or give minutes=10.")
    if minutes is not None and not 0.0 < minutes < math.inf:
        raise InputError(f"auto(minutes={minutes}): give a positive number of minutes.")
    return MODES[mode] if minutes is None else minutes


def _checked(measuring: Mapping[str, Any], sample: Split | CrossFit) -> dict[str, Any]:
    """Options of `measure`, refused before anything is trained where they cannot be."""
    of_measure = [
        name for name in signature(measure).parameters if name not in ("network", "split")
    ]
    own = [name for name in signature(auto).parameters if name != "measuring"]
    check_names("auto", measuring, [*own, *of_measure])
    options = {n: MEASURE[n](value) if n in MEASURE else value for n, value in measuring.items()}
    model = ("channel", "poi", "normalisation", "luminosity", "free")
    check_model(
        sample,
        channel=options.get("channel", "signal_region"),
        **{name: options[name] for name in model[1:] if name in options},
    )
    return options


def _installed() -> list[str]:
    """Packages that grow trees, as many as are there."""
    found = []
    for name, library in LIBRARIES.items():
        try:
            _ = library.module
        except InputError as error:
            logger.info("auto: %s do not take part; %s", name, error)
        else:
            found.append(name)
    return found

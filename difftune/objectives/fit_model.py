"""The statistical model that the events of a batch fill, differentiably."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from difftune.arguments import NotNegative, Positive, takes
from difftune.binning import Constraints, Yields, joined
from difftune.data import Process
from difftune.errors import InputError, nearest
from difftune.histfactory import (
    FROM_MEASUREMENT,
    Filling,
    FreeNormalisation,
    Luminosity,
    Model,
    NormalisationUncertainty,
    TemplateYields,
    build_workspace,
    dummy_templates,
    filling,
    patched,
    read_source,
    symmetrised,
    without_constraints,
)
from difftune.histograms import Templates, in_blocks, soft_histogram
from difftune.objectives.base import Outputs
from difftune.objectives.batch import Batch, Values, in_direction, signal_probability
from difftune.objectives.bins import (
    HARD,
    Bins,
    Kernel,
    Regions,
    annealed,
    check_bins,
    check_kernel,
    edges_of,
    number_of,
    start_and_end,
    start_edges,
)

CHANNEL = "region"

# What a batch tells apart without names of processes.
LABELS = (Process(name="background"), Process(name="signal", role="signal"))


@takes()
@dataclass(frozen=True, kw_only=True)
class FitModel:
    """A HistFactory model of the binned score, whose numbers are those of a batch.

    Samples are the processes of the events, signal ones scaled by the parameter of interest `mu`.
    Each systematic variation of the batch is a nuisance parameter with an effect on yield and
    shape; what is given here comes on top. It is the model that `build_workspace` makes of the
    same histograms, with a differentiable one (`soft_histogram`) of the score in bins on [0, 1].

    Args:
        bins: Number of equidistant bins, or `difftune.binning.LearnedEdges` to train the edges
            along with the network, or `Regions`, of which the network has one output each.
        bandwidth: Width of the kernel that smears an event over the bins, in units of the score,
            at the start and at the end of the training; geometrically annealed in between. The
            hyperparameter `"bandwidth"`, where the search has it, multiplies both. Regions have a
            temperature instead.
        kernel: How an event is spread over the bins: `"logistic"`, `"normal"` or `"softmax"`, as in
            `difftune.histograms.soft_histogram`.
        straight_through: Whether the value is that of hard bins, and only the gradient that of
            smeared events.
        normalisation: Uncertainties of yields.
        luminosity: Uncertainty of the luminosity.
        free: Yields that are determined by the fit.
        control: Templates of further channels of the fit, such as control regions, that no network
            changes. They have the statistics of their own simulation.
        unconstrained: Names of variations whose nuisance parameter nothing but the data of the
            bins determines: the variation says what it does, and not how well it is known. pyhf
            has no such parameter, so the model can be fitted here, and not be exported.
        mc_statistics: Whether to take the statistical uncertainty of the batch into account
            (staterror). A batch holds fewer events than the templates of the measurement, and so
            has a larger one; a number is a factor on its variance, such as the number of events of
            a batch over that of the templates.
        constraints: What every bin must have. Those that do not have it are joined with their lower
            neighbours, as `difftune.binning.choose_edges` would, and count as one; the statistics
            of the simulation is what `mc_statistics` makes of it, or that of the batch. Without,
            signal where by chance there is no simulated background looks like a discovery. It is
            for scores: where other bins are joined the value jumps, which no gradient sees.
        processes: Names and roles of the processes in the order of the batch's process index. The
            training gives those of its events. Without any there are two samples, `"background"`
            and `"signal"`, by the label.

    Raises:
        InputError: For fewer than two bins, a bandwidth that is not positive, a factor that is
            negative, an unknown kernel, constraints of regions, which have no neighbours.
    """

    bins: Bins = 10
    bandwidth: Sequence[Positive] = (0.05, 0.01)
    kernel: Kernel = "logistic"
    straight_through: bool = False
    normalisation: Sequence[NormalisationUncertainty] = ()
    luminosity: Luminosity | None = None
    free: Sequence[FreeNormalisation] = ()
    control: Sequence[Templates] = ()
    unconstrained: Sequence[str] = ()
    mc_statistics: bool | NotNegative = True
    constraints: Constraints | None = None
    processes: Sequence[Process] = ()
    _workspace: "_Workspace | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for name in ("normalisation", "free", "control", "processes", "unconstrained"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        check_bins(self.bins, "FitModel", regions=True)
        if not 0.0 <= self.mc_statistics < float("inf"):
            raise InputError(
                f"FitModel(mc_statistics={self.mc_statistics}): give True, False, or a positive "
                "factor on the variance."
            )
        check_kernel(self.kernel, "FitModel")
        if self.constraints is not None and isinstance(self.bins, Regions):
            raise InputError(
                f"FitModel(constraints={self.constraints}): regions have no neighbours to join; "
                "leave it out, or give a number of bins."
            )
        object.__setattr__(self, "bandwidth", start_and_end(self.bandwidth, "FitModel(bandwidth"))

    @classmethod
    def from_spec(
        cls,
        spec: Any,
        *,
        channel: str,
        samples: Mapping[str, str] | None = None,
        measurement: str | None = None,
        poi: str | None = FROM_MEASUREMENT,
        patches: Any = (),
        bandwidth: Sequence[float] = (0.05, 0.01),
        processes: Sequence[Process] = (),
    ) -> "FitModel":
        """A workspace, one channel of which is filled by the events.

        All other channels, samples and modifiers keep their numbers. In the filled samples
        staterrors are those of the batch, and so are the normsys and histosys that have the name
        of a variation of the events. Other histosys and shapesys keep their relative size.

        Args:
            spec: A workspace, as `Model.from_spec` takes it.
            channel: The channel that the score is binned in, with as many bins.
            samples: For each process the sample that it fills; by default that of its name.
                Processes that fill none are left out.
            measurement: Name of the measurement; by default the first.
            poi: Name of the parameter of interest, if not the measurement's.
            patches: JSON patches to apply first, as `Model.from_spec` takes them.
            bandwidth: As in `FitModel`.
            processes: As in `FitModel`.

        Raises:
            InputError: The spec is not right, or has no such channel or sample.
        """
        source = read_source(spec)
        content = patched(source.spec, patches)
        if poi == FROM_MEASUREMENT:
            poi = source.chosen.get("poi", poi)
        model = Model.from_spec(content, measurement=measurement, poi=poi)
        if channel not in model.structure.channels:
            raise InputError(
                f"The workspace has no channel {channel!r}."
                f"{nearest(channel, model.structure.channels)}"
            )
        there = {e.key[1] for e in model.structure.entries if e.key[0] == channel}
        for sample in (samples or {}).values():
            if sample not in there:
                raise InputError(
                    f"samples: channel {channel!r} has no sample {sample!r}."
                    f"{nearest(sample, there)}"
                )
        return cls(
            bins=model.structure.bins[model.structure.channels.index(channel)],
            bandwidth=bandwidth,
            processes=processes,
            _workspace=_Workspace(
                spec=json.dumps(content),
                channel=channel,
                samples=tuple((samples or {name: name for name in sorted(there)}).items()),
                measurement=measurement,
                poi=poi,
            ),
        )

    def bound_to(self, processes: Sequence[Process]) -> "FitModel":
        """The model with these processes, unless it was given its own."""
        return self if self.processes else replace(self, processes=tuple(processes))

    def hard_limit(self) -> "FitModel":
        """The model of events in hard bins or regions."""
        bins = self.bins
        bins = replace(bins, hard=True) if isinstance(bins, Regions) else bins
        return replace(self, bins=bins, bandwidth=HARD)

    def init(self, key: Array) -> PyTree:
        """Start values of the edges, if they are to be trained.

        Args:
            key: This member's random key.
        """
        return start_edges(self.bins, key)

    @property
    def outputs(self) -> Outputs:
        """What the network gives: a score, or one logit per region."""
        return self.bins.regions if isinstance(self.bins, Regions) else "binary"

    def edges(self, parameters: PyTree) -> Float[Array, " edges"]:
        """Bin edges as they are now.

        Args:
            parameters: This member's values of what `init` returned.

        Raises:
            InputError: Regions have none.
        """
        return edges_of(self.bins, parameters, jnp.result_type(float))

    def model(
        self, scores: Array, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> Model:
        """The HistFactory model of a batch; in float64, as `Model` is.

        The arguments are those of an objective.
        """
        yields = self.yields(scores, batch, hyperparameters, parameters)
        to_float64 = jax.tree.map(lambda each: each.astype(jnp.float64), yields)
        return self.filling(batch)(to_float64)

    def filling(self, batch: Batch) -> Filling:
        """Where the yields of a batch go in the model.

        Args:
            batch: Only the names of its variations count.
        """
        names = tuple(name for _, name in self._filled())
        variations = tuple(sorted(batch.variations))
        if self._workspace is not None:
            return _filled_workspace(self._workspace, names, variations)
        signal = tuple(process.name for process in self._known if process.role == "signal")
        more = (
            self.normalisation,
            self.luminosity,
            self.free,
            self.control,
            self.unconstrained,
            bool(self.mc_statistics),
        )
        return _built(names, signal, variations, number_of(self.bins), *more)

    def yields(
        self, scores: Array, batch: Batch, hyperparameters: Values, parameters: PyTree
    ) -> TemplateYields:
        """Differentiable histograms of all processes and variations.

        Everything that has the nominal scores is filled at once. The arguments are those of an
        objective.
        """
        masks, bins = self._masks(batch), self.bins

        def filled(scores: Array, weights: Float[Array, "rows events"]) -> Array:
            return in_blocks(block, jnp.moveaxis(scores, 0, -1), weights, masks)

        def block(scores: Array, weights: Array, masks: Array) -> Array:
            scores = jnp.moveaxis(scores, -1, 0)
            columns = (weights[:, None, :] * masks).astype(scores.dtype)
            if isinstance(bins, Regions):
                return columns @ bins.shares(scores, batch, hyperparameters)
            score = signal_probability(scores, batch)
            return soft_histogram(
                score,
                columns,
                self.edges(parameters).astype(score.dtype),
                bandwidth=annealed(self.bandwidth, batch, hyperparameters.get("bandwidth", 1.0)),
                kernel=self.kernel,
                straight_through=self.straight_through,
            )

        rows: list[Any] = [batch.weight, jnp.square(batch.weight)]
        moved: list[Any] = []
        places: list[tuple[list[Any], int] | None] = []
        for name, side in batch.directions():
            if side is None:
                places.append(None)
                continue
            varied, weight = in_direction(name, side, scores, batch)
            if varied is scores:
                places.append((rows, len(rows)))
                rows.append(weight)
            else:
                places.append((moved, len(moved)))
                moved.append((varied, weight))
        own = filled(scores, jnp.stack(rows))
        if moved:
            others, weights = (jnp.stack(parts) for parts in zip(*moved, strict=True))
            other = jax.vmap(lambda s, w: filled(s, w[None])[0])(others, weights)
        sides: list[Array] = []
        for place in places:
            if place is None:
                sides.append(symmetrised(own[0], sides[-1]))
            else:
                table, row = place
                sides.append(own[row] if table is rows else other[row])
        nothing = jnp.zeros((0, *own.shape[1:]), own.dtype)
        up, down = (jnp.stack(sides[i::2]) if sides else nothing for i in (0, 1))
        found = self._joined(TemplateYields(own[0], own[1], up, down))
        return found._replace(sumw2=float(self.mc_statistics) * found.sumw2)

    def _joined(self, yields: TemplateYields) -> TemplateYields:
        """Yields of bins that meet the constraints; of others nothing is left."""
        if self.constraints is None:
            return yields
        is_signal = np.array([self._known[i].role == "signal" for i, _ in self._filled()])
        # Where the fit does not know of it, the statistics of the batch is all there is.
        factor = float(self.mc_statistics) or 1.0
        varied = jnp.concatenate([yields.up, yields.down])
        place = joined(
            Yields(
                *(jnp.sum(yields.nominal[m], axis=0) for m in (is_signal, ~is_signal)),
                *(factor * jnp.sum(yields.sumw2[m], axis=0) for m in (is_signal, ~is_signal)),
                *(jnp.sum(varied[:, m], axis=1) for m in (is_signal, ~is_signal)),
            ),
            self.constraints,
        )
        into = jax.nn.one_hot(place, place.shape[0], dtype=yields.nominal.dtype)
        return TemplateYields(*(jnp.matmul(each, into, precision="highest") for each in yields))

    @property
    def _known(self) -> Sequence[Process]:
        return self.processes or LABELS

    def _filled(self) -> list[tuple[int, str]]:
        """Index of each process that has a sample, and the name of that."""
        if self._workspace is None:
            return [(i, each.name) for i, each in enumerate(self._known) if each.role != "data"]
        samples = dict(self._workspace.samples)
        found = [
            (index, samples[each.name])
            for index, each in enumerate(self._known)
            if each.name in samples
        ]
        if not found:
            raise InputError(
                f"None of the processes {[each.name for each in self._known]} fills a sample of "
                f"channel {self._workspace.channel!r}, which has {sorted(samples.values())}: say "
                "which with samples={process: sample}."
            )
        return found

    def _masks(self, batch: Batch) -> Float[Array, "processes events"]:
        index = batch.process if self.processes else batch.label
        wanted = jnp.asarray([index for index, _ in self._filled()])
        return (index == wanted[:, None]).astype(batch.weight.dtype)


@dataclass(frozen=True, kw_only=True)
class _Workspace:
    """A workspace of which the events fill a channel; hashable."""

    spec: str
    channel: str
    samples: tuple[tuple[str, str], ...]
    measurement: str | None
    poi: str | None


@functools.lru_cache
def _built(
    processes: tuple[str, ...],
    signal: tuple[str, ...],
    variations: tuple[str, ...],
    bins: int,
    normalisation: tuple[NormalisationUncertainty, ...],
    luminosity: Luminosity | None,
    free: tuple[FreeNormalisation, ...],
    control: tuple[Templates, ...],
    unconstrained: tuple[str, ...],
    mc_statistics: bool,
) -> Filling:
    """A model of the processes, of which only the structure counts, beside control regions."""
    templates = dummy_templates(
        bins, channel=CHANNEL, processes=processes, signal=signal, variations=variations
    )
    workspace = build_workspace(
        [templates, *control],
        normalisation=normalisation,
        luminosity=luminosity,
        free=free,
        mc_statistics=mc_statistics,
        poi_bounds=(0.0, 10.0),
    )
    for name in unconstrained:
        if name not in variations:
            raise InputError(
                f"FitModel(unconstrained={list(unconstrained)}): the events have no variation "
                f"{name!r}.{nearest(name, variations)}"
            )
    model = without_constraints(Model.from_spec(workspace), unconstrained)
    return filling(model, channel=CHANNEL, samples=processes, variations=variations)


@functools.lru_cache
def _filled_workspace(
    workspace: _Workspace, samples: tuple[str, ...], variations: tuple[str, ...]
) -> Filling:
    model = Model.from_spec(
        json.loads(workspace.spec), measurement=workspace.measurement, poi=workspace.poi
    )
    return filling(model, channel=workspace.channel, samples=samples, variations=variations)

"""Training without gradients: evolution strategies on the weights, and a parabola a coordinate."""

import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, Int, PyTree

from difftune.arguments import Count, NotNegative, said, takes
from difftune.errors import InputError
from difftune.objectives import Batch, Objective, ScoreLoss
from difftune.training.batches import resampled
from difftune.training.low_rank import LowRank, evaluated

SIGMA = 0.05
"""Width of the perturbations of a weight where the hyperparameter `sigma` is not given."""

_EVENTS_AT_ONCE = 2**21
"""Of all perturbations that run side by side on an accelerator."""

_EVENTS_IN_CACHE = 2**10
"""Of all perturbations that run side by side on a CPU."""

_WORST = 1e30
"""In place of a loss that is not finite, where differences are taken."""

_FURTHEST = 3.0
"""Logarithm of the factor that the width may come to be away from `sigma`, in either direction."""

Loss = Callable[..., Float[Array, ""]]
"""Of any parameters, for the batch of the step or another one, which is then given after them."""


class GradientFree(abc.ABC):
    """An optimizer that looks at losses of other weights in place of a gradient.

    With it an objective may be anything that can be computed: a metric, a loss in hard bins, a
    function of numpy (`difftune.objectives.NumpyLoss`). A loss that smears events is taken in its
    hard limit. `l1`, `l2` and `gradient_clip` act on gradients, and are not read.

    Attributes:
        events: How many each loss is of; None for all of a batch.
    """

    events: int | None = None

    def __call__(self, hyperparameters: Mapping[str, Array]) -> optax.GradientTransformation:
        """The optimizer of a member: one of optax, whose update is also given what it looks at.

        Args:
            hyperparameters: Of the member.
        """

        def update(
            _: Any, state: PyTree, params: PyTree | None = None, **given: Any
        ) -> tuple[PyTree, PyTree]:
            return self.update(hyperparameters, state, params, **given)

        return optax.GradientTransformationExtraArgs(self.init, update)

    @abc.abstractmethod
    def init(self, parameters: PyTree) -> PyTree:
        """Its state before the first step.

        Args:
            parameters: What is trained.
        """

    @abc.abstractmethod
    def update(
        self,
        hyperparameters: Mapping[str, Array],
        state: PyTree,
        parameters: PyTree,
        *,
        loss: Loss,
        value: Float[Array, ""],
        key: Array,
        group: int,
        batch: Batch | None = None,
    ) -> tuple[PyTree, PyTree]:
        """What is added to the parameters in a step, and the state after it.

        Args:
            hyperparameters: Of the member.
            state: Before the step.
            parameters: What is trained.
            loss: Of any parameters, for the batch of the step.
            value: The loss of these.
            key: Random key of the step.
            group: Losses that are computed side by side.
            batch: That of the step, where losses are of parts of it.
        """


def check_gradient(objective: Objective, optimizer: Any) -> None:
    """Refuses an objective that an optimizer cannot minimise.

    Raises:
        InputError: For one without a gradient where that is needed, and for one that is nothing
            without where it is not looked at.
    """
    free = isinstance(optimizer, GradientFree)
    if free and objective.gradient == "needed":
        raise InputError(
            f"optimizer={type(optimizer).__name__}(...) looks at losses, and what {objective} does "
            'is in its gradient: take optimizer="adam".'
        )
    if free or objective.gradient != "none":
        return
    if isinstance(objective, ScoreLoss):
        raise InputError(
            f"objective={type(objective.metric).__name__}(...) is a score, of which larger is "
            "better, and has no gradient: take a loss such as AsimovLLR, and give this as metric=; "
            'or optimizer="evolution", which needs no gradient.'
        )
    raise InputError(
        f'objective={said(objective)} has no gradient: take optimizer="evolution", which needs '
        "none."
    )


def from_losses(
    optimizer: Any,
    loss: Callable[..., tuple[Array, PyTree]],
    parameters: PyTree,
    carry: PyTree,
    state: PyTree,
    *,
    batch: Batch,
    key: Array,
    group: int,
) -> tuple[Array, PyTree, PyTree, PyTree]:
    """A step without gradients.

    All networks begin with the same carry (buffers and random streams), so that they differ in
    their weights alone.

    Args:
        optimizer: What a `GradientFree` makes for a member.
        loss: Of parameters and carry: the loss, and the carry after it; of another batch where one
            is given as `batch`.
        parameters: What is trained.
        carry: Before the step.
        state: Of the optimizer.
        batch: The events.
        key: Random key of the step.
        group: Networks that look at the batch side by side.

    Returns:
        The loss, the carry after it, what is added to the parameters, and the optimizer's state.
    """
    value, after = loss(parameters, carry)
    updates, state = optimizer.update(
        None,
        state,
        parameters,
        loss=lambda tried, **own: loss(tried, carry, **own)[0],
        value=value,
        batch=batch,
        key=key,
        group=group,
    )
    return value, after, updates, state


def side_by_side(events: int, *, one_by_one: bool) -> int:
    """How many networks look at a batch side by side.

    Args:
        events: That each looks at.
        one_by_one: Whether few are fastest, as on a CPU, where their working set stays in the
            cache.
    """
    return max(1, (_EVENTS_IN_CACHE if one_by_one else _EVENTS_AT_ONCE) // events)


def _mapped(function: Callable[[Any], Array], over: PyTree, group: int) -> Array:
    # A group of one would be mapped as a batch of one.
    return jax.lax.map(function, over, batch_size=group if group > 1 else None)


class EvolutionState(NamedTuple):
    """State of an evolution strategy: moments of Adam, and the logarithm of width over `sigma`."""

    moments: optax.ScaleByAdamState
    log_width: Float[Array, ""]


@takes()
@dataclass(frozen=True, kw_only=True)
class EvolutionStrategy(GradientFree):
    """An evolution strategy: the gradient of a distribution of weights, from losses alone.

    A member is the mean of a distribution of weights. In each step networks are drawn from it in
    pairs, at w + σε and w - σε, and all see the same batch. Their losses count by their ranks,
    from -1/2 to 1/2, so that neither scale nor outliers matter; the sum of the perturbations with
    these weights estimates the gradient (arXiv 1703.03864), and Adam makes a step of it.

    A perturbation of a matrix is a product of vectors a bᵀ, or the sum of `rank` of them over the
    root of their number (arXiv 2511.16652): it costs the random numbers of a vector, not those of
    a matrix, and the sum over perturbations is one product of matrices.

    Where `events` is given, each pair sees events of its own in place of the whole batch: half of
    them signal, drawn in proportion to the sizes of their weights, and all with weights that stand
    for the batch. More pairs of few events tell more of the gradient, in the same time, than few
    pairs of many. Pairs then count by the ranks of the differences of their two losses.

    Step size: each pair has a width of its own around σ, and σ moves to where the better ones of
    the pairs are, within a factor of 20 of `sigma`.

    Hyperparameters: `sigma`, 0.05 by default; `learning_rate`, `beta1`, `beta2`, `epsilon` of Adam;
    and `weight_decay`, as that of AdamW, 0 by default. Ranks have no scale, so that a learning rate
    of 0.01 to 0.03 suits most networks in some thousand steps. What the estimate has of chance lets
    weights wander, by the learning rate times the root of the number of steps: a long training
    wants a smaller one, and a weight decay.

    Args:
        perturbations: Networks that are looked at in a step, an even number.
        rank: Of the perturbation of a matrix.
        adaptation: Spread of the logarithms of the widths of the pairs; 0 keeps `sigma` as it is.
        events: That each pair sees, an even number; all of the batch by default.

    Raises:
        InputError: For an odd number of perturbations, or numbers out of range.
    """

    perturbations: Count = 256
    rank: Count = 1
    adaptation: NotNegative = 0.2
    events: Count | None = None

    def __post_init__(self) -> None:
        name = type(self).__name__
        if self.events is not None and (self.events < 2 or self.events % 2):
            raise InputError(
                f"{name}(events={self.events}): half of them are signal, so give an even number, 2 "
                "or more; None for all events of a batch."
            )
        if self.perturbations < 2 or self.perturbations % 2:
            raise InputError(
                f"{name}(perturbations={self.perturbations}): they come in pairs, so give an even "
                "number, 2 or more."
            )
        if self.rank < 1:
            raise InputError(f"{name}(rank={self.rank}): must be at least 1.")
        if not 0 <= self.adaptation < 1:
            raise InputError(f"{name}(adaptation={self.adaptation}): from 0 to 1.")

    def init(self, parameters: PyTree) -> EvolutionState:
        """Moments of zero."""
        return EvolutionState(optax.scale_by_adam().init(parameters), jnp.zeros(()))

    def update(
        self,
        hyperparameters: Mapping[str, Array],
        state: PyTree,
        parameters: PyTree,
        *,
        loss: Loss,
        value: Float[Array, ""],
        key: Array,
        group: int,
        batch: Batch | None = None,
    ) -> tuple[PyTree, PyTree]:
        """A step of Adam along the estimated gradient."""
        del value
        gradient, log_width = self.estimate(
            hyperparameters,
            state.log_width,
            parameters,
            loss=loss,
            key=key,
            group=group,
            batch=batch,
        )
        betas = {f"b{i}": hyperparameters.get(f"beta{i}", b) for i, b in ((1, 0.9), (2, 0.999))}
        rule = optax.scale_by_adam(**betas, eps=hyperparameters.get("epsilon", 1e-8))
        step, moments = rule.update(gradient, state.moments)
        rate, decay = hyperparameters["learning_rate"], hyperparameters.get("weight_decay", 0.0)
        # Of weight matrices alone, as that of other optimizers.
        updates = jax.tree.map(
            lambda u, w: -rate * (u + decay * w if w.ndim >= 2 else u), step, parameters
        )
        return updates, EvolutionState(moments, log_width)

    def estimate(
        self,
        hyperparameters: Mapping[str, Array],
        log_width: Float[Array, ""],
        parameters: PyTree,
        *,
        loss: Loss,
        key: Array,
        group: int = 1,
        batch: Batch | None = None,
    ) -> tuple[PyTree, Float[Array, ""]]:
        """The estimated gradient by the parameters, up to a factor; and the next width.

        Args:
            hyperparameters: `sigma` is read.
            log_width: Logarithm of the width over `sigma`.
            parameters: Mean of the distribution.
            loss: Of any parameters.
            key: Random key.
            group: Losses that are computed side by side.
            batch: Where pairs have events of their own.
        """
        leaves, tree = jax.tree.flatten(parameters)
        sigma = hyperparameters.get("sigma", SIGMA) * jnp.exp(log_width)
        keys = jax.random.split(key, self.perturbations // 2)
        spread = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, len(leaves))))(keys)
        width = sigma * jnp.exp(self.adaptation * spread)

        # All at once, and once: side by side they are drawn faster than one after the other.
        drawn = jax.vmap(lambda k: self._factors(k, leaves))(keys)

        def one(which: tuple[Array, Array]) -> Float[Array, ""]:
            pair, step = which
            moved = [
                self._moved(leaf, tuple(each[pair] for each in factors), step)
                for leaf, factors in zip(leaves, drawn, strict=True)
            ]
            tried = jax.tree.unflatten(tree, moved)
            if own is None or batch is None:
                return evaluated(loss, tried)
            rows, factor = own
            seen = resampled(batch, rows[pair], factor[pair])
            return evaluated(lambda tried: loss(tried, batch=seen), tried)

        own = None
        if self.events is not None and batch is not None:
            own = drawn_events(
                jnp.asarray(batch.weight),
                jnp.asarray(batch.label),
                jax.random.fold_in(key, len(keys)),
                pairs=len(keys),
                events=self.events,
            )
        pairs = jnp.tile(jnp.arange(len(keys)), 2)
        losses = _mapped(one, (pairs, jnp.concatenate([width, -width])), group)
        up, down = jnp.split(centred_ranks(losses), 2)
        if own is None:
            share = (up - down) / len(keys)
        else:
            one_way, other_way = jnp.split(jnp.where(jnp.isfinite(losses), losses, _WORST), 2)
            share = centred_ranks(one_way - other_way) / len(keys)
        gradient = jax.tree.unflatten(tree, [self._summed(each, share) for each in drawn])
        better = -jnp.minimum(up, down)
        better = better - better.mean()
        pull = jnp.mean(better * spread) / jnp.maximum(jnp.std(better), 1e-6)
        log_width = jnp.clip(log_width + self.adaptation * pull, -_FURTHEST, _FURTHEST)
        return gradient, log_width

    def _factors(self, key: Array, leaves: list[Array]) -> list[tuple[Array, ...]]:
        """What the perturbation of each leaf is made of: itself, or the vectors of a matrix."""

        def vectors(key: Array, shape: tuple[int, ...]) -> Float[Array, "..."]:
            # Vector by vector: those of a small network are the beginnings of those of a large
            # one, so that a member with masked units trains as if it had been made smaller.
            *stack, size = shape
            count = 1
            for each in stack:
                count *= each
            each_key = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(count))
            return jax.vmap(lambda k: jax.random.normal(k, (size,)))(each_key).reshape(shape)

        found: list[tuple[Array, ...]] = []
        for number, leaf in enumerate(leaves):
            own = jax.random.fold_in(key, number)
            if leaf.ndim < 2:
                found.append((jax.random.normal(own, leaf.shape),))
                continue
            *stack, rows, columns = leaf.shape
            left, right = jax.random.split(own)
            found.append(
                (
                    vectors(left, (*stack, self.rank, rows)),
                    vectors(right, (*stack, self.rank, columns)),
                )
            )
        return found

    def _moved(self, leaf: Array, factors: tuple[Array, ...], step: Array) -> Array | LowRank:
        """A leaf and its perturbation, times a step."""
        if len(factors) == 1:
            return leaf + step * factors[0]
        left, right = factors
        return LowRank(leaf, left, step * self.rank**-0.5 * right)

    def _summed(self, factors: tuple[Array, ...], share: Float[Array, " pairs"]) -> Array:
        """The sum of the perturbations of all pairs, each with its share."""
        if len(factors) == 1:
            return jnp.tensordot(share, factors[0], axes=1)
        left, right = factors
        total = jnp.einsum("p,p...rn,p...rm->...nm", share, left, right)
        return total * self.rank**-0.5


def centred_ranks(losses: Float[Array, " losses"]) -> Float[Array, " losses"]:
    """Ranks from -1/2, of the smallest, to 1/2, those of equal losses their mean.

    What is not finite is worse than all that is.

    Args:
        losses: At least two.
    """
    losses = jnp.where(jnp.isfinite(losses), losses, jnp.inf)
    below = jnp.sum(losses[:, None] > losses, axis=1)
    equal = jnp.sum(losses[:, None] == losses, axis=1)
    return (below + 0.5 * (equal - 1)) / (len(losses) - 1) - 0.5


def drawn_events(
    weight: Float[Array, " all"],
    label: Int[Array, " all"],
    key: Array,
    *,
    pairs: int,
    events: int,
) -> tuple[Int[Array, "pairs events"], Float[Array, "pairs events"]]:
    """Events for each pair: of each class half, in proportion to the sizes of their weights.

    All pairs together see the batch evenly: the draws of a class are equally far apart along the
    sum of its weights, and go to one pair after the other.

    Args:
        weight: Of the events of a batch, in random order.
        label: 1 of signal.
        key: Random key.
        pairs: How many.
        events: Of each pair.

    Returns:
        Their rows, and the factors of their weights, with which the expected sums are those of the
        batch.
    """
    size = jnp.abs(weight)
    half, found = events // 2, []
    for number, mine in enumerate((label == 1, label != 1)):
        until = jnp.cumsum(jnp.where(mine, size, 0.0))
        begin = jax.random.uniform(jax.random.fold_in(key, number))
        places = (jnp.arange(half * pairs) + begin) * (until[-1] / (half * pairs))
        rows = jnp.minimum(jnp.searchsorted(until, places, side="right"), len(size) - 1)
        rows = rows.reshape(half, pairs).T
        there = size[rows] > 0
        factor = jnp.where(there, until[-1] / half / jnp.where(there, size[rows], 1.0), 0.0)
        found.append((rows, factor))
    rows, factor = (jnp.concatenate(each, axis=1) for each in zip(*found, strict=True))
    return rows, factor


class ParabolaState(NamedTuple):
    """State of the coordinate descent: the logarithm of its width over `sigma`."""

    log_width: Float[Array, ""]


@takes()
@dataclass(frozen=True, kw_only=True)
class CoordinateParabola(GradientFree):
    """Shakes all weights, and then moves one after the other to the minimum of a parabola.

    For small networks: a step looks at some weights, drawn anew each time. A parabola through the
    losses at w - h, w and w + h has its minimum somewhere; the weight moves there, or to w - h or
    w + h, whichever is best, and stays where none of them is better. Before that all weights are
    shaken together a few times, by normal random numbers, and the best shake is kept if it is
    better. So the loss of the batch never grows, and batches should be large.

    The width h begins as the hyperparameter `sigma`, 0.05 by default, and follows the moves that
    are made. The learning rate plays no role.

    Args:
        coordinates: Weights that are looked at in a step, with three losses each; all weights
            where there are not as many.
        shakes: How often all weights are shaken in a step.

    Raises:
        InputError: For numbers out of range.
    """

    coordinates: Count = 64
    shakes: Count = 8

    def __post_init__(self) -> None:
        for name in ("coordinates", "shakes"):
            if getattr(self, name) < 1:
                raise InputError(
                    f"{type(self).__name__}({name}={getattr(self, name)}): must be at least 1."
                )

    def init(self, parameters: PyTree) -> ParabolaState:
        """The width that is given."""
        del parameters
        return ParabolaState(jnp.zeros(()))

    def update(
        self,
        hyperparameters: Mapping[str, Array],
        state: PyTree,
        parameters: PyTree,
        *,
        loss: Loss,
        value: Float[Array, ""],
        key: Array,
        group: int,
        batch: Batch | None = None,
    ) -> tuple[PyTree, PyTree]:
        """The sum of all moves."""
        del batch
        start, unravel = ravel_pytree(parameters)
        width = hyperparameters.get("sigma", SIGMA) * jnp.exp(state.log_width)

        def at(weights: Float[Array, " weights"]) -> Float[Array, ""]:
            found = loss(unravel(weights))
            return jnp.where(jnp.isfinite(found), found, jnp.inf)

        def best_of(
            weights: Float[Array, " weights"], value: Array, tried: Float[Array, "tried weights"]
        ) -> tuple[Array, Array, Array]:
            losses = _mapped(at, tried, group)
            best = jnp.argmin(losses)
            better = losses[best] < value
            return (
                jnp.where(better, tried[best], weights),
                jnp.where(better, losses[best], value),
                losses,
            )

        shaking, choosing = jax.random.split(key)
        shape = (self.shakes, start.size)
        tried = start + width * jax.random.normal(shaking, shape, start.dtype)
        weights, value, _ = best_of(start, value, tried)

        def one(carry: tuple[Array, Array], place: Array) -> tuple[tuple[Array, Array], Array]:
            weights, value = carry
            here = weights[place]
            sides = jnp.stack([weights.at[place].add(width), weights.at[place].add(-width)])
            after, least, (up, down) = best_of(weights, value, sides)
            curved = up - 2.0 * value + down
            vertex = 0.5 * width * (down - up) / jnp.where(curved > 0, curved, 1.0)
            vertex = jnp.where(curved > 0, jnp.clip(vertex, -2.0 * width, 2.0 * width), 0.0)
            after, least, _ = best_of(after, least, weights.at[place].add(vertex)[None])
            return (after, least), after[place] - here

        places = jax.random.permutation(choosing, start.size)[: self.coordinates]
        (weights, _), moves = jax.lax.scan(one, (weights, value), places)
        made = jnp.sum(moves != 0)
        moved = jnp.sqrt(jnp.sum(jnp.square(moves)) / jnp.maximum(made, 1))
        pull = jnp.clip(jnp.log(jnp.where(made > 0, moved, width) / width), -0.2, 0.2)
        pull = jnp.where(made > 0, pull, -0.05)
        log_width = jnp.clip(state.log_width + pull, -_FURTHEST, _FURTHEST)
        return unravel(weights - start), ParabolaState(log_width)

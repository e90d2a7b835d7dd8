"""Expected yields and their derivatives in numpy, of what a model has and not of what it might.

`rates` has dense arrays over variations, samples and bins: few operations, as a compiled program
wants them. Here a sample without yields in a channel has no cells there, and where each parameter
acts on few channels, these are blocks with parameters of their own. So a fit of a small model is
quick, and that of a large one possible. The formulae are those of `rates`, to rounding.
"""

import copy
import functools
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from jaxtyping import Float, Int

from difftune.histfactory import interpolation
from difftune.histfactory.rates import Terms, terms
from difftune.histfactory.structure import Structure

Parameters = Float[np.ndarray, " parameters"]
Points = Float[np.ndarray, "*points parameters"]
Indices = Int[np.ndarray, " n"]

# Up to here one block is quicker whatever is empty in it: parameters times cells.
_SMALL = 200_000
# Of what one block would hold, the most with which blocks of channels are worth their overhead.
_SPARSE = 0.25

_ONE = np.ones(1)
# Factors of the powers in the first and second derivative of code4's polynomial.
_FIRST, _SECOND = np.arange(2.0, 7.0), np.array([6.0, 12.0, 20.0, 30.0])


class Places(NamedTuple):
    """Where a block of channels finds its numbers. Parameters are counted within the block.

    Attributes:
        parameters: Of all, those that act here.
        bins: Of all, those of these channels.
        sample: Of each cell, sorted by bin.
        bin: Of each cell, of all bins.
        own_bin: The same, counted within the block.
        starts: First cell of each bin.
        factors: Parameters that multiply each cell; one beyond the last stands for 1.
        histosys: Parameters of the additive variations.
        histosys_of: Which of all additive variations these are.
        normsys: Parameters of the relative variations.
        normsys_of: Which of all relative variations these are.
        group: Of each cell, its sample and channel.
        group_sample: Samples of these.
        group_channel: Channels of these.
    """

    parameters: Indices
    bins: Indices
    sample: Indices
    bin: Indices
    own_bin: Indices
    starts: Indices
    factors: Int[np.ndarray, "factors cells"]
    histosys: Indices
    histosys_of: Indices
    normsys: Indices
    normsys_of: Indices
    group: Indices
    group_sample: Indices
    group_channel: Indices


_places_of: WeakKeyDictionary[Structure, tuple[Places, ...]] = WeakKeyDictionary()


def places(structure: Structure) -> tuple[Places, ...]:
    """The blocks of a structure: one of all channels, or one of each."""
    if structure not in _places_of:
        _places_of[structure] = _places(structure)
    return _places_of[structure]


def _places(structure: Structure) -> tuple[Places, ...]:
    layout = structure.layout
    there = layout.nominal != structure.size
    moved = (layout.histosys_up != layout.nominal) | (layout.histosys_down != layout.nominal)
    scaled = (layout.normsys_up != structure.size + 1) | (layout.normsys_down != structure.size + 1)

    def block(channels: Indices) -> Places:
        bins = np.flatnonzero(np.isin(layout.channel, channels))
        own_bin, sample = np.nonzero(there[:, bins].T)
        where = bins[own_bin]
        channel = layout.channel[where]
        factors = layout.factors[:, sample, where]
        factors = factors[(factors != len(structure.names)).any(axis=1)]
        additive = np.flatnonzero(moved[:, :, bins].any(axis=(1, 2)))
        relative = np.flatnonzero(scaled[:, :, channels].any(axis=(1, 2)))
        acting = np.concatenate(
            [layout.histosys[additive], layout.normsys[relative], factors.ravel()]
        )
        chosen = np.unique(acting[acting < len(structure.names)]).astype(int)
        place = np.full(len(structure.names) + 1, len(chosen))
        place[chosen] = np.arange(len(chosen))
        pairs, group = np.unique(np.stack([sample, channel]), axis=1, return_inverse=True)
        return Places(
            parameters=chosen,
            bins=bins,
            sample=sample,
            bin=where,
            own_bin=own_bin,
            starts=np.searchsorted(own_bin, np.arange(len(bins))),
            factors=place[factors],
            histosys=place[layout.histosys[additive]],
            histosys_of=additive,
            normsys=place[layout.normsys[relative]],
            normsys_of=relative,
            group=group.ravel(),
            group_sample=pairs[0],
            group_channel=pairs[1],
        )

    whole = len(structure.names) * int(there.sum())
    every = np.arange(len(structure.channels))
    if whole > _SMALL and len(every) > 1:
        parts = tuple(block(every[i : i + 1]) for i in every)
        if sum(len(p.parameters) * len(p.sample) for p in parts) < _SPARSE * whole:
            return parts
    return (block(every),)


class Slopes(NamedTuple):
    """Expected yields of a block, and their derivatives in its parameters.

    Attributes:
        value: Expected yields of the bins.
        first: First derivatives.
        parts: What second derivatives are made of.
    """

    value: Float[np.ndarray, "*points bins"]
    first: Float[np.ndarray, "*points parameters bins"]
    parts: tuple[Any, ...]


class Block:
    """Some channels with their numbers.

    Args:
        structure: Of the model.
        given: Its numbers.
        where: The block's part of them.
    """

    def __init__(self, structure: Structure, given: Terms, where: Places) -> None:
        self.where = where
        self.parameters, self.bins = where.parameters, where.bins
        self._code = structure.histosys_code
        self._every = np.arange(len(where.sample))
        self.nominal = np.asarray(given.nominal)[where.sample, where.bin]
        cells = where.bin[None, :], where.histosys_of[:, None], where.sample[None, :]
        # Odd parts, and below them even ones: one product for both.
        self._variations = np.concatenate([given.s[cells], given.a[cells]])
        self._odd, self._even = np.split(self._variations, 2)
        rows = where.normsys_of[:, None], where.group_sample[None, :], where.group_channel[None, :]
        self._log_up, self._log_down = given.log_up[rows], given.log_down[rows]
        self._polynomial = None
        if given.polynomial is not None:
            self._polynomial = np.ascontiguousarray(
                np.moveaxis(given.polynomial[(slice(None), *rows)], 0, 1)
            )

    def _base(self, own: Points) -> np.ndarray:
        if not len(self.where.histosys):
            return self.nominal
        alpha = own[..., self.where.histosys]
        coefficients = np.concatenate(interpolation.additive(self._code, alpha), axis=-1)
        return self.nominal + coefficients @ self._variations

    def _chosen(self, own: Points) -> list[np.ndarray]:
        one = _ONE if own.ndim == 1 else np.ones((*own.shape[:-1], 1))
        every = np.concatenate((own, one), axis=-1)
        return [every[..., row] for row in self.where.factors]

    def _logs(self, own: Points, derivatives: bool) -> tuple[np.ndarray, ...]:
        """Relative factors of the groups; with derivatives those of each logarithm, too."""
        alpha = own[..., self.where.normsys]
        inner = np.abs(alpha) < 1
        polynomial = self._polynomial
        if polynomial is None:
            inner = np.zeros_like(inner)
        every = inner.all()
        x = alpha if every else np.where(inner, alpha, 0.0)
        powers = np.empty((*alpha.shape, 3 if derivatives else 1, 6))
        value = powers[..., 0, :]
        value[:] = x[..., None]
        np.multiply.accumulate(value, axis=-1, out=value)
        if derivatives:
            powers[..., 1, 0], powers[..., 2, 0], powers[..., 2, 1] = 1.0, 0.0, 2.0
            np.multiply(value[..., :-1], _FIRST, out=powers[..., 1, 1:])
            np.multiply(value[..., :-2], _SECOND, out=powers[..., 2, 2:])
        if polynomial is None:
            found = np.zeros((*powers.shape[:-1], self._log_up.shape[1]))
        else:
            found = powers @ polynomial
        change = found[..., 0, :]
        if change.min(initial=0.0) < -1:
            return self._negative(alpha, derivatives)
        logs = np.log1p(change)
        if not every:
            out = ~inner
            which = np.nonzero(out)[-1]
            up = (alpha[out] >= 0)[:, None]
            side = np.where(up, self._log_up[which], -self._log_down[which])
            logs[out] = alpha[out][:, None] * side
        relative = np.exp(logs.sum(axis=-2))
        if not derivatives:
            return (relative,)
        inverse = 1 / (1 + change)
        slope = found[..., 1, :] * inverse
        bend = found[..., 2, :] * inverse - slope * slope
        if not every:
            slope[out], bend[out] = side, 0.0
        return relative, slope, bend

    def _negative(self, alpha: Points, derivatives: bool) -> tuple[np.ndarray, ...]:
        """The same where a polynomial makes a factor negative."""
        assert self._polynomial is not None
        shape = *alpha.shape, self._log_up.shape[1]
        powers = np.broadcast_to(np.swapaxes(self._polynomial, 0, 1), (6, *shape[-2:]))
        if alpha.ndim > 1:
            powers = np.broadcast_to(powers[:, None], (6, *shape))
        up, down = (np.broadcast_to(logs, shape) for logs in (self._log_up, self._log_down))
        asked = alpha[..., None], up, down, powers
        size, negative = interpolation.log_factor(*asked)
        sign = np.where(negative.sum(axis=-2) % 2 == 1, -1.0, 1.0)
        relative = sign * np.exp(size.sum(axis=-2))
        if not derivatives:
            return (relative,)
        return relative, *interpolation.log_factor_derivatives(*asked)

    def rates(self, parameters: Points) -> Float[np.ndarray, "*points bins"]:
        """Expected yields of the bins.

        Args:
            parameters: All of the model, at one point or at several.
        """
        own = parameters[..., self.parameters]
        cells = self._base(own)
        for factor in self._chosen(own):
            cells = cells * factor
        if len(self.where.normsys):
            cells = cells * self._logs(own, False)[0][..., self.where.group]
        if cells.ndim < parameters.ndim:  # nothing depends on any parameter
            cells = np.broadcast_to(cells, (*parameters.shape[:-1], len(cells)))
        return np.add.reduceat(cells, self.where.starts, axis=-1)

    def slopes(self, parameters: Points) -> Slopes:
        """Expected yields and their first derivatives, and what the second ones are made of.

        Args:
            parameters: All of the model, at one point or at several.
        """
        where, own = self.where, parameters[..., self.parameters]
        base, chosen, count = self._base(own), self._chosen(own), len(self.parameters)
        product = _product(chosen, self.nominal)
        d_factor = np.zeros((*own.shape[:-1], count + 1, len(self._every)))
        for index, row in enumerate(where.factors):
            others = [factor for i, factor in enumerate(chosen) if i != index]
            d_factor[..., row, self._every] += _product(others, self.nominal) if others else 1.0
        d_factor = d_factor[..., :count, :]
        relative = np.ones(len(self._every))
        d_log = bend = d_base = np.zeros((0, len(self._every)))
        bent: tuple[np.ndarray, ...] = ()
        if len(where.normsys):
            groups, slope, bend = self._logs(own, True)
            relative, d_log = groups[..., where.group], slope[..., where.group]
            d_factor[..., where.normsys, :] += d_log * product[..., None, :]
        d_yield = base[..., None, :] * d_factor
        if len(where.histosys):
            (s1, a1), bent = interpolation.additive_derivatives(
                self._code, own[..., where.histosys]
            )
            d_base = self._odd * s1[..., None] + self._even * a1[..., None]
            d_yield[..., where.histosys, :] += d_base * product[..., None, :]
        d_yield *= relative[..., None, :]
        parts = (bent, base, product, relative, d_factor, d_log, bend, d_base)
        return Slopes(
            value=np.add.reduceat(base * product * relative, where.starts, axis=-1),
            first=np.add.reduceat(d_yield, where.starts, axis=-1),
            parts=(*parts, *chosen),
        )

    def second(
        self, at: Slopes, weight: Float[np.ndarray, "*points bins"]
    ) -> Float[np.ndarray, "*points parameters parameters"]:
        """The second derivatives, summed over bins with a weight.

        Args:
            at: Derivatives at a point, or at several.
            weight: Of each bin of the block.
        """
        where, count = self.where, len(self.parameters)
        bent, base, product, relative, d_factor, d_log, bend, d_base, *chosen = at.parts
        w = weight[..., where.own_bin] * relative
        half = np.zeros((*weight.shape[:-1], count + 1, count + 1))
        for i in range(len(chosen)):
            for j in range(i):
                others = [factor for k, factor in enumerate(chosen) if k not in (i, j)]
                both = w * base * _product(others, self.nominal)
                pair: Any = (..., where.factors[j], where.factors[i])
                np.add.at(half, pair, both)
        half = half[..., :count, :count]
        if len(where.histosys):
            mixed = (w[..., None, :] * d_base) @ d_factor.swapaxes(-1, -2)
            half[..., where.histosys, :] += mixed
            (s2, a2), weighted = bent, w * product
            curved = s2 * (weighted @ self._odd.T) + a2 * (weighted @ self._even.T)
            half[..., where.histosys, where.histosys] += curved / 2
        if len(where.normsys):
            rest = d_factor.copy()
            rest[..., where.normsys, :] -= d_log * product[..., None, :] / 2
            wb = w * base
            half[..., where.normsys, :] += (wb[..., None, :] * d_log) @ rest.swapaxes(-1, -2)
            total = self._group_sums(wb * product)
            half[..., where.normsys, where.normsys] += (bend @ total[..., None])[..., 0] / 2
        return half + half.swapaxes(-1, -2)

    def _group_sums(self, cells: np.ndarray) -> np.ndarray:
        group, count = self.where.group, len(self.where.group_sample)
        if cells.ndim == 1:
            return np.bincount(group, cells, count)
        rows = [np.bincount(group, row, count) for row in cells.reshape(-1, cells.shape[-1])]
        return np.reshape(rows, (*cells.shape[:-1], count))


def _product(factors: list[np.ndarray], like: np.ndarray) -> np.ndarray:
    if not factors:
        return np.ones_like(like)
    return functools.reduce(np.multiply, factors)


class Kernel:
    """A model's expectation, its numbers taken apart once.

    Attributes:
        blocks: Parts with channels of their own.
        gaussian: Whether all auxiliary measurements are Gaussian.
        memory: What fits of one question leave for the next ones.

    Args:
        structure: Of the model.
        given: Its numbers, plain ones.
    """

    def __init__(self, structure: Structure, given: Terms) -> None:
        self.blocks = [Block(structure, given, where) for where in places(structure)]
        self.gaussian = not structure.layout.poisson.any()
        self.memory: dict[str, Any] = {}
        self._bins = structure.n_bins

    def rates(self, parameters: Points) -> Float[np.ndarray, "*points bins"]:
        """Expected yields of all bins.

        Args:
            parameters: All of them, at one point or at several.
        """
        if len(self.blocks) == 1:
            return self.blocks[0].rates(parameters)
        found = np.empty((*parameters.shape[:-1], self._bins))
        for block in self.blocks:
            found[..., block.bins] = block.rates(parameters)
        return found

    def for_a_question(self) -> "Kernel":
        """The same, with a memory of its own."""
        found = copy.copy(self)
        found.memory = {}
        return found


class _Known:
    """What follows from a structure's latest numbers."""

    def __init__(self, structure: Structure, numbers: Float[np.ndarray, " numbers"]) -> None:
        self.numbers, self.terms = numbers.copy(), terms(structure, numbers)
        self.kernel: Kernel | None = None


_latest: WeakKeyDictionary[Structure, _Known] = WeakKeyDictionary()


def _known(structure: Structure, numbers: Float[np.ndarray, " numbers"]) -> _Known:
    known = _latest.get(structure)
    if known is None or not np.array_equal(known.numbers, numbers):
        known = _latest[structure] = _Known(structure, numbers)
    return known


def known_terms(structure: Structure, numbers: Float[np.ndarray, " numbers"]) -> Terms:
    """What follows from the numbers alone, kept until the structure is asked with others.

    Args:
        structure: Of the model.
        numbers: Of the model, plain ones.
    """
    return _known(structure, numbers).terms


def prepared(structure: Structure, numbers: Float[np.ndarray, " numbers"]) -> tuple[Terms, Kernel]:
    """The same, and what computes with it.

    Args:
        structure: Of the model.
        numbers: Of the model, plain ones.
    """
    known = _known(structure, numbers)
    if known.kernel is None:
        known.kernel = Kernel(structure, known.terms)
    return known.terms, known.kernel.for_a_question()

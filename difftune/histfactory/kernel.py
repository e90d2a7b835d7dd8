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


_known: WeakKeyDictionary[Structure, tuple[Places, ...]] = WeakKeyDictionary()


def places(structure: Structure) -> tuple[Places, ...]:
    """The blocks of a structure: one of all channels, or one of each."""
    if structure not in _known:
        _known[structure] = _places(structure)
    return _known[structure]


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

    value: Float[np.ndarray, " bins"]
    first: Float[np.ndarray, "parameters bins"]
    parts: tuple[np.ndarray, ...]


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
        rows = where.normsys_of[:, None], where.group_sample[None, :], where.group_channel[None, :]
        self._log_up, self._log_down = given.log_up[rows], given.log_down[rows]
        self._polynomial = None
        if given.polynomial is not None:
            self._polynomial = np.ascontiguousarray(
                np.moveaxis(given.polynomial[(slice(None), *rows)], 0, 1)
            )

    def _base(self, own: Parameters) -> np.ndarray:
        if not len(self.where.histosys):
            return self.nominal
        alpha = own[self.where.histosys]
        coefficients = np.concatenate(interpolation.additive(self._code, alpha))
        return self.nominal + coefficients @ self._variations

    def _chosen(self, own: Parameters) -> list[np.ndarray]:
        return list(np.concatenate((own, _ONE))[self.where.factors])

    def _logs(self, own: Parameters, derivatives: bool) -> tuple[np.ndarray, ...]:
        """Relative factors of the groups; with derivatives those of each logarithm, too."""
        alpha = own[self.where.normsys]
        inner = np.abs(alpha) < 1
        polynomial = self._polynomial
        if polynomial is None:
            inner = np.zeros_like(inner)
        every = inner.all()
        x = alpha if every else np.where(inner, alpha, 0.0)
        powers = np.empty((len(alpha), 3 if derivatives else 1, 6))
        value = powers[:, 0]
        value[:] = x[:, None]
        np.multiply.accumulate(value, axis=1, out=value)
        if derivatives:
            powers[:, 1, 0], powers[:, 2, 0], powers[:, 2, 1] = 1.0, 0.0, 2.0
            np.multiply(value[:, :-1], _FIRST, out=powers[:, 1, 1:])
            np.multiply(value[:, :-2], _SECOND, out=powers[:, 2, 2:])
        if polynomial is None:
            found = np.zeros((len(alpha), powers.shape[1], self._log_up.shape[1]))
        else:
            found = powers @ polynomial
        if found[:, 0].min(initial=0.0) < -1:
            return self._negative(alpha, derivatives)
        logs = np.log1p(found[:, 0])
        if not every:
            out = ~inner
            up = (alpha[out] >= 0)[:, None]
            side = np.where(up, self._log_up[out], -self._log_down[out])
            logs[out] = alpha[out, None] * side
        relative = np.exp(logs.sum(axis=0))
        if not derivatives:
            return (relative,)
        inverse = 1 / (1 + found[:, 0])
        slope = found[:, 1] * inverse
        bend = found[:, 2] * inverse - slope * slope
        if not every:
            slope[out], bend[out] = side, 0.0
        return relative, slope, bend

    def _negative(self, alpha: Parameters, derivatives: bool) -> tuple[np.ndarray, ...]:
        """The same where a polynomial makes a factor negative."""
        assert self._polynomial is not None
        asked = alpha[:, None], self._log_up, self._log_down, np.moveaxis(self._polynomial, 1, 0)
        size, negative = interpolation.log_factor(*asked)
        sign = np.where(negative.sum(axis=0) % 2 == 1, -1.0, 1.0)
        relative = sign * np.exp(size.sum(axis=0))
        if not derivatives:
            return (relative,)
        return relative, *interpolation.log_factor_derivatives(*asked)

    def rates(self, parameters: Parameters) -> Float[np.ndarray, " bins"]:
        """Expected yields of the bins.

        Args:
            parameters: All of the model.
        """
        own = parameters[self.parameters]
        cells = self._base(own)
        for factor in self._chosen(own):
            cells = cells * factor
        if len(self.where.normsys):
            cells = cells * self._logs(own, False)[0][self.where.group]
        return np.add.reduceat(cells, self.where.starts)

    def slopes(self, parameters: Parameters) -> Slopes:
        """Expected yields and their first derivatives, and what the second ones are made of.

        Args:
            parameters: All of the model.
        """
        where, own = self.where, parameters[self.parameters]
        base, chosen, count = self._base(own), self._chosen(own), len(self.parameters)
        product = _product(chosen, self.nominal)
        d_factor = np.zeros((count + 1, len(self._every)))
        for index, row in enumerate(where.factors):
            others = [factor for i, factor in enumerate(chosen) if i != index]
            d_factor[row, self._every] += _product(others, self.nominal) if others else 1.0
        d_factor = d_factor[:count]
        relative = np.ones(len(base))
        d_log = bend = d_base = np.zeros((0, len(self._every)))
        if len(where.normsys):
            groups, slope, bend = self._logs(own, True)
            relative, d_log = groups[where.group], slope[:, where.group]
            d_factor[where.normsys] += d_log * product
        d_yield = base * d_factor
        if len(where.histosys):
            (s1, a1), _ = interpolation.additive_derivatives(self._code, own[where.histosys])
            odd, even = np.split(self._variations, 2)
            d_base = odd * s1[:, None] + even * a1[:, None]
            d_yield[where.histosys] += d_base * product
        d_yield *= relative
        parts = (own, base, product, relative, d_factor, d_log, bend, d_base)
        return Slopes(
            value=np.add.reduceat(base * product * relative, where.starts),
            first=np.add.reduceat(d_yield, where.starts, axis=1),
            parts=(*parts, *chosen),
        )

    def second(
        self, at: Slopes, weight: Float[np.ndarray, " bins"]
    ) -> Float[np.ndarray, "parameters parameters"]:
        """The second derivatives, summed over bins with a weight.

        Args:
            at: Derivatives at a point.
            weight: Of each bin of the block.
        """
        where, count = self.where, len(self.parameters)
        own, base, product, relative, d_factor, d_log, bend, d_base, *chosen = at.parts
        w = weight[where.own_bin] * relative
        half = np.zeros((count + 1, count + 1))
        for i in range(len(chosen)):
            for j in range(i):
                others = [factor for k, factor in enumerate(chosen) if k not in (i, j)]
                both = w * base * _product(others, self.nominal)
                np.add.at(half, (where.factors[j], where.factors[i]), both)
        half = half[:count, :count]
        if len(where.histosys):
            half[where.histosys] += (w * d_base) @ d_factor.T
            _, (s2, a2) = interpolation.additive_derivatives(self._code, own[where.histosys])
            odd, even = np.split(self._variations @ (w * product), 2)
            half[where.histosys, where.histosys] += (s2 * odd + a2 * even) / 2
        if len(where.normsys):
            rest = d_factor.copy()
            rest[where.normsys] -= d_log * product / 2
            wb = w * base
            half[where.normsys] += (wb * d_log) @ rest.T
            total = np.bincount(where.group, wb * product, len(where.group_sample))
            half[where.normsys, where.normsys] += bend @ total / 2
        return half + half.T


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

    def rates(self, parameters: Parameters) -> Float[np.ndarray, " bins"]:
        """Expected yields of all bins.

        Args:
            parameters: All of them.
        """
        if len(self.blocks) == 1:
            return self.blocks[0].rates(parameters)
        found = np.empty(self._bins)
        for block in self.blocks:
            found[block.bins] = block.rates(parameters)
        return found

    def for_a_question(self) -> "Kernel":
        """The same, with a memory of its own."""
        found = copy.copy(self)
        found.memory = {}
        return found


_prepared: WeakKeyDictionary[Structure, tuple[np.ndarray, Terms, Kernel]] = WeakKeyDictionary()


def prepared(structure: Structure, numbers: Float[np.ndarray, " numbers"]) -> tuple[Terms, Kernel]:
    """What follows from the numbers alone, kept until the structure is asked with others.

    Args:
        structure: Of the model.
        numbers: Of the model, plain ones.
    """
    known = _prepared.get(structure)
    if known is None or not np.array_equal(known[0], numbers):
        given = terms(structure, numbers)
        known = _prepared[structure] = numbers.copy(), given, Kernel(structure, given)
    return known[1], known[2].for_a_question()

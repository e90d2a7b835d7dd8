"""Second derivatives of a likelihood with many parameters, of which each acts in few channels.

A matrix of all pairs would be large, and its factor take a second or a minute. So the blocks of the
channels are kept, and systems of equations solved by conjugate gradients, with the factor of a
matrix from earlier in the same question as preconditioner: within it the matrices change little.

Where there are fewer bins than parameters, most of a matrix is a diagonal, that of the constraints,
and one product of slopes for each bin. Its factor is that of a matrix of all bins (Woodbury's
formula), and what is left out of it, the bends of yields where data and expectation differ, small.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg.lapack
from jaxtyping import Bool, Float

from difftune.histfactory import AnyArray
from difftune.histfactory import arrays as xp
from difftune.histfactory.kernel import Kernel

Vector = Float[np.ndarray, " parameters"]

# From so many parameters on there are no matrices of all pairs, where a model has blocks.
MANY = 1500
# More iterations, and the next system gets a factor of its own: one of all parameters takes long.
_SLOW, _SLOW_OF_BINS = 40, 12
# After so many the matrix has nothing in common with the factor's.
_LOST = 300
# Of the parameters, the most bins with which a matrix of bins is the better one to factorise.
_FEW = 0.5
# Of a parameter's second derivative, the least that counts as its own.
_FLOOR = 1e-6
# Columns that are copied at once.
_STRIP = 256
# The error that is left in a solution, in the norm of the matrix: a Newton step is no more exact.
_CLOSE = 1e-7


class _AllPairs(NamedTuple):
    """Cholesky's factor of a matrix with ones on its diagonal, and what scales it."""

    lower: Float[np.ndarray, "parameters parameters"]
    scale: Vector

    def solve(self, right: Vector) -> Vector:
        solve = {np.float32: scipy.linalg.lapack.spotrs, np.float64: scipy.linalg.lapack.dpotrs}
        kind = self.lower.dtype.type
        found, _ = solve[kind](self.lower, (right * self.scale).astype(kind), lower=1)
        return found.ravel().astype(float) * self.scale


class _FewBins(NamedTuple):
    """Of D + R Rᵀ: the inverse of the diagonal D, the sparse R, and a factor of 1 + Rᵀ D⁻¹ R."""

    inverse: Vector
    roots: Any
    lower: Float[np.ndarray, "bins bins"]

    def solve(self, right: Vector) -> Vector:
        alone = self.inverse * right
        bins, _ = scipy.linalg.lapack.dpotrs(self.lower, self.roots.T @ alone, lower=1)
        return alone - self.inverse * (self.roots @ bins.ravel())


_Factor = _AllPairs | _FewBins


class Part(NamedTuple):
    """What the bins of a block add to a matrix.

    Attributes:
        where: The parameters of the block.
        root: Times its transpose it is most of what they add.
        rest: What else; None for nothing.
    """

    where: np.ndarray
    root: Float[np.ndarray, "own bins"]
    rest: Float[np.ndarray, "own own"] | None

    def dense(self) -> Float[np.ndarray, "own own"]:
        """Both together."""
        found = self.root @ self.root.T
        return found if self.rest is None else found + self.rest


class Blocks:
    """A symmetric matrix: a sum of blocks among some parameters, and a diagonal.

    Args:
        parts: The blocks.
        diagonal: What is added, of all parameters.
        factors: Where the factor is kept that all matrices of a question share.
    """

    def __init__(self, parts: list[Part], diagonal: Vector, factors: dict[str, _Factor]) -> None:
        self._parts, self._added, self._factors = parts, diagonal, factors

    def diagonal(self) -> Vector:
        """The numbers on the diagonal."""
        found = self._alone()
        for part in self._parts:
            found[part.where] += np.square(part.root).sum(axis=1)
        return found

    def _alone(self) -> Vector:
        """The same without the products of roots."""
        found = self._added.copy()
        for part in self._parts:
            if part.rest is not None:
                found[part.where] += np.diagonal(part.rest)
        return found

    def __matmul__(self, vector: Vector) -> Vector:
        found = self._added * vector
        for part in self._parts:
            own = vector[part.where]
            found[part.where] += part.root @ (own @ part.root)
            if part.rest is not None:
                found[part.where] += part.rest @ own
        return found

    def plus(self, diagonal: Vector) -> "Blocks":
        """The matrix with more on the diagonal."""
        return Blocks(self._parts, self._added + diagonal, self._factors)

    def dense(self, kind: type = np.float64) -> Float[np.ndarray, "parameters parameters"]:
        """All pairs, by columns as LAPACK wants them."""
        shape = len(self._added), len(self._added)
        found: np.ndarray = np.zeros(shape, kind, order="F")
        for part in self._parts:
            found[np.ix_(part.where, part.where)] += part.dense()
        each = np.arange(len(self._added))
        found[each, each] += self._added
        return found

    def inverse(
        self, free: Bool[np.ndarray, " parameters"], least: float
    ) -> tuple[Float[np.ndarray, "parameters parameters"], np.bool_]:
        """Inverse among the free parameters, and whether the matrix is positive.

        In place, since there is not room for many such matrices.

        Args:
            free: Which parameters take part; rows and columns of others are 0.
            least: Eigenvalues must be larger, if there are ones on the diagonal.
        """
        matrix, scale = self._scaled(free, np.float64)
        each = np.arange(len(scale))
        matrix[each, each] -= least
        matrix, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, overwrite_a=1, clean=0)
        if failed:
            return np.diag(free.astype(float)), np.bool_(False)
        matrix, failed = scipy.linalg.lapack.dpotri(matrix, lower=1, overwrite_c=1)
        for first in range(0, len(scale), _STRIP):
            strip = slice(first, first + _STRIP)
            corner = np.tril(matrix[strip, strip])
            matrix[strip, strip] = corner + np.tril(corner, -1).T
            matrix[strip, first + _STRIP :] = matrix[first + _STRIP :, strip].T
        scale = np.where(free, scale, 0.0)
        matrix *= scale[:, None]
        matrix *= scale[None, :]
        return matrix, np.bool_(not failed)

    def _scaled(
        self, free: Bool[np.ndarray, " parameters"], kind: type
    ) -> tuple[Float[np.ndarray, "parameters parameters"], Vector]:
        """With ones on the diagonal, those of parameters that are not free included; the scales."""
        diagonal = self.diagonal()
        scale = 1 / np.sqrt(np.where(free & (diagonal > 0), diagonal, 1.0))
        matrix = self.dense(kind)
        matrix *= scale[:, None].astype(kind)
        matrix *= scale[None, :].astype(kind)
        held = np.flatnonzero(~free)
        matrix[held], matrix[:, held] = 0.0, 0.0
        matrix[held, held] = 1.0
        return matrix, scale

    def solve(self, right: Vector, free: Bool[np.ndarray, " parameters"]) -> Vector:
        """Solves for the free parameters; the others get 0. NaN if the matrix is not positive.

        Args:
            right: Right-hand side.
            free: Which parameters take part.
        """
        right = np.where(free, right, 0.0)
        for fresh in (False, True):
            if fresh or "latest" not in self._factors:
                factor = self._factored(free)
                if factor is None:
                    break
                self._factors["latest"] = factor
            found = self._conjugate_gradients(right, free, self._factors["latest"])
            if found is not None:
                return found
        return np.full_like(right, np.nan)

    def _factored(self, free: Bool[np.ndarray, " parameters"]) -> _Factor | None:
        """Its own factor, in single precision where that is enough of a preconditioner."""
        if sum(part.root.shape[1] for part in self._parts) < _FEW * len(self._added):
            return self._of_few_bins(free)
        for kind, factorise, tiny in (
            (np.float32, scipy.linalg.lapack.spotrf, 1e-6),
            (np.float64, scipy.linalg.lapack.dpotrf, 1e-13),
        ):
            matrix, scale = self._scaled(free, kind)
            each = np.arange(len(scale))
            matrix[each, each] += tiny
            lower, failed = factorise(matrix, lower=1, overwrite_a=1, clean=0)
            if not failed:
                return _AllPairs(lower, scale)
        return None

    def _of_few_bins(self, free: Bool[np.ndarray, " parameters"]) -> _FewBins | None:
        """A factor without what yields bend; parameters that are not free stand alone in it."""
        import scipy.sparse  # takes a while, and few models need it

        whole = np.abs(self.diagonal())
        # A parameter without a constraint has nothing on this diagonal.
        alone = np.maximum(self._alone(), _FLOOR * np.where(whole > 0, whole, 1.0))
        inverse = 1 / np.where(free, alone, np.where(whole > 0, whole, 1.0))
        rows = np.concatenate([np.repeat(p.where, p.root.shape[1]) for p in self._parts])
        first = np.cumsum([0, *(p.root.shape[1] for p in self._parts)])
        columns = np.concatenate(
            [
                np.tile(np.arange(start, start + p.root.shape[1]), len(p.where))
                for start, p in zip(first[:-1], self._parts, strict=True)
            ]
        )
        numbers = np.concatenate([p.root.ravel() for p in self._parts])
        roots = scipy.sparse.csr_array(
            (np.where(free[rows], numbers, 0.0), (rows, columns)), shape=(len(free), first[-1])
        )
        matrix = (roots.T @ (roots * inverse[:, None])).toarray(order="F")
        matrix[np.diag_indices_from(matrix)] += 1.0
        lower, failed = scipy.linalg.lapack.dpotrf(matrix, lower=1, overwrite_a=1, clean=0)
        return None if failed else _FewBins(inverse, roots, lower)

    def _conjugate_gradients(
        self, right: Vector, free: Bool[np.ndarray, " parameters"], factor: _Factor
    ) -> Vector | None:
        """The solution; None where the factor does not help, or the matrix is not positive."""
        found, rest = np.zeros_like(right), right.copy()
        direction, before, first = np.zeros_like(right), 1.0, 0.0
        for step in range(_LOST):
            nearer = np.where(free, factor.solve(rest), 0.0)
            size = float(rest @ nearer)
            first = first or size
            if not np.isfinite(size):
                return None
            if size <= first * _CLOSE**2:
                if step > (_SLOW_OF_BINS if isinstance(factor, _FewBins) else _SLOW):
                    self._factors.pop("latest", None)
                return found
            direction = nearer + (size / before) * direction if step else nearer
            bent = np.where(free, self @ direction, 0.0)
            along = float(direction @ bent)
            if along <= 0:
                return None
            found = found + (size / along) * direction
            rest, before = rest - (size / along) * bent, size
        return None


Matrix = Any
"""An array, or `Blocks`."""


def blocks(
    kernel: Kernel,
    roots: list[np.ndarray],
    rests: list[np.ndarray] | list[None],
    diagonal: Vector,
) -> Matrix:
    """The sum of blocks and a diagonal: an array, unless it would be large.

    Args:
        kernel: Of the model; it has one of each for each of its blocks.
        roots: Times their transposes they are second derivatives in the parameters of a block.
        rests: What is added to these; None for nothing.
        diagonal: What is added, of all parameters.
    """
    where = [block.parameters for block in kernel.blocks]
    parts = [Part(*each) for each in zip(where, roots, rests, strict=True)]
    if len(parts) == 1 and len(where[0]) == len(diagonal):
        only = parts[0].dense()
        only.flat[:: len(diagonal) + 1] += diagonal
        return only
    found = Blocks(parts, diagonal, kernel.memory)
    return found if len(parts) > 1 and len(diagonal) > MANY else found.dense()


def diagonal_of(matrix: Matrix) -> AnyArray:
    """The numbers on its diagonal."""
    return matrix.diagonal() if isinstance(matrix, Blocks) else xp.diagonal(matrix)


def damped(matrix: Matrix, damping: AnyArray, by: AnyArray) -> Matrix:
    """The matrix with more on the diagonal.

    Args:
        matrix: Which.
        damping: How much.
        by: In units of these, one for each parameter.
    """
    if isinstance(matrix, Blocks):
        return matrix.plus(damping * by)
    if not xp.in_jax(damping) and damping == 0:
        return matrix
    return matrix + damping * xp.diag(by)


def dense(matrix: Matrix) -> Float[np.ndarray, "parameters parameters"]:
    """As an array."""
    return matrix.dense() if isinstance(matrix, Blocks) else matrix

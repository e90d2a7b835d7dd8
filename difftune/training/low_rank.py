"""Matrices moved by a product of vectors, which are multiplied without being formed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal
from jaxtyping import Array, Float, PyTree


@dataclass(frozen=True)
class LowRank:
    """The matrix W + Σ a bᵀ, or several of them.

    Attributes:
        matrix: W, `[*stack, rows, columns]`.
        left: The vectors a, `[*stack, rank, rows]`.
        right: The vectors b, `[*stack, rank, columns]`.
    """

    matrix: Array
    left: Array
    right: Array

    @property
    def formed(self) -> Float[Array, "*stack rows columns"]:
        """As an array."""
        return self.matrix + jnp.einsum("...rn,...rm->...nm", self.left, self.right)


def evaluated(function: Callable[[PyTree], PyTree], parameters: PyTree) -> PyTree:
    """A function of parameters, some of which are moved by products of vectors.

    A product x (W + Σ a bᵀ) is computed as x W + Σ (x a) bᵀ (arXiv 2511.16652). Mapped over
    perturbations of one matrix, x W is then one product of matrices for all of them, and W + Σ a bᵀ
    is held for none. Where a matrix is used for anything else, or within a loop or a choice of
    branches, it is formed.

    Args:
        function: Of arrays; it is traced, whatever it is made of.
        parameters: Its argument, with a `LowRank` in the place of some arrays.
    """
    leaves, tree = jax.tree.flatten(parameters, is_leaf=lambda leaf: isinstance(leaf, LowRank))
    shapes = [leaf.matrix if isinstance(leaf, LowRank) else leaf for leaf in leaves]
    traced, out = jax.make_jaxpr(function, return_shape=True)(jax.tree.unflatten(tree, shapes))
    found = _run(traced.jaxpr, traced.consts, leaves)
    return jax.tree.unflatten(jax.tree.structure(out), map(_formed, found))


def _formed(value: Any) -> Any:
    return value.formed if isinstance(value, LowRank) else value


def _run(program: Jaxpr, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
    """What a traced function gives, operation by operation."""
    known = dict(zip([*program.constvars, *program.invars], [*constants, *arguments], strict=True))

    def value(of: Any) -> Any:
        return of.val if isinstance(of, Literal) else known[of]

    for equation in program.eqns:
        name, inner = equation.primitive.name, equation.params.get("jaxpr")
        values = [value(each) for each in equation.invars]
        results = None
        if any(isinstance(each, LowRank) for each in values):
            if name == "dot_general":
                results = _product(values, **equation.params)
            elif name in ("jit", "pjit") and isinstance(inner, ClosedJaxpr):
                results = _run(inner.jaxpr, inner.consts, values)
        if results is None:
            named = {
                each: _formed(known[each])
                for each in equation.invars
                if not isinstance(each, Literal)
            }
            alone = program.replace(
                constvars=[], invars=list(named), outvars=equation.outvars, eqns=[equation]
            )
            results = jax.core.eval_jaxpr(alone, [], *named.values())
        known.update(zip(equation.outvars, results, strict=True))
    return [value(each) for each in program.outvars]


def _product(values: Sequence[Any], **params: Any) -> list[Array] | None:
    """Of some x and a moved matrix, over one index: x W + Σ (x a) bᵀ; None for other products."""
    x, moved = values
    (along, contracted), (_, stacked) = params["dimension_numbers"]
    if isinstance(x, LowRank) or stacked or len(contracted) != 1:
        return None
    inner, outer = (moved.left, moved.right) if contracted[0] == 0 else (moved.right, moved.left)
    plain = jax.lax.dot_general_p.bind(x, moved.matrix, **params)
    shares = jax.lax.dot_general(x, inner, ((along, (1,)), ((), ())))
    # Summed, and not multiplied as matrices, since the rank is 1 or close to it.
    return [plain + jnp.sum(shares[..., None] * outer, axis=-2)]

"""The checks of annotations that the tests run with still find what is wrong."""

from typing import Literal

import jax.numpy as jnp
import numpy as np
import pytest
from beartype import beartype
from jaxtyping import Array, Float, TypeCheckError

from difftune.histograms import fill
from tests import annotations
from tests.annotations import once_each

checked = once_each(typechecker=beartype)


def test_what_was_right_is_right_again_and_what_is_wrong_is_found_after_it():
    calls = []

    @checked
    def counted(a: Float[Array, " n"], b: Float[Array, " n"]) -> Float[Array, " n"]:
        calls.append(len(a))
        return a + b

    for n in (3, 3, 4):
        counted(jnp.ones(n), b=jnp.ones(n))
    assert calls == [3, 3, 4]
    for a, b in (
        (jnp.ones(3), jnp.ones(4)),
        (jnp.ones((3, 1)), jnp.ones((3, 1))),
        (jnp.ones(3, int), jnp.ones(3, int)),
        (np.ones(3), np.ones(3)),
        ([1.0], [1.0]),
    ):
        with pytest.raises(TypeCheckError, match="parameters of"):
            counted(a, b)
    assert len(calls) == 3


def test_a_result_that_differs_is_looked_at():
    results = iter([jnp.ones(2), jnp.ones(3), jnp.ones(2), None])

    @checked
    def next_of(a: Float[Array, " n"]) -> Float[Array, " n"]:
        return next(results)

    next_of(jnp.ones(2))
    with pytest.raises(TypeCheckError, match="return value of"):
        next_of(jnp.ones(2))
    next_of(jnp.ones(2))
    with pytest.raises(TypeCheckError, match="return value of"):
        next_of(jnp.ones(2))


def test_items_and_literals_are_looked_at():
    @checked
    def choose(of: tuple[Float[Array, " n"], ...], how: Literal["first", "last"]) -> str:
        return how

    good = (jnp.ones(2), jnp.ones(2))
    assert choose(good, "first") == choose(good, "first") == "first"
    for of, how in ((good, "second"), ((jnp.ones(2, int),) * 2, "first")):
        with pytest.raises(TypeCheckError):
            choose(of, how)


def test_what_is_defined_anew_is_checked_with_its_own_surroundings():
    def made(result):
        @checked
        def give(n: int) -> Float[Array, " n"]:
            return result

        return give

    made(jnp.ones(2))(1)
    assert made(jnp.zeros(2))(1).tolist() == [0, 0]
    with pytest.raises(TypeCheckError):
        made("text")(1)


def test_difftune_is_checked_so():
    assert fill.check_edges.__code__.co_filename == annotations.__file__
    for edges in (np.array([0.0, 1.0]), np.array([0.0, 0.5, 1.0])):
        fill.check_edges(edges)
    with pytest.raises(TypeCheckError):
        fill.check_edges(np.array([[0.0, 1.0]]))

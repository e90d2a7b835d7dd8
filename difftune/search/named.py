"""Strategies by name, and what users write for one, as what is plainly meant."""

from typing import Any

from difftune.arguments import made, said
from difftune.errors import InputError
from difftune.registry import Entry, Registry
from difftune.search.bayes import Optuna
from difftune.search.evolution import CMAES, Evolution
from difftune.search.halving import Halving
from difftune.search.pbt import PB2, PBT
from difftune.search.proposal import Strategy
from difftune.search.uninformed import Grid, Random

STRATEGIES = Registry(
    "strategy",
    "a strategy such as PBT(population=16)",
    {
        "pbt": PBT,
        "pb2": PB2,
        "random": Random,
        "grid": Grid,
        "halving": Halving,
        "tpe": Entry(Optuna, fixed={"sampler": "tpe"}),
        "gp": Entry(Optuna, fixed={"sampler": "gp"}),
        "evolution": Evolution,
        "cmaes": CMAES,
    },
)


def as_strategy(given: Any) -> Strategy:
    """A strategy: by the name that it has in the analysis file, or of a class without brackets.

    None is `PBT()`.

    Raises:
        InputError: For what is no strategy.
    """
    if given is None:
        return PBT()
    if isinstance(given, str):
        return STRATEGIES.named(given.lower(), "search")
    given = made(given, "search")
    if not isinstance(given, Strategy):
        raise InputError(
            f"search={said(given)} is no strategy; give one such as "
            "PBT(population=16, rounds=10, epochs_per_round=4), or a name: "
            f"{', '.join(STRATEGIES)}."
        )
    return given

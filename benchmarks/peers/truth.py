"""Samples of which it is known what matters."""

from dataclasses import dataclass, field

import numpy as np

import difftune as dt
from difftune import selection

EVENTS = 6_000


@dataclass(frozen=True, kw_only=True)
class Case:
    """A sample and its truth."""

    events: dt.Events
    one_of: tuple[frozenset[str], ...]  # sets of which exactly one variable must be kept
    noise: frozenset[str]  # variables that tell nothing
    together: frozenset[str] = frozenset()  # variables that matter only together
    recipe: dict = field(default_factory=dict)  # what is trained in another way

    @property
    def real(self) -> frozenset[str]:
        """All variables that tell something."""
        return frozenset().union(*self.one_of)

    def right(self, chosen: set[str]) -> bool:
        """Whether a set is the true one."""
        return chosen <= self.real and all(len(chosen & group) == 1 for group in self.one_of)

    def study(self, **more) -> selection.Study:
        """How it is trained."""
        given = {"hyperparameters": {"learning_rate": 1e-2}, "batch_size": 200, "patience": 20}
        recipe = dt.Recipe(model=dt.models.MLP(hidden=(24, 24)), **given | self.recipe)
        options = {"epochs": recipe.patience, "seeds": 2, "test_folds": ()}
        return selection.Study(self.events, recipe, **options | more)


def copies(rng: np.random.Generator, signal: np.ndarray) -> tuple[dict, dict]:
    """Two that matter, each there twice in other units."""
    one, two = rng.normal(size=(2, len(signal))) + signal * np.array([[1.0], [0.8]])
    columns = {"one": one, "one_again": 7 * one - 2, "two": two, "two_again": -two}
    groups = (frozenset(("one", "one_again")), frozenset(("two", "two_again")))
    return columns, {"one_of": groups}


def xor(rng: np.random.Generator, signal: np.ndarray) -> tuple[dict, dict]:
    """Two that matter only together, and one by itself."""
    first = rng.normal(size=len(signal))
    same = signal == (rng.random(len(signal)) < 0.8)
    second = np.abs(rng.normal(size=len(signal))) * np.sign(first) * np.where(same, 1, -1)
    alone = rng.normal(size=len(signal)) + 0.8 * signal
    columns = {"alone": alone, "first": first, "second": second}
    return columns, {"together": frozenset(("first", "second"))}


def correlated(rng: np.random.Generator, signal: np.ndarray) -> tuple[dict, dict]:
    """Three with correlations of 0.8, of which one tells only by what the others are."""
    mixing = np.linalg.cholesky(0.8 + 0.2 * np.eye(3))
    x = mixing @ rng.normal(size=(3, len(signal)))
    x[0] += 0.8 * signal
    return {"shifted": x[0], "partner_1": x[1], "partner_2": x[2]}, {}


def systematic(rng: np.random.Generator, signal: np.ndarray) -> tuple[dict, dict]:
    """One that has no separation, but says how a systematic weighs the background."""
    # The variation scales the background where `control` is large, and shapes follow.
    control = rng.normal(size=len(signal))
    mass = rng.normal(size=len(signal)) + 1.2 * signal
    weight = np.where(signal, 0.05, 1.0)
    shift = np.where(signal, 0.0, 0.6 * (control > 0.5))
    variations = {"scale": (weight * (1 + shift), weight * (1 - shift))}
    # The statistics of so few events would be all that counts.
    model = dt.objectives.FitModel(bins=6, bandwidth=(0.05, 0.03), mc_statistics=False)
    recipe = {"objective": dt.objectives.PoiUncertainty(model=model), "patience": 60}
    recipe["batch_size"] = len(signal) // 3  # as large as there are: a batch is of one fold
    return {"mass": mass, "control": control}, {"variations": variations, "recipe": recipe}


SAMPLES = {"copies": copies, "XOR": xor, "correlations": correlated, "systematic": systematic}
"""What gives their variables, and what else is special."""


def case(name: str, seed: int, count: int) -> Case:
    """One of them, with noise; by default each variable but noise must be kept."""
    rng, signal = np.random.default_rng([99, seed]), np.arange(count) % 2 == 0
    noise = {f"noise_{i}": rng.normal(size=count) for i in range(3)}
    columns, more = SAMPLES[name](rng, signal)
    events = dt.Events.from_arrays(
        np.stack([*columns.values(), *noise.values()], axis=1),
        np.where(signal, 0, 1),
        np.where(signal, 0.05, 1.0),
        feature_names=[*columns, *noise],
        processes=[dt.Process(name="signal", role="signal"), dt.Process(name="background")],
        folds=3,
        variations=more.pop("variations", None),
    )
    own = {"one_of": tuple(frozenset((name,)) for name in columns)} | more
    return Case(events=events, noise=frozenset(noise), **own)

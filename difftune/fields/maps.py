"""Maps: a field and its leading uncertainties, as functions that events are weighted by."""

import dataclasses
import functools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Float

from difftune.errors import InputError
from difftune.fields.domains import DOMAINS, Domain, Numbers
from difftune.fields.prior import Prior, evaluated, inner_points
from difftune.files import read_json, writing
from difftune.precision import in_float64

Function = tuple[Any, Any]
"""A constant, and coefficients of the products of basis functions [modes, ...]."""
_CHUNK = 16384


@dataclass(frozen=True)
class FieldMap:
    """A field and its modes, each a function on the domains.

    Attributes:
        domains: What they live on.
        positive: Whether the functions are those of the logarithm.
        nominal: The field.
        modes: How the field differs at one standard deviation of each mode.
        share: The share of the variance that the modes hold; see `Posterior.modes`.
    """

    domains: tuple[Domain, ...]
    positive: bool
    nominal: Function
    modes: tuple[Function, ...]
    share: float

    def __call__(self, points: Any) -> Float[Numbers, " points"]:
        """The field at points [points, width]."""
        values = self._values(self.nominal, points)
        return np.exp(values) if self.positive else values

    def mode(self, number: int, points: Any) -> Float[Numbers, " points"]:
        """One mode at points, as a change of the field, or of its logarithm if it is positive.

        Args:
            number: From 1.
            points: Where [points, width].
        """
        if not 1 <= number <= len(self.modes):
            raise InputError(f"mode {number}: there are {len(self.modes)}, counted from 1.")
        return self._values(self.modes[number - 1], points)

    def ratio(self, number: int, shift: float, points: Any) -> Float[Numbers, " points"]:
        """The field with one mode shifted, over the nominal one.

        Args:
            number: Of the mode, from 1.
            shift: In standard deviations.
            points: Where [points, width].
        """
        change = shift * self.mode(number, points)
        return np.exp(change) if self.positive else 1 + change / self(points)

    def write(self, path: str | Path) -> None:
        """Writes a JSON file, for `read` and for `field("...")` in expressions."""
        content = {
            "domains": [_described(domain) for domain in self.domains],
            "positive": self.positive,
            "share": self.share,
            "functions": [
                [float(constant), np.asarray(coefficients).tolist()]
                for constant, coefficients in (self.nominal, *self.modes)
            ],
        }
        with writing(path) as stream:
            json.dump(content, stream)

    @classmethod
    def read(cls, path: str | Path) -> "FieldMap":
        """A map from a file of `write`.

        Raises:
            InputError: It is none.
        """
        remedy = "Write it by FieldMap.write."
        content = read_json(Path(path), remedy=remedy)
        try:
            nominal, *modes = (
                (float(a), np.asarray(b, np.float64)) for a, b in content["functions"]
            )
            return cls(
                domains=tuple(_domain(dict(each)) for each in content["domains"]),
                positive=bool(content["positive"]),
                nominal=nominal,
                modes=tuple(modes),
                share=float(content["share"]),
            )
        except (KeyError, TypeError, ValueError, InputError) as error:
            raise InputError(f"{path} holds no map of a field: {error}. {remedy}") from error

    @functools.cached_property
    def _prior(self) -> Prior:
        return Prior(domains=self.domains)

    def _values(self, function: Function, points: Any) -> Any:
        inner = inner_points(self._prior, points)
        if isinstance(inner, jax.Array):
            return _values(self._prior, function, inner)
        # Chunks of one size are one program.
        found = []
        for begin in range(0, len(inner), _CHUNK):
            part = inner[begin : begin + _CHUNK]
            size = _CHUNK if len(inner) > _CHUNK else len(inner)
            padded = np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)])
            found.append(_values(self._prior, function, padded)[: len(part)])
        return np.concatenate(found) if found else np.zeros(0)


@in_float64
@jax.jit
def _values(prior: Prior, function: Function, points: Any) -> Numbers:
    return evaluated(prior.features(points), *function)


def _described(domain: Domain) -> dict[str, Any]:
    name = next(name for name, kind in DOMAINS.items() if type(domain) is kind)
    return {"domain": name} | dataclasses.asdict(domain)


def _domain(given: dict[str, Any]) -> Domain:
    made: Domain = DOMAINS[given.pop("domain")](**given)
    return made

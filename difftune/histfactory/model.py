"""A HistFactory model as a pytree: numbers are leaves, structure is static."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from dataclasses import replace as replace_fields
from functools import cache, partial
from typing import Any

import numpy as np
from jaxtyping import Float, Num

from difftune.errors import InputError, nearest
from difftune.histfactory import arrays as xp
from difftune.histfactory import rates
from difftune.histfactory.arrays import AnyArray as Array
from difftune.histfactory.compile import (
    FROM_MEASUREMENT,
    compile_spec,
)
from difftune.histfactory.feasible import start_of_fits
from difftune.histfactory.kernel import known_terms, places
from difftune.histfactory.sources import patched, read_source
from difftune.histfactory.structure import Key, ModelConfig, Structure
from difftune.later import jax, pyhf
from difftune.precision import in_numpy, traced
from difftune.pytrees import register


def _in_one_piece(function: Any) -> Any:
    """In JAX one program for models of equal structure; one per operation would take seconds."""

    @cache
    def program() -> Any:
        return jax.jit(function, static_argnums=0)

    def called(structure: Structure, *args: Any) -> Any:
        return (program() if xp.in_jax(args) else function)(structure, *args)

    return called


_terms = _in_one_piece(rates.terms)
_rates = _in_one_piece(rates.rates)
_by_sample = _in_one_piece(rates.by_sample)
_log_likelihood = _in_one_piece(rates.log_likelihood)

Vector = Num[Array, "..."] | Num[np.ndarray, "..."] | Sequence[Any]
Parameters = Vector | Mapping[str, Any]
"""All of them in the order of `config.par_names`; or some by name, the others at their start."""


@register(static=("structure",))
@dataclass(frozen=True, kw_only=True, eq=False)
class Model:
    """A HistFactory model, differentiable with respect to parameters, data and every number.

    It is a pytree, so it goes through `jit`, `grad` and `vmap`. All computations are in float64:
    a call with plain numbers sees to that by itself and returns numpy; inside a transformation of
    your own, put `with jax.enable_x64(True):` around that.

    Attributes:
        structure: Names, order and indices; models of equal structure share compiled programs.
        numbers: Every number of the spec: yields, variations, uncertainties. A leading axis makes
            it a batch of models (`difftune.histfactory.stack`), which fits and tests take as one.
        observed: Observations of the bins; None without any.
    """

    structure: Structure
    numbers: Float[Array, "*batch numbers"] | Float[np.ndarray, "*batch numbers"]
    observed: Float[Array, "*own_batch bins"] | Float[np.ndarray, "*own_batch bins"] | None = None

    @classmethod
    def from_spec(
        cls,
        spec: Any,
        *,
        measurement: str | None = None,
        poi: str | None = FROM_MEASUREMENT,
        patches: Any = (),
        modifier_settings: Mapping[str, Mapping[str, str]] | None = None,
    ) -> "Model":
        """Any workspace or model that pyhf reads.

        Args:
            spec: A pyhf workspace (with measurements and observations) or a model's spec: a dict,
                the path of a JSON file, a `pyhf.Workspace`, or a `pyhf.Model`, whose parameter of
                interest and interpolation codes are then those of the model.
            measurement: Name of the measurement; by default the first.
            poi: Name of the parameter of interest, if not the measurement's; None for none.
            patches: JSON patches to apply first, one or a list: a list of operations, the path of
                a file, `{"metadata", "patch"}`, a `pyhf.Patch`, or `(patch set, name)`, whose
                digests are verified.
            modifier_settings: Interpolation codes as in `pyhf.Model`; by default `{"normsys":
                {"interpcode": "code4"}, "histosys": {"interpcode": "code4p"}}`.

        Raises:
            InputError: The spec is not right; the message names channel, sample and modifier.
        """
        content, chosen = read_source(spec)
        if poi == FROM_MEASUREMENT:
            poi = chosen.get("poi", poi)
        compiled = compile_spec(
            patched(content, patches),
            measurement=measurement,
            poi=poi,
            modifier_settings=modifier_settings or chosen.get("modifier_settings"),
        )
        model = cls(
            structure=compiled.structure, numbers=compiled.numbers, observed=compiled.observed
        )
        return _with_start(model)

    @property
    def config(self) -> ModelConfig:
        """Parameters, channels and samples under the names that pyhf has for them.

        Where the numbers are traced, so are `auxdata` and `fixed`.
        """
        given = self._terms(self.numbers)
        if traced(self):
            return ModelConfig(self.structure, given.center, given.fixed)
        return ModelConfig(self.structure, given.center.tolist(), np.asarray(given.fixed).tolist())

    @property
    def has_blocks(self) -> bool:
        """Whether it is large, and each parameter acts in few channels.

        In numpy its channels are computed one by one; a compiled program would have arrays of all.
        """
        return len(places(self.structure)) > 1

    @in_numpy
    def _terms(self, numbers: Vector) -> rates.Terms:
        return _terms(self.structure, numbers)

    def replace(self, **changes: Any) -> "Model":
        """A copy with other `numbers` or `observed`."""
        return replace_fields(self, **changes)

    @in_numpy
    def with_numbers(self, values: Mapping[Key, Any]) -> "Model":
        """A copy with other yields, variations or uncertainties, for instance traced ones.

        Nothing is rebuilt or compiled again, and gradients flow through.

        Args:
            values: Numbers by key: `(channel, sample)` for nominal yields; `(channel, sample,
                modifier type, modifier, field)` for what a modifier says, field being `"hi_data"`
                or `"lo_data"` of a histosys, `"hi"` or `"lo"` of a normsys, `"data"` of a shapesys
                or staterror (absolute uncertainties).

        Raises:
            InputError: There is no such key, or a wrong number of bins.
        """
        entries = self.structure.entry
        index = np.arange(self.structure.size)
        parts, start = [xp.asarray(self.numbers, np.float64)], self.structure.size
        for key, value in values.items():
            if key not in entries:
                words = {" / ".join(known): known for known in entries}
                hint = nearest(" / ".join(map(str, key)), words)
                raise InputError(f"The model has no numbers {key!r}.{hint}")
            entry, array = entries[key], xp.atleast_1d(xp.asarray(value, np.float64))
            if array.shape[-1] != entry.stop - entry.start:
                raise InputError(
                    f"{key!r} has {array.shape[-1]} numbers, the model {entry.stop - entry.start}."
                )
            index[entry.start : entry.stop] = np.arange(start, start + array.shape[-1])
            start += array.shape[-1]
            parts.append(array)
        batch = np.broadcast_shapes(*(part.shape[:-1] for part in parts))
        spread = [xp.broadcast_to(part, (*batch, part.shape[-1])) for part in parts]
        return self.replace(numbers=xp.concatenate(spread, axis=-1)[..., index])

    def get(self, *key: str) -> Float[Array, "..."] | Float[np.ndarray, "..."]:
        """The numbers of a key, as `with_numbers` takes them.

        Raises:
            InputError: There is no such key.
        """
        if key not in self.structure.entry:
            raise InputError(f"The model has no numbers {key!r}.")
        entry = self.structure.entry[key]
        return self.numbers[..., entry.start : entry.stop]

    @in_numpy
    def expected(self, parameters: Parameters) -> Float[Array, " bins"]:
        """Expected yields of the bins.

        Args:
            parameters: All of them, in the order of `config.par_names`; or some by name, `"x"` for
                all of one per bin, `"x[0]"` for one of them: the others are where they start.
        """
        given = _terms(self.structure, self.numbers)
        return _rates(self.structure, given, self._parameters(parameters))

    @in_numpy
    def expected_by_sample(self, parameters: Parameters) -> Float[Array, "samples bins"]:
        """Expected yields of each sample."""
        given = _terms(self.structure, self.numbers)
        return _by_sample(self.structure, given, self._parameters(parameters))

    @in_numpy
    def asimov(self, parameters: Parameters | None = None) -> Float[Array, " data"]:
        """Main and auxiliary data without fluctuation (arXiv 1007.1727).

        Args:
            parameters: Where; by default the suggested start values.
        """
        given = _terms(self.structure, self.numbers)
        point = self._parameters(self.structure.layout.init if parameters is None else parameters)
        main = _rates(self.structure, given, point)
        return xp.concatenate([main, rates.expected_auxiliary(self.structure, given, point)])

    expected_data = asimov

    @in_numpy
    def data(self, main: Vector | None = None) -> Float[Array, "*batch data"]:
        """Main data with the nominal auxiliary data behind, as fits want them.

        Args:
            main: Counts of the bins, or main and auxiliary data; by default the observations.

        Raises:
            InputError: There are no observations, the length is wrong, or they are no counts.
        """
        if main is None:
            if self.observed is None:
                raise InputError(
                    "The model has no observations: give data, or `model.asimov()` for the "
                    "nominal expectation."
                )
            main = self.observed
        try:
            counts = xp.asarray(main, np.float64)
        except (TypeError, ValueError, OverflowError):
            raise InputError(f"data = {main!r}: give the counts of the bins.") from None
        if counts.ndim == 0:
            raise InputError(f"data = {main!r}: give the counts of all bins, one after the other.")
        bins, auxiliary = self.structure.n_bins, len(self.structure.layout.auxiliary)
        if isinstance(counts, np.ndarray) and counts.ndim == 1:
            wrong = ~((counts[:bins] >= 0) & (counts[:bins] < np.inf))
            if wrong.any():
                place = int(np.argmax(wrong))
                raise InputError(
                    f"data: bin {place} has {counts[place]}: counts are numbers, 0 or larger."
                )
        if counts.shape[-1] == bins + auxiliary and auxiliary:
            return counts
        if counts.shape[-1] != bins:
            raise InputError(
                f"The data have {counts.shape[-1]} entries; the model has {bins} bins and "
                f"{auxiliary} auxiliary measurements, so {bins} or {bins + auxiliary} are right."
            )
        if isinstance(self.numbers, np.ndarray) and self.numbers.ndim == 1:
            center = known_terms(self.structure, self.numbers).center
        else:
            center = _over_batch(lambda one: _terms(self.structure, one).center, self.numbers)
        batch = np.broadcast_shapes(counts.shape[:-1], center.shape[:-1])
        return xp.concatenate(
            [
                xp.broadcast_to(counts, (*batch, bins)),
                xp.broadcast_to(center, (*batch, auxiliary)),
            ],
            axis=-1,
        )

    @in_numpy
    def logpdf(self, parameters: Parameters, data: Vector | None = None) -> Float[Array, ""]:
        """Logarithm of the likelihood, constants included: that of pyhf.

        Args:
            parameters: All of them, or some by name, as in `expected`.
            data: As in `data`.
        """
        given = _terms(self.structure, self.numbers)
        values = self.data(data)
        return _log_likelihood(self.structure, given, self._parameters(parameters), values)

    @in_numpy
    def nll(self, parameters: Parameters, data: Vector | None = None) -> Float[Array, ""]:
        """Negative logarithm of the likelihood, in the form that other tools minimise or sample.

        Args:
            parameters: All of them, or some by name, as in `expected`.
            data: As in `data`.
        """
        return -self.logpdf(parameters, data)

    def spec(self) -> dict[str, Any]:
        """The spec with the model's numbers, for pyhf or a file."""
        if traced(self) or np.ndim(self.numbers) > 1:
            raise InputError("A spec is made of one model with plain numbers: take one of a batch.")
        varied = {
            name for name, kind in self.structure.modifiers if kind in ("normsys", "histosys")
        }
        for group in self.structure.parameter_sets:
            if group.constraint == "none" and group.name in varied:
                raise InputError(
                    f"The nuisance parameter {group.name!r} is unconstrained, which no spec of "
                    "pyhf can say."
                )
        spec = self.structure.spec(np.asarray(self.numbers))
        if "observations" in spec and self.observed is not None:
            places = self.config.channel_slices
            for observation in spec["observations"]:
                # Published workspaces hold observations of channels that they do not model.
                if observation["name"] in places:
                    values = np.asarray(self.observed)[places[observation["name"]]]
                    observation["data"] = values.tolist()
        return spec

    def to_pyhf(self) -> "pyhf.Model":
        """This model as a pyhf model."""
        spec, structure = self.spec(), self.structure
        settings = {
            "normsys": {"interpcode": structure.normsys_code},
            "histosys": {"interpcode": structure.histosys_code},
        }
        content = {"channels": spec["channels"], "parameters": structure.configured(spec)}
        return pyhf.Model(content, poi_name=structure.poi, modifier_settings=settings)

    def _parameters(self, values: Parameters) -> Float[Array, " parameters"]:
        if isinstance(values, Mapping):
            array = xp.asarray(self.structure.layout.init)
            for name, value in values.items():
                where = np.array(self.structure.indices(name))
                if np.shape(value) not in ((), (len(where),)):
                    raise InputError(
                        f"The parameter {name!r} has the shape {np.shape(value)}: give a number, "
                        f"or {len(where)} of them."
                    )
                array = xp.put(array, where, value)
            return array
        array = xp.asarray(values, np.float64)
        if array.shape[-1] != len(self.structure.names):
            raise InputError(
                f"{array.shape[-1]} parameters, where the model has {len(self.structure.names)}: "
                "their names and order are in model.config.par_names."
            )
        return array


def _over_batch(function: Any, array: Float[Array, "*batch n"]) -> Any:
    """Applies a function of a vector over leading axes."""
    for _ in array.shape[:-1]:
        function = partial(xp.each, function)
    return function(array)


@in_numpy
def _with_start(model: Model) -> Model:
    """The model with start values at which its yields are not negative."""
    structure = model.structure
    given = _terms(structure, model.numbers)
    observed = None if model.observed is None else np.asarray(model.observed)
    start = start_of_fits(
        structure, partial(_by_sample, structure, given), observed, np.asarray(given.fixed)
    )
    if start is structure.layout.init:
        return model
    layout = replace_fields(structure.layout, start=start)
    return model.replace(structure=replace_fields(structure, layout=layout))

"""Uncertainties of the type `field`: measured factors, made a map, whose modes vary the weights."""

import atexit
import functools
import hashlib
import importlib.metadata
import inspect
import json
import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import difftune.fields
from difftune.data import WeightVariation
from difftune.errors import InputError
from difftune.fields import Domain, FieldMap, Prior, fit, read_measurements
from difftune.files import caches_wanted, user_cache
from difftune.job.config import Config
from difftune.job.measured_sections import (
    DOMAIN,
    FieldDomain,
    FieldSystematic,
    WeightSystematic,
)

logger = logging.getLogger("difftune")


def variations(systematic: FieldSystematic) -> list[WeightVariation]:
    """A variation of the weights for each mode, `name_mode1` and so on."""
    return [
        WeightVariation(
            f"{systematic.name}_mode{number}",
            up=f"{{weight}} * {factor(systematic, f'mode{number}_up')}",
            down=f"{{weight}} * {factor(systematic, f'mode{number}_down')}",
            processes=systematic.samples,
        )
        for number in range(1, systematic.modes + 1)
    ]


def factor(systematic: FieldSystematic, what: str) -> str:
    """The expression of a field of the events, or of its ratio to the nominal one.

    Args:
        systematic: The uncertainty.
        what: `nominal`, `mode1_up`, `mode1_down`, and so on.
    """
    coordinates = [each for domain in systematic.domains for each in domain.at.values()]
    path = json.dumps(str(_written(systematic)))
    found = f'field({path}, "{what}", {", ".join(f"({each})" for each in coordinates)})'
    return f"prod({found})" if systematic.product else found


def weighted(config: Config) -> list[dict[str, Any]]:
    """The samples, with the nominal factors in their weights.

    Raises:
        InputError: A systematic uncertainty replaces the weight, and with it such a factor.
    """
    samples = []
    fields = [s for s in config.systematics if isinstance(s, FieldSystematic) and s.nominal]
    for sample in config.samples:
        own = sample.model_dump()
        mine = [
            each
            for each in fields
            if sample.role != "data" and (each.samples is None or sample.name in each.samples)
        ]
        if mine:
            _refuse_replaced(config, sample.name, mine)
            factors = "".join(f" * {factor(each, 'nominal')}" for each in mine)
            own["weight"] = f"({own['weight'] or config.data.weight}){factors}"
            for part in own["parts"]:
                if part["weight"] is not None:
                    part["weight"] = f"({part['weight']}){factors}"
        samples.append(own)
    return samples


def _refuse_replaced(config: Config, sample: str, fields: Sequence[FieldSystematic]) -> None:
    for each in config.systematics:
        if not isinstance(each, WeightSystematic):
            continue
        if each.samples is not None and sample not in each.samples:
            continue
        for way, text in (("up", each.up), ("down", each.down)):
            if text is not None and "{weight}" not in text:
                raise InputError(
                    f"systematics {each.name!r}: {way} = {text!r} takes the place of the whole "
                    f"weight of {sample!r}, and so of the factor {fields[0].name!r}, which has "
                    f'nominal = true. Write {way} = "{{weight}} * ({text}) / '
                    f'({config.data.weight})".'
                )


def _written(systematic: FieldSystematic) -> Path:
    """The file of the map, made if it is not there: known by all that it is made from."""
    request = systematic.model_dump(exclude={"name", "samples", "nominal", "product"})
    return _map(json.dumps(request), systematic.name, _state(systematic))


def _state(systematic: FieldSystematic) -> str:
    """The measurements, as they are now."""
    path, _, name = systematic.file.partition(".root:")
    source = Path(f"{path}.root" if name else path)
    try:
        return hashlib.blake2b(source.read_bytes(), digest_size=16).hexdigest()
    except OSError as error:
        raise InputError(
            f"systematics {systematic.name!r}: file = {systematic.file!r} cannot be read: "
            f"{error.strerror}."
        ) from error


@functools.lru_cache(maxsize=64)
def _map(request: str, name: str, state: str) -> Path:
    key = "\0".join((request, state, _code()))
    path = _folder() / f"{hashlib.blake2b(key.encode(), digest_size=16).hexdigest()}.json"
    if not path.exists():
        try:
            _made(json.loads(request), name).write(path)
        except InputError as error:
            raise InputError(f"systematics {name!r}: {error}") from error
    return path


def _made(request: dict[str, Any], name: str) -> FieldMap:
    """The map of an uncertainty."""
    sections = [DOMAIN.read(each) for each in request["domains"]]
    domains = [domain(each) for each in sections]
    for section, each in zip(sections, domains, strict=True):
        if len(section.at) != each.width:
            raise InputError(
                f"a {section.kind} has {each.width} coordinate(s), and at has {len(section.at)}: "
                f"{', '.join(section.at) or 'none'}."
            )
    measured = read_measurements(request["file"], [c for each in sections for c in each.at])
    posterior = fit(measured, Prior(domains=domains), positive=request["positive"])
    made = posterior.modes(request["modes"])
    logger.info(
        "%s: %d measurements, lengths of correlation %s; %d modes hold %.0f %% of the variance",
        name,
        len(measured),
        ", ".join(f"{length:.3g}" for length in posterior.learned["length"]),
        len(made.modes),
        100 * made.share,
    )
    if made.share < 0.8:
        logger.warning(
            "%s: %d modes hold %.0f %% of the variance of the field, and the rest is left out; "
            "take more modes",
            name,
            len(made.modes),
            100 * made.share,
        )
    return made


def domain(section: FieldDomain) -> Domain:
    """A domain of a field."""
    made: Domain = DOMAIN.registry[section.kind](**section.options(FieldDomain))
    return made


@functools.cache
def _code() -> str:
    """Which maps these are: the code that makes them, and the version of what it computes with."""
    digest = hashlib.blake2b(importlib.metadata.version("jax").encode())
    for file in sorted(Path(inspect.getfile(difftune.fields)).parent.glob("*.py")):
        digest.update(file.read_bytes())
    return digest.hexdigest()


@functools.cache
def _folder() -> Path:
    """Where maps are kept: among the caches of the user, or for the life of this process."""
    if caches_wanted():
        return user_cache() / "difftune" / "fields"
    made = tempfile.TemporaryDirectory(prefix="difftune_fields_")
    atexit.register(made.cleanup)
    return Path(made.name)

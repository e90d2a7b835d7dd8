"""Reads events from files."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from difftune.arguments import said, several, takes, whole
from difftune.data.cache import as_cache, through
from difftune.data.categories import (
    Categories,
    as_categories,
    warn_of_absent,
    with_categories,
)
from difftune.data.check import (
    check_events,
    check_request,
    check_roles,
    say_undecided,
    warn_of_absent_features,
    warn_of_common_sentinels,
    warn_of_few_background,
    warn_of_few_signal,
    warn_of_forgotten_weight,
    warn_of_idle_variations,
    warn_of_sentinels,
)
from difftune.data.collect import Progress, assemble, collect
from difftune.data.copies import check_copies, check_parts, on_duplicates
from difftune.data.events import Events, Process, check_distinct
from difftune.data.expressions import parse
from difftune.data.friends import Friend, as_defaults, as_friends
from difftune.data.names import parse_derived
from difftune.data.object_rules import collection_rules
from difftune.data.objects import Objects, as_objects
from difftune.data.parts import as_positive
from difftune.data.plan import Plan
from difftune.data.reading import Reading
from difftune.data.regions import Region, as_regions
from difftune.data.request import Request
from difftune.data.sources import rows_in
from difftune.data.sums import SumOfWeights, as_sum_of_weights
from difftune.data.transform import Missing, Sentinels
from difftune.data.variations import (
    FeatureVariation,
    Files,
    TreeVariation,
    Variation,
    WeightVariation,
    as_expression,
    as_files,
    as_names,
)
from difftune.errors import InputError

PROCESS = 'Process(name="signal", role="signal", files="signal.root")'
VARIATION = 'WeightVariation("btag", up="weight_btag_up")'


def as_events(given: Any) -> Events:
    """Events; anything else is answered by how they are made.

    Raises:
        InputError: With the call that makes events of it.
    """
    if isinstance(given, Events):
        return given
    if isinstance(given, str | os.PathLike):
        if os.fspath(given).endswith(".toml"):
            raise InputError(
                f"events = {given!r} is a path of an analysis file, which says all of a job: "
                f'dt.job.run(dt.job.load({given!r}), "run"), or difftune run {os.fspath(given)}.'
            )
        raise InputError(
            f"events = {given!r} is a path, and columns, weights and roles are to be said: "
            f"events = dt.read({given!r}, processes=[dt.Process(...)], features=[...], "
            'weight="weight").'
        )
    remedy = (
        "give what dt.read(...) returns; of arrays dt.Events.from_arrays(features, process, "
        "weight, feature_names=..., processes=...) makes events."
    )
    raise InputError(f"events = {said(given)}: these are no events; {remedy}")


class Alone(tuple[Process, ...]):
    """One process that was given by itself, with nothing to be told apart from."""

    __slots__ = ()


def as_processes(given: Any) -> tuple[Process, ...]:
    """One process, or several.

    Raises:
        InputError: They are no processes.
    """
    processes = several(given, Process, "processes", PROCESS)
    return Alone(processes) if isinstance(given, Process) else processes


def as_variations(given: Any) -> tuple[Any, ...]:
    """One or several variations; None for none."""
    kinds = (WeightVariation, TreeVariation, FeatureVariation)
    return () if given is None else several(given, kinds, "variations", VARIATION)


def as_target(given: Any) -> dict[str, str]:
    """Expressions of targets by name; one that is no mapping is its own name.

    Raises:
        InputError: It is no text, or a name stands twice.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return {str(name): as_expression(text, f"target[{name!r}]") for name, text in given.items()}
    names = as_names(given, what="target")
    check_distinct("target", names)
    return {name: name for name in names}


READ: dict[str, Any] = {
    "files": as_files,
    "processes": as_processes,
    "features": partial(as_names, what="features"),
    "weight": partial(as_expression, what="weight", needed=True),
    "selection": partial(as_expression, what="selection"),
    "folds": lambda given: whole(given, f"folds = {said(given)}", remedy="5 by default"),
    "variations": as_variations,
    "regions": as_regions,
    "objects": as_objects,
    "target": as_target,
    "categories": as_categories,
    "cache": as_cache,
    "friends": as_friends,
    "defaults": as_defaults,
    "luminosity": partial(as_positive, what="luminosity"),
    "sum_of_weights": as_sum_of_weights,
}
"""Of `read`."""


logger = logging.getLogger("difftune")


@takes(**READ)
def read(
    files: Files | None = None,
    *,
    processes: Sequence[Process],
    features: Sequence[str],
    weight: str = "1",
    event_number: str | Sequence[str] | None = None,
    derived: Mapping[str, str] | None = None,
    categories: Categories | None = None,
    selection: str | None = None,
    missing: Sentinels | Mapping[str, Sentinels] | None = None,
    folds: int = 5,
    duplicates: str = "warn",
    variations: Sequence[Variation] = (),
    regions: Sequence[Region] = (),
    friends: Sequence[Friend] | Friend = (),
    defaults: Mapping[str, Any] | None = None,
    luminosity: float | None = None,
    sum_of_weights: float | SumOfWeights | None = None,
    objects: Mapping[str, Objects] | None = None,
    target: str | Sequence[str] | Mapping[str, str] | None = None,
    chunk_size: str | int = "16 MB",
    progress: Progress | None = None,
    cache: str | os.PathLike[str] | bool | None = None,
) -> Events:
    """Reads ROOT, Parquet or CSV files, in chunks, and keeps only what is asked for.

    Every file is opened and every name and expression checked before the first event is read.

    Args:
        files: Paths, globs or addresses for all processes that name none themselves.
        processes: What the events are: see `Process`. Among several at least one is signal and one
            background, unless there is a `target`. One that is given alone, not in a list, may have
            any role: events that a network is to score.
        features: Names of columns, or of derived features.
        weight: Expression for the weight of simulated events, in expected events.
        event_number: Column (or expression) whose value modulo `folds` is the fold. Or the columns
            that tell events apart together, such as `["run", "lumi", "event"]`: a number is made
            of them. Without it the running number of the entry within its process takes its place.
        derived: Further features by name, as expressions, which can use each other.
        categories: Features that are categories, numbers or strings, with their values, as in
            `{"n_jets": [2, 3, 4]}`: in the place of each is a feature for each value, `n_jets_2`,
            that is 1 where it holds and 0 elsewhere. An event of another value has 0 in all.
        selection: Expression that all events fulfil.
        missing: The value or values that mean "missing", such as -999; NaN only if it is among
            them. For all columns, or as a mapping by column, in which "*" stands for all that are
            not named, as in `{"*": -999, "charge": []}`. Features have NaN there, and so
            have derived features that are made from a missing value. Selections and weights see
            the columns as they are.
        folds: How many folds there are.
        duplicates: What happens where a process has events more than once (of equal event number;
            without one, of equal features and weight): "warn", "refuse" or "allow".
        variations: Systematic variations.
        regions: Regions that the events are divided into, nominal and varied; an event in none of
            them is not kept. Without any, all are in one signal region.
        friends: Trees with further columns of the same events, see `Friend`; the trees of
            variations have them too.
        defaults: Values of branches that some of the files lack, by name.
        luminosity: In 1/fb, of processes with a `cross_section`.
        sum_of_weights: Of processes with a `cross_section` that have none themselves: where the
            sum of the generated weights of their files is written, see `Process`.
        objects: Collections of objects, such as the jets of an event, by name: further features,
            `max` times those of an object, and inputs of networks on objects.
        target: What a regression learns of each event: a column, a derived feature or an
            expression, or several; as a mapping, expressions by the name that predictions have.
            Data have none.
        chunk_size: How much is read at once: events, or memory as in "16 MB".
        progress: Called after each chunk with the entries read so far, and all there are (None
            while that is unknown, as for CSV).
        cache: A folder that keeps what took a second or longer to read, or True for difftune's own
            among the caches of the user. Read again with the same arguments, events come from
            there if no file has changed: by its size, its time of change, and its first and last
            64 kB. At most 10 GiB are kept. None and False keep nothing.

    Returns:
        The events, process by process, each in the order of its files.

    Raises:
        InputError: The input is wrong; the message names the place and the remedy.
    """
    if target is None and not isinstance(processes, Alone):
        check_roles(processes)
    processes = tuple(processes)
    given = dict(locals())
    how = {name: given.pop(name) for name in ("chunk_size", "progress")}
    return through(given.pop("cache"), given, lambda: _read(**given, **how))


def _read(
    files: Files | None,
    *,
    processes: Sequence[Process],
    features: Sequence[str],
    weight: str,
    event_number: str | Sequence[str] | None,
    derived: Mapping[str, str] | None,
    categories: Categories | None,
    selection: str | None,
    missing: Sentinels | Mapping[str, Sentinels] | None,
    folds: int,
    duplicates: str,
    variations: Sequence[Variation],
    regions: Sequence[Region],
    friends: Sequence[Friend] | Friend,
    defaults: Mapping[str, Any] | None,
    luminosity: float | None,
    sum_of_weights: float | SumOfWeights | None,
    objects: Mapping[str, Objects] | None,
    target: Mapping[str, str] | None,
    chunk_size: str | int,
    progress: Progress | None,
) -> Events:
    keys = _keys(event_number)
    given = objects or {}
    rules = collection_rules(given, 0)
    columns = [name for rule in rules for name in rule.collection.columns]
    check_request(processes, [*features, *columns], folds, variations, numbered=bool(keys))
    wanted = on_duplicates(duplicates)
    named = categories or {}
    features, derived = with_categories(features, derived or {}, named)
    parsed = parse_derived(derived)
    number = tuple(parse(key, "event_number") for key in keys)
    if selection is not None:
        parse(selection, "selection")
    parse(weight, "weight")
    request = Request(
        processes=tuple(processes),
        files=files,
        features=tuple(features),
        weight=weight,
        number=number,
        derived=parsed,
        selection=selection,
        missing=Missing.of(missing),
        folds=folds,
        variations=tuple(variations),
        regions=tuple(regions),
        friends=as_friends(friends),
        defaults=defaults or {},
        luminosity=luminosity,
        sum_of_weights=sum_of_weights,
        objects=given,
        targets={name: parse(text, f"target {name!r}") for name, text in (target or {}).items()},
    )
    rows_in(chunk_size, 1)
    plan = Plan(request)
    warn_of_forgotten_weight(plan)
    collection = collect(plan, chunk_size, progress)
    say_undecided(collection)
    warn_of_common_sentinels(collection)
    check_parts(plan, collection, wanted)
    check_copies(request, collection, wanted)
    events = assemble(plan, collection)
    check_events(events)
    warn_of_sentinels(events)
    warn_of_absent(events, named)
    warn_of_absent_features(events)
    warn_of_few_signal(events)
    warn_of_few_background(events)
    warn_of_idle_variations(events)
    logger.info("read %d events of %d processes", len(events), len(processes))
    reading = Reading(
        features=tuple(features),
        event_number=event_number,
        derived=dict(derived),
        selection=selection,
        missing=request.missing.given,
        folds=folds,
        varied={
            f"{each.name}_{way}": dict(replaced)
            for each in variations
            if isinstance(each, FeatureVariation)
            for way, replaced in (("up", each.up), ("down", each.down))
            if replaced
        },
        objects=given,
        friends=request.friends,
        defaults=request.defaults,
    )
    return replace(events, reading=reading)


def _keys(event_number: str | Sequence[str] | None) -> list[str]:
    if event_number is None:
        return []
    keys = [event_number] if isinstance(event_number, str) else list(event_number)
    if not keys:
        raise InputError("event_number = []: name at least one column, or leave it out.")
    return keys

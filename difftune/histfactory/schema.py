"""A schema of pyhf as a function, for specs of thousands of modifiers.

jsonschema, which pyhf asks, interprets the schema anew at each place: seconds for a published
workspace. Here it is made into functions once, which tell only whether a spec is surely valid.
What is wrong, and what is valid in an unusual way, is left to jsonschema.
"""

import functools
import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Test = Callable[[Any], bool]

# Of the schema, as workspaces name it.
_VERSION = "1.0.0"

_SINGLE: dict[str, set[type]] = {
    "string": {str},
    "boolean": {bool},
    "null": {type(None)},
    "number": {int, float},
}


def surely_valid(spec: Any, schema: str) -> bool:
    """Whether a spec of dicts, lists and numbers of Python follows a schema of pyhf.

    Args:
        spec: A workspace or a model.
        schema: "workspace.json" or "model.json".

    Returns:
        False also where only jsonschema can tell.
    """
    try:
        return _compiled(schema)(spec)
    except RecursionError:
        return False


@functools.cache
def _compiled(schema: str) -> Test:
    package = importlib.util.find_spec("pyhf")  # does not import it, which takes half a second
    if package is None or package.origin is None:
        raise ImportError("pyhf, whose schema of workspaces is needed, is not installed.")
    folder = Path(package.origin).parent / "schemas" / _VERSION

    def loaded(name: str) -> Mapping[str, Any]:
        return json.loads((folder / name).read_text(encoding="utf-8"))

    return _test(loaded(schema), loaded("defs.json"))


def _test(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Test:
    """The test of a schema; one that is always false for a keyword that is not known here."""
    if "$ref" in schema:  # what stands beside it does not count
        found: Any = root
        for step in schema["$ref"].partition("#/")[2].split("/"):
            found = found[step]
        return _test(found, root)
    keys, kind = set(schema), schema.get("type")
    if keys == {"anyOf"}:
        options = [_test(each, root) for each in schema["anyOf"]]
        return lambda value: any(test(value) for test in options)
    if keys == {"const"} and isinstance(schema["const"], str):
        const = schema["const"]
        return lambda value: type(value) is str and value == const
    if kind == "number":
        keys -= {"minItems", "maxItems"}  # a number has none, so that they say nothing
    if kind in _SINGLE and keys == {"type"}:
        types = _SINGLE[kind]
        return lambda value: type(value) in types
    if kind == "array" and keys <= {"type", "items", "minItems"}:
        return _array(schema, root)
    if kind == "object" and keys == {"type", "properties", "required", "additionalProperties"}:
        return _object(schema, root)
    return lambda value: False


def _array(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Test:
    items, least = schema["items"], schema.get("minItems", 0)
    if items == {"type": "number"}:
        # Most of a spec is such lists; here the loop is not Python's.
        numbers = _SINGLE["number"]
        return lambda value: (
            type(value) is list and len(value) >= least and numbers.issuperset(map(type, value))
        )
    each = _test(items, root)
    return lambda value: type(value) is list and len(value) >= least and all(map(each, value))


def _object(schema: Mapping[str, Any], root: Mapping[str, Any]) -> Test:
    if schema["additionalProperties"] is not False:
        return lambda value: False
    tests = {name: _test(each, root) for name, each in schema["properties"].items()}
    required = frozenset(schema["required"])

    def valid(value: Any) -> bool:
        return (
            type(value) is dict
            and required <= value.keys() <= tests.keys()
            and all(tests[name](each) for name, each in value.items())
        )

    return valid

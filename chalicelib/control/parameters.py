"""Parameters of a family, against its JSON Schema.

fastjsonschema makes Python code of a schema and runs it, and would fetch whatever a `$ref` names. So a schema may hold only
the words below, and reference nothing; operators write them, not those who submit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.core.family import Family
from chalicelib.errors import BadRequest, Fault

if TYPE_CHECKING:
    from fastjsonschema import JsonSchemaValueException

WORDS = frozenset(
    (
        "$schema",
        "title",
        "description",
        "default",
        "examples",
        "type",
        "enum",
        "const",
        "properties",
        "required",
        "additionalProperties",
        "minProperties",
        "maxProperties",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "pattern",
        "items",
        "minItems",
        "maxItems",
        "uniqueItems",
        "allOf",
        "anyOf",
        "oneOf",
        "not",
    )
)
PATTERN_CHARS_MAX = 200
DEPTH_MAX = 8
KEPT = 64  # compiled schemas

Check = Callable[[Any], Any]


def must_be_schema(schema: Mapping[str, Any], field: str) -> None:
    """Raises BadRequest with what is wrong with it."""
    faults = list(_faults(schema, field, 0))
    if not faults and schema:
        if schema.get("type", "object") != "object":
            faults.append(Fault(f"{field}.type", "must be object: parameters have names"))
        try:
            _compiled(_text(schema))
        except Exception as error:  # whatever its compiler stumbles over is in the schema
            faults.append(Fault(field, f"is no JSON Schema: {error}"))
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults))


def checked(family: Family, given: Mapping[str, Any], field: str) -> dict[str, Any]:
    """The parameters with the schema's own defaults under them. Raises BadRequest with the field of the first that is wrong."""
    from fastjsonschema import JsonSchemaValueException

    copy = msgspec.json.decode(msgspec.json.encode(given))  # defaults are filled in place
    try:
        filled: dict[str, Any] = _compiled(_text(family.schema))(copy)
    except JsonSchemaValueException as error:
        fault = _in_words(error, field)
        message = f"{fault.message} (family {family.name}, version {family.version})"
        raise BadRequest(f"{fault.field}: {message}", (Fault(fault.field, message),)) from None
    except ArithmeticError:  # a whole number may be too large to be divided by what the schema says
        sentence = "hold a number that cannot be tried against the schema"
        raise BadRequest(
            f"{field} {sentence} (family {family.name}, version {family.version})", (Fault(field, sentence),)
        ) from None
    return filled


def _in_words(error: JsonSchemaValueException, field: str) -> Fault:
    """The two mistakes that are made daily, a missing name and one too many, by that name; all others as the library says them."""
    at = ".".join([field, *map(str, error.path[1:])])
    given = error.value if isinstance(error.value, dict) else {}
    if error.rule == "required" and (missing := [name for name in error.rule_definition if name not in given]):
        return Fault(f"{at}.{missing[0]}", "is required")
    if error.rule == "additionalProperties" and "patternProperties" not in error.definition:
        known = error.definition.get("properties", {})
        if unknown := [name for name in given if name not in known]:
            return Fault(f"{at}.{unknown[0]}", f"is not known here; known are {', '.join(known) or 'none'}")
    return Fault(at, str(error.message).removeprefix(str(error.name)).strip())


def _faults(schema: Any, field: str, depth: int) -> list[Fault]:
    if isinstance(schema, bool) and depth:
        return []
    if not isinstance(schema, Mapping):
        return [Fault(field, "must be a JSON Schema: an object")]
    if depth > DEPTH_MAX:
        return [Fault(field, f"is nested deeper than {DEPTH_MAX}")]
    faults = [
        Fault(f"{field}.{word}", "is no word of a schema that is taken here") for word in schema if word not in WORDS
    ]
    pattern = schema.get("pattern")
    if pattern is not None and (not isinstance(pattern, str) or len(pattern) > PATTERN_CHARS_MAX):
        faults.append(Fault(f"{field}.pattern", f"must be a text of at most {PATTERN_CHARS_MAX} characters"))
    inner: list[tuple[str, Any]] = []
    step = schema.get("multipleOf", 1)
    if isinstance(step, int | float) and step <= 0:
        faults.append(Fault(f"{field}.multipleOf", "must be more than 0"))
    properties = schema.get("properties", {})
    if isinstance(properties, Mapping):
        inner += [(f"properties.{name}", value) for name, value in properties.items()]
    else:
        faults.append(Fault(f"{field}.properties", "must be an object"))
    for word in ("allOf", "anyOf", "oneOf"):
        several = schema.get(word, [])
        if isinstance(several, list):
            inner += [(f"{word}[{index}]", value) for index, value in enumerate(several)]
        else:
            faults.append(Fault(f"{field}.{word}", "must be a list"))
    items = schema.get("items")
    if items is not None:
        inner.append(("items", items))
    inner += [(word, schema[word]) for word in ("additionalProperties", "not") if word in schema]
    for where, value in inner:
        faults += _faults(value, f"{field}.{where}", depth + 1)
    return faults


def _text(schema: Mapping[str, Any]) -> str:
    return msgspec.json.encode(dict(schema), order="sorted").decode()


@lru_cache(maxsize=KEPT)
def _compiled(schema: str) -> Check:
    from fastjsonschema import compile as compiled  # takes 20 ms, and most functions never need it

    document = msgspec.json.decode(schema)
    document.pop("$schema", None)  # draft 7, whatever it says: what may stand in it means the same in all
    check: Check = compiled({"type": "object", **document}, use_formats=False)
    return check

"""Families: named job definitions. A submission that names one takes its defaults from it, and remembers the version.

What the submission says stands. Maps (environment, parameters, labels, secrets) are joined name by name, its inputs and outputs come beside
the family's, and all else replaces what the family says. The family's git source is one more input.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.control import parameters
from chalicelib.core.family import Family
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.paging import paged
from chalicelib.errors import BadRequest, Conflict, Fault, NotFound, PreconditionFailed
from chalicelib.wiring import Plane

if TYPE_CHECKING:
    from chalicelib.api.job_wire import JobSpecWire

FAMILY_AGE_MAX_S = 10.0
VERSION_AGE_MAX_S = 3600.0  # a version never changes
JOINED = ("environment", "parameters", "labels", "secrets")
TRIES = 3


def defaults(plane: Plane, name: str) -> Mapping[str, Any] | None:
    """What a family says of its jobs, at most some seconds old; None: there is none of this name."""
    family = _family(plane, name)
    return None if family is None else family.defaults


def apply(plane: Plane, document: JobSpecWire, prefix: str = "", *, check: bool = True) -> JobSpecWire:
    """The document with its family's defaults under it. Raises BadRequest where the family or its version is unknown, or
    the parameters are none that it takes - unless those are not all yet (`check`: element_parameters.checked does so then)."""
    if document.family is None:
        if document.family_version is not None:
            raise _refused(f"{prefix}family_version", "needs a family")
        return document
    family = _family(plane, document.family, document.family_version)
    if family is None and document.family_version is not None and _family(plane, document.family) is not None:
        raise _refused(f"{prefix}family_version", f"{document.family} has no version {document.family_version}")
    if family is None:
        raise _refused(f"{prefix}family", f"there is no family named {document.family!r}")
    return msgspec.convert(_merged(family, msgspec.to_builtins(document), prefix, check), type(document))


def resolve(plane: Plane, document: Mapping[str, Any], prefix: str = "") -> JobSpec:
    """The record of a job's document as it was said, its family's defaults filled in. Raises BadRequest."""
    from chalicelib.api import job_wire, wire

    return job_wire.job_spec(apply(plane, wire.convert(document, job_wire.JobSpecWire), prefix), prefix)


def get(plane: Plane, name: str, version: int | None = None) -> Family:
    """Raises NotFound."""
    family = plane.stores.families.get(name, version)
    if family is None:
        raise NotFound(f"there is no family {name}" + (f" of version {version}" if version is not None else ""))
    return family


def page(plane: Plane, limit: int, after: str | None) -> tuple[list[Family], str | None]:
    """Families by name, and the cursor of the next page."""
    return paged(plane.stores.families.all(), limit, after)


def put(plane: Plane, family: Family, *, version: int | None = None) -> Family:
    """Keep it as the newest version; the same as the newest is no new one. `version`: only if that is the newest.

    Raises BadRequest (fields), PreconditionFailed, Conflict.
    """
    parameters.must_be_schema(family.schema, "schema")
    for _try in range(TRIES):
        newest = plane.stores.families.get(family.name)
        number = newest.version if newest else 0
        if version is not None and version != number:
            raise PreconditionFailed(f"family {family.name} is at version {number}, not {version}")
        if newest is not None and replace(newest, version=0, by="", at=0.0) == replace(
            family, version=0, by="", at=0.0
        ):
            return newest
        next_one = replace(family, version=number + 1, at=plane.clock())
        if plane.stores.families.put(next_one):
            plane.recall.get(f"family/{family.name}", plane.clock(), -1.0, partial(get, plane, family.name))
            return next_one
    raise Conflict(f"family {family.name} is being changed by somebody else; please try again")


def _family(plane: Plane, name: str, version: int | None = None) -> Family | None:
    key, age_s = (
        (f"family/{name}", FAMILY_AGE_MAX_S) if version is None else (f"family/{name}/{version}", VERSION_AGE_MAX_S)
    )
    return plane.recall.get(key, plane.clock(), age_s, lambda: plane.stores.families.get(name, version))


def _merged(family: Family, said: Mapping[str, Any], prefix: str, check: bool) -> dict[str, Any]:
    """`said` is sparse: what stands at its default was not said (see api/wire.py)."""
    under = family.defaults
    merged = {**under, **said, "family_version": family.version}
    for name in JOINED:
        if joined := {**under.get(name, {}), **said.get(name, {})}:
            merged[name] = joined
    source = [dict(family.source)] if family.source else []
    inputs = [_source(s) for s in source] + list(under.get("inputs", []))
    theirs = list(said.get("inputs", []))
    own = {i["path"] for i in theirs}
    merged["inputs"] = [i for i in inputs if i["path"] not in own] + theirs
    merged["outputs"] = list(under.get("outputs", [])) + [
        o for o in said.get("outputs", []) if o not in under.get("outputs", [])
    ]
    if family.schema and check:
        checked = parameters.checked(family, merged.get("parameters", {}), f"{prefix}parameters")
        merged |= {"parameters": checked} if checked else {}
    return merged


def _source(source: Mapping[str, Any]) -> dict[str, Any]:
    """The family's repository as an input."""
    git = {name: source[name] for name in ("url", "branch", "token") if source.get(name)}
    return {"path": source.get("path") or "source", "git": git}


def _refused(field: str, message: str) -> BadRequest:
    return BadRequest(f"{field}: {message}", (Fault(field, message),))

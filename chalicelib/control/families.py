"""Families: named job definitions. A submission that names one takes its defaults from it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from chalicelib.errors import BadRequest, Fault
from chalicelib.wiring import Plane

if TYPE_CHECKING:
    from chalicelib.api.job_wire import JobSpecWire

FAMILY_AGE_MAX_S = 10.0


def defaults(plane: Plane, name: str) -> Mapping[str, Any] | None:
    """What a family says, at most some seconds old; None: there is none of this name."""
    return plane.recall.get(
        f"family/{name}", plane.clock(), FAMILY_AGE_MAX_S, lambda: plane.stores.registry.family(name)
    )


def apply(plane: Plane, document: JobSpecWire, prefix: str = "") -> JobSpecWire:
    """The document with its family's defaults under it: what the submission leaves at its default, the family says.

    Raises BadRequest where the family is unknown.
    """
    name = document.family
    if name is None:
        return document
    family = defaults(plane, name)
    if family is None:
        fault = Fault(f"{prefix}family", f"there is no family named {name!r}")
        raise BadRequest(f"{fault.field}: {fault.message}", (fault,))
    said = msgspec.to_builtins(document)  # without defaults: see wire
    return msgspec.convert({**family, **said}, type(document))

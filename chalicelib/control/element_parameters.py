"""The parameters that an array's elements have of their own: one object in the bucket, as 10,000 of them fit into no row.

A process keeps those of the array that it was last asked about: they are megabytes, and a pass makes one array's elements after another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chalicelib.control import families, parameters
from chalicelib.core import job_parameters
from chalicelib.core.arrays import Array
from chalicelib.errors import BadRequest, CloudUnavailable, Fault
from chalicelib.wiring import Plane

KEPT_S = 300.0
FAULTS_MAX = 10
SLOT = "array parameters"


def checked(
    plane: Plane, own: Sequence[Mapping[str, Any]], common: Mapping[str, Any], of: tuple[str | None, int | None]
) -> list[dict[str, Any]]:
    """Each element's parameters together with those that all have in `common`, as the schema of the family that they are `of` (name and
    version) fills them in. Raises BadRequest with the first ten that are wrong.
    """
    name, version = of
    family = families.get(plane, name, version) if name else None
    found: list[dict[str, Any]] = []
    faults: list[Fault] = []
    for index, one in enumerate(own):
        given, field = {**common, **one}, f"elements[{index}]"
        faults += [
            Fault(fault.field.replace("parameters", field, 1), fault.message) for fault in job_parameters.faults(given)
        ]
        if family is not None and family.schema and not faults:
            try:
                given = parameters.checked(family, given, field)
            except BadRequest as error:
                faults += error.faults
        if len(faults) >= FAULTS_MAX:
            break
        found.append(given)
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults[:FAULTS_MAX]))
    return found


def key(array_id: str) -> str:
    return f"arrays/{array_id}/parameters.json"


def keep(plane: Plane, array_id: str, own: Sequence[Mapping[str, Any]]) -> None:
    """Write them, before the array's row."""
    plane.cloud.blobs.put(key(array_id), msgspec.json.encode(own))


def of(plane: Plane, array: Array, index: int) -> dict[str, Any]:
    """One element's own parameters. Raises CloudUnavailable."""
    if not array.listed:
        return {}
    kept = plane.recall.get(SLOT, plane.clock(), KEPT_S, lambda: _load(plane, array.id))
    if kept is None or kept[0] != array.id:
        plane.recall.forget(SLOT)
        kept = plane.recall.get(SLOT, plane.clock(), KEPT_S, lambda: _load(plane, array.id)) or _load(plane, array.id)
    given: dict[str, Any] = msgspec.json.decode(kept[1][index])
    return given


def _load(plane: Plane, array_id: str) -> tuple[str, list[msgspec.Raw]]:
    body = plane.cloud.blobs.get(key(array_id))
    if body is None:
        raise CloudUnavailable(
            f"the parameters of {array_id} are not in the bucket; its elements wait until they are there again"
        )
    return array_id, msgspec.json.decode(body, type=list[msgspec.Raw])

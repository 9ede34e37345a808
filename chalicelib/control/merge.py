"""Merging an array's results into one CSV in element order, once, when it has ended.

A message of the timers queue orders it ({"v": 1, "kind": "array", "array": id}). The rows of 10,000 jobs are read in parts, each of
which is kept in the bucket, so that a function that runs out of time or dies is followed by one that goes on; the last one puts the
parts together.
"""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.control import arrays, element_parameters
from chalicelib.core import merge
from chalicelib.core.arrays import Array, Results, element_id
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

PART = 1000  # elements
READ = 250
TIME_S = 15.0  # of the function's 30
BYTES_MAX = 48 << 20  # of all parts: what fits into the function's memory three times over


def merged_key(array_id: str) -> str:
    return f"arrays/{array_id}/results.csv"


def due(plane: Plane, array_id: str, looks: int = 0) -> None:
    """An array is to be looked at: to be cancelled further, to be ended, to have its results merged.

    `looks`: how many more looks in a row may be ordered, while it is being cancelled.
    """
    until = plane.clock() + TIME_S
    arrays.look(plane, array_id, until)
    array = plane.stores.arrays.get(array_id)
    if array is not None and array.cancel_requested and not array.ended and looks > 0:
        arrays.order(plane, array_id, arrays.AGAIN_S, looks=looks - 1)
    if array is not None and array.ended and array.results is None:
        _merge(plane, array, until)


def _merge(plane: Plane, array: Array, until: float) -> None:
    prefix = f"arrays/{array.id}/parts/"
    there = dict(plane.cloud.blobs.list(prefix))
    for first in range(0, array.count, PART):
        key = f"{prefix}{first:05d}.json"
        if key in there:
            continue
        if plane.clock() > until:
            arrays.order(plane, array.id)
            return
        body = msgspec.json.encode(_part(plane, array, range(first, min(first + PART, array.count))))
        plane.cloud.blobs.put(key, body)
        there[key] = len(body)
    if sum(there.values()) > BYTES_MAX:
        problem = (
            f"the results are {sum(there.values()) >> 20} MiB, too large for one table; read them element by element"
        )
        plane.stores.arrays.note_results(array.id, Results(problem=problem))
        return
    rows: list[dict[str, Any]] = []
    for key in sorted(there):
        rows += msgspec.json.decode(plane.cloud.blobs.get(key) or b"[]")
    text = merge.table(rows).encode("utf-8", "replace")
    plane.cloud.blobs.put(merged_key(array.id), text, "text/csv; charset=utf-8")
    plane.stores.arrays.note_results(array.id, Results(key=merged_key(array.id), bytes=len(text), rows=len(rows)))
    log.info("an array's results were merged", extra={"array": array.id, "rows": len(rows), "bytes": len(text)})


def _part(plane: Plane, array: Array, indices: range) -> list[dict[str, Any]]:
    rows = []
    for first in range(indices.start, indices.stop, READ):
        page = {index: element_id(array.id, index) for index in range(first, min(first + READ, indices.stop))}
        found = plane.stores.jobs.get_many(page.values())
        for index, job_id in page.items():
            job = found.get(job_id) or arrays.unmade(plane, array, index)
            rows.append(merge.row(job, element_parameters.of(plane, array, index)))
    return rows

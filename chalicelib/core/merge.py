"""An array's results as one table: a row for each element in order, a column for each thing that any of them says.

`result.<name>` are the members of an object in the element's result file, `parameters.<name>` what it was given; anything deeper stays
JSON. Text that a spreadsheet would take for a formula gets an apostrophe in front: what was graded wrote it, and a teacher opens it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from chalicelib.core.job import Job

FIXED = (
    "index",
    "job",
    "state",
    "attempt",
    "exit_code",
    "started_at",
    "finished_at",
    "cpu_s",
    "memory_peak_mib",
    "reason",
)
COLUMNS_MAX = 500  # beside the fixed ones; who has more finds them in `GET /arrays/{id}/elements`
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = Mapping[str, Any]


def row(job: Job, own: Mapping[str, Any]) -> dict[str, Any]:
    """What one element has to say; `own` are its own parameters."""
    finish = job.finish if job.ended else None
    said: dict[str, Any] = {
        "index": job.index,
        "job": job.id,
        "state": str(job.state),
        "attempt": job.attempt,
        "exit_code": finish.exit_code if finish else None,
        "started_at": finish.started_at if finish else None,
        "finished_at": finish.finished_at if finish else job.entered.get(job.state),
        "cpu_s": finish.cpu_s if finish else None,
        "memory_peak_mib": finish.memory_peak_mib if finish else None,
        "reason": job.reason,
    }
    said |= {f"parameters.{name}": value for name, value in own.items()}
    result = finish.result if finish else None
    if isinstance(result, dict):
        said |= {f"result.{name}": value for name, value in result.items()}
    elif result is not None:
        said["result"] = result
    return said


def table(rows: Sequence[Row]) -> str:
    """The rows as CSV (RFC 4180) with a head. Columns beyond the fixed ones come in the order in which they were first said."""
    columns = list(dict.fromkeys([*FIXED, *_said(rows)]))[: len(FIXED) + COLUMNS_MAX]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(map(_cell, columns))
    for one in rows:
        writer.writerow([_cell(one.get(name)) for name in columns])
    return text.getvalue()


def _said(rows: Iterable[Row]) -> Iterable[str]:
    names = dict.fromkeys(name for one in rows for name in one)
    yield from (name for name in names if name.startswith("parameters."))
    yield from (name for name in names if not name.startswith("parameters."))


def _cell(value: Any) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    number: int | float = value
    return number

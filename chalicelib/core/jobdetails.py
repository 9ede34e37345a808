"""aws-runner's `jobdetails.csv`: a header with `instance_type` and `command`, then one job a row. A row alone, without its header, is
understood too. Further columns are called like fields of a job: `timeout_s`, `memory_mib`, `pool` …

aws-runner had no timeouts, so a row that says none gets a day, or less where the pool allows less. Defaults of all rows may be kept in
a family named `jobdetails`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from typing import Any

from chalicelib.errors import BadRequest, Fault

FAMILY = "jobdetails"
HEADER = ("instance_type", "command")
TIMEOUT_S = 86_400
ROWS_MAX = 500
_TEXTS = ("command", "name", "pool", "owner", "family", "market", "image")
_NUMBERS: dict[str, Callable[[str], float]] = {
    "cpu": float,
    **dict.fromkeys(("memory_mib", "disk_mib", "slots", "timeout_s", "priority", "queue_ttl_s", "max_attempts"), int),
}
COLUMNS = frozenset({"instance_type", *_TEXTS, *_NUMBERS})


def read(body: str) -> list[dict[str, Any]]:
    """A job's document for each row; what a row does not say is left out. Raises BadRequest with the row and the column."""
    try:
        rows = [row for row in csv.reader(io.StringIO(body.lstrip("\ufeff"), newline=""), strict=True) if any(row)]
    except csv.Error as error:
        raise _refusal("", f"is neither JSON nor CSV: {_said(error)}") from None
    if not rows:
        raise _refusal("", "is empty")
    header: tuple[str, ...] = tuple(cell.strip() for cell in rows[0])
    headed = "command" in header
    if headed:
        del rows[0]
    elif "instance_type" in header:
        raise _refusal("the header", f"has no column `command`, only {', '.join(header)}")
    else:
        header = HEADER
    if unknown := [name for name in header if name not in COLUMNS]:
        raise _refusal(unknown[0], f"is no column that is known here; known are {', '.join(sorted(COLUMNS))}")
    if len(set(header)) != len(header):
        raise _refusal("", "names a column twice")
    if not rows:
        raise _refusal("", "has a header and no rows")
    if len(rows) > ROWS_MAX:
        raise _refusal("", f"has {len(rows)} rows; at most {ROWS_MAX} are taken in one message")
    if not headed and len(rows[0]) != len(header):
        raise _refusal(
            "", f"is neither JSON nor a header and rows, nor a row `{','.join(HEADER)}`; cells are separated by commas"
        )
    return [_document(header, row, f"row {number}") for number, row in enumerate(rows, 1)]


def _document(header: tuple[str, ...], row: list[str], where: str) -> dict[str, Any]:
    if len(row) != len(header):
        raise _refusal(where, f"has {len(row)} cells, and the header {len(header)}; quote a command that holds a comma")
    document: dict[str, Any] = {}
    for name, cell in zip(header, row, strict=True):
        text = cell.strip()
        if not text:
            continue
        if name == "instance_type":
            document["instance_types"] = [text]
        elif name in _NUMBERS:
            try:
                document[name] = _NUMBERS[name](text)
            except ValueError:
                raise _refusal(f"{where}, {name}", f"must be a number, not {text[:40]!r}") from None
        else:
            document[name] = text
    if "command" not in document and "family" not in document:
        raise _refusal(where, "has no command")
    return document


def _said(error: csv.Error) -> str:
    return "a quoted cell does not end" if str(error) == "unexpected end of data" else str(error)


def _refusal(where: str, message: str) -> BadRequest:
    return BadRequest(f"{where or 'the message'} {message}", (Fault(where, message),))

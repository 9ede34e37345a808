"""Job specs from a file: one row, one job. A bad row is told with its line and field, and spoils no other.

CSV cells are texts; what the API wants as numbers, booleans, lists or objects is converted here, lists and objects
from JSON. `environment.NAME` and `labels.NAME` columns fill those objects.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spillway.config import why
from spillway.errors import BadInput, FieldError, Refused

if TYPE_CHECKING:
    from _csv import Reader

    from spillway.client import Client
    from spillway.records import Job

ROWS_MAX = 100_000


@dataclass(frozen=True)
class Row:
    """One line of the file: the spec it means, or what is wrong with it."""

    line: int
    spec: dict[str, Any]
    problems: tuple[FieldError, ...] = ()


def _boolean(text: str) -> bool:
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if text.lower() not in words:
        raise ValueError("should be true or false")
    return words[text.lower()]


def _number(kind: type[int] | type[float], word: str) -> Callable[[str], float]:
    def convert(text: str) -> float:
        try:
            return kind(text)
        except ValueError:
            raise ValueError(f"should be a {word}, not {text!r}") from None

    return convert


def _json(kind: type, word: str) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        try:
            value = json.loads(text)
        except ValueError:
            value = None
        if not isinstance(value, kind):
            raise ValueError(f"should be {word} in JSON")
        return value

    return convert


_WHOLE, _REAL = _number(int, "whole number"), _number(float, "number")
CONVERT: dict[str, Callable[[str], Any]] = {
    **dict.fromkeys(
        (
            "pool",
            "command",
            "family",
            "adapter",
            "name",
            "owner",
            "result",
            "image",
            "market",
            "not_before",
            "after_on",
            "idempotency_key",
        ),
        str,
    ),
    **dict.fromkeys(
        (
            "memory_mib",
            "disk_mib",
            "cpu_s",
            "output_mib",
            "file_mib",
            "processes_max",
            "slots",
            "timeout_s",
            "priority",
            "max_attempts",
            "queue_ttl_s",
            "family_version",
            "stall_s",
            "hosts",
        ),
        _WHOLE,
    ),
    "cpu": _REAL,
    **dict.fromkeys(("network", "untrusted", "archive"), _boolean),
    **dict.fromkeys(
        ("environment", "labels", "parameters", "secrets", "notify", "checkpoint", "install"), _json(dict, "an object")
    ),
    **dict.fromkeys(("inputs", "outputs", "after", "retry_on", "instance_types"), _json(list, "a list")),
}


DOTTED = ("environment", "labels", "parameters", "secrets")


def _value(text: str) -> Any:
    """A parameter's value: JSON, or else a word."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def read_rows(file: Path, defaults: Mapping[str, Any]) -> list[Row]:
    """All rows of a CSV or JSON-lines file, each a spec over `defaults`. Raises BadInput if it cannot be read at all."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"{file} cannot be read: {why(error)}.") from error
    rows = _json_rows(text) if file.suffix in (".jsonl", ".ndjson", ".json") else _csv_rows(file, text)
    if len(rows) > ROWS_MAX:
        raise BadInput(f"{file} holds {len(rows)} rows; {ROWS_MAX} are the most that one batch may hold.")
    return [_checked(row, defaults) for row in rows]


def _json_rows(text: str) -> list[Row]:
    rows = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            spec = json.loads(line)
            problem = None if isinstance(spec, dict) else "should be a JSON object"
        except ValueError as error:
            spec, problem = {}, f"is not JSON: {error}"
        problems = (FieldError(f"line {number}", problem),) if problem else ()
        rows.append(Row(number, {} if problem else spec, problems))
    return rows


@contextmanager
def read_csv(file: Path, text: str) -> Iterator[Reader]:
    """Its rows. What is no CSV is BadInput, with the line."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    try:
        yield reader
    except csv.Error as error:
        wrong = "a quoted cell does not end" if str(error) == "unexpected end of data" else str(error)
        raise BadInput(f"{file}, line {reader.line_num}: {wrong}.") from error


def _csv_rows(file: Path, text: str) -> list[Row]:
    rows: list[Row] = []
    with read_csv(file, text) as reader:
        headers = [header.strip() for header in next(reader, [])]
        unknown = [h for h in headers if h not in CONVERT and h.partition(".")[0] not in DOTTED]
        if unknown or len(set(headers)) < len(headers):
            wrong = f"unknown columns {', '.join(map(repr, unknown))}" if unknown else "a column twice"
            raise BadInput(
                f"{file}, line 1: {wrong}. Known: {', '.join(CONVERT)}, {', '.join(f'{field}.NAME' for field in DOTTED)}."
            )
        start = reader.line_num + 1
        for cells in reader:
            if cells:
                rows.append(_csv_row(start, headers, cells))
            start = reader.line_num + 1
    return rows


def _csv_row(line: int, headers: Sequence[str], cells: Sequence[str]) -> Row:
    if len(cells) > len(headers):
        return Row(line, {}, (FieldError(f"line {line}", f"has {len(cells)} cells under {len(headers)} columns"),))
    spec: dict[str, Any] = {}
    problems = []
    for header, cell in zip(headers, cells, strict=False):
        if cell == "":
            continue
        field, _, key = header.partition(".")
        if key:
            spec.setdefault(field, {})[key] = _value(cell) if field == "parameters" else cell
            continue
        try:
            spec[field] = CONVERT[field](cell)
        except ValueError as error:
            problems.append(FieldError(f"line {line}, {field}", str(error)))
    return Row(line, spec, tuple(problems))


def _checked(row: Row, defaults: Mapping[str, Any]) -> Row:
    if row.problems:
        return row
    spec = {**defaults, **row.spec}
    command = spec.get("command")
    if command is None and not spec.get("family"):
        problem = FieldError(f"line {row.line}, command", "is required")
    elif command is not None and (not isinstance(command, str) or not command.strip()):
        problem = FieldError(f"line {row.line}, command", "should be a text that is not empty")
    else:
        return Row(row.line, spec)
    return Row(row.line, spec, (problem,))


_JOB_FIELD = re.compile(r"jobs\[(\d+)\]\.?(.*)")


def _by_line(rows: Sequence[Row], error: Refused) -> dict[int, list[FieldError]]:
    """The server's `jobs[3].cpu` as this file's `line 5, cpu`, by index of row; empty if it blames no row."""
    found: dict[int, list[FieldError]] = {}
    for problem in error.fields:
        match = _JOB_FIELD.fullmatch(problem.field)
        if match and int(match[1]) < len(rows):
            place = f"line {rows[int(match[1])].line}" + (f", {match[2]}" if match[2] else "")
            found.setdefault(int(match[1]), []).append(FieldError(place, problem.message))
    return found


def submit_rows(
    spillway: Client, rows: Sequence[Row], *, skip_bad: bool, submitted: int, file: Path
) -> tuple[list[Job], list[FieldError]]:
    """Submit these rows in one request: the jobs, and what the server refused of them (only with `skip_bad`).

    The server accepts all or none; with `skip_bad` the refused rows are left out and the others sent again.
    """
    left, skipped = list(rows), list[FieldError]()
    while left:
        try:
            return spillway.submit_many([row.spec for row in left]), skipped
        except Refused as error:
            by_line = _by_line(left, error)
            problems = [problem for found in by_line.values() for problem in found]
            if not by_line or not skip_bad:
                before = f"the {submitted} jobs before these are submitted" if submitted else "nothing was submitted"
                rows_refused = f"{len(by_line)} {'row is' if len(by_line) == 1 else 'rows are'} refused"
                said = rows_refused if by_line else error.sentence  # its own words count from 0 and know no lines
                raise BadInput(f"{file}: {said} ({before})", fields=problems or error.fields) from error
            skipped += problems
            left = [row for n, row in enumerate(left) if n not in by_line]
    return [], skipped

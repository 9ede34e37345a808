"""`spillway array …`: many like jobs as one thing."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish
from spillway.cli.submit import input_option
from spillway.cli.table import table
from spillway.config import why
from spillway.errors import BadInput
from spillway.rows import read_csv

if TYPE_CHECKING:
    from spillway.client import Client
    from spillway.records import Array

array = typer.Typer(
    help="Up to 10,000 like jobs in one request, followed and cancelled as one thing.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Id = Annotated[str, typer.Argument(metavar="ARRAY", help="The array's id.")]


@array.command()
@command
def submit(
    command_line: Annotated[
        str | None,
        typer.Argument(metavar="[COMMAND]", help="What each runs; it finds its number in $SPILLWAY_ARRAY_INDEX."),
    ] = None,
    count: Annotated[int | None, typer.Option(min=1, max=10_000, help="How many.")] = None,
    elements: Annotated[
        Path | None, typer.Option(help="Their parameters: CSV with a head, or JSON lines; one for each line.")
    ] = None,
    job: Annotated[Path | None, typer.Option(help="JSON: what the options here cannot say of the jobs.")] = None,
    family: Annotated[str | None, typer.Option(help="The family that says what is not said here.")] = None,
    pool: Annotated[str | None, typer.Option(help="The pool that runs them.")] = None,
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    cpu: Annotated[float | None, typer.Option(help="Cores that each reserves.")] = None,
    memory: Annotated[int | None, typer.Option(help="Memory that each reserves, MiB.")] = None,
    timeout: Annotated[
        int | None, typer.Option(min=1, help="Each is stopped after this many seconds (300 without a family).")
    ] = None,
    result: Annotated[str | None, typer.Option(help="A JSON file that each writes: columns of the table.")] = None,
    inputs: Annotated[list[str] | None, typer.Option("--input", help="PATH[:DEST]: for all. Repeatable.")] = None,
    after: Annotated[list[str] | None, typer.Option(help="A job or array that must succeed first. Repeatable.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit 1 unless all succeeded.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Wait at most this many seconds (exit 4).")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Submit an array: --count like jobs, or one for each line of --elements."""
    if (count is None) == (elements is None):
        raise BadInput("Say --count, how many, or --elements, a file with a line for each.")
    spec: dict[str, Any] = _document(job) if job else {}
    said = {
        "command": command_line,
        "family": family,
        "pool": pool,
        "name": name,
        "cpu": cpu,
        "memory_mib": memory,
        "timeout_s": timeout or (300 if family is None and "timeout_s" not in spec else None),
        "result": result,
        "after": list(after or ()) or None,
    }
    spec |= {field: value for field, value in said.items() if value is not None}
    own = read_elements(elements) if elements else None
    with connect(url, token, stage) as spillway:
        if inputs:
            spec["inputs"] = [spillway.upload(*input_option(text)) for text in inputs]
        submitted = spillway.arrays.submit(spec, count=count, elements=own)
        if wait:
            submitted = _waited(spillway, submitted, wait_timeout)
    _report(submitted, as_json=as_json, whole=wait)


@array.command()
@command
def show(
    array_id: Id,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit 1 unless all succeeded.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Wait at most this many seconds (exit 4).")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """An array, and how many of its elements are where."""
    with connect(url, token, stage) as spillway:
        found = spillway.arrays.get(array_id)
        if wait:
            found = _waited(spillway, found, wait_timeout)
    _report(found, as_json=as_json, whole=True, exit_code=wait)


@array.command(name="list")
@command
def list_arrays(
    pool: Annotated[str | None, typer.Option(help="The pool.")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """The newest arrays of a pool."""
    with connect(url, token, stage) as spillway:
        found = spillway.arrays.newest(pool)
    if as_json:
        emit({"items": [dataclasses.asdict(one) for one in found]})
        return
    table(["array", "name", "state", "elements", "reason"], [[a.id, a.name, a.state, a.count, a.reason] for a in found])


@array.command(name="elements")
@command
def list_elements(
    array_id: Id,
    state: Annotated[str | None, typer.Option(help="Only those that have ended so: failed, timed_out …")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """The elements of an array: their jobs, states and results."""
    with connect(url, token, stage) as spillway:
        found = list(spillway.arrays.elements(array_id, state=state))
    if as_json:
        emit({"items": [dataclasses.asdict(one) for one in found]})
        return
    rows = [
        [e.index, e.id, e.state, e.exit_code, e.reason if e.result is None else json.dumps(e.result)] for e in found
    ]
    table(["index", "job", "state", "exit", "result"], rows)


@array.command()
@command
def results(
    array_id: Id,
    into: Annotated[Path | None, typer.Option(help="Write the CSV there (else to stdout).")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """The results of all elements of an array that has ended, as one CSV in order."""
    with connect(url, token, stage) as spillway:
        if into is not None:
            spillway.arrays.download(array_id, into)
            if as_json:
                emit({"file": str(into)})
            else:
                typer.echo(f"{array_id} is in {into}.", err=True)
        elif as_json:
            emit({"items": spillway.arrays.results(array_id)})
        else:
            typer.echo(spillway.arrays.text(array_id), nl=False)


@array.command()
@command
def cancel(array_id: Id, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """Cancel an array: what waits never begins, what runs is told to end."""
    with connect(url, token, stage) as spillway:
        asked = spillway.arrays.cancel(array_id)
    if as_json:
        emit(dataclasses.asdict(asked))
    else:
        typer.echo(f"{asked.id} {asked.state if asked.ended else 'is being cancelled'}")


def read_elements(path: Path) -> list[dict[str, Any]]:
    """The parameters of each element. Cells of a CSV that are JSON (numbers, true, lists) are taken so, all others as text.

    Raises BadInput with the line: an element that is lost, or has another's cells, would be found when all have run.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {why(error)}") from None
    found = _csv_elements(path, text) if path.suffix.lower() == ".csv" else _json_elements(path, text)
    if not found or not all(isinstance(one, dict) for one in found):
        raise BadInput(f"{path} holds no parameters: one object in JSON a line, or a CSV with a head, is wanted.")
    return found


def _csv_elements(path: Path, text: str) -> list[dict[str, Any]]:
    found = []
    with read_csv(path, text) as reader:
        head = [name.strip() for name in next(reader, [])]
        if not all(head) or len(set(head)) < len(head):
            raise BadInput(f"{path}, line 1: each column needs a name of its own, and these are {', '.join(head)}.")
        for cells in reader:
            if cells and len(cells) != len(head):
                raise BadInput(f"{path}, line {reader.line_num}: {len(cells)} cells, and the head has {len(head)}.")
            if cells:
                found.append({name: _plain(cell) for name, cell in zip(head, cells, strict=True)})
    return found


def _json_elements(path: Path, text: str) -> list[Any]:
    found = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            if line.strip():
                found.append(json.loads(line))
        except ValueError as error:
            raise BadInput(f"{path}, line {number}: is not JSON: {error}") from None
    return found


def _plain(cell: str) -> Any:
    try:
        return json.loads(cell, parse_constant=lambda name: name)  # `NaN` is somebody's name, and no JSON
    except ValueError:
        return cell


def _document(path: Path) -> dict[str, Any]:
    try:
        document = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read: {why(error)}") from None
    if not isinstance(document, dict):
        raise BadInput(f"{path} holds no object in JSON.")
    return document


def _waited(spillway: Client, submitted: Array, timeout_s: float | None) -> Array:
    from spillway.cli.progress import Steps

    with Steps("Running", submitted.count) as progress:

        def seen(now: Array) -> None:
            ended = sum(n for state, n in now.counts.items() if state not in ("waiting", "placed"))
            progress.update(ended, " ".join(f"{n} {state}" for state, n in sorted(now.counts.items())))

        return spillway.arrays.wait(submitted.id, timeout_s=timeout_s, on_change=seen)


def _report(found: Array, *, as_json: bool, whole: bool, exit_code: bool = True) -> None:
    if as_json:
        emit(dataclasses.asdict(found))
    elif not whole:
        typer.echo(found.id)
    else:
        counted = ", ".join(f"{n} {state}" for state, n in sorted(found.counts.items()))
        typer.echo(f"{found.id} {found.state}: {counted}")
        if not found.ended and found.waiting_for:
            typer.echo(f"waits: {found.waiting_for}")
    if whole and exit_code and not found.succeeded:
        finish(JOB_DID_NOT_SUCCEED)

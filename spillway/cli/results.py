"""`spillway results JOB…`: results as a table, CSV or JSON, and the files that jobs left."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish
from spillway.cli.table import lasted, table

if TYPE_CHECKING:
    from spillway.client import Client
    from spillway.records import Job


@command
def results(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB", help="Job ids.")],
    into: Annotated[Path | None, typer.Option(help="Fetch the jobs' files into DIR/<job id>/.")] = None,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV; the result's plain fields become columns.")] = False,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Show how jobs ended and what they answered. Exit 1 unless all of them succeeded."""
    with connect(url, token, stage) as spillway:
        found = spillway.jobs(jobs)
        files = _fetch(spillway, found, into) if into is not None else {}
    if as_json:
        emit({"items": [{**dataclasses.asdict(job), "files": files.get(job.id, [])} for job in found]})
    elif as_csv:
        _csv(found)
    else:
        table(
            ["job", "name", "state", "exit", "ran", "result"],
            [
                [
                    job.id,
                    job.name,
                    job.state,
                    job.exit_code,
                    lasted(job.started_at, job.finished_at) if job.ended else "",
                    job.reason if job.result is None else json.dumps(job.result),
                ]
                for job in found
            ],
        )
    if into is not None:
        typer.echo(f"{sum(map(len, files.values()))} files are in {into}.", err=True)
    if not all(job.succeeded for job in found):
        finish(JOB_DID_NOT_SUCCEED)


def _fetch(spillway: Client, jobs: list[Job], into: Path) -> dict[str, list[str]]:
    """Download every output and result; what was written, by job id."""
    from spillway.cli.progress import Steps

    wanted = [(job, output) for job in jobs if job.outputs for output in spillway.outputs(job.id)]
    files: dict[str, list[str]] = {}
    with Steps("Fetching", len(wanted)) as progress:
        for job, output in wanted:
            files.setdefault(job.id, []).append(str(spillway.download(output, into / job.id)))
            progress.advance(output.path)
    for job in jobs:
        if job.result is not None:
            target = into / job.id / "result.json"
            if str(target) not in files.get(job.id, []):
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(json.dumps(job.result, indent=2) + "\n")
                files.setdefault(job.id, []).append(str(target))
    return files


def _csv(jobs: list[Job]) -> None:
    import csv

    plain = [_plain(job.result) for job in jobs]
    columns = list(dict.fromkeys(name for answer in plain for name in answer))
    writer = csv.writer(sys.stdout)
    writer.writerow(["job", "name", "state", "exit_code", *(f"result.{name}" for name in columns)])
    for job, answer in zip(jobs, plain, strict=True):
        cells = [job.id, job.name, job.state, job.exit_code, *(answer.get(name) for name in columns)]
        writer.writerow([_cell(cell) for cell in cells])


def _plain(result: Any) -> dict[str, Any]:
    """The fields of a result that fit into a cell."""
    if not isinstance(result, dict):
        return {}
    return {k: v for k, v in result.items() if isinstance(v, str | int | float | bool)}


def _cell(value: Any) -> Any:
    """A spreadsheet runs texts that begin like a formula; such texts come from untrusted programs."""
    return f"'{value}" if isinstance(value, str) and value[:1] in ("=", "+", "-", "@", "\t", "\r") else value

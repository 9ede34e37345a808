"""`spillway batch FILE`: many jobs from a CSV or JSON-lines file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish
from spillway.cli.submit import wait_with_bar
from spillway.errors import BadInput

if TYPE_CHECKING:
    from spillway.records import Job


@command
def batch(
    file: Annotated[
        Path, typer.Argument(help="CSV (columns are JobSpec fields) or JSON lines (.jsonl, .ndjson, .json).")
    ],
    pool: Annotated[str | None, typer.Option(help="For rows that name no pool.")] = None,
    timeout: Annotated[int, typer.Option(min=1, help="For rows that name no timeout_s.")] = 300,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Submit the good rows, tell the bad ones.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for all; exit 1 unless all succeeded.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Wait at most this many seconds (exit 4).")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Submit many jobs. Nothing is submitted unless every row is good, or --skip-bad is given."""
    from spillway.cli.progress import Steps
    from spillway.client import BATCH_MAX
    from spillway.rows import read_rows, submit_rows

    rows = read_rows(file, {"timeout_s": timeout} | ({"pool": pool} if pool else {}))
    bad = [problem for row in rows for problem in row.problems]
    good = [row for row in rows if not row.problems]
    if bad and not skip_bad:
        raise BadInput(f"{file}: nothing was submitted; --skip-bad submits the other rows.", fields=bad)
    if not good:
        raise BadInput(f"{file} holds no job." if not bad else f"{file} holds no good row.", fields=bad)
    jobs: list[Job] = []
    with connect(url, token, stage) as spillway:
        with Steps("Submitting", len(good)) as progress:
            for start in range(0, len(good), BATCH_MAX):
                part = good[start : start + BATCH_MAX]
                accepted, refused = submit_rows(spillway, part, skip_bad=skip_bad, submitted=len(jobs), file=file)
                jobs += accepted
                bad += refused
                progress.update(start + len(part))
        ids = [job.id for job in jobs]
        if wait and ids:
            jobs = wait_with_bar(spillway, ids, wait_timeout, "Running")
    for problem in bad:
        typer.echo(f"Skipped {problem}", err=True)
    if as_json:
        emit(
            {
                "items": [dataclasses.asdict(job) for job in jobs],
                "skipped": [{"field": problem.field, "message": problem.message} for problem in bad],
            }
        )
    else:
        for job in jobs:
            typer.echo(f"{job.id}\t{job.state}\t{job.name or ''}" if wait else job.id)
    if wait and not all(job.succeeded for job in jobs):
        finish(JOB_DID_NOT_SUCCEED)

"""`spillway cancel JOB…`."""

from __future__ import annotations

import dataclasses
from typing import Annotated

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit


@command
def cancel(
    jobs: Annotated[list[str], typer.Argument(metavar="JOB", help="Job ids.")],
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Ask for jobs to be cancelled. One that waits ends at once, one that runs a moment later; one that has ended stays as it is."""
    with connect(url, token, stage) as spillway:
        asked = [spillway.cancel(job) for job in jobs]
    if as_json:
        emit({"items": [dataclasses.asdict(job) for job in asked]})
        return
    for job in asked:
        typer.echo(f"{job.id} {job.state if job.ended or not job.cancel_requested else 'is being cancelled'}")

"""`spillway logs JOB`."""

from __future__ import annotations

from typing import Annotated

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import harmless


@command
def logs(
    job: Annotated[str, typer.Argument(help="The job's id; with --install also a host's.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job has ended.")] = False,
    start: Annotated[int, typer.Option("--from", min=0, help="Begin at this byte.")] = 0,
    rank: Annotated[int | None, typer.Option(min=0, help="Of which host, of a job on several.")] = None,
    install: Annotated[
        bool, typer.Option("--install", help="What the install printed on that host, or on the job's host.")
    ] = False,
    version: Annotated[
        str | None, typer.Option(help="Which install, by the beginning of its version; else the last one.")
    ] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Print a job's log, or an install's. What its program wrote is printed as it is; on a terminal, without control characters."""
    import sys

    with connect(url, token, stage) as spillway:
        if install:
            pieces = spillway.install_log_parts(job, version=version, follow=follow, start=start)
        else:
            pieces = spillway.log_parts(job, follow=follow, start=start, rank=rank)
        if as_json:
            parts = list(pieces)
            emit(
                {
                    "job": job,
                    "from": start,
                    "next": parts[-1].next if parts else start,
                    "text": "".join(part.text for part in parts),
                    "complete": bool(parts) and parts[-1].complete,
                    "cut": any(part.cut for part in parts),
                }
            )
            return
        cut = False
        for part in pieces:
            typer.echo(harmless(part.text) if sys.stdout.isatty() else part.text, nl=False)
            cut = cut or part.cut
        if cut:
            typer.echo("[The log was cut: it reached the pool's limit.]", err=True)

"""`spillway submit`: one job from the command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish
from spillway.errors import BadInput

if TYPE_CHECKING:
    from spillway.client import Client
    from spillway.records import Job


@command
def submit(
    command_line: Annotated[str, typer.Argument(metavar="COMMAND", help="What to run, by /bin/sh -c, in quotes.")],
    pool: Annotated[str, typer.Option(help="The pool that runs it.")] = "default",
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whom it is billed to.")] = None,
    cpu: Annotated[float, typer.Option(help="Cores reserved.")] = 1.0,
    memory: Annotated[int, typer.Option(help="Memory reserved and allowed, MiB.")] = 512,
    timeout: Annotated[int, typer.Option(min=1, help="Stopped after this many seconds.")] = 300,
    priority: Annotated[int, typer.Option(help="0 first … 9 last.")] = 5,
    attempts: Annotated[int, typer.Option(help="Begin it at most this often.")] = 1,
    network: Annotated[bool, typer.Option("--network", help="Let it use the network.")] = False,
    trusted: Annotated[bool, typer.Option("--trusted", help="It needs no sandbox.")] = False,
    inputs: Annotated[
        list[str] | None, typer.Option("--input", help="PATH[:DEST]: upload a file or folder. Repeatable.")
    ] = None,
    outputs: Annotated[list[str] | None, typer.Option("--output", help="GLOB of files to keep. Repeatable.")] = None,
    result: Annotated[str | None, typer.Option(help="A JSON file it writes, that becomes its result.")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", help="NAME=VALUE. Repeatable.")] = None,
    label: Annotated[list[str] | None, typer.Option("--label", help="NAME=VALUE. Repeatable.")] = None,
    key: Annotated[str | None, typer.Option(help="Idempotency key: the same key returns the same job.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until it has ended; exit 1 unless it succeeded.")] = False,
    wait_timeout: Annotated[float | None, typer.Option(help="Wait at most this many seconds (exit 4).")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Submit one job. Prints its id; with --wait, its end."""
    spec: dict[str, Any] = {
        "command": command_line,
        "pool": pool,
        "cpu": cpu,
        "memory_mib": memory,
        "timeout_s": timeout,
        "priority": priority,
        "max_attempts": attempts,
        "network": network,
        "untrusted": not trusted,
    }
    optional = {
        "name": name,
        "owner": owner,
        "result": result,
        "outputs": outputs,
        "idempotency_key": key,
        "environment": pairs(env, "--env"),
        "labels": pairs(label, "--label"),
    }
    spec |= {field: value for field, value in optional.items() if value}
    with connect(url, token, stage) as spillway:
        if inputs:
            spec["inputs"] = [spillway.upload(*input_option(text)) for text in inputs]
        job = spillway.submit_spec(spec)
        if wait:
            job = wait_with_bar(spillway, [job.id], wait_timeout, "Waiting")[0]
    report(job, as_json=as_json, waited=wait)
    if wait and not job.succeeded:
        finish(JOB_DID_NOT_SUCCEED)


def report(job: Job, *, as_json: bool, waited: bool) -> None:
    """Print one job: as JSON, or its id and, if it has been waited for, how it ended."""
    if as_json:
        emit(dataclasses.asdict(job))
    elif not waited:
        typer.echo(job.id)
    else:
        ended = f"{job.id} {job.state}" + (f": {job.reason}" if job.reason else "")
        typer.echo(ended if job.result is None else f"{ended}\n{job.result}")


def wait_with_bar(spillway: Client, ids: list[str], timeout_s: float | None, title: str) -> list[Job]:
    """`Client.wait` with a progress bar on stderr."""
    from spillway.cli.progress import JobsProgress

    with JobsProgress(title, len(ids)) as progress:
        return spillway.wait(ids, timeout_s=timeout_s, on_change=progress.seen)


def input_option(text: str) -> tuple[str, str | None]:
    """`PATH[:DEST]` as (path, destination). A path that exists as written wins over the colon in it."""
    if Path(text).exists() or ":" not in text:
        return text, None
    path, _, destination = text.rpartition(":")
    if not destination:
        raise BadInput(f"--input {text!r}: the destination after the colon is empty.")
    return path, destination


def pairs(options: list[str] | None, flag: str) -> dict[str, str]:
    """`NAME=VALUE` options as a dict. Raises BadInput."""
    found: dict[str, str] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not name or not equals:
            raise BadInput(f"{flag} {option!r} should read NAME=VALUE.")
        found[name] = value
    return found

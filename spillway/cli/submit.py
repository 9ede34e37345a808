"""`spillway submit`: one job from the command line."""

from __future__ import annotations

import dataclasses
import json
import re
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, command, emit, finish
from spillway.errors import BadInput

if TYPE_CHECKING:
    from spillway.client import Client
    from spillway.records import Job

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@command
def submit(
    command_line: Annotated[
        str | None, typer.Argument(metavar="[COMMAND]", help="What to run, by /bin/sh -c, in quotes.")
    ] = None,
    family: Annotated[str | None, typer.Option(help="The family that says what is not said here.")] = None,
    adapter: Annotated[
        str | None, typer.Option(help="Whose grader it is: gradescope, prairielearn or coursera.")
    ] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="NAME=VALUE (JSON or a word). Repeatable.")
    ] = None,
    not_before: Annotated[
        str | None,
        typer.Option(
            "--not-before", metavar="TIME", help="2026-12-01T14:00, in this machine's zone unless it says one."
        ),
    ] = None,
    after: Annotated[
        list[str] | None, typer.Option(help="A job or array that must have ended well first. Repeatable.")
    ] = None,
    after_any: Annotated[bool, typer.Option("--after-any", help="… that must have ended, well or not.")] = False,
    pool: Annotated[str, typer.Option(help="The pool that runs it.")] = "default",
    name: Annotated[str | None, typer.Option(help="A name for people.")] = None,
    owner: Annotated[str | None, typer.Option(help="Whom it is billed to.")] = None,
    cpu: Annotated[float, typer.Option(help="Cores reserved.")] = 1.0,
    memory: Annotated[int, typer.Option(help="Memory reserved and allowed, MiB.")] = 512,
    hosts: Annotated[int | None, typer.Option(min=1, help="On so many hosts at once, which begin together.")] = None,
    timeout: Annotated[
        int | None,
        typer.Option(min=1, help="Stopped after this many seconds (else what its family or adapter says, or 300)."),
    ] = None,
    priority: Annotated[int, typer.Option(help="0 first … 9 last.")] = 5,
    attempts: Annotated[int, typer.Option(help="Begin it at most this often.")] = 1,
    retry_on: Annotated[
        list[str] | None,
        typer.Option(
            "--retry-on",
            help="What is worth another attempt: infrastructure, interruption, timeout, failure, exit:75. Repeatable; else all.",
        ),
    ] = None,
    queue_ttl: Annotated[
        int | None, typer.Option(min=1, help="Skip it when it has waited for so many seconds.")
    ] = None,
    instance_types: Annotated[
        list[str] | None, typer.Option("--instance-type", help="Only on such hosts: c7i.*, or a name. Repeatable.")
    ] = None,
    market: Annotated[str | None, typer.Option(help="Only on spot or on_demand hosts.")] = None,
    network: Annotated[bool, typer.Option("--network", help="Let it use the network.")] = False,
    trusted: Annotated[bool, typer.Option("--trusted", help="It needs no sandbox.")] = False,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            help="PATH[:DEST]: upload a file or folder; s3://BUCKET/KEY[:DEST]: an object. DEST/: unpack it there. Repeatable.",
        ),
    ] = None,
    git: Annotated[list[str] | None, typer.Option(help="URL[#BRANCH]: a repository to clone. Repeatable.")] = None,
    git_token: Annotated[str | None, typer.Option(help="ssm:NAME: the secret that opens the repositories.")] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", help="[NAME=]GLOB: files to keep. Repeatable.")
    ] = None,
    result: Annotated[str | None, typer.Option(help="A JSON file it writes, that becomes its result.")] = None,
    env: Annotated[list[str] | None, typer.Option("--env", help="NAME=VALUE. Repeatable.")] = None,
    secret: Annotated[
        list[str] | None, typer.Option("--secret", help="NAME=ssm:NAME or NAME=secretsmanager:NAME. Repeatable.")
    ] = None,
    disk: Annotated[int | None, typer.Option(min=1, help="Of its work folder, MiB (else 2048).")] = None,
    install: Annotated[
        Path | None,
        typer.Option(help="A script that each host runs once, as its own user, before the job."),
    ] = None,
    cpu_time: Annotated[
        int | None, typer.Option(min=1, help="Processor time of all its processes together, seconds.")
    ] = None,
    output_size: Annotated[int | None, typer.Option(min=1, help="What it may print, MiB (else 1024).")] = None,
    file_size: Annotated[int | None, typer.Option(min=1, help="Of any one file it writes, MiB.")] = None,
    processes: Annotated[int | None, typer.Option(min=8, help="Processes and threads at a time (else 256).")] = None,
    checkpoint: Annotated[
        int | None,
        typer.Option(
            min=5, help="Keep what it writes into $SPILLWAY_CHECKPOINT_DIR every so many seconds, for its next attempt."
        ),
    ] = None,
    stall: Annotated[
        int | None, typer.Option(min=1, help="An alarm when it tells no progress for so many seconds.")
    ] = None,
    archive: Annotated[bool, typer.Option("--archive", help="Keep its whole work folder as it is at the end.")] = False,
    webhook: Annotated[str | None, typer.Option(help="HTTPS address that is told of its end.")] = None,
    notice: Annotated[bool, typer.Option("--notice", help="Tell its end on the notices topic.")] = False,
    image: Annotated[
        str | None, typer.Option(help="The container's image that it runs in (pools of containers only).")
    ] = None,
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
    if command_line is None and family is None and adapter is None:
        raise BadInput("Say COMMAND, what to run, or --family, or --adapter.")
    spec: dict[str, Any] = {
        "pool": pool,
        "cpu": cpu,
        "memory_mib": memory,
        "priority": priority,
        "max_attempts": attempts,
        "network": network,
        "untrusted": not trusted,
    }
    optional = {
        "command": command_line,
        "timeout_s": timeout or (300 if family is None and adapter is None else None),
        "family": family,
        "adapter": adapter,
        "parameters": parameters(parameter),
        "not_before": moment(not_before, "--not-before") if not_before else None,
        "after": list(after or ()),
        "after_on": "finish" if after_any else None,
        "retry_on": retry_on,
        "queue_ttl_s": queue_ttl,
        "instance_types": instance_types,
        "market": market,
        "name": name,
        "owner": owner,
        "result": result,
        "outputs": [output_option(text) for text in outputs or ()],
        "secrets": pairs(secret, "--secret"),
        "disk_mib": disk,
        "install": _install(install),
        "cpu_s": cpu_time,
        "output_mib": output_size,
        "file_mib": file_size,
        "processes_max": processes,
        "checkpoint": {"interval_s": checkpoint} if checkpoint else None,
        "stall_s": stall,
        "hosts": hosts,
        "image": image,
        "archive": archive,
        "notify": notify(webhook, notice),
        "idempotency_key": key,
        "environment": pairs(env, "--env"),
        "labels": pairs(label, "--label"),
    }
    spec |= {field: value for field, value in optional.items() if value}
    with connect(url, token, stage) as spillway:
        entries = [
            s3_input(text) if text.startswith("s3://") else spillway.upload(*input_option(text))
            for text in inputs or ()
        ]
        entries += [git_input(text, git_token) for text in git or ()]
        spec |= {"inputs": entries} if entries else {}
        job = spillway.submit_spec(spec)
        if wait:
            job = wait_with_bar(spillway, [job.id], wait_timeout, "Waiting")[0]
    report(job, as_json=as_json, waited=wait)
    if wait and not job.succeeded:
        finish(JOB_DID_NOT_SUCCEED)


def _install(script: Path | None) -> dict[str, str] | None:
    if script is None:
        return None
    try:
        return {"script": script.read_text()}
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--install {script} cannot be read: {error}.") from None


def notify(webhook: str | None, notice: bool) -> dict[str, Any] | None:
    """Who is told of the end; None: nobody."""
    wanted = {"webhook": webhook, "topic": notice}
    return {name: value for name, value in wanted.items() if value} or None


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


def s3_input(text: str) -> dict[str, Any]:
    """`s3://BUCKET/KEY[:DEST]` as an entry of `inputs`; a DEST that ends in a slash is a folder, into which an archive is unpacked."""
    address, _, destination = text.removeprefix("s3://").partition(":")
    path = destination.rstrip("/") or (PurePosixPath(address).name if not destination else ".")
    return {"path": path, "s3": f"s3://{address}", "unpack": destination.endswith("/")}


def git_input(text: str, token: str | None) -> dict[str, Any]:
    """`URL[#BRANCH]` as an entry of `inputs`: a folder that is called like the repository."""
    url, _, branch = text.partition("#")
    source = {"url": url, "branch": branch, "token": token}
    return {
        "path": PurePosixPath(url.rstrip("/")).name.removesuffix(".git") or "repository",
        "git": {key: value for key, value in source.items() if value},
    }


def output_option(text: str) -> str | dict[str, str]:
    """`[NAME=]GLOB` as an entry of `outputs`."""
    name, equals, glob = text.partition("=")
    return {"name": name, "glob": glob} if equals and _NAME.fullmatch(name) and glob else text


def input_option(text: str) -> tuple[str, str | None]:
    """`PATH[:DEST]` as (path, destination). A path that exists as written wins over the colon in it."""
    if Path(text).exists() or ":" not in text:
        return text, None
    path, _, destination = text.rpartition(":")
    if not destination:
        raise BadInput(f"--input {text!r}: the destination after the colon is empty.")
    return path, destination


def parameters(options: list[str] | None) -> dict[str, Any]:
    """`NAME=VALUE` options with values that are JSON, or else words. Raises BadInput."""
    found: dict[str, Any] = {}
    for name, text in pairs(options, "--parameter").items():
        try:
            found[name] = json.loads(text)
        except ValueError:
            found[name] = text
    return found


def moment(text: str, option: str) -> str:
    """ISO 8601 with a zone: this machine's where it names none. Raises BadInput."""
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.astimezone()).isoformat()
    except (ValueError, OverflowError, OSError):
        raise BadInput(f"{option}: {text!r} is no time; say it as 2026-12-01T14:00.") from None


def pairs(options: list[str] | None, flag: str) -> dict[str, str]:
    """`NAME=VALUE` options as a dict. Raises BadInput."""
    found: dict[str, str] = {}
    for option in options or []:
        name, equals, value = option.partition("=")
        if not name or not equals:
            raise BadInput(f"{flag} {option!r} should read NAME=VALUE.")
        found[name] = value
    return found

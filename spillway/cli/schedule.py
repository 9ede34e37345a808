"""`spillway schedule`: jobs that are submitted by the clock."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from spillway.cli.family import read_json
from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.submit import parameters
from spillway.cli.table import clock, table
from spillway.errors import BadInput

schedule = typer.Typer(help="Schedules: jobs submitted by the clock.", no_args_is_help=True, rich_markup_mode=None)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule.")]
Limit = Annotated[int, typer.Option(min=1, max=100, help="How many.")]


@schedule.command(name="list")
@command
def list_schedules(url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """All schedules that the token may see."""
    with connect(url, token, stage) as spillway:
        found = spillway.schedules()
    if as_json:
        emit({"items": found})
        return
    rows = [[s["name"], s["timing"], s["zone"], _next(s), s["owner"], s["last_job"]] for s in found]
    table(("name", "timing", "zone", "next", "owner", "last job"), rows)


@schedule.command()
@command
def show(name: Name, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """One schedule and its next fires."""
    with connect(url, token, stage) as spillway:
        found = spillway.schedule(name)
    _shown(found, as_json=as_json)


@schedule.command()
@command
def put(
    name: Name,
    timing: Annotated[
        str,
        typer.Argument(
            metavar="TIMING", help="Cron (5 fields, or Quartz's 6 or 7), cron(…), rate(…) or at(…), in quotes."
        ),
    ],
    job: Annotated[Path | None, typer.Option(help="A JSON file with the job; - reads stdin.")] = None,
    family: Annotated[str | None, typer.Option(help="The family that says what runs.")] = None,
    parameter: Annotated[
        list[str] | None, typer.Option("--parameter", help="NAME=VALUE (JSON or a word). Repeatable.")
    ] = None,
    command_line: Annotated[str | None, typer.Option("--command", help="What to run.")] = None,
    timeout: Annotated[int | None, typer.Option(min=1, help="Stopped after this many seconds.")] = None,
    pool: Annotated[str | None, typer.Option(help="The pool that runs it.")] = None,
    zone: Annotated[str, typer.Option(help="The time zone, e.g. Europe/Berlin.")] = "UTC",
    misfire: Annotated[str, typer.Option(help="once or skip: what becomes of fires that were missed.")] = "once",
    overlap: Annotated[
        str, typer.Option(help="allow, skip, queue or replace: while the last fire's job has not ended.")
    ] = "allow",
    adverse: Annotated[str, typer.Option(help="skip or submit: while its pool is killed or protected.")] = "skip",
    paused: Annotated[bool, typer.Option("--paused", help="It fires when it is resumed.")] = False,
    owner: Annotated[str | None, typer.Option(help="Whom its jobs are billed to.")] = None,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Make a schedule, or replace it: spillway schedule put nightly "30 2 * * *" --zone Europe/Berlin --family grading."""
    said = {"family": family, "command": command_line, "timeout_s": timeout, "pool": pool}
    document = read_json(job) if job is not None else {}
    document |= {field: value for field, value in said.items() if value is not None}
    if values := parameters(parameter):
        document["parameters"] = {**document.get("parameters", {}), **values}
    if not document:
        raise BadInput("Say what runs: --family, --command or --job FILE.")
    facts: dict[str, Any] = {"zone": zone, "misfire": misfire, "overlap": overlap, "adverse": adverse, "paused": paused}
    facts |= {"owner": owner} if owner else {}
    with connect(url, token, stage) as spillway:
        made = spillway.put_schedule(name, timing, document, **facts)
    _shown(made, as_json=as_json)


@schedule.command()
@command
def pause(name: Name, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """Let it fire no more, until it is resumed."""
    with connect(url, token, stage) as spillway:
        found = spillway.pause_schedule(name)
    _shown(found, as_json=as_json)


@schedule.command()
@command
def resume(name: Name, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """Let it fire again, from now on; what was due while it was paused is not made up for."""
    with connect(url, token, stage) as spillway:
        found = spillway.resume_schedule(name)
    _shown(found, as_json=as_json)


@schedule.command()
@command
def run(name: Name, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """Submit its job now; the fires to come stay as they are. Prints the job's id."""
    import dataclasses

    with connect(url, token, stage) as spillway:
        job = spillway.run_schedule(name)
    if as_json:
        emit(dataclasses.asdict(job))
    else:
        typer.echo(job.id)


@schedule.command()
@command
def delete(name: Name, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False) -> None:
    """Delete it; its jobs stay."""
    with connect(url, token, stage) as spillway:
        gone = spillway.delete_schedule(name)
    if as_json:
        emit(gone)
    else:
        typer.echo(f"{name} is deleted")


@schedule.command(name="next")
@command
def next_fires(
    name: Name, limit: Limit = 10, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False
) -> None:
    """When it fires next, in its own zone; and what is special where clocks are changed."""
    with connect(url, token, stage) as spillway:
        found = spillway.next_fires(name, limit)
    if as_json:
        emit({"items": found})
    elif not found:
        typer.echo(f"{name} fires no more: it is over, or paused (`spillway schedule resume {name}`).")
    else:
        table(("when", "note"), [[f["local"], f["note"]] for f in found])


@schedule.command()
@command
def fires(
    name: Name, limit: Limit = 10, url: Url = None, token: Token = None, stage: Stage = None, as_json: Json = False
) -> None:
    """What became of its last fires, and why."""
    with connect(url, token, stage) as spillway:
        found = spillway.fires(name, limit)
    if as_json:
        emit({"items": found})
    else:
        table(("when", "outcome", "job", "reason"), [[f["local"], f["outcome"], f["job"], f["reason"]] for f in found])


def _shown(found: Mapping[str, Any], *, as_json: bool) -> None:
    if as_json:
        emit(dict(found))
        return
    typer.echo(f"{found['name']}, version {found['version']}: {found['timing']} ({found['zone']}), next {_next(found)}")
    typer.echo(f"misfire: {found['misfire']}, overlap: {found['overlap']}, adverse: {found['adverse']}")
    for fire in found["next"]:
        typer.echo(f"  {fire['local']}" + (f"  ({fire['note']})" if fire["note"] else ""))
    if found["last_at"] is not None:
        typer.echo(f"last fired {clock(found['last_at'])}" + (f": {found['last_job']}" if found["last_job"] else ""))


def _next(found: Mapping[str, Any]) -> str:
    return "paused" if found["paused"] else found["next"][0]["local"] if found["next"] else "never"

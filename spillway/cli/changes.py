"""`spillway cancel`, `retry`, `reprioritise`: jobs by their ids, or all that match a filter. These are counted first, then confirmed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import JOB_DID_NOT_SUCCEED, OK, command, emit, finish
from spillway.cli.submit import pairs
from spillway.cli.table import counted
from spillway.errors import BadInput

if TYPE_CHECKING:
    from spillway.client import Client
    from spillway.records import Bulk, Job

SHOWN_MAX = 10

Jobs = Annotated[list[str] | None, typer.Argument(metavar="JOB", help="Job ids; or say by options which jobs.")]
PoolOf = Annotated[str | None, typer.Option("--pool", help="All jobs of this pool.")]
State = Annotated[list[str] | None, typer.Option("--state", help="… that are in this state. Repeatable.")]
OwnerOf = Annotated[str | None, typer.Option("--owner", help="… of this owner.")]
FamilyOf = Annotated[str | None, typer.Option("--family", help="… of this family.")]
ArrayOf = Annotated[str | None, typer.Option("--array", help="… of this array.")]
Label = Annotated[list[str] | None, typer.Option("--label", help="… with NAME=VALUE. Repeatable.")]
Since = Annotated[str | None, typer.Option("--since", help="… submitted since (2026-12-01T14:00:00+01:00).")]
Until = Annotated[str | None, typer.Option("--until", help="… submitted before.")]
Expect = Annotated[int | None, typer.Option("--expect", min=0, help="Do it if so many match; nothing is asked.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it to as many as match now; nothing is asked.")]

_DOES = {"cancel": "cancels", "retry": "runs again", "reprioritise": "moves to another class"}


@command
def cancel(
    jobs: Jobs = None,
    pool: PoolOf = None,
    state: State = None,
    owner: OwnerOf = None,
    family: FamilyOf = None,
    array: ArrayOf = None,
    label: Label = None,
    since: Since = None,
    until: Until = None,
    expect: Expect = None,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Ask for jobs to be cancelled. One that waits ends at once, one that runs a moment later; one that has ended stays as it is."""
    which = _which(jobs, pool, state, owner, family, array, label, since, until)
    with connect(url, token, stage) as spillway:
        if which is not None:
            _many(spillway, "cancel", which, None, expect, yes=yes, as_json=as_json)
        asked = [spillway.cancel(job) for job in jobs or ()]
    if as_json:
        emit({"items": [dataclasses.asdict(job) for job in asked]})
        return
    for job in asked:
        typer.echo(f"{job.id} {job.state if job.ended or not job.cancel_requested else 'is being cancelled'}")


@command
def retry(
    jobs: Jobs = None,
    priority: Annotated[int | None, typer.Option(min=0, max=9, help="In this class: 0 first … 9 last.")] = None,
    pool: PoolOf = None,
    state: State = None,
    owner: OwnerOf = None,
    family: FamilyOf = None,
    array: ArrayOf = None,
    label: Label = None,
    since: Since = None,
    until: Until = None,
    expect: Expect = None,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Run jobs that have ended again, each as a new job. Prints the new ids."""
    which = _which(jobs, pool, state, owner, family, array, label, since, until)
    with connect(url, token, stage) as spillway:
        if which is not None:
            _many(spillway, "retry", which, priority, expect, yes=yes, as_json=as_json)
        again = [spillway.retry(job, priority=priority) for job in jobs or ()]
    if as_json:
        emit({"items": [dataclasses.asdict(job) for job in again]})
        return
    for job in again:
        typer.echo(job.id)


@command
def reprioritise(
    priority: Annotated[int, typer.Argument(min=0, max=9, metavar="PRIORITY", help="0 first … 9 last.")],
    jobs: Jobs = None,
    pool: PoolOf = None,
    state: State = None,
    owner: OwnerOf = None,
    family: FamilyOf = None,
    array: ArrayOf = None,
    label: Label = None,
    since: Since = None,
    until: Until = None,
    expect: Expect = None,
    yes: Yes = False,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Put jobs into another priority class. One that is on a host keeps it, and waits by the new class where it has to wait again."""
    which = _which(jobs, pool, state, owner, family, array, label, since, until)
    with connect(url, token, stage) as spillway:
        if which is not None:
            _many(spillway, "reprioritise", which, priority, expect, yes=yes, as_json=as_json)
        moved = [spillway.reprioritise(job, priority) for job in jobs or ()]
    if as_json:
        emit({"items": [dataclasses.asdict(job) for job in moved]})
        return
    for job in moved:
        typer.echo(f"{job.id} has priority {job.priority}{_soon(job)}")


def _soon(job: Job) -> str:
    return "" if job.expected_wait_s is None else f" and is expected to begin in about {job.expected_wait_s:.0f} s"


def _which(
    jobs: list[str] | None,
    pool: str | None,
    state: list[str] | None,
    owner: str | None,
    family: str | None,
    array: str | None,
    label: list[str] | None,
    since: str | None,
    until: str | None,
) -> dict[str, Any] | None:
    """The filter that the options say; None where jobs are named. Raises BadInput for both, or neither."""
    said = {
        "pool": pool,
        "states": state,
        "owner": owner,
        "family": family,
        "array": array,
        "labels": pairs(label, "--label"),
        "since": since,
        "until": until,
    }
    which = {name: value for name, value in said.items() if value}
    if bool(jobs) == bool(which):
        raise BadInput("Name jobs by their ids, or say by options (--pool, --state, …) which ones: one of both.")
    return which or None


def _many(
    spillway: Client,
    action: str,
    which: dict[str, Any],
    priority: int | None,
    expect: int | None,
    *,
    yes: bool,
    as_json: bool,
) -> None:
    """Count, ask, do; ends the command."""
    if expect is None:
        found = spillway.bulk(action, which, priority=priority)
        if as_json and not yes:
            emit(dataclasses.asdict(found))
            finish(OK)
        if not found.count:
            _told(found, as_json=as_json)
        if not yes:
            for job in found.jobs[:SHOWN_MAX]:
                typer.echo(f"  {job}")
            if found.count > SHOWN_MAX:
                typer.echo(f"  … and {found.count - SHOWN_MAX} more")
            typer.confirm(f"This {_DOES[action]} {counted(found.count, 'job')}. Go on?", abort=True)
        expect = found.count
    _told(spillway.bulk(action, which, expect=expect, priority=priority), as_json=as_json)


def _told(done: Bulk, *, as_json: bool) -> None:
    if as_json:
        emit(dataclasses.asdict(done))
    elif not done.count:
        typer.echo("No job matches.")
    else:
        for job in done.done or ():
            typer.echo(job)
        for failed in done.failed:
            typer.echo(f"{failed['job']}: {failed['detail']}", err=True)
        if done.left:
            typer.echo(f"There was no time for {counted(done.left, 'job')}; please do it again.", err=True)
        elif done.more:
            typer.echo("More jobs may match than one request takes; please do it again.", err=True)
    finish(JOB_DID_NOT_SUCCEED if done.failed or done.left else OK)

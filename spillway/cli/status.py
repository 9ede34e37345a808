"""`spillway status`: jobs, or a pool and its hosts."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spillway.cli.options import Json, Stage, Token, Url, connect
from spillway.cli.outcome import command, emit
from spillway.cli.table import ago, counted, lasted, say, table

if TYPE_CHECKING:
    from spillway.client import Client
    from spillway.records import Job


@command
def status(
    jobs: Annotated[
        list[str] | None, typer.Argument(metavar="JOB", help="Job ids; none: the newest of pool default.")
    ] = None,
    pool: Annotated[str | None, typer.Option(help="Show this pool and its hosts, or the jobs of it.")] = None,
    state: Annotated[list[str] | None, typer.Option(help="Only jobs in this state (may be repeated).")] = None,
    owner: Annotated[str | None, typer.Option(help="Only jobs of this owner, whatever their pool.")] = None,
    family: Annotated[str | None, typer.Option(help="Only jobs of this family.")] = None,
    label: Annotated[
        list[str] | None, typer.Option(help="Only jobs with this label: NAME or NAME=VALUE (may be repeated).")
    ] = None,
    since: Annotated[float | None, typer.Option(min=0, help="Only jobs of the last so many hours.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="How many of the newest jobs.")] = 20,
    url: Url = None,
    token: Token = None,
    stage: Stage = None,
    as_json: Json = False,
) -> None:
    """Show jobs (the given ones, or the newest that fit), or with --pool a pool, its hosts and its newest jobs."""
    with connect(url, token, stage) as spillway:
        filters: dict[str, Any] = {
            "owner": owner,
            "family": family,
            "state": state or (),
            "label": [_label(one) for one in label or ()],
        }
        chosen = {name: value for name, value in filters.items() if value}
        if since is not None:
            chosen["since"] = time.time() - since * 3600
        if pool is not None and not jobs and not chosen:
            _pool(spillway, pool, limit, as_json=as_json)
            return
        found = spillway.jobs(jobs) if jobs else spillway.list_jobs(pool, limit=limit, **chosen)
        if as_json:
            emit({"items": [dataclasses.asdict(job) for job in found]})
            return
        if not found:
            typer.echo(
                "No job fits."
                if chosen
                else "There are no jobs in pool default; --pool NAME looks at another, `spillway pool list` names them."
            )
            return
        table(
            ["job", "name", "state", "since", "ran", "host", "why"],
            [
                [
                    job.id,
                    job.name,
                    job.state,
                    ago(job.finished_at or job.started_at or job.assigned_at or job.submitted_at),
                    lasted(job.started_at, job.finished_at),
                    job.host,
                    (job.reason if job.ended else _why(job)),
                ]
                for job in found
            ],
        )


def _label(said: str) -> str:
    """As the API has it, `name:value`: on the command line it is `name=value` everywhere."""
    name, equals, value = said.partition("=")
    return f"{name}:{value}" if equals and ":" not in name else said


def _why(job: Job) -> str | None:
    """What it waits for, and how soon it is expected to begin."""
    why = job.waiting_for or _progress(job) or job.reason
    soon = job.expected_wait_s is not None and job.state != "scheduled"  # that says when by itself
    return f"{why} (begins in about {job.expected_wait_s:.0f} s)" if soon else why


def _progress(job: Job) -> str | None:
    """How far it says that it is."""
    known = job.progress or {}
    percent = known.get("percent")
    said = ": ".join(filter(None, ("" if percent is None else f"{percent:.4g} %", known.get("note") or "")))
    if known.get("stalled_since"):
        return f"stalled {ago(known.get('moved_at'))} ago" + (f" at {said}" if said else "")
    return said or None


def _pool(spillway: Client, name: str, limit: int, *, as_json: bool) -> None:
    pool, hosts, jobs = spillway.pool(name), spillway.hosts(name), spillway.list_jobs(name, limit=limit)
    samples = spillway.samples(name, limit=1)
    if as_json:
        emit(
            {
                "pool": dict(pool.document),
                "hosts": [dataclasses.asdict(host) for host in hosts],
                "jobs": [dataclasses.asdict(job) for job in jobs],
                "sample": samples[-1] if samples else None,
            }
        )
        return
    there = [host for host in hosts if host.state != "terminated"]
    gone = len(hosts) - len(there)
    typer.echo(f"{name}: {counted(len(there), 'host')} (at least {pool.hosts_min}, at most {pool.hosts_max})")
    for sample in samples:
        say(_in_words(sample))
    table(
        ["host", "state", "instance", "up", "seen", "jobs", "why"],
        [
            [h.id, h.state, h.instance_id, ago(h.launched_at), ago(h.seen_at), len(h.assignments), h.reason]
            for h in there
        ],
    )
    if gone:
        typer.echo(f"{counted(gone, 'host')} ended in the last hour; --json lists them, too")
    table(["job", "name", "state", "ran"], [[j.id, j.name, j.state, lasted(j.started_at, j.finished_at)] for j in jobs])


def _in_words(sample: Mapping[str, Any]) -> str:
    """The last minute's sample in a line."""
    jobs = ", ".join(f"{count} {state}" for state, count in sorted(sample["jobs"].items())) or "no jobs"
    said = [jobs]
    if (oldest_s := sample["job_oldest_s"].get("pending")) is not None:
        said.append(f"the oldest waits for {oldest_s:.0f} s")
    if (target := sample["target"]) is not None:
        said.append(f"{counted(target['hosts'], 'host')} wanted: {target['why']}")
    return f"{ago(sample['at'])} ago: {'; '.join(said)}; {sample['cost_usd_h']:.2f} USD an hour at list price"

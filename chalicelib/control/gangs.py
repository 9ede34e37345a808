"""How a gang is placed (docs/adr/0022): on all its hosts or on none.

Order of the writes of a placement: rows of hosts to come, which count from then on → assignments of hosts that are there → job, which names
all members → backlog → launch. Before the job's write nothing of it is handed to anybody; a crash leaves assignments that no row
confirms, which a later look takes away, and hosts that were never launched, which vanish. A crash after it leaves a gang one of whose
members never comes: its row vanishes, that is its end, and the others are taken back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from chalicelib.control import launches
from chalicelib.control.launch_answers import ROW_TTL_S, Launched
from chalicelib.control.tokens import Tokens
from chalicelib.core.host import Host, HostEvent
from chalicelib.core.job import Job, JobEvent
from chalicelib.core.plan import Gather
from chalicelib.core.pool import Pool
from chalicelib.wiring import Plane


@dataclass(frozen=True, slots=True)
class Placed:
    """What became of a placement: a word for it, the job's row if it is placed, and how its launch went if there was one."""

    outcome: str
    job: Job | None = None
    launched: Launched | None = None


def gather(plane: Plane, pool: Pool, action: Gather, pass_no: int, tokens: Tokens) -> Placed:
    """Place a gang on all its hosts, or on none. Raises CloudUnavailable where nobody knows whether EC2 got its launch."""
    entry, now, stores = action.entry, plane.clock(), plane.stores
    key, launch_id = f"{entry.job}#{entry.attempt}", plane.new_id("launch")
    new = launches.hosts_of_gang(pool, launch_id, action, now) if action.offering is not None else []
    if new:
        stores.hosts.create(new)
    there: list[str] = []
    for rank, host_id in enumerate(action.hosts):
        one = launches.assignment_of(entry, now, inline=False, rank=rank)
        if not stores.hosts.assign(pool.name, host_id, one, share=pool.spec.share_hosts):
            _let_go(plane, pool.name, there, new, key, "another of the gang's hosts was lost meanwhile")
            return Placed("host_lost")
        there.append(host_id)
    members = (*there, *(host.id for host in new))
    job = stores.jobs.move(
        entry.job,
        JobEvent.ASSIGN,
        attempt=entry.attempt,
        at=now,
        reason=f"placed on {len(members)} hosts at once: {action.reason}",
        host=members[0],
        members=members,
    )
    if job is None:
        row = stores.jobs.get(entry.job)
        if row is None or (row.attempt, row.members) != (entry.attempt, members) or row.ended:
            _let_go(plane, pool.name, there, new, key, "nobody needs it any more")
            if row is None and now - entry.queued_at < launches.UNWRITTEN_S:
                return Placed("unwritten")
            stores.backlog.remove([entry])
            return Placed("job_lost")
        job = row  # the write was heard, and its answer was not
    stores.backlog.remove([entry])
    if not new or action.offering is None:
        return Placed("gathered", job)
    launched = launches.launch(
        plane, pool, launch_id, action.offering, [(host, [job]) for host in new], job.owner, pass_no, tokens, whole=True
    )
    return Placed("gathered", job, launched)


def _let_go(plane: Plane, pool: str, there: Sequence[str], new: Sequence[Host], key: str, reason: str) -> None:
    now = plane.clock()
    for host_id in (*there, *(host.id for host in new)):
        plane.stores.hosts.unassign(pool, host_id, key, now)
    for host in new:
        plane.stores.hosts.move(pool, host.id, HostEvent.VANISH, at=now, reason=reason, expires_at=now + ROW_TTL_S)

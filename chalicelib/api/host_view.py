"""A host as operators see it."""

from __future__ import annotations

from collections.abc import Iterable

from chalicelib.api.view import View, fitting
from chalicelib.core.host import Host, HostState


class AssignmentView(View, frozen=True, kw_only=True):
    """An attempt placed on a host, and what it reserves there."""

    job: str
    attempt: int
    cpu: float
    memory_mib: int
    slots: int
    accepted: bool
    started: bool


class InstallView(View, frozen=True, kw_only=True):
    """An install that a host has run for jobs. `tries`: the number of the last try; `reason`: why it, or the one before, failed."""

    version: str
    name: str
    state: str
    tries: int
    at: float
    reason: str


class HostView(View, frozen=True, kw_only=True):
    """A host. Times are epoch seconds; what has not happened yet is null."""

    id: str
    pool: str
    state: HostState
    instance_id: str | None
    offering: str
    cpu: float
    memory_mib: int
    slots: int
    launched_at: float
    ready_at: float | None
    seen_at: float | None
    idle_since: float | None
    interrupt_at: float | None
    rebalance_at: float | None
    domain: str | None
    reason: str
    assignments: list[AssignmentView]
    installs: list[InstallView]


class HostsPage(View, frozen=True, kw_only=True):
    """Hosts of a pool, by id; `next` is the cursor of the page after this one, null on the last."""

    items: list[HostView]
    next: str | None


def page(hosts: Iterable[Host], states: frozenset[HostState], after: str, limit: int) -> HostsPage:
    """Those of the hosts that are in one of these states (none: any) and come after an id; fewer where they are too large together."""
    wanted = sorted((h for h in hosts if h.id > after and (not states or h.state in states)), key=lambda h: h.id)
    items, cut = fitting(host(h) for h in wanted[:limit])
    return HostsPage(items=items, next=items[-1].id if cut or len(wanted) > limit else None)


def host(record: Host) -> HostView:
    """A Host document."""
    return HostView(
        id=record.id,
        pool=record.pool,
        state=record.state,
        instance_id=record.instance_id,
        offering=record.offering.key,
        cpu=record.cpu,
        memory_mib=record.memory_mib,
        slots=record.slots,
        launched_at=record.launched_at,
        ready_at=record.ready_at,
        seen_at=record.seen_at,
        idle_since=record.idle_since,
        interrupt_at=record.interrupt_at,
        rebalance_at=record.rebalance_at,
        domain=record.serves,
        reason=record.reason,
        assignments=[
            AssignmentView(
                job=a.job,
                attempt=a.attempt,
                cpu=a.cpu,
                memory_mib=a.memory_mib,
                slots=a.slots,
                accepted=a.held,
                started=a.started_at is not None,
            )
            for a in record.assignments
        ],
        installs=[
            InstallView(version=i.version, name=i.name, state=i.state, tries=i.tries, at=i.at, reason=i.reason)
            for i in record.installs
        ],
    )

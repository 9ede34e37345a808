"""Which hosts have something to be told that they were not told, or did not accept, lately."""

from __future__ import annotations

from chalicelib.core.host import Host, HostState

RING_AGAIN_S = 10.0


def must_ring(host: Host, now: float) -> bool:
    """Whether its doorbell must ring now."""
    if not host.assignments or host.state not in (HostState.READY, HostState.DRAINING):
        return False
    due = ring_due(host)
    return due is not None and now >= due


def must_wipe(host: Host) -> bool:
    """Whether its inbox holds secrets that nobody has to fetch any more: something has begun since, or nothing is left to begin."""
    hears = host.state in (HostState.READY, HostState.DRAINING, HostState.UNHEALTHY)
    if host.secrets_at is None or not hears:
        return False
    began = [a.started_at for a in host.assignments if a.started_at is not None]
    return len(began) == len(host.assignments) or max(began, default=0.0) >= host.secrets_at


def ring_due(host: Host) -> float | None:
    """When its doorbell must ring (again), or None. Work that came in the user data gets its time after boot."""
    rung = host.rung_at or 0.0
    due: float | None = None
    for a in host.assignments:
        if a.cancel:
            at = rung + RING_AGAIN_S
        elif a.held:
            continue
        elif not a.inline and rung < a.assigned_at:
            at = 0.0
        else:
            at = max(rung, host.ready_at or 0.0) + RING_AGAIN_S
        due = at if due is None else min(due, at)
    return due

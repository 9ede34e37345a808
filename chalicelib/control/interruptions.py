"""EC2 wants an instance back, in two minutes: noted on the host, told to it and to the jobs that it carries."""

from __future__ import annotations

from chalicelib.core.host import Host
from chalicelib.core.spoken import clock
from chalicelib.wiring import Plane


def interrupted(plane: Plane, host: Host, at: float, by: str) -> None:
    """Note when the host goes. Both its agent and EC2 say so; the first one is told. `host`: its row as it was before."""
    plane.stores.hosts.touch(host.pool, host.id, interrupt_at=at)
    if host.interrupt_at is not None:
        return
    plane.tell(host.id, "interrupted", f"{by} says that EC2 takes it back at {clock(at)}")
    for assignment in host.assignments:
        plane.tell(assignment.job, "interrupted", f"EC2 takes {host.id}, where it is, back at {clock(at)}")

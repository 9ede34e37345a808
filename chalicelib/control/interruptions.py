"""EC2 wants an instance back. Whoever says so - EventBridge's warning, its rebalance recommendation, a change of the instance's state,
the agent that looks into its own metadata every 5 s - says the same thing: a `Leaving` with a deadline.

Theory of operation. What is known is a fact on the host's row, and a pass concludes the rest from it (core/retirement.py,
core/consistency.py, core/ladder.py). So it may be told twice, late and in any order: of several deadlines the earliest holds, a
recommendation after the warning adds nothing, and of a host that is gone or that we are terminating ourselves nothing is new.

- `INTERRUPTION`: it is gone at the deadline. No new work; what has not begun there goes back to the backlog at once, by winning its
  claim; what runs may finish until then, and is settled when the host is gone: repeated free of charge where it may be repeated.
- `REBALANCE`: a hint that has no deadline. No new work, as long as another offering may be tried; what is there goes on.
- `ENDING`: it shuts down now, and nobody of ours asked for that. It is trusted no more; what may have begun waits for its end.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from chalicelib.core.host import Host, HostEvent, HostState
from chalicelib.core.spoken import clock
from chalicelib.wiring import Plane

NOTICE_S = 120.0  # EC2's notice before it takes a spot instance back
AHEAD_MAX_S = 600.0  # a deadline further off is no deadline of EC2's: the circuit breaker counts from it
SAME_S = 2.0  # EC2's event names its own time in whole seconds, the metadata service the deadline

_OURS = frozenset({HostState.TERMINATING, HostState.TERMINATED})  # it ends because we said so, or has ended


class Cause(StrEnum):
    INTERRUPTION = "interruption"
    REBALANCE = "rebalance"
    ENDING = "ending"


@dataclass(frozen=True, slots=True)
class Leaving:
    """`at`: the deadline, in epoch seconds; of a rebalance recommendation the moment at which it was made. `by`: who says so."""

    cause: Cause
    at: float
    by: str


def leaves(plane: Plane, host: Host, leaving: Leaving) -> bool:
    """Note it on the host, and tell the host's and its jobs' stories; whether that was news. `host`: its row as it was before."""
    match leaving.cause:
        case Cause.INTERRUPTION:
            return _interrupted(plane, host, leaving)
        case Cause.REBALANCE:
            return _rebalanced(plane, host, leaving)
        case Cause.ENDING:
            return _ending(plane, host, leaving)


def _interrupted(plane: Plane, host: Host, leaving: Leaving) -> bool:
    at = min(max(leaving.at, host.launched_at), plane.clock() + AHEAD_MAX_S)
    if host.interrupt_at is not None and at > host.interrupt_at - SAME_S:
        return False
    plane.stores.hosts.touch(host.pool, host.id, interrupt_at=at)
    if host.interrupt_at is None and host.state is not HostState.TERMINATED:
        _tell(
            plane,
            host,
            f"{leaving.by} says that EC2 takes it back at {clock(at)}",
            f"EC2 takes {host.id}, where it is, back at {clock(at)}",
        )
    return True


def _rebalanced(plane: Plane, host: Host, leaving: Leaving) -> bool:
    if host.rebalance_at is not None or host.interrupt_at is not None or host.state in _OURS:
        return False
    plane.stores.hosts.touch(host.pool, host.id, rebalance_at=leaving.at)
    _tell(
        plane,
        host,
        f"{leaving.by} says that EC2 may soon take it back",
        f"EC2 may soon take {host.id}, where it is, back",
    )
    return True


def _ending(plane: Plane, host: Host, leaving: Leaving) -> bool:
    if host.state in _OURS or host.state is HostState.LAUNCHING:  # what boots has begun nothing: its end says all
        return False
    reason = f"{leaving.by} says that its instance is ending, and nobody here asked for that"
    return plane.stores.hosts.move(host.pool, host.id, HostEvent.SICKEN, at=plane.clock(), reason=reason) is not None


def _tell(plane: Plane, host: Host, of_host: str, of_job: str) -> None:
    plane.tell(host.id, "interrupted", of_host)
    for assignment in host.assignments:
        plane.tell(assignment.job, "interrupted", of_job)

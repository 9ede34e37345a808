"""Which hosts are no longer trusted, which get no new work, which go: ordered rules, first match wins.

Nothing here ever ends a running attempt: a draining host is terminated when it is empty. The exceptions are hosts that are not
trusted any more and whose attempts are all past every deadline, or that have been unhealthy for half a day.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from chalicelib.core.host import Assignment, Host, HostState
from chalicelib.core.plan import Drain, Retire, Sicken
from chalicelib.core.snapshot import Snapshot

OVERDUE_GRACE_S = 120.0  # after an attempt's own timeout: uploads, a slow queue
ANSWER_GRACE_S = 300.0  # a ready host that has not accepted an assignment after this long does not hear its doorbell
STALLED_S = 1800.0  # a host that does nothing else begins what it accepted, or says why not, long before
CANARY_FRESH_S = 150.0  # silence counts only while the heartbeat queue is known to work
UNHEALTHY_MAX_S = 43_200.0
RETIRE_AGAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Rule:
    """`applies(host, snapshot)`; `reason` is a sentence."""

    name: str
    reason: str
    applies: Callable[[Host, Snapshot], bool]


def _silent(host: Host, s: Snapshot) -> bool:
    """No ping for too long, though a canary that was sent after that long came back through the same queue."""
    if s.canary_at is None or s.now - s.canary_at > CANARY_FRESH_S or host.seen_at is None:
        return False
    return s.canary_at - host.seen_at > s.pool.spec.missed_pings_s


def overdue(assignment: Assignment, now: float) -> bool:
    """Whether an attempt has outlived start + timeout + grace."""
    return assignment.started_at is not None and (now > assignment.started_at + assignment.timeout_s + OVERDUE_GRACE_S)


def _unheard(assignment: Assignment, host: Host, now: float) -> bool:
    since = max(assignment.assigned_at, host.ready_at or 0.0)
    return assignment.accepted_at is None and assignment.started_at is None and now > since + ANSWER_GRACE_S


def _stalled(host: Host, now: float) -> bool:
    """Whether nothing runs there though there is enough to begin; one that runs may be what the others wait for."""
    return any(now > max(a.assigned_at, host.ready_at or 0.0) + STALLED_S for a in host.assignments) and not any(
        a.started_at for a in host.assignments
    )


SICKEN_RULES = (
    Rule("silent", "it has sent no ping, though the heartbeat queue works", _silent),
    Rule(
        "overdue", "an attempt outlived its timeout there", lambda h, s: any(overdue(a, s.now) for a in h.assignments)
    ),
    Rule("stalled", "it does not begin what it accepted", lambda h, s: _stalled(h, s.now)),
    Rule("deaf", "it does not answer its doorbell", lambda h, s: any(_unheard(a, h, s.now) for a in h.assignments)),
)

DRAIN_RULES = (
    Rule("interrupted", "EC2 is taking it back", lambda h, s: h.interrupt_at is not None),  # nothing outranks it
    Rule("expired", "its life is over", lambda h, s: s.now - h.launched_at > s.pool.spec.lifetime_max_s),
    Rule("outdated", "a newer generation is wanted", lambda h, s: h.generation < s.pool.spec.generation),
)

RETIRE_RULES: dict[HostState, tuple[Rule, ...]] = {
    HostState.LAUNCHING: (
        Rule("slow", "it did not say hello in time", lambda h, s: s.now - h.launched_at > s.pool.spec.boot_timeout_s),
    ),
    HostState.DRAINING: (Rule("empty", "it is drained and empty", lambda h, s: not h.assignments),),
    HostState.UNHEALTHY: (
        Rule("empty", "it is unhealthy and empty", lambda h, s: not h.assignments),
        Rule("hopeless", "all that it ran is overdue", lambda h, s: all(overdue(a, s.now) for a in h.assignments)),
        Rule("half a day", "it has been unhealthy for 12 hours", lambda h, s: s.now - h.entered_at > UNHEALTHY_MAX_S),
    ),
    HostState.TERMINATING: (
        Rule("again", "EC2 still has it", lambda h, s: s.now - (h.retire_sent_at or 0.0) > RETIRE_AGAIN_S),
    ),
}


def why(rules: tuple[Rule, ...], host: Host, s: Snapshot) -> str | None:
    """The reason of the first rule that applies."""
    return next((rule.reason for rule in rules if rule.applies(host, s)), None)


def unfit(host: Host, s: Snapshot) -> str | None:
    """Why a ready or draining host may get no (more) work, or None."""
    return why(SICKEN_RULES, host, s) or why(DRAIN_RULES, host, s)


def actions(s: Snapshot, busy: frozenset[str], spare: int) -> Iterator[Sicken | Drain | Retire]:
    """Sicken, drain, retire.

    `busy`: ids of hosts that this plan gives work to; `spare`: how many idle hosts may leave before the pool's minimum is reached.
    """
    for host in s.hosts:
        if host.state in (HostState.READY, HostState.DRAINING) and (reason := why(SICKEN_RULES, host, s)):
            yield Sicken(host, reason)
        elif host.state is HostState.READY and (reason := why(DRAIN_RULES, host, s)):
            yield Drain(host, reason)
            if not host.assignments:
                yield Retire(host, reason)
        elif host.id not in busy and (reason := why(RETIRE_RULES.get(host.state, ()), host, s)):
            yield Retire(host, reason)
    for host in sorted(s.hosts, key=lambda h: (h.idle_since or 0.0, h.id)):
        if spare > 0 and host.id not in busy and idle_enough(host, s) and unfit(host, s) is None:
            spare -= 1
            yield Drain(host, f"idle for more than {s.pool.spec.linger_s} s")
            yield Retire(host, f"idle for more than {s.pool.spec.linger_s} s")


def idle_enough(host: Host, s: Snapshot) -> bool:
    """Whether a ready host has had nothing to do for longer than the pool's linger."""
    since = host.idle_since
    return host.state is HostState.READY and since is not None and s.now - since >= s.pool.spec.linger_s

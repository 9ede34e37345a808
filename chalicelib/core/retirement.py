"""Which hosts are no longer trusted, which get no new work, which go: ordered rules, first match wins.

Nothing here ever ends a running attempt: a draining host is terminated when it is empty. The exceptions are hosts that are not
trusted any more and whose attempts are all past every deadline, or that have been unhealthy for too long.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, Iterator
from dataclasses import dataclass

from chalicelib.core import ladder
from chalicelib.core.host import Assignment, Host, HostState
from chalicelib.core.installs import RUNNING
from chalicelib.core.plan import Drain, Retire, Sicken
from chalicelib.core.snapshot import Snapshot

ANSWER_GRACE_S = 300.0  # a ready host that has not accepted an assignment after this long does not hear its doorbell
STALLED_S = 1800.0  # a host that does nothing else begins what it accepted, or says why not, long before
INSTALL_SILENT_S = 600.0
CANARY_FRESH_S = 150.0  # silence counts only while the heartbeat queue is known to work
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


def overdue(assignment: Assignment, s: Snapshot) -> bool:
    """Whether an attempt has outlived start + timeout + grace."""
    started_at = assignment.started_at
    return started_at is not None and s.now > started_at + assignment.timeout_s + s.pool.spec.overdue_grace_s


def _unheard(assignment: Assignment, host: Host, now: float) -> bool:
    since = max(assignment.assigned_at, host.ready_at or 0.0)
    return assignment.accepted_at is None and assignment.started_at is None and now > since + ANSWER_GRACE_S


def _stalled(host: Host, now: float) -> bool:
    """Whether nothing runs there though there is enough to begin; one that runs, or waits for its gang, may be what the others wait for,
    and so may an install of which its agent goes on telling."""
    if any(one.state == RUNNING for one in host.installs) and now - host.installs_at < INSTALL_SILENT_S:
        return False
    return any(now > max(a.assigned_at, host.ready_at or 0.0) + STALLED_S for a in host.assignments) and not any(
        a.started_at or a.ready_at for a in host.assignments
    )


def _slow(host: Host, s: Snapshot) -> bool:
    """Counted from EC2's answer: a launch that had to be sent again boots no slower for it. Without an answer `consistency` judges."""
    return host.recorded_at is not None and s.now - host.recorded_at > s.pool.spec.boot_timeout_s


SICKEN_RULES = (
    Rule("silent", "it has sent no ping, though the heartbeat queue works", _silent),
    Rule("overdue", "an attempt outlived its timeout there", lambda h, s: any(overdue(a, s) for a in h.assignments)),
    Rule("stalled", "it does not begin what it accepted", lambda h, s: _stalled(h, s.now)),
    Rule("deaf", "it does not answer its doorbell", lambda h, s: any(_unheard(a, h, s.now) for a in h.assignments)),
)

TAKEN_RULES = (
    Rule("interrupted", "EC2 is taking it back", lambda h, s: h.interrupt_at is not None),  # nothing outranks it
    # A hint, and no deadline: what runs there goes on, and without another offering to go to, it is as good as any host.
    Rule(
        "rebalanced",
        "EC2 may soon take it back, and another offering is to be had",
        lambda h, s: h.rebalance_at is not None and ladder.elsewhere(s, h.offering),
    ),
)

DRAIN_RULES = (
    *TAKEN_RULES,
    Rule("expired", "its life is over", lambda h, s: s.now - h.launched_at > s.pool.spec.lifetime_max_s),
    Rule("killed", "a person killed the pool's hosts", lambda h, s: s.pool.spec.killed),
)

RETIRE_RULES: dict[HostState, tuple[Rule, ...]] = {
    HostState.LAUNCHING: (
        Rule("slow", "it did not say hello in time", _slow),
        Rule("killed", "a person killed the pool's hosts", lambda h, s: s.pool.spec.killed and not h.assignments),
        Rule("interrupted", "EC2 is taking it back", lambda h, s: h.interrupt_at is not None and not h.assignments),
    ),
    HostState.DRAINING: (Rule("empty", "it is drained and empty", lambda h, s: not h.assignments),),
    HostState.UNHEALTHY: (
        Rule("empty", "it is unhealthy and empty", lambda h, s: not h.assignments),
        Rule("hopeless", "all that it ran is overdue", lambda h, s: all(overdue(a, s) for a in h.assignments)),
        Rule(
            "too long", "it is unhealthy for too long", lambda h, s: s.now - h.entered_at > s.pool.spec.unhealthy_max_s
        ),
    ),
    HostState.TERMINATING: (
        Rule("again", "EC2 still has it", lambda h, s: s.now - (h.retire_sent_at or 0.0) > RETIRE_AGAIN_S),
    ),
}


def why(rules: tuple[Rule, ...], host: Host, s: Snapshot) -> str | None:
    """The reason of the first rule that applies."""
    for rule in rules:
        if rule.applies(host, s):
            return rule.reason
    return None


def unfit(host: Host, s: Snapshot) -> str | None:
    """Why a host may get no (more) work, or None. One of an older generation may, until its turn to be drained comes."""
    match host.state:
        case HostState.READY:
            return why(SICKEN_RULES, host, s) or why(DRAIN_RULES, host, s)
        case HostState.DRAINING:
            return why(SICKEN_RULES, host, s) or why(DRAIN_RULES, host, s) or _outdated(host, s)
        case HostState.LAUNCHING:
            return why(RETIRE_RULES[HostState.LAUNCHING], host, s) or why(TAKEN_RULES, host, s)
        case _:
            return f"it is {host.state}"


def _outdated(host: Host, s: Snapshot) -> str | None:
    return "a newer generation is wanted" if host.generation < s.pool.spec.generation else None


def rolling(s: Snapshot, fit: Iterable[Host]) -> list[Host]:
    """Which ready hosts of an older generation are to be drained now: idle ones first, and never more at a time than the pool's share.

    Those that leave already, and those that boot to replace them, count: so the next ones go when the new ones are there.
    """
    ready = [host for host in fit if host.state is HostState.READY]
    old = [host for host in ready if _outdated(host, s)]
    leaving = sum(
        h.state in (HostState.DRAINING, HostState.TERMINATING) and h.generation < s.pool.spec.generation
        for h in s.hosts
    )
    booting = sum(host.state is HostState.LAUNCHING for host in s.hosts)
    share = max(1, math.floor((len(ready) + leaving) * s.pool.spec.rolling_share))
    old.sort(key=lambda host: (len(host.assignments), host.launched_at, host.id))
    return old[: max(0, share - leaving - booting)]


def departures(
    s: Snapshot, fit: Container[str], rolled: Iterable[Host], busy: frozenset[str]
) -> Iterator[Sicken | Drain | Retire]:
    """Who leaves whatever the target: not trusted, at the end of its life, taken back by EC2, of an older generation, empty, lost.

    `fit`: ids of those that are not `unfit`, as is known by now. `busy`: ids of hosts that this plan gives work to (so of draining ones
    that it takes back).
    """
    outdated = {host.id for host in rolled}
    for host in s.hosts:
        state = host.state
        if (state is HostState.READY or state is HostState.DRAINING) and host.id not in fit:
            if reason := why(SICKEN_RULES, host, s):
                yield Sicken(host, reason)
                continue
            if state is HostState.READY:
                reason = why(DRAIN_RULES, host, s) or (_outdated(host, s) if host.id in outdated else None)
                if reason:
                    yield Drain(host, reason)
                    if not host.assignments:
                        yield Retire(host, reason)
        if host.id not in busy and (reason := why(RETIRE_RULES.get(state, ()), host, s)):
            yield Retire(host, reason)


def scale_in(s: Snapshot, idle: Iterable[Host], surplus: int, why_fewer: str) -> Iterator[Drain | Retire]:
    """Let idle hosts go that the target does not want: those idle longest, each only after its linger."""
    for host in sorted(idle, key=lambda h: (h.idle_since or 0.0, h.id)):
        if surplus <= 0:
            return
        if idle_enough(host, s):
            surplus -= 1
            reason = f"idle for {s.pool.spec.linger_s} s or longer; {why_fewer}"
            yield Drain(host, reason)
            yield Retire(host, reason)


def idle_enough(host: Host, s: Snapshot) -> bool:
    """Whether a ready host has had nothing to do for longer than the pool's linger."""
    since = host.idle_since
    return host.state is HostState.READY and since is not None and s.now - since >= s.pool.spec.linger_s

"""One pass over one pool: observe, plan, act."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from chalicelib.control import groups, quotas
from chalicelib.control.decide import decide
from chalicelib.control.durations import learned
from chalicelib.control.notices import notify
from chalicelib.control.perform import Performer
from chalicelib.control.tokens import Tokens
from chalicelib.control.wake import wake
from chalicelib.core import ladder
from chalicelib.core.arrays import unfolded
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import capacity, knows
from chalicelib.core.expecting import expectation
from chalicelib.core.fairness import clocks
from chalicelib.core.groups import Group
from chalicelib.core.host import LIVE, Host, HostState, Launch
from chalicelib.core.instance import Instance
from chalicelib.core.plan import Assign, Gather, Missed, Plan, Start
from chalicelib.core.pool import Pool
from chalicelib.core.quota import parted
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.spoken import clock
from chalicelib.core.story import of_pool
from chalicelib.errors import CloudUnavailable
from chalicelib.telemetry import log, metrics, verbose
from chalicelib.wiring import Plane

BACKLOG_READ_MIN, BACKLOG_READ_MAX = 500, 5000  # entries a pass; more are of no use than the pool could take at once
BACKLOG_HELD_MAX = 20_000  # … and with those whom a quota holds
LIST_EVERY_S = 60.0  # while the pool has hosts
LIST_IDLE_S = 900.0  # … and while it has none: only to find instances that nobody knows
LIST_AGAIN_S = 15.0  # after a miss: the second look decides
TIMER_MAX_S = 60.0  # what falls due later than that, a tick finds
SKIPS_KEPT_MAX = 50
CANARY_AGE_MAX_S = 20.0
ACT_S = 20.0  # of the function's 30: what is not done by then, the next pass plans again


def run(plane: Plane, name: str) -> Plan | None:
    """A whole pass. None if there is no such pool, or a newer pass has begun meanwhile."""
    pool = plane.stores.registry.begin_pass(name)
    if pool is None:
        log.warning("a wake names an unknown pool", extra={"pool": name})
        return None
    log.append_keys(pool=name, pass_no=pool.pass_no)
    verbose(pool.spec.debug_logging)
    with Tokens(plane) as tokens:
        return _look(plane, pool, tokens)


def _look(plane: Plane, pool: Pool, tokens: Tokens) -> Plan | None:
    name, started_at = pool.name, plane.clock()
    snapshot, list_due_at = observe(plane, pool)
    plan = tokens.ration(decide(snapshot))
    for action in plan.actions:
        log.debug("planned", extra={"kind": type(action).__name__, "reason": getattr(action, "reason", "")})
    ordered = pool.wake_at if pool.wake_at is not None and pool.wake_at > plane.clock() else None
    wake_at = _timer(plane, name, ordered, plan.wake_at)
    if any(isinstance(action, Missed) and action.missed_lists for action in plan.actions):
        list_due_at = plane.clock() + LIST_AGAIN_S
    before, pool = pool, _told_supply(plane, pool, plan)  # rather twice than, where this function dies now, never
    if not plane.stores.registry.note_pass(
        name,
        pool.pass_no,
        looked_at=started_at,
        list_due_at=list_due_at,
        wake_at=wake_at,
        scaling=plan.scaling or pool.scaling,
        expectation=expectation(replace(snapshot, pool=pool), plan),
        **({"supply": pool.supply} if pool.supply != before.supply else {}),
        clocks=clocks(pool.clocks, snapshot.backlog, plan.placed),
    ):
        log.info("a newer pass has begun; this one does nothing")
        return None
    if plan.target is not None and plan.target.hosts != pool.scaling.target:
        change = f"{pool.scaling.target} → {plan.target.hosts} hosts: {plan.target.why}"
        plane.tell(of_pool(name), "target", change)
    carried = frozenset(a.job for host in snapshot.hosts for a in host.assignments)
    performer = Performer(plane, pool, pool.pass_no, until=started_at + ACT_S, tokens=tokens, carried=carried)
    performer.perform(plan)
    facts: dict[str, Any] = {}
    if (sooner := _timer(plane, name, wake_at, performer.retry_at)) != wake_at:
        facts["wake_at"] = wake_at = sooner
    if performer.skips or performer.supply != pool.supply:
        now = plane.clock()
        kept = {key: until for key, until in pool.supply.skips.items() if until > now} | performer.skips
        skips = dict(sorted(kept.items(), key=lambda item: -item[1])[:SKIPS_KEPT_MAX])
        facts["supply"] = replace(performer.supply, skips=skips)
    if facts:
        plane.stores.registry.note_pass(name, pool.pass_no, **facts)
    placed = any(isinstance(action, Assign | Gather | Start) for action in plan.actions)
    if performer.again or (placed and not snapshot.backlog_complete):  # a full pool is woken by what becomes free
        wake(plane, name)
    for outcome, count in performer.outcomes.items():
        metrics.add_metric(name=f"Pass.{outcome}", unit="Count", value=count)
    log.info(
        "looked at a pool",
        extra={
            "hosts": len(snapshot.hosts),
            "backlog": len(snapshot.backlog),
            "outcomes": dict(performer.outcomes),
            "wake_at": wake_at,
        },
    )
    return plan


def _told_supply(plane: Plane, pool: Pool, plan: Plan) -> Pool:
    """The pool with what this pass remembers of where hosts come from; people are told what has changed, and that loudly."""
    before, after = pool.supply, plan.supply or pool.supply
    subject = of_pool(pool.name)
    if after.spot_until > max(before.spot_until, plane.clock()):
        plane.tell(subject, "spot", f"no spot until {clock(after.spot_until)}: EC2 took back two hosts within 15 min")
    if after.protected_at is not None and before.protected_at is None:
        plane.tell(subject, "protected", ladder.PROTECTED[after.protected_by])
        notify(
            plane,
            "protected_mode",
            "error",
            subject=subject,
            reason=f"{ladder.PROTECTED[after.protected_by]}. {ladder.ADVICE[after.protected_by]}",
            pool=pool.name,
        )
    if after.protected_at is None and before.protected_at is not None:
        greeted = before.protected_generation == pool.spec.generation
        reason = f"{ladder.OVER[before.protected_by] if greeted else 'the pool was restarted'}: protected mode is over"
        plane.tell(subject, "protected", reason)
        notify(plane, "protected_mode_over", "info", subject=subject, reason=reason, pool=pool.name)
    return replace(pool, supply=after)


def observe(plane: Plane, pool: Pool, *, list_now: bool | None = None) -> tuple[Snapshot, float]:
    """What is so now, and when EC2 is to be listed next. Reads only. `list_now`: whether to ask EC2 for its list; None: when it is due."""
    now = plane.clock()
    hosts, launches = plane.stores.hosts.of_pool(pool.name)
    backlog, complete = _backlog(plane, pool, hosts)
    live = [host for host in hosts if host.state in LIVE]
    grouped = groups_of(plane, pool)
    every_s = LIST_EVERY_S if live or any(group.members for group in grouped or ()) else LIST_IDLE_S
    listed = None
    list_due_at = min(pool.list_due_at, now + every_s)  # what was due late while it had none is due sooner
    if list_now or (list_now is None and now >= pool.list_due_at):
        offered = {offering.region for offering in pool.spec.offerings}
        listed = _listed(plane, pool, offered | {host.offering.region for host in live})
        list_due_at = now + every_s
    seen = snapshot_of(plane, pool, hosts, launches, backlog, backlog_complete=complete, listed=listed, groups=grouped)
    return seen, list_due_at


def _backlog(plane: Plane, pool: Pool, hosts: Sequence[Host]) -> tuple[list[Entry], bool]:
    """The head of the backlog, and whether it is all there is.

    Those whom a quota holds stay in line while others are served: so it is read further, until as many are found that may begin.
    """
    limit = reach = backlog_limit(pool)
    while True:
        head = plane.stores.backlog.head(pool.name, reach)
        backlog, complete = unfolded(_each_once(head), reach, read=len(head))
        if complete and reach == limit:
            return backlog, True
        held = quotas.over(plane, pool.name, pool.spec, hosts, backlog)
        if len(backlog) - len(held) >= limit or complete or reach >= BACKLOG_HELD_MAX:
            break
        reach = min(BACKLOG_HELD_MAX, 4 * reach)
    free = [place for place, entry in enumerate(backlog) if entry.rank not in held]
    return (backlog[: free[limit]], False) if len(free) > limit else (backlog, complete)


def _each_once(entries: list[Entry]) -> list[Entry]:
    """Without the second entry of a job: while it gets another place in the queue it may have two (control/reprioritise.py)."""
    if len({entry.job for entry in entries}) == len(entries):
        return entries
    first: dict[tuple[str, int], Entry] = {}
    for entry in entries:
        first.setdefault((entry.job, entry.attempt), entry)
    return list(first.values())


def groups_of(plane: Plane, pool: Pool) -> tuple[Group, ...] | None:
    """The pool's Auto Scaling groups, where its capacity comes from them; None where they could not be described."""
    if pool.spec.capacity != "asg":
        return ()
    try:
        found = plane.cloud.groups.of_pool(pool.name, sorted({o.region for o in pool.spec.offerings}))
        return tuple(replace(g, refused_at=groups.refused_at(plane, g)) if g.missing else g for g in found)
    except CloudUnavailable as error:
        log.warning("the pool's groups could not be described", extra={"error": str(error)})
        return None


def snapshot_of(
    plane: Plane,
    pool: Pool,
    hosts: Sequence[Host],
    launches: Sequence[Launch],
    backlog: Sequence[Entry],
    *,
    backlog_complete: bool,
    listed: tuple[Instance, ...] | None = None,
    groups: tuple[Group, ...] | None = (),
) -> Snapshot:
    """What was read, with what this process remembers beside it. Without EC2's list nothing is concluded from an absence."""
    now = plane.clock()
    placeable, held = parted(backlog, quotas.over(plane, pool.name, pool.spec, hosts, backlog))
    gangs = {a.job for host in hosts for a in host.assignments if a.rank is not None}
    canary = _canary(plane, now) if any(h.state is HostState.READY for h in hosts) else None
    return Snapshot(
        now=now,
        pool=pool,
        hosts=tuple(host for host in hosts if host.state in LIVE or host.assignments),
        past=tuple(host for host in hosts if host.state not in LIVE and not host.assignments),
        launches=tuple(launches),
        backlog=placeable,
        held=held,
        backlog_complete=backlog_complete,
        listed=listed,
        canary_at=canary["at"] if canary and isinstance(canary["at"], float | int) else None,
        learned=learned(plane, pool.name),
        groups=groups,
        gangs=plane.stores.jobs.get_many(gangs) if gangs else {},
    )


def backlog_limit(pool: Pool) -> int:
    """How much of the backlog one pass reads: what the pool at its largest could take at once, and the same again as reserve."""
    sizes = [capacity(offering, pool.spec) for offering in pool.spec.offerings if knows(offering, pool.spec)]
    slots = max((size.slots for size in sizes), default=1)
    return min(BACKLOG_READ_MAX, max(BACKLOG_READ_MIN, 2 * pool.spec.hosts_max * slots))


def _canary(plane: Plane, now: float) -> Mapping[str, Any] | None:
    """When the last canary that came back was sent: a minute's fact, remembered for some seconds."""
    return plane.recall.get("canary", now, CANARY_AGE_MAX_S, lambda: plane.stores.registry.setting("canary"))


def _listed(plane: Plane, pool: Pool, regions: set[str]) -> tuple[Instance, ...] | None:
    """EC2's own list of these regions, or None where EC2 did not answer: then nothing is concluded from it.

    A region that the spec no longer names may still have hosts: what is not asked for must not seem absent.
    """
    try:
        return tuple(plane.cloud.compute.instances(pool.name, sorted(regions)))
    except CloudUnavailable as error:
        log.warning("EC2 could not be listed", extra={"error": str(error)})
        return None


def _timer(plane: Plane, name: str, ordered: float | None, due: float | None) -> float | None:
    """Order a wake for when something falls due, unless an earlier or equal one is on its way; when the next one comes."""
    now = plane.clock()
    if due is None or due - now > TIMER_MAX_S:
        return ordered
    delay_s = max(1, math.ceil(due - now))
    if ordered is not None and ordered <= now + delay_s + 0.5:
        return ordered
    plane.cloud.queues.timer({"v": 1, "kind": "wake", "pool": name}, delay_s)
    return now + delay_s

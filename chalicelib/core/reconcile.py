"""`reconcile(snapshot) -> Plan`: the one decision of the control plane.

Order of thought: make rows and EC2 agree; decide who leaves in any case; place what waits - on ready hosts first, then on draining
ones that can be taken back, then on ones that boot -; ask the pool's policy how many hosts are wanted; launch, take back or let
go to get there; ring who must be told. The order of the actions is the order in which they are performed: what stops spending
or frees attempts comes first, launches come late, doorbells last.

Waiting jobs and the target are two questions. Placement answers which job goes where *now*. The policy answers how many hosts there
should be; of what it allows, hosts for jobs that fit nowhere come first.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from chalicelib.core import consistency, expiry, gang, gathering, groups, ladder, retirement, scaling_step
from chalicelib.core.backlog import Entry
from chalicelib.core.doorbell import RING_AGAIN_S, must_ring, must_wipe, ring_due
from chalicelib.core.fleet import COUNTED, Fleet, carried, fleet_of
from chalicelib.core.host import Host, HostState
from chalicelib.core.outlook import list_price_usd_h
from chalicelib.core.plan import Action, Assign, Drain, Plan, Recapture, Retire, Ring, Vanish, Wipe
from chalicelib.core.rationing import backed_off
from chalicelib.core.scaling_step import Step
from chalicelib.core.snapshot import Snapshot

AGED_S = 300.0  # a job that has waited so long for room of its size gets room kept for it


def reconcile(s: Snapshot) -> Plan:
    """What to do now, and why. Planning again right after acting plans nothing."""
    s = ladder.current(s)
    repairs = list(consistency.actions(s))
    owed = groups.on_the_way(s)
    repairs += groups.dismissals(owed)
    s = groups.seen(s, owed)
    fleet = fleet_of(s, gone={action.host.id for action in repairs if isinstance(action, Vanish)})
    there = carried(fleet.hosts, s.backlog)
    waiting: Sequence[Entry] = s.backlog
    if there:
        waiting = [entry for entry in s.backlog if (entry.job, entry.attempt) not in there]
    waiting, expired, gives_up_at = expiry.split(waiting, s.now)
    gives_up_at += expiry.split([entry for entry, _ in s.held], s.now)[2]
    bound = ladder.bound(s, waiting)
    crowded = bool(waiting) and _full(s, fleet)
    gathered = gathering.placed(s, fleet, waiting, s.now - AGED_S, bound, crowded)
    left = gathered.left
    given = frozenset(room.key for room in fleet.rooms if room.taken)
    departures = list(retirement.departures(s, fleet.fit, fleet.rolled, given))
    retiring = {a.host.id for a in departures if isinstance(a, Retire)}
    step = scaling_step.decide(s, fleet, left, retiring, bound, gathered.promised)
    back = frozenset(host.id for host in step.recaptured)
    departures = [action for action in departures if action.host.id not in back]
    departures += _displacements(step)
    busy = given | back
    scale_in = list(retirement.scale_in(s, step.idle, step.surplus if step.agreed else 0, step.target.why))
    recaptures = list(_recaptures(fleet, step, busy))
    assigns = list(_assigns(s, fleet, there))
    gangs = gang.carried(s.hosts)
    unheard = gang.rings(s, gangs)
    ring = [
        host.id
        for host in fleet.hosts
        if must_ring(host, s.now) or (host.id in given and _hears(host)) or host.id in unheard
    ]
    rings = [Ring(tuple(ring), "they have assignments or cancellations to hear of")] if ring else []
    wipes = [Wipe(host, "what needs them has begun") for host in fleet.hosts if must_wipe(host) and host.id not in ring]
    starts: Sequence[Action] = step.starts
    waits = [*s.held, *step.waits, *gathered.waits]
    if s.pool.spec.capacity == "asg":
        after = _after(s)
        starts, asked = groups.resizes(s, owed, step.starts, after)
        waits += [*_expectant(fleet, after), *asked]
    leaving = {action.host.id for action in (*departures, *scale_in)}
    plan = Plan(
        actions=(
            *repairs,
            *gang.orders(s, gangs),
            *departures,
            *scale_in,
            *recaptures,
            *expired,
            *assigns,
            *gathered.gathers,
            *starts,
            *rings,
            *wipes,
        ),
        waits=tuple(waits),
        begins=step.begins,
        wake_at=min((*_due(s, fleet, step, leaving | busy), *gang.due(s, gangs), *gives_up_at), default=None),
        target=step.target,
        scaling=step.memory,
        supply=s.pool.supply,
    )
    return backed_off(s, plan)


def _full(s: Snapshot, fleet: Fleet) -> bool:
    """Whether one host must go before another can be launched, and another can."""
    spec, usable = s.pool.spec, ladder.usable(s)
    counted = [host for host in fleet.hosts if host.state in COUNTED]
    if not usable or not spec.scaling_enabled or spec.killed or ladder.launches_max(s) == 0:
        return False
    cost_usd_h = sum(list_price_usd_h(offering, spec) for offering in (usable[0][0], *(h.offering for h in counted)))
    return len(counted) >= spec.hosts_max or (spec.budget_usd_h is not None and cost_usd_h > spec.budget_usd_h)


def _displacements(step: Step) -> Iterator[Drain | Retire]:
    for host in step.displaced:
        reason = f"it may serve only {host.serves}, has nothing to do, and jobs of others wait for a host of their own"
        yield Drain(host, reason)
        yield Retire(host, reason)


def _hears(host: Host) -> bool:
    return host.state in (HostState.READY, HostState.DRAINING)


def _recaptures(fleet: Fleet, step: Step, busy: frozenset[str]) -> Iterator[Recapture]:
    wanted = {host.id for host in step.recaptured}
    for host in fleet.hosts:
        if host.state is HostState.DRAINING and host.id in busy:
            reason = step.target.why if host.id in wanted else "work came before it was gone"
            yield Recapture(host, reason)


def _assigns(s: Snapshot, fleet: Fleet, there: Mapping[tuple[str, int], str]) -> Iterator[Assign]:
    for entry in s.backlog if there else ():
        if (host := there.get((entry.job, entry.attempt))) is not None:
            yield Assign(entry, host, "the host carries it already; the rest was not written")
    for room in fleet.rooms:
        if room.taken and not room.key.startswith(groups.EXPECTED):
            fits = f"it fits on {room.key}"
            held = f"{fits}, which holds inputs of it already"
            for entry in room.taken:
                if entry.hosts > 1:
                    continue  # a gang is placed as a whole
                there_already = entry.needs and not room.holds.isdisjoint(entry.needs)
                yield Assign(entry, room.key, held if there_already else fits)


def _expectant(fleet: Fleet, after: Mapping[groups.Place, str]) -> Iterator[tuple[Entry, str]]:
    """Those who get a host that is on its way, and stay in the backlog until it says hello."""
    for room in fleet.rooms:
        if room.taken and room.key.startswith(groups.EXPECTED):
            host = fleet.fit[room.key]
            sentence = f"a host of group {host.launch} is on its way{after.get(groups.place_of(host.offering), '')}"
            yield from ((entry, sentence) for entry in room.taken)


def _after(s: Snapshot) -> dict[groups.Place, str]:
    """What is tried where a group does not deliver, as the end of a sentence."""
    tried = [rung.offering for rung in ladder.rungs(s) if not rung.closed_until]
    said = {}
    for here in {groups.place_of(offering) for offering in s.pool.spec.offerings}:
        following = next((offering for offering in tried if groups.place_of(offering) != here), None)
        said[here] = f"; if it does not come, {ladder.name(following)} is tried" if following else ""
    return said


def _due(s: Snapshot, fleet: Fleet, step: Step, touched: set[str]) -> Iterator[float]:
    """The moments at which this plan would be another one, if nothing else happens: never one that is past, or passes would race."""
    spec, now = s.pool.spec, s.now
    if step.surplus > 0:
        agreed_at = (step.memory.surplus_since or now) + spec.scale_in_agree_s
        for host in step.idle:
            if host.id not in touched and host.idle_since is not None:
                yield max(host.idle_since + spec.linger_s, agreed_at, now + 1.0)
    for host in fleet.hosts:
        if (due := ring_due(host)) is not None and _hears(host):
            yield max(due, now + RING_AGAIN_S)
    for launch in s.launches:
        if not launch.recorded and (again_at := launch.sent_at + consistency.RESUME_AFTER_S + 1.0) > now:
            yield again_at  # one that is resumed now and fails again is looked after by who performs that
    if step.starts and any(entry.queued_at < now - AGED_S for entry in s.backlog):
        yield now + 1.0  # what was withheld for those who now get hosts of their own is free for others
    if step.starts and s.pool.spec.spot_headroom:
        yield (
            now + 1.0
        )  # hosts beside those that are launched for work: they are wanted once these are there to be counted
    if step.waits:
        supply = s.pool.supply
        opens_at = (*supply.skips.values(), supply.spot_until, ladder.probe_at(s) or 0.0)
        yield from (until for until in opens_at if now < until < math.inf)
    for group in s.groups or ():
        asked_at = s.pool.asked.get(group.key, 0.0)
        if group.missing and (late_at := asked_at + group.patience_s(asked_at)) > now:
            yield late_at
    if step.next_booking_at is not None:
        yield step.next_booking_at

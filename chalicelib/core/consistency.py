"""Our rows and EC2 brought together, in both directions.

Absence is concluded only from a list that was really fetched, twice in a row, and never for a host younger than EC2's own lag. An instance
that no row knows is terminated - unless a launch whose answer was not recorded yet accounts for it.
"""

from __future__ import annotations

from collections.abc import Iterator

from chalicelib.core.groups import of_group
from chalicelib.core.host import LIVE, HostState
from chalicelib.core.instance import Instance
from chalicelib.core.plan import Action, Adopt, Missed, Reclaim, Resume, Settle, Vanish
from chalicelib.core.snapshot import Snapshot
from chalicelib.core.spoken import clock

RESUME_AFTER_S = 35.0  # longer than a pass may run: then nobody is waiting for that answer any more
LIST_LAG_S = 120.0  # EC2's lists are eventually consistent
MISSES_MAX = 2
GOING = frozenset({"shutting-down", "terminated"})


def actions(s: Snapshot) -> Iterator[Action]:
    """Launches to resume, rows without instance, instances without row, attempts to take back."""
    unrecorded = {launch.id for launch in s.launches if not launch.recorded}
    asked_for = {host for launch in s.launches if not launch.recorded for host in launch.hosts}
    for launch in s.launches:
        if not launch.recorded and s.now - launch.sent_at > RESUME_AFTER_S:
            yield Resume(launch, "EC2's answer to this launch was not recorded")
    for host in s.hosts:
        if (
            host.state in LIVE
            and host.instance_id is None
            and host.id not in asked_for  # a launch may have been narrowed to some of its hosts
            and s.now - host.launched_at > RESUME_AFTER_S
        ):
            yield Vanish(host, "no instance was ever launched for it")
    if s.listed is not None:
        yield from _compare(s, s.listed, unrecorded)
    for host in s.hosts:
        if host.state is HostState.TERMINATED:
            for assignment in host.assignments:
                yield Settle(host, assignment, f"host {host.id} is gone: {host.reason}")
        elif host.state is HostState.UNHEALTHY:
            for assignment in host.assignments:
                if assignment.started_at is None and assignment.rank is None:  # gangs: core/gang.py
                    yield Reclaim(host, assignment, f"host {host.id} is unhealthy: {host.reason}")
        elif host.userid is not None:  # before that nobody could win a claim against it
            for assignment in host.assignments:
                if assignment.started_at is not None or assignment.rank is not None:
                    continue
                if assignment.cancel:
                    yield Reclaim(host, assignment, f"host {host.id} had not begun it")
                elif host.interrupt_at is not None:
                    yield Reclaim(
                        host,
                        assignment,
                        f"EC2 takes {host.id} back at {clock(host.interrupt_at)}; it had not begun there",
                    )


def _compare(s: Snapshot, listed: tuple[Instance, ...], unrecorded: set[str]) -> Iterator[Action]:
    there = {instance.id for instance in listed if instance.state not in GOING}
    now = s.now
    known = {h.instance_id for h in s.hosts}
    known |= {h.instance_id for h in s.past if now - h.entered_at <= LIST_LAG_S}  # EC2's list may not know it yet
    for host in s.hosts:
        if host.state not in LIVE or host.instance_id is None:
            continue
        if host.instance_id in there:
            if host.missed_lists:
                yield Missed(host, 0, "EC2 lists it again")
        elif now - host.launched_at > LIST_LAG_S or host.state is HostState.TERMINATING:
            misses = host.missed_lists + 1
            if misses >= MISSES_MAX:
                yield Vanish(host, f"EC2 did not list its instance {host.instance_id} {misses} times in a row")
            else:
                yield Missed(host, misses, "EC2 does not list its instance")
    for instance in listed:
        if now - instance.launched_at <= RESUME_AFTER_S:
            continue  # a pass that overlaps with this one may have launched it after this one read the rows
        if _may_boot(s, instance):
            continue
        if instance.id not in known and instance.id in there and instance.launch not in unrecorded:
            yield Adopt(instance, f"instance {instance.id} runs with our tags and no host row knows it")


def _may_boot(s: Snapshot, instance: Instance) -> bool:
    """Whether an Auto Scaling group launched it and it has yet to say hello; nobody had a row for it before."""
    if not of_group(instance.launch):
        return False
    members = {member.instance_id for group in s.groups or () for member in group.counted}
    young = s.now - instance.launched_at <= s.pool.spec.boot_timeout_s
    return s.groups is None or (instance.id in members and young)

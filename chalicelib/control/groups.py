"""Hosts of Auto Scaling groups: they register by their first ping, and leave through their group.

A ping is believed about nothing here but which pool to look in. Which instance speaks says SQS (`SenderId`), and whether it is a
host of that pool says Auto Scaling: it must be a living member of one of the pool's own groups. A thousand hosts say hello at once, and
Auto Scaling answers some questions a second: so one answer serves for all whom it names.
"""

from __future__ import annotations

from collections.abc import Sequence

from chalicelib.control.wake import wake
from chalicelib.core import story
from chalicelib.core.catalogue import capacity, knows
from chalicelib.core.groups import Group, Member, group_key, host_id, names
from chalicelib.core.host import ADOPTED, Host, HostState, Offering
from chalicelib.core.pool import Pool
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

GROUPS_AGE_MAX_S = 10.0


def register(plane: Plane, pool_name: str, host: str, sender: str) -> Host | None:
    """The row of a host that speaks for the first time; None for one that is not a host of this pool. Raises CloudUnavailable."""
    role, _, instance_id = sender.partition(":")
    if role != plane.settings.host_role_id or host != host_id(instance_id):
        return None
    pool = plane.stores.registry.pool(pool_name)
    if pool is None:
        return None
    if plane.stores.hosts.get(pool.name, f"{ADOPTED}{instance_id}") is not None:
        return None  # it took too long to speak, and is being terminated
    found = _member(plane, pool, instance_id)
    if found is None:
        return None
    group, member = found
    if not member.protected:  # whoever made the group otherwise must not have it end what runs
        plane.cloud.groups.protect(group.region, group.name, [instance_id])
    generation = pool.spec.generation - group.outdates(member)
    plane.stores.hosts.register(_row(plane, pool, host, sender, group, member, generation))
    return plane.stores.hosts.get(pool.name, host)


def refused(plane: Plane, region: str, group: str, at: float, reason: str) -> None:
    """EC2 gave a group no instance: told in its pool's story, and the pool is looked at. The group itself goes on trying."""
    for pool in plane.stores.registry.pools():
        if group in names(plane.settings.stage, pool.name):
            plane.stores.registry.put_setting(f"refused/{group_key(region, group)}", {"at": at})
            plane.tell(story.of_pool(pool.name), "refused", f"group {group} in {region} got no instance: {reason}")
            wake(plane, pool.name)


def refused_at(plane: Plane, group: Group) -> float:
    """When EC2 last refused a group an instance; 0 for never."""
    told = plane.stores.registry.setting(f"refused/{group.key}")
    return float(told["at"]) if told else 0.0


def _member(plane: Plane, pool: Pool, instance_id: str) -> tuple[Group, Member] | None:
    """Its group, if it is a living member of one of the pool's groups, and of a type that we know."""
    found = _of_groups(_groups(plane, pool, GROUPS_AGE_MAX_S), instance_id) or _of_groups(
        _groups(plane, pool, 0.0), instance_id
    )
    if found is None:
        log.warning("an instance speaks that is in no group of the pool", extra={"instance": instance_id})
        return None
    group, member = found
    known = knows(Offering(region=group.region, instance_type=member.instance_type), pool.spec)
    if member.counts and member.healthy and known:
        return found
    log.warning(
        "an instance speaks that is no host of the pool",
        extra={"instance": instance_id, "group": group.name, "state": member.state, "type": member.instance_type},
    )
    return None


def _of_groups(groups: Sequence[Group], instance_id: str) -> tuple[Group, Member] | None:
    return next(((g, m) for g in groups for m in g.members if m.instance_id == instance_id), None)


def _groups(plane: Plane, pool: Pool, age_max_s: float) -> Sequence[Group]:
    """The pool's groups as they were not longer ago than that; whatever was known before a restart is forgotten by it."""
    regions = sorted({offering.region for offering in pool.spec.offerings})
    key = f"groups/{pool.name}/{pool.spec.generation}/{','.join(regions)}"
    return plane.recall.get(key, plane.clock(), age_max_s, lambda: plane.cloud.groups.of_pool(pool.name, regions)) or ()


def _row(plane: Plane, pool: Pool, host: str, userid: str, group: Group, member: Member, generation: int) -> Host:
    """`generation`: one that booted while its launch template was replaced is of the generation before."""
    now = plane.clock()
    offering = Offering(region=group.region, instance_type=member.instance_type, market=group.market, zone=member.zone)
    size = capacity(offering, pool.spec)
    asked_at = pool.asked.get(group.key, now)
    return Host(
        id=host,
        pool=pool.name,
        state=HostState.LAUNCHING,
        offering=offering,
        launch=member.group,
        launch_index=0,
        cpu=size.cpu,
        memory_mib=size.memory_mib,
        slots=size.slots,
        launched_at=asked_at if now - asked_at <= pool.spec.boot_timeout_s else now,
        entered_at=now,
        recorded_at=now,
        generation=generation,
        instance_id=member.instance_id,
        userid=userid,
        reason=f"group {member.group} launched it, and it spoke",
    )

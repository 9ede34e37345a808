"""Hosts of Auto Scaling groups: they register by their first ping, and leave through their group.

A ping is believed about nothing here but which pool to look in. Which instance speaks says SQS (`SenderId`), and whether it is a
host of that pool says Auto Scaling: it must be a living member of one of the pool's own groups.
"""

from __future__ import annotations

from chalicelib.control.wake import wake
from chalicelib.core import story
from chalicelib.core.catalogue import capacity, knows
from chalicelib.core.groups import Member, host_id, names
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.pool import Pool
from chalicelib.telemetry import log
from chalicelib.wiring import Plane


def register(plane: Plane, pool_name: str, host: str, sender: str) -> Host | None:
    """The row of a host that speaks for the first time; None for one that is not a host of this pool. Raises CloudUnavailable."""
    role, _, instance_id = sender.partition(":")
    if role != plane.settings.host_role_id or host != host_id(instance_id):
        return None
    pool = plane.stores.registry.pool(pool_name)
    if pool is None:
        return None
    rows, _ = plane.stores.hosts.of_pool(pool.name)
    if any(row.instance_id == instance_id for row in rows):
        return None  # it took too long to speak, and is being terminated
    found = _member(plane, pool, instance_id)
    if found is None:
        return None
    region, member = found
    if not member.protected:  # whoever made the group otherwise must not have it end what runs
        plane.cloud.groups.protect(region, member.group, [instance_id])
    groups = {group.name: group for group in plane.cloud.groups.of_pool(pool.name, [region])}
    old = member.group in groups and groups[member.group].outdates(member)
    plane.stores.hosts.register(_row(plane, pool, host, sender, region, member, pool.spec.generation - old))
    return plane.stores.hosts.get(pool.name, host)


def refused(plane: Plane, group: str, reason: str) -> None:
    """EC2 gave a group no instance: told in its pool's story, and the pool is looked at. The group itself goes on trying."""
    for pool in plane.stores.registry.pools():
        if group in names(plane.settings.stage, pool.name):
            plane.tell(story.of_pool(pool.name), "refused", f"group {group} got no instance: {reason}")
            wake(plane, pool.name)


def _member(plane: Plane, pool: Pool, instance_id: str) -> tuple[str, Member] | None:
    """Where it lives, if it is a living member of one of the pool's groups, and of a type that we know."""
    ours = names(plane.settings.stage, pool.name)
    for region in sorted({offering.region for offering in pool.spec.offerings}):
        member = plane.cloud.groups.member(region, instance_id)
        if member is None:
            continue
        known = knows(Offering(region=region, instance_type=member.instance_type), pool.spec)
        if member.group in ours and member.counts and member.healthy and known:
            return region, member
        log.warning(
            "an instance speaks that is no host of the pool",
            extra={"instance": instance_id, "group": member.group, "state": member.state, "type": member.instance_type},
        )
    return None


def _row(plane: Plane, pool: Pool, host: str, userid: str, region: str, member: Member, generation: int) -> Host:
    """`generation`: one that booted while its launch template was replaced is of the generation before."""
    now = plane.clock()
    market = names(plane.settings.stage, pool.name)[member.group]
    offering = Offering(region=region, instance_type=member.instance_type, market=market, zone=member.zone)
    size = capacity(offering, pool.spec)
    asked_at = pool.asked.get(member.group, now)
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

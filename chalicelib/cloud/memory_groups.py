"""Auto Scaling groups in memory: they launch up to their desired capacity out of the memory EC2, and replace nothing of themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from chalicelib.cloud.memory_compute import Machine, MemoryCompute
from chalicelib.core.groups import Group, Member, group_name, names
from chalicelib.core.host import Launch, Offering
from chalicelib.errors import CapacityRefused


@dataclass(slots=True)
class MemoryGroup:
    """A group as only Auto Scaling knows it."""

    launch: Launch
    desired: int = 0
    size_max: int = 1000
    replaces: bool = False  # whether its own processes are not suspended
    protects: bool = True
    version: int = 1  # of its launch template
    versions: dict[str, int] = field(default_factory=dict)  # … with which each member was launched
    members: dict[str, Machine] = field(default_factory=dict)
    protected: set[str] = field(default_factory=set)


@dataclass(slots=True)
class MemoryGroups:
    """The fake behind `ports.Groups`; `make` is what the template does."""

    compute: MemoryCompute
    groups: dict[tuple[str, str], MemoryGroup] = field(default_factory=dict)

    def make(
        self, pool: str, offering: Offering, user_data: bytes, *, size_max: int = 1000, protects: bool = True
    ) -> str:
        """The group of a pool for the offering's region and market; its name."""
        name = group_name(self.compute.stage, pool, offering.market)
        now = self.compute.clock()
        launch = Launch(
            id=name, pool=pool, offering=offering, hosts=(), user_data=user_data, created_at=now, sent_at=now
        )
        self.groups[offering.region, name] = MemoryGroup(launch, size_max=size_max, protects=protects)
        return name

    # ---- ports.Groups

    def of_pool(self, pool: str, regions: Sequence[str]) -> list[Group]:
        found = []
        for region in regions:
            with self.compute.calls.call("autoscaling.DescribeAutoScalingGroups", pool=pool, region=region):
                for name, market in names(self.compute.stage, pool).items():
                    if (group := self.groups.get((region, name))) is not None:
                        self._fill(group)
                        found.append(
                            Group(
                                name=name,
                                region=region,
                                market=market,
                                desired=group.desired,
                                size_max=group.size_max,
                                members=tuple(self._member(group, m) for m in group.members.values()),
                                version=str(group.version),
                                acts=group.replaces,
                            )
                        )
        return found

    def resize(self, region: str, group: str, desired: int) -> None:
        with self.compute.calls.call("autoscaling.SetDesiredCapacity", group=group, desired=desired):
            there = self.groups.get((region, group))
            if there is None or desired > there.size_max:
                raise CapacityRefused("ValidationError", f"group {group} does not take {desired}")
            there.desired = desired
            self._fill(there)
            for instance_id in [i for i in there.members if i not in there.protected]:
                if len(there.members) > desired:
                    self.compute.lose(instance_id)
                    del there.members[instance_id]

    def terminate(self, region: str, instance_id: str) -> bool:
        with self.compute.calls.call("autoscaling.TerminateInstanceInAutoScalingGroup", instance_id=instance_id):
            group = self._group_of(region, instance_id)
            if group is None:
                return False
            self.compute.lose(instance_id)
            del group.members[instance_id]
            group.protected.discard(instance_id)
            group.desired = max(0, group.desired - 1)
            return True

    def protect(self, region: str, group: str, instance_ids: Sequence[str]) -> None:
        with self.compute.calls.call(
            "autoscaling.SetInstanceProtection", group=group, instance_ids=tuple(instance_ids)
        ):
            self.groups[region, group].protected |= set(instance_ids)

    # ---- inside

    def _fill(self, group: MemoryGroup) -> None:
        if group.replaces:
            for instance_id in [i for i, m in group.members.items() if not self._healthy(m)]:
                del group.members[instance_id]
        while len(group.members) < group.desired:
            made = self.compute.give(group.launch, len(group.members))
            if made is None:
                return
            group.members[made.id] = made
            group.versions[made.id] = group.version
            if group.protects:
                group.protected.add(made.id)

    def _group_of(self, region: str, instance_id: str) -> MemoryGroup | None:
        return next((g for (r, _), g in self.groups.items() if r == region and instance_id in g.members), None)

    def _healthy(self, machine: Machine) -> bool:
        return machine.ended_at is None or self.compute.clock() < machine.ended_at

    def _member(self, group: MemoryGroup, machine: Machine) -> Member:
        return Member(
            instance_id=machine.id,
            group=group.launch.id,
            state="InService",
            instance_type=machine.offering.instance_type,
            zone=machine.offering.zone,
            protected=machine.id in group.protected,
            healthy=self._healthy(machine),
            version=str(group.versions[machine.id]),
        )

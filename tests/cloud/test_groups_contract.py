"""What Auto Scaling groups promise, in memory and on the embedded cloud."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from worlds import REGION, World

from chalicelib.core.groups import Group
from chalicelib.errors import CapacityRefused


def the_group(world: World, met: Callable[[Group], bool], timeout_s: float = 20.0) -> Group:
    """The pool's group once it is so: a group takes its time."""
    deadline = time.monotonic() + timeout_s
    while True:
        (group,) = world.cloud.groups.of_pool("default", [REGION])
        if met(group):
            return group
        assert time.monotonic() < deadline, group
        time.sleep(0.05)


def test_a_raised_capacity_gives_machines_that_carry_stage_pool_and_group(honest: World) -> None:
    """A pass finds them by tag like any other, and knows by `spillway:launch` that they leave through their group."""
    name = honest.make_group()
    honest.cloud.groups.resize(REGION, name, 2)
    group = the_group(honest, lambda g: len(g.counted) == 2)
    assert (group.name, group.market, group.desired, group.size_max) == (name, "spot", 2, 10)
    listed = honest.cloud.compute.instances("default", [REGION])
    assert {i.id for i in listed} == {m.instance_id for m in group.members}
    assert {(i.launch, i.tags["spillway:stage"]) for i in listed} == {(name, honest.stage)}
    assert {(m.instance_type, m.healthy, m.protected) for m in group.members} == {("c7i.large", True, True)}


def test_the_host_that_we_chose_leaves_and_is_not_replaced(honest: World) -> None:
    """Protected or not: protection is from the group's own choice."""
    honest.cloud.groups.resize(REGION, honest.make_group(), 2)
    chosen = the_group(honest, lambda g: len(g.counted) == 2).members[0].instance_id
    assert honest.cloud.groups.terminate(REGION, chosen)
    group = the_group(honest, lambda g: len(g.counted) == 1)
    assert group.desired == 1
    assert chosen not in {m.instance_id for m in group.members}
    assert not honest.cloud.groups.terminate(REGION, chosen)


def test_a_lowered_capacity_ends_no_protected_machine_but_we_may(honest: World) -> None:
    """Though none is desired any more, and so none fewer can be."""
    honest.cloud.groups.resize(REGION, name := honest.make_group(protects=False), 2)
    kept = the_group(honest, lambda g: len(g.counted) == 2).members[0].instance_id
    honest.cloud.groups.protect(REGION, name, [kept])
    honest.cloud.groups.resize(REGION, name, 0)
    group = the_group(honest, lambda g: len(g.counted) == 1)
    assert [(m.instance_id, m.protected) for m in group.members] == [(kept, True)]
    assert honest.cloud.groups.terminate(REGION, kept)
    assert the_group(honest, lambda g: not g.members).desired == 0


def test_a_machine_that_died_keeps_its_place_until_it_is_dismissed(honest: World) -> None:
    """Replacing is suspended: who asks for another one is us."""
    honest.cloud.groups.resize(REGION, honest.make_group(), 1)
    (member,) = the_group(honest, lambda g: len(g.counted) == 1).members
    honest.cloud.compute.terminate(REGION, [member.instance_id])
    group = the_group(honest, lambda g: any(not m.healthy for m in g.members))
    assert (group.desired, [m.instance_id for m in group.counted]) == (1, [member.instance_id])
    assert honest.cloud.groups.terminate(REGION, member.instance_id)
    assert the_group(honest, lambda g: not g.members).desired == 0


def test_more_than_a_group_may_have_is_refused(honest: World) -> None:
    name = honest.make_group(size_max=1)
    with pytest.raises(CapacityRefused, match="2"):
        honest.cloud.groups.resize(REGION, name, 2)
    with pytest.raises(CapacityRefused):
        honest.cloud.groups.resize(REGION, "spillway-none-default-spot", 1)


@pytest.mark.parametrize("replaces", [False, True])
def test_a_group_that_may_act_of_itself_is_told_from_one_that_may_not(honest: World, replaces: bool) -> None:
    honest.make_group(replaces=replaces)
    (group,) = honest.cloud.groups.of_pool("default", [REGION])
    assert group.acts == replaces


def test_a_pool_without_groups_has_none(honest: World) -> None:
    assert honest.cloud.groups.of_pool("default", [REGION]) == []


def test_a_group_whose_processes_nobody_suspended_replaces_what_died_and_not_what_we_took_out(honest: World) -> None:
    """Why they are suspended, and why a host leaves by TerminateInstanceInAutoScalingGroup with decrement."""
    honest.cloud.groups.resize(REGION, honest.make_group(replaces=True), 1)
    (first,) = the_group(honest, lambda g: len(g.counted) == 1).members
    honest.cloud.compute.terminate(REGION, [first.instance_id])
    group = the_group(honest, lambda g: bool(g.members) and all(m.instance_id != first.instance_id for m in g.members))
    assert honest.cloud.groups.terminate(REGION, group.members[0].instance_id)
    assert the_group(honest, lambda g: not g.members).desired == 0

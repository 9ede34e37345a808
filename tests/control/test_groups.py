"""Pools whose hosts come from Auto Scaling groups: one job one host, nothing replaced that we let go, nothing believed that a ping says."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from typing import Any, cast

import pytest
from fragile import fragile
from meddling import story
from town import ROLE, Crash, Town

from chalicelib.control import ec2_events, pings, pools, restart, settings
from chalicelib.core import invariants
from chalicelib.core.host import HostState, Offering
from chalicelib.core.job import JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest, CloudUnavailable, Fault

SPOT = Offering(region="us-east-1", instance_type="c7i.large", market="spot")
BACKUP = Offering(region="us-east-1", instance_type="m7i.large", market="on_demand")
SPOT_GROUP, BACKUP_GROUP = "spillway-town-default-spot", "spillway-town-default-on-demand"


class GroupTown(Town):
    """A town where it may take a while until Auto Scaling has let a machine go, and where somebody looks how long functions run."""

    letting_go_s = 0.0
    longest_s = 0.0

    def invoke(self, function: Any, *args: Any) -> bool:
        began = self.now
        done = super().invoke(function, *args)
        self.longest_s = max(self.longest_s, self.now - began)
        return done


@dataclass
class Leisurely:
    """The groups of a town, in its time."""

    town: GroupTown

    def __getattr__(self, name: str) -> Any:
        return getattr(self.town.cloud.groups, name)

    def terminate(self, region: str, instance_id: str) -> bool:
        self.town.now += self.town.letting_go_s
        return self.town.cloud.groups.terminate(region, instance_id)


def a_town(*offerings: Offering, **spec: Any) -> GroupTown:
    """A town whose pool has a group for each market that it offers."""
    town = GroupTown(PoolSpec(offerings=offerings or (SPOT, BACKUP), capacity="asg", missed_pings_s=3600, **spec))
    town.plane = replace(town.plane, cloud=replace(town.cloud, groups=cast(Any, Leisurely(town))))
    town.make_groups()
    return town


def desired(town: Town, group: str = SPOT_GROUP) -> int:
    return town.cloud.groups.groups["us-east-1", group].desired


def launched(town: Town) -> int:
    return len(town.cloud.compute.machines)


def test_a_job_gets_one_host_of_the_spot_group_and_everything_goes_back_to_zero() -> None:
    town = a_town()
    job = town.submit("run 30")
    town.run(2)
    following = "if it does not come, m7i.large on-demand in us-east-1 is tried"
    assert town.job(job.id).waiting_for == f"group {SPOT_GROUP} is asked for a host for it; {following}"
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert (launched(town), desired(town), town.cloud.calls.count("ec2.RunInstances")) == (1, 0, 0)
    assert town.cloud.calls.count("ec2.TerminateInstances") == 0


def test_many_looks_while_hosts_boot_ask_for_no_more_than_the_jobs_need() -> None:
    """What was asked for and is not there yet counts."""
    town = a_town()
    town.boot_s = 100
    for _ in range(8):
        town.submit("run 300")
        town.run(7)
    town.run(200)
    assert launched(town) == 4  # two slots each
    town.run_until_quiet()
    assert (launched(town), desired(town)) == (4, 0)


def test_what_a_group_does_not_deliver_is_given_up_for_the_backup_group() -> None:
    town = a_town()
    town.cloud.compute.limit(SPOT, 0)
    job = town.submit("run 30")
    town.run(170)
    assert desired(town) == 1
    town.run(200)
    assert (desired(town), town.job(job.id).state) == (0, JobState.SUCCEEDED)
    assert town.hosts()[0].offering == BACKUP
    assert any(f"group {SPOT_GROUP} was given up" in line for line in story(town))
    town.run_until_quiet()


def refuses(town: Town, group: str = SPOT_GROUP) -> dict[str, Any]:
    """What Auto Scaling tells EventBridge when EC2 has none for a group."""
    at = datetime.fromtimestamp(town.now, UTC).isoformat()
    detail = {"AutoScalingGroupName": group, "StatusMessage": "We currently do not have sufficient capacity"}
    kind = "EC2 Instance Launch Unsuccessful"
    return {"source": "aws.autoscaling", "detail-type": kind, "time": at, "region": "us-east-1", "detail": detail}


def test_what_ec2_says_to_a_group_is_told_in_the_pools_story() -> None:
    """Groups of others say nothing to us."""
    town = a_town()
    for group in (SPOT_GROUP, "spillway-other-default-spot", "None"):
        assert town.invoke(ec2_events.receive, refuses(town, group))
    told = [line for line in story(town) if "sufficient capacity" in line]
    assert told == [f"group {SPOT_GROUP} in us-east-1 got no instance: We currently do not have sufficient capacity"]


def test_a_group_that_ec2_refused_keeps_nobody_waiting_for_minutes() -> None:
    """Its other zones have some seconds, then the backup is asked."""
    town = a_town()
    town.cloud.compute.limit(SPOT, 0)
    job = town.submit("run 30")
    town.run(3)
    assert town.invoke(ec2_events.receive, refuses(town))
    town.run(12)
    assert desired(town) == 1
    town.run(20)
    assert (desired(town), desired(town, BACKUP_GROUP)) == (0, 1)
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_a_member_that_dies_loses_its_place_and_its_job_gets_another() -> None:
    town = a_town(interruption_ladder=False)
    job = town.submit("run 600", max_attempts=3)
    town.run(60)
    (machine,) = town.cloud.compute.alive()
    town.cloud.compute.interrupt(machine.id)
    town.run(200)
    assert machine.id not in town.cloud.groups.groups["us-east-1", SPOT_GROUP].members
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert (desired(town), desired(town, BACKUP_GROUP)) == (0, 0)


@pytest.mark.parametrize("age_s", [10, 60])
def test_a_dead_members_place_is_not_taken_by_two(age_s: float) -> None:
    """Whether it boots or works: the plan that takes it out of its group asks for one in its stead, and not for one beside that."""
    town = a_town(interruption_ladder=False)
    town.submit("run 3000", max_attempts=3)
    town.run(age_s)
    (machine,) = town.cloud.compute.alive()
    town.unannounced.add(machine.id)
    town.cloud.compute.lose(machine.id)
    town.run(400)
    assert (launched(town), desired(town)) == (2, 1)
    town.run_until_quiet()


def test_a_host_that_ended_itself_is_neither_replaced_nor_desired_for_long() -> None:
    """It needs no permission to leave its group: its place is empty until a pass finds it so, and then it is no place any more."""
    town = a_town(linger_s=3000)
    town.submit("run 30")
    town.run(100)
    (machine,) = town.cloud.compute.alive()
    town.unannounced.add(machine.id)
    town.cloud.compute.lose(machine.id)
    town.run(300)
    assert (launched(town), desired(town)) == (1, 0)
    assert not town.cloud.groups.groups["us-east-1", SPOT_GROUP].members


def test_a_host_that_came_when_none_was_desired_any_more_leaves_all_the_same() -> None:
    """It is protected, so it stays; and a group from which none is desired refuses to want one fewer."""
    town = a_town(linger_s=60)
    town.submit("run 30")
    town.run(5)
    town.cloud.groups.groups["us-east-1", SPOT_GROUP].desired = 0
    town.run_until_quiet()
    assert (launched(town), desired(town)) == (1, 0)
    assert not town.cloud.groups.groups["us-east-1", SPOT_GROUP].members


def test_a_thousand_hosts_leave_in_as_many_passes_as_it_takes() -> None:
    """Auto Scaling takes them one by one, and a function ends after half a minute: who is not reached in time leaves by the next pass."""
    town = a_town(hosts_min=60, hosts_max=60)
    town.run(120)
    assert len(town.cloud.compute.alive()) == 60
    town.letting_go_s = 1.0
    restart.kill(town.plane, "default", by="alice")
    town.run(70)
    assert (town.cloud.compute.alive(), desired(town)) == ([], 0)
    assert town.longest_s < 30


def test_a_host_that_never_speaks_is_terminated_through_its_group() -> None:
    town = a_town(boot_timeout_s=120)
    town.unmanned = {"i-00000000000000001"}
    job = town.submit("run 30")
    town.run(600)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert (
        town.cloud.calls.of("autoscaling.TerminateInstanceInAutoScalingGroup")[0].detail["instance_id"]
        == "i-00000000000000001"
    )
    town.run_until_quiet()
    assert desired(town) == 0


def test_one_host_that_its_group_will_not_let_go_does_not_keep_the_others() -> None:
    """It is asked for again by the next pass; the others stop costing money by this one."""
    town = a_town(hosts_min=2)
    town.run(120)
    error = CloudUnavailable("ScalingActivityInProgress")
    town.cloud.calls.fail("autoscaling.TerminateInstanceInAutoScalingGroup", error)
    restart.kill(town.plane, "default", by="alice")
    town.run(5)
    asked = town.cloud.calls.of("autoscaling.TerminateInstanceInAutoScalingGroup")
    assert asked[0].detail != asked[1].detail
    town.run_until_quiet()
    assert desired(town) == 0


def test_an_instance_of_another_pools_group_is_no_host_of_this_one() -> None:
    """The ping names the pool, the group proves it."""
    town = a_town()
    stranger = town.cloud.groups.make("other", SPOT, b"x")
    town.cloud.groups.resize("us-east-1", stranger, 1)
    (machine,) = town.cloud.compute.alive()
    town.unmanned = {machine.id}
    for host, sender in (
        (f"host-{machine.id}", f"{ROLE}:{machine.id}"),
        (f"host-{machine.id}", f"AROAOTHER:{machine.id}"),
        ("host-i-1", f"{ROLE}:i-1"),
    ):
        body = {"v": 1, "pool": "default", "host": host, "pings": [{"kind": "hello", "at": town.now}]}
        town.cloud.queues.heartbeats.send(json.dumps(body), town.now, sender=sender)
    town.run(10)
    assert town.hosts() == []


def hellos(town: GroupTown) -> list[pings.Message]:
    """What the machines that are there say first; no agent of the town's says it too."""
    town.unmanned = {machine.id for machine in town.cloud.compute.alive()}
    found = []
    for machine in sorted(town.unmanned):
        said = [{"kind": "hello", "at": town.now, "sandbox": "bwrap"}]
        body = {"v": 1, "pool": "default", "host": f"host-{machine}", "pings": said}
        found.append(pings.Message(f"{ROLE}:{machine}", json.dumps(body), machine))
    return found


def test_a_hundred_hosts_that_say_hello_at_once_cost_one_question() -> None:
    """Auto Scaling answers some a second, and each of its answers names all."""
    town = a_town()
    town.cloud.groups.resize("us-east-1", SPOT_GROUP, 100)
    asked = town.cloud.calls.count("autoscaling.DescribeAutoScalingGroups")
    pings.receive(town.plane, hellos(town))
    assert town.cloud.calls.count("autoscaling.DescribeAutoScalingGroups") == asked + 1
    assert [host.state for host in town.hosts()] == [HostState.READY] * 100


def test_what_was_known_of_a_group_before_a_restart_is_not_believed_after_it() -> None:
    """A host that booted with the template before is an old one, though one beside it was recorded a moment ago."""
    town = a_town()
    town.cloud.groups.resize("us-east-1", SPOT_GROUP, 2)
    first, second = hellos(town)
    pings.receive(town.plane, [first])
    town.cloud.groups.groups["us-east-1", SPOT_GROUP].version = 2
    restart.restart(town.plane, "default", by="alice")
    pings.receive(town.plane, [second])
    assert [host.generation for host in town.hosts()] == [0, 0]


def test_two_first_pings_at_once_make_one_row_and_lose_no_assignment() -> None:
    town = a_town()
    town.duplicate = 1.0
    job = town.submit("run 30")
    town.run(60)
    assert [h.state for h in town.hosts()] == [HostState.READY]
    town.run_until_quiet()
    assert town.job(job.id).attempt == 1


def test_hosts_are_protected_though_their_group_does_not_protect_them() -> None:
    town = a_town()
    town.cloud.groups.groups["us-east-1", SPOT_GROUP].protects = False
    town.submit("run 300")
    town.run(60)
    group = town.cloud.groups.groups["us-east-1", SPOT_GROUP]
    assert group.protected == set(group.members)


def test_a_killed_pool_asks_for_nothing_and_what_is_on_its_way_is_called_off() -> None:
    town = a_town()
    town.cloud.compute.limit(SPOT, 0)
    town.submit("run 30")
    town.run(5)
    assert desired(town) == 1
    restart.kill(town.plane, "default", by="alice", force=True)
    town.run(5)
    assert desired(town) == 0
    restart.start(town.plane, "default", by="alice")
    town.cloud.compute.limit(SPOT, None)
    town.run_until_quiet()


def test_a_restart_replaces_the_hosts_of_a_group() -> None:
    town = a_town(hosts_min=2)
    town.run(120)
    old = {machine.id for machine in town.cloud.compute.alive()}
    restart.restart(town.plane, "default", by="alice")
    town.run(600)
    new = {machine.id for machine in town.cloud.compute.alive()}
    assert (len(old), len(new), old & new, desired(town)) == (2, 2, set(), 2)


def test_a_host_that_booted_with_the_template_before_is_replaced_by_a_restart_too() -> None:
    """It says hello after the restart, and is old all the same."""
    town = a_town(hosts_min=1)
    town.boot_s = 50
    town.run(70)
    town.cloud.groups.groups["us-east-1", SPOT_GROUP].version = 2  # `spillway pool groups` with another image
    restart.restart(town.plane, "default", by="alice")
    old = {machine.id for machine in town.cloud.compute.alive()}
    assert len(old) == 1
    town.run(600)
    assert old.isdisjoint(machine.id for machine in town.cloud.compute.alive())
    assert [host.generation for host in town.hosts() if host.state is HostState.READY] == [1]


def test_a_pool_without_groups_says_what_is_missing() -> None:
    town = Town(PoolSpec(offerings=(SPOT,), capacity="asg"))
    job = town.submit("run 30")
    town.run(5)
    assert "spillway pool groups" in (town.job(job.id).waiting_for or "")
    assert launched(town) == 0


def test_groups_are_asked_for_only_where_they_are() -> None:
    """A pool that would wait for ever is refused when it is written, with the command that helps; the whole stage cannot be set to it."""
    town = Town()
    sentence = (
        "pool default has no Auto Scaling group for on_demand in us-east-1: `spillway pool groups default` makes them"
    )
    with pytest.raises(BadRequest, match=sentence):
        pools.patch(town.plane, "default", {"capacity": "asg"}, by="alice")
    town.cloud.groups.make("default", replace(BACKUP, instance_type="c7i.large"), b"x")
    group = town.cloud.groups.groups["us-east-1", BACKUP_GROUP]
    group.replaces = True
    with pytest.raises(BadRequest, match=f"{BACKUP_GROUP} in us-east-1 may replace .* `spillway pool groups default`"):
        pools.patch(town.plane, "default", {"capacity": "asg"}, by="alice")
    group.replaces = False
    assert pools.patch(town.plane, "default", {"capacity": "asg"}, by="alice").spec.capacity == "asg"
    offerings = [{"region": "us-east-1", "instance_type": "c7i.large", "market": "spot"}]
    with pytest.raises(BadRequest, match="no Auto Scaling group for spot in us-east-1"):
        pools.patch(town.plane, "default", {"offerings": offerings}, by="alice")
    with pytest.raises(BadRequest, match="is said of each pool"):
        settings.patch_defaults(town.plane, {"capacity": "asg"}, by="root")


def test_who_changes_what_launch_templates_tell_hosts_hears_how_it_gets_there() -> None:
    """The pool would say one thing and its hosts do another."""
    town = a_town()
    warned: list[Fault] = []
    pools.patch(town.plane, "default", {"linger_s": 77, "hosts_max": 5}, by="alice", warn=warned.append)
    assert [fault.field for fault in warned] == ["linger_s"]
    assert "`spillway pool groups default` brings it there" in warned[0].message


def test_the_backup_is_asked_once_what_it_stands_in_for_is_given_up_for_sure() -> None:
    """A call that is not answered may have done nothing: then spot could still come, and the pool had more hosts than it may."""
    town = a_town(hosts_max=1)
    town.cloud.compute.limit(SPOT, 0)
    job = town.submit("run 30")
    town.run(175)
    town.cloud.calls.fail("autoscaling.SetDesiredCapacity", CloudUnavailable("Throttling"))
    town.run(30)
    asked = [call.detail["group"] for call in town.cloud.calls.of("autoscaling.SetDesiredCapacity")]
    assert asked == [SPOT_GROUP, SPOT_GROUP, SPOT_GROUP, BACKUP_GROUP]
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_a_host_that_may_have_left_is_not_asked_for_again_by_the_same_plan() -> None:
    """Its group was told, and did not answer."""
    town = a_town(hosts_max=1)
    town.submit("run 30")
    town.run(10)
    (machine,) = town.cloud.compute.alive()
    town.cloud.compute.lose(machine.id)
    error = CloudUnavailable("Throttling")
    town.cloud.calls.fail("autoscaling.TerminateInstanceInAutoScalingGroup", error, answer_lost=True)
    town.run_until_quiet()
    assert launched(town) == 2


def test_a_group_that_did_not_answer_is_asked_again_in_seconds() -> None:
    """Not by the next tick: a job waits."""
    town = a_town()
    town.cloud.calls.fail("autoscaling.SetDesiredCapacity", CloudUnavailable("ScalingActivityInProgress"))
    town.submit("run 30")
    town.run(8)
    assert desired(town) == 1


def test_samples_count_hosts_that_a_group_owes_and_each_that_came_once() -> None:
    """They cost money before they speak; and no launch row tells of them."""
    town = a_town(hosts_min=2)
    town.boot_s = 90
    town.submit("run 30")
    town.run(61)
    (first,) = town.stores.samples.of("default", 0, town.now, 9)
    assert (first.values["hosts"], first.values["hosts_launched"]) == ({"launching": 2}, 0)
    town.run(300)
    samples = town.stores.samples.of("default", 0, town.now, 9)
    assert sum(sample.values["hosts_launched"] for sample in samples) == 2
    assert samples[-1].values["hosts"] == {"ready": 2}


def test_a_group_that_replaces_of_itself_ends_at_zero_too() -> None:
    """Somebody resumed its processes: what it launches for itself is a host like any other, and leaves when idle."""
    town = a_town()
    town.cloud.groups.groups["us-east-1", SPOT_GROUP].replaces = True
    job = town.submit("run 600", max_attempts=3)
    town.run(60)
    town.cloud.compute.interrupt(town.cloud.compute.alive()[0].id)
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert desired(town) == 0


def scenario(burn_at: set[int]) -> tuple[Town, list[str], int]:
    """Two jobs on a spot group that gives no host, so that the backup group is asked; the control plane crashes there."""
    town = a_town()
    town.cloud.compute.limit(SPOT, 0)
    fuse = fragile(town)
    fuse.burn_at = burn_at
    jobs: list[str] = []
    for number in range(2):
        while len(jobs) == number:  # a client retries with the same key until it is answered
            with suppress(Crash):
                jobs.append(town.submit("run 250", idempotency_key=f"key-{number}").id)
    town.run_until_quiet()
    return town, jobs, fuse.calls


@cache
def calls() -> int:
    return scenario(set())[2]


@pytest.mark.parametrize("slice_", range(8))
def test_a_crash_at_any_single_call_leaves_nothing_behind(slice_: int) -> None:
    """Desired capacity is asked for in one call and remembered in another: whoever dies in between causes no second host for good."""
    for point in range(1 + slice_, calls() + 1, 8):
        town, jobs, _ = scenario({point})
        broken = invariants.at_rest(town.world())
        assert not broken, f"crash at call {point}: {broken}"
        assert [town.job(job).state for job in jobs] == [JobState.SUCCEEDED] * 2
        assert (desired(town), desired(town, BACKUP_GROUP)) == (0, 0), f"crash at call {point}"

"""Pools of Auto Scaling groups in plans: what was asked for counts, and is asked for once."""

from __future__ import annotations

from dataclasses import replace

from builders import NOW, a_host, a_pool, a_snapshot, an_entry
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import invariants
from chalicelib.core.groups import GIVE_UP_S, REFUSED_S, Group, Member, group_key, group_name, host_id
from chalicelib.core.host import Host, Offering
from chalicelib.core.plan import Assign, Dismiss, Plan, Resize, Start
from chalicelib.core.reconcile import reconcile
from chalicelib.core.snapshot import Snapshot

SPOT = Offering(region="us-east-1", instance_type="c7i.large", market="spot")
BACKUP = Offering(region="us-east-1", instance_type="c7i.large")
NAME = group_name("dev", "default", "spot")


def a_group(desired: int = 0, members: tuple[Member, ...] = (), market: str = "spot") -> Group:
    name = group_name("dev", "default", market)
    return Group(name=name, region="us-east-1", market=market, desired=desired, size_max=5000, members=members)


def a_member(n: int, **facts: object) -> Member:
    return Member(**{"instance_id": f"i-{n}", "group": NAME, "state": "InService", "protected": True, **facts})  # type: ignore[arg-type]


def a_row(n: int) -> Host:
    return a_host(host_id(f"i-{n}"), instance_id=f"i-{n}", launch=NAME, offering=SPOT)


def a_look(jobs: int, group: Group, rows: int = 0, asked_s_ago: float = 1.0, **spec: object) -> Snapshot:
    pool = a_pool(**{"offerings": (SPOT, BACKUP), "capacity": "asg", **spec})
    return a_snapshot(
        pool=replace(pool, asked={group_key("us-east-1", NAME): NOW - asked_s_ago}),
        hosts=tuple(a_row(n) for n in range(rows)),
        backlog=tuple(an_entry(f"job-{n:03d}") for n in range(jobs)),
        groups=(group, a_group(market="on_demand")),
    )


def resizes(plan: Plan) -> list[Resize]:
    return [action for action in plan.actions if isinstance(action, Resize)]


@given(
    jobs=st.integers(0, 30),
    members=st.integers(0, 6),
    known=st.integers(0, 6),
    missing=st.integers(0, 6),
    hosts_max=st.integers(0, 12),
)
def test_looking_again_right_after_asking_asks_for_nothing(
    jobs: int, members: int, known: int, missing: int, hosts_max: int
) -> None:
    """What is on its way counts as hosts that boot: so no job ever causes two, and the pool's maximum holds for both together."""
    there = tuple(a_member(n) for n in range(members))
    s = a_look(jobs, a_group(members + missing, there), rows=min(known, members), hosts_max=hosts_max)
    plan = reconcile(s)
    assert not invariants.of_plan(s, plan)
    assert not any(isinstance(action, Start) for action in plan.actions)
    for action in resizes(plan):
        assert action.desired <= max(hosts_max, members + missing)
    if any(isinstance(action, Assign) for action in plan.actions):
        return  # what those hosts hold then is another test's
    wanted = {action.group: action.desired for action in resizes(plan)}
    after = tuple(replace(group, desired=wanted.get(group.name, group.desired)) for group in s.groups or ())
    again = replace(s, groups=after, pool=replace(s.pool, asked={group.key: NOW for group in after}))
    assert not resizes(reconcile(again))


def test_jobs_for_hosts_on_their_way_stay_in_the_backlog_and_say_so() -> None:
    plan = reconcile(a_look(2, a_group(desired=1)))
    assert plan.actions == ()
    assert {sentence for _, sentence in plan.waits} == {
        f"a host of group {NAME} is on its way; if it does not come, c7i.large on-demand in us-east-1 is tried"
    }
    assert plan.wake_at is not None


def test_what_is_late_is_given_up_in_the_same_plan_that_asks_the_next_offering() -> None:
    plan = reconcile(a_look(1, a_group(desired=1), asked_s_ago=GIVE_UP_S))
    down, up = sorted(resizes(plan), key=lambda action: action.desired)
    assert (down.group, down.desired, down.gave_up) == (NAME, 0, (SPOT,))
    assert (up.group, up.desired) == (group_name("dev", "default", "on_demand"), 1)


def test_dead_members_are_dismissed_and_do_not_count_as_on_their_way() -> None:
    """A plan that waited for them would wait for ever."""
    plan = reconcile(a_look(1, a_group(1, (a_member(7, healthy=False),))))
    assert [action.instance_id for action in plan.actions if isinstance(action, Dismiss)] == ["i-7"]
    assert [(action.group, action.desired) for action in resizes(plan)] == [(NAME, 2)]  # one of them is dismissed


def test_a_member_that_works_is_not_ended_for_a_status_check_that_failed() -> None:
    """Auto Scaling calls it unhealthy for good; whether it is, its pings and EC2's list say."""
    s = a_look(0, a_group(1, (a_member(0, healthy=False),)), rows=1)
    assert not [action for action in reconcile(s).actions if isinstance(action, Dismiss)]


def test_asking_for_more_does_not_put_off_giving_up_what_delivers_nothing() -> None:
    """Or a job now and then would keep all of them from the backup for ever."""
    (more,) = resizes(reconcile(a_look(4, a_group(desired=1), asked_s_ago=100)))
    assert (more.desired > 1, more.asked_at) == (True, NOW - 100)


def test_what_ec2_refused_a_group_since_it_was_asked_is_given_up_sooner() -> None:
    """Its other zones and types get some seconds; a refusal from before it was asked says nothing."""
    for refused_s_ago, asked_s_ago, gives_up in ((1, REFUSED_S, True), (1, REFUSED_S - 1, False), (99, 60, False)):
        s = a_look(1, replace(a_group(desired=1), refused_at=NOW - refused_s_ago), asked_s_ago=asked_s_ago)
        plan = reconcile(s)
        assert any(action.gave_up for action in resizes(plan)) == gives_up
        if not gives_up:
            patience_s = REFUSED_S if refused_s_ago < asked_s_ago else GIVE_UP_S
            assert plan.wake_at == NOW - asked_s_ago + patience_s


def test_groups_of_two_regions_have_one_name_and_are_asked_apart() -> None:
    """What one of them owes is no debt of the other, which was asked long ago and delivered."""
    west = replace(SPOT, region="us-west-2")
    s = a_look(0, a_group(1), asked_s_ago=GIVE_UP_S, offerings=(SPOT, west))
    there = replace(a_group(1), region="us-west-2")
    s = replace(s, groups=(*(s.groups or ()), there), pool=replace(s.pool, asked={**s.pool.asked, there.key: NOW - 1}))
    assert [(action.region, action.desired) for action in resizes(reconcile(s))] == [("us-east-1", 0)]


def test_asking_a_group_that_delivers_for_more_gives_it_time_again() -> None:
    """A member that boots, or that has said hello since, is a delivery."""
    booting = a_look(9, a_group(2, (a_member(7),)), asked_s_ago=100)
    spoke = a_look(9, a_group(2, (a_member(0),)), rows=1, asked_s_ago=100)
    spoke = replace(spoke, hosts=tuple(replace(host, recorded_at=NOW - 50) for host in spoke.hosts))
    for s in (booting, spoke):
        assert [action.asked_at for action in resizes(reconcile(s))] == [NOW]


def test_more_is_asked_on_top_of_what_is_there_though_less_is_desired() -> None:
    """What came in the moment in which it was given up is protected, and stays; asking for no more than it has asks for nothing."""
    (asked,) = resizes(reconcile(a_look(9, a_group(0, (a_member(0),)), rows=1)))
    assert asked.desired > 1


def test_nothing_is_asked_while_the_groups_are_not_known() -> None:
    plan = reconcile(replace(a_look(3, a_group()), groups=None))
    assert plan.actions == ()
    assert {sentence for _, sentence in plan.waits} == {
        f"{SPOT.key} cannot be asked now; `spillway pool groups` makes the pool's groups"
    }

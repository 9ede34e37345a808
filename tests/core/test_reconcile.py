"""Rules of the plan, one sentence each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import (
    NOW,
    OFFERING,
    a_host,
    a_launch,
    a_pool,
    a_snapshot,
    an_assignment,
    an_entry,
    an_instance,
)

from chalicelib.core.host import HostState, Offering
from chalicelib.core.plan import (
    Adopt,
    Assign,
    Drain,
    Missed,
    Plan,
    Recapture,
    Reclaim,
    Resume,
    Retire,
    Ring,
    Settle,
    Sicken,
    Start,
    Vanish,
)
from chalicelib.core.pool import Scaling
from chalicelib.core.reconcile import reconcile

AGREED = Scaling(surplus_since=NOW - 600)  # looks have long found more hosts than wanted


def plan(**over: Any) -> Plan:
    return reconcile(a_snapshot(**over))


def test_a_waiting_job_goes_to_a_ready_host_and_its_doorbell_is_rung() -> None:
    assert plan(hosts=(a_host(),), backlog=(an_entry(),)).kinds() == [Assign, Ring]


def test_a_draining_host_is_recaptured_before_one_is_launched() -> None:
    """Waking a host that already runs is cheaper than booting another."""
    assert plan(hosts=(a_host(state=HostState.DRAINING),), backlog=(an_entry(),)).kinds() == [Recapture, Assign, Ring]


def test_a_host_that_boots_is_waited_for_before_one_is_launched() -> None:
    booting = a_host(state=HostState.LAUNCHING, ready_at=None, seen_at=None, launched_at=NOW - 5)
    assert plan(hosts=(booting,), backlog=(an_entry(),)).kinds() == [Assign]


def test_jobs_that_fit_nowhere_are_launched_for_in_one_request() -> None:
    (start,) = plan(backlog=tuple(an_entry(f"job-{i}") for i in range(5))).actions
    assert isinstance(start, Start)
    assert [len(load) for load in start.loads] == [2, 2, 1]


def test_a_launch_asks_for_so_many_hosts_as_a_manifest_can_name() -> None:
    backlog = tuple(an_entry(f"job-{i:03d}", slots=2) for i in range(250))
    actions = plan(pool=a_pool(hosts_max=500), backlog=backlog).actions
    assert [len(a.loads) for a in actions if isinstance(a, Start)] == [100, 100, 50]


def test_what_does_not_fit_is_passed_over_and_says_why() -> None:
    """No head-of-line blocking: the wide job waits, the narrow one behind it runs."""
    wide, narrow = an_entry("wide", cpu=2.0), an_entry("narrow")
    made = plan(pool=a_pool(hosts_max=1), hosts=(a_host(assignments=(an_assignment(),)),), backlog=(wide, narrow))
    assert [a.entry.job for a in made.actions if isinstance(a, Assign)] == ["narrow"]
    assert made.waits == ((wide, "all 1 hosts that the pool may have are taken"),)


def test_best_fit_keeps_the_big_room_for_the_big_job() -> None:
    hosts = (a_host("host-a"), a_host("host-b", assignments=(an_assignment(),)))
    made = plan(hosts=hosts, backlog=(an_entry("small"), an_entry("big", cpu=2.0, slots=2)))
    assert {a.entry.job: a.host for a in made.actions if isinstance(a, Assign)} == {"small": "host-b", "big": "host-a"}


def test_an_entry_that_a_host_carries_already_is_assigned_there_again() -> None:
    """The trace of a crash between two writes: it is completed, not placed a second time."""
    carrying = a_host(assignments=(an_assignment("job-9", accepted_at=None, started_at=None),))
    made = plan(hosts=(a_host("host-0"), carrying), backlog=(an_entry("job-9"),))
    assert [(a.entry.job, a.host) for a in made.actions if isinstance(a, Assign)] == [("job-9", "host-1")]


def test_a_refused_offering_is_passed_over_for_the_next() -> None:
    second = Offering(region="us-east-1", instance_type="m7i.large")
    pool = a_pool(offerings=(OFFERING, second), skips={OFFERING.key: NOW + 60})
    (start,) = plan(pool=pool, backlog=(an_entry(),)).actions
    assert isinstance(start, Start)
    assert start.offering == second


def test_when_every_offering_is_refused_the_job_says_until_when() -> None:
    made = plan(pool=a_pool(skips={OFFERING.key: NOW + 60}), backlog=(an_entry(),))
    assert not made.actions
    assert made.wake_at == NOW + 60
    assert made.waits[0][1] == "no c7i.large on-demand in us-east-1 until 13:47 UTC (EC2 refused it)"


def test_a_refusal_is_of_what_was_asked_for_and_a_corrected_pool_asks_at_once() -> None:
    """A launch template that does not exist is refused for ten minutes; who names another one does not wait for them."""
    refused = {OFFERING.asked_with("ami-12345678", "graders:3"): NOW + 600}
    wrong = {"image": "ami-12345678", "launch_template": "graders:3", "skips": refused}
    assert not plan(pool=a_pool(**wrong), backlog=(an_entry(),)).actions
    for corrected in ({"image": None}, {"launch_template": "graders:4"}, {"image": None, "launch_template": None}):
        made = plan(pool=a_pool(**(wrong | corrected)), backlog=(an_entry(),))
        assert [type(action) for action in made.actions] == [Start]


def test_nobody_is_told_of_a_host_that_is_not_to_be_had() -> None:
    """A job that would follow another one on its host waits for the same as that one, where that one gets no host."""
    for poor in ({"budget_usd_h": 0.0}, {"hosts_max": 0}):
        jobs = tuple(an_entry(f"job-{n}", timeout_s=5) for n in range(9))
        made = plan(pool=a_pool(slots_per_host=1, estimated_s=1.0, **poor), backlog=jobs)
        assert len(made.waits) == 9
        assert not [reason for _, reason in made.waits if "a host that is there" in reason]


def test_a_pool_keeps_its_minimum() -> None:
    (start,) = plan(pool=a_pool(hosts_min=2)).actions
    assert isinstance(start, Start)
    assert start.loads == ((), ())
    idle = tuple(a_host(f"host-{i}", freed_at=NOW - 999) for i in range(3))
    assert plan(pool=a_pool(hosts_min=2, scaling=AGREED), hosts=idle).kinds() == [Drain, Retire]


def test_an_idle_host_leaves_after_lingering_and_not_before() -> None:
    lingering = plan(pool=a_pool(scaling=AGREED), hosts=(a_host(freed_at=NOW - 59),))
    assert not lingering.actions
    assert lingering.wake_at == NOW + 1
    assert plan(pool=a_pool(scaling=AGREED), hosts=(a_host(freed_at=NOW - 60),)).kinds() == [Drain, Retire]


@pytest.mark.parametrize(
    "host",
    [
        a_host(interrupt_at=NOW + 100, assignments=(an_assignment(),)),
        a_host(launched_at=NOW - 90_000, assignments=(an_assignment(),)),
        a_host(generation=-1, assignments=(an_assignment(),)),
    ],
    ids=["interrupted", "expired", "outdated"],
)
def test_a_host_that_must_go_drains_and_gets_no_work(host: Any) -> None:
    """… and is not terminated while an attempt runs there."""
    made = plan(hosts=(host,), backlog=(an_entry(),))
    assert Drain in made.kinds()
    assert Retire not in made.kinds()
    assert Assign not in made.kinds()


@pytest.mark.parametrize(
    ("host", "sick"),
    [
        (a_host(seen_at=NOW - 300), True),
        (a_host(seen_at=NOW - 100), False),
        (a_host(assignments=(an_assignment(started_at=NOW - 800),)), True),
        (a_host(assignments=(an_assignment(started_at=NOW - 700),)), False),
        (a_host(assignments=(an_assignment(accepted_at=None, started_at=None, assigned_at=NOW - 400),)), False),
        (
            a_host(
                ready_at=NOW - 900,
                assignments=(an_assignment(accepted_at=None, started_at=None, assigned_at=NOW - 400),),
            ),
            True,
        ),
    ],
    ids=["silent", "seen", "overdue", "in time", "just ready", "deaf"],
)
def test_a_host_is_no_longer_trusted_when(host: Any, sick: bool) -> None:
    assert (Sicken in plan(hosts=(host,)).kinds()) is sick


def test_silence_counts_only_while_the_canary_sings() -> None:
    for canary_at in (None, NOW - 400):
        assert Sicken not in plan(hosts=(a_host(seen_at=NOW - 900),), canary_at=canary_at).kinds()


def test_an_unhealthy_host_goes_when_it_is_empty_or_hopeless() -> None:
    unhealthy = {"state": HostState.UNHEALTHY, "entered_at": NOW - 60}
    assert plan(hosts=(a_host(**unhealthy),)).kinds() == [Retire]
    assert plan(hosts=(a_host(**unhealthy, assignments=(an_assignment(),)),)).kinds() == []
    overdue = an_assignment(started_at=NOW - 800)
    assert plan(hosts=(a_host(**unhealthy, assignments=(overdue,)),)).kinds() == [Retire]
    half_a_day = {"state": HostState.UNHEALTHY, "entered_at": NOW - 43_201}
    assert plan(hosts=(a_host(**half_a_day, assignments=(an_assignment(),)),)).kinds() == [Retire]


def test_what_has_not_begun_on_an_unhealthy_host_is_taken_back() -> None:
    waiting = an_assignment(started_at=None)
    assert Reclaim in plan(hosts=(a_host(state=HostState.UNHEALTHY, assignments=(waiting,)),)).kinds()


def test_a_host_that_does_not_say_hello_in_time_is_terminated() -> None:
    slow = a_host(state=HostState.LAUNCHING, ready_at=None, launched_at=NOW - 900, recorded_at=NOW - 601)
    assert plan(hosts=(slow,), launches=(a_launch(recorded=True),)).kinds() == [Retire]
    asked_again = replace(slow, recorded_at=NOW - 30)  # EC2 answered only to the second request: it boots since then
    assert plan(hosts=(asked_again,), launches=(a_launch(recorded=True),)).kinds() == []


def test_a_termination_is_sent_again_until_ec2_agrees() -> None:
    assert plan(hosts=(a_host(state=HostState.TERMINATING, retire_sent_at=NOW - 61),)).kinds() == [Retire]
    assert plan(hosts=(a_host(state=HostState.TERMINATING, retire_sent_at=NOW - 5),)).kinds() == []


def test_absence_is_concluded_only_from_the_second_miss_of_a_real_list() -> None:
    host = a_host(freed_at=NOW)
    assert plan(hosts=(host,), listed=None).kinds() == []
    assert plan(hosts=(host,), listed=()).kinds() == [Missed]
    assert plan(hosts=(a_host(missed_lists=1),), listed=()).kinds() == [Vanish]
    assert plan(hosts=(a_host(missed_lists=1),), listed=(an_instance("i-host-1"),)).kinds() == [Missed]
    young = a_host(state=HostState.LAUNCHING, ready_at=None, launched_at=NOW - 30)
    assert plan(hosts=(young,), listed=()).kinds() == []


def test_an_instance_without_row_is_adopted_unless_an_unrecorded_launch_explains_it() -> None:
    stray = an_instance("i-stray")
    assert plan(listed=(stray,)).kinds() == [Adopt]
    assert plan(listed=(stray,), launches=(a_launch(),)).kinds() == []
    assert plan(listed=(an_instance("i-stray", state="shutting-down"),)).kinds() == []


def test_an_instance_so_young_that_an_overlapping_pass_may_have_launched_it_is_no_orphan_yet() -> None:
    """Its row may have been written after this pass had read the rows, and before it listed the instances."""
    assert plan(listed=(an_instance("i-new", launched_at=NOW - 30),)).kinds() == []
    assert plan(listed=(an_instance("i-new", launched_at=NOW - 36),)).kinds() == [Adopt]


def test_an_instance_that_lives_on_behind_a_terminated_row_is_an_orphan() -> None:
    """Two lists without it were wrong: its row has ended, so nobody else would ever end it."""
    for ended_at, kinds in ((NOW - 100, []), (NOW - 130, [Adopt])):
        ended = a_host(state=HostState.TERMINATED, instance_id="i-1", entered_at=ended_at)
        assert plan(past=(ended,), listed=(an_instance("i-1", launched_at=NOW - 900),)).kinds() == kinds


def test_an_unrecorded_launch_is_sent_again_after_a_while() -> None:
    assert plan(launches=(a_launch(sent_at=NOW - 10),)).kinds() == []
    assert plan(launches=(a_launch(created_at=NOW - 900, sent_at=NOW - 36),)).kinds() == [Resume]


def test_attempts_on_a_host_that_is_gone_are_settled() -> None:
    gone = a_host(state=HostState.TERMINATED, assignments=(an_assignment("a"), an_assignment("b")))
    assert plan(hosts=(gone,)).kinds() == [Settle, Settle]


def test_a_doorbell_is_rung_again_until_the_assignment_is_accepted() -> None:
    waiting = an_assignment(accepted_at=None, started_at=None, assigned_at=NOW - 30)
    assert plan(hosts=(a_host(rung_at=NOW - 3, assignments=(waiting,)),)).kinds() == []
    assert plan(hosts=(a_host(rung_at=NOW - 11, assignments=(waiting,)),)).kinds() == [Ring]


def test_work_that_came_in_the_user_data_gets_its_time_before_the_bell() -> None:
    inline = an_assignment(accepted_at=None, started_at=None, assigned_at=NOW - 30, inline=True)
    assert plan(hosts=(a_host(ready_at=NOW - 2, assignments=(inline,)),)).kinds() == []
    assert plan(hosts=(a_host(ready_at=NOW - 12, assignments=(inline,)),)).kinds() == [Ring]

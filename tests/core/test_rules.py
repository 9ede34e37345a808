"""Rules of the reconciler one at a time, each at its edge: what `make mutants` found that no other test would miss."""

from __future__ import annotations

from typing import Any

import pytest
from builders import NOW, a_host, a_launch, a_pool, a_snapshot, an_assignment, an_entry, an_instance

from chalicelib.core import retirement
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.instance import Instance
from chalicelib.core.plan import Adopt, Assign, Drain, Missed, Recapture, Reclaim, Retire, Sicken, Vanish
from chalicelib.core.reconcile import reconcile


def sickened(*assignments: dict[str, float | None], ready_at: float = NOW - 10_000) -> list[str]:
    """Why a ready host with these assignments is no longer trusted."""
    carried = tuple(an_assignment(f"job-{n}", timeout_s=86_000, **over) for n, over in enumerate(assignments))
    host = a_host(assignments=carried, ready_at=ready_at)
    return [a.reason for a in reconcile(a_snapshot(hosts=(host,))).actions if isinstance(a, Sicken)]


ACCEPTED_LONG_AGO = {"assigned_at": NOW - 1801, "accepted_at": NOW - 1800, "started_at": None}


def test_a_host_that_does_not_begin_what_it_accepted_is_not_trusted() -> None:
    assert sickened(ACCEPTED_LONG_AGO) == ["it does not begin what it accepted"]


@pytest.mark.parametrize(
    "others",
    [
        pytest.param([{"started_at": NOW - 5000}], id="another one runs, and this one may wait for it"),
        pytest.param([{"started_at": NOW - 5000}, {"started_at": None}], id="of several others one runs"),
    ],
)
def test_a_host_that_runs_another_attempt_may_leave_one_waiting(others: list[dict[str, float | None]]) -> None:
    assert sickened(ACCEPTED_LONG_AGO, *others) == []


def test_what_was_accepted_gets_half_an_hour() -> None:
    assert sickened({**ACCEPTED_LONG_AGO, "assigned_at": NOW - retirement.STALLED_S}) == []


def test_the_half_hour_begins_when_the_host_is_there() -> None:
    """Work that came in the user data of a host that took long to boot."""
    assert sickened(ACCEPTED_LONG_AGO, ready_at=NOW - 1799) == []


def test_one_that_waits_for_too_long_among_others_that_do_not_is_enough() -> None:
    assert sickened(ACCEPTED_LONG_AGO, {"started_at": None}) == ["it does not begin what it accepted"]


SPEC = a_pool().spec
BIG = Offering(region="us-east-1", instance_type="c7i.xlarge")
UNHEALTHY = {"state": HostState.UNHEALTHY, "entered_at": NOW - 60}


def leaves(host: Host, **snapshot: Any) -> list[tuple[type[Any], str]]:
    """What is planned for a host that is alone, and why."""
    made = reconcile(a_snapshot(hosts=(host,), **snapshot))
    return [(type(a), a.reason) for a in made.actions if isinstance(a, Sicken | Drain | Retire)]


@pytest.mark.parametrize(
    ("just", "too_long", "action"),
    [
        pytest.param(
            a_host(seen_at=NOW - 5 - SPEC.missed_pings_s),
            a_host(seen_at=NOW - 5 - SPEC.missed_pings_s - 1),
            Sicken,
            id="silent, as the canary of five seconds ago proves",
        ),
        pytest.param(
            a_host(assignments=(an_assignment(started_at=NOW - 600 - SPEC.overdue_grace_s),)),
            a_host(assignments=(an_assignment(started_at=NOW - 600 - SPEC.overdue_grace_s - 1),)),
            Sicken,
            id="an attempt after its timeout of 600 s and grace",
        ),
        pytest.param(
            a_host(
                ready_at=NOW - 999,
                assignments=(an_assignment(accepted_at=None, started_at=None, assigned_at=NOW - 300),),
            ),
            a_host(
                ready_at=NOW - 999,
                assignments=(an_assignment(accepted_at=None, started_at=None, assigned_at=NOW - 301),),
            ),
            Sicken,
            id="an assignment that it does not accept",
        ),
        pytest.param(
            a_host(launched_at=NOW - SPEC.lifetime_max_s),
            a_host(launched_at=NOW - SPEC.lifetime_max_s - 1),
            Drain,
            id="its life",
        ),
        pytest.param(
            a_host(state=HostState.LAUNCHING, ready_at=None, recorded_at=NOW - SPEC.boot_timeout_s),
            a_host(state=HostState.LAUNCHING, ready_at=None, recorded_at=NOW - SPEC.boot_timeout_s - 1),
            Retire,
            id="its boot",
        ),
        pytest.param(
            a_host(state=HostState.UNHEALTHY, entered_at=NOW - SPEC.unhealthy_max_s, assignments=(an_assignment(),)),
            a_host(
                state=HostState.UNHEALTHY, entered_at=NOW - SPEC.unhealthy_max_s - 1, assignments=(an_assignment(),)
            ),
            Retire,
            id="unhealthy",
        ),
        pytest.param(
            a_host(state=HostState.TERMINATING, retire_sent_at=NOW - 60),
            a_host(state=HostState.TERMINATING, retire_sent_at=NOW - 61),
            Retire,
            id="terminating, and asked a minute ago",
        ),
    ],
)
def test_each_limit_is_met_only_when_it_is_passed(just: Host, too_long: Host, action: type[Any]) -> None:
    assert leaves(just) == []
    assert [kind for kind, _ in leaves(too_long)][:1] == [action]


def test_a_canary_is_believed_for_exactly_two_minutes_and_a_half() -> None:
    silent = a_host(seen_at=NOW - 5000)
    assert [kind for kind, _ in leaves(silent, canary_at=NOW - 150)] == [Sicken]
    assert leaves(silent, canary_at=NOW - 151) == []


def test_a_host_that_nobody_has_seen_yet_is_not_silent() -> None:
    assert leaves(a_host(seen_at=None)) == []


def test_an_unhealthy_host_is_hopeless_only_when_all_that_it_runs_is() -> None:
    over, fine = an_assignment("job-1", started_at=NOW - 800), an_assignment("job-2", started_at=NOW - 8)
    assert leaves(a_host(**UNHEALTHY, assignments=(over, fine))) == []
    assert leaves(a_host(**UNHEALTHY, assignments=(over,))) == [(Retire, "all that it ran is overdue")]


def test_who_was_never_asked_to_terminate_is_asked_at_once() -> None:
    """A pass that died between row and EC2."""
    assert leaves(a_host(state=HostState.TERMINATING, retire_sent_at=None)) == [(Retire, "EC2 still has it")]


def test_an_interruption_outranks_the_end_of_life() -> None:
    host = a_host(interrupt_at=NOW + 90, launched_at=NOW - 999_999, assignments=(an_assignment(),))
    assert leaves(host) == [(Drain, "EC2 is taking it back")]


def test_an_untrusted_host_is_never_merely_drained() -> None:
    host = a_host(interrupt_at=NOW + 90, seen_at=NOW - 999, assignments=(an_assignment(),))
    assert [kind for kind, _ in leaves(host)] == [Sicken]


def test_the_reason_says_that_nothing_was_lost_with_it() -> None:
    assert leaves(a_host(**UNHEALTHY)) == [(Retire, "it is unhealthy and empty")]


def test_what_began_need_not_be_accepted() -> None:
    """A start that overtook the acceptance is an answer to the doorbell."""
    assert sickened({"assigned_at": NOW - 400, "accepted_at": None, "started_at": NOW - 350}) == []


def test_a_draining_host_that_falls_silent_is_not_trusted_either() -> None:
    silent = a_host(state=HostState.DRAINING, seen_at=NOW - 999, assignments=(an_assignment(),))
    assert [kind for kind, _ in leaves(silent)] == [Sicken]


def test_an_older_generation_is_not_taken_back() -> None:
    """It drains because a newer one is wanted."""
    old = a_host(state=HostState.DRAINING, assignments=(an_assignment(cpu=0.1, memory_mib=64),))
    waiting = (an_entry(cpu=0.1, memory_mib=64),)
    for generation, kinds in ((0, [Recapture]), (1, [])):
        pool = a_pool(generation=generation, hosts_max=1)
        made = reconcile(a_snapshot(hosts=(old,), backlog=waiting, pool=pool))
        assert [type(a) for a in made.actions if isinstance(a, Recapture)] == kinds


def test_a_host_of_an_older_generation_that_still_boots_gets_work() -> None:
    """Its turn comes when it is ready; until then it is the nearest room there is."""
    old = a_host(state=HostState.LAUNCHING, ready_at=None, launched_at=NOW - 5)
    made = reconcile(a_snapshot(hosts=(old,), backlog=(an_entry(),), pool=a_pool(generation=1)))
    assert [a.host for a in made.actions if isinstance(a, Assign)] == [old.id]


def vanishes(host: Host, **snapshot: Any) -> list[str]:
    made = reconcile(a_snapshot(hosts=(host,), **snapshot))
    return [a.reason for a in made.actions if isinstance(a, Vanish)]


def test_a_host_that_was_never_asked_for_vanishes() -> None:
    """A function died between the rows and the launch; while it may be alive, or EC2 may have been asked, nothing is concluded."""
    facts: dict[str, Any] = {"state": HostState.LAUNCHING, "instance_id": None, "userid": None, "ready_at": None}
    young, old = a_host(launched_at=NOW - 35, **facts), a_host(launched_at=NOW - 36, **facts)
    assert vanishes(young) == []
    assert vanishes(old) == ["no instance was ever launched for it"]
    assert vanishes(old, launches=(a_launch(old.launch),)) == []
    assert vanishes(old, launches=(a_launch(old.launch, recorded=True),)) == ["no instance was ever launched for it"]
    ended = a_host(launched_at=NOW - 36, **{**facts, "state": HostState.TERMINATED}, assignments=(an_assignment(),))
    assert vanishes(ended) == []


def test_only_hosts_that_should_be_listed_are_missed() -> None:
    """Not those that have ended, and not those of which EC2 has not told the instance yet."""
    ended = a_host(state=HostState.TERMINATED, assignments=(an_assignment(),))
    unknown = a_host(state=HostState.LAUNCHING, ready_at=None, instance_id=None, userid=None, launched_at=NOW - 300)
    for host in (ended, unknown):
        s = a_snapshot(hosts=(host,), listed=(), launches=(a_launch(host.launch),))
        assert [a for a in reconcile(s).actions if isinstance(a, Missed)] == []


def missed(host: Host, *listed: Instance) -> list[int]:
    """The new count of lists without it, where it changes."""
    s = a_snapshot(hosts=(host,), listed=listed)
    return [a.missed_lists for a in reconcile(s).actions if isinstance(a, Missed)]


def test_lists_without_a_host_are_counted_and_forgotten() -> None:
    """Counted for one that has had its time to be listed, at once for one that is ending; written only where it changes."""
    there = an_instance("i-1")
    assert missed(a_host(instance_id="i-1", missed_lists=1), there) == [0]
    assert missed(a_host(instance_id="i-1"), there) == []
    assert missed(a_host(instance_id="i-1", launched_at=NOW - 120)) == []
    assert missed(a_host(instance_id="i-1", launched_at=NOW - 121)) == [1]
    ending = a_host(instance_id="i-1", state=HostState.TERMINATING, launched_at=NOW - 10, retire_sent_at=NOW)
    assert missed(ending) == [1]


def test_each_wait_of_the_comparison_is_met_only_when_it_is_over() -> None:
    """35 s for an answer of EC2, and for a pass that overlaps; two minutes for a list that lags behind."""
    s = a_snapshot(launches=(a_launch(sent_at=NOW - 35),))
    assert reconcile(s).actions == ()
    s = a_snapshot(listed=(an_instance("i-1", launched_at=NOW - 35),))
    assert reconcile(s).actions == ()
    ended = a_host(state=HostState.TERMINATED, instance_id="i-1", entered_at=NOW - 120, assignments=(an_assignment(),))
    s = a_snapshot(hosts=(ended,), listed=(an_instance("i-1", launched_at=NOW - 900),))
    assert not [a for a in reconcile(s).actions if isinstance(a, Adopt)]


def test_a_cancelled_attempt_is_taken_back_only_where_its_claim_can_be_won() -> None:
    """Before EC2's answer is written down nobody knows whose claim that would be."""
    cancelled = (an_assignment(cancel=True, accepted_at=None, started_at=None),)
    for userid, kinds in (("AROA:i-1", [Reclaim]), (None, [])):
        host = a_host(userid=userid, assignments=cancelled)
        assert [type(a) for a in reconcile(a_snapshot(hosts=(host,))).actions if isinstance(a, Reclaim)] == kinds


def test_a_room_is_promised_only_to_what_fits() -> None:
    """Who is too large beside the first takes nothing away from the next, for whom no second room need stay empty."""
    hosts = tuple(
        a_host(f"host-{n:02d}", cpu=4.0, assignments=(an_assignment(f"runs-{n}", cpu=3.5),)) for n in range(30)
    )
    aged: dict[str, Any] = {"queued_at": NOW - 999}
    waiting = (
        an_entry("1", cpu=3.0, **aged),
        an_entry("2", cpu=3.2, **aged),
        an_entry("3", cpu=1.0, **aged),
        *(an_entry(f"{n}", cpu=0.5, memory_mib=64) for n in range(40, 70)),
    )
    pool = a_pool(hosts_max=30, offerings=(BIG,))
    placed = [
        a for a in reconcile(a_snapshot(hosts=hosts, backlog=waiting, pool=pool)).actions if isinstance(a, Assign)
    ]
    assert len(placed) == 28  # two of three rooms that may be are withheld: for 3.0 with 1.0, and for 3.2


def rolled(old: int, *others: Host, share: float = 0.25) -> list[str]:
    """Which of so many old ready hosts are drained for generation 1, beside these others."""
    hosts = tuple(a_host(f"old-{n}", generation=0, launched_at=NOW - 300 - n) for n in range(old))
    pool = a_pool(generation=1, rolling_share=share, hosts_min=0, hosts_max=50)
    s = a_snapshot(hosts=(*hosts, *others), pool=pool)
    return [host.id for host in retirement.rolling(s, [h for h in s.hosts if h.state is HostState.READY])]


def test_a_rolling_restart_takes_the_share_rounded_down_and_at_least_one() -> None:
    assert len(rolled(7)) == 1
    assert len(rolled(8)) == 2
    assert len(rolled(2)) == 1
    assert rolled(1) == ["old-0"]


def test_a_rolling_restart_goes_on_when_the_new_ones_are_there() -> None:
    """Those that leave or boot count against the share, in whatever generation they boot."""
    draining = a_host("d", state=HostState.DRAINING, generation=0)
    terminating = a_host("t", state=HostState.TERMINATING, generation=0)
    booting = a_host("b", state=HostState.LAUNCHING, generation=1)
    assert len(rolled(8, draining)) == 1
    assert len(rolled(8, terminating)) == 1
    assert len(rolled(8, booting)) == 1
    assert rolled(8, draining, booting) == []
    assert len(rolled(8, a_host("n", state=HostState.DRAINING, generation=1))) == 2


def test_a_rolling_restart_begins_with_idle_hosts_then_the_oldest() -> None:
    busy = a_host("busy", generation=0, launched_at=NOW - 9999, assignments=(an_assignment(),))
    assert rolled(7, busy) == ["old-6", "old-5"]


def test_hosts_of_the_wanted_generation_are_left_alone() -> None:
    assert rolled(0, a_host("new", generation=1), a_host("newer", generation=2)) == []


def test_of_idle_hosts_those_idle_longest_leave_first_and_no_more_than_are_too_many() -> None:
    idle = [a_host(f"host-{n}", freed_at=NOW - 100 - n) for n in range(4)]
    gone = list(retirement.scale_in(a_snapshot(hosts=tuple(idle)), idle, 2, "2 are wanted"))
    assert [(type(a), a.host.id) for a in gone] == [
        (Drain, "host-3"),
        (Retire, "host-3"),
        (Drain, "host-2"),
        (Retire, "host-2"),
    ]
    assert list(retirement.scale_in(a_snapshot(), idle, 0, "")) == []


def test_a_host_has_lingered_when_its_linger_is_over_to_the_second() -> None:
    s = a_snapshot(pool=a_pool(linger_s=60))
    assert retirement.idle_enough(a_host(freed_at=NOW - 60), s)
    assert not retirement.idle_enough(a_host(freed_at=NOW - 59), s)
    assert not retirement.idle_enough(a_host(freed_at=NOW - 99, assignments=(an_assignment(),)), s)
    assert not retirement.idle_enough(a_host(freed_at=NOW - 99, state=HostState.DRAINING), s)

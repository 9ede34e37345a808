"""From a target to hosts that come, are taken back, or leave: rules, one sentence each."""

from __future__ import annotations

from typing import Any

from builders import NOW, OFFERING, a_host, a_pool, a_snapshot, an_assignment, an_entry
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.calendar import Booking
from chalicelib.core.durations import Learned
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.plan import Assign, Drain, Plan, Recapture, Retire, Start
from chalicelib.core.pool import Scaling
from chalicelib.core.reconcile import reconcile
from chalicelib.core.waits import by_turns

AGREED = Scaling(surplus_since=NOW - 600)


def plan(**over: Any) -> Plan:
    return reconcile(a_snapshot(**over))


def busy(name: str, **over: Any) -> Host:
    """A host whose two slots are taken for a long time yet."""
    return a_host(name, assignments=(an_assignment(f"{name}-a"), an_assignment(f"{name}-b")), **over)


def loads(made: Plan) -> list[int]:
    """How many jobs each launched host takes along."""
    return [len(load) for action in made.actions if isinstance(action, Start) for load in action.loads]


def jobs(count: int, **over: Any) -> tuple[Any, ...]:
    return tuple(an_entry(f"job-{n:03d}", **over) for n in range(count))


def test_the_newest_draining_host_is_taken_back_first() -> None:
    """It has the most life left."""
    old, new = (a_host(n, state=HostState.DRAINING, launched_at=NOW - age) for n, age in (("old", 900), ("new", 300)))
    made = plan(hosts=(old, new), backlog=jobs(1))
    assert [a.host.id for a in made.actions if isinstance(a, Recapture)] == ["new"]
    assert [a.host.id for a in made.actions if isinstance(a, Retire)] == ["old"]


def test_a_floor_takes_draining_hosts_back_before_it_launches() -> None:
    """Also where no job needs them: the booking wants three hosts, and one of them is still there."""
    booking = Booking(id="exam", title="exam", starts_at=NOW + 10, ends_at=NOW + 3600, hosts=3)
    made = plan(pool=a_pool(calendar=(booking,)), hosts=(a_host(state=HostState.DRAINING),))
    assert made.kinds() == [Recapture, Start]
    assert loads(made) == [0, 0]
    assert "exam" in made.actions[0].reason


def test_a_booking_counts_ahead_by_the_boot_time_and_wakes_the_pool_then() -> None:
    """At 14:00 the hosts are there, not ordered."""
    booking = Booking(id="exam", title="exam", starts_at=NOW + 100, ends_at=NOW + 3600, hosts=3)
    learned = {"boot": Learned(10, 600.0, 36_000.0)}
    early = plan(pool=a_pool(calendar=(booking,)), learned=learned)
    assert (early.kinds(), early.wake_at) == ([], NOW + 40)
    assert loads(plan(pool=a_pool(calendar=(booking,)), learned=learned, now=NOW + 40)) == [0, 0, 0]


def test_too_many_hosts_must_be_agreed_on_for_a_while() -> None:
    """One look that finds a host too many is not enough; the next look is ordered for when it will be."""
    idle = a_host(freed_at=NOW - 999)
    first = plan(hosts=(idle,))
    assert (first.kinds(), first.wake_at) == ([], NOW + 30)
    assert first.scaling is not None
    assert first.scaling.surplus_since == NOW
    assert plan(pool=a_pool(scaling=first.scaling), hosts=(idle,), now=NOW + 29, canary_at=None).kinds() == []
    assert plan(pool=a_pool(scaling=first.scaling), hosts=(idle,), now=NOW + 30, canary_at=None).kinds() == [
        Drain,
        Retire,
    ]


def test_a_look_that_finds_no_surplus_ends_the_agreement() -> None:
    made = plan(pool=a_pool(scaling=AGREED), hosts=(busy("host-1"),))
    assert made.scaling is not None
    assert made.scaling.surplus_since is None


def test_who_was_idle_longest_leaves_first_and_no_more_than_are_too_many() -> None:
    hosts = tuple(a_host(f"host-{n}", freed_at=NOW - 1000 + n) for n in range(4))
    made = plan(pool=a_pool(scaling=AGREED, hosts_min=2), hosts=hosts)
    assert [a.host.id for a in made.actions if isinstance(a, Retire)] == ["host-0", "host-1"]


def test_only_idle_hosts_leave() -> None:
    """A host that works is not drained to please a number: the number waits."""
    hosts = (busy("host-1"), a_host("host-2", assignments=(an_assignment("x"),)), a_host("host-3", freed_at=NOW - 999))
    made = plan(pool=a_pool(scaling=AGREED, hosts_desired=0), hosts=hosts)
    assert [a.host.id for a in made.actions if isinstance(a, Drain)] == ["host-3"]


def test_a_persons_number_wins_over_the_policy() -> None:
    assert loads(plan(pool=a_pool(hosts_desired=2))) == [0, 0]
    held = plan(pool=a_pool(hosts_desired=1), hosts=(busy("host-1"),), backlog=jobs(3))
    assert loads(held) == []
    assert "a person asked for 1" in held.waits[0][1]


def test_switched_off_nothing_is_launched_and_the_job_says_so() -> None:
    made = plan(
        pool=a_pool(scaling_enabled=False, scaling=AGREED),
        hosts=(a_host(freed_at=NOW - 999, slots=0),),
        backlog=jobs(1),
    )
    assert made.kinds() == []
    assert "switched off" in made.waits[0][1]


def test_a_budget_stops_launching_and_the_job_says_so() -> None:
    """c7i.large costs 0.08925 USD an hour: 0.10 pays for one."""
    made = plan(pool=a_pool(budget_usd_h=0.1), backlog=jobs(6))
    assert loads(made) == [2]
    assert "budget" in made.waits[0][1]


def test_a_dearer_offering_sends_no_host_away_that_the_budget_pays_for() -> None:
    """Ten hosts for 0.0416 each; while EC2 has no more of them, the next would cost 0.714 and the budget of 1 would pay for one."""
    small = Offering(region="us-east-1", instance_type="t3.medium")
    large = Offering(region="us-east-1", instance_type="c7i.4xlarge")
    hosts = tuple(a_host(f"host-{n}", offering=small, freed_at=NOW - 999) for n in range(9))
    pool = {"offerings": (small, large), "hosts_min": 10, "budget_usd_h": 1.0, "scaling": AGREED}
    refused = plan(pool=a_pool(skips={small.key: NOW + 100}, **pool), hosts=hosts)
    assert refused.kinds() == []
    assert refused.target is not None
    assert "the budget of 1 USD an hour pays for 9, the next at 0.714 USD" in refused.target.why
    assert loads(plan(pool=a_pool(**pool), hosts=hosts)) == [0]
    lowered = plan(pool=a_pool(**(pool | {"budget_usd_h": 0.1})), hosts=hosts)
    assert lowered.kinds().count(Retire) == 7


def test_what_the_policy_allows_goes_first_to_jobs_in_rank_order() -> None:
    """square_root wants 6 hosts for 4 big jobs and 4 small ones; a maximum of 2 takes the first."""
    entries = jobs(8, cpu=2.0, slots=2)
    made = plan(pool=a_pool(policy="square_root", hosts_max=2), backlog=entries)
    started = [e.job for a in made.actions if isinstance(a, Start) for load in a.loads for e in load]
    assert sorted(started) == ["job-000", "job-001"]
    assert [entry.job for entry, _ in made.waits] == [f"job-{n:03d}" for n in range(2, 8)]


def test_hosts_beyond_what_jobs_need_boot_empty() -> None:
    """headroom keeps some ready: three long jobs, 1.3 of them, two to a host."""
    made = plan(pool=a_pool(policy="headroom"), backlog=jobs(4))
    assert sorted(loads(made)) == [0, 2, 2]


def test_jobs_that_could_wait_ride_along_where_a_new_host_has_room() -> None:
    """The forecast lets short jobs wait behind others; a slot that is launched anyway is not left empty for that."""
    made = plan(backlog=jobs(2), learned={"*": Learned(9, 45.0, 225.0)})
    assert loads(made) == [2]


def test_a_burst_of_short_jobs_shares_hosts_and_says_when_each_begins() -> None:
    """Twelve five-second jobs, 30 s of patience: not six machines."""
    made = plan(backlog=jobs(12), learned={"*": Learned(9, 45.0, 225.0)})
    assert loads(made) == [2]
    assert len(made.waits) == 10
    assert "in about" in made.waits[0][1]


def test_jobs_behind_a_host_that_does_not_boot_get_another() -> None:
    """Its own jobs wait for its boot timeout; those that wait for a lane on it do not."""
    learned = {"*": Learned(9, 45.0, 225.0), "boot": Learned(9, 180.0, 3600.0)}

    def at(age_s: float) -> list[int]:
        booting = a_host(
            state=HostState.LAUNCHING,
            ready_at=None,
            launched_at=NOW - age_s,
            recorded_at=NOW - age_s,
            assignments=tuple(an_assignment(f"job-{n}", inline=True, accepted_at=None, started_at=None) for n in "ab"),
        )
        return loads(plan(hosts=(booting,), backlog=jobs(2, queued_at=NOW - age_s + 1), learned=learned))

    assert at(5) == at(25) == at(30) == []
    assert at(50) == at(300) == [2]


def test_jobs_of_unknown_length_do_not_wait_behind_others() -> None:
    assert loads(plan(backlog=jobs(12))) == [2] * 6


def test_a_job_too_big_for_the_idle_hosts_is_launched_for_all_the_same() -> None:
    """Does it fit, not how many hosts are idle; the idle ones leave by themselves."""
    big = Offering(region="us-east-1", instance_type="c7i.2xlarge")
    made = plan(pool=a_pool(offerings=(OFFERING, big)), hosts=(a_host(),), backlog=jobs(1, cpu=6.0))
    (start,) = (a for a in made.actions if isinstance(a, Start))
    assert start.offering == big


def test_each_owner_gets_a_new_host_of_its_own_though_its_jobs_leave_room_on_it() -> None:
    made = plan(backlog=(an_entry("a", owner="alice"), an_entry("b", owner="bob"), an_entry("c", owner="bob")))
    assert sorted(loads(made)) == [1, 2]


def test_owners_with_the_most_hosts_get_requests_of_their_own() -> None:
    """User data is the same for all hosts of a request; a hundred small owners do not cost a hundred requests."""
    entries = tuple(
        an_entry(f"job-{o:02d}-{n}", owner=f"owner-{o:02d}", slots=2) for o in range(20) for n in range(1 + (o < 4))
    )
    starts = [a for a in plan(pool=a_pool(hosts_max=100), backlog=entries).actions if isinstance(a, Start)]
    assert len(starts) == 5
    assert sorted(len(start.loads) for start in starts) == [2, 2, 2, 2, 16]


def test_one_per_job_gives_each_job_a_host_of_its_own() -> None:
    assert loads(plan(pool=a_pool(policy="one_per_job"), backlog=jobs(3))) == [1, 1, 1]
    made = plan(
        pool=a_pool(policy="one_per_job"),
        hosts=(a_host(), a_host("host-2", assignments=(an_assignment(),))),
        backlog=jobs(2),
    )
    assert [a.host for a in made.actions if isinstance(a, Assign)] == ["host-1"]
    assert loads(made) == [1]


def test_a_new_generation_rolls_through_the_pool() -> None:
    """A quarter at a time, idle hosts first; the next ones when their replacements are there."""
    hosts = (*(busy(f"host-{n}") for n in range(7)), a_host("host-idle"))
    pool = a_pool(generation=1, hosts_min=8)
    made = plan(pool=pool, hosts=hosts)
    assert {a.host.id for a in made.actions if isinstance(a, Drain)} == {"host-idle", "host-0"}
    assert [a.host.id for a in made.actions if isinstance(a, Retire)] == ["host-idle"]
    booting = a_host("new", state=HostState.LAUNCHING, generation=1, ready_at=None, launched_at=NOW - 5)
    leaving = a_host("host-0", state=HostState.DRAINING, assignments=(an_assignment("z"),))
    again = plan(pool=pool, hosts=(*hosts[1:7], leaving, booting))
    assert Drain not in again.kinds()


def test_a_lone_host_is_replaced_too() -> None:
    """A quarter of one is none; a restart that never ends helps nobody."""
    assert plan(pool=a_pool(generation=1), hosts=(busy("host-1"),)).kinds() == [Drain]


def test_an_outdated_host_works_on_until_its_turn_comes() -> None:
    hosts = (busy("host-1"), a_host("host-2", assignments=(an_assignment("a"),)))
    leaving = a_host("host-3", state=HostState.DRAINING, assignments=(an_assignment("z"),))
    made = plan(pool=a_pool(generation=1), hosts=(*hosts, leaving), backlog=jobs(1))
    assert [a.host for a in made.actions if isinstance(a, Assign)] == ["host-2"]


def test_one_per_job_holds_for_hosts_that_no_job_asked_for_too() -> None:
    """The forecast would let both wait for the host that is there; the policy wants a host for each, and each gets one."""
    ending = tuple(a_host(n, assignments=(an_assignment(f"job-{n}", started_at=NOW - 55),)) for n in ("a", "b"))
    assert loads(plan(pool=a_pool(policy="one_per_job"), hosts=ending, backlog=jobs(2))) == [1, 1]


def test_one_wide_job_does_not_make_all_jobs_wide() -> None:
    """100 narrow jobs run, two to a host; with one wide one, 121 jobs' worth of room is not 121 hosts' worth."""
    hosts = tuple(busy(f"host-{n:02d}") for n in range(50))
    made = plan(pool=a_pool(policy="square_root", hosts_max=500), hosts=hosts, backlog=jobs(1, slots=2, cpu=2.0))
    assert made.target is not None
    assert made.target.hosts < 70


def test_an_offering_that_is_refused_changes_no_target() -> None:
    """What a policy wants is about jobs, not about what EC2 has today: targets must not jump with each refusal."""
    hosts = tuple(busy(f"host-{n:02d}") for n in range(10))
    pool = a_pool(policy="square_root", hosts_max=500)
    refused = a_pool(policy="square_root", hosts_max=500, skips={OFFERING.key: NOW + 100})
    targets = [made.target.hosts for p in (pool, refused) if (made := plan(pool=p, hosts=hosts)).target is not None]
    assert targets[0] == targets[1]


def test_a_booking_is_about_what_people_usually_submit() -> None:
    """One long job that waits while an exam is on does not make every student's job a long one."""
    booking = Booking(id="exam", title="exam", starts_at=NOW - 10, ends_at=NOW + 3600, people=300)
    learned = {"*": Learned(1000, 60_000.0, 3.6e6), "family/long": Learned(9, 32_400.0, 1.2e8)}
    pool = a_pool(calendar=(booking,), hosts_max=500)
    long = plan(pool=pool, learned=learned, backlog=jobs(1, family="long", timeout_s=7200))
    calm = plan(pool=pool, learned=learned)
    assert long.target is not None
    assert calm.target is not None
    assert long.target.hosts == calm.target.hosts == 15  # 20 jobs at a time on average, 29 with their square root


def test_what_is_read_of_the_backlog_counts_although_more_waits() -> None:
    made = plan(backlog=jobs(3), backlog_complete=False)
    assert loads(made) == [2, 1]


def test_the_target_says_what_it_was_computed_from() -> None:
    made = plan(
        pool=a_pool(policy="square_root", slots_per_host=1, hosts_max=500), backlog=jobs(100, cpu=0.1, memory_mib=16)
    )
    assert made.target is not None
    assert made.target.hosts == 120
    assert made.target.variables["target_hosts"] == 120
    assert "square_root" in made.target.why


@given(count=st.integers(0, 200), pass_no=st.integers(0, 10_000))
def test_everybody_who_waits_is_told_what_for_within_some_passes(count: int, pass_no: int) -> None:
    """Each pass tells a few: the first in line always, and nobody twice in it."""
    waits = list(range(count))
    passes = [by_turns(waits, pass_no + n, 25) for n in range(count // 20 + 1)]
    assert {who for told in passes for who in told} == set(waits)
    for told in passes:
        assert len(told) == len(set(told)) == min(count, 25)
        assert list(told[:5]) == waits[:5]


def test_no_host_is_taken_back_where_a_launch_has_taken_its_place() -> None:
    """A draining host that leaves by this plan is not counted any more; the place it left goes to one host only."""
    wide = Offering(region="us-east-1", instance_type="c7i.xlarge")
    pool = a_pool(offerings=(OFFERING, wide), hosts_max=4, hosts_desired=4)
    going = busy("going", state=HostState.LAUNCHING, interrupt_at=NOW + 60)
    hosts = (busy("a"), busy("b"), going, a_host("spare", state=HostState.DRAINING))
    made = plan(pool=pool, hosts=hosts, backlog=jobs(1, slots=3))
    assert Start in made.kinds()
    assert Recapture not in made.kinds()
    assert [a.host.id for a in made.actions if isinstance(a, Retire)] == ["spare"]

"""Where hosts come from, one rule a sentence: the order of offerings, what closes them, protected mode, second tries, spare spot hosts."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, a_host, a_pool, a_snapshot, an_assignment, an_entry
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core import ladder
from chalicelib.core.host import Host, HostState, Offering
from chalicelib.core.plan import Assign, Drain, Plan, Reclaim, Retire, Start
from chalicelib.core.pool import Prospects, Supply
from chalicelib.core.reconcile import reconcile
from chalicelib.core.snapshot import Snapshot

SPOT_A = Offering(region="us-east-1", instance_type="c7i.large", market="spot", zone="us-east-1a")
SPOT_B = replace(SPOT_A, zone="us-east-1b")
BACKUP = Offering(region="us-east-1", instance_type="c7i.large")
BIG = replace(SPOT_A, instance_type="c7i.2xlarge")  # four times the slots
FAR = replace(SPOT_A, region="us-west-2", zone=None)
FAR_BACKUP = Offering(region="us-west-2", instance_type="c7i.xlarge")
LADDER = (SPOT_A, SPOT_B, BACKUP, FAR, FAR_BACKUP)
MINUTE = 60.0


def clock(at: float) -> str:
    return f"{int(at) % 86_400 // 3600:02d}:{int(at) % 3600 // 60:02d} UTC"


def skips(*offerings: Offering, until: float = NOW + 120) -> Supply:
    return Supply(skips={offering.asked_with(None, None): until for offering in offerings})


def seen(**over: Any) -> Snapshot:
    over.setdefault("pool", a_pool(offerings=LADDER, hosts_max=20))
    return a_snapshot(**over)


def tried(made: Plan) -> list[Offering]:
    return [action.offering for action in made.actions if isinstance(action, Start)]


def interrupted(name: str, at: float, **over: Any) -> Host:
    """A spot host that EC2 took back and that has ended."""
    return a_host(name, state=HostState.TERMINATED, offering=SPOT_A, interrupt_at=at, **over)


def failed(number: int, **over: Any) -> Host:
    """A host that had an instance and never said hello."""
    fields: dict[str, Any] = {"state": HostState.TERMINATED, "launched_at": NOW - 500 + number, "ready_at": None}
    return a_host(f"failed-{number}", **(fields | {"seen_at": None} | over))


# -- the order


@pytest.mark.parametrize(
    ("refused", "then"),
    [((), SPOT_A), ((SPOT_A,), SPOT_B), ((SPOT_A, SPOT_B), BACKUP), (LADDER[:3], FAR), (LADDER[:4], FAR_BACKUP)],
)
def test_the_pools_list_is_tried_from_the_top(refused: tuple[Offering, ...], then: Offering) -> None:
    """Spot by rank, on-demand backup, next region: each as soon as what stands above it was refused."""
    made = reconcile(seen(pool=a_pool(offerings=LADDER, supply=skips(*refused)), backlog=(an_entry(),)))
    assert tried(made) == [then]


def ranked(rank_spot: bool = True, at: float = NOW - 600, **usd_h: float) -> Plan:
    """What is launched for a job, where prices are expected of offerings by name."""
    names = {"a": SPOT_A, "b": SPOT_B, "big": BIG}
    prospects = Prospects(at=at, usd_h={names[name].key: price for name, price in usd_h.items()})
    offerings = (SPOT_A, SPOT_B, BIG, BACKUP, FAR, FAR_BACKUP)
    pool = a_pool(offerings=offerings, rank_spot=rank_spot, hosts_max=20, prospects=prospects)
    return reconcile(seen(pool=pool, backlog=(an_entry(),)))


@pytest.mark.parametrize(
    ("made", "first"),
    [
        (ranked(a=0.04, b=0.03, big=0.2), SPOT_B),
        (ranked(a=0.04, b=0.03, big=0.1), BIG),
        (ranked(a=0.04, b=0.04, big=0.16), SPOT_A),
        (ranked(b=0.9), SPOT_B),
        (ranked(b=0.9, rank_spot=False), SPOT_A),
        (ranked(b=0.03, at=NOW - 3601), SPOT_A),
        (ranked(), SPOT_A),
    ],
    ids=["cheapest", "by slot", "equals as listed", "no price comes last", "not asked for", "too old", "none told"],
)
def test_a_pool_that_ranks_spot_tries_the_cheapest_slots_first(made: Plan, first: Offering) -> None:
    assert tried(made) == [first]


def test_ranking_moves_spot_only_among_its_neighbours() -> None:
    """The on-demand backup stays where it was written, and so does the next region behind it, however cheap."""
    prospects = Prospects(at=NOW, usd_h={SPOT_A.key: 0.05, SPOT_B.key: 0.04, FAR.key: 0.01})
    s = seen(pool=a_pool(offerings=LADDER, rank_spot=True, prospects=prospects))
    assert [rung.offering for rung in ladder.rungs(s)] == [SPOT_B, SPOT_A, BACKUP, FAR, FAR_BACKUP]
    assert ladder.states(s)[0].endswith("is tried next; 0.04 USD an hour are expected.")


def test_what_was_refused_is_tried_again_when_its_time_is_over() -> None:
    made = reconcile(seen(pool=a_pool(offerings=LADDER, supply=skips(SPOT_A, until=NOW)), backlog=(an_entry(),)))
    assert tried(made) == [SPOT_A]


def test_a_launch_further_down_says_what_it_stands_for() -> None:
    made = reconcile(seen(pool=a_pool(offerings=LADDER, supply=skips(SPOT_A, SPOT_B)), backlog=(an_entry(),)))
    assert "no c7i.large spot in us-east-1a/b until 13:48 UTC (EC2 refused it)" in made.actions[0].reason


def test_a_job_that_waits_is_told_what_is_refused_and_what_comes_next() -> None:
    """DESIGN §4: "no c7i.large spot in us-east-1a/b until 14:03, on-demand next"."""
    pool = a_pool(offerings=LADDER, supply=skips(SPOT_A, SPOT_B), hosts_max=5, hosts_desired=0)
    (_, sentence), *_ = reconcile(seen(pool=pool, backlog=(an_entry(),))).waits
    assert sentence.endswith("no c7i.large spot in us-east-1a/b until 13:48 UTC (EC2 refused it), on-demand next")


def test_a_job_for_which_everything_is_refused_is_told_the_first_that_comes_back() -> None:
    supply = Supply(skips={SPOT_A.asked_with(None, None): NOW + 300, BACKUP.asked_with(None, None): NOW + 120})
    made = reconcile(seen(pool=a_pool(offerings=(SPOT_A, BACKUP), supply=supply), backlog=(an_entry(),)))
    assert made.waits[0][1] == (
        "no c7i.large spot in us-east-1a until 13:51 UTC (EC2 refused it), no c7i.large on-demand in us-east-1 until 13:48 UTC "
        "(EC2 refused it); next is c7i.large on-demand in us-east-1, at 13:48 UTC"
    )
    assert made.wake_at == NOW + 120


def test_a_plan_says_of_each_rung_whether_and_when_it_is_tried() -> None:
    """From the top down: the first open one is next, those behind it come after, a refused one says until when and why."""
    s = seen(pool=a_pool(offerings=(SPOT_A, BACKUP, FAR_BACKUP), supply=skips(SPOT_A)))
    assert ladder.states(s) == [
        f"c7i.large spot in us-east-1a is not tried until {clock(NOW + 120)}: EC2 refused it.",
        "c7i.large on-demand in us-east-1 is tried next.",
        "c7i.xlarge on-demand in us-west-2 is tried after that.",
    ]


def test_a_plan_says_when_nothing_can_be_launched_and_what_comes_first_then() -> None:
    s = seen(
        pool=a_pool(
            offerings=(SPOT_A, BACKUP),
            supply=Supply(skips={**skips(SPOT_A).skips, **skips(BACKUP, until=NOW + 60).skips}),
        )
    )
    assert (
        ladder.states(s)[-1]
        == f"No host can be launched until {clock(NOW + 60)}; next is c7i.large on-demand in us-east-1."
    )


def test_a_plan_says_that_ec2_throttles_the_pool_and_that_it_is_protected() -> None:
    """Both before the rungs: whatever they say, nothing is launched, or one host at a time."""
    supply = Supply(backoff_s=8.0, backoff_until=NOW + 8, protected_at=NOW - 60)
    throttled, protected, *rest = ladder.states(seen(pool=a_pool(offerings=(BACKUP,), supply=supply)))
    assert "EC2 gets too many requests from this account; nothing is launched until" in throttled
    assert "rotected mode: 10 hosts in a row" in protected
    assert rest == ["c7i.large on-demand in us-east-1 is tried next."]
    over = Supply(backoff_s=8.0, backoff_until=NOW)
    assert ladder.states(seen(pool=a_pool(offerings=(BACKUP,), supply=over))) == rest


def test_a_job_that_no_offering_holds_is_told_that() -> None:
    made = reconcile(seen(backlog=(an_entry(cpu=64.0),)))
    assert made.waits[0][1] == "no offering of the pool is large enough for it"


# -- the circuit breaker


@pytest.mark.parametrize(
    ("first_min", "second_min", "open_in_min"),
    [(-20, -10, 20), (-10, -10, 20), (-10, -20, 20), (-25, -9, 0), (-24, -9, 21), (-60, -50, 0), (1, 2, 32)],
)
def test_two_interruptions_in_fifteen_minutes_close_spot_for_thirty(
    first_min: float, second_min: float, open_in_min: float
) -> None:
    """Whoever is told of first; counted from the second. Deadlines that are still to come count as well."""
    hosts = (interrupted("a", NOW + first_min * MINUTE), interrupted("b", NOW + second_min * MINUTE))
    made = reconcile(seen(past=hosts, backlog=(an_entry(),)))
    assert tried(made) == [BACKUP if open_in_min > 0 else SPOT_A]
    assert made.supply is not None
    assert max(0.0, made.supply.spot_until - NOW) == open_in_min * MINUTE


def test_the_breaker_is_remembered_when_the_rows_are_gone() -> None:
    made = reconcile(seen(pool=a_pool(offerings=LADDER, supply=Supply(spot_until=NOW + 60)), backlog=(an_entry(),)))
    assert tried(made) == [BACKUP]


def test_only_spot_hosts_trip_the_breaker() -> None:
    """An on-demand host that is taken back says nothing of spot."""
    hosts = tuple(replace(interrupted(name, NOW), offering=BACKUP) for name in ("a", "b"))
    assert tried(reconcile(seen(past=hosts, backlog=(an_entry(),)))) == [SPOT_A]


def test_who_waits_while_spot_is_closed_is_told_why_and_when_the_pool_looks_again() -> None:
    pool = a_pool(offerings=(SPOT_A,), supply=Supply(spot_until=NOW + 90))
    made = reconcile(seen(pool=pool, backlog=(an_entry(),)))
    assert "EC2 took back two spot hosts within 15 min" in made.waits[0][1]
    assert made.wake_at == NOW + 90


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(-100, 3), max_size=6), st.integers(0, 40), st.randoms(use_true_random=False), st.booleans())
def test_the_order_in_which_interruptions_are_seen_changes_nothing(
    minutes: list[int], remembered: int, chance: Any, again: bool
) -> None:
    """And a look that comes again, or after a part of the rows has expired, never opens spot sooner."""
    hosts = [interrupted(f"h{n}", NOW + m * MINUTE) for n, m in enumerate(minutes)]
    pool = a_pool(offerings=LADDER, supply=Supply(spot_until=NOW + remembered * MINUTE))
    until = ladder.current(seen(pool=pool, past=tuple(hosts))).pool.supply.spot_until
    chance.shuffle(hosts)
    shuffled = ladder.current(seen(pool=pool, hosts=tuple(hosts[:2]), past=tuple(hosts[2:])))
    assert shuffled.pool.supply.spot_until == until >= pool.supply.spot_until
    fewer = replace(shuffled, past=shuffled.past if again else ())
    assert ladder.current(fewer).pool.supply.spot_until == until
    pairs = [(a, b) for a in minutes for b in minutes if a < b <= a + 15] or len(minutes) != len(set(minutes))
    assert (until > pool.supply.spot_until) <= bool(pairs)


# -- protected mode


TEN = tuple(failed(n) for n in range(10))


def test_ten_failed_boots_in_a_row_protect_the_pool() -> None:
    assert ladder.current(seen(past=TEN)).pool.supply.protected_at == NOW
    assert ladder.current(seen(past=TEN[:9])).pool.supply.protected_at is None


@pytest.mark.parametrize(
    "over",
    [
        {"interrupt_at": NOW - 100},
        {"seen_at": NOW - 100},
        {"ready_at": NOW - 100, "seen_at": NOW - 100},
        {"userid": None, "instance_id": None},
        {"state": HostState.LAUNCHING},
        {"retire_sent_at": NOW - 250},
    ],
    ids=["interrupted", "spoke", "was ready", "never had an instance", "still boots", "was ended before its time"],
)
def test_what_is_no_failed_boot(over: dict[str, Any]) -> None:
    s = seen(past=(*TEN[:9], failed(9, **over)))
    assert ladder.current(s).pool.supply.protected_at is None


def test_a_hello_since_their_launch_breaks_the_row() -> None:
    """Whether or not the host that said it is still there; one from before says nothing of them."""
    spoke = a_host("spoke", launched_at=NOW - 600, ready_at=NOW - 495)
    assert ladder.current(seen(past=TEN, hosts=(spoke,))).pool.supply.protected_at is None
    early = replace(spoke, ready_at=NOW - 550)
    assert ladder.current(seen(past=TEN, hosts=(early,))).pool.supply.protected_at == NOW


def test_protected_mode_lasts_until_a_hello_and_does_not_come_back_with_it() -> None:
    """Also when the rows of the failures have expired meanwhile, and also when they have not."""
    pool = a_pool(offerings=LADDER, supply=Supply(protected_at=NOW - 50))
    assert ladder.current(seen(pool=pool)).pool.supply.protected_at == NOW - 50
    assert ladder.current(seen(pool=pool, past=TEN)).pool.supply.protected_at == NOW - 50
    hello = a_host("probe", launched_at=NOW - 40, ready_at=NOW - 5)
    over = ladder.current(seen(pool=pool, past=TEN, hosts=(hello,)))
    assert over.pool.supply.protected_at is None
    assert ladder.current(over).pool.supply.protected_at is None


def test_a_restart_ends_protected_mode_until_ten_hosts_of_the_new_generation_fail() -> None:
    """Whoever has mended the image need not wait for the next probe."""
    pool = a_pool(offerings=LADDER, generation=2, supply=Supply(protected_at=NOW - 50, protected_generation=1))
    assert ladder.current(seen(pool=pool, past=TEN)).pool.supply.protected_at is None
    again = tuple(replace(host, generation=2) for host in TEN)
    assert ladder.current(seen(pool=pool, past=(*TEN, *again[1:]))).pool.supply.protected_at is None
    assert ladder.current(seen(pool=pool, past=(*TEN, *again))).pool.supply == Supply(
        protected_at=NOW, protected_generation=2
    )


def test_a_protected_pool_launches_one_probe_and_says_so_to_all_who_wait() -> None:
    entries = tuple(an_entry(f"job-{n}", cpu=2.0) for n in range(6))
    made = reconcile(seen(past=TEN, backlog=entries))
    assert [len(action.loads) for action in made.actions if isinstance(action, Start)] == [1]
    assert len(made.waits) == 5
    assert all("protected mode: 10 hosts in a row had an instance and never said hello" in why for _, why in made.waits)


@pytest.mark.parametrize(
    ("last_s", "state", "launches"), [(179, "terminated", 0), (180, "terminated", 1), (400, "launching", 0)]
)
def test_the_next_probe_waits_for_the_last_one_and_for_three_minutes(last_s: float, state: str, launches: int) -> None:
    last = failed(9, launched_at=NOW - last_s, recorded_at=NOW - last_s, state=HostState(state))
    where = {"hosts": (last,)} if state == "launching" else {"past": (last,)}
    pool = a_pool(offerings=LADDER, supply=Supply(protected_at=NOW - 600))
    made = reconcile(seen(pool=pool, backlog=(an_entry(cpu=2.0), an_entry("job-8", cpu=2.0)), **where))
    assert len(tried(made)) == launches
    if last_s == 179:
        assert made.wake_at == NOW + 1.0


# -- interruptions


def test_what_has_not_begun_on_a_host_that_is_taken_back_is_taken_from_it_at_once() -> None:
    """Whether it boots, works or drains; what runs there is left to run."""
    begun, waits = an_assignment("job-1"), an_assignment("job-2", started_at=None)
    for state in (HostState.LAUNCHING, HostState.READY, HostState.DRAINING):
        host = a_host(state=state, interrupt_at=NOW + 90, assignments=(begun, waits))
        made = reconcile(seen(hosts=(host,)))
        assert [a.assignment.job for a in made.actions if isinstance(a, Reclaim)] == ["job-2"]
        assert not any(isinstance(a, Retire) for a in made.actions)


def test_nothing_is_given_to_a_host_that_is_taken_back() -> None:
    for state in (HostState.LAUNCHING, HostState.READY, HostState.DRAINING):
        made = reconcile(seen(hosts=(a_host(state=state, interrupt_at=NOW + 90),), backlog=(an_entry(),)))
        assert not any(isinstance(a, Assign) for a in made.actions)
        assert any(isinstance(a, Retire) for a in made.actions)


def test_a_recommendation_drains_a_host_only_where_another_offering_is_to_be_had() -> None:
    """Else it is as good as any: it gets work, and nothing is launched in its stead."""
    host = a_host(offering=SPOT_A, rebalance_at=NOW - 5, assignments=(an_assignment(),))
    entry = an_entry()
    made = reconcile(seen(hosts=(host,), backlog=(entry,)))
    assert any(isinstance(a, Drain) for a in made.actions)
    assert not any(isinstance(a, Assign | Reclaim | Retire) for a in made.actions)
    alone = reconcile(seen(pool=a_pool(offerings=(SPOT_A,)), hosts=(host,), backlog=(entry,)))
    assert [type(a) for a in alone.actions if not isinstance(a, Start)][:1] == [Assign]
    refused = a_pool(offerings=(SPOT_A, BACKUP), supply=skips(BACKUP))
    assert not any(isinstance(a, Drain) for a in reconcile(seen(pool=refused, hosts=(host,))).actions)


def test_a_second_try_is_on_demand() -> None:
    """Neither an idle spot host nor a cheaper offering takes it; another job may."""
    again, fresh = an_entry("job-1", interruptions=1), an_entry("job-2")
    made = reconcile(seen(hosts=(a_host(offering=SPOT_A),), backlog=(again, fresh)))
    assert [(a.entry.job) for a in made.actions if isinstance(a, Assign)] == ["job-2"]
    starts = [a for a in made.actions if isinstance(a, Start)]
    assert [(a.offering, [e.job for e in a.loads[0]]) for a in starts] == [(BACKUP, ["job-1"])]


@pytest.mark.parametrize(
    ("spec", "entry"),
    [
        ({"offerings": (SPOT_A, SPOT_B)}, {}),
        ({"interruption_ladder": False}, {}),
        ({"offerings": (replace(SPOT_A, instance_type="c7i.xlarge"), BACKUP)}, {"cpu": 4.0}),
        ({}, {"queued_at": NOW - 901}),
    ],
    ids=["no on-demand offering", "switched off", "on-demand too small", "waited too long"],
)
def test_a_second_try_takes_spot_where_on_demand_would_be_no_way(spec: dict[str, Any], entry: dict[str, Any]) -> None:
    pool = a_pool(**({"offerings": LADDER} | spec))
    made = reconcile(seen(pool=pool, backlog=(an_entry(interruptions=1, **entry),)))
    assert [offering.market for offering in tried(made)] == ["spot"]


def test_a_second_try_that_waits_says_why() -> None:
    pool = a_pool(offerings=(SPOT_A, BACKUP), supply=skips(BACKUP))
    made = reconcile(seen(pool=pool, hosts=(a_host(offering=SPOT_A),), backlog=(an_entry(interruptions=2),)))
    assert made.waits[0][1] == (
        "EC2 took back the host of 2 attempts, so it is tried again on demand; "
        "no c7i.large on-demand in us-east-1 until 13:48 UTC (EC2 refused it)"
    )


def test_a_second_try_does_not_wait_for_what_falls_free_on_spot() -> None:
    """A lane that it may not use is no reason to put it off."""
    busy = a_host(offering=SPOT_A, assignments=tuple(an_assignment(f"job-{n}", timeout_s=9) for n in (1, 2)))
    made = reconcile(seen(hosts=(busy,), backlog=(an_entry(interruptions=1),)))
    assert tried(made) == [BACKUP]
    assert not made.begins


# -- kept spot slightly underutilised


@pytest.mark.parametrize(
    ("share", "hosts_max", "target"), [(0.0, 20, 4), (0.25, 20, 5), (0.3, 20, 6), (1.0, 20, 8), (1.0, 6, 6)]
)
def test_a_share_of_the_busy_spot_hosts_is_kept_ready_beside_them(share: float, hosts_max: int, target: int) -> None:
    hosts = tuple(a_host(f"h{n}", offering=SPOT_A, assignments=(an_assignment(f"job-{n}"),)) for n in range(4))
    made = reconcile(seen(pool=a_pool(offerings=LADDER, spot_headroom=share, hosts_max=hosts_max), hosts=hosts))
    assert made.target is not None
    assert made.target.hosts == target
    assert ("for those that EC2 takes back" in made.target.why) == (share > 0)
    assert sum(len(a.loads) for a in made.actions if isinstance(a, Start)) == target - 4


def test_on_demand_hosts_need_none_and_a_persons_number_is_kept() -> None:
    busy = (a_host("h1", assignments=(an_assignment(),)),)
    on_demand = reconcile(seen(pool=a_pool(offerings=LADDER, spot_headroom=1.0), hosts=busy))
    asked = a_pool(offerings=LADDER, spot_headroom=1.0, hosts_desired=1)
    by_hand = reconcile(seen(pool=asked, hosts=(replace(busy[0], offering=SPOT_A),)))
    assert [made.target.hosts for made in (on_demand, by_hand) if made.target] == [1, 1]


def test_a_policy_that_steps_does_not_take_spared_hosts_for_its_own() -> None:
    """With them there, the next look wants the same: they do not add up."""
    hosts = [a_host(f"h{n}", offering=SPOT_A, assignments=(an_assignment(f"job-{n}"),)) for n in range(2)]
    hosts += [a_host(f"idle{n}", offering=SPOT_A) for n in range(2)]
    pool = a_pool(offerings=LADDER, spot_headroom=1.0, policy="waiting_time", hosts_max=20)
    made = reconcile(seen(pool=pool, hosts=tuple(hosts)))
    assert made.target is not None
    assert made.target.hosts == 4

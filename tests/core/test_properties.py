"""What every plan keeps, whatever the snapshot, the policy and the settings (DESIGN §9: 4, 5, 6, 8, 9)."""

from __future__ import annotations

from dataclasses import replace

from acting import acted
from builders import (
    NOW,
    OFFERING,
    a_gang,
    a_host,
    a_launch,
    a_member,
    a_pool,
    a_snapshot,
    an_assignment,
    an_entry,
    an_instance,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core import invariants, ladder
from chalicelib.core.calendar import Booking
from chalicelib.core.durations import Learned
from chalicelib.core.host import Assignment, Host, HostState, Offering
from chalicelib.core.job import End, Job, JobEvent, JobState
from chalicelib.core.plan import Adopt, Assign, Plan, Reclaim, Resume, Retire, Ring, Settle, Sicken, Start, Vanish
from chalicelib.core.pool import Pool, Prospects, Scaling, Supply
from chalicelib.core.reconcile import AGED_S, reconcile
from chalicelib.core.scaling.policies import POLICIES
from chalicelib.core.snapshot import Snapshot

ages = st.sampled_from([0.0, 1.0, 30.0, 59.0, 61.0, 400.0, 50_000.0, 100_000.0])
SMALL = OFFERING
LARGE = Offering(region="us-east-1", instance_type="c7i.xlarge")
SPOT = replace(SMALL, market="spot")
FAR_SPOT = replace(SPOT, zone="us-east-1b")
UPLOADS = ("aa" * 32, "bb" * 32)


@st.composite
def pools(draw: st.DrawFn) -> Pool:
    hosts_max = draw(st.integers(0, 8))
    memory = Scaling(
        target=draw(st.integers(0, 9)),
        at=NOW - draw(ages),
        stepped_at=NOW - draw(ages),
        surplus_since=draw(st.sampled_from([None, NOW, NOW - 31, NOW - 400])),
        peaks=draw(st.sampled_from([{}, {str(int(NOW // 60)): 3}, {str(int(NOW // 60) - 20): 9}])),
    )
    bookings = [
        Booking(
            id="exam", title="exam", starts_at=NOW - draw(ages), ends_at=NOW + 600, people=draw(st.integers(1, 900))
        ),
        Booking(id="later", title="later", starts_at=NOW + 20, ends_at=NOW + 60, hosts=draw(st.integers(1, 9))),
    ]
    pool = a_pool(
        offerings=draw(
            st.sampled_from([(SMALL,), (SMALL, LARGE), (LARGE,), (SPOT,), (SPOT, SMALL), (SPOT, FAR_SPOT, LARGE)])
        ),
        hosts_max=hosts_max,
        hosts_min=draw(st.integers(0, hosts_max)),
        generation=draw(st.integers(0, 1)),
        policy=draw(st.sampled_from(sorted(POLICIES))),
        placement=draw(st.sampled_from(["best_fit", "spread", "random"])),
        scaling_enabled=draw(st.sampled_from([True, True, True, False])),
        hosts_desired=draw(st.sampled_from([None, None, None, 0, 3])),
        budget_usd_h=draw(st.sampled_from([None, None, 0.0, 0.3])),
        linger_s=draw(st.sampled_from([0, 60])),
        scale_in_agree_s=draw(st.sampled_from([0, 30])),
        estimated_s=draw(st.sampled_from([None, 5.0, 600.0])),
        rank_spot=draw(st.booleans()),
        interruption_ladder=draw(st.sampled_from([True, True, False])),
        share_hosts=draw(st.booleans()),
        spot_headroom=draw(st.sampled_from([0.0, 0.0, 0.5])),
        prospects=Prospects(at=NOW - draw(st.sampled_from([0, 4000])), usd_h={FAR_SPOT.key: 0.02, SPOT.key: 0.03}),
        supply=Supply(
            skips=draw(st.sampled_from([{}, {}, {SMALL.key: NOW + 60}, {SMALL.key: NOW - 1}])),
            spot_until=draw(st.sampled_from([0.0, 0.0, NOW + 60])),
            protected_at=draw(st.sampled_from([None, None, None, NOW - 2000])),
        ),
    )
    return replace(
        pool, scaling=memory, calendar=tuple(draw(st.lists(st.sampled_from(bookings), max_size=2, unique=True)))
    )


@st.composite
def gangs_on(draw: st.DrawFn, hosts: list[Host]) -> tuple[Job, list[Host]]:
    """A gang in any state that its row may have, and these hosts with those of its members that are still there."""
    state = draw(st.sampled_from([JobState.ASSIGNED, JobState.ASSIGNED, JobState.RUNNING, JobState.PENDING]))
    gone = draw(st.sets(st.integers(0, len(hosts) - 1), max_size=1))
    gang = a_gang(
        members=tuple(host.id for host in hosts),
        state=state,
        attempt=draw(st.sampled_from([1, 1, 1, 2])),
        cancel_requested=draw(st.sampled_from([False, False, True])),
        entered={"assigned": NOW - draw(ages), "running": NOW - draw(ages)},
        peers=tuple("10.0.0.1" for _ in hosts) if state is JobState.RUNNING else (),
        ends={rank: End(event=JobEvent.FAIL, reason="exit 1", at=NOW) for rank in gone},
        cause=min(gone, default=None),
    )
    since = NOW - draw(ages)
    return gang, [
        replace(host, assignments=(*host.assignments, _member(draw, rank, since))) if rank not in gone else host
        for rank, host in enumerate(hosts)
    ]


def _member(draw: st.DrawFn, rank: int, since: float) -> Assignment:
    ready_at = draw(st.sampled_from([None, NOW - 5]))
    return a_member(
        rank,
        assigned_at=since,
        accepted_at=draw(st.sampled_from([None, NOW - 6])),
        ready_at=ready_at,
        address=ready_at and "10.0.0.1",
        started_at=draw(st.sampled_from([None, NOW - 3])) if ready_at else None,
        cancel=draw(st.booleans()),
    )


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    hosts = []
    for number in range(draw(st.integers(0, 6))):
        domain = draw(st.sampled_from(["alice", "bob", "nobody-waits"]))
        assignments = tuple(
            an_assignment(
                f"job-{number}-{i}",
                owner=domain,
                cpu=draw(st.sampled_from([0.1, 0.5, 1.0])),
                assigned_at=NOW - draw(ages),
                accepted_at=draw(st.sampled_from([None, NOW - 5])),
                started_at=draw(st.sampled_from([None, NOW - 5, NOW - 2000])),
                inline=draw(st.booleans()),
                cancel=draw(st.booleans()),
            )
            for i in range(draw(st.integers(0, 2)))
        )
        state = draw(st.sampled_from(list(HostState)))
        launched_at = NOW - draw(ages)
        hosts.append(
            a_host(
                f"host-{number}",
                state=state,
                domain=domain if assignments else draw(st.sampled_from([None, domain])),
                installs_at=draw(st.sampled_from([0.0, 0.0, NOW - 9])),
                assignments=assignments,
                launched_at=launched_at,
                recorded_at=draw(st.sampled_from([launched_at, NOW])),
                ready_at=None if state is HostState.LAUNCHING else NOW - draw(ages),
                seen_at=NOW - draw(ages),
                freed_at=NOW - draw(ages),
                rung_at=draw(st.sampled_from([None, NOW, NOW - 20])),
                entered_at=NOW - draw(ages),
                generation=draw(st.integers(0, 1)),
                missed_lists=draw(st.integers(0, 1)),
                interrupt_at=draw(st.sampled_from([None, None, None, NOW + 60])),
                rebalance_at=draw(st.sampled_from([None, None, None, NOW - 60])),
                offering=draw(st.sampled_from([SMALL, SPOT])),
                holds=draw(st.sampled_from([frozenset(), frozenset(UPLOADS[:1])])),
            )
        )
    gangs = {}
    if len(hosts) >= 2 and draw(st.booleans()):
        gang, carriers = draw(gangs_on(hosts[: draw(st.integers(2, 3))]))
        hosts[: len(carriers)] = carriers
        gangs[gang.id] = gang
    backlog = tuple(
        an_entry(
            f"job-w-{i:03d}",
            hosts=draw(st.sampled_from([1, 1, 1, 1, 2, 3])),
            owner=draw(st.sampled_from(["alice", "bob"])),
            cpu=draw(st.sampled_from([0.1, 0.3, 1.0, 2.0, 8.0])),
            memory_mib=draw(st.sampled_from([64, 512, 3712, 9000])),
            slots=draw(st.integers(1, 3)),
            queued_at=NOW - draw(ages),
            family=draw(st.sampled_from(["", "lab1"])),
            needs=draw(st.sampled_from([(), UPLOADS[:1], UPLOADS])),
            interruptions=draw(st.sampled_from([0, 0, 1])),
            instance_types=draw(st.sampled_from([(), (), ("*.large",), ("c7i.xlarge", "m*")])),
            market=draw(st.sampled_from(["", "", "spot", "on_demand"])),
            give_up_at=draw(st.sampled_from([None, None, NOW + 7, NOW - 7])),
        )
        for i in range(draw(st.integers(0, 12)))
    )
    known = tuple(an_instance(f"i-{host.id}", launched_at=host.launched_at) for host in hosts)
    stranger = an_instance("i-stranger", tags={"spillway:launch": draw(st.sampled_from(["launch-1", "launch-gone"]))})
    return a_snapshot(
        hosts=tuple(hosts),
        backlog=backlog,
        pool=draw(pools()),
        listed=draw(st.sampled_from([None, (), known, (*known, stranger)])),
        canary_at=draw(st.sampled_from([None, NOW - 5])),
        launches=draw(st.sampled_from([(), (a_launch(sent_at=NOW - 100),), (a_launch(recorded=True),)])),
        gangs=gangs,
        learned=draw(
            st.sampled_from([{}, {"*": Learned(9, 45.0, 225.0)}, {"family/lab1": Learned(9, 900.0, 90_000.0)}])
        ),
    )


@settings(max_examples=600, deadline=None)
@given(snapshots())
def test_no_plan_breaks_an_invariant(s: Snapshot) -> None:
    """Reservations, maximum, budget, running attempts, silence of EC2: no snapshot leads to a plan that breaks one of them."""
    broken = invariants.of_plan(s, reconcile(s))
    assert not broken, broken


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_the_same_snapshot_gives_the_same_plan(s: Snapshot) -> None:
    assert reconcile(s) == reconcile(s)


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_planning_again_right_after_acting_plans_nothing(s: Snapshot) -> None:
    """A round of repairs may uncover another (an unhealthy host is emptied, then retired); without repairs the first plan is all.

    But where a host is launched for who waited too long, the room that was withheld for them is free; and beside a spot host that is
    launched others may be wanted: then the plan orders another look.
    """
    rounds: list[Plan] = []
    waiting = s.backlog
    for _ in range(6):
        plan = reconcile(s)
        rounds.append(plan)
        if not plan.actions:
            break
        s = acted(s, plan)
    assert not rounds[-1].actions, [[type(a).__name__ for a in plan.actions] for plan in rounds]
    first = rounds[0].actions
    if len(rounds) > 2:
        repaired = any(isinstance(a, Vanish | Settle | Reclaim | Sicken | Resume) for a in first)
        aged = any(e.queued_at < NOW - AGED_S for e in waiting)
        follows = any(isinstance(a, Start) for a in first) and (aged or s.pool.spec.spot_headroom > 0)
        assert repaired or (follows and rounds[0].wake_at == NOW + 1.0), rounds[:2]


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_no_job_causes_two_hosts(s: Snapshot) -> None:
    """After a launch for them, waiting jobs are on their way: the next look launches nothing more, however often it is made."""
    first = acted(s, reconcile(s))
    again = reconcile(replace(first, now=first.now + 1.0))
    started = [a for a in again.actions if isinstance(a, Start)]
    repaired = any(
        isinstance(a, Vanish | Settle | Reclaim | Sicken | Adopt) for a in (*reconcile(s).actions, *again.actions)
    )
    stepped = again.target is not None and again.target.stepped  # a policy that goes step by step may make its next one
    spared = s.pool.spec.spot_headroom > 0  # hosts beside those that were launched
    assert not started or repaired or stepped or spared or _leaves(again) or _leaves(reconcile(s)), started


def _leaves(plan: Plan) -> bool:
    return any(isinstance(action, Retire) for action in plan.actions)


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_a_second_try_is_never_placed_on_spot_nor_a_protected_pool_given_two_hosts(s: Snapshot) -> None:
    """Unless it has waited too long, or the pool has no on-demand offering that is large enough."""
    plan = reconcile(s)
    s = ladder.current(s)
    bound = {rank for rank, must in ladder.bound(s, s.backlog).items() if must.market == "on_demand"}
    markets = {host.id: host.offering.market for host in s.hosts}
    starts = [action for action in plan.actions if isinstance(action, Start)]
    assert not [
        a for a in plan.actions if isinstance(a, Assign) and a.entry.rank in bound and markets[a.host] == "spot"
    ]
    for start in starts:
        assert start.offering.market != "spot" or not bound & {entry.rank for load in start.loads for entry in load}
    if s.pool.supply.protected_at is not None:
        assert sum(len(start.loads) for start in starts) <= (
            0 if any(h.state is HostState.LAUNCHING for h in s.hosts) else 1
        )


@settings(max_examples=300, deadline=None)
@given(snapshots())
def test_switched_off_means_that_no_host_comes_or_goes_by_policy(s: Snapshot) -> None:
    s = replace(s, pool=replace(s.pool, spec=replace(s.pool.spec, scaling_enabled=False)))
    for action in reconcile(s).actions:
        assert not isinstance(action, Start)
        if isinstance(action, Retire):
            assert "idle for" not in action.reason
        assert not (isinstance(action, Ring) and not action.hosts)

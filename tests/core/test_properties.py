"""What every plan keeps, whatever the snapshot (DESIGN §9: 4, 5, 6, 8)."""

from __future__ import annotations

from collections import defaultdict

from builders import NOW, a_host, a_pool, a_snapshot, an_assignment, an_entry
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.core.host import HostState
from chalicelib.core.plan import Assign, Drain, Recapture, Retire, Start, Vanish
from chalicelib.core.reconcile import reconcile
from chalicelib.core.snapshot import Snapshot

ages = st.sampled_from([0.0, 1.0, 30.0, 59.0, 61.0, 400.0, 50_000.0, 100_000.0])


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    hosts = []
    for number in range(draw(st.integers(0, 6))):
        assignments = tuple(
            an_assignment(
                f"job-{number}-{i}",
                cpu=draw(st.sampled_from([0.1, 0.5, 1.0])),
                assigned_at=NOW - draw(ages),
                accepted_at=draw(st.sampled_from([None, NOW - 5])),
                started_at=draw(st.sampled_from([None, NOW - 5, NOW - 2000])),
                inline=draw(st.booleans()),
                cancel=draw(st.booleans()),
            )
            for i in range(draw(st.integers(0, 2)))
        )
        hosts.append(
            a_host(
                f"host-{number}",
                state=draw(st.sampled_from(list(HostState))),
                assignments=assignments,
                launched_at=NOW - draw(ages),
                ready_at=NOW - draw(ages),
                seen_at=NOW - draw(ages),
                freed_at=NOW - draw(ages),
                rung_at=draw(st.sampled_from([None, NOW, NOW - 20])),
                entered_at=NOW - draw(ages),
                generation=draw(st.integers(0, 1)),
                missed_lists=draw(st.integers(0, 1)),
                interrupt_at=draw(st.sampled_from([None, None, None, NOW + 60])),
            )
        )
    backlog = tuple(
        an_entry(
            f"job-w-{i:03d}",
            owner=draw(st.sampled_from(["alice", "bob"])),
            cpu=draw(st.sampled_from([0.1, 0.3, 1.0, 2.0, 8.0])),
            memory_mib=draw(st.sampled_from([64, 512, 3712, 9000])),
            slots=draw(st.integers(1, 3)),
        )
        for i in range(draw(st.integers(0, 12)))
    )
    pool = a_pool(hosts_max=draw(st.integers(0, 8)), hosts_min=0, generation=draw(st.integers(0, 1)))
    return a_snapshot(
        hosts=tuple(hosts),
        backlog=backlog,
        pool=pool,
        listed=draw(st.sampled_from([None, ()])),
        canary_at=draw(st.sampled_from([None, NOW - 5])),
    )


@settings(max_examples=400, deadline=None)
@given(snapshots())
def test_reservations_never_exceed_a_host(s: Snapshot) -> None:
    plan, hosts = reconcile(s), {h.id: h for h in s.hosts}
    placed = defaultdict(list)
    for action in plan.actions:
        if isinstance(action, Assign):
            placed[action.host].append(action.entry)
        if isinstance(action, Start):
            for load in action.loads:
                assert sum(e.cpu for e in load) <= 2.0 + 1e-6
                assert sum(e.memory_mib for e in load) <= 3712
                assert sum(e.slots for e in load) <= 2
    for host_id, entries in placed.items():
        host = hosts[host_id]
        assert sum(a.cpu for a in host.assignments) + sum(e.cpu for e in entries) <= host.cpu + 1e-6
        assert sum(a.memory_mib for a in host.assignments) + sum(e.memory_mib for e in entries) <= host.memory_mib
        assert sum(a.slots for a in host.assignments) + sum(e.slots for e in entries) <= host.slots


@settings(max_examples=400, deadline=None)
@given(snapshots())
def test_a_launch_never_exceeds_the_maximum(s: Snapshot) -> None:
    plan = reconcile(s)
    vanished = {a.host.id for a in plan.actions if isinstance(a, Vanish)}
    live = [h for h in s.hosts if h.state not in (HostState.TERMINATED, HostState.TERMINATING) and h.id not in vanished]
    started = sum(len(a.loads) for a in plan.actions if isinstance(a, Start))
    assert started == 0 or len(live) + started <= s.pool.spec.hosts_max


@settings(max_examples=400, deadline=None)
@given(snapshots())
def test_no_running_attempt_is_killed_by_scaling_in(s: Snapshot) -> None:
    """Only a host that is unhealthy, never booted, or is terminating already may be terminated with attempts on it."""
    for action in reconcile(s).actions:
        if isinstance(action, Retire) and action.host.state in (HostState.READY, HostState.DRAINING):
            assert not action.host.assignments


@settings(max_examples=400, deadline=None)
@given(snapshots())
def test_every_waiting_job_is_placed_once_or_told_why_not(s: Snapshot) -> None:
    plan = reconcile(s)
    placed = [a.entry.job for a in plan.actions if isinstance(a, Assign)]
    placed += [e.job for a in plan.actions if isinstance(a, Start) for load in a.loads for e in load]
    waits = [entry.job for entry, sentence in plan.waits if sentence]
    assert sorted(placed + waits) == sorted(e.job for e in s.backlog)


@settings(max_examples=400, deadline=None)
@given(snapshots())
def test_work_goes_only_where_it_may(s: Snapshot) -> None:
    """Not to hosts that are leaving or not trusted; and a host that gets work is not drained by the same plan."""
    plan, hosts = reconcile(s), {h.id: h for h in s.hosts}
    given_work = {a.host for a in plan.actions if isinstance(a, Assign)}
    recaptured = {a.host.id for a in plan.actions if isinstance(a, Recapture)}
    for host_id in given_work:
        assert hosts[host_id].state in (HostState.READY, HostState.LAUNCHING) or host_id in recaptured
    assert not given_work & {a.host.id for a in plan.actions if isinstance(a, Drain | Retire | Vanish)}


@settings(max_examples=200, deadline=None)
@given(snapshots())
def test_nothing_is_concluded_from_a_list_that_was_not_fetched(s: Snapshot) -> None:
    """Without EC2's list the only hosts that vanish are those for which no instance was ever recorded."""
    if s.listed is None:
        assert all(a.host.instance_id is None for a in reconcile(s).actions if isinstance(a, Vanish))

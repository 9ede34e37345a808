"""Jobs that may wait for so long only: they are skipped at that moment, and no host is given or launched for them."""

from __future__ import annotations

from builders import NOW, a_host, a_pool, a_snapshot, an_assignment, an_entry
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core import invariants
from chalicelib.core.plan import Assign, Expire, Start
from chalicelib.core.reconcile import reconcile

moments = st.one_of(st.none(), st.sampled_from([NOW - 100, NOW, NOW + 0.5, NOW + 50, NOW + 5000]))


@given(st.lists(moments, max_size=12), st.integers(0, 3))
def test_exactly_those_are_skipped_whose_time_is_over(give_up_at: list[float | None], hosts: int) -> None:
    """And the pass looks again when the next one's is."""
    backlog = tuple(an_entry(f"job-{n:02d}", give_up_at=at, queued_at=NOW - 200) for n, at in enumerate(give_up_at))
    s = a_snapshot(backlog=backlog, hosts=tuple(a_host(f"host-{n}") for n in range(hosts)))
    plan = reconcile(s)
    assert [a.entry for a in plan.actions if isinstance(a, Expire)] == [
        e for e in backlog if e.give_up_at is not None and e.give_up_at <= NOW
    ]
    assert not invariants.of_plan(s, plan)
    to_come = [at for at in give_up_at if at is not None and at > NOW]
    assert not to_come or (plan.wake_at is not None and plan.wake_at <= min(to_come))


def test_no_host_is_given_or_launched_for_one_that_is_skipped() -> None:
    plan = reconcile(a_snapshot(hosts=(a_host(),), backlog=(an_entry(give_up_at=NOW),)))
    assert not [a for a in plan.actions if isinstance(a, Assign | Start)]


def test_an_attempt_that_a_host_carries_already_does_not_wait_any_more() -> None:
    """The trace of a crash between two writes: the host may have heard of it."""
    host = a_host(assignments=(an_assignment("job-9", started_at=None),))
    plan = reconcile(a_snapshot(hosts=(host,), backlog=(an_entry("job-9", give_up_at=NOW - 1),)))
    assert not [a for a in plan.actions if isinstance(a, Expire)]
    assert [a.entry.job for a in plan.actions if isinstance(a, Assign)] == ["job-9"]


def test_it_is_told_for_how_long_it_has_waited() -> None:
    entry = an_entry(queued_at=NOW - 600, give_up_at=NOW)
    (action,) = reconcile(a_snapshot(pool=a_pool(killed=True), backlog=(entry,))).actions
    assert action.reason == "no host had room for it within 10 min, and it was to wait no longer (queue_ttl_s)"

"""How soon a job may begin, by what the last pass left on its pool's row: rough, never absurd, and it grows with the queue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from builders import NOW, OFFERING, a_host, a_pool, a_snapshot, an_assignment, an_entry
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.durations import Learned
from chalicelib.core.expectation import MARKS_MAX, WARM_S, Expectation, marks_of
from chalicelib.core.expecting import expectation
from chalicelib.core.host import HostState
from chalicelib.core.job_spec import Reservation
from chalicelib.core.pool import Supply
from chalicelib.core.reconcile import reconcile
from chalicelib.core.snapshot import Snapshot

LAST = "09#000000009999999#job-z"
JOB = Reservation()


def seen(s: Snapshot) -> Expectation:
    return expectation(s, reconcile(s))


def waits(count: int, **over: Any) -> tuple[Any, ...]:
    return tuple(an_entry(f"job-{n:04d}", rank=f"05#{n:015d}#job-{n:04d}", **over) for n in range(count))


def full(count: int, **snapshot: Any) -> Snapshot:
    """One two-slot host, busy; no other may be had; so many wait, of ten seconds each."""
    busy = a_host(assignments=(an_assignment("job-a"), an_assignment("job-b")))
    facts = {"pool": a_pool(hosts_max=1), "hosts": (busy,), "learned": {"*": Learned(9, 90.0, 900.0)}}
    return a_snapshot(**(facts | {"backlog": waits(count)} | snapshot))


def test_on_an_idle_host_it_begins_at_once() -> None:
    assert seen(a_snapshot(hosts=(a_host(),))).wait_s(LAST, JOB, NOW) == WARM_S


def test_what_is_larger_than_the_free_room_waits_for_a_boot() -> None:
    known = seen(a_snapshot(hosts=(a_host(assignments=(an_assignment(),)),)))
    assert known.wait_s(LAST, JOB, NOW) == WARM_S
    assert known.wait_s(LAST, replace(JOB, slots=2), NOW) == known.boot_s


def test_on_an_empty_pool_it_takes_a_boot_as_long_as_boots_took() -> None:
    s = a_snapshot(learned={"boot": Learned(9, 270.0, 9000.0)})
    assert seen(s).wait_s(LAST, JOB, NOW) == 30.0
    assert Expectation().wait_s(LAST, JOB, NOW) == 45.0, "and before the first pass, as long as we believe"


def test_in_a_full_pool_it_is_a_matter_of_who_stands_before() -> None:
    """Ten jobs before it on two lanes, ten seconds each; the first in line waits for one of them."""
    known = seen(full(10))
    assert (known.waiting, known.coming, known.lanes) == (10, 0.0, 2.0)
    assert known.wait_s(LAST, JOB, NOW) == 55.0
    assert known.wait_s("00#000000000000000#job-x", JOB, NOW) == 5.0
    assert known.wait_s(LAST, JOB, NOW, beside=10) == 105.0


@pytest.mark.parametrize(
    ("pool", "expected_s"),
    [
        pytest.param({"killed": True}, None, id="killed"),
        pytest.param({"scaling_enabled": False}, None, id="switched off"),
        pytest.param({"hosts_max": 0}, None, id="no host allowed"),
        pytest.param({"budget_usd_h": 0.0}, None, id="nothing to spend"),
        pytest.param({"supply": Supply(skips={OFFERING.key: NOW + 100})}, 145.0, id="refused for a while"),
        pytest.param({"supply": Supply(backoff_until=NOW + 10)}, 55.0, id="throttled"),
    ],
)
def test_where_no_host_may_be_had_it_says_when_or_nothing(pool: dict[str, Any], expected_s: float | None) -> None:
    known = seen(a_snapshot(pool=a_pool(**pool)))
    wait_s = known.wait_s(LAST, JOB, NOW)
    assert wait_s == expected_s if expected_s is None else wait_s is not None and abs(wait_s - expected_s) < 61


@given(st.integers(0, 300), st.lists(st.integers(0, 300), min_size=2, max_size=8))
def test_a_place_is_right_to_within_a_share_and_who_stands_behind_waits_no_less(count: int, places: list[int]) -> None:
    known = Expectation(at=NOW, waiting=count, marks=marks_of(e.rank for e in waits(count)), coming=0.0, job_s=10.0)
    assert len(known.marks) == min(MARKS_MAX, count)
    guessed = [known.ahead(f"05#{place:015d}#job-x") for place in sorted(places)]
    for place, ahead in zip(sorted(places), guessed, strict=True):
        assert abs(ahead - min(place, count)) <= count / MARKS_MAX + 1
    waits_s = [known.wait_s(f"05#{place:015d}#job-x", JOB, NOW) for place in sorted(places)]
    assert guessed == sorted(guessed)
    assert waits_s == sorted(w for w in waits_s if w is not None)


@given(
    st.sampled_from(list(HostState)),
    st.integers(0, 4),
    st.integers(0, 30),
    st.sampled_from([0, 1, 3]),
    st.sampled_from([None, 0.0, 0.09, 5.0]),
)
def test_whatever_the_pool_it_is_a_time_or_unknown(
    state: HostState, hosts: int, waiting: int, hosts_max: int, budget_usd_h: float | None
) -> None:
    pool = a_pool(hosts_max=hosts_max, budget_usd_h=budget_usd_h)
    rows = tuple(a_host(f"host-{n}", state=state) for n in range(hosts))
    wait_s = seen(a_snapshot(pool=pool, hosts=rows, backlog=waits(waiting))).wait_s(LAST, JOB, NOW)
    assert wait_s is None or 0 < wait_s < 100_000

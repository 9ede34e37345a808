"""Rules of the capacity calendar."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.core.calendar import Booking, counting, faults, floor, next_change, people

DAY = 1_699_920_000.0  # midnight, UTC
START = DAY + 14 * 3600
END = START + 3600
AHEAD_S = 60.0


def a_booking(**over: Any) -> Booking:
    return Booking(
        **({"id": "b-1", "title": "CS 225 midterm", "starts_at": START, "ends_at": END, "people": 300} | over)
    )


def asked(*bookings: Booking, interest: int = 0, now: float = START, slots: int = 2) -> tuple[int, str]:
    return floor(bookings, interest, now, AHEAD_S, slots, expected_s=60.0, jobs_per_person_h=4.0)


def test_an_exam_for_300_people_wants_hosts_by_the_square_root_rule() -> None:
    """300 × 4 jobs an hour × 60 s ÷ 3600 = 20 jobs at a time; 20 + 2√20 = 28.9; 15 hosts of 2 slots."""
    assert asked(a_booking()) == (15, "“CS 225 midterm” asks for 15 hosts until 15:00 UTC")


def test_a_booking_counts_from_the_boot_time_before_its_start_until_its_end() -> None:
    at = [START - AHEAD_S - 0.1, START - AHEAD_S, END - 0.1, END]
    assert [asked(a_booking(), now=now)[0] for now in at] == [0, 15, 15, 0]


def test_a_long_booking_says_its_day_too() -> None:
    _, why = asked(a_booking(ends_at=END + 3 * 86_400))
    assert why.endswith("until 15:00 UTC in 3 days")


def test_a_booking_may_say_its_hosts_itself() -> None:
    assert asked(a_booking(hosts=4))[0] == 4


def test_a_booking_may_say_how_much_its_people_submit() -> None:
    """300 × 12 × 60 ÷ 3600 = 60; 60 + 2√60 = 75.5; 38 hosts."""
    assert asked(a_booking(jobs_per_person_h=12.0))[0] == 38


def test_bookings_that_overlap_add_up() -> None:
    """Twice 20 jobs are 40; 40 + 2√40 = 52.6; 27 hosts, and 5 for the one that names them."""
    hosts, why = asked(a_booking(), a_booking(id="b-2", title="CS 233"), a_booking(id="b-3", title="Lab", hosts=5))
    assert hosts == 27 + 5
    assert why == "“CS 225 midterm” with “CS 233” with “Lab” asks for 32 hosts until 15:00 UTC"


def test_people_who_look_during_a_booking_are_those_who_were_booked() -> None:
    """The larger of the two counts: 600 × 4 × 60 ÷ 3600 = 40 jobs, 27 hosts."""
    assert asked(a_booking(), interest=100)[0] == 15
    assert asked(a_booking(), interest=600) == (27, "600 people are looking, which asks for 27 hosts")


def test_one_person_who_looks_is_worth_a_host() -> None:
    assert asked(interest=1) == (1, "one person is looking, which asks for 1 host")


def test_nothing_is_asked_for_where_nothing_is_known() -> None:
    assert asked() == (0, "nothing is booked and nobody is looking")


def test_people_are_those_booked_or_those_who_look() -> None:
    both = (a_booking(), a_booking(id="b-2", people=50))
    assert [people(both, n, START, AHEAD_S) for n in (0, 350, 351)] == [350, 350, 351]
    assert people(both, 7, END, AHEAD_S) == 7


def test_the_next_change_is_a_beginning_or_an_end() -> None:
    both = (a_booking(), a_booking(id="b-2", starts_at=START + 600, ends_at=END + 600))
    moments = [START - AHEAD_S, START + 600 - AHEAD_S, END, END + 600]
    assert next_change(both, DAY, AHEAD_S) == moments[0]
    assert [next_change(both, at, AHEAD_S) for at in moments] == [*moments[1:], None]


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"title": "  "}, "title"),
        ({"title": "x" * 201}, "title"),
        ({"title": "exam\x1b[2J"}, "title"),  # sentences with titles are printed on terminals
        ({"title": "exam\nroom 3"}, "title"),
        ({"starts_at": -1.0}, "starts_at"),
        ({"starts_at": float("nan")}, "starts_at"),
        ({"ends_at": START}, "ends_at"),
        ({"ends_at": float("inf")}, "ends_at"),
        ({"ends_at": START + 14 * 86_400 + 1}, "ends_at"),
        ({"people": 0}, "people"),
        ({"people": -1}, "people"),
        ({"people": 100_001}, "people"),
        ({"hosts": 0}, "hosts"),
        ({"hosts": 10_001}, "hosts"),
        ({"jobs_per_person_h": 0.0}, "jobs_per_person_h"),
        ({"jobs_per_person_h": 3601.0}, "jobs_per_person_h"),
    ],
)
def test_what_is_wrong_with_a_booking_is_said(over: dict[str, Any], field: str) -> None:
    assert [fault.field for fault in faults(a_booking(**over))] == [field]


def test_a_booking_needs_people_or_hosts() -> None:
    assert faults(a_booking()) == []
    assert faults(a_booking(people=0, hosts=3)) == []
    assert faults(a_booking(ends_at=START + 14 * 86_400)) == []


@st.composite
def bookings(draw: st.DrawFn) -> tuple[Booking, ...]:
    made = []
    for i in range(draw(st.integers(0, 4))):
        starts_at = DAY + draw(st.integers(0, 86_400))
        made.append(
            a_booking(
                id=f"b-{i}",
                starts_at=starts_at,
                ends_at=starts_at + draw(st.integers(1, 7200)),
                people=draw(st.integers(0, 500)),
                hosts=draw(st.none() | st.integers(1, 50)),
            )
        )
    return tuple(made)


@given(bookings(), st.integers(0, 86_400), st.integers(0, 500))
def test_the_floor_holds_until_the_next_change(booked: tuple[Booking, ...], after_s: int, interest: int) -> None:
    """So a pass that is woken then misses nothing."""
    now = DAY + after_s
    until = next_change(booked, now, AHEAD_S)
    last = (until if until is not None else now + 86_400) - 0.5
    assert asked(*booked, interest=interest, now=max(now, last))[0] == asked(*booked, interest=interest, now=now)[0]


@given(bookings(), bookings(), st.integers(0, 500))
def test_one_more_booking_never_lowers_the_floor(
    some: tuple[Booking, ...], more: tuple[Booking, ...], interest: int
) -> None:
    now = START + 1800
    assert asked(*some, *more, interest=interest, now=now)[0] >= asked(*some, interest=interest, now=now)[0]
    assert asked(*some, interest=interest + 10, now=now)[0] >= asked(*some, interest=interest, now=now)[0]
    assert set(counting(some, now, AHEAD_S)) <= set(some)

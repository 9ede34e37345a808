"""What is known of the load to come: booked surges (an exam at 14:00 for 300 people) and people who are looking now.

Both raise the floor of the pool's target, ahead by the boot time; neither ever lowers anything. So many people are so many jobs
at a time on average (people × jobs per hour × seconds per job), and those are staffed by the square-root rule. Bookings that
overlap add up. People who look while something is booked are probably those who booked: the larger of the two counts, not the sum.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from chalicelib.core.staffing import hosts_for, jobs_of_people, some, with_square_root
from chalicelib.errors import Fault

LENGTH_MAX_S = 14 * 86_400.0
TITLE_CHARACTERS_MAX = 200
PEOPLE_MAX = 100_000
HOSTS_MAX = 10_000
JOBS_PER_PERSON_H_MAX = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Booking:
    """A surge that somebody announced. Times are epoch seconds; `hosts` says the floor itself, else it follows from `people`.

    `jobs_per_person_h`: None takes the pool's own `jobs_per_person_h`.
    """

    id: str
    title: str
    starts_at: float
    ends_at: float
    people: int = 0
    jobs_per_person_h: float | None = None
    hosts: int | None = None


def faults(booking: Booking) -> list[Fault]:
    """All that is wrong with a booking."""
    return list(_faults(booking))


def _faults(b: Booking) -> Iterator[Fault]:
    if not 1 <= len(b.title.strip()) <= TITLE_CHARACTERS_MAX:
        yield Fault("title", f"must have 1 to {TITLE_CHARACTERS_MAX} characters")
    elif not b.title.isprintable():
        yield Fault("title", "must be one line without control characters")
    if not (math.isfinite(b.starts_at) and b.starts_at >= 0):
        yield Fault("starts_at", "must be a time in epoch seconds")
    elif not (math.isfinite(b.ends_at) and b.ends_at > b.starts_at):
        yield Fault("ends_at", "must be after starts_at")
    elif b.ends_at - b.starts_at > LENGTH_MAX_S:
        yield Fault("ends_at", "must be at most 14 days after starts_at; for longer, set hosts_min")
    if not 0 <= b.people <= PEOPLE_MAX:
        yield Fault("people", f"must be between 0 and {PEOPLE_MAX}")
    if b.hosts is not None and not 1 <= b.hosts <= HOSTS_MAX:
        yield Fault("hosts", f"must be between 1 and {HOSTS_MAX}, or left out")
    if b.hosts is None and b.people == 0:
        yield Fault("people", "say how many people come, or how many hosts are wanted")
    if b.jobs_per_person_h is not None and not 0 < b.jobs_per_person_h <= JOBS_PER_PERSON_H_MAX:
        yield Fault("jobs_per_person_h", f"must be more than 0 and at most {JOBS_PER_PERSON_H_MAX:g}, or left out")


def counting(bookings: Iterable[Booking], now: float, ahead_s: float) -> tuple[Booking, ...]:
    """The bookings that want hosts now: from `ahead_s` before they start until they end."""
    return tuple(b for b in bookings if b.starts_at - ahead_s <= now < b.ends_at)


def people(bookings: Iterable[Booking], interest: int, now: float, ahead_s: float) -> int:
    """How many people are here or expected: those who look, or those who are booked."""
    return max(interest, sum(b.people for b in counting(bookings, now, ahead_s)))


def floor(
    bookings: Iterable[Booking],
    interest: int,
    now: float,
    ahead_s: float,
    slots: float,
    expected_s: float,
    jobs_per_person_h: float,
) -> tuple[int, str]:
    """The least number of hosts that bookings and `interest` (people who look now) ask for, and why.

    n = people × jobs per person and hour × expected_s ÷ 3600 jobs at a time; ⌈(n + 2√n) ÷ slots⌉ hosts, or the `hosts` of a booking that
    names them. `ahead_s`: how long before its start a booking counts; `slots`: of one host.
    """
    now_booked = counting(bookings, now, ahead_s)
    jobs = sum(
        jobs_of_people(b.people, jobs_per_person_h if b.jobs_per_person_h is None else b.jobs_per_person_h, expected_s)
        for b in now_booked
        if b.hosts is None
    )
    booked = sum(b.hosts or 0 for b in now_booked) + hosts_for(with_square_root(jobs), slots)
    looking = hosts_for(with_square_root(jobs_of_people(interest, jobs_per_person_h, expected_s)), slots)
    if looking > booked:
        looks = "one person is" if interest == 1 else f"{interest} people are"
        return looking, f"{looks} looking, which asks for {some(looking, 'host')}"
    if booked:
        return (
            booked,
            f"{_titles(now_booked)} asks for {some(booked, 'host')} until {_until(now_booked, now)}",
        )
    return 0, "nothing is booked and nobody is looking"


def next_change(bookings: Iterable[Booking], now: float, ahead_s: float) -> float | None:
    """When a booking begins or ceases to count next, or None."""
    changes = (at for b in bookings if b.ends_at > b.starts_at for at in (b.starts_at - ahead_s, b.ends_at))
    return min((at for at in changes if at > now), default=None)


def _until(bookings: Iterable[Booking], now: float) -> str:
    """When the first of them ends, as words."""
    end = min(b.ends_at for b in bookings)
    return (
        f"{_clock(end)} UTC"
        if end - now < 86_400
        else f"{_clock(end)} UTC in {some(int((end - now) // 86_400), 'day')}"
    )


def _titles(bookings: Iterable[Booking]) -> str:
    return " with ".join(f"“{b.title}”" for b in bookings)


def _clock(at: float) -> str:
    seconds = int(at) % 86_400
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}"

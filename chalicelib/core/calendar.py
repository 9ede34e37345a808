"""What is known of the load to come: booked surges (an exam at 14:00 for 300 people) and people who are looking now.

Both raise the floor of the pool's target, ahead by the boot time; neither ever lowers anything.
"""

from __future__ import annotations

from dataclasses import dataclass


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

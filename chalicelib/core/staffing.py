"""From jobs and people to hosts: the arithmetic that scaling policies and the calendar share."""

from __future__ import annotations

import math

GRAIN = 1e-9  # sums of tenths are a little too large or too small; that must not cost a host


def hosts_for(jobs: float, slots: float) -> int:
    """How many hosts of `slots` slots take `jobs` average jobs at a time: ⌈jobs ÷ slots⌉, never negative."""
    return max(0, math.ceil(jobs / max(1, slots) - GRAIN))


def with_square_root(jobs: float) -> float:
    """n + 2√n: room for n concurrent jobs on average and for two standard deviations of a Poisson load beyond them."""
    return jobs + 2.0 * math.sqrt(max(0.0, jobs))


def jobs_of_people(people: int, jobs_per_person_h: float, expected_s: float) -> float:
    """How many jobs of `expected_s` seconds run at a time on average while so many people submit (Little's law)."""
    return people * jobs_per_person_h * expected_s / 3600.0


def some(count: int, noun: str) -> str:
    """The number with its noun, as a sentence needs it: 1 host, 3 hosts."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"

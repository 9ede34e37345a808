"""A schedule: when to submit which job; and what becomes of one of its fires.

A fire happens at most once. What becomes of it is decided by `decide` and written down before anything is done (a fire's row is put
only if there is none), the job that it submits has an id that follows from the fire, and only then the schedule goes on to its next
one. So two ticks at a time, a message that comes twice and a crash between any two lines all lead to one job, or to one reason why not.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from chalicelib.core.job import Job
from chalicelib.core.spoken import duration
from chalicelib.core.ulid import ulid

LATE_S = 120.0  # timers are late by seconds, and by a minute when one was lost: later than that, a fire was missed


class Misfire(StrEnum):
    """What becomes of fires that nobody could do in time: none, or one for all of them."""

    SKIP = "skip"
    ONCE = "once"


class Overlap(StrEnum):
    """What a fire does while the job of the last one has not ended."""

    ALLOW = "allow"
    SKIP = "skip"
    QUEUE = "queue"  # begins when that one has ended; one waits at a time
    REPLACE = "replace"  # that one is cancelled


class Outcome(StrEnum):
    SUBMIT = "submit"
    SKIP = "skip"
    REFUSED = "refused"  # it was to be submitted, and could not be accepted


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """`timing` as it was said (core/cron.py), `zone` an IANA name, `job` the document of a job, as it was said."""

    name: str
    owner: str
    timing: str
    zone: str
    job: Mapping[str, Any]
    misfire: str = Misfire.ONCE
    overlap: str = Overlap.ALLOW
    adverse: str = Misfire.SKIP  # skip | submit, when its pool could not run it now
    paused: bool = False
    version: int = 1
    made_at: float = 0.0  # with its name, its identity: another one of this name begins anew
    anchor_at: float = 0.0  # what a rate counts from
    next_at: float | None = None  # None: paused, or there is no more
    last_job: str | None = None
    last_at: float | None = None
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What became of a fire. `at`: when it was due. `job`: its id, decided before it is submitted."""

    schedule: str
    at: float
    outcome: str
    reason: str
    decided_at: float
    job: str | None = None
    after: tuple[str, ...] = ()  # jobs that it waits for
    cancels: str | None = None  # the job that it replaces
    by: str = ""  # who asked for it, if it was not the clock


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a decision depends on, beside the schedule. `missed`: how many more fires have come due meanwhile."""

    at: float
    now: float
    missed: int = 0
    last: Job | None = None  # the job of the last fire
    adverse: str = ""  # why its pool could not run it now
    refusal: str = ""  # why it would not be accepted


@dataclass(frozen=True, slots=True)
class Ruling:
    outcome: Outcome
    reason: str
    after: tuple[str, ...] = ()
    cancels: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """The first one that holds decides."""

    holds: Callable[[Schedule, Circumstances], bool]
    ruling: Callable[[Schedule, Circumstances], Ruling]


def decide(schedule: Schedule, c: Circumstances) -> Ruling:
    """What becomes of the fire that was due at `c.at`."""
    return next(rule.ruling(schedule, c) for rule in RULES if rule.holds(schedule, c))


def job_of(schedule: Schedule, at: float) -> str:
    """The id of the job that a fire submits: the same whoever does it, another for every fire of every schedule."""
    entropy = hashlib.sha256(f"{schedule.name}/{schedule.made_at!r}/{at!r}".encode()).digest()[:10]
    return f"job-{ulid(at, entropy)}"


def _late(s: Schedule, c: Circumstances) -> bool:
    return c.now - c.at > LATE_S


def _runs(s: Schedule, c: Circumstances) -> bool:
    return c.last is not None and not c.last.ended


def _skip(reason: Callable[[Schedule, Circumstances], str]) -> Callable[[Schedule, Circumstances], Ruling]:
    return lambda s, c: Ruling(Outcome.SKIP, reason(s, c))


def _missed(s: Schedule, c: Circumstances) -> str:
    more = f", and {c.missed} more were due since" if c.missed else ""
    return f"missed: it was due {duration(c.now - c.at)} ago{more}"


def _last(c: Circumstances) -> str:
    return f"{c.last.id} is {c.last.state}" if c.last is not None else ""


def _submit(s: Schedule, c: Circumstances) -> Ruling:
    reason = f"{_missed(s, c)}; once for all (misfire: once)" if _late(s, c) else "due"
    if _runs(s, c) and c.last is not None and s.overlap == Overlap.QUEUE:
        return Ruling(
            Outcome.SUBMIT, f"{reason}; waits for the end of {c.last.id} (overlap: queue)", after=(c.last.id,)
        )
    if _runs(s, c) and c.last is not None and s.overlap == Overlap.REPLACE:
        return Ruling(Outcome.SUBMIT, f"{reason}; replaces {c.last.id} (overlap: replace)", cancels=c.last.id)
    return Ruling(Outcome.SUBMIT, reason)


RULES = (
    # too late for what only makes sense in time
    Rule(
        lambda s, c: _late(s, c) and s.misfire == Misfire.SKIP,
        _skip(lambda s, c: f"{_missed(s, c)} (misfire: skip)"),
    ),
    # nobody would accept it: unknown pool or family, quota, no host that could ever run it
    Rule(lambda s, c: bool(c.refusal), _skip(lambda s, c: f"it would be refused: {c.refusal}")),
    # one at a time
    Rule(
        lambda s, c: _runs(s, c) and s.overlap == Overlap.SKIP,
        _skip(lambda s, c: f"{_last(c)}, and one runs at a time (overlap: skip)"),
    ),
    # one runs and one waits for it: a third would only grow the queue
    Rule(
        lambda s, c: _runs(s, c) and s.overlap == Overlap.QUEUE and c.last is not None and bool(c.last.spec.after)
        and c.last.state == "blocked",
        _skip(lambda s, c: f"{_last(c)}, and one waits at a time (overlap: queue)"),
    ),
    # nothing would run it now
    Rule(lambda s, c: bool(c.adverse) and s.adverse == Misfire.SKIP, _skip(lambda s, c: f"{c.adverse} (adverse: skip)")),
    Rule(lambda s, c: True, _submit),
)  # fmt: skip

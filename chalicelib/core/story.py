"""The story: what happened to a job, a host or a pool, and why. Append-only; lines expire.

Lines may be missing (a function that dies before its end loses those it had not written); rows never forget their last entry into each
state. `of_job` and `of_host` put both together.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from chalicelib.core.host import Host
from chalicelib.core.job import Job, JobState

SAME_MOMENT_S = 0.001  # a row and a line round the same moment
_BEGIN = (JobState.SCHEDULED, JobState.BLOCKED, JobState.PENDING)  # where a job may begin


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    at: float
    subject: str  # a job's or host's id, or `of_pool(name)`
    event: str
    reason: str


def of_pool(name: str) -> str:
    """The subject of a pool's own story."""
    return f"pool/{name}"


def of_job(job: Job, told: Sequence[Line]) -> list[Line]:
    """A job's whole story, oldest first: what was told, its submission, and states that only its row remembers."""
    first = next((state for state in _BEGIN if job.entered.get(state) == job.submitted_at), JobState.PENDING)
    submitted = Line(at=job.submitted_at, subject=job.id, event=str(first), reason=f"submitted by {job.owner}")
    remembered = [
        Line(at=at, subject=job.id, event=str(state), reason=job.reason if state == job.state else "")
        for state, at in job.entered.items()
        if (state, at) != (first, job.submitted_at)
    ]
    return _whole([submitted, *told], remembered)


def of_host(host: Host, told: Sequence[Line]) -> list[Line]:
    """A host's whole story, oldest first, while its row is there; afterwards `told` is all there is."""
    entered = {(host.launched_at, "launching"): "", (host.entered_at, str(host.state)): host.reason}
    if host.ready_at is not None:
        entered.setdefault((host.ready_at, "ready"), "its agent said hello")
    remembered = [Line(at=at, subject=host.id, event=event, reason=why) for (at, event), why in entered.items()]
    return _whole(told, remembered)


def distinct(lines: Iterable[Line]) -> list[Line]:
    """By time, without what was written twice: a write whose answer was lost is done again."""
    return sorted(dict.fromkeys(lines), key=lambda line: line.at)


def _whole(told: Sequence[Line], remembered: Sequence[Line]) -> list[Line]:
    """`remembered` fills the gaps: an entry into a state of which no line tells at that time or later."""
    missing = [
        line for line in remembered if not any(t.event == line.event and t.at >= line.at - SAME_MOMENT_S for t in told)
    ]
    return distinct([*told, *missing])

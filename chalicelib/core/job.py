"""A job, its attempts and its state machine.

A job is what a user asked for; an attempt is one run of it. `attempt` is a fencing number: it grows each time the job goes back
to `pending`, so that a late message about an older attempt is recognised and changes nothing. `charged` counts the
attempts that the user pays for out of `max_attempts`: an attempt that never began, or that failed through a fault of ours, is not charged.

The whole machine is `TRANSITIONS`. All states are rows; final states are the empty ones. A write in the store names the states that it
may leave (`sources(event)`) and the attempt that it speaks of; anything else is a lost race, which is an outcome and no error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from chalicelib.core.job_spec import JobSpec
from chalicelib.core.machine import Machine
from chalicelib.core.progress import Progress
from chalicelib.core.telling import Telling


class JobState(StrEnum):
    SCHEDULED = "scheduled"
    BLOCKED = "blocked"
    PENDING = "pending"
    ASSIGNED = "assigned"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    TIMED_OUT = "timed_out"
    CANCELLED = "cancelled"
    LOST = "lost"
    SKIPPED = "skipped"


class JobEvent(StrEnum):
    DUE = "due"  # its time has come
    UNBLOCK = "unblock"  # the jobs it waited for have ended
    ASSIGN = "assign"  # placed on a host
    START = "start"  # the agent won the claim and begins
    SUCCEED = "succeed"
    FAIL = "fail"
    TIME_OUT = "time_out"
    WITHDRAW = "withdraw"  # cancelled while it waits: no host knows of it
    CANCEL = "cancel"  # cancelled on a host, which has ended it or will never begin it
    RELEASE = "release"  # taken back before it began: nothing is charged
    RETRY = "retry"  # it began and ended badly, and another attempt is allowed
    LOSE = "lose"  # it may have begun and nobody can tell how it ended
    SKIP = "skip"


_S, _E = JobState, JobEvent

TRANSITIONS: dict[JobState, dict[JobEvent, JobState]] = {
    _S.SCHEDULED: {_E.DUE: _S.PENDING, _E.WITHDRAW: _S.CANCELLED, _E.SKIP: _S.SKIPPED},
    _S.BLOCKED: {_E.UNBLOCK: _S.PENDING, _E.WITHDRAW: _S.CANCELLED, _E.SKIP: _S.SKIPPED},
    _S.PENDING: {_E.ASSIGN: _S.ASSIGNED, _E.WITHDRAW: _S.CANCELLED, _E.SKIP: _S.SKIPPED},
    _S.ASSIGNED: {
        _E.START: _S.RUNNING,
        _E.SUCCEED: _S.SUCCEEDED,  # finish may overtake start
        _E.FAIL: _S.FAILED,
        _E.TIME_OUT: _S.TIMED_OUT,
        _E.CANCEL: _S.CANCELLED,
        _E.RELEASE: _S.PENDING,
        _E.RETRY: _S.PENDING,
        _E.LOSE: _S.LOST,
    },
    _S.RUNNING: {
        _E.SUCCEED: _S.SUCCEEDED,
        _E.FAIL: _S.FAILED,
        _E.TIME_OUT: _S.TIMED_OUT,
        _E.CANCEL: _S.CANCELLED,
        _E.RETRY: _S.PENDING,
        _E.LOSE: _S.LOST,
    },
    _S.SUCCEEDED: {},
    _S.FAILED: {},
    _S.TIMED_OUT: {},
    _S.CANCELLED: {},
    _S.LOST: {},
    _S.SKIPPED: {},
}

ANEW = (_E.RETRY, _E.DUE, _E.UNBLOCK)  # from then on it waits for a host, or waits again
MACHINE = Machine("job", TRANSITIONS)
after, sources, target = MACHINE.after, MACHINE.sources, MACHINE.target
FINAL = MACHINE.finals


@dataclass(frozen=True, slots=True, kw_only=True)
class Log:
    """Where an attempt's log stands: bytes kept, whether it was cut at the limit, the text itself if it was short."""

    bytes: int = 0
    cut: bool = False
    text: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """A file that it left. `name`: that of the spec's `outputs` which it matched."""

    path: str
    bytes: int
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finish:
    """How an attempt ended, as its agent told it."""

    outcome: str  # succeeded | failed | timed_out | cancelled | infrastructure
    reason: str
    cause: str = ""  # of an infrastructure fault: `grader`, "" for what is ours
    started_at: float | None = None
    finished_at: float
    exit_code: int | None = None
    signal: int | None = None
    cpu_s: float | None = None
    memory_peak_mib: float | None = None
    log: Log = Log()
    result: Any = None
    outputs: tuple[Output, ...] = ()
    image_digest: str | None = None  # of the container that it ran in: `repository@sha256:…`


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """How the part of one member of a gang has ended: what it would mean for a job on that host alone, and what its agent told of it."""

    event: JobEvent
    reason: str
    at: float
    userid: str | None = None
    charge: bool = False
    fault: bool = False
    interruption: bool = False
    finish: Finish | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """The record of a job. Times are epoch seconds.

    Of a gang (`spec.hosts` > 1; core/gang.py): `members` are the hosts of its present attempt by rank, `peers` their addresses since all
    were told to begin, `ends` how those ended that have, `cause` the rank of the first one that did not succeed.
    """

    id: str
    pool: str
    owner: str
    spec: JobSpec
    state: JobState
    submitted_at: float
    attempt: int = 1
    charged: int = 0
    faults: int = 0  # attempts that a host of ours failed: never charged, but not repeated for ever
    interruptions: int = 0  # attempts that EC2 took back
    retried_at: float | None = None  # when it came back from an attempt that had begun, or its time had come (`ANEW`)
    entered: Mapping[str, float] = field(default_factory=dict)  # state → when it was last entered
    reason: str = ""
    waiting_for: str = ""
    cancel_requested: bool = False
    rank: str = ""  # its place in the backlog: (priority, virtual time, id)
    host: str | None = None
    userid: str | None = None  # of the host of the last attempt: where its log and outputs are
    finish: Finish | None = None
    members: tuple[str, ...] = ()
    peers: tuple[str, ...] = ()
    ends: Mapping[int, End] = field(default_factory=dict)
    cause: int | None = None
    array: str | None = None  # whose element it is
    index: int | None = None  # which one, from 0
    awaited: bool = False  # whether others wait for its end (`JobSpec.after`)
    retry_of: str | None = None  # the job that a user has asked to run again
    schedule: str | None = None  # the schedule that submitted it
    origin: Mapping[str, Any] = field(default_factory=dict)  # in which dialect it came, and what its answer needs
    delivered_at: float | None = None  # when the last of those who wanted to know of its end was told
    telling: Telling = field(default_factory=Telling)  # how far that has come
    progress: Progress = field(default_factory=Progress)  # what its attempts say of themselves, and have kept

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    @property
    def gang(self) -> bool:
        """Whether it needs several hosts at once."""
        return self.spec.hosts > 1

    def on(self, host: str) -> bool:
        """Whether the attempt that its row speaks of is, or was, on that host."""
        return host in self.members if self.gang else self.host == host

    @property
    def listeners(self) -> tuple[str, ...]:
        """Who wants to be told of its end: `webhook`, `topic`, the dialect that it came in."""
        notified = self.spec.notify.listeners if self.spec.notify is not None else ()
        return (*notified, str(self.origin["answer"])) if "answer" in self.origin else notified

    @property
    def needs_inbox(self) -> bool:
        """Whether it takes something that user data must not hold."""
        return self.spec.needs_inbox or bool(self.progress.kept)

    @property
    def priority(self) -> int:
        """Its class in the queue now; that of its spec is what it was submitted with."""
        return int(self.rank.partition("#")[0]) if self.rank else self.spec.priority

    @property
    def queued_at(self) -> float:
        """Since when it waits to begin. A host that it was given and that never came does not end the wait."""
        return self.retried_at or self.submitted_at

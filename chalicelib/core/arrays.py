"""Arrays: one row and one backlog entry that stand for up to 10,000 like jobs, its elements.

An element becomes a job when it is placed: until then it is nothing but a number. Its id, its place in the queue and what it runs follow
from the array's row and that number alone, so whoever makes it makes the same job, and the put of its row - if it is not there -
decides between two who try. `Entry.next_index` says below which number every element has a row; it is raised after the rows are
written, so a crash makes elements be tried again and never forgets one.

Elements of an array are alike in all that placement looks at. So a pass that places k of them makes the next k, whichever numbers
its plan had in mind: nothing is passed over, and `next_index` is all that has to be remembered.

Each element has a start tag of its own (core/fairness.py), one cost behind its neighbour's: an array of 10,000 is overtaken by whoever
comes after it with one job, as 10,000 jobs would be.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from chalicelib.core.backlog import Entry, rank_ms
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.machine import Machine
from chalicelib.core.telling import Telling

COUNT_MAX = 10_000
CHUNK = 250  # elements that one row tells the ends of: about a KiB, so that one more end costs one write unit
COUNT = "SPILLWAY_ARRAY_COUNT"
_ELEMENT = re.compile(r"^job-(?P<ulid>[0-9A-Za-z]+)-(?P<index>\d{5})\Z")


class ArrayState(StrEnum):
    BLOCKED = "blocked"  # waits for others
    OPEN = "open"  # its elements wait, run or have ended
    SUCCEEDED = "succeeded"  # all of them
    FAILED = "failed"  # not all of them
    CANCELLED = "cancelled"
    SKIPPED = "skipped"


class ArrayEvent(StrEnum):
    UNBLOCK = "unblock"  # what it waited for has ended
    SKIP = "skip"
    WITHDRAW = "withdraw"  # cancelled while it waits for others
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"  # cancelled, and what had begun has ended


_S, _E = ArrayState, ArrayEvent

TRANSITIONS: dict[ArrayState, dict[ArrayEvent, ArrayState]] = {
    _S.BLOCKED: {_E.UNBLOCK: _S.OPEN, _E.SKIP: _S.SKIPPED, _E.WITHDRAW: _S.CANCELLED},
    _S.OPEN: {_E.SUCCEED: _S.SUCCEEDED, _E.FAIL: _S.FAILED, _E.CANCEL: _S.CANCELLED},
    _S.SUCCEEDED: {},
    _S.FAILED: {},
    _S.CANCELLED: {},
    _S.SKIPPED: {},
}

MACHINE = Machine("array", TRANSITIONS)
after, sources, target = MACHINE.after, MACHINE.sources, MACHINE.target
FINAL = MACHINE.finals


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The merged results: an object in the bucket, with so many bytes; `problem`: why there is none."""

    key: str = ""
    bytes: int = 0
    rows: int = 0
    problem: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Array:
    """The record of an array. Times are epoch seconds. `spec` is what all elements have in common.

    `listed`: whether the elements have parameters of their own, which lie in the bucket. `step_ms`: virtual time from each to the next.
    `made`: every element has a row, and the backlog's entry is not needed any more.
    """

    id: str
    pool: str
    owner: str
    spec: JobSpec
    count: int
    state: ArrayState
    submitted_at: float
    rank: str
    step_ms: int
    listed: bool = False
    entered: Mapping[str, float] = field(default_factory=dict)
    reason: str = ""
    waiting_for: str = ""
    cancel_requested: bool = False
    expired: bool = False  # it waited for too long, and what has not begun never will
    made: bool = False
    awaited: bool = False
    results: Results | None = None
    delivered_at: float | None = None  # when the last of those who wanted to know of its end was told
    telling: Telling = field(default_factory=Telling)  # how far that has come

    @property
    def listeners(self) -> tuple[str, ...]:
        """Who wants to be told of its end."""
        return self.spec.notify.listeners if self.spec.notify is not None else ()

    @property
    def ended(self) -> bool:
        return self.state in FINAL

    @property
    def stops(self) -> bool:
        """Whether no element is made any more."""
        return self.cancel_requested or self.expired

    @property
    def opened_at(self) -> float:
        """Since when its elements wait."""
        return self.entered.get(ArrayState.OPEN, self.submitted_at)


@dataclass(frozen=True, slots=True)
class Tally:
    """Which elements have ended, and how: final state → indices."""

    ended: Mapping[JobState, frozenset[int]] = field(default_factory=dict)

    @property
    def total(self) -> int:
        return sum(map(len, self.ended.values()))

    @property
    def indices(self) -> frozenset[int]:
        return frozenset().union(*self.ended.values())

    def counts(self) -> dict[str, int]:
        return {str(state): len(indices) for state, indices in self.ended.items() if indices}


def element_id(array_id: str, index: int) -> str:
    return f"job-{array_id.removeprefix('array-')}-{index:05d}"


def element_of(job_id: str) -> tuple[str, int] | None:
    """The array and the index that an element's id names; None for the id of any other job."""
    match = _ELEMENT.match(job_id)
    return (f"array-{match['ulid']}", int(match["index"])) if match else None


def completes_chunk(job: Job, ended: int) -> bool:
    """Whether `ended` elements are all of the chunk that this element is in."""
    first = (job.index or 0) // CHUNK * CHUNK
    return ended >= min(CHUNK, int(job.spec.environment.get(COUNT, COUNT_MAX)) - first)


def element(array: Array, index: int, parameters: Mapping[str, Any], state: JobState, at: float, **facts: Any) -> Job:
    """The job of one element, entering `state` at `at`; `facts` are further fields of the job."""
    job_id = element_id(array.id, index)
    priority, first_ms = _place(array.rank)
    return Job(
        id=job_id,
        pool=array.pool,
        owner=array.owner,
        spec=element_spec(array, index, parameters),
        state=state,
        submitted_at=array.opened_at,
        entered={str(JobState.PENDING): array.opened_at, str(state): at},
        rank=rank_ms(priority, first_ms + index * array.step_ms, job_id),
        array=array.id,
        index=index,
        **facts,
    )


def element_spec(array: Array, index: int, parameters: Mapping[str, Any]) -> JobSpec:
    """What one element runs. What the array waits for, who is told of its end and its key are the array's own affairs."""
    spec = array.spec
    return replace(
        spec,
        parameters={**spec.parameters, **parameters},
        environment={
            **spec.environment,
            "SPILLWAY_ARRAY": array.id,
            "SPILLWAY_ARRAY_INDEX": str(index),
            COUNT: str(array.count),
        },
        after=(),
        notify=None,
        idempotency_key=None,
    )


def entry_of(array: Array) -> Entry:
    """The one entry of an open array, with no element made yet."""
    spec = array.spec
    return Entry(
        pool=array.pool,
        rank=array.rank,
        job=array.id,
        attempt=1,
        owner=array.owner,
        cpu=spec.cpu,
        memory_mib=spec.memory_mib,
        slots=spec.slots,
        timeout_s=spec.timeout_s,
        queued_at=array.opened_at,
        family=spec.family or "",
        needs=tuple(sorted(spec.uploads)),
        give_up_at=array.opened_at + spec.queue_ttl_s if spec.queue_ttl_s is not None else None,
        instance_types=spec.instance_types,
        market=spec.market or "",
        size=array.count,
        step_ms=array.step_ms,
    )


def unfolded(head: Sequence[Entry], limit: int, read: int | None = None) -> tuple[list[Entry], bool]:
    """The first `limit` waiting attempts of a backlog's head, which was read with this limit: arrays as their elements, in order of
    rank; and whether that is all there is. `read`: how many entries the table gave, if some were left out since."""
    complete = (len(head) if read is None else read) < limit
    if not any(entry.size for entry in head):
        return list(head), complete
    waiting = [entry for entry in head if not entry.size]
    for entry in head:
        if entry.size:
            waiting += elements(entry, limit)
    if not complete:  # nobody knows what stands behind the last that was read
        waiting = [entry for entry in waiting if entry.rank <= head[-1].rank] or waiting
    waiting.sort(key=_rank)
    hidden = sum(entry.size - entry.next_index > limit for entry in head)
    return waiting[:limit], complete and not hidden and len(waiting) <= limit


def _rank(entry: Entry) -> str:
    return entry.rank


def elements(entry: Entry, limit: int) -> Iterator[Entry]:
    """The next elements of an array's entry, as the entries that their jobs would have."""
    priority, first_ms = _place(entry.rank)
    for index in range(entry.next_index, min(entry.size, entry.next_index + limit)):
        job_id = element_id(entry.job, index)
        yield Entry(
            pool=entry.pool,
            rank=f"{rank_ms(priority, first_ms + index * entry.step_ms, job_id)}#1",
            job=job_id,
            attempt=1,
            owner=entry.owner,
            cpu=entry.cpu,
            memory_mib=entry.memory_mib,
            slots=entry.slots,
            timeout_s=entry.timeout_s,
            queued_at=entry.queued_at,
            family=entry.family,
            needs=entry.needs,
            give_up_at=entry.give_up_at,
            instance_types=entry.instance_types,
            market=entry.market,
            of=entry,
        )


def waiting(head: Iterable[Entry]) -> int:
    """How many attempts wait in a backlog."""
    return sum(max(0, entry.size - entry.next_index) if entry.size else 1 for entry in head)


def _place(rank: str) -> tuple[int, int]:
    priority, milliseconds, *_ = rank.split("#")
    return int(priority), int(milliseconds)


def verdict(array: Array, tally: Tally) -> tuple[ArrayEvent, str]:
    """How an open array ends, all of whose elements have ended or never will begin, and the sentence that says so."""
    counts = tally.counts()
    never = array.count - tally.total
    if counts.get(JobState.SUCCEEDED, 0) == array.count:
        return ArrayEvent.SUCCEED, f"all {array.count} succeeded"
    said = [f"{counts[state]} {state.replace('_', ' ')}" for state in map(str, JobState) if state in counts]
    if never:
        said.append(f"{never} never began")
    return (ArrayEvent.CANCEL if array.cancel_requested else ArrayEvent.FAIL), f"of {array.count}: {', '.join(said)}"

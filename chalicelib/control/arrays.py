"""Arrays: submitted, cancelled, and looked after (core/arrays.py).

Order of the writes at submission: the idempotency key, the elements' parameters, the array's row, its entry in the backlog. What a crash
leaves is repaired by the client's retry, or by `look`, which the tick calls for every array that has not ended.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from chalicelib.control import array_ends, element_parameters, endings, graph, quotas
from chalicelib.control.cancel import cancel as cancel_placed
from chalicelib.control.fairness import lot
from chalicelib.control.kept import kept_until
from chalicelib.control.submit import KEY_TTL_S, check, known_pool, wake_for
from chalicelib.core.arrays import Array, ArrayEvent, ArrayState, element, element_id, element_of, entry_of
from chalicelib.core.backlog import rank
from chalicelib.core.graph import waits
from chalicelib.core.job import Job, JobEvent, JobState, sources
from chalicelib.core.job_spec import JobSpec
from chalicelib.errors import BadRequest, Conflict, Fault, NotFound
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

PAGE = 100
STILL_S = 60.0  # what has stood still for so long, no function is at any more
CANCELLING_S = 8.0  # what one request does of a cancellation; messages do the rest
AGAIN_S, LOOKS = 5, 12  # what runs is ended within seconds; what cannot be reached, a minute later the tick sees to


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` is False where an idempotency key led to an array that was there."""

    array: Array
    created: bool


def submit(
    plane: Plane, spec: JobSpec, count: int, own: Sequence[Mapping[str, Any]] | None, owner: str, prefix: str = ""
) -> Submitted:
    """One array of `count` elements; `own`: the parameters that each has beside the spec's. Raises BadRequest or Conflict."""
    if spec.not_before is not None:
        raise _refusal(f"{prefix}not_before", "is not for arrays; submit it when its time has come")
    if spec.hosts > 1:
        raise _refusal(
            f"{prefix}hosts", f"is {spec.hosts}; an element of an array runs on one host. Submit such jobs one by one"
        )
    check(plane, [spec], owner, prefix=lambda index: prefix)
    array_id, first = plane.new_id("array"), True
    now = plane.clock()
    if spec.idempotency_key:
        body = msgspec.json.encode((spec, count, own), order="sorted")
        digest = hashlib.sha256(body).hexdigest()
        hold = plane.stores.jobs.hold_key(owner, spec.idempotency_key, digest, array_id, now + KEY_TTL_S)
        if hold.body_hash != digest:
            raise Conflict(
                f"{prefix}idempotency_key: {spec.idempotency_key!r} was used for {hold.job} with another body",
                (Fault(f"{prefix}idempotency_key", f"stands for {hold.job}, which was submitted with another body"),),
            )
        array_id, first = hold.job, hold.job == array_id
    array = None if first else plane.stores.arrays.get(array_id)
    if array is None:
        quotas.admit(plane, owner, count, prefix)
        array = _record(plane, array_id, spec, count, own, owner, now)
    if array.state is ArrayState.BLOCKED:
        graph.announce(plane, [(array.id, spec)])
        endings.ended(plane, *graph.hold(plane, [array]))
        array = plane.stores.arrays.get(array.id) or array
    wake_for(plane, array.pool)
    return Submitted(array, created=first)


def _record(
    plane: Plane,
    array_id: str,
    spec: JobSpec,
    count: int,
    own: Sequence[Mapping[str, Any]] | None,
    owner: str,
    now: float,
) -> Array:
    pool = known_pool(plane, spec.pool)
    first_s, step_ms = lot(plane, pool, spec, owner, count) if pool else (0.0, 1)
    state = ArrayState.BLOCKED if spec.after else ArrayState.OPEN
    array = Array(
        id=array_id,
        pool=spec.pool,
        owner=owner,
        spec=spec,
        count=count,
        state=state,
        submitted_at=now,
        rank=rank(spec.priority, first_s, array_id),
        step_ms=step_ms,
        listed=own is not None,
        entered={str(state): now},
        reason=waits(spec.after) if spec.after else "submitted",
    )
    if own is not None:
        element_parameters.keep(plane, array_id, own)
    if spec.after:
        graph.announce(plane, [(array_id, spec)])
    if not plane.stores.arrays.put(array):
        array = plane.stores.arrays.get(array_id) or array
    if array.state is ArrayState.OPEN and not array.made:
        plane.stores.backlog.put_if_absent(entry_of(array))
    return array


def get(plane: Plane, array_id: str) -> Array:
    """Raises NotFound."""
    array = plane.stores.arrays.get(array_id)
    if array is None:
        raise NotFound(f"there is no array {array_id}")
    return array


def counts(plane: Plane, array: Array) -> dict[str, int]:
    """Final state → how many elements; of those that have not ended: `waiting`, or `placed` (on a host, or back from one)."""
    tally = plane.stores.arrays.tally(array.id)
    counted, left = tally.counts(), array.count - tally.total
    if array.ended:
        rest = "cancelled" if array.cancel_requested else "skipped"
        return counted | ({rest: counted.get(rest, 0) + left} if left else {})
    made = array.count if array.made else 0
    if array.state is ArrayState.OPEN and not array.made:
        entry = plane.stores.backlog.find(entry_of(array))
        made = entry.next_index if entry else 0
    placed = sum(index not in tally.indices for index in range(made))
    return counted | {name: n for name, n in (("waiting", left - placed), ("placed", placed)) if n > 0}


def elements(
    plane: Plane, array: Array, *, after: int | None, limit: int, state: str | None = None
) -> tuple[list[Job], bool]:
    """A page of elements by index, and whether more follow; those that have no row yet as they will be. `state`: a final one."""
    first = 0 if after is None else after + 1
    indices: Sequence[int] = range(first, array.count)
    if state is not None:
        ended = plane.stores.arrays.tally(array.id).ended.get(JobState(state), frozenset())
        indices = sorted(index for index in ended if index >= first)
    page = indices[:limit]
    rows = plane.stores.jobs.get_many(element_id(array.id, index) for index in page)
    found = [rows.get(element_id(array.id, index)) or unmade(plane, array, index) for index in page]
    return found, len(indices) > limit


def find_job(plane: Plane, job_id: str) -> Job | None:
    """Any job, an element that has no row yet among them."""
    return plane.stores.jobs.get(job_id) or element_job(plane, job_id)


def cancel_job(plane: Plane, job_id: str) -> Job:
    """Cancel any job. Raises NotFound."""
    if plane.stores.jobs.get(job_id) is None and (job := _cancel_unmade(plane, job_id)) is not None:
        return job
    return cancel_placed(plane, job_id)


def element_job(plane: Plane, job_id: str) -> Job | None:
    """The job that an element which has no row yet will be: pending, with its array's word on why it waits. None for what is no element."""
    named = element_of(job_id)
    array = plane.stores.arrays.get(named[0]) if named else None
    if named is None or array is None or named[1] >= array.count:
        return None
    return unmade(plane, array, named[1])


def unmade(plane: Plane, array: Array, index: int) -> Job:
    """An element that has no row, as a job."""
    if not array.ended:
        state = JobState.BLOCKED if array.state is ArrayState.BLOCKED else JobState.PENDING
    else:
        state = JobState.CANCELLED if array.cancel_requested else JobState.SKIPPED
    given = element_parameters.of(plane, array, index)
    at = max(array.entered.values(), default=array.submitted_at)
    job = element(array, index, given, state, at, reason=array.reason, cancel_requested=array.cancel_requested)
    return replace(job, waiting_for="" if array.ended else array.waiting_for)


def _cancel_unmade(plane: Plane, job_id: str) -> Job | None:
    """An element that has no row gets one that says that it is cancelled; None where it has one by now, or is no element."""
    job = element_job(plane, job_id)
    if job is None or job.ended:
        return job
    array = get(plane, str(job.array))
    now = plane.clock()
    over = element(
        array,
        job.index or 0,
        element_parameters.of(plane, array, job.index or 0),
        JobState.CANCELLED,
        now,
        reason="cancelled before it began",
        cancel_requested=True,
    )
    if not plane.stores.jobs.put(over, kept_until(plane, over, now)):
        return None
    endings.ended(plane, over)
    return over


def cancel(plane: Plane, array_id: str) -> Array:
    """Ask for the end of an array: what waits ends at once, what runs is told. The array as it is then. Raises NotFound.

    The flag comes first, then the entry goes: a pass that makes elements meanwhile finds either, and cancels them itself.
    """
    array = plane.stores.arrays.request_cancel(array_id) or get(plane, array_id)
    if not array.ended:
        _work(plane, array, plane.clock() + CANCELLING_S)
    array = get(plane, array_id)
    if not array.ended:
        order(plane, array_id, AGAIN_S, looks=LOOKS)
    return array


def order(plane: Plane, array_id: str, delay_s: int = 0, *, looks: int = 0) -> None:
    """Have an array looked at by a message (control/merge.py); while it is being cancelled, that often in a row, then by the tick alone."""
    plane.cloud.queues.timer({"v": 1, "kind": "array", "array": array_id, "looks": looks}, delay_s)


def look(plane: Plane, array_id: str, until: float = math.inf) -> bool:
    """Do for an array whatever is to be done now: what a crash left undone, its cancellation, its end. Whether it did something."""
    array = plane.stores.arrays.get(array_id)
    return array is not None and not array.ended and _work(plane, array, until)


def _work(plane: Plane, array: Array, until: float) -> bool:
    if array.state is ArrayState.BLOCKED:
        return _blocked(plane, array)
    if array.stops:
        return _stopped(plane, array, until)
    if not array.made and (entry_of(array).give_up_at or math.inf) + STILL_S < plane.clock():
        expire(plane, array.id)  # passes read the head of the backlog, and it may stand far behind
        return True
    repaired = _entered(plane, array)
    tally = plane.stores.arrays.tally(array.id)
    entry = plane.stores.backlog.find(entry_of(array))
    made = array.count if entry is None else entry.next_index
    for job in _rows(plane, array, [i for i in range(made) if i not in tally.indices]):
        if job.ended:  # a crash between its end and the note of it
            endings.ended(plane, job)
            repaired = True
    if array_ended := array_ends.closed(plane, array, plane.stores.arrays.tally(array.id)):
        endings.ended(plane, array_ended)
        repaired = True
    return repaired


def _blocked(plane: Plane, array: Array) -> bool:
    if not array.cancel_requested:
        ended = graph.held_again(plane, [array])
        endings.ended(plane, *ended)
        return bool(ended)
    now = plane.clock()
    moved = plane.stores.arrays.move(
        array.id,
        ArrayEvent.WITHDRAW,
        at=now,
        reason="cancelled before it began",
        expires_at=kept_until(plane, array, now),
        untold=bool(array.listeners),
    )
    if moved is not None:
        endings.ended(plane, moved)
    return moved is not None


def _entered(plane: Plane, array: Array) -> bool:
    """An open array that is not made has an entry. One that was lost is put anew: whoever makes elements of it sees which are there.

    Who takes an entry away says why on the array's row before: so the row is read again, it may have been taken in this moment.
    """
    if array.made or plane.clock() - array.opened_at < STILL_S or plane.stores.backlog.has(entry_of(array)):
        return False
    array = get(plane, array.id)
    if array.made or array.stops or array.ended:
        return False
    log.warning("an open array was not in the backlog", extra={"array": array.id})
    plane.stores.backlog.put_if_absent(entry_of(array))
    wake_for(plane, array.pool)
    return True


def _stopped(plane: Plane, array: Array, until: float) -> bool:
    """Every element that has a row is cancelled, where that was asked for; when none of these is left, the array ends and the others
    never begin."""
    plane.stores.backlog.remove([entry_of(array)])
    tally = plane.stores.arrays.tally(array.id)
    alive = done = 0
    for job in _rows(plane, array, [i for i in range(array.count) if i not in tally.indices]):
        if job.ended:
            endings.ended(plane, job)
            continue
        alive += 1
        waits = job.state in sources(JobEvent.WITHDRAW)
        if array.cancel_requested and (not job.cancel_requested or waits) and plane.clock() < until:
            alive -= cancel_placed(plane, job.id).ended
            done += 1
    if alive:
        return bool(done)
    tally = plane.stores.arrays.tally(array.id)
    moved = array_ends.closed(plane, array, tally, rest_never_begins=True)
    if moved is not None:
        endings.ended(plane, moved)
    return moved is not None


def expire(plane: Plane, array_id: str) -> None:
    """It has waited for too long: what has not begun never will."""
    expired = plane.stores.arrays.expire(array_id)
    array = expired or plane.stores.arrays.get(array_id)
    if array is not None and (array.stops or array.ended):
        plane.stores.backlog.remove([entry_of(array)])
    if expired is not None:
        order(plane, array_id)


def _rows(plane: Plane, array: Array, indices: Sequence[int]) -> list[Job]:
    """The rows that there are of these elements."""
    found = plane.stores.jobs.get_many(element_id(array.id, index) for index in indices)
    return list(found.values())


def _refusal(field: str, message: str) -> BadRequest:
    return BadRequest(f"{field}: {message}", (Fault(field, message),))

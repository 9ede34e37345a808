"""What every family of stores promises about the ends of arrays (chalicelib/store/ports)."""

from __future__ import annotations

from dataclasses import replace

import pytest
from store_records import NOW, a_job, race

from chalicelib.core.arrays import CHUNK, TRANSITIONS, Array, ArrayEvent, ArrayState, Results, entry_of
from chalicelib.core.job import JobEvent, JobState
from chalicelib.core.job_spec import JobSpec, Notify
from chalicelib.core.telling import Telling
from chalicelib.store.ports import Stores

LATER = NOW + 7.25


def an_array(n: int, state: ArrayState = ArrayState.OPEN, **over: object) -> Array:
    spec = JobSpec(command="true", timeout_s=5, notify=Notify(topic=True))
    fields: dict[str, object] = {
        "pool": "p",
        "owner": "ann",
        "spec": spec,
        "count": 3,
        "submitted_at": NOW,
        "rank": f"5-{n}",
        "step_ms": 1,
    }
    return Array(id=f"array-{n:026d}", state=state, entered={str(state): NOW}, **(fields | over))  # type: ignore[arg-type]


def test_an_array_survives_to_the_last_bit(stores: Stores) -> None:
    array = an_array(
        1, ArrayState.FAILED, delivered_at=LATER, telling=Telling(tries=2, told=("topic",)), listed=True, made=True
    )
    assert stores.arrays.put(array)
    assert not stores.arrays.put(array)
    assert stores.arrays.get(array.id) == array


def test_every_event_in_every_state(stores: Stores) -> None:
    """A write goes through exactly where the machine has a row; and who ends an array says whether it is untold."""
    for number, (state, event) in enumerate((s, e) for s in ArrayState for e in ArrayEvent):
        array = an_array(number, state)
        stores.arrays.put(array)
        moved = stores.arrays.move(array.id, event, at=LATER, reason="because", untold=False)
        target = TRANSITIONS[state].get(event)
        assert (moved.state if moved else None) == target
    stores.arrays.put(an_array(999))
    with pytest.raises(TypeError):
        stores.arrays.move(an_array(999).id, ArrayEvent.FAIL, at=LATER, reason="r")
    kept = stores.arrays.get(an_array(999).id)
    assert kept is not None
    assert kept.state is ArrayState.OPEN


def test_an_ended_array_is_untold_until_its_listeners_are_told(stores: Stores) -> None:
    """By its own list, which holds no job's id; told once, or given up."""
    for number in range(3):
        stores.arrays.put(an_array(number))
    first, second, third = (an_array(number).id for number in range(3))
    assert not stores.arrays.delivered(first, LATER), "it has not ended"
    assert stores.arrays.move(first, ArrayEvent.SUCCEED, at=LATER, reason="r", untold=True) is not None
    assert stores.arrays.move(second, ArrayEvent.FAIL, at=LATER, reason="r", untold=True) is not None
    assert stores.arrays.move(third, ArrayEvent.FAIL, at=LATER, reason="r", untold=False) is not None
    assert stores.arrays.untold(limit=2)[0] == [first, second]
    assert stores.arrays.untold(after=first)[0] == [second]
    assert stores.jobs.untold()[0] == []
    assert stores.arrays.request_cancel(first) is None
    assert sum(race(4, lambda i: stores.arrays.delivered(first, LATER + i))) == 1
    once = Telling(tries=1, due_at=LATER, fault="ü")
    assert stores.arrays.tell_again(second, Telling(), once)
    assert not stores.arrays.tell_again(second, Telling(), once)
    assert stores.arrays.untold()[0] == [second]
    assert stores.arrays.tell_again(second, once, replace(once, given_up=True))
    assert stores.arrays.untold()[0] == []


# -- how far it is: flags, tally, the one entry in the backlog


def test_an_array_is_listed_beside_jobs_and_never_among_them(stores: Stores) -> None:
    """They share a table and its indexes: each listing has its own kind, all pages of it."""
    jobs = [a_job(number) for number in range(3)]
    stores.submissions.create(jobs)
    arrays = [an_array(number) for number in range(5)]
    for array in arrays:
        stores.arrays.put(array)
    ids = [array.id for array in arrays]
    assert stores.arrays.of_pool("p", limit=2) == (ids[:2:-1], ids[3])
    assert stores.arrays.of_pool("p", before=ids[3], limit=10)[0] == ids[2::-1]
    assert stores.arrays.active("p", limit=3) == (ids[:3], ids[2])
    assert stores.arrays.active("p", after=ids[2])[0] == ids[3:]
    assert stores.arrays.active("other")[0] == []
    assert stores.jobs.active("p")[0] == [job.id for job in jobs]
    assert stores.jobs.of_pool("p")[0] == [job.id for job in reversed(jobs)]
    assert stores.jobs.of_owner("ann")[0] == [job.id for job in reversed(jobs)]
    assert stores.jobs.active_newest("p")[0] == [job.id for job in reversed(jobs)]
    assert stores.arrays.get_many([ids[1], "array-unknown"]).keys() == {ids[1]}
    assert stores.jobs.get_many(ids) == {}
    assert stores.arrays.move(ids[0], ArrayEvent.SUCCEED, at=LATER, reason="r", untold=False) is not None
    assert stores.arrays.active("p")[0] == ids[1:]


def test_the_flags_of_an_array(stores: Stores) -> None:
    """Each is set on what has not ended, and says what the array is then."""
    array = an_array(1)
    assert stores.arrays.request_cancel(array.id) is None
    assert stores.arrays.all_made(array.id) is None
    stores.arrays.put(array)
    stores.arrays.wait_for(array.id, "for a host")
    assert stores.arrays.expire(array.id) == replace(array, expired=True, waiting_for="for a host")
    made = stores.arrays.all_made(array.id)
    assert made is not None
    assert (made.made, made.stops) == (True, True)
    cancelled = stores.arrays.request_cancel(array.id)
    assert cancelled is not None
    assert cancelled.cancel_requested
    ended = stores.arrays.move(array.id, ArrayEvent.CANCEL, at=LATER, reason="r", untold=False)
    assert ended is not None
    assert ended.waiting_for == ""
    assert stores.arrays.request_cancel(array.id) is None
    assert stores.arrays.expire(array.id) is None
    stores.arrays.wait_for(array.id, "for nothing")
    results = Results(key="k", bytes=3, rows=1)
    stores.arrays.note_results(array.id, results)
    assert stores.arrays.get(array.id) == replace(ended, results=results)


def test_an_end_that_is_noted_twice_counts_once(stores: Stores) -> None:
    """Additions to sets: messages come twice, and four functions at a time."""
    array = an_array(1)
    race(4, lambda i: stores.arrays.count(array.id, i // 2, JobState.SUCCEEDED, LATER))
    assert stores.arrays.count(array.id, 1, JobState.SUCCEEDED, LATER) == 2
    assert stores.arrays.count(array.id, 2, JobState.TIMED_OUT, LATER) == 3
    assert stores.arrays.count(array.id, CHUNK, JobState.LOST, LATER) == 1, "another chunk, another row"
    tally = stores.arrays.tally(array.id)
    assert tally.counts() == {"succeeded": 2, "timed_out": 1, "lost": 1}
    assert tally.indices == {0, 1, 2, CHUNK}
    assert stores.arrays.tally("array-unknown").total == 0


def test_an_entry_of_an_array_only_goes_forward(stores: Stores) -> None:
    """`next_index` is never lowered, by nobody; and an entry that was taken out does not come back by it."""
    entry = entry_of(an_array(1, count=10, rank="05#000000000000001#array-x"))
    assert not stores.backlog.advance(entry, 3)
    assert stores.backlog.put_if_absent(entry)
    assert stores.backlog.advance(entry, 4)
    assert stores.backlog.advance(entry, 2), "it is there, further on"
    assert not stores.backlog.put_if_absent(entry), "who puts it again does not know how far it is"
    assert stores.backlog.find(entry) == replace(entry, next_index=4)
    assert stores.backlog.head("p", 5) == [replace(entry, next_index=4)]
    stores.backlog.remove([entry])
    assert not stores.backlog.advance(entry, 5)
    assert stores.backlog.find(entry) is None


# -- who waits for whom


def test_who_waits_is_found_until_what_it_waits_for_has_ended(stores: Stores) -> None:
    """The flag is refused once it has ended: then who waits must look itself."""
    job, array = a_job(1), an_array(1)
    stores.jobs.put(job)
    stores.arrays.put(array)
    pairs = [(f"job-{number:03d}", subject) for number in range(30) for subject in (job.id, array.id)]
    stores.waiters.add(pairs, LATER)
    stores.waiters.add(pairs[:2], LATER)
    assert stores.waiters.of(job.id) == [f"job-{number:03d}" for number in range(30)]
    assert stores.waiters.of(array.id, after="job-009", limit=2) == ["job-010", "job-011"]
    assert stores.waiters.of("job-unknown") == []
    for subject in (job.id, array.id):
        assert stores.waiters.await_end(subject)
    moved = stores.jobs.move(job.id, JobEvent.SKIP, attempt=1, at=LATER, reason="r", untold=True)
    assert moved is not None
    assert moved.awaited
    ended = stores.arrays.move(array.id, ArrayEvent.FAIL, at=LATER, reason="r", untold=True)
    assert ended is not None
    assert ended.awaited
    for subject in (job.id, array.id, "job-unknown", "array-unknown"):
        assert not stores.waiters.await_end(subject)

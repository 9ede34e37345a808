"""Nobody is forgotten: what a crash or a race leaves where nobody seems to look, because of its number, its age or its kind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from meddling import Meddled
from town import OFFERING, Town

from chalicelib.control import arrays, delivery, due, fires, schedules, sweep
from chalicelib.control.cancel import cancel
from chalicelib.control.reprioritise import reprioritise
from chalicelib.core.arrays import Array, ArrayState, element, element_id, entry_of
from chalicelib.core.backlog import entry_of as job_entry
from chalicelib.core.job import JobEvent, JobState
from chalicelib.core.job_spec import JobSpec, Notify
from chalicelib.core.pool import PoolSpec
from chalicelib.core.schedule import Fired, Outcome, Schedule, job_of

DAY_S = 86_400.0


def array_of(town: Town, count: int, **over: Any) -> Array:
    return arrays.submit(town.plane, JobSpec(command="run 5", timeout_s=600, **over), count, None, "alice").array


def meddled(town: Town, part: str, name: str, meanwhile: Any) -> Any:
    """The town's plane, where something happens just before a call of one of its tables."""
    table = Meddled(getattr(town.stores, part), name, meanwhile)
    return replace(town.plane, stores=replace(town.plane.stores, **{part: table}))


@pytest.fixture
def full() -> Town:
    """A pool that takes no jobs: what waits goes on waiting."""
    return Town(PoolSpec(offerings=(OFFERING,), hosts_max=0))


def test_the_sweep_reaches_who_stands_behind_thousands_of_jobs(full: Town) -> None:
    """Jobs that are deferred by months are active all the time: who comes after them is repaired all the same."""
    later = full.submit(not_before=full.now + 90 * DAY_S)
    more = sweep.PAGE * sweep.PAGES_MAX + 700
    full.stores.submissions.create([replace(later, id=f"job-{n:026d}") for n in range(1000, 1000 + more)])
    lost = replace(full.submit(), id=f"job-{99_000:026d}", rank="05#lost")
    full.stores.jobs.put(lost)  # and the function died before it wrote the entry
    for _ in range(3):
        full.now += 61
        sweep.sweep(full.plane, "default")
    assert full.stores.backlog.has(job_entry(lost))


def test_what_is_counted_of_a_sweep_says_whether_it_is_all(full: Town) -> None:
    """Charts must not show a part of the jobs as all of them, wherever a sweep goes on."""
    later = full.submit(not_before=full.now + 90 * DAY_S)
    assert sweep.swept(full.plane, "default").jobs.complete
    full.stores.submissions.create([replace(later, id=f"job-{n:026d}") for n in range(1000, 4000)])
    for _ in range(3):
        tally = sweep.swept(full.plane, "default").jobs
        assert tally.complete
        assert tally.counts == {"scheduled": 3001}
    full.stores.submissions.create([replace(later, id=f"job-{n:026d}") for n in range(4000, 9000)])
    assert not any(sweep.swept(full.plane, "default").jobs.complete for _ in range(4))


def test_an_open_array_remembers_for_months_which_of_its_elements_have_ended() -> None:
    """A pool that forgets jobs after a day may work on an array for weeks: it ends when all have ended, and its table has all rows."""
    town = Town(PoolSpec(offerings=(OFFERING,), job_ttl_s=86_400))
    until: list[float] = []

    class Noting(Meddled):
        def count(self, array_id: str, index: int, state: JobState, expires_at: float) -> int:
            until.append(expires_at)
            return town.stores.arrays.count(array_id, index, state, expires_at)

    noting: Any = Noting(town.stores.arrays, "", lambda: None)
    town.plane = replace(town.plane, stores=replace(town.plane.stores, arrays=noting))
    array = array_of(town, 2)
    job = town.submit()
    town.run_until_quiet()
    assert min(until) > town.now + 364 * DAY_S
    for index in range(2):
        assert town.stores.jobs.expires[element_id(array.id, index)] > town.now + 89 * DAY_S
    assert town.stores.jobs.expires[job.id] < town.now + DAY_S, "a job by itself goes when its pool says"


def test_an_element_that_was_cancelled_before_it_was_made_expires_as_all_others_do(full: Town) -> None:
    """Its row is written as one that has ended, and would be kept for ever."""
    array = array_of(full, 3)
    assert arrays.cancel_job(full.plane, element_id(array.id, 1)).state is JobState.CANCELLED
    assert full.stores.jobs.expires[element_id(array.id, 1)] > full.now + 89 * DAY_S  # type: ignore[attr-defined]


def test_a_time_that_comes_when_its_job_is_no_more_is_forgotten(full: Town) -> None:
    """It was cancelled long ago, and its row has expired: what is left in the agenda would be looked at by every tick, for ever."""
    job = full.submit(not_before=full.now + 400)
    cancel(full.plane, job.id)
    del full.stores.jobs._rows[job.id]  # type: ignore[attr-defined]
    full.run(520)
    assert not full.stores.agenda.due(full.now, 10)


def test_a_clock_that_is_an_hour_behind_delays_and_breaks_nothing(full: Town) -> None:
    """A timer waits for a quarter of an hour at most: then it is asked again."""
    job = full.submit(not_before=full.now + 4000)
    due.begin(full.plane, [job.id])
    assert full.job(job.id).state is JobState.SCHEDULED
    assert len(full.cloud.queues.timers.messages) == 1


def test_an_entry_of_a_job_that_is_on_a_host_is_removed(full: Town) -> None:
    """Who changed its place died before it saw that a pass had been quicker: a host would be launched for nobody."""
    job = full.submit()
    full.stores.jobs.move(job.id, JobEvent.ASSIGN, attempt=1, at=full.now, reason="", host="host-1")
    sweep.sweep(full.plane, "default")
    assert not full.stores.backlog.head("default", 10)


def test_the_entry_of_an_array_that_has_ended_is_removed(full: Town) -> None:
    """Who wrote it was overtaken by a cancellation: thousands would seem to wait that never will begin."""
    array = array_of(full, 10)
    arrays.cancel(full.plane, array.id)
    full.stores.backlog.put(entry_of(array))
    sweep.sweep(full.plane, "default")
    assert not full.stores.backlog.head("default", 10)


def test_the_entry_of_an_array_that_has_ended_does_not_expire_again_and_again(full: Town) -> None:
    array = array_of(full, 10, queue_ttl_s=60)
    arrays.cancel(full.plane, array.id)
    full.stores.backlog.put(entry_of(array))
    arrays.expire(full.plane, array.id)
    assert not full.stores.backlog.head("default", 10)


@pytest.mark.parametrize("meanwhile", ["made", "cancelled"])
def test_an_entry_that_goes_while_somebody_looks_is_not_put_again(full: Town, meanwhile: str) -> None:
    """It was not lost: all elements were made in just that moment, or it was cancelled. A second entry would make them all again."""
    array = array_of(full, 10)
    full.now += 61

    def goes() -> None:
        if meanwhile == "cancelled":
            arrays.cancel(full.plane, array.id)
        else:
            full.stores.arrays.all_made(array.id)
            full.stores.backlog.remove([entry_of(array)])

    arrays.look(meddled(full, "backlog", "has", goes), array.id)
    assert not full.stores.backlog.head("default", 10)


def test_an_array_that_has_waited_too_long_ends_although_no_pass_comes_to_it(full: Town) -> None:
    """Passes read the head of the backlog: who stands behind thousands is the sweep's, as a job is."""
    array = array_of(full, 10, queue_ttl_s=60)
    full.now += 130
    sweep.sweep(full.plane, "default")
    assert arrays.get(full.plane, array.id).expired
    sweep.sweep(full.plane, "default")
    assert arrays.get(full.plane, array.id).state is ArrayState.FAILED


def test_an_element_that_was_made_when_its_array_had_expired_does_not_run(full: Town) -> None:
    """The pass that made it died before it saw that; its array has ended, and would change its mind."""
    array = array_of(full, 10, queue_ttl_s=60)
    arrays.expire(full.plane, array.id)
    arrays.look(full.plane, array.id)
    assert arrays.get(full.plane, array.id).ended
    late = element(array, 3, {}, JobState.PENDING, full.now)
    full.stores.jobs.put(late)
    full.stores.backlog.put(job_entry(late))
    full.now += 61
    sweep.sweep(full.plane, "default")
    assert full.job(late.id).state is JobState.CANCELLED


def test_many_arrays_do_not_take_the_sweep_of_the_jobs_and_each_has_its_turn(full: Town) -> None:
    """A tick lasts 55 s: where a look at all arrays takes longer, some are looked at, then the jobs, and the others by later ticks."""
    ids = [array_of(full, 3).id for _ in range(40)]
    for array_id in ids:
        full.stores.arrays.request_cancel(array_id)
    lost = full.submit()
    full.stores.backlog.remove([job_entry(lost)])
    full.now += 61
    began = full.now

    class Slow(Meddled):
        def get(self, array_id: str) -> Array | None:
            full.now += 2.0
            return full.stores.arrays.get(array_id)

    slow: Any = Slow(full.stores.arrays, "", lambda: None)
    full.plane = replace(full.plane, stores=replace(full.plane.stores, arrays=slow))
    sweep.sweep(full.plane, "default")
    assert full.now - began < 30
    assert full.stores.backlog.has(job_entry(lost))
    for _ in range(200):
        full.now = (full.now // 60 + 1) * 60
        sweep.sweep(full.plane, "default")
    assert not [i for i in ids if not full.stores.arrays.get(i).ended]  # type: ignore[union-attr]


def test_the_sweep_does_not_flood_a_queue_that_is_slow_already(full: Town) -> None:
    """Thousands of ends whose webhook takes its time are untold for minutes: each tick asks for some again, and has time for the rest."""
    ended = full.submit(notify=Notify(webhook="https://example.org/hook"))
    cancel(full.plane, ended.id)
    many = [replace(full.job(ended.id), id=f"job-{n:026d}") for n in range(1000, 1700)]
    full.stores.submissions.create(many)
    full.cloud.queues.timers.messages.clear()
    full.now += 61
    delivery.sweep(full.plane)
    assert len(full.cloud.queues.timers.messages) == delivery.ORDERS_MAX < len(many)
    full.run(200)
    assert not full.stores.jobs.untold()[0]


def test_a_long_chain_of_ends_does_not_take_the_time_of_who_saw_the_first(full: Town) -> None:
    """A function lasts 30 s: what follows of an end beyond some seconds is told by messages, and nobody who waits is left out."""
    first = last = full.submit()
    for _ in range(60):
        last = full.submit(after=(last.id,))

    class Slow(Meddled):
        def move(self, *args: Any, **facts: Any) -> Any:
            full.now += 1.0
            return full.stores.jobs.move(*args, **facts)

    slow: Any = Slow(full.stores.jobs, "", lambda: None)
    plane = replace(full.plane, stores=replace(full.plane.stores, jobs=slow))
    began = full.now
    cancel(plane, first.id)
    assert full.now - began < 15
    full.run(2)
    assert full.job(last.id).state is JobState.SKIPPED


@pytest.mark.parametrize("kind", ["deferred", "blocked"])
def test_a_place_that_is_given_in_the_moment_of_the_beginning_is_kept(full: Town, kind: str) -> None:
    """Somebody was told that the job is first now: its beginning must not give it the place that was worked out a moment before."""
    first = full.submit()
    job = (
        full.submit(after=(first.id,), after_on="finish") if kind == "blocked" else full.submit(not_before=full.now + 9)
    )
    full.now += 10

    def hurries() -> None:
        reprioritise(full.plane, job.id, 0)

    full.plane, plane = meddled(full, "shares", "advance", hurries), full.plane
    if kind == "deferred":
        due.begin(full.plane, [job.id])
    else:
        cancel(full.plane, first.id)
    full.plane = plane
    full.run(130)
    assert full.job(job.id).state is JobState.PENDING
    assert full.job(job.id).priority == 0
    assert [e.rank[:2] for e in full.stores.backlog.head("default", 10) if e.job == job.id] == ["00"]


def test_another_schedule_of_the_same_name_does_not_finish_its_fires(full: Town) -> None:
    """One was deleted before the job of its fire was submitted, and its name was given to another, which was not due."""
    plane, at = full.plane, (full.now // 60 + 1) * 60
    said = Schedule(
        name="nightly", owner="alice", zone="UTC", timing="* * * * *", job={"command": "run 5", "timeout_s": 60}
    )
    first = schedules.put(plane, said)
    assert first.next_at == at
    full.now = at
    decided = Fired(
        schedule="nightly", at=at, outcome=Outcome.SUBMIT, reason="due", decided_at=at, job=job_of(first, at)
    )
    full.stores.schedules.decide(decided, at + DAY_S)
    schedules.delete(plane, "nightly")
    full.now += 5
    schedules.put(plane, replace(said, timing="0 0 1 1 *", owner="bob"))
    fires.fire(plane, "nightly", at)
    assert full.stores.jobs.get(str(decided.job)) is None

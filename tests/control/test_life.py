"""What people do to jobs that are there: run them again, give them another place, and the same to many of them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from town import OFFERING, Crash, Town

from chalicelib.control import arrays, bulk, expected, sweep
from chalicelib.control.cancel import cancel
from chalicelib.control.reprioritise import reprioritise
from chalicelib.control.retry import retry
from chalicelib.core import invariants
from chalicelib.core.arrays import element_id
from chalicelib.core.backlog import entry_of
from chalicelib.core.job import JobState
from chalicelib.core.job_filter import JobFilter
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import Conflict, NotFound

ONE = PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1, linger_s=60)


# -- again


def test_a_job_that_has_ended_is_run_again_as_a_new_one() -> None:
    """Its own row says how it ended, for ever; the new one says whose retry it is, and may stand in another class."""
    town = Town()
    first = town.submit("fail 5", labels={"course": "cs101"})
    town.run(60)
    again = retry(town.plane, town.job(first.id), priority=1).job
    assert (again.retry_of, again.priority, again.attempt) == (first.id, 1, 1)
    assert again.spec == replace(first.spec, priority=1)
    town.run_until_quiet()
    assert town.job(first.id).state is JobState.FAILED
    assert town.job(again.id).state is JobState.FAILED
    assert sum(town.began.values()) == 2


def test_a_job_is_not_run_again_while_it_may_still_run() -> None:
    """Two of the same at a time are never meant."""
    town = Town()
    job = town.submit("run 100")
    for _ in range(2):
        with pytest.raises(Conflict, match="has not ended"):
            retry(town.plane, town.job(job.id))
        town.run(40)


def test_a_retry_that_is_sent_twice_is_one() -> None:
    town = Town()
    job = town.submit("run 1")
    town.run(60)
    once, twice = (retry(town.plane, town.job(job.id), key="k") for _ in range(2))
    assert (once.job.id, once.created, twice.created) == (twice.job.id, True, False)
    assert retry(town.plane, town.job(job.id), key="another").job.id != once.job.id


# -- another place


def test_a_job_in_a_better_class_overtakes_those_that_wait() -> None:
    town = Town(ONE)
    running, early, late = (town.submit("run 50") for _ in range(3))
    town.run(30)
    assert reprioritise(town.plane, late.id, 0).priority == 0
    town.run(80)
    assert town.job(running.id).entered["running"] < town.job(late.id).entered["running"]
    assert JobState.RUNNING not in town.job(early.id).entered
    town.run_until_quiet()
    assert not invariants.at_rest(town.world())
    assert [line.reason for line in town.stores.story.of(late.id) if line.event == "priority"] == ["5 → 0"]


def test_a_job_stands_once_in_the_backlog_wherever_it_was_put() -> None:
    town = Town(replace(ONE, killed=True))
    job = town.submit("run 5")
    for priority in (9, 0, 0, 5):
        moved = reprioritise(town.plane, job.id, priority)
        assert town.stores.backlog.head("default", 10) == [entry_of(moved)]


def test_a_job_on_a_host_keeps_it_and_waits_again_in_its_new_class() -> None:
    town = Town(ONE)
    job = town.submit("fail 5", max_attempts=2)
    town.run(22)
    assert reprioritise(town.plane, job.id, 2).priority == 2
    assert not town.stores.backlog.head("default", 10)
    town.run_until_quiet()
    assert town.job(job.id).attempt == 2
    assert not invariants.at_rest(town.world())


def test_what_has_ended_or_never_was_has_no_place() -> None:
    town = Town()
    job = town.submit("run 1")
    town.run(60)
    with pytest.raises(Conflict, match="has ended"):
        reprioritise(town.plane, job.id, 0)
    with pytest.raises(NotFound):
        reprioritise(town.plane, "job-none", 0)


# -- who waits too long


def test_a_job_that_waits_for_longer_than_it_may_is_skipped_to_the_second() -> None:
    """Its pool's only host is busy; the pass that skips it is ordered for that moment."""
    town = Town(ONE)
    town.submit("run 500")
    town.run(5)
    job = town.submit("run 5", queue_ttl_s=45)
    town.run(44)
    assert town.job(job.id).state is JobState.PENDING
    town.run(2.5)
    skipped = town.job(job.id)
    assert skipped.state is JobState.SKIPPED
    assert "within 45 s" in skipped.reason
    assert not town.stores.backlog.head("default", 10)
    town.run_until_quiet()
    assert sum(town.began.values()) == 1


def test_one_far_behind_in_the_queue_is_skipped_by_the_sweep() -> None:
    """A pass reads only the head; here it reads nothing at all, as none comes."""
    town = Town(replace(ONE, killed=True))
    job = town.submit("run 5", queue_ttl_s=60)
    town.now += 121
    assert sweep.sweep(town.plane, "default") == 1
    assert town.job(job.id).state is JobState.SKIPPED
    assert not town.stores.backlog.head("default", 10)
    assert sweep.sweep(town.plane, "default") == 0


def test_each_attempt_may_wait_that_long() -> None:
    """What it waited before its first attempt is not held against the second."""
    town = Town(ONE)
    job = town.submit("fail 100", queue_ttl_s=60, max_attempts=2)
    town.run_until_quiet()
    assert (town.job(job.id).state, town.job(job.id).attempt) == (JobState.FAILED, 2)


# -- for how long it is remembered


def test_a_job_is_kept_for_as_long_as_its_pool_says() -> None:
    """From its end on, however it ended."""
    town = Town(replace(ONE, job_ttl_s=86_400))
    run, gone = town.submit("run 10"), town.submit("run 5")
    cancel(town.plane, gone.id)
    town.run_until_quiet()
    for job in (run, gone):
        ended_at = max(town.job(job.id).entered.values())
        assert town.stores.jobs.expires[job.id] == pytest.approx(ended_at + 86_400, abs=1)


# -- many at a time


def test_first_they_are_counted_then_it_is_done() -> None:
    town = Town(replace(ONE, killed=True))
    wanted = [town.submit("run 5", family="essay", labels={"course": "a"}) for _ in range(3)]
    town.submit("run 5", labels={"course": "b"})
    which = JobFilter(pool="default", labels={"course": "a"})
    counted = bulk.bulk(town.plane, "cancel", which)
    assert (set(counted.jobs), counted.done, counted.more) == ({job.id for job in wanted}, None, False)
    assert all(town.job(job.id).state is JobState.PENDING for job in wanted)
    with pytest.raises(Conflict, match="3 jobs match now, and 4 were expected"):
        bulk.bulk(town.plane, "cancel", which, expect=4)
    done = bulk.bulk(town.plane, "cancel", which, expect=3)
    assert done.done == counted.jobs
    assert all(town.job(job.id).state is JobState.CANCELLED for job in wanted)
    assert len(town.stores.backlog.head("default", 10)) == 1
    assert bulk.bulk(town.plane, "cancel", which).jobs == ()
    assert bulk.bulk(town.plane, "retry", which, ids=[wanted[0].id, "job-none"]).jobs == (wanted[0].id,)


def test_what_has_ended_is_run_again_and_what_waits_gets_a_class() -> None:
    """A retry looks at ended jobs only, the other two at those that have not."""
    town = Town(ONE)
    ended = [town.submit("run 1") for _ in range(2)]
    town.run(120)
    waiting = town.submit("run 5")
    again = bulk.bulk(town.plane, "retry", JobFilter(pool="default"), expect=2, key="k", priority=3)
    twice = bulk.bulk(town.plane, "retry", JobFilter(pool="default"), expect=2, key="k", priority=3)
    assert again.done == twice.done
    assert {town.job(i).retry_of for i in again.done or ()} == {job.id for job in ended}
    placed = bulk.bulk(
        town.plane,
        "reprioritise",
        JobFilter(pool="default", states=frozenset({JobState.PENDING})),
        expect=3,
        priority=7,
    )
    assert {town.job(i).priority for i in placed.done or ()} == {7}
    assert waiting.id in (placed.done or ())


def test_one_for_which_it_cannot_be_done_does_not_stop_the_others() -> None:
    town = Town(replace(ONE, killed=True))
    jobs = [town.submit("run 5") for _ in range(3)]
    for job in jobs:
        cancel(town.plane, job.id)
    pool = town.stores.registry.pool("default")
    assert pool is not None
    town.stores.registry.put_pool("default", replace(pool.spec, timeout_max_s=60), version=pool.version)
    town.now += 60
    found = bulk.bulk(town.plane, "retry", JobFilter(pool="default"), expect=3)
    assert (found.done, found.left) == ((), 0)
    assert len(found.failed) == 3
    assert "allows at most 60" in found.failed[0][1]


def test_more_than_one_request_takes_are_done_by_several() -> None:
    town = Town(replace(ONE, killed=True))
    for _ in range(bulk.JOBS_MAX + 2):
        town.submit("run 5")
    found = bulk.bulk(town.plane, "cancel", JobFilter(pool="default"), expect=bulk.JOBS_MAX)
    assert found.more
    rest = bulk.bulk(town.plane, "cancel", JobFilter(pool="default"))
    assert (len(rest.jobs), rest.more) == (2, False)


# -- crashes


@pytest.mark.parametrize("point", range(1, 40))
def test_a_crash_anywhere_in_a_change_of_place_is_repaired(point: int) -> None:
    """The job stands in the backlog once, where its row says, a minute later at the latest; and it runs once."""
    from fragile import fragile

    town = Town(ONE)
    town.submit("run 130")
    town.run(25)
    job = town.submit("run 5")
    town.run(3)
    fuse = fragile(town)
    fuse.burn_at = {point}
    try:
        reprioritise(town.plane, job.id, 0)
    except Crash:
        town.plane.stores.teller.forget()
    fuse.heal()
    town.run(130)
    if (now := town.job(job.id)).state is JobState.PENDING:
        assert town.stores.backlog.head("default", 10) == [entry_of(now)]
    town.run_until_quiet()
    assert not invariants.at_rest(town.world())


# -- how long it will take


def test_a_submission_says_when_it_is_expected_to_begin() -> None:
    """A boot on an empty pool, at once on an idle host, longer the more stand before it; one that runs waits for nothing."""
    town = Town(ONE)
    first = town.submit("run 50")
    assert expected.wait_s(town.plane, first) == 45.0
    town.run(90)
    town.now += 11  # the remembered row is older than that
    assert expected.wait_s(town.plane, town.submit("run 50")) == 1.0
    town.run(5)
    assert expected.wait_s(town.plane, town.job(first.id)) is None
    behind = [town.submit("run 50") for _ in range(3)]
    town.run(11)
    waits = [expected.wait_s(town.plane, town.job(job.id)) or 0.0 for job in behind]
    assert waits == sorted(waits)
    assert waits[0] > 20


def test_of_jobs_that_are_submitted_together_each_waits_for_those_before_it() -> None:
    town = Town(ONE)
    town.submit("run 500")
    town.run(45)
    jobs = [town.submit("run 5") for _ in range(4)]
    town.run(11)
    waits = [wait or 0.0 for wait in expected.waits_s(town.plane, [town.job(job.id) for job in jobs])]
    assert waits == sorted(waits)
    assert waits[0] < waits[-1]


# -- with what else there is


def test_a_job_that_waits_for_its_time_or_for_others_keeps_the_class_that_it_was_given() -> None:
    """It has no place in the backlog yet; when it gets one, it is in that class."""
    town = Town(replace(ONE, killed=True))
    first = town.submit("run 5")
    jobs = [town.submit("run 5", not_before=town.now + 30), town.submit("run 5", after=(first.id,), after_on="finish")]
    assert {str(job.state) for job in jobs} == {"scheduled", "blocked"}
    for job in jobs:
        assert reprioritise(town.plane, job.id, 1).priority == 1
    assert [entry.job for entry in town.stores.backlog.head("default", 10)] == [first.id]
    cancel(town.plane, first.id)
    town.run(60)
    entries = town.stores.backlog.head("default", 10)
    assert {entry.job for entry in entries} == {job.id for job in jobs}
    assert all(entry.rank.startswith("01#") for entry in entries)


def test_the_time_in_the_queue_counts_from_when_it_may_begin() -> None:
    """Not while it waits for its time."""
    town = Town(replace(ONE, killed=True))
    job = town.submit("run 5", not_before=town.now + 100, queue_ttl_s=60)
    town.run(130)
    assert town.job(job.id).state is JobState.PENDING
    town.run(31)
    assert town.job(job.id).state is JobState.SKIPPED


def test_an_element_of_an_array_is_run_again_with_its_own_parameters() -> None:
    """By itself: the array has ended, and its tally says how."""
    town = Town()
    spec = JobSpec(command="fail 1", timeout_s=60)
    array = arrays.submit(town.plane, spec, 2, [{"seed": 7}, {"seed": 8}], "alice").array
    town.run(120)
    element = town.job(element_id(array.id, 1))
    assert element.state is JobState.FAILED
    again = retry(town.plane, element).job
    assert (again.array, again.retry_of, again.spec.parameters["seed"]) == (None, element.id, 8)

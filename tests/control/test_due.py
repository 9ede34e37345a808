"""Jobs that may not begin before a time."""

from __future__ import annotations

import pytest
from town import Town

from chalicelib.control import cancel, due, explain, sweep, tick
from chalicelib.control.reprioritise import reprioritise
from chalicelib.control.submit import submit_many
from chalicelib.core.job import JobEvent, JobState
from chalicelib.core.job_spec import JobSpec


def started(town: Town, job_id: str) -> float:
    at = town.job(job_id).entered.get(JobState.PENDING)
    assert at is not None
    return at


@pytest.mark.parametrize("wait_s", [1, 20, 74, 76, 100, 3600])
def test_a_job_begins_to_wait_for_a_host_at_the_second_it_names(wait_s: int) -> None:
    """Whether its timer is sent by its submission or by a tick: to the second, and not before."""
    town = Town()
    at = town.now + wait_s + 0.25
    job = town.submit(not_before=at)
    assert job.state is JobState.SCHEDULED
    assert not town.stores.backlog.head("default", 10)
    town.run(wait_s + 2)
    assert 0 <= started(town, job.id) - at < 1
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert not town.stores.agenda.due(town.now + 1e9, 10)


def test_a_time_that_has_passed_is_now() -> None:
    town = Town()
    assert town.submit(not_before=town.now - 5).state is JobState.PENDING


def test_many_jobs_of_one_second_come_by_few_messages() -> None:
    """A course's deadline is one moment for everybody."""
    town = Town()
    specs = [JobSpec(command="run 1", timeout_s=60, not_before=town.now + 90) for _ in range(150)]
    jobs = [s.job for s in submit_many(town.plane, specs, "alice")]
    town.run(61)
    assert len(town.cloud.queues.timers.messages) == 2
    town.run(31)
    assert all(town.job(job.id).state is not JobState.SCHEDULED for job in jobs)


def test_its_wait_begins_at_its_time_and_not_at_its_submission() -> None:
    """Who defers a job by a week has not waited for a week: it would overtake all others."""
    town = Town()
    at = town.now + 600
    job = town.submit(not_before=at)
    town.run(601)
    assert town.job(job.id).queued_at == at


def test_a_priority_that_is_changed_before_its_time_counts_when_it_comes() -> None:
    town = Town()
    job = town.submit(not_before=town.now + 30)
    reprioritise(town.plane, job.id, 0)
    town.run(31)
    assert town.job(job.id).priority == 0


def test_why_says_when_a_deferred_job_begins() -> None:
    town = Town()
    job = town.submit(not_before=town.now + 600)
    told = explain.job(town.plane, job).sentences
    assert "It waits for a host from 1970-01-12T13:56:40Z on, in 10 min." in told


def test_a_job_that_is_cancelled_before_its_time_never_begins() -> None:
    town = Town()
    job = town.submit(not_before=town.now + 30)
    assert cancel.cancel(town.plane, job.id).state is JobState.CANCELLED
    town.run(120)
    assert town.job(job.id).state is JobState.CANCELLED
    assert not town.stores.agenda.due(town.now, 10)


def test_a_lost_timer_costs_a_minute_and_a_second_one_nothing() -> None:
    """The agenda keeps what is due until it is done."""
    town = Town()
    job = town.submit(not_before=town.now + 10)
    town.cloud.queues.timers.messages.clear()
    due.begin(town.plane, [job.id])  # too early: put on a timer again
    assert town.job(job.id).state is JobState.SCHEDULED
    assert len(town.cloud.queues.timers.messages) == 1
    town.cloud.queues.timers.messages.clear()
    town.run(62)
    assert started(town, job.id) <= town.now
    before = town.job(job.id)
    due.begin(town.plane, [job.id])
    assert town.job(job.id) == before


def test_the_sweep_begins_what_is_not_in_the_agenda() -> None:
    """A submission died between the job and its note."""
    town = Town()
    job = town.submit(not_before=town.now + 10)
    town.cloud.queues.timers.messages.clear()
    town.stores.agenda.remove(town.stores.agenda.due(town.now + 100, 10))
    town.now += 90
    assert sweep.sweep(town.plane, "default") == 1
    assert town.job(job.id).state is JobState.PENDING


def test_two_ticks_at_a_time_begin_a_job_once() -> None:
    town = Town()
    job = town.submit(not_before=town.now + 100)
    town.now += 60
    tick.run(town.plane)
    tick.run(town.plane)
    town.run_until_quiet()
    assert [a for a in town.began if a[0] == job.id] == [(job.id, 1)]


def test_a_timer_that_died_before_the_entry_is_finished_by_its_next_delivery() -> None:
    """The job was pending and in no backlog: SQS delivers again long before the sweep would look."""
    town = Town()
    job = town.submit(not_before=town.now + 10)
    town.cloud.queues.timers.messages.clear()
    town.now += 11
    town.stores.jobs.move(job.id, JobEvent.DUE, attempt=1, at=town.now, reason="its time has come", rank="05#1")
    due.begin(town.plane, [job.id])
    assert [entry.job for entry in town.stores.backlog.head("default", 10)] == [job.id]
    assert not town.stores.agenda.due(town.now, 10)

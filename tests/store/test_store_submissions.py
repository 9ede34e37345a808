"""Submissions: jobs and their entries are created together, few requests, and never over what is there."""

from __future__ import annotations

from dataclasses import replace

from store_records import NOW, a_job, job_id, race

from chalicelib.core.backlog import entry_of, rank
from chalicelib.core.job import JobEvent, JobState
from chalicelib.store.open import DynamoStores
from chalicelib.store.ports import Stores


def test_jobs_and_entries_are_there_afterwards(stores: Stores) -> None:
    """Beyond every limit of one request; only who waits for a host has an entry."""
    jobs = [a_job(n, state=JobState.SCHEDULED if n % 3 == 0 else JobState.PENDING) for n in range(60)]
    assert stores.submissions.create(jobs) == set()
    assert stores.jobs.get_many(job.id for job in jobs) == {job.id: job for job in jobs}
    waiting = [entry_of(job) for job in jobs if job.state is JobState.PENDING]
    assert stores.backlog.head("p", 100) == waiting


def test_a_job_that_is_there_stays_as_it_is(stores: Stores) -> None:
    """Who comes second is told, and changes nothing of it: it may be running by now. Its neighbours are created."""
    stores.jobs.put(a_job(1))
    running = stores.jobs.move(job_id(1), JobEvent.ASSIGN, attempt=1, at=NOW, reason="placed", host="host-1")
    again = replace(a_job(1), rank=rank(5, NOW + 9, job_id(1)))
    assert stores.submissions.create([a_job(0), again, a_job(2)]) == {job_id(1)}
    assert stores.jobs.get(job_id(1)) == running
    assert stores.jobs.get(job_id(2)) == a_job(2)


def test_of_racing_submissions_one_creates(stores: Stores) -> None:
    """However many clients send the same job at once, one of them creates it."""
    answers = race(6, lambda n: stores.submissions.create([a_job(7, reason=f"by {n}")]))
    assert sorted(map(len, answers)) == [0, 1, 1, 1, 1, 1]


def test_odd_names_and_texts_survive(stores: Stores) -> None:
    """Quotes, question marks and non-ASCII text are data, not PartiQL."""
    odd = a_job(3, owner="o'?", reason="VALUE {'a': ?} é", rank=rank(5, NOW, job_id(3)) + "'?")
    stores.submissions.create([odd])
    assert stores.jobs.get(odd.id) == odd
    assert stores.backlog.has(entry_of(odd))


def test_a_submission_is_one_request(dynamo: DynamoStores) -> None:
    """A job with its entry is one; of many, 25 rows are."""
    dynamo.submissions.create([a_job(0)])
    assert dynamo.requests.by_operation() == {"BatchExecuteStatement": 1}
    dynamo.submissions.create([a_job(n) for n in range(1, 101)])
    assert dynamo.requests.by_operation() == {"BatchExecuteStatement": 1 + 8}

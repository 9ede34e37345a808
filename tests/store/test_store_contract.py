"""What every family of stores promises (chalicelib/store/ports.py): the same tests for memory and for PynamoDB against moto."""

from __future__ import annotations

from chalicelib.core.backlog import entry_of
from chalicelib.core.job import Job, JobSpec, JobState
from chalicelib.store.ports import Stores

NOW = 1_770_000_000.123456


def a_job(number: int = 0, **facts: object) -> Job:
    job_id = f"job-{number:026d}"
    given = {"pool": "p", "owner": "ann", "spec": JobSpec(command="true", timeout_s=60), "state": JobState.PENDING}
    return Job(**{"id": job_id, "submitted_at": NOW, "rank": f"05#{number:015d}#{job_id}", **given, **facts})


def test_smoke(stores: Stores) -> None:
    """What was put is what is read."""
    assert stores.jobs.put(a_job())
    assert not stores.jobs.put(a_job())
    assert stores.jobs.get(a_job().id) == a_job()
    stores.backlog.put(entry_of(a_job(), NOW))
    assert stores.backlog.head("p", 5) == [entry_of(a_job(), NOW)]

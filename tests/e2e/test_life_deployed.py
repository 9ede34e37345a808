"""A job's life on the deployed system: skipped in time, moved, cancelled by the number, run again, bound to types; each right is there."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from deployed_once import Deployed

from spillway.client import Client
from spillway.errors import Refused
from spillway.records import Job

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

POOL = "life"
OFFERINGS = [{"region": "us-east-1", "instance_type": "c7i.large"}]


@pytest.fixture(scope="module")
def spillway(deployed: Deployed) -> Iterator[Client]:
    """A pool that has no hosts, until somebody starts it."""
    deployed.client.put_pool(POOL, {"offerings": OFFERINGS, "hosts_max": 1, "linger_s": 5, "killed": True})
    yield deployed.client
    found = deployed.client.bulk("cancel", {"pool": POOL})
    deployed.client.bulk("cancel", {"pool": POOL}, expect=found.count)


def until(spillway: Client, job: Job, holds: Callable[[Job], bool], limit_s: float = 90.0) -> Job:
    end = time.monotonic() + limit_s
    while True:
        now = spillway.job(job.id)
        if holds(now):
            return now
        assert time.monotonic() < end, now
        time.sleep(0.3)


def test_a_job_that_waits_too_long_is_skipped(spillway: Client) -> None:
    job = spillway.submit("true", timeout_s=10, pool=POOL, queue_ttl_s=3)
    ended = until(spillway, job, lambda now: now.ended)
    assert ended.state == "skipped"
    assert "within 3 s" in (ended.reason or "")
    assert ended.finished_at is not None
    assert ended.finished_at - (ended.submitted_at or 0.0) < 30


def test_jobs_are_moved_counted_cancelled_and_run_again(spillway: Client) -> None:
    jobs = [spillway.submit("true", timeout_s=10, pool=POOL, labels={"course": "life"}) for _ in range(3)]
    assert spillway.reprioritise(jobs[1].id, 0).priority == 0
    assert jobs[0].expected_wait_s is None, "nobody can tell: the pool is killed"
    which = {"pool": POOL, "labels": {"course": "life"}}
    assert spillway.bulk("reprioritise", which, priority=7, expect=3).done
    with pytest.raises(Refused) as refused:
        spillway.bulk("cancel", which, expect=2)
    assert refused.value.status == 409
    with pytest.raises(Refused):
        spillway.retry(jobs[0].id)
    done = spillway.bulk("cancel", which, expect=spillway.bulk("cancel", which).count)
    assert set(done.done or ()) == {job.id for job in jobs}
    assert {job.state for job in spillway.jobs(done.done or ())} == {"cancelled"}
    again = spillway.retry(jobs[0].id, priority=2)
    assert (again.retry_of, again.priority, again.state) == (jobs[0].id, 2, "pending")
    story = [line.event for line in spillway.story(jobs[1].id)]
    assert "priority" in story
    assert spillway.cancel(again.id).state == "cancelled"


def test_what_no_offering_is_is_refused_by_field(spillway: Client) -> None:
    with pytest.raises(Refused) as refused:
        spillway.submit("true", timeout_s=10, pool=POOL, instance_types=["g5.*"])
    assert [fault.field for fault in refused.value.fields] == ["instance_types"]
    with pytest.raises(Refused) as refused:
        spillway.submit("true", timeout_s=10, pool=POOL, market="spot")
    assert [fault.field for fault in refused.value.fields] == ["market"]


def test_an_exit_code_that_is_listed_is_tried_again_and_its_phases_are_told(spillway: Client) -> None:
    """Twice by its own code; another code ends it at the first. It runs on the type that it asks for."""
    spillway.start_pool(POOL)
    asked = {"timeout_s": 30, "pool": POOL, "max_attempts": 2, "retry_on": ["exit:75"], "instance_types": ["c7i.*"]}
    twice, once = spillway.submit("exit 75", **asked), spillway.submit("exit 3", **asked)
    assert twice.expected_wait_s is None or twice.expected_wait_s > 0
    for job, attempts in ((twice, 2), (once, 1)):
        ended = until(spillway, job, lambda now: now.ended, 200)
        assert (ended.state, ended.attempt) == ("failed", attempts), ended
        times = [ended.submitted_at, ended.assigned_at, ended.started_at, ended.finished_at]
        assert times == sorted(t or 0.0 for t in times)

"""Stores that tell: the same promises as the stores beneath, and lines for what changed, in memory and in DynamoDB."""

from __future__ import annotations

import pytest
from store_records import NOW, a_host, a_job, an_assignment

from chalicelib.core.host import HostEvent, HostState
from chalicelib.core.job import JobEvent, JobState
from chalicelib.core.story import Line
from chalicelib.store.open import DynamoStores
from chalicelib.store.ports import Stores
from chalicelib.store.told import ToldStores, told


@pytest.fixture
def telling(stores: Stores) -> ToldStores:
    return told(stores)


def lines(stores: Stores, subject: str) -> list[tuple[str, str]]:
    return [(line.event, line.reason) for line in stores.story.of(subject)]


def test_moves_of_jobs_are_told_when_flushed(telling: ToldStores) -> None:
    job = a_job()
    assert telling.jobs.put(job)
    placed = telling.jobs.move(job.id, JobEvent.ASSIGN, attempt=1, at=NOW + 1, reason="it fits", host="host-1")
    assert placed is not None
    assert placed.state is JobState.ASSIGNED
    assert telling.jobs.move(job.id, JobEvent.START, attempt=2, at=NOW + 2, reason="another attempt") is None
    assert telling.jobs.move(job.id, JobEvent.RELEASE, attempt=1, at=NOW + 3, reason="taken back", charge=False)
    assert lines(telling, job.id) == []
    assert telling.teller.flush() == 2
    assert telling.teller.flush() == 0
    assert telling.story.of(job.id) == [
        Line(at=NOW + 1, subject=job.id, event="assigned", reason="it fits"),
        Line(at=NOW + 3, subject=job.id, event="pending", reason="taken back"),
    ]
    assert telling.jobs.get(job.id) == telling.jobs.get_many([job.id])[job.id]  # the rest is the store's own


def test_hosts_are_told_from_their_creation_to_after_their_row(telling: ToldStores) -> None:
    host = a_host(state=HostState.LAUNCHING, reason="four jobs wait")
    telling.hosts.create([host])
    assert telling.hosts.move("p", host.id, HostEvent.HELLO, at=NOW + 1, reason="hello")
    assert telling.hosts.assign("p", host.id, an_assignment())
    assert telling.hosts.move("p", host.id, HostEvent.DRAIN, at=NOW + 2, reason="idle", empty=True) is None
    assert telling.hosts.move("p", host.id, HostEvent.VANISH, at=NOW + 3, reason="gone", expires_at=NOW + 9)
    telling.hosts.forget("p", [host.id])
    telling.teller.flush()
    assert telling.hosts.get("p", host.id) is None
    assert lines(telling, host.id) == [("launching", "four jobs wait"), ("ready", "hello"), ("terminated", "gone")]


def test_a_batch_of_changes_costs_one_request_more(dynamo: DynamoStores) -> None:
    """And a batch of submissions none."""
    telling = told(dynamo)
    jobs = [a_job(n) for n in range(20)]
    telling.submissions.create(jobs)
    for job in jobs:
        assert telling.jobs.move(job.id, JobEvent.ASSIGN, attempt=1, at=NOW + 1, reason="it fits", host="host-1")
    before = dynamo.requests.total
    telling.teller.flush()
    assert dynamo.requests.total - before == 1
    assert all(lines(telling, job.id) == [("assigned", "it fits")] for job in jobs)


def test_lines_expire_after_30_days(dynamo: DynamoStores, dynamodb: object, settings: object) -> None:
    telling = told(dynamo)
    telling.teller.tell(Line(at=NOW, subject="pool/p", event="refused", reason="no capacity"))
    telling.teller.flush()
    (item,) = dynamodb.scan(TableName=settings.table("jobs"))["Items"]  # type: ignore[attr-defined]
    assert item["id"] == {"S": "pool/p"}
    assert int(item["expires_at"]["N"]) - NOW == pytest.approx(30 * 86_400, abs=1)

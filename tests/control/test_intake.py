"""The submissions queue, in every dialect that it takes."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.control import intake, quotas, timers
from chalicelib.control.retry import retry
from chalicelib.core.family import Family
from chalicelib.core.host import Offering
from chalicelib.core.job import Job, JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.core.quota import Quota
from chalicelib.errors import OverQuota

DETAILS = Path(__file__).parents[3] / "shared/data/aws_runner/jobdetails.example.csv"
GRADING = {
    "jobId": "7",
    "image": "i",
    "entrypoint": "/grade/run.sh",
    "s3Bucket": "grading",
    "s3RootKey": "job_7",
    "timeout": 30,
    "enableNetworking": False,
    "environment": {},
}
RESULTS_URL = "https://sqs.us-east-1.amazonaws.com/1/results"


class GradingTown(Town):
    """Here a grader takes five seconds."""

    def _begin(self, agent: Any, a: dict[str, Any]) -> None:
        super()._begin(agent, {**a, "command": "run 5"} if a["folder"] == "/grade" else a)


def a_town(**spec: Any) -> Town:
    town = GradingTown(PoolSpec(offerings=(OFFERING,), images="ignore", **spec))
    settings = replace(town.plane.settings, grading_bucket="us-east-1:grading/", grading_results_url=RESULTS_URL)
    town.plane = replace(town.plane, settings=settings)
    return town


def take(town: Town, body: Any, message_id: str = "m-1", sent_at: float | None = None) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    intake.receive(town.plane, [intake.Record(message_id, text, town.now if sent_at is None else sent_at)])


def jobs(town: Town) -> list[Job]:
    ids = town.stores.jobs.of_pool("default", limit=1000)[0]
    return sorted(town.stores.jobs.get_many(ids).values(), key=lambda job: (job.submitted_at, job.rank))


def kept(town: Town) -> list[str]:
    """The sentences of what was set aside."""
    found = [json.loads(body) for key, body in town.cloud.blobs.objects.items() if key.startswith("quarantine/")]
    return [document["reason"] for document in found]


def answers(town: Town) -> list[dict[str, Any]]:
    assert {url for url, _ in town.cloud.outside.sent} <= {RESULTS_URL}
    return [body for _, body in town.cloud.outside.sent]


@pytest.mark.parametrize(
    ("body", "count"),
    [
        ({"command": "run 1", "timeout_s": 5}, 1),
        ({"jobs": [{"command": f"run {n}", "timeout_s": 5} for n in range(30)]}, 30),
        ("command,timeout_s\n" + "run 1,5\n" * 30, 30),
        (GRADING, 1),
    ],
    ids=["job", "batch", "csv", "prairielearn"],
)
def test_a_message_that_comes_again_makes_its_jobs_once(body: Any, count: int) -> None:
    """Twice, late, after some of its jobs have ended: the same jobs, and what runs is not disturbed."""
    town = a_town()
    take(town, body)
    before = jobs(town)
    assert len(before) == count
    take(town, body, sent_at=town.now)
    sent_at = town.now
    town.run(120)
    take(town, body, sent_at=sent_at)
    town.run(120)
    take(town, body, sent_at=sent_at)
    assert [job.id for job in jobs(town)] == [job.id for job in before]
    assert kept(town) == []
    take(town, body, message_id="m-2")
    assert len(jobs(town)) == 2 * count, "another message, other jobs"


def test_an_array_comes_by_queue_too_and_once() -> None:
    """As `POST /arrays` takes it: one row, however often the message comes."""
    town = a_town()
    body = {"job": {"command": "run 1", "timeout_s": 5, "owner": "ann"}, "elements": [{"seed": n} for n in range(50)]}
    for _ in range(3):
        take(town, body, sent_at=1_000_000.0)
        town.run(100)
    (array_id,) = town.stores.arrays.of_pool("default")[0]
    array = town.stores.arrays.get(array_id)
    assert array is not None
    assert (array.owner, array.count, array.state) == ("ann", 50, "succeeded")
    assert kept(town) == []
    take(town, {"job": {"command": "run 1", "timeout_s": 5}, "count": 10_001}, "m-2")
    assert "count" in kept(town)[0]


def test_a_message_that_waited_for_two_weeks_is_still_taken() -> None:
    town = a_town()
    take(town, {"command": "run 1", "timeout_s": 5}, sent_at=town.now - 13.9 * 86_400)
    assert len(jobs(town)) == 1


@pytest.mark.skipif(not DETAILS.exists(), reason="the data of aws-runner is not beside this checkout (../shared/data)")
def test_aws_runners_own_example_becomes_five_jobs() -> None:
    town = Town(PoolSpec(offerings=(OFFERING, Offering(region="us-east-1", instance_type="t2.small"))))
    take(town, DETAILS.read_text())
    assert kept(town) == []
    found = jobs(town)
    assert [job.spec.command for job in found] == [f"julia wrapper.jl --seed {n}" for n in range(1, 6)]
    assert {(job.spec.instance_types, job.spec.timeout_s, job.owner) for job in found} == {
        (("t2.small",), 86_400, "queue")
    }


def test_a_family_gives_the_defaults_of_rows_and_grading_jobs() -> None:
    town = a_town(timeout_max_s=100)
    take(town, "command\nrun 1", "m-0")
    town.stores.families.put(
        Family(name="jobdetails", version=1, defaults={"timeout_s": 77, "labels": {"from": "csv"}, "owner": "ann"})
    )
    town.stores.families.put(Family(name="prairielearn", version=1, defaults={"memory_mib": 700, "owner": "course-1"}))
    town.now += 60
    take(town, "command,timeout_s\nrun 1,\nrun 2,5", "m-1")
    town.now += 1
    take(town, GRADING, "m-2")
    assert kept(town) == []
    found = jobs(town)
    assert [job.spec.timeout_s for job in found] == [100, 77, 5, 30], (
        "as the pool, the family, the row, the message say"
    )
    assert [job.owner for job in found] == ["queue", "ann", "ann", "course-1"]
    assert (found[3].spec.memory_mib, found[3].spec.family) == (700, "prairielearn")


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"jobs": [{"command": "run 1", "timeout_s": 5}, {"command": "run 1"}]}, "jobs[1]"),
        ({"jobs": []}, "jobs"),
        ({"jobs": [{"command": "x", "timeout_s": 5, "owner": o} for o in ("a", "b")]}, "same owner"),
        ("command,timeout_s\nrun 1,5\nrun 1,1000000", "timeout_s"),
        ("hello", "neither JSON nor"),
        ({"again": {"id": "x"}}, "again"),
        *(
            ({"again": {"id": "x", "body": "a", "sent_at": at}}, "again")
            for at in (float("nan"), float("inf"), 10**400)
        ),
        ({"again": {"id": "x" * 2000, "body": "a", "sent_at": 1.0}}, "again"),
        ({**GRADING, "timeout": 10**400}, "timeout"),
        ('{"command": "x", "timeout_s": 5, "parameters": {"a": %s}}' % ("[" * 985 + "]" * 985), "nested"),
        ('{"command": "x", "timeout_s": 5, "parameters": {"a": %s}}' % ("[" * 200 + "]" * 200), "nested"),
        ([1], "body"),
    ],
)
def test_what_cannot_be_used_is_set_aside_whole(body: Any, sentence: str) -> None:
    """With a sentence; and nothing of it is recorded."""
    town = a_town()
    take(town, body)
    assert jobs(town) == []
    (reason,) = kept(town)
    assert sentence in reason


def test_a_grading_job_is_received_and_answered() -> None:
    """Two messages, three objects; the same again if it is told twice."""
    town = a_town()
    sent_at = town.now
    take(town, GRADING)
    town.run(1)
    (job,) = jobs(town)
    assert answers(town) == [
        {"jobId": "7", "event": "job_received", "data": {"receivedTime": job.origin["received_at"]}}
    ]
    assert (job.owner, job.spec.inputs[0].s3) == ("prairielearn", "s3://grading/job_7/job.tar.gz")
    town.cloud.outside.sent.clear()
    take(town, GRADING, sent_at=sent_at)
    town.run(0.5)
    assert answers(town)[0]["data"] == {"receivedTime": job.origin["received_at"]}


def ended(town: Town, outputs: dict[str, bytes]) -> Job:
    """The grading job, ended well with these outputs."""
    take(town, GRADING)
    (job,) = jobs(town)
    finish_with(town, outputs)
    town.run(200)
    return town.job(job.id)


def finish_with(town: Town, outputs: dict[str, bytes]) -> None:
    """Let the next agent that finishes leave these."""
    real = town._say

    def say(agent: Any, ping: dict[str, Any]) -> None:
        if ping["kind"] == "finish":
            prefix = f"hosts/{agent.userid}/{ping['job']}/{ping['attempt']}/out/"
            town.cloud.blobs.objects.update({prefix + path: body for path, body in outputs.items()})
            ping = ping | {"outputs": [{"path": path, "bytes": len(body)} for path, body in outputs.items()]}
        real(agent, ping)

    town._say = say  # type: ignore[method-assign]


def test_the_end_of_a_grading_job_is_in_the_queue_and_in_the_bucket() -> None:
    town = a_town()
    job = ended(town, {"results/results.json": b'{"score": 0.5}', "archive.tar.gz": b"all"})
    assert job.state is JobState.SUCCEEDED, job.reason
    assert job.delivered_at is not None
    assert [message["event"] for message in answers(town)] == ["job_received", "grading_result"]
    data = answers(town)[1]["data"]
    assert (data["job_id"], data["succeeded"], data["results"]) == ("7", True, {"score": 0.5})
    objects = town.cloud.outside.objects
    assert {key for _, key in objects} == {"job_7/results.json", "job_7/archive.tar.gz", "job_7/output.log"}
    assert json.loads(objects["grading", "job_7/results.json"]) == data
    assert objects["grading", "job_7/archive.tar.gz"] == b"all"


def test_a_grading_job_that_is_run_again_is_answered_again() -> None:
    """An operator's retry keeps its origin: it may read the archive, and PrairieLearn hears of the new end."""
    town = a_town()
    first = ended(town, {"results/results.json": b'{"score": 0}'})
    again = retry(town.plane, first).job
    town.run(200)
    assert town.job(again.id).state is JobState.SUCCEEDED
    assert [m["event"] for m in answers(town)] == ["job_received", "grading_result", "grading_result"]


def test_what_its_owner_has_no_room_for_waits_in_the_queue() -> None:
    """A quota is no fault of the message: it comes again until its owner's jobs have ended, and is taken then."""
    town = a_town()
    quotas.put(town.plane, "prairielearn", Quota(jobs_max=1), by="admin")
    town.now += 60
    send = town.cloud.queues.submissions.send
    for job in ("1", "2"):
        send(json.dumps(GRADING | {"jobId": job}), town.now)
    with pytest.raises(OverQuota):
        town.run(1)
    assert len(jobs(town)) == 1
    while len(jobs(town)) < 2:
        with suppress(OverQuota):
            town.run(30)
    town.run(200)
    assert {job.state for job in jobs(town)} == {JobState.SUCCEEDED}
    assert kept(town) == []


@pytest.mark.parametrize(
    ("over", "sentence"),
    [
        ({"s3Bucket": "other"}, "this stage grades for grading"),
        ({"entrypoint": None}, "entrypoint"),
        ({"timeout": 10_000_000}, "timeout_s"),
    ],
)
def test_a_refused_grading_message_is_answered(over: dict[str, Any], sentence: str) -> None:
    """Nobody waits for ever: PrairieLearn hears why, and people find the message in quarantine."""
    town = a_town()
    take(town, GRADING | over)
    town.run(1)
    assert jobs(town) == []
    (message,) = answers(town)
    assert (message["jobId"], message["event"], message["data"]["succeeded"]) == ("7", "grading_result", False)
    assert sentence in message["data"]["message"]
    assert len(kept(town)) == 1


@pytest.mark.parametrize("over", [{"s3Bucket": "x" * 200_000}, {"jobId": "7" * 200_000}, {"s3RootKey": "r" * 200_000}])
def test_a_refusal_fits_into_a_message_whatever_was_sent(over: dict[str, Any]) -> None:
    """It may quote what came; an answer that no queue takes would be tried for ever."""
    town = a_town()
    take(town, GRADING | over)
    town.run(1)
    assert len(kept(town)) == 1
    assert all(len(json.dumps(message)) < 10_000 for message in answers(town))
    assert all(len(n["reason"]) < 3000 for n in town.cloud.notices.published)


def test_only_grading_jobs_may_read_the_graders_bucket() -> None:
    """Others' submissions lie there: a job that merely names one of them is refused."""
    town = a_town()
    take(town, {"command": "x", "timeout_s": 5, "inputs": [{"path": "x", "s3": "s3://grading/job_7/job.tar.gz"}]})
    assert jobs(town) == []
    assert "in no place that jobs of queue may read" in kept(town)[0]


def test_an_answer_of_another_shape_is_set_aside() -> None:
    town = a_town()
    timers.receive(town.plane, [("m", json.dumps({"v": 1, "kind": "answer", "message": 7}))])
    assert len(kept(town)) == 1

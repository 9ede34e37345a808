"""A pretended PrairieLearn: its bucket, its results queue, its own message on our submissions queue, and nothing else of ours."""

from __future__ import annotations

import io
import json
import tarfile
import time
from typing import Any

import pytest
from deployed_once import GRADING, Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

BUCKET, RESULTS = GRADING
GRADER = """#!/bin/sh
cd /grade || exit 9
mkdir -p results
echo "grading in $(pwd) for $COURSE"
case "$(cat student/answer.txt)" in
  42) score=1.0 ;;
  sleep) sleep 60 ;;
  crash) exit 3 ;;
  nonsense) echo '{"score": "high"}' > results/results.json; exit 0 ;;
  large) python3 -c 'import json; json.dump({"score": 0.5, "output": "x" * 300000}, open("results/results.json", "w"))'; exit 0 ;;
  *) score=0.0 ;;
esac
echo "{\\"score\\": $score, \\"gradable\\": true, \\"tests\\": []}" > results/results.json
"""


class PrairieLearn:
    """What it does: makes the archive, sends the message, reads its results queue."""

    def __init__(self, deployed: Deployed) -> None:
        self.s3, self.sqs = deployed.cloud.aws("s3"), deployed.cloud.aws("sqs")
        self.jobs_url = deployed.deployment.submissions_url
        self.results_url = self.sqs.get_queue_url(QueueName=RESULTS)["QueueUrl"]
        self.heard: dict[str, list[dict[str, Any]]] = {}

    def grade(self, job: str, answer: str, **over: Any) -> None:
        """Send a grading job."""
        files = {"serverFilesCourse/run.sh": GRADER, "student/answer.txt": answer, "data/data.json": "{}"}
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w:gz") as tar:
            for name, text in files.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(text.encode())
                tar.addfile(info, io.BytesIO(text.encode()))
        self.s3.put_object(Bucket=BUCKET, Key=f"job_{job}/job.tar.gz", Body=archive.getvalue())
        message = {
            "jobId": job,
            "image": "prairielearn/grader-python",
            "entrypoint": "/grade/serverFilesCourse/run.sh",
            "s3Bucket": BUCKET,
            "s3RootKey": f"job_{job}",
            "timeout": 30,
            "enableNetworking": False,
            "environment": {"COURSE": "XC 101"},
        }
        self.sqs.send_message(QueueUrl=self.jobs_url, MessageBody=json.dumps(message | over))

    def answers(self, job: str, events: int, within_s: float = 90) -> list[dict[str, Any]]:
        """The first `events` messages about a job."""
        deadline = time.monotonic() + within_s
        while len(self.heard.get(job, [])) < events:
            assert time.monotonic() < deadline, f"{job}: {self.heard}"
            got = self.sqs.receive_message(QueueUrl=self.results_url, MaxNumberOfMessages=10, WaitTimeSeconds=1)
            for message in got.get("Messages", []):
                body = json.loads(message["Body"])
                self.heard.setdefault(body["jobId"], []).append(body)
                self.sqs.delete_message(QueueUrl=self.results_url, ReceiptHandle=message["ReceiptHandle"])
        return self.heard[job]

    def kept(self, job: str, name: str) -> bytes:
        """An object beside the job's own."""
        deadline = time.monotonic() + 30
        while True:
            try:
                return bytes(self.s3.get_object(Bucket=BUCKET, Key=f"job_{job}/{name}")["Body"].read())
            except self.s3.exceptions.NoSuchKey:
                assert time.monotonic() < deadline, f"{name} of {job} never came"
                time.sleep(0.2)


@pytest.fixture(scope="module")
def prairielearn(deployed: Deployed) -> PrairieLearn:
    deployed.client.patch_pool("default", {"images": "ignore"})  # the hosts' own image is the grader's
    return PrairieLearn(deployed)


def test_a_grading_job_is_received_graded_and_answered(prairielearn: PrairieLearn) -> None:
    """Unpacked to /grade, run there, answered inline; results, archive and log lie beside the job's own archive."""
    prairielearn.grade("101", "42")
    received, result = prairielearn.answers("101", 2)
    assert received["event"] == "job_received"
    assert result["event"] == "grading_result"
    data = result["data"]
    assert (data["job_id"], data["succeeded"], data["results"]["score"]) == ("101", True, 1.0)
    assert data["received_time"] == received["data"]["receivedTime"]
    assert data["received_time"] <= data["start_time"] <= data["end_time"]
    assert json.loads(prairielearn.kept("101", "results.json")) == data
    assert prairielearn.kept("101", "output.log") == b"grading in /grade for XC 101\n"
    with tarfile.open(fileobj=io.BytesIO(prairielearn.kept("101", "archive.tar.gz"))) as archive:
        assert {"student/answer.txt", "results/results.json", "data/data.json"} <= set(archive.getnames())


def test_large_results_come_by_s3_only(prairielearn: PrairieLearn) -> None:
    """Beyond 250 KB the message has no data: PrairieLearn reads results.json then."""
    prairielearn.grade("102", "large")
    _, result = prairielearn.answers("102", 2)
    assert "data" not in result
    results = json.loads(prairielearn.kept("102", "results.json"))
    assert results["succeeded"]
    assert len(results["results"]["output"]) == 300_000


def test_what_goes_wrong_is_told_and_nobody_waits_for_ever(prairielearn: PrairieLearn) -> None:
    """Too slow, crashed, without a job, without an entrypoint: each is answered with a sentence, and none is graded."""
    prairielearn.grade("103", "sleep", timeout=2)
    prairielearn.grade("104", "crash")
    prairielearn.grade("105", "42", s3RootKey="job_nowhere")
    prairielearn.grade("106", "42", entrypoint=None)
    prairielearn.grade("107", "nonsense")
    late, crashed = (prairielearn.answers(job, 2)[1]["data"] for job in ("103", "104"))
    assert (late["succeeded"], late["timedOut"]) == (False, True)
    assert "time limit of 2 seconds" in late["message"]
    assert not crashed["succeeded"]
    assert "exit code 3" in crashed["message"]
    broken = prairielearn.answers("107", 2)[1]["data"]
    assert (broken["succeeded"], broken["results"]) == (False, None)
    assert "score is text, and must be a number. This is not the fault of the submission." in broken["message"]
    nothing = prairielearn.answers("105", 2)[1]["data"]
    assert not nothing["succeeded"]
    assert nothing["message"]
    (refused,) = prairielearn.answers("106", 1)
    assert refused["event"] == "grading_result"
    assert "entrypoint" in refused["data"]["message"]

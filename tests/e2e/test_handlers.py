"""Every function that is not behind HTTP, invoked as AWS would: by its topic, its queue, its rule - and what it leaves in the log."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from deployed_once import Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]

PREFIX = "spillway-local"


def until(look: Callable[[], Any], timeout_s: float = 20.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return answer


def pass_no(deployed: Deployed) -> int:
    item = deployed.cloud.aws("dynamodb").get_item(
        TableName=f"{PREFIX}-registry", Key={"kind": {"S": "pool"}, "name": {"S": "default"}}, ConsistentRead=True
    )["Item"]
    return int(item["pass_no"]["N"])


def queue_url(deployed: Deployed, name: str) -> str:
    return str(deployed.cloud.aws("sqs").get_queue_url(QueueName=f"{PREFIX}-{name}")["QueueUrl"])


def quarantined(deployed: Deployed, queue: str) -> list[dict[str, Any]]:
    """What lies in quarantine for a queue."""
    s3 = deployed.cloud.aws("s3")
    bucket = next(b["Name"] for b in s3.list_buckets()["Buckets"] if b["Name"].startswith(f"{PREFIX}-"))
    found = s3.list_objects_v2(Bucket=bucket, Prefix=f"quarantine/{queue}/").get("Contents", [])
    return [json.loads(s3.get_object(Bucket=bucket, Key=o["Key"])["Body"].read()) for o in found]


def test_a_command_on_the_topic_wakes_a_pool(deployed: Deployed) -> None:
    before = pass_no(deployed)
    sns = deployed.cloud.aws("sns")
    topic = next(t["TopicArn"] for t in sns.list_topics()["Topics"] if t["TopicArn"].endswith(f"{PREFIX}-commands"))
    sns.publish(TopicArn=topic, Message=json.dumps({"v": 1, "command": "wake", "pool": "default"}))
    until(lambda: pass_no(deployed) > before)


def test_a_timer_that_falls_due_wakes_a_pool(deployed: Deployed) -> None:
    before = pass_no(deployed)
    message = json.dumps({"v": 1, "kind": "wake", "pool": "default"})
    deployed.cloud.aws("sqs").send_message(QueueUrl=queue_url(deployed, "timers"), MessageBody=message, DelaySeconds=1)
    until(lambda: pass_no(deployed) > before)


def test_the_tick_sends_its_canary_and_reads_the_dead_letters(deployed: Deployed) -> None:
    """The canary goes through the heartbeat queue and back into the registry; a dead letter is kept and told."""
    mark = uuid.uuid4().hex
    sqs = deployed.cloud.aws("sqs")
    sqs.send_message(QueueUrl=queue_url(deployed, "submissions-dead"), MessageBody=f"dead {mark}")
    event = {"version": "0", "account": "1", "region": "us-east-1", "detail": {}, "detail-type": "Scheduled Event"}
    event |= {"source": "aws.events", "time": "2026-01-01T00:00:00Z", "id": mark, "resources": []}
    answer = deployed.cloud.aws("lambda").invoke(FunctionName=f"{PREFIX}-tick", Payload=json.dumps(event))
    assert "FunctionError" not in answer, answer["Payload"].read()
    until(lambda: any(mark in letter["body"] for letter in quarantined(deployed, "submissions")))
    canary = until(
        lambda: (
            deployed.cloud.aws("dynamodb")
            .get_item(TableName=f"{PREFIX}-registry", Key={"kind": {"S": "setting"}, "name": {"S": "canary"}})
            .get("Item")
        )
    )
    assert abs(json.loads(canary["value"]["S"])["at"] - time.time()) < 60


def test_a_ping_that_no_host_sent_is_set_aside(deployed: Deployed) -> None:
    """The sender is what SQS proves: a developer's message that speaks for a host is not believed."""
    job = deployed.client.submit_spec({"command": "sleep 20", "timeout_s": 60})
    job = until(lambda: (j := deployed.client.job(job.id)) and j.state == "running" and j)
    forged = {"v": 1, "pool": "default", "host": job.host, "pings": [{"kind": "finish", "at": 1, "job": job.id, "attempt": 1,
              "outcome": "succeeded", "reason": "forged", "finished_at": 1}]}  # fmt: skip
    deployed.cloud.aws("sqs").send_message(QueueUrl=queue_url(deployed, "heartbeats"), MessageBody=json.dumps(forged))
    until(lambda: any("forged" in letter["body"] for letter in quarantined(deployed, "heartbeats")))
    assert deployed.client.job(job.id).state == "running"
    deployed.client.cancel(job.id)
    ended = deployed.client.wait([job.id], timeout_s=30)
    assert [j.state for j in ended] == ["cancelled"]


def test_an_instance_that_ends_is_noticed_by_its_event(deployed: Deployed) -> None:
    """EC2's own event, not the next list: the host's row ends within seconds, and its job is lost, not repeated."""
    job = deployed.client.submit_spec({"command": "sleep 60", "timeout_s": 90})
    job = until(lambda: (j := deployed.client.job(job.id)) and j.state == "running" and j)
    host = next(h for h in deployed.client.hosts("default") if h.id == job.host)
    deployed.cloud.aws("ec2").terminate_instances(InstanceIds=[host.instance_id])
    ended = deployed.client.wait([job.id], timeout_s=40)
    assert [j.state for j in ended] == ["lost"]
    assert "it may have begun" in ended[0].reason


def test_logs_are_json_and_lead_from_pass_to_job(deployed: Deployed) -> None:
    """Each line has its request; a pass's lines have its pool and number; metrics are in CloudWatch's embedded format."""
    job = deployed.client.submit_spec({"command": "true", "timeout_s": 20})
    deployed.client.wait([job.id], timeout_s=40)
    lines = (deployed.state / "logs" / f"{PREFIX}-wakes.log").read_text().splitlines()
    documents = [json.loads(line) for line in lines if line.startswith("{")]
    passes = [d for d in documents if d.get("message") == "looked at a pool"]
    assert passes
    assert all({"request_id", "pool", "pass_no", "outcomes"} <= d.keys() for d in passes)
    assert any("_aws" in d for d in documents)
    beats = (deployed.state / "logs" / f"{PREFIX}-heartbeats.log").read_text().splitlines()
    settled = [json.loads(line) for line in beats if "settled an attempt" in line]
    assert any(d["job"] == job.id and d["state"] == "succeeded" and "host" in d for d in settled)


def test_nothing_was_denied(deployed: Deployed) -> None:
    """The embedded cloud enforces every policy: what the functions and hosts asked for until here, they were allowed."""
    import httpx

    url = deployed.cloud.aws("sts").meta.endpoint_url
    assert httpx.get(f"{url}/_iam").json()["denied"] in ({}, [], 0)

"""Lessons, shares and samples of the deployed system: each written under its own function's policy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from deployed_once import Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

REGISTRY = "spillway-local-registry"


def until(look: Callable[[], Any], timeout_s: float = 90.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return answer


def rows(deployed: Deployed, kind: str) -> dict[str, dict[str, Any]]:
    found = deployed.cloud.aws("dynamodb").query(
        TableName=REGISTRY,
        KeyConditionExpression="kind = :kind",
        ExpressionAttributeValues={":kind": {"S": kind}},
        ConsistentRead=True,
    )
    return {item["name"]["S"]: item for item in found["Items"]}


def test_jobs_teach_how_long_they_take_and_charge_their_owners_share(deployed: Deployed) -> None:
    api = deployed.client
    api.put_pool("taught", {"hosts_max": 1})
    jobs = api.submit_many([{"command": "sleep 0.3", "timeout_s": 30, "pool": "taught"} for _ in range(3)])
    ended = api.wait([job.id for job in jobs], timeout_s=120)
    assert [job.state for job in ended] == ["succeeded"] * 3
    learned = until(
        lambda: {name.partition("/")[2]: row for name, row in rows(deployed, "learned/taught").items()}, timeout_s=20
    )
    until(lambda: next(r for n, r in rows(deployed, "learned/taught").items() if n.endswith("*"))["count"]["N"] == "3")
    assert learned.keys() == {"*", "boot"}
    assert rows(deployed, "share/taught").keys() == {"5/admin"}


def test_a_pool_where_jobs_wait_has_samples(deployed: Deployed) -> None:
    """By the tick, read through API Gateway."""
    api = deployed.client
    api.put_pool("sampled", {"hosts_max": 0})
    jobs = api.submit_many([{"command": "true", "timeout_s": 30, "pool": "sampled"} for _ in range(2)])
    event = {"version": "0", "id": "now", "detail-type": "Scheduled Event", "source": "aws.events", "account": "0"}
    event |= {"time": "2026-01-01T00:00:00Z", "region": "us-east-1", "resources": [], "detail": {}}
    deployed.cloud.aws("lambda").invoke(
        FunctionName="spillway-local-tick", InvocationType="Event", Payload=json.dumps(event).encode()
    )
    sample = until(lambda: api.samples("sampled"))[-1]
    assert sample["jobs"] == {"pending": 2}
    assert sample["hosts"] == {}
    assert sample["target"]["hosts"] == 0
    assert sample["waiting_time_s"] > 0
    for job in jobs:
        api.cancel(job.id)

"""Every dialect of the submissions queue through the deployed function and its own policy."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from deployed_once import Deployed

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]


def until(look: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return answer


def send(deployed: Deployed, body: Any) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    deployed.cloud.aws("sqs").send_message(QueueUrl=deployed.deployment.submissions_url, MessageBody=text)


def of(deployed: Deployed, label: str, path: str = "jobs") -> list[dict[str, Any]]:
    """What was made of a message: found by its name."""
    import httpx

    headers = {"Authorization": f"Bearer {deployed.deployment.token}"}
    answer = httpx.get(
        f"{deployed.deployment.api_url.rstrip('/')}/{path}", headers=headers, params={"limit": 100}, timeout=30
    )
    assert answer.status_code == 200, answer.text
    return [item for item in answer.json()["items"] if item["name"] == label]


def test_batches_arrays_and_rows_come_by_queue(deployed: Deployed) -> None:
    """One message, many jobs: all run, and an array is one thing."""
    small = {"timeout_s": 30, "cpu": 0.5, "memory_mib": 128}
    send(deployed, {"jobs": [{"command": f"echo {n}", "name": "by-batch", **small} for n in range(3)]})
    send(
        deployed,
        {
            "job": {"command": "echo $SPILLWAY_PARAM_SEED", "name": "by-array", **small},
            "elements": [{"seed": 5}, {"seed": 6}],
        },
    )
    send(deployed, 'command,name,timeout_s,cpu,memory_mib\necho a,by-rows,30,0.5,128\n"echo b, c",by-rows,30,0.5,128\n')
    batch = until(lambda: (found := of(deployed, "by-batch")) and len(found) == 3 and found)
    rows = until(lambda: (found := of(deployed, "by-rows")) and len(found) == 2 and found)
    (array,) = until(lambda: of(deployed, "by-array", "arrays"))
    assert (array["count"], array["owner"]) == (2, "queue")
    done = deployed.client.wait([job["id"] for job in batch + rows], timeout_s=90)
    assert [job.state for job in done] == ["succeeded"] * 5
    until(lambda: of(deployed, "by-array", "arrays")[0]["state"] == "succeeded", 90)
    logs = {deployed.client.log(job["id"]).text for job in rows}
    assert logs == {"a\n", "b, c\n"}

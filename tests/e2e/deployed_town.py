"""A deployed system on the embedded cloud as its attackers and its users see it, for end-to-end tests."""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx

from spillway.demo.embedded import Embedded
from spillway.demo.run import dummy_credentials

ROOT = Path(__file__).resolve().parents[2]
ENDED = {"succeeded", "failed", "timed_out", "cancelled", "lost", "skipped"}


class Town:
    """`api` is the HTTP API with the admin's token; `aws(service)` a boto3 client of the developer; `cloud` the embedded cloud."""

    def __init__(self, cloud: Embedded, state: Path) -> None:
        deployment = cloud.deploy()
        self.cloud, self.state, self.aws = cloud, state, cloud.aws
        self.url, self.token = deployment.api_url.rstrip("/"), deployment.token
        self.submissions_url = deployment.submissions_url
        self.endpoint = os.environ["AWS_ENDPOINT_URL"]
        self.api = self.client(self.token)

    def client(self, token: str) -> httpx.Client:
        """The API for the bearer of `token`."""
        return httpx.Client(base_url=self.url + "/", headers={"Authorization": f"Bearer {token}"}, timeout=30)

    def submit(self, command: str, **spec: Any) -> str:
        """A small job; its id."""
        small = {"command": command, "timeout_s": 30, "memory_mib": 128, "cpu": 0.5}
        answer = self.api.post("jobs", json=small | spec)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def jobs(self, ids: Iterable[str]) -> list[dict[str, Any]]:
        """The jobs' records now."""
        wanted = list(ids)
        found: list[dict[str, Any]] = []
        for start in range(0, len(wanted), 50):
            answer = self.api.get("jobs", params={"ids": ",".join(wanted[start : start + 50])})
            assert answer.status_code == 200, answer.text
            found += answer.json()["items"]
        return found

    def tick(self) -> None:
        """A minute's tick now: what was thrown away waits for one."""
        event = {"version": "0", "id": "now", "detail-type": "Scheduled Event", "source": "aws.events", "account": "0"}
        event |= {"time": "2026-01-01T00:00:00Z", "region": "us-east-1", "resources": [], "detail": {}}
        payload = json.dumps(event).encode()
        self.aws("lambda").invoke(FunctionName="spillway-local-tick", InvocationType="Event", Payload=payload)

    def ended(self, ids: Iterable[str], within_s: float = 60, tick_every_s: float = 1000) -> list[dict[str, Any]]:
        """The jobs' records when all have ended; ticks may come faster than each minute."""
        wanted = list(ids)
        next_tick = time.monotonic() + tick_every_s
        found: list[dict[str, Any]] = []

        def all_ended() -> bool:
            nonlocal next_tick
            if time.monotonic() > next_tick:
                self.tick()
                next_tick = time.monotonic() + tick_every_s
            found[:] = self.jobs(wanted)
            return len(found) == len(wanted) and all(job["state"] in ENDED for job in found)

        try:
            eventually(all_ended, within_s)
        except AssertionError:
            waiting = [(j["name"], j["state"], j["reason"], j["waiting_for"]) for j in found if j["state"] not in ENDED]
            raise AssertionError(f"not ended within {within_s} s: {waiting}") from None
        return found

    def log(self, job: str) -> str:
        """A job's log."""
        return str(self.api.get(f"jobs/{job}/log").raise_for_status().json()["text"])

    def hosts(self, pool: str) -> list[dict[str, Any]]:
        """The hosts of a pool that are not terminated."""
        items = self.api.get(f"pools/{pool}/hosts").raise_for_status().json()["items"]
        return [host for host in items if host["state"] != "terminated"]

    def fault(self, kind: str, **fields: Any) -> httpx.Response:
        """Let the embedded cloud misbehave."""
        return httpx.post(f"{self.endpoint}/_faults", json={"kind": kind, **fields}, timeout=30)

    def no_faults(self) -> None:
        """And behave again."""
        httpx.delete(f"{self.endpoint}/_faults", timeout=30).raise_for_status()

    def depth(self, queue: str) -> int:
        """How many messages a queue of the stage holds, in flight or not."""
        sqs = self.aws("sqs")
        url = sqs.get_queue_url(QueueName=f"spillway-local-{queue}")["QueueUrl"]
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        return sum(map(int, sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"].values()))


def eventually(check: Callable[[], Any], within_s: float) -> Any:
    """What `check` says once it says something true; asked with growing pauses."""
    deadline, pause_s = time.monotonic() + within_s, 0.05
    while True:
        if value := check():
            return value
        assert time.monotonic() < deadline, f"not within {within_s} s"
        time.sleep(pause_s)
        pause_s = min(0.5, pause_s * 1.3)


@contextlib.contextmanager
def deployed(state: Path) -> Iterator[Town]:
    """Start, bootstrap and deploy below `state`; stopped at the end, and then nothing may be left."""
    before = dict(os.environ)
    dummy_credentials()
    cloud = Embedded(ROOT, state, lambda line: None)
    try:
        packaging = threading.Thread(target=cloud.build_package)
        packaging.start()
        cloud.start()
        packaging.join()
        cloud.bootstrap()
        yield Town(cloud, state)
    finally:
        left = cloud.stop()
        os.environ.clear()
        os.environ.update(before)
    assert left == 0

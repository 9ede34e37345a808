"""Who asked is told of a job's end by the deployed system, under the policies of its functions."""

from __future__ import annotations

import hmac
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from deployed_once import Deployed

from spillway.errors import Refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


class Hook(ThreadingHTTPServer):
    """A webhook on this machine: fails once, then takes what comes."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.calls: list[tuple[dict[str, str], Any]] = []
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/ended?course=1"


class Handler(BaseHTTPRequestHandler):
    server: Hook

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.bodies.append(body)
        self.server.calls.append((dict(self.headers.items()), json.loads(body)))
        self.send_response(503 if len(self.server.calls) == 1 else 204)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Quiet."""


@pytest.fixture
def hook() -> Iterator[Hook]:
    server = Hook()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def test_a_webhook_hears_of_the_end_also_if_it_was_away(deployed: Deployed, hook: Hook) -> None:
    """Told again after ten seconds, under the same delivery id and signed with the owner's key; then the job says when."""
    name = "/spillway/local/admin/webhook-key"
    deployed.cloud.aws("ssm").put_parameter(Name=name, Value="s3cret", Type="SecureString", Overwrite=True)
    job = deployed.client.submit_spec(
        {"command": "echo hi", "timeout_s": 30, "notify": {"webhook": hook.url, "topic": True}}
    )
    deployed.client.wait([job.id], timeout_s=60)
    deadline = time.monotonic() + 40
    row: dict[str, Any] = {}
    while not row.get("delivered_at"):
        assert time.monotonic() < deadline, hook.calls
        time.sleep(0.2)
        key = {"id": {"S": job.id}, "part": {"S": "job"}}
        row = deployed.cloud.aws("dynamodb").get_item(TableName="spillway-local-jobs", Key=key)["Item"]
    first, second = ((({k.lower(): v for k, v in headers.items()}), body) for headers, body in hook.calls)
    at, digest = (part.partition("=")[2] for part in second[0]["x-spillway-signature"].split(","))
    assert digest == hmac.new(b"s3cret", at.encode() + b"." + hook.bodies[-1], "sha256").hexdigest()
    assert second[1]["job"]["id"] == job.id
    assert second[1]["job"]["state"] == "succeeded"
    assert [headers["x-spillway-delivery"] for headers, _ in (first, second)] == [f"{job.id}.ended"] * 2
    with pytest.raises(Refused, match="https://"):
        deployed.client.submit_spec({"command": "true", "timeout_s": 30, "notify": {"webhook": "http://example.org/"}})

"""Families, deferred jobs and schedules in the deployed system: every right that they need is in its function's policy."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from deployed_once import Deployed

from spillway.errors import Refused

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(180)]

FAMILY = {
    "title": "Says hello",
    "defaults": {"command": 'echo "hello $WHO"', "timeout_s": 30, "environment": {"WHO": "world"}, "cpu": 0.5},
    "schema": {
        "properties": {"seed": {"type": "integer", "minimum": 1, "default": 7}},
        "additionalProperties": False,
    },
}


def until(look: Callable[[], Any], timeout_s: float = 60.0) -> Any:
    """The first true answer of `look`."""
    deadline = time.monotonic() + timeout_s
    while not (answer := look()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return answer


def document(deployed: Deployed, job_id: str) -> dict[str, Any]:
    """All of a Job, also what the SDK has no field for."""
    headers = {"Authorization": f"Bearer {deployed.deployment.token}"}
    answer = httpx.get(f"{deployed.deployment.api_url.rstrip('/')}/jobs/{job_id}", headers=headers)
    return dict(answer.raise_for_status().json())


def test_a_job_records_the_version_of_its_family_and_waits_for_its_time(deployed: Deployed) -> None:
    api = deployed.client
    first = api.put_family("greeting", FAMILY)
    assert api.put_family("greeting", FAMILY)["version"] == first["version"]
    second = api.put_family("greeting", {**FAMILY, "title": "Says hello again"}, version=first["version"])
    with pytest.raises(Refused, match="seed"):
        api.submit(family="greeting", parameters={"seed": "many"})
    at = time.time() + 4
    job = api.submit(family="greeting", not_before=at, environment={"MORE": "1"})
    assert job.state == "scheduled"
    (done,) = api.wait([job.id], timeout_s=90)
    assert done.succeeded
    whole = document(deployed, done.id)
    spec = whole["spec"]
    assert (spec["family_version"], spec["parameters"]) == (second["version"], {"seed": 7})
    assert spec["environment"] == {"WHO": "world", "MORE": "1"}
    assert whole["assigned_at"] >= at
    assert [v["version"] for v in api.family_versions("greeting")] == [second["version"], first["version"]]


def test_a_schedule_fires_to_the_second(deployed: Deployed) -> None:
    api = deployed.client
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=6)
    job = {"command": "true", "timeout_s": 30}
    made = api.put_schedule("once", f"at({at:%Y-%m-%dT%H:%M:%S})", job)
    assert made["next"][0]["at"] == at.timestamp()
    (fire,) = until(lambda: api.fires("once"))
    assert fire["outcome"] == "submit"
    assert 0 <= fire["decided_at"] - at.timestamp() < 10
    until(lambda: api.schedule("once")["last_job"] == fire["job"])  # a fire is written before its job is
    assert api.schedule("once")["next"] == []
    (done,) = api.wait([fire["job"]], timeout_s=90)
    assert done.succeeded
    assert api.pause_schedule("once")["paused"]
    extra = api.run_schedule("once")
    assert {f["by"] for f in api.fires("once")} == {"", "admin"}
    api.wait([extra.id], timeout_s=90)
    api.delete_schedule("once")
    assert "once" not in [s["name"] for s in api.schedules()]


def test_a_fire_waits_for_the_job_before_it_or_replaces_it(deployed: Deployed) -> None:
    """What the timers function may do for it: submit, block, cancel, charge a share, go on to the next fire."""
    api = deployed.client
    long = {"command": "sleep 12", "timeout_s": 60, "cpu": 0.1, "memory_mib": 64}
    for overlap in ("queue", "replace"):
        api.put_schedule(overlap, "0 0 1 1 *", long, overlap=overlap, zone="Europe/Berlin")
    before = {overlap: api.run_schedule(overlap) for overlap in ("queue", "replace")}
    at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=3)
    for overlap in before:
        changed = api.put_schedule(overlap, f"at({at:%Y-%m-%dT%H:%M:%S})", long, overlap=overlap)
        assert changed["last_job"] == before[overlap].id
    fired = {overlap: until(lambda o=overlap: [f for f in api.fires(o) if not f["by"]])[0] for overlap in before}
    for overlap, fire in fired.items():  # a fire is written before its job is
        until(lambda o=overlap, f=fire: api.schedule(o)["last_job"] == f["job"])
    assert before["queue"].id in fired["queue"]["reason"]
    ended = {job.id: job for job in api.wait([*(j.id for j in before.values()), *(f["job"] for f in fired.values())])}
    assert ended[before["replace"].id].state == "cancelled"
    first, second = ended[before["queue"].id], ended[fired["queue"]["job"]]
    assert (first.state, second.state, second.schedule) == ("succeeded", "succeeded", "queue")
    assert (second.started_at or 0) >= (first.finished_at or 0)
    for overlap in before:
        api.delete_schedule(overlap)

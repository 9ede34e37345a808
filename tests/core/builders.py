"""Records for tests: each builder fills in what the test does not speak of."""

from __future__ import annotations

from typing import Any

from chalicelib.core.backlog import Entry
from chalicelib.core.host import Assignment, Host, HostState, Launch, Offering
from chalicelib.core.instance import Instance
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import Pool, PoolSpec, Supply
from chalicelib.core.snapshot import Snapshot

NOW = 1_000_000.0
OFFERING = Offering(region="us-east-1", instance_type="c7i.large")


def a_host(name: str = "host-1", **over: Any) -> Host:
    """A ready two-core host that was seen just now and has been idle since."""
    fields: dict[str, Any] = {
        "id": name,
        "pool": "default",
        "state": HostState.READY,
        "offering": OFFERING,
        "launch": "launch-1",
        "launch_index": 0,
        "cpu": 2.0,
        "memory_mib": 3712,
        "slots": 2,
        "launched_at": NOW - 300,
        "entered_at": NOW - 280,
        "ready_at": NOW - 280,
        "seen_at": NOW,
        "freed_at": NOW,
        "recorded_at": NOW - 299,
        "instance_id": f"i-{name}",
        "userid": f"AROA:i-{name}",
    }
    return Host(**(fields | over))


def an_assignment(job: str = "job-1", **over: Any) -> Assignment:
    fields: dict[str, Any] = {
        "job": job,
        "attempt": 1,
        "cpu": 1.0,
        "memory_mib": 512,
        "slots": 1,
        "timeout_s": 600,
        "assigned_at": NOW - 10,
        "accepted_at": NOW - 9,
        "started_at": NOW - 8,
        "owner": "alice",
    }
    return Assignment(**(fields | over))


def a_gang(job: str = "job-g", members: tuple[str, ...] = ("host-1", "host-2"), **over: Any) -> Job:
    """A job on several hosts that waits for its members to be ready."""
    fields: dict[str, Any] = {
        "id": job,
        "pool": "default",
        "owner": "alice",
        "spec": JobSpec(command="solve", timeout_s=600, hosts=len(members)),
        "state": JobState.ASSIGNED,
        "submitted_at": NOW - 100,
        "entered": {"assigned": NOW - 60},
        "host": members[0],
        "members": members,
    }
    return Job(**(fields | over))


def a_member(rank: int, job: str = "job-g", **over: Any) -> Assignment:
    fields: dict[str, Any] = {"rank": rank, "cpu": 0.1, "memory_mib": 64, "assigned_at": NOW - 60, "started_at": None}
    return an_assignment(job, **(fields | over))


def an_entry(job: str = "job-9", **over: Any) -> Entry:
    fields: dict[str, Any] = {
        "pool": "default",
        "rank": f"05#{job}",
        "job": job,
        "attempt": 1,
        "owner": "alice",
        "cpu": 1.0,
        "memory_mib": 512,
        "slots": 1,
        "timeout_s": 600,
        "queued_at": NOW,
    }
    return Entry(**(fields | over))


def a_pool(**spec: Any) -> Pool:
    facts = {
        name: spec.pop(name)
        for name in ("supply", "pass_no", "list_due_at", "scaling", "calendar", "interest", "prospects")
        if name in spec
    }
    if skips := spec.pop("skips", None):
        facts["supply"] = Supply(skips=skips)
    return Pool(name="default", spec=PoolSpec(**({"offerings": (OFFERING,)} | spec)), **facts)


def a_snapshot(**over: Any) -> Snapshot:
    fields: dict[str, Any] = {"now": NOW, "pool": a_pool(), "canary_at": NOW - 5}
    return Snapshot(**(fields | over))


def a_launch(name: str = "launch-1", **over: Any) -> Launch:
    fields: dict[str, Any] = {
        "id": name,
        "pool": "default",
        "offering": OFFERING,
        "hosts": ("host-1",),
        "user_data": b"",
        "created_at": NOW - 5,
        "sent_at": NOW - 5,
    }
    return Launch(**(fields | over))


def an_instance(name: str, **over: Any) -> Instance:
    fields: dict[str, Any] = {
        "id": name,
        "region": "us-east-1",
        "state": "running",
        "launched_at": NOW - 300,
        "launch_index": 0,
        "tags": {"spillway:launch": "launch-1"},
    }
    return Instance(**(fields | over))

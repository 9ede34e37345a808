"""Records as users see them (docs/contracts.md §7)."""

from __future__ import annotations

from typing import Any

import msgspec

from chalicelib.core.host import Host
from chalicelib.core.job import Job, JobState
from chalicelib.core.plan import Plan
from chalicelib.core.pool import Pool


def job(record: Job) -> dict[str, Any]:
    """A Job document."""
    finish = record.finish if record.ended else None  # an earlier attempt's end is not this one's
    return {
        "id": record.id,
        "pool": record.pool,
        "owner": record.owner,
        "name": record.spec.name,
        "labels": dict(record.spec.labels),
        "state": str(record.state),
        "attempt": record.attempt,
        "reason": record.reason,
        "waiting_for": record.waiting_for,
        "cancel_requested": record.cancel_requested,
        "submitted_at": record.submitted_at,
        "assigned_at": record.entered.get(JobState.ASSIGNED),
        "started_at": (finish.started_at if finish else None) or record.entered.get(JobState.RUNNING),
        "finished_at": finish.finished_at if finish else _ended_at(record),
        "host": record.host,
        "exit_code": finish.exit_code if finish else None,
        "result": finish.result if finish else None,
        "outputs": [{"path": o.path, "bytes": o.bytes} for o in finish.outputs] if finish else [],
        "log": {"bytes": finish.log.bytes, "cut": finish.log.cut} if finish else {"bytes": 0, "cut": False},
        "cpu_s": finish.cpu_s if finish else None,
        "memory_peak_mib": finish.memory_peak_mib if finish else None,
        "spec": msgspec.to_builtins(record.spec),
    }


def _ended_at(record: Job) -> float | None:
    return record.entered.get(record.state) if record.ended else None


def host(record: Host) -> dict[str, Any]:
    """A Host document."""
    return {
        "id": record.id,
        "pool": record.pool,
        "state": str(record.state),
        "instance_id": record.instance_id,
        "offering": record.offering.key,
        "cpu": record.cpu,
        "memory_mib": record.memory_mib,
        "slots": record.slots,
        "launched_at": record.launched_at,
        "ready_at": record.ready_at,
        "seen_at": record.seen_at,
        "idle_since": record.idle_since,
        "reason": record.reason,
        "assignments": [
            {
                "job": a.job,
                "attempt": a.attempt,
                "cpu": a.cpu,
                "memory_mib": a.memory_mib,
                "slots": a.slots,
                "accepted": a.held,
                "started": a.started_at is not None,
            }
            for a in record.assignments
        ],
    }


def pool(record: Pool) -> dict[str, Any]:
    """A Pool document: its spec, flat, with name and version."""
    return {"name": record.name, "version": record.version, **msgspec.to_builtins(record.spec)}


def plan(record: Plan) -> dict[str, Any]:
    """A Plan document: every action with its kind, its reason and the ids that it concerns."""
    return {
        "actions": [_action(action) for action in record.actions],
        "waits": [{"job": entry.job, "reason": sentence} for entry, sentence in record.waits],
        "wake_at": record.wake_at,
    }


def _action(action: Any) -> dict[str, Any]:
    about: dict[str, Any] = {"kind": type(action).__name__.lower(), "reason": getattr(action, "reason", "")}
    for name in ("host", "entry", "launch", "instance", "assignment", "hosts", "offering"):
        value = getattr(action, name, None)
        if isinstance(value, str | tuple):
            about[name] = value
        elif value is not None:
            about[name] = getattr(value, "id", None) or getattr(value, "job", None) or getattr(value, "key", None)
    if (loads := getattr(action, "loads", None)) is not None:
        about["jobs"] = [[entry.job for entry in load] for load in loads]
    return about

"""Records as users see them (docs/contracts.md §7)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from chalicelib.control.explain import Planned, Why
from chalicelib.core import ladder, plan_words
from chalicelib.core.host import Host
from chalicelib.core.job import Job, JobState
from chalicelib.core.plan import Action
from chalicelib.core.pool import Pool
from chalicelib.core.story import Line

WAITS_MAX = 100


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
        "interrupt_at": record.interrupt_at,
        "rebalance_at": record.rebalance_at,
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


def story(lines: Sequence[Line]) -> dict[str, Any]:
    """The lines of a story, oldest first."""
    return {"items": [{"at": x.at, "subject": x.subject, "event": x.event, "reason": x.reason} for x in lines]}


def why(record: Why) -> dict[str, Any]:
    """Sentences, the most important first."""
    return {"subject": record.subject, "state": record.state, "at": record.at, "sentences": list(record.sentences)}


def plan(record: Planned) -> dict[str, Any]:
    """A Plan document: the target, every action with the ids that it concerns and in words, who waits and why."""
    decided, seen = record.plan, record.snapshot
    target = decided.target
    return {
        "pool": seen.pool.name,
        "at": seen.now,
        "listed": None if seen.listed is None else len(seen.listed),
        "backlog": {"seen": len(seen.backlog), "complete": seen.backlog_complete},
        "target": None
        if target is None
        else {"hosts": target.hosts, "why": target.why, "variables": dict(target.variables)},
        "actions": [_action(action) for action in decided.actions],
        "supply": ladder.states(ladder.current(seen)),
        "waits": [{"job": entry.job, "reason": reason} for entry, reason in decided.waits[:WAITS_MAX]],
        "waits_more": max(0, len(decided.waits) - WAITS_MAX),
        "wake_at": decided.wake_at,
    }


def _action(action: Action) -> dict[str, Any]:
    about: dict[str, Any] = {
        "kind": type(action).__name__.lower(),
        "subject": plan_words.subject(action),
        "reason": action.reason,
        "words": plan_words.words(action),
    }
    hosts, jobs = list(plan_words.hosts_of(action)), list(plan_words.jobs_of(action))
    return about | ({"hosts": hosts} if hosts else {}) | ({"jobs": jobs} if jobs else {})

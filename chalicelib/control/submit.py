"""Submitting: validate, write the record, write its backlog entry, wake the pool, answer. Never places, never calls EC2.

A crash between the writes is repaired by the client's retry (same idempotency key, same job) or by the tick's sweep.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import msgspec

from chalicelib.control import due, endings, graph, quotas, s3_inputs
from chalicelib.control.due import known_pool as known_pool  # others know it from here
from chalicelib.control.fairness import ranked
from chalicelib.control.wake import wake
from chalicelib.core import admission, secrets, webhook
from chalicelib.core.backlog import entry_of
from chalicelib.core.graph import waits
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.spoken import moment
from chalicelib.errors import BadRequest, CloudUnavailable, Conflict, Fault, OverQuota, StoreUnavailable
from chalicelib.ids import derived_id
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

KEY_TTL_S = 7 * 86_400.0
KEY_AHEAD_MAX_S = 86_400.0
TIMED_KEY_AGE_MAX_S = 15 * 86_400.0  # a message may wait for 14 days
TIMED_KEY = re.compile(r"at-(\d{13})-")


@dataclass(frozen=True, slots=True)
class Submitted:
    """`created` is False where an idempotency key led to a job that was there."""

    job: Job
    created: bool


def submit(plane: Plane, spec: JobSpec, owner: str, **facts: Any) -> Submitted:
    """One job. `facts`: what else its record is to say (`retry_of`, `schedule`, `origin`).

    Raises BadRequest (with fields) or Conflict (idempotency key used with another body).
    """
    check(plane, [spec], owner, prefix=lambda index: "", origin=facts.get("origin"))
    job, first = _hold(plane, spec, owner)
    (submitted,) = _record(plane, [(replace(job, **facts) if facts else job, first)])
    _rouse(plane, [submitted.job])
    return submitted


def submit_as(plane: Plane, job_id: str, spec: JobSpec, owner: str, *, schedule: str, accepted: bool = False) -> Job:
    """The job of a schedule's fire, whose id says which fire: whoever submits it again gets the same job. `accepted`: it is there, and
    perhaps not all that follows from it. Raises BadRequest."""
    if not accepted:
        check(plane, [spec], owner, prefix=lambda index: "")
    job = replace(_new_job(plane, spec, owner), id=job_id, schedule=schedule)
    try:
        (submitted,) = _record(plane, [(job, False)])
    except Conflict:  # another was quicker, and its family had another version: that one it is
        return plane.stores.jobs.get(job_id) or job
    _rouse(plane, [submitted.job])
    return submitted.job


def submit_many(plane: Plane, specs: Sequence[JobSpec], owner: str) -> list[Submitted]:
    """Several jobs: all are checked, and every idempotency key is held, before any is recorded."""
    check(plane, specs, owner, prefix=lambda index: f"jobs[{index}].")
    held = [_hold(plane, spec, owner, f"jobs[{index}].") for index, spec in enumerate(specs)]
    submitted = _record(plane, _named(held))
    _rouse(plane, [s.job for s in submitted])
    return submitted


def _rouse(plane: Plane, jobs: Sequence[Job]) -> None:
    """Pools look at what waits for a host; what waits for its time, and soon begins, is put on a timer."""
    due.set_timers(plane, jobs)
    for pool in dict.fromkeys(job.pool for job in jobs if job.state is JobState.PENDING):
        wake_for(plane, pool)


def _ranked(plane: Plane, jobs: Sequence[Job]) -> list[Job]:
    """Those that wait for a host get their place among the others; those that wait for their time get it when that has come."""
    placed = ranked(plane, [job for job in jobs if job.state is JobState.PENDING], partial(known_pool, plane))
    ranks = {job.id: job for job in placed}
    return [ranks.get(job.id, job) for job in jobs]


def _named(held: Sequence[tuple[Job, bool]]) -> list[tuple[Job, bool]]:
    """`#3` in what a job of a batch waits for is the batch's fourth job: its id now."""
    ids = [job.id for job, _ in held]
    return [(_after(job, graph.named(job.spec.after, ids)), new) if job.spec.after else (job, new) for job, new in held]


def _after(job: Job, after: tuple[str, ...]) -> Job:
    reason = waits(after) if job.state is JobState.BLOCKED else job.reason
    return replace(job, spec=replace(job.spec, after=after), reason=reason)


def wake_for(plane: Plane, pool: str) -> None:
    """The jobs are recorded, and the tick wakes their pool in a minute at the latest: to fail now would make clients submit them twice."""
    try:
        wake(plane, pool)
    except (CloudUnavailable, StoreUnavailable) as error:
        log.warning("a pool could not be woken for its new jobs", extra={"pool": pool, "error": str(error)})


def check(
    plane: Plane,
    specs: Sequence[JobSpec],
    owner: str,
    prefix: Callable[[int], str],
    origin: Mapping[str, Any] | None = None,
) -> None:
    """Refuse, with every fault of every spec by field, what no host of its pool could ever run."""
    faults: list[Fault] = []
    own_hosts = plane.settings.webhook_hosts
    for index, spec in enumerate(specs):
        pool = known_pool(plane, spec.pool)
        if pool is None:
            faults.append(Fault(f"{prefix(index)}pool", f"there is no pool named {spec.pool!r}"))
        else:
            refused = (
                *admission.faults(spec, pool.spec),
                *secrets.faults(spec),
                *s3_inputs.faults(plane, spec, owner, origin),
                *quotas.faults(plane, owner, spec.cpu * spec.hosts),
            )
            faults += [Fault(prefix(index) + f.field, f.message) for f in refused]
        if spec.notify and spec.notify.webhook and (why := webhook.fault(spec.notify.webhook, own_hosts)):
            faults.append(Fault(f"{prefix(index)}notify.webhook", why))
    waiting = [(index, prefix(index), spec) for index, spec in enumerate(specs) if spec.after]
    if waiting:
        faults += graph.faults(plane, waiting, owner)
    if faults:
        raise BadRequest(f"{faults[0].field}: {faults[0].message}", tuple(faults))


def _new_job(plane: Plane, spec: JobSpec, owner: str) -> Job:
    """Without a rank: whether it needs one, only its idempotency key can tell."""
    now = plane.clock()
    state, reason = JobState.PENDING, "submitted"
    if spec.not_before is not None and spec.not_before > now:
        state, reason = JobState.SCHEDULED, f"submitted; waits until {moment(spec.not_before)}"
    elif spec.after:
        state, reason = JobState.BLOCKED, waits(spec.after)
    return Job(
        id=plane.new_id("job"),
        pool=spec.pool,
        owner=owner,
        spec=spec,
        state=state,
        submitted_at=now,
        entered={state: now},
        reason=reason,
    )


def _hold(plane: Plane, spec: JobSpec, owner: str, prefix: str = "") -> tuple[Job, bool]:
    """The job to record, and whether it may be a new one: its idempotency key may stand for one that is there.

    A key that says when it was made (`at-<epoch ms>-…`) needs no row of its own: the job's id follows from it. Raises Conflict, BadRequest.
    """
    job = _new_job(plane, spec, owner)
    key = spec.idempotency_key
    if not key:
        return job, True
    if (timed := TIMED_KEY.match(key)) is not None:
        made_ms = int(timed[1])
        if not -TIMED_KEY_AGE_MAX_S < made_ms / 1000 - job.submitted_at < KEY_AHEAD_MAX_S:
            fault = Fault(
                f"{prefix}idempotency_key", "says a time that is not now: is the clock of this machine right?"
            )
            raise BadRequest(f"{fault.field}: {fault.message}", (fault,))
        return replace(job, id=derived_id("job", made_ms, f"{owner}\0{key}")), True
    digest = hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()
    hold = plane.stores.jobs.hold_key(owner, key, digest, job.id, job.submitted_at + KEY_TTL_S)
    if hold.body_hash != digest:
        raise _conflict(prefix, key, hold.job)
    if hold.job == job.id:
        return job, True
    return replace(job, id=hold.job), False


def _conflict(prefix: str, key: str, job_id: str) -> Conflict:
    return Conflict(
        f"{prefix}idempotency_key: {key!r} was used for {job_id} with another body",
        (Fault(f"{prefix}idempotency_key", f"stands for {job_id}, which was submitted with another body"),),
    )


def _record(plane: Plane, held: Sequence[tuple[Job, bool]]) -> list[Submitted]:
    """Write the jobs and their entries; what is written already stays as it is, with the rank that it was given first.

    Raises Conflict where a timed key is used again with another body; the others are recorded then.
    """
    there = plane.stores.jobs.get_many(job.id for job, new in held if not new)
    new_ones = [job for job, _ in held if job.id not in there]
    _admit(plane, new_ones)
    fresh = {job.id: job for job in _ranked(plane, new_ones)}
    blocked = [job for job in fresh.values() if job.state is JobState.BLOCKED]
    if blocked:
        awaited = {subject for job in blocked for subject in job.spec.after} & fresh.keys()
        fresh |= {job_id: replace(fresh[job_id], awaited=True) for job_id in awaited}
        graph.announce(plane, [(job.id, job.spec) for job in blocked])
    existed = plane.stores.submissions.create(list(fresh.values()))
    due.note(plane, [*fresh.values(), *there.values()])
    if existed:  # a repeated submission with a timed key, or one that was overtaken
        there = there | plane.stores.jobs.get_many(existed)
        in_vain = [entry_of(fresh[i]) for i in existed if i in there and there[i].rank != fresh[i].rank]
        plane.stores.backlog.remove(in_vain)
        for job_id in existed & there.keys():
            if there[job_id].spec != fresh[job_id].spec:
                raise _conflict("", str(fresh[job_id].spec.idempotency_key), job_id)
    for job in there.values():
        if job.state is JobState.PENDING and job.attempt == 1:
            plane.stores.backlog.put(entry_of(job))
    if waiting := [job for job in (fresh | there).values() if job.state is JobState.BLOCKED]:
        endings.ended(plane, *graph.hold(plane, waiting, awaited=frozenset(fresh.keys() - existed)))
        there = {**there, **plane.stores.jobs.get_many(job.id for job in waiting)}
        return [
            Submitted(there.get(job.id) or fresh[job.id], created=new and job.id not in existed) for job, new in held
        ]
    return [Submitted(there.get(job.id) or fresh[job.id], created=new and job.id not in there) for job, new in held]


def _admit(plane: Plane, jobs: Sequence[Job]) -> None:
    """Raises OverQuota. A repeated submission asks for nothing new, which a timed key does not say by itself."""
    if not jobs:
        return
    owner = jobs[0].owner
    try:
        quotas.admit(plane, owner, len(jobs))
    except OverQuota:
        repeated = plane.stores.jobs.get_many(job.id for job in jobs)
        if not repeated:
            raise
        quotas.admit(plane, owner, len(jobs) - len(repeated))

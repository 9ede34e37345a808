"""Quotas of owners as functions meet them: set by operators, asked at submit, minded by passes, charged when an attempt ends.

What says that an owner has none is remembered too, so that a submission of such an owner costs no request more.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from chalicelib.control.durations import learned
from chalicelib.control.pools import audit
from chalicelib.control.settings import SUBJECT
from chalicelib.core import quota
from chalicelib.core.arrays import ArrayState, entry_of
from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import capacity, knows, price_usd_h
from chalicelib.core.durations import expected_s
from chalicelib.core.host import Host
from chalicelib.core.job import Finish, Job, JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.core.quota import OwnerQuota, Quota
from chalicelib.errors import Conflict, Fault, OverQuota, PreconditionFailed, StoreUnavailable
from chalicelib.telemetry import log
from chalicelib.wiring import Plane

QUOTA_AGE_MAX_S = 10.0
USED_AGE_MAX_S = 5.0
ARRAYS_MAX = 100  # of an owner, whose elements that have no row yet are counted
SPENT_KEPT_S = 8 * 86_400.0


@dataclass(slots=True)
class _Jobs:
    """How many an owner had when they were counted, and what this process has let in since."""

    number: int


# -- what operators do


def put(plane: Plane, owner: str, wanted: Quota, *, by: str, version: int | None = None) -> OwnerQuota:
    """Replace an owner's quota. Raises PreconditionFailed (another version than `version` is there) or Conflict."""
    before = plane.stores.owners.quota(owner)
    if version is not None and before.version != version:
        raise PreconditionFailed(
            f"the quota of {owner} is at version {before.version}, not {version}; read it and decide again"
        )
    sentences = quota.changes(before.quota, wanted)
    if not sentences:
        return before
    made = plane.stores.owners.put_quota(owner, wanted, version=before.version, by=by, at=plane.clock())
    if made is None:
        raise Conflict(f"the quota of {owner} was changed by somebody else in the same moment; read it and try again")
    audit(plane, SUBJECT, "quota", [f"{owner}: {sentence} (by {by}, version {made.version})" for sentence in sentences])
    return made


def used(plane: Plane, owner: str) -> tuple[int, float]:
    """How many jobs of an owner have not ended, and what those that ended today have cost (where its quota limits that)."""
    now = plane.clock()
    return _not_ended(plane, owner), plane.stores.owners.spent(owner, quota.day(now), math.inf)


# -- at submit


def of(plane: Plane, owner: str, max_age_s: float = QUOTA_AGE_MAX_S) -> Quota:
    """An owner's quota, at most some seconds old."""
    row = plane.recall.get(f"quota/{owner}", plane.clock(), max_age_s, lambda: plane.stores.owners.quota(owner))
    return row.quota if row is not None else quota.NO_QUOTA


def refusal(plane: Plane, owner: str, more: int) -> str | None:
    """Why so many more jobs may not be submitted for an owner just now, as a sentence; None where they may."""
    limits = of(plane, owner)
    if limits.jobs_max is None and limits.usd_per_day is None:
        return None
    jobs = _jobs(plane, owner, limits).number if limits.jobs_max is not None else 0
    usd = _spent(plane, owner, limits) if limits.usd_per_day is not None else 0.0
    return quota.refusal(owner, limits, jobs=jobs, usd=usd, more=more)


def admit(plane: Plane, owner: str, more: int, prefix: str = "") -> None:
    """Let in so many jobs of an owner, or raise OverQuota. What is let in here counts at once, for this process."""
    if more and (sentence := refusal(plane, owner, more)) is not None:
        raise OverQuota(sentence, (Fault(f"{prefix}owner", sentence),))
    limits = of(plane, owner)
    if more and limits.jobs_max is not None:
        _jobs(plane, owner, limits).number += more


def faults(plane: Plane, owner: str, cpu: float) -> Iterable[Fault]:
    """Why a job could never begin under its owner's quota."""
    if (sentence := quota.too_wide(owner, of(plane, owner), cpu)) is not None:
        yield Fault("cpu", sentence)


def _jobs(plane: Plane, owner: str, limits: Quota) -> _Jobs:
    most = (limits.jobs_max or 0) + 1
    found = plane.recall.get(
        f"jobs/{owner}", plane.clock(), USED_AGE_MAX_S, lambda: _Jobs(_not_ended(plane, owner, most))
    )
    return found or _Jobs(0)


def _not_ended(plane: Plane, owner: str, most: int = 1_000_000) -> int:
    """Jobs, and elements of arrays that have no row yet; beyond `most` it stops counting."""
    found = plane.stores.jobs.active_of(owner, most)
    if found >= most:
        return found
    arrays = plane.stores.arrays.get_many(plane.stores.arrays.active_of(owner, ARRAYS_MAX))
    for array in arrays.values():
        entry = (
            plane.stores.backlog.find(entry_of(array)) if array.state is ArrayState.OPEN and not array.made else None
        )
        found += 0 if array.made else array.count - (entry.next_index if entry else 0)
    return found


def _spent(plane: Plane, owner: str, limits: Quota) -> float:
    today, enough = quota.day(plane.clock()), limits.usd_per_day or 0.0
    found = plane.recall.get(
        f"spent/{owner}/{today}/{enough:g}",
        plane.clock(),
        USED_AGE_MAX_S,
        lambda: plane.stores.owners.spent(owner, today, enough),
    )
    return found or 0.0


# -- in a pass


def over(plane: Plane, name: str, spec: PoolSpec, hosts: Sequence[Host], backlog: Sequence[Entry]) -> Mapping[str, str]:
    """Rank → why it must wait, of the entries that a quota does not let begin now."""
    if not backlog:
        return {}
    now = plane.clock()
    rows = plane.recall.get("quotas", now, QUOTA_AGE_MAX_S, plane.stores.owners.quotas) or []
    known = dict(quota.limited(rows))
    owners = {entry.owner for entry in backlog} & known.keys()
    quotas = {owner: known[owner] for owner in owners}
    spent = {owner: _spent(plane, owner, q) for owner, q in quotas.items() if q.usd_per_day is not None}
    return quota.over(now, backlog, hosts, quotas, spent, _costs(plane, name, spec))


def _costs(plane: Plane, name: str, spec: PoolSpec) -> quota.Costs:
    known = learned(plane, name)
    usual = next((o for o in spec.offerings if knows(o, spec)), None)
    return quota.Costs(
        takes_s=lambda family, timeout_s: expected_s(family, timeout_s, known, spec.estimated_s),
        usd_h=lambda host: _usd_h(host, spec),
        usual=(capacity(usual, spec), price_usd_h(usual, spec)) if usual is not None else None,
    )


def _usd_h(host: Host, spec: PoolSpec) -> float:
    return price_usd_h(host.offering, spec) if knows(host.offering, spec) else 0.0


# -- when an attempt ends


def charge(plane: Plane, job: Job, finish: Finish | None) -> None:
    """Write down what the attempt that now ends has cost, where its owner's money is limited. Before the job's own row, and under the
    attempt's name: a crash between the two, or a repetition, leaves the same.

    A quota is not worth an attempt that cannot end: where the tables do not answer, it is free.
    """
    started_at = (finish.started_at if finish else None) or job.entered.get(JobState.RUNNING)
    if started_at is None or job.host is None or job.state not in (JobState.ASSIGNED, JobState.RUNNING):
        return
    try:
        if of(plane, job.owner).usd_per_day is None:
            return
        host = plane.stores.hosts.get(job.pool, job.host)
        pool = plane.recall.get(
            f"pool/{job.pool}", plane.clock(), QUOTA_AGE_MAX_S, lambda: plane.stores.registry.pool(job.pool)
        )
        if host is None or pool is None:
            return
        now = plane.clock()
        seconds = max(0.0, (finish.finished_at if finish else now) - started_at)
        usd = (
            min(seconds, job.spec.timeout_s) / 3600 * quota.share(job.spec.reservation, host) * _usd_h(host, pool.spec)
        ) * job.spec.hosts
        plane.stores.owners.spend(
            job.owner, quota.day(now), f"{job.id}#{job.attempt}", round(usd, 9), now + SPENT_KEPT_S
        )
    except StoreUnavailable as error:
        log.warning("an attempt could not be charged", extra={"job": job.id, "error": str(error)})

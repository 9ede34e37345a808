"""Samples: each minute one row and one metrics document for each pool that has hosts or jobs, from what the sweep has read anyway.

A pool that has neither writes nothing but the first empty minute, so that charts fall to zero and an idle month costs nothing but one small
read a minute. A metric costs money for each hour in which it was sent: so there are few of them, and only from active pools.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from chalicelib.control.decide import decide
from chalicelib.control.reconcile_pool import backlog_limit, groups_of, snapshot_of
from chalicelib.control.sweep import Swept
from chalicelib.core import groups
from chalicelib.core.arrays import unfolded
from chalicelib.core.host import LIVE
from chalicelib.core.job import JobState
from chalicelib.core.pool import Pool
from chalicelib.core.samples import is_empty, sample
from chalicelib.telemetry import pool_metrics
from chalicelib.wiring import Plane

KEPT_S = 30 * 86_400.0

METRICS = (  # name in CloudWatch, unit, where in the sample
    ("WaitingTime", "Seconds", ("waiting_time_s",)),
    ("DesiredJobCapacity", "Count", ("desired_jobs",)),
    ("DesiredHosts", "Count", ("desired_hosts",)),
    ("TargetHosts", "Count", ("target_hosts",)),
    *((f"Hosts{state.title()}", "Count", ("hosts", str(state))) for state in sorted(LIVE)),
    ("JobsPending", "Count", ("jobs", str(JobState.PENDING))),
    ("JobsAssigned", "Count", ("jobs", str(JobState.ASSIGNED))),
    ("JobsRunning", "Count", ("jobs", str(JobState.RUNNING))),
    ("OldestPendingAge", "Seconds", ("job_oldest_s", str(JobState.PENDING))),
    ("HostsLaunched", "Count", ("hosts_launched",)),
    ("CostPerHour", "None", ("cost_usd_h",)),  # US dollars at list price; CloudWatch knows no currency
)


def keep(plane: Plane, pool: Pool, swept: Swept) -> None:
    """Write the minute's sample of a pool from what its sweep saw, and send it as metrics."""
    now = plane.clock()
    is_active = swept.jobs.counts or any(host.state in LIVE for host in swept.hosts)
    if not is_active and not _was_active(plane, pool.name, now):
        return
    limit = backlog_limit(pool)
    head, complete = unfolded(swept.backlog[:limit], limit)  # as a pass sees it
    snapshot = snapshot_of(
        plane,
        pool,
        swept.hosts,
        swept.launches,
        head,
        backlog_complete=complete,
        groups=groups_of(plane, pool),
    )
    target = decide(snapshot).target
    values = sample(groups.seen(snapshot, groups.on_the_way(snapshot)), swept.jobs, target)
    plane.stores.samples.put(pool.name, now, values, now + KEPT_S)
    publish(pool.name, values)


def publish(pool: str, values: Mapping[str, Any]) -> None:
    """One document in CloudWatch's embedded metric format, with the pool as its dimension."""
    metrics = pool_metrics(pool)
    for name, unit, path in METRICS:
        value: Any = values
        for key in path:
            value = value.get(key, 0)
        metrics.add_metric(name=name, unit=unit, value=value)
    metrics.flush_metrics()


def _was_active(plane: Plane, pool: str, now: float) -> bool:
    """Whether the last sample that is kept showed hosts or jobs: then the first empty minute is this one."""
    last = plane.stores.samples.of(pool, now - KEPT_S, now, 1)
    return bool(last) and not is_empty(last[-1].values)

"""A sample: what a pool was at a minute, as names and numbers, for people who look back and for CloudWatch.

`hosts` and `jobs` count by state; `host_oldest_s` and `job_oldest_s` say for how long the oldest of each state has been in it. `target`
is what the policy wanted, why, and all its variables. Hosts of Auto Scaling groups count as launching while they are on their way, and as
launched in the minute in which they first speak. Two of them are there whatever the policy, so that charts go on when it
changes: `waiting_time_s` = waiting jobs × expected_s ÷ (hosts × slots), after the boot where there is no host (Coursera's
WaitingTime); `desired_jobs`, where the policy does not say it, = the room for jobs on the hosts that are wanted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from chalicelib.core.catalogue import capacity, knows, price_usd_h
from chalicelib.core.durations import boot_s, expected_s
from chalicelib.core.groups import of_group
from chalicelib.core.host import LIVE, WORKING, Host
from chalicelib.core.job import Job, JobState
from chalicelib.core.plan import Target
from chalicelib.core.pool import Pool
from chalicelib.core.snapshot import Snapshot

MINUTE_S = 60.0


@dataclass
class Tally:
    """Jobs or hosts that have not ended: how many are in each state, and since when the oldest is; `complete`: all were seen."""

    counts: Counter[str] = field(default_factory=Counter)
    since: dict[str, float] = field(default_factory=dict)
    complete: bool = True

    def add(self, job: Job) -> None:
        state = str(job.state)
        at = job.entered.get(state, job.submitted_at)
        self.counts[state] += 1
        self.since[state] = min(at, self.since.get(state, at))

    def add_waiting(self, count: int, since: float) -> None:
        """Elements of an array that are no jobs yet."""
        if count > 0:
            self.counts[str(JobState.PENDING)] += count
            self.since[str(JobState.PENDING)] = min(since, self.since.get(str(JobState.PENDING), since))

    def ages(self, now: float) -> dict[str, float]:
        return {state: max(0.0, now - at) for state, at in self.since.items()}


def tally_of_hosts(hosts: Iterable[Host]) -> Tally:
    """The same for hosts that are not terminated."""
    tally = Tally()
    for host in hosts:
        if host.state in LIVE:
            state = str(host.state)
            at = host.entered_at or host.launched_at
            tally.counts[state] += 1
            tally.since[state] = min(at, tally.since.get(state, at))
    return tally


def sample(s: Snapshot, jobs: Tally, target: Target | None) -> dict[str, Any]:
    """The values of one minute. Durations in seconds, costs in USD an hour at list price (spot costs less)."""
    hosts = tally_of_hosts(s.hosts)
    minute = s.now // MINUTE_S - 1  # the whole one before, so that each launch is counted once
    launches = [launch for launch in s.launches if launch.created_at // MINUTE_S == minute]
    spoke = sum(of_group(h.launch) and (h.recorded_at or 0.0) // MINUTE_S == minute for h in (*s.hosts, *s.past))
    variables: Mapping[str, float] = target.variables if target else {}
    wanted = target.hosts if target else 0
    return {
        "hosts": dict(hosts.counts),
        "host_oldest_s": hosts.ages(s.now),
        "jobs": dict(jobs.counts),
        "jobs_complete": jobs.complete,
        "job_oldest_s": jobs.ages(s.now),
        "target": None if target is None else {"hosts": wanted, "why": target.why, "variables": dict(variables)},
        "waiting_time_s": variables.get("waiting_time_s", _waiting_time_s(s, jobs.counts[JobState.PENDING])),
        "desired_jobs": variables.get("desired_jobs", float(wanted * _slots(s.pool))),
        "desired_hosts": variables.get("desired_hosts", float(wanted)),
        "target_hosts": float(wanted),
        "launches": len(launches),
        "hosts_launched": sum(len(launch.hosts) for launch in launches) + spoke,
        "cost_usd_h": sum(
            price_usd_h(h.offering, s.pool.spec) for h in s.hosts if h.state in LIVE and knows(h.offering, s.pool.spec)
        ),
    }


def is_empty(values: Mapping[str, Any]) -> bool:
    """Neither hosts nor jobs: nothing costs, nothing waits."""
    return not values["hosts"] and not values["jobs"]


def _waiting_time_s(s: Snapshot, waiting: int) -> float:
    if not waiting:
        return 0.0
    takes = [expected_s(e.family, e.timeout_s, s.learned, s.pool.spec.estimated_s) for e in s.backlog]
    mean_s = sum(takes) / len(takes) if takes else expected_s("", 86_400, s.learned, s.pool.spec.estimated_s)
    slots = sum(host.slots for host in s.hosts if host.state in WORKING)
    if slots:
        return waiting * mean_s / slots
    return boot_s(s.learned) + waiting * mean_s / _slots(s.pool)


def _slots(pool: Pool) -> int:
    """Of one further host."""
    known = [capacity(o, pool.spec).slots for o in pool.spec.offerings if knows(o, pool.spec)]
    return known[0] if known else 1

"""Quotas of owners: what one may have waiting, at work and spent, so that no course eats the others' term.

Three limits, each where it can hold:

* `jobs_max`: jobs that have not ended. Told at submit, derived from the rows of those jobs. Functions remember the count for some
  seconds, so several of them at once may together let a few more in.
* `cpu_max`: cores that its attempts reserve in a pool at a time. Enforced by every pass, exactly: all that works is on the host rows that
  the pass has read. An owner's jobs take turns in order of rank; while the next one in line does not fit under the limit, those
  behind it wait too, so that a wide job is not overtaken for ever.
* `usd_per_day`: what its attempts have cost since midnight UTC. An attempt costs its largest share of its host's cpu, memory and slots, at
  list price on demand, for as long as it ran. Told at submit; and a pass, which adds what everything that is at work is believed to
  cost, begins another attempt only while that is less than the limit: so it is passed by one attempt at most, or by what took longer
  than believed. What runs is left to run.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields

from chalicelib.core.backlog import Entry
from chalicelib.core.catalogue import Capacity
from chalicelib.core.host import Assignment, Host
from chalicelib.core.job_spec import Reservation
from chalicelib.core.spoken import count

DAY_S = 86_400.0
CPU_GRAIN = 1e-9


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """What an owner may have; None: as much as it likes."""

    jobs_max: int | None = None
    cpu_max: float | None = None
    usd_per_day: float | None = None


NO_QUOTA = Quota()


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnerQuota:
    """An owner's row: its quota, and who said so. `version` 0: nobody ever did."""

    owner: str
    quota: Quota = NO_QUOTA
    version: int = 0
    by: str = ""
    at: float = 0.0


def day(at: float) -> str:
    """The day that money is counted by, in UTC: days since 1970 in five digits."""
    return f"{int(at // DAY_S):05d}"


def changes(before: Quota, after: Quota) -> list[str]:
    """What is different, one sentence a field."""

    def said(value: float | None) -> str:
        return "no limit" if value is None else f"{value:g}"

    names = [field.name for field in fields(Quota)]
    pairs = [(name, getattr(before, name), getattr(after, name)) for name in names]
    return [f"{name}: {said(old)} → {said(new)}" for name, old, new in pairs if old != new]


def refusal(owner: str, quota: Quota, *, jobs: int, usd: float, more: int) -> str | None:
    """Why `more` jobs may not be submitted now, as a sentence; None where they may. `jobs`: that have not ended; `usd`: spent today."""
    if quota.jobs_max is not None and jobs + more > quota.jobs_max:
        return (
            f"{owner} may have {count(quota.jobs_max, 'job')} that {'has' if quota.jobs_max == 1 else 'have'} not ended, "
            f"and has {jobs}: {more} more would be too many. Wait until some have ended, or cancel them"
        )
    if quota.usd_per_day is not None and usd >= quota.usd_per_day:
        return f"{owner} has spent {usd:.2f} of the {quota.usd_per_day:.2f} USD that it may spend a day. A new day begins at 00:00 UTC"
    return None


def too_wide(owner: str, quota: Quota, cpu: float) -> str | None:
    """Why a job of so many cores could never begin, as a sentence."""
    if quota.cpu_max is not None and cpu > quota.cpu_max + CPU_GRAIN:
        return f"is {cpu:g}; {owner} may have {quota.cpu_max:g} cores of a pool at work"
    return None


def share(reserved: Reservation | Assignment | Entry, host: Host | Capacity) -> float:
    """The largest share that an attempt reserves of a host."""
    return max(reserved.cpu / host.cpu, reserved.memory_mib / host.memory_mib, reserved.slots / host.slots)


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """What attempts are believed to cost in a pool. `takes_s`: (family, timeout) → seconds; `usual`: of what an entry is believed to get a
    host, and its price an hour; None: nobody knows."""

    takes_s: Callable[[str, int], float]
    usd_h: Callable[[Host], float]
    usual: tuple[Capacity, float] | None = None

    def at_work(self, a: Assignment, host: Host, now: float) -> float:
        """Of an attempt that a host carries: today's part of it, until it is believed to have ended."""
        begins = a.started_at if a.started_at is not None else now
        ends = max(now, begins + self.takes_s(a.family, a.timeout_s))
        return max(0.0, ends - max(begins, now // DAY_S * DAY_S)) / 3600 * share(a, host) * self.usd_h(host)

    def to_come(self, entry: Entry) -> float:
        """Of one that would begin now."""
        if self.usual is None:
            return 0.0
        size, usd_h = self.usual
        return entry.hosts * self.takes_s(entry.family, entry.timeout_s) / 3600 * share(entry, size) * usd_h


def over(
    now: float,
    backlog: Iterable[Entry],
    hosts: Sequence[Host],
    quotas: Mapping[str, Quota],
    spent: Mapping[str, float],
    costs: Costs,
) -> dict[str, str]:
    """Rank → why it must wait, of the entries that their owner's quota does not let begin now.

    `backlog` in order of rank. `spent`: owner → USD of today's attempts that have ended.
    """
    if not quotas:
        return {}
    at_work: defaultdict[str, float] = defaultdict(float)
    usd = defaultdict(float, spent)
    carried = set()
    for host in hosts:
        for a in host.assignments:
            if a.owner in quotas:
                carried.add((a.job, a.attempt))
                at_work[a.owner] += a.cpu
                if quotas[a.owner].usd_per_day is not None:
                    usd[a.owner] += costs.at_work(a, host, now)
    waits: dict[str, str] = {}
    closed: set[str] = set()
    for entry in backlog:
        owner = entry.owner
        quota = quotas.get(owner)
        if quota is None or (entry.job, entry.attempt) in carried:
            continue  # what a host carries already is counted there, and only its rows are behind
        if entry.give_up_at is not None and entry.give_up_at <= now:
            continue  # it will not be placed, but skipped
        if quota.usd_per_day is not None and usd[owner] >= quota.usd_per_day:
            waits[entry.rank] = (
                f"{owner} may spend {quota.usd_per_day:.2f} USD a day, and has, or will have when what is at work has ended: "
                "the rest goes on at 00:00 UTC at the latest"
            )
        elif quota.cpu_max is None:
            usd[owner] += costs.to_come(entry) if quota.usd_per_day is not None else 0.0
        elif (cpu := entry.hosts * entry.cpu) > quota.cpu_max + CPU_GRAIN:
            waits[entry.rank] = f"{owner} may have {quota.cpu_max:g} cores at work, which is less than this job needs"
        elif owner in closed or at_work[owner] + cpu > quota.cpu_max + CPU_GRAIN:
            closed.add(owner)
            waits[entry.rank] = f"{owner} may have {quota.cpu_max:g} cores of this pool at work, and they are taken"
        else:
            at_work[owner] += cpu
            usd[owner] += costs.to_come(entry) if quota.usd_per_day is not None else 0.0
    return waits


def parted(
    backlog: Sequence[Entry], waits: Mapping[str, str]
) -> tuple[tuple[Entry, ...], tuple[tuple[Entry, str], ...]]:
    """Who may be placed, and who must wait and why; both in order of rank."""
    if not waits:
        return tuple(backlog), ()
    return (
        tuple(entry for entry in backlog if entry.rank not in waits),
        tuple((entry, waits[entry.rank]) for entry in backlog if entry.rank in waits),
    )


def limited(quotas: Iterable[OwnerQuota]) -> Iterator[tuple[str, Quota]]:
    """Those that a pass has to mind."""
    for each in quotas:
        if each.quota.cpu_max is not None or each.quota.usd_per_day is not None:
            yield each.owner, each.quota

"""The backlog: the queue of pending jobs, each entry small enough that a pass reads thousands."""

from __future__ import annotations

from dataclasses import dataclass, field

from chalicelib.core.job import Job
from chalicelib.core.job_spec import Reservation


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A pending job's place in the queue. Sorts by `rank`.

    `size`: of an array's one entry, how many elements it stands for; `next_index`: every element below it has a row of its own already;
    `step_ms`: virtual time from one element to the next. `of`: of an element that has no row yet, the array's entry (core/arrays.py).
    `hosts`: on so many at once, what it asks for on each of them.
    """

    pool: str
    rank: str
    job: str
    attempt: int
    owner: str
    cpu: float
    memory_mib: int
    slots: int
    timeout_s: int
    queued_at: float
    family: str = ""
    needs: tuple[str, ...] = ()  # SHA-256 sums of uploads: a host that holds them starts it sooner
    interruptions: int = 0  # attempts of it that EC2 took back
    give_up_at: float | None = None  # when it has waited too long
    instance_types: tuple[str, ...] = ()  # patterns; empty: any
    market: str = ""  # spot | on_demand; empty: either
    size: int = 0
    next_index: int = 0
    step_ms: int = 0
    hosts: int = 1
    of: Entry | None = field(default=None, compare=False, repr=False)

    @property
    def reservation(self) -> Reservation:
        return Reservation(cpu=self.cpu, memory_mib=self.memory_mib, slots=self.slots)


def rank(priority: int, virtual_at: float, job_id: str) -> str:
    """The sort key: priority class first (0 before 9), then virtual time in milliseconds, then id."""
    return rank_ms(priority, int(virtual_at * 1000), job_id)


def rank_ms(priority: int, virtual_ms: int, job_id: str) -> str:
    """The same of whole milliseconds."""
    return f"{priority:02d}#{virtual_ms:015d}#{job_id}"


def entry_of(job: Job) -> Entry:
    """The entry of a pending job. Each attempt has its own, so that removing an old one never removes a new one."""
    return Entry(
        pool=job.pool,
        rank=f"{job.rank}#{job.attempt}",
        job=job.id,
        attempt=job.attempt,
        owner=job.owner,
        cpu=job.spec.cpu,
        memory_mib=job.spec.memory_mib,
        slots=job.spec.slots,
        timeout_s=job.spec.timeout_s,
        queued_at=job.queued_at,
        family=job.spec.family or "",
        needs=tuple(sorted(job.spec.uploads)),
        interruptions=job.interruptions,
        give_up_at=job.queued_at + job.spec.queue_ttl_s if job.spec.queue_ttl_s is not None else None,
        instance_types=job.spec.instance_types,
        market=job.spec.market or "",
        hosts=job.spec.hosts,
    )

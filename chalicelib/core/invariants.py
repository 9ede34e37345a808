"""What must hold (DESIGN §9), as functions over plain records: used by tests and fault runs.

`always` may be asked at any moment, `at_rest` once nothing is left to do. Each answers with sentences; none is good.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from chalicelib.core.backlog import Entry
from chalicelib.core.host import Host, HostState
from chalicelib.core.job import Job, JobState
from chalicelib.core.placement import CPU_GRAIN


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """All rows of a pool, EC2's truth, and how often each attempt's command really began (where somebody counted)."""

    jobs: tuple[Job, ...] = ()
    hosts: tuple[Host, ...] = ()
    backlog: tuple[Entry, ...] = ()
    instances: frozenset[str] = frozenset()  # that cost money
    began: Mapping[tuple[str, int], int] = field(default_factory=dict)
    hosts_max: int = 0


def always(world: World) -> list[str]:
    """What holds at any moment, whatever has just crashed."""
    return [*_begun_once(world), *_reservations(world.hosts), *_maximum(world)]


def at_rest(world: World) -> list[str]:
    """What holds when nothing is left to do: everything ended, nothing costs money, no row points anywhere."""
    return [
        *always(world),
        *(f"{job.id} is {job.state}: {job.reason}" for job in world.jobs if not job.ended),
        *(f"instance {instance} still runs" for instance in sorted(world.instances)),
        *(f"{h.id} is {h.state}: {h.reason}" for h in world.hosts if h.state is not HostState.TERMINATED),
        *(f"{h.id} still carries {a.key}" for h in world.hosts for a in h.assignments),
        *(f"the backlog still has {entry.rank}" for entry in world.backlog),
        *_succeeded_ran(world),
    ]


def _begun_once(world: World) -> Iterator[str]:
    """No attempt begins twice, and no job more often than it allows (attempts that a host of ours failed are free)."""
    yield from (f"{job}#{attempt} began {n} times" for (job, attempt), n in world.began.items() if n > 1)
    total: Counter[str] = Counter()
    for (job_id, _), count in world.began.items():
        total[job_id] += count
    for job in world.jobs:
        allowed = job.spec.max_attempts if job.spec.max_attempts == 1 else job.spec.max_attempts + job.faults
        if total[job.id] > allowed:
            yield f"{job.id} began {total[job.id]} times and allows {allowed}"


def _reservations(hosts: Iterable[Host]) -> Iterator[str]:
    for host in hosts:
        cpu = sum(a.cpu for a in host.assignments)
        memory_mib = sum(a.memory_mib for a in host.assignments)
        slots = sum(a.slots for a in host.assignments)
        if cpu > host.cpu + CPU_GRAIN or memory_mib > host.memory_mib or slots > host.slots:
            yield f"{host.id} has {cpu:g} of {host.cpu:g} cpu, {memory_mib} of {host.memory_mib} MiB, {slots} of {host.slots} slots"


def _maximum(world: World) -> Iterator[str]:
    if world.hosts_max and len(world.instances) > world.hosts_max:
        yield f"{len(world.instances)} instances run and the pool may have {world.hosts_max}"


def _succeeded_ran(world: World) -> Iterator[str]:
    began = {job for job, _ in world.began}
    for job in world.jobs:
        if world.began and job.state is JobState.SUCCEEDED and job.id not in began:
            yield f"{job.id} succeeded and never began"

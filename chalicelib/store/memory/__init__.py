"""The tables in memory: the same promises as the PynamoDB stores, for tests, the simulator and `plan` without an account.

Every store has one lock around each call, so a call is as atomic as one DynamoDB write. Rows are the domain's own frozen records;
what DynamoDB would expire is remembered in `expires` and, as there, never acted upon by reads.
"""

from __future__ import annotations

from chalicelib.store.memory.agenda import MemoryAgenda
from chalicelib.store.memory.arrays import MemoryArrays
from chalicelib.store.memory.backlog import MemoryBacklog
from chalicelib.store.memory.buckets import MemoryBuckets
from chalicelib.store.memory.claims import MemoryClaims
from chalicelib.store.memory.durations import MemoryDurations
from chalicelib.store.memory.families import MemoryFamilies
from chalicelib.store.memory.hosts import MemoryHosts
from chalicelib.store.memory.jobs import MemoryJobs
from chalicelib.store.memory.owners import MemoryOwners
from chalicelib.store.memory.registry import MemoryRegistry
from chalicelib.store.memory.samples import MemorySamples
from chalicelib.store.memory.schedules import MemorySchedules
from chalicelib.store.memory.shares import MemoryShares
from chalicelib.store.memory.story import MemoryStory
from chalicelib.store.memory.submissions import MemorySubmissions
from chalicelib.store.memory.waiters import MemoryWaiters
from chalicelib.store.ports import Stores


def memory_stores() -> Stores:
    """A new, empty set of tables."""
    jobs, arrays, backlog = MemoryJobs(), MemoryArrays(), MemoryBacklog()
    return Stores(
        jobs=jobs,
        arrays=arrays,
        waiters=MemoryWaiters(jobs, arrays),
        backlog=backlog,
        submissions=MemorySubmissions(jobs, backlog),
        hosts=MemoryHosts(),
        claims=MemoryClaims(),
        registry=MemoryRegistry(),
        families=MemoryFamilies(),
        schedules=MemorySchedules(),
        agenda=MemoryAgenda(),
        story=MemoryStory(),
        durations=MemoryDurations(),
        samples=MemorySamples(),
        shares=MemoryShares(),
        buckets=MemoryBuckets(),
        owners=MemoryOwners(),
    )

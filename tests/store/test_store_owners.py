"""What every family of stores promises about owners: their quotas, and what their attempts have cost (chalicelib/store/ports)."""

from __future__ import annotations

import math
from collections import Counter

from store_records import NOW, a_job, race

from chalicelib.cloud.memory import memory_cloud
from chalicelib.config import Settings
from chalicelib.control.submit import submit
from chalicelib.core.arrays import Array, ArrayEvent, ArrayState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.core.quota import OwnerQuota, Quota
from chalicelib.store.open import DynamoStores
from chalicelib.store.ports import Stores
from chalicelib.store.told import told
from chalicelib.wiring import Plane

LATER = NOW + 86_400.0


def test_an_owner_has_no_quota_until_one_is_put_and_each_version_is_replaced_once(stores: Stores) -> None:
    """Of four who replace the same version one wins."""
    owners, limits = stores.owners, Quota(jobs_max=3, usd_per_day=0.25)
    assert owners.quota("cs/101 ü") == OwnerQuota(owner="cs/101 ü")
    made = owners.put_quota("cs/101 ü", limits, version=0, by="root", at=NOW)
    assert made == OwnerQuota(owner="cs/101 ü", quota=limits, version=1, by="root", at=NOW) == owners.quota("cs/101 ü")
    assert owners.put_quota("cs/101 ü", Quota(), version=0, by="eve", at=NOW) is None
    won = race(4, lambda n: owners.put_quota("cs/101 ü", Quota(cpu_max=n), version=1, by=f"eve{n}", at=NOW))
    assert [w for w in won if w] == [owners.quota("cs/101 ü")]
    owners.put_quota("alice", Quota(), version=0, by="root", at=NOW)
    assert [row.owner for row in owners.quotas()] == ["alice", "cs/101 ü"]


def test_what_an_attempt_cost_counts_once_and_on_its_day(stores: Stores) -> None:
    """Again replaces: a repeated end costs nothing more. Adding may stop when it is enough."""
    owners = stores.owners
    for _ in range(2):
        owners.spend("alice", "2026-11-21", "job-1#1", 0.25, LATER)
    owners.spend("alice", "2026-11-21", "job-1#2", 0.5, LATER)
    owners.spend("alice", "2026-11-22", "job-1#3", 4.0, LATER)
    owners.spend("bob", "2026-11-21", "job-2#1", 8.0, LATER)
    assert owners.spent("alice", "2026-11-21", math.inf) == 0.75
    assert owners.spent("alice", "2026-11-21", 0.1) >= 0.1
    assert owners.spent("carol", "2026-11-21", math.inf) == 0.0


def test_an_owners_arrays_are_found_until_they_end_and_are_no_jobs(stores: Stores) -> None:
    """What quotas count: jobs by their number, arrays by their ids, oldest first."""
    for number, owner in enumerate(("alice", "alice", "bob")):
        stores.arrays.put(an_array(number, owner=owner))
    stores.jobs.put(a_job(1, owner="alice"))
    assert stores.arrays.active_of("alice") == [an_array(0).id, an_array(1).id]
    assert stores.arrays.active_of("alice", limit=1) == [an_array(0).id]
    assert stores.jobs.active_of("alice") == 1
    assert stores.arrays.move(an_array(0).id, ArrayEvent.SUCCEED, at=NOW, reason="all did", untold=False) is not None
    assert stores.arrays.active_of("alice") == [an_array(1).id]


def an_array(number: int, owner: str = "alice") -> Array:
    return Array(
        id=f"array-{number:026d}",
        pool="p",
        owner=owner,
        spec=a_job().spec,
        count=3,
        state=ArrayState.OPEN,
        submitted_at=NOW,
        rank=f"05#{number}",
        step_ms=1,
    )


def test_a_quota_costs_three_requests_in_some_seconds_and_none_in_between(dynamo: DynamoStores) -> None:
    """Its jobs, its arrays, what it has spent; the quota itself is remembered for longer."""
    now = [NOW]
    plane = Plane(
        settings=Settings(stage="t"),
        stores=told(dynamo),
        cloud=memory_cloud(lambda: now[0], stage="t"),
        clock=lambda: now[0],
    )
    dynamo.registry.put_pool("p", PoolSpec(), version=None)
    dynamo.owners.put_quota("ann", Quota(jobs_max=9, cpu_max=9, usd_per_day=9), version=0, by="root", at=NOW)
    spec = JobSpec(command="true", timeout_s=60, pool="p")

    def asked() -> Counter[str]:
        before = Counter(dynamo.requests.by_operation())
        submit(plane, spec, "ann")
        return Counter(dynamo.requests.by_operation()) - before

    asked()  # a cold process reads the pool, what was learned of it, and the quota
    usual = Counter({"BatchExecuteStatement": 1, "UpdateItem": 1, "GetItem": 1})
    assert asked() == usual
    now[0] += 6
    assert asked() == usual + Counter({"Query": 3})
    assert asked() == usual

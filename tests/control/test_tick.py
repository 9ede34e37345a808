"""The tick at its limits: thousands of waiting jobs, many pools, little time."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

from town import OFFERING, Town

from chalicelib.control import sweep, tick
from chalicelib.control.submit import submit_many
from chalicelib.core.backlog import entry_of
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.store.told import told


class Counted:
    """A table that counts what it is asked."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        self.asked[name] += 1
        return getattr(self._table, name)


def test_thousands_of_waiting_jobs_are_swept_without_asking_for_each(monkeypatch: Any) -> None:
    """One by one they would take longer than a tick may run, and the pools behind would never be woken."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=0))
    jobs = submit_many(town.plane, [JobSpec(command="run 5", timeout_s=60) for _ in range(3000)], "alice")
    town.now += 100
    lost = [jobs[7].job, jobs[2999].job]
    town.stores.backlog.remove([entry_of(job) for job in lost])
    backlog = Counted(town.stores.backlog)
    plane = replace(town.plane, stores=told(replace(town.stores, backlog=backlog)))
    assert sweep.sweep(plane, "default") == 2
    assert backlog.asked == {"head": 1, "put": 2}
    monkeypatch.setattr(sweep, "PAGES_MAX", 2)  # a backlog that is longer than what is read of it
    monkeypatch.setattr(sweep, "PAGE", 500)
    town.stores.backlog.remove([entry_of(jobs[7].job)])
    assert sweep.sweep(plane, "default") == 1


def test_every_pool_is_woken_before_any_is_swept_and_sweeps_end_in_time() -> None:
    """A sweep that takes all the time must not leave the other pools asleep; the next tick begins with another one."""
    town = Town()
    for name in ("a", "b", "c"):
        town.stores.registry.put_pool(name, PoolSpec(offerings=(OFFERING,)), version=None)
    swept: list[str] = []

    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(town.stores.hosts, name)

        def of_pool(self, pool: str) -> Any:
            swept.append(pool)
            town.now += 40
            return town.stores.hosts.of_pool(pool)

    plane = replace(town.plane, stores=told(replace(town.stores, hosts=Slow())))
    before = town.cloud.queues.wakes.sent
    for _ in range(8):
        town.now = 60.0 * (town.now // 60 + 1)
        tick.run(plane)
    assert town.cloud.queues.wakes.sent - before == 8 * 4
    assert set(swept) == {"a", "b", "c", "default"}
    assert len(swept) == 8


def test_rows_of_hosts_that_are_over_are_deleted_after_an_hour() -> None:
    """Each pass reads all rows of its pool; DynamoDB may keep an expired row for days."""
    town = Town()
    town.submit("run 5")
    town.run_until_quiet()
    assert len(town.hosts()) == 1
    town.run(3000)
    assert len(town.hosts()) == 1
    town.run(700)
    assert town.stores.hosts.of_pool("default") == ([], [])

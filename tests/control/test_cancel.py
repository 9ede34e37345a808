"""Cancelling, wherever a job is at that moment: it ends soon, it never runs afterwards, and its host stays trusted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.control import sweep
from chalicelib.control.cancel import cancel
from chalicelib.core.host import HostState
from chalicelib.core.job import JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.store.told import told


class Meanwhile:
    """The jobs table, where something else happens right after one call."""

    def __init__(self, jobs: Any, call: str, happens: Callable[[], None]) -> None:
        self._jobs, self._call, self._happens = jobs, call, happens

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._jobs, name)
        if name != self._call:
            return found

        def called(*args: Any, **kwargs: Any) -> Any:
            answer = found(*args, **kwargs)
            self._happens()
            return answer

        return called


def cancel_while(town: Town, job_id: str, call: str, happens: Callable[[], None]) -> None:
    stores = replace(town.stores, jobs=Meanwhile(town.stores.jobs, call, happens))
    cancel(replace(town.plane, stores=told(stores)), job_id)


@pytest.mark.parametrize("warm", [False, True])
def test_a_job_that_is_placed_in_the_very_moment_of_its_cancellation_is_not_cancelled_behind_its_hosts_back(
    warm: bool,
) -> None:
    """The waiting job is flagged, then placed, then to be ended: by then it is on a host, and only the claim says who ends it."""
    town = Town(PoolSpec(offerings=(OFFERING,), linger_s=600))
    if warm:
        town.submit()
        town.run(59.5)
    job = town.submit("run 300")
    cancel_while(town, job.id, "request_cancel", lambda: town.run(0.1))
    town.run(60)
    assert town.job(job.id).state is JobState.CANCELLED
    assert not any(key in agent.running for agent in town.agents.values() for key in [(job.id, 1)])
    assert not [a for host in town.hosts() for a in host.assignments]
    assert town.hosts()[0].state is HostState.READY


def test_a_job_that_waits_for_its_host_to_boot_is_cancelled_before_the_host_has_heard_of_it() -> None:
    """Its host never learns of the attempt, so no agent could end it: the claim is taken back."""
    town = Town(PoolSpec(offerings=(OFFERING,), linger_s=600, missed_pings_s=86_400))
    first = town.submit("run 100")
    town.run(5)
    second = town.submit("run 100")
    town.run(5)
    assert town.job(second.id).state is JobState.ASSIGNED
    cancel(town.plane, second.id)
    town.run(2)
    assert town.job(second.id).state is JobState.CANCELLED
    town.run(600)
    assert town.job(first.id).state is JobState.SUCCEEDED
    assert (second.id, 1) not in town.began
    assert town.hosts()[0].state is HostState.READY


def test_a_job_that_travels_in_the_user_data_is_cancelled_while_the_machine_boots() -> None:
    town = Town()
    job = town.submit("run 100")
    town.run(5)
    cancel(town.plane, job.id)
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.CANCELLED
    assert not town.began


def test_a_job_that_fails_in_the_very_moment_of_its_cancellation_is_not_tried_again() -> None:
    """It is flagged when its finish was read but not written: whoever puts it back sees the flag."""
    town = Town()
    job = town.submit("fail 5", max_attempts=3)
    town.run(23)
    (agent,) = town.agents.values()
    assert (job.id, 1) in agent.running
    stores = replace(
        town.stores,
        jobs=Meanwhile(town.stores.jobs, "get", lambda: town.stores.jobs.request_cancel(job.id) and None),
    )
    town.plane = replace(town.plane, stores=told(stores))
    town.run(5)
    town.plane = replace(town.plane, stores=told(town.stores))
    assert town.job(job.id).state is JobState.CANCELLED
    town.run_until_quiet()
    assert sum(town.began.values()) == 1


def test_a_cancellation_that_crashed_half_way_is_finished_by_the_sweep() -> None:
    """The flag was set and nothing else: whether it waits or runs, the job ends."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1))
    running, waiting = town.submit("run 500"), town.submit("run 500")
    town.run(40)
    for job in (running, waiting):
        town.stores.jobs.request_cancel(job.id)
    town.now += 61
    assert sweep.sweep(town.plane, "default") == 2
    town.run(5)
    assert {town.job(j.id).state for j in (running, waiting)} == {JobState.CANCELLED}
    assert sweep.sweep(town.plane, "default") == 0

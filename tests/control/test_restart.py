"""Restart, kill and start: all hosts of a pool at once, without ever ending what runs."""

from __future__ import annotations

import pytest
from meddling import a_pool, story
from town import OFFERING, Town

from chalicelib.control import restart, settings
from chalicelib.core.job import JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import Conflict, NotFound


def test_a_restart_replaces_every_host_and_ends_no_attempt() -> None:
    """A generation more: old hosts leave when what runs there has ended, new ones come."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_min=2, missed_pings_s=3600))
    town.run(60)
    old = {machine.id for machine in town.cloud.compute.alive()}
    job = town.submit("run 120")
    town.run(10)
    assert restart.restart(town.plane, "default", by="alice").spec.generation == 1
    town.run(900)
    assert len(town.cloud.compute.alive()) == 2
    assert old.isdisjoint(machine.id for machine in town.cloud.compute.alive())
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert town.job(job.id).attempt == 1
    assert "generation: 0 (inherited) → 1 (by alice, version 2)" in story(town)


def test_two_restarts_are_two_generations() -> None:
    town = Town()
    restart.restart(town.plane, "default", by="alice")
    assert restart.restart(town.plane, "default", by="bob").spec.generation == 2


def test_killing_is_refused_while_jobs_wait_or_run_and_says_how_many() -> None:
    """The last hosts that they could have must not go by a slip of the hand."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1))
    for _ in range(3):
        town.submit("run 300")
    town.run(60)
    with pytest.raises(Conflict, match="1 job waits and 2 jobs run in pool default"):
        restart.kill(town.plane, "default", by="alice")
    assert not a_pool(town).spec.killed


def test_a_forced_kill_lets_what_runs_end_launches_nothing_and_tells_who_waits() -> None:
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1))
    running = [town.submit("run 300") for _ in range(2)]
    town.run(60)
    waiting = town.submit("run 5")
    town.run(5)
    restart.kill(town.plane, "default", by="alice", force=True)
    town.run(600)
    assert [town.job(job.id).state for job in running] == [JobState.SUCCEEDED] * 2
    assert town.cloud.compute.alive() == []
    assert town.job(waiting.id).state is JobState.PENDING
    assert "spillway pool start" in (town.job(waiting.id).waiting_for or "")
    restart.start(town.plane, "default", by="alice")
    town.run(120)
    assert town.job(waiting.id).state is JobState.SUCCEEDED


def test_a_kill_outweighs_minimum_booking_and_a_persons_number_and_a_start_brings_them_back() -> None:
    """Nothing else that was said of the pool is lost in between."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_min=1, hosts_desired=2))
    town.run(60)
    assert len(town.cloud.compute.alive()) == 2
    restart.kill(town.plane, "default", by="alice")
    town.run(200)
    assert town.cloud.compute.alive() == []
    started = restart.start(town.plane, "default", by="alice")
    assert (started.spec.hosts_min, started.spec.hosts_desired, started.spec.killed) == (1, 2, False)
    town.run(60)
    assert len(town.cloud.compute.alive()) == 2


def test_hosts_that_still_boot_are_killed_too() -> None:
    """They would cost a boot for nothing."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_desired=1))
    town.boot_s = 300
    town.run(10)
    restart.kill(town.plane, "default", by="alice")
    town.run(60)
    assert town.cloud.compute.alive() == []


def test_a_start_switches_scaling_on_though_the_stage_has_it_off() -> None:
    town = Town()
    settings.patch_defaults(town.plane, {"scaling_enabled": False}, by="root")
    started = restart.start(town.plane, "default", by="alice")
    assert started.spec.scaling_enabled
    assert started.settings is not None
    assert started.settings["scaling_enabled"] is True


def test_a_pool_that_is_not_there_is_told_so() -> None:
    town = Town()
    for action in (restart.restart, restart.kill, restart.start):
        with pytest.raises(NotFound, match="no pool named none"):
            action(town.plane, "none", by="alice")

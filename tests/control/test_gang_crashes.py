"""Jobs on several hosts under crashes: any function may die between any two calls, messages come twice, and every gang is whole or not."""

from __future__ import annotations

import os
from functools import cache

import pytest
from fragile import fragile
from hypothesis import given, settings
from hypothesis import strategies as st
from town import OFFERING, Crash, Town

from chalicelib.control.cancel import cancel
from chalicelib.core import invariants
from chalicelib.core.pool import PoolSpec


def scenario(burn_at: set[int], seed: int = 0, duplicate: float = 0.0) -> tuple[Town, list[str], int]:
    """A gang on one host that is there and two new ones; one that loses a member while it gathers, then runs; one that fails and is
    repeated; one that is cancelled."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=3, linger_s=60), seed=seed)
    fuse = fragile(town)
    fuse.burn_at = burn_at
    town.duplicate = duplicate
    jobs: list[str] = []

    def submit(command: str, **over: object) -> None:
        key = f"key-{len(jobs)}"
        while True:
            try:
                jobs.append(town.submit(command, idempotency_key=key, **over).id)
                return
            except Crash:
                continue

    submit("run 60")
    town.run(30)
    submit("run 5", hosts=3)
    town.run(10)
    for machine in town.cloud.compute.alive()[1:2]:
        town.cloud.compute.lose(machine.id)
    town.run(45)
    submit("fail 3", hosts=2, max_attempts=2)
    submit("run 400", hosts=2)
    town.run(30)
    for _ in range(3):
        try:
            cancel(town.plane, jobs[-1])
            break
        except Crash:
            continue
    town.run_until_quiet()
    return town, jobs, fuse.calls


def check(town: Town, jobs: list[str]) -> None:
    world = town.world()
    assert {job.id for job in world.jobs} == set(jobs)
    assert not (broken := invariants.at_rest(world)), broken


CALLS_MAX = 1800
LONG = bool(os.environ.get("SPILLWAY_LONG"))
STEP = 7


@cache
def calls() -> int:
    return scenario(set())[2]


def test_every_call_of_the_scenario_is_within_reach() -> None:
    """Its ends are what they should be when nothing crashes."""
    town, jobs, made = scenario(set())
    check(town, jobs)
    assert [town.job(job).state for job in jobs] == ["succeeded", "succeeded", "failed", "cancelled"]
    assert 400 < made <= CALLS_MAX


@pytest.mark.parametrize("slice_", range(STEP) if LONG else (0,))
def test_a_crash_at_any_single_call_loses_and_doubles_nothing(slice_: int) -> None:
    """Every call of the whole scenario is tried as the place of the crash by `make chaos`, a share of them always."""
    for point in range(1 + slice_, calls() + 1, STEP):
        town, jobs, _ = scenario({point})
        try:
            check(town, jobs)
        except AssertionError as error:
            raise AssertionError(f"crash at call {point}: {error}") from error


@settings(max_examples=400 if LONG else 30, deadline=None)
@given(st.sets(st.integers(1, CALLS_MAX), max_size=12), st.integers(0, 99))
def test_many_crashes_and_messages_that_come_twice_lose_and_double_nothing(points: set[int], seed: int) -> None:
    """Crashes anywhere, together with duplicated wakes, timers and pings."""
    town, jobs, _ = scenario(points, seed, duplicate=0.3)
    check(town, jobs)

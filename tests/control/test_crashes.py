"""Invariants under crashes: any function may die between any two calls, messages come twice, and nothing is lost or doubled."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
from fragile import fragile
from hypothesis import given, settings
from hypothesis import strategies as st
from town import OFFERING, Crash, Town

from chalicelib.control.cancel import cancel
from chalicelib.core import invariants
from chalicelib.core.job_spec import Notify
from chalicelib.core.pool import PoolSpec


def check(town: Town, jobs: list[str]) -> None:
    """Every submission was recorded once, and the world is at rest as it should be."""
    assert len(set(jobs)) == len(jobs)
    world = town.world()
    assert {job.id for job in world.jobs} == set(jobs)
    assert not (broken := invariants.at_rest(world)), broken


def scenario(burn_at: set[int], seed: int = 0, duplicate: float = 0.0) -> tuple[Town, list[str], int]:
    """A cold start of four jobs, one of which fails and is repeated; a machine lost while it boots; a warm job; a cancelled one.

    The control plane crashes at the chosen calls.
    """
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=3, linger_s=30), seed=seed)
    fuse = fragile(town)
    fuse.burn_at = burn_at
    town.duplicate = duplicate
    jobs: list[str] = []

    def submit(command: str, **over: Any) -> None:
        key = f"key-{len(jobs)}"
        while True:  # a client retries with the same key until it is answered
            try:
                jobs.append(town.submit(command, idempotency_key=key, **over).id)
                return
            except Crash:
                continue

    submit("run 5", notify=Notify(webhook="https://example.org/x", topic=True))
    for _ in range(2):
        submit("run 5")
    submit("fail 3", max_attempts=2)
    town.run(10)
    for machine in town.cloud.compute.alive()[1:]:
        town.cloud.compute.lose(machine.id)
    town.run(40)
    submit("run 5")
    submit("run 400")
    town.run(20)
    for _ in range(3):
        try:
            cancel(town.plane, jobs[-1])
            break
        except Crash:
            continue
    town.run_until_quiet()
    return town, jobs, fuse.calls


CALLS_MAX = 1200  # of the scenario; its test below says so when it grows


@cache
def calls() -> int:
    """How many calls the scenario makes when nothing crashes."""
    return scenario(set())[2]


def test_every_call_of_the_scenario_is_within_reach() -> None:
    assert 400 < calls() <= CALLS_MAX


@pytest.mark.parametrize("slice_", range(8))
def test_a_crash_at_any_single_call_loses_and_doubles_nothing(slice_: int) -> None:
    """Every call of the whole scenario is tried as the place of the crash."""
    for point in range(1 + slice_, calls() + 1, 8):
        town, jobs, _ = scenario({point})
        try:
            check(town, jobs)
        except AssertionError as error:
            raise AssertionError(f"crash at call {point}: {error}") from error


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, CALLS_MAX), max_size=12), st.integers(0, 99))
def test_many_crashes_and_messages_that_come_twice_lose_and_double_nothing(points: set[int], seed: int) -> None:
    """Crashes anywhere, together with duplicated wakes, timers and pings."""
    town, jobs, _ = scenario(points, seed, duplicate=0.3)
    check(town, jobs)

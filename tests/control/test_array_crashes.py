"""Arrays and graphs under crashes: no element lost, none made twice, nobody forgotten who waits."""

from __future__ import annotations

import json
import os
from functools import cache
from typing import Any

import pytest
from fragile import fragile
from hypothesis import given, settings
from hypothesis import strategies as st
from town import OFFERING, Crash, Town

from chalicelib.control import arrays, passes
from chalicelib.control.cancel import cancel
from chalicelib.control.submit import submit
from chalicelib.core import invariants
from chalicelib.core.arrays import ArrayState
from chalicelib.core.backlog import entry_of
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec

LONG = bool(os.environ.get("SPILLWAY_LONG"))


def insist(do: Any) -> Any:
    """A client tries again until it is answered."""
    while True:
        try:
            return do()
        except Crash:
            continue


def spec(command: str, key: str, **over: Any) -> JobSpec:
    return JobSpec(command=command, timeout_s=600, idempotency_key=key, **over)


def scenario(burn_at: set[int], seed: int = 0, duplicate: float = 0.0) -> tuple[Town, dict[str, str], int]:
    """An array that is launched for, one of whose machines is lost while it boots; another that is cancelled while some of it runs;
    jobs and an array that wait for them, in vain and not.

    The control plane crashes at the chosen calls.
    """
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=3, slots_per_host=2, linger_s=30), seed=seed)
    fuse = fragile(town)
    fuse.burn_at, town.duplicate = burn_at, duplicate
    plane, ids = town.plane, {}

    def array(name: str, command: str, count: int, **over: Any) -> None:
        own = [{"n": index} for index in range(count)]
        ids[name] = insist(lambda: arrays.submit(plane, spec(command, name, **over), count, own, "alice")).array.id

    array("works", "run 5", 9, max_attempts=2)
    ids["then"] = insist(lambda: submit(plane, spec("run 5", "then", after=(ids["works"],)), "alice")).job.id
    town.run(10)
    for machine in town.cloud.compute.alive()[1:2]:
        town.cloud.compute.lose(machine.id)
    town.run(60)
    array("stopped", "run 300", 12)
    array("in vain", "run 5", 4, after=(ids["stopped"],))
    ids["anyway"] = insist(
        lambda: submit(plane, spec("run 5", "anyway", after=(ids["in vain"],), after_on="finish"), "alice")
    ).job.id
    town.run(20)
    insist(lambda: arrays.cancel(plane, ids["stopped"]))
    town.run_until_quiet()
    town.run(240)  # a merge that died comes again when its message shows again
    return town, ids, fuse.calls


def check(town: Town, ids: dict[str, str]) -> None:
    world = town.world()
    assert not (broken := invariants.at_rest(world)), broken
    ended = {name: town.stores.arrays.get(one) for name, one in ids.items() if one.startswith("array-")}
    assert {name: array.state for name, array in ended.items() if array} == {
        "works": ArrayState.SUCCEEDED,
        "stopped": ArrayState.CANCELLED,
        "in vain": ArrayState.SKIPPED,
    }
    assert len(world.arrays) == 3, "a client's retry gives the same array"
    assert town.job(ids["then"]).state is JobState.SUCCEEDED
    assert town.job(ids["anyway"]).state is JobState.SUCCEEDED
    begun = {job for job, _ in town.began}
    assert {f"job-{ids['works'][6:]}-{index:05d}" for index in range(9)} <= begun
    merged = {name: array.results and array.results.rows for name, array in ended.items() if array}
    assert merged == {"works": 9, "stopped": 12, "in vain": None}
    assert town.job(f"job-{ids['works'][6:]}-00004").spec.parameters == {"n": 4}


CALLS_MAX = 2500  # of the scenario; its test below says so when it grows


@cache
def calls() -> int:
    return scenario(set())[2]


def test_every_call_of_the_scenario_is_within_reach() -> None:
    assert 500 < calls() <= CALLS_MAX
    check(*scenario(set())[:2])


@pytest.mark.parametrize("slice_", range(8))
def test_a_crash_at_any_single_call_loses_and_doubles_nothing(slice_: int) -> None:
    """Every third call of the scenario is tried as the place of the crash; every one in the long games."""
    for point in range(1 + slice_, calls() + 1, 8 if LONG else 24):
        town, ids, _ = scenario({point})
        try:
            check(town, ids)
        except AssertionError as error:
            raise AssertionError(f"crash at call {point}: {error}") from error


@settings(max_examples=40, deadline=None)
@given(st.sets(st.integers(1, CALLS_MAX), max_size=12), st.integers(0, 99))
def test_many_crashes_and_messages_that_come_twice_lose_and_double_nothing(points: set[int], seed: int) -> None:
    """Crashes anywhere, together with duplicated wakes, timers and pings."""
    town, ids, _ = scenario(points, seed, duplicate=0.3)
    check(town, ids)


def overtaken(at: int, meanwhile: Any) -> tuple[Town, str]:
    """An array of eight, a failed launch among what happens to it; at one call of whatever runs, something else comes in between."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=2, slots_per_host=2, linger_s=30))
    town.cloud.compute.limit(OFFERING, 1)
    fuse = fragile(town)
    array = arrays.submit(town.plane, spec("run 5", "a"), 8, [{"n": n} for n in range(8)], "alice").array
    fuse.order(at, lambda _: meanwhile(town, array.id))
    town.run(20)
    town.cloud.compute.limit(OFFERING, None)
    town.run_until_quiet()
    return town, array.id


@pytest.mark.parametrize("at", range(1, 200, 7))
def test_a_cancellation_may_come_between_any_two_calls(at: int) -> None:
    """Whatever makes elements meanwhile: none runs on, none is forgotten."""
    town, array_id = overtaken(at, lambda town, one: arrays.cancel(town.plane, one))
    assert not (broken := invariants.at_rest(town.world())), broken
    array = arrays.get(town.plane, array_id)
    assert array.state is ArrayState.CANCELLED
    assert arrays.counts(town.plane, array).get("cancelled", 0) + sum(town.began.values()) >= 8


@pytest.mark.parametrize("at", range(1, 200, 7))
def test_a_second_pass_may_come_between_any_two_calls(at: int) -> None:
    """Two passes that make elements at the same time make each once."""
    town, array_id = overtaken(
        at, lambda town, one: passes.receive(town.plane, json.dumps({"v": 1, "pool": "default"}))
    )
    assert not (broken := invariants.at_rest(town.world())), broken
    assert arrays.get(town.plane, array_id).state is ArrayState.SUCCEEDED
    assert set(town.began.values()) == {1}
    assert {job for job, _ in town.began} == {f"job-{array_id[6:]}-{index:05d}" for index in range(8)}


@pytest.mark.parametrize("at", range(1, 40))
def test_what_is_waited_for_may_end_while_somebody_begins_to_wait(at: int) -> None:
    """Between the flag and the end there is no moment in which nobody is told; and no sweep is needed for it."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=0))
    first = town.submit("run 1")
    array = arrays.submit(town.plane, spec("run 1", "array"), 3, None, "alice").array
    fuse = fragile(town)

    def end(_: Any) -> None:
        cancel(town.plane, first.id)
        arrays.cancel(town.plane, array.id)

    fuse.order(at, end)
    waits = spec("run 1", "late", after=(first.id, array.id), after_on="finish")
    late = submit(town.plane, waits, "alice").job
    if fuse.orders:  # it was done before that many calls
        end(None)
    assert town.job(late.id).state is JobState.PENDING
    assert town.stores.backlog.has(entry_of(town.job(late.id)))

"""Launches that EC2 takes only so many of: tokens, throttling, quotas, and hosts that it does not give."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from fragile import fragile
from town import OFFERING, Crash, Town

from chalicelib.control import passes
from chalicelib.control.launches import HALVED
from chalicelib.control.submit import submit_many
from chalicelib.core import invariants
from chalicelib.core.bucket import Ask, Taken
from chalicelib.core.host import HostState, Offering
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import CapacityRefused, CloudUnavailable, Throttled
from chalicelib.store.told import told

THROTTLED = Throttled("RequestLimitExceeded: EC2 gets too many requests")
OTHER = Offering(region="us-east-1", instance_type="m7i.large")


def a_town(hosts_max: int = 2000, **spec: object) -> Town:
    """One job a host."""
    return Town(PoolSpec(**({"offerings": (OFFERING,), "hosts_max": hosts_max, "slots_per_host": 1} | spec)))  # type: ignore[arg-type]


def submit(town: Town, count: int, command: str = "run 5") -> list[str]:
    return [
        submitted.job.id
        for first in range(0, count, 500)
        for submitted in submit_many(
            town.plane, [JobSpec(command=command, timeout_s=2000) for _ in range(min(500, count - first))], "alice"
        )
    ]


def jobs_of(town: Town, ids: list[str]) -> list[Job]:
    return list(town.stores.jobs.get_many(ids).values())


def calls(town: Town) -> list[int]:
    """How many hosts each RunInstances call asked for."""
    return [len(call.detail["launch"].hosts) for call in town.cloud.calls.of("ec2.RunInstances")]


def test_many_single_job_hosts_are_few_calls_under_ec2s_rate() -> None:
    """The rate is an invariant of the town (`launch_rate`), asked at every moment. `bench.launch` does it with 1,000."""
    town = a_town()
    ids = submit(town, 450)
    town.run(0.5)
    waiting = [job for job in jobs_of(town, ids) if job.state is JobState.PENDING and job.waiting_for]
    assert any("only so many launches a second" in (job.waiting_for or "") for job in waiting)
    town.run(59)
    assert {job.state for job in jobs_of(town, ids)} == {JobState.SUCCEEDED}
    assert len(town.cloud.compute.machines) == 450
    assert len(calls(town)) == 5
    assert sum(calls(town)) == 450
    assert set(town.began.values()) == {1}


def test_all_pools_share_the_tokens_of_a_region() -> None:
    """Twenty pools with a job each: as many launches at once as EC2 takes, the others a moment later, and none is throttled."""
    town = Town()
    for n in range(20):
        town.stores.registry.put_pool(f"pool-{n:02d}", PoolSpec(offerings=(OFFERING,)), version=None)
    for n in range(20):
        town.submit("run 5", pool=f"pool-{n:02d}")
    town.run(0.5)
    assert 0 < len(calls(town)) <= 5
    town.run(15)
    assert calls(town) == [1] * 20


class Overtaken:
    """Buckets; a newer pass begins the moment after tokens were taken for the first time."""

    def __init__(self, town: Town) -> None:
        self._town, self._first = town, True

    def take(self, region: str, asks: Sequence[Ask], now: float) -> Taken:
        taken = self._town.stores.buckets.take(region, asks, now)
        if self._first:
            self._town.stores.registry.begin_pass("default")
        self._first = False
        return taken


def test_the_tokens_of_a_pass_that_launches_nothing_go_back() -> None:
    """A thousand hosts are a whole bucket, and it takes eight minutes to fill."""
    town = a_town()
    town.watched = False
    submit(town, 900)
    buckets: Any = Overtaken(town)
    town.plane = replace(town.plane, stores=told(replace(town.stores, buckets=buckets)))
    assert town.invoke(passes.receive, '{"pool": "default"}')
    assert not calls(town)
    town.run(1)
    assert calls(town)[:4] == [100] * 4


def test_while_ec2_throttles_a_pool_nothing_is_asked_of_it() -> None:
    """2 s, then 4, then 8 (and up to a quarter more): never by messages that come again. The jobs that came meanwhile say until when."""
    town = a_town()
    town.cloud.calls.fail("ec2.RunInstances", THROTTLED, times=3)
    first = town.submit("run 5")
    town.run(1)
    late = town.submit("run 5")
    town.run(0.5)
    assert "EC2 gets too many requests" in (town.job(late.id).waiting_for or "")
    town.run(60)
    times = [call.at - 1_000_000 for call in town.cloud.calls.of("ec2.RunInstances")]
    gaps = [after - before for before, after in pairwise(times)]
    for gap, wait_s in zip(gaps, (2, 4, 8), strict=False):
        assert wait_s <= gap <= wait_s * 1.25 + 1
    assert {town.job(first.id).state, town.job(late.id).state} == {JobState.SUCCEEDED}
    assert town.job(first.id).attempt == 1  # its launch was kept, and its job on its host
    assert any(line.event == "throttled" for line in town.stores.story.of("pool/default"))
    pool = town.stores.registry.pool("default")
    assert pool is not None
    assert pool.supply.backoff_until == 0.0


def test_a_throttled_second_try_does_not_give_away_what_the_first_one_launched() -> None:
    town = a_town()
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)
    town.cloud.calls.fail("ec2.RunInstances", THROTTLED, times=2)
    job = town.submit("run 5")
    town.run(120)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert (len(town.cloud.compute.machines), town.began) == (1, {(job.id, 1): 1})


def test_a_quota_is_found_by_halving() -> None:
    """100 are refused, 50 too, 25 are given; what is left of the quota is found likewise, and only then the offering is skipped."""
    town = a_town()
    town.cloud.compute.quota(OFFERING, 30)
    ids = submit(town, 100, "run 1000")
    town.run(20)
    assert calls(town)[:3] == [100, 50, 25]
    assert len(town.cloud.compute.alive()) == 30
    assert calls(town)[-1] == 1
    pool = town.stores.registry.pool("default")
    assert pool is not None
    assert pool.supply.skips
    waiting = [job for job in jobs_of(town, ids) if job.state is JobState.PENDING]
    assert len(waiting) == 70
    assert all("VcpuLimitExceeded" in job.reason for job in waiting)
    for machine in town.cloud.compute.alive():
        host = next(h for h in town.hosts() if h.instance_id == machine.id)
        (on_it,) = host.assignments
        assert town.agents[machine.id].entry["host"] == host.id  # launch index and row agree
        assert town.agents[machine.id].entry["assignments"][0]["job"] == on_it.job
    count = len(calls(town))
    town.run(120)
    assert len(calls(town)) == count  # skipped for three minutes


@pytest.mark.parametrize(
    ("code", "asked"),
    [(code, [4, 2, 2]) for code in sorted(HALVED)] + [("InsufficientInstanceCapacity", [4])],
)
def test_what_is_refused_because_there_are_too_many_is_asked_for_by_half(code: str, asked: list[int]) -> None:
    """EC2 says these of a number, all or nothing; of capacity it would have given what it has."""
    town = a_town()
    town.cloud.calls.fail("ec2.RunInstances", CapacityRefused(code, "no"))
    submit(town, 4)
    town.run(10)
    assert calls(town) == asked


def test_what_ec2_does_not_give_waits_again_with_a_reason_and_the_next_offering_gives_it() -> None:
    town = a_town(offerings=(OFFERING, OTHER))
    town.cloud.compute.limit(OFFERING, 7)
    ids = submit(town, 10)
    town.run(60)
    assert {job.state for job in jobs_of(town, ids)} == {JobState.SUCCEEDED}
    given = [m.offering.instance_type for m in town.cloud.compute.machines.values()]
    assert sorted(given) == ["c7i.large"] * 7 + ["m7i.large"] * 3
    reasons = [line.reason for i in ids for line in town.stores.story.of(i)]
    assert sum("EC2 gave 7 of 10 hosts" in reason for reason in reasons) == 3


def halving(burn_at: set[int]) -> tuple[Town, list[str], int]:
    """Six jobs where the quota is two, until it is lifted: a launch of six, of three, of one; a function may die at the chosen calls."""
    town = a_town(linger_s=30)
    town.cloud.compute.quota(OFFERING, 2)
    ids = submit(town, 6, "run 30")
    fuse = fragile(town)
    fuse.burn_at = burn_at
    town.run(20)  # shorter than until a launch is sent again
    calls_made = fuse.calls
    town.cloud.compute.quota(OFFERING, None)
    town.run_until_quiet()
    return town, ids, calls_made


@pytest.mark.parametrize("slice_", range(4))
def test_a_crash_at_any_call_of_a_launch_that_is_halved_loses_and_doubles_nothing(slice_: int) -> None:
    """In particular: no attempt is given away whose host may still be launched, by this request or by the one before it."""
    calls_made = halving(set())[2]
    assert calls_made > 300
    for point in range(1 + slice_, calls_made + 1, 4):
        town, ids, _ = halving({point})
        try:
            world = town.world()
            assert {job.id for job in world.jobs} == set(ids)
            assert not (broken := invariants.at_rest(world)), broken
            assert {job.state for job in world.jobs} == {JobState.SUCCEEDED}
        except AssertionError as error:
            raise AssertionError(f"crash at call {point}: {error}") from error


def test_a_function_that_dies_while_it_halves_leaves_hosts_that_may_come_and_hosts_that_never_do() -> None:
    """The row names the first half: those keep their jobs until EC2 has answered; the other half is given up half a minute later."""
    town = a_town()
    town.cloud.compute.quota(OFFERING, 3)
    ids = submit(town, 4, "run 300")
    narrow = town.stores.hosts.narrow_launch

    def die(*args: object) -> bool:
        narrow(*args)  # type: ignore[arg-type]
        town.stores.hosts.narrow_launch = narrow  # type: ignore[method-assign]
        raise Crash

    town.stores.hosts.narrow_launch = die  # type: ignore[method-assign]
    town.run(1)
    (launch,) = town.stores.hosts.of_pool("default")[1]
    assert (len(launch.hosts), launch.tries, launch.recorded) == (2, 2, False)
    town.cloud.compute.quota(OFFERING, None)
    town.run(70)
    assert sorted(m.launch.token for m in town.cloud.compute.machines.values())[:2] == [f"{launch.id}-2"] * 2
    rows = {host.id: host for host in town.hosts()}
    assert {rows[i].state for i in launch.hosts} == {HostState.READY}
    assert {job.state for job in jobs_of(town, ids)} == {JobState.RUNNING}
    assert set(town.began.values()) == {1}

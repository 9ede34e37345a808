"""Owners share a pool, in the town: real submissions, passes, hosts and agents."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.control.cancel import cancel
from chalicelib.control.submit import submit, submit_many
from chalicelib.core.fairness import FORGET_S, place_of
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import StoreUnavailable

JOB_S = 10


def a_town(hosts: int = 2) -> Town:
    """Of so many hosts with two slots each."""
    return Town(PoolSpec(offerings=(OFFERING,), hosts_max=hosts))


def flood(town: Town, owner: str, number: int, **spec: Any) -> list[Job]:
    given = {"command": f"run {JOB_S}", "timeout_s": 600, **spec}
    return [s.job for s in submit_many(town.plane, [JobSpec(**given) for _ in range(number)], owner)]


def started(town: Town, job: Job) -> float | None:
    return town.job(job.id).entered.get(JobState.RUNNING)


def ended(town: Town, jobs: list[Job]) -> int:
    return sum(town.job(job.id).ended for job in jobs)


@pytest.mark.parametrize("share", [False, True])
@pytest.mark.parametrize("after_s", [0, 100, 400])
def test_one_job_of_another_owner_does_not_wait_for_a_flood(after_s: int, share: bool) -> None:
    """It starts within about one job's time (and what was handed over ahead) and the boot of a host of its own, early in the flood and late
    in it; where hosts are shared, without that boot."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=2, share_hosts=share))
    flood(town, "ann", 500)
    town.run(60 + after_s)
    (one,) = flood(town, "bob", 1)
    at = town.now
    town.run(6 * JOB_S + town.boot_s)
    begun = started(town, one)
    assert begun is not None
    assert begun - at <= 3 * JOB_S + (0 if share else town.boot_s)


def test_equal_demands_get_equal_shares() -> None:
    """Ann came first and has had the pool for a while; from when both wait, each gets half. Both are believed to take the same."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=2, estimated_s=JOB_S))
    ann = flood(town, "ann", 200)
    town.run(100)
    before = ended(town, ann)
    bob = flood(town, "bob", 200)
    town.run(300)
    of_ann, of_bob = ended(town, ann) - before, ended(town, bob)
    assert of_bob >= 30
    assert abs(of_ann - of_bob) <= 12  # what was handed to hosts before bob came, and one job of each


def test_a_priority_class_comes_before_any_share() -> None:
    """An owner who has had far more than others still comes first with what is more urgent."""
    town = a_town()
    flood(town, "ann", 100)
    town.run(100)
    flood(town, "bob", 100)
    (urgent,) = flood(town, "ann", 1, priority=1)
    at = town.now
    town.run(6 * JOB_S)
    begun = started(town, urgent)
    assert begun is not None
    assert begun - at <= 3 * JOB_S


def test_what_an_owner_asks_in_one_class_is_not_held_against_it_in_another() -> None:
    """Between classes nothing is shared: a night's flood of low priority must not push the same owner's urgent jobs back."""
    town = a_town(hosts=0)
    flood(town, "ann", 300, priority=9)
    (urgent,) = flood(town, "ann", 1, priority=1)
    assert place_of(urgent.rank) == ("1", 0.0)


def test_an_owner_alone_is_served_in_order_and_not_slowed() -> None:
    """The last of 80 jobs on four slots is done when twenty rounds of work are."""
    town = a_town()
    jobs = flood(town, "ann", 80)
    begun_at = town.now
    town.run(town.boot_s + 20 * JOB_S + 60)
    assert ended(town, jobs) == 80
    starts = [started(town, job) or 0.0 for job in jobs]
    for earlier, later in zip(starts, starts[8:], strict=False):
        assert earlier <= later  # but for what was handed over together
    assert max(starts) - begun_at <= 20 * JOB_S + town.boot_s + 60


def test_who_had_the_pool_alone_is_not_punished_afterwards() -> None:
    """All of ann's jobs took a fraction of what was believed; she owes nothing when bob's flood comes."""
    town = a_town()
    jobs = flood(town, "ann", 100, command="run 1")
    town.run(200)
    assert ended(town, jobs) == 100
    bobs = flood(town, "bob", 400, command="run 1")
    (one,) = flood(town, "ann", 1)
    at = town.now
    town.run(60)
    begun = started(town, one)
    assert begun is not None
    assert (
        begun - at <= 45
    )  # behind 60 of bob's jobs on four slots, and a boot: half a minute was believed of her last one
    assert ended(town, bobs) < 300


def test_a_cancelled_flood_is_forgiven_after_an_hour() -> None:
    """Nobody served it, so the clock never comes to where it ends; that must not last."""
    town = a_town(hosts=0)
    for job in flood(town, "ann", 300):
        cancel(town.plane, job.id)
    (soon,) = flood(town, "ann", 1)
    assert place_of(soon.rank)[1] > 1000
    town.now += FORGET_S + 2
    (later,) = flood(town, "ann", 1)
    assert place_of(later.rank)[1] == 0.0


def test_a_repeated_submission_keeps_its_first_rank_and_is_not_charged_again() -> None:
    """A client that lost our answer asks again: nobody's place changes, its own included."""
    town = a_town(hosts=0)
    spec = JobSpec(command="run 5", timeout_s=600, idempotency_key="k")
    first = submit(town.plane, spec, "ann").job
    for _ in range(5):
        again = submit(town.plane, spec, "ann")
        assert not again.created
        assert again.job.rank == first.rank
    submit_many(town.plane, [spec, replace(spec, idempotency_key="l")], "ann")
    (other,) = flood(town, "ann", 1)
    assert place_of(other.rank)[1] == pytest.approx(place_of(first.rank)[1] + 2 * 30.0)
    assert len(town.stores.backlog.head("default", 100)) == 3


def test_a_submission_is_not_refused_for_the_sake_of_fairness() -> None:
    """Where the share cannot be charged, the job starts from the pool's clock."""

    class Down:
        def __getattr__(self, name: str) -> Any:
            raise StoreUnavailable("throttled")

    town = a_town()
    town.plane = replace(town.plane, stores=replace(town.plane.stores, shares=Down()))
    job = town.submit("run 5")
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_a_batch_is_charged_once_and_each_job_in_turn() -> None:
    """One request for 500 jobs; the costs of different jobs add up in the order of the batch."""
    town = a_town(hosts=0)
    asked: list[float] = []

    class Counted:
        def advance(self, pool: str, share: str, cost: float, **facts: float) -> float:
            asked.append(cost)
            return town.stores.shares.advance(pool, share, cost, **facts)

    plane = replace(town.plane, stores=replace(town.plane.stores, shares=Counted()))
    specs = [JobSpec(command="run 5", timeout_s=seconds) for seconds in (10, 20, 30, 60)]
    jobs = [s.job for s in submit_many(plane, specs, "ann")]
    assert asked == [60.0]  # of a minute at most each, half a host
    assert [place_of(job.rank)[1] for job in jobs] == [0.0, 5.0, 15.0, 30.0]

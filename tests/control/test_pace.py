"""How often a pool is looked at: often enough for what waits, and never for nothing. Each look costs money."""

from __future__ import annotations

from collections import Counter

from town import OFFERING, Town

from chalicelib.control import reconcile_pool
from chalicelib.control.submit import submit_many
from chalicelib.core.bucket import Ask
from chalicelib.core.host import Launch, Offering
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import CloudUnavailable


def passes(town: Town) -> int:
    pool = town.stores.registry.pool("default")
    assert pool is not None
    return pool.pass_no


def passes_in(town: Town, seconds: float) -> int:
    before = passes(town)
    town.run(seconds)
    return passes(town) - before


def test_an_idle_pool_is_looked_at_once_a_minute() -> None:
    town = Town()
    town.run(200)
    assert passes_in(town, 600) == 10


def test_idle_hosts_that_the_minimum_keeps_do_not_make_passes_race() -> None:
    """Their linger is over, and no time changes that they stay."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_min=1, missed_pings_s=86_400))
    town.run(200)
    assert passes_in(town, 600) == 10


def test_a_backlog_longer_than_a_pass_reads_does_not_make_passes_race_on_a_full_pool() -> None:
    """Five hundred entries are read at once; that there are more is no reason to look again, where none of them found a place."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1))
    submit_many(town.plane, [JobSpec(command="run 5000", timeout_s=6000) for _ in range(700)], "alice")
    assert passes_in(town, 300) < 20


def test_a_backlog_longer_than_a_pass_reads_is_placed_by_the_passes_that_follow() -> None:
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=400))
    jobs = submit_many(town.plane, [JobSpec(command="run 5", timeout_s=60) for _ in range(700)], "alice")
    town.run(59)
    assert {town.job(s.job.id).state for s in jobs} == {JobState.SUCCEEDED}


def test_a_launch_that_ec2_does_not_answer_is_sent_again_now_and_then() -> None:
    """EC2 is throttling us: asking each second makes it worse."""
    town = Town()
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("throttled"), times=10_000)
    town.submit()
    town.run(600)
    assert 10 <= town.cloud.calls.count("ec2.RunInstances") <= 40
    assert passes(town) < 60


def test_hosts_are_listed_each_minute_also_where_the_pool_was_idle_before() -> None:
    """An idle pool's list is due in a quarter of an hour; a host that comes meanwhile must not wait for that."""
    town = Town()
    town.run(100)
    town.submit("run 2000")
    before = town.cloud.calls.count("ec2.DescribeInstances")
    town.run(300)
    assert town.cloud.calls.count("ec2.DescribeInstances") - before >= 4


def test_a_host_in_a_region_that_the_pool_has_left_is_still_listed() -> None:
    """Its region is no longer asked for new hosts; its running attempt is not lost, its instance not forgotten."""
    town = Town(PoolSpec(offerings=(OFFERING,), missed_pings_s=86_400))
    job = town.submit("run 500")
    town.run(60)
    elsewhere = PoolSpec(offerings=(Offering(region="us-west-2", instance_type="c7i.large"),), missed_pings_s=86_400)
    assert town.stores.registry.put_pool("default", elsewhere, version=1)
    town.run(400)
    assert town.job(job.id).state is JobState.RUNNING
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_a_doorbell_that_ssm_refused_rings_again_without_waiting_for_the_tick() -> None:
    """A fresh machine registers with Run Command some seconds after its agent speaks."""
    town = Town(PoolSpec(offerings=(OFFERING,), linger_s=3600))
    town.submit("run 1")
    town.run(61)
    machine = town.cloud.compute.alive()[0]
    machine.registered = False
    job = town.submit("run 1")
    town.run(1)
    machine.registered = True
    town.run(4)
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_what_a_job_waits_for_is_not_written_again_at_each_pass() -> None:
    """A busy pool is looked at several times a second; each write costs. Other words are worth one, other numbers are not."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1))
    written: list[str] = []
    wait_for = town.stores.jobs.wait_for
    town.stores.jobs.wait_for = lambda job, *rest: written.append(job) or wait_for(job, *rest)  # type: ignore[method-assign,func-returns-value]
    jobs = submit_many(town.plane, [JobSpec(command="run 1", timeout_s=60) for _ in range(40)], "alice")
    town.run(59)
    assert passes(town) > 40
    assert {town.job(s.job.id).state for s in jobs[:30]} == {JobState.SUCCEEDED}
    assert max(Counter(written).values()) <= 2  # once durations are learned, the wait can be foretold


def test_a_pass_begins_no_launch_that_its_function_would_not_live_to_record() -> None:
    """Where tables are slow a launch takes 16 s: a second one would be begun in time, and cut off half way."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=400, slots_per_host=1))
    submit_many(town.plane, [JobSpec(command="run 5", timeout_s=60) for _ in range(300)], "alice")
    put, took = town.stores.hosts.put_launch, []

    def slow(launch: Launch) -> bool:
        town.now += 16.0
        took.append(launch)
        return put(launch)

    town.stores.hosts.put_launch = slow  # type: ignore[method-assign]
    started_at = town.now
    reconcile_pool.run(town.plane, "default")
    assert len(took) == 1
    assert town.now - started_at < 30
    taken = town.stores.buckets.take("us-east-1", [Ask(1)] * 4 + [Ask(1)], town.now)
    assert taken.whole == 4  # the tokens of those that were not sent were given back
    assert town.stores.buckets._buckets["us-east-1"].instances == 990 - 100 - 4


def test_in_a_long_queue_everybodys_row_says_what_it_waits_for() -> None:
    """A pass writes a few of them; the others have their turn, though nothing else happens than a tick a minute."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=1, slots_per_host=1))
    jobs = submit_many(town.plane, [JobSpec(command="run 5000", timeout_s=6000) for _ in range(90)], "alice")
    town.run(600)
    rows = [town.job(each.job.id) for each in jobs]
    waiting = [job for job in rows if job.state is JobState.PENDING]
    assert len(waiting) == 89
    assert [job.id for job in waiting if not job.waiting_for] == []

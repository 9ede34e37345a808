"""The use-cases together, against memory tables and memory AWS."""

from __future__ import annotations

from dataclasses import replace

import pytest
from town import OFFERING, Town

from chalicelib.control.cancel import cancel
from chalicelib.control.submit import KEY_AHEAD_MAX_S, TIMED_KEY_AGE_MAX_S, submit, submit_many
from chalicelib.core.backlog import entry_of
from chalicelib.core.host import HostState
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest, Conflict
from chalicelib.ids import derived_id


def spec(**over: object) -> JobSpec:
    return JobSpec(**{"command": "run 5", "timeout_s": 600, **over})  # type: ignore[arg-type]


def test_a_job_is_launched_run_settled_and_its_host_leaves() -> None:
    """The whole way: submitted, booted with the job in user data, finished, lingered, gone."""
    town = Town()
    job = town.submit()
    town.run(30)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert town.job(job.id).entered.keys() >= {"pending", "assigned", "running", "succeeded"}
    assert not town.cloud.compute.rings, "a job in the user data needs no doorbell"
    town.run_until_quiet()
    assert [h.state for h in town.hosts()] == [HostState.TERMINATED]


def test_twenty_jobs_of_one_batch_take_one_run_instances_call() -> None:
    """n hosts, each with its job in the user data, are one call and not n."""
    town = Town(PoolSpec(offerings=(OFFERING,), slots_per_host=1, hosts_max=20))
    jobs = submit_many(town.plane, [spec() for _ in range(20)], "alice")
    town.run(40)
    assert town.cloud.calls.count("ec2.RunInstances") == 1
    assert len(town.cloud.compute.machines) == 20
    assert {town.job(s.job.id).state for s in jobs} == {JobState.SUCCEEDED}


def test_a_warm_host_is_rung_and_no_other_is_launched() -> None:
    """A job that fits on a ready host goes there through its inbox."""
    town = Town()
    town.submit()
    town.run(30)
    second = town.submit()
    town.run(10)
    assert town.job(second.id).state is JobState.SUCCEEDED
    assert len(town.cloud.compute.machines) == 1
    assert len(town.cloud.compute.rings) == 1


def test_a_job_that_comes_while_a_host_boots_waits_for_that_host() -> None:
    """Launching capacity counts: one job never causes two hosts."""
    town = Town()
    first = town.submit()
    town.run(5)
    second = town.submit()
    town.run(60)
    assert {town.job(j.id).state for j in (first, second)} == {JobState.SUCCEEDED}
    assert len(town.cloud.compute.machines) == 1


def test_what_ec2_did_not_give_waits_again_with_a_reason() -> None:
    """Partial fulfilment: the rest of the jobs go back to the backlog and run later."""
    town = Town(PoolSpec(offerings=(OFFERING,), slots_per_host=1))
    town.cloud.compute.limit(OFFERING, 3)
    jobs = [s.job for s in submit_many(town.plane, [spec() for _ in range(8)], "alice")]
    town.run(5)
    assert len(town.cloud.compute.machines) == 3
    waiting = [town.job(j.id) for j in jobs if town.job(j.id).state is JobState.PENDING]
    assert len(waiting) == 5
    assert all("no c7i.large on-demand in us-east-1 until" in job.waiting_for for job in waiting)
    town.run_until_quiet()
    assert {town.job(j.id).state for j in jobs} == {JobState.SUCCEEDED}


def test_a_job_waits_for_capacity_as_long_as_it_takes() -> None:
    """Refused launches are nobody's fault and count against nobody's patience."""
    town = Town()
    town.cloud.compute.refuse(OFFERING, "InsufficientInstanceCapacity")
    job = town.submit()
    town.run(3 * 3600)
    assert town.cloud.calls.count("ec2.RunInstances") > 20
    assert town.job(job.id).state is JobState.PENDING
    town.cloud.compute.allow(OFFERING)
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_a_job_that_every_host_fails_is_given_up_and_says_so() -> None:
    """Machines that die while they boot cost money: not for ever."""
    town = Town(PoolSpec(offerings=(OFFERING,), boot_timeout_s=60))
    town.boot_s = 1_000_000
    job = town.submit()
    town.run(6 * 3600)
    done = town.job(job.id)
    assert done.state is JobState.LOST
    assert "hosts failed it before it began" in done.reason
    assert len(town.cloud.compute.machines) == 11


def test_a_refused_offering_is_left_alone_for_a_while() -> None:
    """A refusal is remembered on the pool: no launch is tried again within three minutes."""
    town = Town()
    town.cloud.compute.refuse(OFFERING, "InsufficientInstanceCapacity")
    town.submit()
    town.run(170)
    assert town.cloud.calls.count("ec2.RunInstances") == 1
    town.cloud.compute.allow(OFFERING)
    town.run(60)
    assert len(town.cloud.compute.machines) == 1


def test_a_waiting_job_is_cancelled_at_once_and_costs_nothing() -> None:
    town = Town()
    town.cloud.compute.refuse(OFFERING, "InsufficientInstanceCapacity")
    job = town.submit()
    town.run(5)
    assert cancel(town.plane, job.id).state is JobState.CANCELLED
    town.cloud.compute.allow(OFFERING)
    town.run(600)
    assert not town.cloud.compute.machines


def test_a_running_job_is_cancelled_through_the_doorbell() -> None:
    town = Town()
    job = town.submit("run 500")
    town.run(40)
    assert cancel(town.plane, job.id).state is JobState.RUNNING
    town.run(5)
    assert town.job(job.id).state is JobState.CANCELLED


def test_a_job_that_may_have_begun_is_never_repeated() -> None:
    """At most once is the default: the machine dies under a running attempt, and the job is lost, not run again."""
    town = Town()
    job = town.submit("run 500")
    town.run(40)
    town.cloud.compute.lose(next(iter(town.agents)))
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.LOST
    assert town.began == {(job.id, 1): 1}


def test_a_job_that_never_began_moves_to_another_host_free_of_charge() -> None:
    """The machine dies while it boots: its claim is won back and the job runs elsewhere, with nothing charged."""
    town = Town()
    job = town.submit()
    town.run(5)
    (machine,) = town.cloud.compute.alive()
    town.cloud.compute.lose(machine.id)
    town.run_until_quiet()
    done = town.job(job.id)
    assert (done.state, done.attempt, done.charged) == (JobState.SUCCEEDED, 2, 1)
    assert sum(town.began.values()) == 1


def test_a_failed_attempt_is_repeated_as_often_as_the_job_allows() -> None:
    town = Town()
    job = town.submit("fail 5", max_attempts=3)
    town.run_until_quiet()
    done = town.job(job.id)
    assert (done.state, done.attempt, done.charged) == (JobState.FAILED, 3, 3)
    assert sum(town.began.values()) == 3


def test_the_same_idempotency_key_gives_the_same_job() -> None:
    town = Town()
    first = submit(town.plane, spec(idempotency_key="k"), "alice")
    again = submit(town.plane, spec(idempotency_key="k"), "alice")
    other = submit(town.plane, spec(idempotency_key="k"), "bob")
    assert first.created
    assert not again.created
    assert again.job.id == first.job.id != other.job.id
    with pytest.raises(Conflict, match="another body"):
        submit(town.plane, spec(idempotency_key="k", command="run 6"), "alice")


def test_a_batch_whose_keys_conflict_records_nothing() -> None:
    """All or none: the conflict in the second job is met before the first is written."""
    town = Town()
    with pytest.raises(Conflict, match=r"jobs\[1\].idempotency_key"):
        submit_many(town.plane, [spec(idempotency_key="k"), spec(idempotency_key="k", command="run 6")], "alice")
    assert not town.stores.jobs.active("default")[0]


@pytest.mark.parametrize(
    ("over", "field"),
    [
        ({"cpu": 64.0}, "cpu"),
        ({"memory_mib": 1_000_000}, "memory_mib"),
        ({"slots": 9}, "slots"),
        ({"pool": "nowhere"}, "pool"),
        ({"timeout_s": 999_999}, "timeout_s"),
    ],
)
def test_what_no_host_could_run_is_refused_by_field(over: dict[str, object], field: str) -> None:
    """A job is told at submit that it can never run, instead of waiting for ever."""
    town = Town()
    with pytest.raises(BadRequest) as refusal:
        submit_many(town.plane, [spec(), spec(**over)], "alice")
    assert [f.field for f in refusal.value.faults] == [f"jobs[1].{field}"]
    assert not town.stores.jobs.active("default")[0], "nothing of a refused batch is written"


def test_a_ping_of_a_stranger_is_set_aside_and_told() -> None:
    """The sender is what SQS says, not what the message says."""
    town = Town()
    job = town.submit("run 500")
    town.run(40)
    (agent,) = town.agents.values()
    agent.userid = "AROATOWN:i-somebodyelse"
    town._finish(agent, (job.id, 1), town.now)
    town.run(5)
    assert town.job(job.id).state is JobState.RUNNING
    assert [n["type"] for n in town.cloud.notices.published] == ["message_quarantined"]


def test_a_launch_whose_answer_was_lost_is_resumed_and_not_repeated() -> None:
    """EC2 got the request and we crashed: the same ClientToken brings the same machine."""
    town = Town()
    town.cloud.calls.fail("ec2.RunInstances", TimeoutCrash(), answer_lost=True)
    job = town.submit("run 5")
    town.run(100)
    assert len(town.cloud.compute.machines) == 1
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_an_instance_that_no_row_knows_is_terminated() -> None:
    """An orphan costs money: it is terminated and told."""
    town = Town()
    from chalicelib.core.host import Launch

    launch = Launch(
        id="launch-foreign",
        pool="default",
        offering=OFFERING,
        hosts=("h",),
        user_data=b"",
        created_at=town.now,
        sent_at=town.now,
    )
    town.cloud.compute.pending_s = 10_000  # it never speaks
    town.cloud.compute.launch(launch)
    town.run(130)
    assert not town.cloud.compute.alive()
    assert "orphan_terminated" in {n["type"] for n in town.cloud.notices.published}


def test_a_silent_host_is_not_trusted_only_while_the_canary_sings() -> None:
    """Missed pings count only when the tick's own ping came back through the same queue."""
    town = Town(PoolSpec(offerings=(OFFERING,), linger_s=86_400))
    town.submit()
    town.run(40)
    (host,) = town.hosts()
    town.deaf.add(host.instance_id)
    town.run(400)
    assert town.hosts()[0].state in (HostState.UNHEALTHY, HostState.TERMINATING, HostState.TERMINATED)


class TimeoutCrash(Exception):
    """Stands for a connection that broke after the request was sent."""


def test_a_key_that_says_when_it_was_made_stands_for_one_job() -> None:
    """No row is kept for it: the id follows from owner and key, and sorts by the key's time."""
    town = Town(PoolSpec(offerings=(OFFERING,)))
    key = f"at-{int(town.now * 1000):013d}-abc-0"
    first = submit(town.plane, spec(idempotency_key=key), "alice")
    again = submit(town.plane, spec(idempotency_key=key), "alice")
    other = submit(town.plane, spec(idempotency_key=key), "bob")
    assert [first.created, again.created, other.created] == [True, False, True]
    assert first.job.id == again.job.id != other.job.id
    assert first.job.id[:14] == derived_id("job", int(town.now * 1000), "")[:14]
    with pytest.raises(Conflict, match="was used for"):
        submit(town.plane, spec(idempotency_key=key, command="run 6"), "alice")
    entries = town.plane.stores.backlog.head("default", 10)
    assert sorted(entry.job for entry in entries) == sorted([first.job.id, other.job.id]), (
        "what was entered in vain is taken out"
    )


def test_a_key_of_another_time_is_refused() -> None:
    """A retry days later must not become a second job, so a key that old (or from the future) is not taken."""
    town = Town(PoolSpec(offerings=(OFFERING,)))
    town.now += 16 * 86_400  # its first day is too near to 1970
    for off_s in (-16 * 86_400, 2 * 86_400):
        with pytest.raises(BadRequest, match="clock"):
            submit(town.plane, spec(idempotency_key=f"at-{int((town.now + off_s) * 1000):013d}-x"), "alice")


@pytest.mark.parametrize("hosts", [0, 1])
def test_an_entry_that_is_seen_before_its_job_keeps_its_place(hosts: int) -> None:
    """Both are written in one request and no order: a pass in between leaves the entry, and the job runs when it is there."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_min=hosts, slots_per_host=2))
    town.run(120)
    job = replace(submit(town.plane, spec(), "alice").job, id="job-seen-first")
    town.plane.stores.backlog.put(entry_of(job))
    town.run(5)
    assert town.plane.stores.backlog.has(entry_of(job))
    town.plane.stores.jobs.put(job)
    town.run(60)
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_a_row_outlives_the_key_that_leads_to_it() -> None:
    """However short a pool keeps its jobs: who repeats a submission finds the job and does not run it again."""
    town = Town(PoolSpec(offerings=(OFFERING,), job_ttl_s=86_400))
    keyed, unkeyed = town.submit(idempotency_key="k"), town.submit()
    town.run(60)
    expires = town.plane.stores.jobs.expires  # type: ignore[attr-defined]  # the memory store's
    assert expires[keyed.id] >= keyed.submitted_at + TIMED_KEY_AGE_MAX_S + KEY_AHEAD_MAX_S
    assert expires[unkeyed.id] <= town.now + 86_400

"""Jobs on several hosts at once: all of them or none, told to begin together, ended as one (docs/adr/0022)."""

from __future__ import annotations

import pytest
from town import OFFERING, Town

from chalicelib.control import explain, logs
from chalicelib.control.cancel import cancel
from chalicelib.core import invariants
from chalicelib.core.host import HostState
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import Checkpoint
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest, NotFound

FOUR = PoolSpec(offerings=(OFFERING,), hosts_max=4, linger_s=60)


def at_rest(town: Town) -> None:
    town.run_until_quiet()
    assert not (broken := invariants.at_rest(town.world())), broken


def carriers(town: Town, job_id: str) -> list[str]:
    return [host.id for host in town.hosts() for a in host.assignments if a.job == job_id]


def test_a_gang_is_launched_in_one_request_and_begins_together():
    """n new hosts in one launch, all or nothing; each claims, says ready, and all begin at one moment, with rank and addresses."""
    town = Town(FOUR)
    job = town.submit("run 5", hosts=3)
    town.run(1)
    (call,) = town.cloud.calls.of("ec2.RunInstances")
    assert call.detail["launch"].whole
    assert len(call.detail["launch"].hosts) == 3
    assert town.job(job.id).state is JobState.ASSIGNED
    town.run(60)
    row = town.job(job.id)
    assert row.state is JobState.SUCCEEDED
    assert "all 3 hosts" in row.reason
    assert sorted(town.members_began) == [(job.id, 1, rank) for rank in range(3)]
    assert set(town.told_peers.values()) == {row.peers}
    assert len(set(row.peers)) == 3
    assert row.finish is not None
    assert row.host == row.members[0]
    at_rest(town)


def test_nobody_begins_before_the_last_one_is_ready():
    """While one host boots, the others hold their claims and wait; when it is there, all are told."""
    town = Town(FOUR)
    town.submit("run 100")
    town.run(30)
    town.boot_s = 200.0
    job = town.submit("run 5", hosts=2)
    town.run(150)
    ready = [a for host in town.hosts() for a in host.assignments if a.job == job.id and a.ready_at]
    assert len(ready) == 1
    assert not town.members_began
    assert town.job(job.id).state is JobState.ASSIGNED
    town.run(120)
    assert town.job(job.id).state is JobState.SUCCEEDED
    at_rest(town)


def test_why_says_who_is_waited_for_and_where_it_runs():
    """While it gathers, how many are ready and what of the others is known; then where it runs, and who has ended."""
    town = Town(FOUR)
    town.submit("run 100")
    town.run(30)
    town.boot_s = 100.0
    job = town.submit("run 50", hosts=2)
    town.run(30)
    told = " ".join(explain.job(town.plane, town.job(job.id)).sentences)
    assert "It needs 2 hosts at once; 1 of them is ready" in told
    assert "Rank 1 is waited for: host-" in told
    assert "boots since" in told
    town.run(90)
    told = " ".join(explain.job(town.plane, town.job(job.id)).sentences)
    assert "It runs on 2 hosts: host-" in told
    town.run(50)
    events = [line.reason for line in town.stores.story.of(job.id) if line.event == "member"]
    assert [text.split(" on ")[0] for text in events] == ["rank 0", "rank 1"]


def test_the_log_of_each_rank_can_be_read():
    """While it runs by its host's row, afterwards by what was noted of its end; a rank that there is not is told."""
    town = Town(FOUR)
    job = town.submit("run 30", hosts=2)
    town.run(30)
    row = town.job(job.id)
    second = town.stores.hosts.get("default", row.members[1])
    town.cloud.blobs.put(f"hosts/{second.userid}/{job.id}/1/log/{0:012d}", b"hello of rank 1")
    piece = logs.read(town.plane, row, 6, rank=1)
    assert (piece.text, piece.complete) == ("of rank 1", False)
    town.run(60)
    assert logs.read(town.plane, town.job(job.id), 0, rank=0).complete
    with pytest.raises(NotFound):
        logs.read(town.plane, row, 0, rank=2)


def test_a_gang_takes_hosts_that_are_there_and_launches_the_missing_ones():
    """Rooms on hosts that are there count; only what is missing is launched."""
    town = Town(FOUR)
    town.submit("run 1")
    town.run(30)
    job = town.submit("run 5", hosts=3)
    town.run(1)
    assert [len(call.detail["launch"].hosts) for call in town.cloud.calls.of("ec2.RunInstances")] == [1, 2]
    town.run(60)
    assert town.job(job.id).state is JobState.SUCCEEDED
    at_rest(town)


def test_a_gang_that_the_pool_cannot_hold_takes_no_room_and_says_how_many_it_lacks():
    """All or nothing: while there is not room for all, none is placed, and others are not kept waiting."""
    town = Town(PoolSpec(offerings=(OFFERING,), hosts_max=2, linger_s=60))
    first = [town.submit("run 100", cpu=2.0) for _ in range(2)]
    town.run(30)
    job = town.submit("run 5", hosts=2, cpu=2.0)
    town.run(10)
    assert not carriers(town, job.id)
    assert "needs 2 hosts at once" in town.job(job.id).waiting_for
    assert "0 are left" in town.job(job.id).waiting_for
    town.run(150)
    assert {town.job(one.id).state for one in first} == {JobState.SUCCEEDED}
    assert town.job(job.id).state is JobState.SUCCEEDED
    at_rest(town)


def test_ec2_gives_all_of_a_gang_or_nothing():
    """A launch that EC2 cannot fill leaves no host behind; the job waits, free of charge, and begins when there is capacity."""
    town = Town(FOUR)
    town.cloud.compute.limit(OFFERING, 2)
    job = town.submit("run 5", hosts=3)
    town.run(30)
    row = town.job(job.id)
    assert not town.cloud.compute.alive()
    assert row.state is JobState.PENDING
    assert row.faults == row.charged == 0
    town.cloud.compute.limit(OFFERING, None)
    town.run(400)
    assert town.job(job.id).state is JobState.SUCCEEDED
    at_rest(town)


def test_a_member_that_is_lost_before_the_go_gives_all_back_free_of_charge():
    """Nobody has begun, so the attempt is repeated although the job allows only one."""
    town = Town(FOUR)
    town.submit("run 200")
    town.run(30)
    town.boot_s = 100.0
    job = town.submit("run 5", hosts=2)
    town.run(30)
    booting = next(host for host in town.hosts() if host.state is HostState.LAUNCHING)
    town.cloud.compute.lose(booting.instance_id)
    town.boot_s = 20.0
    town.run(300)
    row = town.job(job.id)
    assert row.state is JobState.SUCCEEDED
    assert row.attempt == 2
    assert {attempt for _, attempt, _ in town.members_began} == {2}
    at_rest(town)


@pytest.mark.parametrize(("max_attempts", "state"), [(1, JobState.LOST), (2, JobState.SUCCEEDED)])
def test_a_member_that_is_lost_while_it_runs_stops_the_others(max_attempts: int, state: JobState):
    """One lost, all stopped: and the whole is repeated, if the job allows that."""
    town = Town(FOUR)
    job = town.submit("run 300", hosts=3, max_attempts=max_attempts)
    town.run(40)
    row = town.job(job.id)
    assert row.state is JobState.RUNNING
    host = town.stores.hosts.get("default", row.members[1])
    town.cloud.compute.lose(host.instance_id)
    town.run(2)
    assert not any((job.id, 1) in agent.running for agent in town.agents.values())
    town.run(600)
    assert town.job(job.id).state is state
    at_rest(town)


def test_a_member_that_fails_ends_the_job_with_its_reason():
    """The first bad end is the job's, and names rank and host."""
    town = Town(FOUR)
    job = town.submit("fail 5", hosts=2)
    town.run(60)
    row = town.job(job.id)
    assert row.state is JobState.FAILED
    assert row.cause is not None
    assert f"rank {row.cause} of 2, on {row.members[row.cause]}" in row.reason
    at_rest(town)


@pytest.mark.parametrize("after_s", [0.5, 10, 40])
def test_a_cancelled_gang_ends_on_all_of_its_hosts(after_s: float):
    """While it boots, while it gathers, while it runs."""
    town = Town(FOUR)
    job = town.submit("run 500", hosts=3)
    town.run(after_s)
    cancel(town.plane, job.id)
    town.run(30)
    assert town.job(job.id).state is JobState.CANCELLED
    assert not carriers(town, job.id)
    assert not any(agent.running or agent.gathered for agent in town.agents.values())
    at_rest(town)


def test_a_member_that_is_never_ready_is_given_up():
    """Within a bounded time: the others are not kept waiting for ever by one that does not answer."""
    town = Town(FOUR)
    job = town.submit("run 5", hosts=2)
    town.run(15)
    town.deaf.add(next(iter(town.cloud.compute.machines)))
    town.run(3000)
    town.deaf.clear()
    town.run(600)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert town.job(job.id).attempt > 1
    at_rest(town)


def test_an_interruption_before_the_go_gives_all_back():
    """A host that EC2 takes back will not hold out to the end: the gang waits for another one."""
    town = Town(FOUR)
    town.submit("run 200")
    town.run(30)
    town.boot_s = 100.0
    job = town.submit("run 50", hosts=2)
    town.run(30)
    ready = next(host for host in town.hosts() if host.state is HostState.READY)
    town.cloud.compute.interrupt(ready.instance_id)
    town.stores.hosts.touch("default", ready.id, interrupt_at=town.now + 120)
    town.run(400)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert not town.job(job.id).faults
    at_rest(town)


def test_what_a_gang_cannot_be_is_refused_at_submit():
    """More hosts than the pool may have, an Auto Scaling pool, a checkpoint: each with a sentence that names the field."""
    town = Town(FOUR)
    for spec, said in (({"hosts": 5}, "hosts_max"), ({"hosts": 2, "checkpoint": Checkpoint()}, "one host's files")):
        with pytest.raises(BadRequest) as refused:
            town.submit("run 5", **spec)
        assert said in str(refused.value.faults)
    grouped = Town(PoolSpec(offerings=(OFFERING,), capacity="asg"))
    with pytest.raises(BadRequest) as refused:
        grouped.submit("run 5", hosts=2)
    assert "Auto Scaling" in str(refused.value.faults)

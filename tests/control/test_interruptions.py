"""EC2 takes a host back: who says so, what is done at once, and what becomes of its attempts."""

from __future__ import annotations

import json
from itertools import permutations
from typing import Any

import pytest
from chaos import ChaosTown
from town import Town

from chalicelib.control import ec2_events, explain, pings, restart
from chalicelib.control.interruptions import AHEAD_MAX_S, NOTICE_S, Cause, Leaving, leaves
from chalicelib.core.host import LIVE, Host, HostState, Offering
from chalicelib.core.job import JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.core.retry import FAULTS_MAX
from chalicelib.core.story import Line

SPOT = Offering(region="us-east-1", instance_type="c7i.large", market="spot")
BACKUP = Offering(region="us-east-1", instance_type="c7i.large")


@pytest.fixture
def town() -> ChaosTown:
    return ChaosTown(PoolSpec(offerings=(SPOT, BACKUP), hosts_max=5, slots_per_host=1), seed=1)


def live(town: Town) -> list[Host]:
    return [host for host in town.hosts() if host.state in LIVE]


def a_host_in(town: ChaosTown, state: HostState) -> Host:
    """The row of a host that boots, works and so on."""
    town.submit("run 500")
    town.run(40 if state is not HostState.LAUNCHING else 1)
    (host,) = live(town)
    for event in _WAY[state]:
        assert town.plane.stores.hosts.move("default", host.id, event, at=town.now, reason="for the test")
    row = town.stores.hosts.get("default", host.id)
    assert row is not None
    assert row.state is state
    return row


_E = ec2_events.HostEvent
_WAY: dict[HostState, list[Any]] = {
    HostState.LAUNCHING: [],
    HostState.READY: [],
    HostState.DRAINING: [_E.DRAIN],
    HostState.UNHEALTHY: [_E.SICKEN],
    HostState.TERMINATING: [_E.SICKEN, _E.RETIRE],
    HostState.TERMINATED: [_E.VANISH],
}
U = HostState.UNHEALTHY
# What each cause does to a host in each state: the state afterwards, whether the deadline, whether the recommendation is noted.
TABLE: dict[Cause, dict[HostState, tuple[HostState, bool, bool]]] = {
    Cause.INTERRUPTION: {state: (state, True, False) for state in HostState},
    Cause.REBALANCE: {
        state: (state, False, state not in (HostState.TERMINATING, HostState.TERMINATED)) for state in HostState
    },
    Cause.ENDING: {
        state: (U if state in (HostState.READY, HostState.DRAINING) else state, False, False) for state in HostState
    },
}


@pytest.mark.parametrize("cause", Cause)
@pytest.mark.parametrize("state", HostState)
def test_what_is_known_of_a_host_after_each_cause_in_each_state(
    town: ChaosTown, cause: Cause, state: HostState
) -> None:
    """And told a second time, nothing changes: it is no news."""
    host = a_host_in(town, state)
    told = Leaving(cause, town.now + 100, "EC2")
    news = leaves(town.plane, host, told)
    after = town.stores.hosts.get("default", host.id)
    assert after is not None
    expected = TABLE[cause][state]
    assert (after.state, after.interrupt_at is not None, after.rebalance_at is not None) == expected
    assert news == (expected != (state, False, False))
    assert not leaves(town.plane, after, told)
    assert town.stores.hosts.get("default", host.id) == after


@pytest.mark.parametrize("order", list(permutations([100.0, 119.0, 300.0])))
def test_of_several_deadlines_the_earliest_holds(town: ChaosTown, order: tuple[float, ...]) -> None:
    host: Host | None = a_host_in(town, HostState.READY)
    now = town.now
    for in_s in order:
        assert host is not None
        leaves(town.plane, host, Leaving(Cause.INTERRUPTION, now + in_s, "EC2"))
        host = town.stores.hosts.get("default", host.id)
    assert host is not None
    assert host.interrupt_at == now + 100.0


@pytest.mark.parametrize(("at", "kept"), [(9e15, AHEAD_MAX_S), (-1.0, None)])
def test_a_deadline_that_ec2_never_gives_is_bounded(town: ChaosTown, at: float, kept: float | None) -> None:
    """The circuit breaker counts from it: a host must not be able to close spot for a year."""
    host = a_host_in(town, HostState.READY)
    leaves(town.plane, host, Leaving(Cause.INTERRUPTION, at, "its agent"))
    row = town.stores.hosts.get("default", host.id)
    assert row is not None
    assert row.interrupt_at == (town.now + kept if kept is not None else host.launched_at)


@pytest.mark.parametrize("told_by", ["ec2", "agent", "both"])
def test_a_second_try_is_free_and_on_demand(town: ChaosTown, told_by: str) -> None:
    """Whoever said it: what ran is repeated when its host is gone, charged to nobody; the on-demand backup takes it."""
    job = town.submit("run 300", max_attempts=2)
    town.run(60)
    (machine,) = town.cloud.compute.alive()
    town.interrupt(machine.id, told_by)
    town.run(100)
    assert town.job(job.id).state is JobState.RUNNING  # until it is gone
    town.run(60)
    again = town.job(job.id)
    assert (again.attempt, again.interruptions, again.faults, again.charged) == (2, 1, 0, 0)
    assert "EC2 took" in " ".join(line.reason for line in story_of(town, job.id))
    town.run_until_quiet()
    assert [m.launch.offering for m in town.cloud.compute.machines.values()] == [SPOT, BACKUP]
    assert town.job(job.id).state is JobState.SUCCEEDED
    said = explain.job(town.plane, town.job(job.id)).sentences
    assert "EC2 took back the host of 1 attempt, which cost it nothing." in said


def test_a_second_try_takes_spot_when_on_demand_was_refused_for_a_quarter_of_an_hour(town: ChaosTown) -> None:
    """However often EC2 was asked meanwhile: a host that was refused does not begin the wait anew."""
    job = town.submit("run 300", max_attempts=2)
    town.run(60)
    (machine,) = town.cloud.compute.alive()
    town.cloud.compute.limit(BACKUP, 0)
    town.interrupt(machine.id, "ec2")
    town.run(840)
    assert town.job(job.id).state is JobState.PENDING
    assert "tried again on demand" in town.job(job.id).waiting_for
    town.run(600)
    assert [m.launch.offering for m in town.cloud.compute.machines.values()] == [SPOT, SPOT]
    assert town.job(job.id).state is JobState.SUCCEEDED


def test_an_event_costs_the_same_however_many_hosts_there_are(town: ChaosTown) -> None:
    """Every instance of the account has its events, in a bad hour by the thousand: none may read a pool."""
    town.submit("run 300")
    town.run(60)
    (machine,) = town.cloud.compute.alive()
    for instance_id, calls in (("i-0123456789abcdef0", 1), (machine.id, 3)):  # a look; and its row, and a wake
        before = town.fuse.calls
        town.invoke(ec2_events.receive, {"detail-type": ec2_events.WARNING, "detail": {"instance-id": instance_id}})
        assert town.fuse.calls - before <= 2 * calls + 4, instance_id


def test_an_end_that_nobody_announced_is_a_fault_and_no_interruption(town: ChaosTown) -> None:
    """It may be the job's own doing: so it is not repeated for ever."""
    job = town.submit("run 300", max_attempts=2)
    town.run(60)
    town.interrupt(town.cloud.compute.alive()[0].id, "nobody")
    town.run(200)
    assert (town.job(job.id).interruptions, town.job(job.id).faults) == (0, 1)


def test_an_attempt_that_allows_no_repetition_is_lost_and_says_that_ec2_took_its_host(town: ChaosTown) -> None:
    job = town.submit("run 300")
    town.run(60)
    town.interrupt(town.cloud.compute.alive()[0].id, "ec2")
    town.run(200)
    assert town.job(job.id).state is JobState.LOST
    assert "EC2 took" in town.job(job.id).reason
    assert "allows only one attempt" in town.job(job.id).reason


def test_interruptions_are_no_faults_however_many(town: ChaosTown) -> None:
    """More than the faults after which a job is given up. Its pool has no on-demand offering, so each try is on spot."""
    town.stores.registry.put_pool("default", PoolSpec(offerings=(SPOT,), hosts_max=2), version=1)
    job = town.submit("run 300", max_attempts=2)
    for number in range(FAULTS_MAX + 2):
        for _ in range(200):
            town.run(15)
            if town.job(job.id).attempt == number + 1 and town.job(job.id).state is JobState.RUNNING:
                break
        (machine,) = [m for m in town.cloud.compute.alive() if m.interrupt_at is None]
        town.interrupt(machine.id, "ec2")
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert (town.job(job.id).interruptions, town.job(job.id).faults) == (FAULTS_MAX + 2, 0)


def test_what_had_not_begun_waits_again_at_once_and_free(town: ChaosTown) -> None:
    """It does not wait for the host's death, is not charged, no fault, no interruption: it lost nothing."""
    town.boot_s = 90.0
    job = town.submit("run 5")
    town.run(1)
    first = town.job(job.id).host
    town.interrupt(town.cloud.compute.alive()[0].id, "ec2")
    town.run(3)
    again = town.job(job.id)
    assert (again.attempt, again.charged, again.faults, again.interruptions) == (2, 0, 0, 0)
    assert again.host != first
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert sum(town.began.values()) == 1


def test_two_interruptions_send_the_pool_to_on_demand_and_say_so(town: ChaosTown) -> None:
    for _ in range(2):
        town.submit("run 400", max_attempts=2)
    town.run(60)
    for machine in town.cloud.compute.alive():
        town.interrupt(machine.id, "both")
    town.run(5)
    pool = town.stores.registry.pool("default")
    assert pool is not None
    assert pool.supply.spot_until == pytest.approx(town.now + NOTICE_S + 1800, abs=10)
    town.submit("run 5")
    town.run(40)
    assert town.cloud.compute.alive()[-1].launch.offering == BACKUP
    assert any(line.event == "spot" and "no spot until" in line.reason for line in story_of(town, "pool/default"))


def test_a_recommended_rebalance_gets_no_new_work_and_ends_nothing(town: ChaosTown) -> None:
    job = town.submit("run 300")
    town.run(60)
    (machine,) = town.cloud.compute.alive()
    town.recommend_rebalance(machine.id, "both")
    town.run(5)
    assert [str(host.state) for host in live(town)] == ["draining"]
    second = town.submit("run 5")
    town.run(60)
    assert town.job(second.id).host != town.job(job.id).host
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert sum(line.event == "interrupted" for line in story_of(town, job.id)) == 1


def test_an_instance_that_shuts_down_is_trusted_no_more(town: ChaosTown) -> None:
    """Before it is gone: what it had not begun is elsewhere already."""
    town.submit("run 300", max_attempts=2)
    town.run(60)
    (host,) = live(town)
    detail = {"instance-id": host.instance_id, "state": "shutting-down"}
    ec2_events.receive(town.plane, {"detail-type": ec2_events.STATE_CHANGE, "detail": detail})
    (row,) = live(town)
    assert row.state is HostState.UNHEALTHY
    assert "nobody here asked for that" in row.reason


# -- protected mode, as people meet it


def test_ten_failed_boots_stop_the_burning_say_so_once_and_end_with_a_hello(town: ChaosTown) -> None:
    """One host at a time from then on; `spillway plan` shows it; when the image works again all goes on by itself."""
    town.boots_fail = True
    jobs = [town.submit("run 5") for _ in range(5)]
    town.run(3000)
    pool = town.stores.registry.pool("default")
    assert pool is not None
    assert pool.supply.protected_at is not None
    failed = len(town.cloud.compute.machines)
    assert failed >= 10
    town.run(1800)
    assert (
        len(town.cloud.compute.machines) - failed <= 1800 / 600 + 1
    )  # one after the other, each with its time to boot
    loud = [n for n in town.cloud.notices.published if n["type"] == "protected_mode"]
    assert [(n["severity"], n["pool"]) for n in loud] == [("error", "default")]
    assert "Look at what a new instance prints" in loud[0]["reason"]
    planned = explain.plan(town.plane, pool)
    assert any("protected mode" in why for _, why in planned.plan.waits)
    town.boots_fail = False
    town.run_until_quiet()
    assert {town.job(job.id).state for job in jobs} == {JobState.SUCCEEDED}
    over = town.stores.registry.pool("default")
    assert over is not None
    assert over.supply.protected_at is None
    assert [n["severity"] for n in town.cloud.notices.published if n["type"] == "protected_mode_over"] == ["info"]


def test_a_restart_ends_protected_mode_and_says_so(town: ChaosTown) -> None:
    """Whoever has mended the image has all hosts at once again."""
    town.boots_fail = True
    jobs = [town.submit("run 5") for _ in range(5)]
    town.run(3000)
    town.boots_fail = False
    restart.restart(town.plane, "default", by="olga")
    town.run(90)
    pool = town.stores.registry.pool("default")
    assert pool is not None
    assert pool.supply.protected_at is None
    (over,) = [n for n in town.cloud.notices.published if n["type"] == "protected_mode_over"]
    assert over["reason"] == "the pool was restarted: protected mode is over"
    states = [town.job(job.id).state for job in jobs]
    assert states.count(JobState.SUCCEEDED) == 4  # the fifth is on the last probe, which has its time to boot


def story_of(town: Town, subject: str) -> list[Line]:
    return town.stores.story.of(subject)


def test_what_an_interrupted_agent_gives_back_is_no_fault(town: ChaosTown) -> None:
    """Though its word of the interruption came in the same message."""
    town.boot_s = 90.0
    job = town.submit("run 300")
    town.run(1)
    (agent,) = town.agents.values()
    town.cloud.compute.interrupt(agent.machine.id)
    refused = {
        "kind": "refused",
        "job": job.id,
        "attempt": 1,
        "why": "interrupted",
        "reason": "EC2 takes the machine back",
    }
    pings_of = [{"kind": "interrupted", "interrupt_at": town.now + 120, "action": "terminate"}, refused]
    body = {
        "v": 1,
        "pool": "default",
        "host": agent.entry["host"],
        "pings": [{"at": town.now, **ping} for ping in pings_of],
    }
    pings.receive(town.plane, [pings.Message(agent.userid, json.dumps(body))])
    assert (town.job(job.id).attempt, town.job(job.id).faults) == (2, 0)

"""What hosts say, and what must follow from it - also when they say it late, wrongly or with bad intent."""

from __future__ import annotations

import json
from typing import Any

import pytest
from town import OFFERING, ROLE, Agent, Town

from chalicelib.control import pings
from chalicelib.core.host import HostState
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import Input
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import CloudUnavailable


def a_town(**spec: Any) -> Town:
    return Town(PoolSpec(offerings=(OFFERING,), missed_pings_s=86_400, **spec))


def the_agent(town: Town) -> Agent:
    (agent,) = town.agents.values()
    return agent


def test_a_host_that_said_bye_is_not_given_the_job_that_waits() -> None:
    """Its machine is about to end; recapturing it would cost the job the time until EC2 tells so."""
    town = a_town(linger_s=3600, hosts_max=1, slots_per_host=1)
    town.submit("run 1")
    town.run(40)
    agent = the_agent(town)
    bye = [{"kind": "bye", "at": town.now, "reason": "idle for more than 900 s"}]
    body = {"v": 1, "pool": "default", "host": agent.entry["host"], "pings": bye}
    pings.receive(town.plane, [pings.Message(agent.userid, json.dumps(body), "m")])
    agent.said_hello, agent.boot_at = False, float("inf")  # it hears nothing any more
    waiting = town.submit("run 5")
    town.run(60)
    assert town.job(waiting.id).state is JobState.SUCCEEDED
    assert len(town.cloud.compute.machines) == 2


def test_an_attempt_that_was_given_back_for_want_of_urls_is_handed_over_again() -> None:
    """It was accepted, then its signed URLs ended: the inbox is written afresh, and the doorbell rings."""
    town = a_town(linger_s=3600, slots_per_host=1)
    town.submit("run 1")
    town.run(40)
    agent = the_agent(town)
    town._begin = lambda *_: None  # type: ignore[method-assign]  # it fetches its inputs
    job = town.submit("run 5")
    town.run(15)
    (carried,) = town.hosts()[0].assignments
    assert carried.accepted_at
    written = town.cloud.calls.count("s3.PutObject")
    gone = {"kind": "refused", "job": job.id, "attempt": 1, "why": "urls_expired", "reason": "403"}
    town._say(agent, gone)
    town.run(1)
    assert town.cloud.calls.count("s3.PutObject") == written + 1
    assert len(town.cloud.compute.rings) == 2
    town._say(agent, gone)
    town.run(5)
    assert len(town.cloud.compute.rings) == 2, (
        "one that is given back again and again is not handed over again and again"
    )
    town.run(6)
    assert len(town.cloud.compute.rings) == 3


def test_a_job_whose_upload_was_never_made_fails_and_says_so() -> None:
    """S3 tells a signed URL's holder that it may not, not that nothing is there: fresh URLs would be asked for for ever."""
    town = a_town(linger_s=3600, slots_per_host=1)
    town._begin = lambda *_: None  # type: ignore[method-assign]
    job = town.submit("run 5", inputs=(Input(path="tests", sha256="a" * 64),))
    town.run(30)
    gone = {"kind": "refused", "job": job.id, "attempt": 1, "why": "urls_expired", "reason": "403"}
    town._say(the_agent(town), gone)
    town.run(1)
    assert town.job(job.id).state is JobState.FAILED
    assert f"input {'a' * 64} is not in the bucket" in town.job(job.id).reason


def test_a_host_that_begins_nothing_is_not_trusted_for_ever() -> None:
    """It pings, it accepted, nothing runs: half an hour later the attempt is taken back and runs elsewhere."""
    town = a_town(slots_per_host=1)
    begin = town._begin
    town._begin = lambda *_: None  # type: ignore[method-assign]
    job = town.submit("run 5")
    town.run(1700)
    assert town.job(job.id).state is JobState.ASSIGNED
    town._begin = begin  # type: ignore[method-assign]
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert town.began == {(job.id, 2): 1}


def test_a_ping_that_cannot_be_understood_does_not_take_the_finish_beside_it_along() -> None:
    town = a_town()
    job = town.submit("run 500")
    town.run(40)
    agent = the_agent(town)
    finish = {"kind": "finish", "at": 1.0, "job": job.id, "attempt": 1, "outcome": "succeeded", "reason": "exit 0"}
    said = [{"kind": "sing"}, {"kind": "start", "at": "noon"}, {**finish, "finished_at": town.now}]
    body = {"v": 1, "pool": "default", "host": agent.entry["host"], "pings": said}
    pings.receive(town.plane, [pings.Message(agent.userid, json.dumps(body), "m")])
    assert town.job(job.id).state is JobState.SUCCEEDED
    (notice,) = town.cloud.notices.published
    assert "sing" in notice["reason"]
    assert "start" in notice["reason"]


@pytest.mark.parametrize("at", ["NaN", "Infinity", "1e999", "9e9", "-1", "null"])
def test_a_canary_at_no_possible_time_is_set_aside(at: str) -> None:
    """Once kept, it would fail every pass of every pool."""
    town = Town()
    pings.receive(town.plane, [pings.Message("123456789012", '{"v": 1, "canary": {"at": AT}}'.replace("AT", at), "m")])
    assert town.stores.registry.setting("canary") is None
    assert town.cloud.notices.published[-1]["type"] == "message_quarantined"


def test_a_canary_that_is_no_number_does_not_stop_the_passes() -> None:
    """Whatever came into the row: silence is then not judged, and work goes on."""
    town = Town()
    town.submit()
    town.run(30)
    town.stores.registry.put_setting("canary", {"at": None})
    job = town.submit()
    town.run(20)
    assert town.job(job.id).ended


@pytest.mark.parametrize("canary", [{"at": 9e9}, {}, {"at": "soon"}, 7])
def test_a_host_cannot_send_the_canary(canary: Any) -> None:
    """One from a time to come would make every other host seem silent."""
    town = a_town()
    body = json.dumps({"v": 1, "canary": canary})
    pings.receive(town.plane, [pings.Message(f"{ROLE}:i-1", body, "m")])
    assert town.stores.registry.setting("canary") is None
    assert town.cloud.notices.published[0]["type"] == "message_quarantined"


@pytest.mark.parametrize("at", [9e99, float("nan"), -1.0])
def test_an_attempts_deadline_does_not_hang_on_its_hosts_clock(at: float) -> None:
    town = a_town()
    job = town.submit("run 100000")
    town.run(25)
    agent = the_agent(town)
    town._say(agent, {"kind": "start", "job": job.id, "attempt": 1, "at": at})
    town.run(1000)
    assert town.job(job.id).state is JobState.LOST


def test_pings_wait_until_a_launch_whose_answer_was_lost_is_sent_again() -> None:
    """EC2 throttles the second try for minutes; what the machine said meanwhile, its finish above all, is not lost."""
    town = a_town()
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("no answer"), answer_lost=True)
    town.cloud.calls.fail("ec2.RunInstances", CloudUnavailable("throttled"), times=8)
    job = town.submit("run 5")
    town.run(600)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert not town.cloud.notices.published
    assert town.hosts()[0].state is HostState.TERMINATED

"""What agents say of attempts while they run: told once, believed only of themselves, and handed to the attempt that goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from town import OFFERING, Agent, Town

from chalicelib.control import pings
from chalicelib.control.handover import assignment
from chalicelib.core.job import Job, JobState
from chalicelib.core.job_spec import Checkpoint
from chalicelib.core.pool import PoolSpec
from chalicelib.core.why_job import why_job


def running(**spec: Any) -> tuple[Town, Agent, Job]:
    """A job that runs on the only host."""
    town = Town(PoolSpec(offerings=(OFFERING,), missed_pings_s=86_400, linger_s=3600, slots_per_host=1, hosts_max=2))
    job = town.submit("run 5000", checkpoint=Checkpoint(), stall_s=60, max_attempts=3, **spec)
    town.run(40)
    (agent,) = town.agents.values()
    assert town.job(job.id).state is JobState.RUNNING
    return town, agent, job


def say(town: Town, agent: Agent, job: Job, kind: str = "progress", attempt: int = 1, **said: Any) -> None:
    ping = {"kind": kind, "job": job.id, "attempt": attempt, "at": town.now, **said}
    body = {"v": 1, "pool": "default", "host": agent.entry["host"], "pings": [ping]}
    pings.receive(town.plane, [pings.Message(agent.userid, json.dumps(body), "m")])
    town.plane.stores.teller.flush()


def key(agent: Agent, job: Job, number: int, attempt: int = 1) -> str:
    return f"hosts/{agent.userid}/{job.id}/{attempt}/checkpoint/{number}.tar.gz"


def keep(town: Town, agent: Agent, job: Job, number: int, attempt: int = 1, at: float = 0.0) -> str:
    name = key(agent, job, number, attempt)
    town.cloud.blobs.put(name, b"x")
    say(town, agent, job, attempt=attempt, checkpoint={"key": name, "bytes": 1, "at": at or town.now})
    return name


def notices(town: Town) -> list[Any]:
    return [notice for notice in town.cloud.notices.published if notice["type"] == "job_stalled"]


def test_a_stalled_job_is_told_once_and_why_says_it() -> None:
    town, agent, job = running()
    say(town, agent, job, percent=42, note="reading")
    for _ in range(3):
        town.now += 70
        kept = {"key": key(agent, job, int(town.now)), "bytes": 1, "at": town.now}
        moved_s = town.now - 1_000_110
        say(town, agent, job, percent=42, note="reading", moved_s=moved_s, stalled=True, checkpoint=kept)
    assert len(notices(town)) == 1
    assert notices(town)[0]["detail"]["percent"] == 42
    told = why_job(town.job(job.id), [], town.now, host=None, outlook=None)
    assert any(line.startswith("It has stalled") and "stall_s of 1 min" in line for line in told), told
    assert any(line.startswith("It says of itself: 42 %: reading (") for line in told), told
    say(town, agent, job, percent=43)
    assert [line.event for line in town.stores.story.of(job.id) if line.event in ("stalled", "progress")] == [
        "stalled",
        "progress",
    ]
    say(town, agent, job, percent=43, stalled=True, moved_s=99)
    assert len(notices(town)) == 2, "it stalled again"


def test_of_its_checkpoints_two_are_kept_and_none_when_it_has_ended() -> None:
    town, agent, job = running()
    names = []
    for number in (1, 2, 3):
        town.now += 1
        names.append(keep(town, agent, job, number))
    assert [town.cloud.blobs.exists(name) for name in names] == [False, True, True]
    say(town, agent, job, "finish", outcome="succeeded", reason="exit code 0", finished_at=town.now)
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert not any(town.cloud.blobs.exists(name) for name in names)


def test_the_next_attempt_is_handed_the_newest_first_even_what_was_heard_late() -> None:
    """The host is lost; its last ping was on the way. The claim says that the attempt was there."""
    town, agent, job = running()
    first = keep(town, agent, job, 1)
    town.now += 1
    say(town, agent, job, "finish", outcome="infrastructure", reason="stopped", finished_at=town.now)
    again = town.job(job.id)
    assert (again.state, again.attempt) == (JobState.PENDING, 2)
    second = keep(town, agent, job, 2)
    again = town.job(job.id)
    assert [one["key"] for one in assignment(again, 2)["restore"]] == [second, first]
    assert again.needs_inbox
    town.run(60)
    (documents,) = (
        json.loads(body)["assignments"] for name, body in town.cloud.blobs.objects.items() if name.startswith("inbox/")
    )
    told = next((one for one in documents if one["job"] == job.id), None)
    assert told is None or set(told["urls"]) == {first, second}


def test_one_that_could_not_go_on_is_handed_to_nobody_again() -> None:
    """Its attempt says which; the one before it is next."""
    town, agent, job = running()
    first, second = keep(town, agent, job, 1, at=town.now - 5), keep(town, agent, job, 2)
    say(town, agent, job, checkpoint_broken=second)
    assert [kept.key for kept in town.job(job.id).progress.kept] == [first]
    assert not town.cloud.blobs.exists(second)


def test_a_host_names_nothing_but_what_it_has_made_itself() -> None:
    """Another's object, another attempt's, a path that climbs: set aside, and the job keeps what it has."""
    town, agent, job = running()
    good = keep(town, agent, job, 1)
    other = "hosts/AROATOWN:i-other/" + "/".join(good.split("/")[2:])
    for name in (other, key(agent, job, 2, attempt=2), good.replace("checkpoint", "out"), good + "/../x", "uploads/x"):
        say(town, agent, job, checkpoint={"key": name, "bytes": 1, "at": town.now})
    say(town, agent, job, checkpoint={"key": key(agent, job, 9), "bytes": -1, "at": town.now})
    say(town, agent, job, percent=101)
    assert [kept.key for kept in town.job(job.id).progress.kept] == [good]
    assert sum(name.startswith("quarantine/") for name in town.cloud.blobs.objects) == 1, "all under one message's id"


@pytest.mark.parametrize("at", ["nan", "-inf", "1e999", "@1e999"])
def test_what_is_no_finite_number_comes_into_no_row(at: str) -> None:
    """It would be written as null, and nobody could read the job, or the host, any more. `@`: as a number, which JSON has no bounds for."""
    town, agent, job = running()
    good = key(agent, job, 1)
    before = town.job(job.id), replace(town.hosts()[0], seen_at=None)
    for kind, said in (
        ("progress", {"note": "x", "at": at}),
        ("progress", {"note": "x", "moved_s": at}),
        ("progress", {"percent": at}),
        ("progress", {"checkpoint": {"key": good, "bytes": 1, "at": at}}),
        ("interrupted", {"interrupt_at": at}),
        ("rebalance", {"notice_at": at}),
        ("finish", {"outcome": "succeeded", "reason": "x", "finished_at": at}),
    ):
        ping = {"kind": kind, "job": job.id, "attempt": 1, "at": town.now, **said}
        body = json.dumps({"v": 1, "pool": "default", "host": agent.entry["host"], "pings": [ping]})
        pings.receive(town.plane, [pings.Message(agent.userid, body.replace('"@1e999"', "1e999"), kind)])
    assert (town.job(job.id), replace(town.hosts()[0], seen_at=None)) == before


def test_one_who_never_had_the_attempt_is_not_believed() -> None:
    """A job that waits for its next attempt still names its last host."""
    town, agent, job = running()
    say(town, agent, job, "finish", outcome="infrastructure", reason="stopped", finished_at=town.now)
    keep(town, agent, job, 1, attempt=2)
    assert town.job(job.id).progress.kept == ()


def test_what_was_put_back_is_in_the_story_of_its_beginning() -> None:
    """Beside the container's image, where it runs in one."""
    town, agent, job = running()
    say(town, agent, job, "finish", outcome="infrastructure", reason="stopped", finished_at=town.now)
    town.run(1)
    said = {"restored": "it continues from the checkpoint 2 of attempt 1 of 14:03:00 UTC", "image_digest": "r@sha256:1"}
    say(town, agent, job, "start", attempt=2, **said)
    started = [line.reason for line in town.stores.story.of(job.id) if line.event == "running"]
    assert started[-1].endswith("in r@sha256:1: it continues from the checkpoint 2 of attempt 1 of 14:03:00 UTC")

"""What died is tried once more; what dies again is set aside, the job is marked, and whoever waits is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fragile import fragile
from test_intake import GRADING, a_town, answers, jobs, kept
from town import Town

from chalicelib.control import dead_letters, tick
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import Notify


def kill(town: Town, queue: str, body: Any, sender: str = "") -> None:
    """A message that its function failed on five times."""
    dead = getattr(town.cloud.queues, queue).dead
    dead.send(body if isinstance(body, str) else json.dumps(body), town.now, sender=sender)


def lively(town: Town, alive: bool) -> None:
    """Whether agents' messages reach anybody."""
    if not alive:
        town.deaf |= town.agents.keys()
    else:
        town.deaf.clear()


def a_running(town: Town, **spec: Any) -> str:
    """A job that runs, whose agent's last words nobody will hear."""
    job = town.submit("run 20", **spec)
    while town.job(job.id).state != JobState.RUNNING:
        town.run(1)
    lively(town, False)
    return job.id


def last_words(town: Town, job_id: str, outcome: str = "succeeded") -> tuple[dict[str, Any], str]:
    """The message that says how it ended, and its sender."""
    job, (agent,) = town.job(job_id), town.agents.values()
    ping = {
        "kind": "finish",
        "at": town.now,
        "job": job_id,
        "attempt": job.attempt,
        "outcome": outcome,
        "reason": "exit 0",
    }
    ping |= {"exit_code": 0, "started_at": town.now - 1, "finished_at": town.now, "outputs": []}
    ping |= {"log": {"bytes": 0, "cut": False, "text": ""}}
    return {"v": 1, "pool": "default", "host": job.host, "pings": [ping]}, agent.userid


def test_a_submission_that_died_in_an_outage_is_taken_after_it() -> None:
    """With its first id: what it had recorded before its function failed is not recorded twice."""
    town = a_town()
    body = {"command": "run 1", "timeout_s": 5}
    town.cloud.queues.submissions.send(json.dumps(body), town.now)
    town.run(5)
    assert len(jobs(town)) == 1
    dead = town.cloud.queues.submissions.dead
    assert dead is not None
    dead.send(json.dumps(body), town.now - 5)
    dead.messages[0].id = "submissions-1"  # the same message, which came twice and died once
    town.run(120)
    assert len(jobs(town)) == 1
    kill(town, "submissions", body)
    town.run(120)
    assert len(jobs(town)) == 2
    assert kept(town) == []
    assert not dead.messages


def test_a_submission_that_dies_twice_is_set_aside_as_it_was_sent() -> None:
    town = a_town()
    kill(town, "submissions", {"again": {"id": "m-1", "body": "the body", "sent_at": 1.0}})
    tick.run(town.plane)
    (key,) = (key for key in town.cloud.blobs.objects if key.startswith("quarantine/"))
    assert key.endswith("/m-1.json")
    assert json.loads(town.cloud.blobs.objects[key])["body"] == "the body"


def test_prairielearn_hears_of_a_grading_message_that_died_twice() -> None:
    town = a_town()
    kill(town, "submissions", {"again": {"id": "m-1", "body": json.dumps(GRADING), "sent_at": 1.0}})
    town.run(61)
    (answer,) = answers(town)
    assert (answer["jobId"], answer["data"]["succeeded"]) == ("7", False)
    assert "failed on it again and again" in answer["data"]["message"]


def test_a_finish_that_died_once_still_counts() -> None:
    """Its sender is proven as before: the job has succeeded, as its agent said."""
    town = Town()
    job_id = a_running(town)
    body, sender = last_words(town, job_id)
    kill(town, "heartbeats", body, sender)
    town.run(65)
    assert town.job(job_id).state is JobState.SUCCEEDED


def test_nobody_may_speak_for_a_host_by_way_of_the_dead() -> None:
    town = Town()
    job_id = a_running(town)
    body, _ = last_words(town, job_id)
    kill(town, "heartbeats", body, "AIDASOMEBODY")
    kill(town, "timers", {"v": 1, "kind": "ping", "sender": "AIDASOMEBODY", "body": body, "tries": 1})
    town.run(65)
    assert town.job(job_id).state is JobState.RUNNING


@pytest.mark.parametrize(("attempts", "state"), [(1, JobState.LOST), (2, JobState.PENDING)])
def test_an_end_that_nobody_could_hear_marks_the_job_and_charges_nobody(attempts: int, state: JobState) -> None:
    """Lost, or repeated where it allows that: in words, told to who asked, without a charge, and its host is free."""
    town = Town()
    job_id = a_running(town, max_attempts=attempts, notify=Notify(topic=True))
    body, sender = last_words(town, job_id)
    host = town.job(job_id).host
    kill(town, "timers", {"v": 1, "kind": "ping", "sender": sender, "body": body, "tries": 1})
    dead_letters.read(town.plane)
    job = town.job(job_id)
    assert (job.state, job.charged) == (state, 0)
    assert "the message that says how could not be handled" in job.reason
    assert not [a for h in town.hosts() if h.id == host for a in h.assignments]
    assert len(kept(town)) == 1
    town.run(5)
    told = [n for n in town.cloud.notices.published if n["type"] == "job_finished"]
    assert len(told) == (state is JobState.LOST)


def test_an_answer_is_tried_for_three_hours_and_then_kept() -> None:
    """PrairieLearn's queue was away, or its rights were missing: whoever waits for a grade hears in the end, or people do."""
    town = a_town()
    message = {"jobId": "7", "event": "grading_result", "data": {"succeeded": False}}
    kill(town, "timers", {"v": 1, "kind": "answer", "message": message, "lives": 11})
    town.run(61)
    assert answers(town) == [message]
    kill(town, "timers", {"v": 1, "kind": "answer", "message": message, "lives": 12})
    town.run(61)
    assert answers(town) == [message]
    assert len(kept(town)) == 1


def test_a_telling_that_died_counts_as_a_try() -> None:
    town = Town()
    town.cloud.outside.answers[:] = [500]
    job = town.submit("run 5", notify=Notify(webhook="https://example.org/x"))
    while not town.job(job.id).telling.tries:
        town.run(1)
    town.cloud.queues.timers.messages.clear()
    kill(town, "timers", {"v": 1, "kind": "ended", "job": job.id})
    dead_letters.read(town.plane)
    assert town.job(job.id).telling.tries == 2
    town.run(300)
    assert town.job(job.id).delivered_at is not None, "the sweep ordered it again"


NOBODYS = {"v": 1, "kind": "ping", "sender": "x", "body": {"pings": [7], "pool": "", "host": ""}}
NONSENSE = [
    "",
    "{",
    "7",
    '{"again": 7}',
    '{"kind": "ping"}',
    json.dumps(NOBODYS),
    '{"kind": "ended", "job": ""}',
    '{"pings": []}',
]


@pytest.mark.parametrize("queue", ["submissions", "heartbeats", "wakes", "timers"])
def test_nonsense_is_read_and_buried(queue: str) -> None:
    """However wrong a letter is, it is dealt with in the end, and the next one too."""
    town = a_town()
    for body in NONSENSE:
        kill(town, queue, body, sender="s")
    for _ in range(4):
        dead_letters.read(town.plane)
        town.run(1)
    assert not getattr(town.cloud.queues, queue).dead.messages


CASES: dict[str, Callable[[Town], tuple[str, Any, str]]] = {
    "submission": lambda town: ("submissions", GRADING, ""),
    "dead submission": lambda town: (
        "submissions",
        {"again": {"id": "m", "body": json.dumps(GRADING), "sent_at": 1.0}},
        "",
    ),
    "finish": lambda town: ("heartbeats", *last_words(town, a_running(town))),
}


@pytest.mark.parametrize("lost_at", range(1, 14))
@pytest.mark.parametrize("case", sorted(CASES))
def test_a_crash_while_they_are_read_buries_nothing_unread(case: str, lost_at: int) -> None:
    """Whatever call it dies at, the letter lies there still, and the next tick deals with it."""
    town = a_town()
    queue, body, sender = CASES[case](town)
    kill(town, queue, body, sender)
    fuse = fragile(town)
    fuse.burn_at = {lost_at}
    for _ in range(3):
        town.invoke(dead_letters.read)
        town.now += 181
    town.run(200)
    assert not getattr(town.cloud.queues, queue).dead.messages
    if case == "finish":
        assert {job.state for job in jobs(town)} == {JobState.SUCCEEDED}
    else:
        assert len(jobs(town)) == (case == "submission")
        assert {m["event"] for m in answers(town)} >= {"job_received" if case == "submission" else "grading_result"}


@pytest.mark.parametrize("name", ["x" * 5000, "../../hosts/x", "a/b", ""])
def test_a_letter_that_made_up_its_own_id_is_buried_too(name: str) -> None:
    """S3 takes no key of more than 1,024 bytes: the tick would fail on it each minute, for days."""
    town = a_town()
    kill(town, "submissions", {"again": {"id": name, "body": "the body", "sent_at": 1.0}})
    tick.run(town.plane)
    (key,) = (key for key in town.cloud.blobs.objects if key.startswith("quarantine/"))
    assert len(key) < 200
    assert key.count("/") == 3

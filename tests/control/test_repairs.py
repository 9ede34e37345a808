"""What is left by a crash, or said too late, or sent by a stranger - one trace at a time."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from town import OFFERING, ROLE, Town

from chalicelib.control import families, handover, intake, logs, pings, settle, story, tick
from chalicelib.control.cancel import cancel
from chalicelib.control.sweep import sweep
from chalicelib.core.backlog import entry_of
from chalicelib.core.family import Family
from chalicelib.core.host import Assignment, HostState
from chalicelib.core.job import Finish, JobState, Log
from chalicelib.core.pool import PoolSpec
from chalicelib.errors import BadRequest, CloudUnavailable, StoreUnavailable
from chalicelib.store.told import told


@pytest.fixture
def town() -> Town:
    """A town with one ready host, which has run one job."""
    town = Town(PoolSpec(linger_s=3600))
    town.submit()
    town.run(40)
    return town


def trace(town: Town, job_id: str, attempt: int = 1) -> Assignment:
    """Put an assignment onto the host, as a crash right after the first write leaves it."""
    (host,) = town.hosts()
    assignment = Assignment(
        job=job_id,
        attempt=attempt,
        cpu=1.0,
        memory_mib=512,
        slots=1,
        timeout_s=600,
        assigned_at=town.now,
        owner=host.serves or "",
    )
    assert town.stores.hosts.assign("default", host.id, assignment)
    return assignment


def test_an_assignment_that_its_jobs_row_does_not_confirm_is_never_handed_over(town: Town) -> None:
    """The job may be on another host: two hosts with the same attempt would run it twice."""
    job = town.submit("run 500")
    town.run(5)
    (host,) = town.hosts()
    elsewhere = replace(town.job(job.id), host="host-elsewhere")
    ((_, written),) = handover.write_inboxes(town.plane, [host], {job.id: elsewhere}, 99)
    assert written.stale == (f"{job.id}#1",)
    inbox = json.loads(town.cloud.blobs.objects[f"inbox/{host.userid}/inbox.json"])
    assert inbox["assignments"] == []


def test_a_host_that_carries_an_attempt_that_is_over_is_relieved(town: Town) -> None:
    """The second write of a settlement was lost: the sweep makes it."""
    job = next(iter(town.stores.jobs.of_pool("default")[0]))
    trace(town, job)
    town.now += 61
    assert sweep(town.plane, "default") == 1
    assert not town.hosts()[0].assignments


def test_a_pending_job_without_entry_gets_one(town: Town) -> None:
    """The crash fell between record and entry, and the client never came back."""
    town.plane.stores.registry.put_pool("asleep", PoolSpec(hosts_max=0), version=None)
    job = town.submit(pool="asleep")
    town.stores.backlog.remove([entry_of(job)])
    town.now += 61
    assert sweep(town.plane, "asleep") == 1
    assert town.stores.backlog.has(entry_of(job))
    assert sweep(town.plane, "asleep") == 0


def test_a_claim_that_we_won_before_a_crash_is_still_ours(town: Town) -> None:
    """The crash fell between claim and job: the second try finds its own claim and goes on."""
    job = town.submit("run 500")
    town.run(1)
    (host,) = town.hosts()
    held = replace(town.job(job.id), state=JobState.ASSIGNED)
    assert held.host == host.id
    other = replace(host, userid=f"{ROLE}:i-never")
    town.stores.claims.take(f"{ROLE}:i-never", job.id, 1, by="control", at=town.now, expires_at=town.now + 9)
    moved = settle.gone(town.plane, other, host.assignments[0], "it is gone")
    assert moved is not None
    assert (moved.state, moved.attempt, moved.charged) == (JobState.PENDING, 2, 0)


def test_a_late_finish_of_an_older_attempt_changes_nothing(town: Town) -> None:
    """A ping counts only for the attempt that it names."""
    job = town.submit("run 500", max_attempts=3)
    town.run(5)
    (host,) = town.hosts()
    finish = Finish(outcome="failed", reason="exit 1", finished_at=town.now)
    first = settle.finished(town.plane, "default", host.id, host.userid, job.id, 1, finish)
    assert first is not None
    assert first.attempt == 2
    again = settle.finished(
        town.plane, "default", host.id, host.userid, job.id, 1, replace(finish, outcome="succeeded")
    )
    assert again is None
    assert town.job(job.id).charged == 1


def test_an_agent_that_starts_again_leaves_its_jobs_running(town: Town) -> None:
    """It has adopted them: neither its second hello nor the start that it tells once more begins, ends or dates anything anew."""
    job = town.submit("run 500")
    town.run(5)
    (host,) = town.hosts()
    before = town.job(job.id)
    lines = story.of_job(town.plane, before)
    started_at = host.assignments[0].started_at
    assert (before.state, started_at is None) == (JobState.RUNNING, False)
    body = {
        "v": 1,
        "pool": "default",
        "host": host.id,
        "boot": "another",
        "seq": 1,
        "pings": [
            {"kind": "hello", "at": town.now, "running": [{"job": job.id, "attempt": 1}]},
            {"kind": "start", "at": started_at, "job": job.id, "attempt": 1},
        ],
    }
    pings.receive(town.plane, [pings.Message(str(host.userid), json.dumps(body), "m-1")])
    town.run(5)
    assert (town.job(job.id), story.of_job(town.plane, before)) == (before, lines)
    assert [a.started_at for a in town.hosts()[0].assignments] == [started_at]


def test_a_ping_that_comes_before_its_instance_is_written_down_waits(town: Town) -> None:
    """It travels through the timers queue with the sender that SQS proved."""
    fresh = replace(town.hosts()[0], id="host-new-0", instance_id=None, userid=None, state=HostState.LAUNCHING)
    town.stores.hosts.create([fresh])
    body = {"v": 1, "pool": "default", "host": "host-new-0", "pings": [{"kind": "hello", "at": town.now}]}
    pings.receive(town.plane, [pings.Message(f"{ROLE}:i-new", json.dumps(body), "m-1")])
    town.stores.hosts.record("default", "host-new-0", "i-new", f"{ROLE}:i-new", town.now)
    town.run(5)
    assert {h.id: h.state for h in town.hosts()}["host-new-0"] is HostState.READY


@pytest.mark.parametrize(
    "body",
    [
        "not json",
        "[" * 20_000,
        "[]",
        '{"v": 2}',
        '{"v": 1, "pool": "default"}',
        '{"v": 1, "pool": "", "host": "", "pings": []}',
        '{"v": 1, "pool": "default", "host": "HOST", "pings": [{"kind": "sing"}]}',
        '{"v": 1, "pool": "default", "host": "HOST", "pings": [{"kind": "finish"}]}',
        '{"v": 1, "pool": "default", "host": "HOST", "pings": [{"kind": "start", "job": "j", "attempt": "x"}]}',
        '{"v": 1, "pool": "default", "host": "HOST", "pings": [7]}',
        '{"v": 1, "pool": "default", "host": "HOST", "pings": [{"kind": "start", "job": "j", "attempt": 1, "at": 1%s}]}'
        % ("0" * 400),
    ],
)
def test_a_malformed_ping_is_set_aside_and_its_neighbour_is_heard(town: Town, body: str) -> None:
    """One bad record never replays the others."""
    (host,) = town.hosts()
    good = {"v": 1, "pool": "default", "host": host.id, "pings": [{"kind": "bye", "at": town.now, "reason": "tired"}]}
    messages = [
        pings.Message(host.userid, body.replace("HOST", host.id), "m-bad"),
        pings.Message(host.userid, json.dumps(good), "m-good"),
    ]
    pings.receive(town.plane, messages)
    assert town.hosts()[0].reason == "it said bye: tired"
    assert any(key.startswith("quarantine/heartbeats/") and "m-bad" in key for key in town.cloud.blobs.objects)


def test_half_a_surrogate_pair_in_a_result_is_replaced_and_the_finish_counts(town: Town) -> None:
    """A program may print any bytes as its result; its job must end all the same."""
    job = town.submit("run 500")
    town.run(5)
    (host,) = town.hosts()
    ping = {"kind": "finish", "job": job.id, "attempt": 1, "at": 1.0, "finished_at": 1.0}
    ping |= {"outcome": "succeeded", "reason": "odd \ud800", "result": {"x": "\udfff"}}
    body = json.dumps({"v": 1, "pool": "default", "host": host.id, "pings": [ping]})
    pings.receive(town.plane, [pings.Message(host.userid, body, "m")])
    finish = town.job(job.id).finish
    assert finish is not None
    assert (finish.reason, finish.result) == ("odd ?", {"x": "?"})


def test_a_table_that_does_not_answer_brings_the_batch_again(town: Town) -> None:
    """Nothing is lost: all records are tried, then the failure is raised so that SQS delivers them again."""

    class Broken:
        def __getattr__(self, name: str) -> Any:
            raise StoreUnavailable("hosts: throttled")

    broken = replace(town.plane, stores=told(replace(town.stores, hosts=Broken())))
    body = json.dumps({"v": 1, "pool": "default", "host": "h", "pings": []})
    with pytest.raises(StoreUnavailable):
        pings.receive(broken, [pings.Message("s", body, "m")])


def test_a_host_that_cannot_sandbox_is_not_trusted_and_its_job_moves_on(town: Town) -> None:
    job = town.submit("run 500")
    town.run(1)
    (host,) = town.hosts()
    ping = {
        "kind": "refused",
        "job": job.id,
        "attempt": 1,
        "why": "no_sandbox",
        "reason": "bubblewrap fails",
        "at": 1.0,
    }
    fresh = replace(host, userid=f"{ROLE}:i-other")  # an agent that has not claimed
    assert pings._refused(town.plane, fresh, ping)
    assert town.hosts()[0].state is HostState.UNHEALTHY
    assert town.job(job.id).state is JobState.PENDING
    assert "bubblewrap" in town.cloud.notices.published[-1]["reason"]


def test_records_of_the_submissions_queue_are_handled_one_by_one(town: Town) -> None:
    """A bad one goes to quarantine with the sentence that says why, a repeated one is the same job, the others run."""
    good = json.dumps({"command": "run 1", "timeout_s": 9, "name": "by-queue"})
    records = [
        intake.Record("m-1", good),
        intake.Record("m-2", '{"command": "run 1", "timeout_s": 9, "colour": "red"}'),
        intake.Record("m-3", '{"command": "run 1", "timeout_s": 9, "pool": "nowhere"}'),
        intake.Record("m-4", '{"command": "run 1", "timeout_s": 9, "family": "nobody"}'),
        intake.Record("m-5", "{"),
        intake.Record("m-1", good),
    ]
    intake.receive(town.plane, records)
    town.run(10 + town.boot_s)  # nobody's host is the owner `queue`'s yet
    ids, _ = town.stores.jobs.of_pool("default")
    named = [job for job in town.stores.jobs.get_many(ids).values() if job.spec.name == "by-queue"]
    assert [job.state for job in named] == [JobState.SUCCEEDED]
    kept = {
        key.split("/")[-1]: json.loads(body) for key, body in town.cloud.blobs.objects.items() if "quarantine" in key
    }
    assert {name: document["reason"].split(":")[0] for name, document in kept.items()} == {
        "m-2.json": "colour",
        "m-3.json": "pool",
        "m-4.json": "family",
        "m-5.json": "the body is not JSON",
    }
    assert [n["type"] for n in town.cloud.notices.published] == ["message_quarantined"] * 4


def test_dead_letters_are_kept_told_and_only_then_deleted(town: Town) -> None:
    dead = town.cloud.queues.wakes.dead
    assert dead is not None
    dead.send("a message that killed its function", town.now)
    tick.run(town.plane)
    assert not dead.messages
    assert any(key.startswith("quarantine/wakes/") for key in town.cloud.blobs.objects)
    assert town.cloud.notices.published[-1]["type"] == "message_quarantined"


def test_a_tick_that_fails_in_one_part_goes_on_with_the_others(town: Town) -> None:
    town.cloud.calls.fail("sqs.SendMessage", RuntimeError("no canary today"))
    before = town.cloud.queues.wakes.sent
    tick.run(town.plane)
    assert town.cloud.queues.wakes.sent == before + 1
    assert "no canary today" in town.cloud.notices.published[-1]["reason"]


def test_a_familys_defaults_stand_under_what_the_submission_says(town: Town) -> None:
    from chalicelib.api import job_wire, wire

    defaults = {"command": "./grade.sh", "timeout_s": 60, "cpu": 2.0}
    plane, _ = town.plane, families.put(town.plane, Family(name="grading", version=0, defaults=defaults))
    document = wire.decode(b'{"family": "grading", "timeout_s": 5}', job_wire.JobSpecWire)
    applied = families.apply(plane, document)
    assert (applied.command, applied.timeout_s, applied.cpu, applied.family_version) == ("./grade.sh", 5, 2.0, 1)
    with pytest.raises(BadRequest, match="no family named 'other'"):
        families.apply(plane, wire.decode(b'{"family": "other", "timeout_s": 5}', job_wire.JobSpecWire), "jobs[2].")


def test_a_log_is_read_from_any_byte_on_while_it_runs_and_after(town: Town) -> None:
    """Chunks named by offset; a short log comes with the job itself."""
    job = replace(town.job(town.stores.jobs.of_pool("default")[0][0]), state=JobState.RUNNING, finish=None, userid="u")
    prefix = f"hosts/u/{job.id}/1/log/"
    for offset, text in ((0, b"hello "), (6, b"world\n"), (12, b"more")):
        town.cloud.blobs.put(f"{prefix}{offset:012d}", text)
    piece = logs.read(town.plane, job, 3)
    assert (piece.text, piece.upto, piece.complete) == ("lo world\nmore", 16, False)
    assert logs.read(town.plane, job, 16).text == ""
    finish = Finish(outcome="succeeded", reason="", finished_at=1.0, log=Log(bytes=16))
    ended = replace(job, state=JobState.SUCCEEDED, finish=finish)
    assert logs.read(town.plane, ended, 16).complete
    short = replace(ended, finish=replace(finish, log=Log(bytes=2, text="hi")))
    assert logs.read(town.plane, short, 1) == logs.Piece(start=1, upto=2, text="i", complete=True, cut=False)


def test_a_job_whose_hosts_row_has_expired_is_not_run_again(town: Town) -> None:
    """Nobody knows whose claim to win, so the attempt may have begun; winning that of an earlier host would prove nothing."""
    (host,) = town.hosts()
    town.deaf.add(host.instance_id)
    job = town.submit("run 500")
    town.run(0.1)
    assert town.began[job.id, 1]
    assert town.job(job.id).state is JobState.ASSIGNED
    del town.stores.hosts._hosts["default"][host.id]  # type: ignore[attr-defined]
    town.now += 61
    assert sweep(town.plane, "default") == 1
    assert town.job(job.id).state is JobState.LOST


def test_an_entry_of_a_job_that_has_ended_launches_nothing() -> None:
    """The crash fell between the cancellation and the removal of its entry: no machine is launched for nobody."""
    town = Town()
    town.cloud.compute.refuse(OFFERING, "InsufficientInstanceCapacity")
    job = town.submit()
    town.run(5)
    entry = entry_of(town.job(job.id))
    cancel(town.plane, job.id)
    town.stores.backlog.put(entry)
    town.cloud.compute.allow(OFFERING)
    town.run(300)
    assert not town.cloud.compute.machines
    assert not town.stores.backlog.head("default", 1)
    assert {h.state for h in town.hosts()} == {HostState.TERMINATED}


def test_an_orphans_termination_is_sent_again_until_ec2_agrees() -> None:
    """It gets a row that is terminating: what EC2 did not hear once, it hears again, and the row ends with the machine."""
    town = Town()
    job = town.submit("run 900")
    town.run(60)
    (host,) = town.hosts()
    town.stores.hosts.forget("default", [host.id])
    town.cloud.calls.fail("ec2.TerminateInstances", CloudUnavailable("throttled"), times=2)
    town.run(70)
    (orphan,) = [h for h in town.hosts() if h.id == f"host-adopted-{host.instance_id}"]
    assert orphan.state is HostState.TERMINATING
    assert town.cloud.compute.alive()
    town.run(240)
    assert host.instance_id not in [machine.id for machine in town.cloud.compute.alive()]
    assert town.stores.hosts.get("default", orphan.id).state is HostState.TERMINATED  # type: ignore[union-attr]
    assert town.job(job.id).ended

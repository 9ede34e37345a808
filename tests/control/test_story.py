"""The story: every change of every job and host is told once, in order, with its reason, and outlives what it tells of."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from town import OFFERING, Town

from chalicelib.control import ec2_events, explain, pings, story
from chalicelib.control.cancel import cancel
from chalicelib.control.perform import Performer
from chalicelib.control.submit import submit_many
from chalicelib.core import host as hosts_
from chalicelib.core import job as jobs_
from chalicelib.core.host import HostEvent, HostState
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import JobSpec
from chalicelib.core.plan import Drain, Plan, Recapture
from chalicelib.core.pool import PoolSpec
from chalicelib.core.story import Line, of_pool
from chalicelib.errors import StoreUnavailable
from chalicelib.store.told import STORY_TTL_S, told

Truth = dict[str, list[tuple[str, str]]]


class Witness:
    """A store that notes each move that its rows really made: what the story is compared with."""

    def __init__(self, store: Any, truth: Truth) -> None:
        self._store = store
        self._truth = truth

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def move(self, *args: Any, reason: str, **facts: Any) -> Any:
        moved = self._store.move(*args, reason=reason, **facts)
        if moved is not None:
            self._truth[moved.id].append((str(moved.state), reason))
        return moved

    def create(self, hosts: Any) -> None:
        self._store.create(hosts)
        for host in hosts:
            self._truth[host.id].append((str(host.state), host.reason))


def a_town(seed: int = 0, **spec: Any) -> tuple[Town, Truth]:
    town = Town(PoolSpec(offerings=(OFFERING,), linger_s=30, **spec), seed=seed)
    truth: Truth = defaultdict(list)
    seen = replace(town.stores, jobs=Witness(town.stores.jobs, truth), hosts=Witness(town.stores.hosts, truth))
    town.plane = replace(town.plane, stores=told(seen))
    return town, truth


def told_of(town: Town, subject: str) -> list[Line]:
    story.flush(town.plane)
    return town.stores.story.of(subject)


def events(lines: list[Line]) -> list[str]:
    return [line.event for line in lines]


# -- scenarios: each leaves the town at rest


def cold_start(town: Town) -> None:
    for _ in range(3):
        town.submit("run 5")


def retry(town: Town) -> None:
    town.submit("fail 5", max_attempts=3)


def lost_host(town: Town) -> None:
    town.submit("run 500", max_attempts=2)
    town.run(60)
    town.cloud.compute.lose(next(iter(town.agents)))


def cancelled(town: Town) -> None:
    running = town.submit("run 300")
    town.run(60)
    waiting = town.submit("run 5", cpu=2.0)
    cancel(town.plane, running.id)
    cancel(town.plane, waiting.id)


def interrupted(town: Town) -> None:
    town.submit("run 200", max_attempts=2)
    town.run(60)
    instance = next(iter(town.agents))
    warning = {"detail-type": "EC2 Spot Instance Interruption Warning", "detail": {"instance-id": instance}}
    ec2_events.receive(town.plane, warning)


def refused(town: Town) -> None:
    town.cloud.compute.refuse(OFFERING, "InsufficientInstanceCapacity")
    town.submit("run 5")
    town.run(60)
    town.cloud.compute.allow(OFFERING)


SCENARIOS = [cold_start, retry, lost_host, cancelled, interrupted, refused]


@pytest.mark.parametrize("duplicate", [0.0, 0.6], ids=["once", "twice"])
@pytest.mark.parametrize("scenario", SCENARIOS, ids=[s.__name__ for s in SCENARIOS])
def test_every_change_is_told_once_in_order_and_with_its_reason(
    scenario: Callable[[Town], None], duplicate: float
) -> None:
    """Also where wakes, timers and pings come twice: what changed nothing is not told."""
    town, truth = a_town()
    town.duplicate = duplicate
    scenario(town)
    town.run_until_quiet()
    assert any(subject.startswith("job-") for subject in truth)
    for subject, changes in truth.items():
        lines = told_of(town, subject)
        moves = [(line.event, line.reason) for line in lines if line.event not in ("interrupted", "refused")]
        assert moves == changes, subject
        assert all(line.reason for line in lines), lines
        assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_a_told_story_is_a_path_through_the_state_machine() -> None:
    """A job's begins with its submission, a host's with its launch; no state follows that the table does not allow."""
    town, _ = a_town()
    retry(town)
    town.run_until_quiet()
    (job_id,) = town.stores.jobs.of_pool("default")[0]
    states = [JobState(e) for e in events(story.of_job(town.plane, town.job(job_id)))]
    assert states[0] is JobState.PENDING
    assert states.count(JobState.ASSIGNED) == 3
    assert all(b in jobs_.TRANSITIONS[a].values() for a, b in pairwise(states)), states
    for host in town.hosts():
        path = [HostState(e) for e in events(story.of_host(town.plane, host.id, host))]
        assert path[0] is HostState.LAUNCHING
        assert path[-1] is HostState.TERMINATED
        assert all(b in hosts_.TRANSITIONS[a].values() for a, b in pairwise(path)), path


def test_draining_and_taking_back_are_told() -> None:
    town, _ = a_town()
    town.submit("run 200")
    town.run(60)
    (host,) = town.hosts()
    for action in (Drain(host, "somebody asked for it"), Recapture(host, "work came before it was gone")):
        pool = town.stores.registry.pool("default")
        assert pool is not None
        Performer(town.plane, pool, pool.pass_no).perform(Plan(actions=(action,)))
    lines = told_of(town, host.id)
    assert events(lines)[-2:] == ["draining", "ready"]
    assert [line.reason for line in lines[-2:]] == ["somebody asked for it", "work came before it was gone"]


def test_the_story_of_a_host_survives_its_row() -> None:
    """Rows of hosts are deleted an hour after their end; the same lines are there afterwards, and `why` tells them."""
    town, _ = a_town()
    town.submit("run 5")
    town.run_until_quiet()
    (host,) = town.hosts()
    before = story.of_host(town.plane, host.id, host)
    town.run(4000)
    assert town.hosts() == []
    assert explain.find_host(town.plane, host.id) is None
    assert story.of_host(town.plane, host.id, None) == before
    why = explain.host(town.plane, host.id)
    assert why is not None
    assert why.state is None
    assert any("terminated" in sentence for sentence in why.sentences)
    assert explain.host(town.plane, "host-never") is None


def test_an_interruption_is_told_once_to_the_host_and_to_what_it_carries() -> None:
    """EC2 and the agent both say it, and each may say it twice."""
    town, _ = a_town()
    interrupted(town)
    (host,) = town.hosts()
    agent = next(iter(town.agents.values()))
    ping = {"kind": "interrupted", "at": town.now, "interrupt_at": town.now + 120, "action": "terminate"}
    body = {"v": 1, "pool": "default", "host": host.id, "pings": [ping, ping]}
    pings.receive(town.plane, [pings.Message(agent.userid, json.dumps(body), "m")] * 2)
    assert events(told_of(town, host.id)).count("interrupted") == 1
    (job_id,) = town.stores.jobs.of_pool("default")[0]
    assert events(told_of(town, job_id)).count("interrupted") == 1


def test_a_refusal_of_ec2_is_told_to_the_pool_the_host_and_the_job() -> None:
    town, truth = a_town()
    refused(town)
    (refusal,) = [line for line in told_of(town, of_pool("default")) if line.event == "refused"]
    assert OFFERING.key in refusal.reason
    gone = next(subject for subject in truth if subject.startswith("host-"))
    assert events(told_of(town, gone)) == ["launching", "terminated"]
    job_id = town.stores.jobs.of_pool("default")[0][0]
    assert "EC2 refused" in told_of(town, job_id)[-1].reason


def test_a_pool_tells_each_change_of_its_target_and_why() -> None:
    """From nothing to the first host and back again, each once, though it is looked at many times in between."""
    town, _ = a_town()
    town.submit("run 50")
    town.run_until_quiet()
    targets = [line for line in told_of(town, of_pool("default")) if line.event == "target"]
    assert [line.reason.partition(":")[0] for line in targets] == ["0 → 1 hosts", "1 → 0 hosts"]
    assert all(line.reason.partition(": ")[2] for line in targets)


def test_an_adopted_orphan_is_told_to_its_pool() -> None:
    town, _ = a_town()
    town.submit("run 5")
    town.run_until_quiet()
    town.submit("run 900")
    town.run(60)
    (host,) = [h for h in town.hosts() if h.state is HostState.READY]
    del town.stores.hosts._hosts["default"][host.id]  # type: ignore[attr-defined]
    town.run(200)
    assert "adopted" in events(told_of(town, of_pool("default")))
    assert events(told_of(town, f"host-adopted-{host.instance_id}")) == ["terminating", "terminated"]


def test_a_job_whose_lines_were_lost_still_has_the_states_that_its_row_remembers() -> None:
    """A function that dies before its end loses its lines; the rows are the truth."""
    town, _ = a_town()
    job = town.submit("run 5")
    town.run_until_quiet()
    told_ = told_of(town, job.id)
    town.stores.story._lines.clear()  # type: ignore[attr-defined]
    remembered = story.of_job(town.plane, town.job(job.id))
    assert events(remembered) == ["pending", *events(told_)]
    assert remembered[-1].reason == told_[-1].reason


# -- the teller


class Silent:
    """A story that does not answer for some calls."""

    def __init__(self, failures: list[Exception]) -> None:
        self.failures = failures
        self.lines: list[Line] = []
        self.calls: list[int] = []
        self.expires_at = 0.0

    def append(self, lines: list[Line], expires_at: float) -> None:
        self.calls.append(len(lines))
        if self.failures:
            raise self.failures.pop(0)
        self.lines += lines
        self.expires_at = expires_at


def telling(failures: list[Exception] | None = None) -> tuple[Town, Silent]:
    town = Town(PoolSpec(offerings=(OFFERING,)))
    silent = Silent(failures or [])
    town.plane = replace(town.plane, stores=told(replace(town.stores, story=silent)))  # type: ignore[arg-type]
    return town, silent


def test_the_same_sentence_within_a_minute_is_told_once() -> None:
    """Said in a row of one subject; later, or after something else, it is told again. Lines live 30 days."""
    town, silent = telling()
    for wait, subject, event in (
        (0, "a", "x"),
        (30, "a", "x"),
        (0, "b", "x"),
        (31, "a", "x"),
        (0, "a", "y"),
        (0, "a", "x"),
    ):
        town.now += wait
        town.plane.tell(subject, event, "why")
    story.flush(town.plane)
    assert [(line.subject, line.event) for line in silent.lines] == [
        ("a", "x"),
        ("b", "x"),
        ("a", "x"),
        ("a", "y"),
        ("a", "x"),
    ]
    assert silent.expires_at == town.now + STORY_TTL_S


def test_lines_are_written_at_the_end_25_in_a_request() -> None:
    town, silent = telling()
    for n in range(60):
        town.plane.tell(f"job-{n}", "x", "why")
    assert silent.calls == []
    story.flush(town.plane)
    assert silent.calls == [25, 25, 10]
    story.flush(town.plane)
    assert len(silent.calls) == 3  # nothing told, nothing asked


def test_a_batch_of_finish_pings_costs_one_request_for_the_story() -> None:
    """And a submission, however large, none."""
    town, silent = telling()
    submit_many(town.plane, [JobSpec(command="run 600", timeout_s=600) for _ in range(6)], "alice")
    story.flush(town.plane)
    assert silent.calls == []
    town.run(60)
    silent.calls.clear()
    messages = []
    for agent in town.agents.values():
        for job_id, attempt in agent.running:
            ping = {"kind": "finish", "at": town.now, "job": job_id, "attempt": attempt, "outcome": "succeeded"}
            ping |= {"reason": "exit 0", "finished_at": town.now}
            body = {"v": 1, "pool": "default", "host": agent.entry["host"], "pings": [ping]}
            messages.append(pings.Message(agent.userid, json.dumps(body), "m"))
    assert len(messages) == 6
    pings.receive(town.plane, messages)
    story.flush(town.plane)
    assert silent.calls == [6]


def test_a_story_that_cannot_be_written_fails_nothing_and_is_written_next_time() -> None:
    town, silent = telling([StoreUnavailable("throttled")])
    town.plane.tell("job-1", "x", "why")
    story.flush(town.plane)
    assert silent.lines == []
    story.flush(town.plane)
    assert len(silent.lines) == 1


def test_lines_that_no_table_takes_do_not_stand_in_the_way_of_others() -> None:
    town, silent = telling([ValueError("a key is too long")])
    town.plane.tell("job-1", "x", "why")
    story.flush(town.plane)
    town.plane.tell("job-2", "x", "why" * 1000)
    story.flush(town.plane)
    assert [line.subject for line in silent.lines] == ["job-2"]
    assert len(silent.lines[0].reason) == 1000


def test_a_lost_race_is_not_told() -> None:
    town, silent = telling()
    job = town.submit()
    for event in (jobs_.JobEvent.START, jobs_.JobEvent.SUCCEED):
        assert town.plane.stores.jobs.move(job.id, event, attempt=1, at=town.now, reason="late") is None
    assert town.plane.stores.hosts.move("default", "none", HostEvent.DRAIN, at=town.now, reason="late") is None
    story.flush(town.plane)
    assert silent.lines == []


def test_no_line_stands_before_the_change_that_it_follows() -> None:
    """A start is dated by its agent's clock, which may be a little late."""
    town, silent = telling()
    job = town.submit()
    moves = town.plane.stores.jobs
    moves.move(job.id, jobs_.JobEvent.ASSIGN, attempt=1, at=town.now + 1, reason="placed", host="h")
    moves.move(job.id, jobs_.JobEvent.START, attempt=1, at=town.now + 0.5, reason="runs on h", host="h")
    story.flush(town.plane)
    assert [(line.event, line.at - town.now) for line in silent.lines] == [("assigned", 1), ("running", 1)]

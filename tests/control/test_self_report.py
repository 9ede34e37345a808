"""What an agent says of its own host: each thing is written once, told once, and held against the host only when it is the host's fault."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from town import OFFERING, Agent, Town

from chalicelib.control import pings, story
from chalicelib.core.host import HostState
from chalicelib.core.job import JobState
from chalicelib.core.pool import PoolSpec
from chalicelib.store.ports import Hosts
from chalicelib.store.told import told

A, B = "a" * 64, "b" * 64


class CountingHosts:
    """The hosts table, and the writes that it was asked for."""

    def __init__(self, hosts: Hosts) -> None:
        self._hosts = hosts
        self.touched: list[Mapping[str, Any]] = []
        self.moves = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._hosts, name)

    def touch(self, pool: str, host_id: str, **facts: Any) -> None:
        self.touched.append(facts)
        self._hosts.touch(pool, host_id, **facts)

    def move(self, *args: Any, **kwargs: Any) -> Any:
        self.moves += 1
        return self._hosts.move(*args, **kwargs)


def a_town(slots: int = 1) -> tuple[Town, CountingHosts, Agent]:
    """A pool with one host that has been idle for some seconds, and the writes to its rows from now on."""
    town = Town(
        PoolSpec(offerings=(OFFERING,), missed_pings_s=86_400, linger_s=3600, slots_per_host=slots, hosts_max=2)
    )
    town.submit("run 1")
    town.run(40)
    hosts: Any = CountingHosts(town.stores.hosts)
    town.plane = replace(town.plane, stores=told(replace(town.stores, hosts=hosts)))
    (agent,) = town.agents.values()
    return town, hosts, agent


def say(town: Town, agent: Agent, *said: Mapping[str, Any]) -> None:
    body = {"v": 1, "pool": "default", "host": agent.entry["host"], "pings": [{"at": town.now, **p} for p in said]}
    pings.receive(town.plane, [pings.Message(agent.userid, json.dumps(body), "m")])


def the_host(town: Town, agent: Agent) -> Any:
    return next(host for host in town.hosts() if host.id == agent.entry["host"])


@pytest.mark.parametrize("kind", ["hello", "alive", "idle"])
def test_what_a_host_holds_is_written_when_it_changes_and_only_then(kind: str) -> None:
    """And in the same request as the time it was seen, where that is due."""
    town, hosts, agent = a_town()
    for held in ([A], [A], [B, A], [A, B]):
        say(town, agent, {"kind": kind, "holds": held})
    assert [t["holds"] for t in hosts.touched if "holds" in t] == [{A}, {A, B}]
    assert the_host(town, agent).holds == {A, B}
    assert len(hosts.touched) == 2
    say(town, agent, {"kind": kind})
    assert the_host(town, agent).holds == {A, B}, "an agent that does not say, knows no better"
    say(town, agent, {"kind": kind, "holds": [A]}, {"kind": kind, "holds": []})
    assert the_host(town, agent).holds == frozenset()


@pytest.mark.parametrize("held", ["a" * 64, [A.upper()], ["a"], [5], [None], [f"{n:064x}" for n in range(33)], {}])
def test_holds_that_are_none_are_set_aside_and_the_rest_counts(held: Any) -> None:
    town, hosts, agent = a_town()
    say(town, agent, {"kind": "alive", "holds": held, "problems": ["its disk is full"]})
    assert not [t for t in hosts.touched if "holds" in t]
    assert the_host(town, agent).state is HostState.UNHEALTHY
    assert "holds must be" in town.cloud.notices.published[0]["reason"] + town.cloud.notices.published[-1]["reason"]


def test_a_problem_makes_the_host_unhealthy_with_its_sentence_and_is_told_to_people_once() -> None:
    """Each ping repeats it for as long as it lasts; that costs neither a write nor a notice nor a pass."""
    town, hosts, agent = a_town()
    town.submit("run 500")
    town.run(20)
    agent = next(a for a in town.agents.values() if a.running)
    for _ in range(5):
        say(town, agent, {"kind": "alive", "problems": ["its disk is full: 3 of 8192 MiB are free", "more"]})
    host = the_host(town, agent)
    assert (host.state, host.reason) == (
        HostState.UNHEALTHY,
        "its agent says: its disk is full: 3 of 8192 MiB are free",
    )
    (notice,) = town.cloud.notices.published
    assert (notice["type"], notice["severity"], notice["subject"]) == ("host_unhealthy", "warning", host.id)
    assert notice["detail"] == {"problems": ["its disk is full: 3 of 8192 MiB are free", "more"]}
    moves = hosts.moves
    say(town, agent, {"kind": "alive", "problems": ["its disk is full: 3 of 8192 MiB are free"]})
    assert hosts.moves == moves


def test_a_host_with_a_problem_finishes_what_runs_and_what_it_gave_back_runs_elsewhere_uncharged() -> None:
    town, _, agent = a_town(slots=2)
    runs = town.submit("run 300")
    town.run(20)
    begin = town._begin
    town._begin = lambda *_: None  # type: ignore[method-assign]  # the second one still fetches its inputs
    waits = town.submit("run 5")
    town.run(1)
    host = the_host(town, agent)
    assert {a.job for a in host.assignments} == {runs.id, waits.id}
    agent.waiting.clear()
    refused = {"kind": "refused", "job": waits.id, "attempt": 1, "why": "unhealthy", "reason": "its disk is full"}
    say(town, agent, refused)
    assert the_host(town, agent).reason == f"{host.id} refused it (unhealthy): its disk is full"
    say(town, agent, {"kind": "alive", "problems": ["its disk is full"]})
    town._begin = begin  # type: ignore[method-assign]
    assert the_host(town, agent).state is HostState.UNHEALTHY
    town.run_until_quiet()
    assert town.job(runs.id).state is JobState.SUCCEEDED
    assert town.job(runs.id).attempt == 1
    again = town.job(waits.id)
    assert (again.state, again.attempt, again.charged) == (JobState.SUCCEEDED, 2, 1)
    assert again.host != host.id
    assert [n["type"] for n in town.cloud.notices.published].count("host_unhealthy") == 1


def test_what_could_not_be_prepared_is_taken_back_and_the_host_stays_trusted() -> None:
    town, _, agent = a_town()
    job = town.submit("run 300")
    begin = town._begin
    town._begin = lambda *_: None  # type: ignore[method-assign]  # it fetches its inputs
    town.run(20)
    say(town, agent, {"kind": "refused", "job": job.id, "attempt": 1, "why": "unprepared", "reason": "S3 is away"})
    assert the_host(town, agent).state is HostState.READY
    assert (town.job(job.id).state, town.job(job.id).attempt) == (JobState.PENDING, 2)
    town._begin = begin  # type: ignore[method-assign]
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED


@pytest.mark.parametrize("why", ["unprepared", "unhealthy", "install_failed"])
def test_what_a_restarted_agent_refuses_is_taken_back_though_the_one_before_it_had_the_claim(why: str) -> None:
    """Only its own word that nothing began there does that: a claim that is an agent's says that something may have."""
    town, _, agent = a_town()
    job = town.submit("run 300", max_attempts=1)
    begin = town._begin
    town._begin = lambda agent, a: town._claims(agent, (a["job"], a["attempt"])) and None  # type: ignore[method-assign]
    town.run(20)
    refused = {"kind": "refused", "job": job.id, "attempt": 1, "why": why, "reason": "S3 is away"}
    say(town, agent, refused)
    assert town.job(job.id).attempt == 1, "it may have begun"
    say(town, agent, {**refused, "unbegun": True})
    say(town, agent, {**refused, "unbegun": True})
    town._begin = begin  # type: ignore[method-assign]
    town.run_until_quiet()
    assert (town.job(job.id).state, town.job(job.id).attempt) == (JobState.SUCCEEDED, 2)


def test_a_host_that_refuses_another_owners_job_is_replaced_and_nobody_is_told() -> None:
    """It may never be that owner's: its row says so by a setting that has changed since, or an install has changed the host for good."""
    town, _, agent = a_town()
    job = town.submit("run 300")
    begin = town._begin
    town._begin = lambda *_: None  # type: ignore[method-assign]
    town.run(20)
    reason = "this host serves bob"
    say(town, agent, {"kind": "refused", "job": job.id, "attempt": 1, "why": "other_domain", "reason": reason})
    assert the_host(town, agent).state is HostState.UNHEALTHY
    town._begin = begin  # type: ignore[method-assign]
    town.run_until_quiet()
    assert town.job(job.id).state is JobState.SUCCEEDED
    assert not town.cloud.notices.published


def test_that_a_host_was_scrubbed_is_in_its_story() -> None:
    town, _, agent = a_town()
    found = {"files": 3, "processes": 0}
    say(town, agent, {"kind": "scrubbed", "before": "alice", "domain": "bob", "found": found, "holds": []})
    story.flush(town.plane)
    (line,) = [line for line in town.stores.story.of(the_host(town, agent).id) if line.event == "scrubbed"]
    assert line.reason == "it is clean of what alice left there (3 files), and serves bob now"


def test_a_trouble_is_not_held_against_the_host() -> None:
    """That AWS does not answer would take all hosts away at the same moment."""
    town, hosts, agent = a_town()
    say(town, agent, {"kind": "alive", "problems": [], "troubles": ["the inbox cannot be read"]})
    assert the_host(town, agent).state is HostState.READY
    assert not town.cloud.notices.published
    assert hosts.moves == 0

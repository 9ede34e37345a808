"""Installs as the control plane sees them: whose fault a failing one is, how many hosts it may cost, and who hears of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from town import OFFERING, Agent, Town

from chalicelib.control import explain, logs, pings, story
from chalicelib.core import installs, ladder
from chalicelib.core.host import Host, HostState
from chalicelib.core.installs import Installed
from chalicelib.core.job import JobState
from chalicelib.core.job_spec import Install
from chalicelib.core.pool import Pool, PoolSpec
from chalicelib.core.snapshot import Snapshot

VERSION = "ab" * 32
SENTENCE = "setup.sh line 7: `apt-get install foo` exited with 100 (tried 3 times)"


def an_install(state: str, at: float, **over: Any) -> dict[str, Any]:
    return {"version": VERSION, "name": "setup.sh", "state": state, "tries": 1, "at": at, "reason": "", **over}


def _installed(state: str) -> Installed:
    return Installed(version=VERSION, name="setup.sh", state=state, tries=1, at=1.0)


def a_host(**over: Any) -> Host:
    return Host(
        id="host-1-0", pool="default", state=HostState.READY, offering=OFFERING, launch="launch-1", launch_index=0, cpu=2.0,
        memory_mib=4096, slots=2, launched_at=1.0, **over,
    )  # fmt: skip


class Installing(Town):
    """Its agents run installs: `breaks` says on which hosts they fail."""

    breaks = True
    says = frozenset({"installs", "refused"})

    def _begin(self, agent: Agent, a: dict[str, Any]) -> None:
        if not a.get("install"):
            super()._begin(agent, a)
            return
        key = f"{a['job']}#{a['attempt']}"
        if not self.breaks:
            self._say(agent, {"kind": "installs", "installs": [an_install("ready", self.now)]})
            super()._begin(agent, a)
            return
        failed = an_install("failed", self.now, tries=3, reason=SENTENCE, waiting=[key])
        if "installs" in self.says:
            self._say(agent, {"kind": "installs", "installs": [failed]})
        if "refused" not in self.says:
            return
        refused = {"kind": "refused", "job": a["job"], "attempt": a["attempt"], "why": "install_failed"}
        self._say(agent, {**refused, "install": VERSION, "reason": SENTENCE})


def a_town(**spec: Any) -> Installing:
    return Installing(PoolSpec(**{"offerings": (OFFERING,), "hosts_max": 10, "slots_per_host": 1, **spec}))


def of_type(town: Town, type_: str) -> list[Any]:
    return [notice for notice in town.cloud.notices.published if notice["type"] == type_]


@pytest.mark.parametrize("said", [("installs", "refused"), ("installs",)], ids=" ".join)
def test_a_job_whose_install_fails_everywhere_ends_uncharged_after_three_hosts(said: tuple[str, ...]) -> None:
    """Each of them is trusted no more; people hear of it once; whoever needs it afterwards ends with the first host that fails it too.

    Whichever of the two words of an agent comes first, the pass that it wakes must not give the attempt to a fourth host."""
    town = a_town()
    town.says = frozenset(said)
    job = town.submit(install=Install(script="x"), max_attempts=3, cpu=2.0)
    town.run_until_quiet()
    ended = town.job(job.id)
    assert ended.state is JobState.FAILED
    assert ended.reason == f"its install failed on 3 hosts of pool default, so it was never begun: {SENTENCE}"
    assert ended.charged == 0
    assert not town.began
    assert len(town.cloud.compute.machines) == 3
    (notice,) = of_type(town, "install_failed")
    assert SENTENCE in notice["reason"]
    assert not of_type(town, "host_unhealthy")
    again = town.submit(install=Install(script="x"), cpu=2.0)
    town.run_until_quiet()
    assert town.job(again.id).state is JobState.FAILED
    assert len(town.cloud.compute.machines) == 4


def test_an_install_that_fails_on_one_host_only_costs_its_job_nothing_but_time() -> None:
    town = a_town()
    job = town.submit(install=Install(script="x"), cpu=2.0)
    town.run(21)
    bad = town.hosts()[0]
    lines = [(line.event, line.reason) for line in story.of_host(town.plane, bad.id, bad)]
    assert ("unhealthy", f"the install setup.sh (abababab) failed: {SENTENCE}") in lines
    town.breaks = False
    town.run_until_quiet()
    ended = town.job(job.id)
    assert (ended.state, ended.attempt, ended.charged, ended.faults) == (JobState.SUCCEEDED, 2, 1, 1)


def test_many_hosts_with_failing_installs_protect_the_pool_until_one_is_ready() -> None:
    """A host a job would otherwise be launched, and fail, for each of twenty jobs; afterwards it is one at a time."""
    town = a_town(hosts_max=6)
    for _ in range(20):
        town.submit(install=Install(script="x"), cpu=2.0)
    town.run(200)
    (notice,) = of_type(town, "protected_mode")
    assert notice["reason"].startswith("protected mode: installs failed on 5 hosts and were ready on none")
    assert "spillway logs HOST --install" in notice["reason"]
    town.breaks = False
    town.submit(install=Install(script="x"), cpu=2.0)
    town.run(400)
    (over,) = of_type(town, "protected_mode_over")
    assert over["reason"] == "no more installs fail: protected mode is over"


def test_how_an_install_goes_is_told_in_the_stories_of_its_host_and_of_the_jobs_that_wait_for_it() -> None:
    """Once for each try, however often its agent repeats it; a word that comes late changes nothing."""
    town = a_town()
    town._begin = lambda *_: None  # type: ignore[method-assign]  # it is still installing
    job = town.submit(install=Install(script="x"))
    town.run(21)
    (agent,) = town.agents.values()
    key = f"{job.id}#1"
    first = an_install("running", town.now, waiting=[key])
    second = {**first, "tries": 2, "reason": "setup.sh line 2: `false` exited with 1"}

    def say(at: float, *installs: Any) -> None:
        body = {"v": 1, "pool": "default", "host": agent.entry["host"]}
        document = {**body, "pings": [{"kind": "installs", "at": at, "installs": list(installs)}]}
        pings.receive(town.plane, [pings.Message(agent.userid, json.dumps(document), "m")])

    for at, said in ((1.0, first), (2.0, first), (4.0, second), (3.0, first)):
        say(town.now + at, said)
    story.flush(town.plane)
    host = agent.entry["host"]
    wanted = [
        f"on {host}: the install setup.sh (abababab) runs, try 1",
        f"on {host}: the install setup.sh (abababab) runs, try 2; the try before failed: setup.sh line 2: `false` exited with 1",
    ]
    for lines in (story.of_job(town.plane, town.job(job.id)), story.of_host(town.plane, host, town.hosts()[0])):
        assert [line.reason for line in lines if line.event == "install"] == wanted
    told = explain.job(town.plane, town.job(job.id)).sentences
    assert any("the install setup.sh (abababab) runs, try 2" in sentence for sentence in told)
    why = explain.host(town.plane, host)
    assert why is not None
    assert any("the install setup.sh (abababab) runs, try 2" in sentence for sentence in why.sentences)


def test_a_host_tells_nothing_in_the_stories_of_jobs_that_are_not_its_own() -> None:
    """Whoever has taken over a host could make up whatever they like of anybody's job."""
    town = a_town()
    town._begin = lambda *_: None  # type: ignore[method-assign]  # it is still installing
    job = town.submit(install=Install(script="x"))
    town.run(21)
    other = town.submit()
    (agent,) = town.agents.values()
    said = an_install("running", town.now, waiting=[f"{job.id}#1", f"{other.id}#1", agent.entry["host"], "default"])
    town._say(agent, {"kind": "installs", "installs": [said]})
    town.run(1)
    story.flush(town.plane)
    told = [subject for subject in (job.id, other.id) if any(
        line.event == "install" for line in story.of_job(town.plane, town.job(subject))
    )]  # fmt: skip
    assert told == [job.id]


def test_what_an_install_prints_can_be_read_piece_by_piece_while_it_runs_and_after() -> None:
    """Complete is only what nothing can be added to."""
    host = a_host(userid="AROA:i-1", installs=(_installed("running"),))
    town = a_town()
    town.cloud.blobs.put(f"hosts/AROA:i-1/install/{VERSION}/log", b"one\ntwo\n")
    piece = logs.of_install(town.plane, host, VERSION, 4)
    assert (piece.text, piece.upto, piece.complete) == ("two\n", 8, False)
    ended = replace(host, installs=(_installed("ready"),))
    assert logs.of_install(town.plane, ended, VERSION, 8).complete
    assert logs.of_install(town.plane, ended, "cd" * 32, 0).text == ""


@pytest.mark.parametrize(
    "said",
    [
        None,
        {},
        [1],
        [{}],
        [an_install("done", 1.0)],
        [{**an_install("ready", 1.0), "version": "../../x"}],
        [an_install("ready", 1.0)] * 17,
        [an_install("ready", "nan")],
        [an_install("ready", "infinity")],
    ],
)
def test_installs_that_are_none_are_set_aside(said: Any) -> None:
    """A host writes to its own row only, and only what an agent of ours says."""
    town = a_town()
    town.submit()
    town.run(21)
    (agent,) = town.agents.values()
    town._say(agent, {"kind": "installs", "installs": said})
    town.run(1)
    assert town.hosts()[0].installs == ()
    assert of_type(town, "message_quarantined")


def test_a_host_that_installs_for_long_is_not_taken_for_one_that_begins_nothing() -> None:
    """For as long as its agent goes on telling of it."""
    town = a_town(missed_pings_s=86_400)
    town._begin = lambda *_: None  # type: ignore[method-assign]
    job = town.submit(install=Install(script="x", timeout_s=3600))
    town.run(21)
    (agent,) = town.agents.values()
    for _ in range(40):
        town._say(agent, {"kind": "installs", "installs": [an_install("running", town.now, waiting=[f"{job.id}#1"])]})
        town.run(60)
    assert town.hosts()[0].state is HostState.READY
    town.run(700)
    assert town.hosts()[0].state is not HostState.READY


def test_what_failed_before_it_was_ready_anywhere_is_held_against_no_script() -> None:
    """And a restarted pool begins anew: what failed on hosts of an older generation says nothing of the new ones."""
    failed = [
        replace(a_host(), id=f"host-{n}", installs=(replace(_installed("failed"), at=n + 1.0),)) for n in range(6)
    ]
    ready = replace(a_host(), id="host-9", installs=(replace(_installed("ready"), at=4.0),))
    assert installs.failed_on(VERSION, failed) == {host.id for host in failed}
    assert installs.failed_on(VERSION, [*failed, ready]) == {"host-4", "host-5"}
    assert installs.failed_on("cd" * 32, failed) == frozenset()
    assert (installs.failing(failed), installs.failing([*failed, ready])) == (6, 2)
    pool = Pool(name="default", spec=PoolSpec(offerings=(OFFERING,)))
    again = replace(pool, spec=replace(pool.spec, generation=1))
    seen = Snapshot(pool=pool, now=10.0, hosts=(), past=tuple(failed), backlog=())
    protected = ladder.current(seen).pool.supply
    assert (protected.protected_at, protected.protected_by) == (10.0, "installs")
    assert ladder.current(replace(seen, pool=again)).pool.supply.protected_at is None


def test_what_cannot_be_installed_is_refused_at_submit() -> None:
    from chalicelib.core.admission import faults
    from chalicelib.core.job_spec import Input, JobSpec

    pool = PoolSpec(offerings=(OFFERING,))
    inputs = (Input(path="source", sha256="ab" * 32, unpack=True), Input(path="setup.sh", text="x"))
    spec = JobSpec(command="x", timeout_s=60, inputs=inputs)

    def refused(path: str) -> list[str]:
        return [fault.field for fault in faults(replace(spec, install=Install(path=path)), pool)]

    assert refused("source/setup.sh") == refused("./setup.sh") == refused("source/a/b.sh") == []
    assert refused("other/setup.sh") == refused("source") == refused("setup.sh/x") == ["install.path"]
    docker = replace(pool, sandbox="docker", container_image="debian:12")
    assert "install" in [fault.field for fault in faults(replace(spec, install=Install(script="x")), docker)]

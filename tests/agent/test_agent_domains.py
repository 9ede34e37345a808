"""A host serves one owner: another's jobs wait, are refused, or find a host that was scrubbed for them."""

import os
import queue
import subprocess
from pathlib import Path

import pytest
from agent_machine import a_job

from agent.admission import Load
from agent.cgroups import Places
from agent.journal import replay
from agent.loop import Loop
from agent.paths import Paths

pytestmark = pytest.mark.usefixtures("sandboxed")
LOOK = "ls -A /tmp /job"


def kept(one):
    """What lies on the host that came with jobs."""
    state = one.root / "var/lib/spillway"
    return sorted(
        f"{name}/{each}" for name in ("cache", "work") for each in os.listdir(state / name) if each != ".probe"
    )


def test_another_owners_job_begins_on_a_shared_host_when_nothing_runs_and_after_it_was_scrubbed(machine):
    """What the first left - its upload, a file where everybody may write, a process that outlived it - is gone; the journal knows whose
    host it is, also after the agent was killed."""
    one = machine()
    sha256, url = one.put_input(b"alice's tests")
    its = {"inputs": [{"path": "tests", "sha256": sha256, "unpack": False}], "urls": {sha256: url}}
    wait = "while [ ! -e /job/go ]; do sleep 0.02; done"
    one.write_inbox(1, [a_job("job-a", wait, domain="alice", share=True, **its)])
    one.start()
    one.wait("start", "job-a")
    one.write_inbox(2, [a_job("job-b", LOOK, domain="bob", share=True), a_job("job-c", domain="alice", share=True)])
    assert one.ring().returncode == 0
    one.wait("accepted", "job-b")
    one.wait("alive", count=len(one.pings("alive")) + 1)
    assert not one.pings("start", "job-b"), "alice's job runs"
    assert f"cache/{sha256}" in kept(one)
    uid = (one.root / "var/lib/spillway/work/job-a.1/work").stat().st_uid
    litter, orphan = Path(f"/tmp/litter-{one.instance_id}"), None
    try:
        litter.mkdir()
        (litter / "note").write_text("alice was here")
        os.chown(litter, uid, uid)
        orphan = subprocess.Popen(["sleep", "300"], user=uid, group=uid)
        (one.root / "var/lib/spillway/work/job-a.1/work/go").touch()
        finish = one.wait("finish", "job-b")
        assert finish["log"]["text"].splitlines() == ["/job:", "", "/tmp:"]
        assert orphan.wait(10) == -9
        assert not litter.exists()
    finally:
        if orphan is not None:
            orphan.kill()
        subprocess.run(["rm", "-rf", str(litter)], check=True)
    (told,) = one.pings("scrubbed")
    assert (told["before"], told["domain"], told["holds"]) == ("alice", "bob", [])
    assert told["found"]["processes"] == 1
    assert told["found"]["files"] >= 2
    assert one.wait("finish", "job-c")["outcome"] == "succeeded", "the host was scrubbed back"
    one.wait("idle")
    assert [p["domain"] for p in one.pings("scrubbed")] == ["bob", "alice"]
    one.kill()
    one.start()
    one.write_inbox(3, [a_job("job-d", domain="bob")])
    assert one.wait("refused", "job-d")["why"] == "other_domain"


def test_another_owners_job_is_refused_without_leave_and_where_nobody_could_tell_what_is_left(machine):
    """Commands without a sandbox ran as the agent's own user."""
    jobs = [a_job("job-a", domain="alice"), a_job("job-b", domain="bob"), a_job("job-c", domain="alice")]
    one = machine(assignments=jobs).start()
    refused = one.wait("refused", "job-b")
    assert (refused["why"], refused["reason"]) == ("other_domain", "this host serves alice")
    assert one.wait("finish", "job-c")["outcome"] == "succeeded"
    jobs = [a_job("job-a", domain="alice", untrusted=False), a_job("job-b", domain="bob", share=True, untrusted=False)]
    bare = machine(assignments=jobs, settings={"sandbox": "none"}).start()
    refused = bare.wait("refused", "job-b")
    assert refused["why"] == "other_domain"
    assert "the agent's own user" in refused["reason"]


def test_a_host_whose_journal_does_not_tell_whose_it_was_serves_nobody_without_being_scrubbed(machine):
    one = machine(assignments=[a_job("job-a", domain="alice")])
    one.install()
    cache = one.root / "var/lib/spillway/cache"
    cache.mkdir()
    (cache / ("0" * 64)).write_text("whose?")
    one.start()
    assert one.wait("refused", "job-a")["why"] == "other_domain"
    one.write_inbox(1, [a_job("job-b", domain="alice", share=True)])
    one.ring()
    assert one.wait("finish", "job-b")["outcome"] == "succeeded"
    assert kept(one) == []


def test_a_scrub_that_cannot_be_done_is_the_hosts_problem_and_nobody_waits_for_it(tmp_path):
    """An engine that does not answer raises in the middle of it."""
    from types import SimpleNamespace as Some

    def sweep():
        raise TimeoutError("the engine does not answer")

    told = []
    host = Some(
        manifest=Some(settings=Some(ping_every_s=60)),
        journal=Some(at_start=replay([{"e": "domain", "domain": "alice"}])),
        cache=Some(holds=list),
        paths=Paths(str(tmp_path)),
        groups=Places({}, frozenset()),
        group_prefix="none-",
        sandbox=Some(default=Some(drops_uid=True, sweep=sweep)),
        health=Some(note=lambda kind, sentence: told.append((kind, sentence))),
    )
    events = queue.SimpleQueue()
    loop = Loop(host, Load(1, 1.0, 1), 1_900_000_000, events, lambda: 0.0)
    loop._change_hands(Some(domain="bob", share=True))
    events.get(timeout=10)()
    assert [kind for kind, _ in told] == ["scrub"]
    assert "the engine does not answer" in told[0][1]
    assert not loop._scrubbing

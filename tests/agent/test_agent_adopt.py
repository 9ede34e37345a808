"""An agent dies and another one goes on with what it had begun: nothing is repeated, lost or charged to a job."""

import contextlib
import os
import random
import signal
import subprocess
from pathlib import Path

import pytest
from agent_machine import a_job, processes_with

pytestmark = pytest.mark.usefixtures("sandboxed")

WAITS = "while [ ! -e /job/go ]; do sleep 0.02; done; "


def work(one, job):
    return one.root / f"var/lib/spillway/work/{job}.1"


def go(one, job):
    (work(one, job) / "work/go").touch()


def has_ended(one, job):
    """Its minder has written the exit code."""
    path = work(one, job) / "minder"
    return path.exists() and path.read_text().endswith(".\n")


def left_over(one):
    """Folders, processes and control groups of attempts."""
    folders = [p.name for p in (one.root / "var/lib/spillway/work").iterdir() if p.name != ".probe"]
    return folders + processes_with(str(one.root / "var/lib/spillway/work"))


def test_what_runs_when_its_agent_is_killed_goes_on_under_the_next_one(machine):
    """Quiet, chatty, finished meanwhile, cancelled meanwhile: each is told once, as it ended, with all that it has printed."""
    numbers = "i=0; while [ $i -lt 20000 ]; do echo $i; i=$((i+1)); done"
    jobs = [
        a_job("job-quiet", f"echo before; {WAITS}echo after; exit 3"),
        a_job("job-chatty", f"{numbers}; {WAITS}{numbers}", timeout_s=60),
        a_job("job-through", f"echo one; {WAITS}echo two", result="mark.json"),
        a_job("job-cancelled", "trap 'echo bye; exit 0' TERM; echo hi; while :; do sleep 0.02; done"),
        a_job("job-late", "sleep 55.55", timeout_s=2.5),
        a_job("job-large", f"{WAITS}python3 -c 'x = []\nwhile True: x.append(bytearray(1 << 20))'", memory_mib=64),
    ]
    jobs = [{**job, "cpu": 0.2} for job in jobs]
    one = machine(assignments=jobs, settings={"slots": 6, "ping_every_s": 1}).start()
    for job in jobs:
        one.wait("start", job["job"])
    one.until(lambda: b"before" in (work(one, "job-quiet") / "log").read_bytes())
    one.kill()
    (work(one, "job-through") / "work/mark.json").write_text("7")
    for job in ("job-through", "job-large"):
        go(one, job)
        one.until(lambda job=job: has_ended(one, job))
    one.write_inbox(1, cancel=[{"job": "job-cancelled", "attempt": 1}])
    one.start()
    assert {r["job"] for r in one.wait("hello", count=2)["running"]} == {job["job"] for job in jobs}
    assert one.wait("finish", "job-cancelled")["outcome"] == "cancelled"
    go(one, "job-quiet")
    go(one, "job-chatty")
    quiet, chatty, through, late = (one.wait("finish", f"job-{n}") for n in ("quiet", "chatty", "through", "late"))
    one.wait("idle")
    assert (quiet["outcome"], quiet["exit_code"], quiet["log"]["text"]) == ("failed", 3, "before\nafter\n")
    assert (through["outcome"], through["log"]["text"], through["result"]) == ("succeeded", "one\ntwo\n", 7)
    said = "".join(f"{i}\n" for i in range(20000)) * 2
    assert (chatty["outcome"], chatty["log"]["bytes"]) == ("succeeded", len(said))
    assert one.log("job-chatty").decode() == said
    assert (late["outcome"], late["reason"]) == ("timed_out", "killed: ran longer than its timeout of 2.5 s")
    assert late["finished_at"] - late["started_at"] < 10
    assert one.wait("finish", "job-large")["reason"] == "killed: used 64 MiB of 64 MiB"
    assert len(one.pings("finish")) == len(jobs)
    assert left_over(one) == []
    one.kill(signal.SIGTERM)
    one.start()
    one.wait("idle", count=2)
    assert len(one.pings("finish")) == len(jobs), "what was delivered is not sent again"


def test_why_a_command_was_being_killed_is_not_forgotten(machine):
    """The agent dies in the grace that it gave: the next one does not take the death for the command's own."""
    one = machine(assignments=[a_job(command="trap '' TERM; while :; do sleep 0.02; done")]).start()
    one.wait("start")
    one.write_inbox(1, cancel=[{"job": "job-1", "attempt": 1}])
    one.ring()
    one.until(lambda: '"killed":"cancel"' in (one.root / "var/lib/spillway/journal").read_text())
    one.kill()
    one.write_inbox(2)
    one.start()
    finish = one.wait("finish")
    assert (finish["outcome"], finish["reason"]) == ("cancelled", "cancelled while it ran")


def test_an_agent_is_replaced_while_its_attempts_run(machine):
    """`systemctl reload`: the same process becomes the agent that lies on the disk by now, and goes on."""
    one = machine(assignments=[a_job(command=f"echo a; {WAITS}echo b")]).start()
    one.wait("start")
    boots = {message["boot"] for message in one.messages}
    one.process.send_signal(signal.SIGHUP)
    one.wait("hello", count=2)
    go(one, "job-1")
    finish = one.wait("finish")
    one.wait("idle")
    assert (finish["outcome"], finish["log"]["text"]) == ("succeeded", "a\nb\n")
    assert one.process.poll() is None
    assert len({message["boot"] for message in one.messages} - boots) == 1
    assert left_over(one) == []


def test_an_agent_that_is_killed_at_any_moment_repeats_and_loses_nothing(machine):
    """Again and again, wherever it is: before the claim, between journal and command, while it runs, while its end is told."""
    seed = int(os.environ.get("SEED") or random.randrange(10**6))
    moments = random.Random(seed)
    lines = "i=0; while [ $i -lt 300 ]; do echo $i; i=$((i+1)); done"
    jobs = [a_job(f"job-{n}", f"echo begins; {lines}; sleep 0.{n % 4}; {lines}", cpu=0.2) for n in range(12)]
    one = machine(assignments=jobs, settings={"slots": 4, "ping_every_s": 1})
    rounds = 40 if os.environ.get("SPILLWAY_LONG") else 6
    for _ in range(rounds):
        one.start()
        with contextlib.suppress(subprocess.TimeoutExpired):
            one.process.wait(moments.uniform(0.1, 0.7))
        one.kill()
    one.start()
    whole = "begins\n" + "".join(f"{i}\n" for i in range(300)) * 2
    for job in jobs:
        finish = one.wait("finish", job["job"])
        if finish["outcome"] == "infrastructure":  # between the journal's line and the command's first instruction
            assert finish["reason"] == "the agent on this host restarted just before its command began", (seed, finish)
            assert finish["log"]["text"] == "", seed
        else:
            assert (finish["outcome"], finish["log"]["text"]) == ("succeeded", whole), (seed, finish)
    one.wait("idle")
    assert left_over(one) == [], seed
    assert len(one.claims()) == len(jobs)


def test_a_command_that_ended_nobody_knows_how_is_not_the_jobs_fault(machine):
    """Its minder was killed too: there is no exit code, and none is invented."""
    one = machine(assignments=[a_job(command="sleep 44.44")]).start()
    one.wait("start")
    one.until(lambda: (work(one, "job-1") / "minder").exists())
    minder = int((work(one, "job-1") / "minder").read_text().split()[0])
    one.kill()
    os.kill(minder, signal.SIGKILL)
    one.start()
    finish = one.wait("finish")
    assert (finish["outcome"], finish["exit_code"]) == ("infrastructure", None)
    assert "left no exit code" in finish["reason"]
    assert not processes_with("44.44")


def test_what_ran_before_the_machine_restarted_is_told_as_its_fault(machine):
    """Process ids are others' now: whatever has them is left alone, and nothing is started again."""
    one = machine(assignments=[a_job(command="sleep 33.33")]).start()
    one.wait("start")
    one.until(lambda: processes_with("33.33"))
    one.kill()
    journal = one.root / "var/lib/spillway/journal"
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    journal.write_text(journal.read_text().replace(boot, "another"))
    one.start()
    finish = one.wait("finish")
    one.wait("idle")
    assert finish["outcome"] == "infrastructure"
    assert finish["reason"] == "its host restarted while the attempt ran; it is not started again"
    assert len(one.pings("start")) == 1

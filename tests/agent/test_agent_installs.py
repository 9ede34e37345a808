"""What a job's install makes of a host: run once, outside of the sandbox, waited for, and told when it fails."""

import os
import signal

import pytest
from agent_machine import a_job, processes_with

pytestmark = pytest.mark.usefixtures("sandboxed")

FAST = {"install_backoff_s": 0.05, "slots": 2}


def installing(job, script, command="true", timeout_s=20, **fields):
    return a_job(job, command, install={"script": script, "timeout_s": timeout_s}, **fields)


def log_of(one, version):
    key = f"hosts/{one.userid}/install/{version}/log"
    return one.s3.get_object(Bucket=one.bucket, Key=key)["Body"].read().decode()


def test_an_install_runs_once_and_all_jobs_that_name_it_wait_and_see_it(machine):
    """Two jobs at the same moment, one later, one after a restart of the agent; what it left is there to be read, and read only."""
    script = "echo installing\nid -u > who\necho ready > tool\nsleep 0.5\necho x >> $SPILLWAY_INSTALL_DIR/../../runs\n"
    command = "cat $SPILLWAY_INSTALL_DIR/tool $SPILLWAY_INSTALL_DIR/who; touch $SPILLWAY_INSTALL_DIR/mine 2>/dev/null || echo kept"
    one = machine(assignments=[installing(f"job-{n}", script, command) for n in range(2)], settings=FAST).start()
    for n in range(2):
        assert one.wait("finish", f"job-{n}")["log"]["text"] == f"ready\n{os.getuid()}\nkept\n"
    one.write_inbox(1, [installing("job-2", script, command)])
    one.ring()
    one.wait("finish", "job-2")
    one.kill(signal.SIGTERM)
    one.start()
    one.write_inbox(2, [installing("job-3", script, command)])
    one.ring()
    one.wait("finish", "job-3")
    assert (one.root / "var/lib/spillway/installs/runs").read_text() == "x\n"
    states = [told["state"] for ping in one.pings("installs") for told in ping["installs"]]
    assert states == ["running", "ready"], "told when it changes"
    version = one.pings("installs")[0]["installs"][0]["version"]
    assert log_of(one, version) == "installing\n"


def test_an_install_that_fails_three_times_is_told_with_its_line_and_makes_the_host_sick(machine):
    """The attempt is given back unclaimed; the sentence names script, line, command, exit code and what it said."""
    script = "#!/bin/bash\nset -e\necho begin\nls /nowhere\necho never\n"
    one = machine(assignments=[installing("job-1", script)], settings=FAST).start()
    refused = one.wait("refused")
    assert refused["why"] == "install_failed"
    assert refused["reason"] == (
        "install.sh line 4: `ls /nowhere` exited with 2: ls: cannot access '/nowhere': No such file or directory (tried 3 times)"
    )
    told = [told for ping in one.pings("installs") for told in ping["installs"]]
    assert [(t["state"], t["tries"]) for t in told] == [("running", 1), ("running", 2), ("running", 3), ("failed", 3)]
    one.until(lambda: (one.poll(), any(p["problems"] for p in one.pings("alive")))[1])
    assert one.claims() == {}
    assert log_of(one, told[0]["version"]).count("begin") == 3


def test_an_install_beyond_its_time_is_ended_with_all_that_it_started(machine):
    """Also what left its session; the sentence says which line took so long."""
    script = "setsid sh -c 'trap \"\" TERM; sleep 41.173' & sleep 0.1\nsleep 41.17\n"
    one = machine(assignments=[installing("job-1", script, timeout_s=1)], settings=FAST).start()
    refused = one.wait("refused", timeout_s=40)
    assert refused["reason"] == "install.sh line 2: `sleep 41.17` did not end within 1 s (tried 3 times)"
    assert not processes_with("41.17")

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


def test_a_gradescope_setup_finds_its_grader_where_it_will_be_called_and_what_it_changes_is_found_there(machine):
    """/autograder/source is what setup.sh is written for; each submission is another, and the setup is the same one."""
    if os.geteuid() != 0:
        pytest.skip("only root may show a folder elsewhere")
    setup = (
        '#!/bin/bash\nset -e\ncd /autograder/source\necho "$(cat points) of" > made\npwd >> /autograder/source/made\n'
    )
    program = (
        "#!/bin/sh\necho '{\"score\": '$(head -c1 /autograder/source/made)'}' > /autograder/results/results.json\n"
    )

    def grading(job, submission):
        files = {
            "source/setup.sh": setup,
            "source/run_autograder": program,
            "source/points": "7",
            "submission/a.py": submission,
        }
        inputs = [{"path": path, "text": text} for path, text in files.items()]
        install = {"path": "source/setup.sh", "timeout_s": 20}
        return a_job(
            job,
            "/autograder/run_autograder",
            adapter="gradescope",
            folder="/autograder",
            inputs=inputs,
            install=install,
        )

    one = machine(assignments=[grading("job-1", "x"), grading("job-2", "y")], settings=FAST).start()
    for job in ("job-1", "job-2"):
        assert one.wait("finish", job)["result"]["score"] == 7, one.said()
    assert [told["state"] for ping in one.pings("installs") for told in ping["installs"]] == ["running", "ready"]
    assert not os.path.exists("/autograder"), "the host keeps no trace of that"


def test_an_attempt_that_is_cancelled_while_it_waits_ends_at_once_and_the_others_get_their_install(machine):
    """The first one brought the install along; it is not run again for the second."""
    script = (
        "while [ ! -e $SPILLWAY_INSTALL_DIR/../../go ]; do sleep 0.05; done; echo x >> $SPILLWAY_INSTALL_DIR/../../runs"
    )
    one = machine(assignments=[installing("job-1", script), installing("job-2", script)], settings=FAST).start()
    one.wait("installs")
    one.write_inbox(1, cancel=[{"job": "job-1", "attempt": 1}])
    one.ring()
    assert one.wait("finish", "job-1")["outcome"] == "cancelled"
    (one.root / "var/lib/spillway/installs/go").touch()
    assert one.wait("finish", "job-2")["outcome"] == "succeeded"
    assert (one.root / "var/lib/spillway/installs/runs").read_text() == "x\n"


def test_an_install_that_nobody_waits_for_any_more_is_ended(machine):
    """Nothing of it is left, and whoever needs it later has it run."""
    script = "[ -e $SPILLWAY_INSTALL_DIR/../../go ] || sleep 41.271"
    one = machine(assignments=[installing("job-1", script)], settings=FAST).start()
    one.until(lambda: processes_with("41.271"))
    one.write_inbox(1, cancel=[{"job": "job-1", "attempt": 1}])
    one.ring()
    assert one.wait("finish", "job-1")["outcome"] == "cancelled"
    one.until(lambda: not processes_with("41.271"))
    (one.root / "var/lib/spillway/installs/go").touch()
    one.write_inbox(2, [installing("job-2", script)])
    one.ring()
    assert one.wait("finish", "job-2")["outcome"] == "succeeded"


def test_an_install_that_the_agent_did_not_survive_is_none(machine):
    """kill -9 in its middle: it is ended, its folder goes, and it is run again from the beginning; what it was for was never claimed."""
    script = "[ -e mark ] && exit 9; touch mark; echo x >> ../../runs; [ $(wc -l < ../../runs) = 2 ] || sleep 41.371"
    one = machine(assignments=[installing("job-1", script)], settings=FAST).start()
    one.until(lambda: processes_with("41.371"))
    one.kill()
    assert one.claims() == {}
    one.start()
    assert one.wait("finish", "job-1", timeout_s=40)["outcome"] == "succeeded"
    assert not processes_with("41.371")
    assert [told["tries"] for ping in one.pings("installs") for told in ping["installs"]] == [1, 1, 1]


def test_a_script_that_is_not_among_the_inputs_is_the_jobs_own_fault(machine):
    one = machine(assignments=[a_job("job-1", install={"path": "setup.sh"})], settings=FAST).start()
    refused = one.wait("refused")
    assert (refused["why"], refused["reason"]) == ("bad_input", "its install setup.sh is not among its inputs")

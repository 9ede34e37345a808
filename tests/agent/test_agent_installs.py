"""What a job's install makes of a host: run once, outside of the sandbox, waited for, and told when it fails."""

import hashlib
import os
import signal
from pathlib import Path

import pytest
from agent_machine import a_job, processes_with

from agent.cache import Cache
from agent.installs import Installs, Order, version
from agent.keep import Keep
from agent.manifest import Git, Input, Install
from agent.refusal import Refusal
from agent.supervise import Stopper

pytestmark = pytest.mark.usefixtures("sandboxed")

FAST = {"install_backoff_s": 0.05, "slots": 2}


def installing(job, script, command="true", timeout_s=20, **fields):
    return a_job(job, command, install={"script": script, "timeout_s": timeout_s}, **fields)


def states(one):
    """What was told of installs, each change once: while one runs it is told again with every ping_every_s."""
    told = [(told["state"], told["tries"]) for ping in one.pings("installs") for told in ping["installs"]]
    return [now for before, now in zip([None, *told], told, strict=False) if before != now]


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
    assert states(one) == [("running", 1), ("ready", 1)]
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
    assert states(one) == [("running", 1), ("running", 2), ("running", 3), ("failed", 3)]
    one.until(lambda: (one.poll(), any(p["problems"] for p in one.pings("alive")))[1])
    assert one.claims() == {}
    assert log_of(one, refused["install"]).count("begin") == 3


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
    assert states(one) == [("running", 1), ("ready", 1)]
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
    one = machine(assignments=[installing("job-1", script, timeout_s=300)], settings=FAST).start()
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
    assert states(one) == [("running", 1), ("ready", 1)]


def test_a_script_that_is_not_among_the_inputs_is_the_jobs_own_fault(machine):
    one = machine(assignments=[a_job("job-1", install={"path": "setup.sh"})], settings=FAST).start()
    refused = one.wait("refused")
    assert (refused["why"], refused["reason"]) == ("bad_input", "its install setup.sh is not among its inputs")


# --- what is kept, and what a version is


class Script:
    """A runner that runs nothing: `outcomes` are what its tries return, "" for one that ends well."""

    def __init__(self, *outcomes, size=4096):
        self.outcomes, self.size, self.tries = list(outcomes), size, 0

    def once(self, site, install, name, shown, number, stopper):
        self.tries += 1
        os.makedirs(site.folder, exist_ok=True)
        with open(site.folder + "/made", "wb") as file:
            file.write(b"x" * self.size)
        return self.outcomes.pop(0) if self.outcomes else ""


def a_host(folder, runner, limit_bytes=1 << 30):
    """(its installs, what it keeps, what it told of sickness)."""
    sick = []
    keep = Keep(str(folder), limit_bytes)
    return Installs(str(folder / "installs"), keep, runner, 0.0, lambda told: None, sick.append), keep, sick


def provided(installs, version):
    stopper = Stopper()
    order = Order(version, Install("true", "", 10.0), os.makedirs)
    try:
        with installs.held(version):
            return installs.provide(order, "job-1#1", stopper, lambda: False)
    finally:
        stopper.close()


A, B, C = "a" * 64, "b" * 64, "c" * 64


def test_installs_and_uploads_share_one_bound_and_what_was_used_longest_ago_goes_first(tmp_path):
    """But the install that was used last stays, however large it is: else it would be run again for each job."""
    runner = Script(size=20000)
    installs, keep, _ = a_host(tmp_path, runner, limit_bytes=50000)
    cache = Cache(str(tmp_path / "cache"), keep=keep)
    os.makedirs(tmp_path / "cache")
    sha256 = hashlib.sha256(b"y" * 9000).hexdigest()
    with cache.hold(sha256, lambda path: Path(path).write_bytes(b"y" * 9000) and None):
        pass
    provided(installs, A)
    assert cache.holds() == [sha256]
    provided(installs, B)
    assert cache.holds() == [], "it was used before both"
    assert provided(installs, A)
    assert runner.tries == 2
    runner.size = 200000
    provided(installs, C)
    assert (runner.tries, [told["version"] for told in installs.told()]) == (3, [C])
    assert provided(installs, C)
    assert runner.tries == 3
    assert keep.make_room(), "a full disk spares nothing"
    assert installs.told() == []
    assert provided(installs, C)
    assert runner.tries == 4


def test_what_is_in_use_is_never_removed(tmp_path):
    installs, keep, _ = a_host(tmp_path, Script(), limit_bytes=1)
    folder = provided(installs, A)
    with installs.held(A):
        keep.make_room()
        provided(installs, B)
        assert os.path.exists(folder + "/made")


def test_no_more_than_sixteen_are_kept(tmp_path):
    installs, _, _ = a_host(tmp_path, Script())
    for number in range(20):
        provided(installs, f"{number:064x}")
    assert [int(told["version"], 16) for told in installs.told()] == list(range(4, 20))
    kept = {name for name in os.listdir(tmp_path / "installs") if not name.startswith(".gone-")}
    assert kept == {told["version"] for told in installs.told()}


def test_what_is_ready_outlives_the_agent_and_nothing_else_does(tmp_path):
    """A folder without READY, one with half of it, and one whose removal was cut short."""
    runner = Script()
    installs, _, _ = a_host(tmp_path, runner)
    provided(installs, A)
    for name, ready in ((B, None), (C, "{"), (".gone-1", None)):
        os.makedirs(tmp_path / "installs" / name / "folder")
        if ready:
            (tmp_path / "installs" / name / "READY").write_text(ready)
    again, _, _ = a_host(tmp_path, runner)
    assert os.listdir(tmp_path / "installs") == [A]
    assert provided(again, A)
    assert runner.tries == 1
    assert [(told["version"], told["state"]) for told in again.told()] == [(A, "ready")]


def test_a_try_that_fails_is_followed_by_two_more_and_then_by_none(tmp_path):
    """Also for whoever comes later: the host is sick, once."""
    installs, _, sick = a_host(tmp_path, runner := Script("no", "no"))
    assert provided(installs, A)
    assert (runner.tries, sick) == (3, [])
    runner.outcomes = ["no"] * 9
    for _ in range(2):
        with pytest.raises(Refusal, match=r"no \(tried 3 times\)") as refused:
            provided(installs, B)
        assert (refused.value.why, refused.value.fields) == ("install_failed", {"install": B})
    assert (runner.tries, sick) == (6, ["an install failed: no (tried 3 times)"])


def test_a_version_is_of_what_is_run_and_of_nothing_else(tmp_path):
    """The script's folder among the inputs: neither a submission beside it nor an input's order is another version; its content is."""
    sum_a, sum_b = "a" * 64, "b" * 64

    def of(*inputs, path="source/setup.sh"):
        return version(Install("", path, 1.0), inputs, str(tmp_path))

    def upload(path, sha256, unpack=True):
        return Input(path, sha256, None, unpack)

    one = of(upload("source", sum_a), upload("submission", sum_a))
    assert one == of(upload("submission", sum_b), upload("source", sum_a))
    assert one != of(upload("source", sum_b))
    assert one != of(upload("source", sum_a), path="source/other.sh")
    assert one != of(upload("source", sum_a), Input("source/more", "", "text", False))
    assert version(Install("x", "", 1.0), (), "") == version(Install("x", "", 9.0), (upload("a", sum_a),), "")
    known = []
    for number, change in enumerate(("echo 1", "echo 1", "echo 2")):
        (tmp_path / "source").mkdir(exist_ok=True)
        (tmp_path / "source/setup.sh").write_text(change)
        (tmp_path / "submission").write_text(str(number))
        found = of(
            Input("source", "", None, False, git=Git("https://x/y")), Input("submission", "", str(number), False)
        )
        known.append(found)
    assert known[0] == known[1] != known[2], "of a repository nobody knows beforehand what it holds"

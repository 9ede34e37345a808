"""What decides between two agents: the minder's file, the journal's clocks, who stores how long."""

import contextlib
import os
import select
import signal
import subprocess
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent import cgroups, minder
from agent.aws import Refused
from agent.cgroups import JOBS_UNIT
from agent.clock import since_boot
from agent.journal import replay
from agent.keeping import Users
from agent.logs import Log
from agent.minder import Said
from agent.paths import AttemptPaths
from agent.patience import Patience
from agent.pings import Pings
from agent.sandbox import Launch
from agent.supervise import Bounds, Command, Stopper
from agent.wire import Unreachable


def a_launch(command):
    return Launch(("/bin/sh", "-c", command), {"PATH": "/usr/bin:/bin"}, "/", (), False)


def ended(held):
    """Wait for what the minder says, then take it away."""
    os.read(held.ended, 1)
    code = held.code()
    os.killpg(held.pid, signal.SIGKILL)
    held.child.wait()
    for fd in (held.output, held.ended):
        os.close(fd)
    return code


@given(st.integers(1, 4194304), st.integers(0, 255), st.integers(0, 20))
def test_a_minders_file_says_no_more_than_was_written_whole(pid, code, cut):
    """A number that is cut short is another number."""
    text = f"{pid}\n{code}.\n"
    found = minder.parse(text[:cut])
    assert found in (Said(0, None), Said(pid, None), Said(pid, code))
    assert (found.code is not None) == (cut >= len(text))


@pytest.mark.parametrize("command", ["echo out; echo err >&2; echo again >/dev/stderr; exit 7", "kill -9 $$"])
def test_a_minder_tells_the_exit_code_and_keeps_what_was_printed(tmp_path, command):
    """Nobody reads while the command runs; what the shell would say of its death is not among it."""
    paths = AttemptPaths(str(tmp_path))
    minder.prepare(paths)
    held = minder.start(paths, a_launch(command), None, [])
    os.read(held.ended, 1)
    os.write(held.ended, b"\n")  # for who asks next
    again = minder.adopt(paths)
    printed = b""
    try:
        printed = os.read(again.output, 100)
    except BlockingIOError:
        assert "kill" in command
    assert (again.pid, again.code()) == (held.pid, 7 if "exit" in command else 137)
    assert printed == (b"out\nerr\nagain\n" if "exit" in command else b"")
    for fd in (again.output, again.ended):
        os.close(fd)
    ended(held)


def test_what_an_agent_has_found_not_begun_never_begins(tmp_path):
    """The minder comes too late: an agent has written off the attempt before its first instruction."""
    paths = AttemptPaths(str(tmp_path))
    minder.prepare(paths)
    assert minder.adopt(paths) is None
    held = minder.start(paths, a_launch(f"touch {tmp_path}/ran"), None, [])
    assert held.child.wait() == 125
    assert (held.code(), (tmp_path / "ran").exists()) == (None, False)
    assert minder.adopt(paths) is None
    for fd in (held.output, held.ended):
        os.close(fd)


def test_a_command_that_cannot_be_started_keeps_nothing_open(tmp_path):
    """Its pipes are not there: what the sandbox had opened for it is given back all the same."""
    read_fd, write_fd = os.pipe()
    os.close(write_fd)
    launch = a_launch("true")._replace(inherit=(read_fd,))
    with pytest.raises(FileNotFoundError):
        minder.start(AttemptPaths(str(tmp_path)), launch, None, [])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(read_fd)


def test_what_was_printed_is_taken_before_the_minder_that_holds_it_is_ended(tmp_path):
    """The second agent may be killed as well, and the third would find a command that has succeeded and printed nothing."""
    paths = AttemptPaths(str(tmp_path))
    minder.prepare(paths)
    first = minder.start(paths, a_launch("echo out"), None, [])
    select.select([first.ended], [], [], 10)
    for fd in (first.output, first.ended):
        os.close(fd)
    held, taken, stopper = minder.adopt(paths), [], Stopper()

    def take(pipe):
        with contextlib.suppress(BlockingIOError):
            taken.append((os.read(pipe, 100), minder.lives(held.pid, paths.minder)))
            return True
        return False

    done = Command(held, None, False).run(Bounds(since_boot() + 10, str, lambda why: None), stopper, take)
    stopper.close()
    first.child.wait()
    assert taken == [(b"out\n", True)]
    assert (done.exit_code, done.killed) == (0, "")


def test_a_log_that_nobody_finishes_keeps_neither_descriptors_nor_its_thread(tmp_path):
    """Its command could not begin, or what became of it could not be told."""
    before, threads = sorted(os.listdir("/proc/self/fd")), threading.active_count()
    read_fd, write_fd = os.pipe()
    os.write(write_fd, b"printed")
    log = Log(str(tmp_path / "log"), 100, lambda offset, data: None)
    assert log.take(read_fd)
    for fd in (read_fd, write_fd):
        os.close(fd)
    for _ in range(2):
        log.close()
    assert sorted(os.listdir("/proc/self/fd")) == before
    assert threading.active_count() == threads


def test_no_two_attempts_are_the_same_user_though_one_has_changed():
    """Processes that go on bring their user with them, while another attempt is looking for one."""
    users = Users()
    assert users.take_first("a#1", 5) == 5
    assert users.take("a#1", 6)
    assert users.take_first("b#1", 5) == 5
    assert users.take_first("c#1", 5) == 7
    assert not users.take("c#1", 6)
    users.free("a#1")
    assert users.take_first("d#1", 5) == 6


def test_a_process_with_the_minders_number_is_not_taken_for_it(tmp_path):
    """Numbers are given again; a stranger is neither waited for nor killed."""
    paths = AttemptPaths(str(tmp_path))
    minder.prepare(paths)
    stranger = subprocess.Popen(["sleep", "22.22"])
    (tmp_path / "minder").write_text(f"{stranger.pid}\n")
    held = minder.adopt(paths)
    assert (held.pid, held.code()) == (0, None)
    assert stranger.poll() is None
    stranger.kill()
    stranger.wait()
    for fd in (held.output, held.ended):
        os.close(fd)


def test_a_hosts_age_does_not_follow_a_clock_that_is_set():
    """By the machine's own clock while it runs; by the time of day where that is all there is."""
    born = replay([{"e": "born", "at": 1000.0, "boot": "b", "boot_s": 50.0}])
    assert born.age_s(9_000_000.0, "b", 80.0) == 30.0
    assert born.age_s(1100.0, "another", 5.0) == 100.0
    assert replay([{"e": "born", "at": 1000.0}]).age_s(1010.0, "b", 99.0) == 10.0


@pytest.mark.parametrize(
    ("errors", "wait_max_s", "stored"),
    [
        ([Unreachable("no answer")] * 3, 60.0, True),
        ([Refused("put", 503, b"")], 60.0, True),
        ([Refused("put", 403, b"")], 60.0, False),  # no wait would mend that
        ([Unreachable("no answer")], 0.0, False),
    ],
)
def test_what_aws_does_not_take_is_tried_again_for_a_while(errors, wait_max_s, stored):
    """Five minutes in sum; with the host it would be gone."""
    left = list(errors)

    def store():
        if left:
            raise left.pop(0)

    patience = Patience(lambda: False, wait_max_s, every_s=0.0)
    if stored:
        patience(store)
        assert not left
    else:
        with pytest.raises(type(errors[0])):
            patience(store)


def test_nobody_waits_for_aws_when_the_host_ends():
    """Its last words matter more."""
    tries = []

    def store():
        tries.append(1)
        raise Unreachable("no answer")

    with pytest.raises(Unreachable):
        Patience(lambda: True, every_s=0.0)(store)
    assert len(tries) == 1


def test_an_outage_keeps_of_progress_only_what_no_newer_ping_says():
    """What cannot be sent is bounded by what runs; nothing that is said once is lost."""
    pings = Pings("pool", "host", lambda text: None, lambda ping: None)
    for n in range(50):
        pings.post("progress", job="a", attempt=1, log_bytes=n)
        pings.post("progress", job="b", attempt=1, log_bytes=n)
        pings.post("alive", n=n)
    pings.post("progress", job="a", attempt=1, log_bytes=50, checkpoint={"key": "k"})
    pings.post("progress", job="a", attempt=1, log_bytes=51)
    pings.post("finish", job="a", attempt=1)
    assert pings.unsent() == 5, "b's, alive, the checkpoint, what is newer, the end"


def test_groups_of_version_2_are_made_where_no_agent_is_started(tmp_path):
    """In the unit beside the agent's; else in the agent's own group, wherever in it the agent is by now."""
    own = tmp_path / "spillway-agent.service"
    (own / "agent").mkdir(parents=True)
    assert cgroups.home(str(own)) == cgroups.home(str(own / "agent")) == str(own)
    (tmp_path / JOBS_UNIT).mkdir()
    assert cgroups.home(str(own)) == cgroups.home(str(own / "agent")) == str(tmp_path / JOBS_UNIT)

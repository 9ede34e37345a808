"""What a command says of itself: how far it is, on a socket that hears nothing else; and the alarm when it says nothing new."""

import socket
import threading
import time

import pytest
from agent_machine import a_job
from hypothesis import given
from hypothesis import strategies as st

from agent import progress
from agent.job_socket import BURST_MAX, LINE_MAX_BYTES, OPEN_MAX, TEXT_MAX, Door, Doors, Keep, Progress, parse


def test_a_command_says_how_far_it_is_and_stalls_and_goes_on(machine, sandboxed):
    """By the program on its PATH, in percent and words; the same once more is no progress, and something new ends the alarm."""
    command = """say() { spillway-agent progress "$@" || exit 4; }
    say 42 'reading,  twice'; while [ ! -e /job/go ]; do sleep 0.05; say 42 'reading, twice'; done
    for i in $(seq 43 99); do say $i; sleep 0.3; done"""
    one = machine(assignments=[a_job(command=command, stall_s=1.5)], settings={"ping_every_s": 30}).start()
    told = one.wait("progress")
    assert (told["percent"], told["note"], told["stalled"]) == (42.0, "reading, twice", False)
    stalled = one.wait("progress", count=2)
    assert stalled["stalled"]
    assert 1.5 <= stalled["moved_s"] < 10
    (one.root / "var/lib/spillway/work/job-1.1/work/go").touch()
    again = one.wait("progress", count=3)
    assert again["percent"] > 42
    assert (again["note"], again["stalled"]) == ("", False)


def test_the_program_speaks_without_python_too(machine, sandboxed):
    """perl, which every Debian has; and nothing but progress and checkpoint is understood."""
    command = """mkdir bin; for p in perl sh tr cat; do ln -s $(command -v $p) bin/$p; done; me=$(command -v spillway-agent)
    PATH=$PWD/bin $me progress 7 "zwölf ü"; $me progress; $me progress 101 x; $me ring; $me checkpoint now; echo "$?" """
    one = machine(assignments=[a_job(command=command)], settings={"ping_every_s": 30}).start()
    text = one.wait("finish")["log"]["text"]
    assert text.count("usage: spillway-agent progress PERCENT [TEXT] | spillway-agent checkpoint") == 3
    assert "progress needs a number from 0 to 100, or -; not 101\n" in text
    assert text.endswith("2\n")


@given(st.binary(max_size=700))
def test_a_line_is_progress_or_a_wish_or_a_sentence(line):
    """Whatever bytes come: a percentage within its bounds, and a note that is one printable line."""
    asked = parse(line)
    if isinstance(asked, Progress):
        assert asked.percent is None or 0 <= asked.percent <= 100
        assert len(asked.note) <= TEXT_MAX
        assert all(char.isprintable() for char in asked.note)
    else:
        assert isinstance(asked, Keep) or asked.isprintable()


@given(st.lists(st.tuples(st.sampled_from((None, 1.0, 2.0)), st.sampled_from(("", "a"))), max_size=20))
def test_only_what_is_new_is_progress(said):
    """It stalls `stall_s` after the last new thing, whatever was repeated since; and an agent that comes later knows all that."""
    now, state = 1000.0, progress.State(1000.0)
    moved_at = now
    for percent, note in said:
        now += 10
        new = (percent, note) != (state.percent, state.note)
        state = progress.said(state, Progress(percent, note), now)
        moved_at = now if new else moved_at
        assert not (new and state.stalled)
        later = progress.looked(state, 25, now + 9)
        assert later.stalled == (now + 9 - moved_at > 25)
        state = progress.resumed(progress.kept(later), now + 9)
        assert (state.moved_at, state.stalled) == (moved_at, later.stalled)


class Speaker:
    """A door that is served, and what was heard at it."""

    def __init__(self, folder, answer="ok"):
        self.heard, self.answers = [], []
        self.folder, self.doors = str(folder), Doors()
        self.door = Door(self.folder, 0, self._heard)
        self.doors.add(self.door)
        self._answer = answer

    def _heard(self, asked, answer):
        self.heard.append(asked)
        self.answers.append(answer)
        if self._answer:
            answer(self._answer)

    def connect(self):
        one = socket.socket(socket.AF_UNIX)
        one.settimeout(10)
        one.connect(self.folder + "/socket")
        return one

    def ask(self, line):
        with self.connect() as one:
            one.sendall(line)
            return one.makefile("rb").readline()


def test_lines_are_bounded_and_one_is_heard_of_a_connection(tmp_path):
    one = Speaker(tmp_path / "d")
    assert one.ask(b"x" * (LINE_MAX_BYTES + 1)) == b"no a line has at most 600 bytes\n"
    assert one.ask(b"progress 1 a\nprogress 2 b\ncheckpoint\n" + b"y" * 100000) == b"ok\n"
    assert one.heard == [Progress(1.0, "a")]
    assert one.ask(b"\xff\0\n").startswith(b"no only progress and checkpoint")
    one.doors.remove(one.door)


def test_connections_are_bounded_and_who_floods_hurts_nobody_else(tmp_path):
    """Those that never speak or never get their answer are a few; a flood waits; another attempt's door is served meanwhile."""
    flooded, other = Speaker(tmp_path / "a", answer=""), Speaker(tmp_path / "b")
    other.doors = flooded.doors
    other.doors.add(other.door)
    held = [flooded.connect() for _ in range(OPEN_MAX)]
    for one in held:
        one.sendall(b"checkpoint\n")
    with flooded.connect() as one:
        assert one.makefile("rb").readline() == b"no at most 8 connections at a time\n"
    over = threading.Event()

    def flood():
        while not over.is_set():
            try:
                flooded.ask(b"checkpoint\n")
            except OSError:
                time.sleep(0.001)

    flooding = [threading.Thread(target=flood, daemon=True) for _ in range(4)]
    for thread in flooding:
        thread.start()
    began = time.monotonic()
    for number in range(BURST_MAX):
        assert other.ask(b"progress %d\n" % number) == b"ok\n"
    assert time.monotonic() - began < 2
    for number in range(10):
        assert other.ask(b"progress %d\n" % number) == b"ok\n"
    assert time.monotonic() - began > 0.3, "beyond the burst they come slower"
    assert len(flooded.heard) == OPEN_MAX
    over.set()
    for answer in flooded.answers:
        answer("ok kept")
    assert [one.makefile("rb").readline() for one in held] == [b"ok kept\n"] * OPEN_MAX
    flooded.doors.remove(flooded.door)
    with pytest.raises(ConnectionRefusedError):
        flooded.connect()


def test_a_socket_is_made_anew_where_an_agent_before_has_left_one(tmp_path):
    """In the same folder: the command that sees the folder finds the new one."""
    before = Speaker(tmp_path / "d")
    after = Speaker(tmp_path / "d")
    assert after.ask(b"progress -\n") == b"ok\n"
    assert (before.heard, after.heard) == ([], [Progress(None, "")])
    after.doors.remove(after.door)

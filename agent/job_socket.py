"""A Unix socket for each attempt, on which its command may say how far it is, and that it wants to be kept. Nothing else is heard there.

The wire: connect, send one line of at most 600 bytes, read one line, which is the answer; then the connection is over.

    progress PERCENT [TEXT]   PERCENT from 0 to 100, or "-" where nobody can tell; TEXT is a line for people
    checkpoint                answered when what is in $SPILLWAY_CHECKPOINT_DIR is kept

    ok [TEXT]                 done
    no TEXT                   not done; why

Its other end is untrusted: one thread serves all attempts of a host without ever waiting for one of them; lines, connections at a time
and connections a second are bounded. Only the attempt's own user can connect. The socket lies in a folder that the command sees, not
as a mount of its own: an agent that was restarted makes a new one, and the command finds it there. Beside it lies a small
program for the command's PATH, which speaks all that for shell scripts and whoever runs programs.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import socket
import threading
import time
from typing import Callable, NamedTuple, Optional, Union

SOCKET = "socket"
PROGRAM = "spillway-agent"
LINE_MAX_BYTES = 600
TEXT_MAX = 200  # characters of a note
LINE_WITHIN_S = 5.0
OPEN_MAX = 8  # connections of an attempt at a time
BURST_MAX = 40
PER_S = 20.0
CLOSE_MAX_S = 5.0  # an attempt ends, whatever becomes of this thread
PERCENT = re.compile(r"\d{1,3}(?:\.\d{1,6})?\Z")

SCRIPT = """\
#!/bin/sh
# spillway-agent progress PERCENT [TEXT] | spillway-agent checkpoint
case "$1:$#" in
progress:[23456789]* | progress:1?* | checkpoint:1) ;;
*)
    echo 'usage: spillway-agent progress PERCENT [TEXT] | spillway-agent checkpoint' >&2
    exit 2
    ;;
esac
line=$(printf '%s' "$*" | tr '\\n\\r' '  ')
cd "${SPILLWAY_AGENT_DIR:-/spillway}" || exit 3
if command -v python3 >/dev/null 2>&1; then
    answer=$(python3 -ISc 'import os, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("socket")
try: s.sendall(os.fsencode(sys.argv[1]) + b"\\n")
except OSError: pass  # it has been answered already
print(s.makefile("r", errors="replace").readline(), end="")' "$line" 2>/dev/null)
elif command -v perl >/dev/null 2>&1; then
    answer=$(perl -MSocket -e '$SIG{PIPE} = "IGNORE";
socket(S, PF_UNIX, SOCK_STREAM, 0) && connect(S, sockaddr_un("socket")) || die "$!\\n";
syswrite(S, "$ARGV[0]\\n"); print scalar <S>' -- "$line" 2>/dev/null)
elif command -v nc >/dev/null 2>&1; then
    answer=$(printf '%s\\n' "$line" | nc -U socket)
else
    echo 'spillway-agent: python3, perl or nc is needed here' >&2
    exit 3
fi
case "$answer" in
ok) ;;
"ok "*) printf '%s\\n' "${answer#ok }" ;;
"")
    echo 'spillway-agent: the agent of this host does not answer now; it may be restarting' >&2
    exit 1
    ;;
*)
    printf 'spillway-agent: %s\\n' "${answer#no }" >&2
    exit 1
    ;;
esac
"""


class Progress(NamedTuple):
    """How far it says that it is: in percent, None where it cannot tell, and in words."""

    percent: Optional[float]
    note: str


class Keep(NamedTuple):
    """It wants to be kept now."""


Asked = Union[Progress, Keep, str]
Answer = Callable[[str], None]


def parse(line: bytes) -> Asked:
    """What a line asks for, or a sentence that says what is wrong with it."""
    words = "".join(char if char.isprintable() else " " for char in line.decode("utf-8", "replace")).split(None, 2)
    if words == ["checkpoint"]:
        return Keep()
    if words[:1] != ["progress"]:
        return "only progress and checkpoint are understood here"
    if len(words) == 1:
        return "progress needs a percentage, or - where nobody can tell"
    if words[1] == "-":
        percent = None
    elif PERCENT.match(words[1]) and float(words[1]) <= 100:
        percent = float(words[1])
    else:
        return "progress needs a number from 0 to 100, or -; not %s" % words[1][:20]
    return Progress(percent, " ".join(words[2].split())[:TEXT_MAX] if len(words) > 2 else "")


class Door:
    """One attempt's socket, for its user `uid`; None: for whoever sees the folder, as in a container whose users nobody knows.

    `heard(asked, answer)` is called in the serving thread and must not wait; `answer` may be called by any.
    """

    def __init__(self, folder: str, uid: Optional[int], heard: Callable[[Union[Progress, Keep], Answer], None]) -> None:
        self.heard = heard
        self.open = 0
        self.left, self.counted_at, self.resume_at = float(BURST_MAX), time.monotonic(), 0.0
        os.makedirs(folder, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            written = os.open(PROGRAM, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o755, dir_fd=held)
            os.write(written, SCRIPT.encode())
            os.fchmod(written, 0o755)
            os.close(written)
            with contextlib.suppress(FileNotFoundError):
                os.unlink(SOCKET, dir_fd=held)
            self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            path = "/proc/self/fd/%d/%s" % (held, SOCKET)  # a Unix socket's path has to be shorter than 108 bytes
            self.socket.bind(path)
            if uid:
                os.chown(path, uid, uid)
            os.chmod(path, 0o666 if uid is None else 0o600)
            os.fchmod(held, 0o755)
        finally:
            os.close(held)
        self.socket.listen(OPEN_MAX)
        self.socket.setblocking(False)

    def admit(self, now: float) -> bool:
        """Whether one more connection is within the rate; else `resume_at` says when."""
        self.left = min(float(BURST_MAX), self.left + (now - self.counted_at) * PER_S)
        self.counted_at = now
        if self.left < 1:
            self.resume_at = now + 1 / PER_S
            return False
        self.left -= 1
        return True


class _Talk:
    """One connection: what came, by when its line must be there, and whether it has been asked and not yet answered."""

    def __init__(self, door: Door, peer: socket.socket, until: float) -> None:
        self.door, self.peer, self.until = door, peer, until
        self.came = b""
        self.asked = False


class Doors:
    """Serves the doors of a host in one thread, which begins with the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._todo: list[Callable[[], object]] = []
        self._wake_in, self._wake_out = -1, -1
        self._thread: Optional[threading.Thread] = None
        self._talks: dict[int, _Talk] = {}
        self._paused: set[Door] = set()

    def add(self, door: Door) -> None:
        """Serve it from now on."""
        self._soon(lambda: self._select.register(door.socket, selectors.EVENT_READ, door))

    def remove(self, door: Door) -> None:
        """Serve it no more, and hang up; when this returns nothing is heard from it any more."""
        gone = threading.Event()

        def close() -> None:
            self._close(door)
            gone.set()

        self._soon(close)
        gone.wait(CLOSE_MAX_S)

    def _soon(self, do: Callable[[], object]) -> None:
        with self._lock:
            self._todo.append(do)
            if self._thread is None:
                self._wake_out, self._wake_in = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
                self._select = selectors.DefaultSelector()
                self._select.register(self._wake_out, selectors.EVENT_READ)
                self._thread = threading.Thread(target=self._run, name="job sockets", daemon=True)
                self._thread.start()
            with contextlib.suppress(BlockingIOError):
                os.write(self._wake_in, b"x")

    def _run(self) -> None:
        while True:
            for key, _ in self._select.select(self._pause()):
                if key.fd == self._wake_out:
                    with contextlib.suppress(BlockingIOError):
                        os.read(self._wake_out, 4096)
                elif isinstance(key.data, Door):
                    self._accept(key.data)
                else:
                    self._read(key.data)
            with self._lock:
                todo, self._todo = self._todo, []
            for do in todo:
                do()
            self._look(time.monotonic())

    def _pause(self) -> Optional[float]:
        """How long nothing is due; None: for as long as nobody speaks."""
        due = [door.resume_at for door in self._paused]
        due += [talk.until for talk in self._talks.values() if not talk.asked]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _look(self, now: float) -> None:
        for talk in [one for one in self._talks.values() if not one.asked and one.until <= now]:
            self._end(talk)
        for door in [one for one in self._paused if one.resume_at <= now]:
            self._paused.discard(door)
            self._select.register(door.socket, selectors.EVENT_READ, door)

    def _accept(self, door: Door) -> None:
        now = time.monotonic()
        if not door.admit(now):
            self._select.unregister(door.socket)
            self._paused.add(door)
            return
        try:
            peer, _ = door.socket.accept()
        except OSError:  # it has hung up, or too many files are open
            return
        peer.setblocking(False)
        if door.open >= OPEN_MAX:
            _say(peer, "no at most %d connections at a time" % OPEN_MAX)
            peer.close()
            return
        door.open += 1
        talk = self._talks[peer.fileno()] = _Talk(door, peer, now + LINE_WITHIN_S)
        self._select.register(peer, selectors.EVENT_READ, talk)

    def _read(self, talk: _Talk) -> None:
        data = b""
        with contextlib.suppress(OSError):
            data = talk.peer.recv(LINE_MAX_BYTES + 1)
        if not data:
            self._end(talk)
            return
        talk.came += data
        line, newline, _ = talk.came.partition(b"\n")
        if not newline and len(talk.came) <= LINE_MAX_BYTES:
            return
        if len(line) > LINE_MAX_BYTES:
            self._answer(talk, "no a line has at most %d bytes" % LINE_MAX_BYTES)
            return
        asked = parse(line)
        if isinstance(asked, str):
            self._answer(talk, "no " + asked)
            return
        talk.asked = True
        self._select.unregister(talk.peer)  # whatever else it says, nobody listens
        talk.door.heard(asked, lambda text: self._soon(lambda: self._answer(talk, text)))

    def _answer(self, talk: _Talk, text: str) -> None:
        if self._talks.get(talk.peer.fileno()) is talk:
            _say(talk.peer, text)
            self._end(talk)

    def _end(self, talk: _Talk) -> None:
        del self._talks[talk.peer.fileno()]
        if not talk.asked:
            self._select.unregister(talk.peer)
        talk.peer.close()
        talk.door.open -= 1

    def _close(self, door: Door) -> None:
        for talk in [one for one in self._talks.values() if one.door is door]:
            self._end(talk)
        if door in self._paused:
            self._paused.discard(door)
        else:
            self._select.unregister(door.socket)
        door.socket.close()


def _say(peer: socket.socket, text: str) -> None:
    with contextlib.suppress(OSError):
        peer.send(text.replace("\n", " ").encode("utf-8", "replace")[:LINE_MAX_BYTES] + b"\n")

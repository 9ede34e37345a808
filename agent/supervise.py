"""One command from exec to the last of its processes.

The pipe is drained all the time, whatever becomes of the bytes, so a command never waits for us. To end a command: TERM to all
of its processes, two seconds of grace, then KILL until nothing of it is left, also of what daemonised itself away. bubblewrap's
own two processes get no TERM: they would take everything with them at once, and with it the grace.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from typing import Callable, NamedTuple, Optional, Sequence

from agent import processes
from agent.cgroups import Group
from agent.limits import enter
from agent.sandbox import Launch

STOP_LAG_S = 1.0  # between a command's end and the agent's own SIGTERM, when the machine shuts down
GRACE_S = 2.0
LOOK_EVERY_S = 0.2
READ_BYTES = 256 * 1024
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ is Python 3.10's
DRAIN_MAX_S = 1.0


class Bounds(NamedTuple):
    """`timeout_s` of wall time; `beyond` is asked now and then for the limit that was exceeded, "" while none was."""

    timeout_s: float
    beyond: Callable[[], str]


class Ended(NamedTuple):
    """`killed` is why we ended it, "" when it ended by itself; `cpu_s` of what was waited for."""

    exit_code: Optional[int]
    killed: str
    cpu_s: float
    clean: bool


class Stopper:
    """Lets another thread end the command: `stop("cancel")`. The first reason stays."""

    def __init__(self) -> None:
        self.read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self.why = ""
        self._lock = threading.Lock()

    def stop(self, why: str) -> None:
        """Ask for the end."""
        with self._lock:
            if not self.why:
                self.why = why
                if self._write_fd >= 0:
                    os.write(self._write_fd, b"x")

    def heard(self, timeout_s: float) -> bool:
        """Wait so long for a reason."""
        poll = select.poll()
        poll.register(self.read_fd, select.POLLIN)
        return bool(poll.poll(timeout_s * 1000))

    def close(self) -> None:
        """Give the descriptors back."""
        with self._lock:
            os.close(self.read_fd)
            os.close(self._write_fd)
            self._write_fd = -1


class Command:
    """A started command. Must be started and run in one thread: bubblewrap dies with the thread that made it."""

    def __init__(self, launch: Launch, group: Optional[Group], pairs: Sequence[tuple[int, int]]) -> None:
        self._group = group
        self._keeper = launch.keeper
        read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
        doors = group.doors() if group else []
        try:
            with contextlib.suppress(OSError):
                import fcntl

                fcntl.fcntl(read_fd, F_SETPIPE_SZ, PIPE_BYTES)
            self._process = subprocess.Popen(
                list(launch.argv),
                env=dict(launch.environment),
                cwd=launch.cwd,
                stdin=subprocess.DEVNULL,
                stdout=write_fd,
                stderr=write_fd,
                start_new_session=True,
                pass_fds=launch.inherit,
                preexec_fn=lambda: enter(doors, pairs),
            )
        except BaseException:
            os.close(read_fd)
            raise
        finally:
            os.close(write_fd)
            for fd in (*doors, *launch.inherit):
                os.close(fd)
        os.set_blocking(read_fd, False)
        self._pipe = read_fd
        self.pid = self._process.pid

    def run(self, bounds: Bounds, stopper: Stopper, feed: Callable[[bytes], None]) -> Ended:
        """Wait for the end, or bring it about."""
        poll = select.poll()
        poll.register(self._pipe, select.POLLIN)
        poll.register(stopper.read_fd, select.POLLIN)
        exit_fd = -1
        with contextlib.suppress(OSError):
            exit_fd = os.pidfd_open(self.pid)
            poll.register(exit_fd, select.POLLIN)
        try:
            return self._watch(poll, exit_fd, bounds, stopper, feed)
        finally:
            if exit_fd >= 0:
                os.close(exit_fd)
            os.close(self._pipe)

    def _watch(
        self, poll: select.poll, exit_fd: int, bounds: Bounds, stopper: Stopper, feed: Callable[[bytes], None]
    ) -> Ended:
        started = time.monotonic()
        ends = started + bounds.timeout_s
        next_look = started + LOOK_EVERY_S
        kill_at = 0.0  # set when TERM was sent
        killed = ""
        while True:
            now = time.monotonic()
            until = min(ends if not killed else kill_at, next_look if exit_fd >= 0 else now + 0.02)
            ready = dict(poll.poll(max(0.0, until - now) * 1000 + 1))
            if self._pipe in ready and not self._drain(feed):
                poll.unregister(self._pipe)  # everything has closed it; the command may still run
            waited = os.wait4(self.pid, os.WNOHANG)
            if waited[0]:
                break
            now = time.monotonic()
            if not killed:
                killed = stopper.why or ("timeout" if now >= ends else "")
                if not killed and now >= next_look:
                    killed = self._look(bounds)
                    next_look = time.monotonic() + LOOK_EVERY_S
                if killed:
                    if stopper.read_fd in ready:
                        poll.unregister(stopper.read_fd)
                    kill_at = now + GRACE_S
                    if killed == "processes":
                        kill_at = now  # a bomb gets no time to go on
                    else:
                        self._terminate()
            elif stopper.read_fd in ready:
                poll.unregister(stopper.read_fd)
            if killed and now >= kill_at:
                processes.send([self.pid], signal.SIGKILL)
                self._end_all()
                kill_at = now + 0.05
        clean = self._end_all()
        if not killed and self._felled(os.waitstatus_to_exitcode(waited[1])):
            stopper.heard(STOP_LAG_S)
            killed = stopper.why
        give_up = time.monotonic() + DRAIN_MAX_S
        while self._drain(feed) and time.monotonic() < give_up:
            time.sleep(0.002)
        code = os.waitstatus_to_exitcode(waited[1])
        self._process.returncode = code
        usage = waited[2]
        return Ended(128 - code if code < 0 else code, killed, usage.ru_utime + usage.ru_stime, clean)

    def _felled(self, code: int) -> bool:
        """Whether somebody else may have ended it: a machine that shuts down signals commands and agent in no certain order."""
        fatal = (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)
        by_signal = -code in fatal or code - 128 in fatal
        return by_signal and not (self._group is not None and self._group.use().oom_kills)

    def _drain(self, feed: Callable[[bytes], None]) -> bool:
        """Take what is there (a bounded amount, so that timers get their turn); False at the end of the pipe."""
        for _ in range(16):
            try:
                data = os.read(self._pipe, READ_BYTES)
            except BlockingIOError:
                return True
            if not data:
                return False
            feed(data)
        return True

    def _look(self, bounds: Bounds) -> str:
        return bounds.beyond()

    def _terminate(self) -> None:
        below = processes.tree(self.pid)
        if self._group is not None:  # a container's processes descend from its engine
            below |= self._group.pids() - {self.pid}
        processes.send(below if self._keeper and below else [self.pid, *below], signal.SIGTERM)

    def _end_all(self) -> bool:
        """A group names exactly what is left; without one /proc is searched, which costs milliseconds on a busy machine."""
        if self._group is None or not self._group.holds:
            return processes.end_session(self.pid)
        return self._group.kill()

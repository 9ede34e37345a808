"""One command to the last of its processes.

Its pipe is drained all the time, whatever becomes of the bytes, so a command never waits for us. To end a command: TERM to all
of its processes, two seconds of grace, then KILL until nothing of it is left, also of what daemonised itself away. The minder and
bubblewrap's own two processes get no TERM: they would take everything with them at once, and with it the grace.

Times are on the clock that all agents of one boot share and nobody sets, so a command that was begun by another agent has no more and
no less time than it would have had.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from typing import Callable, NamedTuple, Optional, Sequence

from agent import minder, processes
from agent.cgroups import Group
from agent.clock import since_boot
from agent.limits import enter
from agent.sandbox import Launch

STOP_LAG_S = 1.0  # between a command's end and the agent's own SIGTERM, when the machine shuts down
GRACE_S = 2.0
LOOK_EVERY_S = 0.2
DRAIN_MAX_S = 1.0
READ_BYTES = 64 * 1024
TAKES_MAX = 64  # more than a pipe holds; what is left behind may print without end
Take = Callable[
    [int], bool
]  # takes a bounded amount of what a pipe holds (so that timers get their turn); whether there was any


class Bounds(NamedTuple):
    """`ends_at` by `clock.since_boot`; `beyond` is asked now and then for the limit that was exceeded, "" while none was. `killing` is
    told why the command is about to be killed."""

    ends_at: float
    beyond: Callable[[], str]
    killing: Callable[[str], None]


class Ended(NamedTuple):
    """`killed` is why we ended it, "" when it ended by itself; `cpu_s` of what was waited for. Without an `exit_code` nobody knows
    how it ended."""

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


def run_plain(
    launch: Launch,
    group: Optional[Group],
    pairs: Sequence[tuple[int, int]],
    bounds: Callable[[int], Bounds],
    stopper: Stopper,
    take: Take,
) -> Ended:
    """A program of ours, without minder; `bounds` is given its process id. bubblewrap dies with the thread that made it: this one.
    Raises OSError."""
    doors: list[int] = []
    read_fd, write_fd = os.pipe2(os.O_CLOEXEC)
    try:
        doors = group.doors() if group else []
        child = subprocess.Popen(
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
        for fd in (write_fd, *doors, *launch.inherit):
            os.close(fd)
    os.set_blocking(read_fd, False)
    held = minder.Minded(child.pid, read_fd, -1, "", child)
    return Command(held, group, launch.keeper).run(bounds(child.pid), stopper, take)


def told_to(feed: Callable[[bytes], None]) -> Take:
    """Takes for somebody who wants the bytes themselves."""

    def take(pipe: int) -> bool:
        with contextlib.suppress(BlockingIOError):
            data = os.read(pipe, READ_BYTES)
            feed(data)
            return bool(data)
        return False

    return take


class Command:
    """A command that was started. `wrapped`: its first process is the sandbox's own, and everything ends with it."""

    def __init__(self, held: minder.Minded, group: Optional[Group], wrapped: bool) -> None:
        self._held, self._group, self._wrapped = held, group, wrapped
        self.pid = held.pid

    def run(self, bounds: Bounds, stopper: Stopper, take: Take, killed: str = "") -> Ended:
        """Wait for the end, or bring it about. `killed`: why an earlier agent was about to kill it."""
        poll = select.poll()
        exit_fd = -1
        for fd in (self._held.output, self._held.ended, stopper.read_fd):
            if fd >= 0:
                poll.register(fd, select.POLLIN)
        with contextlib.suppress(OSError):
            if self.pid:
                exit_fd = os.pidfd_open(self.pid)
                poll.register(exit_fd, select.POLLIN)
        try:
            return self._watch(poll, exit_fd, bounds, stopper, take, killed)
        finally:
            for fd in (exit_fd, self._held.output, self._held.ended):
                if fd >= 0:
                    os.close(fd)

    def _watch(
        self, poll: select.poll, exit_fd: int, bounds: Bounds, stopper: Stopper, take: Take, killed: str
    ) -> Ended:
        held = self._held
        kill_at = since_boot() + GRACE_S  # of one that is killed
        next_look = since_boot() + LOOK_EVERY_S
        over = self.pid == 0 or held.code() is not None
        while not over:
            now = since_boot()
            if killed and now >= kill_at:
                self._end_all(exit_fd)
                kill_at = now + 0.05
            elif not killed:
                looks = now >= next_look
                next_look = now + LOOK_EVERY_S if looks else next_look
                late = "timeout" if now >= bounds.ends_at else ""
                killed = stopper.why or late or (bounds.beyond() if looks else "")
                if killed:
                    poll.unregister(stopper.read_fd)
                    bounds.killing(killed)
                    kill_at = now if killed == "processes" else now + GRACE_S  # a bomb gets no time to go on
                    if killed != "processes":
                        self._terminate()
                    continue
            until = kill_at if killed else min(bounds.ends_at, next_look)
            ready = dict(poll.poll(max(0.0, min(until - now, 0.02 if exit_fd < 0 else until)) * 1000 + 1))
            if held.output in ready and not take(held.output) and ready[held.output] & select.POLLHUP:
                poll.unregister(held.output)  # everything has closed it; the command may still run
            over = held.ended in ready or (exit_fd in ready if exit_fd >= 0 else self._gone())
        cpu_s = processes.cpu_s(self.pid)
        for _ in range(TAKES_MAX):  # its minder holds it for whoever comes after us, and is killed now
            if not take(held.output):
                break
        clean = self._end_all(exit_fd)
        code = self._code()
        if not killed and self._felled(code):
            stopper.heard(STOP_LAG_S)
            killed = stopper.why
        elif killed and code is None:
            code = 128 + signal.SIGKILL
        give_up = since_boot() + DRAIN_MAX_S
        while take(held.output) and since_boot() < give_up:
            pass
        return Ended(code, killed, cpu_s, clean)

    def _gone(self) -> bool:
        """Without a descriptor that would tell."""
        if self._held.child is not None:
            return self._held.child.poll() is not None
        return not minder.lives(self.pid, self._held.path)

    def _code(self) -> Optional[int]:
        """As a shell has it. All of its processes have ended."""
        held = self._held
        code = held.code()
        if held.child is not None:
            waited = held.child.wait()
            if code is None and (waited < 0 or not held.path):
                code = 128 - waited if waited < 0 else waited
        elif self.pid:
            with contextlib.suppress(ChildProcessError):  # a child all the same where an agent became another
                os.waitpid(self.pid, 0)
        return code

    def _felled(self, code: Optional[int]) -> bool:
        """Whether somebody else may have ended it: a machine that shuts down signals commands and agent in no certain order."""
        by_signal = code is None or code - 128 in (signal.SIGTERM, signal.SIGKILL, signal.SIGHUP)
        return by_signal and not (self._group is not None and self._group.use().oom_kills)

    def _terminate(self) -> None:
        below = processes.tree(self.pid)
        if self._group is not None:  # a container's processes descend from its engine
            below |= self._group.pids() - {self.pid}
        if not self._held.path:
            asked = below if self._wrapped and below else {self.pid, *below}
        else:
            asked = (below - processes.children(self.pid) if self._wrapped else below) or below
        processes.send(asked, signal.SIGTERM)

    def _end_all(self, exit_fd: int) -> bool:
        """A group names exactly what is left; without one /proc is searched, which costs milliseconds on a busy machine."""
        if self.pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
            if exit_fd >= 0:  # it is gone at once: who looks sooner finds it, and looks again after a pause
                gone = select.poll()
                gone.register(exit_fd, select.POLLIN)
                gone.poll(DRAIN_MAX_S * 1000)
        if self._group is not None and self._group.holds:
            return self._group.kill()
        return processes.end_session(self.pid) if self.pid else True

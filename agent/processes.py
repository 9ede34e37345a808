"""Processes as /proc shows them: who descends from whom, and the end of all of them."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Iterable

KILL_WAIT_S = 5.0


def _stat(pid: int) -> tuple[int, int, int]:
    """(parent, session, start time in ticks since boot); raises OSError when there is no such process."""
    with open("/proc/%d/stat" % pid, "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    return int(fields[1]), int(fields[3]), int(fields[19])


def started(pid: int) -> int:
    """When the process began, in ticks since boot; 0 when there is none. With the pid it names one process for ever."""
    try:
        return _stat(pid)[2]
    except (OSError, IndexError, ValueError):
        return 0


def cpu_s(pid: int) -> float:
    """Processor time of a process and of those that it has waited for; 0 when there is none."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError):
        return 0.0


def of_user(uid: int) -> int:
    """How many processes and threads this user has, as the kernel's limit counts them."""
    found = 0
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError):
                if os.stat("/proc/" + name).st_uid == uid:
                    found += len(os.listdir("/proc/%s/task" % name))
    return found


def children(root: int) -> set[int]:
    """Of this process."""
    found: set[int] = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                if _stat(int(name))[0] == root:
                    found.add(int(name))
    return found


def tree(root: int) -> set[int]:
    """All descendants of `root`, and whoever shares its session although its parents are gone; without `root` itself."""
    parents: dict[int, tuple[int, int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                parent, session, _ = _stat(int(name))
                parents[int(name)] = (parent, session)
    found = {pid for pid, (_, session) in parents.items() if session == root}
    found.add(root)
    grown = True
    while grown:
        more = {pid for pid, (parent, _) in parents.items() if parent in found} - found
        grown = bool(more)
        found |= more
    return found - {root}


def send(pids: Iterable[int], number: int) -> None:
    """A signal to each of them; those that are gone already are no error."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def end_session(root: int) -> bool:
    """Kill `root`'s tree and session until nothing of it is left; False when something survived KILL_WAIT_S."""
    give_up = time.monotonic() + KILL_WAIT_S
    while True:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(root, signal.SIGKILL)
        rest = {pid for pid in tree(root) if _lives(pid)}
        if not rest:
            return True
        send(rest, signal.SIGKILL)
        if time.monotonic() > give_up:
            return False
        time.sleep(0.005)


def _lives(pid: int) -> bool:
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (OSError, IndexError):
        return False

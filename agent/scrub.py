"""What one owner's jobs left on this host, taken away before another's begin: what a pool that shares its hosts asks for.

Nothing runs when this is done. Commands have run in a sandbox, as users of their own, so what can be left is what this looks for:
processes of these users, their control groups, work folders, what is kept between jobs, and files of these users where everybody may
write. A host on which anything ran otherwise - without a sandbox, or an install script - cannot be scrubbed: `unclean` says so, and
whoever asks for it must take a fresh host.
"""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import time
from typing import TYPE_CHECKING, Iterator

from agent import cgroups, folder, processes

if TYPE_CHECKING:
    from agent.attempt import Host

PUBLIC = ("/tmp", "/var/tmp", "/dev/shm", "/dev/mqueue", "/run/lock")  # where everybody may write


def unclean(host: "Host") -> str:
    """Why this host can never be shown to be clean again, as a sentence; "" when it can."""
    sandbox = host.sandbox.default
    if sandbox is None or not sandbox.drops_uid:
        return "commands ran here as the agent's own user, so nobody can tell what they have left"
    if os.path.isdir(host.paths.installs):
        return "an install script of another owner has changed this host for good"
    return ""


def scrub(host: "Host", uids: range) -> tuple[dict[str, int], str]:
    """Take all of it away: how much of what was found, and what could not be removed, as a sentence ("" when nothing is left)."""
    found = {"processes": _end(uids), "files": 0}
    cgroups.sweep(host.groups, host.group_prefix)
    if host.sandbox.default is not None:
        host.sandbox.default.sweep()
    tops = (host.paths.work, host.paths.cache, host.paths.saving)  # what came with jobs
    for top in tops:
        for path in _inside(top):
            found["files"] += 1
            _remove(path)
    public = tuple(dict.fromkeys(map(os.path.realpath, PUBLIC)))
    for top in public:
        for path in _owned(top, uids):
            found["files"] += 1
            _remove(path)
    host.cache.forget()
    left = [path for top in tops for path in _inside(top)]
    left += [path for top in public for path in _owned(top, uids)]
    if _pids(uids):
        return found, "processes of another owner's jobs do not end"
    return found, "what another owner's jobs left cannot be removed: %s" % left[0] if left else ""


def _pids(uids: range) -> set[int]:
    """Processes that run, or could run again, as one of these users."""
    found = set()
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError), open("/proc/%s/status" % name) as file:
                text = file.read()
                state = text.partition("\nState:")[2].split(None, 1)[0]
                users = text.partition("\nUid:")[2].partition("\n")[0].split()
                if state not in ("Z", "X") and any(int(user) in uids for user in users):
                    found.add(int(name))
    return found


def _end(uids: range) -> int:
    """Kill them, and what forks meanwhile; how many there were."""
    give_up = time.monotonic() + processes.KILL_WAIT_S
    ended: set[int] = set()
    while True:
        rest = _pids(uids)
        if not rest or time.monotonic() > give_up:
            return len(ended)
        ended |= rest
        processes.send(rest, signal.SIGKILL)
        time.sleep(0.005)


def _inside(top: str) -> list[str]:
    """What is in one of the agent's own folders, but for the sandbox's probe."""
    with contextlib.suppress(OSError):
        return [os.path.join(top, name) for name in sorted(os.listdir(top)) if name != ".probe"]
    return []


def _owned(top: str, uids: range) -> Iterator[str]:
    """The highest entries below `top` that belong to one of these users, in folders where they may write."""
    pending = [top]
    while pending:
        with contextlib.suppress(OSError), os.scandir(pending.pop()) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    status = entry.stat(follow_symlinks=False)
                    if status.st_uid in uids:
                        yield entry.path
                    elif stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_IWOTH:
                        pending.append(entry.path)


def _remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        folder.remove(path)
        return
    with contextlib.suppress(OSError):
        os.unlink(path)

"""A command that outlives its agent: what holds it while nobody looks, and how another agent finds it.

The minder is a tiny shell between agent and sandbox. It writes its process id into the attempt's `minder` file, runs the command,
appends the exit code, says so through the pipe `ended`, and stops itself until it is killed: as long as it is there it holds both ends
of the pipe `output`, so nothing that was printed is lost with an agent, and the pipe behaves as a pipe to the command (a file in its
place would be emptied by the first `> /dev/stdout`). An agent that starts finds the minder by that file, opens the same pipes, and
goes on; the kernel's boot id in the journal says whether process ids are still those of that time.

The `minder` file decides who was first: it is created by whoever comes first (O_EXCL), the minder just before the command, or an agent
that finds an attempt which the journal says has begun and which has no such file. Then the command never runs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import NamedTuple, Optional, Sequence

from agent.cgroups import Group
from agent.limits import enter
from agent.paths import AttemptPaths
from agent.sandbox import Launch

SHELL = "/bin/sh"
# %(err)d is the command's standard error: what the shell itself has to say about how it died is nobody's output. The agent is the last that
# a machine without memory should kill, and its jobs would inherit that.
SCRIPT = (
    'set -C; echo $$ >"$0" || exit 125; exec %(err)d>&2 2>/dev/null;'
    ' echo 500 >|/proc/$$/oom_score_adj; ("$@" </dev/null 2>&%(err)d %(err)d>&-);'
    ' echo "$?." >>"$0"; echo >&0; kill -STOP $$'
)
PIPE_BYTES = 1 << 20
F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ is Python 3.10's
PRINTED_BY_ALL = 0o622  # who opens /dev/stderr opens this pipe, as the attempt's own user


class Said(NamedTuple):
    """What a `minder` file says: the minder's process id (0: none ran) and the command's exit code, None while it is not known."""

    pid: int
    code: Optional[int]


class Minded(NamedTuple):
    """A command with its pipes: `output` does not block, `ended` is readable when it has ended. `child`: it is ours to wait for."""

    pid: int
    output: int
    ended: int
    path: str
    child: Optional["subprocess.Popen[bytes]"]

    def code(self) -> Optional[int]:
        """The command's exit code, None while it runs or when nobody knows."""
        return said(self.path).code


def parse(text: str) -> Said:
    """Of the file's text. A line that is not whole says nothing."""
    lines = text.split("\n")[:-1]
    pid = int(lines[0]) if lines and lines[0].isdigit() else 0
    code = lines[1][:-1] if len(lines) > 1 and lines[1].endswith(".") else ""
    return Said(pid, int(code) if pid and code.isdigit() else None)


def said(path: str) -> Said:
    """Of the file; nothing where it cannot be read."""
    try:
        with open(path) as file:
            return parse(file.read(64))
    except (OSError, ValueError):
        return Said(0, None)


def prepare(paths: AttemptPaths) -> None:
    """Make the pipes. Raises OSError."""
    for path in (paths.output, paths.ended):
        os.mkfifo(path, 0o600)
    os.chmod(paths.output, PRINTED_BY_ALL)


def start(paths: AttemptPaths, launch: Launch, group: Optional[Group], pairs: Sequence[tuple[int, int]]) -> Minded:
    """Execute the command under a minder of its own. Raises OSError; then nothing of it has run."""
    doors: list[int] = []
    ours: tuple[int, ...] = ()
    printed = -1
    try:
        output, ended = ours = _open(paths)
        # A description of its own: that ours does not block must not be the command's.
        printed = os.open(paths.output, os.O_RDWR | os.O_CLOEXEC)
        doors = group.doors() if group else []
        script = SCRIPT % {
            "err": next(fd for fd in range(3, 10) if fd not in launch.inherit)
        }  # a shell's have one digit
        child = subprocess.Popen(
            [SHELL, "-c", script, paths.minder, *launch.argv],
            env=dict(launch.environment),
            cwd=launch.cwd,
            stdin=ended,
            stdout=printed,
            stderr=printed,
            start_new_session=True,
            pass_fds=launch.inherit,
            preexec_fn=lambda: enter(doors, pairs),
        )
    except BaseException:
        for fd in ours:
            os.close(fd)
        raise
    finally:
        for fd in (*doors, *launch.inherit, *([printed] if printed >= 0 else [])):
            os.close(fd)
    return Minded(child.pid, output, ended, paths.minder, child)


def _open(paths: AttemptPaths) -> tuple[int, int]:
    """Both pipes, for reading and writing: what is in them stays there while somebody has them open."""
    output = os.open(paths.output, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        with contextlib.suppress(OSError):
            import fcntl

            fcntl.fcntl(output, F_SETPIPE_SZ, PIPE_BYTES)
        return output, os.open(paths.ended, os.O_RDWR | os.O_CLOEXEC)
    except BaseException:
        os.close(output)
        raise


def adopt(paths: AttemptPaths) -> Optional[Minded]:
    """The command that an earlier agent has started, whether it still runs or not (`pid` 0); None when it never did, and never will.
    Raises OSError."""
    try:
        fd = os.open(paths.minder, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        pass
    else:
        os.close(fd)
        return None
    pid = said(paths.minder).pid
    pid = pid if pid and lives(pid, paths.minder) else find(paths.minder)  # it may not have written its number yet
    if not pid and not said(paths.minder).pid:
        return None
    return Minded(pid, *_open(paths), paths.minder, None)


def find(path: str) -> int:
    """The process that is the minder with this file; 0 when there is none."""
    return next((int(name) for name in os.listdir("/proc") if name.isdigit() and lives(int(name), path)), 0)


def lives(pid: int, path: str) -> bool:
    """Whether that process is the minder that writes to `path`: a number alone may be somebody else's by now."""
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as file:
            words = file.read(len(SCRIPT) + 4096).split(b"\0")
    except OSError:
        return False
    return words[1:2] == [b"-c"] and words[3:4] == [os.fsencode(path)]

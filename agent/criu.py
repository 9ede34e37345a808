"""Programs that know nothing of checkpoints: their processes are frozen by the host's CRIU, and thawed on another host.

What is frozen are the processes below a keeper - a shell that is the sandbox's first process, starts the command in a session of its
own, and hands its exit code on. It forks often enough before that for the command's process ids to be free in the next sandbox. CRIU is run
in the sandbox's namespaces, so that it has nothing of them to keep: the next sandbox has the same mounts at the same places. It runs
as the job's own user with the powers that freezing takes, and writes into a folder that the sandbox does not show. While they stand
still, their work folder and /tmp are packed with them.

Thawing is done in a new sandbox by CRIU with all power and without the filter of system calls: it gives the processes back their
user, their lack of power and their filter. It reads nothing but what an agent has written.

It works under bubblewrap, for an agent that is root, with CRIU 4 or later, without network, for commands that make no daemons and keep
nothing open in /dev/shm (docs/adr/0021).
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Iterator, Mapping, NamedTuple, Optional, Sequence

from agent import folder, processes
from agent.packing import Unkept
from agent.sandbox import INTERRUPTION, PATH, Ask, Launch, Sandbox
from agent.sandbox.bwrap import Bubblewrap

if TYPE_CHECKING:
    from agent.attempt import Attempt

FOLDER, FACTS, THAWED = "criu", "spillway.json", "thawed"
PACKED = ("work", "tmp", FOLDER)
CRIU_MAX_S = 60.0
AGAIN_S = (0.2, 0.5, 1.5, 0.0)
VERSION = re.compile(r"Version: (\d+)\.")
POWERS = "+checkpoint_restore,+sys_ptrace,+sys_admin,+dac_override,+net_admin,+setuid,+setgid,+kill,+sys_chroot,+fowner,+chown,+setpcap"
KEEPER = """i=0; while [ $i -lt 60 ]; do (:); i=$((i + 1)); done
trap : TERM; setsid /bin/sh -c "$SPILLWAY_COMMAND" &
while :; do wait $!; s=$?; kill -0 $! 2>/dev/null || exit $s; done"""
WAIT_PERL = "$SIG{TERM} = 'IGNORE'; wait; exit($? & 127 ? 128 + ($? & 127) : $? >> 8)"
WAIT_PYTHON = (
    "import os, signal; signal.signal(15, 1); s = os.wait()[1]; os._exit(128 + (s & 127) if s & 127 else s >> 8)"
)


class Cannot(Unkept):
    """It does not work here, or did not now; the message is a sentence."""


class Facts(NamedTuple):
    """What must be the same again: the user, and what the command's output is called in the images."""

    uid: int
    output: str


@functools.lru_cache(maxsize=8)
def lacks(sandbox: Optional[Sandbox], network: bool) -> str:
    """Why it cannot work here; "" where it can. Asked once."""
    if not isinstance(sandbox, Bubblewrap) or not sandbox.drops_uid:
        return "it needs bubblewrap and an agent that is root"
    if network:
        return "what a command has connected to cannot be kept: it works without network only"
    program = shutil.which("criu", path=PATH)
    if program is None:
        return "CRIU is not installed on this host"
    try:
        said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=CRIU_MAX_S)
        found = VERSION.search(said.stdout)
        if found is None or int(found.group(1)) < 4:
            return "CRIU on this host is %s; 4 or later is needed" % (said.stdout.split("\n")[0] or "broken")
        check = subprocess.run([program, "check"], capture_output=True, text=True, timeout=CRIU_MAX_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        return "CRIU cannot be run on this host: %s" % error
    if check.returncode:
        return "CRIU does not work on this host: %s" % (check.stderr.strip().split("\n")[0] or "its check failed")
    return ""


def kept_alive(ask: Ask) -> Ask:
    """The same command, below a keeper."""
    return ask._replace(command=KEEPER, environment={**ask.environment, "SPILLWAY_COMMAND": ask.command})


@contextlib.contextmanager
def frozen(pid: int, uid: int, images: str) -> Iterator[None]:
    """The command's processes stand still, and are in the new folder `images`. `pid` is the sandbox's. Raises Cannot, OSError."""
    first, keeper, target = _find(pid)
    inner = _status(target, "NSpid")[-1]
    output = _output(keeper)  # the command may have redirected its own
    folder.remove(images)
    os.mkdir(images, 0o700)
    with open(os.path.join(images, FACTS), "w") as file:
        json.dump({"uid": uid, "output": output}, file)
    fd = os.open(images, os.O_RDONLY | os.O_DIRECTORY)
    argv = ["nsenter", "-t", str(first), "-m", "-p", "-n", "-i", "-u", "--", "setpriv", "--reuid=%d" % uid]
    argv += ["--regid=%d" % uid, "--clear-groups", "--inh-caps=" + POWERS, "--ambient-caps=" + POWERS]
    argv += [
        "criu",
        "dump",
        "--unprivileged",
        "-t",
        inner,
        *_places(fd, "dump"),
        "--external",
        output,
        "--leave-stopped",
    ]
    try:
        for pause_s in AGAIN_S:  # what it said of itself a moment ago may still be on its way, which cannot be kept
            done = subprocess.run(argv, pass_fds=(fd,), env={"PATH": PATH}, capture_output=True, timeout=CRIU_MAX_S)
            if not done.returncode:
                break
            time.sleep(pause_s)
        else:
            raise Cannot("CRIU could not freeze it: %s" % _error(images, "dump"))
        yield
    except subprocess.TimeoutExpired as error:
        raise Cannot("CRIU took longer than %d s" % CRIU_MAX_S) from error
    finally:
        os.close(fd)
        processes.send([target, *processes.tree(target)], signal.SIGCONT)
        folder.remove(images)


def facts(images: str) -> Facts:
    """Of what was frozen. Raises Cannot."""
    try:
        with open(os.path.join(images, FACTS)) as file:
            found: Mapping[str, object] = json.load(file)
        uid, output = found["uid"], found["output"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Cannot("it holds no processes") from error
    if not isinstance(uid, int) or not isinstance(output, str):
        raise Cannot("it holds no processes")
    return Facts(uid, output)


def usable(attempt: "Attempt") -> str:
    """Why what lies in the attempt's checkpoint folder cannot go on here; "" where it can. It takes its user with it."""
    for name in PACKED:  # these come into the place of folders that are handed over with the agent's own power
        path = os.path.join(attempt.paths.checkpoint, name)
        if os.path.islink(path) or not os.path.isdir(path):
            return "it holds no folder %s" % name
    try:
        uid = facts(os.path.join(attempt.paths.checkpoint, FOLDER)).uid
    except Cannot as error:
        return str(error)
    return "" if attempt.take_uid(uid) else "its user is another attempt's on this host"


def put_back(attempt: "Attempt") -> None:
    """Its files in the place of those that it would have begun with. Raises OSError."""
    paths = attempt.paths
    for name, place in (("work", paths.work), ("tmp", paths.tmp), (FOLDER, paths.thawing)):
        folder.remove(place)
        os.rename(os.path.join(paths.checkpoint, name), place)
    os.chmod(paths.thawing, 0o700)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(paths.tmp, INTERRUPTION))  # that was another machine's


def thaw(sandbox: Bubblewrap, ask: Ask, images: str) -> Launch:
    """How to start a sandbox in which what is in `images` goes on. Raises Cannot, OSError."""
    output = facts(images).output
    waits: Sequence[str] = ("/usr/bin/perl", "-e", WAIT_PERL)
    if not os.path.exists(waits[0]):
        waits = ("/usr/bin/python3", "-ISc", WAIT_PYTHON)
    fd = os.open(images, os.O_RDONLY | os.O_DIRECTORY)
    argv = ["criu", "restore", *_places(fd, "restore"), "--inherit-fd", "fd[1]:" + output]
    argv += ["--pidfile", "/proc/self/fd/%d/%s" % (fd, THAWED), "--exec-cmd", "--", *waits]
    launch = sandbox.with_power(ask, argv)
    return launch._replace(inherit=(*launch.inherit, fd))


def not_thawed(images: str) -> str:
    """Why what was to go on does not; "" where it does."""
    return "" if os.path.exists(os.path.join(images, THAWED)) else _error(images, "restore")


def _places(fd: int, what: str) -> list[str]:
    """Through a descriptor: the sandbox does not show the folder."""
    return ["-D", "/proc/self/fd/%d" % fd, "-o", what + ".log", "--network-lock", "skip", "--manage-cgroups=ignore"]


def _find(pid: int) -> tuple[int, int, int]:
    """The first process in the sandbox whose process is `pid`, the keeper, and the command's first. Raises Cannot."""
    first = keeper = 0
    below = sorted(processes.tree(pid))
    for one in below:
        inner = _status(one, "NSpid")[1:]  # of a process outside of the sandbox there is but one
        first = one if inner == ["1"] else first
        keeper = one if inner == ["2"] else keeper
    target = next((one for one in below if keeper and _status(one, "PPid") == [str(keeper)]), 0)
    if not first or not target:
        raise Cannot("its command has not begun, or has ended")
    return first, keeper, target


def _status(pid: int, name: str) -> list[str]:
    with contextlib.suppress(OSError), open("/proc/%d/status" % pid) as file:
        for line in file:
            if line.startswith(name + ":"):
                return line.split()[1:]
    return []


def _output(pid: int) -> str:
    """What CRIU calls where the command prints to: a pipe of ours, or a file outside of the sandbox."""
    try:
        link = os.readlink("/proc/%d/fd/1" % pid)
        if link.startswith("pipe:"):
            return link
        with open("/proc/%d/fdinfo/1" % pid) as file:
            mount = next(line.split()[1] for line in file if line.startswith("mnt_id"))
        return "file[%x:%x]" % (int(mount), os.stat("/proc/%d/fd/1" % pid).st_ino)
    except (OSError, StopIteration) as error:
        raise Cannot("its command has closed its output, or has ended") from error


def _error(images: str, what: str) -> str:
    with contextlib.suppress(OSError), open(os.path.join(images, what + ".log"), errors="replace") as file:
        said = [line.partition("Error")[2].strip() for line in file if "Error" in line]
        if said:
            return said[-2 if len(said) > 1 and "FAILED" in said[-1] else -1][:200]
    return "it does not say why"

"""bubblewrap: every namespace, a read-only system, and nothing of the host's state.

Two ways to lose the agent's power. As root, bubblewrap sets up the mounts with it and `setpriv` then drops to a user id of the
attempt's own, without capabilities and without a way to new ones: no user namespace is needed and two attempts are two users.
Where ids cannot be changed (an agent that is not root, or root only of a user namespace) a user namespace gives the command
an id that is nobody's outside.

What a command sees: /usr, /etc, /opt read-only; a /proc of its own processes; a minimal /dev; its work folder as /job (or as the job
wants it), a /tmp of
its own. It does not see $ROOT (manifest, user data, journal, other work folders, the agent's socket). Without network there is
no metadata service either; with it, agent/firewall.py keeps the job from that service. System calls are filtered (seccomp.py).

The job's environment is set last of all, by `env` as the job's own user: LD_PRELOAD and its like would otherwise run the job's code
as root in bubblewrap and setpriv. The arguments travel through a descriptor, so that /proc in the sandbox does not show the host's paths.
Values of secrets travel there too, as variables with names of ours, which mean nothing to setpriv and `env`; a shell, as the job's own user
again, gives them the job's names: so no value is ever in an argument vector.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import Mapping, Optional, Sequence

from agent.sandbox import PATH, Ask, Launch, Sandbox, environment, seccomp

INNER_UID = "1000"
ENV = "/usr/bin/env"
PROBE_TIMEOUT_S = 10
SYSTEM = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/usr", "/etc", "/opt")
HIDDEN = ("/etc/shadow", "/etc/gshadow", "/etc/shadow-", "/etc/gshadow-")


class Bubblewrap(Sandbox):
    """`drops_uid`: by setpriv; else by a user namespace. `filters`: whether system calls are filtered, where the kernel can."""

    name = "bwrap"

    def __init__(self, program: str, setpriv: str, modern: bool, filters: bool = True) -> None:
        self._program = program
        self._setpriv = setpriv
        self._modern = modern
        self.filters = filters and bool(seccomp.here(False))
        self.drops_uid = bool(setpriv)

    def launch(self, ask: Ask) -> Launch:
        """The sandbox around a shell; see above for what it shows."""
        args = self._arguments(ask)
        inherit = []
        if self.filters:
            inherit.append(_held("calls", seccomp.here(ask.network)))
            args += ["--seccomp", str(inherit[0])]
        fd = _held("arguments", b"".join(os.fsencode(arg) + b"\0" for arg in args))
        inherit.append(fd)
        argv = [self._program, "--args", str(fd), "--"]
        if self._setpriv:
            ids = ("--reuid=%d" % ask.uid, "--regid=%d" % ask.uid, "--clear-groups")
            argv += [self._setpriv, *ids, "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all"]
        wanted = ["%s=%s" % pair for pair in environment(ask, ask.folder, "/tmp").items()]
        argv += [ENV, *(() if ask.secrets else ("-i",)), "--", *wanted, "/bin/sh", "-c"]
        if ask.secrets:
            renamed = [
                '%s="$%s"; unset %s; export %s' % (name, ours, ours, name) for ours, name in _called(ask.secrets)
            ]
            argv += ['%s; exec /bin/sh -c "$1"' % "; ".join(renamed), "sh"]
        argv.append(ask.command)
        return Launch(argv, {"PATH": PATH, "LANG": "C.UTF-8"}, "/", tuple(inherit), True)

    def with_power(self, ask: Ask, argv: Sequence[str]) -> Launch:
        """The same namespaces and mounts around a program of ours that keeps the agent's user and may call whatever it likes."""
        fd = _held("arguments", b"".join(os.fsencode(arg) + b"\0" for arg in self._arguments(ask)))
        return Launch([self._program, "--args", str(fd), "--", *argv], {"PATH": PATH}, "/", (fd,), True)

    def _arguments(self, ask: Ask) -> list[str]:
        args = ["--unshare-ipc", "--unshare-pid", "--unshare-uts", "--unshare-cgroup-try", "--die-with-parent"]
        args += ["--hostname", "job"]
        if not ask.network:
            args.append("--unshare-net")
        if not self._setpriv:
            args += ["--unshare-user", "--uid", INNER_UID, "--gid", INNER_UID]
        for path in SYSTEM:
            if os.path.islink(path):
                args += ["--symlink", os.readlink(path), path]
            elif os.path.isdir(path):
                args += ["--ro-bind", path, path]
        for path in HIDDEN:
            if os.path.exists(path):
                args += ["--ro-bind", "/dev/null", path]
        if ask.network:
            names = os.path.realpath("/etc/resolv.conf")  # a file of /run, where systemd or resolvconf writes it
            args += ["--ro-bind-try", names, names] if names.startswith("/run/") else []
        args += ["--proc", "/proc", "--dev", "/dev"]
        if self._modern:
            args += ["--perms", "1777", "--tmpfs", "/dev/shm"]
        if self._modern:
            args += ["--perms", "0755", "--dir", "/var"]  # in which something may be shown
        args += ["--bind", ask.tmp, "/tmp", "--symlink", "../tmp", "/var/tmp", "--bind", ask.work, ask.folder]
        for mount in ask.mounts:
            if self._modern:  # else bubblewrap makes what leads there, and for all; this one makes it for root alone
                for parent in _above(mount.target):
                    args += ["--perms", "0755", "--dir", parent]
            args += ["--bind" if mount.writable else "--ro-bind", mount.source, mount.target]
        for ours, name in _called(ask.secrets):
            args += ["--setenv", ours, ask.secrets[name]]
        return args + ["--chdir", ask.folder]


def _held(name: str, content: bytes) -> int:
    """A descriptor from which `content` is read once."""
    fd = os.memfd_create(name, 0)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _above(path: str) -> list[str]:
    """The folders that lead to it, without the root."""
    parts = path.strip("/").split("/")[:-1]
    return ["/" + "/".join(parts[: number + 1]) for number in range(len(parts))]


def _called(secrets: Mapping[str, str]) -> list[tuple[str, str]]:
    """Each variable with the name that it has on the way."""
    return [("SPILLWAY_SECRET_%d" % number, name) for number, name in enumerate(sorted(secrets))]


def find(probe_folder: str, uid: int) -> tuple[Optional[Bubblewrap], str]:
    """The strongest form that works here, proven by running it once; or None and why not."""
    program = shutil.which("bwrap", path=PATH)
    if program is None:
        return None, "bubblewrap is not installed"
    setpriv = shutil.which("setpriv", path=PATH) if os.geteuid() == 0 else None
    why = ""
    for privileges in filter(None, (setpriv, "-")):
        modern, filters = True, True
        for _ in range(3):
            candidate = Bubblewrap(program, "" if privileges == "-" else privileges, modern, filters)
            why = probe(candidate, probe_folder, uid)
            if not why:
                return candidate, ""
            if modern and "perms" in why:  # which came with bubblewrap 0.5
                modern = False
            elif filters and "SECCOMP" in why:
                filters = False
            else:
                break
    return None, "bubblewrap does not work on this machine: " + why


def probe(candidate: Sandbox, folder: str, uid: int) -> str:
    """Run a no-op in it; "" or what it said."""
    work, tmp = folder + "/work", folder + "/tmp"
    try:
        for path in (work, tmp):
            os.makedirs(path, exist_ok=True)
    except OSError as error:
        return str(error)
    launch = candidate.launch(Ask("exit 0", work, tmp, False, {}, "probe", 1, uid))
    try:
        done = subprocess.run(
            launch.argv,
            env=dict(launch.environment),
            pass_fds=launch.inherit,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=PROBE_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    finally:
        for fd in launch.inherit:
            os.close(fd)
    if done.returncode == 0:
        return ""
    return done.stderr.decode("utf-8", "replace").strip()[-200:] or "exit code %d" % done.returncode

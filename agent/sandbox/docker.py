"""Docker: the command in a container of the image that its job (or its pool) names. The whole of it is the argument list below.

What a command sees: its image, read-only; its work folder as /job (or as the job wants it), a /tmp and /var/tmp of its own, a /run and a
/dev/shm in memory. It runs as the attempt's own user, never root, without capabilities and without a way to new ones, under the engine's
own filter of system calls. Memory, processor and processes are the engine's to hold; of swap there is none. What the image declares as
a volume is memory too: the engine would give it disk that nobody counts. The image's own variables stay, its entrypoint and its health
check do not.

A pool may say that containers run as the user that their image says (`container_user: image`), as PrairieLearn's and Gradescope's own
hosts run theirs: graders that are root and start submissions as somebody else. Such a container may write all over its image, counted
with its work folder, and has of root's powers those over files, users and processes.

Without network there is a loopback interface and nothing else. With `"network": true` it is on a bridge of ours (network.py), from which
the metadata service is out of reach; where that cannot be proven, such an attempt is refused.

Values of secrets come by the standard input, read by a shell that then gives it up: the engine writes a container's variables to its disk.
The engine keeps no log, either: the client hands all that is printed to us.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from typing import Any, Mapping, Optional, Sequence

from agent.engine import Engine
from agent.images import Images
from agent.sandbox import PATH, Ask, Launch, Mount, Sandbox, environment
from agent.sandbox.container import Container
from agent.sandbox.network import NAME, Bridge

LABEL = "spillway.host"
NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_.-]")
MEMORY_MIN_MIB = 6  # the engine takes no less
TMPFS_MIB = 64
STEP_S = 0.5
POWERS = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID", "AUDIT_WRITE")
FILES_OPEN_MAX = 4096
RUN = ("nosuid", "nodev", "mode=1777")


def arguments(ask: Ask, name: str, label: str, network: str) -> list[str]:
    """All that `docker` is told to run `ask`: pure, so that each fence can be read and tested."""
    memory = "%dm" % max(ask.memory_mib, MEMORY_MIN_MIB)
    image, volumes = (ask.image.id, ask.image.volumes) if ask.image is not None else ("", ())
    args = ["run", "--name", name, "--label", "%s=%s" % (LABEL, label), "--pull", "never", "--init"]
    args += ["--log-driver", "none", "--no-healthcheck", "--restart", "no", "--network", network, "--hostname", "job"]
    args += ["--ipc", "private", "--cgroupns", "private", "--security-opt", "no-new-privileges", "--cap-drop", "ALL"]
    if ask.as_image:
        args += [word for power in POWERS for word in ("--cap-add", power)]
    else:
        args += ["--read-only", "--user", "%d:%d" % (ask.uid, ask.uid)]
    args += ["--memory", memory, "--memory-swap", memory, "--pids-limit", str(ask.processes_max)]
    if ask.cpu > 0:
        args += ["--cpus", "%.3f" % ask.cpu]
    args += ["--ulimit", "core=0", "--ulimit", "nofile=%d" % FILES_OPEN_MAX]
    if ask.file_bytes:
        args += ["--ulimit", "fsize=%d" % ask.file_bytes]
    for target in ("/run", *(path for path in volumes if not _within(path, ask))):
        args += ["--tmpfs", "%s:%s,size=%dm" % (target, ",".join(RUN), TMPFS_MIB)]
    for mount in (Mount(ask.tmp, "/tmp", True), Mount(ask.tmp, "/var/tmp", True), Mount(ask.work, ask.folder, True)):
        args += ["--mount", _bind(mount)]
    for mount in ask.mounts:
        args += ["--mount", _bind(mount)]
    for pair in sorted(_environment(ask).items()):
        args += ["--env", "%s=%s" % pair]
    if ask.secrets:
        args.append("--interactive")
    args += ["--workdir", ask.folder, "--entrypoint", "/bin/sh", image, "-c"]
    # One channel for all that it prints: the engine has two, and nobody could tell their order afterwards.
    return [*args, _read(ask.secrets) + 'exec /bin/sh -c "$1" 2>&1', "sh", ask.command]


def _within(path: str, ask: Ask) -> bool:
    """Whether something of ours is mounted there anyway."""
    ours = ("/tmp", "/var/tmp", "/run", ask.folder, *(mount.target for mount in ask.mounts))
    return not path.startswith("/") or ":" in path or os.path.normpath(path) in ours


def _environment(ask: Ask) -> Mapping[str, str]:
    """As in every sandbox, but what the image says of PATH and LANG stands where the job says nothing of it."""
    path = ask.image.path if ask.image is not None else ""
    found = environment(ask._replace(environment={"PATH": path or PATH, **ask.environment}), ask.folder, "/tmp")
    return {name: value for name, value in found.items() if name != "LANG" or name in ask.environment}


def _bind(mount: Mount) -> str:
    """A value of --mount, which is a line of CSV."""
    fields = ["type=bind", "source=" + mount.source, "target=" + mount.target]
    if not mount.writable:
        fields.append("readonly")
    return ",".join('"%s"' % field.replace('"', '""') if set(field) & {",", '"'} else field for field in fields)


def _read(secrets: Mapping[str, str]) -> str:
    """A shell's commands that take each value, line by line, from the standard input; `said` writes what they read."""
    newline = "'\n'"
    steps = []
    for name in sorted(secrets):
        loop = 'while [ "$_n" -gt 0 ]; do IFS= read -r _l; %s="$%s$_l"%s; _n=$((_n-1)); done' % (name, name, newline)
        steps.append("%s=; read -r _n; %s; %s=${%s%%%s}; export %s" % (name, loop, name, name, newline, name))
    return "; ".join([*steps, "exec </dev/null; "]) if steps else ""


def said(secrets: Mapping[str, str]) -> bytes:
    """The values as `_read` expects them: of each how many lines it has, then these."""
    found = []
    for name in sorted(secrets):
        lines = secrets[name].split("\n")
        found += [str(len(lines)), *lines]
    return os.fsencode("".join(line + "\n" for line in found))


class Docker(Sandbox):
    """`label` tells this agent's containers from those of others that share the engine."""

    name = "docker"
    shares_network = False

    def __init__(self, engine: Engine, label: str, images: Images, folder: str, uid: int, layered: bool) -> None:
        self.engine, self.images = engine, images
        self._layered = layered  # what a container writes into its image is in a folder of the host
        self._bridge = Bridge(engine)
        self._helpers: list[Optional[Sandbox]] = []  # found once
        self._folder, self._uid = folder, uid  # to try things in, and as whom
        self.drops_uid = os.geteuid() == 0
        self._label = label

    def container(self, job: str, attempt: int) -> str:
        """The name of an attempt's container: the engine lets nobody make a second one of it."""
        return NOT_A_NAME.sub("-", "spillway-%s-%s.%d" % (self._label, job, attempt))

    def launch(self, ask: Ask) -> Launch:
        """The client, which stays for as long as the container runs. Its end does not end the container: `group` does."""
        name = self.container(ask.job, ask.attempt)
        network = NAME if ask.network else "none"
        ask = ask if self.drops_uid else ask._replace(uid=os.geteuid())
        argv = [self.engine.program, *arguments(ask, name, self._label, network)]
        if not ask.secrets:
            return Launch(argv, self.engine.environment, "/", (), True)
        fd = os.memfd_create("secrets", 0)
        os.write(fd, said(ask.secrets))
        opened = ["/bin/sh", "-c", 'exec "$@" </proc/self/fd/%d' % fd, "sh", *argv]
        return Launch(opened, self.engine.environment, "/", (fd,), True)

    def group(self, job: str, attempt: int) -> Container:
        """What holds its processes."""
        return Container(self.engine, self.container(job, attempt))

    def works(self, folder: str, uid: int) -> str:
        """Why no container can be run now; "" when nothing speaks against it."""
        answer = self.engine.ask("version", "--format", "{{.Server.Version}}", timeout_s=10)
        return "" if not answer.code else "Docker does not answer: %s" % answer.why

    def helper(self) -> Optional[Sandbox]:
        """bubblewrap, if the host has it: what our own programs need is on the host, not in a job's image."""
        from agent.sandbox import bwrap

        if not self._helpers:
            self._helpers.append(bwrap.find(self._folder, self._uid)[0])
        return self._helpers[0]

    def guard(self, network: bool, as_image: bool) -> str:
        """The bridge is looked at anew before each attempt that is to be on it: somebody may have taken its rules away."""
        if as_image and not self._layered:
            return "its Docker does not show what a container writes (it needs the storage driver overlay2), and so nobody can count it"
        return self._bridge.hold() if network else ""

    def sweep(self, spared: Sequence[str] = ()) -> None:
        """End and remove what an earlier agent has left behind, but for containers of attempts `spared`."""
        kept = {self.container(*_name(key)) for key in spared}
        answer = self.engine.ask(
            "ps", "--all", "--filter", "label=%s=%s" % (LABEL, self._label), "--format", "{{.Names}}"
        )
        for name in answer.out.split():
            if name not in kept:
                self.engine.ask("rm", "--force", "--volumes", name)


def _name(key: str) -> tuple[str, int]:
    job, _, attempt = key.rpartition("#")
    return job, int(attempt)


def find(folder: str, uid: int, patience_s: float = 0.0) -> tuple[Optional[Docker], str, str]:
    """Docker as it is on this host, "" or why it is none, "" or why it is not to be trusted with an untrusted job."""
    program = shutil.which("docker") or shutil.which("docker", path=PATH)
    if program is None:
        return None, "it has no docker client", ""
    engine = Engine(program, PATH)
    give_up = time.monotonic() + patience_s
    while True:
        answer = engine.ask("info", "--format", "{{json .}}", timeout_s=10)
        facts = _facts(answer.out)
        if facts.get("ServerVersion") or time.monotonic() >= give_up:
            break
        time.sleep(STEP_S)
    if not facts.get("ServerVersion"):
        errors = facts.get("ServerErrors") or [answer.why]
        return None, "Docker does not answer: %s" % errors[0], ""
    label = hashlib.sha256(folder.encode()).hexdigest()[:12]
    images = Images(engine, os.path.dirname(os.path.dirname(folder)) + "/images")
    return Docker(engine, label, images, folder, uid, facts.get("Driver") == "overlay2"), "", lacks(facts)


def _facts(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def lacks(facts: Mapping[str, object]) -> str:
    """What a machine's engine cannot hold, of all that it must hold, as a sentence; "" when nothing."""
    options = facts.get("SecurityOptions")
    filters = [one for one in options if "name=seccomp" in str(one)] if isinstance(options, list) else []
    if not filters or "profile=unconfined" in str(filters[0]):
        return "its Docker filters no system calls"
    for name, what in (("MemoryLimit", "memory"), ("PidsLimit", "processes"), ("CpuCfsQuota", "processor time")):
        if facts.get(name) is False:
            return "its Docker cannot limit %s" % what
    return ""

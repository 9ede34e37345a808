"""What stands between a command and the host: one small interface, three ways.

A sandbox turns "run this command there" into an argument vector. Limits on memory, processes and time are not its business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Mapping, NamedTuple, Optional, Sequence

if TYPE_CHECKING:
    from agent.images import Images, Pinned
    from agent.sandbox.container import Container

INTERRUPTION = "spillway-interruption.json"  # appears in an attempt's /tmp when EC2 takes the machine back
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Mount(NamedTuple):
    """A file or folder of the host that a command sees at `target`. The variable `variable`, where there is one, tells it where: a sandbox
    that can show nothing elsewhere leaves it at `source`. `on_path`: programs in it are found by their names."""

    source: str
    target: str
    writable: bool = False
    variable: str = ""
    on_path: bool = False


class Ask(NamedTuple):
    """What is to run. `work` and `tmp` are folders of the host; `uid` is the attempt's own, 0 when it has none. `secrets` are variables
    like those of `environment`, but never in an argument vector, which everybody on a host can read."""

    command: str
    work: str
    tmp: str
    network: bool
    environment: Mapping[str, str]
    job: str
    attempt: int
    uid: int
    folder: str = "/job"  # where the command finds `work`
    secrets: Mapping[str, str] = {}
    mounts: tuple[Mount, ...] = ()
    image: "Optional[Pinned]" = None  # of its container
    cpu: float = 0.0  # from here on: what a sandbox holds that makes the groups itself; 0 for no limit
    memory_mib: int = 0
    processes_max: int = 0
    file_bytes: int = 0
    as_image: bool = False  # in its container as the user that the image says, who may write all over it


class Launch(NamedTuple):
    """How to start it. `inherit` are descriptors to pass on; the caller closes them afterwards. `keeper`: the first process
    is the sandbox's own, and everything ends with it."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    cwd: str
    inherit: tuple[int, ...]
    keeper: bool


def environment(ask: Ask, home: str, tmp: str, shown: bool = True) -> dict[str, str]:
    """Nothing of the agent's own environment; the job's may replace all but its names. `shown`: whether mounts are at their targets."""
    found = {"PATH": PATH, "HOME": home, "LANG": "C.UTF-8", "TMPDIR": tmp}
    found.update(ask.environment)
    found.update({"SPILLWAY_JOB": ask.job, "SPILLWAY_ATTEMPT": str(ask.attempt)})
    found["SPILLWAY_INTERRUPTION"] = "%s/%s" % (tmp, INTERRUPTION)
    for one in ask.mounts:
        where = one.target if shown else one.source
        if one.variable:
            found[one.variable] = where
        if one.on_path:
            found["PATH"] += ":" + where
    return found


class Sandbox:
    """One way to confine a command."""

    name = ""
    drops_uid = False  # whether commands run as `Ask.uid` instead of the agent's own user
    images: "Optional[Images]" = None  # of containers, where it makes some
    filters = False  # whether their system calls are filtered
    shares_network = True  # whether a command with network has the host's own

    def launch(self, ask: Ask) -> Launch:
        """How to start `ask`. Raises OSError."""
        raise NotImplementedError

    def works(self, folder: str, uid: int) -> str:
        """Why it does not work now, tried in `folder`; "" when it does."""
        from agent.sandbox import bwrap

        return bwrap.probe(self, folder, uid)

    def helper(self) -> "Optional[Sandbox]":
        """What runs our own programs for an attempt before its command does; None where that cannot be."""
        return self

    def sweep(self, spared: Sequence[str] = ()) -> None:
        """End what an earlier agent has left behind and control groups do not show, but for attempts `spared` (their keys)."""

    def guard(self, network: bool, as_image: bool) -> str:
        """Why this host cannot hold such a command now; "" when it can. (What shares the host's network is held by firewall.py.)"""
        return ""

    def group(self, job: str, attempt: int) -> "Optional[Container]":
        """What holds an attempt's processes, where the sandbox has that made by somebody else; None: a control group of ours does."""
        return None


class Choice(NamedTuple):
    """`default` runs everything that may run; an untrusted job may not when `untrusted` is False."""

    default: Optional[Sandbox]
    untrusted: bool
    reason: str


def working(choice: Choice, probe_folder: str, uid: int) -> str:
    """Why what was chosen does not work now; "" when it does."""
    return choice.default.works(probe_folder, uid) if choice.default is not None else choice.reason


def choose(setting: str, probe_folder: str, uid: int, patience_s: float = 0.0) -> Choice:
    """What the pool's `sandbox` setting ("auto", "bwrap", "docker", "none") means on this machine; "auto" is bubblewrap or nothing.
    `patience_s`: how long an engine is waited for that does not answer yet."""
    from agent.sandbox import bwrap, none

    if setting == "docker":
        from agent.sandbox import docker

        engine, why, lacks = docker.find(probe_folder, uid, patience_s)
        return Choice(engine, engine is not None and not lacks, lacks or "the pool wants Docker, and " + why)
    if setting == "none":
        return Choice(none.Unconfined(), False, "the pool runs commands without a sandbox, and the job is not trusted")
    found, why = bwrap.find(probe_folder, uid)
    if found is not None:
        return Choice(found, True, "")
    if setting == "bwrap":
        return Choice(None, False, "the pool wants bubblewrap and this host cannot run it: " + why)
    return Choice(
        None, False, "there is no sandbox on this host (only a pool that says sandbox=none runs without): " + why
    )

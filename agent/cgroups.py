"""One control group for each attempt: limits that hold whole process trees, their use, and the end of all of them.

A machine has cgroup v2 (Amazon Linux 2023), v1, or a mixture; each controller is taken from where it is. Our groups are
children of the agent's own group, found through /proc/self/cgroup and the mount table, so the agent also works in a machine
that is itself a group of something larger. Version 2 allows controllers only in groups without processes of their own: there
they are made in a unit of their own (boot.py), in which systemd never starts anything again, or the agent first moves itself into a
child of its own. What cannot be had is left out, and `limits.py` puts resource limits in its place.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import Collection, Mapping, NamedTuple, Optional

from agent import processes

PERIOD_US = 100000
REMOVE_WAIT_S = 2.0
JOBS_UNIT = "spillway-jobs.service"
LEAF = "agent"  # where those go who were in the middle
CONTROLLERS = ("memory", "pids", "cpu", "cpuacct")


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _read(path: str) -> str:
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _count(text: str, name: str) -> int:
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == name:
            return int(words[1])
    return 0


class Places(NamedTuple):
    """For each controller the folder under which groups are made; `unified` holds those of version 2."""

    folders: Mapping[str, str]
    unified: frozenset[str]


def own_folder(mount: str, mount_root: str, path: str) -> str:
    """The agent's own group as a folder. `mount_root` is the part of the hierarchy that the mount shows."""
    if mount_root != "/" and (path == mount_root or path.startswith(mount_root + "/")):
        path = path[len(mount_root) :]
    folder = (mount + path).rstrip("/")
    return folder if os.path.isdir(folder) else mount


def home(own: str) -> str:
    """In which folder groups of version 2 are made, by the agent's own."""
    if os.path.basename(own) == LEAF:
        own = os.path.dirname(own)
    beside = os.path.join(os.path.dirname(own), JOBS_UNIT)
    return beside if os.path.isdir(beside) else own


def _mounts() -> tuple[dict[str, tuple[str, str]], Optional[tuple[str, str]]]:
    """Version 1 controller -> (mount point, root), and version 2's (mount point, root)."""
    first: dict[str, tuple[str, str]] = {}
    second = None
    for line in _read("/proc/self/mountinfo").splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.partition(" ")
        if kind == "cgroup":
            for option in options.split()[-1].split(","):
                first[option] = (left.split()[4], left.split()[3])
        elif kind == "cgroup2":
            second = (left.split()[4], left.split()[3])
    return first, second


def find() -> Places:
    """Where groups can be made on this machine; no folders at all when nowhere."""
    paths = {}
    for line in _read("/proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            paths[name] = path
    first, second = _mounts()
    folders = {}
    for name in CONTROLLERS:
        if name in first and name in paths:
            folder = own_folder(first[name][0], first[name][1], paths[name])
            if os.access(folder, os.W_OK):
                folders[name] = folder
    unified: frozenset[str] = frozenset()
    if second is not None and "" in paths:
        folder = home(own_folder(second[0], second[1], paths[""]))
        unified = _delegated(folder) - set(folders)
        folders.update((name, folder) for name in unified)
    return Places(folders, unified)


def of_process(pid: int) -> Places:
    """The groups that a process is in, whoever made them."""
    first, second = _mounts()
    folders: dict[str, str] = {}
    unified = set()
    for line in _read("/proc/%d/cgroup" % pid).splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(","):
            if name in CONTROLLERS and name in first:
                folders[name] = own_folder(*first[name], path)
        if not controllers and second is not None:
            folder = own_folder(*second, path)
            unified = set(_read(folder + "/cgroup.controllers").split()) & set(CONTROLLERS) - set(folders)
            folders.update((name, folder) for name in unified)
    return Places(folders, frozenset(unified))


def _delegated(folder: str) -> frozenset[str]:
    """The version 2 controllers that children of `folder` get, after making room for them."""
    wanted = set(_read(folder + "/cgroup.controllers").split()) & {"memory", "pids", "cpu"}
    if not wanted:
        return frozenset()
    try:
        if _read(folder + "/cgroup.procs").split():
            os.makedirs(os.path.join(folder, LEAF), exist_ok=True)
            for pid in _read(folder + "/cgroup.procs").split():
                with contextlib.suppress(ProcessLookupError):
                    _write(os.path.join(folder, LEAF, "cgroup.procs"), pid)
        _write(folder + "/cgroup.subtree_control", " ".join("+" + name for name in sorted(wanted)))
    except OSError:
        return frozenset()
    return frozenset(set(_read(folder + "/cgroup.subtree_control").split()) & wanted)


class Use(NamedTuple):
    """What a group has used; zero where that is not counted."""

    cpu_s: float
    memory_peak_mib: int
    oom_kills: int
    pids_refused: int


class Group:
    """One attempt's group. `name` is a single path component."""

    def __init__(self, places: Places, name: str) -> None:
        self._places = places
        self._folders = {controller: base + "/" + name for controller, base in places.folders.items()}
        for folder in set(self._folders.values()):
            os.makedirs(folder, exist_ok=True)

    @property
    def holds(self) -> frozenset[str]:
        """The controllers that this group has."""
        return frozenset(self._folders)

    def limit(self, cpu: float, memory_mib: int, processes_max: int) -> None:
        """Set limits: cores, MiB, processes. Raises OSError."""
        if "memory" in self._folders:
            folder, size = self._folders["memory"], str(memory_mib << 20)
            if "memory" in self._places.unified:
                _write(folder + "/memory.max", size)
                for extra, value in (("/memory.swap.max", "0"), ("/memory.oom.group", "1")):
                    with contextlib.suppress(OSError):
                        _write(folder + extra, value)
            else:
                _write(folder + "/memory.limit_in_bytes", size)
                with contextlib.suppress(OSError):
                    _write(folder + "/memory.memsw.limit_in_bytes", size)
        if "pids" in self._folders:
            _write(self._folders["pids"] + "/pids.max", str(processes_max))
        if "cpu" in self._folders and cpu > 0:
            quota = max(1000, int(cpu * PERIOD_US))
            if "cpu" in self._places.unified:
                _write(self._folders["cpu"] + "/cpu.max", "%d %d" % (quota, PERIOD_US))
            else:
                _write(self._folders["cpu"] + "/cpu.cfs_period_us", str(PERIOD_US))
                _write(self._folders["cpu"] + "/cpu.cfs_quota_us", str(quota))

    def doors(self) -> list[int]:
        """Open descriptors: a process that writes b"0" into each is in the group. The caller closes them."""
        folders = sorted(set(self._folders.values()))
        return [os.open(folder + "/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in folders]

    def use(self) -> Use:
        """What has been used until now."""
        cpu_s, peak, ooms, refused = 0.0, 0, 0, 0
        memory = self._folders.get("memory")
        if memory and "memory" in self._places.unified:
            peak = int(_read(memory + "/memory.peak") or _read(memory + "/memory.current") or 0)
            ooms = _count(_read(memory + "/memory.events"), "oom_kill")
        elif memory:
            peak = int(_read(memory + "/memory.max_usage_in_bytes") or 0)
            ooms = _count(_read(memory + "/memory.oom_control"), "oom_kill")
        if "pids" in self._folders:
            refused = _count(_read(self._folders["pids"] + "/pids.events"), "max")
        if "cpuacct" in self._folders:
            cpu_s = int(_read(self._folders["cpuacct"] + "/cpuacct.usage") or 0) / 1e9
        elif "cpu" in self._places.unified:
            cpu_s = _count(_read(self._folders["cpu"] + "/cpu.stat"), "usage_usec") / 1e6
        return Use(cpu_s, -(-peak >> 20) if peak else 0, ooms, refused)

    def pids(self) -> set[int]:
        """Everything in the group."""
        found: set[int] = set()
        for folder in set(self._folders.values()):
            found.update(int(pid) for pid in _read(folder + "/cgroup.procs").split())
        return found - {0}

    def kill(self) -> bool:
        """Kill everything in it, also what forks meanwhile; False when something survived."""
        if "pids" in self._folders:
            with contextlib.suppress(OSError):
                _write(self._folders["pids"] + "/pids.max", "0")
        give_up = time.monotonic() + processes.KILL_WAIT_S
        while True:
            rest = self.pids()
            if not rest:
                return True
            processes.send(rest, signal.SIGKILL)
            if time.monotonic() > give_up:
                return False
            time.sleep(0.002)

    def outgrown(self, limit_bytes: int) -> bool:
        """Whether it has written more than that elsewhere than in its attempt's folder."""
        return False

    def fault(self, exit_code: Optional[int]) -> str:
        """Why whoever holds it, and not the command, is to blame for this end; "" when the command has ended by itself."""
        return ""

    def remove(self) -> None:
        """Take the group away; the kernel may need a moment after the last process."""
        give_up = time.monotonic() + REMOVE_WAIT_S
        for folder in set(self._folders.values()):
            while os.path.isdir(folder):
                try:
                    os.rmdir(folder)
                except OSError:
                    if time.monotonic() > give_up:
                        return
                    time.sleep(0.005)


class Joined(Group):
    """A group that is there, and somebody else's to make and to take away: `places` are its own folders."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._folders = dict(places.folders)


def sweep(places: Places, prefix: str, spared: Collection[str] = ()) -> None:
    """End and remove the groups that an earlier agent has left behind, but for those of attempts that go on."""
    names: set[str] = set()
    for base in places.folders.values():
        with contextlib.suppress(OSError):
            names.update(name for name in os.listdir(base) if name.startswith(prefix))
    for name in names.difference(spared):
        group = Group(places, name)
        group.kill()
        group.remove()

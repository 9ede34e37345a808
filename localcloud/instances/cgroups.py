"""Control groups of machines: one below our own in every hierarchy that lets us, so that a machine can divide them further.

They are not what ends a machine (its process namespace is); where there are no namespaces they make the end sure. Old
hierarchies (v1, one for each controller) and the unified one (v2) may both be mounted. Whatever is refused is left out.
"""

import contextlib
import os
import re
import signal

CONTROLLERS = ("memory", "pids", "cpu", "cpuacct", "freezer")
STALE = re.compile(r"spillway-(\d+)-[0-9a-f]+(?:-trial)?")
UNIFIED_CONTROLLERS = ("memory", "pids", "cpu")


def hierarchies() -> list[tuple[str, str]]:
    """(name, our own folder) for each hierarchy that a machine may use; the name is the folder's under /sys/fs/cgroup, "" where
    the unified tree is mounted there itself."""
    try:
        with open("/proc/self/cgroup") as file:
            ours = [line.rstrip("\n").split(":", 2) for line in file]
        with open("/proc/self/mountinfo") as file:
            mounts = [line.split() for line in file]
    except OSError:
        return []
    paths = {tuple(sorted(names.split(","))): path for _, names, path in ours}
    found = []
    for fields in mounts:
        rest = fields[fields.index("-") + 1 :]
        point = fields[4]
        if not point.startswith("/sys/fs/cgroup"):
            continue
        name = point[len("/sys/fs/cgroup") :].lstrip("/")
        if rest[0] == "cgroup2":
            path = paths.get(("",))
        elif rest[0] == "cgroup" and set(name.split(",")) <= set(CONTROLLERS):
            path = paths.get(tuple(sorted(name.split(","))))
        else:
            continue
        if path is not None:
            # In a container our path may be told from the host's root, where we cannot see it.
            folder = point + path.rstrip("/")
            found.append((name, folder if os.path.isdir(folder) else point))
    return found


def create(below: list[tuple[str, str]], name: str) -> list[tuple[str, str]]:
    """Make the group `name` in each of `below` and answer those that we may use, in the same shape."""
    made = []
    for hierarchy, folder in below:
        group = f"{folder}/{name}"
        try:
            os.makedirs(group, exist_ok=True)
        except OSError:
            continue
        if os.access(group + "/cgroup.procs", os.W_OK):
            made.append((hierarchy, group))
        else:
            with contextlib.suppress(OSError):
                os.rmdir(group)
    return made


def offer_controllers(folder: str) -> None:
    """Let the children of a unified group be limited, as far as the group itself may be."""
    for controller in UNIFIED_CONTROLLERS:
        with contextlib.suppress(OSError), open(folder + "/cgroup.subtree_control", "w") as file:
            file.write("+" + controller)


def join(groups: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Move this process into `groups`; answers those that took it."""
    joined = []
    for hierarchy, folder in groups:
        try:
            with open(folder + "/cgroup.procs", "w") as file:
                file.write("0")
        except OSError:
            continue
        joined.append((hierarchy, folder))
    return joined


def kill(groups: list[tuple[str, str]]) -> None:
    """End every process in `groups` and below."""
    for _, folder in groups:
        for inner, _, _ in os.walk(folder):
            with contextlib.suppress(OSError, ValueError), open(inner + "/cgroup.procs") as file:
                for line in file:
                    with contextlib.suppress(OSError):
                        os.kill(int(line), signal.SIGKILL)


def remove_stale(below: list[tuple[str, str]]) -> None:
    """Remove what killed clouds left: groups named after a process that is gone. Groups that are in use refuse it themselves."""
    for name, folder in below:
        with contextlib.suppress(OSError):
            for entry in os.listdir(folder):
                made_by = STALE.fullmatch(entry)
                if made_by and not os.path.exists(f"/proc/{made_by[1]}"):
                    remove([(name, f"{folder}/{entry}")])


def remove(groups: list[tuple[str, str]]) -> bool:
    """Remove `groups` with all that is below; False while a process still leaves one of them."""
    gone = True
    for _, folder in groups:
        for inner, _, _ in os.walk(folder, topdown=False):
            try:
                os.rmdir(inner)
            except FileNotFoundError:
                pass
            except OSError:
                gone = False
    return gone

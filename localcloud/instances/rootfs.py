"""A machine's view of the file system: the host's programs read-only, everything else its own.

`/usr` and what belongs to it (`/bin`, `/lib` …) are the host's, `/etc` is the fleet's image, `/run` and `/dev` live in memory, the
rest is the machine's disk: a folder. Runs inside the machine's first process after it has left the host's mount namespace,
before anything of the machine exists; every step is one system call, because a batch boots twenty machines at once.
"""

import contextlib
import os

from localcloud.instances import linux

PROGRAM_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
OWN_FOLDERS = ("home", "mnt", "opt", "root", "srv", "var/cache", "var/lib", "var/log", "var/tmp", "tmp")
DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
DEVICE_LINKS = {"fd": "/proc/self/fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2", "ptmx": "pts/ptmx"}


def prepare_disk(disk: str, hostname: str) -> None:
    """Make the folders of a new machine's disk. Harmless on a disk that has them: a reboot keeps what it held."""
    for name in (*OWN_FOLDERS, "etc-units", "machine/bin", "run/machine", "etc/systemd/system"):
        os.makedirs(os.path.join(disk, name), exist_ok=True)
    for name in ("usr", "etc", "dev", "proc", "sys"):
        os.makedirs(os.path.join(disk, name), exist_ok=True)
    for name in ("tmp", "var/tmp"):
        os.chmod(os.path.join(disk, name), 0o1777)  # noqa: S103 - as /tmp is everywhere
    with open(os.path.join(disk, "etc-hostname"), "w") as file:
        file.write(hostname + "\n")
    with contextlib.suppress(FileExistsError):
        os.symlink("/run", os.path.join(disk, "var/run"))


def enter(disk: str, image: str, cgroups: list[tuple[str, str]], python: str) -> None:
    """Make `disk` this process's root. `cgroups` are (folder name or "" for the v2 tree, host path) that the machine may divide
    further. `python`: a prefix outside /usr that holds the only python3, or "". Needs namespaces of its own; raises OSError.
    """
    linux.mount("", "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    linux.bind(disk, disk)
    linux.bind("/usr", disk + "/usr", read_only=True)
    for name in PROGRAM_FOLDERS:
        _show_programs("/" + name, f"{disk}/{name}")
    linux.bind(image + "/etc", disk + "/etc", read_only=True)
    linux.bind(disk + "/etc-units", disk + "/etc/systemd/system")
    linux.bind(disk + "/etc-hostname", disk + "/etc/hostname")
    linux.bind(image + "/bin", disk + "/machine/bin", read_only=True)
    if python:
        os.makedirs(disk + python, exist_ok=True)
        linux.bind(python, disk + python, read_only=True)
    linux.mount("tmpfs", disk + "/run", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "mode=755,size=256m")
    os.makedirs(disk + "/run/machine", 0o700)
    os.makedirs(disk + "/run/lock", 0o1777)
    _make_devices(disk + "/dev")
    _show_system(disk + "/sys", cgroups)
    linux.mount("proc", disk + "/proc", "proc", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC)
    # The old root is stacked under the new one and then taken away: no folder is needed to park it in.
    os.chdir(disk)
    linux.pivot_root(".", ".")
    linux.unmount(".")
    os.chdir("/")


def _show_programs(source: str, target: str) -> None:
    """A link where the host has a link (merged /usr), else the folder itself."""
    if os.path.islink(source):
        with contextlib.suppress(FileExistsError):
            os.symlink(os.readlink(source), target)
    elif os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
        linux.bind(source, target, read_only=True)


def _make_devices(folder: str) -> None:
    linux.mount("tmpfs", folder, "tmpfs", linux.MS_NOSUID, "mode=755,size=64m")
    for name in DEVICES:
        os.close(os.open(f"{folder}/{name}", os.O_CREAT | os.O_WRONLY, 0o666))
        linux.bind(f"/dev/{name}", f"{folder}/{name}")
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, f"{folder}/{name}")
    os.mkdir(folder + "/shm")
    os.chmod(folder + "/shm", 0o1777)  # noqa: S103 - as everywhere
    os.mkdir(folder + "/pts")
    with contextlib.suppress(OSError):  # a machine without terminals still runs jobs
        linux.mount(
            "devpts", folder + "/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620"
        )


def _show_system(folder: str, cgroups: list[tuple[str, str]]) -> None:
    """The host's /sys, but of its control groups only the machine's own, under the usual names."""
    linux.bind("/sys", folder, read_only=True, recursive=True)
    root = folder + "/fs/cgroup"
    if not os.path.isdir(root):
        return
    linux.mount("tmpfs", root, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV | linux.MS_NOEXEC, "mode=755,size=1m")
    for name, source in cgroups:
        target = f"{root}/{name}" if name else root
        os.makedirs(target, exist_ok=True)
        linux.bind(source, target)

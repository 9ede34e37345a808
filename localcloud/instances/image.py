"""What all machines of a fleet share, read-only: the host's /etc without its secrets, and the commands of a machine.

A copy, not the host's own folder, because a machine must have places in /etc of its own (systemd units, its hostname) whatever the
host has, and because a host's /etc holds keys and password hashes. The hypervisor makes it, in memory where it can.
"""

import contextlib
import os
import stat

COMMANDS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin")
COMMAND_NAMES = ("systemctl", "shutdown", "poweroff", "halt", "reboot")
# Secrets, other machines' business, and what is only large.
LEFT_OUT = frozenset(
    (
        *(
            "shadow",
            "shadow-",
            "gshadow",
            "gshadow-",
            "sudoers",
            "sudoers.d",
            "ssh",
            "private",
            "krb5.keytab",
            "wireguard",
        ),
        *(
            "hostname",
            "systemd",
            "sssd",
            "NetworkManager",
            "libvirt",
            "polkit-1",
            "cups",
            "docker",
            "kubernetes",
            "containerd",
        ),
    )
)
FILE_MAX_BYTES = 4 << 20


def build(folder: str, with_etc: bool) -> None:
    """Fill `folder`: `bin/`, and `etc/` with the host's files or only with the places that machines need."""
    os.makedirs(folder + "/etc/systemd/system", exist_ok=True)
    if with_etc:
        _copy_tree("/etc", folder + "/etc")
    with open(folder + "/etc/hostname", "w"):
        pass  # a place for each machine's own
    os.makedirs(folder + "/bin", exist_ok=True)
    for name in COMMAND_NAMES:
        _copy_file(COMMANDS + "/systemctl", f"{folder}/bin/{name}", 0o755)


def _copy_tree(source: str, target: str) -> None:
    """Copy what may be read; links stay links, devices and sockets are left out."""
    with contextlib.suppress(OSError), os.scandir(source) as entries:  # not ours to read, so not a machine's either
        for entry in entries:
            copy = f"{target}/{entry.name}"
            if entry.name in LEFT_OUT:
                continue
            with contextlib.suppress(OSError):
                about = entry.stat(follow_symlinks=False)
                if stat.S_ISLNK(about.st_mode):
                    os.symlink(os.readlink(entry.path), copy)
                elif stat.S_ISDIR(about.st_mode):
                    os.makedirs(copy, exist_ok=True)
                    _copy_tree(entry.path, copy)
                elif stat.S_ISREG(about.st_mode) and about.st_size <= FILE_MAX_BYTES:
                    _copy_file(entry.path, copy, stat.S_IMODE(about.st_mode) & 0o755)


def _copy_file(source: str, target: str, mode: int) -> None:
    with open(source, "rb") as file, open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "wb") as copy:
        copy.write(file.read())
